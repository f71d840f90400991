/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/missing.h"

#include "test.h"

static void parse(const char *text, struct gtid_set *ret)
{
    struct err e;
    assert_int_equal(gtid_set_parse(GTID_MARIADB, text, strlen(text), ret, &e), 0);
}

static struct missing find(const char *state, const char *there, const char *there_state)
{
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0}, c = {0};
    struct missing m;
    parse(state, &a);
    parse(there, &b);
    parse(there_state, &c);
    missing_find(&a, &b, &c, &m);
    return m;
}

static void assert_text(const struct missing *m, const char *expected)
{
    _cleanup_str_ struct str text = STR_INIT;
    missing_format(m, &text);
    assert_string_equal(str_cstr(&text), expected);
}

static void test_nothing(void **state)
{
    struct missing m = find("1-1-10", "1-1-10", "1-1-10");
    assert_int_equal(m.n, 0);
    m = find("1-1-10,2-2-4", "1-1-12,2-2-9", "2-2-9");
    assert_int_equal(m.n, 0);
    assert_int_equal(missing_count(&m), 0);
}

static void test_the_tail_of_a_source(void **state)
{
    struct missing m = find("1-1-14,2-2-4", "1-1-10,2-2-9", "2-2-9,1-1-10");
    assert_int_equal(missing_count(&m), 4);
    assert_text(&m, "1-1-14 (of what is over 10)");
    assert_true(missing_has(&m, &(struct gtid){1, 1, 11}));
    assert_true(missing_has(&m, &(struct gtid){1, 1, 14}));
    assert_false(missing_has(&m, &(struct gtid){1, 1, 10}));
    assert_false(missing_has(&m, &(struct gtid){2, 2, 14}));
}

static void test_another_servers_write_in_a_domain(void **state)
{
    /* Server 2 wrote into domain 1: the source's log has none of server 2 there. */
    struct missing m = find("1-1-40,1-2-41", "1-1-60", "1-1-60");
    assert_int_equal(m.n, 1);
    assert_text(&m, "1-2-41 (of what is over 0)");
}

static void test_the_position_without_them(void **state)
{
    struct missing m = find("1-1-14,2-2-4", "1-1-10,2-2-9", "2-2-9");
    _cleanup_gtid_ struct gtid_set all = {0}, before = {0};
    _cleanup_str_ struct str text = STR_INIT;
    parse("1-1-14,2-2-4", &all);
    missing_forget(&m, &all, &before);
    gtid_set_format(&before, &text);
    assert_string_equal(str_cstr(&text), "1-1-10,2-2-4");
    m = find("3-3-2", "1-1-10", "1-1-10");
    _cleanup_gtid_ struct gtid_set own = {0}, none = {0};
    parse("3-3-2", &own);
    missing_forget(&m, &own, &none);
    assert_true(gtid_set_empty(&none));
}

static void test_which_log_begins_early_enough(void **state)
{
    struct missing m = find("1-1-14", "1-1-10", "1-1-10");
    _cleanup_gtid_ struct gtid_set early = {0}, late = {0}, other = {0};
    parse("1-1-10", &early);
    parse("1-1-11", &late);
    parse("2-2-99", &other);
    assert_true(missing_begins_after(&m, &early));
    assert_false(missing_begins_after(&m, &late));
    assert_true(missing_begins_after(&m, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_the_tail_of_a_source),
        cmocka_unit_test(test_another_servers_write_in_a_domain),
        cmocka_unit_test(test_the_position_without_them),
        cmocka_unit_test(test_which_log_begins_early_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
