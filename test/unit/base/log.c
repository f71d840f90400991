/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "base/json/json.h"
#include "base/log/log.h"

#include <fcntl.h>

/* What `body` writes to standard error. */
static char *capture(void (*body)(void))
{
    char path[] = "/tmp/mcp-test-log-XXXXXX";
    struct str out = STR_INIT;
    struct err e;
    int fd = mkstemp(path), kept = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    body();
    dup2(kept, STDERR_FILENO);
    assert_int_equal(file_read(path, 1 << 20, &out, &e), 0);
    close(fd);
    close(kept);
    unlink(path);
    return str_steal(&out);
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void three_levels(void)
{
    log_init("test", LOG_WARN);
    log_set_json(false);
    log_info("area", "not shown", "a=%d", 1);
    log_warn("area", "shown", "a=%d b=%s", 1, "x\ny\033z");
    log_error("area", "no fields", "%s", "");
}

static void test_lines(void **state)
{
    char *text = capture(three_levels);
    assert_int_equal(lines(text), 2); /* a line break in a field makes no line */
    assert_non_null(strstr(text, "Z warn test area shown a=1 b=x y z\n"));
    assert_non_null(strstr(text, "Z error test area no fields\n"));
    free(text);
}

static void one_json(void)
{
    log_init("test", LOG_INFO);
    log_set_json(true);
    log_info("area", "say \"hi\"\t", "path=%s", "C:\\x\xff한");
    log_set_json(false);
}

static void test_json(void **state)
{
    char *text = capture(one_json);
    json_t *j = NULL;
    struct err e = {0};
    if (json_parse(text, strlen(text), &j, &e) < 0)
        fail_msg("%s: %s", e.message, text);
    assert_string_equal(json_opt_str(j, "message", ""), "say \"hi\"\t");
    assert_string_equal(json_opt_str(j, "fields", ""), "path=C:\\x?한");
    assert_string_equal(json_opt_str(j, "level", ""), "info");
    json_decref(j);
    free(text);
}

static void flood(void)
{
    log_init("test", LOG_INFO);
    for (int i = 0; i < 1000; i++)
        log_info("area", "again", "i=%d", i);
    log_info("area", "another place", "%s", "");
}

static void test_a_site_that_repeats_is_silenced(void **state)
{
    char *text = capture(flood);
    assert_int_equal(lines(text), 21);
    assert_non_null(strstr(text, "i=19\n"));
    assert_null(strstr(text, "i=20\n"));
    assert_non_null(strstr(text, "another place\n"));
    free(text);
}

static struct log_site site;

static void window_ends(void)
{
    site = (struct log_site){.window_ms = 0, .count = 500, .swallowed = 480}; /* long ago */
    log_write(&site, LOG_INFO, "area", "back", "a=1");
}

static void test_silence_is_told(void **state)
{
    char *text = capture(window_ends);
    assert_non_null(strstr(text, "back a=1 swallowed=480\n"));
    free(text);
}

static void too_long(void)
{
    static char field[10000];
    memset(field, 'x', sizeof field - 1);
    log_info("area", "long", "f=%s", field);
}

static void test_fields_are_bounded(void **state)
{
    char *text = capture(too_long);
    assert_int_equal(lines(text), 1);
    assert_true(strlen(text) < 4096);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_a_site_that_repeats_is_silenced),
        cmocka_unit_test(test_silence_is_told),
        cmocka_unit_test(test_fields_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
