/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of a browser: sniff the name, resolve it, connect as the buyer, pass bytes until
 * both are done. */
#include "service/forwarder/priv.h"

#include "base/log/log.h"

#include <string.h>

#define READ_SIZE 65536
#define WAITING_MAX (256u * 1024) /* unsent to one side: the other is not read */
#define IDLE_MS (10 * 60 * 1000)
#define HELLO_MS 10000
#define CONNECT_MS 10000

enum stage { STAGE_SNIFF, STAGE_RESOLVE, STAGE_CONNECT, STAGE_PASS };

struct conn {
    struct forwarder *forwarder;
    uv_tcp_t down, up; /* browser, platform */
    uv_timer_t timer;
    uv_connect_t connect;
    unsigned open_handles;
    bool closing, up_open;
    bool down_eof, up_eof; /* read to its end */
    enum stage stage;
    struct resolve *resolve;
    struct str first; /* what was read before there was an upstream */
    char name[SNIFF_NAME_SIZE];
    uint16_t port;
    SSL *ssl; /* we speak TLS to the platform; NULL: bytes pass as they are */
};

struct write {
    uv_write_t req;
    struct conn *conn;
    char data[];
};

static void conn_pump(struct conn *c);

static void on_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    if (--c->open_handles)
        return;
    c->forwarder->n_conns--;
    SSL_free(c->ssl);
    str_done(&c->first);
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->resolve)
        resolve_cancel(c->resolve);
    uv_close((uv_handle_t *)&c->down, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    if (c->up_open)
        uv_close((uv_handle_t *)&c->up, on_handle_closed);
}

static void on_timer(uv_timer_t *t)
{
    conn_close(t->data);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    static char shared[READ_SIZE]; /* one thread, and every read is used up before the next */
    *buf = uv_buf_init(shared, sizeof shared);
}

/* ---- writing ---- */

static void on_written(uv_write_t *req, int status)
{
    struct write *w = CONTAINER_OF(req, struct write, req);
    struct conn *c = w->conn;
    free(w);
    if (c->closing)
        return;
    if (status < 0)
        conn_close(c);
    else
        conn_pump(c);
}

static void send_to(struct conn *c, uv_tcp_t *to, const void *data, size_t len)
{
    if (!len || c->closing)
        return;
    struct write *w = xmalloc(sizeof *w + len);
    w->conn = c;
    memcpy(w->data, data, len);
    uv_buf_t buf = uv_buf_init(w->data, (unsigned)len);
    if (uv_write(&w->req, (uv_stream_t *)to, &buf, 1, on_written) < 0) {
        free(w);
        conn_close(c);
    }
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    free(req);
}

static void half_close(struct conn *c, uv_tcp_t *to)
{
    uv_shutdown_t *req = xmalloc(sizeof *req);
    if (uv_shutdown(req, (uv_stream_t *)to, on_shutdown) < 0) {
        free(req);
        conn_close(c);
    }
}

/* ---- TLS towards the platform ---- */

static void flush_tls(struct conn *c)
{
    char buf[16384];
    int n;
    while (!c->closing && (n = BIO_read(SSL_get_wbio(c->ssl), buf, sizeof buf)) > 0)
        send_to(c, &c->up, buf, (size_t)n);
}

static void fail(struct conn *c, const char *what);

/* Decrypts what came, and sends what waits for the handshake's end. */
static void step_tls(struct conn *c)
{
    if (!SSL_is_init_finished(c->ssl)) {
        int r = SSL_do_handshake(c->ssl);
        flush_tls(c);
        if (r != 1) {
            if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_READ)
                fail(c, "the platform's certificate or TLS is not accepted");
            return;
        }
    }
    if (c->first.len && SSL_write(c->ssl, c->first.buf, (int)c->first.len) > 0)
        str_clear(&c->first);
    flush_tls(c);
    char buf[16384];
    int n;
    while (!c->closing && (n = SSL_read(c->ssl, buf, sizeof buf)) > 0)
        send_to(c, &c->down, buf, (size_t)n);
}

static void to_up(struct conn *c, const void *data, size_t len)
{
    if (!c->ssl) {
        send_to(c, &c->up, data, len);
    } else if (len && SSL_write(c->ssl, data, (int)len) > 0) {
        flush_tls(c);
    }
}

static void to_down(struct conn *c, const void *data, size_t len)
{
    if (!c->ssl) {
        send_to(c, &c->down, data, len);
        return;
    }
    BIO_write(SSL_get_rbio(c->ssl), data, (int)len);
    step_tls(c);
}

static int start_tls(struct conn *c)
{
    c->ssl = SSL_new(c->forwarder->tls);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!c->ssl || !in || !out)
        return -1;
    SSL_set_bio(c->ssl, in, out);
    SSL_set_connect_state(c->ssl);
    SSL_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    return SSL_set_tlsext_host_name(c->ssl, c->name) == 1 && SSL_set1_host(c->ssl, c->name) == 1
               ? 0
               : -1;
}

/* ---- passing ---- */

static void on_down(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);
static void on_up(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void read_while_room(uv_tcp_t *from, bool eof, uv_tcp_t *to, uv_read_cb fn)
{
    bool room = uv_stream_get_write_queue_size((uv_stream_t *)to) < WAITING_MAX;
    if (room && !eof)
        uv_read_start((uv_stream_t *)from, on_alloc, fn); /* again is harmless */
    else
        uv_read_stop((uv_stream_t *)from);
}

static void conn_pump(struct conn *c)
{
    if (c->closing || c->stage != STAGE_PASS)
        return;
    bool handshaking =
        c->ssl
        && !SSL_is_init_finished(c->ssl); /* what the browser says meanwhile can wait there */
    uv_timer_start(&c->timer, on_timer, handshaking ? CONNECT_MS : IDLE_MS, 0);
    read_while_room(&c->down, c->down_eof || handshaking, &c->up, on_down);
    read_while_room(&c->up, c->up_eof, &c->down, on_up);
    if (c->down_eof && c->up_eof && !uv_stream_get_write_queue_size((uv_stream_t *)&c->up)
        && !uv_stream_get_write_queue_size((uv_stream_t *)&c->down))
        conn_close(c);
}

static void on_up(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = s->data;
    if (n > 0)
        to_down(c, buf->base, (size_t)n);
    if (n < 0 && n != UV_EOF) {
        conn_close(c); /* the browser gets a reset too, by our closing with its data unread */
        return;
    }
    if (n == UV_EOF) {
        c->up_eof = true;
        half_close(c, &c->down);
        c->down_eof |= c->ssl != NULL; /* one request, one answer: nothing more is wanted */
    }
    conn_pump(c);
}

static void on_down(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = s->data;
    if (n > 0)
        to_up(c, buf->base, (size_t)n);
    if (n < 0 && n != UV_EOF) {
        conn_close(c);
        return;
    }
    if (n == UV_EOF) {
        c->down_eof = true;
        if (!c->ssl)
            half_close(
                c, &c->up); /* TLS: the answer is still to come, closing would look like a cut */
    }
    conn_pump(c);
}

/* ---- before there is an upstream ---- */

/* Over HTTP a person may be looking; a TLS client only sees the connection end. */
static void fail(struct conn *c, const char *what)
{
    log_debug("forwarder", "refused", "name=%s why=\"%s\"", c->name, what);
    if (c->port == 443 && !c->ssl && c->stage != STAGE_SNIFF) {
        conn_close(c);
        return;
    }
    _cleanup_free_ char *page =
        xasprintf("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
            strlen(what) + 1, what);
    uv_buf_t buf = uv_buf_init(page, (unsigned)strlen(page));
    uv_try_write((uv_stream_t *)&c->down, &buf, 1);
    conn_close(c);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = CONTAINER_OF(req, struct conn, connect);
    if (c->closing)
        return;
    if (status < 0) {
        fail(c, uv_strerror(status));
        return;
    }
    c->stage = STAGE_PASS;
    uv_tcp_nodelay(&c->up, 1);
    if (c->ssl) {
        step_tls(c);
    } else {
        send_to(c, &c->up, c->first.buf, c->first.len);
        str_clear(&c->first);
    }
    conn_pump(c);
}

static void on_resolved(void *ctx, const struct ip_addr *address, const struct err *e)
{
    struct conn *c = ctx;
    struct sockaddr_storage from, to;
    socklen_t len;
    c->resolve = NULL;
    if (e) {
        fail(c, e->message);
        return;
    }
    c->stage = STAGE_CONNECT;
    uv_timer_start(&c->timer, on_timer, CONNECT_MS, 0);
    uv_tcp_init(&c->forwarder->loop, &c->up);
    c->up.data = c;
    c->up_open = true;
    c->open_handles++;
    ip_to_sockaddr(&c->forwarder->buyer, 0, &from, &len);
    ip_to_sockaddr(address, c->port, &to, &len);
    int r = uv_tcp_bind(&c->up, (struct sockaddr *)&from, 0);
    if (r == 0)
        r = uv_tcp_connect(&c->connect, &c->up, (struct sockaddr *)&to, on_connected);
    if (r < 0)
        fail(c, uv_strerror(r));
}

static void start_resolve(struct conn *c)
{
    struct err e;
    c->stage = STAGE_RESOLVE;
    uv_read_stop((uv_stream_t *)&c->down);
    uv_timer_stop(&c->timer); /* the question has its own limit */
    if (resolve_start(c->forwarder, c->name, on_resolved, c, &c->resolve, &e) < 0)
        fail(c, e.message);
}

/* 127.0.0.1, localhost and NAME.localhost mean the platform (or that name of it), which is reached
 * over TLS. */
static bool is_local(const struct forwarder *f, const char *name, char ret[SNIFF_NAME_SIZE])
{
    static const char suffix[] = ".localhost";
    size_t len = strlen(name);
    if (!*name || !strcmp(name, "127.0.0.1") || !strcmp(name, "localhost"))
        return str_copy(ret, SNIFF_NAME_SIZE, f->domain);
    if (len < sizeof suffix || strcmp(name + len - (sizeof suffix - 1), suffix) != 0)
        return false;
    memcpy(ret, name, len - (sizeof suffix - 1));
    ret[len - (sizeof suffix - 1)] = '\0';
    return true;
}

static void sniffed_http(struct conn *c, const struct sniffed *s)
{
    if (!is_local(c->forwarder, s->name, c->name)) {
        str_copy(c->name, sizeof c->name, s->name);
        c->port = 80;
        start_resolve(c);
        return;
    }
    struct str request = STR_INIT;
    sniff_rewrite(c->first.buf, s->head_size, c->name, &request);
    str_add_mem(&request, c->first.buf + s->head_size, c->first.len - s->head_size);
    str_done(&c->first);
    c->first = request;
    c->port = 443;
    if (start_tls(c) < 0)
        fail(c, "TLS cannot start");
    else
        start_resolve(c);
}

static void on_first(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    struct sniffed s;
    if (n < 0) {
        conn_close(c);
        return;
    }
    str_add_mem(&c->first, buf->base, (size_t)n);
    /* A request's body may have come along: only its head is looked at. */
    switch (sniff((const uint8_t *)c->first.buf, MIN(c->first.len, (size_t)SNIFF_MAX), &s)) {
    case SNIFF_MORE:
        return;
    case SNIFF_HTTP:
        sniffed_http(c, &s);
        return;
    case SNIFF_TLS:
        str_copy(c->name, sizeof c->name, *s.name ? s.name : c->forwarder->domain);
        c->port = 443;
        start_resolve(c);
        return;
    case SNIFF_BAD:
        break;
    }
    conn_close(c);
}

void conn_accept(struct forwarder *f)
{
    struct conn *c = xcalloc(1, sizeof *c);
    c->forwarder = f;
    uv_tcp_init(&f->loop, &c->down);
    uv_timer_init(&f->loop, &c->timer);
    c->down.data = c->timer.data = c;
    c->open_handles = 2;
    f->n_conns++;
    if (uv_accept((uv_stream_t *)&f->listener, (uv_stream_t *)&c->down) < 0
        || f->n_conns > FORWARDER_CONNS_MAX) {
        conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->down, 1);
    uv_timer_start(&c->timer, on_timer, HELLO_MS, 0);
    uv_read_start((uv_stream_t *)&c->down, on_alloc, on_first);
}
