/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/failover/fsm.h"
#include "domain/replication/doc.h"

static const struct replication_member members[] = {
    {.host = "hk1", .region = "hk", .address = "10.0.0.1", .port = 3306},
    {.host = "seoul1", .region = "seoul", .address = "10.0.0.2", .port = 3306},
    {.host = "bkk1", .region = "bkk", .address = "10.0.0.3", .port = 3306},
};

static uint64_t rows_seen; /* of the table, by all tests */

struct play {
    json_t *doc;
    struct failover_run run;
    struct failover_facts f;
    struct failover_action a;
    uint64_t now;
};

static void add_vantage(struct failover_facts *f, const char *region)
{
    struct failover_vantage *v = &f->vantages[f->n_vantages++];
    *v = (struct failover_vantage){.heard = true, .references = true};
    str_copy(v->region, sizeof v->region, region);
}

/* All is well, and everything permits. */
static struct failover_facts good(void)
{
    struct failover_facts f = {.max_lag_ms = 10000};
    f.automation.automatic = true;
    f.voters = (struct failover_voters){.total = 3, .answering = 3, .regions = 3, .witness = true,
        .same_version = true, .journal = true};
    add_vantage(&f, "hk");
    add_vantage(&f, "seoul");
    add_vantage(&f, "bkk");
    str_copy(f.leader_region, sizeof f.leader_region, "seoul");
    f.source = (struct failover_source){.answers = true, .reaches_store = true};
    f.target = (struct failover_target){.heard = true, .hears_source = true, .lag_known = true,
        .lag_ms = 300, .lag_age_ms = 900, .heartbeat_ms = 1000, .test_login = true, .serving = true};
    str_copy(f.target.host, sizeof f.target.host, "seoul1");
    str_copy(f.target.region, sizeof f.target.region, "seoul");
    f.lease = (struct failover_lease){.enforced = true, .known = true, .epoch = 1,
        .length_ms = 15000, .age_ms = 2000, .safe_in_ms = 14000, .gtid = "1-1-42"};
    f.armed = (struct failover_armed){true, true, 1000, 90000};
    f.past = (struct failover_past){.since_ms = FAILOVER_NEVER, .cooldown_ms = 3600000};
    f.world = (struct failover_world){.seen_healthy = true, .topology_known = true,
        .clock_step_ms = FAILOVER_NEVER, .regions_on = 2};
    return f;
}

/* The source's region is gone for so long. */
static void lose_source(struct play *p, uint64_t for_ms)
{
    p->f.source.silent_ms = for_ms;
    p->f.target.hears_source = false;
    p->f.voters.answering = 2;
    for (size_t i = 0; i < p->f.n_vantages; i++) {
        p->f.vantages[i].heard = i != 0;
        p->f.vantages[i].sees_fault = true;
    }
    p->f.lease.age_ms = for_ms;
    p->f.lease.safe_in_ms = for_ms < 16000 ? 16000 - for_ms : 0;
}

static void return_source(struct play *p)
{
    struct failover_facts f = good();
    f.lease.revoked = p->f.lease.revoked;
    f.automation = p->f.automation;
    p->f = f;
}

static void open_play(struct play *p)
{
    *p = (struct play){.doc = replication_doc_new(members, 3), .f = good(), .now = 1000000};
}

static void close_play(struct play *p)
{
    rows_seen |= p->run.rows;
    json_decref(p->doc);
}

static void feed(struct play *p, const struct failover_event *ev)
{
    json_t *doc = failover_step(p->doc, &p->run, ev, p->now, (int64_t)p->now, &p->a);
    json_decref(p->doc);
    p->doc = doc;
}

static void tick(struct play *p)
{
    feed(p, &(struct failover_event){.kind = FAILOVER_TICK, .facts = &p->f});
}

static void say(struct play *p, enum failover_act act, const char *gtid, const struct err *error)
{
    p->now += 10;
    feed(p, &(struct failover_event){.kind = FAILOVER_ANSWER,
                .facts = &p->f,
                .act = act,
                .id = json_opt_int(json_object_get(p->doc, "change"), "id", 0),
                .gtid = gtid,
                .error = error});
    if (act == FAILOVER_REVOKE && !error)
        p->f.lease.revoked = true;
    if (act == FAILOVER_RESTORE && !error)
        p->f.lease.revoked = false;
}

static const char *state(const struct play *p)
{
    return failover_state_name(failover_state_of(p->doc, &p->run));
}

static const json_t *change(const struct play *p)
{
    return json_object_get(p->doc, "change");
}

static const json_t *last(const struct play *p)
{
    return json_object_get(p->doc, "last");
}

#define AT(p, name) assert_string_equal(state(p), name)
#define ACTS(p, which) assert_string_equal(failover_act_name((p)->a.act), failover_act_name(which))

/* From the loss until the journal has begun. */
static void begin(struct play *p)
{
    open_play(p);
    tick(p);
    AT(p, "healthy");
    lose_source(p, 4000);
    tick(p);
    AT(p, "suspect");
    lose_source(p, 6500);
    tick(p);
    AT(p, "fencing");
}

/* And on until the target is to be promoted. */
static void fence(struct play *p)
{
    struct err silent = {0};
    err_set(&silent, ERR_UNAVAILABLE, "hk1 does not answer");
    begin(p);
    tick(p);
    ACTS(p, FAILOVER_REVOKE);
    tick(p);
    ACTS(p, FAILOVER_FENCE);
    assert_string_equal(p->a.host, "hk1");
    tick(p);
    ACTS(p, FAILOVER_NOTHING);
    say(p, FAILOVER_REVOKE, NULL, NULL);
    say(p, FAILOVER_FENCE, NULL, &silent);
    AT(p, "fencing");
    lose_source(p, 16100);
    tick(p);
    AT(p, "fenced");
    assert_string_equal(json_opt_str(change(p), "proof", ""), "lease");
    assert_int_equal(json_opt_int(p->doc, "epoch", 0), 1);
    tick(p);
    AT(p, "promoting");
    assert_int_equal(json_opt_int(p->doc, "epoch", 0), 2);
    assert_string_equal(json_opt_str(p->doc, "source", ""), "seoul1");
}

/* ---- before the point of no return ---- */

static void call_off_and_end(struct play *p, const char *why)
{
    AT(p, "restoring");
    assert_non_null(strstr(json_opt_str(change(p), "why", ""), why));
    tick(p);
    ACTS(p, FAILOVER_RESTORE);
    say(p, FAILOVER_RESTORE, NULL, NULL);
    assert_string_equal(json_opt_str(last(p), "outcome", ""), "undone");
    assert_int_equal(json_opt_int(p->doc, "epoch", 0), 1);
    assert_string_equal(json_opt_str(p->doc, "source", ""), "hk1");
}

static void revoke_lease(struct play *p)
{
    tick(p);
    ACTS(p, FAILOVER_REVOKE);
    say(p, FAILOVER_REVOKE, NULL, NULL);
}

static void test_a_source_that_comes_back_in_time_stays(void **unused)
{
    struct play p;
    begin(&p);
    revoke_lease(&p);
    return_source(&p);
    tick(&p);
    call_off_and_end(&p, "the source came back");
    tick(&p);
    AT(&p, "healthy");
    close_play(&p);
    begin(&p); /* and when the lease had ended already */
    revoke_lease(&p);
    lose_source(&p, 16100);
    tick(&p);
    AT(&p, "fenced");
    return_source(&p);
    tick(&p);
    call_off_and_end(&p, "the source came back");
    close_play(&p);
}

static void test_pausing_calls_it_off(void **unused)
{
    struct play p;
    begin(&p);
    revoke_lease(&p);
    p.f.automation.paused = true;
    tick(&p);
    call_off_and_end(&p, "R1: paused");
    tick(&p);
    AT(&p, "paused");
    p.f.automation.paused = false;
    tick(&p);
    AT(&p, "fencing"); /* lost as before */
    close_play(&p);
}

static void test_a_released_lease_needs_no_waiting(void **unused)
{
    struct play p;
    begin(&p);
    p.f.lease.released = true;
    tick(&p);
    AT(&p, "fencing"); /* it could be taken again: revoked first */
    say(&p, FAILOVER_REVOKE, NULL, NULL);
    tick(&p);
    AT(&p, "fenced");
    assert_string_equal(json_opt_str(change(&p), "proof", ""), "released");
    close_play(&p);
}

static void test_the_hosts_own_word_needs_no_waiting(void **unused)
{
    struct play p;
    begin(&p);
    tick(&p);
    tick(&p);
    ACTS(&p, FAILOVER_FENCE);
    say(&p, FAILOVER_FENCE, "1-1-57", NULL);
    AT(&p, "fencing");
    say(&p, FAILOVER_REVOKE, NULL, NULL);
    AT(&p, "fenced");
    assert_string_equal(json_opt_str(change(&p), "proof", ""), "acknowledged");
    const json_t *missing = json_object_get(change(&p), "missing");
    assert_string_equal(json_opt_str(missing, "to_gtid", ""), "1-1-57");
    assert_false(json_opt_bool(missing, "known", true));
    close_play(&p);
}

static void test_a_lease_that_is_held_again_is_no_proof(void **unused)
{
    struct play p;
    begin(&p);
    revoke_lease(&p);
    lose_source(&p, 16100);
    tick(&p);
    AT(&p, "fenced");
    p.f.lease.revoked = false;
    tick(&p);
    AT(&p, "fenced");
    assert_string_equal(p.run.rule.id, "R6");
    p.now += FAILOVER_FENCED_MS;
    tick(&p);
    call_off_and_end(&p, "R6");
    close_play(&p);
}

static void test_a_promise_is_kept(void **unused)
{
    struct play p;
    begin(&p);
    revoke_lease(&p);
    lose_source(&p, 16100);
    p.f.lease.promised_ms = 3000;
    tick(&p);
    AT(&p, "fencing");
    char why[300];
    assert_non_null(strstr(failover_reason(p.doc, &p.run, why, sizeof why), "another 3000 ms"));
    p.f.lease.promised_ms = 0;
    tick(&p);
    AT(&p, "fenced");
    close_play(&p);
}

static void test_what_takes_too_long_is_called_off(void **unused)
{
    struct play p;
    begin(&p);
    p.now += FAILOVER_FENCE_MS;
    tick(&p); /* the lease was never revoked */
    call_off_and_end(&p, "R6");
    close_play(&p);
    begin(&p);
    revoke_lease(&p);
    lose_source(&p, 16100);
    p.f.target.disk_low = true;
    tick(&p);
    AT(&p, "fenced");
    tick(&p);
    AT(&p, "fenced"); /* the rules are asked once more */
    p.now += FAILOVER_FENCED_MS;
    tick(&p);
    call_off_and_end(&p, "R13");
    tick(&p);
    AT(&p, "blocked");
    close_play(&p);
}

/* It answers, and is heard by everybody; only its lease it cannot renew. */
static void test_a_source_that_cannot_renew_is_left(void **unused)
{
    struct play p;
    open_play(&p);
    p.f.lease.age_ms = 12500;
    p.f.source.class = FAILOVER_SLOW;
    tick(&p);
    AT(&p, "blocked"); /* it may yet write */
    p.f.lease.age_ms = 15500;
    tick(&p);
    AT(&p, "fencing");
    assert_string_equal(json_opt_str(change(&p), "cause", ""), "lease");
    revoke_lease(&p);
    p.f.lease.age_ms = 16500;
    p.f.lease.safe_in_ms = 0;
    tick(&p);
    AT(&p, "fenced");
    tick(&p);
    AT(&p, "promoting");
    close_play(&p);
}

/* The renewal was on its way when the failover began. */
static void test_a_renewal_that_is_seen_late_counts(void **unused)
{
    struct play p;
    open_play(&p);
    p.f.lease.age_ms = 15500;
    tick(&p);
    AT(&p, "fencing");
    revoke_lease(&p);
    p.f.lease.age_ms = 700;
    tick(&p);
    call_off_and_end(&p, "the source came back");
    close_play(&p);
}

static void test_a_lease_that_was_given_back_has_time_to_be_renewed(void **unused)
{
    struct play p;
    begin(&p);
    revoke_lease(&p);
    return_source(&p);
    tick(&p);
    call_off_and_end(&p, "the source came back");
    p.f.lease.age_ms = 38000; /* since its holder wrote it last */
    tick(&p);
    AT(&p, "healthy");
    p.now += 12000;
    p.f.source.class = FAILOVER_SLOW;
    tick(&p);
    AT(&p, "blocked");
    p.now += 3000;
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

static void test_a_record_that_is_gone_is_not_given_back(void **unused)
{
    struct play p;
    struct err gone = {0};
    begin(&p);
    revoke_lease(&p);
    return_source(&p);
    tick(&p);
    tick(&p);
    err_set(&gone, ERR_UNAVAILABLE, "no quorum");
    say(&p, FAILOVER_RESTORE, NULL, &gone);
    AT(&p, "restoring");
    tick(&p);
    ACTS(&p, FAILOVER_NOTHING);
    p.now += FAILOVER_AGAIN_MS;
    tick(&p);
    ACTS(&p, FAILOVER_RESTORE);
    err_set(&gone, ERR_REFUSED, "another epoch");
    say(&p, FAILOVER_RESTORE, NULL, &gone);
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "undone");
    close_play(&p);
}

static void test_a_target_that_is_no_member_any_more(void **unused)
{
    struct play p;
    begin(&p);
    json_t *doc = replication_doc_remove(p.doc, "seoul1");
    json_decref(p.doc);
    p.doc = doc;
    tick(&p);
    call_off_and_end(&p, "holds no copy");
    close_play(&p);
}

/* ---- whether it begins ---- */

static void test_blocked_says_which_rule_and_ends(void **unused)
{
    struct play p;
    char why[300];
    open_play(&p);
    lose_source(&p, 7000);
    p.f.target.lag_ms = 20000;
    tick(&p);
    AT(&p, "blocked");
    assert_null(json_object_get(change(&p), "id"));
    assert_true(str_starts(failover_reason(p.doc, &p.run, why, sizeof why), "R8: "));
    p.f.source.silent_ms = 5000; /* it shows, and goes again */
    p.f.lease.age_ms = 5000;
    tick(&p);
    AT(&p, "suspect");
    lose_source(&p, 7000);
    tick(&p);
    AT(&p, "blocked");
    return_source(&p);
    tick(&p);
    AT(&p, "healthy");
    assert_string_equal(failover_reason(p.doc, &p.run, why, sizeof why), "");
    lose_source(&p, 7000);
    p.f.target.lag_ms = 20000;
    tick(&p);
    p.f.target.lag_ms = 300;
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

static void test_no_lease_no_beginning(void **unused)
{
    struct play p;
    open_play(&p);
    lose_source(&p, 7000);
    p.f.lease.enforced = false;
    tick(&p);
    AT(&p, "blocked");
    assert_string_equal(p.run.rule.id, "R6");
    close_play(&p);
}

static void test_where_a_person_decides(void **unused)
{
    struct play p;
    open_play(&p);
    lose_source(&p, 7000);
    p.f.automation.automatic = false;
    tick(&p);
    AT(&p, "manual");
    p.f.automation.automatic = true;
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

static void test_a_drill_of_others_keeps_it_still(void **unused)
{
    struct play p;
    open_play(&p);
    p.f.automation.drill = true;
    tick(&p);
    AT(&p, "drill");
    lose_source(&p, 7000);
    tick(&p);
    AT(&p, "drill");
    p.f.automation.drill_own = true; /* that fault is what the drill is about */
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

static void test_how_a_source_is_lost(void **unused)
{
    static const struct {
        const char *what;
        struct failover_source source;
        uint64_t lease_age_ms;
        bool promised, well, lost;
    } cases[] = {
        {"all is well", {.answers = true, .reaches_store = true}, 2000, false, true, false},
        {"host silent", {.silent_ms = 3000, .answers = true, .reaches_store = true}, 2000, false,
            false, false},
        {"for long", {.silent_ms = 6000, .answers = true, .reaches_store = true}, 2000, false,
            false, true},
        {"server gone", {.down_ms = 1000, .reaches_store = true}, 2000, false, false, false},
        {"and stays so", {.down_ms = 5000, .reaches_store = true}, 2000, false, false, true},
        {"no renewals", {.answers = true, .reaches_store = true}, 11999, false, true, false},
        {"for long", {.answers = true, .reaches_store = true}, 12000, false, false, true},
        {"but promised", {.answers = true, .reaches_store = true}, 20000, true, true, false},
        {"cut from the store", {.answers = true}, 2000, false, false, false},
        {"does not answer yet", {.reaches_store = true}, 2000, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failover_facts f = good();
        f.source = cases[i].source;
        f.lease.age_ms = cases[i].lease_age_ms;
        f.lease.promised_ms = cases[i].promised ? 1000 : 0;
        if (failover_source_well(&f) != cases[i].well || failover_source_lost(&f) != cases[i].lost)
            fail_msg("%s", cases[i].what);
    }
}

/* A disk that stalls leaves a source that answers, and a replica whose lag grows by all that is not written. */
static void test_a_source_whose_renewal_is_late_is_no_measure_of_lag(void **unused)
{
    struct failover_facts f = good();
    f.lease.age_ms = 7000; /* each 5 s, and 2 s */
    assert_true(failover_source_writes(&f));
    f.lease.age_ms = 7001;
    assert_false(failover_source_writes(&f));
    assert_true(failover_source_well(&f));
    f.lease.promised_ms = 1000; /* it writes, and the state store cannot say so */
    assert_true(failover_source_writes(&f));
    f.lease.promised_ms = 0;
    f.lease.age_ms = 100; /* given back is not renewed */
    f.lease.released = true;
    assert_false(failover_source_writes(&f));
    f.lease.enforced = false;
    assert_true(failover_source_writes(&f));
    f.source.down_ms = 1;
    assert_false(failover_source_writes(&f));
}

/* ---- afterwards ---- */

static const struct {
    const char *at;
    enum failover_act act;
} after[] = {{"promoting", FAILOVER_PROMOTE}, {"verifying", FAILOVER_VERIFY},
    {"admitting", FAILOVER_ADMIT}, {"switching", FAILOVER_SWITCH}};

/* Does the steps from..to (not included). */
static void do_steps(struct play *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        AT(p, after[i].at);
        tick(p);
        ACTS(p, after[i].act);
        assert_string_equal(p->a.host, "seoul1");
        assert_string_equal(p->a.region, "seoul");
        assert_int_equal(p->a.epoch, 2);
        say(p, after[i].act, after[i].act == FAILOVER_PROMOTE ? "1-1-40" : NULL, NULL);
    }
}

static void test_from_the_loss_to_done(void **unused)
{
    struct play p;
    fence(&p);
    do_steps(&p, 0, ARRAY_SIZE(after));
    assert_null(json_object_get(change(&p), "id"));
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "done");
    const json_t *missing = json_object_get(last(&p), "missing");
    assert_string_equal(json_opt_str(missing, "from_gtid", ""), "1-1-40");
    assert_string_equal(json_opt_str(missing, "to_gtid", ""), "1-1-42");
    assert_true(json_opt_bool(missing, "known", false));
    assert_int_equal(json_array_size(json_object_get(last(&p), "steps")), 6);
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(p.doc, &d, &e), 0);
    assert_int_equal(d.last_id, 1);
    close_play(&p);
}

/* A leader dies; who follows knows nothing but the document. */
static void test_the_next_leader_goes_on_everywhere(void **unused)
{
    for (size_t at = 0; at < ARRAY_SIZE(after); at++) {
        struct play p;
        fence(&p);
        do_steps(&p, 0, at);
        tick(&p); /* asked, and never answered */
        rows_seen |= p.run.rows;
        p.run = (struct failover_run){0};
        p.f.world.seen_healthy = false;
        do_steps(&p, at, ARRAY_SIZE(after));
        assert_string_equal(json_opt_str(last(&p), "outcome", ""), "done");
        const json_t *missing = json_object_get(last(&p), "missing");
        assert_string_equal(json_opt_str(missing, "from_gtid", ""), "1-1-40");
        close_play(&p);
    }
    struct play p;
    begin(&p);
    revoke_lease(&p);
    p.run = (struct failover_run){0};
    p.f.world.seen_healthy = false; /* it has begun after the fault */
    p.f.lease.safe_in_ms = 16000;   /* and counts from what it has read itself */
    tick(&p);
    AT(&p, "fencing");
    ACTS(&p, FAILOVER_FENCE);
    p.f.lease.safe_in_ms = 0;
    tick(&p);
    AT(&p, "fenced");
    p.run = (struct failover_run){0};
    p.f.lease.safe_in_ms = 16000; /* what was proven is in the journal */
    tick(&p);
    AT(&p, "promoting");
    close_play(&p);
    begin(&p);
    revoke_lease(&p);
    return_source(&p);
    tick(&p);
    AT(&p, "restoring");
    p.run = (struct failover_run){0};
    lose_source(&p, 7000); /* gone again: what has begun to be called off is */
    tick(&p);
    ACTS(&p, FAILOVER_RESTORE);
    say(&p, FAILOVER_RESTORE, NULL, NULL);
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "undone");
    close_play(&p);
}

static void test_an_old_source_that_comes_back_late_changes_nothing(void **unused)
{
    for (size_t at = 0; at < ARRAY_SIZE(after); at++) {
        struct play p;
        fence(&p);
        do_steps(&p, 0, at);
        return_source(&p);
        p.f.target.diverged = true; /* whatever a rule would say now */
        p.f.automation.paused = true;
        do_steps(&p, at, ARRAY_SIZE(after));
        assert_string_equal(json_opt_str(last(&p), "outcome", ""), "done");
        assert_string_equal(json_opt_str(p.doc, "source", ""), "seoul1");
        close_play(&p);
    }
}

static void test_what_is_left_partial_is_tried_again_by_the_next(void **unused)
{
    for (size_t at = 0; at < ARRAY_SIZE(after); at++) {
        struct play p;
        struct err no = {0};
        fence(&p);
        do_steps(&p, 0, at);
        tick(&p);
        err_set(&no, ERR_REFUSED, "no room");
        say(&p, after[at].act, NULL, &no);
        AT(&p, after[at].at);
        p.now += FAILOVER_SWITCH_MS;
        tick(&p);
        assert_string_equal(json_opt_str(last(&p), "outcome", ""), "partial");
        assert_string_equal(json_opt_str(last(&p), "left", ""), after[at].at);
        assert_non_null(strstr(json_opt_str(last(&p), "why", ""), "no room"));
        p.run = (struct failover_run){0};
        return_source(&p);
        p.f.past.left_undone = true;
        tick(&p);
        AT(&p, "partial");
        p.now += FAILOVER_RETRY_MS;
        tick(&p);
        do_steps(&p, at, ARRAY_SIZE(after));
        assert_string_equal(json_opt_str(last(&p), "outcome", ""), "done");
        assert_int_equal(json_opt_int(last(&p), "tries", 0), 1);
        assert_int_equal(json_opt_int(last(&p), "id", 0), 1);
        p.f.past.left_undone = false;
        tick(&p);
        AT(&p, "healthy");
        close_play(&p);
    }
}

static void test_partial_ends_when_somebody_says_it_is_well(void **unused)
{
    struct play p;
    fence(&p);
    p.now += FAILOVER_PROMOTE_MS;
    tick(&p);
    return_source(&p);
    p.f.past.left_undone = true;
    tick(&p);
    AT(&p, "partial");
    p.f.past.left_undone = false; /* `mcp ack` */
    tick(&p);
    AT(&p, "healthy");
    close_play(&p);
}

/* ---- functions ---- */

static void test_functions_run_before_anything_is_taken(void **unused)
{
    struct play p;
    struct err no = {0};
    char why[300];
    open_play(&p);
    p.f.has_before = true;
    lose_source(&p, 7000);
    tick(&p);
    AT(&p, "fencing");
    tick(&p);
    ACTS(&p, FAILOVER_BEFORE);
    tick(&p);
    ACTS(&p, FAILOVER_NOTHING); /* the lease stays until it has ended well */
    err_set(&no, ERR_REFUSED, "drain: exit status 3");
    say(&p, FAILOVER_BEFORE, NULL, &no);
    AT(&p, "fencing");
    failover_reason(p.doc, &p.run, why, sizeof why);
    assert_true(str_starts(why, "R23: "));
    assert_non_null(strstr(why, "drain: exit status 3"));
    p.now += 5000;
    tick(&p);
    ACTS(&p, FAILOVER_BEFORE);
    assert_int_equal(p.a.attempt, 2);
    say(&p, FAILOVER_BEFORE, NULL, NULL);
    ACTS(&p, FAILOVER_REVOKE);
    say(&p, FAILOVER_REVOKE, NULL, NULL);
    ACTS(&p, FAILOVER_FENCE);
    lose_source(&p, 16100);
    tick(&p);
    tick(&p);
    AT(&p, "promoting");
    close_play(&p);
}

static void test_a_function_that_fails_for_good_calls_it_off(void **unused)
{
    struct play p;
    struct err no = {0};
    open_play(&p);
    p.f.has_before = true;
    lose_source(&p, 7000);
    tick(&p);
    tick(&p);
    err_set(&no, ERR_REFUSED, "drain: exit status 3");
    say(&p, FAILOVER_BEFORE, NULL, &no);
    lose_source(&p, 60000); /* the lease has long ended */
    tick(&p);
    AT(&p, "fencing");
    p.now += FAILOVER_FENCE_MS;
    tick(&p);
    call_off_and_end(&p, "drain: exit status 3");
    close_play(&p);
}

static void test_functions_run_after_the_switch(void **unused)
{
    struct play p;
    struct err no = {0};
    fence(&p);
    p.f.has_after = true;
    do_steps(&p, 0, ARRAY_SIZE(after));
    AT(&p, "switching");
    ACTS(&p, FAILOVER_AFTER);
    err_set(&no, ERR_REFUSED, "tell: exit status 1");
    say(&p, FAILOVER_AFTER, NULL, &no);
    p.now += FAILOVER_SWITCH_MS;
    tick(&p);
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "partial");
    assert_non_null(strstr(json_opt_str(last(&p), "why", ""), "tell: exit status 1"));
    close_play(&p);
}

/* ---- by hand ---- */

static void give_order(struct play *p, const char *to, bool source_off)
{
    struct err e = {0};
    const struct failover_wish w = {.to = to,
        .by = "kim",
        .why = "flood",
        .order = {.by_hand = true, .accept_loss = true, .loss_ms = 30000, .source_off = source_off}};
    assert_int_equal(failover_may_begin(p->doc, to, &e), 0);
    json_t *doc = failover_begin(p->doc, &w, (int64_t)p->now);
    json_decref(p->doc);
    p->doc = doc;
}

static void test_a_persons_order_stands(void **unused)
{
    struct play p;
    open_play(&p);
    p.f.automation = (struct failover_automation){.paused = true};
    p.f.target.lag_ms = 25000; /* within what was accepted */
    tick(&p);
    AT(&p, "paused");
    give_order(&p, "seoul1", false);
    AT(&p, "fencing");
    struct failover_facts f = failover_facts_of(p.doc, &p.run, &p.f);
    assert_true(f.order.by_hand && f.order.accept_loss && !f.order.source_off);
    assert_int_equal(f.order.loss_ms, 30000);
    tick(&p); /* the source is well, and that is known */
    ACTS(&p, FAILOVER_REVOKE);
    tick(&p);
    say(&p, FAILOVER_REVOKE, NULL, NULL);
    say(&p, FAILOVER_FENCE, "1-1-50", NULL);
    AT(&p, "fenced");
    tick(&p);
    AT(&p, "promoting");
    assert_string_equal(json_opt_str(change(&p), "by", ""), "kim");
    close_play(&p);
}

/* Every controller that had seen the source dies with it, one after the other. */
static void test_the_next_leader_goes_on_without_memory(void **unused)
{
    struct play p;
    open_play(&p);
    lose_source(&p, 7000);
    tick(&p);
    tick(&p);
    AT(&p, "fencing");
    p.run = (struct failover_run){0};
    p.f.target.lag_known = false;
    p.f.world.seen_healthy = p.f.world.topology_known = false;
    struct failover_facts f = failover_facts_of(p.doc, &p.run, &p.f);
    struct failover_rule r;
    assert_false(failover_r8(&f, &r));
    assert_int_equal(f.target.lag_ms, 300);
    str_copy(p.f.target.host, sizeof p.f.target.host, "bkk1"); /* of another it is not known */
    f = failover_facts_of(p.doc, &p.run, &p.f);
    assert_true(failover_r8(&f, &r));
    close_play(&p);
}

static void test_attested_that_the_source_is_off(void **unused)
{
    struct play p;
    open_play(&p);
    lose_source(&p, 7000);
    p.f.lease.enforced = false;
    give_order(&p, "seoul1", false);
    tick(&p);
    AT(&p, "fencing");
    give_order(&p, "seoul1", true); /* again, with the word that was missing */
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "undone");
    assert_int_equal(json_opt_int(change(&p), "id", 0), 2);
    tick(&p);
    AT(&p, "fenced");
    assert_string_equal(json_opt_str(change(&p), "proof", ""), "attested");
    close_play(&p);
}

static void test_a_person_may_go_elsewhere(void **unused)
{
    struct play p;
    struct err e = {0};
    fence(&p); /* and the new source does not come up */
    give_order(&p, "bkk1", false);
    assert_string_equal(json_opt_str(last(&p), "outcome", ""), "partial");
    assert_string_equal(json_opt_str(change(&p), "from", ""), "seoul1");
    assert_int_equal(failover_may_begin(p.doc, "nobody", &e), ERR_REFUSED);
    assert_int_equal(failover_may_begin(p.doc, "seoul1", &e), ERR_REFUSED);
    close_play(&p);
    begin(&p);
    return_source(&p);
    tick(&p);
    AT(&p, "restoring");
    assert_int_equal(failover_may_begin(p.doc, "bkk1", &e), ERR_REFUSED);
    close_play(&p);
}

/* ---- planned moves, and the way back ---- */

static void set_change(struct play *p, const char *text)
{
    json_object_set_new(p->doc, "change", json_loads(text, JSON_DECODE_ANY, NULL));
}

static void test_a_planned_move_is_left_alone(void **unused)
{
    struct play p;
    struct err e = {0};
    open_play(&p);
    set_change(&p, "{\"kind\":\"switchover\",\"id\":1,\"to\":\"seoul1\",\"step\":\"hold\"}");
    lose_source(&p, 7000);
    tick(&p);
    AT(&p, "switchover");
    assert_true(failover_facts_of(p.doc, &p.run, &p.f).past.foreign_change);
    assert_int_equal(failover_may_begin(p.doc, "seoul1", &e), ERR_REFUSED);
    set_change(&p, "null");
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

static void test_the_way_back(void **unused)
{
    struct play p;
    open_play(&p);
    p.f.home.away = true;
    p.f.past.since_ms = 1000;
    tick(&p);
    AT(&p, "dr-active");
    p.f.home.replicates = true;
    tick(&p);
    AT(&p, "cooldown");
    p.f.past.since_ms = 3600000;
    tick(&p);
    AT(&p, "failback-ready");
    set_change(&p, "{\"kind\":\"switchover\",\"id\":1,\"to\":\"hk1\",\"step\":\"hold\"}");
    tick(&p);
    AT(&p, "switchover");
    set_change(&p, "null");
    p.f.home = (struct failover_home){0};
    tick(&p);
    AT(&p, "healthy");
    close_play(&p);
    open_play(&p); /* a leader that begins in the middle; then back and forth */
    p.f.home = (struct failover_home){true, true};
    p.f.past.since_ms = 3600000;
    tick(&p);
    AT(&p, "failback-ready");
    p.f.home.replicates = false;
    tick(&p);
    AT(&p, "dr-active");
    p.f.home.away = false;
    tick(&p);
    AT(&p, "healthy");
    close_play(&p);
}

/* ---- answers ---- */

static void test_answers_of_the_past_are_not_listened_to(void **unused)
{
    struct play p;
    fence(&p);
    struct failover_event ev = {
        .kind = FAILOVER_ANSWER, .facts = &p.f, .act = FAILOVER_PROMOTE, .id = 1};
    feed(&p, &ev); /* nobody has asked; the act is asked now */
    AT(&p, "promoting");
    ACTS(&p, FAILOVER_PROMOTE);
    ev.id = 7;
    feed(&p, &ev);
    AT(&p, "promoting");
    ev.id = 1;
    ev.act = FAILOVER_VERIFY;
    feed(&p, &ev);
    AT(&p, "promoting");
    tick(&p);
    ACTS(&p, FAILOVER_NOTHING);
    p.now += 25000; /* its answer was lost */
    tick(&p);
    ACTS(&p, FAILOVER_PROMOTE);
    assert_int_equal(p.a.attempt, 2);
    say(&p, FAILOVER_PROMOTE, NULL, NULL);
    AT(&p, "verifying");
    close_play(&p);
}

static void test_a_step_of_a_newer_version(void **unused)
{
    struct play p;
    open_play(&p);
    set_change(&p, "{\"kind\":\"failover\",\"id\":1,\"from\":\"hk1\",\"to\":\"seoul1\",\"step\":\"?\"}");
    AT(&p, "restoring");
    set_change(&p, "{\"kind\":\"failover\",\"id\":1,\"from\":\"bkk1\",\"to\":\"hk1\",\"step\":\"?\"}");
    AT(&p, "verifying");
    close_play(&p);
}

static void test_switched_off_guards_do_harm(void **unused)
{
    struct play p;
    begin(&p);
    p.run.guards_off = FAILOVER_OFF_FENCING;
    tick(&p);
    AT(&p, "fenced"); /* without any proof */
    close_play(&p);
    begin(&p);
    p.run.guards_off = FAILOVER_OFF_RETURN;
    return_source(&p);
    tick(&p);
    AT(&p, "fencing"); /* although the source is back */
    close_play(&p);
    open_play(&p);
    p.run.guards_off = FAILOVER_OFF_RULES;
    lose_source(&p, 7000);
    p.f.target.diverged = true;
    tick(&p);
    AT(&p, "fencing");
    close_play(&p);
}

/* ---- the table ---- */

#define ROWS_MAX 64

static void test_every_state_has_a_way_in_and_out(void **unused)
{
    struct failover_row rows[ROWS_MAX];
    size_t n = failover_table(rows, ROWS_MAX);
    assert_in_range(n, 1, ROWS_MAX);
    for (int s = 0; s < FAILOVER_STATES; s++) {
        bool in = s == FAILOVER_HEALTHY, out = false;
        assert_string_not_equal(failover_state_name((enum failover_state)s), "?");
        for (size_t i = 0; i < n; i++) {
            in |= rows[i].goal == (enum failover_state)s;
            out |= (rows[i].states >> s & 1) && rows[i].goal != (enum failover_state)s;
        }
        if (!in || !out)
            fail_msg("%s: no way %s", failover_state_name((enum failover_state)s), in ? "out" : "in");
    }
}

/* Facts at random: within one event the states come to rest, the source moves only from `fenced`,
 * and the epoch only rises. */
static void test_it_comes_to_rest_whatever_happens(void **unused)
{
    struct rnd rnd;
    rnd_seed(&rnd, 5);
    struct play p;
    open_play(&p);
    for (int i = 0; i < 50000; i++) {
        uint64_t dice = rnd_u64(&rnd);
        struct failover_facts f = good();
        bool revoked = p.f.lease.revoked;
        p.f = f;
        p.f.lease.revoked = revoked;
        if (dice & 1)
            lose_source(&p, dice >> 8 & 0x7fff);
        p.f.automation.automatic = (dice & 0x30) != 0;
        p.f.automation.paused = (dice & 0x1c0) == 0;
        p.f.automation.drill = (dice & 0xe00) == 0;
        p.f.target.diverged = (dice & 0x7000) == 0;
        p.f.home.away = str_eq(json_opt_str(p.doc, "source", ""), "seoul1");
        p.f.home.replicates = dice >> 20 & 1;
        p.f.past.since_ms = dice >> 21 & 1 ? FAILOVER_NEVER : 5;
        p.f.past.acknowledged = dice >> 26 & 1;
        p.f.past.left_undone = dice >> 22 & 1;
        p.f.has_before = (dice >> 23 & 3) == 0;
        bool to_hk = p.f.home.away;
        str_copy(p.f.target.host, sizeof p.f.target.host, to_hk ? "hk1" : "seoul1");
        char before[32];
        int64_t epoch = json_opt_int(p.doc, "epoch", 0);
        str_copy(before, sizeof before, state(&p));
        p.now += dice >> 40 & 0xfff;
        tick(&p);
        int64_t now = json_opt_int(p.doc, "epoch", 0);
        assert_true(now == epoch || (now == epoch + 1 && str_eq(before, "fenced")));
        if (now != epoch)
            p.f.lease.revoked = false; /* the new source's own */
        enum failover_act act = p.a.act;
        if (act != FAILOVER_NOTHING && (dice >> 52 & 3))
            say(&p, act, NULL, NULL);
        const json_t *written = p.doc;
        tick(&p);
        enum failover_state rest = failover_state_of(p.doc, &p.run);
        if (written != p.doc || rest >= FAILOVER_FENCING)
            continue;
        tick(&p);
        assert_ptr_equal(p.doc, written);
        assert_int_equal(failover_state_of(p.doc, &p.run), rest);
    }
    close_play(&p);
}

static void test_every_row_was_taken(void **unused)
{
    struct failover_row rows[ROWS_MAX];
    size_t n = failover_table(rows, ROWS_MAX);
    for (size_t i = 0; i < n; i++)
        if (!(rows_seen >> i & 1))
            fail_msg("row %zu was never taken: %s", i, rows[i].event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_that_comes_back_in_time_stays),
        cmocka_unit_test(test_pausing_calls_it_off),
        cmocka_unit_test(test_a_released_lease_needs_no_waiting),
        cmocka_unit_test(test_the_hosts_own_word_needs_no_waiting),
        cmocka_unit_test(test_a_lease_that_is_held_again_is_no_proof),
        cmocka_unit_test(test_a_promise_is_kept),
        cmocka_unit_test(test_what_takes_too_long_is_called_off),
        cmocka_unit_test(test_a_source_that_cannot_renew_is_left),
        cmocka_unit_test(test_a_renewal_that_is_seen_late_counts),
        cmocka_unit_test(test_a_lease_that_was_given_back_has_time_to_be_renewed),
        cmocka_unit_test(test_a_record_that_is_gone_is_not_given_back),
        cmocka_unit_test(test_a_target_that_is_no_member_any_more),
        cmocka_unit_test(test_blocked_says_which_rule_and_ends),
        cmocka_unit_test(test_no_lease_no_beginning),
        cmocka_unit_test(test_where_a_person_decides),
        cmocka_unit_test(test_a_drill_of_others_keeps_it_still),
        cmocka_unit_test(test_how_a_source_is_lost),
        cmocka_unit_test(test_from_the_loss_to_done),
        cmocka_unit_test(test_the_next_leader_goes_on_everywhere),
        cmocka_unit_test(test_an_old_source_that_comes_back_late_changes_nothing),
        cmocka_unit_test(test_what_is_left_partial_is_tried_again_by_the_next),
        cmocka_unit_test(test_partial_ends_when_somebody_says_it_is_well),
        cmocka_unit_test(test_functions_run_before_anything_is_taken),
        cmocka_unit_test(test_a_function_that_fails_for_good_calls_it_off),
        cmocka_unit_test(test_functions_run_after_the_switch),
        cmocka_unit_test(test_a_persons_order_stands),
        cmocka_unit_test(test_the_next_leader_goes_on_without_memory),
        cmocka_unit_test(test_attested_that_the_source_is_off),
        cmocka_unit_test(test_a_person_may_go_elsewhere),
        cmocka_unit_test(test_a_planned_move_is_left_alone),
        cmocka_unit_test(test_the_way_back),
        cmocka_unit_test(test_answers_of_the_past_are_not_listened_to),
        cmocka_unit_test(test_a_step_of_a_newer_version),
        cmocka_unit_test(test_switched_off_guards_do_harm),
        cmocka_unit_test(test_a_source_whose_renewal_is_late_is_no_measure_of_lag),
        cmocka_unit_test(test_every_state_has_a_way_in_and_out),
        cmocka_unit_test(test_every_row_was_taken),
        cmocka_unit_test(test_it_comes_to_rest_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
