/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/man/man.h"

static void test_prose(void **state)
{
    static const struct {
        const char *name, *text, *source;
    } rows[] = {
        {"a leading dot is no request", ".so /etc/passwd", "\\&.so /etc/passwd\n"},
        {"a leading quote is no request", "'x'", "\\&\\(aqx\\(aq\n"},
        {"backslashes stand for themselves", "a\\fBb", "\\&a\\efBb\n"},
        {"bold", "say `mcp up` now", "\\&say \\fBmcp up\\fR now\n"},
        {"an open backquote ends with the line", "a `b", "\\&a \\fBb\\fR\n"},
        {"hyphens can be copied", "--json", "\\&\\-\\-json\n"},
        {"beyond ASCII", "a → 한", "\\&a \\[u2192] \\[uD55C]\n"},
        {"broken bytes",
            "a\xff"
            "b",
            "\\&a?b\n"},
        {"paragraphs", "a\n\nb", "\\&a\n.PP\n\\&b\n"},
        {"as it is", "a\n  b\nc", "\\&a\n.nf\n\\&  b\n.fi\n\\&c\n"},
        {"as it is to the end", "  b", ".nf\n\\&  b\n.fi\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct str out = STR_INIT;
        man_prose(&out, rows[i].text);
        if (strcmp(out.buf, rows[i].source) != 0)
            fail_msg("%s: %s", rows[i].name, out.buf);
        str_done(&out);
    }
}

static void test_macros(void **state)
{
    struct str out = STR_INIT;
    man_macro(&out, "SH", "A \"B\"\n.so x");
    man_entry(&out, "-f, --file", "a file");
    assert_string_equal(out.buf, ".SH \"A \\(dqB\\(dq .so x\"\n"
                                 ".TP\n\\fB\\-f, \\-\\-file\\fR\n\\&a file\n");
    str_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prose),
        cmocka_unit_test(test_macros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
