/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. HTTP/2 connections. The connection owns a session of proto/h2; each of its streams is a
 * connection without a socket, on which a transaction runs as on any other: what it reads comes out of
 * the stream's queue, what it writes the session takes when the client's windows have room.
 *
 * Streams run from the thread's list of those to be run again, never from within a call of the session,
 * and the session's bytes are written once for all of them. */
#include "net/http/priv.h"

#include <errno.h>

#define READS_PER_TURN 16u
/* Of one thread: with its buffers a stream holds at most some 128 KiB. */
#define STREAMS_PER_THREAD 2048u

/* -- a stream's content ------------------------------------------------------------------------ */

static void queue_content(struct conn *c, const char *p, size_t len)
{
    while (len) {
        if (!c->queue_last || c->queue_last->end == BUF_BYTES) {
            struct buf *b = http_buf_get(c->t);
            if (c->queue_last)
                c->queue_last->next = b;
            else
                c->queue = b;
            c->queue_last = b;
        }
        size_t n = MIN(len, (size_t)(BUF_BYTES - c->queue_last->end));
        memcpy(c->queue_last->data + c->queue_last->end, p, n);
        c->queue_last->end += (uint32_t)n;
        p += n;
        len -= n;
    }
}

static struct buf *take_queued(struct conn *c)
{
    struct buf *b = c->queue;
    if (!b)
        return NULL;
    c->queue = b->next;
    if (!c->queue)
        c->queue_last = NULL;
    b->next = NULL;
    h2_consume(c->parent->h2->session, c->gone ? 0 : c->id, http_buf_len(b));
    return b;
}

enum io http_h2_fill(struct stream *s)
{
    struct conn *c = CONTAINER_OF(s, struct conn, s);
    if (s->broken)
        return IO_ERROR;
    ASSERT(!s->in);
    s->in = take_queued(c);
    if (!s->in)
        return c->ended ? IO_EOF : IO_WAIT;
    http_thread_again(c->parent); /* the window that was given back has to be said */
    return IO_OK;
}

/* Room in the connection's buffer, and frames into it. */
static void gather(struct conn *p)
{
    for (;;) {
        if (!p->s.out)
            p->s.out = http_buf_get(p->t);
        struct buf *b = p->s.out;
        if (BUF_BYTES - b->end < H2_GIVE_MIN) {
            uint32_t before = b->start;
            enum io r = http_stream_flush(p->t, &p->s);
            p->h2->moved |= b->start != before;
            if (r != IO_OK)
                return;
            b->start = b->end = 0;
        }
        size_t n = h2_give(p->h2->session, b->data + b->end, BUF_BYTES - b->end);
        if (!n)
            return;
        b->end += (uint32_t)n;
    }
}

enum io http_h2_flush(struct stream *s)
{
    struct conn *c = CONTAINER_OF(s, struct conn, s);
    bool pending = http_buf_len(s->out) || (c->out_last && !c->out_done);
    if (pending && !c->gone) {
        h2_resume(c->parent->h2->session, c->id);
        gather(c->parent);
        http_thread_again(c->parent); /* writes it */
    }
    if (!http_buf_len(s->out) && (!c->out_last || c->out_done))
        return IO_OK;
    return c->gone || s->broken ? IO_ERROR : IO_WAIT;
}

/* -- heads ------------------------------------------------------------------------------------- */

void http_h2_head(
    struct tx *tx, const struct http_response *r, const struct http_forward *f, bool content)
{
    struct conn *c = tx->conn;
    if (c->gone)
        return;
    h2_answer(c->parent->h2->session, c->id, r, f, content);
    http_thread_again(c->parent);
    if (r->status < 200)
        return;
    tx->begun = true; /* it cannot be taken back */
    c->out_last = c->out_done = !content;
}

void http_h2_continue(struct tx *tx)
{
    struct http_response *r = &tx->conn->t->response;
    memset(r, 0, offsetof(struct http_response, fields));
    r->fields.n = 0;
    r->status = 100;
    http_h2_head(tx, r, &(struct http_forward){0}, false);
}

/* "Name: value" lines as fields. */
static void put_lines(struct http_fields *f, struct http_text lines)
{
    while (lines.len && f->n < HTTP_FIELDS_MAX) {
        const char *end = memchr(lines.p, '\n', lines.len),
                   *colon = memchr(lines.p, ':', lines.len);
        ASSERT(end && colon && colon < end); /* ours */
        f->v[f->n++] = (struct http_field){
            .name = {lines.p, (size_t)(colon - lines.p)},
            .value = {colon + 2, (size_t)(end - colon) - 3},
        };
        lines.len -= (size_t)(end + 1 - lines.p);
        lines.p = end + 1;
    }
}

void http_h2_reply(struct tx *tx, const struct http_reply *reply)
{
    struct conn *c = tx->conn;
    struct http_response *r = &c->t->response;
    memset(r, 0, offsetof(struct http_response, fields));
    r->fields.n = 0;
    r->status = reply->status;
    r->has_length = reply->type || (reply->status != 204 && reply->status != 304);
    r->content_length = reply->type ? reply->body.len : 0;
    if (reply->type)
        r->fields.v[r->fields.n++] = (struct http_field){
            .name = {"content-type", 12}, .value = {reply->type, strlen(reply->type)}};
    put_lines(&r->fields, reply->fields);
    struct http_forward f = {
        .request_id = {tx->pub.id, sizeof tx->pub.id},
        .date = {c->t->date, strlen(c->t->date)},
    };
    bool content = reply->type && reply->body.len && !tx->request.is_head;
    if (content) {
        if (!c->s.out)
            c->s.out = http_buf_get(c->t);
        struct http_out o = {.p = c->s.out->data + c->s.out->end, .cap = BUF_BYTES - c->s.out->end};
        http_out_text(&o, reply->body);
        ASSERT(!o.full);
        c->s.out->end += (uint32_t)o.len;
        tx->pub.bytes = reply->body.len;
    }
    http_h2_head(tx, r, &f, content);
    c->out_last = true;
}

/* -- what the session calls -------------------------------------------------------------------- */

static struct conn *stream_of(struct h2_head *head)
{
    return CONTAINER_OF(head, struct conn, head);
}

static struct h2_head *on_begin(void *ctx, int32_t id)
{
    struct conn *p = ctx;
    struct thread *t = p->t;
    if (t->n_streams == STREAMS_PER_THREAD)
        return NULL;
    struct conn *c = http_conn_new(t);
    t->n_streams++;
    c->parent = p;
    c->id = id;
    c->state = CONN_STREAM;
    c->s.fd = -1;
    c->s.h2 = true;
    c->tls_version = p->tls_version;
    c->client_len = p->client_len;
    memcpy(c->client, p->client, sizeof c->client);
    c->next = p->h2->streams;
    if (c->next)
        c->next->prev = c;
    p->h2->streams = c;
    p->h2->n_streams++;
    c->tx = http_tx_get(t);
    c->s.in = http_buf_get(t); /* the head, until the transaction takes it */
    c->head =
        (struct h2_head){.request = &c->tx->request, .room = c->s.in->data, .cap = HTTP_HEAD_MAX};
    http_timer_set(t, &c->timer, TIMER_HEAD);
    return &c->head;
}

static void on_request(void *ctx, struct h2_head *head, enum http_reject reject, bool ended)
{
    struct conn *c = stream_of(head);
    struct tx *tx = c->tx;
    http_timer_unset(&c->timer);
    c->ended = ended;
    c->s.in->end = (uint32_t)head->used;
    http_tx_start(c, tx, head->used, reject);
    http_thread_again(c);
}

static void on_content(void *ctx, struct h2_head *head, const char *p, size_t len)
{
    struct conn *c = stream_of(head);
    if (c->state == CONN_BUSY) {
        queue_content(c, p, len);
        http_thread_again(c);
        return;
    }
    h2_consume(c->parent->h2->session, c->id, len);
}

static void on_ended(void *ctx, struct h2_head *head)
{
    struct conn *c = stream_of(head);
    c->ended = true;
    http_thread_again(c);
}

/* Nothing holds it any more: neither the session nor a transaction. */
static void release(struct conn *c)
{
    struct conn *p = c->parent;
    struct buf *b;
    while ((b = take_queued(c)))
        http_buf_put(c->t, &b);
    if (c->prev)
        c->prev->next = c->next;
    else
        p->h2->streams = c->next;
    if (c->next)
        c->next->prev = c->prev;
    p->h2->n_streams--;
    c->t->n_streams--;
    http_buf_put(c->t, &c->s.in);
    http_buf_put(c->t, &c->s.out);
    http_thread_again(p);
    http_conn_forget(c);
}

static void on_closed(void *ctx, struct h2_head *head, uint32_t error)
{
    struct conn *c = stream_of(head);
    c->gone = true;
    if (c->state == CONN_BUSY) {
        c->s.broken |= !c->out_done;
        http_thread_again(c);
        return;
    }
    if (c->tx) /* its head never was */
        http_tx_put(c->t, c->tx);
    c->tx = NULL;
    release(c);
}

static struct http_text on_ready(void *ctx, struct h2_head *head, bool *last)
{
    struct conn *c = stream_of(head);
    *last = c->out_last;
    return c->s.out ? (struct http_text){http_buf_at(c->s.out), http_buf_len(c->s.out)}
                    : (struct http_text){"", 0};
}

static void on_sent(void *ctx, struct h2_head *head, size_t len, bool last)
{
    struct conn *c = stream_of(head);
    if (len)
        c->s.out->start += (uint32_t)len;
    c->out_done |= last;
    if (c->tx)
        c->tx->moved = true;
    if (!http_buf_len(c->s.out))
        http_thread_again(c);
}

static void on_count(void *ctx, enum h2_event event)
{
    const struct conn *p = ctx;
    http_stat_add(p->t, HTTP_STAT_H2_STREAMS + (enum http_stat)event, 1);
}

static const struct h2_calls calls = {
    on_begin, on_request, on_content, on_ended, on_closed, on_ready, on_sent, on_count};

/* -- the connection ---------------------------------------------------------------------------- */

void http_h2_start(struct conn *p)
{
    struct thread *t = p->t;
    http_timer_unset(&p->timer);
    p->h2 = xcalloc(1, sizeof *p->h2);
    p->h2->session = h2_new(&calls, p, http_h2_mem(t), t->now_ms);
    p->state = CONN_H2;
    http_stat_add(t, HTTP_STAT_H2_CONNECTIONS, 1);
    if (t->draining)
        http_h2_drain(p);
}

void http_h2_drain(struct conn *p)
{
    if (p->t->drain_idle_ms)
        h2_leave(p->h2->session);
    else
        h2_goodbye(p->h2->session);
    http_thread_again(p);
}

void http_h2_idle(struct conn *p)
{
    h2_goodbye(p->h2->session);
    http_h2_run(p);
    if (p->state != CONN_DEAD)
        http_conn_close(p, false);
}

/* The transaction has ended; the stream may have something left to say. */
void http_h2_stream_end(struct conn *c, const struct tx *tx)
{
    struct h2 *session = c->parent->h2->session;
    c->tx = NULL;
    c->state = CONN_STREAM;
    http_buf_put(c->t, &c->s.in);
    if (c->gone) {
        release(c);
        return;
    }
    if (tx->cut)
        h2_reset(session, c->id,
            tx->pub.end == HTTP_END_CLIENT_GONE ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
    else if (
        !c->ended) /* the rest is thrown away for a moment: many clients read no answer before */
        http_timer_set(c->t, &c->timer, TIMER_LINGER);
    struct buf *b;
    while ((b = take_queued(c)))
        http_buf_put(c->t, &b);
    http_thread_again(c->parent);
}

/* The answer is whole and the rest of the request is not wanted (RFC 9113 section 8.1), or the head did
 * not come in time. */
void http_h2_stream_timeout(struct conn *c)
{
    h2_reset(c->parent->h2->session, c->id, c->tx ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    http_thread_again(c->parent);
}

void http_h2_done(struct conn *p)
{
    struct http_h2 *h2 = p->h2;
    enum http_end why = p->t->draining && p->t->drain_until_ms <= p->t->now_ms
                            ? HTTP_END_STOPPED
                            : HTTP_END_CLIENT_GONE;
    while (h2->streams) {
        struct conn *c = h2->streams;
        c->gone = true;
        if (c->state == CONN_BUSY) {
            http_tx_abort(c->tx, why);
            http_conn_run(c);
            continue;
        }
        if (c->tx)
            http_tx_put(c->t, c->tx);
        c->tx = NULL;
        release(c);
    }
    h2_free(h2->session);
    free(h2);
    p->h2 = NULL;
}

/* A peer that takes nothing, and one that wants nothing. */
static void watch(struct conn *p)
{
    struct http_h2 *h2 = p->h2;
    bool set = p->timer.next != NULL;
    if (http_buf_len(p->s.out)) {
        if (h2->moved || !set || p->timer.kind != TIMER_SEND)
            http_timer_set(p->t, &p->timer, TIMER_SEND);
    } else if (h2->n_streams) {
        http_timer_unset(&p->timer);
    } else if (!set || p->timer.kind != TIMER_IDLE) {
        http_timer_set(p->t, &p->timer, TIMER_IDLE);
    }
    h2->moved = false;
}

/* IO_OK: all is with the kernel. */
static enum io write_out(struct conn *p)
{
    enum io r;
    do {
        gather(p);
        uint32_t before = p->s.out->start;
        size_t len = http_buf_len(p->s.out);
        r = http_stream_flush(p->t, &p->s);
        p->h2->moved |= p->s.out->start != before;
        if (r != IO_OK)
            return r;
        p->s.out->start = p->s.out->end = 0;
        if (!len)
            break;
    } while (true);
    http_buf_put(p->t, &p->s.out);
    return IO_OK;
}

static enum io read_in(struct conn *p)
{
    /* What was read to find the preface is still there. */
    enum io r = p->s.in ? IO_OK : http_stream_fill(p->t, &p->s);
    if (r != IO_OK)
        return r;
    bool on = h2_take(p->h2->session, http_buf_at(p->s.in), http_buf_len(p->s.in), p->t->now_ms);
    http_buf_put(p->t, &p->s.in);
    p->h2->deaf |= !on;
    return IO_OK;
}

void http_h2_run(struct conn *p)
{
    for (unsigned turn = 0;; turn++) {
        enum io out = write_out(p);
        if (out == IO_ERROR || (out == IO_OK && h2_over(p->h2->session))) {
            http_conn_close(p, false);
            return;
        }
        /* One that does not take what it asked for is not asked what else it wants. */
        if (out == IO_WAIT || p->h2->deaf)
            break;
        if (turn == READS_PER_TURN) {
            http_thread_again(p);
            break;
        }
        enum io in = read_in(p);
        if (in == IO_WAIT)
            break;
        if (in != IO_OK) {
            http_conn_close(p, false);
            return;
        }
    }
    watch(p);
}
