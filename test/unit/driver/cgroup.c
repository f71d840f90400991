/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "driver/cgroup/cgroup.h"

#include <signal.h>
#include <sys/wait.h>

static void test_detect(void **state)
{
    struct cgroup_layout l;
    struct err e = {0};
    assert_int_equal(cgroup_detect_text(
                         "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", &l, &e),
        0);
    assert_true(l.pure_v2 && !l.hybrid);
    assert_string_equal(l.v2, "/sys/fs/cgroup");
    assert_int_equal(
        cgroup_detect_text("30 1 0:26 / /c/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                           "31 1 0:27 / /c/memory rw - cgroup cgroup rw,memory\n"
                           "32 1 0:28 / /c/unified rw - cgroup2 none rw\n",
            &l, &e),
        0);
    assert_true(l.hybrid && !l.pure_v2);
    assert_string_equal(l.v1[CGROUP_CPU], "/c/cpu,cpuacct");
    assert_string_equal(l.v1[CGROUP_CPUACCT], "/c/cpu,cpuacct");
    assert_string_equal(l.v1[CGROUP_MEMORY], "/c/memory");
    assert_string_equal(l.v1[CGROUP_PIDS], "");
    assert_int_equal(
        cgroup_detect_text("30 1 0:26 / / rw - ext4 /dev/vda rw\nbroken line\n- - -\n", &l, &e),
        ERR_NOT_FOUND);
}

/* The kernel's own groups, whichever version this machine has. */
static void test_life_of_a_group(void **state)
{
    struct cgroup_layout l;
    struct err e = {0};
    char path[64];
    snprintf(path, sizeof path, "/mcp-unit-test-%d/x", (int)getpid());
    if (geteuid() != 0)
        skip();
    assert_int_equal(cgroup_detect(&l, &e), 0);
    const struct cgroup_limits limits = {.memory_bytes = 32u << 20, .cpu_milli = 500, .pids = 10};
    if (cgroup_create(&l, path, &limits, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(cgroup_create(&l, path, &limits, &e), 0); /* twice */
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup_enter(&l, path, getpid(), &e) < 0)
            _exit(1);
        for (int i = 0; i < 3; i++)
            if (fork() == 0)
                for (;;)
                    pause();
        for (;;)
            pause();
    }
    while (cgroup_empty(&l, path))
        ;
    struct cgroup_usage u;
    assert_int_equal(cgroup_usage(&l, path, &u, &e), 0);
    assert_int_equal(u.oom_kills, 0);
    if (cgroup_kill_all(&l, path, 10000, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(cgroup_empty(&l, path));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(cgroup_delete(&l, path, &e), 0);
    assert_int_equal(cgroup_delete(&l, path, &e), 0); /* twice */
    *strrchr(path, '/') = '\0';
    assert_int_equal(cgroup_delete(&l, path, &e), 0);
    assert_int_equal(cgroup_usage(&l, path, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(cgroup_kill_all(&l, path, 0, &e), 0); /* missing: nothing to kill */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect), cmocka_unit_test(test_life_of_a_group)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
