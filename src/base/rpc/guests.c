/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rpc/guests.h"

#include "base/clock/clock.h"
#include "base/ip/ip.h"
#include "base/str/str.h"
#include "base/tls/tls.h"

#include <stddef.h>
#include <sys/socket.h>

#define ACCEPT_BATCH 16

struct listener {
    struct rpc_guests *guests;
    int fd;
    uv_poll_t poll;
};

struct rpc_guest {
    struct rpc_guest *next, **prev;
    struct rpc_guests *guests;
    struct rpc_conn *conn;
    uv_timer_t timer; /* its life ends */
    bool conn_gone, timer_closed, is_in;
    char from[IP_TEXT_SIZE];
    max_align_t data[]; /* the caller's */
};

struct rpc_guests {
    uv_loop_t *loop;
    struct rpc_guests_config config;
    char *name, *cert, *key;
    struct listener *listeners;
    size_t n_listeners;
    struct rpc_guest *list;
    double tokens; /* of the rate's bucket */
    uint64_t filled_ms;
    unsigned refs; /* ours, each listener's and guest's */
    bool closing;
};

static void unref(struct rpc_guests *gs)
{
    if (--gs->refs)
        return;
    free(gs->listeners);
    free(gs->name);
    free(gs->cert);
    free(gs->key);
    free(gs);
}

/* ---- one guest ---- */

static void free_if_done(struct rpc_guest *g)
{
    if (!g->conn_gone || !g->timer_closed)
        return;
    struct rpc_guests *gs = g->guests;
    free(g);
    unref(gs);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct rpc_guest *g = CONTAINER_OF(h, struct rpc_guest, timer);
    g->timer_closed = true;
    free_if_done(g);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct rpc_guest *g = ctx;
    g->conn_gone = true;
    *g->prev = g->next;
    if (g->next)
        g->next->prev = g->prev;
    uv_close((uv_handle_t *)&g->timer, on_timer_closed);
}

static void on_life_over(uv_timer_t *t)
{
    rpc_conn_close(CONTAINER_OF(t, struct rpc_guest, timer)->conn);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct rpc_guest *g = ctx;
    struct rpc_guests *gs = g->guests;
    struct err e;
    if (fd >= 0)
        close(fd);
    if (!gs->closing) {
        gs->config.call(gs->config.ctx, g, req, method, params);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "%s is stopping", gs->name);
    rpc_reply_error(req, &e);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .closed = on_closed};
static const struct tls_stream_handler no_stream_handler = {0};

void *rpc_guest_data(struct rpc_guest *g)
{
    return g->data;
}

const char *rpc_guest_from(const struct rpc_guest *g)
{
    return g->from;
}

void rpc_guest_admit(struct rpc_guest *g)
{
    g->is_in = true;
    uv_timer_stop(&g->timer);
    rpc_conn_frame_max(g->conn, RPC_FRAME_MAX);
}

void rpc_guest_close(struct rpc_guest *g)
{
    rpc_conn_close(g->conn);
}

/* ---- who comes in ---- */

static bool in_rate(struct rpc_guests *gs)
{
    const struct rpc_guests_limits *l = &gs->config.limits;
    uint64_t now = clock_boot_ms();
    gs->tokens += (double)(now - gs->filled_ms) * l->rate / 1000;
    gs->tokens = MIN(gs->tokens, (double)l->burst);
    gs->filled_ms = now;
    if (gs->tokens < 1)
        return false;
    gs->tokens -= 1;
    return true;
}

static bool has_room(const struct rpc_guests *gs, const char *from)
{
    const struct rpc_guests_limits *l = &gs->config.limits;
    unsigned all = 0, strangers = 0, same = 0;
    for (const struct rpc_guest *g = gs->list; g; g = g->next) {
        all++;
        strangers += !g->is_in;
        same += !g->is_in && str_eq(g->from, from);
    }
    return all < l->guests && strangers < l->strangers && same < l->per_address;
}

static int greet(struct rpc_guests *gs, struct rpc_guest *g, int fd, struct err *e)
{
    SSL_CTX *ctx;
    struct tls_stream *stream;
    int r = tls_ctx_server_new(gs->cert, gs->key, &ctx, e);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = tls_stream_new(gs->loop, ctx, fd, true, NULL, &no_stream_handler, NULL, &stream, e);
    SSL_CTX_free(ctx);
    if (r >= 0)
        r = rpc_conn_new_tls(stream, gs->name, &handler, g, &g->conn, e);
    if (r >= 0)
        rpc_conn_frame_max(g->conn, gs->config.limits.frame);
    return r;
}

static void take(struct rpc_guests *gs, int fd, const char *from)
{
    struct err e;
    if (!in_rate(gs) || !has_room(gs, from)) {
        close(fd);
        return;
    }
    struct rpc_guest *g = xcalloc(1, sizeof *g + gs->config.data_size);
    g->guests = gs;
    str_copy(g->from, sizeof g->from, from);
    if (greet(gs, g, fd, &e) < 0) {
        free(g);
        return;
    }
    g->next = gs->list;
    g->prev = &gs->list;
    if (g->next)
        g->next->prev = &g->next;
    gs->list = g;
    gs->refs++;
    uv_timer_init(gs->loop, &g->timer);
    uv_timer_start(&g->timer, on_life_over, gs->config.limits.life_ms, 0);
}

/* ---- the listeners ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = CONTAINER_OF(poll, struct listener, poll);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        struct ip_addr from;
        char text[IP_TEXT_SIZE];
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (!ip_from_sockaddr((struct sockaddr *)&sa, &from, NULL)) {
            close(fd);
            continue;
        }
        ip_format(&from, text);
        take(l->guests, fd, text);
    }
}

static void on_listener_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct listener, poll)->guests);
}

static int listen_on(struct rpc_guests *gs, struct err *e)
{
    gs->listeners = xcalloc(gs->config.n_listen + 1, sizeof *gs->listeners);
    for (size_t i = 0; i < gs->config.n_listen; i++) {
        struct listener *l = &gs->listeners[i];
        *l = (struct listener){.guests = gs, .fd = gs->config.listen_fds[i]};
        int r = uv_poll_init(gs->loop, &l->poll, l->fd);
        if (r < 0)
            return err_set(e, ERR_SYSTEM, "watch a listening socket: %s", uv_strerror(r));
        uv_poll_start(&l->poll, UV_READABLE, on_readable);
        gs->n_listeners++;
        gs->refs++;
    }
    return 0;
}

int rpc_guests_new(uv_loop_t *loop, const struct rpc_guests_config *c, struct rpc_guests **ret,
    struct err *e)
{
    struct rpc_guests *gs = xcalloc(1, sizeof *gs);
    *gs = (struct rpc_guests){.loop = loop,
        .config = *c,
        .name = xstrdup(c->name),
        .cert = xstrdup(c->cert),
        .key = xstrdup(c->key),
        .tokens = c->limits.burst,
        .filled_ms = clock_boot_ms(),
        .refs = 1};
    int r = listen_on(gs, e);
    if (r < 0) {
        rpc_guests_free(gs);
        return r;
    }
    *ret = gs;
    return 0;
}

void rpc_guests_free(struct rpc_guests *gs)
{
    if (!gs)
        return;
    gs->closing = true;
    for (size_t i = 0; i < gs->n_listeners; i++)
        uv_close((uv_handle_t *)&gs->listeners[i].poll, on_listener_closed);
    for (struct rpc_guest *g = gs->list; g; g = g->next)
        rpc_conn_close(g->conn);
    unref(gs);
}
