/* SPDX-License-Identifier: Apache-2.0 */
/* HTTPS connections, one request at a time, kept between them. Registered once with epoll, edge
 * triggered, so conn_run() always goes until the socket or the work ends. */
#include "service/traffic/priv.h"

#include "base/tls/tls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_SIZE 16384

/* -- lists ------------------------------------------------------------------------------------- */

static void work_begin(struct conn *c, struct item *i)
{
    struct engine *e = c->buyer->engine;
    c->item = i;
    c->deadline_us = e->now_us + ATTEMPT_MS * 1000ull;
    c->older = e->newest;
    c->newer = NULL;
    *(e->newest ? &e->newest->newer : &e->oldest) = c;
    e->newest = c;
    *(i->kind == ITEM_READ ? &c->buyer->read_conns : &c->buyer->order_conns) += 1;
    str_clear(&c->out);
    str_clear(&c->in);
    str_clear(&c->content);
    c->sent = c->taken = c->scanned = 0;
    c->head_done = false;
    request_write(i, &c->out);
}

/* Its item, no more under way. */
static struct item *work_end(struct conn *c)
{
    struct engine *e = c->buyer->engine;
    struct item *i = c->item;
    if (!i)
        return NULL;
    c->item = NULL;
    *(c->older ? &c->older->newer : &e->oldest) = c->newer;
    *(c->newer ? &c->newer->older : &e->newest) = c->older;
    *(i->kind == ITEM_READ ? &c->buyer->read_conns : &c->buyer->order_conns) -= 1;
    return i;
}

static void unlink_from(struct conn **list, const struct conn *c)
{
    while (*list && *list != c)
        list = &(*list)->next;
    if (*list)
        *list = c->next;
}

void conn_close(struct conn *c)
{
    struct engine *e = c->buyer->engine;
    if (c->state == CONN_DEAD)
        return;
    if (c->state == CONN_IDLE)
        unlink_from(&c->buyer->idle, c);
    else
        unlink_from(&e->to_send, c);
    (void)work_end(c);
    c->state = CONN_DEAD;
    SSL_free(c->ssl);
    close(c->fd);
    c->ssl = NULL;
    c->fd = -1;
    c->next = e->dead; /* events of this round may still name it */
    e->dead = c;
}

void conns_bury(struct engine *e)
{
    while (e->dead) {
        struct conn *c = e->dead;
        e->dead = c->next;
        str_done(&c->out);
        str_done(&c->in);
        str_done(&c->content);
        free(c);
    }
}

void conns_stop(struct engine *e)
{
    while (e->oldest) {
        struct conn *c = e->oldest;
        item_free(e, work_end(c));
        conn_close(c);
    }
}

static void fail(struct conn *c, enum trouble t)
{
    struct engine *e = c->buyer->engine;
    struct item *i = work_end(c);
    conn_close(c);
    if (i)
        item_failed(e, i, t);
}

/* -- TLS --------------------------------------------------------------------------------------- */

/* The next connection goes on from this one's. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct conn *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->buyer->session);
    c->buyer->session = session;
    return 1;
}

int conns_tls_new(struct engine *e, struct err *err)
{
    int r = tls_ctx_stranger_new(e->config->ca_pem, &e->tls, err);
    if (r < 0)
        return err_wrap(err, "the certificates to trust");
    SSL_CTX_set_verify(e->tls, SSL_VERIFY_PEER, NULL);
    if (!e->config->ca_pem && !SSL_CTX_set_default_verify_paths(e->tls))
        return err_set(err, ERR_SYSTEM, "this machine trusts no certificates");
    SSL_CTX_set_session_cache_mode(
        e->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(e->tls, on_session);
    SSL_CTX_set_mode(e->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                 | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(e->tls, 1);
    return 0;
}

static bool open_tls(struct conn *c)
{
    const struct engine *e = c->buyer->engine;
    c->ssl = SSL_new(e->tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || !SSL_set1_host(c->ssl, e->config->name)
        || !SSL_set_tlsext_host_name(c->ssl, e->config->name))
        return false;
    SSL_set_app_data(c->ssl, c);
    if (c->buyer->session)
        SSL_set_session(c->ssl, c->buyer->session);
    SSL_set_connect_state(c->ssl);
    return true;
}

/* -- opening ----------------------------------------------------------------------------------- */

static int open_socket(const struct buyer *b, const struct ip_addr *address, uint16_t port)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int on = 1;
    _cleanup_close_ int fd = socket(
        address->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (b->who->address.family) {
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        ip_to_sockaddr(&b->who->address, 0, &sa, &len);
        if (bind(fd, (struct sockaddr *)&sa, len) < 0)
            return -1;
    }
    ip_to_sockaddr(address, port, &sa, &len);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        return -1;
    return util_steal_fd(&fd);
}

static void on_event(struct source *s, uint32_t events)
{
    struct conn *c = CONTAINER_OF(s, struct conn, source);
    conn_run(c);
}

bool conn_open(struct buyer *b, struct item *i, const struct ip_addr *address)
{
    struct engine *e = b->engine;
    int fd = open_socket(b, address, e->config->port);
    if (fd < 0)
        return false;
    struct conn *c = xcalloc(1, sizeof *c);
    *c = (struct conn){.source.ready = on_event, .buyer = b, .fd = fd, .address = *address};
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &c->source};
    if (!open_tls(c) || epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        conn_close(c);
        return false;
    }
    c->state = CONN_TCP; /* its first event says how that went */
    work_begin(c, i);
    return true;
}

void conn_give(struct conn *c, struct item *i)
{
    struct engine *e = c->buyer->engine;
    c->state = CONN_BUSY;
    work_begin(c, i);
    c->next = e->to_send;
    e->to_send = c;
}

struct conn *conn_idle_take(struct buyer *b)
{
    while (b->idle) {
        struct conn *c = b->idle;
        b->idle = c->next;
        if (names_has(&b->names, &c->address))
            return c;
        c->state = CONN_BUSY; /* off the list */
        conn_close(c);
    }
    return NULL;
}

void conn_sweep(struct buyer *b)
{
    struct conn *c = b->idle;
    while (c) {
        struct conn *next = c->next;
        if (!names_has(&b->names, &c->address))
            conn_close(c);
        c = next;
    }
}

/* -- a request and its answer ------------------------------------------------------------------ */

static void answered(struct conn *c)
{
    struct engine *e = c->buyer->engine;
    struct item *i = work_end(c);
    bool keep = !c->close && c->taken == c->in.len && e->phase != PHASE_END;
    answer_take(e, i, c->status, str_cstr(&c->content), c->content.len);
    if (!keep) {
        conn_close(c);
        return;
    }
    c->state = CONN_IDLE;
    c->next = c->buyer->idle;
    c->buyer->idle = c;
}

/* The head, when it is there whole: 1; 0: not yet; -1: it is none. Heads of 1xx are skipped. */
static int take_head(struct conn *c)
{
    static struct http_response head; /* one thread, and large */
    for (;;) {
        int n = http_response_parse(
            c->in.buf + c->taken, c->in.len - c->taken, &c->scanned, false, &head);
        if (n <= 0)
            return n < 0 ? -1 : 0;
        c->taken += (size_t)n;
        c->scanned = 0;
        if (head.status < 200)
            continue;
        c->status = head.status;
        c->close = head.close;
        c->head_done = true;
        http_body_init(&c->body, head.framing, head.content_length);
        return 1;
    }
}

static bool take_body(struct conn *c)
{
    size_t used = 1;
    while (used > 0 && c->taken < c->in.len && !http_body_ended(&c->body)) {
        struct http_text data;
        if (http_body_take(
                &c->body, c->in.buf + c->taken, c->in.len - c->taken, SIZE_MAX, &used, &data)
                < 0
            || c->content.len + data.len > ANSWER_MAX)
            return false;
        c->taken += used;
        str_add_mem(&c->content, data.p, data.len);
    }
    return true;
}

/* False: the connection is over, or has nothing more to do. */
static bool take_bytes(struct conn *c)
{
    int r = c->head_done ? 1 : take_head(c);
    if (r < 0 || (r > 0 && !take_body(c))) {
        fail(c, TROUBLE_PROTOCOL);
        return false;
    }
    if (r == 0 || !http_body_ended(&c->body)) {
        if (c->taken == c->in.len) { /* used up: the room is wanted for what comes */
            str_clear(&c->in);
            c->taken = 0;
        }
        return true;
    }
    answered(c);
    return false;
}

static void ended(struct conn *c)
{
    if (c->state == CONN_IDLE) {
        conn_close(c);
    } else if (c->head_done && http_body_close(&c->body)) {
        c->close = true;
        answered(c);
    } else {
        fail(c, TROUBLE_CLOSED);
    }
}

static bool must_wait(const struct conn *c, int r)
{
    int why = SSL_get_error(c->ssl, r);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* False: nothing more to do now. */
static bool send_request(struct conn *c)
{
    while (c->sent < c->out.len) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, c->out.buf + c->sent, (int)(c->out.len - c->sent));
        if (n <= 0) {
            if (!must_wait(c, n))
                fail(c, TROUBLE_CLOSED);
            return false;
        }
        c->sent += (size_t)n;
    }
    return true;
}

static void receive(struct conn *c)
{
    for (;;) {
        str_reserve(&c->in, READ_SIZE);
        ERR_clear_error();
        int n = SSL_read(c->ssl, c->in.buf + c->in.len, READ_SIZE);
        if (n <= 0) {
            if (!must_wait(c, n))
                ended(c);
            return;
        }
        if (c->state == CONN_IDLE) { /* nobody asked */
            conn_close(c);
            return;
        }
        c->in.len += (size_t)n;
        if (!take_bytes(c))
            return;
    }
}

static bool tcp_stands(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        fail(c, TROUBLE_CONNECT);
        return false;
    }
    c->state = CONN_TLS;
    return true;
}

static bool tls_stands(struct conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->state = CONN_BUSY;
        return true;
    }
    if (!must_wait(c, r)) {
        SSL_SESSION_free(c->buyer->session); /* perhaps it was that */
        c->buyer->session = NULL;
        fail(c, TROUBLE_TLS);
    }
    return false;
}

void conn_run(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    if (c->state == CONN_TCP && !tcp_stands(c))
        return;
    if (c->state == CONN_TLS && !tls_stands(c))
        return;
    if (c->state == CONN_BUSY && !send_request(c))
        return;
    receive(c);
}

void conn_expire(struct conn *c)
{
    fail(c, c->state == CONN_TCP ? TROUBLE_CONNECT : TROUBLE_TIMEOUT);
}
