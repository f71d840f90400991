/* SPDX-License-Identifier: Apache-2.0 */
/* Against two real servers, one replicating from the other. */
#include "test.h"

#include "mariadb.h"

#include "base/str/str.h"
#include "domain/replication/preflight.h"
#include "service/verify/verify.h"

static struct test_mariadb source, replica;
static struct sql_conn *s, *r;

static void run(struct sql_conn *c, const char *statement)
{
    MARIADB_CHECK(sql_exec(c, statement, &check_e));
}

static int begin(void **state)
{
    mariadb_start(&source, 1, NULL);
    mariadb_start(&replica, 2, NULL);
    s = mariadb_open(&source);
    r = mariadb_open(&replica);
    run(s, "CREATE DATABASE shop");
    run(s, "CREATE TABLE shop.orders (country CHAR(2), id INT, note VARCHAR(40), amount DECIMAL(9,2), "
           "PRIMARY KEY (country, id))");
    run(s, "INSERT INTO shop.orders SELECT IF(seq % 2, 'KR', 'TH'), seq, IF(seq % 3, 'x', NULL), seq "
           "/ 7 FROM shop.seq_1_to_5000");
    run(s, "CREATE TABLE shop.log (line TEXT)");
    run(s, "INSERT INTO shop.log VALUES ('a'), ('b'), (NULL)");
    run(s, "CREATE TABLE shop.empty (id INT PRIMARY KEY)");
    mariadb_follow(&source, &replica);
    mariadb_catch_up(&source, &replica);
    return 0;
}

static int end(void **state)
{
    sql_close(s);
    sql_close(r);
    mariadb_end(&source);
    mariadb_end(&replica);
    return 0;
}

static size_t waits;

static int count_waits(void *ctx, const char *table, uint64_t rows_done, struct err *e)
{
    waits++;
    return 0;
}

/* All tables under one run; the result of the table `name`, borrowed. */
static json_t *sum_all(int64_t number, size_t rows_max)
{
    struct verify_table *v = NULL;
    size_t n = 0;
    const struct verify_pace pace = {.wait = count_waits, .rows_max = rows_max};
    json_t *results = json_object();
    MARIADB_CHECK(verify_begin(s, &check_e));
    MARIADB_CHECK(verify_tables(s, "shop", NULL, &v, &n, &check_e));
    for (size_t i = 0; i < n; i++) {
        json_t *one = NULL;
        MARIADB_CHECK(verify_checksum(s, &v[i], number, &pace, &one, &check_e));
        json_object_set_new(results, v[i].name, one);
    }
    free(v);
    mariadb_catch_up(&source, &replica);
    return results;
}

static json_t *differences(int64_t number)
{
    json_t *list = NULL;
    MARIADB_CHECK(verify_differences(r, "shop", number, &list, &check_e));
    return list;
}

static void test_equal_tables_have_equal_sums(void **state)
{
    waits = 0;
    _cleanup_json_ json_t *sums = sum_all(1, 0), *list = differences(1);
    assert_int_equal(json_array_size(list), 0);
    const json_t *orders = json_object_get(sums, "orders");
    assert_int_equal(json_opt_int(orders, "rows", 0), 5000);
    assert_true(json_opt_int(orders, "chunks", 0) >= 2);
    assert_int_equal(json_opt_int(json_object_get(sums, "log"), "rows", 0), 3);
    assert_int_equal(json_opt_int(json_object_get(sums, "empty"), "rows", 1), 0);
    assert_true(waits >= 4); /* between chunks it asks whether it may go on */
}

/* Rows that differ, are missing and are too many: found, and named one by one. */
static void test_what_differs_is_found_to_the_row(void **state)
{
    run(r, "SET SESSION sql_log_bin = 0");
    run(r, "UPDATE shop.orders SET note = '' WHERE country = 'TH' AND id = 3000"); /* was NULL */
    run(r, "DELETE FROM shop.orders WHERE country = 'KR' AND id = 77");
    run(r, "INSERT INTO shop.orders VALUES ('KR', 90001, 'extra', 1)");
    run(r, "UPDATE shop.log SET line = 'B' WHERE line = 'b'");
    _cleanup_json_ json_t *sums = sum_all(2, 0), *list = differences(2);
    size_t i, in_orders = 0, in_log = 0;
    json_t *d;
    _cleanup_free_ struct verify_table *v = NULL;
    size_t n = 0, differing = 0;
    const char *key;
    json_t *sum;
    _cleanup_json_ json_t *only = json_pack("[s]", "orders");
    MARIADB_CHECK(verify_tables(s, "shop", only, &v, &n, &check_e));
    assert_int_equal(n, 1);
    assert_int_equal(v[0].n_key, 2);
    json_array_foreach (list, i, d) {
        _cleanup_json_ json_t *here = NULL, *there = NULL;
        in_log += str_eq(json_opt_str(d, "table", ""), "log");
        if (!str_eq(json_opt_str(d, "table", ""), "orders"))
            continue;
        in_orders++;
        const json_t *lower = json_object_get(d, "lower"), *upper = json_object_get(d, "upper");
        MARIADB_CHECK(verify_rows(s, &v[0], lower, upper, &here, &check_e));
        MARIADB_CHECK(verify_rows(r, &v[0], lower, upper, &there, &check_e));
        json_object_foreach (here, key, sum)
            if (!json_equal(sum, json_object_get(there, key))) {
                assert_true(str_eq(key, "[\"TH\",\"3000\"]") || str_eq(key, "[\"KR\",\"77\"]"));
                differing++;
            }
        json_object_foreach (there, key, sum)
            if (!json_object_get(here, key)) {
                assert_string_equal(key, "[\"KR\",\"90001\"]");
                differing++;
            }
    }
    assert_true(in_orders >= 1);
    assert_int_equal(in_log, 1); /* also where there is no key */
    assert_int_equal(differing, 3);
}

static void test_what_cannot_be_compared_is_said(void **state)
{
    run(s, "ANALYZE TABLE shop.log");
    _cleanup_json_ json_t *sums = sum_all(3, 1);
    const char *why = json_opt_str(json_object_get(sums, "log"), "skipped", "");
    assert_non_null(strstr(why, "no key"));
}

static void test_a_database_without_tables_is_equal(void **state)
{
    MARIADB_CHECK(verify_begin(s, &check_e));
    mariadb_catch_up(&source, &replica);
    _cleanup_json_ json_t *list = differences(99);
    assert_int_equal(json_array_size(list), 0);
}

static void test_another_shape_is_seen(void **state)
{
    _cleanup_json_ json_t *a = NULL, *b = NULL, *c = NULL;
    MARIADB_CHECK(verify_shapes(s, "shop", &a, &check_e));
    MARIADB_CHECK(verify_shapes(r, "shop", &b, &check_e));
    assert_true(json_equal(a, b));
    run(r, "SET SESSION sql_log_bin = 0");
    run(r, "ALTER TABLE shop.empty ADD COLUMN x INT");
    MARIADB_CHECK(verify_shapes(r, "shop", &c, &check_e));
    assert_false(json_equal(json_object_get(a, "shop.empty"), json_object_get(c, "shop.empty")));
    assert_true(json_equal(json_object_get(a, "shop.orders"), json_object_get(c, "shop.orders")));
}

static const json_t *item(const json_t *items, const char *id, const char *host)
{
    size_t i;
    json_t *one;
    json_array_foreach (items, i, one)
        if (str_eq(json_opt_str(one, "id", ""), id)
            && (!host || str_starts(json_opt_str(one, "text", ""), host)))
            return one;
    return NULL;
}

static void test_facts_of_real_servers_are_judged(void **state)
{
    const struct preflight_wish wish = {.retention_ms = 604800000};
    _cleanup_json_ json_t *a = NULL, *b = NULL;
    char dir[96];
    snprintf(dir, sizeof dir, "%s/data", source.dir);
    MARIADB_CHECK(verify_facts(s, dir, &a, &check_e));
    MARIADB_CHECK(verify_facts(r, NULL, &b, &check_e));
    json_object_set_new(a, "host", json_string("one"));
    json_object_set_new(b, "host", json_string("two"));
    _cleanup_json_ json_t *items = preflight_judge(a, b, &wish);
    static const struct {
        const char *id, *host;
        bool pass;
    } rows[] = {
        {"versions", NULL, true},
        {"server-id", NULL, true},
        {"domain-id", NULL, true},
        {"binary-log", "one", true},
        {"row-format", "two", true},
        {"gtid", "one", true},
        {"read-only", "two", false},
        {"primary-keys", "one", false}, /* shop.log */
        {"engines", "one", true},
        {"powerful-accounts", "one", true},
        {"filters", "two", true},
        {"net-timeout", NULL, true},
        {"clock", NULL, false}, /* nobody compared them */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const json_t *one = item(items, rows[i].id, rows[i].host);
        if (!one || json_opt_bool(one, "pass", !rows[i].pass) != rows[i].pass)
            fail_msg("%s: %s", rows[i].id, json_opt_str(one, "text", "is not judged"));
    }
    assert_non_null(strstr(json_opt_str(item(items, "primary-keys", "one"), "text", ""), "shop.log"));
    assert_true(json_opt_int(a, "disk_free", 0) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_real_servers_are_judged),
        cmocka_unit_test(test_a_database_without_tables_is_equal),
        cmocka_unit_test(test_equal_tables_have_equal_sums),
        cmocka_unit_test(test_what_differs_is_found_to_the_row),
        cmocka_unit_test(test_what_cannot_be_compared_is_said),
        cmocka_unit_test(test_another_shape_is_seen),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
