/* SPDX-License-Identifier: Apache-2.0 */
#include "service/watchdog/priv.h"

#include "base/spawn/spawn.h"
#include "base/str/str.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

struct watchdog {
    uv_loop_t *loop;
    struct sockaddr_un path;
    void (*died)(void *ctx);
    void *ctx;
    int fd, old; /* of ours, of a predecessor's; -1: none */
    struct spawn_proc proc;
    uv_poll_t ended;
    bool polls, closing;
};

static int send_message(int fd, const struct watchdog_message *m, int pidfd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)m, sizeof *m};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (pidfd >= 0) {
        h.msg_control = control.bytes;
        h.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof pidfd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &pidfd, sizeof pidfd);
    }
    return sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *m ? 0 : -1;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

struct watchdog *watchdog_new(uv_loop_t *loop, const char *dir, void (*died)(void *ctx), void *ctx)
{
    struct watchdog *w = xcalloc(1, sizeof *w);
    *w = (struct watchdog){.loop = loop, .died = died, .ctx = ctx, .fd = -1, .old = -1};
    w->proc.pidfd = -1;
    w->path.sun_family = AF_UNIX;
    snprintf(w->path.sun_path, sizeof w->path.sun_path, "%s/watchdog.sock", dir);
    return w;
}

/* ---- starting it */

/* Its orders stand until they are given again, or carried out. */
static void retire_old(struct watchdog *w)
{
    const struct watchdog_message m = {.magic = WATCHDOG_MAGIC, .kind = WATCHDOG_RETIRE};
    shut(&w->old);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&w->path, sizeof w->path) == 0
        && send_message(fd, &m, -1) == 0)
        w->old = fd;
    else if (fd >= 0)
        close(fd);
}

static int listen_anew(const struct watchdog *w, struct err *e)
{
    unlink(w->path.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&w->path, sizeof w->path) < 0
        || listen(fd, 4) < 0) {
        err_errno(e, errno, "watchdog socket %s", w->path.sun_path);
        if (fd >= 0)
            close(fd);
        return e->code;
    }
    return fd;
}

static void on_poll_closed(uv_handle_t *h)
{
    struct watchdog *w = CONTAINER_OF((uv_poll_t *)h, struct watchdog, ended);
    w->polls = false;
    if (w->proc.pidfd >= 0)
        close(w->proc.pidfd);
    w->proc.pidfd = -1;
    if (w->closing)
        free(w);
    else if (w->died)
        w->died(w->ctx);
}

static void on_ended(uv_poll_t *p, int status, int events)
{
    struct watchdog *w = CONTAINER_OF(p, struct watchdog, ended);
    struct spawn_exit x;
    struct err ignored;
    if (spawn_reap(&w->proc, false, &x, &ignored) == 0)
        return;
    shut(&w->fd);
    uv_close((uv_handle_t *)p, on_poll_closed);
}

static int spawn(struct watchdog *w, int teller, int listener, struct err *e)
{
    const char *argv[] = {"mcp", "watchdog", NULL};
    const struct spawn_fd fds[] = {{teller, WATCHDOG_TELLER_FD}, {listener, WATCHDOG_LISTEN_FD}};
    const struct spawn_opts opts = {.path = "/proc/self/exe",
        .dir = "/",
        .fds = fds,
        .n_fds = ARRAY_SIZE(fds),
        .new_session = true,
        .keep_oom_score = true};
    return spawn_start(argv, &opts, &w->proc, e);
}

static int start(struct watchdog *w, struct err *e)
{
    int pair[2];
    if (w->polls)
        return err_set(e, ERR_UNAVAILABLE, "the watchdog has just died");
    retire_old(w);
    _cleanup_close_ int listener = listen_anew(w, e);
    if (listener < 0)
        return e->code;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "watchdog");
    int r = spawn(w, pair[1], listener, e);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return err_wrap(e, "watchdog");
    }
    w->fd = pair[0];
    uv_poll_init(w->loop, &w->ended, w->proc.pidfd);
    uv_poll_start(&w->ended, UV_READABLE, on_ended);
    w->polls = true;
    return 0;
}

/* ---- orders */

int watchdog_order(
    struct watchdog *w, const char *name, int pidfd, uint64_t kill_ms, struct err *e)
{
    struct watchdog_message m = {
        .magic = WATCHDOG_MAGIC, .kind = WATCHDOG_ORDER, .kill_ms = kill_ms};
    if (!str_copy(m.name, sizeof m.name, name))
        return err_set(e, ERR_LIMIT, "%s: a name that is too long", name);
    if (w->fd < 0 && !kill_ms)
        return 0;
    int r = w->fd < 0 ? start(w, e) : 0;
    if (r < 0)
        return r;
    if (send_message(w->fd, &m, kill_ms ? pidfd : -1) < 0)
        return err_errno(e, errno, "the watchdog takes no order");
    m.kill_ms = 0;
    if (w->old >= 0 && send_message(w->old, &m, -1) < 0 && errno != EAGAIN)
        shut(&w->old);
    return 0;
}

void watchdog_free(struct watchdog *w)
{
    if (!w)
        return;
    w->closing = true;
    shut(&w->fd);
    shut(&w->old);
    if (!w->polls)
        free(w);
    else if (!uv_is_closing((uv_handle_t *)&w->ended))
        uv_close((uv_handle_t *)&w->ended, on_poll_closed);
}
