/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Client connections: handshake, heads, one transaction after the other. */
#include "net/http/priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define LINGER_BYTES_MAX (1024u * 1024)

static void on_conn(struct source *source, uint32_t events)
{
    struct conn *c = CONTAINER_OF(source, struct conn, s.source);
    if (c->state == CONN_DEAD)
        return;
    http_stream_events(&c->s, events);
    /* gone both ways; a client that only stopped sending is still there */
    if (events & (EPOLLERR | EPOLLHUP))
        c->s.broken = true;
    http_conn_run(c);
}

static void on_conn_timeout(struct timer *timer, enum timer_kind kind)
{
    struct conn *c = CONTAINER_OF(timer, struct conn, timer);
    if (kind == TIMER_HANDSHAKE)
        http_stat_add(c->t, HTTP_STAT_HANDSHAKE_FAILURES, 1);
    if (c->parent)
        http_h2_stream_timeout(c);
    else if (c->h2 && kind == TIMER_IDLE)
        http_h2_idle(c);
    else
        http_conn_close(c, false);
}

struct conn *http_conn_new(struct thread *t)
{
    struct conn *c = t->free_conns;
    if (c)
        t->free_conns = c->next;
    else
        c = xmalloc(sizeof *c);
    *c = (struct conn){.t = t, .tls_version = ""};
    c->s.source.ready = on_conn;
    c->timer.fire = on_conn_timeout;
    return c;
}

static void link_conn(struct conn *c)
{
    struct thread *t = c->t;
    c->prev = t->conns.prev;
    c->next = &t->conns;
    t->conns.prev->next = c;
    t->conns.prev = c;
    t->n_conns++;
}

static void unlink_conn(struct conn *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->t->n_conns--;
}

static struct conn *conn_get(struct thread *t)
{
    struct conn *c = http_conn_new(t);
    link_conn(c);
    http_stat_add(t, HTTP_STAT_OPEN, 1);
    return c;
}

/* Among the others, so that a drain waits for it and ends it. */
struct conn *http_conn_sink(struct thread *t)
{
    if (t->draining || t->n_sinks == SINKS_PER_THREAD)
        return NULL;
    struct conn *c = http_conn_new(t);
    link_conn(c);
    t->n_sinks++;
    c->s.fd = -1;
    c->s.sink = true;
    c->state = CONN_BUSY;
    return c;
}

void http_conn_sink_end(struct conn *c)
{
    http_stream_close(c->t, &c->s);
    unlink_conn(c);
    c->t->n_sinks--;
    http_conn_forget(c);
}

static void set_client(struct conn *c, const struct sockaddr *from)
{
    struct ip_addr addr;
    uint16_t port;
    if (ip_from_sockaddr(from, &addr, &port))
        ip_format(&addr, c->client);
    c->client_len = (uint8_t)strlen(c->client);
}

void http_conn_accept(struct thread *t, int fd, const struct sockaddr *from, bool tls)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    http_stat_add(t, HTTP_STAT_ACCEPTED, 1);
    struct conn *c = conn_get(t);
    set_client(c, from);
    c->state = tls ? CONN_HANDSHAKE : CONN_HEAD;
    if (tls) {
        SSL *ssl = SSL_new(t->server->front);
        ASSERT(ssl);
        SSL_set_app_data(ssl, c);
        SSL_set_accept_state(ssl);
        http_stream_tls(&c->s, ssl);
    }
    if (http_stream_open(t, &c->s, fd) < 0) {
        http_conn_close(c, true);
        return;
    }
    http_timer_set(t, &c->timer, tls ? TIMER_HANDSHAKE : TIMER_HEAD);
}

void http_conn_forget(struct conn *c)
{
    http_timer_unset(&c->timer);
    c->state = CONN_DEAD;
    if (!c->in_again) { /* an event of this round may still name it */
        c->next = c->t->dead;
        c->t->dead = c;
    }
}

void http_conn_close(struct conn *c, bool reset)
{
    struct thread *t = c->t;
    ASSERT(c->state != CONN_DEAD && !c->tx);
    if (c->h2)
        http_h2_done(c);
    if (reset) {
        struct linger now = {.l_onoff = 1};
        setsockopt(c->s.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    } else if (c->s.ssl && !c->s.broken && SSL_is_init_finished(c->s.ssl)) {
        ERR_clear_error();
        SSL_shutdown(c->s.ssl);
    }
    http_stream_close(t, &c->s);
    unlink_conn(c);
    http_stat_add(t, HTTP_STAT_OPEN, (uint64_t)-1);
    http_conn_forget(c);
}

/* Closing with unread bytes would reset the connection, and the client might lose our answer. */
void http_conn_linger(struct conn *c)
{
    if (c->s.ssl) {
        ERR_clear_error();
        SSL_shutdown(c->s.ssl);
    }
    shutdown(c->s.fd, SHUT_WR);
    http_buf_put(c->t, &c->s.in);
    c->scanned = 0; /* counts what is thrown away */
    c->state = CONN_LINGER;
    c->s.can_read = true;
    http_timer_set(c->t, &c->timer, TIMER_LINGER);
}

static void linger(struct conn *c)
{
    while (c->scanned < LINGER_BYTES_MAX) {
        /* With MSG_TRUNC, TCP throws the bytes away without copying them. */
        ssize_t n = recv(c->s.fd, NULL, LINGER_BYTES_MAX, MSG_TRUNC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            break;
        c->scanned += (size_t)n;
    }
    http_conn_close(c, false);
}

/* False: it has to wait, or is closed. */
static bool handshake(struct conn *c)
{
    struct thread *t = c->t;
    ERR_clear_error();
    int r = SSL_do_handshake(c->s.ssl);
    if (r == 1) {
        http_stat_add(t, HTTP_STAT_HANDSHAKES, 1);
        http_stat_add(t, HTTP_STAT_HANDSHAKES_RESUMED, (uint64_t)SSL_session_reused(c->s.ssl));
        c->tls_version = http_tls_version_of(c->s.ssl);
        c->state = CONN_HEAD;
        if (http_tls_chose_h2(c->s.ssl))
            http_h2_start(c);
        else
            http_timer_set(t, &c->timer, TIMER_HEAD);
        return true;
    }
    int e = SSL_get_error(c->s.ssl, r);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return false;
    http_stat_add(t, HTTP_STAT_HANDSHAKE_FAILURES, 1);
    http_conn_close(c, false);
    return false;
}

/* Heads start at the buffer's start: the rest of it is the transaction's room. */
static void head_to_front(struct conn *c)
{
    struct buf *b = c->s.in;
    if (!b->start || c->scanned)
        return;
    memmove(b->data, http_buf_at(b), http_buf_len(b));
    b->end -= b->start;
    b->start = 0;
}

/* RFC 9113 section 3.3: a client that knows beforehand. Only on a plain connection, only at its start;
 * no request of HTTP/1 begins like that. False also while there is less than all of the preface. */
static bool is_preface(const struct conn *c)
{
    return !c->s.ssl && !c->served && http_buf_len(c->s.in) >= H2_PREFACE_LEN
           && !memcmp(http_buf_at(c->s.in), H2_PREFACE, H2_PREFACE_LEN);
}

static bool may_be_preface(const struct conn *c)
{
    size_t len = http_buf_len(c->s.in);
    return !c->s.ssl && !c->served && len < H2_PREFACE_LEN
           && !memcmp(http_buf_at(c->s.in), H2_PREFACE, len);
}

/* True: there is a transaction now, or another protocol. */
static bool parse_head(struct conn *c)
{
    head_to_front(c);
    if (is_preface(c)) {
        http_h2_start(c);
        return true;
    }
    if (may_be_preface(c)) {
        if (c->timer.kind != TIMER_HEAD)
            http_timer_set(c->t, &c->timer, TIMER_HEAD);
        return false;
    }
    struct tx *tx = http_tx_get(c->t);
    int n =
        http_request_parse(http_buf_at(c->s.in), http_buf_len(c->s.in), &c->scanned, &tx->request);
    if (n == 0) {
        http_tx_put(c->t, tx);
        if (c->timer.kind != TIMER_HEAD)
            http_timer_set(c->t, &c->timer, TIMER_HEAD);
        return false;
    }
    http_timer_unset(&c->timer);
    c->served = true;
    http_tx_start(c, tx, n > 0 ? (size_t)n : 0, n < 0 ? (enum http_reject) - n : HTTP_REJECT_NONE);
    return true;
}

static bool read_head(struct conn *c)
{
    if (c->s.in && parse_head(c))
        return true;
    for (;;) {
        switch (http_stream_fill(c->t, &c->s)) {
        case IO_OK:
            if (parse_head(c))
                return true;
            break;
        case IO_WAIT:
            return false;
        default:
            http_conn_close(c, false);
            return false;
        }
    }
}

void http_conn_run(struct conn *c)
{
    for (unsigned requests = 0;;) {
        switch (c->state) {
        case CONN_HANDSHAKE:
            if (!handshake(c))
                return;
            break;
        case CONN_HEAD:
            if (requests++ == REQUESTS_PER_TURN) {
                http_thread_again(c);
                return;
            }
            if (!read_head(c))
                return;
            break;
        case CONN_BUSY:
            if (!http_tx_run(c->tx))
                return;
            break;
        case CONN_H2:
            http_h2_run(c);
            return;
        case CONN_LINGER:
            linger(c);
            return;
        case CONN_STREAM:
        case CONN_DEAD:
            return;
        }
    }
}

void http_conn_drain(struct conn *c)
{
    if (c->state == CONN_H2)
        http_h2_drain(c);
    else if (c->state == CONN_BUSY) /* an answer that has not said so must not end the connection */
        c->tx->close |= !c->t->drain_idle_ms || !c->tx->answered;
    else if (c->state != CONN_LINGER && !c->t->drain_idle_ms)
        http_conn_close(c, false);
}

/* Half a head or a handshake is a request on its way: it has until the end of the drain. */
void http_conn_drain_idle(struct conn *c)
{
    if (c->state == CONN_HEAD && c->timer.kind == TIMER_IDLE)
        http_conn_close(c, false);
    else if (c->state == CONN_H2)
        http_h2_drain(c);
}

bool http_conn_evict_idle(struct thread *t)
{
    struct timer *first = t->timers[TIMER_IDLE].next;
    if (first == &t->timers[TIMER_IDLE])
        return false;
    http_conn_close(CONTAINER_OF(first, struct conn, timer), false);
    http_stat_add(t, HTTP_STAT_EVICTED, 1);
    return true;
}
