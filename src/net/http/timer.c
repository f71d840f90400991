/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. A list per kind of timeout: all of a kind last equally long, so appending keeps it
 * sorted, and setting, unsetting and looking for the next one cost the same however many there are.
 */
#include "net/http/priv.h"

/* An upstream that knows 100-continue says so at once; behind one that does not, the client should
 * not wait out its own patience (curl: 1 s). */
#define EXPECT_MS 250u

void http_timeouts_default(struct http_timeouts *t)
{
    static const struct http_timeouts defaults = {
        .handshake = 10000,
        .head = 10000,
        .idle = 60000,
        .body = 30000,
        .send = 30000,
        /* a private network: slower than that is down, and another instance may be up */
        .connect = 1000,
        .answer = 60000,
        /* shorter than what servers keep idle connections for, so that they rarely close first */
        .pool = 15000,
        .linger = 1000,
        .drain = 10000,
        .ticket = 4 * 3600 * 1000,
    };
    const uint32_t *from = (const uint32_t *)&defaults;
    uint32_t *to = (uint32_t *)t;
    for (size_t i = 0; i < sizeof defaults / sizeof *from; i++)
        if (!to[i])
            to[i] = from[i];
}

void http_timers_init(struct thread *t, const struct http_timeouts *timeouts)
{
    const uint32_t ms[TIMER_KINDS] = {
        [TIMER_HANDSHAKE] = timeouts->handshake,
        [TIMER_HEAD] = timeouts->head,
        [TIMER_IDLE] = timeouts->idle,
        [TIMER_BODY] = timeouts->body,
        [TIMER_SEND] = timeouts->send,
        [TIMER_CONNECT] = timeouts->connect,
        [TIMER_ANSWER] = timeouts->answer,
        [TIMER_EXPECT] = EXPECT_MS,
        [TIMER_POOL] = timeouts->pool,
        [TIMER_LINGER] = timeouts->linger,
    };
    memcpy(t->timeout_ms, ms, sizeof ms);
    for (size_t i = 0; i < TIMER_KINDS; i++)
        t->timers[i].prev = t->timers[i].next = &t->timers[i];
}

void http_timer_unset(struct timer *timer)
{
    if (!timer->next)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->prev = timer->next = NULL;
}

void http_timer_set(struct thread *t, struct timer *timer, enum timer_kind kind)
{
    http_timer_unset(timer);
    struct timer *head = &t->timers[kind];
    timer->kind = kind;
    timer->deadline_ms = t->now_ms + t->timeout_ms[kind];
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
}

int http_timers_wait_ms(const struct thread *t)
{
    uint64_t wait = UINT64_MAX;
    for (size_t i = 0; i < TIMER_KINDS; i++) {
        const struct timer *first = t->timers[i].next;
        if (first != &t->timers[i])
            wait = MIN(wait, first->deadline_ms > t->now_ms ? first->deadline_ms - t->now_ms : 0);
    }
    return wait == UINT64_MAX ? -1 : (int)MIN(wait, (uint64_t)60000);
}

void http_timers_fire(struct thread *t)
{
    for (size_t i = 0; i < TIMER_KINDS; i++) {
        struct timer *first;
        while ((first = t->timers[i].next) != &t->timers[i] && first->deadline_ms <= t->now_ms) {
            http_timer_unset(first);
            first->fire(first, (enum timer_kind)i);
        }
    }
}
