/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/failover/rules.h"

/* The source is lost, and nothing forbids. */
static struct failover_facts lost(void)
{
    static const char *const regions[] = {"hk", "seoul", "bkk"};
    struct failover_facts f = {.max_lag_ms = 10000};
    f.automation.automatic = true;
    f.voters = (struct failover_voters){.total = 3, .answering = 2, .regions = 3, .witness = true,
        .same_version = true, .journal = true};
    for (f.n_vantages = 0; f.n_vantages < 3; f.n_vantages++) {
        struct failover_vantage *v = &f.vantages[f.n_vantages];
        *v = (struct failover_vantage){
            .heard = f.n_vantages > 0, .references = true, .sees_fault = true};
        str_copy(v->region, sizeof v->region, regions[f.n_vantages]);
    }
    str_copy(f.leader_region, sizeof f.leader_region, "seoul");
    f.source.silent_ms = 8000;
    f.target = (struct failover_target){.heard = true, .lag_known = true, .lag_ms = 300,
        .lag_age_ms = 900, .heartbeat_ms = 1000, .test_login = true, .serving = true};
    str_copy(f.target.host, sizeof f.target.host, "seoul1");
    f.lease = (struct failover_lease){
        .enforced = true, .known = true, .length_ms = 15000, .age_ms = 9000, .safe_in_ms = 7000};
    f.armed = (struct failover_armed){true, true, 1000, 90000};
    f.past = (struct failover_past){.since_ms = FAILOVER_NEVER, .cooldown_ms = 3600000};
    f.world = (struct failover_world){.seen_healthy = true, .topology_known = true,
        .clock_step_ms = FAILOVER_NEVER, .regions_on = 2};
    return f;
}

/* A person's order. */
static struct failover_facts ordered(uint64_t loss_ms, bool source_off)
{
    struct failover_facts f = lost();
    f.order = (struct failover_order){
        .by_hand = true, .accept_loss = loss_ms > 0, .loss_ms = loss_ms, .source_off = source_off};
    return f;
}

typedef void (*change_fn)(struct failover_facts *f);

/* ---- what each rule forbids, and what it does not mind */

#define CHANGE(name, what) \
    static void name(struct failover_facts *f) \
    { \
        what; \
    }
CHANGE(not_automatic, f->automation.automatic = false)
CHANGE(paused, f->automation.paused = true)
CHANGE(maintained, f->automation.maintenance = true)
CHANGE(drilled, f->automation.drill = true)
CHANGE(own_drill, f->automation.drill = f->automation.drill_own = true)
CHANGE(two_regions, f->voters.regions = 2)
CHANGE(no_witness, f->voters.witness = false)
CHANGE(one_voter, f->voters.answering = 1)
CHANGE(half_of_voters, f->voters.total = 4)
CHANGE(no_voters, f->voters.total = f->voters.answering = 0)
CHANGE(three_of_five, f->voters.total = 5; f->voters.answering = 3)
CHANGE(one_vantage, f->vantages[2].sees_fault = false)
CHANGE(vantage_cut_off, f->vantages[2].references = false)
CHANGE(vantage_not_heard, f->vantages[2].heard = false)
CHANGE(leader_cut_off, f->vantages[1].references = false; f->vantages[0].heard = true)
CHANGE(own_host_says_it, f->vantages[0].heard = true; f->vantages[2].heard = false)
CHANGE(target_hears, f->target.hears_source = true)
CHANGE(of_others, f->lease.enforced = false; f->fence.by = FAILOVER_FENCE_STATEMENT; f->fence.reaches = true)
CHANGE(others_never_rehearsed, of_others(f); f->armed.known = false)
CHANGE(others_otherwise, of_others(f); f->armed.matches = false)
CHANGE(others_by_hand, others_never_rehearsed(f); f->order.by_hand = true)
CHANGE(others_silent, of_others(f); f->fence.reaches = false)
CHANGE(others_silent_by_hand, others_silent(f); f->order.by_hand = true)
CHANGE(others_by_function, others_silent(f); f->fence.by = FAILOVER_FENCE_FUNCTION)
CHANGE(others_function_untried, others_by_function(f); f->armed.known = false)
CHANGE(others_fencing, of_others(f); f->fencing = true)
CHANGE(others_fenced, others_fencing(f); f->fenced_ack = true)
CHANGE(no_lease, f->lease.enforced = false)
CHANGE(lease_not_read, f->lease.known = false)
CHANGE(said_by_itself, f->lease.enforced = false; f->fenced_ack = true)
CHANGE(fencing, f->fencing = true)
CHANGE(fencing_revoked, f->fencing = f->lease.revoked = true)
CHANGE(ended_not_revoked, f->fencing = true; f->lease.safe_in_ms = 0)
CHANGE(ended, fencing_revoked(f); f->lease.safe_in_ms = 0)
CHANGE(ended_but_promised, ended(f); f->lease.promised_ms = 1)
CHANGE(released, fencing_revoked(f); f->lease.released = true)
CHANGE(released_not_revoked, released(f); f->lease.revoked = false)
CHANGE(acknowledged, f->fencing = f->fenced_ack = true)
CHANGE(lease_over, f->lease.age_ms = 15000)
CHANGE(heard_lease_over, lease_over(f); f->target.hears_source = true)
CHANGE(heard_lease_promised, heard_lease_over(f); f->lease.promised_ms = 1)
CHANGE(heard_lease_short, heard_lease_over(f); f->lease.age_ms = 14999)
CHANGE(slow_lease_over, lease_over(f); f->source.class = FAILOVER_SLOW)
CHANGE(seen_by_none_lease_over, lease_over(f); f->vantages[1].sees_fault = false)
CHANGE(never_rehearsed, f->armed.known = false)
CHANGE(rehearsed_otherwise, f->armed.matches = false)
CHANGE(rehearsed_long_ago, f->armed.age_ms = 90001)
CHANGE(lag_unknown, f->target.lag_known = false)
CHANGE(lag_sampled_long_ago, f->target.lag_age_ms = 3001)
CHANGE(lag_sampled_just_now, f->target.lag_age_ms = 3000)
CHANGE(lag_over, f->target.lag_ms = 10001)
CHANGE(lag_at_most, f->target.lag_ms = 10000)
CHANGE(not_drained, f->target.unapplied = true; f->target.unapplied_ms = 10001)
CHANGE(stuck, f->target.unapplied = f->target.stuck = true)
CHANGE(stuck_at_the_end, f->target.stuck = true)
CHANGE(drains, f->target.unapplied = true; f->target.unapplied_ms = 10000)
CHANGE(broken, f->target.broken_before = true)
CHANGE(diverged, f->target.diverged = true)
CHANGE(two_sources, f->world.two_sources = true)
CHANGE(not_in_sync, f->sync_required = true)
CHANGE(in_sync, f->sync_required = f->target.in_sync_set = true)
CHANGE(no_target, *f->target.host = '\0')
CHANGE(target_not_heard, f->target.heard = false)
CHANGE(disk_low, f->target.disk_low = true)
CHANGE(drift, f->target.drift = true)
CHANGE(target_leaves, f->target.leaves = true)
CHANGE(unresolved, f->source.class = FAILOVER_NAMES)
CHANGE(delayed, f->target.delayed = true)
CHANGE(no_login, f->target.test_login = false)
CHANGE(lacks, f->target.lacks = true)
CHANGE(just_now, f->past.since_ms = 3599999)
CHANGE(just_now_acked, f->past.since_ms = 1; f->past.acknowledged = true)
CHANGE(long_ago, f->past.since_ms = 3600000)
CHANGE(often, f->past.count = 3)
CHANGE(twice, f->past.count = 2)
CHANGE(other_change, f->past.foreign_change = true)
CHANGE(left, f->past.left_undone = true)
CHANGE(never_seen, f->world.seen_healthy = false)
CHANGE(topology_unknown, f->world.topology_known = false)
CHANGE(begun_already, f->world.seen_healthy = false; f->fencing = true)
CHANGE(slow, f->source.class = FAILOVER_SLOW)
CHANGE(sessions, f->source.class = FAILOVER_FULL_OF_SESSIONS)
CHANGE(access_denied, f->source.class = FAILOVER_AUTHENTICATION)
CHANGE(certificate, f->source.class = FAILOVER_CERTIFICATE)
CHANGE(prober_ill, f->source.class = FAILOVER_PROBER_ILL)
CHANGE(more_lost, f->world.regions_lost = 1)
CHANGE(target_lost, f->world.target_was_lost = true)
CHANGE(clock_off, f->world.clock_off_ms = 2001)
CHANGE(target_clock_off, f->target.clock_off_ms = 2001)
CHANGE(clock_near, f->world.clock_off_ms = 2000)
CHANGE(clock_jumped, f->world.clock_step_ms = 59999)
CHANGE(clock_jumped_once, f->world.clock_step_ms = 60000)
CHANGE(target_serves_not, f->target.serving = false)
CHANGE(none_on, f->world.regions_on = 0)
CHANGE(versions_differ, f->voters.same_version = false)
CHANGE(no_journal, f->voters.journal = false)
CHANGE(function_failed, f->before = FAILOVER_FUNCTIONS_FAILED)
CHANGE(function_due, f->before = FAILOVER_FUNCTIONS_DUE)
CHANGE(function_runs, f->fencing = true; f->before = FAILOVER_FUNCTIONS_DUE)
CHANGE(function_done, f->fencing = true; f->before = FAILOVER_FUNCTIONS_DONE)

static const struct {
    failover_rule_fn rule;
    change_fn change;
    bool holds;
    const char *says; /* in text or value */
} rows[] = {
    {failover_r1, NULL, false, "on"},
    {failover_r1, not_automatic, true, "mcp failover --to"},
    {failover_r1, paused, true, "mcp resume"},
    {failover_r1, maintained, true, "maintenance"},
    {failover_r1, drilled, true, "drill"},
    {failover_r1, own_drill, false, ""},
    {failover_r2, NULL, false, ""},
    {failover_r2, two_regions, true, "two sides alone"},
    {failover_r2, no_witness, true, "does not answer"},
    {failover_r3, NULL, false, "2 of 3"},
    {failover_r3, one_voter, true, "1 of 3"},
    {failover_r3, half_of_voters, true, "majority of all"},
    {failover_r3, no_voters, true, "0 of 0"},
    {failover_r3, three_of_five, false, ""},
    {failover_r4, NULL, false, "2 regions"},
    {failover_r4, one_vantage, true, "1 regions"},
    {failover_r4, vantage_cut_off, true, "1 regions"},
    {failover_r4, vantage_not_heard, true, "1 regions"},
    {failover_r4, leader_cut_off, true, "network is bad"},
    {failover_r4, own_host_says_it, false, ""},
    {failover_r4, seen_by_none_lease_over, false, "a majority sees"},
    {failover_r5, heard_lease_over, false, "could write"},
    {failover_r5, heard_lease_promised, true, "hears it"},
    {failover_r5, heard_lease_short, true, "hears it"},
    {failover_r5, NULL, false, "silent"},
    {failover_r5, target_hears, true, "mcp data switchover"},
    {failover_r5, target_not_heard, true, "not known"},
    {failover_r6, NULL, false, "lease"},
    {failover_r6, no_lease, true, "no lease"},
    {failover_r6, of_others, false, "by statement"},
    {failover_r6, others_never_rehearsed, true, "never rehearsed"},
    {failover_r6, others_otherwise, true, "never rehearsed"},
    {failover_r6, others_by_hand, false, "by statement"},
    {failover_r6, others_silent, true, "out of reach"},
    {failover_r6, others_silent_by_hand, true, "out of reach"},
    {failover_r6, others_by_function, false, "by function"},
    {failover_r6, others_function_untried, true, "never rehearsed"},
    {failover_r6, others_fencing, true, "not fenced yet"},
    {failover_r6, others_fenced, false, "acknowledged"},
    {failover_r6, lease_not_read, true, "no lease"},
    {failover_r6, said_by_itself, false, "acknowledged"},
    {failover_r6, fencing, true, "not revoked"},
    {failover_r6, fencing_revoked, true, "another 7000 ms"},
    {failover_r6, ended_not_revoked, true, "not revoked"},
    {failover_r6, ended, false, "lease ended"},
    {failover_r6, ended_but_promised, true, "another 1 ms"},
    {failover_r6, released, false, "released"},
    {failover_r6, released_not_revoked, true, "not revoked"},
    {failover_r6, acknowledged, false, "acknowledged"},
    {failover_r7, NULL, false, ""},
    {failover_r7, never_rehearsed, true, "mcp data arm"},
    {failover_r7, rehearsed_otherwise, true, "other settings"},
    {failover_r7, rehearsed_long_ago, true, "90 s ago"},
    {failover_r8, NULL, false, "300 ms"},
    {failover_r8, lag_unknown, true, "not known"},
    {failover_r8, lag_sampled_long_ago, true, "before the fault"},
    {failover_r8, lag_sampled_just_now, false, ""},
    {failover_r8, lag_over, true, "--accept-loss"},
    {failover_r8, lag_at_most, false, ""},
    {failover_r9, NULL, false, ""},
    {failover_r9, not_drained, true, "does not get through"},
    {failover_r9, stuck, true, "error"},
    {failover_r9, stuck_at_the_end, false, ""},
    {failover_r9, drains, false, ""},
    {failover_r10, NULL, false, ""},
    {failover_r10, broken, true, "mcp data status"},
    {failover_r11, NULL, false, ""},
    {failover_r11, diverged, true, "diverged"},
    {failover_r11, two_sources, true, "two servers"},
    {failover_r12, NULL, false, "not required"},
    {failover_r12, not_in_sync, true, "may be missing"},
    {failover_r12, in_sync, false, ""},
    {failover_r13, NULL, false, "ready"},
    {failover_r13, no_target, true, "no other member"},
    {failover_r13, target_not_heard, true, "not heard"},
    {failover_r13, disk_low, true, "disk"},
    {failover_r13, drift, true, "another version"},
    {failover_r13, target_leaves, true, "drained"},
    {failover_r13, delayed, true, "delayed"},
    {failover_r13, no_login, true, "log in"},
    {failover_r13, lacks, true, "missing"},
    {failover_r14, NULL, false, "never"},
    {failover_r14, just_now, true, "mcp ack"},
    {failover_r14, just_now_acked, false, ""},
    {failover_r14, long_ago, false, ""},
    {failover_r14, often, true, "3 not acknowledged"},
    {failover_r14, twice, false, ""},
    {failover_r15, NULL, false, ""},
    {failover_r15, other_change, true, "under way"},
    {failover_r15, left, true, "partial"},
    {failover_r16, NULL, false, ""},
    {failover_r16, never_seen, true, "never seen well"},
    {failover_r16, topology_unknown, true, "not every member"},
    {failover_r16, begun_already, false, ""},
    {failover_r17, NULL, false, "dead"},
    {failover_r17, slow, true, "slow"},
    {failover_r17, slow_lease_over, false, ""},
    {failover_r17, sessions, true, "sessions"},
    {failover_r17, access_denied, true, "authentication"},
    {failover_r17, certificate, true, "certificate"},
    {failover_r17, prober_ill, true, "prober"},
    {failover_r17, unresolved, true, "not dead"},
    {failover_r18, NULL, false, ""},
    {failover_r18, more_lost, true, "1 other regions"},
    {failover_r18, target_lost, true, "the target"},
    {failover_r19, NULL, false, ""},
    {failover_r19, clock_off, true, "2001 ms"},
    {failover_r19, target_clock_off, true, "2001 ms"},
    {failover_r19, clock_near, false, ""},
    {failover_r19, clock_jumped, true, "jumped"},
    {failover_r19, clock_jumped_once, false, ""},
    {failover_r20, NULL, false, ""},
    {failover_r20, target_serves_not, true, "cannot be sent"},
    {failover_r20, none_on, true, "0 regions"},
    {failover_r21, NULL, false, ""},
    {failover_r21, versions_differ, true, "differ"},
    {failover_r22, NULL, false, ""},
    {failover_r22, no_journal, true, "journal"},
    {failover_r23, NULL, false, "none declared"},
    {failover_r23, function_failed, true, "failover.before failed"},
    {failover_r23, function_due, false, ""}, /* it runs when the failover begins */
    {failover_r23, function_runs, true, "running"},
    {failover_r23, function_done, false, ""},
};

static void test_each_rule_both_ways(void **unused)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct failover_facts f = lost();
        struct failover_rule r = {0};
        if (rows[i].change)
            rows[i].change(&f);
        bool said = rows[i].rule(&f, &r), is = r.holds;
        if (said != rows[i].holds || is != rows[i].holds)
            fail_msg("row %zu: %s / %s: %s", i, r.value, r.limit, r.text);
        if (!strstr(r.text, rows[i].says) && !strstr(r.value, rows[i].says))
            fail_msg("row %zu: \"%s\" is not in \"%s\" nor \"%s\"", i, rows[i].says, r.value,
                r.text);
        assert_true(*r.value && *r.limit && *r.text);
    }
}

/* Each that holds is the one that is named, and by what a person may overrule it. */
static void test_who_may_overrule_what(void **unused)
{
    static const struct {
        change_fn change;
        const char *id;
        bool by_hand, loss, attest; /* permitted by an order that says this */
    } cases[] = {
        {not_automatic, "R1", true, true, true},
        {two_regions, "R2", true, true, true},
        {one_voter, "R3", false, false, false},
        {one_vantage, "R4", true, true, true},
        {target_hears, "R5", false, true, false},
        {no_lease, "R6", false, false, true},
        {never_rehearsed, "R7", true, true, true},
        {lag_over, "R8", false, true, false},
        {lag_unknown, "R8", false, false, false},
        {lag_sampled_long_ago, "R8", false, true, false},
        {not_drained, "R9", false, true, false},
        {broken, "R10", false, true, false},
        {diverged, "R11", false, false, false},
        {not_in_sync, "R12", false, true, false},
        {disk_low, "R13", false, true, false},
        {just_now, "R14", true, true, true},
        {other_change, "R15", false, false, false},
        {left, "R15", true, true, true},
        {never_seen, "R16", true, true, true},
        {slow, "R17", true, true, true},
        {more_lost, "R18", true, true, true},
        {clock_off, "R19", true, true, true},
        {target_serves_not, "R20", true, true, true},
        {versions_differ, "R21", true, true, true},
        {no_journal, "R22", false, false, false},
        {function_failed, "R23", false, false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failover_facts all[] = {
            lost(), ordered(0, false), ordered(60000, false), ordered(0, true)};
        bool permits[] = {false, cases[i].by_hand, cases[i].loss, cases[i].attest};
        for (size_t k = 0; k < ARRAY_SIZE(all); k++) {
            struct failover_rule r;
            cases[i].change(&all[k]);
            bool forbidden = failover_forbidden(&all[k], &r);
            if (forbidden == permits[k] || (forbidden && !str_eq(r.id, cases[i].id)))
                fail_msg("%s, order %zu: %s %s", cases[i].id, k, r.id, r.value);
        }
    }
}

static void test_a_loss_that_is_named_is_the_limit(void **unused)
{
    struct failover_facts f = ordered(20000, false);
    struct failover_rule r;
    f.target.lag_ms = 20001;
    assert_true(failover_forbidden(&f, &r));
    assert_string_equal(r.id, "R8");
    assert_non_null(strstr(r.limit, "accepted"));
    f.target.lag_ms = 15000;
    f.target.lag_age_ms = 5001; /* an old sample: what came after it is lost as well */
    assert_true(failover_forbidden(&f, &r));
    f.target.lag_age_ms = 5000;
    assert_false(failover_forbidden(&f, &r));
    f = ordered(FAILOVER_ANY_LOSS_MS, false);
    f.target.lag_known = false;
    assert_false(failover_forbidden(&f, &r));
}

static void test_what_nobody_hears_is_promoted_by_nobody(void **unused)
{
    struct failover_facts f = ordered(FAILOVER_ANY_LOSS_MS, true);
    struct failover_rule r;
    f.target.heard = false;
    assert_true(failover_forbidden(&f, &r));
    assert_string_equal(r.id, "R13");
}

static void test_nothing_known_forbids(void **unused)
{
    struct failover_facts f = {0};
    struct failover_rule all[FAILOVER_RULES], r;
    assert_true(failover_forbidden(&f, &r) && failover_disarmed(&f, &r));
    f.automation.automatic = true;
    assert_true(failover_forbidden(&f, &r));
    f.order = (struct failover_order){true, true, FAILOVER_ANY_LOSS_MS, true};
    assert_true(failover_forbidden(&f, &r)); /* whatever a person says */
    failover_rules(&f, all);
    for (size_t i = 0; i < FAILOVER_RULES; i++) {
        char id[8];
        snprintf(id, sizeof id, "R%zu", i + 1);
        assert_string_equal(all[i].id, id);
    }
}

/* Armed while all is well: what only a fault could show is not asked. */
static void test_armed_is_said_before_the_fault(void **unused)
{
    struct failover_facts f = lost();
    struct failover_rule r;
    f.source = (struct failover_source){.answers = true, .reaches_store = true};
    f.target.hears_source = true;
    for (size_t i = 0; i < f.n_vantages; i++)
        f.vantages[i].sees_fault = false;
    assert_false(failover_disarmed(&f, &r));
    assert_true(failover_forbidden(&f, &r));
    f.armed.matches = false;
    assert_true(failover_disarmed(&f, &r));
    assert_string_equal(r.id, "R7");
    _cleanup_json_ json_t *j = failover_explain(&f, "healthy", "all is well");
    assert_false(json_opt_bool(j, "armed", true));
    assert_false(json_opt_bool(j, "allowed", true));
    assert_string_equal(json_opt_str(j, "state", ""), "healthy");
    const json_t *rules = json_object_get(j, "rules"), *r7 = json_array_get(rules, 6);
    assert_int_equal(json_array_size(rules), FAILOVER_RULES);
    assert_string_equal(json_opt_str(r7, "id", ""), "R7");
    assert_true(json_opt_bool(r7, "holds", false));
    assert_string_equal(json_opt_str(r7, "waiver", ""), "by hand");
    assert_non_null(strstr(json_opt_str(r7, "value", ""), "other settings"));
    assert_non_null(strstr(json_opt_str(r7, "text", ""), "mcp data arm"));
    f = lost();
    _cleanup_json_ json_t *k = failover_explain(&f, "confirmed", "");
    assert_true(json_opt_bool(k, "armed", false) && json_opt_bool(k, "allowed", false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rule_both_ways),
        cmocka_unit_test(test_who_may_overrule_what),
        cmocka_unit_test(test_a_loss_that_is_named_is_the_limit),
        cmocka_unit_test(test_what_nobody_hears_is_promoted_by_nobody),
        cmocka_unit_test(test_nothing_known_forbids),
        cmocka_unit_test(test_armed_is_said_before_the_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
