/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"

static void test_building(void **state)
{
    struct str s = STR_INIT;
    assert_string_equal(str_cstr(&s), "");
    for (int i = 0; i < 1000; i++)
        str_addf(&s, "%d,", i % 10);
    assert_int_equal(s.len, 2000);
    assert_int_equal(strlen(s.buf), 2000);
    str_clear(&s);
    assert_string_equal(str_cstr(&s), "");
    str_add_mem(&s, "a\0b", 3);
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.buf, "a\0b", 4);
    str_add_mem(&s, NULL, 0);
    char *stolen = str_steal(&s);
    assert_memory_equal(stolen, "a\0b", 4);
    free(stolen);
    assert_int_equal(s.len, 0);
    stolen = str_steal(&s); /* never NULL */
    assert_string_equal(stolen, "");
    free(stolen);
}

static void test_copy(void **state)
{
    char dst[4];
    assert_true(str_copy(dst, sizeof dst, "abc"));
    assert_string_equal(dst, "abc");
    assert_false(str_copy(dst, sizeof dst, "abcd"));
    assert_string_equal(dst, "abc");
}

static void test_to_u64(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"007", 9, true, 7},
        {"10", 9, false, 0},
        {"255", 255, true, 255},
        {"256", 255, false, 0},
        {"", 9, false, 0},
        {"-1", 9, false, 0},
        {" 1", 9, false, 0},
        {"1 ", 9, false, 0},
        {"+1", 9, false, 0},
        {"1x", 9, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t v = 0;
        if (str_to_u64(rows[i].text, rows[i].max, &v) != rows[i].ok || v != rows[i].value)
            fail_msg("\"%s\"", rows[i].text);
    }
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"region", "route", "regions", "a"};
    static const struct {
        const char *word, *near;
    } rows[] = {
        {"regoin", "region"},
        {"region", "region"},
        {"regionss", "regions"},
        {"rout", "route"},
        {"xyz", NULL},
        {"b", NULL},
        {"", NULL},
        {"completely-different", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *near = str_nearest(rows[i].word, names, ARRAY_SIZE(names));
        if (!str_eq(near, rows[i].near))
            fail_msg("%s: %s", rows[i].word, near ? near : "none");
    }
    assert_int_equal(str_distance("kitten", "sitting"), 3);
    assert_int_equal(str_distance("", "abc"), 3);
}

static void test_utf8(void **state)
{
    static const struct {
        const char *bytes;
        size_t len, n;
        uint32_t c;
    } rows[] = {
        {"a", 1, 1, 'a'},
        {"\xc3\xa9", 2, 2, 0xe9},
        {"\xed\x95\x9c", 3, 3, 0xd55c},
        {"\xf0\x9f\x98\x80", 4, 4, 0x1f600},
        {"", 0, 0, 0},
        {"\x80", 1, 0, 0},
        {"\xc0\xaf", 2, 0, 0},
        {"\xc3", 1, 0, 0},
        {"\xe2\x82", 2, 0, 0},
        {"\xed\xa0\x80", 3, 0, 0},
        {"\xf4\x90\x80\x80", 4, 0, 0},
        {"\xff", 1, 0, 0},
        {"\xe0\x80\x80", 3, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint32_t c = 0;
        if (str_utf8_next(rows[i].bytes, rows[i].len, &c) != rows[i].n || c != rows[i].c)
            fail_msg("row %zu", i);
    }
    assert_int_equal(str_utf8_cut("한글", 5), 3);
    assert_int_equal(str_utf8_cut("한글", 6), 6);
    assert_int_equal(str_utf8_cut("한글", 99), 6);
    assert_int_equal(str_utf8_cut("한글", 2), 0);
}

static void test_comparisons(void **state)
{
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_true(str_starts("abc", "ab"));
    assert_false(str_starts("a", "ab"));
    assert_true(str_ends("abc", "bc"));
    assert_true(str_ends("abc", ""));
    assert_false(str_ends("c", "bc"));
    assert_true(str_mem_eq_const("abc", "abd", 2));
    assert_false(str_mem_eq_const("abc", "abd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_building),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_to_u64),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
