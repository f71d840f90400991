/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. One end of a flow: registered once with epoll, edge triggered, so what is known of the
 * socket is remembered until a call would block. */
#include "net/splice/priv.h"

#include "base/str/str.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A peer that went away silently is noticed by these, not by the idle time. */
#define KEEPALIVE_S 20
#define SILENCE_MS 30000u

static void tune(int fd)
{
    int on = 1, idle = KEEPALIVE_S, interval = 5, count = 3;
    unsigned silence = SILENCE_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
}

static bool is_unix(int fd)
{
    int domain;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static int want(int epoll, int op, struct side *s, bool out)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = &s->source};
    if (out)
        ev.events |= EPOLLOUT;
    return epoll_ctl(epoll, op, s->fd, &ev) < 0 ? -errno : 0;
}

/* A Unix socket says that it can be written to each time its peer has read something: that would wake
 * the thread once more for each message, so it is asked only when it could not. */
static enum io cannot_write(struct side *s)
{
    s->can_write = false;
    if (s->epoll >= 0 && want(s->epoll, EPOLL_CTL_MOD, s, true) < 0)
        return IO_ERROR;
    return IO_WAIT;
}

int side_open(struct splice_thread *t, struct side *s, int fd)
{
    s->fd = fd;
    s->can_read = s->can_write = s->hung = s->eof = s->shut = s->framed = false;
    s->n_length = s->left = 0;
    s->epoll = -1;
    if (is_unix(fd)) {
        s->epoll = t->epoll;
        s->can_write = true; /* connected it is already */
    } else {
        tune(fd);
    }
    return want(t->epoll, EPOLL_CTL_ADD, s, s->epoll < 0);
}

static bool path_to_sockaddr(const char *path, struct sockaddr_un *ret, socklen_t *ret_len)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_len = sizeof *ret;
    return str_copy(ret->sun_path, sizeof ret->sun_path, path);
}

int side_connect(struct splice_thread *t, struct side *s, const struct splice_dial *d)
{
    struct sockaddr_storage sa;
    socklen_t len;
    if (!d->path)
        ip_to_sockaddr(&d->address, d->port, &sa, &len);
    else if (!path_to_sockaddr(d->path, (struct sockaddr_un *)&sa, &len))
        return -ENAMETOOLONG;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS ? -errno : 0;
    if (r == 0)
        r = side_open(t, s, fd);
    else
        close(fd);
    return r;
}

void side_close(struct side *s, bool broken)
{
    if (s->ssl) {
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    if (s->fd < 0)
        return;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (broken) /* the peer learns that it did not end as it should */
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(s->fd);
    s->fd = -1;
}

void side_events(struct side *s, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->can_read = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->hung = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->can_write = true;
    if (s->epoll >= 0 && events & EPOLLOUT)
        (void)want(s->epoll, EPOLL_CTL_MOD, s, false); /* if it fails it is woken too often */
}

static enum io ssl_outcome(struct side *s, int n)
{
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        s->can_read = false;
        return IO_WAIT;
    case SSL_ERROR_WANT_WRITE:
        return cannot_write(s);
    case SSL_ERROR_ZERO_RETURN:
        s->eof = true;
        return IO_EOF;
    default:
        return IO_ERROR;
    }
}

static enum io read_plain(struct side *s, char *p, size_t room, size_t *got)
{
    ssize_t n;
    do
        n = read(s->fd, p, room);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        /* Less than there was room for: that was all, and what comes next is an event. */
        s->can_read = *got == room || s->hung;
        return IO_OK;
    }
    s->can_read = false;
    if (n == 0) {
        s->eof = true;
        return IO_EOF;
    }
    return errno == EAGAIN ? IO_WAIT : IO_ERROR;
}

static enum io read_tls(struct side *s, void *p, size_t room, size_t *got)
{
    if (!s->can_read && !SSL_has_pending(s->ssl))
        return IO_WAIT;
    ERR_clear_error();
    int n = SSL_read(s->ssl, p, (int)room);
    if (n <= 0)
        return ssl_outcome(s, n);
    *got = (size_t)n;
    return IO_OK;
}

static enum io read_framed(struct side *s, char *p, size_t room, size_t *got)
{
    enum io r = IO_OK;
    while (!s->left) {
        size_t n = 0;
        r = read_tls(s, s->length + s->n_length, sizeof s->length - s->n_length, &n);
        if (r != IO_OK) /* the connection may end between two pieces of nothing only: by END */
            return r == IO_EOF ? IO_ERROR : r;
        s->n_length += (unsigned)n;
        if (s->n_length < sizeof s->length)
            continue;
        s->n_length = 0;
        s->left = (uint32_t)(s->length[0] << 8 | s->length[1]);
        s->eof = !s->left;
        if (s->eof)
            return IO_EOF;
    }
    r = read_tls(s, p, MIN(room, (size_t)s->left), got);
    s->left -= (uint32_t)*got;
    return r == IO_EOF ? IO_ERROR : r;
}

enum io side_read(struct side *s, char *p, size_t room, size_t *got)
{
    *got = 0;
    if (s->eof)
        return IO_EOF;
    if (!s->ssl)
        return s->can_read ? read_plain(s, p, room, got) : IO_WAIT;
    return s->framed ? read_framed(s, p, room, got) : read_tls(s, p, room, got);
}

void side_renew(struct side *s)
{
    s->hung = s->eof = s->shut = false;
}

static enum io write_tls(struct side *s, const void *p, size_t len, size_t *sent)
{
    ERR_clear_error();
    int n = SSL_write(s->ssl, p, (int)len);
    if (n <= 0)
        return ssl_outcome(s, n) == IO_WAIT ? IO_WAIT : IO_ERROR;
    *sent = (size_t)n;
    return IO_OK;
}

/* One record a piece: all of it goes, or none. What is long lies in a buffer with room in front; a
 * call that is repeated has the same bytes. */
static enum io write_framed(struct side *s, const char *p, size_t len, size_t *sent)
{
    char small[1024 + PIECE_FRONT];
    size_t piece = MIN(len, (size_t)PIECE_MAX), n = 0;
    char *at = small;
    if (piece <= sizeof small - PIECE_FRONT)
        memcpy(small + PIECE_FRONT, p, piece);
    else
        at = (char *)(uintptr_t)p - PIECE_FRONT;
    at[0] = (char)(piece >> 8);
    at[1] = (char)piece;
    enum io r = write_tls(s, at, piece + PIECE_FRONT, &n);
    if (r == IO_OK && n != piece + PIECE_FRONT)
        return IO_ERROR;
    *sent = r == IO_OK ? piece : 0;
    return r;
}

enum io side_write(struct side *s, const char *p, size_t len, size_t *sent)
{
    *sent = 0;
    if (!s->can_write)
        return IO_WAIT;
    if (s->ssl)
        return s->framed ? write_framed(s, p, len, sent) : write_tls(s, p, len, sent);
    ssize_t n;
    do
        n = send(s->fd, p, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return IO_ERROR;
    if (n < 0)
        return cannot_write(s);
    *sent = (size_t)n;
    return IO_OK;
}

enum io side_shut(struct side *s)
{
    if (s->shut)
        return IO_OK;
    if (s->framed) {
        static const uint8_t end[2];
        size_t n;
        enum io r = s->can_write ? write_tls(s, end, sizeof end, &n) : IO_WAIT;
        s->shut = r == IO_OK;
        return r;
    }
    if (s->ssl) {
        ERR_clear_error();
        int n = SSL_shutdown(s->ssl);
        if (n < 0) {
            enum io r = ssl_outcome(s, n);
            return r == IO_WAIT && !s->can_write ? IO_WAIT : IO_ERROR;
        }
    } else if (shutdown(s->fd, SHUT_WR) < 0) {
        return IO_ERROR;
    }
    s->shut = true;
    return IO_OK;
}

enum io side_handshake(struct side *s, bool server)
{
    if (!s->can_read && !s->can_write)
        return IO_WAIT;
    ERR_clear_error();
    int n = server ? SSL_accept(s->ssl) : SSL_connect(s->ssl);
    if (n == 1)
        return IO_OK;
    enum io r = ssl_outcome(s, n);
    return r == IO_WAIT ? IO_WAIT : IO_ERROR;
}
