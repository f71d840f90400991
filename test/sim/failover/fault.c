/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to the world: one main event and some others at random, or a named scenario. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

static const char *const names[FAULTS] = {"dark", "power", "freeze", "cut", "one-way", "loss",
    "kill", "stop", "dead", "stall", "errant", "differs", "slow-apply", "wall-clock", "leader-dies",
    "store-leader-stops", "dns-fails", "pause", "failover", "attest", "watchers-stop",
    "acknowledge"};

void fault_text(const struct fault *f, char *buf, size_t size)
{
    char where[64] = "";
    if (f->kind == FAULT_CUT || f->kind == FAULT_ONE_WAY)
        snprintf(where, sizeof where, " %s %s", host_name(f->a), host_name(f->b));
    else if (f->kind == FAULT_KILL || f->kind == FAULT_STOP)
        snprintf(where, sizeof where, " %s %s", host_name(f->a), process_name((enum process)f->b));
    else
        snprintf(where, sizeof where, " %s", host_name(f->a));
    snprintf(buf, size, "%s%s at %llu ms for %llu ms", names[f->kind], where,
        (unsigned long long)f->at_ms, (unsigned long long)f->for_ms);
}

/* ---- one fault */

static void stop(struct world *w, unsigned h, enum process p, uint64_t for_ms)
{
    struct process_state *s = &w->h[h].p[p];
    s->stopped_until = MAX(s->stopped_until, sim_now(w->sim) + for_ms);
}

static void kill(struct world *w, unsigned h, enum process p);

static void on_back(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    enum process p = (enum process)j->kind;
    struct process_state *s = &w->h[j->host].p[p];
    if (!w->h[j->host].powered
        || w->h[j->host].frozen_until > sim_now(w->sim)) { /* nobody starts it */
        job_in(j, 500, on_back);
        return;
    }
    if (!s->up) {
        s->up = true;
        s->life++;
        s->began_ms = sim_now(w->sim);
        s->stopped_until = 0;
        if (p == P_CONTROL)
            control_born(w, j->host);
        if (p == P_DATA && w->has_db[j->host])
            role_start(w, j->host);
    }
    job_free(j);
}

static void kill(struct world *w, unsigned h, enum process p)
{
    struct process_state *s = &w->h[h].p[p];
    if (!s->up)
        return;
    if (p == P_SERVER) {
        if (w->has_db[h]) {
            server_die(w, h, "killed");
        }
        return;
    }
    s->up = false;
    s->life++;
    if (p == P_WATCHDOG)
        memset(&w->h[h].watchdog, 0, sizeof w->h[h].watchdog);
    if (p == P_MESH)
        memset(&w->h[h].gate, 0, sizeof w->h[h].gate);
    struct job *j = job_new(w);
    j->host = h;
    j->kind = (int)p;
    job_in(j, sim_between(w->sim, 100, w->calm || sim_chance(w->sim, 80) ? 3000 : 15000), on_back);
}

static void cut(struct world *w, unsigned a, unsigned b, int by)
{
    w->cut[a][b] = (unsigned)((int)w->cut[a][b] + by);
}

static void cut_all(struct world *w, unsigned h, int by)
{
    for (unsigned k = 0; k < HOSTS; k++)
        if (k != h) {
            cut(w, h, k, by);
            cut(w, k, h, by);
        }
}

static void power(struct world *w, unsigned h, bool on)
{
    if (!on)
        for (unsigned p = 0; p < PROCESSES; p++)
            kill(w, h, (enum process)p);
    w->h[h].powered = on;
}

static void freeze(struct world *w, unsigned h, uint64_t for_ms)
{
    w->h[h].frozen_until = MAX(w->h[h].frozen_until, sim_now(w->sim) + for_ms);
}

/* Somebody writes at a replica. */
static void err(struct world *w, unsigned h)
{
    struct server *s = &w->h[h].server;
    if (runs(w, h, P_SERVER) && s->read_only && s->attached != NOBODY && !w->calm) {
        server_commit(w, h);
        w->errant[h] = s->attached + 1;
    }
}

static unsigned leading(const struct world *w)
{
    return w->store.lead_holder < HOSTS ? w->store.lead_holder : KR;
}

static void people(struct world *w, const struct fault *f, bool begins)
{
    const struct failover_wish wish = {.to = host_name(f->b),
        .by = "op",
        .why = "drill of the simulator",
        .order = {.by_hand = true,
            .accept_loss = f->for_ms % 2,
            .loss_ms = 60000,
            .source_off = f->kind == FAULT_ATTEST}};
    unsigned source = host_of(json_opt_str(w->store.doc, "source", ""));
    if (f->kind == FAULT_PAUSE)
        person_says(w, begins ? PERSON_PAUSE : PERSON_RESUME);
    else if (f->kind == FAULT_ACK)
        person_says(w, PERSON_ACK);
    else if (begins && (f->kind == FAULT_FAILOVER || (source < HOSTS && !w->h[source].powered)))
        leader_order(w, leading(w), &wish);
}

static void apply(struct world *w, struct fault *f, bool begins)
{
    int by = begins ? 1 : -1;
    switch (f->kind) {
    case FAULT_DARK:
        cut_all(w, f->a, by);
        break;
    case FAULT_POWER:
        power(w, f->a, !begins);
        break;
    case FAULT_FREEZE:
        if (begins)
            freeze(w, f->a, f->for_ms);
        break;
    case FAULT_CUT:
        cut(w, f->a, f->b, by);
        cut(w, f->b, f->a, by);
        break;
    case FAULT_ONE_WAY:
        cut(w, f->a, f->b, by);
        break;
    case FAULT_LOSS:
        w->lossy = begins ? 5 + f->b * 10 : 0;
        break;
    case FAULT_KILL:
        if (begins)
            kill(w, f->a, (enum process)f->b);
        break;
    case FAULT_STOP:
        if (begins)
            stop(w, f->a, (enum process)f->b, f->for_ms);
        break;
    case FAULT_DEAD:
        w->stays_dead[f->a] = (unsigned)((int)w->stays_dead[f->a] + by);
        if (begins)
            kill(w, f->a, P_SERVER);
        break;
    case FAULT_STALL:
        w->h[f->a].server.stalled = begins;
        break;
    case FAULT_ERRANT:
        if (begins && w->has_db[f->a])
            err(w, f->a);
        break;
    case FAULT_DIFFERS:
        if (begins && w->h[f->a].server.attached != NOBODY)
            w->h[f->a].server.differs = true;
        break;
    case FAULT_SLOW_APPLY:
        w->slow_apply = (unsigned)((int)w->slow_apply + by);
        break;
    case FAULT_WALL:
        w->h[f->a].wall_ms += by * (int64_t)(f->for_ms * (f->b + 1));
        break;
    case FAULT_LEADER:
        if (begins)
            kill(w, leading(w), P_CONTROL);
        break;
    case FAULT_STORE_LEADER:
        if (begins && w->store.leader != NOBODY)
            stop(w, w->store.leader, P_MEMBER, f->for_ms);
        break;
    case FAULT_SWITCH_FAILS:
        w->switch_fails = (unsigned)((int)w->switch_fails + by);
        break;
    case FAULT_PAUSE:
    case FAULT_FAILOVER:
    case FAULT_ATTEST:
    case FAULT_ACK:
        people(w, f, begins);
        break;
    case FAULT_WATCHERS:
        if (begins) {
            stop(w, f->a, P_DATA, f->for_ms);
            stop(w, f->a, P_WATCHDOG, f->for_ms);
        }
        break;
    case FAULTS:
        break;
    }
}

static void on_begin(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    char text[128];
    fault_text(&w->faults[i], text, sizeof text);
    sim_trace(w->sim, "-- %s", text);
    apply(w, &w->faults[i], true);
}

static void on_end(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    sim_trace(w->sim, "-- %s is over", names[w->faults[i].kind]);
    apply(w, &w->faults[i], false);
}

void faults_start(struct world *w)
{
    for (size_t i = 0; i < w->n_faults; i++) {
        const struct fault *f = &w->faults[i];
        if (w->o.left_out >> i & 1)
            continue;
        sim_at(w->sim, f->at_ms, on_begin, w, i);
        sim_at(w->sim, f->at_ms + f->for_ms, on_end, w, i);
    }
}

/* ---- which */

struct fault *fault_add(
    struct world *w, enum fault_kind kind, unsigned a, unsigned b, uint64_t at_ms, uint64_t for_ms)
{
    if (w->n_faults == FAULTS_MAX)
        return &w->faults[FAULTS_MAX - 1];
    struct fault *f = &w->faults[w->n_faults++];
    *f = (struct fault){kind, MIN(at_ms, FAULTS_END_MS - 1), 0, a, b};
    f->for_ms = MIN(for_ms, FAULTS_END_MS - f->at_ms);
    return f;
}

static uint64_t pick(struct rnd *r, uint64_t lo, uint64_t hi)
{
    return lo + rnd_below(r, hi - lo + 1);
}

/* The event that the seed is about, at the source of the beginning. */
static void make_main(struct world *w, struct rnd *r)
{
    uint64_t at = pick(r, 12000, 17000), long_ms = pick(r, 18000, 40000);
    switch (pick(r, 0, 15)) {
    case 0:
    case 1:
        fault_add(w, FAULT_DARK, HK, 0, at, long_ms);
        break;
    case 2:
        fault_add(w, FAULT_POWER, HK, 0, at, long_ms);
        break;
    case 3:
    case 4:
        fault_add(w, FAULT_FREEZE, HK, 0, at, long_ms);
        break;
    case 5:
        fault_add(w, FAULT_DEAD, HK, 0, at, long_ms);
        break;
    case 6:
        fault_add(w, FAULT_STOP, HK, P_SERVER, at, long_ms);
        break;
    case 7:
        fault_add(w, FAULT_STALL, HK, 0, at, long_ms);
        break;
    case 8:
        fault_add(w, FAULT_CUT, HK, KR, at, long_ms);
        break;
    case 9:
        fault_add(w, FAULT_ONE_WAY, HK, KR, at, long_ms);
        fault_add(w, FAULT_ONE_WAY, HK, SG, at, long_ms);
        break;
    case 10:
        fault_add(w, FAULT_ONE_WAY, KR, HK, at, long_ms);
        fault_add(w, FAULT_ONE_WAY, SG, HK, at + pick(r, 0, 5000), long_ms);
        break;
    case 11: /* nobody is there to fence it */
        fault_add(w, FAULT_WATCHERS, HK, 0, at, long_ms);
        fault_add(w, FAULT_DARK, HK, 0, at + pick(r, 0, 4000), long_ms);
        break;
    case 12: /* its control stands still, and what looks after the server */
        fault_add(w, FAULT_STOP, HK, P_CONTROL, at, long_ms);
        if (pick(r, 0, 1))
            fault_add(w, FAULT_WATCHERS, HK, 0, at, long_ms);
        break;
    case 13: /* everything but what answers clients */
        fault_add(w, FAULT_STOP, HK, P_MESH, at, pick(r, 1000, long_ms));
        fault_add(w, FAULT_DEAD, HK, 0, at + pick(r, 0, 3000), long_ms);
        break;
    case 14:
        fault_add(w, FAULT_CUT, HK, SG, at, long_ms);
        fault_add(w, FAULT_CUT, HK, KR, at + pick(r, 0, 8000), long_ms);
        break;
    default:
        fault_add(w, FAULT_STORE_LEADER, HK, 0, at, long_ms);
        break;
    }
}

static void make_other(struct world *w, struct rnd *r)
{
    enum fault_kind kind = (enum fault_kind)pick(r, 0, FAULTS - 1);
    unsigned a = (unsigned)pick(r, 0, HOSTS - 1),
             b = (unsigned)((a + pick(r, 1, HOSTS - 1)) % HOSTS);
    uint64_t at = pick(r, 10000, FAULTS_END_MS - 5000);
    uint64_t for_ms = pick(r, 0, 2) ? pick(r, 200, 6000) : pick(r, 3000, 30000);
    if (kind == FAULT_KILL || kind == FAULT_STOP)
        b = (unsigned)pick(r, 0, PROCESSES - 1);
    if (kind == FAULT_ERRANT || kind == FAULT_DIFFERS)
        a = KR;
    if ((kind == FAULT_STALL || kind == FAULT_DEAD) && a == SG)
        a = HK;
    if (kind == FAULT_FAILOVER || kind == FAULT_ATTEST)
        b = pick(r, 0, 2) ? KR : HK;
    /* Rare, for each of them keeps the rest from happening. */
    if ((kind == FAULT_ERRANT || kind == FAULT_DIFFERS || kind == FAULT_WALL) && pick(r, 0, 3))
        return;
    fault_add(w, kind, a, b, at, for_ms);
}

void faults_make(struct world *w, struct rnd *r)
{
    if (w->o.scenario) {
        w->o.scenario->make(w);
        return;
    }
    uint64_t others = pick(r, 0, 6);
    make_main(w, r);
    for (uint64_t k = 0; k < others; k++)
        make_other(w, r);
}

/* ---- the end of all faults */

void faults_calm(struct world *w)
{
    w->calm = true;
    w->calm_ms = sim_now(w->sim);
    w->lossy = 0;
    for (unsigned h = 0; h < HOSTS; h++) {
        for (unsigned p = 0; p < PROCESSES; p++)
            w->h[h].p[p].stopped_until = MIN(w->h[h].p[p].stopped_until, sim_now(w->sim));
        w->h[h].frozen_until = MIN(w->h[h].frozen_until, sim_now(w->sim));
        w->h[h].wall_ms = 0;
    }
    person_says(w, PERSON_RESUME);
}
