/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/door.h"

#include "base/clock/clock.h"
#include "base/ip/ip.h"
#include "base/str/str.h"
#include "base/tls/tls.h"

#include <sys/socket.h>

#define ACCEPT_BATCH 16

struct door_listener {
    struct enrol_door *door;
    int fd;
    uv_poll_t poll;
};

struct guest { /* one connection */
    struct guest *next, **prev;
    struct enrol_door *door;
    struct rpc_conn *conn;
    uv_timer_t timer; /* its life ends */
    bool conn_gone, timer_closed;
    unsigned calls;
    char from[IP_TEXT_SIZE];
};

struct enrol_door {
    uv_loop_t *loop;
    char *name, *cert, *key;
    enrol_call_fn fn;
    void *ctx;
    struct door_listener *listeners;
    size_t n_listeners;
    struct guest *guests;
    size_t n_guests;
    double tokens; /* of the rate's bucket */
    uint64_t filled_ms;
    unsigned refs; /* ours, each listener's and guest's */
    bool closing;
};

static void unref(struct enrol_door *d)
{
    if (--d->refs)
        return;
    free(d->listeners);
    free(d->name);
    free(d->cert);
    free(d->key);
    free(d);
}

/* ---- guests ---- */

static void free_if_done(struct guest *g)
{
    if (!g->conn_gone || !g->timer_closed)
        return;
    struct enrol_door *d = g->door;
    free(g);
    unref(d);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct guest *g = CONTAINER_OF(h, struct guest, timer);
    g->timer_closed = true;
    free_if_done(g);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct guest *g = ctx;
    g->conn_gone = true;
    *g->prev = g->next;
    if (g->next)
        g->next->prev = g->prev;
    g->door->n_guests--;
    uv_close((uv_handle_t *)&g->timer, on_timer_closed);
}

static void on_life_over(uv_timer_t *t)
{
    rpc_conn_close(CONTAINER_OF(t, struct guest, timer)->conn);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct guest *g = ctx;
    struct err e;
    if (fd >= 0)
        close(fd);
    if (g->door->closing || ++g->calls > ENROL_DOOR_CALLS_MAX) {
        err_set(&e, ERR_LIMIT, "no more calls on this connection");
        rpc_reply_error(req, &e);
        return;
    }
    g->door->fn(g->door->ctx, g->from, req, method, params);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .closed = on_closed};
static const struct tls_stream_handler no_stream_handler = {0};

static bool in_rate(struct enrol_door *d)
{
    uint64_t now = clock_boot_ms();
    d->tokens += (double)(now - d->filled_ms) * ENROL_DOOR_RATE / 1000;
    d->tokens = MIN(d->tokens, (double)ENROL_DOOR_BURST);
    d->filled_ms = now;
    if (d->tokens < 1)
        return false;
    d->tokens -= 1;
    return true;
}

static bool has_room(const struct enrol_door *d, const char *from)
{
    unsigned same = 0;
    for (const struct guest *g = d->guests; g; g = g->next)
        same += !strcmp(g->from, from);
    return d->n_guests < ENROL_DOOR_CONNS_MAX && same < ENROL_DOOR_PER_ADDRESS_MAX;
}

static int greet(struct enrol_door *d, struct guest *g, int fd, struct err *e)
{
    SSL_CTX *ctx;
    struct tls_stream *stream;
    int r = tls_ctx_server_new(d->cert, d->key, &ctx, e);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = tls_stream_new(d->loop, ctx, fd, true, NULL, &no_stream_handler, NULL, &stream, e);
    SSL_CTX_free(ctx);
    if (r >= 0)
        r = rpc_conn_new_tls(stream, d->name, &handler, g, &g->conn, e);
    if (r >= 0)
        rpc_conn_frame_max(g->conn, ENROL_DOOR_FRAME_MAX);
    return r;
}

static void take(struct enrol_door *d, int fd, const char *from)
{
    struct err e;
    if (!in_rate(d) || !has_room(d, from)) {
        close(fd);
        return;
    }
    struct guest *g = xcalloc(1, sizeof *g);
    g->door = d;
    str_copy(g->from, sizeof g->from, from);
    if (greet(d, g, fd, &e) < 0) {
        free(g);
        return;
    }
    g->next = d->guests;
    g->prev = &d->guests;
    if (g->next)
        g->next->prev = &g->next;
    d->guests = g;
    d->n_guests++;
    d->refs++;
    uv_timer_init(d->loop, &g->timer);
    uv_timer_start(&g->timer, on_life_over, ENROL_DOOR_LIFE_MS, 0);
}

/* ---- the listeners ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct door_listener *l = CONTAINER_OF(poll, struct door_listener, poll);
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
        take(l->door, fd, text);
    }
}

static void on_listener_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct door_listener, poll)->door);
}

static int listen_on(struct enrol_door *d, const int *fds, size_t n, struct err *e)
{
    d->listeners = xcalloc(n ? n : 1, sizeof *d->listeners);
    for (size_t i = 0; i < n; i++) {
        struct door_listener *l = &d->listeners[i];
        *l = (struct door_listener){.door = d, .fd = fds[i]};
        int r = uv_poll_init(d->loop, &l->poll, l->fd);
        if (r < 0)
            return err_set(e, ERR_SYSTEM, "watch a listening socket: %s", uv_strerror(r));
        uv_poll_start(&l->poll, UV_READABLE, on_readable);
        d->n_listeners++;
        d->refs++;
    }
    return 0;
}

int enrol_door_new(uv_loop_t *loop, const struct enrol_door_config *c, enrol_call_fn fn, void *ctx,
    struct enrol_door **ret, struct err *e)
{
    struct enrol_door *d = xcalloc(1, sizeof *d);
    *d = (struct enrol_door){.loop = loop,
        .name = xstrdup(c->name),
        .cert = xstrdup(c->cert),
        .key = xstrdup(c->key),
        .fn = fn,
        .ctx = ctx,
        .tokens = ENROL_DOOR_BURST,
        .filled_ms = clock_boot_ms(),
        .refs = 1};
    int r = listen_on(d, c->listen_fds, c->n_listen, e);
    if (r < 0) {
        enrol_door_free(d);
        return err_wrap(e, "enrolment");
    }
    *ret = d;
    return 0;
}

void enrol_door_free(struct enrol_door *d)
{
    if (!d)
        return;
    d->closing = true;
    for (size_t i = 0; i < d->n_listeners; i++)
        uv_close((uv_handle_t *)&d->listeners[i].poll, on_listener_closed);
    for (struct guest *g = d->guests; g; g = g->next)
        rpc_conn_close(g->conn);
    unref(d);
}
