/* SPDX-License-Identifier: Apache-2.0 */
/* One outgoing link: connect, TLS, hello, up; whatever ends it dials again after a back-off. */
#include "service/peers/priv.h"

#include "base/str/str.h"

#include <errno.h>

#define CONNECT_TIMEOUT_MS 2000u
#define RETRY_MIN_MS 250u
#define RETRY_MAX_MS 2000u /* a healed region is heard again within one probe interval */

static void dial(struct link *l);

static void on_handle_closed(uv_handle_t *h)
{
    struct link *l = h->data;
    if (--l->open_handles > 0 || l->conn)
        return;
    struct peers *p = l->owner;
    free(l->addresses);
    free(l);
    peers_unref(p);
}

static void on_retry(uv_timer_t *t)
{
    dial(CONTAINER_OF(t, struct link, timer));
}

static void retry_later(struct link *l)
{
    if (l->state == LINK_GONE)
        return;
    l->state = LINK_IDLE;
    l->turn++;
    uv_timer_start(&l->timer, on_retry, l->retry_ms, 0);
    l->retry_ms = MIN(l->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void on_ready(void *ctx, struct rpc_conn *c)
{
    struct link *l = ctx;
    l->state = LINK_UP;
    l->retry_ms = RETRY_MIN_MS;
    l->clock = (struct offset){0}; /* another host may answer there now */
    l->owner->handler.up(l->owner->ctx, l->host);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    struct link *l = ctx;
    peers_on_notify(l->owner, l->host, method, params, fd);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct link *l = ctx;
    peers_on_call(l->owner, l->host, req, method, params, fd);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct link *l = ctx;
    bool was_up = l->state == LINK_UP;
    l->conn = NULL;
    if (l->state == LINK_GONE) {
        l->open_handles++; /* both handles may be closed already: go through the same door */
        on_handle_closed(&(uv_handle_t){.data = l});
        return;
    }
    retry_later(l);
    if (was_up)
        l->owner->handler.down(l->owner->ctx, l->host, e);
    else if (e->code == ERR_DENIED && l->owner->handler.refused)
        l->owner->handler.refused(l->owner->ctx, l->host, e);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .ready = on_ready, .closed = on_closed};

static const struct tls_stream_handler no_stream_handler = {0};

/* Over the connected socket: TLS that must prove the host's name, then the hello. */
static void greet(struct link *l, int fd)
{
    struct peers *p = l->owner;
    struct err e;
    struct tls_stream *stream;
    _cleanup_free_ char *id = xasprintf("spiffe://%s/host/%s", p->platform, l->host);
    l->state = LINK_GREETING;
    if (tls_stream_new(p->loop, p->client_ctx, fd, false, id, &no_stream_handler, NULL, &stream, &e)
            < 0
        || rpc_conn_new_tls(stream, p->name, &handler, l, &l->conn, &e) < 0)
        retry_later(l);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
    struct link *l = CONTAINER_OF(poll, struct link, poll);
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    uv_poll_stop(poll);
    uv_timer_stop(&l->timer);
    uv_close((uv_handle_t *)poll, on_handle_closed);
    int fd = util_steal_fd(&l->fd);
    if (status < 0 || error) {
        close(fd);
        retry_later(l);
    } else {
        greet(l, fd);
    }
}

static void on_connect_timeout(uv_timer_t *t)
{
    struct link *l = CONTAINER_OF(t, struct link, timer);
    uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    close(util_steal_fd(&l->fd));
    retry_later(l);
}

static int open_socket(const struct link *l, const struct ip_addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int fd =
        socket(to->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    peers_tune_socket(fd);
    const struct ip_addr *from = &l->owner->source;
    if (from->family == to->family) {
        ip_to_sockaddr(from, 0, &sa, &len);
        (void)!bind(
            fd, (struct sockaddr *)&sa, len); /* not ours at this moment: the kernel chooses */
    }
    ip_to_sockaddr(to, PEERS_PORT, &sa, &len);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void dial(struct link *l)
{
    if (l->state == LINK_GONE)
        return;
    l->fd = open_socket(l, &l->addresses[l->turn % l->n_addresses]);
    if (l->fd < 0) {
        retry_later(l);
        return;
    }
    l->state = LINK_CONNECTING;
    ASSERT(uv_poll_init(l->owner->loop, &l->poll, l->fd) == 0);
    l->poll.data = l;
    l->open_handles++;
    uv_poll_start(&l->poll, UV_WRITABLE, on_connect);
    uv_timer_start(&l->timer, on_connect_timeout, CONNECT_TIMEOUT_MS, 0);
}

void link_start(struct link *l)
{
    uv_timer_init(l->owner->loop, &l->timer);
    l->timer.data = l;
    l->open_handles = 1;
    l->retry_ms = RETRY_MIN_MS;
    dial(l);
}

void link_stop(struct link *l)
{
    enum link_state was = l->state;
    l->state = LINK_GONE;
    if (was == LINK_CONNECTING) {
        uv_poll_stop(&l->poll);
        uv_close((uv_handle_t *)&l->poll, on_handle_closed);
        close(util_steal_fd(&l->fd));
    }
    uv_timer_stop(&l->timer);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
    if (l->conn)
        rpc_conn_close(l->conn);
}
