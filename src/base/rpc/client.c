/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking client: poll(2) on the socket and perhaps standard input, one call at a time. */
#include "base/rpc/priv.h"

#include "base/clock/clock.h"

#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/un.h>

#define READ_BYTES (64u * 1024)
#define INPUT_BYTES (24u * 1024) /* a multiple of 3: base64 without padding in between */

struct rpc_client {
    int fd;
    struct rpc_in in;
    struct str out;
    size_t out_off;
    int out_fd; /* rides on the first byte of `out`; -1: none. The caller's */
    int64_t last_id;
    char *shown; /* what errors call the peer */
};

struct wait { /* one call on its way */
    int64_t id;
    uint64_t deadline_ms; /* 0: none */
    int input_fd;
    int (*part)(void *ctx, json_t *part);
    void *ctx;
    json_t **ret;
};

static int lost(struct rpc_client *c, struct err *e, const char *why)
{
    return err_set(e, ERR_UNAVAILABLE, "%s: %s", c->shown, why);
}

static ssize_t send_some(struct rpc_client *c)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {c->out.buf + c->out_off, c->out.len - c->out_off};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (c->out_fd >= 0) {
        msg.msg_control = control.buf;
        msg.msg_controllen = sizeof control.buf;
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &c->out_fd, sizeof(int));
    }
    ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        c->out_fd = -1;
    return n;
}

static int flush(struct rpc_client *c, struct err *e)
{
    while (c->out_off < c->out.len) {
        ssize_t n = send_some(c);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : lost(c, e, strerror(errno));
        c->out_off += (size_t)n;
    }
    str_clear(&c->out);
    c->out_off = 0;
    return 0;
}

/* Takes msg. */
static int push(struct rpc_client *c, json_t *msg, struct err *e)
{
    _cleanup_json_ json_t *owned = msg;
    ASSERT(msg);
    return rpc_frame_add(&c->out, msg, e);
}

static int fill(struct rpc_client *c, struct err *e)
{
    ssize_t n = recv(c->fd, rpc_in_room(&c->in, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return lost(c, e, strerror(errno));
    if (n == 0)
        return lost(c, e, "the other end hung up");
    rpc_in_added(&c->in, (size_t)n);
    return 0;
}

static int push_input(struct rpc_client *c, struct wait *w, struct err *e)
{
    unsigned char raw[INPUT_BYTES];
    char text[INPUT_BYTES / 3 * 4 + 1];
    ssize_t n = read(w->input_fd, raw, sizeof raw);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        w->input_fd = -1;
        return push(c, json_pack("{s:I,s:{s:b}}", "id", (json_int_t)w->id, "input", "eof", 1), e);
    }
    EVP_EncodeBlock((unsigned char *)text, raw, (int)n);
    return push(c, json_pack("{s:I,s:{s:s}}", "id", (json_int_t)w->id, "input", "data", text), e);
}

/* 1: the call is over; 0: go on. */
static int take(struct rpc_client *c, struct wait *w, const char *text, size_t len, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    struct rpc_msg m;
    int r = json_parse(text, len, &root, e);
    if (r >= 0)
        r = rpc_msg_parse(root, &m, e);
    if (r < 0)
        return err_wrap(e, "%s", c->shown);
    if (m.kind == RPC_HELLO) {
        c->in.max = RPC_FRAME_MAX;
        r = rpc_msg_agree(&m, e);
        return r < 0 ? r : w->id == 0;
    }
    if (m.id != w->id)
        return 0; /* of a call given up, or something that a command does not listen to */
    if (m.kind == RPC_ERROR) {
        json_to_err(m.body, e);
        return e->code;
    }
    if (m.kind == RPC_RESULT) {
        *w->ret = json_incref(m.body);
        return 1;
    }
    if (m.kind != RPC_MORE || !w->part)
        return 0;
    r = w->part(w->ctx, m.body);
    return r < 0 ? err_set(e, ERR_CANCELED, "stopped") : 0;
}

static int take_all(struct rpc_client *c, struct wait *w, struct err *e)
{
    for (;;) {
        const char *text;
        size_t len;
        int r = rpc_in_next(&c->in, &text, &len, e);
        if (r <= 0)
            return r < 0 ? err_wrap(e, "%s", c->shown) : 0;
        r = take(c, w, text, len, e);
        if (r != 0)
            return r;
    }
}

static int wait_turn(struct rpc_client *c, struct wait *w, struct err *e)
{
    bool has_out = c->out.len > c->out_off;
    struct pollfd p[2] = {{.fd = c->fd, .events = (short)(POLLIN | (has_out ? POLLOUT : 0))},
        /* input waits until the last piece has gone */
        {.fd = has_out ? -1 : w->input_fd, .events = POLLIN}};
    int timeout = -1;
    if (w->deadline_ms) {
        uint64_t now = clock_boot_ms();
        if (now >= w->deadline_ms)
            return err_set(e, ERR_TIMEOUT, "%s: no answer in time", c->shown);
        timeout = (int)MIN(w->deadline_ms - now, 1000u * 1000);
    }
    if (poll(p, 2, timeout) < 0)
        return errno == EINTR ? 0 : err_errno(e, errno, "poll");
    int r = p[1].revents ? push_input(c, w, e) : 0;
    if (r >= 0 && p[0].revents & (POLLIN | POLLHUP | POLLERR))
        r = fill(c, e);
    return r;
}

static int wait_for(struct rpc_client *c, struct wait *w, struct err *e)
{
    for (;;) {
        int r = take_all(c, w, e);
        if (r == 0)
            r = flush(c, e);
        if (r == 0)
            r = wait_turn(c, w, e);
        if (r != 0)
            return r < 0 ? r : 0;
    }
}

/* A peer that hangs with a full backlog would hold up connect(2) itself: the kernel heeds the send
 * timeout there. */
static int dial(struct rpc_client *c, const char *path, uint64_t timeout_ms, struct err *e)
{
    struct timeval within = {(time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000 * 1000)};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (!str_copy(sa.sun_path, sizeof sa.sun_path, path))
        return err_set(e, ERR_INVALID, "socket path %s is too long", path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return err_errno(e, errno, "socket");
    if (setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof within) < 0)
        return err_errno(e, errno, "set the time limit of a socket");
    if (connect(c->fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        if (errno == EAGAIN)
            return err_set(e, ERR_TIMEOUT, "%s: no answer in time", c->shown);
        int code = errno == ENOENT || errno == ECONNREFUSED ? ERR_UNAVAILABLE : ERR_SYSTEM;
        err_set(e, code, "connect to %s: %s", c->shown, strerror(errno));
        if (code == ERR_UNAVAILABLE)
            err_fix(e, "start `mcp host` on this machine, or `mcp up` for a lab");
        else if (errno == EACCES)
            err_fix(e, "run the command as root");
        return code;
    }
    return 0;
}

int rpc_client_connect(const char *socket_path, struct rpc_client **ret, struct err *e)
{
    return rpc_client_connect_within(socket_path, socket_path, RPC_HELLO_TIMEOUT_MS, ret, e);
}

static struct rpc_client *client_new(int fd, const char *shown)
{
    struct rpc_client *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    c->out_fd = -1;
    c->in.max = RPC_HELLO_MAX;
    c->shown = xstrdup(shown);
    return c;
}

/* Takes c. `r`: how it went until here. */
static int greet(
    struct rpc_client *c, int r, uint64_t timeout_ms, struct rpc_client **ret, struct err *e)
{
    struct wait hello = {.input_fd = -1, .deadline_ms = clock_boot_ms() + timeout_ms};
    if (r >= 0)
        r = push(c, rpc_msg_hello("command"), e);
    if (r >= 0)
        r = wait_for(c, &hello, e);
    if (r < 0) {
        rpc_client_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

int rpc_client_connect_within(const char *socket_path, const char *shown, uint64_t timeout_ms,
    struct rpc_client **ret, struct err *e)
{
    struct rpc_client *c = client_new(-1, shown);
    int r = dial(c, socket_path, timeout_ms, e);
    return greet(c, r, timeout_ms, ret, e);
}

int rpc_client_adopt(
    int fd, const char *shown, uint64_t timeout_ms, struct rpc_client **ret, struct err *e)
{
    return greet(client_new(fd, shown), 0, timeout_ms, ret, e);
}

void rpc_client_free(struct rpc_client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    rpc_in_done(&c->in);
    str_done(&c->out);
    free(c->shown);
    free(c);
}

static int call(struct rpc_client *c, const char *method, json_t *params, int fd, struct wait w,
    json_t **ret, struct err *e)
{
    json_t *answer = NULL;
    w.id = ++c->last_id;
    w.ret = &answer;
    json_t *msg = json_pack("{s:I,s:s,s:o}", "id", (json_int_t)w.id, "method", method, "params",
        params ? params : json_object());
    int r = 0;
    if (fd >= 0) {
        json_object_set_new(msg, "fd", json_true());
        r = flush(c, e); /* nothing is left of an earlier call: it has been answered */
        c->out_fd = fd;
    }
    if (r >= 0)
        r = push(c, msg, e);
    else
        json_decref(msg);
    if (r >= 0)
        r = wait_for(c, &w, e);
    if (r == ERR_CANCELED || r == ERR_TIMEOUT) {
        struct err ignored;
        json_t *cancel = json_pack("{s:I,s:b}", "id", (json_int_t)w.id, "cancel", 1);
        int sent = push(c, cancel, &ignored) < 0 ? -1 : flush(c, &ignored);
        (void)sent; /* the server also sees the connection end */
    }
    if (r >= 0)
        *ret = answer;
    return r;
}

int rpc_client_call(struct rpc_client *c, const char *method, json_t *params, uint64_t timeout_ms,
    int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret, struct err *e)
{
    struct wait w = {.input_fd = -1,
        .part = part,
        .ctx = ctx,
        .deadline_ms = timeout_ms ? clock_boot_ms() + timeout_ms : 0};
    return call(c, method, params, -1, w, ret, e);
}

/* A bridge to a platform far away has no name; a descriptor would end on this machine. */
static bool is_local(const struct rpc_client *c)
{
    struct sockaddr_un sa;
    socklen_t len = sizeof sa;
    return getpeername(c->fd, (struct sockaddr *)&sa, &len) == 0 && sa.sun_family == AF_UNIX
           && len > offsetof(struct sockaddr_un, sun_path);
}

int rpc_client_call_fd(struct rpc_client *c, const char *method, json_t *params, int fd,
    int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret, struct err *e)
{
    if (!is_local(c)) {
        json_decref(params);
        err_set(e, ERR_USAGE, "files go over the socket of a host only, not over %s", c->shown);
        err_fix(e, "run the command on a host of the platform; what it has is not sent again");
        return ERR_USAGE;
    }
    struct wait w = {.input_fd = -1, .part = part, .ctx = ctx};
    return call(c, method, params, fd, w, ret, e);
}

int rpc_client_call_input(struct rpc_client *c, const char *method, json_t *params, int input_fd,
    int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret, struct err *e)
{
    struct wait w = {.input_fd = input_fd, .part = part, .ctx = ctx};
    return call(c, method, params, -1, w, ret, e);
}
