/* SPDX-License-Identifier: Apache-2.0 */
/* The SQL driver against real MariaDB servers. */
#include "test.h"

#include "base/clock/clock.h"
#include "mariadb.h"

static struct test_mariadb one, two;

static int start_servers(void **state)
{
    mariadb_start(&one, 1, NULL);
    mariadb_start(&two, 2, "read-only=1");
    return 0;
}

static int end_servers(void **state)
{
    mariadb_end(&one);
    mariadb_end(&two);
    return 0;
}

static void test_rows(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    struct err e = {0};
    assert_int_equal(sql_server(c)->vendor, SQL_MARIADB);
    assert_ptr_equal(sql_dialect(c), &sql_mariadb);
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    assert_int_equal(
        sql_query(c, "SELECT 42 AS n, NULL AS nothing, 'a\\0b' AS bytes, '서울' AS Name", NULL,
            &rows, &e),
        0);
    assert_int_equal(rows.n, 1);
    const struct sql_row *row = &rows.v[0];
    uint64_t n;
    assert_true(sql_u64(row, "N", &n) && n == 42);
    assert_false(sql_u64(row, "nothing", &n) || sql_u64(row, "name", &n) || sql_u64(row, "x", &n));
    assert_null(sql_cell(row, "nothing")->value);
    assert_null(sql_cell(row, "absent"));
    assert_int_equal(sql_cell(row, "bytes")->len, 3);
    assert_memory_equal(sql_cell(row, "bytes")->value, "a\0b", 3);
    assert_string_equal(sql_text(row, "name"), "서울");
    assert_string_equal(sql_text(row, "absent"), "");
}

/* Whatever the quoting makes of bytes, the server reads the bytes. */
static void test_quoting_round(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    struct err e = {0};
    _cleanup_str_ struct str all = STR_INIT, statement = STR_INIT, answer = STR_INIT;
    for (int i = 0; i < 127; i++)
        str_add_ch(&all, (char)i);
    str_add(&all, "'; DROP TABLE x; -- \\' \" ` 서울 \xf0\x9f\x90\xb3");
    str_add(&statement, "SELECT ");
    sql_add_text_mem(&statement, all.buf, all.len);
    assert_int_equal(sql_value(c, str_cstr(&statement), &answer, &e), 0);
    assert_int_equal(answer.len, all.len);
    assert_memory_equal(answer.buf, all.buf, all.len);
    assert_int_equal(sql_execf(c, &e, "SELECT 1; SELECT 2"), ERR_INVALID); /* one at a time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_quoting_round)};
    return cmocka_run_group_tests(tests, start_servers, end_servers);
}
