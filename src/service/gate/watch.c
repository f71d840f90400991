/* SPDX-License-Identifier: Apache-2.0 */
/* What no byte brings about: a new policy, a hold that is over, logins and answers that take too long,
 * connections that nobody uses. */
#include "service/gate/priv.h"

static void sooner(struct worker *w, uint64_t at_ms)
{
    if (!w->due_ms || w->due_ms > at_ms)
        w->due_ms = at_ms;
}

void watch_soon(struct gate_session *s, uint64_t now_ms)
{
    sooner(worker_of(s), now_ms + SCAN_MS);
}

static void end(struct gate_session *s, int how)
{
    s->ending = how;
    splice_again(s->flow);
}

static void look_at_joined(struct gate_session *s, uint64_t now_ms)
{
    struct gate *g = s->gate;
    struct worker *w = worker_of(s);
    unsigned idle_ms = get(&g->idle_ms);
    if (gate_state(g, s, now_ms) == STATE_MOVED)
        end(s, GATE_MUST_END);
    else if (s->m.phase < MYSQL_COMMANDS && s->begun_ms + get(&g->handshake_ms) <= now_ms
             && !s->m.changing)
        end(s, GATE_TOO_SLOW);
    else if (s->held)
        splice_again(s->flow);
    else if (!s->busy && idle_ms && s->moved_ms + idle_ms <= now_ms)
        end(s, GATE_TOO_IDLE);
    if (s->m.phase < MYSQL_COMMANDS || s->held)
        sooner(w, now_ms + SCAN_MS);
    if (s->asking) {
        session_is_slow(s, MAX(s->asked_ms, s->said_ms) + get(&g->slow_ms) <= now_ms);
        sooner(w, now_ms + SCAN_MS);
    }
    if (idle_ms)
        sooner(w, MAX(s->moved_ms + idle_ms, now_ms + SCAN_MS));
}

void gate_turn(struct gate *g, unsigned thread, uint64_t now_ms)
{
    struct worker *w = &g->workers[thread];
    unsigned generation = atomic_load_explicit(&g->generation, memory_order_acquire);
    if (generation == w->generation && (!w->due_ms || now_ms < w->due_ms))
        return;
    w->generation = generation;
    w->due_ms = 0;
    for (struct gate_session *s = w->sessions.next, *next; s != &w->sessions; s = next) {
        next = s->next; /* a refused one may leave */
        if (s->queued)
            session_look_at_queue(s, now_ms);
        else if (s->joined)
            look_at_joined(s, now_ms);
    }
}

uint64_t gate_due_ms(const struct gate *g, unsigned thread)
{
    return g->workers[thread].due_ms;
}
