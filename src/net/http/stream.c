/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Registered once with epoll, edge triggered: a read that comes short or a write that blocks is remembered
 * until the next event, so no system call is made to learn what is known. */
#include "net/http/priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int http_stream_open(struct thread *t, struct stream *s, int fd)
{
    s->fd = fd;
    s->can_read = s->can_write = s->hangup = s->eof = s->broken = false;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &s->source};
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
    if (s->ssl) /* TLS may want to write in order to read, and the other way round */
        s->can_read = s->can_write = true;
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
        s->can_read = false;
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
        /* A short read emptied the socket. Behind a hang-up no further event comes: read until the end is seen. */
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
    if (s->eof)
        return IO_EOF;
    if (s->broken)
        return IO_ERROR;
    if (!s->can_read)
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
    errno = e == SSL_ERROR_WANT_WRITE || e == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
    return -1;
}

enum io http_stream_flush(struct thread *t, struct stream *s)
{
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
