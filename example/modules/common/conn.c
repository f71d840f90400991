/* SPDX-License-Identifier: Apache-2.0 */
#include "priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MS PROMISE_MS /* from the first byte of a request to the last of its answer */
#define LINGER_MS 1000   /* how long a refused peer may go on sending */
#define IDLE_MS                                                                                    \
    75000 /* longer than the 60 s after which proxies usually let go, so they close first */

/* One thread answers one request at a time, so all connections share the space a body is written
 * in. */
static char body_space[HTTP_OUT_MAX - 512]; /* 512: no head of ours is longer */

struct conn *conn_new(int fd, uint64_t now)
{
    struct conn *c = malloc(sizeof(*c));
    if (!c)
        return NULL;
    /* The buffers stay untouched: an idle connection costs two pages, not 88 KiB. */
    c->fd = fd;
    c->served = c->closing = c->refused = false;
    c->promise = NULL;
    c->in_n = c->out_n = c->out_sent = 0;
    c->deadline_ms = now + REQUEST_MS;
    c->idle_since_ms = now;
    return c;
}

void conn_free(struct conn *conn)
{
    if (conn->promise)
        conn->promise->conn = NULL;
    close(conn->fd);
    free(conn);
}

short conn_events(const struct conn *conn)
{
    if (conn->promise)
        return 0; /* only whether it is still there */
    return conn->out_sent < conn->out_n ? POLLOUT : POLLIN;
}

bool conn_idle(const struct conn *conn)
{
    return conn->in_n == 0 && conn->out_n == 0 && !conn->promise;
}

static void write_head(struct conn *c, const struct reply *reply, bool keep_alive)
{
    struct buf head = {c->out, 0, sizeof(c->out), false};
    buf_printf(&head,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\n%s%s\r\n",
        reply->status, http_reason(reply->status), reply->type, reply->body.n,
        reply->field ? reply->field : "", keep_alive ? "" : "Connection: close\r\n");
    c->out_n = head.n;
    c->out_sent = 0;
}

static void write_reply(struct conn *c, const struct reply *reply, bool head_only, bool keep_alive)
{
    write_head(c, reply, keep_alive);
    if (!head_only) {
        memcpy(c->out + c->out_n, reply->body.p, reply->body.n);
        c->out_n += reply->body.n;
    }
    c->closing = !keep_alive;
}

struct reply reply_new(void)
{
    return (struct reply){
        .status = 200,
        .type = "application/json",
        .body = {.p = body_space, .cap = sizeof(body_space)},
    };
}

static void refuse(struct conn *c, int status)
{
    struct reply reply = reply_new();
    reply_error(&reply, status, http_reason(status));
    write_reply(c, &reply, false, false);
    c->refused = true;
    log_line("warn", "http", "refused status=%d", status);
}

static void answer(
    struct conn *c, const struct module *module, const struct http_request *request, bool draining)
{
    uint64_t from = now_ms();
    bool head_only = span_equal(request->method, "HEAD");
    struct reply reply = reply_new();
    bool quiet = router_answer(module, request, &reply);
    if (reply.later) {
        *reply.later = (struct promise){c, head_only, request->keep_alive};
        c->promise = reply.later;
        return;
    }
    if (reply.body.full)
        reply_error(&reply, 500, "answer too long");
    write_reply(c, &reply, head_only, request->keep_alive && !draining);
    if (quiet && reply.status < 400)
        return;
    int path_n = request->path.n < 200 ? (int)request->path.n : 200;
    log_line("info", "http", "request method=%.*s path=%.*s status=%d bytes=%zu ms=%llu",
        (int)request->method.n, request->method.p, path_n, request->path.p, reply.status,
        reply.body.n, (unsigned long long)(now_ms() - from));
}

void reply_later(struct reply *reply, struct promise *promise)
{
    reply->later = promise;
}

/* Answers the request at the front of the input, when it is whole. */
static void serve_one(struct conn *c, const struct module *module, bool draining)
{
    struct http_request request;
    size_t used = 0;
    int e = http_parse(c->in, c->in_n, &request, &used);
    if (e < 0) {
        c->in_n = 0;
        refuse(c, -e);
    } else if (e > 0) {
        answer(c, module, &request, draining);
        c->served = true;
        c->in_n -= used;
        memmove(c->in, c->in + used, c->in_n);
    }
}

/* False when the peer is gone. */
static bool flush(struct conn *c)
{
    while (c->out_sent < c->out_n) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_n - c->out_sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        c->out_sent += (size_t)n;
    }
    c->out_n = c->out_sent = 0;
    return true;
}

/* False when the peer has closed. */
static bool fill(struct conn *c, uint64_t now)
{
    ssize_t n = recv(c->fd, c->in + c->in_n, sizeof(c->in) - c->in_n, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n > 0 && c->in_n == 0)
        c->deadline_ms = now + REQUEST_MS;
    c->in_n += (size_t)n;
    return n > 0;
}

/* Closing with unread input would reset the connection, and the peer might lose the answer. */
static bool linger(struct conn *c)
{
    ssize_t n;
    do
        n = recv(c->fd, c->in, sizeof(c->in), 0);
    while (n > 0);
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

void promise_keep(struct promise *promise, struct reply *reply)
{
    struct conn *c = promise->conn;
    if (!c)
        return;
    promise->conn = NULL;
    c->promise = NULL;
    if (reply->body.full)
        reply_error(reply, 500, "answer too long");
    write_reply(c, reply, promise->head_only, promise->keep_alive && !server_draining());
    uint64_t now = now_ms();
    c->deadline_ms = now + REQUEST_MS;
    /* What remains to be done stands in the buffers, and the next wait ends at once because of it;
     * usually nothing does. */
    if (c->closing || c->in_n > 0 || !flush(c) || c->out_n > 0)
        return;
    c->deadline_ms = now + IDLE_MS;
    c->idle_since_ms = now;
}

bool conn_step(struct conn *conn, const struct module *module, bool draining, uint64_t now)
{
    if (conn->promise)
        return false; /* asked for nothing else: it has gone */
    if (conn->refused && conn->out_n == 0)
        return linger(conn);
    if (conn->out_n == 0 && !fill(conn, now))
        return false;
    /* Pipelined requests are answered one at a time, each once the last answer is out. */
    do {
        if (conn->out_n == 0 && conn->in_n > 0)
            serve_one(conn, module, draining);
        if (conn->promise)
            conn->deadline_ms = now + REQUEST_MS;
        if (conn->out_n == 0)
            break;
        if (!flush(conn))
            return false;
        if (conn->out_n > 0)
            return true;
        conn->deadline_ms = now + (conn->in_n > 0 ? REQUEST_MS : IDLE_MS);
        conn->idle_since_ms = now;
    } while (!conn->closing && conn->in_n > 0);
    if (!conn->refused)
        return !conn->closing;
    shutdown(conn->fd, SHUT_WR);
    conn->deadline_ms = now + LINGER_MS;
    return true;
}

void conn_expire(struct conn *conn)
{
    if (conn->in_n > 0 && conn->out_n == 0 && !conn->promise) {
        refuse(conn, 408);
        (void)flush(conn);
    }
    conn_free(conn);
}
