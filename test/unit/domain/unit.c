/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/unit/unit.h"

static const struct unit_params params = {.probe = PROBE_HTTP,
    .interval_ms = 1000,
    .start_timeout_ms = 10000,
    .stop_timeout_ms = 5000,
    .failures = 3,
    .memory_bytes = 64u << 20};

struct rig {
    struct unit u;
    struct rnd rnd;
    struct unit_actions out;
    uint64_t now;
};

static void rig_init(struct rig *g)
{
    memset(g, 0, sizeof *g);
    g->now = 1000;
    rnd_seed(&g->rnd, 1);
    unit_init(&g->u, &params, g->now);
}

static void feed(struct rig *g, struct unit_event ev)
{
    g->out.n = 0;
    ev.incarnation = g->u.incarnation;
    unit_step(&g->u, &ev, g->now, &g->rnd, &g->out);
}

static bool did(const struct rig *g, enum unit_action_kind k)
{
    for (size_t i = 0; i < g->out.n; i++)
        if (g->out.v[i] == k)
            return true;
    return false;
}

static void tick_at(struct rig *g, uint64_t now)
{
    g->now = now;
    feed(g, (struct unit_event){.kind = UNIT_EV_TICK});
}

#define EV(k, ...) ((struct unit_event){.kind = UNIT_EV_##k, __VA_ARGS__})

static void to_ready(struct rig *g)
{
    rig_init(g);
    feed(g, EV(WANT));
    assert_true(did(g, UNIT_ACT_START));
    feed(g, EV(STARTED));
    assert_true(did(g, UNIT_ACT_PROBE));
    feed(g, EV(PROBE_OK));
    assert_int_equal(g->u.state, UNIT_READY);
    assert_string_equal(g->u.reason, "");
}

static void test_first_restart_is_immediate_then_backs_off(void **state)
{
    struct rig g;
    to_ready(&g);
    feed(&g, EV(EXITED, .exit = {.signal = 9}));
    assert_true(did(&g, UNIT_ACT_START)); /* in the same step */
    assert_int_equal(g.u.state, UNIT_STARTING);
    assert_string_equal(g.u.reason, "again after killed by signal 9 (KILL)");
    uint64_t expect[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (size_t i = 0; i < ARRAY_SIZE(expect); i++) {
        feed(&g, EV(STARTED));
        feed(&g, EV(EXITED, .exit = {.code = 1}));
        assert_int_equal(g.u.state, UNIT_BACKOFF);
        assert_false(did(&g, UNIT_ACT_START));
        uint64_t delay = unit_deadline(&g.u) - g.now;
        assert_in_range(delay, expect[i], expect[i] + expect[i] / 4);
        if (i >= 1)
            assert_non_null(strstr(g.u.reason, "crash loop: exit 1 ×"));
        tick_at(&g, g.now + expect[i] - 1);
        assert_int_equal(g.u.state, UNIT_BACKOFF);
        tick_at(&g, unit_deadline(&g.u));
        assert_true(did(&g, UNIT_ACT_START));
    }
    assert_int_equal(g.u.restarts, 9);
}

static void test_a_database_is_never_long_away(void **state)
{
    struct rig g;
    to_ready(&g);
    g.u.params.patient = true;
    feed(&g, EV(EXITED, .exit = {.signal = 9}));
    for (size_t i = 0; i < 10; i++) {
        feed(&g, EV(STARTED));
        feed(&g, EV(EXITED, .exit = {.signal = 9}));
        assert_int_equal(g.u.state, UNIT_BACKOFF);
        uint64_t delay = unit_deadline(&g.u) - g.now;
        assert_in_range(delay, MIN(1000u << i, 8000), 10000);
        tick_at(&g, unit_deadline(&g.u));
    }
}

static void test_healthy_period_forgets(void **state)
{
    struct rig g;
    to_ready(&g);
    feed(&g, EV(EXITED, .exit = {.code = 1}));
    feed(&g, EV(STARTED));
    feed(&g, EV(PROBE_OK));
    assert_int_equal(g.u.failures, 1);
    tick_at(&g, g.now + UNIT_HEALTHY_MS);
    assert_int_equal(g.u.failures, 0);
    feed(&g, EV(EXITED, .exit = {.code = 1}));
    assert_int_equal(g.u.state, UNIT_STARTING);
}

static void test_hang_is_probed_out_and_restarted(void **state)
{
    struct rig g;
    to_ready(&g);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g.u.state, UNIT_READY);
        tick_at(&g, g.now + 1000);
        assert_true(did(&g, UNIT_ACT_PROBE));
        feed(&g, EV(PROBE_FAIL, .text = "no answer within 1s"));
    }
    assert_int_equal(g.u.state, UNIT_UNHEALTHY);
    assert_string_equal(g.u.reason, "probe failed ×3: no answer within 1s");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g.u.state, UNIT_UNHEALTHY);
        tick_at(&g, g.now + 1000);
        feed(&g, EV(PROBE_FAIL, .text = "no answer within 1s"));
    }
    assert_int_equal(g.u.state, UNIT_STOPPING);
    assert_true(did(&g, UNIT_ACT_TERM));
    tick_at(&g, g.now + 5000);
    assert_true(did(&g, UNIT_ACT_KILL));
    feed(&g, EV(EXITED, .exit = {.signal = 9}));
    assert_true(did(&g, UNIT_ACT_START));
    assert_int_equal(g.u.failures, 1);
    assert_non_null(strstr(g.u.reason, "again after probe failed"));
}

static void test_unhealthy_recovers(void **state)
{
    struct rig g;
    to_ready(&g);
    for (int i = 0; i < 3; i++) {
        tick_at(&g, g.now + 1000);
        feed(&g, EV(PROBE_FAIL));
    }
    assert_int_equal(g.u.state, UNIT_UNHEALTHY);
    tick_at(&g, g.now + 1000);
    feed(&g, EV(PROBE_OK));
    assert_int_equal(g.u.state, UNIT_READY);
    assert_string_equal(g.u.reason, "");
}

static void test_oom_is_named(void **state)
{
    struct rig g;
    to_ready(&g);
    g.u.failures = 1;
    feed(&g, EV(EXITED, .exit = {.signal = 9, .oom = true}));
    assert_int_equal(g.u.state, UNIT_BACKOFF);
    assert_non_null(strstr(g.u.reason, "out of memory (limit 64MiB), next try in"));
}

/* A database that recovers, or whose disk is slow, is not helped by a restart. */
static void test_slow_is_not_dead(void **state)
{
    struct rig g;
    rig_init(&g);
    g.u.params.patient = true;
    feed(&g, EV(WANT));
    feed(&g, EV(STARTED));
    for (int i = 0; i < 20; i++) {
        feed(&g, EV(PROBE_FAIL, .text = "connection refused"));
        assert_false(did(&g, UNIT_ACT_TERM));
        tick_at(&g, g.now + 5000);
        assert_int_equal(g.u.state, UNIT_STARTING);
        assert_false(did(&g, UNIT_ACT_TERM));
        assert_true(unit_deadline(&g.u) < UNIT_NEVER);
    }
    assert_non_null(strstr(g.u.reason, "not ready within 10s"));
    feed(&g, EV(PROBE_OK));
    assert_int_equal(g.u.state, UNIT_READY);
    for (int i = 0; i < 20; i++) {
        tick_at(&g, g.now + 1000);
        assert_true(did(&g, UNIT_ACT_PROBE));
        feed(&g, EV(PROBE_FAIL, .text = "no answer"));
        assert_false(did(&g, UNIT_ACT_TERM) || did(&g, UNIT_ACT_KILL));
    }
    assert_int_equal(g.u.state, UNIT_UNHEALTHY);
    feed(&g, EV(EXITED, .exit = {.signal = 9}));
    assert_true(did(&g, UNIT_ACT_START));
}

static void test_start_timeout(void **state)
{
    struct rig g;
    rig_init(&g);
    feed(&g, EV(WANT));
    feed(&g, EV(STARTED));
    feed(&g, EV(PROBE_FAIL, .text = "connection refused"));
    tick_at(&g, 11000);
    assert_int_equal(g.u.state, UNIT_STOPPING);
    assert_true(did(&g, UNIT_ACT_TERM));
    assert_string_equal(g.u.reason, "not ready within 10s: probe failed ×1: connection refused");
    feed(&g, EV(EXITED, .exit = {.code = 0}));
    assert_true(did(&g, UNIT_ACT_START));
}

static void test_unwant_in_every_state_stops(void **state)
{
    struct rig g;
    to_ready(&g);
    feed(&g, EV(UNWANT));
    assert_int_equal(g.u.state, UNIT_STOPPING);
    feed(&g, EV(EXITED, .exit = {.code = 0}));
    assert_int_equal(g.u.state, UNIT_STOPPED);
    assert_int_equal(unit_deadline(&g.u), UNIT_NEVER);
    to_ready(&g);
    g.u.failures = 4;
    feed(&g, EV(EXITED, .exit = {.code = 3}));
    assert_int_equal(g.u.state, UNIT_BACKOFF);
    uint64_t earliest = unit_deadline(&g.u);
    feed(&g, EV(UNWANT));
    assert_int_equal(g.u.state, UNIT_STOPPED);
    feed(&g, EV(WANT)); /* wanted again: the promise of the back-off holds */
    assert_int_equal(g.u.state, UNIT_BACKOFF);
    assert_int_equal(unit_deadline(&g.u), earliest);
}

static void test_changed_replaces_at_once(void **state)
{
    struct rig g;
    to_ready(&g);
    feed(&g, EV(CHANGED));
    assert_int_equal(g.u.state, UNIT_STOPPING);
    assert_false(did(&g, UNIT_ACT_START)); /* the old one lives */
    feed(&g, EV(EXITED, .exit = {.signal = 15}));
    assert_int_equal(g.u.state, UNIT_STARTING);
    assert_true(did(&g, UNIT_ACT_START));
    assert_string_equal(g.u.reason, "");
}

static void test_late_events_are_ignored(void **state)
{
    struct rig g;
    to_ready(&g);
    feed(&g, EV(EXITED, .exit = {.code = 1}));
    struct unit_event late = {.kind = UNIT_EV_EXITED, .incarnation = 1};
    g.out.n = 0;
    unit_step(&g.u, &late, g.now, &g.rnd, &g.out);
    assert_int_equal(g.u.state, UNIT_STARTING);
    late = (struct unit_event){.kind = UNIT_EV_PROBE_OK, .incarnation = 2}; /* no PROBE was asked */
    unit_step(&g.u, &late, g.now, &g.rnd, &g.out);
    assert_int_equal(g.u.state, UNIT_STARTING);
}

static void test_permanent_failure_is_retried(void **state)
{
    struct rig g;
    rig_init(&g);
    feed(&g, EV(WANT));
    feed(&g, EV(START_FAILED, .permanent = true, .text = "image sha256:12 is not on this host"));
    assert_int_equal(g.u.state, UNIT_FAILED);
    assert_string_equal(g.u.reason, "image sha256:12 is not on this host");
    tick_at(&g, g.now + UNIT_FAILED_RETRY_MS);
    assert_true(did(&g, UNIT_ACT_START));
}

static void test_no_probe_is_ready_when_started(void **state)
{
    struct rig g;
    rig_init(&g);
    g.u.params.probe = PROBE_NONE;
    feed(&g, EV(WANT));
    feed(&g, EV(STARTED));
    assert_int_equal(g.u.state, UNIT_READY);
    assert_false(did(&g, UNIT_ACT_PROBE));
}

static void test_saved_and_restored(void **state)
{
    struct rig g;
    struct err e = {0};
    to_ready(&g);
    feed(&g, EV(EXITED, .exit = {.code = 1}));
    feed(&g, EV(START_FAILED, .text = "no"));
    assert_int_equal(g.u.state, UNIT_BACKOFF);
    json_t *j = unit_save(&g.u);
    struct unit v;
    assert_int_equal(unit_restore(&v, j, &params, g.now, &e), 0);
    assert_int_equal(v.state, UNIT_BACKOFF);
    assert_int_equal(unit_deadline(&v), unit_deadline(&g.u));
    assert_int_equal(v.failures, 2);
    assert_int_equal(v.incarnation, 2);
    assert_string_equal(v.reason, g.u.reason);
    json_object_set_new(j, "alive", json_true());
    assert_int_equal(unit_restore(&v, j, &params, g.now, &e), ERR_INVALID);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_restart_is_immediate_then_backs_off),
        cmocka_unit_test(test_a_database_is_never_long_away),
        cmocka_unit_test(test_healthy_period_forgets),
        cmocka_unit_test(test_hang_is_probed_out_and_restarted),
        cmocka_unit_test(test_unhealthy_recovers),
        cmocka_unit_test(test_oom_is_named),
        cmocka_unit_test(test_slow_is_not_dead),
        cmocka_unit_test(test_start_timeout),
        cmocka_unit_test(test_unwant_in_every_state_stops),
        cmocka_unit_test(test_changed_replaces_at_once),
        cmocka_unit_test(test_late_events_are_ignored),
        cmocka_unit_test(test_permanent_failure_is_retried),
        cmocka_unit_test(test_no_probe_is_ready_when_started),
        cmocka_unit_test(test_saved_and_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
