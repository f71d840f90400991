/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/upgrade/upgrade.h"

#define OLD "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define NEW "sha256:1111111111111111111111111111111111111111111111111111111111111111"

/* A host as its report shows it. */
struct fake {
    const char *digest, *failed, *reason;
    int64_t failed_ms;
    bool trial, rolling, silent;
    const char *role_state, *unit_state;
    int pid;
};

static struct fake well(const char *digest)
{
    return (struct fake){.digest = digest,
        .failed = "",
        .reason = "",
        .role_state = "up",
        .unit_state = "ready",
        .pid = 7};
}

static json_t *report_of(const struct fake *f)
{
    json_t *j = json_pack("{s:{s:s,s:s,s:s,s:I,s:b,s:b,s:s},s:[{s:s,s:s}],s:[{s:s,s:s,s:i}]}",
        "binary", "digest", f->digest, "failed", f->failed, "reason", f->reason, "failed_ms",
        (json_int_t)f->failed_ms, "trial", f->trial, "rolling", f->rolling, "previous", OLD,
        "roles", "name", "edge", "state", f->role_state, "units", "name", "api-1", "state",
        f->unit_state, "pid", f->pid);
    assert_non_null(j);
    return j;
}

struct world {
    json_t *doc;
    struct fake hosts[2]; /* "a", "b" */
    int64_t now;
    struct upgrade_action action;
};

static void begin(struct world *w)
{
    const struct upgrade_target targets[] = {{"a", NEW, false}, {"b", NEW, false}};
    json_t *base = json_pack("{s:s,s:s}", "to", NEW, "later", "kept");
    *w = (struct world){.hosts = {well(OLD), well(OLD)}, .now = 1000};
    w->doc = upgrade_new(base, targets, 2, w->now);
    json_decref(base);
}

static void step(struct world *w, int64_t ms)
{
    static const char *const names[] = {"a", "b"};
    struct upgrade_host hosts[2];
    json_t *reports[2];
    w->now += ms;
    for (int i = 0; i < 2; i++) {
        reports[i] = report_of(&w->hosts[i]);
        hosts[i] = (struct upgrade_host){names[i], !w->hosts[i].silent, reports[i]};
    }
    json_t *next = upgrade_step(w->doc, hosts, 2, w->now, &w->action);
    json_decref(w->doc);
    w->doc = next;
    for (int i = 0; i < 2; i++)
        json_decref(reports[i]);
}

static const char *state_of(const struct world *w, int host)
{
    return json_opt_str(
        json_array_get(json_object_get(w->doc, "hosts"), (size_t)host), "state", "?");
}

static const char *reason_of(const struct world *w)
{
    return json_opt_str(w->doc, "reason", "?");
}

static void assert_action(const struct world *w, enum upgrade_act act, const char *host)
{
    assert_int_equal(w->action.act, act);
    if (act != UPGRADE_NOTHING)
        assert_string_equal(w->action.host, host);
}

static void done(struct world *w)
{
    json_decref(w->doc);
}

static void test_one_after_the_other(void **state)
{
    struct world w;
    begin(&w);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "b" : "a";
        step(&w, 10);
        assert_string_equal(state_of(&w, i), "switching");
        step(&w, 10);
        assert_action(&w, UPGRADE_SWITCH, name);
        step(&w, 10);
        assert_action(&w, UPGRADE_SWITCH, name); /* until it shows: the leader may be another */
        assert_true(upgrade_has_turn(w.doc, name));
        assert_false(upgrade_has_turn(w.doc, i ? "a" : "b")); /* done, or waiting */
        w.hosts[i] = well(NEW);
        w.hosts[i].trial = w.hosts[i].rolling = true;
        step(&w, 10);
        assert_string_equal(state_of(&w, i), "switching");
        w.hosts[i].rolling = false;
        step(&w, 10);
        step(&w, 10);
        assert_action(&w, UPGRADE_NOTHING, "");
        step(&w, UPGRADE_STEADY_MS);
        assert_action(&w, UPGRADE_CONFIRM, name);
        w.hosts[i].trial = false;
        step(&w, 10);
        assert_string_equal(state_of(&w, i), "done");
        assert_string_equal(state_of(&w, 1), i ? "done" : "waiting");
    }
    step(&w, 10);
    assert_string_equal(json_opt_str(w.doc, "state", ""), "done");
    assert_false(upgrade_has_turn(w.doc, "b"));
    assert_string_equal(json_opt_str(w.doc, "later", ""), "kept"); /* another version's member */
    done(&w);
}

static void test_a_host_that_went_back_stops_it(void **state)
{
    struct world w;
    begin(&w);
    step(&w, 10);
    step(&w, 10);
    w.hosts[0].failed = NEW;
    w.hosts[0].failed_ms = 5;
    w.hosts[0].reason = "it does not run";
    step(&w, 10);
    assert_string_equal(state_of(&w, 0), "failed");
    assert_string_equal(state_of(&w, 1), "waiting");
    assert_string_equal(reason_of(&w), "a: it does not run");
    assert_false(upgrade_running(w.doc));
    step(&w, 10);
    assert_action(&w, UPGRADE_NOTHING, "");
    done(&w);
}

/* The same binary failed there yesterday: that is no answer to this attempt. */
static void test_an_old_failure_is_not_this_one(void **state)
{
    struct world w;
    begin(&w);
    w.hosts[0].failed = NEW;
    w.hosts[0].failed_ms = 5;
    step(&w, 10);
    step(&w, 10);
    assert_action(&w, UPGRADE_SWITCH, "a");
    w.hosts[0].failed_ms = 6;
    step(&w, 10);
    assert_string_equal(state_of(&w, 0), "failed");
    done(&w);
}

static void settle(struct world *w)
{
    begin(w);
    step(w, 10);
    step(w, 10);
    w->hosts[0] = well(NEW);
    w->hosts[0].trial = true;
    step(w, 10);
    assert_string_equal(state_of(w, 0), "settling");
}

static void test_what_is_not_well_goes_back(void **state)
{
    static const struct {
        const char *name, *role, *unit, *reason;
        int pid;
        bool silent, at_once;
    } rows[] = {
        {"role", "backoff", "ready", "a: role edge is backoff", 7, false, false},
        {"unit", "up", "unhealthy", "a: unit api-1 is unhealthy", 7, false, false},
        {"pid", "up", "ready", "a: unit api-1 was restarted", 8, false, true},
        {"silent", "up", "ready", "a: it is not heard", 7, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world w;
        settle(&w);
        w.hosts[0].role_state = rows[i].role;
        w.hosts[0].unit_state = rows[i].unit;
        w.hosts[0].pid = rows[i].pid;
        w.hosts[0].silent = rows[i].silent;
        step(&w, 10);
        if (!rows[i].at_once) {
            assert_action(&w, UPGRADE_NOTHING, ""); /* it has its time */
            step(&w, UPGRADE_WELL_MS);
        }
        assert_action(&w, UPGRADE_BACK, "a");
        w.hosts[0] = well(OLD);
        step(&w, 10);
        assert_string_equal(state_of(&w, 0), "failed");
        assert_string_equal(reason_of(&w), rows[i].reason);
        done(&w);
    }
}

static void test_deadlines(void **state)
{
    struct world w;
    begin(&w);
    w.hosts[0].silent = true;
    step(&w, 10);
    assert_string_equal(state_of(&w, 0), "waiting");
    step(&w, UPGRADE_SILENT_MS);
    assert_string_equal(reason_of(&w), "a: it is not heard");
    done(&w);
    begin(&w);
    step(&w, 10);
    step(&w, UPGRADE_SWITCH_MS);
    assert_action(&w, UPGRADE_BACK, "a");
    w.hosts[0].silent = true;
    step(&w, UPGRADE_BACK_MS);
    assert_string_equal(reason_of(&w), "a: it did not switch in time");
    done(&w);
}

static void test_refusals_and_what_is_not_known(void **state)
{
    struct world w;
    begin(&w);
    json_t *same = upgrade_refused(w.doc, "a", "no", w.now); /* not its turn: an old answer */
    assert_true(upgrade_running(same));
    json_decref(same);
    step(&w, 10);
    json_t *refused = upgrade_refused(w.doc, "a", "no room", w.now);
    assert_string_equal(json_opt_str(refused, "reason", ""), "a: no room");
    json_decref(refused);
    json_object_set_new(json_array_get(json_object_get(w.doc, "hosts"), 0), "state",
        json_string("of a later version"));
    step(&w, 10);
    assert_false(upgrade_running(w.doc));
    done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_a_host_that_went_back_stops_it),
        cmocka_unit_test(test_an_old_failure_is_not_this_one),
        cmocka_unit_test(test_what_is_not_well_goes_back),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_refusals_and_what_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
