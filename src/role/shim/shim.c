/* SPDX-License-Identifier: Apache-2.0 */
#include "role/shim/shim.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "driver/runtime/shim.h"
#include "driver/runtime/unitlog.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define EXIT_LOCKED 75         /* another shim of this unit lives */
#define KILL_TIMEOUT_MS 10000u /* to kill all of a unit */
#define DRAIN_MS 2000u         /* for output that is still in the pipe when everything is dead */
#define EARLY_MAX 16           /* children that ended before we know which of them is the unit */

struct shim {
    struct shim_spec spec;
    struct unitlog log;
    int lock, signals, outer_net;
    int out[UNITLOG_STREAMS]; /* reading ends; -1 after their end */
    pid_t runtime;            /* the OCI runtime while it starts the unit */
    pid_t main;               /* the unit; 0: not yet */
    bool stop_wanted, kill_wanted, ended;
    int status; /* wait status of main */
    struct {
        pid_t pid;
        int status;
    } early[EARLY_MAX];
    size_t n_early;
    char error[256]; /* why it could not be started */
    bool permanent;
    int64_t started_ms;
};

static int take_lock(struct shim *s, const char *run_dir)
{
    _cleanup_free_ char *path = xasprintf("%s/lock", run_dir);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return s->lock < 0 ? -1 : fcntl(s->lock, F_SETLK, &lock);
}

static int open_signals(struct shim *s, struct err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return err_errno(e, errno, "signalfd");
    /* What the runtime leaves behind becomes our child. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return err_errno(e, errno, "subreaper");
    return 0;
}

static void write_record(const struct shim *s, const char *name, json_t *doc)
{
    _cleanup_json_ json_t *owned = doc;
    _cleanup_free_ char *path = xasprintf("%s/%s", s->spec.run_dir, name);
    _cleanup_free_ char *text = json_text(owned);
    struct err e = {0};
    if (file_write(path, text, strlen(text), 0644, &e) < 0)
        fprintf(stderr, "shim: %s\n", e.message);
}

/* On a machine of version 2 alone, that is under systemd, out of the service's group into one
 * beside the units: whatever is done to the service, its memory's end included, is not done to the
 * shims. In a hybrid machine's lab they stay where the power of their host is cut. Failing is no
 * reason not to run. */
static void leave_service(const struct shim_spec *spec)
{
    static const struct cgroup_limits none = {0};
    _cleanup_free_ char *path = xstrdup(spec->cgroup);
    struct err e = {0};
    for (int i = 0; i < 2; i++) { /* "/mcp/<host>/units/<unit>" */
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return;
        *slash = '\0';
    }
    _cleanup_free_ char *shims = xasprintf("%s/shims", path);
    if (cgroup_create(&spec->cgroups, shims, &none, &e) < 0
        || cgroup_enter(&spec->cgroups, shims, getpid(), &e) < 0)
        fprintf(stderr, "shim: stays in its parent's group: %s\n", e.message);
}

/* --- starting --- */

static void child_prepare(const int ends[UNITLOG_STREAMS])
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    dup2(ends[UNITLOG_STDOUT], STDOUT_FILENO);
    dup2(ends[UNITLOG_STDERR], STDERR_FILENO);
}

static int become_user(const struct shim_spec *s)
{
    if (s->uid == 0 && s->gid == 0)
        return 0;
    if (setgroups(1, &s->gid) < 0 || setresgid(s->gid, s->gid, s->gid) < 0
        || setresuid(s->uid, s->uid, s->uid) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static _Noreturn void child_exec(const struct shim *s, const int ends[UNITLOG_STREAMS], int report)
{
    struct err e = {0};
    child_prepare(ends);
    int r = cgroup_enter(&s->spec.cgroups, s->spec.cgroup, getpid(), &e);
    if (r >= 0 && (setsid() < 0 || become_user(&s->spec) < 0 || chdir(s->spec.cwd) < 0))
        r = err_errno(&e, errno, "user %u, folder %s", (unsigned)s->spec.uid, s->spec.cwd);
    if (r >= 0) {
        execve(s->spec.argv[0], (char *const *)s->spec.argv, (char *const *)s->spec.env);
        r = err_errno(&e, errno, "%s", s->spec.argv[0]);
    }
    if (write(report, e.message, strlen(e.message)) < 0)
        _exit(126);
    _exit(127);
}

static int start_exec(struct shim *s, const int ends[UNITLOG_STREAMS], struct err *e)
{
    int report[2];
    int r = cgroup_create(&s->spec.cgroups, s->spec.cgroup, &s->spec.limits, e);
    if (r < 0)
        return r;
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        child_exec(s, ends, report[1]);
    close(report[1]);
    char text[200];
    ssize_t n = pid < 0 ? 0 : read(report[0], text, sizeof text - 1); /* until exec closes it */
    close(report[0]);
    if (pid < 0)
        return err_errno(e, errno, "fork");
    if (n > 0) {
        text[n] = '\0';
        waitpid(pid, NULL, 0);
        return err_set(e, ERR_FAILED, "%s", text);
    }
    s->main = pid;
    return 0;
}

static int start_oci(struct shim *s, const int ends[UNITLOG_STREAMS], struct err *e)
{
    const char *argv[SHIM_ARGV_MAX];
    char buf[1024];
    int r = shim_network_make(&s->spec, &s->outer_net, e);
    if (r >= 0)
        r = shim_rootfs_make(&s->spec, e);
    if (r < 0)
        return r;
    shim_run_argv(&s->spec, argv, buf, sizeof buf);
    _cleanup_close_ int input =
        s->spec.input ? open(s->spec.input, O_RDONLY | O_CLOEXEC) : -1;
    if (s->spec.input && input < 0)
        return err_errno(e, errno, "open %s", s->spec.input);
    pid_t pid = fork();
    if (pid == 0) {
        child_prepare(ends);
        if (input >= 0)
            dup2(input, STDIN_FILENO);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    if (pid < 0)
        return err_errno(e, errno, "fork");
    s->runtime = pid;
    return 0;
}

static void pass_stop(struct shim *s)
{
    if (s->main && !s->ended && s->stop_wanted)
        kill(s->main, s->spec.stop_signal);
}

static void kill_all(struct shim *s)
{
    struct err e = {0};
    s->kill_wanted = true;
    if (s->runtime)
        return; /* what it makes is killed when it is done: half a container has no address */
    if (s->main && !s->ended)
        kill(s->main, SIGKILL);
    if (cgroup_kill_all(&s->spec.cgroups, s->spec.cgroup, KILL_TIMEOUT_MS, &e) < 0)
        fprintf(stderr, "shim: %s\n", e.message);
}

static void running(struct shim *s)
{
    s->started_ms = clock_wall_ms();
    write_record(s, "state.json",
        json_pack("{s:I,s:i,s:i,s:I}", "incarnation", (json_int_t)s->spec.incarnation, "shim",
            (int)getpid(), "pid", (int)s->main, "started_ms", (json_int_t)s->started_ms));
    if (s->kill_wanted)
        kill_all(s);
    else
        pass_stop(s);
    malloc_trim(0);
}

static int start(struct shim *s, struct err *e)
{
    int ends[UNITLOG_STREAMS];
    for (unsigned i = 0; i < UNITLOG_STREAMS; i++) {
        int p[2];
        if (pipe2(p, O_CLOEXEC) < 0)
            return err_errno(e, errno, "pipe");
        fcntl(p[0], F_SETFL, O_NONBLOCK);
        s->out[i] = p[0];
        ends[i] = p[1];
    }
    int r = s->spec.oci ? start_oci(s, ends, e) : start_exec(s, ends, e);
    for (unsigned i = 0; i < UNITLOG_STREAMS; i++)
        close(ends[i]);
    if (r >= 0 && s->main)
        running(s);
    return r;
}

/* --- children --- */

static void main_ended(struct shim *s, int status)
{
    s->ended = true;
    s->status = status;
}

static pid_t read_pid_file(const struct shim *s)
{
    _cleanup_free_ char *path = xasprintf("%s/pid", s->spec.run_dir);
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    uint64_t pid;
    if (file_read(path, 32, &text, &ignored) < 0 || !str_to_u64(str_cstr(&text), INT32_MAX, &pid))
        return 0;
    return (pid_t)pid;
}

/* Words of the runtime that another try will not change. */
static bool is_permanent(const char *error)
{
    static const char *const words[] = {"executable file not found", "no such file or directory",
        "permission denied", "exec format error"};
    if (!strstr(error, "exec"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strstr(error, words[i]))
            return true;
    return false;
}

static void runtime_ended(struct shim *s, int status)
{
    s->runtime = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !(s->main = read_pid_file(s))) {
        shim_runtime_error(&s->spec, s->error, sizeof s->error);
        s->permanent = is_permanent(s->error);
        s->main = 0;
        s->ended = true;
        return;
    }
    running(s);
    for (size_t i = 0; i < s->n_early; i++)
        if (s->early[i].pid == s->main)
            main_ended(s, s->early[i].status);
}

static void reap(struct shim *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->runtime)
            runtime_ended(s, status);
        else if (s->main && pid == s->main)
            main_ended(s, status);
        else if (s->runtime && s->n_early < EARLY_MAX) {
            s->early[s->n_early].pid = pid;
            s->early[s->n_early++].status = status;
        }
    }
}

static void on_signals(struct shim *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
        } else if (info.ssi_signo == SIGTERM) {
            s->stop_wanted = true;
            pass_stop(s);
        } else if (info.ssi_signo == SIGUSR1) {
            kill_all(s);
        }
    }
}

/* --- output --- */

static void on_output(struct shim *s, enum unitlog_stream i)
{
    static char buf[UNITLOG_LINE_MAX];
    ssize_t n = read(s->out[i], buf, sizeof buf);
    if (n > 0) {
        unitlog_feed(&s->log, i, buf, (size_t)n, clock_wall_ms(), clock_boot_ms());
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(s->out[i]);
        s->out[i] = -1;
    }
}

static void wait_events(struct shim *s, int timeout_ms)
{
    struct pollfd p[1 + UNITLOG_STREAMS] = {{.fd = s->signals, .events = POLLIN}};
    for (unsigned i = 0; i < UNITLOG_STREAMS; i++)
        p[1 + i] = (struct pollfd){.fd = s->out[i], .events = POLLIN};
    if (poll(p, ARRAY_SIZE(p), timeout_ms) <= 0)
        return;
    for (unsigned i = 0; i < UNITLOG_STREAMS; i++)
        if (p[1 + i].revents)
            on_output(s, i);
    if (p[0].revents)
        on_signals(s);
}

static void drain(struct shim *s)
{
    uint64_t deadline = clock_boot_ms() + DRAIN_MS;
    while ((s->out[0] >= 0 || s->out[1] >= 0) && clock_boot_ms() < deadline)
        wait_events(s, 100);
    unitlog_end(&s->log, clock_wall_ms());
}

/* --- the end --- */

static void finish(struct shim *s)
{
    struct err e = {0};
    struct cgroup_usage usage = {0};
    bool by_us = s->kill_wanted;
    kill_all(s);
    drain(s);
    if (cgroup_usage(&s->spec.cgroups, s->spec.cgroup, &usage, &e) < 0)
        usage.oom_kills = 0; /* it never came to a group */
    if (shim_clean(&s->spec, &e) < 0)
        fprintf(stderr, "shim: %s\n", e.message);
    shim_network_remove(&s->spec, s->outer_net);
    int sig = s->main && WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
    int code = s->main && WIFEXITED(s->status) ? WEXITSTATUS(s->status) : 0;
    /* A child that the kernel killed for memory is the unit's own affair, unless the unit went with it. */
    bool oom = usage.oom_kills > 0 && !by_us && (sig == SIGKILL || code == 128 + SIGKILL);
    write_record(s, "exit.json",
        json_pack("{s:I,s:i,s:i,s:b,s:s,s:b,s:I,s:I}", "incarnation",
            (json_int_t)s->spec.incarnation, "code", code, "signal", sig, "oom", (int)oom, "error",
            s->error, "permanent", (int)s->permanent, "started_ms", (json_int_t)s->started_ms,
            "ended_ms", (json_int_t)clock_wall_ms()));
    unitlog_done(&s->log);
}

static void fail(struct shim *s, const struct err *e)
{
    str_copy(s->error, sizeof s->error, e->message);
    s->permanent = e->code == ERR_INVALID || e->code == ERR_NOT_FOUND || e->code == ERR_LIMIT;
    s->ended = true;
}

int shim_main(const char *run_dir)
{
    static struct shim s = {.outer_net = -1, .out = {-1, -1}};
    struct err e = {0};
    prctl(PR_SET_NAME, "mcp-shim", 0, 0, 0);
    if (take_lock(&s, run_dir) < 0)
        return EXIT_LOCKED;
    if (open_signals(&s, &e) < 0 || shim_spec_read(run_dir, &s.spec, &e) < 0) {
        fprintf(stderr, "shim: %s\n", e.message);
        return 1;
    }
    if (s.spec.cgroups.pure_v2)
        leave_service(&s.spec);
    unitlog_init(&s.log, &s.spec.log, clock_boot_ms());
    if (shim_clean(&s.spec, &e) < 0 || start(&s, &e) < 0)
        fail(&s, &e);
    while (!s.ended)
        wait_events(&s, -1);
    finish(&s);
    return 0;
}
