/* SPDX-License-Identifier: Apache-2.0 */
/* A run to the end: feed, collect, limit, wait. */
#include "base/spawn/spawn.h"

#include "base/clock/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#define READ_BYTES 16384u
#define QUOTE_MAX 400

enum { IN, OUT, ERR, N_PIPES };

struct run {
    struct spawn_proc proc;
    int pipes[N_PIPES]; /* our ends; -1 when closed */
    const struct spawn_opts *opts;
    struct spawn_out *out;
    size_t fed, max_output;
    uint64_t deadline_ms;
    bool over_limit;
};

static void close_pipe(struct run *r, int i)
{
    if (r->pipes[i] >= 0)
        close(r->pipes[i]);
    r->pipes[i] = -1;
}

static void feed(struct run *r)
{
    /* Sockets, not pipes: MSG_NOSIGNAL, whatever the process does with SIGPIPE. */
    ssize_t n = send(r->pipes[IN], (const char *)r->opts->input + r->fed,
        r->opts->input_len - r->fed, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        r->fed += (size_t)n;
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || r->fed == r->opts->input_len)
        close_pipe(r, IN);
}

static void collect(struct run *r, int i)
{
    char buf[READ_BYTES];
    struct str *to = i == OUT ? &r->out->out : &r->out->err;
    ssize_t n = read(r->pipes[i], buf, sizeof buf);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_pipe(r, i);
        return;
    }
    size_t room = r->max_output - MIN(to->len, r->max_output);
    if (i == OUT && (size_t)n > room)
        r->over_limit = true;
    str_add_mem(to, buf, MIN((size_t)n, room));
}

/* What was written before the end is in the pipes; a grandchild that holds them is not waited
 * for. */
static void drain(struct run *r)
{
    for (int i = OUT; i <= ERR; i++)
        for (size_t left = r->max_output + READ_BYTES; r->pipes[i] >= 0 && left >= READ_BYTES;
             left -= READ_BYTES) {
            struct pollfd p = {.fd = r->pipes[i], .events = POLLIN};
            if (poll(&p, 1, 0) <= 0)
                break;
            collect(r, i);
        }
}

static int kill_it(struct run *r, struct err *e)
{
    int k = spawn_signal(&r->proc, SIGKILL, e);
    return k < 0 ? k : spawn_reap(&r->proc, true, &r->out->exit, e);
}

static int turn(struct run *r, struct err *e)
{
    struct pollfd p[N_PIPES + 1];
    for (int i = 0; i < N_PIPES; i++)
        p[i] = (struct pollfd){.fd = r->pipes[i], .events = i == IN ? POLLOUT : POLLIN};
    p[N_PIPES] = (struct pollfd){.fd = r->proc.pidfd, .events = POLLIN};
    uint64_t now = clock_boot_ms();
    if (now >= r->deadline_ms || r->over_limit) {
        int k = kill_it(r, e);
        r->out->exit.timed_out = !r->over_limit;
        return k;
    }
    int timeout = (int)MIN(r->deadline_ms - now, 60000u);
    if (poll(p, N_PIPES + 1, timeout) < 0)
        return errno == EINTR ? 0 : err_errno(e, errno, "poll");
    for (int i = 0; i < N_PIPES; i++)
        if (p[i].revents && i == IN)
            feed(r);
        else if (p[i].revents)
            collect(r, i);
    return p[N_PIPES].revents ? spawn_reap(&r->proc, false, &r->out->exit, e) : 0;
}

/* The child's ends go into the caller's map, behind whatever it names itself. */
static int start(const char *const *argv, struct run *r, struct err *e)
{
    struct spawn_fd map[64];
    struct spawn_opts opts = *r->opts;
    int theirs[N_PIPES] = {-1, -1, -1}, status = 0;
    if (opts.n_fds > ARRAY_SIZE(map) - N_PIPES)
        return err_set(e, ERR_LIMIT, "too many descriptors for a run");
    if (opts.n_fds)
        memcpy(map, opts.fds, opts.n_fds * sizeof *map);
    opts.fds = map;
    for (int i = opts.input ? IN : OUT; i < N_PIPES && status >= 0; i++) {
        int pair[2];
        if (i == IN ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)
                    : pipe2(pair, O_CLOEXEC)) {
            status = err_errno(e, errno, "pipe");
            break;
        }
        r->pipes[i] = pair[0];
        theirs[i] = pair[1];
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        map[opts.n_fds++] = (struct spawn_fd){pair[1], i};
    }
    if (status >= 0)
        status = spawn_start(argv, &opts, &r->proc, e);
    for (int i = 0; i < N_PIPES; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    return status;
}

int spawn_run(
    const char *const *argv, const struct spawn_opts *opts, struct spawn_out *out, struct err *e)
{
    static const struct spawn_opts defaults;
    struct run r = {.pipes = {-1, -1, -1}, .opts = opts ? opts : &defaults, .out = out};
    r.max_output = r.opts->max_output ? r.opts->max_output : SPAWN_OUTPUT_MAX;
    r.deadline_ms = clock_boot_ms() + (r.opts->timeout_ms ? r.opts->timeout_ms : SPAWN_TIMEOUT_MS);
    int status = start(argv, &r, e);
    if (status >= 0) {
        while ((status = turn(&r, e)) == 0)
            ;
        if (status < 0 && r.proc.pidfd >= 0) {
            struct err ignored;
            int k = kill_it(&r, &ignored);
            (void)k;
        }
        drain(&r);
    }
    for (int i = 0; i < N_PIPES; i++)
        close_pipe(&r, i);
    if (status >= 0 && r.over_limit)
        return err_set(e, ERR_LIMIT, "%s wrote more than %zu bytes", argv[0], r.max_output);
    return status < 0 ? err_wrap(e, "%s", argv[0]) : 0;
}

void spawn_out_done(struct spawn_out *out)
{
    str_done(&out->out);
    str_done(&out->err);
}

/* The last line that says something. */
static const char *last_line(struct str *text)
{
    while (text->len && strchr(" \r\n\t", text->buf[text->len - 1]))
        text->buf[--text->len] = '\0';
    const char *s = str_cstr(text), *nl = strrchr(s, '\n');
    return nl ? nl + 1 : s;
}

int spawn_check(
    const char *const *argv, const struct spawn_opts *opts, struct str *out, struct err *e)
{
    _cleanup_spawn_out_ struct spawn_out o = {0};
    int r = spawn_run(argv, opts, &o, e);
    if (r < 0)
        return r;
    if (!o.exit.exited || o.exit.status != 0) {
        char how[SPAWN_EXIT_TEXT_SIZE];
        spawn_exit_format(&o.exit, how);
        const char *said = last_line(&o.err);
        return err_set(e, o.exit.timed_out ? ERR_TIMEOUT : ERR_FAILED, "%s%s%s: %s%s%.*s", argv[0],
            argv[1] ? " " : "", argv[1] ? argv[1] : "", how, *said ? ": " : "", QUOTE_MAX, said);
    }
    if (out)
        str_add_mem(out, str_cstr(&o.out), o.out.len);
    return 0;
}
