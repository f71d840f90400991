/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. One request and its answer, as a machine of steps (TX_STEPS in priv.h). Every event of
 * the client's or the upstream's socket and every timeout ends in http_tx_run(), which takes steps
 * until one has to wait.
 *
 *   DECIDE -> REPLY ------------------------------------------------------> END
 *          -> COLLECT -> ACQUIRE -> CONNECT -> EXCHANGE -> RELAY ---------> END
 *                           ^  \________________/ | retry     \ upstream failed: cut -> END
 *                            \____________________/ failed -> REPLY                              */
#include "net/http/priv.h"

#include "proto/uri/uri.h"

#include <errno.h>
#include <sys/socket.h>

/* connections for one request: three instances and one kept connection that had gone stale */
#define ATTEMPTS_MAX 4u
#define INTERIM_MAX 16u /* 1xx answers to one request */

enum step_result {
    STEP_NEXT,
    STEP_WAIT,
    STEP_DONE,
};

#define X(name, fn) static enum step_result fn(struct tx *tx);
TX_STEPS(X)
#undef X

static enum step_result (*const steps[TX_STEP_COUNT])(struct tx *) = {
#define X(name, fn) [TX_##name] = fn,
    TX_STEPS(X)
#undef X
};

static void on_tx_timeout(struct timer *timer, enum timer_kind kind);

const char *http_end_name(enum http_end end)
{
    static const char *const names[HTTP_END_COUNT] = {
        [HTTP_END_OK] = "ok",
        [HTTP_END_REFUSED] = "refused",
        [HTTP_END_CLIENT_GONE] = "client_gone",
        [HTTP_END_CLIENT_SLOW] = "client_slow",
        [HTTP_END_NO_INSTANCE] = "no_instance",
        [HTTP_END_UPSTREAM_LOST] = "upstream_lost",
        [HTTP_END_UPSTREAM_BAD] = "upstream_bad",
        [HTTP_END_UPSTREAM_SLOW] = "upstream_slow",
        [HTTP_END_TRUNCATED] = "truncated",
        [HTTP_END_STOPPED] = "stopped",
    };
    ASSERT(end < HTTP_END_COUNT);
    return names[end];
}

/* -- begin ------------------------------------------------------------------------------------- */

struct tx *http_tx_get(struct thread *t)
{
    struct tx *tx = t->free_txs;
    if (tx)
        t->free_txs = tx->next;
    else
        tx = xmalloc(sizeof *tx);
    /* Not the fields: 4 KiB that their parser fills. */
    memset(tx, 0, offsetof(struct tx, request) + offsetof(struct http_request, fields));
    tx->request.fields.n = 0;
    return tx;
}

void http_tx_put(struct thread *t, struct tx *tx)
{
    tx->next = t->free_txs;
    t->free_txs = tx;
}

static void make_id(struct thread *t, char out[HTTP_REQUEST_ID_LEN])
{
    for (size_t i = 0; i < HTTP_REQUEST_ID_LEN; i += 16) {
        uint64_t v = rnd_u64(&t->rnd);
        for (size_t k = 0; k < 16; k++, v >>= 4)
            out[i + k] = "0123456789abcdef"[v & 15];
    }
}

/* The head's buffer becomes the transaction's; what stands behind it in the same read is the
 * connection's again. */
static void take_head(struct conn *c, struct tx *tx, size_t head_len)
{
    struct buf *b = c->s.in;
    tx->head = b;
    c->s.in = NULL;
    size_t rest = b ? http_buf_len(b) - head_len : 0;
    if (!rest)
        return;
    c->s.in = http_buf_get(c->t);
    memcpy(c->s.in->data, http_buf_at(b) + head_len, rest);
    c->s.in->end = (uint32_t)rest;
    b->end -= (uint32_t)rest;
}

static enum http_reject normalise(struct tx *tx)
{
    const struct http_request *r = &tx->request;
    /* "https" came by http, or the other way round */
    if (r->scheme.len && (r->scheme.len == 5) != tx->pub.tls)
        return HTTP_REJECT_TARGET;
    char *name = http_tx_alloc(&tx->pub, r->host.len + 1),
         *path = http_tx_alloc(&tx->pub, r->path.len + 1);
    if (!name || !path)
        return HTTP_REJECT_HEAD_SIZE;
    struct uri_authority a = {.host = r->host.p, .host_len = r->host.len};
    tx->pub.name = (struct http_text){name, uri_host_normalise(&a, name)};
    name[tx->pub.name.len] = '\0';
    if (http_text_is(r->path, "*")) {
        tx->pub.path = r->path;
        return HTTP_REJECT_NONE;
    }
    int n = uri_path_normalise(r->path.p, r->path.len, 0, path);
    if (n < 0)
        return HTTP_REJECT_TARGET;
    tx->pub.path = (struct http_text){path, (size_t)n};
    return HTTP_REJECT_NONE;
}

void http_tx_start(struct conn *c, struct tx *tx, size_t head_len, enum http_reject reject)
{
    struct thread *t = c->t;
    http_stat_add(t, HTTP_STAT_REQUESTS, 1);
    c->tx = tx;
    c->state = CONN_BUSY;
    tx->conn = c;
    tx->timer.fire = on_tx_timeout;
    tx->pub.request = &tx->request;
    tx->pub.client = (struct http_text){c->client, c->client_len};
    tx->pub.tls = (c->parent ? c->parent : c)->s.ssl != NULL;
    tx->pub.tls_version = c->tls_version;
    tx->pub.start_us = t->now_us;
    tx->pub.wall_ms = t->wall_ms;
    make_id(t, tx->pub.id);
    take_head(c, tx, reject ? http_buf_len(c->s.in) : head_len);
    if (!reject)
        reject = normalise(tx);
    if (reject) {
        tx->pub.reject = reject;
        tx->pub.end = HTTP_END_REFUSED;
        http_reply_error(tx, http_reject_status(reject), http_reject_text(reject), NULL);
        return;
    }
    bool open_ended = c->parent && tx->request.framing == HTTP_BODY_CHUNKED;
    http_body_init(&tx->request_body, open_ended ? HTTP_BODY_UNTIL_CLOSE : tx->request.framing,
        tx->request.content_length);
    tx->request_ended = http_body_ended(&tx->request_body);
    tx->expecting = tx->request.expect_continue && !c->s.in;
    tx->step = TX_DECIDE;
}

void *http_tx_alloc(struct http_tx *pub, size_t size)
{
    struct tx *tx = (struct tx *)pub;
    struct buf *b = tx->head;
    size_t at = b ? (b->end + 15u) & ~(size_t)15 : BUF_BYTES;
    if (at > BUF_BYTES || size > BUF_BYTES - at)
        return NULL;
    b->end = (uint32_t)(at + size);
    return b->data + at;
}

void http_tx_reply(struct http_tx *pub, const struct http_reply *reply)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_DECIDE);
    http_reply_write(tx, reply);
}

void http_tx_retarget(struct http_tx *pub, const struct http_target *targets, size_t n)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_ACQUIRE && !pub->attempts && n > 0);
    tx->targets = targets;
    tx->n_targets = n;
}

void http_tx_forward(struct http_tx *pub, const struct http_target *targets, size_t n)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_DECIDE && n > 0);
    tx->targets = targets;
    tx->n_targets = n;
    struct http_forward f = {
        .path = pub->path,
        .client = pub->client,
        .request_id = {pub->id, sizeof pub->id},
        .tls = pub->tls,
        .keep_expect = tx->expecting,
    };
    tx->sent = http_buf_get(tx->conn->t);
    struct http_out o = {.p = tx->sent->data, .cap = BUF_BYTES};
    http_request_forward(&tx->request, &f, &o);
    ASSERT(!o.full); /* a head of 16 KiB and what we add */
    tx->sent->end = (uint32_t)o.len;
    tx->replayable = true;
    tx->step = TX_COLLECT;
}

/* -- failures ---------------------------------------------------------------------------------- */

static void drop_upstream(struct tx *tx)
{
    if (tx->up)
        http_upstream_drop(tx->up);
    tx->up = NULL;
}

void http_tx_abort(struct tx *tx, enum http_end end)
{
    drop_upstream(tx);
    tx->pub.end = end;
    tx->close = tx->cut = true;
    tx->step = TX_END;
}

/* The upstream's part is over. Says so, if the client has seen nothing yet; else there is no honest
 * way to go on. */
static void fail(struct tx *tx, unsigned status, enum http_end end, const char *text)
{
    struct stream *s = &tx->conn->s;
    if (tx->begun) {
        http_tx_abort(tx, HTTP_END_TRUNCATED);
        return;
    }
    drop_upstream(tx);
    tx->pub.end = end;
    tx->pub.bytes = 0;
    if (tx->answered) /* the head of an answer that will not come */
        http_buf_put(tx->conn->t, &s->out);
    http_reply_error(tx, status, text, NULL);
}

static void fail_refused(struct tx *tx)
{
    enum http_reject r = tx->pub.reject;
    fail(tx, http_reject_status(r), HTTP_END_REFUSED, http_reject_text(r));
}

/* The connection failed before an answer came. Another instance gets the request if that cannot do
 * it twice. */
static void upstream_failed(struct tx *tx, enum http_end why)
{
    struct upstream *u = tx->up;
    bool stale = u->reused; /* closed while it was kept: says nothing about the instance */
    bool silent = !http_buf_len(u->s.in) && !tx->interim;
    bool unsent = tx->sent->start == 0 && tx->replayable;
    if (u->connecting)
        http_upstream_refused(u);
    if (!stale)
        tx->tried[tx->pub.attempts % TARGETS_TRIED_MAX] = tx->pub.target;
    if (unsent || (silent && tx->replayable && tx->request.is_idempotent)) {
        drop_upstream(tx);
        tx->sent->start = 0;
        tx->request_dropped = false;
        tx->step = TX_ACQUIRE;
        http_stat_add(tx->conn->t, HTTP_STAT_RETRIES, 1);
        return;
    }
    fail(tx, 502, why, "the instance closed the connection before it answered");
}

static void on_tx_timeout(struct timer *timer, enum timer_kind kind)
{
    struct tx *tx = CONTAINER_OF(timer, struct tx, timer);
    struct conn *c = tx->conn;
    switch (kind) {
    case TIMER_CONNECT:
        upstream_failed(tx, HTTP_END_NO_INSTANCE);
        break;
    case TIMER_ANSWER:
        fail(tx, 504, HTTP_END_UPSTREAM_SLOW, "the instance did not answer in time");
        break;
    case TIMER_BODY:
        fail(tx, 408, HTTP_END_CLIENT_SLOW, "the request's content did not arrive in time");
        break;
    case TIMER_EXPECT:
        http_reply_continue(tx);
        break;
    default:
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
        break;
    }
    http_conn_run(c);
}

/* -- steps ------------------------------------------------------------------------------------- */

bool http_tx_run(struct tx *tx)
{
    if (tx->conn->s.broken && tx->step != TX_END)
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
    enum step_result r;
    do
        r = steps[tx->step](tx);
    while (r == STEP_NEXT);
    return r == STEP_DONE;
}

/* Whoever we wait for has its time from the last byte that moved. */
static enum step_result wait_for(struct tx *tx)
{
    enum timer_kind kind = TIMER_ANSWER;
    if (tx->step == TX_COLLECT)
        kind = TIMER_BODY;
    else if (http_buf_len(tx->conn->s.out))
        kind = TIMER_SEND;
    else if (tx->expecting)
        kind = TIMER_EXPECT;
    else if (!tx->answered && !tx->request_ended && !tx->request_dropped && !http_buf_len(tx->sent))
        kind = TIMER_BODY;
    if (tx->moved || !tx->timer.next || tx->timer.kind != kind)
        http_timer_set(tx->conn->t, &tx->timer, kind);
    tx->moved = false;
    return STEP_WAIT;
}

static enum step_result step_decide(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    t->calls->request(t->app, &tx->pub);
    ASSERT(tx->step != TX_DECIDE);
    return STEP_NEXT;
}

/* A client that dribbles its few bytes holds a buffer of ours, not a connection of a module, and
 * content that never comes is never announced to one. What is longer, or of unknown length,
 * streams. */
static enum step_result step_collect(struct tx *tx)
{
    enum pump p = tx->request_ended || tx->expecting || !http_pump_fits(tx) ? PUMP_DONE
                                                                            : http_pump_collect(tx);
    if (p == PUMP_WAIT)
        return wait_for(tx);
    if (p != PUMP_DONE) {
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
        return STEP_NEXT;
    }
    tx->upstream_start_us = tx->conn->t->now_us;
    tx->step = TX_ACQUIRE;
    return STEP_NEXT;
}

static enum step_result step_acquire(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    if (!tx->pub.attempts && t->calls->retarget)
        t->calls->retarget(t->app, &tx->pub);
    const struct http_target *target =
        tx->pub.attempts < ATTEMPTS_MAX ? http_upstream_pick(tx) : NULL;
    if (!target) {
        fail(tx, 502, HTTP_END_NO_INSTANCE, "no instance could be reached");
        return STEP_NEXT;
    }
    tx->pub.target = target;
    tx->pub.attempts++;
    tx->up = http_upstream_get(tx, target);
    if (!tx->up) {
        tx->tried[tx->pub.attempts % TARGETS_TRIED_MAX] = target;
        return STEP_NEXT;
    }
    tx->up->s.out = tx->sent;
    tx->step = tx->up->connecting ? TX_CONNECT : TX_EXCHANGE;
    if (tx->up->connecting)
        http_timer_set(tx->conn->t, &tx->timer, TIMER_CONNECT);
    return STEP_NEXT;
}

static enum step_result step_connect(struct tx *tx)
{
    struct upstream *u = tx->up;
    if (!u->s.can_write && !u->s.hangup)
        return STEP_WAIT;
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(u->s.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        upstream_failed(tx, HTTP_END_NO_INSTANCE);
        return STEP_NEXT;
    }
    http_upstream_connected(u);
    tx->moved = true;
    tx->step = TX_EXCHANGE;
    return STEP_NEXT;
}

/* Request content that goes on while an answer is awaited or relayed. False: the step has changed.
 */
static bool send_on(struct tx *tx)
{
    if (tx->request_dropped || (tx->request_ended && !http_buf_len(tx->sent)))
        return true;
    switch (http_pump_request(tx)) {
    case PUMP_CLIENT_GONE:
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
        return false;
    case PUMP_CLIENT_BAD:
        fail_refused(tx);
        return false;
    case PUMP_UPSTREAM_GONE: /* it takes no more, but may have answered why */
        tx->request_dropped = true;
        return true;
    case PUMP_MORE:
        http_thread_again(tx->conn);
        return true;
    default:
        return true;
    }
}

static void write_answer_head(
    struct conn *c, const struct http_response *r, const struct http_forward *f)
{
    if (!c->s.out)
        c->s.out = http_buf_get(c->t);
    struct http_out o = {.p = c->s.out->data + c->s.out->end, .cap = BUF_BYTES - c->s.out->end};
    http_response_forward(r, f, &o);
    ASSERT(!o.full); /* 16 KiB and what we add, into an empty buffer */
    c->s.out->end += (uint32_t)o.len;
}

static void forward_answer(struct tx *tx, const struct http_response *r)
{
    struct conn *c = tx->conn;
    bool unbounded = r->framing == HTTP_BODY_CHUNKED || r->framing == HTTP_BODY_UNTIL_CLOSE;
    bool final = r->status >= 200;
    if (final) {
        tx->chunked = unbounded && tx->request.minor == 1 && !c->parent;
        tx->close |=
            tx->request.close || c->t->draining || !tx->request_ended || tx->request_dropped;
    }
    struct http_forward f = {
        .request_id = {tx->pub.id, sizeof tx->pub.id},
        .chunked = tx->chunked,
        .close = tx->close,
        .via = true,
        .date = {c->t->date, strlen(c->t->date)},
    };
    if (final)
        http_body_init(&tx->answer_body, r->framing, r->content_length);
    if (c->parent)
        http_h2_head(tx, r, &f, !http_body_ended(&tx->answer_body));
    else
        write_answer_head(c, r, &f);
    if (!final)
        return;
    tx->answered = true;
    tx->expecting = false;
    tx->pub.status = r->status;
    tx->pub.upstream_us = c->t->now_us - tx->upstream_start_us;
    tx->upstream_closes = r->close;
    tx->step = TX_RELAY;
}

/* RFC 9110 section 15.2: interim answers go on to clients that know them; 100 only to one that
 * asked. */
static bool forward_interim(struct tx *tx, const struct http_response *r)
{
    if (++tx->interim > INTERIM_MAX)
        return false;
    if (r->status == 100 && tx->expecting)
        http_reply_continue(tx);
    else if (r->status != 100 && tx->request.minor == 1)
        forward_answer(tx, r);
    return true;
}

enum answer {
    ANSWER_PARTIAL, /* its head is not there whole */
    ANSWER_INTERIM, /* taken; the final one is still to come */
    ANSWER_FINAL,   /* the step has changed: relayed, or failed */
};

static enum answer take_answer(struct tx *tx)
{
    struct upstream *u = tx->up;
    struct http_response *r = &tx->conn->t->response;
    if (!u->s.in)
        return ANSWER_PARTIAL;
    int n = http_response_parse(
        http_buf_at(u->s.in), http_buf_len(u->s.in), &u->scanned, tx->request.is_head, r);
    if (n == 0)
        return ANSWER_PARTIAL;
    if (n < 0 || (r->status < 200 && !forward_interim(tx, r))) {
        fail(tx, 502, HTTP_END_UPSTREAM_BAD, "the instance's answer is not valid");
        return ANSWER_FINAL;
    }
    if (r->status >= 200)
        forward_answer(tx, r);
    u->scanned = 0;
    u->s.in->start += (uint32_t)n;
    if (!http_buf_len(u->s.in))
        http_buf_put(u->t, &u->s.in);
    return r->status < 200 ? ANSWER_INTERIM : ANSWER_FINAL;
}

static enum step_result step_exchange(struct tx *tx)
{
    struct upstream *u = tx->up;
    for (;;) {
        if (tx->conn->s.out && http_client_flush(tx) == IO_WAIT) /* an interim answer */
            return wait_for(tx);
        if (tx->conn->s.broken) {
            http_tx_abort(tx, HTTP_END_CLIENT_GONE);
            return STEP_NEXT;
        }
        if (!send_on(tx))
            return STEP_NEXT;
        enum answer answer = take_answer(tx);
        if (answer == ANSWER_FINAL)
            return STEP_NEXT;
        if (answer == ANSWER_INTERIM)
            continue;
        switch (http_stream_fill(u->t, &u->s)) {
        case IO_OK:
            tx->moved = true;
            break;
        case IO_WAIT:
            return wait_for(tx);
        default:
            upstream_failed(tx, HTTP_END_UPSTREAM_LOST);
            return STEP_NEXT;
        }
    }
}

static enum step_result step_relay(struct tx *tx)
{
    if (!send_on(tx))
        return STEP_NEXT;
    switch (http_pump_answer(tx)) {
    case PUMP_DONE:
        tx->step = TX_END;
        return STEP_NEXT;
    case PUMP_MORE:
        http_thread_again(tx->conn);
        return wait_for(tx);
    case PUMP_CLIENT_GONE:
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
        return STEP_NEXT;
    case PUMP_UPSTREAM_BAD:
        fail(tx, 502, HTTP_END_UPSTREAM_BAD, "the instance's answer is not valid");
        return STEP_NEXT;
    case PUMP_UPSTREAM_GONE:
        fail(tx, 502, HTTP_END_UPSTREAM_LOST,
            "the instance closed the connection within its answer");
        return STEP_NEXT;
    default:
        return wait_for(tx);
    }
}

static enum step_result step_reply(struct tx *tx)
{
    switch (http_client_flush(tx)) {
    case IO_OK:
        tx->step = TX_END;
        return STEP_NEXT;
    case IO_WAIT:
        return wait_for(tx);
    default:
        http_tx_abort(tx, HTTP_END_CLIENT_GONE);
        return STEP_NEXT;
    }
}

static void release_upstream(struct tx *tx)
{
    struct upstream *u = tx->up;
    tx->up = NULL;
    if (!u)
        return;
    bool clean = tx->request_ended && !tx->request_dropped && !http_buf_len(tx->sent)
                 && !tx->upstream_closes && !http_buf_len(u->s.in) && !u->s.eof && !u->s.hangup
                 && !u->s.broken && u->t->now_ms < u->until_ms;
    u->s.out = NULL;
    if (clean)
        http_upstream_keep(u);
    else
        http_upstream_drop(u);
}

static enum step_result step_end(struct tx *tx)
{
    struct conn *c = tx->conn;
    struct thread *t = c->t;
    http_timer_unset(&tx->timer);
    release_upstream(tx);
    if (tx->cut && tx->begun && !c->parent) /* what there is of it may still be read */
        (void)http_stream_flush(t, &c->s);
    tx->pub.duration_us = t->now_us - tx->pub.start_us;
    t->calls->done(t->app, &tx->pub);
    http_buf_put(t, &tx->sent);
    http_buf_put(t, &tx->head);
    if (c->parent) {
        http_h2_stream_end(c, tx);
        http_tx_put(t, tx);
        return STEP_DONE;
    }
    c->tx = NULL;
    c->state = CONN_HEAD;
    c->scanned = 0;
    /* An answer framed by the end of the connection must not end like a whole one. */
    bool reset =
        tx->cut && tx->answered && !tx->chunked && tx->answer_body.framing != HTTP_BODY_LENGTH;
    if (tx->cut)
        http_conn_close(c, reset);
    else if (tx->close && (!tx->request_ended || c->s.in))
        http_conn_linger(c);
    else if (tx->close || (t->draining && !t->drain_idle_ms))
        http_conn_close(c, false);
    else
        http_timer_set(t, &c->timer, TIMER_IDLE);
    http_tx_put(t, tx);
    return STEP_DONE;
}
