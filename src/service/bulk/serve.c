/* SPDX-License-Identifier: Apache-2.0 */
/* What other hosts fetch from this one: accept, prove, read a head, send a file. On the thread. */
#include "service/bulk/priv.h"

#include "base/str/str.h"
#include "service/peers/peers.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define ACCEPT_BATCH 8

struct serve {
    struct serve *next, **prev;
    struct bulk *owner;
    struct tls_stream *stream;
    uv_timer_t timer;
    struct str in;
    char host[BULK_HOST_SIZE];
    struct bulk_request request;
    uint64_t ticket; /* asked the owner; 0: not */
    int fd;          /* being sent */
    int64_t at, size;
    char *chunk;
    bool closing;
};

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_closed(void *ctx, struct tls_stream *stream, const struct err *e)
{
    struct serve *s = ctx;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->owner->n_serves--;
    if (s->fd >= 0)
        close(s->fd);
    str_done(&s->in);
    free(s->chunk);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void end(struct serve *s)
{
    if (s->closing)
        return;
    s->closing = true;
    tls_stream_close(s->stream);
}

static void on_silence(uv_timer_t *t)
{
    end(t->data);
}

static void expect(struct serve *s, uint64_t within_ms)
{
    uv_timer_start(&s->timer, on_silence, within_ms, 0);
}

static void answer(struct serve *s, const struct bulk_answer *a)
{
    _cleanup_str_ struct str line = STR_INIT;
    bulk_answer_format(a, &line);
    tls_stream_write(s->stream, line.buf, line.len);
}

static void read_request(struct serve *s);

/* The next piece, when the last one has gone: what a slow peer costs is one piece. */
static void send_piece(struct serve *s)
{
    int64_t left = s->size - s->at;
    if (left == 0) {
        close(util_steal_fd(&s->fd));
        expect(s, IDLE_MS);
        read_request(s);
        return;
    }
    ssize_t n = pread(s->fd, s->chunk, MIN((uint64_t)left, CHUNK_BYTES), s->at);
    if (n <= 0) { /* the peer asks elsewhere */
        end(s);
        return;
    }
    s->at += n;
    expect(s, SILENCE_MS);
    tls_stream_write(s->stream, s->chunk, (size_t)n);
}

static void on_drained(void *ctx, struct tls_stream *stream)
{
    struct serve *s = ctx;
    if (s->fd >= 0 && !s->closing)
        send_piece(s);
}

static void refuse(struct serve *s, const struct err *why)
{
    struct bulk_answer a = {.code = why->code};
    str_copy(a.message, sizeof a.message, why->message);
    answer(s, &a);
    expect(s, IDLE_MS);
}

static void send_file(struct serve *s, int fd)
{
    struct stat st;
    struct err e;
    s->fd = fd;
    if (fstat(fd, &st) < 0 || s->request.offset > st.st_size) {
        err_set(&e, ERR_INVALID, "%lld bytes are all there is", (long long)st.st_size);
        close(util_steal_fd(&s->fd));
        refuse(s, &e);
        return;
    }
    s->at = s->request.offset;
    s->size = st.st_size;
    if (!s->chunk)
        s->chunk = xmalloc(CHUNK_BYTES);
    answer(s, &(struct bulk_answer){.size = s->size}); /* drained() goes on */
    expect(s, SILENCE_MS);
}

void serve_opened(struct bulk *b, struct letter *l)
{
    for (struct serve *s = b->serves; s; s = s->next) {
        if (s->ticket != l->id || s->closing)
            continue;
        s->ticket = 0;
        if (l->fd >= 0)
            send_file(s, util_steal_fd(&l->fd));
        else
            refuse(s, &l->why);
        return;
    }
}

static void read_request(struct serve *s)
{
    struct err e;
    char *end_of_line = s->in.len ? memchr(s->in.buf, '\n', s->in.len) : NULL;
    if (s->ticket || s->fd >= 0 || s->closing)
        return;
    if (!end_of_line) {
        if (s->in.len >= BULK_HEAD_MAX)
            end(s);
        return;
    }
    size_t len = (size_t)(end_of_line - s->in.buf);
    if (bulk_request_parse(s->in.buf, len, &s->request, &e) < 0) {
        end(s);
        return;
    }
    s->in.len -= len + 1;
    memmove(s->in.buf, end_of_line + 1, s->in.len);
    s->ticket = ++s->owner->last_ticket;
    struct letter *l = letter_new(L_OPEN, s->ticket);
    l->request = s->request;
    str_copy(l->host, sizeof l->host, s->host);
    letter_send(s->owner, &s->owner->to_owner, l);
    expect(s, SILENCE_MS);
}

static void on_data(void *ctx, struct tls_stream *stream, const void *p, size_t len)
{
    struct serve *s = ctx;
    if (s->closing)
        return;
    if (s->in.len + len > 2 * (size_t)BULK_HEAD_MAX) { /* nobody has that much to ask */
        end(s);
        return;
    }
    str_add_mem(&s->in, p, len);
    read_request(s);
}

static void on_ready(void *ctx, struct tls_stream *stream)
{
    struct serve *s = ctx;
    if (!peers_host_of_id(s->owner->platform, tls_stream_peer_id(stream), s->host, sizeof s->host))
        end(s);
}

static const struct tls_stream_handler handler = {
    .ready = on_ready, .data = on_data, .closed = on_closed, .drained = on_drained};

static void take(struct bulk *b, int fd)
{
    struct err e;
    SSL_CTX *ctx;
    if (b->stopping || b->n_serves >= SERVES_MAX || bulk_tls(b, true, &ctx, &e) < 0) {
        close(fd);
        return;
    }
    struct serve *s = xcalloc(1, sizeof *s);
    s->owner = b;
    s->fd = -1;
    if (tls_stream_new(&b->loop, ctx, fd, true, NULL, &handler, s, &s->stream, &e) < 0) {
        free(s);
        return;
    }
    uv_timer_init(&b->loop, &s->timer);
    s->timer.data = s;
    s->next = b->serves;
    s->prev = &b->serves;
    if (s->next)
        s->next->prev = &s->next;
    b->serves = s;
    b->n_serves++;
    expect(s, IDLE_MS);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct bulk *b = poll->data;
    int listen_fd;
    if (uv_fileno((uv_handle_t *)poll, &listen_fd) < 0)
        return;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        take(b, fd);
    }
}

void serve_start(struct bulk *b)
{
    for (size_t i = 0; i < b->n_listeners; i++) {
        ASSERT(uv_poll_init(&b->loop, &b->listeners[i], b->listen_fds[i]) == 0);
        b->listeners[i].data = b;
        uv_poll_start(&b->listeners[i], UV_READABLE, on_readable);
    }
}

void serve_stop(struct bulk *b)
{
    for (size_t i = 0; i < b->n_listeners; i++)
        uv_close((uv_handle_t *)&b->listeners[i], NULL);
    for (struct serve *s = b->serves; s; s = s->next)
        end(s);
}
