/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/problems/problems.h"

static void test_sorted_by_place(void **state)
{
    struct problems p;
    struct str out = STR_INIT;
    problems_init(&p, "f.yaml");
    problems_add(&p, 2, 1, "third");
    problem_fix(problems_add(&p, 1, 9, "second"), "do %s", "this");
    problems_add(&p, 1, 9, "second too");
    problems_add(&p, 1, 2, "first");
    problems_format(&p, &out);
    assert_string_equal(out.buf, "f.yaml:1:2: first\n"
                                 "f.yaml:1:9: second; fix: do this\n"
                                 "f.yaml:1:9: second too\n"
                                 "f.yaml:2:1: third\n");
    str_done(&out);
    problems_done(&p);
}

/* Over the limit they are counted, and the sorted ones say so. */
static void test_bounded(void **state)
{
    struct problems p;
    struct str out = STR_INIT;
    problems_init(&p, "f");
    for (unsigned i = 0; i < PROBLEMS_KEPT + 500; i++)
        problem_fix(problems_add(&p, i + 1, 1, "no %u", i), "none");
    assert_true(problems_full(&p));
    assert_int_equal(p.n, PROBLEMS_KEPT);
    problems_format(&p, &out);
    assert_non_null(strstr(out.buf, "f:100:1: no 99; fix: none\nf: and 1400 more\n"));
    json_t *j = problems_json(&p);
    assert_int_equal(json_array_size(j), PROBLEMS_SHOWN);
    assert_string_equal(json_string_value(json_object_get(json_array_get(j, 1), "where")), "f:2:1");
    json_decref(j);
    str_done(&out);
    problems_done(&p);
}

static void test_err(void **state)
{
    struct problems p;
    struct err e = {0};
    problems_init(&p, "f");
    problem_fix(problems_add(&p, 3, 4, "wrong"), "right");
    assert_int_equal(problems_err(&p, &e), ERR_INVALID);
    assert_string_equal(e.where, "f:3:4");
    assert_string_equal(e.message, "wrong");
    assert_string_equal(e.fix, "right");
    for (int i = 0; i < 60; i++)
        problems_add(&p, 5, 1, "a message long enough that not all of them fit");
    assert_int_equal(problems_err(&p, &e), ERR_INVALID);
    assert_true(!strncmp(e.message, "61 errors\nf:3:4: wrong; fix: right\n", 35));
    assert_true(e.message[strlen(e.message) - 1] == 't'); /* whole lines */
    problems_done(&p);
}

/* What a file holds never reaches a terminal as a command, and JSON takes it. */
static void test_printable(void **state)
{
    static const struct {
        const char *name, *text, *shown;
    } rows[] = {
        {"plain", "한글", "\"한글\""},
        {"escape", "\033[31m", "\"?[31m\""},
        {"line break", "a\nb", "\"a?b\""},
        {"C1",
            "a\xc2\x9b"
            "b",
            "\"a??b\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct problems p;
        char quoted[PROBLEMS_QUOTE_SIZE];
        problems_init(&p, "f");
        problems_add(&p, 1, 1, "%s", problems_quote(rows[i].text, quoted));
        assert_string_equal(p.v[0].message, rows[i].shown);
        problems_done(&p);
    }
}

/* Cut at a character, however the limit falls. */
static void test_cut(void **state)
{
    for (size_t shift = 0; shift < 3; shift++) {
        struct problems p;
        struct str text = STR_INIT;
        char quoted[PROBLEMS_QUOTE_SIZE];
        for (size_t i = 0; i < shift; i++)
            str_add_ch(&text, 'x');
        for (int i = 0; i < 300; i++)
            str_add(&text, "한");
        problems_init(&p, "f");
        problems_add(&p, 1, 1, "%s", problems_quote(text.buf, quoted));
        assert_true(str_ends(p.v[0].message, "한\"..."));
        problems_add(&p, 1, 1, "%s", text.buf);
        json_t *j = problems_json(&p);
        assert_int_equal(json_array_size(j), 2); /* a broken sequence would not pack */
        json_decref(j);
        problems_done(&p);
        str_done(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_by_place),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_err),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
