/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/replication/ladder.h"

#define BEAT 5000u

static struct rnd rnd;
static const struct ladder_params params = {.heartbeat_ms = BEAT};

static void test_classes(void **state)
{
    static const struct {
        bool io;
        unsigned number;
        const char *text;
        enum ladder_class class;
    } rows[] = {
        {true, 0, "", LADDER_FINE},
        {true, 2003, "error connecting to master", LADDER_PASSING},
        {true, 2013, "Lost connection", LADDER_PASSING},
        {true, 1045, "Access denied for user 'mcp_repl'", LADDER_CREDENTIALS},
        {true, 2026, "TLS/SSL error: certificate verify failed", LADDER_CREDENTIALS},
        {true, 1236,
            "Got fatal error 1236 from master when reading data from binary log: 'Could not find GTID "
            "state requested by slave in any binlog files. Probably the slave state is too old and "
            "required binlog files have been purged.'",
            LADDER_PURGED},
        {true, 1236,
            "Error: connecting slave requested to start from GTID 1-2-9, which is not in the master's "
            "binlog. Since the master's binlog contains GTIDs with higher sequence numbers, it probably "
            "means that the slave has diverged due to executing extra erroneous transactions",
            LADDER_DIVERGED},
        {true, 1236, "binlog truncated in the middle of event", LADDER_DATA},
        {false, 1062, "Duplicate entry", LADDER_DATA},
        {false, 1032, "Can't find record", LADDER_DATA},
        {false, 1950, "out-of-order", LADDER_DATA},
        {false, 1146, "Table does not exist", LADDER_DATA},
        {false, 1205, "Lock wait timeout", LADDER_LIMITED},
        {false, 1213, "Deadlock", LADDER_LIMITED},
        {false, 1594, "Relay log read failure", LADDER_RELAY},
        {false, 1045, "not of this thread", LADDER_DATA},
        {true, 4711, "never heard of", LADDER_DATA},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (ladder_classify(rows[i].io, rows[i].number, rows[i].text) != rows[i].class)
            fail_msg("%u %s", rows[i].number, rows[i].text);
}

static struct ladder_look well(uint64_t heartbeats, uint64_t received)
{
    return (struct ladder_look){
        .io = LADDER_IO_YES, .sql = true, .heartbeats = heartbeats, .received = received};
}

static enum ladder_act step(struct ladder *l, struct ladder_look k, uint64_t now)
{
    return ladder_step(l, &params, &k, now, &rnd);
}

/* Heartbeats alone, transactions alone: both are life. */
static void test_life(void **state)
{
    struct ladder l = {0};
    for (uint64_t t = 1000; t < 120000; t += 1000) {
        assert_int_equal(step(&l, well(t / BEAT, 0), t), LADDER_WAIT);
        assert_int_equal(l.step, LADDER_NONE);
    }
    for (uint64_t t = 120000; t < 240000; t += 1000)
        assert_int_equal(step(&l, well(24, t), t), LADDER_WAIT);
}

/* Restarted after two periods, three times, then rebuilt; what comes ends it. */
static void test_half_open(void **state)
{
    struct ladder l = {0};
    unsigned acts[8] = {0};
    uint64_t t = 1000, first = 0;
    step(&l, well(3, 7), t);
    for (; !acts[LADDER_ACT_REBUILD] && t < 200000; t += 1000) {
        enum ladder_act a = step(&l, well(3, 7), t);
        acts[a]++;
        if (a == LADDER_ACT_RESTART_IO && !first)
            first = t;
    }
    assert_true(first > 2 * BEAT && first <= 1000 + 3 * BEAT);
    assert_int_equal(acts[LADDER_ACT_RESTART_IO], 3);
    assert_int_equal(l.step, LADDER_REBUILD);
    assert_int_equal(step(&l, well(4, 7), t), LADDER_WAIT);
    assert_int_equal(l.step, LADDER_NONE);
    /* A counter that begins anew has brought nothing. */
    assert_int_equal(step(&l, well(0, 7), t + 1000), LADDER_WAIT);
    assert_int_equal(l.progress_ms, t);
}

static void test_frozen_stays_until_somebody_looked(void **state)
{
    struct ladder l = {0};
    struct ladder_look k = well(1, 1);
    k.sql = false;
    k.sql_errno = 1062;
    k.sql_error = "Duplicate entry";
    assert_int_equal(step(&l, k, 1000), LADDER_ACT_FREEZE);
    for (uint64_t t = 2000; t < 100000; t += 1000)
        assert_int_equal(step(&l, k, t), LADDER_WAIT);
    assert_int_equal(step(&l, well(9, 9), 100000), LADDER_WAIT);
    assert_int_equal(l.step, LADDER_FROZEN);
    assert_int_equal(l.number, 1062);
    ladder_reset(&l);
    assert_int_equal(step(&l, k, 101000), LADDER_ACT_FREEZE);
}

/* How often something is tried in a time. */
static unsigned tries_in(struct ladder_look k, uint64_t ms, enum ladder_act *ret_last)
{
    struct ladder l = {0};
    unsigned n = 0;
    for (uint64_t t = 1000; t < ms; t += 1000) {
        enum ladder_act a = step(&l, k, t);
        n += a != LADDER_WAIT;
        if (a != LADDER_WAIT)
            *ret_last = a;
    }
    return n;
}

static void test_waits(void **state)
{
    enum ladder_act last = LADDER_WAIT;
    struct ladder_look k = {.io = LADDER_IO_NO, .sql = true, .io_errno = 2003};
    unsigned n = tries_in(k, 600000, &last);
    assert_true(n >= 15 && n <= 30); /* 1 s doubling to 30 s */
    assert_int_equal(last, LADDER_ACT_START);
    k.io_errno = 1045;
    n = tries_in(k, 600000, &last);
    assert_true(n >= 5 && n <= 10); /* 2 s doubling to 5 min */
    /* An applying thread that meets a lock is tried some times, and then not taken for passing. */
    struct ladder_look lock = {.io = LADDER_IO_YES, .sql = false, .sql_errno = 1205};
    n = tries_in(lock, 3600000, &last);
    assert_int_equal(n, LADDER_LIMITED_TRIES + 1);
    assert_int_equal(last, LADDER_ACT_FREEZE);
}

/* The server itself tries once a second with the wrong password: it is stopped, and started after a
 * while, until the credentials are others. */
static void test_no_storm(void **state)
{
    struct ladder l = {0};
    struct ladder_look trying = {.io = LADDER_IO_CONNECTING, .sql = true, .io_errno = 1045},
                       stopped = {.io = LADDER_IO_NO, .sql = true};
    assert_int_equal(step(&l, trying, 1000), LADDER_ACT_STOP_IO);
    for (uint64_t t = 1500; t < 3000; t += 500)
        assert_int_equal(step(&l, stopped, t), LADDER_WAIT);
    assert_int_equal(step(&l, stopped, 4000), LADDER_ACT_START);
    assert_int_equal(step(&l, trying, 4500), LADDER_ACT_STOP_IO);
    assert_int_equal(step(&l, stopped, 5000), LADDER_WAIT);
    ladder_hurry(&l);
    assert_int_equal(step(&l, stopped, 5500), LADDER_ACT_START);
}

static void test_purged(void **state)
{
    static const struct {
        bool vault, manual;
        enum ladder_act first, second;
    } rows[] = {{true, false, LADDER_ACT_REFILL, LADDER_ACT_RESEED},
        {false, false, LADDER_ACT_RESEED, LADDER_ACT_RESEED},
        {false, true, LADDER_ACT_START, LADDER_ACT_START}};
    struct ladder_look k = {.io = LADDER_IO_NO,
        .sql = true,
        .io_errno = 1236,
        .io_error = "required binlog files have been purged"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ladder l = {0};
        struct ladder_params p = {
            .heartbeat_ms = BEAT, .has_vault = rows[i].vault, .manual = rows[i].manual};
        assert_int_equal(ladder_step(&l, &p, &k, 1000, &rnd), rows[i].first);
        assert_int_equal(ladder_step(&l, &p, &k, 1500, &rnd), LADDER_WAIT);
        assert_int_equal(ladder_step(&l, &p, &k, 60000, &rnd), rows[i].second);
    }
}

int main(void)
{
    rnd_seed(&rnd, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_frozen_stays_until_somebody_looked),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_no_storm),
        cmocka_unit_test(test_purged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
