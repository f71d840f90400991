/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/failover/local_check.h"

struct play {
    struct local_check c;
    struct local_check_sample s; /* what is seen next */
    uint64_t now;
};

static void begin(struct play *p)
{
    *p = (struct play){.now = 100000, .s = {.seen = true, .threads = 30, .steps = 5000}};
}

static enum local_verdict answer(struct play *p)
{
    p->s.began_ms = p->now;
    p->s.ended_ms = p->now + 1;
    p->s.answered = true;
    enum local_verdict v = local_check_step(&p->c, &p->s);
    p->s.answered = false;
    p->now += LOCAL_CHECK_EACH_MS;
    return v;
}

static enum local_verdict miss(struct play *p)
{
    p->s.began_ms = p->now;
    p->s.ended_ms = p->now += LOCAL_CHECK_LIMIT_MS;
    return local_check_step(&p->c, &p->s);
}

static void stopped_is_dead_at_the_third(void **state)
{
    struct play p;
    begin(&p);
    assert_int_equal(answer(&p), LOCAL_ANSWERS);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_DEAD);
}

static void an_answer_begins_anew(void **state)
{
    struct play p;
    begin(&p);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(answer(&p), LOCAL_ANSWERS); /* a refusal is one, too */
        assert_int_equal(miss(&p), LOCAL_SILENT);
        assert_int_equal(miss(&p), LOCAL_SILENT);
    }
}

static void slow_is_not_dead(void **state)
{
    static const struct {
        const char *name;
        unsigned runnable, on_disk;
        uint64_t steps;
    } rows[] = {
        {"it wants a processor and gets none", 1, 0, 0},
        {"a disk that stalls", 0, 2, 0},
        {"recovery, a shutdown, a big statement: a thread moves", 0, 0, 1},
        {"many heavy queries", 20, 1, 700},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct play p;
        begin(&p);
        assert_int_equal(answer(&p), LOCAL_ANSWERS);
        p.s.runnable = rows[i].runnable;
        p.s.on_disk = rows[i].on_disk;
        for (int n = 0; n < 100; n++) {
            enum local_verdict v = miss(&p);
            p.s.steps += rows[i].steps;
            if (v != LOCAL_SLOW && (n || v != LOCAL_SILENT))
                fail_msg("%s: verdict %d at check %d", rows[i].name, (int)v, n);
        }
    }
}

/* Moves for a while, then is stopped: three checks from then on. */
static void slow_and_then_stopped(void **state)
{
    struct play p;
    begin(&p);
    answer(&p);
    for (int n = 0; n < 10; n++) {
        p.s.steps++;
        assert_int_not_equal(miss(&p), LOCAL_DEAD);
    }
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_DEAD);
    p.s.on_disk = 1;
    assert_int_equal(miss(&p), LOCAL_SLOW);
    p.s.on_disk = 0;
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_DEAD);
}

/* A thread that has ended, or another one, is movement. */
static void other_threads_are_movement(void **state)
{
    struct play p;
    begin(&p);
    answer(&p);
    for (int n = 0; n < 6; n++) {
        p.s.threads = 30 + n % 2u;
        assert_int_not_equal(miss(&p), LOCAL_DEAD);
    }
}

/* It recovers from a crash: it has not answered since it was started. */
static void who_never_answered_is_not_judged(void **state)
{
    struct play p;
    begin(&p);
    for (int n = 0; n < 100; n++)
        assert_int_equal(miss(&p), LOCAL_UNJUDGED);
    assert_int_equal(answer(&p), LOCAL_ANSWERS);
    p.c = (struct local_check){0}; /* another process */
    for (int n = 0; n < 100; n++)
        assert_int_equal(miss(&p), LOCAL_UNJUDGED);
}

static void unseen_threads_are_not_judged(void **state)
{
    struct play p;
    begin(&p);
    answer(&p);
    for (int n = 0; n < 10; n++) {
        p.s.seen = n % 3 != 2;
        assert_int_not_equal(miss(&p), LOCAL_DEAD);
    }
    p.s.seen = true;
    p.s.threads = 0;
    for (int n = 0; n < 10; n++)
        assert_int_equal(miss(&p), LOCAL_UNJUDGED);
}

/* We, or the whole machine, stood still in between, or the clock was set: no evidence. */
static void a_gap_begins_anew(void **state)
{
    struct play p;
    begin(&p);
    answer(&p);
    miss(&p);
    miss(&p);
    p.now += LOCAL_CHECK_GAP_MS + 1;
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    p.now -= 500; /* a clock that goes back */
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    p.s.began_ms = p.now; /* a check that ends long after its limit */
    p.s.ended_ms = p.now += LOCAL_CHECK_GAP_MS + 1;
    assert_int_equal(local_check_step(&p.c, &p.s), LOCAL_UNJUDGED);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_SILENT);
    assert_int_equal(miss(&p), LOCAL_DEAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_is_dead_at_the_third),
        cmocka_unit_test(an_answer_begins_anew),
        cmocka_unit_test(slow_is_not_dead),
        cmocka_unit_test(slow_and_then_stopped),
        cmocka_unit_test(other_threads_are_movement),
        cmocka_unit_test(who_never_answered_is_not_judged),
        cmocka_unit_test(unseen_threads_are_not_judged),
        cmocka_unit_test(a_gap_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
