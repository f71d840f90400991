/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Content both ways: decoded from one side's framing, framed anew for the other, through
 * one buffer each way. A full buffer stops the reading on the other side (back-pressure); nothing
 * grows. */
#include "net/http/priv.h"

#include <errno.h>

#define ROOM_MIN 4096u /* less is not worth a read: send first */

static void drop_data(struct thread *t, struct stream *s, size_t used)
{
    s->in->start += (uint32_t)used;
    if (!http_buf_len(s->in))
        http_buf_put(t, &s->in);
}

/* Frames a piece of content, and the end behind the last one, into `to`, which has the room. */
static void put_content(struct buf *to, struct http_text data, bool chunked, bool last)
{
    struct http_out o = {.p = to->data + to->end, .cap = BUF_BYTES - to->end};
    if (!chunked)
        http_out_text(&o, data);
    else if (data.len)
        http_out_chunk(&o, data.p, data.len);
    if (chunked && last)
        http_out_last_chunk(&o);
    ASSERT(!o.full);
    to->end += (uint32_t)o.len;
}

static enum io upstream_flush(struct tx *tx)
{
    uint32_t before = tx->sent->start;
    enum io r = http_stream_flush(tx->conn->t, &tx->up->s);
    tx->moved |= tx->sent->start != before;
    return r;
}

/* Room for more content towards the upstream; what was sent is given up, so the request can no
 * longer be repeated. */
static enum io request_room(struct tx *tx)
{
    struct buf *b = tx->sent;
    if (BUF_BYTES - b->end >= ROOM_MIN)
        return IO_OK;
    enum io r = upstream_flush(tx);
    if (r != IO_OK)
        return r;
    b->start = b->end = 0;
    tx->replayable = false;
    return IO_OK;
}

/* One piece of content from the client into `sent`. */
static enum pump take_request_piece(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    struct stream *from = &tx->conn->s;
    if (!from->in) {
        enum io r = http_stream_fill(t, from);
        if (r == IO_WAIT)
            return PUMP_WAIT;
        /* An HTTP/2 request without a length ends with its stream's side. */
        if (r != IO_OK && !(r == IO_EOF && http_body_close(&tx->request_body)))
            return PUMP_CLIENT_GONE;
        tx->moved = true;
    }
    if (!from->in) {
        tx->expecting = false;
        tx->request_ended = true;
        put_content(
            tx->sent, (struct http_text){"", 0}, tx->request.framing == HTTP_BODY_CHUNKED, true);
        return PUMP_MORE;
    }
    size_t used, max = BUF_BYTES - tx->sent->end - HTTP_CHUNK_OVERHEAD;
    struct http_text data;
    int e = http_body_take(
        &tx->request_body, http_buf_at(from->in), http_buf_len(from->in), max, &used, &data);
    if (e < 0) {
        tx->pub.reject = (enum http_reject) - e;
        return PUMP_CLIENT_BAD;
    }
    tx->expecting = false;
    tx->request_ended = http_body_ended(&tx->request_body);
    put_content(tx->sent, data, tx->request.framing == HTTP_BODY_CHUNKED, tx->request_ended);
    drop_data(t, from, used);
    return PUMP_MORE;
}

bool http_pump_fits(const struct tx *tx)
{
    return tx->request.framing == HTTP_BODY_LENGTH
           && tx->request.content_length <= BUF_BYTES - ROOM_MIN - tx->sent->end;
}

enum pump http_pump_collect(struct tx *tx)
{
    enum pump p = PUMP_MORE;
    while (!tx->request_ended && p == PUMP_MORE)
        p = take_request_piece(tx);
    return tx->request_ended ? PUMP_DONE : p;
}

enum pump http_pump_request(struct tx *tx)
{
    for (unsigned pieces = 0; !tx->request_ended; pieces++) {
        if (pieces == PIECES_PER_TURN)
            return PUMP_MORE;
        enum io r = request_room(tx);
        if (r == IO_ERROR)
            return PUMP_UPSTREAM_GONE;
        if (r == IO_WAIT)
            return PUMP_WAIT;
        enum pump p = take_request_piece(tx);
        if (p == PUMP_WAIT)
            break;
        if (p != PUMP_MORE)
            return p;
    }
    return upstream_flush(tx) == IO_ERROR ? PUMP_UPSTREAM_GONE : PUMP_WAIT;
}

enum io http_client_flush(struct tx *tx)
{
    struct stream *s = &tx->conn->s;
    uint32_t before = s->out ? s->out->start : 0;
    enum io r = http_stream_flush(tx->conn->t, s);
    if (s->out && s->out->start != before) {
        tx->moved = true;
        tx->begun |= tx->answered;
    }
    if (r == IO_OK)
        http_buf_put(tx->conn->t, &s->out);
    return r;
}

void http_store_end(struct tx *tx, bool whole)
{
    struct thread *t = tx->conn->t;
    void *store = tx->store;
    tx->store = NULL;
    if (store)
        t->calls->cache->end(t->app, store, whole);
}

/* The end is said when it is here: whoever else reads what is stored does not wait for this client. */
static void store_piece(struct tx *tx, struct http_text data, bool last)
{
    struct thread *t = tx->conn->t;
    if (tx->store && data.len && !t->calls->cache->content(t->app, tx->store, data))
        tx->store = NULL;
    if (last)
        http_store_end(tx, true);
}

static enum pump take_answer_piece(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    struct stream *from = &tx->up->s;
    struct buf *to = tx->conn->s.out;
    struct http_text data = {"", 0};
    size_t used = 0;
    if (!from->in) {
        enum io r = http_stream_fill(t, from);
        if (r == IO_WAIT)
            return PUMP_WAIT;
        if (r == IO_ERROR || (r == IO_EOF && !http_body_close(&tx->answer_body)))
            return PUMP_UPSTREAM_GONE;
        tx->moved = true;
    }
    if (from->in) {
        size_t max = BUF_BYTES - to->end - HTTP_CHUNK_OVERHEAD;
        if (http_body_take(
                &tx->answer_body, http_buf_at(from->in), http_buf_len(from->in), max, &used, &data)
            < 0)
            return PUMP_UPSTREAM_BAD;
    }
    tx->conn->out_last = http_body_ended(&tx->answer_body);
    put_content(to, data, tx->chunked, tx->conn->out_last);
    store_piece(tx, data, tx->conn->out_last);
    tx->pub.bytes += data.len;
    if (from->in)
        drop_data(t, from, used);
    return PUMP_MORE;
}

enum pump http_pump_answer(struct tx *tx)
{
    struct stream *to = &tx->conn->s;
    for (unsigned pieces = 0; !http_body_ended(&tx->answer_body); pieces++) {
        if (pieces == PIECES_PER_TURN)
            return PUMP_MORE;
        if (to->out && BUF_BYTES - to->out->end < ROOM_MIN) {
            enum io r = http_client_flush(tx);
            if (r != IO_OK)
                return r == IO_WAIT ? PUMP_WAIT : PUMP_CLIENT_GONE;
        }
        if (!to->out)
            to->out = http_buf_get(tx->conn->t);
        enum pump p = take_answer_piece(tx);
        if (p == PUMP_WAIT)
            break;
        if (p != PUMP_MORE)
            return p;
    }
    switch (http_client_flush(tx)) {
    case IO_OK:
        return http_body_ended(&tx->answer_body) ? PUMP_DONE : PUMP_WAIT;
    case IO_WAIT:
        return PUMP_WAIT;
    default:
        return PUMP_CLIENT_GONE;
    }
}

/* One piece of the application's content; PUMP_UPSTREAM_GONE: the rest of it will not come. */
static enum pump take_served_piece(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    struct buf *to = tx->conn->s.out;
    struct http_text data = {"", 0};
    size_t room = BUF_BYTES - to->end - HTTP_CHUNK_OVERHEAD;
    switch (t->calls->cache->pull(t->app, &tx->pub, room, &data)) {
    case HTTP_PULL_SOME:
        break;
    case HTTP_PULL_END:
        tx->served = tx->conn->out_last = true;
        break;
    case HTTP_PULL_WAIT:
        return PUMP_WAIT;
    default:
        return PUMP_UPSTREAM_GONE;
    }
    put_content(to, data, tx->chunked, tx->served);
    tx->pub.bytes += data.len;
    tx->moved = true;
    return PUMP_MORE;
}

enum pump http_pump_serve(struct tx *tx)
{
    struct stream *to = &tx->conn->s;
    enum io r;
    for (unsigned pieces = 0; !tx->served; pieces++) {
        if (pieces == PIECES_PER_TURN)
            return PUMP_MORE;
        if (to->out && BUF_BYTES - to->out->end < ROOM_MIN && (r = http_client_flush(tx)) != IO_OK)
            return r == IO_WAIT ? PUMP_WAIT : PUMP_CLIENT_GONE;
        if (!to->out)
            to->out = http_buf_get(tx->conn->t);
        enum pump p = take_served_piece(tx);
        if (p == PUMP_WAIT)
            break;
        if (p != PUMP_MORE)
            return p;
    }
    r = http_client_flush(tx);
    if (r == IO_ERROR)
        return PUMP_CLIENT_GONE;
    return r == IO_OK && tx->served ? PUMP_DONE : PUMP_WAIT;
}
