/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to the world by name (doc/guide/failover.md lists them): the faults, and what must have become of it at
 * the end, besides everything that must hold in any run. */
#include "world.h"

#include "base/str/str.h"

#define AT_MS 15000u /* all is well for so long */
#define LONG_MS 40000u

static uint64_t soon(struct world *w)
{
    return AT_MS + sim_between(w->sim, 0, 5000);
}

/* ---- what happens */

static void github(struct world *w)
{
    fault_add(w, FAULT_DARK, HK, 0, AT_MS, 43000);
}

static void frozen(struct world *w)
{
    w->half_open = true;
    fault_add(w, FAULT_FREEZE, HK, 0, AT_MS, LONG_MS);
}

static void dark(struct world *w)
{
    fault_add(w, FAULT_DARK, HK, 0, soon(w), LONG_MS);
}

static void power_off(struct world *w)
{
    fault_add(w, FAULT_POWER, HK, 0, soon(w), LONG_MS);
}

static void freeze_all(struct world *w)
{
    fault_add(w, FAULT_FREEZE, HK, 0, soon(w), LONG_MS);
}

static void source_killed(struct world *w)
{
    fault_add(w, FAULT_KILL, HK, P_SERVER, soon(w), LONG_MS);
}

static void source_dead(struct world *w)
{
    fault_add(w, FAULT_DEAD, HK, 0, soon(w), LONG_MS);
}

static void source_stopped(struct world *w)
{
    fault_add(w, FAULT_STOP, HK, P_SERVER, soon(w), LONG_MS);
}

static void disk_stalls(struct world *w)
{
    fault_add(w, FAULT_STALL, HK, 0, soon(w), LONG_MS);
}

static void controller_too(struct world *w)
{
    fault_add(w, FAULT_POWER, HK, 0, AT_MS, LONG_MS);
    fault_add(w, FAULT_LEADER, HK, 0, AT_MS + 1, 10);
    fault_add(w, FAULT_LEADER, HK, 0, 30000, 10);
    fault_add(w, FAULT_LEADER, HK, 0, 34000, 10);
}

static void half_way(struct world *w)
{
    fault_add(w, FAULT_POWER, HK, 0, AT_MS, LONG_MS);
    fault_add(w, FAULT_SWITCH_FAILS, HK, 0, AT_MS, 35000);
}

/* For longer than anybody waits: it is left partial, and who leads by then takes it up again. */
static void left_partial(struct world *w)
{
    fault_add(w, FAULT_POWER, HK, 0, AT_MS, LONG_MS);
    fault_add(w, FAULT_LEADER, HK, 0, 50000, 10);
    fault_add(w, FAULT_SWITCH_FAILS, HK, 0, AT_MS, 0)->for_ms = 95000;
}

static void extra_transactions(struct world *w)
{
    fault_add(w, FAULT_CUT, HK, KR, AT_MS + 1500, 30000); /* it goes on, the replica falls behind */
    fault_add(w, FAULT_DARK, HK, 0, AT_MS + 3000, LONG_MS);
}

static void semi_sync(struct world *w)
{
    w->semi_sync = true;
    fault_add(w, FAULT_POWER, HK, 0, soon(w), LONG_MS);
}

static void nobody_fences(struct world *w)
{
    fault_add(w, FAULT_WATCHERS, HK, 0, AT_MS, LONG_MS);
    fault_add(w, FAULT_DARK, HK, 0, AT_MS + 2000, LONG_MS);
}

static void witness_lost(struct world *w)
{
    fault_add(w, FAULT_POWER, SG, 0, AT_MS - 2000, 45000);
    fault_add(w, FAULT_CUT, HK, KR, AT_MS + 10000, 20000);
}

static void wan_cut(struct world *w)
{
    fault_add(w, FAULT_CUT, HK, KR, AT_MS, LONG_MS);
}

static void asymmetric(struct world *w)
{
    fault_add(w, FAULT_ONE_WAY, HK, KR, AT_MS, LONG_MS);
}

static void source_mute(struct world *w)
{
    fault_add(w, FAULT_ONE_WAY, HK, KR, AT_MS, LONG_MS);
    fault_add(w, FAULT_ONE_WAY, HK, SG, AT_MS, LONG_MS);
}

static void source_deaf(struct world *w)
{
    fault_add(w, FAULT_ONE_WAY, KR, HK, AT_MS, LONG_MS);
    fault_add(w, FAULT_ONE_WAY, SG, HK, AT_MS, LONG_MS);
}

static void flapping(struct world *w)
{
    for (unsigned k = 0; k < 5; k++)
        fault_add(w, FAULT_DARK, HK, 0, 12000 + 9000 * k, sim_between(w->sim, 2000, 7000));
}

/* Each time for so long that another takes over, and then that one. */
static void flapping_slowly(struct world *w)
{
    fault_add(w, FAULT_DARK, HK, 0, 10000, 22000);
    fault_add(w, FAULT_DARK, KR, 0, 38000, 22000);
}

static void paused(struct world *w)
{
    fault_add(w, FAULT_PAUSE, HK, 0, 10000, 49000);
    fault_add(w, FAULT_POWER, HK, 0, AT_MS, LONG_MS);
}

static void store_leader(struct world *w)
{
    fault_add(w, FAULT_STORE_LEADER, HK, 0, soon(w), 20000);
}

static void clocks_jump(struct world *w)
{
    fault_add(w, FAULT_WALL, HK, 2, AT_MS, LONG_MS);
    fault_add(w, FAULT_WALL, KR, 5, AT_MS + 5000, 30000);
}

/* ---- what must have become of it */

static void expect_moved(struct world *w)
{
    if (w->epoch < 2)
        sim_fail(w->sim, "nobody was promoted");
}

static void expect_stayed(struct world *w)
{
    if (w->epoch != 1)
        sim_fail(w->sim, "%s was promoted", host_name(w->epochs[w->epoch].host));
}

static void expect_once(struct world *w)
{
    if (w->epoch > 2)
        sim_fail(w->sim, "it went over %d times", (int)w->epoch - 1);
}

static void expect_lost(struct world *w)
{
    expect_moved(w);
    if (!w->epochs[2].lost_to)
        sim_fail(w->sim, "the old source had nothing that the new one lacks");
}

static void expect_none_lost(struct world *w)
{
    expect_moved(w);
    if (w->epochs[2].lost_to)
        sim_fail(w->sim, "acknowledged writes are missing");
}

/* What each of the two wrote by itself, both have or neither. */
static void expect_one_history(struct world *w)
{
    const struct server *a = &w->h[HK].server, *b = &w->h[KR].server;
    unsigned source = w->epochs[w->epoch].host, other = HK + KR - source;
    expect_moved(w);
    if (a->have[other] != b->have[other])
        sim_fail(w->sim, "the two have gone apart: %d and %d of %s", (int)a->have[other],
            (int)b->have[other], host_name(other));
}

static void expect_taken_up(struct world *w)
{
    const json_t *last = json_object_get(w->store.doc, "last");
    expect_moved(w);
    if (!w->partials)
        sim_fail(w->sim, "it was not left partial");
    if (!str_eq(json_opt_str(last, "outcome", ""), "done"))
        sim_fail(w->sim, "it was left %s", json_opt_str(last, "outcome", "?"));
}

static void expect_no_seed(struct world *w)
{
    expect_stayed(w);
    if (w->seeds)
        sim_fail(w->sim, "the replica had to be seeded");
}

const struct scenario scenarios[] = {
    {"github-2018", "the source's region is cut off for 43 s", github, expect_one_history},
    {"frozen-source-replica-says-0",
        "the source's region stands still, its replica says that it is connected and 0 s behind", frozen,
        expect_moved},
    {"controller-dies-with-database",
        "who leads dies with the source, and the next ones while they act", controller_too, expect_moved},
    {"step-fails-half-way", "the answers of DNS cannot be changed for half a minute", half_way,
        expect_moved},
    {"left-partial", "they cannot for longer than anybody waits, and who leads dies meanwhile", left_partial,
        expect_taken_up},
    {"old-source-with-extra-transactions", "the old source returns with what nobody else has",
        extra_transactions, expect_lost},
    {"semi-sync", "the source's region is without power, writes had waited for the replica", semi_sync,
        expect_none_lost},
    {"witness-lost", "the third region is gone, then source and replica do not hear each other",
        witness_lost, expect_stayed},
    {"wan-cut", "source and replica do not hear each other, the third region hears both", wan_cut,
        expect_no_seed},
    {"asymmetric-cut", "the replica does not hear the source, which hears everybody", asymmetric,
        expect_no_seed},
    {"source-mute", "nobody hears the source, which hears everybody", source_mute, expect_one_history},
    {"source-deaf", "the source hears nobody, and everybody hears it", source_deaf, expect_one_history},
    {"dark", "the source's region is cut off", dark, expect_moved},
    {"power", "the source's region is without power", power_off, expect_moved},
    {"freeze", "the source's region stands still", freeze_all, expect_moved},
    {"nobody-fences", "data role and watchdog of the source stand still, then its region is cut off",
        nobody_fences, expect_moved},
    {"source-killed", "the source's server dies and starts again", source_killed, expect_stayed},
    {"source-dead", "the source's server dies and does not start again", source_dead, expect_moved},
    {"source-stopped", "the source's server stands still", source_stopped, NULL},
    {"disk-stalls", "the source's disk takes nothing more", disk_stalls, expect_moved},
    {"flapping", "the source's region is cut off for some seconds, again and again", flapping, expect_once},
    {"flapping-slowly", "the source's region is cut off, then the new one's, within the cooldown",
        flapping_slowly, expect_once},
    {"paused", "the source's region is without power while automation is paused", paused, expect_stayed},
    {"store-leader-lost", "the leader of the state store stands still", store_leader, expect_stayed},
    {"clocks-jump", "the wall clocks of source and replica jump by minutes", clocks_jump, expect_stayed},
};
const size_t n_scenarios = ARRAY_SIZE(scenarios);
