/* SPDX-License-Identifier: Apache-2.0 */
/* A session's beginning and end: room, a hold, the dialling. */
#include "service/gate/priv.h"

void session_refuse_entry(struct gate_session *s, enum gate_metric why, uint16_t code,
    const char *sqlstate, const char *text)
{
    uint8_t out[MYSQL_ERR_MAX];
    size_t n = mysql_err_format(0, code, sqlstate, text, out);
    count(s, why);
    splice_reply(s->flow, (char *)out, n); /* the first words: there is room */
}

static uint64_t key_of(const char *caller)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *caller; caller++)
        h = (h ^ (uint8_t)*caller) * UINT64_C(1099511628211);
    return h;
}

static enum splice_verdict refuse_moved(struct gate_session *s)
{
    session_refuse_entry(s, M_REFUSED_MOVED, CODE_NOT_SOURCE, "HY000", TEXT_NOT_SOURCE);
    return SPLICE_REPLY;
}

static enum splice_verdict queue(struct gate_session *s, uint64_t now_ms)
{
    struct gate *g = s->gate;
    unsigned waiting = 0;
    for (unsigned i = 0; i < g->n_workers; i++)
        waiting += get(&g->workers[i].waiting);
    bool over = now_ms >= atomic_load_explicit(&g->hold_until_ms, memory_order_relaxed);
    if (over || (!s->queued && waiting >= get(&g->waiting))) {
        session_refuse_entry(
            s, M_REFUSED_HOLD, CODE_NOT_SOURCE, "HY000", "the database is moving: try again");
        return SPLICE_REPLY;
    }
    session_waits(s, &s->queued, true);
    watch_soon(s, now_ms);
    return SPLICE_WAIT;
}

/* By the policy of this moment; the session takes its epoch from there. */
static enum splice_verdict decide(struct gate_session *s, uint64_t now_ms)
{
    enum state state = gate_state(s->gate, NULL, now_ms);
    if (state == STATE_HELD)
        return queue(s, now_ms);
    session_waits(s, &s->queued, false);
    if (state != STATE_OPEN)
        return refuse_moved(s);
    s->epoch = atomic_load(&s->gate->epoch);
    s->mode = (enum gate_mode)atomic_load(&s->gate->mode);
    return SPLICE_DIAL;
}

enum splice_verdict gate_enter(
    struct gate *g, struct gate_session *s, struct splice_flow *f, const char *caller)
{
    uint64_t now_ms = splice_now_ms(f);
    *s = (struct gate_session){.gate = g,
        .flow = f,
        .thread = splice_thread_of(f),
        .caller = key_of(caller),
        .begun_ms = now_ms,
        .moved_ms = now_ms};
    struct gate_session *ring = &worker_of(s)->sessions;
    s->prev = ring->prev;
    s->next = ring;
    ring->prev->next = s;
    ring->prev = s;
    splice_set_filter(f, &gate_filter, s);
    if (!gate_take_place(s, now_ms))
        return SPLICE_REPLY;
    count(s, M_SESSIONS);
    return decide(s, now_ms);
}

enum splice_verdict gate_waited(struct gate_session *s)
{
    return s->gate ? decide(s, splice_now_ms(s->flow)) : SPLICE_REFUSE;
}

void session_look_at_queue(struct gate_session *s, uint64_t now_ms)
{
    enum splice_verdict v = decide(s, now_ms);
    if (v != SPLICE_WAIT)
        splice_resume(s->flow, v);
}

void gate_joined(struct gate_session *s)
{
    s->joined = true;
    s->begun_ms = s->moved_ms = splice_now_ms(s->flow);
    set_time(&worker_of(s)->dialled_ms, s->begun_ms);
    watch_soon(s, s->begun_ms);
}

void gate_unreachable(struct gate_session *s)
{
    if (!s->gate)
        return;
    set_time(&worker_of(s)->failed_ms, splice_now_ms(s->flow));
    session_refuse_entry(
        s, M_UNREACHABLE, CODE_UNREACHABLE, "08S01", "the database server does not answer");
}

void gate_failed(struct gate_session *s)
{
    if (!s->gate)
        return;
    set_time(&worker_of(s)->failed_ms, splice_now_ms(s->flow));
    count(s, M_UNREACHABLE);
    splice_set_filter(s->flow, NULL, NULL);
    gate_leave(s);
}

void gate_leave(struct gate_session *s)
{
    if (!s->gate)
        return;
    session_forget(s);
    gate_give_place(s);
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->gate = NULL;
}
