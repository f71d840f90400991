/* SPDX-License-Identifier: Apache-2.0 */
/* One unit under a world that crashes, hangs, starts slowly or not at all, ignores TERM; an agent that dies between
 * saving and doing and is followed by another; an operator who changes his mind; a machine that sleeps. For half of
 * the run; then everything is well and the unit must become ready and stay so.
 *
 * At every step: never two processes; never started faster than the back-off allows, counted by the world and not by
 * the unit; every state that is not at rest has a way out. */
#include "fixture.h"

#include "domain/unit/unit.h"

#define FAULTS_MS (30u * 60 * 1000)
#define GRACE_MS (6u * 60 * 1000) /* for the last back-off, the last hang and a start */
#define END_MS (FAULTS_MS + 2 * GRACE_MS)
#define WINDOW_MS 60000u
/* 0, 0, 1, 3, 7, 15, 31 s after the first: what 0, 1, 2, 4, 8, 16 s of back-off allow within a minute. */
#define STARTS_MAX 7u

enum health { WELL, SLOW, HANGS, NEVER_READY };

struct world {
    struct sim *sim;
    struct unit u;
    struct unit_params params;
    json_t *saved; /* what the agent wrote last */
    bool agent_alive;
    uint64_t skew; /* the unit's clock is ahead of the simulator's: the machine slept */
    /* The process, and the shim that holds it. */
    bool shim, process;
    uint64_t incarnation; /* of the shim */
    enum health health;
    bool deaf; /* ignores TERM */
    uint64_t ready_at;
    struct unit_exit record; /* of the last shim, when it is gone */
    bool recorded;
    uint64_t starts[STARTS_MAX + 1]; /* since the last that an operator asked for; a ring */
    unsigned n_starts;
    uint64_t timer; /* the armed tick's number: older ones are void */
    bool operator_wants;
};

static uint64_t clock_of(const struct world *w)
{
    return sim_now(w->sim) + w->skew;
}

static bool faulty(const struct world *w)
{
    return sim_now(w->sim) < FAULTS_MS;
}

static void feed(struct world *w, struct unit_event ev);

/* --- the process --- */

static void shim_ends(struct world *w, struct unit_exit x)
{
    w->shim = w->process = false;
    w->record = x;
    w->recorded = true;
    if (w->agent_alive)
        feed(w,
            (struct unit_event){.kind = UNIT_EV_EXITED, .incarnation = w->incarnation, .exit = x});
}

static void on_crash(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (w->process && w->incarnation == incarnation && faulty(w))
        shim_ends(w, (struct unit_exit){.code = 1, .oom = sim_chance(w->sim, 10)});
}

static void on_hang(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (w->process && w->incarnation == incarnation && faulty(w))
        w->health = HANGS;
}

static void on_started(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (!w->shim || w->incarnation != incarnation)
        return;
    w->process = true;
    w->health = !faulty(w)               ? WELL
                : sim_chance(w->sim, 60) ? WELL
                                         : (enum health)sim_between(w->sim, SLOW, NEVER_READY);
    w->deaf = faulty(w) && sim_chance(w->sim, 20);
    w->ready_at = sim_now(w->sim) + (w->health == SLOW ? sim_between(w->sim, 1000, 20000) : 100);
    if (sim_chance(w->sim, 50))
        sim_at(w->sim,
            sim_now(w->sim) + sim_between(w->sim, 0, sim_chance(w->sim, 50) ? 500 : 200000),
            on_crash, w, incarnation);
    if (sim_chance(w->sim, 20))
        sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 0, 100000), on_hang, w, incarnation);
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = UNIT_EV_STARTED, .incarnation = incarnation});
}

static void on_not_started(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (!w->shim || w->incarnation != incarnation)
        return;
    w->shim = false;
    w->record = (struct unit_exit){.code = 255};
    w->recorded = true;
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = UNIT_EV_START_FAILED,
                    .incarnation = incarnation,
                    .permanent = sim_chance(w->sim, 30),
                    .text = "no such image"});
}

static void note_start(struct world *w)
{
    uint64_t now = clock_of(w);
    w->starts[w->n_starts++ % ARRAY_SIZE(w->starts)] = now;
    if (w->n_starts <= STARTS_MAX)
        return;
    uint64_t oldest = w->starts[w->n_starts % ARRAY_SIZE(w->starts)];
    if (now - oldest < WINDOW_MS)
        sim_fail(
            w->sim, "%u starts within %llu ms", STARTS_MAX + 1, (unsigned long long)(now - oldest));
}

static void do_start(struct world *w)
{
    if (w->shim) {
        sim_fail(
            w->sim, "started while incarnation %llu lives", (unsigned long long)w->incarnation);
        return;
    }
    note_start(w);
    w->shim = true;
    w->recorded = false;
    w->incarnation = w->u.incarnation;
    bool fails = faulty(w) && sim_chance(w->sim, 10);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 20, faulty(w) ? 3000 : 100),
        fails ? on_not_started : on_started, w, w->incarnation);
}

static void on_killed(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (w->shim && w->incarnation == incarnation)
        shim_ends(w, (struct unit_exit){.signal = 9});
}

static void on_termed(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    if (w->shim && w->incarnation == incarnation && !w->deaf)
        shim_ends(w, (struct unit_exit){.signal = 15});
}

static void on_probed(void *ctx, uint64_t incarnation)
{
    struct world *w = ctx;
    bool well = w->process && w->health != HANGS && w->health != NEVER_READY
                && sim_now(w->sim) >= w->ready_at;
    if (faulty(w) && sim_chance(w->sim, 3))
        well = false; /* a lost one */
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = well ? UNIT_EV_PROBE_OK : UNIT_EV_PROBE_FAIL,
                    .incarnation = incarnation,
                    .text = well ? NULL : "no answer"});
}

/* --- the agent --- */

static void on_tick(void *ctx, uint64_t number)
{
    struct world *w = ctx;
    if (w->agent_alive && number == w->timer)
        feed(w, (struct unit_event){.kind = UNIT_EV_TICK});
}

static void arm(struct world *w)
{
    uint64_t due = unit_deadline(&w->u), now = clock_of(w);
    w->timer++;
    if (due != UNIT_NEVER)
        sim_at(w->sim, sim_now(w->sim) + (due > now ? due - now : 0), on_tick, w, w->timer);
}

static void check(struct world *w)
{
    const struct unit *u = &w->u;
    bool needs_way_out = u->state == UNIT_STARTING || u->state == UNIT_STOPPING
                         || u->state == UNIT_BACKOFF || u->state == UNIT_FAILED
                         || u->state == UNIT_UNHEALTHY;
    if (needs_way_out && unit_deadline(u) == UNIT_NEVER && !u->probing)
        sim_fail(w->sim, "%s has no way out", unit_state_name(u->state));
    if ((u->state == UNIT_STOPPED || u->state == UNIT_BACKOFF || u->state == UNIT_FAILED)
        && w->shim)
        sim_fail(w->sim, "%s while a process lives", unit_state_name(u->state));
    if (u->state == UNIT_READY && !u->alive)
        sim_fail(w->sim, "ready without a process");
}

static void on_agent_back(void *ctx, uint64_t unused);

static void agent_dies(struct world *w)
{
    sim_trace(w->sim, "agent dies");
    w->agent_alive = false;
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 10, 90000), on_agent_back, w, 0);
}

static void carry_out(struct world *w, enum unit_action_kind a)
{
    uint64_t now = sim_now(w->sim);
    if (a == UNIT_ACT_START)
        do_start(w);
    else if (a == UNIT_ACT_TERM)
        sim_at(w->sim, now + sim_between(w->sim, 1, 3000), on_termed, w, w->incarnation);
    else if (a == UNIT_ACT_KILL)
        sim_at(w->sim, now + sim_between(w->sim, 1, 100), on_killed, w, w->incarnation);
    else if (a == UNIT_ACT_PROBE)
        sim_at(w->sim, now + sim_between(w->sim, 1, 1000), on_probed, w, w->u.incarnation);
}

static void feed(struct world *w, struct unit_event ev)
{
    struct unit_actions acts = {.n = 0};
    enum unit_state before = w->u.state;
    unit_step(&w->u, &ev, clock_of(w), sim_rnd(w->sim), &acts);
    if (w->u.state != before)
        sim_trace(w->sim, "%s -> %s  %s", unit_state_name(before), unit_state_name(w->u.state),
            w->u.reason);
    json_decref(w->saved);
    w->saved = unit_save(&w->u);
    if (faulty(w) && rnd_below(sim_rnd(w->sim), 400) == 0) { /* saved, and not done */
        agent_dies(w);
        return;
    }
    for (size_t i = 0; i < acts.n; i++)
        carry_out(w, acts.v[i]);
    check(w);
    arm(w);
}

/* As service/agent adopts. */
static void on_agent_back(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    struct err e = {0};
    bool off = w->u.backoff_off;
    if (unit_restore(&w->u, w->saved, &w->params, clock_of(w), &e) < 0) {
        sim_fail(w->sim, "what was saved is not taken: %s", e.message);
        return;
    }
    w->u.backoff_off = off;
    w->agent_alive = true;
    sim_trace(w->sim, "agent back, %s", unit_state_name(w->u.state));
    if (w->u.alive && !w->shim) {
        struct unit_exit lost = {.lost = true};
        bool of_it = w->recorded && w->incarnation == w->u.incarnation;
        feed(w, (struct unit_event){.kind = UNIT_EV_EXITED,
                    .incarnation = w->u.incarnation,
                    .exit = of_it ? w->record : lost});
    } else if (w->u.alive && w->process && w->u.state == UNIT_STARTING) {
        feed(w, (struct unit_event){.kind = UNIT_EV_STARTED, .incarnation = w->u.incarnation});
    }
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = w->operator_wants ? UNIT_EV_WANT : UNIT_EV_UNWANT});
}

/* --- what comes from outside --- */

static void on_operator(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!faulty(w))
        return;
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1000, 600000), on_operator, w, 0);
    bool changes = sim_chance(w->sim, 50);
    if (!changes)
        w->operator_wants = !w->operator_wants;
    w->n_starts = 0;
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = changes             ? UNIT_EV_CHANGED
                                            : w->operator_wants ? UNIT_EV_WANT
                                                                : UNIT_EV_UNWANT});
}

static void on_sleep(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!faulty(w))
        return;
    uint64_t slept = sim_between(w->sim, 1000, sim_chance(w->sim, 30) ? 3600000 : 30000);
    sim_trace(w->sim, "the machine slept %llu ms", (unsigned long long)slept);
    w->skew += slept;
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 10000, 600000), on_sleep, w, 0);
    if (w->agent_alive)
        arm(w);
}

static void on_agent_crash(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!faulty(w))
        return;
    if (w->agent_alive)
        agent_dies(w);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 10000, 900000), on_agent_crash, w, 0);
}

static void on_calm(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    w->operator_wants = true;
    if (w->process && w->health != WELL && w->health != SLOW)
        w->deaf = false; /* it hangs on, and is to be probed out */
    if (w->agent_alive)
        feed(w, (struct unit_event){.kind = UNIT_EV_WANT});
}

static char *run_with(uint64_t seed, bool trace, bool backoff_off)
{
    struct world w = {.sim = sim_new(seed, trace), .agent_alive = true, .operator_wants = true};
    w.params = (struct unit_params){.probe = sim_chance(w.sim, 80) ? PROBE_HTTP : PROBE_NONE,
        .interval_ms = sim_between(w.sim, 100, 5000),
        .start_timeout_ms = sim_between(w.sim, 5000, 30000),
        .stop_timeout_ms = sim_between(w.sim, 100, 10000),
        .failures = (unsigned)sim_between(w.sim, 1, 5)};
    unit_init(&w.u, &w.params, 0);
    w.u.backoff_off = backoff_off;
    sim_at(w.sim, sim_between(w.sim, 0, 300000), on_operator, &w, 0);
    sim_at(w.sim, sim_between(w.sim, 0, 300000), on_sleep, &w, 0);
    sim_at(w.sim, sim_between(w.sim, 0, 300000), on_agent_crash, &w, 0);
    sim_at(w.sim, FAULTS_MS, on_calm, &w, 0);
    feed(&w, (struct unit_event){.kind = UNIT_EV_WANT});
    sim_run(w.sim, FAULTS_MS + GRACE_MS);
    if (w.u.state != UNIT_READY)
        sim_fail(w.sim, "not ready again, but %s: %s", unit_state_name(w.u.state), w.u.reason);
    uint64_t incarnation = w.u.incarnation;
    sim_run(w.sim, END_MS);
    if (w.u.state != UNIT_READY || w.u.incarnation != incarnation || w.u.failures)
        sim_fail(w.sim, "did not stay ready: %s: %s", unit_state_name(w.u.state), w.u.reason);
    char *why = sim_failure(w.sim) ? xstrdup(sim_failure(w.sim)) : NULL;
    json_decref(w.saved);
    sim_free(w.sim);
    return why;
}

static char *run(uint64_t seed, bool trace)
{
    return run_with(seed, trace, false);
}

/* The world must find out a unit without back-off, or it proves nothing. */
static unsigned extra(unsigned *failed)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        _cleanup_free_ char *why = run_with(seed, false, true);
        if (why) {
            printf(
                "back-off off: seed %llu fails, as it must: %s\n", (unsigned long long)seed, why);
            return 1;
        }
    }
    printf("FAILED: nobody notices that the back-off is off\n");
    (*failed)++;
    return 0;
}

int main(int argc, char **argv)
{
    const struct sim_suite suite = {"unit", run, extra};
    return sim_main(argc, argv, &suite);
}
