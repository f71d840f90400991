/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/ladder.h"

#include <string.h>

static const char *const step_names[] = {
    [LADDER_NONE] = "none",
    [LADDER_RECONNECT] = "reconnect",
    [LADDER_RESTART_IO] = "restart-io",
    [LADDER_REBUILD] = "rebuild-relay",
    [LADDER_REFILL] = "refill",
    [LADDER_RESEED] = "reseed",
    [LADDER_FROZEN] = "frozen",
};

const char *ladder_step_name(enum ladder_step s)
{
    return step_names[s];
}

enum { IO = 1, SQL = 2, ANY = 3 };

/* First row that fits decides; what fits none is LADDER_DATA: not known to be passing. Numbers are
 * those of MariaDB's and MySQL's servers (below 2000, and 3000 up) and client library (2000 up). */
static const struct {
    unsigned thread, number;
    const char *text; /* part of the message; NULL: any */
    enum ladder_class class;
} errors[] = {
    {IO, 1236, "not in the master's binlog", LADDER_DIVERGED},
    {IO, 1236, "diverged", LADDER_DIVERGED},
    {IO, 1236, "purged", LADDER_PURGED},
    {IO, 1236, "Could not find GTID state", LADDER_PURGED},
    /* MySQL's receiving thread: the source has purged, or the replica has more than the source. */
    {IO, 13114, "purged", LADDER_PURGED},
    {IO, 13114, NULL, LADDER_DIVERGED},
    {IO, 1040, NULL, LADDER_PASSING},        /* too many connections */
    {IO, 1203, NULL, LADDER_PASSING},        /* of this user */
    {ANY, 1053, NULL, LADDER_PASSING},       /* the server shuts down */
    {ANY, 1152, NULL, LADDER_PASSING},       /* aborted connection */
    {ANY, 1158, NULL, LADDER_PASSING},       /* network read and write, 1158 to 1161 */
    {ANY, 1159, NULL, LADDER_PASSING},
    {ANY, 1160, NULL, LADDER_PASSING},
    {ANY, 1161, NULL, LADDER_PASSING},
    {ANY, 1184, NULL, LADDER_PASSING},
    {ANY, 1317, NULL, LADDER_PASSING},       /* interrupted */
    {ANY, 1927, NULL, LADDER_PASSING},       /* killed */
    {IO, 1593, NULL, LADDER_LIMITED}, /* lost on the way of asking, or servers that do not fit */
    {IO, 1429, NULL, LADDER_PASSING},
    {IO, 1044, NULL, LADDER_CREDENTIALS},
    {IO, 1045, NULL, LADDER_CREDENTIALS},
    {IO, 1129, NULL, LADDER_CREDENTIALS},    /* blocked for its many failures */
    {IO, 1130, NULL, LADDER_CREDENTIALS},
    {IO, 1227, NULL, LADDER_CREDENTIALS},
    {IO, 1251, NULL, LADDER_CREDENTIALS},
    {IO, 1698, NULL, LADDER_CREDENTIALS},
    {IO, 2026, NULL, LADDER_CREDENTIALS},    /* TLS */
    {IO, 2059, NULL, LADDER_CREDENTIALS},
    {IO, 2061, NULL, LADDER_CREDENTIALS},
    {IO, 3159, NULL, LADDER_CREDENTIALS},    /* TLS is demanded */
    {ANY, 2002, NULL, LADDER_PASSING},
    {ANY, 2003, NULL, LADDER_PASSING},
    {ANY, 2005, NULL, LADDER_PASSING},
    {ANY, 2006, NULL, LADDER_PASSING},
    {ANY, 2012, NULL, LADDER_PASSING},
    {ANY, 2013, NULL, LADDER_PASSING},
    {ANY, 2055, NULL, LADDER_PASSING},
    {SQL, 1205, NULL, LADDER_LIMITED},       /* locks */
    {SQL, 1213, NULL, LADDER_LIMITED},
    {SQL, 1614, NULL, LADDER_LIMITED},
    {ANY, 1594, NULL, LADDER_RELAY},
    {ANY, 1595, NULL, LADDER_RELAY},
};

enum ladder_class ladder_classify(bool io, unsigned number, const char *text)
{
    unsigned thread = io ? IO : SQL;
    if (!number)
        return LADDER_FINE;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        if ((errors[i].thread & thread) && errors[i].number == number
            && (!errors[i].text || (text && strstr(text, errors[i].text))))
            return errors[i].class;
    return LADDER_DATA;
}

uint64_t ladder_wait_ms(unsigned tries, uint64_t min_ms, uint64_t max_ms, struct rnd *rnd)
{
    uint64_t ms = tries > 16 ? max_ms : MIN(min_ms << (tries ? tries - 1 : 0), max_ms);
    return ms + rnd_below(rnd, ms / 4 + 1);
}

void ladder_reset(struct ladder *l)
{
    *l = (struct ladder){.skips = l->skips};
}

void ladder_hurry(struct ladder *l)
{
    if (l->held == LADDER_CREDENTIALS)
        l->next_ms = 0;
}

/* Begins, or repeats, a step; the next one not before its wait. */
static enum ladder_act climb(struct ladder *l, enum ladder_step step, enum ladder_act act,
    uint64_t now_ms, struct rnd *rnd)
{
    bool slowly = l->held == LADDER_CREDENTIALS || l->held == LADDER_PURGED;
    l->tries++;
    l->step = step;
    l->progress_ms = now_ms; /* what is done now has two periods to bring something */
    l->next_ms = now_ms
                 + ladder_wait_ms(l->tries, slowly ? LADDER_SLOW_MIN_MS : LADDER_WAIT_MIN_MS,
                     slowly ? LADDER_SLOW_MAX_MS : LADDER_WAIT_MAX_MS, rnd);
    return act;
}

static enum ladder_act freeze(struct ladder *l, enum ladder_class class, unsigned number)
{
    l->step = LADDER_FROZEN;
    l->held = class;
    l->number = number;
    l->next_ms = 0;
    return LADDER_ACT_FREEZE;
}

/* What an error means by now: what was to pass and did not has to be looked at. */
static enum ladder_class judge(
    struct ladder *l, bool io, unsigned number, const char *text, uint64_t now_ms)
{
    enum ladder_class class = ladder_classify(io, number, text);
    if (class == LADDER_FINE) /* stopped by us: the reason is the one that we had */
        class = l->held;
    if (class == LADDER_LIMITED && l->limited >= LADDER_LIMITED_TRIES)
        class = LADDER_DATA;
    if (class == LADDER_LIMITED && now_ms >= l->next_ms)
        l->limited++;
    if (class == LADDER_DATA && l->skips)
        class = LADDER_PASSING;
    return class;
}

/* A thread has ended, by an error or because somebody stopped it. */
static enum ladder_act resume(struct ladder *l, const struct ladder_params *p,
    enum ladder_class class, unsigned number, uint64_t now_ms, struct rnd *rnd)
{
    if (class == LADDER_DATA || class == LADDER_DIVERGED)
        return freeze(l, class, number);
    if (now_ms < l->next_ms)
        return LADDER_WAIT;
    l->held = class;
    if (class == LADDER_RELAY && !p->manual)
        return climb(l, LADDER_REBUILD, LADDER_ACT_REBUILD, now_ms, rnd);
    if (class == LADDER_PURGED && !p->manual) {
        bool refill = p->has_vault && l->step != LADDER_REFILL && l->step != LADDER_RESEED;
        return refill ? climb(l, LADDER_REFILL, LADDER_ACT_REFILL, now_ms, rnd)
                      : climb(l, LADDER_RESEED, LADDER_ACT_RESEED, now_ms, rnd);
    }
    return climb(l, LADDER_RECONNECT, LADDER_ACT_START, now_ms, rnd);
}

static enum ladder_act connecting(
    struct ladder *l, const struct ladder_look *k, uint64_t now_ms, struct rnd *rnd)
{
    if (ladder_classify(true, k->io_errno, k->io_error) == LADDER_CREDENTIALS) {
        l->held = LADDER_CREDENTIALS; /* and started again after the wait, by resume() */
        return climb(l, LADDER_RECONNECT, LADDER_ACT_STOP_IO, now_ms, rnd);
    }
    if (!l->connecting_ms)
        l->connecting_ms = now_ms;
    if (!l->fruitless) /* else it is what that led to */
        l->step = LADDER_RECONNECT;
    if (k->io_errno || now_ms - l->connecting_ms < LADDER_CONNECT_MS || now_ms < l->next_ms)
        return LADDER_WAIT;
    l->connecting_ms = 0;
    return climb(l, LADDER_RESTART_IO, LADDER_ACT_RESTART_IO, now_ms, rnd);
}

/* All seems well. Nothing came for two periods: it is not. */
static enum ladder_act running(
    struct ladder *l, const struct ladder_params *p, uint64_t now_ms, struct rnd *rnd)
{
    /* Heartbeats are sent in idle times only, and a look may just have missed one. */
    uint64_t patience_ms = 2 * p->heartbeat_ms + p->heartbeat_ms / 4;
    l->held = LADDER_FINE;
    if (!l->well_ms)
        l->well_ms = now_ms;
    if (now_ms - l->progress_ms > patience_ms) {
        if (++l->fruitless > LADDER_RESTARTS && !p->manual)
            return climb(l, LADDER_REBUILD, LADDER_ACT_REBUILD, now_ms, rnd);
        return climb(l, LADDER_RESTART_IO, LADDER_ACT_RESTART_IO, now_ms, rnd);
    }
    if (!l->fruitless)
        l->step = LADDER_NONE;
    if (!l->fruitless && now_ms - l->well_ms > LADDER_CALM_MS) {
        l->tries = l->limited = 0;
        l->next_ms = 0;
    }
    return LADDER_WAIT;
}

static void note_progress(struct ladder *l, const struct ladder_look *k, uint64_t now_ms)
{
    bool came = k->heartbeats > l->heartbeats || k->received > l->received;
    if (!l->looked || k->io != LADDER_IO_YES || came)
        l->progress_ms = now_ms;
    if (l->looked && k->io == LADDER_IO_YES && came)
        l->fruitless = 0;
    l->looked = true;
    l->heartbeats = k->heartbeats; /* a counter that begins anew has not moved */
    l->received = k->received;
    if (k->io != LADDER_IO_CONNECTING)
        l->connecting_ms = 0;
    if (k->io != LADDER_IO_YES || !k->sql)
        l->well_ms = 0;
}

enum ladder_act ladder_step(struct ladder *l, const struct ladder_params *p,
    const struct ladder_look *look, uint64_t now_ms, struct rnd *rnd)
{
    note_progress(l, look, now_ms);
    if (l->step == LADDER_FROZEN)
        return LADDER_WAIT;
    if (!look->sql && look->sql_errno)
        return resume(l, p, judge(l, false, look->sql_errno, look->sql_error, now_ms),
            look->sql_errno, now_ms, rnd);
    if (look->io == LADDER_IO_NO || !look->sql)
        return resume(l, p, judge(l, true, look->io_errno, look->io_error, now_ms), look->io_errno,
            now_ms, rnd);
    if (look->io == LADDER_IO_CONNECTING)
        return connecting(l, look, now_ms, rnd);
    return running(l, p, now_ms, rnd);
}
