/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The life of a flow: each event and each timeout is a step of run_state(). */
#include "net/splice/priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define LAST_MS 1000u /* for who connected to take the last words */

static const struct splice_app *app_of(const struct splice_flow *f)
{
    return f->t->server->config.app;
}

static void *ctx_of(const struct splice_flow *f)
{
    return f->t->server->config.ctx;
}

/* -- life -------------------------------------------------------------------------------------- */

static void on_a(struct splice_source *s, uint32_t events)
{
    struct splice_flow *f = CONTAINER_OF(s, struct splice_flow, a.source);
    if (f->state == FLOW_DEAD)
        return;
    side_events(&f->a, events);
    flow_run(f);
}

static void on_b(struct splice_source *s, uint32_t events)
{
    struct splice_flow *f = CONTAINER_OF(s, struct splice_flow, b.source);
    if (f->state == FLOW_DEAD || f->b.fd < 0)
        return;
    side_events(&f->b, events);
    flow_run(f);
}

static struct splice_flow *flow_new(struct splice_thread *t)
{
    struct splice_flow *f = t->free_flows;
    size_t size = sizeof *f + app_of(&(struct splice_flow){.t = t})->flow_size;
    if (f) {
        t->free_flows = f->next;
        t->n_free_flows--;
    } else {
        f = xmalloc(size);
    }
    memset(f, 0, size);
    f->t = t;
    f->a.fd = f->b.fd = -1;
    f->a.source.ready = on_a;
    f->b.source.ready = on_b;
    f->next = &t->flows;
    f->prev = t->flows.prev;
    t->flows.prev->next = f;
    t->flows.prev = f;
    t->n_flows++;
    stat_add(t, SPLICE_STAT_OPEN, 1);
    return f;
}

static void end(struct splice_flow *f, bool broken)
{
    struct splice_thread *t = f->t;
    f->state = FLOW_DEAD;
    if (f->seen)
        app_of(f)->closed(ctx_of(f), f);
    side_close(&f->a, broken);
    side_close(&f->b, broken);
    buf_put(t, &f->ab);
    buf_put(t, &f->ba);
    buf_put(t, &f->front);
    SSL_free(f->dial.ssl);
    f->dial.ssl = NULL;
    timer_unset(f);
    f->prev->next = f->next;
    f->next->prev = f->prev;
    t->n_flows--;
    stat_add(t, SPLICE_STAT_OPEN, (uint64_t)-1);
    if (f->in_again)
        return; /* whoever takes it off that list sees that it is dead */
    f->next = t->dead;
    t->dead = f;
}

void flow_kill(struct splice_flow *f)
{
    end(f, true);
}

void flow_end(struct splice_flow *f)
{
    end(f, false);
}

bool flow_is_unused(const struct splice_flow *f)
{
    return f->state == FLOW_HEAD && f->timer_kind == TIMER_UNUSED;
}

bool flow_is_silent(const struct splice_flow *f, uint64_t ms)
{
    if (f->state != FLOW_JOINED || buf_len(f->ab) || buf_len(f->ba))
        return false;
    uint64_t moved_ms = f->timer.deadline_ms - f->t->server->timeout_ms[f->timer_kind];
    return moved_ms + ms <= f->t->now_ms;
}

/* -- the other side ---------------------------------------------------------------------------- */

static bool start_attempt(struct splice_flow *f)
{
    f->hello_sent = f->n_answer = 0;
    f->reused = kept_take(f);
    if (f->reused) {
        f->state = FLOW_HELLO;
        timer_set_ms(f, f->dial.timeout_ms);
        stat_add(f->t, SPLICE_STAT_REUSED, 1);
        thread_again(f); /* it is writable, and no event will say so */
        return true;
    }
    stat_add(f->t, SPLICE_STAT_DIALS, 1);
    f->b.ssl = util_steal_ptr(&f->dial.ssl);
    int r = side_connect(f->t, &f->b, &f->dial);
    if (r < 0 || (f->b.ssl && SSL_set_fd(f->b.ssl, f->b.fd) != 1)) {
        f->failure = (struct splice_failure){SPLICE_AT_CONNECT, false, -r};
        stat_add(f->t, SPLICE_STAT_DIAL_FAILURES, 1);
        return false;
    }
    f->b.framed = f->b.ssl != NULL;
    if (f->b.ssl)
        SSL_set_connect_state(f->b.ssl);
    f->state = FLOW_CONNECT;
    timer_set_ms(f, f->dial.timeout_ms);
    return true;
}

/* What was said already is sent as far as it can be; the rest goes when it is joined. */
static void begin_wait(struct splice_flow *f)
{
    size_t n = 0;
    if (buf_len(f->ba) && side_write(&f->a, f->ba->data + f->ba->start, buf_len(f->ba), &n) == IO_OK)
        f->ba->start += (uint32_t)n;
    f->state = FLOW_WAIT;
    timer_set_ms(f, f->wait_ms ? f->wait_ms : f->t->server->config.wait_ms);
    f->wait_ms = 0;
}

/* Tries until one attempt is under way. */
static void dial_next(struct splice_flow *f)
{
    do {
        side_close(&f->b, true);
        SSL_free(f->dial.ssl);
        f->dial = (struct splice_dial){0};
        enum splice_verdict v = app_of(f)->dial(ctx_of(f), f, &f->dial);
        if (v == SPLICE_WAIT) {
            begin_wait(f);
            return;
        }
        if (v != SPLICE_DIAL) {
            stat_add(f->t, SPLICE_STAT_FAILED, 1);
            app_of(f)->failed(ctx_of(f), f);
            if (!buf_len(f->ba)) {
                end(f, true);
                return;
            }
            f->state = FLOW_LAST;
            timer_set_ms(f, LAST_MS);
            return;
        }
    } while (!start_attempt(f));
}

static bool attempt_failed(struct splice_flow *f, int error, bool timed_out)
{
    f->failure = (struct splice_failure){f->state == FLOW_PROVE   ? SPLICE_AT_PROOF
                                         : f->state == FLOW_HELLO ? SPLICE_AT_ANSWER
                                                                  : SPLICE_AT_CONNECT,
        timed_out, error};
    if (f->reused) { /* it had died unnoticed: nobody's failure */
        uint64_t reuse = f->dial.reuse;
        side_close(&f->b, true);
        f->dial.reuse = 0;
        bool started = start_attempt(f);
        f->dial.reuse = reuse;
        if (started)
            return true;
    }
    stat_add(f->t, SPLICE_STAT_DIAL_FAILURES, 1);
    dial_next(f);
    return f->state != FLOW_DEAD;
}

static void join(struct splice_flow *f)
{
    SSL_free(f->dial.ssl); /* of an attempt that a kept connection spared */
    f->dial.ssl = NULL;
    f->reused = false;
    f->state = FLOW_JOINED;
    timer_set(f, TIMER_IDLE);
    stat_add(f->t, SPLICE_STAT_JOINED, 1);
    app_of(f)->joined(ctx_of(f), f);
}

static void obey(struct splice_flow *f, enum splice_verdict v)
{
    switch (v) {
    case SPLICE_REFUSE:
        stat_add(f->t, SPLICE_STAT_REFUSED, 1);
        end(f, true);
        break;
    case SPLICE_DIAL:
        dial_next(f);
        break;
    case SPLICE_HEAD:
        f->state = FLOW_HEAD;
        break;
    case SPLICE_WAIT:
        begin_wait(f);
        break;
    case SPLICE_REPLY:
        f->state = FLOW_LAST;
        timer_set_ms(f, LAST_MS);
        break;
    }
}

void splice_resume(struct splice_flow *f, enum splice_verdict v)
{
    if (f->state != FLOW_WAIT)
        return;
    obey(f, v);
    if (f->state != FLOW_DEAD)
        thread_again(f);
}

/* -- states: true when there may be more to do ------------------------------------------------- */

static void count_handshake(struct splice_flow *f, SSL *ssl)
{
    stat_add(f->t, SPLICE_STAT_HANDSHAKES, 1);
    if (SSL_session_reused(ssl))
        stat_add(f->t, SPLICE_STAT_RESUMED, 1);
}

static bool run_handshake(struct splice_flow *f)
{
    enum io r = side_handshake(&f->a, true);
    if (r == IO_WAIT)
        return false;
    if (r != IO_OK) {
        obey(f, SPLICE_REFUSE);
        return false;
    }
    count_handshake(f, f->a.ssl);
    obey(f, app_of(f)->secured(ctx_of(f), f, f->a.ssl));
    return f->state != FLOW_DEAD;
}

/* What the application put aside for the other side goes in front of the rest. */
static bool merge_front(struct splice_flow *f)
{
    struct buf *front = f->front;
    f->front = NULL;
    if (!front)
        return true;
    size_t rest = buf_len(f->ab);
    bool fits = front->end + rest <= BUF_BYTES;
    if (fits) {
        memcpy(front->data + front->end, f->ab->data + f->ab->start, rest);
        front->end += (uint32_t)rest;
        buf_put(f->t, &f->ab);
        f->ab = front;
    } else {
        buf_put(f->t, &front);
    }
    return fits;
}

static bool run_head(struct splice_flow *f)
{
    size_t n, used = 0;
    if (!f->a.can_read && !(f->a.ssl && SSL_has_pending(f->a.ssl)))
        return false;
    if (!f->ab)
        f->ab = buf_get(f->t);
    if (f->ab->end >= SPLICE_HEAD_MAX) {
        obey(f, SPLICE_REFUSE);
        return false;
    }
    enum io r = side_read(&f->a, f->ab->data + f->ab->end, SPLICE_HEAD_MAX - f->ab->end, &n);
    if (r == IO_WAIT)
        return false;
    if (r != IO_OK) {
        end(f, f->timer_kind != TIMER_UNUSED);
        return false;
    }
    if (f->timer_kind == TIMER_UNUSED)
        timer_set(f, TIMER_SETUP); /* the next flow has begun */
    f->ab->end += (uint32_t)n;
    enum splice_verdict v = app_of(f)->head(ctx_of(f), f, f->ab->data, f->ab->end, &used);
    f->ab->start += (uint32_t)MIN(used, f->ab->end);
    obey(f, merge_front(f) ? v : SPLICE_REFUSE);
    return f->state != FLOW_DEAD;
}

static bool run_connect(struct splice_flow *f)
{
    if (!f->b.can_write)
        return false;
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(f->b.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
        return attempt_failed(f, error, false);
    f->state = f->b.ssl ? FLOW_PROVE : FLOW_HELLO;
    return true;
}

static bool run_prove(struct splice_flow *f)
{
    enum io r = side_handshake(&f->b, false);
    if (r == IO_WAIT)
        return false;
    const struct splice_app *app = app_of(f);
    if (r != IO_OK || (app->proven && !app->proven(ctx_of(f), f, f->b.ssl)))
        return attempt_failed(f, 0, false);
    count_handshake(f, f->b.ssl);
    f->state = FLOW_HELLO;
    return true;
}

static bool run_hello(struct splice_flow *f)
{
    struct splice_dial *d = &f->dial;
    size_t n;
    while (f->hello_sent < d->n_hello) {
        const char *from = (const char *)d->hello + f->hello_sent;
        enum io r = side_write(&f->b, from, d->n_hello - f->hello_sent, &n);
        if (r == IO_WAIT)
            return false;
        if (r != IO_OK)
            return attempt_failed(f, 0, false);
        f->hello_sent += n;
    }
    while (f->n_answer < d->n_answer) {
        char *to = (char *)f->answer + f->n_answer;
        enum io r = side_read(&f->b, to, d->n_answer - f->n_answer, &n);
        if (r == IO_WAIT)
            return false;
        if (r != IO_OK)
            return attempt_failed(f, 0, false);
        f->n_answer += n;
    }
    if (d->wait_first && !f->b.ssl) {
        ssize_t seen = recv(f->b.fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT);
        if (seen < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (seen <= 0)
            return attempt_failed(f, seen < 0 ? errno : 0, false);
    }
    if (d->n_answer && !app_of(f)->answered(ctx_of(f), f, f->answer, f->n_answer))
        return attempt_failed(f, 0, false);
    join(f);
    return true;
}

static enum pump pump_end(struct splice_flow *f, struct side *to, struct buf **b)
{
    buf_put(f->t, b);
    return side_shut(to) == IO_ERROR ? PUMP_BROKEN : PUMP_WAIT;
}

/* One read into an empty buffer. */
static enum io pump_fill(struct splice_flow *f, struct side *from, struct buf **b)
{
    size_t n;
    if (!from->can_read && !(from->ssl && SSL_has_pending(from->ssl)))
        return IO_WAIT;
    if (!*b)
        *b = buf_get(f->t);
    (*b)->start = (*b)->end = PIECE_FRONT;
    enum io r = side_read(from, (*b)->data + PIECE_FRONT, BUF_BYTES - PIECE_FRONT, &n);
    (*b)->end += (uint32_t)n;
    return r;
}

static enum pump pump(
    struct splice_flow *f, struct side *from, struct side *to, struct buf **b, enum splice_stat s)
{
    for (unsigned pieces = 0; pieces < PIECES_PER_TURN; pieces++) {
        size_t n;
        enum io r = IO_OK;
        if (!buf_len(*b)) {
            if (from->eof)
                return pump_end(f, to, b);
            r = pump_fill(f, from, b);
            if (r == IO_EOF)
                return pump_end(f, to, b);
        }
        if (r == IO_OK)
            r = side_write(to, (*b)->data + (*b)->start, buf_len(*b), &n);
        if (r == IO_WAIT) {
            if (!buf_len(*b))
                buf_put(f->t, b);
            return PUMP_WAIT;
        }
        if (r != IO_OK)
            return PUMP_BROKEN;
        (*b)->start += (uint32_t)n;
        stat_add(f->t, s, n);
        f->keep_timer = false;
    }
    return PUMP_MORE;
}

/* True: side a waits for another head. */
static bool end_in_order(struct splice_flow *f)
{
    if (f->b.framed)
        kept_put(f);
    if (!f->a.framed || f->t->draining) {
        end(f, false);
        return false;
    }
    side_close(&f->b, false);
    buf_put(f->t, &f->ab);
    buf_put(f->t, &f->ba);
    side_renew(&f->a);
    f->filter = NULL;
    enum splice_verdict v = app_of(f)->again(ctx_of(f), f, f->a.ssl);
    if (v != SPLICE_HEAD) {
        end(f, false);
        return false;
    }
    timer_set(f, TIMER_UNUSED);
    f->state = FLOW_HEAD;
    return true;
}

/* After both directions have moved as far as they could. */
bool flow_settle(struct splice_flow *f, enum pump out, enum pump in, bool half)
{
    if (out == PUMP_BROKEN || in == PUMP_BROKEN) {
        stat_add(f->t, SPLICE_STAT_BROKEN, 1);
        end(f, true);
        return false;
    }
    if (f->a.shut && f->b.shut)
        return end_in_order(f);
    if (!f->keep_timer || half != (f->a.eof || f->b.eof))
        timer_set(f, f->a.eof || f->b.eof ? TIMER_HALF : TIMER_IDLE);
    if (out == PUMP_MORE || in == PUMP_MORE)
        thread_again(f);
    return false;
}

static bool run_joined(struct splice_flow *f)
{
    f->keep_timer = true;
    bool half = f->a.eof || f->b.eof;
    enum pump out = pump(f, &f->a, &f->b, &f->ab, SPLICE_STAT_BYTES_OUT),
              in = out == PUMP_BROKEN ? out : pump(f, &f->b, &f->a, &f->ba, SPLICE_STAT_BYTES_IN);
    return flow_settle(f, out, in, half);
}

void flow_last(struct splice_flow *f)
{
    side_close(&f->b, false);
    buf_put(f->t, &f->ab);
    f->state = FLOW_LAST;
    timer_set_ms(f, LAST_MS);
}

/* What the client still sends is read and dropped: closing over it would take the words back. */
static bool run_last(struct splice_flow *f)
{
    char dropped[4096];
    size_t n;
    enum io r = IO_OK;
    while (buf_len(f->ba) && r == IO_OK) {
        r = side_write(&f->a, f->ba->data + f->ba->start, buf_len(f->ba), &n);
        f->ba->start += (uint32_t)n;
    }
    if (r == IO_OK)
        r = side_shut(&f->a);
    while (r == IO_OK)
        r = side_read(&f->a, dropped, sizeof dropped, &n);
    if (r != IO_WAIT)
        end(f, r == IO_ERROR);
    return false;
}

/* By the application's word. */
static bool run_ending(struct splice_flow *f)
{
    if (f->state != FLOW_JOINED) {
        end(f, true);
        return false;
    }
    if (f->filter && f->ba)
        f->ba->end = f->ba->ok;
    flow_last(f);
    return true;
}

static bool run_state(struct splice_flow *f)
{
    if (f->ending && f->state != FLOW_LAST)
        return run_ending(f);
    switch (f->state) {
    case FLOW_HANDSHAKE:
        return run_handshake(f);
    case FLOW_HEAD:
        return run_head(f);
    case FLOW_CONNECT:
        return run_connect(f);
    case FLOW_PROVE:
        return run_prove(f);
    case FLOW_HELLO:
        return run_hello(f);
    case FLOW_JOINED:
        return f->filter ? filter_run(f) : run_joined(f);
    case FLOW_LAST:
        return run_last(f);
    case FLOW_WAIT:
    case FLOW_DEAD:
        break;
    }
    return false;
}

void flow_run(struct splice_flow *f)
{
    while (run_state(f))
        ;
}

void flow_expired(struct splice_flow *f)
{
    timer_unset(f);
    switch (f->state) {
    case FLOW_CONNECT:
    case FLOW_PROVE:
    case FLOW_HELLO:
        if (attempt_failed(f, 0, true))
            flow_run(f);
        break;
    case FLOW_JOINED:
        stat_add(f->t, SPLICE_STAT_IDLE, 1);
        end(f, true);
        break;
    case FLOW_WAIT:
        obey(f, app_of(f)->waited(ctx_of(f), f));
        if (f->state != FLOW_DEAD)
            flow_run(f);
        break;
    default:
        end(f, f->timer_kind != TIMER_UNUSED);
        break;
    }
}

void flow_accept(struct splice_thread *t, int fd, struct splice_tag tag, const struct ip_addr *from)
{
    struct splice_flow *f = flow_new(t);
    SSL *ssl = NULL;
    stat_add(t, SPLICE_STAT_ACCEPTED, 1);
    timer_set(f, TIMER_SETUP);
    if (side_open(t, &f->a, fd) < 0) {
        f->a.fd = fd;
        end(f, true);
        return;
    }
    f->seen = true;
    enum splice_verdict v = app_of(f)->accepted(ctx_of(f), f, tag, from, &ssl);
    f->a.ssl = ssl;
    f->a.framed = ssl != NULL;
    if (ssl && v != SPLICE_REFUSE) {
        f->state = FLOW_HANDSHAKE;
        if (SSL_set_fd(ssl, fd) == 1)
            return;
        v = SPLICE_REFUSE;
    }
    obey(f, v);
    if (f->state != FLOW_DEAD)
        flow_run(f);
}

/* -- for the application ----------------------------------------------------------------------- */

void splice_take_back(struct splice_flow *f)
{
    buf_put(f->t, &f->ba);
}

void splice_wait_for(struct splice_flow *f, unsigned ms)
{
    f->wait_ms = ms;
}

bool splice_is_waiting(const struct splice_flow *f)
{
    return f->state == FLOW_WAIT;
}

const struct splice_failure *splice_failure_of(const struct splice_flow *f)
{
    return &f->failure;
}

void splice_end(struct splice_flow *f)
{
    if (f->state == FLOW_DEAD || f->state == FLOW_LAST)
        return;
    f->ending = true;
    thread_again(f);
}

void splice_each(struct splice_server *s, unsigned thread,
    void (*fn)(void *ctx, struct splice_flow *f), void *ctx)
{
    struct splice_flow *head = &s->threads[thread].flows;
    for (struct splice_flow *f = head->next, *next; f != head; f = next) {
        next = f->next;
        if (f->seen)
            fn(ctx, f);
    }
}

void splice_set_filter(struct splice_flow *f, const struct splice_filter *filter, void *ctx)
{
    f->filter = filter;
    f->filter_ctx = ctx;
}

void splice_again(struct splice_flow *f)
{
    if (f->state == FLOW_JOINED)
        thread_again(f);
}

bool splice_has_left(const struct splice_flow *f)
{
    return f->a.hung || f->a.eof;
}

size_t splice_unsent(const struct splice_flow *f)
{
    return f->ba ? f->ba->ok - f->ba->start : 0;
}

void *splice_app_of(struct splice_flow *f)
{
    return f->app;
}

unsigned splice_thread_of(const struct splice_flow *f)
{
    return f->t->index;
}

uint64_t splice_now_ms(const struct splice_flow *f)
{
    return f->t->now_ms;
}

static bool put(struct buf *b, const char *p, size_t len)
{
    if (len > BUF_BYTES - b->end)
        return false;
    memcpy(b->data + b->end, p, len);
    b->end += (uint32_t)len;
    return true;
}

bool splice_reply(struct splice_flow *f, const char *p, size_t len)
{
    if (!f->ba)
        f->ba = buf_get(f->t);
    bool joined = f->filter && f->state == FLOW_JOINED;
    if ((joined && f->ba->ok != f->ba->end) || !put(f->ba, p, len))
        return false;
    f->ba->ok = f->ba->end;
    return true;
}

bool splice_forward(struct splice_flow *f, const char *p, size_t len)
{
    if (!f->front)
        f->front = buf_get(f->t);
    return put(f->front, p, len);
}
