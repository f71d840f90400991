/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"
#include "service/data/lease.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static void *doze(void *arg)
{
    for (;;)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return arg;
}

/* A process of two threads that are switched again and again. */
static pid_t begin(void)
{
    pid_t pid = fork();
    if (!pid) {
        pthread_t t;
        if (pthread_create(&t, NULL, doze, NULL) != 0)
            _exit(1);
        doze(NULL);
    }
    return pid;
}

static struct local_check_sample look(pid_t pid)
{
    struct local_check_sample s = {0};
    data_see_threads(pid, &s);
    return s;
}

static void a_process_moves_until_it_is_stopped(void **state)
{
    pid_t pid = begin();
    uint64_t until = clock_boot_ms() + 60000;
    struct local_check_sample a = look(pid), b = look(pid);
    while ((b.threads != 2 || a.threads != 2 || b.steps <= a.steps) && clock_boot_ms() < until)
        b = look(pid), a.threads = b.threads;
    assert_true(a.seen && b.seen && b.threads == 2 && b.steps > a.steps);
    int status;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    do
        a = look(pid), b = look(pid);
    while ((a.steps != b.steps || a.runnable || b.runnable) && clock_boot_ms() < until);
    assert_int_equal(b.threads, 2);
    assert_int_equal(b.runnable + b.on_disk, 0);
    assert_true(a.steps == b.steps);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    a = look(pid);
    assert_false(a.seen);
}

static void a_busy_one_could_run(void **state)
{
    pid_t pid = fork();
    if (!pid)
        for (volatile int n = 0;; n++)
            ;
    uint64_t until = clock_boot_ms() + 60000;
    struct local_check_sample s = look(pid);
    while (!s.runnable && clock_boot_ms() < until)
        s = look(pid);
    assert_int_equal(s.runnable, 1);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_moves_until_it_is_stopped),
        cmocka_unit_test(a_busy_one_could_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
