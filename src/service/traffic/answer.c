/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/priv.h"

#include <string.h>

static void count_region(struct buyer *b, const char *name)
{
    struct region_count *r = NULL;
    for (size_t i = 0; i < b->n_regions && !r; i++)
        if (!strcmp(b->regions[i].name, name))
            r = &b->regions[i];
    if (!r && b->n_regions < REGIONS_MAX) {
        r = &b->regions[b->n_regions++];
        str_copy(r->name, sizeof r->name, name);
    }
    if (!r)
        return;
    r->n++;
    b->region = r->name;
}

static void tell(struct engine *e, const struct item *i, const char *region)
{
    const struct traffic_config *c = e->config;
    if (!c->event)
        return;
    _cleanup_json_ json_t *event = json_pack("{s:s,s:I,s:I,s:I,s:I,s:s,s:s,s:I}", "event", "ack",
        "at_ms", (json_int_t)(e->now_us / 1000), "sent_ms", (json_int_t)(i->tried_us / 1000),
        "due_ms", (json_int_t)(i->due_us / 1000), "client", (json_int_t)i->buyer->index, "country",
        i->buyer->who->country, "region", region, "seq", (json_int_t)i->seq);
    if (event) /* a region that is no UTF-8 is nobody's */
        c->event(c->ctx, event);
}

static void acknowledged(struct engine *e, struct item *i, bool repeated, const char *id)
{
    struct buyer *b = i->buyer;
    uint64_t took = e->now_us - i->due_us;
    struct figures *both[] = {&e->f, &b->f};
    ledger_ack(e->ledger, i->seq, id);
    for (size_t k = 0; k < ARRAY_SIZE(both); k++) {
        both[k]->acked++;
        both[k]->repeated += repeated;
        delays_add(&both[k]->write_delays, took);
        outage_success(&both[k]->writes, e->now_us);
    }
    b->ring[b->ring_n++ % RING] = i->seq;
    e->in_flight--;
    item_free(e, i);
}

static void order_taken(
    struct engine *e, struct item *i, unsigned status, const char *content, size_t len)
{
    _cleanup_json_ json_t *order = NULL;
    struct err ignored;
    const char *id =
        json_parse(content, len, &order, &ignored) < 0 ? "" : json_opt_str(order, "id", "");
    if (!ledger_id_ok(id)) {
        item_failed(e, i, TROUBLE_PROTOCOL);
        return;
    }
    count_region(i->buyer, json_opt_str(order, "region", ""));
    tell(e, i, json_opt_str(order, "region", ""));
    acknowledged(e, i, status == 200, id);
}

/* May another attempt do better? */
static bool is_passing(unsigned status)
{
    return status >= 500 || status == 408 || status == 425 || status == 429;
}

static void order_not_taken(struct engine *e, struct item *i, unsigned status)
{
    struct buyer *b = i->buyer;
    e->f.statuses[status]++;
    b->f.statuses[status]++;
    if (is_passing(status)) {
        item_again(e, i);
        return;
    }
    e->f.refused++;
    b->f.refused++;
    e->in_flight--;
    item_free(e, i);
}

/* 404 is an answer too: the replica has not come that far. */
static void read_answered(struct engine *e, struct item *i, unsigned status)
{
    struct buyer *b = i->buyer;
    struct figures *both[] = {&e->f, &b->f};
    if (status != 200 && status != 404) {
        e->f.statuses[status]++;
        b->f.statuses[status]++;
        item_again(e, i);
        return;
    }
    for (size_t k = 0; k < ARRAY_SIZE(both); k++) {
        both[k]->reads_answered++;
        both[k]->reads_stale += status == 404;
        delays_add(&both[k]->read_delays, e->now_us - i->due_us);
        outage_success(&both[k]->reads, e->now_us);
    }
    e->reads_in_flight--;
    item_free(e, i);
}

void answer_take(struct engine *e, struct item *i, unsigned status, const char *content, size_t len)
{
    char why[32];
    switch (i->kind) {
    case ITEM_ORDER:
        if (status == 200 || status == 201)
            order_taken(e, i, status, content, len);
        else
            order_not_taken(e, i, status);
        break;
    case ITEM_READ:
        read_answered(e, i, status);
        break;
    case ITEM_PAGE:
        snprintf(why, sizeof why, "status %u", status);
        if (status == 200)
            pages_take(e, i, content, len);
        else
            pages_failed(e, i, why);
        break;
    }
}
