/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "service/lab/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void dup_to(int fd, int target)
{
    if (fd >= 0 && dup2(fd, target) < 0)
        _exit(126);
}

/* In the child: only system calls until exec. */
static _Noreturn void exec_machine(int procs, int config, int status, int listen)
{
    static const char *const argv[] = {"mcp", "lab-role", "machine", NULL};
    int c = fcntl(config, F_DUPFD_CLOEXEC, 16), s = fcntl(status, F_DUPFD_CLOEXEC, 16);
    int l = listen < 0 ? -1 : fcntl(listen, F_DUPFD_CLOEXEC, 16);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (write(procs, "0", 1) < 0) /* before exec: nothing of the machine was ever outside */
        _exit(125);
    setsid();
    umask(022);
    if (chdir("/") < 0)
        _exit(124);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup_to(null, 0);
    dup_to(null, 1);
    dup_to(null, 2);
    dup_to(c, LAB_FD_CONFIG);
    dup_to(s, LAB_FD_STATUS);
    dup_to(l, LAB_FD_LISTEN);
    if (l < 0)
        close(LAB_FD_LISTEN); /* whatever this process had there */
    execv("/proc/self/exe", (char *const *)argv);
    _exit(127);
}

static int open_cgroup(struct lab *l, const char *name, int *ret, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/%s", l->cgroup, name);
    _cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", dir);
    int r = cgroup_make(dir, e);
    if (r < 0)
        return r;
    *ret = open(procs, O_WRONLY | O_CLOEXEC);
    return *ret < 0 ? err_errno(e, errno, "open %s", procs) : 0;
}

int spawn_machine(struct lab *l, json_t *host, int listen_fd, struct spawn *ret, struct err *e)
{
    const char *name = json_opt_str(host, "name", "");
    _cleanup_free_ char *path = xasprintf("%s/machine/%s.json", l->run_dir, name);
    _cleanup_close_ int config = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int procs = -1;
    int pair[2];
    if (config < 0)
        return err_errno(e, errno, "open %s", path);
    int r = open_cgroup(l, name, &procs, e);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "socket pair");
    pid_t pid = fork();
    if (pid == 0)
        exec_machine(procs, config, pair[1], listen_fd);
    int fork_errno = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return err_errno(e, fork_errno, "fork");
    }
    json_object_set_new(host, "pid", json_integer(pid));
    json_object_set_new(host, "start_time", json_integer((json_int_t)process_start_time(pid)));
    *ret = (struct spawn){host, pair[0]};
    return 0;
}

int spawn_wait(struct spawn *s, unsigned timeout_ms, struct err *e)
{
    _cleanup_close_ int fd = util_steal_fd(&s->status);
    const char *name = json_opt_str(s->host, "name", "");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    _cleanup_json_ json_t *j = NULL;
    int passed;
    int r = poll(&p, 1, (int)timeout_ms);
    if (r > 0)
        r = msg_recv(fd, &j, &passed, e);
    else
        r = err_set(e, ERR_TIMEOUT, "not up after %u ms", timeout_ms);
    if (r == 0)
        r = err_set(e, ERR_FAILED, "died while it started");
    if (r > 0 && json_object_get(j, "error")) {
        json_to_err(json_object_get(j, "error"), e);
        r = e->code;
    }
    return r < 0 ? err_wrap(e, "machine %s", name) : 0;
}
