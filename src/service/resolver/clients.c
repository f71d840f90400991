/* SPDX-License-Identifier: Apache-2.0 */
/* Clients over TCP: few, pipelined, each with a limit of questions under way; answers go out as
 * they come. */
#include "service/resolver/priv.h"

#include <errno.h>
#include <fcntl.h>

struct tcp_listener {
    struct resolver *r;
    uv_tcp_t handle;
};

struct client {
    struct resolver *r;
    struct client *next, **at;
    uv_tcp_t handle;
    uv_timer_t idle;
    unsigned handles_open;
    bool closing;
    struct sockaddr_storage addr;
    struct ip_addr ip;
    unsigned under_way;
    size_t in_len;
    uint8_t in[2 + RESOLVER_QUERY_MAX];
};

struct out {
    uv_write_t write;
    struct client *c;
    uint8_t bytes[];
};

static void on_client_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    if (--c->handles_open == 0)
        free(c);
}

static void client_close(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    c->r->n_clients--;
    resolver_flights_forget(c->r->flights, c);
    uv_close((uv_handle_t *)&c->handle, on_client_closed);
    uv_close((uv_handle_t *)&c->idle, on_client_closed);
}

static void on_idle(uv_timer_t *t)
{
    client_close(t->data);
}

static void on_written(uv_write_t *w, int status)
{
    struct out *o = CONTAINER_OF(w, struct out, write);
    if (status < 0 && !o->c->closing)
        client_close(o->c);
    free(o);
}

static void send_answer(struct client *c, const uint8_t *msg, size_t len)
{
    if (c->closing || !len)
        return;
    struct out *o = xmalloc(sizeof *o + 2 + len);
    uv_buf_t buf = uv_buf_init((char *)o->bytes, (unsigned)(2 + len));
    o->c = c;
    dns_put16(o->bytes, (unsigned)len);
    memcpy(o->bytes + 2, msg, len);
    if (uv_write(&o->write, (uv_stream_t *)&c->handle, &buf, 1, on_written) < 0) {
        free(o);
        client_close(c);
    }
}

static bool pause_reading(const struct client *c)
{
    return c->under_way >= RESOLVER_CONN_FLIGHTS_MAX
           || uv_stream_get_write_queue_size((const uv_stream_t *)&c->handle) > DNS_MESSAGE_MAX;
}

/* Every whole question that has arrived, up to the connection's share. */
static void take_all(struct client *c)
{
    static uint8_t out[RESOLVER_TCP_ANSWER_MAX]; /* one thread */
    size_t at = 0;
    while (!c->closing && !pause_reading(c) && c->in_len - at >= 2) {
        size_t len = dns_get16(c->in + at);
        if (len > RESOLVER_QUERY_MAX) {
            client_close(c);
            return;
        }
        if (c->in_len - at - 2 < len)
            break;
        struct asker a = {.addr = c->addr, .ip = c->ip, .socket = c, .tcp = true};
        uv_timer_again(&c->idle);
        c->under_way++;
        size_t n = resolver_take(c->r, &a, c->in + at + 2, len, out, sizeof out);
        if (n) {
            c->under_way--;
            send_answer(c, out, n);
        }
        at += 2 + len;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void alloc_rest(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct client *c = h->data;
    *buf = uv_buf_init((char *)c->in + c->in_len, (unsigned)(sizeof c->in - c->in_len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = s->data;
    if (n == UV_ENOBUFS) { /* full with questions that wait for their turn: read on when one is
                              answered */
        uv_read_stop(s);
        return;
    }
    if (n == UV_EOF && c->under_way) { /* asked all it wanted; the answers are still awaited */
        uv_read_stop(s);
        return;
    }
    if (n < 0) {
        client_close(c);
        return;
    }
    c->in_len += (size_t)n;
    take_all(c);
}

void resolver_client_send(void *client, const uint8_t *msg, size_t len)
{
    struct client *c = client;
    c->under_way--;
    send_answer(c, msg, len);
    if (!c->closing)
        take_all(c);
    if (!c->closing)
        uv_read_start((uv_stream_t *)&c->handle, alloc_rest, on_read);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct tcp_listener *l = CONTAINER_OF((uv_tcp_t *)s, struct tcp_listener, handle);
    struct resolver *r = l->r;
    if (status < 0)
        return;
    struct client *c = xcalloc(1, sizeof *c);
    int addr_len = sizeof c->addr;
    c->r = r;
    uv_tcp_init(r->o.loop, &c->handle);
    uv_timer_init(r->o.loop, &c->idle);
    c->handle.data = c->idle.data = c;
    c->handles_open = 2;
    c->next = r->clients;
    c->at = &r->clients;
    if (c->next)
        c->next->at = &c->next;
    r->clients = c;
    r->n_clients++;
    if (uv_accept(s, (uv_stream_t *)&c->handle) < 0
        || uv_tcp_getpeername(&c->handle, (struct sockaddr *)&c->addr, &addr_len) < 0
        || !ip_from_sockaddr((struct sockaddr *)&c->addr, &c->ip, NULL)
        || !resolver_may_ask(r, &c->ip) || r->n_clients > RESOLVER_CONNS_MAX) {
        client_close(c);
        return;
    }
    uv_timer_start(&c->idle, on_idle, RESOLVER_CONN_IDLE_MS, RESOLVER_CONN_IDLE_MS);
    uv_read_start((uv_stream_t *)&c->handle, alloc_rest, on_read);
}

int resolver_clients_listen(struct resolver *r, struct err *e)
{
    r->tcp = xcalloc(r->o.n_tcp + 1, sizeof *r->tcp);
    for (size_t i = 0; i < r->o.n_tcp; i++) {
        struct tcp_listener *l = &r->tcp[i];
        int fd = fcntl(r->o.tcp[i], F_DUPFD_CLOEXEC, 0); /* libuv closes what it is given */
        l->r = r;
        uv_tcp_init(r->o.loop, &l->handle);
        r->n_tcp++;
        int k = fd < 0 ? -errno : uv_tcp_open(&l->handle, fd);
        if (k == 0)
            k = uv_listen((uv_stream_t *)&l->handle, 128, on_connection);
        if (k < 0)
            return err_set(e, ERR_SYSTEM, "cannot listen over TCP: %s", uv_strerror(k));
    }
    return 0;
}

static void on_listener_closed(uv_handle_t *h)
{
    resolver_handle_closed(CONTAINER_OF((uv_tcp_t *)h, struct tcp_listener, handle)->r);
}

void resolver_clients_close(struct resolver *r)
{
    while (r->clients)
        client_close(r->clients);
    for (size_t i = 0; i < r->n_tcp; i++)
        uv_close((uv_handle_t *)&r->tcp[i].handle, on_listener_closed);
}
