/* SPDX-License-Identifier: Apache-2.0 */
/* Calls in both directions. A call of ours is answered exactly once: by the peer, by its deadline,
 * by cancellation or by the end of the connection. A request of the peer lives until its handler
 * answers it, even beyond the connection. */
#include "base/rpc/priv.h"

static json_t *or_empty(json_t *j)
{
    return j ? j : json_object();
}

static struct rpc_call *find_call(struct rpc_conn *c, int64_t id)
{
    for (struct rpc_call *k = c->calls; k; k = k->next)
        if (k->id == id)
            return k;
    return NULL;
}

static struct rpc_req *find_req(struct rpc_conn *c, int64_t id)
{
    for (struct rpc_req *q = c->reqs; q; q = q->next)
        if (q->id == id)
            return q;
    return NULL;
}

/* Takes it off the list first: the callback may do anything with the connection. */
static void answer_call(struct rpc_call *k, json_t *result, const struct err *error)
{
    struct rpc_conn *c = k->conn;
    *k->prev = k->next;
    if (k->next)
        k->next->prev = k->prev;
    c->n_calls--;
    if (k->answer)
        k->answer(k->ctx, result, false, error);
    free(k);
}

static void take_answer(struct rpc_conn *c, const struct rpc_msg *m)
{
    if (m->id > c->last_id) {
        rpc_conn_end(
            c, ERR_PROTOCOL, "an answer to call %lld, which was never made", (long long)m->id);
        return;
    }
    struct rpc_call *k = find_call(c, m->id);
    if (!k)
        return; /* given up meanwhile */
    if (m->kind == RPC_MORE) {
        if (k->answer && k->late_code != ERR_CANCELED)
            k->answer(k->ctx, m->body, true, NULL);
        return;
    }
    struct err e = {0};
    if (m->kind == RPC_ERROR)
        json_to_err(m->body, &e);
    answer_call(k, m->kind == RPC_RESULT ? m->body : NULL, m->kind == RPC_ERROR ? &e : NULL);
}

static void send_error(struct rpc_conn *c, int64_t id, const struct err *error)
{
    struct err e;
    json_t *msg = json_pack("{s:I,s:o}", "id", (json_int_t)id, "error", json_from_err(error));
    int r = rpc_conn_send(c, msg, -1, &e);
    (void)r; /* an error always fits a frame */
}

static void take_call(struct rpc_conn *c, const struct rpc_msg *m, int fd)
{
    _cleanup_close_ int owned = fd;
    struct err e;
    if (find_req(c, m->id)) {
        rpc_conn_end(c, ERR_PROTOCOL, "call %lld is still running", (long long)m->id);
        return;
    }
    if (c->n_reqs >= RPC_REQS_MAX) {
        err_set(&e, ERR_LIMIT, "%u calls are unanswered", RPC_REQS_MAX);
        send_error(c, m->id, &e);
        return;
    }
    if (!c->handler->call) {
        err_set(&e, ERR_NOT_FOUND, "no method %s", m->method);
        send_error(c, m->id, &e);
        return;
    }
    struct rpc_req *q = xcalloc(1, sizeof *q);
    q->conn = c;
    q->fd = -1;
    q->id = m->id;
    q->next = c->reqs;
    q->prev = &c->reqs;
    if (q->next)
        q->next->prev = &q->next;
    c->reqs = q;
    c->n_reqs++;
    _cleanup_json_ json_t *params = m->body ? json_incref(m->body) : json_object();
    c->handler->call(c->ctx, q, m->method, params, util_steal_fd(&owned));
}

static void cancel_req(struct rpc_req *q)
{
    if (q->is_cancelled)
        return;
    q->is_cancelled = true;
    if (q->cancelled)
        q->cancelled(q->ctx);
}

static void take_notify(struct rpc_conn *c, const struct rpc_msg *m, int fd)
{
    if (!c->handler->notify) {
        if (fd >= 0)
            close(fd);
        return;
    }
    _cleanup_json_ json_t *params = m->body ? json_incref(m->body) : json_object();
    c->handler->notify(c->ctx, c, m->method, params, fd);
}

void rpc_calls_message(struct rpc_conn *c, const struct rpc_msg *m, int fd)
{
    if (m->kind == RPC_CALL) {
        take_call(c, m, fd);
        return;
    }
    if (m->kind == RPC_NOTIFY) {
        take_notify(c, m, fd);
        return;
    }
    bool answers = m->kind == RPC_RESULT || m->kind == RPC_ERROR || m->kind == RPC_MORE;
    c->answer_fd = answers ? fd : -1;
    if (fd >= 0 && !answers)
        close(fd);
    struct rpc_req *q = m->kind == RPC_INPUT || m->kind == RPC_CANCEL ? find_req(c, m->id) : NULL;
    if (m->kind == RPC_CANCEL && q)
        cancel_req(q);
    else if (m->kind == RPC_INPUT && q && q->input && !q->is_cancelled)
        q->input(q->ctx, m->body);
    else if (answers)
        take_answer(c, m);
    fd = rpc_answer_take_fd(c);
    if (fd >= 0)
        close(fd);
}

int rpc_answer_take_fd(struct rpc_conn *c)
{
    return util_steal_fd(&c->answer_fd);
}

static const char *late_text(int code)
{
    return code == ERR_TIMEOUT    ? "no answer in time"
           : code == ERR_CANCELED ? "cancelled"
                                  : "cannot be sent: too large";
}

static void send_cancel(struct rpc_call *k)
{
    struct err e;
    json_t *msg = json_pack("{s:I,s:b}", "id", (json_int_t)k->id, "cancel", 1);
    int r = rpc_conn_send(k->conn, msg, -1, &e);
    (void)r; /* fits */
}

void rpc_calls_expire(struct rpc_conn *c, uint64_t now_ms)
{
    for (;;) {
        uint64_t next = 0;
        struct rpc_call *late = NULL;
        for (struct rpc_call *k = c->calls; k && !late; k = k->next) {
            if (k->deadline_ms && k->deadline_ms <= now_ms)
                late = k;
            else if (k->deadline_ms && (!next || k->deadline_ms < next))
                next = k->deadline_ms;
        }
        if (!late) {
            if (next)
                rpc_conn_arm(c, next);
            return;
        }
        struct err e;
        err_set(&e, late->late_code, "%s: %s", late->method, late_text(late->late_code));
        if (late->late_code == ERR_TIMEOUT)
            send_cancel(late);
        answer_call(late, NULL, &e);
        if (c->ending)
            return;
    }
}

void rpc_calls_end(struct rpc_conn *c)
{
    struct err e;
    for (size_t rounds = 0; c->calls; rounds++) {
        /* an answer callback that calls again and again on a dead connection */
        ASSERT(rounds < 2 * RPC_CALLS_MAX);
        err_set(&e, ERR_UNAVAILABLE, "%s: connection%s%s ended: %s", c->calls->method,
            *c->peer_name ? " to " : "", c->peer_name, c->why.message);
        answer_call(c->calls, NULL, &e);
    }
    for (struct rpc_req *q = c->reqs; q;) {
        bool fresh = !q->is_cancelled;
        if (fresh)
            cancel_req(q); /* may answer this and any other request */
        q = fresh ? c->reqs : q->next;
    }
}

void rpc_reqs_drained(struct rpc_conn *c)
{
    for (struct rpc_req *q = c->reqs, *next; q && !c->ending; q = next) {
        next = q->next; /* drained() may answer q, and no other */
        if (q->drained)
            q->drained(q->ctx);
    }
}

struct rpc_call *rpc_call(struct rpc_conn *c, const char *method, json_t *params,
    uint64_t timeout_ms, rpc_answer_fn answer, void *ctx)
{
    return rpc_call_fd(c, method, params, -1, timeout_ms, answer, ctx);
}

struct rpc_call *rpc_call_fd(struct rpc_conn *c, const char *method, json_t *params, int fd,
    uint64_t timeout_ms, rpc_answer_fn answer, void *ctx)
{
    ASSERT(!c->dead && strlen(method) <= RPC_METHOD_MAX);
    struct rpc_call *k = xcalloc(1, sizeof *k);
    k->conn = c;
    k->id = ++c->last_id;
    k->answer = answer;
    k->ctx = ctx;
    k->late_code = ERR_TIMEOUT;
    str_copy(k->method, sizeof k->method, method);
    k->next = c->calls;
    k->prev = &c->calls;
    if (k->next)
        k->next->prev = &k->next;
    c->calls = k;
    c->n_calls++;
    struct err e;
    json_t *msg = json_pack(
        "{s:I,s:s,s:o}", "id", (json_int_t)k->id, "method", method, "params", or_empty(params));
    ASSERT(msg);
    bool too_many = c->n_calls > RPC_CALLS_MAX;
    if (too_many) {
        json_decref(msg);
        if (fd >= 0)
            close(fd);
    }
    if (too_many || rpc_conn_send(c, msg, fd, &e) < 0) {
        k->late_code = ERR_LIMIT; /* answered from the loop, like everything */
        k->deadline_ms = rpc_conn_now(c);
    } else if (timeout_ms) {
        k->deadline_ms = rpc_conn_now(c) + timeout_ms;
    }
    if (k->deadline_ms)
        rpc_conn_arm(c, k->deadline_ms);
    return k;
}

void rpc_call_input(struct rpc_call *call, json_t *input)
{
    struct err e;
    json_t *msg = json_pack("{s:I,s:o}", "id", (json_int_t)call->id, "input", or_empty(input));
    ASSERT(msg);
    if (rpc_conn_send(call->conn, msg, -1, &e) < 0)
        rpc_call_cancel(call); /* what was lost cannot be made good */
}

void rpc_call_cancel(struct rpc_call *call)
{
    if (call->late_code == ERR_CANCELED)
        return;
    send_cancel(call);
    call->late_code = ERR_CANCELED;
    call->deadline_ms = rpc_conn_now(call->conn);
    rpc_conn_arm(call->conn, call->deadline_ms);
}

void rpc_notify(struct rpc_conn *c, const char *method, json_t *params)
{
    rpc_notify_fd(c, method, params, -1);
}

void rpc_notify_fd(struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    struct err e;
    json_t *msg = json_pack("{s:s,s:o}", "method", method, "params", or_empty(params));
    ASSERT(msg);
    if (rpc_conn_send(c, msg, fd, &e) < 0)
        /* a peer that missed one is worse than a new start */
        rpc_conn_end(c, e.code, "%s: %s", method, e.message);
}

static void free_req(struct rpc_req *q, const struct err *error)
{
    struct rpc_conn *c = q->conn;
    if (q->answered)
        q->answered(q->answered_ctx, error);
    *q->prev = q->next;
    if (q->next)
        q->next->prev = q->prev;
    c->n_reqs--;
    if (q->fd >= 0)
        close(q->fd);
    free(q);
    if (c->dead && !c->reqs)
        free(c);
}

void rpc_reply(struct rpc_req *req, json_t *result)
{
    rpc_reply_fd(req, result, -1);
}

void rpc_reply_fd(struct rpc_req *req, json_t *result, int fd)
{
    struct err e;
    json_t *msg = json_pack("{s:I,s:o}", "id", (json_int_t)req->id, "result", or_empty(result));
    ASSERT(msg);
    if (rpc_conn_send(req->conn, msg, fd, &e) < 0)
        send_error(req->conn, req->id, &e);
    free_req(req, NULL);
}

void rpc_reply_error(struct rpc_req *req, const struct err *e)
{
    send_error(req->conn, req->id, e);
    free_req(req, e);
}

void rpc_reply_more(struct rpc_req *req, json_t *part)
{
    struct err e;
    json_t *msg = json_pack("{s:I,s:o}", "id", (json_int_t)req->id, "more", or_empty(part));
    ASSERT(msg);
    if (req->is_cancelled)
        json_decref(msg);
    else if (rpc_conn_send(req->conn, msg, -1, &e) < 0)
        rpc_conn_end(req->conn, e.code, "a part of a stream: %s", e.message);
}

void rpc_req_watch(struct rpc_req *req, void (*input)(void *ctx, json_t *input),
    void (*cancelled)(void *ctx), void *ctx)
{
    req->input = input;
    req->cancelled = cancelled;
    req->ctx = ctx;
}

void rpc_req_watch_drained(struct rpc_req *req, void (*drained)(void *ctx))
{
    req->drained = drained;
}

void rpc_req_on_answer(
    struct rpc_req *req, void (*answered)(void *ctx, const struct err *error), void *ctx)
{
    req->answered = answered;
    req->answered_ctx = ctx;
}

void rpc_req_keep_fd(struct rpc_req *req, int fd)
{
    req->fd = fd;
}

int rpc_req_take_fd(struct rpc_req *req)
{
    return util_steal_fd(&req->fd);
}

struct rpc_conn *rpc_req_conn(struct rpc_req *req)
{
    return req->conn->dead ? NULL : req->conn;
}
