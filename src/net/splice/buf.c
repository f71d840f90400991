/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Buffers are recycled. Timers: a list per kind, all of a kind last equally long, so
 * appending keeps it sorted; those of attempts differ and are few, so they are put in their place. */
#include "net/splice/priv.h"

struct buf *buf_get(struct splice_thread *t)
{
    struct buf *b = t->free_bufs;
    if (b) {
        t->free_bufs = b->next;
        t->n_free_bufs--;
    } else {
        b = xmalloc(sizeof *b);
    }
    b->start = b->end = b->ok = 0;
    return b;
}

void buf_put(struct splice_thread *t, struct buf **at)
{
    struct buf *b = *at;
    *at = NULL;
    if (!b)
        return;
    if (t->n_free_bufs >= BUFS_KEPT) {
        free(b);
        return;
    }
    b->next = t->free_bufs;
    t->free_bufs = b;
    t->n_free_bufs++;
}

void timers_init(struct splice_thread *t)
{
    for (size_t i = 0; i < TIMER_KINDS; i++)
        t->timers[i].prev = t->timers[i].next = &t->timers[i];
}

void timer_unset(struct splice_flow *f)
{
    struct timer *timer = &f->timer;
    if (!timer->next)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->prev = timer->next = NULL;
}

static void put_behind(struct timer *timer, struct timer *at)
{
    timer->prev = at;
    timer->next = at->next;
    at->next->prev = timer;
    at->next = timer;
}

void timer_set(struct splice_flow *f, enum timer_kind kind)
{
    timer_unset(f);
    f->timer_kind = kind;
    f->timer.deadline_ms = f->t->now_ms + f->t->server->timeout_ms[kind];
    put_behind(&f->timer, f->t->timers[kind].prev);
}

void timer_set_ms(struct splice_flow *f, uint64_t ms)
{
    struct timer *head = &f->t->timers[TIMER_DIAL], *at;
    timer_unset(f);
    f->timer_kind = TIMER_DIAL;
    f->timer.deadline_ms = f->t->now_ms + ms;
    for (at = head->prev; at != head && at->deadline_ms > f->timer.deadline_ms;)
        at = at->prev;
    put_behind(&f->timer, at);
}

int timers_wait_ms(const struct splice_thread *t)
{
    uint64_t wait = UINT64_MAX;
    for (size_t i = 0; i < TIMER_KINDS; i++) {
        const struct timer *first = t->timers[i].next;
        if (first != &t->timers[i])
            wait = MIN(wait, first->deadline_ms > t->now_ms ? first->deadline_ms - t->now_ms : 0);
    }
    return wait == UINT64_MAX ? -1 : (int)MIN(wait, (uint64_t)60000);
}

struct splice_flow *timers_due(struct splice_thread *t)
{
    for (size_t i = 0; i < TIMER_KINDS; i++) {
        struct timer *first = t->timers[i].next;
        if (first != &t->timers[i] && first->deadline_ms <= t->now_ms)
            return CONTAINER_OF(first, struct splice_flow, timer);
    }
    return NULL;
}
