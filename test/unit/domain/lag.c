/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/replication/lag.h"
#include "domain/replication/offset.h"

#define SECOND 1000000

/* ---- offsets */

/* One exchange: the other clock is `offset` ahead, there and back take their time. */
static void exchange(struct offset *o, int64_t now, int64_t boot, int64_t offset, int64_t there, int64_t back)
{
    int64_t t2 = now + there + offset;
    assert_true(offset_add(o, now, t2, t2 + 100, now + there + back + 100,
        (uint64_t)(boot + there + back + 100)));
}

static void test_offset(void **state)
{
    struct offset o = {0};
    struct offset_sample s;
    assert_false(offset_get(&o, &s));
    exchange(&o, 10 * SECOND, 5 * SECOND, 300000, 19000, 19000);
    assert_true(offset_get(&o, &s));
    assert_int_equal(s.offset_us, 300000);
    assert_int_equal(s.error_us, 19000);
    /* One way slower than the other: wrong by half the difference, and never by more than it says. */
    exchange(&o, 12 * SECOND, 7 * SECOND, 300000, 90000, 19000);
    assert_true(offset_get(&o, &s) && s.offset_us == 300000);
    exchange(&o, 14 * SECOND, 9 * SECOND, 300000, 1000, 3000);
    assert_true(offset_get(&o, &s));
    assert_int_equal(s.error_us, 2000);
    assert_in_range(s.offset_us, 298000, 302000);
    /* Its clock is set: one exchange is enough. */
    exchange(&o, 16 * SECOND, 11 * SECOND, -700000, 19000, 19000);
    assert_true(offset_get(&o, &s));
    assert_int_equal(s.offset_us, -700000);
    /* Ours is set. */
    exchange(&o, 118 * SECOND, 13 * SECOND, -100700000, 19000, 19000);
    assert_true(offset_get(&o, &s));
    assert_int_equal(s.offset_us, -100700000);
    assert_false(offset_add(&o, 100, 50, 40, 200, 1));        /* it answered before it was asked */
    assert_false(offset_add(&o, 100, 50, 60, 90, 1));         /* we heard before we asked */
    assert_false(offset_add(&o, 0, 0, 0, 60 * SECOND, 1));    /* says nothing */
}

/* ---- lag */

struct world {
    struct lag l;
    int64_t now;            /* true time: ours */
    int64_t wall, source;   /* errors of our wall clock and of the source's */
    uint64_t seq, gtid;
};

static uint64_t boot(const struct world *w)
{
    return (uint64_t)w->now;
}

static void begin(struct world *w)
{
    *w = (struct world){.now = 1000 * SECOND};
    lag_reset(&w->l);
    lag_offset(&w->l, 0, 20000, boot(w) / 1000);
}

/* A row is written now, received and applied later; 10 transactions between two rows. */
static void row(struct world *w, int64_t ship, int64_t apply)
{
    struct lag_row r = {.seq = ++w->seq,
        .ts_us = w->now + w->source,
        .boot_us = w->now + 77,
        .last_seq = w->gtid};
    w->gtid += 10;
    lag_received(&w->l, w->gtid, w->now + ship + w->wall);
    lag_shows(&w->l, &r, w->now + ship + apply + w->wall, boot(w) + (uint64_t)(ship + apply));
    lag_tick(&w->l, w->now + ship + apply + w->wall, boot(w) + (uint64_t)(ship + apply));
    w->now += SECOND;
}

static struct lag_figures figures(const struct world *w)
{
    struct lag_figures f;
    lag_read(&w->l, w->now + w->wall, boot(w), &f);
    return f;
}

static void test_split(void **state)
{
    struct world w;
    begin(&w);
    assert_false(figures(&w).known);
    for (int i = 0; i < 400; i++)
        row(&w, 20000, i % 10 == 9 ? 230000 : 30000);
    struct lag_figures f = figures(&w);
    assert_true(f.known && f.uncertain); /* the offset was measured too long ago */
    lag_offset(&w.l, 0, 20000, boot(&w) / 1000);
    f = figures(&w);
    assert_false(f.uncertain);
    assert_int_equal(f.now_us, 250000);
    assert_int_equal(f.p50_us, 50000);
    assert_int_equal(f.p95_us, 250000);
    assert_int_equal(f.max_us, 250000);
    assert_int_equal(f.ship_us, 20000); /* of the row before the last */
    assert_int_equal(f.apply_us, 30000);
}

/* Nothing comes: the lag grows, in the quantiles too. */
static void test_silence(void **state)
{
    struct world w;
    begin(&w);
    for (int i = 0; i < 20; i++)
        row(&w, 20000, 20000);
    for (int i = 0; i < 30; i++) {
        w.now += SECOND;
        lag_tick(&w.l, w.now, boot(&w));
    }
    struct lag_figures f = figures(&w);
    assert_in_range(f.now_us, 29 * SECOND, 31 * SECOND);
    assert_in_range(f.max_us, 28 * SECOND, 31 * SECOND);
    assert_true(f.p50_us > SECOND);
}

static void test_offset_counts(void **state)
{
    struct world w;
    begin(&w);
    w.source = 5 * SECOND;
    lag_offset(&w.l, 5 * SECOND, 20000, boot(&w) / 1000);
    row(&w, 20000, 20000);
    assert_int_equal(figures(&w).now_us, 40000);
    /* Badly measured, or not at all. */
    lag_offset(&w.l, 5 * SECOND, LAG_ERROR_MAX_US + 1, boot(&w) / 1000);
    assert_true(figures(&w).uncertain);
    w.l.measured = false;
    assert_true(figures(&w).uncertain);
}

/* Either clock is set: uncertain until the offset was measured again. */
static void test_jumps(void **state)
{
    for (int whose = 0; whose < 2; whose++) {
        struct world w;
        begin(&w);
        for (int i = 0; i < 5; i++)
            row(&w, 20000, 20000);
        assert_false(figures(&w).uncertain);
        *(whose ? &w.source : &w.wall) += 3600ll * SECOND;
        row(&w, 20000, 20000);
        row(&w, 20000, 20000);
        assert_true(figures(&w).uncertain);
        int64_t offset = whose ? 3600ll * SECOND : -3600ll * SECOND;
        lag_offset(&w.l, offset, 20000, boot(&w) / 1000 + 1);
        row(&w, 20000, 20000);
        row(&w, 20000, 20000);
        assert_false(figures(&w).uncertain);
        assert_int_equal(figures(&w).now_us, 40000);
        assert_int_equal(figures(&w).ship_us, 20000);
        assert_int_equal(figures(&w).max_us, 40000); /* what was off meanwhile is no figure */
    }
}

/* More positions than are kept while the applying thread is far behind. */
static void test_long_way(void **state)
{
    struct world w;
    begin(&w);
    int64_t begun = w.now;
    struct lag_row first = {.seq = 1, .ts_us = begun, .boot_us = begun + 77},
                   second = {.seq = 2, .ts_us = begun + SECOND, .boot_us = begun + SECOND + 77, .last_seq = 500};
    for (uint64_t i = 1; i <= 20000; i++)
        lag_received(&w.l, i, begun + (int64_t)i * 1000);
    lag_shows(&w.l, &first, begun + 600ll * SECOND, (uint64_t)(begun + 600ll * SECOND));
    lag_shows(&w.l, &second, begun + 601ll * SECOND, (uint64_t)(begun + 601ll * SECOND));
    assert_true(w.l.n_positions <= LAG_POSITIONS);
    if (w.l.ship_us >= 0) /* thinned out, but never wrong by the whole */
        assert_in_range(w.l.ship_us, 0, 20ll * SECOND);
    assert_int_equal(w.l.last_us, 600ll * SECOND);
    /* A row that was missed: what came before it is not its. */
    struct lag_row fifth = {.seq = 5, .ts_us = begun + 4 * SECOND, .boot_us = begun + 4 * SECOND + 77, .last_seq = 900};
    lag_shows(&w.l, &fifth, begun + 602ll * SECOND, (uint64_t)(begun + 602ll * SECOND));
    assert_int_equal(w.l.ship_us, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_offset_counts),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_long_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
