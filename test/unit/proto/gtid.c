/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/gtid/gtid.h"

#define U "3e11fa47-71ca-11e1-9e33-c80aa9429562"
#define V "4e11fa47-71ca-11e1-9e33-c80aa9429562"

static struct gtid_set set(enum gtid_flavour flavour, const char *text)
{
    struct gtid_set s;
    struct err e = {0};
    if (gtid_set_parse(flavour, text, strlen(text), &s, &e) < 0)
        fail_msg("'%s': %s", text, e.message);
    return s;
}

static void assert_text(const char *name, const struct gtid_set *s, const char *expected)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    if (strcmp(str_cstr(&text), expected) != 0)
        fail_msg("%s: '%s', expected '%s'", name, str_cstr(&text), expected);
}

static void test_parse(void **state)
{
    static const struct {
        const char *name;
        enum gtid_flavour flavour;
        const char *text, *canonical; /* NULL: refused */
    } rows[] = {
        {"nothing", GTID_MARIADB, "", ""},
        {"blanks", GTID_MARIADB, " \n", ""},
        {"one", GTID_MARIADB, "1-11-42", "1-11-42"},
        {"two, out of order", GTID_MARIADB, "2-12-7, 1-11-42", "1-11-42,2-12-7"},
        {"a binlog state", GTID_MARIADB, "1-12-44,1-11-42", "1-11-42,1-12-44"},
        {"the same twice", GTID_MARIADB, "1-11-42,1-11-42", "1-11-42"},
        {"the ends", GTID_MARIADB, "4294967295-4294967295-18446744073709551614",
            "4294967295-4294967295-18446744073709551614"},
        {"sequence too high", GTID_MARIADB, "1-1-18446744073709551615", NULL},
        {"domain too high", GTID_MARIADB, "4294967296-1-1", NULL},
        {"two numbers", GTID_MARIADB, "1-11", NULL},
        {"four numbers", GTID_MARIADB, "1-11-42-3", NULL},
        {"comma behind", GTID_MARIADB, "1-11-42,", NULL},
        {"comma in front", GTID_MARIADB, ",1-11-42", NULL},
        {"negative", GTID_MARIADB, "1--11-42", NULL},
        {"the other kind", GTID_MARIADB, U ":1-5", NULL},
        {"words", GTID_MARIADB, "none", NULL},
        {"nothing of MySQL", GTID_MYSQL, "", ""},
        {"interval", GTID_MYSQL, U ":1-5", U ":1-5"},
        {"single", GTID_MYSQL, U ":7", U ":7"},
        {"a single as interval", GTID_MYSQL, U ":7-7", U ":7"},
        {"capitals, and a line end", GTID_MYSQL,
            "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5,\n" V ":2", U ":1-5," V ":2"},
        {"touching", GTID_MYSQL, U ":1-5:6-8:10", U ":1-8:10"},
        {"overlapping and out of order", GTID_MYSQL, U ":5-9:1-6", U ":1-9"},
        {"one server twice", GTID_MYSQL, V ":1," U ":1," V ":2", U ":1," V ":1-2"},
        {"a tag", GTID_MYSQL, U ":tag:1-3", U ":tag:1-3"},
        {"without and with tags", GTID_MYSQL, U ":1-5:B_2:7:a:1-3:5", U ":1-5:a:1-3:5:b_2:7"},
        {"tag before none", GTID_MYSQL, U ":a:4," U ":2", U ":2:a:4"},
        {"a tag without interval", GTID_MYSQL, U ":1:a", NULL},
        {"two tags at once", GTID_MYSQL, U ":a:b:1", NULL},
        {"a tag that begins with a digit", GTID_MYSQL, U ":1a:1", NULL},
        {"a tag of 33", GTID_MYSQL, U ":abcdefghijklmnopqrstuvwxyz1234567:1", NULL},
        {"no interval", GTID_MYSQL, U, NULL},
        {"number 0", GTID_MYSQL, U ":0-5", NULL},
        {"backwards", GTID_MYSQL, U ":5-1", NULL},
        {"open end", GTID_MYSQL, U ":5-", NULL},
        {"over 63 bits", GTID_MYSQL, U ":9223372036854775807", NULL},
        {"a short uuid", GTID_MYSQL, "3e11fa47-71ca-11e1-9e33-c80aa942956:1", NULL},
        {"hyphens elsewhere", GTID_MYSQL, "3e11fa4-771ca-11e1-9e33-c80aa9429562:1", NULL},
        {"the other kind", GTID_MYSQL, "1-11-42", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_gtid_ struct gtid_set s = {0};
        struct err e = {0};
        int r = gtid_set_parse(rows[i].flavour, rows[i].text, strlen(rows[i].text), &s, &e);
        if (!rows[i].canonical) {
            if (r != ERR_INVALID || !e.message[0])
                fail_msg("%s: %d", rows[i].name, r);
            continue;
        }
        if (r < 0)
            fail_msg("%s: %s", rows[i].name, e.message);
        assert_text(rows[i].name, &s, rows[i].canonical);
        enum gtid_flavour guess;
        bool known = gtid_flavour_guess(rows[i].text, strlen(rows[i].text), &guess);
        assert_int_equal(known, *rows[i].canonical != 0);
        if (known)
            assert_int_equal(guess, rows[i].flavour);
    }
}

static void test_limits(void **state)
{
    for (int flavour = 0; flavour < 2; flavour++) {
        for (int n = GTID_MAX; n <= GTID_MAX + 1; n++) {
            _cleanup_str_ struct str text = STR_INIT;
            for (int i = 0; i < n; i++)
                if (flavour == GTID_MARIADB)
                    str_addf(&text, "%s%d-1-5", i ? "," : "", i);
                else
                    str_addf(&text, "%s:%d", i ? "" : U, 2 * i + 1);
            _cleanup_gtid_ struct gtid_set s = {0};
            int r = gtid_set_parse(flavour, str_cstr(&text), text.len, &s, NULL);
            assert_int_equal(r, n > GTID_MAX ? ERR_LIMIT : 0);
        }
    }
    _cleanup_str_ struct str much = STR_INIT;
    for (int i = 0; i < 20000; i++)
        str_add(&much, "1-1-1,");
    struct gtid_set s;
    assert_int_equal(gtid_set_parse(GTID_MARIADB, str_cstr(&much), much.len, &s, NULL), ERR_LIMIT);
    str_reserve(&much, GTID_TEXT_MAX);
    assert_int_equal(
        gtid_set_parse(GTID_MARIADB, str_cstr(&much), GTID_TEXT_MAX + 1, &s, NULL), ERR_LIMIT);
}

static void test_algebra(void **state)
{
    static const struct {
        const char *name;
        enum gtid_flavour flavour;
        const char *a, *b;
        enum gtid_order order; /* of a, from b */
        const char *minus;     /* a without b */
        uint64_t missing;
        const char *both;
    } rows[] = {
        {"nothing and nothing", GTID_MARIADB, "", "", GTID_SAME, "", 0, ""},
        {"same", GTID_MARIADB, "1-11-42", "1-11-42", GTID_SAME, "", 0, "1-11-42"},
        {"behind", GTID_MARIADB, "1-11-40", "1-11-42", GTID_BEHIND, "", 0, "1-11-42"},
        {"ahead", GTID_MARIADB, "1-11-42", "1-11-40", GTID_AHEAD, "1:41-42", 2, "1-11-42"},
        {"ahead by one", GTID_MARIADB, "1-11-41", "1-12-40", GTID_AHEAD, "1:41", 1, "1-11-41"},
        {"a new domain", GTID_MARIADB, "1-11-42,2-12-7", "1-11-42", GTID_AHEAD, "2:1-7", 7,
            "1-11-42,2-12-7"},
        {"each its own", GTID_MARIADB, "1-11-42,2-12-7", "1-11-43,2-12-5", GTID_DIVERGED, "2:6-7",
            2, "1-11-43,2-12-7"},
        {"the same number of another server", GTID_MARIADB, "1-12-42", "1-11-42", GTID_DIVERGED,
            "1:42", 1, "1-11-42"},
        {"a state knows both", GTID_MARIADB, "1-11-42,1-12-42", "1-11-42", GTID_AHEAD, "1:42", 1,
            "1-11-42"},
        {"further with another server", GTID_MARIADB, "1-12-45", "1-11-42", GTID_AHEAD, "1:43-45",
            3, "1-12-45"},
        {"a domain that wrote nothing", GTID_MARIADB, "1-11-0", "", GTID_SAME, "", 0, "1-11-0"},
        {"same", GTID_MYSQL, U ":1-5", U ":1-5", GTID_SAME, "", 0, U ":1-5"},
        {"behind", GTID_MYSQL, U ":1-4", U ":1-5", GTID_BEHIND, "", 0, U ":1-5"},
        {"a hole", GTID_MYSQL, U ":1-9", U ":1-3:6-7", GTID_AHEAD, U ":4-5:8-9", 4, U ":1-9"},
        {"many holes", GTID_MYSQL, U ":1-10:20-30", U ":2:5-8:10-25:30-40", GTID_DIVERGED,
            U ":1:3-4:9:26-29", 8, U ":1-40"},
        {"errant", GTID_MYSQL, U ":1-5," V ":1-2", U ":1-9", GTID_DIVERGED, V ":1-2", 2,
            U ":1-9," V ":1-2"},
        {"another server only", GTID_MYSQL, V ":1", U ":1", GTID_DIVERGED, V ":1", 1,
            U ":1," V ":1"},
        {"tags are their own", GTID_MYSQL, U ":1-5:a:1-3", U ":1-5:b:1-3", GTID_DIVERGED,
            U ":a:1-3", 3, U ":1-5:a:1-3:b:1-3"},
        {"a tag's part", GTID_MYSQL, U ":1-5:a:1-3", U ":1-5:a:2", GTID_AHEAD, U ":a:1:3", 2,
            U ":1-5:a:1-3"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_gtid_ struct gtid_set a = set(rows[i].flavour, rows[i].a);
        _cleanup_gtid_ struct gtid_set b = set(rows[i].flavour, rows[i].b);
        _cleanup_gtid_ struct gtid_set both = {0};
        _cleanup_gtid_ranges_ struct gtid_ranges more = {0};
        _cleanup_str_ struct str text = STR_INIT;
        if (gtid_set_compare(&a, &b) != rows[i].order)
            fail_msg("%s: %s", rows[i].name, gtid_order_name(gtid_set_compare(&a, &b)));
        assert_int_equal(gtid_set_equal(&a, &b), rows[i].order == GTID_SAME);
        gtid_set_subtract(&a, &b, &more);
        gtid_ranges_format(&more, &text);
        if (strcmp(str_cstr(&text), rows[i].minus) != 0)
            fail_msg("%s: without: '%s'", rows[i].name, str_cstr(&text));
        assert_int_equal(gtid_ranges_count(&more), rows[i].missing);
        assert_int_equal(gtid_set_union(&a, &b, &both, NULL), 0);
        assert_text(rows[i].name, &both, rows[i].both);
    }
}

static void test_numbers(void **state)
{
    _cleanup_gtid_ struct gtid_set m = set(GTID_MARIADB, "1-11-42,1-12-44,2-12-7");
    _cleanup_gtid_ struct gtid_set position = {0}, own = {0}, copied = {0};
    struct gtid g;
    assert_false(gtid_set_is_position(&m));
    gtid_set_to_position(&m, &position);
    assert_true(gtid_set_is_position(&position));
    assert_text("position", &position, "1-12-44,2-12-7");
    assert_int_equal(gtid_set_count(&m), 51);
    assert_true(gtid_set_domain(&m, 1, &g));
    assert_int_equal(g.seq, 44);
    assert_false(gtid_set_domain(&m, 3, &g));
    g = gtid_set_next(&m, 1, 11);
    assert_true(g.domain == 1 && g.server == 11 && g.seq == 45);
    assert_int_equal(gtid_set_next(&m, 3, 11).seq, 1);
    gtid_set_copy(&m, &copied);
    assert_true(gtid_set_equal(&m, &copied));

    _cleanup_gtid_ struct gtid_set y = set(GTID_MYSQL, U ":1-5:8:a:1-3," V ":1");
    uint8_t uuid[16];
    char text[GTID_UUID_TEXT_SIZE];
    assert_true(gtid_uuid_parse(U, strlen(U), uuid));
    gtid_uuid_format(uuid, text);
    assert_string_equal(text, U);
    assert_int_equal(gtid_set_count(&y), 10);
    assert_int_equal(gtid_set_next_of(&y, uuid, ""), 9);
    assert_int_equal(gtid_set_next_of(&y, uuid, "a"), 4);
    assert_int_equal(gtid_set_next_of(&y, uuid, "b"), 1);
    gtid_set_of_server(&y, uuid, &own);
    assert_text("own", &own, U ":1-5:8:a:1-3");

    _cleanup_gtid_ struct gtid_set huge =
        set(GTID_MARIADB, "1-1-18446744073709551614,2-1-18446744073709551614");
    assert_true(gtid_set_count(&huge) == UINT64_MAX);
}

static void test_encode(void **state)
{
    struct err e = {0};
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_gtid_ struct gtid_set s = set(GTID_MYSQL, U ":1-5:7," V ":9");
    static const uint8_t expected[] = {2, 0, 0, 0, 0, 0, 0, 0, /* servers */
        0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62,
        2, 0, 0, 0, 0, 0, 0, 0, /* intervals, the number after the last ends each */
        1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
        0x4e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62,
        1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(gtid_set_encode(&s, &out, &e), 0);
    assert_int_equal(out.len, sizeof expected);
    assert_memory_equal(str_cstr(&out), expected, sizeof expected);
    str_clear(&out);
    _cleanup_gtid_ struct gtid_set none = set(GTID_MYSQL, "");
    assert_int_equal(gtid_set_encode(&none, &out, &e), 0);
    assert_int_equal(out.len, 8);
    _cleanup_gtid_ struct gtid_set tagged = set(GTID_MYSQL, U ":1-5:day:1");
    assert_int_equal(gtid_set_encode(&tagged, &out, &e), ERR_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_algebra), cmocka_unit_test(test_numbers), cmocka_unit_test(test_encode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
