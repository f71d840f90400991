/* SPDX-License-Identifier: Apache-2.0 */
/* Is one's own network alive: does a reference accept a TCP connection. */
#include "net/probe/priv.h"

#include "base/str/str.h"

struct reach {
    struct prober *owner; /* NULL once canceled */
    struct reach *next;
    probe_reach_fn done;
    void *ctx;
    uv_getaddrinfo_t lookup;
    uv_timer_t timer;
    uv_tcp_t tcp;
    uv_connect_t connect;
    int open; /* handles and requests that still call back */
};

static void release(struct reach *r)
{
    if (--r->open == 0)
        free(r);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static void detach(struct reach *r)
{
    for (struct reach **at = &r->owner->reaches; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    r->owner = NULL;
    uv_cancel((uv_req_t *)&r->lookup);
    uv_close((uv_handle_t *)&r->timer, on_closed);
    uv_close((uv_handle_t *)&r->tcp, on_closed);
}

static void finish(struct reach *r, bool reached)
{
    if (!r->owner)
        return;
    detach(r);
    r->done(r->ctx, reached);
}

void probe_reach_cancel_all(struct prober *p)
{
    while (p->reaches)
        detach(p->reaches);
}

static void on_timeout(uv_timer_t *t)
{
    finish(t->data, false);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct reach *r = req->data;
    finish(r, status == 0);
    release(r);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *info)
{
    struct reach *r = req->data;
    if (r->owner) {
        r->connect.data = r;
        if (status == 0 && uv_tcp_connect(&r->connect, &r->tcp, info->ai_addr, on_connect) == 0)
            r->open++;
        else
            finish(r, false);
    }
    uv_freeaddrinfo(info);
    release(r);
}

/* "host:port" or "[address]:port" into its two halves. */
static bool split(const char *endpoint, char *host, size_t size, const char **ret_port)
{
    const char *colon = strrchr(endpoint, ':');
    if (!colon || colon == endpoint || !colon[1])
        return false;
    size_t len = (size_t)(colon - endpoint);
    if (endpoint[0] == '[' && len >= 2 && endpoint[len - 1] == ']') {
        endpoint++;
        len -= 2;
    }
    if (len == 0 || len >= size)
        return false;
    memcpy(host, endpoint, len);
    host[len] = '\0';
    *ret_port = colon + 1;
    return true;
}

void prober_reach(
    struct prober *p, const char *endpoint, unsigned timeout_ms, probe_reach_fn done, void *ctx)
{
    struct reach *r = xcalloc(1, sizeof *r);
    *r = (struct reach){.owner = p, .next = p->reaches, .done = done, .ctx = ctx, .open = 2};
    p->reaches = r;
    uv_timer_init(p->loop, &r->timer);
    uv_tcp_init(p->loop, &r->tcp);
    r->timer.data = r->tcp.data = r->lookup.data = r;
    char host[256];
    const char *port;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    if (split(endpoint, host, sizeof host, &port)
        && uv_getaddrinfo(p->loop, &r->lookup, on_lookup, host, port, &hints) == 0) {
        r->open++;
        uv_timer_start(&r->timer, on_timeout, timeout_ms, 0);
    } else {
        uv_timer_start(&r->timer, on_timeout, 0, 0); /* never from inside the call */
    }
}
