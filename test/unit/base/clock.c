/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"

static void test_format(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1795411812345, "2026-11-23T05:30:12.345Z"},
        {951782400007, "2000-02-29T00:00:00.007Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[CLOCK_STAMP_SIZE];
        clock_format_rfc3339(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
    char text[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(INT64_MAX, text); /* whatever it says, it ends */
    assert_true(strlen(text) < sizeof text);
}

static void test_boot_time_never_goes_back(void **state)
{
    uint64_t last = clock_boot_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_boot_ns();
        assert_true(now >= last);
        last = now;
    }
    assert_true(clock_boot_ms() >= last / 1000000);
}

/* Whoever writes the file moves the clock of a process that runs. */
static void test_offset_file(void **state)
{
    char path[] = "/tmp/mcp-clock-XXXXXX";
    int64_t offset = 0;
    int fd = mkstemp(path);
    assert_int_equal(pwrite(fd, &offset, sizeof offset, 0), sizeof offset);
    setenv("MCP_CLOCK_OFFSET_FILE", path, 1);
    int64_t before = clock_wall_us();
    offset = 90000;
    assert_int_equal(pwrite(fd, &offset, sizeof offset, 0), sizeof offset);
    int64_t shifted = clock_wall_us();
    offset = 0;
    assert_int_equal(pwrite(fd, &offset, sizeof offset, 0), sizeof offset);
    int64_t after = clock_wall_us();
    unlink(path);
    close(fd);
    assert_true(shifted >= before + 90000000 && shifted <= after + 90000000);
}

static void test_offset(void **state)
{
    int64_t before = clock_wall_ms();
    setenv("MCP_CLOCK_OFFSET_MS", "-3600000", 1);
    int64_t shifted = clock_wall_ms();
    unsetenv("MCP_CLOCK_OFFSET_MS");
    int64_t after = clock_wall_ms();
    assert_true(shifted >= before - 3600000 && shifted <= after - 3600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_boot_time_never_goes_back),
        cmocka_unit_test(test_offset_file), /* opened at the first look at the clock */
        cmocka_unit_test(test_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
