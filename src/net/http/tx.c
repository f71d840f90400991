/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. One request and its answer, as a machine of steps (TX_STEPS in priv.h). Every event of
 * the client's or the upstream's socket and every timeout ends in http_tx_run(), which takes steps
 * until one has to wait.
 *
 *   DECIDE -> REPLY | SERVE ----------------------------------------------> END
 *          -> PARK -> as DECIDE
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

static bool is_condition(const struct http_field *f)
{
    static const char *const names[] = {"if-none-match", "if-modified-since", "if-range", "range"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (http_text_is_nocase(f->name, names[i]))
            return true;
    return false;
}

/* The head for the upstream, from its start. */
static void write_request(struct tx *tx)
{
    struct http_fields *fields = &tx->request.fields;
    for (size_t i = 0; tx->drop_conditions && i < fields->n; i++)
        fields->v[i].hop |= is_condition(&fields->v[i]);
    struct http_forward f = {
        .path = tx->pub.path,
        .client = tx->pub.client,
        .request_id = {tx->pub.id, sizeof tx->pub.id},
        .tls = tx->pub.tls,
        .keep_expect = tx->expecting,
        .lines = tx->lines,
    };
    if (!tx->sent)
        tx->sent = http_buf_get(tx->conn->t);
    struct http_out o = {.p = tx->sent->data, .cap = BUF_BYTES};
    http_request_forward(&tx->request, &f, &o);
    ASSERT(!o.full); /* a head of 16 KiB and what we add */
    tx->sent->start = 0;
    tx->sent->end = (uint32_t)o.len;
    tx->replayable = true;
    tx->lines = (struct http_text){0};
}

void http_tx_forward(struct http_tx *pub, const struct http_target *targets, size_t n)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_DECIDE && n > 0);
    tx->targets = targets;
    tx->n_targets = n;
    write_request(tx);
    tx->step = TX_COLLECT;
}

void http_tx_park(struct http_tx *pub)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_DECIDE);
    tx->resumed = false;
    tx->step = TX_PARK;
}

void http_tx_resume(struct http_tx *pub)
{
    struct tx *tx = (struct tx *)pub;
    tx->resumed = true;
    http_thread_again(tx->conn);
}

void http_tx_observe(struct http_tx *pub, bool drop_conditions, struct http_text lines)
{
    struct tx *tx = (struct tx *)pub;
    tx->observed = true;
    tx->drop_conditions = drop_conditions;
    tx->lines = lines;
}

int64_t http_tx_now_ms(const struct http_tx *pub)
{
    return ((const struct tx *)pub)->conn->t->wall_ms;
}

struct thread *http_tx_thread(const struct http_tx *pub)
{
    return ((const struct tx *)pub)->conn->t;
}

struct http_response *http_tx_response(struct http_tx *pub)
{
    struct http_response *r = &((struct tx *)pub)->conn->t->response;
    memset(r, 0, offsetof(struct http_response, fields));
    r->fields.n = 0;
    return r;
}

/* What was forwarded is what is asked again: it is in one form, and nothing of a connection is in it. */
bool http_tx_fetch(struct http_tx *pub, void *background)
{
    struct tx *tx = (struct tx *)pub;
    struct thread *t = tx->conn->t;
    struct conn *c = http_conn_sink(t);
    if (!c)
        return false;
    struct tx *f = http_tx_get(t);
    struct http_forward how = {
        .path = pub->path, .client = pub->client, .request_id = {pub->id, sizeof pub->id}};
    c->s.in = http_buf_get(t);
    struct http_out o = {.p = c->s.in->data, .cap = HTTP_HEAD_MAX};
    http_request_forward(&tx->request, &how, &o);
    size_t scanned = 0;
    int n = o.full ? 0 : http_request_parse(o.p, o.len, &scanned, &f->request);
    if (n <= 0 || (size_t)n != o.len) {
        http_tx_put(t, f);
        http_conn_sink_end(c);
        return false;
    }
    f->request.fields.n--; /* the last one is our Via, which will be written again */
    c->s.in->end = (uint32_t)o.len;
    c->tls_version = tx->conn->tls_version;
    c->client_len = tx->conn->client_len;
    memcpy(c->client, tx->conn->client, sizeof c->client);
    http_tx_start(c, f, o.len, HTTP_REJECT_NONE);
    f->pub.tls = pub->tls;
    f->pub.background = background;
    http_thread_again(c);
    return true;
}

/* -- failures ---------------------------------------------------------------------------------- */

static void drop_upstream(struct tx *tx)
{
    if (tx->up)
        http_upstream_drop(tx->up);
    tx->up = NULL;
}

/* A client that leaves while its answer is being stored: others may be reading it, and who comes next wants it. */
static void hand_over(struct tx *tx)
{
    struct conn *c = http_conn_sink(tx->conn->t);
    if (!c)
        return;
    struct tx *f = http_tx_get(c->t);
    c->tx = f;
    f->conn = c;
    f->timer.fire = on_tx_timeout;
    f->pub.request = &f->request;
    f->step = TX_RELAY;
    f->orphan = f->begun = f->answered = f->request_ended = true;
    f->request_dropped = tx->request_dropped || !tx->request_ended;
    f->upstream_closes = tx->upstream_closes;
    f->answer_body = tx->answer_body;
    f->sent = tx->sent;
    f->store = tx->store;
    f->up = tx->up;
    f->up->tx = f;
    tx->up = NULL;
    tx->sent = NULL;
    tx->store = NULL;
    http_thread_again(c);
}

void http_tx_abort(struct tx *tx, enum http_end end)
{
    if (tx->store && tx->up && end == HTTP_END_CLIENT_GONE)
        hand_over(tx);
    http_store_end(tx, false);
    drop_upstream(tx);
    tx->pub.end = end;
    tx->close = tx->cut = true;
    tx->step = TX_END;
}

static bool call_failed(struct tx *tx, unsigned status)
{
    struct thread *t = tx->conn->t;
    tx->observed = false;
    return t->calls->cache->failed(t->app, &tx->pub, status);
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
    http_store_end(tx, false);
    drop_upstream(tx);
    if (tx->observed && !tx->answered && status >= 500
        && call_failed(tx, end == HTTP_END_NO_INSTANCE ? 0 : status))
        return;
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

static enum step_result step_park(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    if (!tx->resumed)
        return wait_for(tx);
    tx->resumed = false;
    tx->moved = true;
    tx->step = TX_DECIDE;
    t->calls->cache->resume(t->app, &tx->pub);
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

static void send_head(struct tx *tx, const struct http_response *r)
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
}

static void forward_answer(struct tx *tx, const struct http_response *r)
{
    send_head(tx, r);
    if (r->status < 200)
        return;
    tx->upstream_closes = r->close;
    tx->step = TX_RELAY;
    if (http_body_ended(&tx->answer_body))
        http_store_end(tx, true);
}

void http_tx_serve(struct http_tx *pub, const struct http_response *r)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(!tx->answered && r->status >= 200 && r->framing != HTTP_BODY_UNTIL_CLOSE);
    send_head(tx, r);
    tx->observed = false;
    tx->served = http_body_ended(&tx->answer_body);
    tx->step = TX_SERVE;
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

/* The application may want something else than to pass it on. What is left of it then is not worth waiting for. */
static void take_final(struct tx *tx, struct http_response *r, size_t head_len)
{
    struct upstream *u = tx->up;
    struct thread *t = u->t;
    bool closes = r->close || r->framing != HTTP_BODY_NONE;
    enum http_took took = HTTP_TOOK_RELAY;
    tx->pub.upstream_us = t->now_us - tx->upstream_start_us;
    if (tx->observed)
        took = t->calls->cache->head(t->app, &tx->pub, r, &tx->store);
    if (took == HTTP_TOOK_RELAY)
        forward_answer(tx, r);
    u->scanned = 0;
    u->s.in->start += (uint32_t)head_len;
    if (!http_buf_len(u->s.in))
        http_buf_put(t, &u->s.in);
    if (took == HTTP_TOOK_RELAY)
        return;
    tx->upstream_closes = closes;
    release_upstream(tx);
    if (took == HTTP_TOOK_SERVED)
        return;
    write_request(tx);
    tx->request_dropped = false;
    tx->step = TX_ACQUIRE;
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
    if (r->status >= 200) {
        take_final(tx, r, (size_t)n);
        return ANSWER_FINAL;
    }
    u->scanned = 0;
    u->s.in->start += (uint32_t)n;
    if (!http_buf_len(u->s.in))
        http_buf_put(u->t, &u->s.in);
    return ANSWER_INTERIM;
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

/* What follows the moving of an answer's content; gone: what is said where it broke off. */
static enum step_result after_pump(struct tx *tx, enum pump p, const char *gone)
{
    switch (p) {
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
        fail(tx, 502, HTTP_END_UPSTREAM_LOST, gone);
        return STEP_NEXT;
    default:
        return wait_for(tx);
    }
}

static enum step_result step_relay(struct tx *tx)
{
    if (!send_on(tx))
        return STEP_NEXT;
    enum pump p = http_pump_answer(tx);
    /* Neither a client nor a store: the rest of it could be any amount. */
    if (tx->conn->s.sink && !tx->store && !http_body_ended(&tx->answer_body))
        p = PUMP_CLIENT_GONE;
    return after_pump(tx, p, "the instance closed the connection within its answer");
}

static enum step_result step_serve(struct tx *tx)
{
    return after_pump(tx, http_pump_serve(tx), "the answer broke off where it was fetched");
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

static enum step_result step_end(struct tx *tx)
{
    struct conn *c = tx->conn;
    struct thread *t = c->t;
    http_timer_unset(&tx->timer);
    release_upstream(tx);
    if (tx->cut && tx->begun && !c->parent) /* what there is of it may still be read */
        (void)http_stream_flush(t, &c->s);
    tx->pub.duration_us = t->now_us - tx->pub.start_us;
    if (!tx->orphan)
        t->calls->done(t->app, &tx->pub);
    http_buf_put(t, &tx->sent);
    http_buf_put(t, &tx->head);
    if (c->parent) {
        http_h2_stream_end(c, tx);
        http_tx_put(t, tx);
        return STEP_DONE;
    }
    c->tx = NULL;
    if (c->s.sink) {
        http_conn_sink_end(c);
        http_tx_put(t, tx);
        return STEP_DONE;
    }
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
