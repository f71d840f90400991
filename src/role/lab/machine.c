/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's init: sets the machine up, tells its maker, then keeps one service running, reaps
 * whatever is left to it, holds the wire to the WAN, and answers: start, stop, restart, status.
 * Ends only when told or killed. */
#include "role/lab/machine.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "role/lab/lab.h"
#include "service/lab/lab.h"
#include "service/lab/msg.h"
#include "service/lab/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
#define HEALTHY_MS 10000u   /* running this long, the next crash is a first one again */
#define STOP_GRACE_MS 8000u /* the service's, then that of everything else */
#define WIRE_RETRY_MS 200u
#define LOG_CHECK_MS 10000u
#define LOG_MAX_BYTES (16 * 1024 * 1024)
#define CONFIG_MAX (256u * 1024)
#define REQUEST_TIMEOUT_S 1
#define NEVER UINT64_MAX

enum stage { STAGE_UP, STAGE_STOP_SERVICE, STAGE_STOP_REST };

struct machine {
    json_t *config;
    const char *name;
    int listen, signals, wire, tun, log; /* -1: none */
    int run_dir;                         /* of the lab: out of reach by path once /run is our own */
    int log_dir;
    int service_listen; /* passed to the service, or -1 */
    bool wanted;        /* the service shall run */
    pid_t service;      /* 0: not running */
    unsigned restarts, backoff_ms;
    uint64_t started_ms;
    uint64_t start_at_ms, wire_at_ms, log_at_ms, stage_end_ms;
    enum stage stage;
};

/* ---- the service ---- */

static void dup_to(int fd, int target)
{
    if (fd >= 0 && dup2(fd, target) < 0)
        _exit(126);
}

static _Noreturn void exec_service(struct machine *m, int config_fd)
{
    json_t *list = json_object_get(json_object_get(m->config, "service"), "argv");
    const char *argv[16] = {0};
    for (size_t i = 0; i < json_array_size(list) && i + 1 < ARRAY_SIZE(argv); i++)
        argv[i] = json_string_value(json_array_get(list, i));
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    setenv("MCP_CLOCK_OFFSET_FILE", LAB_CLOCK_FILE, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a computer without init is off */
    /* Out of the way of the targets first: any of these may be one of them. */
    int log = fcntl(m->log, F_DUPFD_CLOEXEC, 16), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int config = config_fd < 0 ? -1 : fcntl(config_fd, F_DUPFD_CLOEXEC, 16);
    int listen = m->service_listen < 0 ? -1 : fcntl(m->service_listen, F_DUPFD_CLOEXEC, 16);
    dup_to(null, 0);
    dup_to(log, 1);
    dup_to(log, 2);
    dup_to(config, LAB_FD_CONFIG);
    dup_to(listen, LAB_FD_LISTEN);
    execv("/proc/self/exe", (char *const *)argv);
    dprintf(2, "cannot start %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static int open_service_config(struct machine *m)
{
    const char *name = json_opt_str(json_object_get(m->config, "service"), "config", NULL);
    return name ? openat(m->run_dir, name, O_RDONLY | O_CLOEXEC) : -1;
}

static void service_start(struct machine *m)
{
    _cleanup_close_ int config_fd = open_service_config(m);
    m->start_at_ms = NEVER;
    pid_t pid = fork();
    if (pid == 0)
        exec_service(m, config_fd);
    if (pid < 0) {
        log_error("machine", "cannot fork", "error=\"%s\"", strerror(errno));
        m->start_at_ms = clock_boot_ms() + BACKOFF_MAX_MS;
        return;
    }
    m->service = pid;
    m->started_ms = clock_boot_ms();
}

static void service_ended(struct machine *m, int status)
{
    uint64_t now = clock_boot_ms();
    m->service = 0;
    if (m->stage != STAGE_UP || !m->wanted)
        return;
    if (now - m->started_ms >= HEALTHY_MS)
        m->backoff_ms = 0;
    m->backoff_ms = m->backoff_ms ? MIN(m->backoff_ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
    m->start_at_ms = now + m->backoff_ms;
    m->restarts++;
    log_warn("machine", "service ended", "host=%s %s=%d again_in_ms=%u", m->name,
        WIFSIGNALED(status) ? "signal" : "status",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), m->backoff_ms);
}

static void reap(struct machine *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == m->service)
            service_ended(m, status);
}

/* ---- the wire ---- */

static int wire_connect(struct machine *m, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/proc/self/fd/%d/wan.sock", m->run_dir);
    _cleanup_close_ int fd = -1;
    int r = msg_connect(path, &fd, e);
    if (r < 0)
        return r;
    struct timeval tv = {REQUEST_TIMEOUT_S, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    _cleanup_json_ json_t *request = json_pack("{s:s,s:s}", "op", "attach", "endpoint", m->name);
    _cleanup_json_ json_t *answer = NULL;
    int passed;
    r = msg_send(fd, request, m->tun, e);
    if (r >= 0)
        r = msg_recv(fd, &answer, &passed, e);
    if (r == 0)
        return err_set(e, ERR_UNAVAILABLE, "the WAN hung up");
    if (r < 0)
        return err_wrap(e, "attach to the WAN");
    if (json_object_get(answer, "error")) {
        json_to_err(json_object_get(answer, "error"), e);
        return e->code;
    }
    m->wire = util_steal_fd(&fd);
    m->wire_at_ms = NEVER;
    return 0;
}

/* The WAN says nothing unasked: readable means that it is gone. */
static void wire_lost(struct machine *m)
{
    close(m->wire);
    m->wire = -1;
    m->wire_at_ms = clock_boot_ms();
}

static void wire_retry(struct machine *m)
{
    struct err e;
    m->wire_at_ms = NEVER;
    if (wire_connect(m, &e) >= 0)
        return;
    m->wire_at_ms = clock_boot_ms() + WIRE_RETRY_MS;
    log_warn("machine", "no wire", "host=%s error=\"%s\"", m->name, e.message);
}

/* ---- stopping: the service first, then what it left, then ourselves ---- */

static void enter_stage(struct machine *m, enum stage stage)
{
    m->stage = stage;
    m->stage_end_ms = clock_boot_ms() + STOP_GRACE_MS;
}

static void stop(struct machine *m)
{
    if (m->stage != STAGE_UP)
        return;
    m->wanted = false;
    m->start_at_ms = NEVER;
    enter_stage(m, STAGE_STOP_SERVICE);
    if (m->service)
        kill(m->service, SIGTERM);
}

/* Sends to every other process of the machine; returns how many there are. */
static unsigned signal_rest(struct machine *m, int sig)
{
    _cleanup_free_ char *path = xasprintf("%s/cgroup.procs", json_opt_str(m->config, "cgroup", ""));
    FILE *f = fopen(path, "re");
    unsigned n = 0;
    for (long pid; f && fscanf(f, "%ld", &pid) == 1;)
        if (pid > 0 && pid != getpid()) {
            n++;
            if (sig)
                kill((pid_t)pid, sig);
        }
    if (f)
        fclose(f);
    return n;
}

/* True when nothing is left to wait for. */
static bool stop_step(struct machine *m)
{
    bool late = clock_boot_ms() >= m->stage_end_ms;
    if (m->stage == STAGE_STOP_SERVICE && (!m->service || late)) {
        enter_stage(m, STAGE_STOP_REST);
        return signal_rest(m, SIGTERM) == 0;
    }
    return m->stage == STAGE_STOP_REST && signal_rest(m, late ? SIGKILL : 0) == 0;
}

/* ---- requests ---- */

static json_t *describe(const struct machine *m)
{
    return json_pack("{s:b,s:s,s:b,s:i,s:I,s:b}", "ok", 1, "name", m->name, "wanted", m->wanted,
        "service_pid", (int)m->service, "restarts", (json_int_t)m->restarts, "wire",
        m->wire >= 0 || m->tun < 0);
}

static void want(struct machine *m)
{
    m->wanted = json_is_object(json_object_get(m->config, "service"));
    if (m->wanted && !m->service)
        m->start_at_ms = clock_boot_ms();
}

static void handle(struct machine *m, const char *op, struct err *e, int *r)
{
    if (!strcmp(op, "start")) {
        want(m);
    } else if (!strcmp(op, "restart")) { /* with its configuration read again */
        m->backoff_ms = 0;
        want(m);
        if (m->service)
            kill(m->service, SIGKILL);
    } else if (!strcmp(op, "reload")) { /* not running: it reads everything when it starts */
        if (m->service)
            kill(m->service, SIGHUP);
    } else if (!strcmp(op, "stop")) {
        stop(m);
    } else if (strcmp(op, "status") != 0) {
        *r = err_set(e, ERR_INVALID, "unknown request '%s'", op);
    }
}

static void on_request(struct machine *m)
{
    _cleanup_close_ int fd = accept4(m->listen, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct timeval tv = {REQUEST_TIMEOUT_S, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    _cleanup_json_ json_t *request = NULL;
    _cleanup_close_ int passed = -1;
    struct err e = {0};
    int r = msg_recv(fd, &request, &passed, &e);
    if (r == 0)
        return;
    if (r > 0)
        handle(m, json_opt_str(request, "op", ""), &e, &r);
    if (r < 0) {
        msg_reply(fd, r, &e);
        return;
    }
    _cleanup_json_ json_t *answer = describe(m);
    if (msg_send(fd, answer, -1, &e) < 0)
        log_debug("machine", "cannot answer", "error=\"%s\"", e.message);
}

/* ---- log, loop ---- */

/* The log is opened for appending by everybody who writes it, so it can be cut in place. */
static void check_log(struct machine *m)
{
    struct stat st;
    m->log_at_ms = clock_boot_ms() + LOG_CHECK_MS;
    if (m->log_dir < 0 || fstat(m->log, &st) < 0 || st.st_size < LOG_MAX_BYTES)
        return;
    _cleanup_free_ char *old = xasprintf("%s.log.1", m->name);
    _cleanup_close_ int to =
        openat(m->log_dir, old, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    loff_t at = 0;
    while (to >= 0 && copy_file_range(m->log, &at, to, NULL, LOG_MAX_BYTES, 0) > 0)
        continue;
    if (ftruncate(m->log, 0) < 0)
        log_warn("machine", "cannot cut the log", "host=%s", m->name);
}

static int poll_timeout(const struct machine *m)
{
    uint64_t now = clock_boot_ms(), next = MIN(m->start_at_ms, MIN(m->wire_at_ms, m->log_at_ms));
    if (m->stage != STAGE_UP)
        next = MIN(next, now + 20); /* orphans end without a signal to us */
    return next <= now ? 0 : (int)MIN(next - now, 60000u);
}

static void on_signal(struct machine *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD)
            stop(m);
    reap(m);
}

static void loop(struct machine *m)
{
    for (;;) {
        struct pollfd fds[] = {
            {m->signals, POLLIN, 0}, {m->listen, POLLIN, 0}, {m->wire, POLLIN, 0}};
        if (poll(fds, ARRAY_SIZE(fds), poll_timeout(m)) < 0 && errno != EINTR)
            return;
        if (fds[0].revents)
            on_signal(m);
        if (fds[1].revents)
            on_request(m);
        if (fds[2].revents)
            wire_lost(m);
        uint64_t now = clock_boot_ms();
        if (m->wire_at_ms <= now)
            wire_retry(m);
        if (m->start_at_ms <= now && m->stage == STAGE_UP && !m->service)
            service_start(m);
        if (m->log_at_ms <= now)
            check_log(m);
        if (m->stage != STAGE_UP && stop_step(m))
            return;
    }
}

/* ---- start ---- */

static int read_config(struct machine *m, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", LAB_FD_CONFIG);
    int r = json_read_file(path, CONFIG_MAX, &m->config, e);
    if (r < 0)
        return r;
    close(LAB_FD_CONFIG);
    return json_get_str(m->config, "name", &m->name, e);
}

static int open_files(struct machine *m, struct err *e)
{
    const char *dir, *log;
    int r = json_get_str(m->config, "dir", &dir, e);
    if (r >= 0)
        r = json_get_str(m->config, "log", &log, e);
    if (r < 0)
        return r;
    m->run_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (m->run_dir < 0)
        return err_errno(e, errno, "open %s", dir);
    _cleanup_free_ char *log_dir = xasprintf("%.*s", (int)(strrchr(log, '/') - log), log);
    m->log_dir = open(log_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    m->log = open(log, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (m->log < 0)
        return err_errno(e, errno, "open %s", log);
    if (dup2(m->log, 1) < 0 || dup2(m->log, 2) < 0)
        return err_errno(e, errno, "log");
    _cleanup_free_ char *socket = xasprintf("%s/machine/%s.sock", dir, m->name);
    return msg_listen(socket, &m->listen, e);
}

static int set_up(struct machine *m, struct err *e)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    m->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (m->signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return err_errno(e, errno, "signals");
    int r = read_config(m, e);
    if (r >= 0)
        r = open_files(m, e);
    if (r >= 0 && json_is_object(json_object_get(m->config, "net"))) {
        r = machine_enter_namespaces(m->config, &m->tun, e);
        if (r >= 0)
            r = wire_connect(m, e);
    }
    return r;
}

int lab_machine_main(void)
{
    struct machine m = {.listen = -1,
        .signals = -1,
        .wire = -1,
        .tun = -1,
        .log = -1,
        .run_dir = -1,
        .log_dir = -1,
        .service_listen = -1,
        .start_at_ms = NEVER,
        .wire_at_ms = NEVER};
    struct err e = {0};
    if (fcntl(LAB_FD_LISTEN, F_SETFD, FD_CLOEXEC) == 0)
        m.service_listen = LAB_FD_LISTEN;
    fcntl(LAB_FD_STATUS, F_SETFD, FD_CLOEXEC);
    log_init("machine", LOG_INFO);
    int r = set_up(&m, &e);
    msg_reply(LAB_FD_STATUS, r, &e);
    close(LAB_FD_STATUS);
    if (r < 0) {
        log_error("machine", "cannot start", "error=\"%s\"", e.message);
        return 1;
    }
    loop(&m);
    log_info("machine", "off", "host=%s", m.name);
    return 0;
}
