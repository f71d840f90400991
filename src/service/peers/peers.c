/* SPDX-License-Identifier: Apache-2.0 */
#include "service/peers/priv.h"

#include "base/str/str.h"

#include <netinet/tcp.h>

void peers_unref(struct peers *p)
{
    if (--p->refs > 0)
        return;
    SSL_CTX_free(p->client_ctx);
    SSL_CTX_free(p->server_ctx);
    free(p->listeners);
    free(p->platform);
    free(p->host);
    free(p->name);
    free(p);
}

bool peers_host_of_id(const char *platform, const char *id, char *out, size_t size)
{
    _cleanup_free_ char *prefix = xasprintf("spiffe://%s/host/", platform);
    if (!str_starts(id, prefix))
        return false;
    const char *host = id + strlen(prefix);
    return *host && !strchr(host, '/') && str_copy(out, size, host);
}

/* A peer that is cut off must be noticed: unacknowledged data and keepalives both end the
 * connection. */
void peers_tune_socket(int fd)
{
    int on = 1, idle_s = 1, interval_s = 1, count = 3;
    unsigned silence_ms = PEERS_SILENCE_MS;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int peers_set_tls(struct peers *p, const struct tls_files *f, struct err *e)
{
    SSL_CTX *client = NULL, *server = NULL;
    int r = tls_ctx_mutual_new(f, false, &client, e);
    if (r >= 0)
        r = tls_ctx_mutual_new(f, true, &server, e);
    if (r < 0) {
        SSL_CTX_free(client);
        return r;
    }
    SSL_CTX_free(p->client_ctx); /* a handshake on its way holds its own reference */
    SSL_CTX_free(p->server_ctx);
    p->client_ctx = client;
    p->server_ctx = server;
    return 0;
}

int peers_new(uv_loop_t *loop, const struct peers_config *c, const struct peers_handler *h,
    void *ctx, struct peers **ret, struct err *e)
{
    struct peers *p = xcalloc(1, sizeof *p);
    *p = (struct peers){.loop = loop, .source = c->source, .handler = *h, .ctx = ctx, .refs = 1};
    p->platform = xstrdup(c->platform);
    p->host = xstrdup(c->host);
    p->name = xasprintf("control@%s", c->host);
    peers_clock_start(p);
    int r = peers_set_tls(p, &c->tls, e);
    if (r >= 0)
        r = listeners_start(p, c->listen_fds, c->n_listen, e);
    if (r < 0) {
        peers_free(p);
        return err_wrap(e, "control mesh");
    }
    *ret = p;
    return 0;
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    p->closing = true;
    peers_set(p, NULL, 0);
    incoming_stop_all(p);
    listeners_stop(p);
    peers_clock_stop(p);
    peers_unref(p);
}

static struct link *find(const struct peers *p, const char *host)
{
    for (struct link *l = p->links; l; l = l->next)
        if (!strcmp(l->host, host))
            return l;
    return NULL;
}

static bool same_addresses(const struct link *l, const struct peers_target *t)
{
    if (l->n_addresses != t->n_addresses)
        return false;
    for (size_t i = 0; i < t->n_addresses; i++)
        if (!ip_eq(&l->addresses[i], &t->addresses[i]))
            return false;
    return true;
}

static bool wanted(const struct link *l, const struct peers_target *targets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(targets[i].host, l->host) && same_addresses(l, &targets[i]))
            return true;
    return false;
}

static void add_link(struct peers *p, const struct peers_target *t)
{
    struct link *l = xcalloc(1, sizeof *l);
    *l = (struct link){.next = p->links, .owner = p, .fd = -1, .n_addresses = t->n_addresses};
    if (!str_copy(l->host, sizeof l->host, t->host) || !t->n_addresses) {
        free(l);
        return;
    }
    l->addresses = xcalloc(t->n_addresses, sizeof *l->addresses);
    memcpy(l->addresses, t->addresses, t->n_addresses * sizeof *l->addresses);
    p->links = l;
    p->refs++;
    link_start(l);
}

void peers_set(struct peers *p, const struct peers_target *targets, size_t n)
{
    for (struct link **at = &p->links; *at;) {
        struct link *l = *at;
        if (wanted(l, targets, n)) {
            at = &l->next;
        } else {
            *at = l->next;
            link_stop(l);
        }
    }
    for (size_t i = 0; i < n && i < PEERS_MAX; i++)
        if (strcmp(targets[i].host, p->host) != 0 && !find(p, targets[i].host))
            add_link(p, &targets[i]);
}

struct rpc_conn *peers_conn(const struct peers *p, const char *host)
{
    struct link *l = find(p, host);
    return l && l->state == LINK_UP ? l->conn : NULL;
}

void peers_each(const struct peers *p,
    void (*fn)(void *ctx, const char *host, struct rpc_conn *conn), void *ctx)
{
    for (struct link *l = p->links; l; l = l->next)
        if (l->state == LINK_UP)
            fn(ctx, l->host, l->conn);
}

const struct ip_addr *peers_addresses(const struct peers *p, const char *host, size_t *ret_n)
{
    struct link *l = find(p, host);
    *ret_n = l ? l->n_addresses : 0;
    return l ? l->addresses : NULL;
}

bool peers_is_up(const struct peers *p, const char *host)
{
    return peers_conn(p, host) != NULL;
}

void peers_send(struct peers *p, const char *host, const char *method, json_t *params)
{
    struct rpc_conn *c = peers_conn(p, host);
    if (c)
        rpc_notify(c, method, params);
    else
        json_decref(params);
}

void peers_broadcast(struct peers *p, const char *method, const json_t *params)
{
    for (struct link *l = p->links; l; l = l->next)
        if (l->state == LINK_UP)
            rpc_notify(l->conn, method, json_deep_copy(params));
}

void peers_on_notify(struct peers *p, const char *host, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
    if (!p->closing && *host)
        p->handler.notify(p->ctx, host, method, params);
}

void peers_on_call(struct peers *p, const char *host, struct rpc_req *req, const char *method,
    json_t *params, int fd)
{
    struct err e;
    if (fd >= 0)
        close(fd);
    if (p->closing || !*host) {
        err_set(&e, ERR_UNAVAILABLE, "this host is going down");
        rpc_reply_error(req, &e);
        return;
    }
    if (!strcmp(method, "clock"))
        peers_clock_answer(req);
    else
        p->handler.call(p->ctx, host, req, method, params);
}
