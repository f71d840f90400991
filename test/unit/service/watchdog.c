/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"
#include "base/util/util.h"
#include "service/watchdog/priv.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

struct victim {
    pid_t pid;
    int fd;
};

static struct victim victim(void)
{
    struct victim v = {.pid = fork()};
    if (!v.pid)
        for (;;)
            pause();
    v.fd = (int)syscall(SYS_pidfd_open, v.pid, 0);
    assert_true(v.fd >= 0);
    return v;
}

/* Killed, not by us: waits for it. */
static void assert_killed(struct victim *v)
{
    int status;
    struct pollfd p = {.fd = v->fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(v->fd);
}

static pid_t begin(int *ret_teller)
{
    int pair[2], listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    assert_int_equal(bind(listener, (struct sockaddr *)&own, sizeof own.sun_family), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid_t pid = fork();
    if (!pid) {
        close(pair[0]);
        _exit(watchdog_serve(pair[1], listener));
    }
    close(pair[1]);
    close(listener);
    *ret_teller = pair[0];
    return pid;
}

static void tell(int teller, uint32_t kind, const char *name, int pidfd, uint64_t kill_ms)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct watchdog_message m = {.magic = WATCHDOG_MAGIC, .kind = kind, .kill_ms = kill_ms};
    snprintf(m.name, sizeof m.name, "%s", name);
    struct iovec iov = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (pidfd >= 0) {
        h.msg_control = control.bytes;
        h.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof pidfd),
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &pidfd, sizeof pidfd);
    }
    assert_int_equal(sendmsg(teller, &h, 0), sizeof m);
}

static void assert_ends(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static bool lives(const struct victim *v)
{
    struct pollfd p = {.fd = v->fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

/* Its teller has died: it does what it was told last, also to one that stands still. */
static void test_last_order_stands(void **state)
{
    int teller;
    struct victim v = victim(); /* before: it must not hold the teller's end */
    pid_t pid = begin(&teller);
    kill(v.pid, SIGSTOP);
    uint64_t due = clock_boot_ms() + 300;
    tell(teller, WATCHDOG_ORDER, "trade", v.fd, due);
    close(teller);
    assert_killed(&v);
    assert_true(clock_boot_ms() >= due);
    assert_ends(pid);
}

/* A later time, another process, or none: what was said last counts. The other's order is not
 * touched by it. */
static void test_orders_are_replaced(void **state)
{
    int teller;
    struct victim first = victim(), second = victim(), other = victim();
    pid_t pid = begin(&teller);
    uint64_t soon = clock_boot_ms() + 100, late = clock_boot_ms() + 3600000;
    tell(teller, WATCHDOG_ORDER, "trade", first.fd, late);
    tell(teller, WATCHDOG_ORDER, "stock", other.fd, late);
    tell(teller, WATCHDOG_ORDER, "trade", second.fd, soon);
    assert_killed(&second);
    assert_true(lives(&first) && lives(&other));
    tell(teller, WATCHDOG_ORDER, "stock", -1, 0);
    close(teller);
    assert_ends(pid);
    assert_true(lives(&other));
    struct victim *left[] = {&first, &other};
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        kill(left[i]->pid, SIGKILL);
        assert_killed(left[i]);
    }
}

/* Another one has taken over: it ends with its last order, though its teller is still there. */
static void test_retires(void **state)
{
    int teller;
    struct victim v = victim(); /* before: it must not hold the teller's end */
    pid_t pid = begin(&teller);
    tell(teller, WATCHDOG_ORDER, "trade", v.fd, clock_boot_ms() + 3600000);
    tell(teller, WATCHDOG_RETIRE, "", -1, 0);
    tell(teller, WATCHDOG_ORDER, "trade", -1, 0);
    assert_ends(pid);
    assert_true(lives(&v));
    kill(v.pid, SIGKILL);
    assert_killed(&v);
    close(teller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_order_stands),
        cmocka_unit_test(test_orders_are_replaced),
        cmocka_unit_test(test_retires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
