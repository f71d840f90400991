/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/priv.h"

const unsigned items_retry_ms[RETRY_CLASSES] = {100, 250, 500, 1000};

void items_init(struct item_queue *q)
{
    *q = (struct item_queue){.last = &q->first};
}

void items_put(struct item_queue *q, struct item *i)
{
    i->next = NULL;
    *q->last = i;
    q->last = &i->next;
    q->n++;
}

struct item *items_take(struct item_queue *q)
{
    struct item *i = q->first;
    if (!i)
        return NULL;
    q->first = i->next;
    if (!q->first)
        q->last = &q->first;
    q->n--;
    return i;
}

struct item *item_new(struct engine *e, struct buyer *b, enum item_kind kind)
{
    struct item *i = e->free_items;
    if (i)
        e->free_items = i->next;
    else
        i = xmalloc(sizeof *i);
    *i = (struct item){.buyer = b, .kind = kind};
    return i;
}

void item_free(struct engine *e, struct item *i)
{
    i->next = e->free_items;
    e->free_items = i;
}

void item_again(struct engine *e, struct item *i)
{
    struct buyer *b = i->buyer;
    uint64_t patience_us = e->config->patience_ms * 1000;
    if (i->kind == ITEM_READ) {
        e->reads_in_flight--;
        e->f.reads_failed++;
        b->f.reads_failed++;
        item_free(e, i);
        return;
    }
    if (i->kind == ITEM_ORDER && e->now_us - i->due_us >= patience_us) {
        e->in_flight--;
        e->f.unanswered++;
        b->f.unanswered++;
        item_free(e, i);
        return;
    }
    unsigned class = MIN(i->tries, RETRY_CLASSES - 1);
    i->tries++;
    i->at_us = e->now_us + items_retry_ms[class] * 1000ull;
    items_put(&e->retry[class], i);
}

void item_failed(struct engine *e, struct item *i, enum trouble t)
{
    static const char *const texts[] = {
#define X(name, text) text,
        TROUBLES(X)
#undef X
    };
    if (i->kind == ITEM_PAGE) {
        pages_failed(e, i, texts[t]);
        return;
    }
    e->f.troubles[t]++;
    i->buyer->f.troubles[t]++;
    item_again(e, i);
}
