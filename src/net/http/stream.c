/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Registered once with epoll, edge triggered: a read that comes short or a write that
 * blocks is remembered until the next event, so no system call is made to learn what is known. */
#include "net/http/priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int http_stream_open(struct thread *t, struct stream *s, int fd)
{
    s->fd = fd;
    s->can_read = s->can_write = s->hangup = s->eof = s->broken = false;
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &s->source};
    return epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void http_stream_close(struct thread *t, struct stream *s)
{
    if (s->ssl) {
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    http_buf_put(t, &s->in);
    http_buf_put(t, &s->out);
}

void http_stream_events(struct stream *s, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->hangup = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->can_read = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->can_write = true;
    if (s->ssl && s->can_write) /* TLS may have had to write in order to read */
        s->can_read = true;
}

/* What OpenSSL reads and writes through: the same knowledge of the socket, so no call for what is
 * known. */

static int on_bio_read(BIO *bio, char *out, int len)
{
    struct stream *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = -1;
    errno = EAGAIN;
    if (s->can_read)
        do
            n = read(s->fd, out, (size_t)len);
        while (n < 0 && errno == EINTR);
    if (n > 0)
        s->can_read = n == len || s->hangup;
    if (n < 0 && errno == EAGAIN) {
        s->can_read = false;
        BIO_set_retry_read(bio);
    }
    return (int)n;
}

static int on_bio_write(BIO *bio, const char *in, int len)
{
    struct stream *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n;
    do
        n = send(s->fd, in, (size_t)len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        s->can_write = false;
        BIO_set_retry_write(bio);
    }
    return (int)n;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP; /* nothing is held back here */
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    ASSERT(bio_method);
    BIO_meth_set_read(bio_method, on_bio_read);
    BIO_meth_set_write(bio_method, on_bio_write);
    BIO_meth_set_ctrl(bio_method, on_bio_ctrl);
}

void http_stream_tls(struct stream *s, SSL *ssl)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    ASSERT(bio);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    s->ssl = ssl;
}

static enum io end_of(struct stream *s, bool clean)
{
    s->can_read = false;
    if (clean)
        s->eof = true;
    else
        s->broken = true;
    return clean ? IO_EOF : IO_ERROR;
}

static enum io fill_tls(struct stream *s, size_t room)
{
    ERR_clear_error();
    int n = SSL_read(s->ssl, s->in->data + s->in->end, (int)room);
    if (n > 0) {
        s->in->end += (uint32_t)n;
        return IO_OK;
    }
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return IO_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return end_of(s, true);
    default:
        return end_of(s, false);
    }
}

static enum io fill_plain(struct stream *s, size_t room)
{
    ssize_t n;
    do
        n = read(s->fd, s->in->data + s->in->end, room);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->in->end += (uint32_t)n;
        /* A short read emptied the socket. Behind a hang-up no further event comes: read until the
         * end is seen. */
        s->can_read = (size_t)n == room || s->hangup;
        return IO_OK;
    }
    if (n == 0)
        return end_of(s, true);
    if (errno != EAGAIN)
        return end_of(s, false);
    s->can_read = false;
    return IO_WAIT;
}

enum io http_stream_fill(struct thread *t, struct stream *s)
{
    if (s->h2)
        return http_h2_fill(s);
    if (s->sink)
        return IO_WAIT;
    if (s->eof)
        return IO_EOF;
    if (s->broken)
        return IO_ERROR;
    if (!s->can_read && !(s->ssl && SSL_has_pending(s->ssl)))
        return IO_WAIT;
    if (s->in)
        http_buf_compact(s->in);
    else
        s->in = http_buf_get(t);
    size_t room = BUF_BYTES - s->in->end;
    if (room == 0)
        return IO_FULL;
    enum io r = s->ssl ? fill_tls(s, room) : fill_plain(s, room);
    if (!http_buf_len(s->in))
        http_buf_put(t, &s->in);
    return r;
}

static ssize_t write_some(struct stream *s)
{
    struct buf *b = s->out;
    size_t len = http_buf_len(b);
    if (!s->ssl) {
        ssize_t n;
        do
            n = send(s->fd, http_buf_at(b), len, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n;
    }
    ERR_clear_error();
    int n = SSL_write(s->ssl, http_buf_at(b), (int)len);
    if (n > 0)
        return n;
    int e = SSL_get_error(s->ssl, n);
    if (e == SSL_ERROR_WANT_WRITE || e == SSL_ERROR_WANT_READ) {
        s->can_write = false;
        errno = EAGAIN;
    } else {
        errno = EPIPE;
    }
    return -1;
}

enum io http_stream_flush(struct thread *t, struct stream *s)
{
    if (s->h2)
        return http_h2_flush(s);
    if (s->sink && s->out)
        s->out->start = s->out->end;
    while (http_buf_len(s->out)) {
        if (s->broken)
            return IO_ERROR;
        if (!s->can_write)
            return IO_WAIT;
        ssize_t n = write_some(s);
        if (n < 0 && errno != EAGAIN) {
            s->broken = true;
            return IO_ERROR;
        }
        if (n < 0) {
            s->can_write = false;
            return IO_WAIT;
        }
        s->out->start += (uint32_t)n;
    }
    return IO_OK;
}
