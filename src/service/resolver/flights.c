/* SPDX-License-Identifier: Apache-2.0 */
/* A question at an upstream: a socket and an id of its own for each try, so that an answer cannot
 * be guessed (RFC 5452), the next upstream when one does not answer, TCP when the answer did not
 * fit. */
#include "service/resolver/priv.h"

#include "base/rnd/rnd.h"

#include <errno.h>

struct flight {
    struct flights *flights;
    struct flight *next, **at; /* of the open ones */
    struct asker asker;
    uint8_t query[2 + RESOLVER_QUERY_MAX]; /* with a length in front, for TCP */
    size_t len;
    unsigned tries, upstream;
    uint16_t id;      /* at the upstream */
    bool tcp;         /* this try */
    bool was_cut_off; /* an upstream's UDP answer said so */
    union {
        uv_handle_t handle;
        uv_udp_t udp;
        uv_tcp_t stream;
    };
    bool handle_open, retry_when_closed, over;
    uv_timer_t timer;
    bool timer_open;
    uv_connect_t connect;
    uv_write_t write;
    uint8_t *in; /* TCP answer, with its length in front */
    size_t in_len;
};

struct flights {
    uv_loop_t *loop;
    uint16_t port;
    unsigned try_ms;
    struct metric_set *metrics;
    flight_done_fn done;
    void *ctx;
    struct ip_addr upstreams[RESOLVER_UPSTREAMS_MAX];
    size_t n_upstreams;
    unsigned next_upstream;
    struct flight *open;
    size_t n_open;
    uint8_t buf[DNS_MESSAGE_MAX + 2]; /* what a read fills */
};

static void try_next(struct flight *f);
static void begin_try(struct flight *f);

/* --- the end of a flight --- */

static void free_if_closed(struct flight *f)
{
    if (f->handle_open || f->timer_open)
        return;
    free(f->in);
    free(f);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct flight *f = CONTAINER_OF((uv_timer_t *)h, struct flight, timer);
    f->timer_open = false;
    free_if_closed(f);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct flight *f = CONTAINER_OF(h, struct flight, handle);
    f->handle_open = false;
    if (f->over)
        free_if_closed(f);
    else if (f->retry_when_closed)
        begin_try(f);
}

static void close_handle(struct flight *f)
{
    if (f->handle_open && !uv_is_closing(&f->handle))
        uv_close(&f->handle, on_handle_closed);
}

static void end(struct flight *f)
{
    if (f->over)
        return;
    f->over = true;
    *f->at = f->next;
    if (f->next)
        f->next->at = f->at;
    f->flights->n_open--;
    close_handle(f);
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}

static void deliver(struct flight *f, const uint8_t *msg, size_t len)
{
    struct dns_query q;
    dns_query_parse(f->query + 2, f->len, &q);
    q.id = f->asker.id;
    f->flights->done(f->flights->ctx, &f->asker, &q, f->query + 2, msg, len, f->was_cut_off);
    end(f);
}

/* --- what comes back --- */

/* Is it the answer to this try's question? Anything else is a forgery or a straggler. */
static bool is_answer(const struct flight *f, const uint8_t *msg, size_t len)
{
    struct dns_query q;
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    if (len < DNS_HEADER_SIZE || dns_get16(msg) != f->id || !(dns_get16(msg + 2) & DNS_QR)
        || dns_query_parse(f->query + 2, f->len, &q) != DNS_PARSE_OK)
        return false;
    return dns_walk_init(&w, msg, len) && w.left[DNS_QUESTION] == 1
           && dns_walk_next(&w, &rr, &section) == 1 && rr.type == q.type
           && rr.class == q.class && dns_name_eq(rr.name, rr.name_size, q.name, q.name_size);
}

static void take_answer(struct flight *f, const uint8_t *msg, size_t len)
{
    unsigned flags = dns_get16(msg + 2), rcode = flags & DNS_RCODE;
    bool tries_left = f->tries < RESOLVER_TRIES;
    if (!f->tcp && flags & DNS_TC) {
        f->was_cut_off = true;
        f->tcp = true;
        f->retry_when_closed = true; /* the same upstream */
        uv_timer_stop(&f->timer);
        close_handle(f);
    } else if ((rcode == DNS_SERVFAIL || rcode == DNS_REFUSED) && tries_left
               && f->flights->n_upstreams > 1) {
        try_next(f);
    } else {
        f->was_cut_off = false;
        f->flights->next_upstream = f->upstream; /* later questions begin with one that answers */
        deliver(f, msg, len);
    }
}

static void alloc_shared(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct flight *f = CONTAINER_OF(h, struct flight, handle);
    *buf = uv_buf_init((char *)f->flights->buf, sizeof f->flights->buf);
}

static void on_udp(
    uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    struct flight *f = CONTAINER_OF(h, struct flight, udp);
    if (f->over || uv_is_closing(&f->handle))
        return;
    if (n < 0)
        try_next(f); /* nobody listens there */
    else if (n > 0 && !(flags & UV_UDP_PARTIAL)
             && is_answer(f, (const uint8_t *)buf->base, (size_t)n))
        take_answer(f, (const uint8_t *)buf->base, (size_t)n);
}

static void on_tcp(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    struct flight *f = CONTAINER_OF((uv_tcp_t *)h, struct flight, stream);
    if (f->over || uv_is_closing(&f->handle))
        return;
    if (n < 0 || f->in_len + (size_t)n > DNS_MESSAGE_MAX + 2) {
        try_next(f);
        return;
    }
    if (!f->in)
        f->in = xmalloc(DNS_MESSAGE_MAX + 2);
    memcpy(f->in + f->in_len, buf->base, (size_t)n);
    f->in_len += (size_t)n;
    if (f->in_len < 2 || f->in_len - 2 < dns_get16(f->in))
        return;
    size_t len = dns_get16(f->in);
    if (is_answer(f, f->in + 2, len))
        take_answer(f, f->in + 2, len);
    else
        try_next(f);
}

/* --- tries --- */

static void on_timeout(uv_timer_t *t)
{
    struct flight *f = CONTAINER_OF(t, struct flight, timer);
    metric_add(f->flights->metrics, RESOLVER_M_TIMEOUTS, 1);
    try_next(f);
}

static void try_next(struct flight *f)
{
    if (f->tries >= RESOLVER_TRIES || !f->flights->n_upstreams) {
        deliver(f, NULL, 0);
        return;
    }
    f->upstream++;
    f->tcp = f->asker.tcp;
    f->retry_when_closed = true;
    uv_timer_stop(&f->timer);
    if (f->handle_open)
        close_handle(f);
    else
        begin_try(f);
}

static void on_written(uv_write_t *w, int status)
{
}

static void on_connected(uv_connect_t *c, int status)
{
    struct flight *f = CONTAINER_OF(c, struct flight, connect);
    if (f->over || uv_is_closing(&f->handle))
        return;
    uv_buf_t buf = uv_buf_init((char *)f->query, (unsigned)f->len + 2);
    if (status < 0 || uv_read_start((uv_stream_t *)&f->stream, alloc_shared, on_tcp) < 0
        || uv_write(&f->write, (uv_stream_t *)&f->stream, &buf, 1, on_written) < 0)
        try_next(f);
}

static int start_udp(struct flight *f, const struct sockaddr *to)
{
    uv_buf_t buf = uv_buf_init((char *)f->query + 2, (unsigned)f->len);
    int r = uv_udp_init(f->flights->loop, &f->udp);
    f->handle_open = r == 0;
    if (r == 0)
        r = uv_udp_connect(
            &f->udp, to); /* the kernel takes a random port, and drops what others send */
    if (r == 0)
        r = uv_udp_recv_start(&f->udp, alloc_shared, on_udp);
    if (r == 0)
        r = uv_udp_try_send(&f->udp, &buf, 1, NULL);
    return r < 0 ? r : 0;
}

static int start_tcp(struct flight *f, const struct sockaddr *to)
{
    int r = uv_tcp_init(f->flights->loop, &f->stream);
    f->handle_open = r == 0;
    f->in_len = 0;
    return r == 0 ? uv_tcp_connect(&f->connect, &f->stream, to, on_connected) : r;
}

static void begin_try(struct flight *f)
{
    struct flights *all = f->flights;
    struct sockaddr_storage to;
    socklen_t to_len;
    f->retry_when_closed = false;
    if (!all->n_upstreams) {
        deliver(f, NULL, 0);
        return;
    }
    f->tries++;
    ip_to_sockaddr(&all->upstreams[f->upstream % all->n_upstreams], all->port, &to, &to_len);
    rnd_bytes(&f->id, sizeof f->id);
    dns_put16(f->query, (unsigned)f->len);
    dns_put16(f->query + 2, f->id);
    uv_timer_start(&f->timer, on_timeout, all->try_ms, 0);
    int r = f->tcp ? start_tcp(f, (struct sockaddr *)&to) : start_udp(f, (struct sockaddr *)&to);
    if (r < 0)
        uv_timer_start(
            &f->timer, on_timeout, 0, 0); /* from the loop: a chain of failures must not nest */
}

/* --- calls --- */

static bool same_asker(const struct asker *a, const struct asker *b)
{
    return a->tcp == b->tcp && a->id == b->id && a->socket == b->socket
           && (a->tcp || !memcmp(&a->addr, &b->addr, sizeof a->addr));
}

bool resolver_flights_start(
    struct flights *all, const struct asker *a, const uint8_t *query, size_t len)
{
    size_t of_client = 0;
    for (struct flight *f = all->open; f; f = f->next) {
        of_client += ip_eq(&f->asker.ip, &a->ip);
        if (same_asker(&f->asker, a) && f->len == len && !memcmp(f->query + 4, query + 2, len - 2))
            return true;
    }
    if (!all->n_upstreams || all->n_open >= RESOLVER_FLIGHTS_MAX
        || of_client >= RESOLVER_CLIENT_FLIGHTS_MAX || len > RESOLVER_QUERY_MAX)
        return false;
    struct flight *f = xcalloc(1, sizeof *f);
    f->flights = all;
    f->asker = *a;
    f->len = len;
    memcpy(f->query + 2, query, len);
    f->upstream = all->next_upstream;
    f->tcp = a->tcp;
    f->next = all->open;
    f->at = &all->open;
    if (f->next)
        f->next->at = &f->next;
    all->open = f;
    all->n_open++;
    uv_timer_init(all->loop, &f->timer);
    f->timer_open = true;
    begin_try(f);
    return true;
}

void resolver_flights_forget(struct flights *all, const void *socket)
{
    for (struct flight *f = all->open, *next; f; f = next) {
        next = f->next;
        if (f->asker.socket == socket)
            end(f);
    }
}

void resolver_flights_set_upstreams(struct flights *f, const struct ip_addr *v, size_t n)
{
    f->n_upstreams = MIN(n, (size_t)RESOLVER_UPSTREAMS_MAX);
    if (f->n_upstreams)
        memcpy(f->upstreams, v, f->n_upstreams * sizeof *v);
}

struct flights *resolver_flights_new(uv_loop_t *loop, uint16_t port, unsigned try_ms,
    struct metric_set *metrics, flight_done_fn done, void *ctx)
{
    struct flights *f = xcalloc(1, sizeof *f);
    f->loop = loop;
    f->port = port ? port : 53;
    f->try_ms = try_ms ? try_ms : 1000;
    f->metrics = metrics;
    f->done = done;
    f->ctx = ctx;
    return f;
}

void resolver_flights_free(struct flights *f)
{
    while (f->open)
        end(f->open);
    free(f);
}
