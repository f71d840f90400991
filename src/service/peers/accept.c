/* SPDX-License-Identifier: Apache-2.0 */
/* Links that other controls dialled to us. Bounded in number; nothing is heard before the
 * certificate has named the host. */
#include "service/peers/priv.h"

#include "base/str/str.h"

#include <sys/socket.h>

/* a dead link and its successor may stand side by side for a while */
#define INCOMING_MAX (2 * PEERS_MAX)
#define ACCEPT_BATCH 16

static void drop(struct incoming *in)
{
    struct peers *p = in->owner;
    if (in->prev)
        in->prev->next = in->next;
    else
        p->incoming = in->next;
    if (in->next)
        in->next->prev = in->prev;
    p->n_incoming--;
    free(in);
    peers_unref(p);
}

static void on_ready(void *ctx, struct rpc_conn *c)
{
    struct incoming *in = ctx;
    const char *id = tls_stream_peer_id(in->stream);
    struct peers *p = in->owner;
    if (!peers_host_of_id(p->platform, id, in->host, sizeof in->host)) {
        err_set(&in->why, ERR_DENIED, "%s is no host of %s", id, p->platform);
    } else if (p->handler.admits && !p->handler.admits(p->ctx, in->host)) {
        err_set(&in->why, ERR_DENIED, "%s was removed from the platform", in->host);
        in->host[0] = '\0';
    } else {
        return;
    }
    rpc_conn_close(c);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    struct incoming *in = ctx;
    peers_on_notify(in->owner, in->host, method, params, fd);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct incoming *in = ctx;
    peers_on_call(in->owner, in->host, req, method, params, fd);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct incoming *in = ctx;
    struct peers *p = in->owner;
    const struct err *why = in->why.code ? &in->why : e;
    if (!*in->host && why->code == ERR_DENIED && !p->closing && p->handler.refused)
        p->handler.refused(p->ctx, in->from, why);
    drop(in);
}

static void name_of(int fd, char out[IP_TEXT_SIZE])
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct ip_addr a;
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0
        && ip_from_sockaddr((struct sockaddr *)&sa, &a, NULL))
        ip_format(&a, out);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .ready = on_ready, .closed = on_closed};

static const struct tls_stream_handler no_stream_handler = {0};

static void take(struct peers *p, int fd)
{
    struct err e;
    if (p->n_incoming >= INCOMING_MAX) {
        close(fd);
        return;
    }
    peers_tune_socket(fd);
    struct incoming *in = xcalloc(1, sizeof *in);
    name_of(fd, in->from);
    in->owner = p;
    in->next = p->incoming;
    if (p->incoming)
        p->incoming->prev = in;
    p->incoming = in;
    p->n_incoming++;
    p->refs++;
    if (tls_stream_new(
            p->loop, p->server_ctx, fd, true, NULL, &no_stream_handler, NULL, &in->stream, &e)
            < 0
        || rpc_conn_new_tls(in->stream, p->name, &handler, in, &in->conn, &e) < 0)
        drop(in);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = CONTAINER_OF(poll, struct listener, poll);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        take(l->owner, fd);
    }
}

int listeners_start(struct peers *p, const int *fds, size_t n, struct err *e)
{
    p->listeners = xcalloc(n, sizeof *p->listeners);
    for (size_t i = 0; i < n; i++) {
        struct listener *l = &p->listeners[i];
        *l = (struct listener){.owner = p, .fd = fds[i]};
        int r = uv_poll_init(p->loop, &l->poll, l->fd);
        if (r < 0)
            return err_set(e, ERR_SYSTEM, "watch a listening socket: %s", uv_strerror(r));
        uv_poll_start(&l->poll, UV_READABLE, on_readable);
        p->n_listeners++;
        p->refs++;
    }
    return 0;
}

static void on_listener_closed(uv_handle_t *h)
{
    peers_unref(CONTAINER_OF(h, struct listener, poll)->owner);
}

void listeners_stop(struct peers *p)
{
    for (size_t i = 0; i < p->n_listeners; i++)
        uv_close((uv_handle_t *)&p->listeners[i].poll, on_listener_closed);
    p->n_listeners = 0;
}

void peers_expel(struct peers *p, const char *host)
{
    for (struct incoming *in = p->incoming, *next; in; in = next) {
        next = in->next;
        if (in->conn && !strcmp(in->host, host))
            rpc_conn_close(in->conn);
    }
}

void incoming_stop_all(struct peers *p)
{
    for (struct incoming *in = p->incoming, *next; in; in = next) {
        next = in->next;
        if (in->conn)
            rpc_conn_close(in->conn);
    }
}
