/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/table/table.h"

static void test_widths(void **state)
{
    static const struct {
        const char *name, *text;
        size_t width;
    } rows[] = {
        {"ascii", "api-1", 5},
        {"empty", "", 0},
        {"korean", "홍콩 본점", 9},
        {"korean by letters", "\u1112\u1169\u11bc", 2},
        {"thai with marks above", "กรุงเทพ", 6},
        {"chinese", "上海", 4},
        {"combining accent", "e\u0301", 1},
        {"emoji", "\U0001f680", 2},
        {"check mark of the reference", "\u2705", 2},
        {"ellipsis", "\u2026", 1},
        {"broken bytes", "\xff\xc3", 2},
        {"cut sequence", "\xed\x95", 2},
        {"surrogate", "\xed\xa0\x80", 3},
        {"last of the tables", "\U0003fffd\U000e01ef\U0010ffff", 3},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (table_text_width(rows[i].text) != rows[i].width)
            fail_msg("%s: %zu", rows[i].name, table_text_width(rows[i].text));
}

static void test_fit_never_cuts_a_letter(void **state)
{
    assert_int_equal(table_text_fit("abc", 2), 2);
    assert_int_equal(table_text_fit("홍콩", 3), 3);
    assert_int_equal(table_text_fit("홍콩", 4), 6);
    assert_int_equal(table_text_fit("e\u0301x", 1), 3);
    assert_int_equal(table_text_fit("", 5), 0);
}

static const char *const heads[] = {"NAME", "N", "REASON", NULL};

static void fill(struct table *t)
{
    table_init(t, heads);
    t->right[1] = true;
    table_cell(t, TABLE_GOOD, "%s", "홍콩");
    table_cell(t, TABLE_PLAIN, "%d", 7);
    table_cell(t, TABLE_BAD, "%s", "");
    table_cell(t, TABLE_PLAIN, "%s", "api");
    table_cell(t, TABLE_PLAIN, "%d", 112);
    table_cell(t, TABLE_PLAIN, "%s", "죽었습니다 exit 1");
}

static void expect(struct table *t, struct table_style style, const char *want)
{
    _cleanup_str_ struct str out = STR_INIT;
    table_format(t, &style, &out);
    assert_string_equal(out.buf, want);
}

static void test_columns(void **state)
{
    struct table t;
    fill(&t);
    expect(&t, (struct table_style){0},
        "NAME    N  REASON\n"
        "홍콩    7  -\n"
        "api   112  죽었습니다 exit 1\n");
    table_done(&t);
}

static void test_cut_to_the_terminal(void **state)
{
    struct table t;
    fill(&t);
    expect(&t, (struct table_style){.width = 16},
        "NAME    N  REAS\u2026\n"
        "홍콩    7  -\n"
        "api   112  죽었\u2026\n");
    expect(&t, (struct table_style){.width = 9},
        "NAME    N\n"
        "홍콩    7\n"
        "api   112\n");
    expect(&t, (struct table_style){.width = 3}, "NA\u2026\n홍\u2026\napi\n");
    expect(&t, (struct table_style){.width = 1}, "\n\n\n");
    table_done(&t);
}

static void test_colours(void **state)
{
    struct table t;
    static const char *const one[] = {"S", NULL};
    table_init(&t, one);
    table_cell(&t, TABLE_BAD, "down");
    expect(&t, (struct table_style){.colour = true}, "\033[2mS\033[0m\n\033[31mdown\033[0m\n");
    table_done(&t);
}

/* A module's last words reach the operator's terminal through its reason: they must not steer
 * it. */
static void test_terminal_commands_are_defused(void **state)
{
    struct table t;
    static const char *const one[] = {"S", NULL};
    table_init(&t, one);
    table_cell(&t, TABLE_PLAIN,
        "a\033]0;x\007\nb\xc2\x9b"
        "31m\xff \u202eexe");
    expect(&t, (struct table_style){.colour = true}, "\033[2mS\033[0m\na?]0;x??b?31m? ?exe\n");
    table_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_fit_never_cuts_a_letter),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_cut_to_the_terminal),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_terminal_commands_are_defused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
