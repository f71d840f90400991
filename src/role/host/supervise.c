/* SPDX-License-Identifier: Apache-2.0 */
#include "role/host/supervise.h"

/* What a transition does to the timer. */
enum timer { KEEP, NONE, START, HEALTHY, STOP, AGAIN, BACKOFF };

struct cell {
    enum sup_state next;
    enum sup_action action;
    enum timer timer;
};

#define STAY(s)                                                                                    \
    {                                                                                              \
        SUP_##s, SUP_NOTHING, KEEP                                                                 \
    }
#define TO(s, action, timer)                                                                       \
    {                                                                                              \
        SUP_##s, SUP_##action, timer                                                               \
    }

/* clang-format off */
static const struct cell table[SUP_N_STATES][SUP_N_EVENTS] = {
    [SUP_DOWN] = {
        [SUP_WANT]   = TO(STARTING, SPAWN, START),
        [SUP_UNWANT] = STAY(DOWN),
        [SUP_CHANGE] = STAY(DOWN),
        [SUP_READY]  = STAY(DOWN),
        [SUP_EXIT]   = STAY(DOWN),
        [SUP_HUNG]   = STAY(DOWN),
        [SUP_TIMER]  = TO(DOWN, NOTHING, NONE),
    },
    [SUP_STARTING] = {
        [SUP_WANT]   = STAY(STARTING),
        [SUP_UNWANT] = TO(STOPPING, ASK_STOP, STOP),
        [SUP_CHANGE] = TO(RESTARTING, ASK_STOP, STOP),
        [SUP_READY]  = TO(UP, NOTHING, HEALTHY),
        [SUP_EXIT]   = TO(BACKOFF, NOTHING, BACKOFF),
        [SUP_HUNG]   = STAY(STARTING),
        [SUP_TIMER]  = TO(STARTING, KILL, AGAIN),
    },
    [SUP_UP] = {
        [SUP_WANT]   = STAY(UP),
        [SUP_UNWANT] = TO(STOPPING, ASK_STOP, STOP),
        [SUP_CHANGE] = TO(RESTARTING, ASK_STOP, STOP),
        [SUP_READY]  = STAY(UP),
        [SUP_EXIT]   = TO(BACKOFF, NOTHING, BACKOFF),
        [SUP_HUNG]   = TO(STARTING, KILL, AGAIN),
        [SUP_TIMER]  = TO(UP, NOTHING, NONE),
    },
    [SUP_BACKOFF] = {
        [SUP_WANT]   = STAY(BACKOFF),
        [SUP_UNWANT] = TO(DOWN, NOTHING, NONE),
        [SUP_CHANGE] = TO(STARTING, SPAWN, START),
        [SUP_READY]  = STAY(BACKOFF),
        [SUP_EXIT]   = STAY(BACKOFF),
        [SUP_HUNG]   = STAY(BACKOFF),
        [SUP_TIMER]  = TO(STARTING, SPAWN, START),
    },
    [SUP_STOPPING] = {
        [SUP_WANT]   = TO(RESTARTING, NOTHING, KEEP),
        [SUP_UNWANT] = STAY(STOPPING),
        [SUP_CHANGE] = STAY(STOPPING),
        [SUP_READY]  = STAY(STOPPING),
        [SUP_EXIT]   = TO(DOWN, NOTHING, NONE),
        [SUP_HUNG]   = STAY(STOPPING),
        [SUP_TIMER]  = TO(STOPPING, KILL, AGAIN),
    },
    [SUP_RESTARTING] = {
        [SUP_WANT]   = STAY(RESTARTING),
        [SUP_UNWANT] = TO(STOPPING, NOTHING, KEEP),
        [SUP_CHANGE] = STAY(RESTARTING),
        [SUP_READY]  = STAY(RESTARTING),
        [SUP_EXIT]   = TO(STARTING, SPAWN, START),
        [SUP_HUNG]   = STAY(RESTARTING),
        [SUP_TIMER]  = TO(RESTARTING, KILL, AGAIN),
    },
};
/* clang-format on */

/* 0 for the first failure, then doubling, a quarter more or less. */
static uint64_t backoff_ms(unsigned failures, struct rnd *rnd)
{
    if (failures <= 1)
        return 0;
    unsigned doublings = MIN(failures - 2, 16u);
    uint64_t ms = MIN((uint64_t)SUP_BACKOFF_MIN_MS << doublings, (uint64_t)SUP_BACKOFF_MAX_MS);
    return ms - ms / 4 + rnd_below(rnd, ms / 2 + 1);
}

static void set_timer(struct sup *s, enum timer timer, uint64_t now, struct rnd *rnd)
{
    static const uint64_t delays[] = {[START] = SUP_START_MS,
        [HEALTHY] = SUP_HEALTHY_MS,
        [STOP] = SUP_STOP_MS,
        [AGAIN] = SUP_KILL_AGAIN_MS};
    if (timer == KEEP)
        return;
    if (timer == NONE)
        s->timer_at_ms = 0;
    else
        s->timer_at_ms = now + (timer == BACKOFF ? backoff_ms(s->failures, rnd) : delays[timer]);
    if (timer != NONE && !s->timer_at_ms)
        s->timer_at_ms = 1; /* 0 means none */
}

enum sup_action sup_step(struct sup *s, enum sup_event event, uint64_t now_ms, struct rnd *rnd)
{
    const struct cell *c = &table[s->state][event];
    if (event == SUP_EXIT && (s->state == SUP_UP || s->state == SUP_STARTING))
        s->failures++;
    if (event == SUP_TIMER && s->state == SUP_UP)
        s->failures = 0;
    if (c->action == SUP_SPAWN)
        s->starts++;
    s->state = c->next;
    set_timer(s, c->timer, now_ms, rnd);
    return c->action;
}

const char *sup_state_name(enum sup_state state)
{
    static const char *const names[] = {
        "down", "starting", "up", "backoff", "stopping", "restarting"};
    return names[state];
}
