/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "driver/runtime/unitlog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <signal.h>
#include <sys/wait.h>

static char dir[] = "/tmp/mcp-runtime-XXXXXX";
static struct unitlog l;

static void begin(struct runtime_log cfg)
{
    struct err e;
    assert_true(file_remove_tree(dir, &e) >= 0);
    memset(&l, 0, sizeof l);
    cfg.dir = dir;
    unitlog_init(&l, &cfg, 0);
}

static void feed(enum unitlog_stream s, const char *text, uint64_t boot_ms)
{
    unitlog_feed(&l, s, text, strlen(text), 1795415502808, boot_ms);
}

static void content(const char *name, struct str *out)
{
    struct err e;
    char *path = xasprintf("%s/%s", dir, name);
    str_clear(out);
    if (file_read(path, 1 << 24, out, &e) < 0)
        str_clear(out);
    free(path);
}

static const struct runtime_log normal = {
    .file_bytes = 1 << 20, .files = 5, .rate = 1000, .burst = 1000};

static void test_lines(void **state)
{
    _cleanup_str_ struct str text = STR_INIT;
    begin(normal);
    feed(UNITLOG_STDOUT, "one\ntw", 0);
    feed(UNITLOG_STDERR, "bad\n", 0);
    feed(UNITLOG_STDOUT, "o\n\nrest", 0);
    unitlog_end(&l, 1795415502808);
    unitlog_done(&l);
    content("current", &text);
#define T "2026-11-23T06:31:42.808Z "
    assert_string_equal(str_cstr(&text), T "stdout F one\n" T "stderr F bad\n" T "stdout F two\n" T
                                           "stdout F \n" T "stdout F rest\n");
}

static void test_long_line_is_in_parts(void **state)
{
    _cleanup_str_ struct str text = STR_INIT, line = STR_INIT;
    begin(normal);
    for (size_t i = 0; i < 2 * UNITLOG_LINE_MAX + 10; i++)
        str_add_ch(&line, 'x');
    str_add_ch(&line, '\n');
    feed(UNITLOG_STDOUT, line.buf, 0);
    unitlog_done(&l);
    content("current", &text);
    const char *second = strchr(text.buf, '\n') + 1, *third = strchr(second, '\n') + 1;
    assert_memory_equal(text.buf + 25, "stdout P ", 9);
    assert_memory_equal(second + 25, "stdout P ", 9);
    assert_string_equal(third + 25, "stdout F xxxxxxxxxx\n");
}

static void test_rate(void **state)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct runtime_log slow = normal;
    slow.rate = 10;
    slow.burst = 3;
    begin(slow);
    feed(UNITLOG_STDOUT, "1\n2\n3\n4\n5\n", 0);
    feed(UNITLOG_STDOUT, "6\n7\n", 100); /* one more is allowed */
    unitlog_end(&l, 1795415502808);
    unitlog_done(&l);
    content("current", &text);
    assert_string_equal(str_cstr(&text),
        T "stdout F 1\n" T "stdout F 2\n" T "stdout F 3\n" T
          "shim F 2 lines dropped: more than 10 a second\n" T "stdout F 6\n" T
          "shim F 1 lines dropped: more than 10 a second\n");
}

static void test_rotation_loses_nothing_before_its_time(void **state)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct runtime_log small = normal;
    small.file_bytes = 200;
    small.files = 3;
    begin(small);
    for (int i = 0; i < 40; i++) {
        char line[16];
        snprintf(line, sizeof line, "line %d\n", i);
        feed(UNITLOG_STDOUT, line, 0);
    }
    unitlog_done(&l);
    content("current", &text);
    assert_non_null(strstr(str_cstr(&text), "line 39\n"));
    assert_true(text.len <= 200);
    content("2", &text);
    assert_true(text.len > 0 && text.len <= 200);
    content("3", &text);
    assert_int_equal(text.len, 0);
    begin(small); /* and an old file is gone on with */
}

static void test_records(void **state)
{
    struct err e = {0};
    struct runtime_exit x;
    struct runtime_state s;
    assert_true(file_mkdirs(dir, 0755, &e) >= 0);
    assert_int_equal(runtime_read_state(dir, &s, &e), ERR_NOT_FOUND);
    char *path = xasprintf("%s/exit.json", dir);
    static const char text[] =
        "{\"incarnation\":7,\"code\":0,\"signal\":9,\"oom\":true,\"error\":\"x\"}";
    assert_true(file_write(path, text, sizeof text - 1, 0644, &e) >= 0);
    assert_int_equal(runtime_read_exit(dir, &x, &e), 0);
    assert_true(x.incarnation == 7 && x.signal == 9 && x.oom && !strcmp(x.error, "x"));
    free(path);
}

/* The lock says who holds it, and nothing when that one has died. */
static void test_shim_is_known_by_its_lock(void **state)
{
    struct err e = {0};
    int ready[2];
    assert_true(file_mkdirs(dir, 0755, &e) >= 0);
    assert_int_equal(runtime_shim_pid(dir), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *path = xasprintf("%s/lock", dir);
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        char ok = fcntl(fd, F_SETLK, &lock) == 0;
        if (write(ready[1], &ok, 1) == 1)
            for (;;)
                pause();
    }
    char ok = 0;
    assert_int_equal(read(ready[0], &ok, 1), 1);
    assert_int_equal(ok, 1);
    assert_int_equal(runtime_shim_pid(dir), pid);
    kill(pid, 9);
    waitpid(pid, NULL, 0);
    assert_int_equal(runtime_shim_pid(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_line_is_in_parts),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rotation_loses_nothing_before_its_time),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_shim_is_known_by_its_lock),
    };
    struct err e;
    ASSERT(mkdtemp(dir));
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    if (file_remove_tree(dir, &e) < 0)
        fprintf(stderr, "%s\n", e.message);
    return r;
}
