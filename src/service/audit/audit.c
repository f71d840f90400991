/* SPDX-License-Identifier: Apache-2.0 */
#include "service/audit/priv.h"

#include "base/clock/clock.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"

#include <unistd.h>

int audit_new(const struct audit_config *c, struct audit **ret, struct err *e)
{
    struct audit *a = xcalloc(1, sizeof *a);
    *a = (struct audit){.kv = c->kv,
        .kept = c->kept ? c->kept : AUDIT_KEPT,
        .chained = c->chained,
        .ctx = c->ctx,
        .host = xstrdup(c->host),
        .journal = xstrdup(c->journal),
        .head_key = xasprintf("/mcp/%s/audit/head", c->platform),
        .entry_prefix = xasprintf("/mcp/%s/audit/e/", c->platform),
        .journal_fd = -1,
        .pending = json_array()};
    uv_timer_init(c->loop, &a->timer);
    int r = audit_journal_open(a, e);
    if (r < 0) {
        audit_free(a);
        return r;
    }
    audit_chain_kick(a, 0);
    *ret = a;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct audit *a = CONTAINER_OF(h, struct audit, timer);
    if (a->journal_fd >= 0)
        close(a->journal_fd);
    json_decref(a->pending);
    free(a->host);
    free(a->journal);
    free(a->head_key);
    free(a->entry_prefix);
    free(a);
}

void audit_chain_free(struct audit *a)
{
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    a->closed = true;
    if (!a->busy)
        audit_chain_free(a);
}

static void new_id(char ret[AUDIT_ID_SIZE])
{
    uint64_t n;
    rnd_bytes(&n, sizeof n);
    snprintf(ret, AUDIT_ID_SIZE, "%016llx", (unsigned long long)n);
}

int audit_note(struct audit *a, struct audit_draft *d, struct err *e)
{
    if (json_array_size(a->pending) >= AUDIT_PENDING_MAX) {
        err_set(e, ERR_LIMIT, "the audit log holds %d entries that the state store has not taken",
            AUDIT_PENDING_MAX);
        err_fix(e, "`mcp status` says why the state store does not answer");
        return ERR_LIMIT;
    }
    new_id(d->id);
    d->wall_ms = clock_wall_ms();
    d->host = a->host;
    json_t *entry = audit_entry(d);
    int r = audit_journal_add(a, entry, e);
    if (r < 0) {
        json_decref(entry);
        return err_wrap(e, "the audit log cannot be written, so nothing is done");
    }
    json_array_append_new(a->pending, entry);
    audit_chain_kick(a, 0);
    return 0;
}

void audit_kick(struct audit *a)
{
    if (json_array_size(a->pending) > 0)
        audit_chain_kick(a, 0);
}

size_t audit_pending(const struct audit *a)
{
    return json_array_size(a->pending);
}

/* ---- reading ---- */

struct reading {
    struct audit *a;
    size_t limit;
    json_t *head;
    audit_read_fn fn;
    void *ctx;
};

static void end_reading(struct reading *r, const json_t *log, const struct err *e)
{
    r->fn(r->ctx, log, e);
    json_decref(r->head);
    free(r);
}

static json_t *parse_all(const struct kv_pair *pairs, size_t n, size_t limit)
{
    json_t *list = json_array();
    for (size_t i = limit && n > limit ? n - limit : 0; i < n; i++) {
        json_t *entry = NULL;
        struct err ignored;
        if (json_parse(pairs[i].value, pairs[i].len, &entry, &ignored) < 0)
            entry = json_null(); /* the chain shows the hole */
        json_array_append_new(list, entry);
    }
    return list;
}

static void on_entries(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct reading *r = ctx;
    if (e) {
        end_reading(r, NULL, e);
        return;
    }
    _cleanup_json_ json_t *log = json_pack("{s:O,s:o,s:i}", "head", r->head, "entries",
        parse_all(pairs, n, r->limit), "pending", (int)json_array_size(r->a->pending));
    end_reading(r, log, NULL);
}

static void on_read_head(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct reading *r = ctx;
    struct err why;
    if (e) {
        end_reading(r, NULL, e);
        return;
    }
    if (n && json_parse(pairs[0].value, pairs[0].len, &r->head, &why) < 0) {
        end_reading(r, NULL, &why);
        return;
    }
    if (!r->head)
        r->head = json_null();
    kv_list(r->a->kv, r->a->entry_prefix, on_entries, r);
}

void audit_read(struct audit *a, size_t limit, audit_read_fn fn, void *ctx)
{
    struct reading *r = xcalloc(1, sizeof *r);
    *r = (struct reading){.a = a, .limit = limit, .fn = fn, .ctx = ctx};
    kv_get(a->kv, a->head_key, on_read_head, r);
}
