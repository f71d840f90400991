/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define LOOK_MS 200
#define LAST_LINE 512

struct part {
    struct spawn_proc proc;
    bool running;
    int errors; /* its standard error */
    char last[LAST_LINE];
    size_t len;
    struct spawn_exit exit;
};

/* Keeps the last whole line. */
static void take(struct part *p, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p->len && p->last[p->len - 1] == '\n')
            p->len = 0;
        if (p->len < LAST_LINE - 1 && (text[i] != '\n' || p->len))
            p->last[p->len++] = text[i];
        else if (p->len && text[i] == '\n')
            p->last[p->len - 1] = '\n';
    }
}

static bool read_errors(struct part *p)
{
    char text[4096];
    ssize_t n = read(p->errors, text, sizeof text);
    if (n > 0)
        take(p, text, (size_t)n);
    else {
        close(p->errors);
        p->errors = -1;
    }
    return n > 0;
}

static int start(struct part *p, const char *const *argv, int input, int output, struct err *e)
{
    int errors[2];
    if (pipe2(errors, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    const struct spawn_fd fds[] = {{errors[1], 2}, {input, 0}, {output, 1}};
    struct spawn_fd used[3] = {fds[0]};
    size_t n = 1;
    if (input >= 0)
        used[n++] = fds[1];
    if (output >= 0)
        used[n++] = fds[2];
    const struct spawn_opts opts = {.fds = used, .n_fds = n, .death_signal = SIGKILL};
    int r = spawn_start(argv, &opts, &p->proc, e);
    close(errors[1]);
    p->errors = errors[0];
    p->running = r >= 0;
    if (r < 0)
        close(errors[0]);
    return r;
}

static void look(struct part *p)
{
    struct err ignored;
    if (p->running && spawn_reap(&p->proc, false, &p->exit, &ignored) != 0)
        p->running = false;
}

static void kill_part(struct part *p)
{
    struct err ignored;
    if (p->running && spawn_signal(&p->proc, SIGKILL, &ignored) >= 0
        && spawn_reap(&p->proc, true, &p->exit, &ignored) >= 0)
        p->running = false;
}

static int wait_all(struct part *parts, size_t n, struct sql_stop *stop, struct err *e)
{
    for (;;) {
        struct pollfd fds[4];
        size_t k = 0;
        bool busy = false;
        for (size_t i = 0; i < n; i++) {
            if (parts[i].errors >= 0)
                fds[k++] = (struct pollfd){parts[i].errors, POLLIN, 0};
            look(&parts[i]);
            busy |= parts[i].running || parts[i].errors >= 0;
        }
        if (!busy)
            return 0;
        if (stop && sql_stop_raised(stop))
            return err_set(e, ERR_CANCELED, "given up");
        if (poll(fds, k, LOOK_MS) < 0 && errno != EINTR)
            return err_errno(e, errno, "poll");
        for (size_t i = 0, f = 0; i < n; i++)
            if (parts[i].errors >= 0 && fds[f++].revents)
                (void)!read_errors(&parts[i]);
    }
}

static int judge(const struct part *p, const char *name, struct err *e)
{
    char how[SPAWN_EXIT_TEXT_SIZE];
    if (p->exit.exited && p->exit.status == 0)
        return 0;
    spawn_exit_format(&p->exit, how);
    return err_set(e, ERR_FAILED, "%s: %s: %.*s", name, how, (int)strcspn(p->last, "\n"), p->last);
}

int copies_pipe(const char *const *from, const char *const *to, int input, int output,
    struct sql_stop *stop, struct err *e)
{
    struct part parts[2] = {{.errors = -1}, {.errors = -1}};
    size_t n = to ? 2 : 1;
    int between[2] = {-1, -1};
    if (to && pipe2(between, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    int r = start(&parts[0], from, input, to ? between[1] : output, e);
    if (r >= 0 && to)
        r = start(&parts[1], to, between[0], output, e);
    for (int i = 0; i < 2; i++)
        if (between[i] >= 0)
            close(between[i]);
    if (r >= 0)
        r = wait_all(parts, n, stop, e);
    for (size_t i = 0; i < n; i++) {
        kill_part(&parts[i]);
        if (parts[i].errors >= 0)
            close(parts[i].errors);
    }
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = judge(&parts[i], i ? to[0] : from[0], e);
    return r;
}
