/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The two directions of a flow with a filter. In a buffer lie, in this order, bytes that
 * passed and were not sent yet, and bytes that the filter has not let through; it is asked again when
 * all of the former are gone. The clock is read for each look and each sending: a deadline that the
 * filter watches must not be judged by the time at which this thread woke up. */
#include "net/splice/priv.h"

#include "base/clock/clock.h"

#include <string.h>

struct way { /* one direction */
    struct splice_flow *f;
    struct side *from, *to;
    struct buf **b;
    enum splice_stat stat;
    bool back, moved;
    bool held; /* by the filter, not for want of bytes */
};

static uint64_t now(struct splice_flow *f)
{
    return f->t->now_ms = clock_boot_ms();
}

static enum io send_passed(struct way *w)
{
    struct buf *b = *w->b;
    size_t n;
    struct splice_flow *f = w->f;
    if (w->back && f->filter->may_send && !f->filter->may_send(f->filter_ctx, now(f)))
        return IO_ERROR;
    enum io r = side_write(w->to, b->data + b->start, b->ok - b->start, &n);
    b->start += (uint32_t)n;
    stat_add(w->f->t, w->stat, n);
    w->f->keep_timer &= !n;
    w->moved |= n > 0;
    return r;
}

/* Behind the bytes that wait for more. */
static enum io fill(struct way *w)
{
    size_t n;
    if (w->from->eof)
        return IO_EOF;
    if (!w->from->can_read && !(w->from->ssl && SSL_has_pending(w->from->ssl)))
        return IO_WAIT;
    if (!*w->b)
        *w->b = buf_get(w->f->t);
    struct buf *b = *w->b;
    uint32_t len = b->end - b->start;
    if (b->start != PIECE_FRONT)
        memmove(b->data + PIECE_FRONT, b->data + b->start, len);
    b->start = b->ok = PIECE_FRONT;
    b->end = PIECE_FRONT + len;
    if (b->end == BUF_BYTES) /* the filter wants to see more at once than there can be */
        return IO_ERROR;
    enum io r = side_read(w->from, b->data + b->end, BUF_BYTES - b->end, &n);
    b->end += (uint32_t)n;
    return r;
}

static struct splice_look look(struct way *w)
{
    struct buf *b = *w->b;
    struct splice_bytes bytes = {.back = w->back,
        .ended = w->from->eof,
        .p = b ? (uint8_t *)b->data + b->start : NULL,
        .len = buf_len(b),
        .now_ms = now(w->f)};
    struct splice_look l = w->f->filter->look(w->f->filter_ctx, &bytes);
    ASSERT(l.pass + l.drop <= bytes.len && !(l.pass && l.drop));
    b = *w->b; /* splice_reply() may have made it */
    if (b && b->ok < b->start + l.pass)
        b->ok = b->start + (uint32_t)l.pass;
    if (l.drop) {
        b->start += (uint32_t)l.drop;
        b->ok = b->start;
    }
    w->moved |= l.drop > 0;
    w->held = l.then == SPLICE_THEN_WAIT;
    return l;
}

static enum pump ended(struct way *w)
{
    buf_put(w->f->t, w->b); /* what did not pass goes nowhere */
    return side_shut(w->to) == IO_ERROR ? PUMP_BROKEN : PUMP_WAIT;
}

static enum pump last(struct splice_flow *f)
{
    if (f->ba)
        f->ba->end = f->ba->ok;
    flow_last(f);
    return PUMP_DONE;
}

static enum pump wait_for(struct way *w)
{
    if (*w->b && !buf_len(*w->b))
        buf_put(w->f->t, w->b);
    return PUMP_WAIT;
}

static enum pump pump(struct way *w)
{
    for (unsigned pieces = 0; pieces < PIECES_PER_TURN; pieces++) {
        struct buf *b = *w->b;
        if (b && b->ok > b->start) {
            enum io r = send_passed(w);
            if (r == IO_WAIT)
                return PUMP_WAIT;
            if (r != IO_OK)
                return PUMP_BROKEN;
            continue;
        }
        struct splice_look l = look(w);
        if (l.then == SPLICE_THEN_BREAK)
            return PUMP_BROKEN;
        if (l.then == SPLICE_THEN_LAST)
            return last(w->f);
        if (l.pass || l.drop || l.then == SPLICE_THEN_AGAIN)
            continue;
        if (l.then == SPLICE_THEN_WAIT)
            return wait_for(w);
        if (w->from->eof)
            return ended(w);
        enum io r = fill(w);
        if (r == IO_WAIT)
            return wait_for(w);
        if (r == IO_ERROR)
            return PUMP_BROKEN;
    }
    return PUMP_MORE;
}

bool filter_run(struct splice_flow *f)
{
    struct way out = {f, &f->a, &f->b, &f->ab, SPLICE_STAT_BYTES_OUT, false, false, false},
               in = {f, &f->b, &f->a, &f->ba, SPLICE_STAT_BYTES_IN, true, false, false};
    f->keep_timer = true;
    bool half = f->a.eof || f->b.eof;
    enum pump o, i;
    do { /* what the one waited for may just have come for the other */
        in.moved = false;
        o = pump(&out);
        i = o == PUMP_WAIT || o == PUMP_MORE ? pump(&in) : PUMP_WAIT;
        if (o == PUMP_DONE || i == PUMP_DONE)
            return true;
    } while (o == PUMP_WAIT && i == PUMP_WAIT && out.held && in.moved);
    return flow_settle(f, o, i, half);
}
