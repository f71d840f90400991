/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS connection on a libuv loop: OpenSSL on the socket itself, uv_poll says when. Reads and
 * writes may each want the other direction (key updates), so after every step the poll asks for
 * what OpenSSL wants. */
#include "base/tls/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <pthread.h>
#include <sys/socket.h>

#define HANDSHAKE_TIMEOUT_MS 5000u
#define READ_BYTES (16u * 1024) /* one TLS record */
#define READS_PER_TURN 16
#define KEEP_BYTES 4096u
/* A dead path is noticed by TCP itself even where nobody asks: keep-alive after 10 s, given up
 * after 20 s. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 2
#define USER_TIMEOUT_MS 20000

struct tls_stream {
    uv_loop_t *loop;
    SSL *ssl;
    int fd;
    uv_poll_t poll;
    uv_timer_t timer; /* handshake deadline; afterwards: go on reading what OpenSSL holds */
    const struct tls_stream_handler *handler;
    void *ctx;
    struct str out;
    size_t out_off;
    bool ready, ending, wants_write;
    unsigned open_handles;
    struct err why;
    char own_id[TLS_ID_MAX + 1], peer_id[TLS_ID_MAX + 1], expect_id[TLS_ID_MAX + 1];
};

static void end(struct tls_stream *s, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void on_poll(uv_poll_t *p, int status, int events);
static int stream_index = -1;
static pthread_once_t stream_index_once = PTHREAD_ONCE_INIT; /* streams live on several threads */

static void on_handle_closed(uv_handle_t *h)
{
    struct tls_stream *s = h->data;
    if (--s->open_handles)
        return;
    SSL_free(s->ssl);
    close(s->fd);
    str_done(&s->out);
    if (s->handler->closed)
        s->handler->closed(s->ctx, s, &s->why);
    free(s);
}

static void end(struct tls_stream *s, int code, const char *fmt, ...)
{
    if (s->ending)
        return;
    s->ending = true;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!s->why.code)
        err_set(&s->why, code, "%s", text);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
}

static void watch(struct tls_stream *s)
{
    if (s->ending)
        return;
    bool has_out = s->ready && s->out.len > s->out_off;
    int r = uv_poll_start(
        &s->poll, UV_READABLE | (s->wants_write || has_out ? UV_WRITABLE : 0), on_poll);
    if (r < 0)
        end(s, ERR_SYSTEM, "poll: %s", uv_strerror(r));
}

static void fail(struct tls_stream *s, int ssl_error, int sys_errno)
{
    unsigned long code = ERR_peek_error();
    long verify = SSL_get_verify_result(s->ssl);
    if (ssl_error == SSL_ERROR_ZERO_RETURN
        || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        end(s, ERR_UNAVAILABLE, "the other end hung up");
    else if (!s->ready && verify != X509_V_OK)
        end(s, ERR_DENIED, "certificate refused: %s", X509_verify_cert_error_string(verify));
    else if (code)
        end(s, s->ready ? ERR_UNAVAILABLE : ERR_DENIED, "TLS: %s",
            ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "unknown failure");
    else
        end(s, ERR_UNAVAILABLE, "%s", sys_errno ? strerror(sys_errno) : "the other end hung up");
    ERR_clear_error();
}

/* True: go on; false: wait for the socket, or it has ended. */
static bool progressed(struct tls_stream *s, int ret)
{
    int sys_errno = errno;
    if (ret > 0)
        return true;
    int why = SSL_get_error(s->ssl, ret);
    if (why == SSL_ERROR_WANT_WRITE)
        s->wants_write = true;
    else if (why != SSL_ERROR_WANT_READ)
        fail(s, why, sys_errno);
    return false;
}

static void handshake(struct tls_stream *s)
{
    ERR_clear_error();
    if (!progressed(s, SSL_do_handshake(s->ssl)))
        return;
    s->ready = true;
    uv_timer_stop(&s->timer);
    if (s->handler->ready)
        s->handler->ready(s->ctx, s);
}

static void read_some(struct tls_stream *s);

static void on_more(uv_timer_t *t)
{
    struct tls_stream *s = t->data;
    read_some(s);
    watch(s);
}

static void read_some(struct tls_stream *s)
{
    char buf[READ_BYTES];
    for (int i = 0; i < READS_PER_TURN; i++) {
        ERR_clear_error();
        int n = SSL_read(s->ssl, buf, sizeof buf);
        if (!progressed(s, n))
            return;
        if (s->handler->data)
            s->handler->data(s->ctx, s, buf, (size_t)n);
        if (s->ending)
            return;
    }
    /* The socket may be empty while OpenSSL still holds a record: the poll would never fire. */
    uv_timer_start(&s->timer, on_more, 0, 0);
}

static void write_some(struct tls_stream *s)
{
    if (s->out_off == s->out.len)
        return;
    while (s->out_off < s->out.len) {
        ERR_clear_error();
        size_t left = s->out.len - s->out_off;
        int n = SSL_write(s->ssl, s->out.buf + s->out_off, (int)MIN(left, READ_BYTES));
        if (!progressed(s, n))
            break;
        s->out_off += (size_t)n;
    }
    if (s->out_off == s->out.len) {
        s->out.len = s->out_off = 0;
        if (s->out.cap > KEEP_BYTES)
            str_done(&s->out);
    }
    if (!s->ending && s->handler->drained && s->out.len == 0)
        s->handler->drained(s->ctx, s);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct tls_stream *s = p->data;
    s->wants_write = false;
    if (!s->ready)
        handshake(s);
    if (s->ready && !s->ending)
        read_some(s);
    if (s->ready && !s->ending)
        write_some(s);
    /* libuv's word for an error on the socket; reading has mostly told a better one */
    if (status < 0)
        end(s, ERR_UNAVAILABLE, "the other end hung up");
    watch(s);
}

static void on_handshake_late(uv_timer_t *t)
{
    end(t->data, ERR_TIMEOUT, "no TLS handshake in time");
}

void tls_stream_handshake_timeout(struct tls_stream *s, uint64_t timeout_ms)
{
    if (!s->ready && !s->ending)
        uv_timer_start(&s->timer, on_handshake_late, timeout_ms, 0);
}

/* Inside OpenSSL's verification, so that the peer gets an alert and not a closed door. */
static int verify_peer(int preverified, X509_STORE_CTX *store)
{
    if (!preverified || X509_STORE_CTX_get_error_depth(store) != 0)
        return preverified;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_stream *s = SSL_get_ex_data(ssl, stream_index);
    struct err e = {0};
    if (tls_spiffe_id(X509_STORE_CTX_get_current_cert(store), s->peer_id, &e) >= 0) {
        if (*s->own_id && !tls_same_domain(s->own_id, s->peer_id))
            err_set(&e, ERR_DENIED, "%s is of another platform than %s", s->peer_id, s->own_id);
        else if (*s->expect_id && strcmp(s->peer_id, s->expect_id) != 0)
            err_set(
                &e, ERR_DENIED, "the other end is %s, expected was %s", s->peer_id, s->expect_id);
    }
    if (!e.code)
        return 1;
    *s->peer_id = '\0';
    s->why = e;
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static void tune_tcp(int fd)
{
    /* Not TCP (a socket pair in a test): the calls fail and nothing is lost. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){KEEPALIVE_IDLE_S}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){KEEPALIVE_INTERVAL_S}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){KEEPALIVE_COUNT}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){USER_TIMEOUT_MS}, sizeof(int));
}

static void make_stream_index(void)
{
    stream_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static int make_ssl(struct tls_stream *s, SSL_CTX *ctx, bool server, struct err *e)
{
    pthread_once(&stream_index_once, make_stream_index);
    s->ssl = SSL_new(ctx);
    ASSERT(s->ssl && stream_index >= 0);
    SSL_set_ex_data(s->ssl, stream_index, s);
    if (SSL_set_fd(s->ssl, s->fd) != 1)
        return err_set(e, ERR_SYSTEM, "OpenSSL refuses the socket");
    X509_VERIFY_PARAM_set_time(SSL_get0_param(s->ssl), clock_wall_ms() / 1000);
    int mode = SSL_get_verify_mode(s->ssl);
    if (mode & SSL_VERIFY_PEER) {
        SSL_set_verify(s->ssl, mode, verify_peer);
        X509 *own = SSL_get_certificate(s->ssl);
        if (own && tls_spiffe_id(own, s->own_id, e) < 0)
            return err_wrap(e, "own certificate");
    }
    if (server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    return 0;
}

int tls_stream_new(uv_loop_t *loop, SSL_CTX *ctx, int fd, bool server, const char *expect_id,
    const struct tls_stream_handler *h, void *ctx_arg, struct tls_stream **ret, struct err *e)
{
    struct tls_stream *s = xcalloc(1, sizeof *s);
    s->loop = loop;
    s->fd = fd;
    s->handler = h;
    s->ctx = ctx_arg;
    int r = 0;
    if (expect_id && !str_copy(s->expect_id, sizeof s->expect_id, expect_id))
        r = err_set(e, ERR_INVALID, "SPIFFE id over %u bytes", TLS_ID_MAX);
    if (r >= 0)
        r = make_ssl(s, ctx, server, e);
    if (r >= 0) {
        tune_tcp(fd);
        int u = uv_poll_init(loop, &s->poll, fd); /* makes it non-blocking */
        if (u < 0)
            r = err_set(e, ERR_SYSTEM, "watch a connection: %s", uv_strerror(u));
    }
    if (r < 0) {
        SSL_free(s->ssl);
        close(fd);
        free(s);
        return r;
    }
    ASSERT(uv_timer_init(loop, &s->timer) == 0);
    s->open_handles = 2;
    s->poll.data = s->timer.data = s;
    uv_timer_start(&s->timer, on_handshake_late, HANDSHAKE_TIMEOUT_MS, 0);
    s->wants_write = true; /* the first turn of the loop begins the handshake */
    watch(s);
    *ret = s;
    return 0;
}

void tls_stream_set_handler(struct tls_stream *s, const struct tls_stream_handler *h, void *ctx)
{
    s->handler = h;
    s->ctx = ctx;
}

void tls_stream_write(struct tls_stream *s, const void *p, size_t len)
{
    if (s->ending)
        return;
    if (s->out_off > s->out.len / 2) {
        memmove(s->out.buf, s->out.buf + s->out_off, s->out.len - s->out_off);
        s->out.len -= s->out_off;
        s->out_off = 0;
    }
    str_add_mem(&s->out, p, len);
    watch(s);
}

size_t tls_stream_backlog(const struct tls_stream *s)
{
    return s->out.len - s->out_off;
}

void tls_stream_close(struct tls_stream *s)
{
    if (s->ending)
        return;
    const struct tls_stream_handler quiet = {.closed = s->handler->closed};
    const struct tls_stream_handler *kept = s->handler;
    s->handler = &quiet; /* nobody is called from within close */
    if (s->ready)
        write_some(s);
    s->handler = kept;
    if (s->ready && !s->ending) {
        ERR_clear_error();
        SSL_shutdown(s->ssl);
        ERR_clear_error();
    }
    end(s, ERR_CANCELED, "closed by this end");
}

const char *tls_stream_peer_id(const struct tls_stream *s)
{
    return s->ready ? s->peer_id : "";
}

uv_loop_t *tls_stream_loop(const struct tls_stream *s)
{
    return s->loop;
}
