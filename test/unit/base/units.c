/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/units/units.h"

struct row {
    const char *text;
    bool ok;
    uint64_t value;
    const char *shown; /* shortest exact form */
};

static void check(const struct row *rows, size_t n, bool (*parse)(const char *, uint64_t *),
    void (*format)(uint64_t, char[UNITS_TEXT_SIZE]))
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 0, again = 0;
        char text[UNITS_TEXT_SIZE];
        if (parse(rows[i].text, &v) != rows[i].ok || (rows[i].ok && v != rows[i].value))
            fail_msg("\"%s\": %llu", rows[i].text, (unsigned long long)v);
        if (!rows[i].ok)
            continue;
        format(v, text);
        if (strcmp(text, rows[i].shown) != 0 || !parse(text, &again) || again != v)
            fail_msg("%s shown as %s", rows[i].text, text);
    }
}

static void test_durations(void **state)
{
    static const struct row rows[] = {
        {"5s", true, 5000, "5s"},
        {"19ms", true, 19, "19ms"},
        {"1h30m", true, 5400000, "90m"},
        {"60s", true, 60000, "1m"},
        {"7d", true, 604800000, "7d"},
        {"0", true, 0, "0s"},
        {"0s", true, 0, "0s"},
        {"1500ms", true, 1500, "1500ms"},
        {"5", false, 0, 0},
        {"", false, 0, 0},
        {"s", false, 0, 0},
        {"5 s", false, 0, 0},
        {"-5s", false, 0, 0},
        {"5sx", false, 0, 0},
        {"1.5s", false, 0, 0},
        {"18446744073709551616ms", false, 0, 0},
        {"213503982335d", false, 0, 0},
        {"213503982334d213503982334d", false, 0, 0},
    };
    check(rows, ARRAY_SIZE(rows), units_parse_duration, units_format_duration);
}

static void test_sizes(void **state)
{
    static const struct row rows[] = {
        {"256MiB", true, 268435456, "256MiB"},
        {"1024", true, 1024, "1KiB"},
        {"1000", true, 1000, "1000B"},
        {"1GB", true, 1000000000, "1000000000B"},
        {"0", true, 0, "0B"},
        {"4TiB", true, 4398046511104, "4TiB"},
        {"1025B", true, 1025, "1025B"},
        {"", false, 0, 0},
        {"MiB", false, 0, 0},
        {"1 MiB", false, 0, 0},
        {"1MiB2", false, 0, 0},
        {"1mb", false, 0, 0},
        {"16777216TiB", false, 0, 0},
    };
    check(rows, ARRAY_SIZE(rows), units_parse_size, units_format_size);
}

static void test_rates(void **state)
{
    static const struct row rows[] = {
        {"100Mbit", true, 100000000, "100Mbit"},
        {"1500kbit", true, 1500000, "1500kbit"},
        {"9600bit", true, 9600, "9600bit"},
        {"1000kbit", true, 1000000, "1Mbit"},
        {"2Gbit", true, 2000000000, "2Gbit"},
        {"100", false, 0, 0},
        {"100mbit", false, 0, 0},
        {"100Mbit/s", false, 0, 0},
        {"", false, 0, 0},
    };
    check(rows, ARRAY_SIZE(rows), units_parse_rate, units_format_rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
