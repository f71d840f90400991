/* SPDX-License-Identifier: Apache-2.0 */
/* The transport over a Unix stream socket, with descriptors. A descriptor rides on the first byte
 * of its frame and arrives with that byte or before it, so the order of descriptors is the order of
 * the frames that claim them. */
#include "base/rpc/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#define READ_BYTES (64u * 1024)
#define READS_PER_TURN 8 /* then the other handles of the loop have theirs */
#define IOV_MAX_USED 16
#define CMSG_FDS 8u

static void on_poll(uv_poll_t *p, int status, int events);

static void watch(struct rpc_conn *c)
{
    int events = UV_READABLE | (c->out ? UV_WRITABLE : 0);
    int r = uv_poll_start(&c->poll, events, on_poll);
    if (r < 0)
        rpc_conn_end(c, ERR_SYSTEM, "poll: %s", uv_strerror(r));
}

static void take_fds(struct rpc_conn *c, struct msghdr *msg)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (!rpc_conn_add_fd(c, fd))
                continue; /* the connection has ended; the others are closed the same way */
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        rpc_conn_end(c, ERR_PROTOCOL, "more than %u descriptors at once", CMSG_FDS);
}

/* Returns false when there is nothing more to read now. */
static bool read_once(struct rpc_conn *c)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(CMSG_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = rpc_in_room(&c->in, READ_BYTES), .iov_len = READ_BYTES};
    struct msghdr msg = {.msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = sizeof control.buf};
    ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0) {
        rpc_conn_end(c, ERR_UNAVAILABLE, "read: %s", strerror(errno));
        return false;
    }
    take_fds(c, &msg);
    if (n == 0) {
        rpc_conn_end(c, ERR_UNAVAILABLE, "the other end hung up");
        return false;
    }
    if (c->ending)
        return false;
    rpc_in_added(&c->in, (size_t)n);
    rpc_conn_arrived(c);
    return !c->ending && (size_t)n == READ_BYTES;
}

static void add_fd(struct msghdr *msg, int fd)
{
    struct cmsghdr *h = CMSG_FIRSTHDR(msg);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
}

static ssize_t send_some(struct rpc_conn *c)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[IOV_MAX_USED];
    struct msghdr msg = {.msg_iov = iov};
    for (struct rpc_out *o = c->out; o && msg.msg_iovlen < IOV_MAX_USED; o = o->next) {
        if (o->fd >= 0 && o != c->out)
            break; /* its descriptor must ride on its own first byte */
        iov[msg.msg_iovlen++] = (struct iovec){o->data.buf + o->off, o->data.len - o->off};
        if (o->fd >= 0)
            break;
    }
    if (c->out->fd >= 0) {
        msg.msg_control = control.buf;
        msg.msg_controllen = sizeof control.buf;
        add_fd(&msg, c->out->fd);
    }
    return sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns 0, or the errno that ended it. */
static int flush(struct rpc_conn *c)
{
    while (c->out) {
        ssize_t n = send_some(c);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : errno;
        if (c->out->fd >= 0) {
            close(c->out->fd);
            c->out->fd = -1;
        }
        while (n > 0) {
            size_t part = MIN((size_t)n, c->out->data.len - c->out->off);
            c->out->off += part;
            n -= (ssize_t)part;
            if (c->out->off == c->out->data.len)
                rpc_out_free(rpc_conn_shift(c));
        }
    }
    return 0;
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct rpc_conn *c = p->data;
    /* Reading first: what a peer said before it hung up is worth having. */
    if (status < 0 || events & UV_READABLE)
        for (int i = 0; i < READS_PER_TURN && !c->ending && read_once(c); i++)
            ;
    /* libuv's word for an error on the socket; reading has mostly told a better one */
    if (status < 0)
        rpc_conn_end(c, ERR_UNAVAILABLE, "the other end hung up");
    if (c->ending)
        return;
    int err = events & UV_WRITABLE ? flush(c) : 0;
    if (err) {
        rpc_conn_end(c, ERR_UNAVAILABLE, "write: %s", strerror(err));
        return;
    }
    rpc_conn_sent(c);
    if (!c->ending)
        watch(c);
}

static void unix_kick(struct rpc_conn *c)
{
    watch(c);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct rpc_conn *c = h->data;
    close(c->fd);
    c->fd = -1;
    rpc_conn_gone(c);
}

static void unix_end(struct rpc_conn *c)
{
    int err = flush(c);
    (void)err; /* whoever has gone needs no answer */
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

static const struct rpc_transport unix_transport = {.kick = unix_kick, .end = unix_end};

int rpc_conn_new_fd(uv_loop_t *loop, int fd, const char *name, const struct rpc_handler *handler,
    void *ctx, struct rpc_conn **ret, struct err *e)
{
    struct rpc_conn *c = rpc_conn_new(loop, &unix_transport, handler, ctx);
    c->fd = fd;
    int r = uv_poll_init(loop, &c->poll, fd); /* makes it non-blocking */
    if (r < 0) {
        close(fd);
        uv_close((uv_handle_t *)&c->timer, rpc_conn_free_early);
        return err_set(e, ERR_SYSTEM, "watch a connection: %s", uv_strerror(r));
    }
    c->poll.data = c;
    rpc_conn_hello(c, name);
    watch(c);
    *ret = c;
    return 0;
}
