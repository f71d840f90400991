/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/failover/lease.h"

#define L 15000u

struct play { /* one holder, and what it asked for last */
    struct lease_holder h;
    struct lease_action a;
    uint64_t now;
};

static enum lease_act step(struct play *p, struct lease_event ev)
{
    lease_holder_step(&p->h, &ev, p->now, 1000000, &p->a);
    return p->a.act;
}

static enum lease_act tick(struct play *p, uint64_t now)
{
    p->now = now;
    return step(p, (struct lease_event){.kind = LEASE_EV_TICK});
}

static enum lease_act beaten(struct play *p, bool ok)
{
    return step(p, (struct lease_event){
                       .kind = LEASE_EV_BEATEN, .id = p->h.now.id, .ok = ok, .gtid = "1-1-42"});
}

static enum lease_act read_it(struct play *p, int64_t epoch, const struct lease_record *r)
{
    return step(p, (struct lease_event){.kind = LEASE_EV_READ,
                       .id = p->h.now.id,
                       .ok = true,
                       .epoch = epoch,
                       .record = r,
                       .mod = r ? 70 : 0,
                       .doc_mod = 7});
}

static enum lease_act sent(struct play *p, enum lease_sent outcome)
{
    return step(p, (struct lease_event){
                       .kind = LEASE_EV_SENT, .id = p->h.send.id, .sent = outcome, .mod = 71});
}

static void begin(struct play *p, int64_t epoch)
{
    *p = (struct play){.now = 100000};
    lease_holder_init(&p->h, "hk1");
    assert_int_equal(
        step(p, (struct lease_event){.kind = LEASE_EV_WANT, .epoch = epoch, .lease_ms = L}),
        LEASE_BEAT);
    assert_true(p->a.told);
}

/* Holds it at epoch 3, renewed at 100,000. */
static void held(struct play *p)
{
    begin(p, 3);
    assert_int_equal(beaten(p, true), LEASE_READ);
    assert_int_equal(read_it(p, 3, NULL), LEASE_SEND);
    assert_int_equal(sent(p, LEASE_SENT_DONE), LEASE_NOTHING);
    assert_int_equal(p->h.until_ms, 100000 + L);
}

static void test_record(void **state)
{
    struct lease_record r = {.epoch = 3,
        .seq = 8,
        .holder = "hk1",
        .gtid = "1-1-42",
        .lease_ms = L,
        .sent_wall_ms = 5};
    struct lease_record back;
    struct err e = {0};
    _cleanup_json_ json_t *old = json_pack("{s:s}", "later", "version");
    _cleanup_json_ json_t *j = lease_record_put(old, &r);
    assert_int_equal(lease_record_parse(j, &back, &e), 0);
    assert_memory_equal(&r, &back, sizeof r);
    assert_string_equal(json_opt_str(j, "later", ""), "version");
    _cleanup_json_ json_t *revoked = lease_record_revoke(j, true);
    assert_int_equal(lease_record_parse(revoked, &back, &e), 0);
    assert_true(back.revoked);
    assert_int_equal(back.seq, 8);
    assert_string_equal(json_opt_str(revoked, "later", ""), "version");
}

static void test_wrong_records(void **state)
{
    static const char *const rows[] = {
        "{}",
        "{\"format\":2,\"epoch\":1,\"seq\":1,\"holder\":\"a\",\"lease_ms\":1}",
        "{\"format\":1,\"epoch\":0,\"seq\":1,\"holder\":\"a\",\"lease_ms\":1}",
        "{\"format\":1,\"epoch\":1,\"seq\":0,\"holder\":\"a\",\"lease_ms\":1}",
        "{\"format\":1,\"epoch\":1,\"seq\":1,\"holder\":7,\"lease_ms\":1}",
        "{\"format\":1,\"epoch\":1,\"seq\":1,\"holder\":\"a\",\"lease_ms\":0}",
        "{\"format\":1,\"epoch\":1,\"seq\":1,\"lease_ms\":1,\"holder\":"
        "\"a23456789012345678901234567890123456789012345678901234567890123456789\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct lease_record r;
        struct err e = {0};
        _cleanup_json_ json_t *j = json_loads(rows[i], 0, NULL);
        assert_true(lease_record_parse(j, &r, &e) < 0);
    }
}

static void test_rules_of_time(void **state)
{
    static const struct {
        uint64_t until, lease, now;
        enum lease_rule rule;
    } rows[] = {
        {0, L, 5, LEASE_FENCE}, /* none: never killed, never written to */
        {20000, L, 16999, LEASE_WRITE},
        {20000, L, 17000, LEASE_FENCE},
        {20000, L, 18499, LEASE_FENCE},
        {20000, L, 18500, LEASE_KILL},
        {20000, L, 90000, LEASE_KILL},
        {20000, 5000, 18999, LEASE_WRITE}, /* short ones keep their proportions */
        {20000, 5000, 19000, LEASE_FENCE},
        {20000, 5000, 19500, LEASE_KILL},
        {600000, 600000, 596999, LEASE_WRITE}, /* long ones wait no longer */
        {600000, 600000, 597000, LEASE_FENCE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(
            lease_rule(rows[i].until, rows[i].lease, rows[i].now, 0), rows[i].rule);
        assert_int_equal(lease_rule(rows[i].until, rows[i].lease, rows[i].now,
                             LEASE_OFF_SELF_FENCE),
            LEASE_WRITE);
    }
    assert_true(lease_acknowledges(20000, 3, 3, 19999, 0));
    assert_false(lease_acknowledges(20000, 3, 3, 20000, 0));
    assert_false(lease_acknowledges(20000, 4, 3, 19999, 0));
    assert_true(lease_acknowledges(20000, 3, 3, 20000, LEASE_OFF_ACK_GATE));
    assert_true(lease_acknowledges(20000, 4, 3, 19999, LEASE_OFF_EPOCH));
}

/* The deadline counts from before it was sent, and nothing is sent before the disk took a write. */
static void test_renews(void **state)
{
    struct play p;
    begin(&p, 3);
    p.now += 40;
    assert_int_equal(beaten(&p, true), LEASE_READ);
    p.now += 60;
    assert_int_equal(read_it(&p, 3, NULL), LEASE_SEND);
    assert_int_equal(p.a.record.epoch, 3);
    assert_int_equal(p.a.record.seq, 1);
    assert_int_equal(p.a.mod, 0);
    assert_int_equal(p.a.doc_mod, 7);
    assert_string_equal(p.a.record.holder, "hk1");
    assert_string_equal(p.a.record.gtid, "1-1-42");
    p.now += 900;
    assert_int_equal(sent(&p, LEASE_SENT_DONE), LEASE_NOTHING);
    assert_true(p.a.told);
    assert_int_equal(p.h.until_ms, 100100 + L);
    assert_int_equal(lease_holder_due_ms(&p.h), 100100 + L / 3);
    assert_int_equal(tick(&p, 100100 + L / 3 - 1), LEASE_NOTHING);
    assert_int_equal(tick(&p, 100100 + L / 3), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_SEND); /* what is there is known */
    assert_int_equal(p.a.record.seq, 2);
    assert_int_equal(p.a.mod, 71);
    assert_int_equal(sent(&p, LEASE_SENT_DONE), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 100100 + L / 3 + L);
}

static void test_no_disk_no_lease(void **state)
{
    struct play p;
    held(&p);
    assert_int_equal(tick(&p, 105000), LEASE_BEAT);
    assert_int_equal(beaten(&p, false), LEASE_NOTHING);
    assert_int_equal(tick(&p, 105499), LEASE_NOTHING);
    assert_int_equal(tick(&p, 105500), LEASE_BEAT);
    assert_int_equal(tick(&p, 105500 + L / 4), LEASE_NOTHING); /* nor did it answer */
    assert_int_equal(p.h.until_ms, 100000 + L);
    assert_int_equal(beaten(&p, true), LEASE_NOTHING); /* too late: it was given up */
}

/* What was not answered is read, and counts if it is there. */
static void test_unknown_outcome(void **state)
{
    struct play p;
    held(&p);
    tick(&p, 105000);
    assert_int_equal(beaten(&p, true), LEASE_SEND);
    struct lease_record mine = p.a.record;
    p.now = 106000;
    assert_int_equal(sent(&p, LEASE_SENT_UNKNOWN), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 100000 + L);
    assert_int_equal(tick(&p, 106500), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_READ);
    struct play other = p;
    assert_int_equal(read_it(&p, 3, &mine), LEASE_SEND);
    assert_int_equal(p.h.until_ms, 105000 + L);
    struct lease_record before = mine;
    before.seq--;
    assert_int_equal(read_it(&other, 3, &before), LEASE_SEND);
    assert_int_equal(other.h.until_ms, 100000 + L);
    assert_int_equal(other.a.record.seq, mine.seq); /* that one can not come any more */
}

/* An answer that comes after it was given up still says that it was written. */
static void test_late_answer(void **state)
{
    struct play p;
    held(&p);
    tick(&p, 105000);
    beaten(&p, true);
    tick(&p, 105000 + L / 4);
    assert_int_equal(p.h.doing, LEASE_NOTHING);
    assert_int_equal(sent(&p, LEASE_SENT_DONE), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 105000 + L);
    assert_int_equal(p.h.mod, 71);
}

static void test_what_forbids(void **state)
{
    static const struct {
        const char *name;
        int64_t document;
        struct lease_record r;
    } rows[] = {
        {"the source has moved", 0, {.epoch = 3, .seq = 4, .holder = "hk1", .lease_ms = L}},
        {"a later document", 4, {.epoch = 3, .seq = 4, .holder = "hk1", .lease_ms = L}},
        {"a later lease", 3, {.epoch = 4, .seq = 4, .holder = "sl1", .lease_ms = L}},
        {"revoked", 3,
            {.epoch = 3, .seq = 4, .holder = "hk1", .lease_ms = L, .revoked = true}},
        {"of another host", 3, {.epoch = 3, .seq = 4, .holder = "sl1", .lease_ms = L}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct play p;
        held(&p);
        tick(&p, 105000);
        beaten(&p, true);
        assert_int_equal(sent(&p, LEASE_SENT_CONFLICT), LEASE_READ);
        assert_int_equal(p.h.until_ms, 100000 + L); /* nothing is known yet */
        assert_int_equal(read_it(&p, rows[i].document, &rows[i].r), LEASE_NOTHING);
        assert_int_equal(p.h.until_ms, 0);
        assert_true(p.a.told);
        assert_true(*p.h.why);
        assert_int_equal(tick(&p, 105500), LEASE_BEAT); /* it may be given back */
        /* and that is what the guard is for */
        struct play q;
        held(&q);
        q.h.guards_off = LEASE_OFF_EPOCH;
        tick(&q, 105000);
        beaten(&q, true);
        sent(&q, LEASE_SENT_CONFLICT);
        assert_int_equal(read_it(&q, rows[i].document, &rows[i].r), LEASE_SEND);
    }
}

static void test_given_back_after_revocation(void **state)
{
    struct play p;
    struct lease_record r = {
        .epoch = 3, .seq = 4, .holder = "hk1", .lease_ms = L, .revoked = true};
    begin(&p, 3);
    beaten(&p, true);
    assert_int_equal(read_it(&p, 3, &r), LEASE_NOTHING);
    r.revoked = false;
    tick(&p, p.now + LEASE_RETRY_MS);
    beaten(&p, true);
    assert_int_equal(read_it(&p, 3, &r), LEASE_SEND);
    assert_int_equal(p.a.record.seq, 5);
}

/* The new source of the next epoch needs to wait for nobody: its document says that all is over. */
static void test_next_epoch(void **state)
{
    struct play p;
    struct lease_record r = {
        .epoch = 3, .seq = 4, .holder = "sl1", .lease_ms = L, .revoked = true};
    held(&p);
    p.now += 1;
    assert_int_equal(
        step(&p, (struct lease_event){.kind = LEASE_EV_WANT, .epoch = 0}), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 0);
    assert_int_equal(lease_holder_due_ms(&p.h), UINT64_MAX);
    assert_int_equal(
        step(&p, (struct lease_event){.kind = LEASE_EV_WANT, .epoch = 4, .lease_ms = L}),
        LEASE_BEAT);
    beaten(&p, true);
    assert_int_equal(read_it(&p, 4, &r), LEASE_SEND);
    assert_int_equal(p.a.record.epoch, 4);
    assert_int_equal(p.a.record.seq, 5);
    assert_false(p.a.record.revoked);
}

/* A server that died: released at once, renewed when it beats again. */
static void test_death(void **state)
{
    struct play p;
    held(&p);
    p.now = 102000;
    assert_int_equal(step(&p, (struct lease_event){.kind = LEASE_EV_DEAD}), LEASE_SEND);
    assert_true(p.a.record.released);
    assert_true(p.a.told);
    assert_int_equal(p.h.until_ms, 0);
    assert_int_equal(sent(&p, LEASE_SENT_DONE), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 0);
    assert_int_equal(step(&p, (struct lease_event){.kind = LEASE_EV_DEAD}), LEASE_NOTHING);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_BEAT);
    beaten(&p, false);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_READ);
    struct lease_record released = p.h.last;
    assert_int_equal(read_it(&p, 3, &released), LEASE_SEND);
    assert_false(p.a.record.released);
    sent(&p, LEASE_SENT_DONE);
    assert_int_equal(p.h.until_ms, p.now + L);
}

/* Its gate does not say that it is shut, so nothing is released: a server that is back is held again all the same. */
static void test_a_release_that_cannot_be_given(void **state)
{
    struct play p;
    held(&p);
    p.now = 102000;
    assert_int_equal(step(&p, (struct lease_event){.kind = LEASE_EV_DEAD}), LEASE_SEND);
    tick(&p, p.now + L / 4);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_BEAT);
    beaten(&p, false);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_READ); /* the release again */
    struct lease_record own = {.epoch = 3, .seq = 1, .holder = "hk1", .lease_ms = L};
    assert_int_equal(read_it(&p, 3, &own), LEASE_SEND);
    assert_true(p.a.record.released);
    tick(&p, p.now + L / 4);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_READ);
    assert_int_equal(read_it(&p, 3, &own), LEASE_SEND);
    assert_false(p.a.record.released);
    sent(&p, LEASE_SENT_DONE);
    assert_int_equal(p.h.until_ms, p.now + L);
}

/* It died while a renewal was on its way: whichever comes first, the end is released. */
static void test_death_while_sending(void **state)
{
    struct play p;
    held(&p);
    tick(&p, 105000);
    assert_int_equal(beaten(&p, true), LEASE_SEND);
    struct lease_record renewal = p.a.record;
    assert_int_equal(step(&p, (struct lease_event){.kind = LEASE_EV_DEAD}), LEASE_SEND);
    assert_int_equal(sent(&p, LEASE_SENT_CONFLICT), LEASE_READ);
    renewal.revoked = true; /* and a challenger was there */
    assert_int_equal(read_it(&p, 3, &renewal), LEASE_SEND);
    assert_true(p.a.record.released);
    assert_true(p.a.record.revoked);
    assert_int_equal(p.h.until_ms, 0);
    struct lease_record released = p.a.record;
    sent(&p, LEASE_SENT_UNKNOWN);
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_READ);
    assert_int_equal(read_it(&p, 3, &released), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 0);
    assert_false(p.h.release_due);
    /* and when the server is back, what was revoked stays so */
    assert_int_equal(tick(&p, p.now + LEASE_RETRY_MS), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_READ);
    assert_int_equal(read_it(&p, 3, &released), LEASE_NOTHING);
    assert_int_equal(p.h.until_ms, 0);
}

static void promised(struct play *p, bool ok)
{
    step(p, (struct lease_event){.kind = LEASE_EV_PROMISED, .id = p->h.ask.id, .ok = ok});
}

static void test_failsafe(void **state)
{
    struct play p;
    held(&p);
    tick(&p, 105000);
    beaten(&p, true);
    tick(&p, 105000 + L / 4); /* the state store is silent: all others are asked */
    assert_true(p.a.ask_id != 0);
    p.now += 100;
    promised(&p, true);
    assert_true(p.a.told);
    assert_int_equal(p.h.until_ms, 105000 + L / 4 + L);
    uint64_t asked = 105000 + L / 4;
    assert_int_equal(tick(&p, asked + 500), LEASE_BEAT); /* the store is tried meanwhile */
    assert_true(p.a.ask_id == 0);
    beaten(&p, true);
    step(&p, (struct lease_event){.kind = LEASE_EV_READ, .id = p.h.now.id});
    tick(&p, asked + L / 3);
    assert_true(p.a.ask_id != 0);
    promised(&p, false); /* one is missing: it ends */
    assert_int_equal(p.h.until_ms, asked + L);
    tick(&p, asked + L);
    assert_true(p.a.ask_id == 0); /* what has ended is not kept */
}

static void test_no_failsafe_without_a_lease(void **state)
{
    struct play p;
    begin(&p, 3);
    beaten(&p, true);
    step(&p, (struct lease_event){.kind = LEASE_EV_READ, .id = p.h.now.id});
    tick(&p, p.now + 10000);
    assert_true(p.a.ask_id == 0);
}

/* It died and was replaced; what it read then permits nothing when the server is back. */
static void test_death_and_successor(void **state)
{
    struct play p;
    const struct lease_record other = {.epoch = 4, .seq = 9, .holder = "kr1", .lease_ms = L};
    held(&p);
    assert_int_equal(step(&p, (struct lease_event){.kind = LEASE_EV_DEAD}), LEASE_SEND);
    assert_int_equal(sent(&p, LEASE_SENT_CONFLICT), LEASE_READ);
    assert_int_equal(read_it(&p, 0, &other), LEASE_NOTHING);
    assert_int_equal(tick(&p, p.now + 1000), LEASE_BEAT);
    assert_int_equal(beaten(&p, true), LEASE_READ);
}

static void test_challenger(void **state)
{
    struct lease_watch w = {0};
    struct lease_record r = {.epoch = 3, .seq = 4, .holder = "hk1", .lease_ms = L};
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), UINT64_MAX); /* nothing is known */
    lease_watch_see(&w, &r, 1000);
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), 1000 + L + LEASE_MARGIN_MS);
    assert_int_equal(lease_watch_safe_ms(&w, 4, LEASE_OFF_MARGIN), 1000 + L);
    assert_int_equal(lease_watch_safe_ms(&w, 3, 0), UINT64_MAX); /* its own epoch */
    lease_watch_see(&w, &r, 3000);
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), 1000 + L + LEASE_MARGIN_MS);
    r.revoked = true; /* that is no renewal */
    lease_watch_see(&w, &r, 3500);
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), 1000 + L + LEASE_MARGIN_MS);
    r.revoked = false; /* but who gets it back needs time to renew it */
    lease_watch_see(&w, &r, 3600);
    assert_int_equal(w.read_ms, 3600);
    r.seq++;
    lease_watch_see(&w, &r, 4000);
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), 4000 + L + LEASE_MARGIN_MS);
    r.released = true;
    lease_watch_see(&w, &r, 5000);
    assert_true(lease_watch_safe_ms(&w, 4, 0) <= 5000);
    lease_watch_see(&w, NULL, 6000);
    assert_int_equal(lease_watch_safe_ms(&w, 4, 0), UINT64_MAX);
}

static void test_promises(void **state)
{
    struct lease_promise p = {0};
    struct err e = {0};
    assert_int_equal(lease_promise_left_ms(&p, 4, 1000), 0);
    assert_true(lease_promise_give(&p, 3, L, 4, false, 1000, &e) < 0); /* over */
    assert_true(lease_promise_give(&p, 3, L, 3, true, 1000, &e) < 0);  /* begun */
    assert_true(lease_promise_give(&p, 3, 0, 3, false, 1000, &e) < 0);
    assert_int_equal(lease_promise_give(&p, 3, L, 3, false, 1000, &e), 0);
    assert_int_equal(lease_promise_left_ms(&p, 4, 2000), L);
    assert_int_equal(lease_promise_left_ms(&p, 3, 2000), 0); /* that is the holder's own */
    assert_int_equal(lease_promise_left_ms(&p, 4, 1000 + L + LEASE_MARGIN_MS), 0);
    assert_int_equal(lease_promise_give(&p, 3, 100, 3, false, 1500, &e), 0);
    assert_int_equal(lease_promise_left_ms(&p, 4, 2000), L); /* never shorter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_wrong_records),
        cmocka_unit_test(test_rules_of_time),
        cmocka_unit_test(test_renews),
        cmocka_unit_test(test_no_disk_no_lease),
        cmocka_unit_test(test_unknown_outcome),
        cmocka_unit_test(test_late_answer),
        cmocka_unit_test(test_what_forbids),
        cmocka_unit_test(test_given_back_after_revocation),
        cmocka_unit_test(test_next_epoch),
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_a_release_that_cannot_be_given),
        cmocka_unit_test(test_death_while_sending),
        cmocka_unit_test(test_failsafe),
        cmocka_unit_test(test_no_failsafe_without_a_lease),
        cmocka_unit_test(test_death_and_successor),
        cmocka_unit_test(test_challenger),
        cmocka_unit_test(test_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
