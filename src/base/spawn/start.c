/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FDS_MAX 256

/* Everything the child needs, made before the fork. */
struct plan {
    const char *path;
    char *const *argv;
    char *const *env;
    const struct spawn_opts *opts;
    int null_fd;
    int report_fd;  /* CLOEXEC: closes on success, brings errno on failure */
    int *moved;     /* opts->fds copied above all targets, so that no dup2 overwrites a source */
    int first_free; /* every wanted child number is below it */
};

extern char **environ;

static bool is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

/* Found in the parent: exec's own search reports the last directory's errno, not "not there". */
static int find_program(const char *name, struct str *ret, struct err *e)
{
    if (strchr(name, '/')) {
        str_add(ret, name);
        return is_program(name) ? 0 : err_errno(e, errno, "run %s", name);
    }
    const char *dirs = getenv("PATH");
    if (!dirs)
        dirs = "/usr/sbin:/usr/bin:/sbin:/bin";
    while (*dirs) {
        size_t n = strcspn(dirs, ":");
        str_clear(ret);
        str_addf(ret, "%.*s/%s", (int)n, dirs, name);
        if (n && is_program(ret->buf))
            return 0;
        dirs += n + (dirs[n] == ':');
    }
    err_set(e, ERR_NOT_FOUND, "program %s is not in PATH", name);
    err_fix(e, "install the Debian package that brings %s (`make setup` does)", name);
    return ERR_NOT_FOUND;
}

static void reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL); /* fails for SIGKILL, SIGSTOP and libc's own: as it should */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int target_named(const struct spawn_opts *o, int child)
{
    for (size_t i = 0; i < o->n_fds; i++)
        if (o->fds[i].child == child)
            return 1;
    return 0;
}

/* First everything out of the way, then each to its place, then whatever is not wanted is
 * closed. */
static int place_fds(struct plan *p)
{
    const struct spawn_opts *o = p->opts;
    for (size_t i = 0; i < o->n_fds; i++)
        if ((p->moved[i] = fcntl(o->fds[i].parent, F_DUPFD_CLOEXEC, p->first_free)) < 0)
            return errno;
    int null_fd = fcntl(p->null_fd, F_DUPFD_CLOEXEC, p->first_free);
    int report = fcntl(p->report_fd, F_DUPFD_CLOEXEC, p->first_free);
    if (null_fd < 0 || report < 0)
        return errno;
    p->report_fd = report;
    for (size_t i = 0; i < o->n_fds; i++)
        if (dup2(p->moved[i], o->fds[i].child) < 0)
            return errno;
    for (int fd = 0; fd <= 1; fd++)
        if (!target_named(o, fd) && dup2(null_fd, fd) < 0)
            return errno;
    for (int fd = 3; fd < p->first_free; fd++)
        if (!target_named(o, fd))
            close(fd);
    if (syscall(SYS_close_range, p->first_free, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) < 0)
        return errno;
    return 0;
}

/* Raising one's own score needs no privilege; no /proc, no score to raise. */
static void reset_oom_score(void)
{
    char sign = '0';
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, &sign, 1) == 1 && sign == '-') {
        ssize_t n = pwrite(fd, "0", 1, 0);
        (void)n;
    }
    close(fd);
}

static int become(struct plan *p)
{
    const struct spawn_opts *o = p->opts;
    reset_signals();
    if (o->new_session && setsid() < 0)
        return errno;
    if (!o->keep_oom_score)
        reset_oom_score();
    int err = place_fds(p);
    if (err)
        return err;
    if (o->dir && chdir(o->dir) < 0)
        return errno;
    if (o->set_user
        && (syscall(SYS_setgroups, 0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0
            || setresuid(o->uid, o->uid, o->uid) < 0))
        return errno;
    /* after setuid, which clears it */
    if (o->death_signal && prctl(PR_SET_PDEATHSIG, o->death_signal) < 0)
        return errno;
    if (o->setup && (err = o->setup(o->setup_ctx)))
        return err;
    execve(p->path, p->argv, p->env);
    return errno;
}

static void child(struct plan *p)
{
    int err = become(p);
    ssize_t n = write(p->report_fd, &err, sizeof err);
    (void)n;
    _exit(127);
}

/* 0, or the child's errno. */
static int read_report(int fd)
{
    int err = 0;
    for (;;) {
        ssize_t n = read(fd, &err, sizeof err);
        if (n < 0 && errno == EINTR)
            continue;
        return n == sizeof err ? err : 0;
    }
}

static int fork_it(
    struct plan *p, int report_read, int report_write, struct spawn_proc *ret, struct err *e)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of ours may run in the child */
    pid_t pid = fork();
    int fork_errno = errno;
    if (pid == 0)
        child(p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(report_write);
    if (pid < 0)
        return err_errno(e, fork_errno, "fork");
    int err = read_report(report_read);
    if (err) {
        waitpid(pid, NULL, 0);
        return err_errno(e, err, "run %s", p->path);
    }
    /* close-on-exec by itself; pid is ours until reaped */
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int open_errno = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return err_errno(e, open_errno, "pidfd_open");
    }
    *ret = (struct spawn_proc){pid, pidfd};
    return 0;
}

int spawn_start(
    const char *const *argv, const struct spawn_opts *opts, struct spawn_proc *ret, struct err *e)
{
    static const struct spawn_opts defaults;
    _cleanup_str_ struct str path = STR_INIT;
    _cleanup_close_ int null_fd = -1, report_read = -1;
    int moved[FDS_MAX], report[2];
    if (!opts)
        opts = &defaults;
    if (opts->n_fds > FDS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d descriptors for a child", FDS_MAX);
    int r = find_program(opts->path ? opts->path : argv[0], &path, e);
    if (r < 0)
        return r;
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return err_errno(e, errno, "open /dev/null");
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    report_read = report[0];
    struct plan p = {.path = path.buf,
        .argv = (char *const *)argv,
        .opts = opts,
        .null_fd = null_fd,
        .env = opts->env ? (char *const *)opts->env : environ,
        .report_fd = report[1],
        .moved = moved,
        .first_free = 3};
    for (size_t i = 0; i < opts->n_fds; i++)
        p.first_free = MAX(p.first_free, opts->fds[i].child + 1);
    return fork_it(&p, report_read, report[1], ret, e);
}

int spawn_reap(struct spawn_proc *p, bool wait, struct spawn_exit *ret, struct err *e)
{
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)p->pid, &info, WEXITED | (wait ? 0 : WNOHANG)) < 0)
        if (errno != EINTR)
            return err_errno(e, errno, "wait for process %d", (int)p->pid);
    if (info.si_pid == 0)
        return 0;
    *ret = (struct spawn_exit){.exited = info.si_code == CLD_EXITED,
        .status = info.si_status,
        .core = info.si_code == CLD_DUMPED};
    close(p->pidfd);
    p->pidfd = -1;
    return 1;
}

int spawn_signal(const struct spawn_proc *p, int sig, struct err *e)
{
    if (syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
        return err_errno(e, errno, "signal process %d", (int)p->pid);
    return 0;
}

void spawn_exit_format(const struct spawn_exit *x, char out[SPAWN_EXIT_TEXT_SIZE])
{
    const char *name = x->exited ? NULL : sigabbrev_np(x->status);
    if (x->timed_out)
        snprintf(out, SPAWN_EXIT_TEXT_SIZE, "killed, over its time");
    else if (x->exited)
        snprintf(out, SPAWN_EXIT_TEXT_SIZE, "exit status %d", x->status);
    else if (name)
        snprintf(
            out, SPAWN_EXIT_TEXT_SIZE, "killed by SIG%s%s", name, x->core ? " (core dumped)" : "");
    else
        snprintf(out, SPAWN_EXIT_TEXT_SIZE, "killed by signal %d", x->status);
}
