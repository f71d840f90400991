/* SPDX-License-Identifier: Apache-2.0 */
#include "service/remote/remote.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "base/tls/tls.h"

#include <sys/socket.h>

#define ACCEPT_BATCH 16

struct remote_listener {
    struct remote *remote;
    int fd;
    uv_poll_t poll;
};

struct session {
    struct session *next, **prev;
    struct remote *remote;
    struct rpc_conn *conn;
    uv_timer_t timer; /* the time to log in */
    bool conn_gone, timer_closed, is_in;
    unsigned tries;
    struct remote_who who;
};

struct remote {
    uv_loop_t *loop;
    struct remote_config config;
    char *name, *cert, *key;
    struct remote_listener *listeners;
    size_t n_listeners;
    struct session *sessions;
    size_t n_sessions, n_strangers;
    double allowance; /* of the rate's bucket */
    uint64_t filled_ms;
    unsigned refs; /* ours, each listener's and session's */
    bool closing;
};

static void unref(struct remote *r)
{
    if (--r->refs)
        return;
    free(r->listeners);
    free(r->name);
    free(r->cert);
    free(r->key);
    free(r);
}

/* ---- sessions ---- */

static void free_if_done(struct session *s)
{
    if (!s->conn_gone || !s->timer_closed)
        return;
    struct remote *r = s->remote;
    free(s);
    unref(r);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct session *s = CONTAINER_OF(h, struct session, timer);
    s->timer_closed = true;
    free_if_done(s);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct session *s = ctx;
    s->conn_gone = true;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->remote->n_sessions--;
    s->remote->n_strangers -= !s->is_in;
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_late(uv_timer_t *t)
{
    rpc_conn_close(CONTAINER_OF(t, struct session, timer)->conn);
}

static void admit(struct session *s)
{
    s->is_in = true;
    s->remote->n_strangers--;
    uv_timer_stop(&s->timer);
    rpc_conn_frame_max(s->conn, RPC_FRAME_MAX);
}

static void log_in(struct session *s, struct rpc_req *req, const json_t *params)
{
    struct err e;
    json_t *answer = NULL;
    const struct remote_config *c = &s->remote->config;
    int r = c->login(c->ctx, json_opt_str(params, "token", ""), &s->who, &answer, &e);
    if (r >= 0) {
        admit(s);
        rpc_reply(req, answer);
        return;
    }
    rpc_reply_error(req, &e);
    if (++s->tries >= REMOTE_LOGIN_TRIES)
        rpc_conn_close(s->conn);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct session *s = ctx;
    struct err e;
    if (fd >= 0)
        close(fd);
    if (s->remote->closing) {
        err_set(&e, ERR_UNAVAILABLE, "this host's control is stopping");
        rpc_reply_error(req, &e);
    } else if (s->is_in) {
        s->remote->config.call(s->remote->config.ctx, &s->who, req, method, params);
    } else if (!strcmp(method, "login")) {
        log_in(s, req, params);
    } else {
        err_set(&e, ERR_DENIED, "log in first");
        err_fix(&e, "`mcp login ADDRESS`");
        rpc_reply_error(req, &e);
    }
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .closed = on_closed};
static const struct tls_stream_handler no_stream_handler = {0};

static bool has_room(struct remote *r)
{
    uint64_t now = clock_boot_ms();
    r->allowance += (double)(now - r->filled_ms) * REMOTE_RATE / 1000;
    r->allowance = MIN(r->allowance, (double)REMOTE_BURST);
    r->filled_ms = now;
    if (r->allowance < 1 || r->n_sessions >= REMOTE_SESSIONS_MAX
        || r->n_strangers >= REMOTE_STRANGERS_MAX)
        return false;
    r->allowance -= 1;
    return true;
}

static int greet(struct session *s, int fd, struct err *e)
{
    struct remote *r = s->remote;
    SSL_CTX *ctx;
    struct tls_stream *stream;
    int res = tls_ctx_server_new(r->cert, r->key, &ctx, e);
    if (res < 0) {
        close(fd);
        return res;
    }
    res = tls_stream_new(r->loop, ctx, fd, true, NULL, &no_stream_handler, NULL, &stream, e);
    SSL_CTX_free(ctx);
    if (res >= 0)
        res = rpc_conn_new_tls(stream, r->name, &handler, s, &s->conn, e);
    if (res >= 0)
        rpc_conn_frame_max(s->conn, REMOTE_STRANGER_FRAME);
    return res;
}

static void take(struct remote *r, int fd, const struct ip_addr *from)
{
    struct err e;
    if (!has_room(r)) {
        close(fd);
        return;
    }
    struct session *s = xcalloc(1, sizeof *s);
    s->remote = r;
    ip_format(from, s->who.from);
    if (greet(s, fd, &e) < 0) {
        free(s);
        return;
    }
    s->next = r->sessions;
    s->prev = &r->sessions;
    if (s->next)
        s->next->prev = &s->next;
    r->sessions = s;
    r->n_sessions++;
    r->n_strangers++;
    r->refs++;
    uv_timer_init(r->loop, &s->timer);
    uv_timer_start(&s->timer, on_late, REMOTE_LOGIN_MS, 0);
}

/* ---- the listeners ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct remote_listener *l = CONTAINER_OF(poll, struct remote_listener, poll);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        struct ip_addr from;
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (ip_from_sockaddr((struct sockaddr *)&sa, &from, NULL))
            take(l->remote, fd, &from);
        else
            close(fd);
    }
}

static void on_listener_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct remote_listener, poll)->remote);
}

static int listen_on(struct remote *r, struct err *e)
{
    r->listeners = xcalloc(r->config.n_listen + 1, sizeof *r->listeners);
    for (size_t i = 0; i < r->config.n_listen; i++) {
        struct remote_listener *l = &r->listeners[i];
        *l = (struct remote_listener){.remote = r, .fd = r->config.listen_fds[i]};
        int res = uv_poll_init(r->loop, &l->poll, l->fd);
        if (res < 0)
            return err_set(e, ERR_SYSTEM, "watch a listening socket: %s", uv_strerror(res));
        uv_poll_start(&l->poll, UV_READABLE, on_readable);
        r->n_listeners++;
        r->refs++;
    }
    return 0;
}

int remote_new(uv_loop_t *loop, const struct remote_config *c, struct remote **ret, struct err *e)
{
    struct remote *r = xcalloc(1, sizeof *r);
    *r = (struct remote){.loop = loop,
        .config = *c,
        .name = xstrdup(c->name),
        .cert = xstrdup(c->cert),
        .key = xstrdup(c->key),
        .allowance = REMOTE_BURST,
        .filled_ms = clock_boot_ms(),
        .refs = 1};
    int res = listen_on(r, e);
    if (res < 0) {
        remote_free(r);
        return err_wrap(e, "commands from afar");
    }
    *ret = r;
    return 0;
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    r->closing = true;
    for (size_t i = 0; i < r->n_listeners; i++)
        uv_close((uv_handle_t *)&r->listeners[i].poll, on_listener_closed);
    for (struct session *s = r->sessions; s; s = s->next)
        rpc_conn_close(s->conn);
    unref(r);
}
