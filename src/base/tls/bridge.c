/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tls/bridge.h"

#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#define BACKLOG_MAX (1024u * 1024)
#define READ_BYTES (64u * 1024)

struct bridge {
    uv_loop_t loop;
    struct tls_stream *stream; /* NULL: it has ended */
    uv_poll_t local;
    int local_fd;
    bool ready, local_open;
    const char *id_prefix; /* during the handshake */
    struct err why;
};

static void end(struct bridge *b)
{
    if (b->local_open) {
        b->local_open = false;
        shutdown(b->local_fd, SHUT_RDWR);
        uv_close((uv_handle_t *)&b->local, NULL);
    }
    if (b->stream)
        tls_stream_close(b->stream);
}

static void on_local(uv_poll_t *p, int status, int events);

static void on_ready(void *ctx, struct tls_stream *s)
{
    struct bridge *b = ctx;
    b->ready = str_starts(tls_stream_peer_id(s), b->id_prefix);
    if (b->ready)
        return;
    err_set(&b->why, ERR_DENIED, "who answers is %s, not %s…", tls_stream_peer_id(s), b->id_prefix);
    tls_stream_close(s);
}

/* Blocks until the program has read: it never waits for us with its own end full. */
static void on_data(void *ctx, struct tls_stream *s, const void *p, size_t len)
{
    struct bridge *b = ctx;
    const char *at = p;
    while (b->local_open && len > 0) {
        ssize_t n = send(b->local_fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            end(b);
            return;
        }
        at += n;
        len -= (size_t)n;
    }
}

static void on_drained(void *ctx, struct tls_stream *s)
{
    struct bridge *b = ctx;
    if (b->local_open)
        uv_poll_start(&b->local, UV_READABLE, on_local);
}

static void on_closed(void *ctx, struct tls_stream *s, const struct err *e)
{
    struct bridge *b = ctx;
    b->stream = NULL;
    b->ready = false;
    if (!b->why.code)
        b->why = *e;
    end(b);
}

static const struct tls_stream_handler handler = {
    .ready = on_ready, .data = on_data, .closed = on_closed, .drained = on_drained};

static void on_local(uv_poll_t *p, int status, int events)
{
    struct bridge *b = p->data;
    char buf[READ_BYTES];
    ssize_t n = recv(b->local_fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(b);
        return;
    }
    tls_stream_write(b->stream, buf, (size_t)n);
    if (b->stream && tls_stream_backlog(b->stream) > BACKLOG_MAX)
        uv_poll_stop(&b->local);
}

static void free_bridge(struct bridge *b)
{
    end(b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&b->loop) == 0);
    if (b->local_fd >= 0)
        close(b->local_fd);
    free(b);
}

static void *pump(void *arg)
{
    struct bridge *b = arg;
    uv_run(&b->loop, UV_RUN_DEFAULT);
    free_bridge(b);
    return NULL;
}

static int shake_hands(struct bridge *b, int fd, SSL_CTX *ctx, struct err *e)
{
    int r = tls_stream_new(&b->loop, ctx, fd, false, NULL, &handler, b, &b->stream, e);
    if (r < 0)
        return r;
    while (b->stream && !b->ready)
        uv_run(&b->loop, UV_RUN_ONCE);
    if (b->ready)
        return 0;
    *e = b->why;
    return e->code;
}

/* Before the handshake: what the peer says right behind it waits in the socket. */
static int open_local(struct bridge *b, int *ret_fd, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "socketpair");
    *ret_fd = pair[1];
    b->local_fd = pair[0];
    b->local.data = b;
    ASSERT(uv_poll_init(&b->loop, &b->local, b->local_fd) == 0);
    b->local_open = true;
    int flags = fcntl(b->local_fd, F_GETFL); /* uv_poll_init() has made it non-blocking */
    if (flags < 0 || fcntl(b->local_fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return err_errno(e, errno, "make a socket block");
    return 0;
}

static int start_pump(struct bridge *b, struct err *e)
{
    pthread_t thread;
    uv_poll_start(&b->local, UV_READABLE, on_local);
    int r = pthread_create(&thread, NULL, pump, b);
    if (r != 0)
        return err_errno(e, r, "start a thread");
    pthread_detach(thread);
    return 0;
}

int tls_bridge(int fd, SSL_CTX *ctx, const char *id_prefix, int *ret_fd, struct err *e)
{
    _cleanup_close_ int remote = fd, local = -1;
    struct bridge *b = xcalloc(1, sizeof *b);
    b->local_fd = -1;
    b->id_prefix = id_prefix;
    ASSERT(uv_loop_init(&b->loop) == 0);
    int r = open_local(b, &local, e);
    if (r >= 0)
        r = shake_hands(b, util_steal_fd(&remote), ctx, e);
    if (r >= 0)
        r = start_pump(b, e);
    if (r < 0)
        free_bridge(b);
    else
        *ret_fd = util_steal_fd(&local);
    return r;
}
