/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/replication/retention.h"

#define DAY 86400000ll
#define NOW (100 * DAY)
#define MIB (1ull << 20)

/* Five logs of 10 MiB, of 9, 8, 6, 1 days ago and now, each with ten transactions. */
static struct gtid_set starts[5];
static struct retention_log logs[5];

static struct gtid_set gtid(const char *text)
{
    struct gtid_set s;
    struct err e;
    assert_int_equal(gtid_set_parse(GTID_MARIADB, text, strlen(text), &s, &e), 0);
    return s;
}

static int begin(void **state)
{
    static const int ages[] = {9, 8, 6, 1, 0};
    static const char *const texts[] = {"", "1-1-10", "1-1-20", "1-1-30", "1-1-40"};
    for (size_t i = 0; i < 5; i++) {
        starts[i] = gtid(texts[i]);
        logs[i] = (struct retention_log){10 * MIB, NOW - ages[i] * DAY, &starts[i]};
    }
    return 0;
}

static int end(void **state)
{
    for (size_t i = 0; i < 5; i++)
        gtid_set_done(&starts[i]);
    return 0;
}

struct row {
    const char *name;
    const char *replica, *vault; /* positions; NULL: not known */
    const char *other;           /* a second replica's; "-": there is none */
    uint64_t free_percent;       /* of 100 MiB */
    const char *sacrifice;
    size_t purge;
    const char *held_by, *sacrificed;
    bool early;
};

static const struct row rows[] = {
    {"old and taken by all", "1-1-45", "1-1-45", "-", 50, NULL, 2, NULL, NULL, false},
    {"a replica is behind", "1-1-15", "1-1-45", "-", 50, NULL, 1, "sl1", NULL, false},
    {"a replica is within the first", "1-1-9", "1-1-45", "-", 50, NULL, 0, "sl1", NULL, false},
    {"exactly at the border", "1-1-10", "1-1-45", "-", 50, NULL, 1, "sl1", NULL, false},
    {"the vault is behind", "1-1-45", "1-1-10", "-", 50, NULL, 1, "sl1", NULL, false},
    {"nothing is known of the vault", "1-1-45", NULL, "-", 50, NULL, 0, "sl1", NULL, false},
    {"nothing is known of a replica", NULL, "1-1-45", "-", 50, NULL, 0, "sl1", NULL, false},
    {"the same number of another server", "1-2-45", "1-1-45", "-", 50, NULL, 2, NULL, NULL, false},
    {"another replica is behind", "1-1-45", "1-1-45", "1-1-3", 50, NULL, 0, "jp1", NULL, false},
    {"80 %: warned, nothing else", "1-1-45", "1-1-45", "-", 20, NULL, 2, NULL, NULL, false},
    {"100 %: what is old is enough", "1-1-45", "1-1-45", "-", 0, NULL, 2, NULL, NULL, false},
    {"95 % and held: kept", "1-1-5", "1-1-45", "-", 5, NULL, 0, "sl1", NULL, false},
    {"95 %: sacrificed by name, as far as is needed", "1-1-5", "1-1-45", "-", 5, "sl1", 1, "sl1", "sl1", false},
    {"below 90 % nobody is sacrificed", "1-1-5", "1-1-45", "-", 15, "sl1", 0, "sl1", NULL, false},
    {"another than the named one is not", "1-1-45", "1-1-45", "1-1-5", 5, "sl1", 0, "jp1", NULL, false},
    {"the vault is never sacrificed", "1-1-5", "1-1-5", "-", 5, "sl1", 0, "sl1", NULL, false},
};

static void look(const struct row *r)
{
    struct gtid_set has[3];
    struct retention_holder holders[3];
    const struct {
        const char *host, *text;
        bool vault;
    } all[] = {{"sl1", r->replica, false}, {"sl1", r->vault, true}, {"jp1", r->other, false}};
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        if (i == 2 && r->other && !strcmp(r->other, "-"))
            continue;
        has[n] = gtid(all[i].text ? all[i].text : "");
        holders[n] = (struct retention_holder){all[i].host, all[i].vault, all[i].text ? &has[n] : NULL};
        n++;
    }
    const struct retention_input in = {.logs = logs,
        .n_logs = 5,
        .holders = holders,
        .n_holders = n,
        .now_ms = NOW,
        .retention_ms = 7 * DAY,
        .disk_total = 100 * MIB,
        .disk_free = r->free_percent * MIB,
        .sacrifice = r->sacrifice};
    struct retention_verdict v;
    retention_decide(&in, &v);
    if (v.purge != r->purge || v.early != r->early)
        fail_msg("%s: %zu go, early %d", r->name, v.purge, v.early);
    if (strcmp(v.held_by ? v.held_by->host : "", r->held_by ? r->held_by : "") != 0)
        fail_msg("%s: held by %s", r->name, v.held_by ? v.held_by->host : "nobody");
    if (strcmp(v.sacrificed ? v.sacrificed->host : "", r->sacrificed ? r->sacrificed : "") != 0)
        fail_msg("%s: sacrificed %s", r->name, v.sacrificed ? v.sacrificed->host : "nobody");
    assert_int_equal(v.bytes, v.purge * 10 * MIB);
    for (size_t i = 0; i < n; i++)
        gtid_set_done(&has[i]);
}

static void test_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        look(&rows[i]);
}

static void test_early_only_as_much_as_is_needed(void **state)
{
    struct gtid_set far = gtid("1-1-99");
    const struct retention_holder h = {"sl1", false, &far};
    struct retention_input in = {.logs = logs + 2, /* none of them is old */
        .n_logs = 3,
        .holders = &h,
        .n_holders = 1,
        .now_ms = NOW,
        .retention_ms = 7 * DAY,
        .disk_total = 100 * MIB,
        .disk_free = 3 * MIB};
    struct retention_verdict v;
    retention_decide(&in, &v);
    assert_int_equal(v.level, RETENTION_FULL);
    assert_int_equal(v.purge, 1); /* then 13 % are free */
    assert_true(v.early);
    in.disk_total = 1000 * MIB;
    retention_decide(&in, &v);
    assert_int_equal(v.purge, 2); /* never the one that is written */
    in.n_holders = 0; /* a database without replicas */
    in.disk_free = 900 * MIB;
    retention_decide(&in, &v);
    assert_int_equal(v.level, RETENTION_ROOM);
    assert_int_equal(v.purge, 0);
    in.now_ms += 30 * DAY;
    retention_decide(&in, &v);
    assert_int_equal(v.purge, 2);
    gtid_set_done(&far);
}

static void test_not_without_knowing_where_a_log_begins(void **state)
{
    struct retention_log some[3] = {logs[0], logs[1], logs[2]};
    some[1].start = NULL;
    const struct retention_input in = {
        .logs = some, .n_logs = 3, .now_ms = NOW, .retention_ms = DAY, .disk_total = 100, .disk_free = 50};
    struct retention_verdict v;
    retention_decide(&in, &v);
    assert_int_equal(v.purge, 0);
}

static void test_when_it_is_full(void **state)
{
    struct retention_trend t = {0};
    uint64_t minute = 60000;
    retention_sample(&t, 1000, 10 * MIB);
    assert_int_equal(retention_full_in_ms(&t, 1000 + minute, 11 * MIB, 50 * MIB), -1);
    assert_int_equal(
        retention_full_in_ms(&t, 1000 + 10 * minute, 20 * MIB, 50 * MIB), 50 * (int64_t)minute);
    assert_int_equal(retention_full_in_ms(&t, 1000 + 10 * minute, 10 * MIB, 50 * MIB), -1);
    for (uint64_t i = 0; i < 3000; i++) /* two days: the first one is forgotten */
        retention_sample(&t, 1000 + i * minute, i < 1500 ? 0 : (i - 1500) * MIB);
    assert_int_equal(t.n, RETENTION_SAMPLES);
    int64_t left = retention_full_in_ms(&t, 1000 + 3000 * minute, 1500 * MIB, 100 * MIB);
    assert_true(left > 90 * (int64_t)minute && left < 110 * (int64_t)minute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_early_only_as_much_as_is_needed),
        cmocka_unit_test(test_not_without_knowing_where_a_log_begins),
        cmocka_unit_test(test_when_it_is_full),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
