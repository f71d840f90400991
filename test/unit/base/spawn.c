/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"
#include "base/spawn/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static const char *const *words(const char *a, const char *b, const char *c)
{
    static const char *v[4];
    v[0] = a, v[1] = b, v[2] = c, v[3] = NULL;
    return v;
}

static void test_run_collects(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    struct err e = {0};
    struct spawn_opts opts = {.input = "ping\n", .input_len = 5};
    assert_int_equal(spawn_run(words("sh", "-c", "cat; echo bad >&2; exit 3"), &opts, &o, &e), 0);
    assert_string_equal(str_cstr(&o.out), "ping\n");
    assert_string_equal(str_cstr(&o.err), "bad\n");
    assert_true(o.exit.exited);
    assert_int_equal(o.exit.status, 3);
}

static void test_large_input_and_output_cross(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    struct err e = {0};
    size_t len = 900 * 1024; /* far over a pipe's 64 KiB each way */
    char *text = xmalloc(len);
    memset(text, 'a', len);
    struct spawn_opts opts = {.input = text, .input_len = len};
    assert_int_equal(spawn_run(words("cat", NULL, NULL), &opts, &o, &e), 0);
    assert_int_equal(o.out.len, len);
    free(text);
}

static void test_check_quotes_the_reason(void **state)
{
    _cleanup_str_ struct str out = STR_INIT;
    struct err e = {0};
    assert_int_equal(spawn_check(words("sh", "-c", "echo one; echo two"), NULL, &out, &e), 0);
    assert_string_equal(str_cstr(&out), "one\ntwo\n");
    assert_int_equal(spawn_check(words("sh", "-c", "echo first >&2; echo the reason >&2; exit 1"),
                         NULL, NULL, &e),
        ERR_FAILED);
    assert_string_equal(e.message, "sh -c: exit status 1: the reason");
    assert_int_equal(spawn_check(words("sh", "-c", "kill -9 $$"), NULL, NULL, &e), ERR_FAILED);
    assert_non_null(strstr(e.message, "killed by SIGKILL"));
}

static void test_limits(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0}, o2 = {0};
    struct err e = {0};
    struct spawn_opts small = {.max_output = 1000};
    assert_int_equal(spawn_run(words("cat", "/dev/zero", NULL), &small, &o, &e), ERR_LIMIT);
    assert_int_equal(o.out.len, 1000);
    struct spawn_opts quick = {.timeout_ms = 30};
    uint64_t start = clock_boot_ms();
    assert_int_equal(spawn_run(words("sleep", "60", NULL), &quick, &o2, &e), 0);
    assert_true(o2.exit.timed_out && clock_boot_ms() - start < 10000);
    assert_int_equal(spawn_check(words("sleep", "60", NULL), &quick, NULL, &e), ERR_TIMEOUT);
}

/* A grandchild that keeps the pipe open does not hold up the caller. */
static void test_background_grandchild_is_not_waited_for(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    struct err e = {0};
    assert_int_equal(spawn_run(words("sh", "-c", "sleep 60 & echo $!"), NULL, &o, &e), 0);
    uint64_t pid;
    o.out.buf[--o.out.len] = '\0';
    assert_true(str_to_u64(o.out.buf, INT32_MAX, &pid));
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0); /* alive, and ours to end */
}

static void test_failures_to_start(void **state)
{
    struct spawn_proc p;
    struct err e = {0};
    assert_int_equal(
        spawn_start(words("mcp-no-such-program", NULL, NULL), NULL, &p, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "mcp-no-such-program"));
    assert_int_equal(spawn_start(words("/nonexistent/x", NULL, NULL), NULL, &p, &e), ERR_NOT_FOUND);
    struct spawn_opts opts = {.dir = "/nonexistent"};
    /* the child's errno comes back */
    assert_true(spawn_start(words("true", NULL, NULL), &opts, &p, &e) < 0);
    assert_non_null(strstr(e.message, "No such file"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and no zombie stays */
}

static void test_child_holds_only_what_it_was_given(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    struct err e = {0};
    int leak = open("/dev/null", O_RDONLY); /* without CLOEXEC */
    int a[2], b[2];
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    assert_int_equal(write(a[1], "A", 1), 1);
    assert_int_equal(write(b[1], "B", 1), 1);
    /* Crosswise: each number is the other's source. */
    struct spawn_fd map[] = {{a[0], b[0]}, {b[0], a[0]}};
    struct spawn_opts opts = {.fds = map, .n_fds = 2};
    char script[256];
    snprintf(script, sizeof script,
        "head -c1 <&%d; head -c1 <&%d; echo; ls /proc/$$/fd | tr '\\n' ' '", b[0], a[0]);
    assert_int_equal(spawn_run(words("sh", "-c", script), &opts, &o, &e), 0);
    char want[128];
    snprintf(want, sizeof want, "AB\n0 1 2 %d %d ", MIN(a[0], b[0]), MAX(a[0], b[0]));
    if (strncmp(o.out.buf, "AB\n", 3) != 0 || strlen(o.out.buf) > strlen(want) + 4)
        fail_msg("child has: %s, wanted %s", o.out.buf, want);
    close(leak);
    for (int i = 0; i < 2; i++)
        close(a[i]), close(b[i]);
}

static void test_pidfd_tells_the_end(void **state)
{
    struct spawn_proc p;
    struct spawn_exit x;
    struct err e = {0};
    assert_int_equal(spawn_start(words("sleep", "60", NULL), NULL, &p, &e), 0);
    assert_int_equal(spawn_reap(&p, false, &x, &e), 0);
    assert_int_equal(spawn_signal(&p, SIGTERM, &e), 0);
    struct pollfd pf = {.fd = p.pidfd, .events = POLLIN};
    assert_int_equal(poll(&pf, 1, 10000), 1);
    assert_int_equal(spawn_reap(&p, false, &x, &e), 1);
    char text[SPAWN_EXIT_TEXT_SIZE];
    spawn_exit_format(&x, text);
    assert_string_equal(text, "killed by SIGTERM");
}

/* A blocked or ignored signal of the parent is not inherited. */
static void test_child_signals_are_default(void **state)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    struct err e = {0};
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(
        spawn_run(words("grep", "SigBlk\\|SigIgn", "/proc/self/status"), NULL, &o, &e), 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    assert_non_null(strstr(o.out.buf, "SigBlk:\t0000000000000000"));
    const char *ignored = strstr(o.out.buf, "SigIgn:\t");
    assert_non_null(ignored);
    /* 32 and 33 are libc's own: whoever started us may have left them ignored for ever. */
    assert_int_equal(strtoull(ignored + strlen("SigIgn:\t"), NULL, 16) & ~UINT64_C(0x180000000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_collects),
        cmocka_unit_test(test_large_input_and_output_cross),
        cmocka_unit_test(test_check_quotes_the_reason),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_background_grandchild_is_not_waited_for),
        cmocka_unit_test(test_failures_to_start),
        cmocka_unit_test(test_child_holds_only_what_it_was_given),
        cmocka_unit_test(test_pidfd_tells_the_end),
        cmocka_unit_test(test_child_signals_are_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
