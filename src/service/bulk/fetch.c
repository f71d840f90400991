/* SPDX-License-Identifier: Apache-2.0 */
/* One blob from whichever host has it: connect, ask from where the file ends, write what comes; the
 * next host when one fails, a host again when bytes moved since. On the thread. */
#include "service/bulk/priv.h"

#include "base/str/str.h"

#include <errno.h>
#include <sys/socket.h>

#define ROUNDS_IDLE 2 /* times that all hosts are asked without a byte moving */
#define RETRY_MS 500u

struct fetch {
    struct fetch *next, **prev;
    struct bulk *owner;
    uint64_t id;
    struct bulk_request request;
    struct letter *asked; /* owns the targets */
    int fd;
    int64_t have, size, told_have;
    size_t turn;         /* of targets × their addresses */
    unsigned idle_turns; /* turns since a byte moved */
    struct tls_stream *stream;
    uv_timer_t timer; /* silence, or the wait for the next turn */
    struct str head;
    bool in_body, over;
    char from[BULK_HOST_SIZE]; /* the only source so far */
    bool mixed;
    uint64_t told_ms;
    struct err why; /* of the last turn that failed */
};

static void next_turn(struct fetch *f);

static void on_timer_closed(uv_handle_t *h)
{
    struct fetch *f = h->data;
    letter_free(f->asked);
    str_done(&f->head);
    free(f);
}

/* No more callbacks of the stream matter; memory goes with the timer once the stream is closed. */
static void finish(struct fetch *f, int code)
{
    if (f->over)
        return;
    f->over = true;
    *f->prev = f->next;
    if (f->next)
        f->next->prev = f->prev;
    if (f->fd >= 0)
        close(util_steal_fd(&f->fd)); /* before the word: the owner opens it again */
    if (!f->owner->stopping && code != ERR_CANCELED) {
        struct letter *l = letter_new(L_DONE, f->id);
        if (code < 0)
            l->why = f->why;
        if (!f->mixed)
            str_copy(l->host, sizeof l->host, f->from);
        letter_send(f->owner, &f->owner->to_owner, l);
    }
    uv_timer_stop(&f->timer);
    if (f->stream)
        tls_stream_close(f->stream); /* on_closed() closes the timer */
    else
        uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}

static const struct bulk_target *target(const struct fetch *f)
{
    return &f->asked->targets[f->turn % f->asked->n_targets];
}

static void tell(struct fetch *f)
{
    uint64_t now = uv_now(&f->owner->loop);
    if (f->told_ms && now - f->told_ms < PROGRESS_MS)
        return;
    f->told_ms = now;
    struct letter *l = letter_new(L_PROGRESS, f->id);
    l->have = f->have;
    l->size = f->size;
    str_copy(l->host, sizeof l->host, target(f)->host);
    letter_send(f->owner, &f->owner->to_owner, l);
}

static void on_silence(uv_timer_t *t)
{
    struct fetch *f = t->data;
    err_set(&f->why, ERR_TIMEOUT, "%s: nothing for %u s", target(f)->host, SILENCE_MS / 1000);
    tls_stream_close(f->stream);
}

static void expect(struct fetch *f)
{
    uv_timer_start(&f->timer, on_silence, SILENCE_MS, 0);
}

/* This host is of no use for now (its words are in why): the stream's end brings the next turn. */
static void give_up(struct fetch *f, int code, const char *text)
{
    err_set(&f->why, code, "%s: %s", target(f)->host, text);
    tls_stream_close(f->stream);
}

static void note_source(struct fetch *f)
{
    const char *host = target(f)->host;
    if (f->request.offset > 0 || (*f->from && strcmp(f->from, host) != 0))
        f->mixed = true;
    str_copy(f->from, sizeof f->from, host);
}

static void take_bytes(struct fetch *f, const char *p, size_t len)
{
    if ((int64_t)len > f->size - f->have) {
        give_up(f, ERR_PROTOCOL, "sends more than the blob has");
        return;
    }
    note_source(f);
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(f->fd, p + done, len - done, f->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) { /* our own disk: no other host mends that */
            err_set(&f->why, errno == ENOSPC ? ERR_LIMIT : ERR_SYSTEM, "%s",
                errno == ENOSPC ? "the disk is full" : strerror(errno));
            finish(f, f->why.code);
            return;
        }
        done += (size_t)n;
        f->have += n;
    }
    f->idle_turns = 0;
    expect(f);
    tell(f);
}

static void take_head(struct fetch *f)
{
    struct bulk_answer a;
    struct err e = {0};
    if (bulk_answer_parse(f->head.buf, f->head.len, &a, &e) < 0) {
        give_up(f, ERR_PROTOCOL, e.message);
    } else if (a.code) {
        give_up(f, a.code, a.message);
    } else if (a.size > bulk_size_max(f->request.kind)) {
        give_up(f, ERR_LIMIT, "has a blob that is longer than any");
    } else if (a.size < f->have || (f->size >= 0 && f->size != a.size)) {
        give_up(f, ERR_INVALID, "has a blob of another size under that digest");
    } else {
        f->size = a.size;
        f->in_body = true;
    }
}

static void on_data(void *ctx, struct tls_stream *s, const void *data, size_t len)
{
    struct fetch *f = ctx;
    const char *p = data;
    if (f->over)
        return;
    while (len && !f->in_body) {
        const char *line_end = memchr(p, '\n', len);
        size_t part = line_end ? (size_t)(line_end - p) : len;
        if (f->head.len + part >= BULK_HEAD_MAX) {
            give_up(f, ERR_PROTOCOL, "an endless head");
            return;
        }
        str_add_mem(&f->head, p, part);
        if (!line_end)
            return;
        take_head(f);
        if (!f->in_body)
            return;
        p += part + 1;
        len -= part + 1;
    }
    if (len)
        take_bytes(f, p, len);
    if (!f->over && f->in_body && f->have == f->size)
        finish(f, 0);
}

static void on_ready(void *ctx, struct tls_stream *s)
{
    struct fetch *f = ctx;
    if (f->over)
        return;
    struct bulk_request r = f->request;
    _cleanup_str_ struct str line = STR_INIT;
    r.offset = f->have;
    bulk_request_format(&r, &line);
    tls_stream_write(s, line.buf, line.len);
    expect(f);
}

static void on_closed(void *ctx, struct tls_stream *s, const struct err *e)
{
    struct fetch *f = ctx;
    f->stream = NULL;
    if (f->over) {
        uv_close((uv_handle_t *)&f->timer, on_timer_closed);
        return;
    }
    if (e->code != ERR_CANCELED)
        err_set(&f->why, e->code, "%s: %s", target(f)->host, e->message);
    f->turn++;
    f->idle_turns++;
    next_turn(f);
}

static const struct tls_stream_handler handler = {
    .ready = on_ready, .data = on_data, .closed = on_closed};

static int dial(struct fetch *f, const struct ip_addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len;
    const struct ip_addr *from = &f->owner->source;
    _cleanup_close_ int fd =
        socket(to->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (from->family == to->family) {
        ip_to_sockaddr(from, 0, &sa, &len);
        (void)!bind(fd, (struct sockaddr *)&sa, len); /* else the kernel chooses */
    }
    ip_to_sockaddr(to, f->owner->port, &sa, &len);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        return -1;
    return util_steal_fd(&fd);
}

static int begin(struct fetch *f, struct err *e)
{
    const struct bulk_target *t = target(f);
    SSL_CTX *ctx;
    int r = bulk_tls(f->owner, false, &ctx, e);
    if (r < 0)
        return r;
    if (!t->n_addresses)
        return err_set(e, ERR_UNAVAILABLE, "it has no address");
    int fd = dial(f, &t->addresses[f->turn / f->asked->n_targets % t->n_addresses]);
    if (fd < 0)
        return err_errno(e, errno, "connect");
    _cleanup_free_ char *id = xasprintf("spiffe://%s/host/%s", f->owner->platform, t->host);
    str_clear(&f->head);
    f->in_body = false;
    /* The handshake begins when the socket is connected; its time limit covers both. */
    return tls_stream_new(&f->owner->loop, ctx, fd, false, id, &handler, f, &f->stream, e);
}

static void on_turn(uv_timer_t *t)
{
    struct fetch *f = t->data;
    struct err e = {0};
    if (begin(f, &e) >= 0)
        return;
    err_set(&f->why, e.code, "%s: %s", target(f)->host, e.message);
    f->stream = NULL;
    f->turn++;
    f->idle_turns++;
    next_turn(f);
}

/* All hosts in turn; a pause before each new round. */
static void next_turn(struct fetch *f)
{
    size_t n = f->asked->n_targets;
    if (f->over)
        return;
    if (n == 0 || f->idle_turns >= ROUNDS_IDLE * n) {
        if (n == 0)
            err_set(&f->why, ERR_NOT_FOUND, "no host has it");
        finish(f, f->why.code ? f->why.code : ERR_UNAVAILABLE);
        return;
    }
    bool again = f->idle_turns >= n || (f->turn && f->turn % n == 0);
    uv_timer_start(&f->timer, on_turn, again ? RETRY_MS : 0, 0);
}

void fetch_start(struct bulk *b, struct letter *l)
{
    struct fetch *f = xcalloc(1, sizeof *f);
    *f = (struct fetch){.next = b->fetches,
        .prev = &b->fetches,
        .owner = b,
        .id = l->id,
        .request = l->request,
        .asked = l,
        .fd = util_steal_fd(&l->fd),
        .have = l->request.offset,
        .size = -1};
    if (f->next)
        f->next->prev = &f->next;
    b->fetches = f;
    uv_timer_init(&b->loop, &f->timer);
    f->timer.data = f;
    next_turn(f);
}

void fetch_cancel(struct bulk *b, uint64_t id)
{
    for (struct fetch *f = b->fetches; f; f = f->next)
        if (f->id == id) {
            finish(f, ERR_CANCELED);
            return;
        }
}

void fetch_stop(struct bulk *b)
{
    while (b->fetches)
        finish(b->fetches, ERR_CANCELED);
}
