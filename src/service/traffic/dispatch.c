/* SPDX-License-Identifier: Apache-2.0 */
/* Orders by the clock, and connections for what waits: pages of a comparison first, then orders that
 * are tried again, then new ones; reads have connections of their own, so that writes that hang do
 * not look like reads that fail. */
#include "service/traffic/priv.h"

#include "base/rnd/rnd.h"

/* Orders are begun in slices of 2 ms: at a thousand a second the machine sleeps between them. */
#define SLICE_US 2000

static void due_order(struct engine *e, uint64_t at_us)
{
    struct buyer *b = &e->buyers[e->scheduled % e->n_buyers];
    struct item *i = item_new(e, b, ITEM_ORDER);
    i->seq = (uint32_t)e->scheduled++;
    i->due_us = at_us;
    e->f.scheduled++;
    b->f.scheduled++;
    outage_due(&e->f.writes, at_us);
    outage_due(&b->f.writes, at_us);
    items_put(&b->fresh, i);
}

static void due_read(struct engine *e, struct buyer *b, uint64_t at_us)
{
    size_t n = MIN(b->ring_n, RING);
    if (!n)
        return; /* nothing to be read yet */
    struct item *i = item_new(e, b, ITEM_READ);
    i->seq = b->ring[(b->ring_n - 1 - e->scheduled / e->n_buyers % n) % RING];
    i->due_us = at_us;
    e->f.reads_scheduled++;
    b->f.reads_scheduled++;
    outage_due(&e->f.reads, at_us);
    outage_due(&b->f.reads, at_us);
    items_put(&b->reads, i);
}

static uint64_t due_us(const struct engine *e, uint64_t order)
{
    return e->start_us + (uint64_t)((double)order * 1e6 / e->config->rate);
}

void dispatch_due(struct engine *e)
{
    while (e->phase == PHASE_RUN && e->scheduled < LEDGER_ORDERS_MAX) {
        uint64_t at_us = due_us(e, e->scheduled);
        if (at_us > e->now_us || at_us >= e->end_us)
            return;
        struct buyer *b = &e->buyers[e->scheduled % e->n_buyers];
        due_order(e, at_us);
        for (b->reads_owed += e->config->reads; b->reads_owed >= 1; b->reads_owed -= 1)
            due_read(e, b, at_us);
    }
}

/* -- what is too late -------------------------------------------------------------------------- */

static bool is_late(const struct engine *e, const struct item *i)
{
    return e->now_us - i->due_us > TRAFFIC_SEND_MS * 1000ull;
}

static void drop_late(struct engine *e, struct buyer *b)
{
    while (b->fresh.first && is_late(e, b->fresh.first)) {
        e->f.not_sent++;
        b->f.not_sent++;
        item_free(e, items_take(&b->fresh));
    }
    while (b->reads.first && is_late(e, b->reads.first)) {
        e->f.reads_not_sent++;
        b->f.reads_not_sent++;
        item_free(e, items_take(&b->reads));
    }
    while (b->again.first && e->now_us - b->again.first->due_us >= e->config->patience_ms * 1000)
        item_again(e, items_take(&b->again)); /* which gives it up */
}

/* -- connections for what waits ---------------------------------------------------------------- */

static void begin(struct engine *e, struct item *i)
{
    struct buyer *b = i->buyer;
    i->tried_us = e->now_us;
    struct conn *c = conn_idle_take(b);
    if (c) {
        conn_give(c, i);
        return;
    }
    /* After a failure the next address, if there are several. */
    const struct ip_addr *address = &b->names.addresses[i->tries % b->names.n];
    if (!conn_open(b, i, address))
        item_failed(e, i, TROUBLE_CONNECT);
}

static void begin_order(struct engine *e, struct buyer *b)
{
    struct item *i = items_take(&b->fresh);
    e->in_flight++;
    e->f.begun++;
    b->f.begun++;
    ledger_intent(e->ledger, i->seq, b->who->country);
    begin(e, i);
}

static void begin_read(struct engine *e, struct buyer *b)
{
    e->reads_in_flight++;
    begin(e, items_take(&b->reads));
}

static void begin_again(struct engine *e, struct buyer *b)
{
    e->f.retries++;
    b->f.retries++;
    begin(e, items_take(&b->again));
}

static bool waits(const struct buyer *b)
{
    return b->fresh.n || b->again.n || b->reads.n || b->pages.n;
}

static void dispatch(struct engine *e, struct buyer *b)
{
    drop_late(e, b);
    ask_step(b, waits(b));
    if (!waits(b) || !names_known(&b->names, engine_now_ms(e)))
        return;
    while (b->pages.n)
        begin(e, items_take(&b->pages));
    while (b->again.n && b->order_conns < e->order_conns_max)
        begin_again(e, b);
    while (b->fresh.n && b->order_conns < e->order_conns_max && e->in_flight < e->config->in_flight)
        begin_order(e, b);
    while (
        b->reads.n && b->read_conns < e->read_conns_max && e->reads_in_flight < READS_IN_FLIGHT_MAX)
        begin_read(e, b);
}

static void wake_retries(struct engine *e)
{
    for (size_t k = 0; k < RETRY_CLASSES; k++)
        while (e->retry[k].first && e->retry[k].first->at_us <= e->now_us) {
            struct item *i = items_take(&e->retry[k]);
            items_put(i->kind == ITEM_PAGE ? &i->buyer->pages : &i->buyer->again, i);
        }
}

void dispatch_all(struct engine *e)
{
    wake_retries(e);
    for (size_t i = 0; i < e->n_buyers; i++)
        dispatch(e, &e->buyers[i]);
}

uint64_t dispatch_next_us(const struct engine *e)
{
    uint64_t next = UINT64_MAX;
    if (e->phase == PHASE_RUN)
        next = MAX(due_us(e, e->scheduled), e->now_us + SLICE_US);
    for (size_t k = 0; k < RETRY_CLASSES; k++)
        if (e->retry[k].first)
            next = MIN(next, e->retry[k].first->at_us);
    for (size_t i = 0; i < e->n_buyers; i++) {
        const struct buyer *b = &e->buyers[i];
        uint64_t names_ms = b->names.tries || waits(b) ? b->names.next_ms : 0;
        if (names_ms > engine_now_ms(e))
            next = MIN(next, names_ms * 1000);
        if (b->fresh.first)
            next = MIN(next, b->fresh.first->due_us + (TRAFFIC_SEND_MS + 1) * 1000ull);
        if (b->reads.first)
            next = MIN(next, b->reads.first->due_us + (TRAFFIC_SEND_MS + 1) * 1000ull);
    }
    return next;
}
