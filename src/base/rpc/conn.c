/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: send queue, hello, cutting and dispatching what arrives, timer, and the one way
 * it ends. */
#include "base/rpc/priv.h"

#include <errno.h>

void rpc_out_free(struct rpc_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    str_done(&o->data);
    free(o);
}

struct rpc_out *rpc_conn_shift(struct rpc_conn *c)
{
    struct rpc_out *o = c->out;
    c->out = o->next;
    if (!c->out)
        c->out_tail = &c->out;
    c->out_bytes -= o->data.len;
    return o;
}

uint64_t rpc_conn_now(struct rpc_conn *c)
{
    uv_update_time(c->loop); /* the loop's clock stands still while a callback works */
    return uv_now(c->loop);
}

static void on_timer(uv_timer_t *t)
{
    struct rpc_conn *c = t->data;
    uint64_t now = rpc_conn_now(c);
    c->timer_at_ms = 0;
    if (c->hello_at_ms && now >= c->hello_at_ms) {
        rpc_conn_end(c, ERR_TIMEOUT, "no hello within %u s", RPC_HELLO_TIMEOUT_MS / 1000);
        return;
    }
    if (c->hello_at_ms)
        rpc_conn_arm(c, c->hello_at_ms);
    rpc_calls_expire(c, now);
}

/* One timer serves all deadlines: it goes off at the nearest and arms itself again for the next. */
void rpc_conn_arm(struct rpc_conn *c, uint64_t at_ms)
{
    if (c->ending || (c->timer_at_ms && c->timer_at_ms <= at_ms))
        return;
    uint64_t now = rpc_conn_now(c);
    c->timer_at_ms = MAX(at_ms, 1);
    uv_timer_start(&c->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

struct rpc_conn *rpc_conn_new(
    uv_loop_t *loop, const struct rpc_transport *t, const struct rpc_handler *handler, void *ctx)
{
    struct rpc_conn *c = xcalloc(1, sizeof *c);
    c->loop = loop;
    c->transport = t;
    c->fd = -1;
    c->answer_fd = -1;
    c->handler = handler;
    c->ctx = ctx;
    c->in.max = RPC_HELLO_MAX;
    c->frame_max = RPC_FRAME_MAX;
    c->out_tail = &c->out;
    c->open_parts = 2;
    ASSERT(uv_timer_init(loop, &c->timer) == 0);
    c->timer.data = c;
    return c;
}

void rpc_conn_free_early(uv_handle_t *timer)
{
    free(timer->data);
}

void rpc_conn_hello(struct rpc_conn *c, const char *name)
{
    struct err e;
    int r = rpc_conn_send(c, rpc_msg_hello(name), -1, &e);
    (void)r; /* a hello is small */
    rpc_conn_hello_timeout(c, RPC_HELLO_TIMEOUT_MS);
}

void rpc_conn_hello_timeout(struct rpc_conn *c, uint64_t timeout_ms)
{
    if (c->protocol)
        return;
    c->hello_at_ms = timeout_ms ? rpc_conn_now(c) + timeout_ms : 0;
    if (c->hello_at_ms)
        rpc_conn_arm(c, c->hello_at_ms);
}

int rpc_conn_send(struct rpc_conn *c, json_t *msg, int fd, struct err *e)
{
    _cleanup_json_ json_t *owned = msg;
    _cleanup_close_ int owned_fd = fd;
    if (c->ending)
        return 0;
    if (fd >= 0)
        json_object_set_new(msg, "fd", json_true());
    struct rpc_out *o = xcalloc(1, sizeof *o);
    o->fd = -1;
    int r = rpc_frame_add(&o->data, msg, e);
    if (r < 0) {
        rpc_out_free(o);
        return r;
    }
    o->fd = util_steal_fd(&owned_fd);
    *c->out_tail = o;
    c->out_tail = &o->next;
    c->out_bytes += o->data.len;
    size_t backlog = rpc_conn_backlog(c);
    c->was_high |= backlog > RPC_BACKLOG_HIGH;
    if (backlog > RPC_QUEUE_MAX)
        rpc_conn_end(c, ERR_LIMIT, "%zu bytes unsent: the other end does not read", backlog);
    else
        c->transport->kick(c);
    return 0;
}

void rpc_conn_sent(struct rpc_conn *c)
{
    if (!c->was_high || c->ending || rpc_conn_backlog(c) > RPC_BACKLOG_LOW)
        return;
    c->was_high = false;
    rpc_reqs_drained(c);
    if (!c->ending && c->handler->drained)
        c->handler->drained(c->ctx, c);
}

static void take_hello(struct rpc_conn *c, const struct rpc_msg *m)
{
    struct err e;
    if (m->kind != RPC_HELLO) {
        rpc_conn_end(c, ERR_PROTOCOL, "the first message is no hello");
        return;
    }
    int version = rpc_msg_agree(m, &e);
    if (version < 0) {
        rpc_conn_end(c, e.code, "%s", e.message);
        err_fix(&c->why, "%s", e.fix);
        return;
    }
    str_copy(c->peer_name, sizeof c->peer_name, m->name);
    c->protocol = version;
    c->hello_at_ms = 0;
    c->in.max = c->frame_max;
    if (c->handler->ready)
        c->handler->ready(c->ctx, c);
}

static int claim_fd(struct rpc_conn *c)
{
    if (!c->n_fds) {
        rpc_conn_end(c, ERR_PROTOCOL, "a message speaks of a descriptor that did not come");
        return -1;
    }
    int fd = c->fds[0];
    c->n_fds--;
    memmove(c->fds, c->fds + 1, c->n_fds * sizeof *c->fds);
    return fd;
}

static void take_frame(struct rpc_conn *c, const char *text, size_t len)
{
    struct err e;
    struct rpc_msg m;
    _cleanup_json_ json_t *root = NULL;
    if (json_parse(text, len, &root, &e) < 0 || rpc_msg_parse(root, &m, &e) < 0) {
        rpc_conn_end(c, ERR_PROTOCOL, "%s", e.message);
        return;
    }
    int fd = m.has_fd ? claim_fd(c) : -1;
    if (c->ending)
        return;
    if (c->protocol && m.kind != RPC_HELLO) {
        rpc_calls_message(c, &m, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (c->protocol)
        rpc_conn_end(c, ERR_PROTOCOL, "a second hello");
    else
        take_hello(c, &m);
}

void rpc_conn_arrived(struct rpc_conn *c)
{
    struct err e;
    while (!c->ending) {
        const char *text;
        size_t len;
        int r = rpc_in_next(&c->in, &text, &len, &e);
        if (r == 0)
            return;
        if (r < 0)
            rpc_conn_end(c, r, "%s", e.message);
        else
            take_frame(c, text, len);
    }
}

bool rpc_conn_add_fd(struct rpc_conn *c, int fd)
{
    if (c->n_fds < RPC_FDS_MAX) {
        c->fds[c->n_fds++] = fd;
        return true;
    }
    close(fd);
    rpc_conn_end(
        c, ERR_PROTOCOL, "more than %u descriptors that no message speaks of", RPC_FDS_MAX);
    return false;
}

static void finish(struct rpc_conn *c)
{
    rpc_calls_end(c);
    while (c->out)
        rpc_out_free(rpc_conn_shift(c));
    while (c->n_fds)
        close(c->fds[--c->n_fds]);
    rpc_in_done(&c->in);
    if (c->handler->closed)
        c->handler->closed(c->ctx, c, &c->why);
    c->dead = true;
    if (!c->reqs) /* else the last rpc_reply() frees it */
        free(c);
}

void rpc_conn_gone(struct rpc_conn *c)
{
    ASSERT(c->ending && c->open_parts);
    if (--c->open_parts == 0)
        finish(c);
}

static void on_timer_closed(uv_handle_t *h)
{
    rpc_conn_gone(h->data);
}

void rpc_conn_end(struct rpc_conn *c, int code, const char *fmt, ...)
{
    if (c->ending)
        return;
    c->ending = true;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&c->why, code, "%s", text);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    c->transport->end(c);
}

void rpc_conn_frame_max(struct rpc_conn *c, size_t bytes)
{
    c->frame_max = bytes;
    if (c->protocol)
        c->in.max = bytes;
}

void rpc_conn_close(struct rpc_conn *c)
{
    rpc_conn_end(c, ERR_CANCELED, "closed by this end");
}

void *rpc_conn_ctx(struct rpc_conn *c)
{
    return c->ctx;
}

const char *rpc_conn_peer_name(struct rpc_conn *c)
{
    return c->peer_name;
}

int rpc_conn_protocol(struct rpc_conn *c)
{
    return c->protocol;
}

int rpc_conn_peer_uid(struct rpc_conn *c, uid_t *ret, struct err *e)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (c->fd < 0)
        return err_set(e, ERR_INVALID, "not a Unix connection");
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return err_errno(e, errno, "peer credentials");
    *ret = cred.uid;
    return 0;
}
