/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/ask.h"

#include "base/rpc/rpc.h"
#include "base/tls/tls.h"
#include "service/peers/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define CONNECT_MS 5000

struct asking {
    const struct enrol_ask *a;
    uv_loop_t loop;
    struct tls_stream *stream;
    struct rpc_conn *conn;
    json_t *result;
    struct err err;
    bool answered;
};

static int await_connect(int fd, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&p, 1, CONNECT_MS) <= 0)
        return err_set(e, ERR_TIMEOUT, "no answer within %d s", CONNECT_MS / 1000);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error ? err_set(e, ERR_UNAVAILABLE, "%s", strerror(error)) : 0;
}

static int dial(const struct enrol_ask *a, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    char text[IP_TEXT_SIZE];
    ip_to_sockaddr(&a->address, a->port, &sa, &len);
    ip_format(&a->address, text);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    int r = 0;
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        r = err_errno(e, errno, "connect");
    if (r >= 0)
        r = await_connect(fd, e);
    if (r < 0) {
        err_wrap(e, "%s port %u", text, a->port);
        err_fix(e, "is that a host of the platform, and does nothing on the way drop TCP %u?",
            a->port);
        return e->code;
    }
    return util_steal_fd(&fd);
}

static void finish(struct asking *k, json_t *result, const struct err *e)
{
    if (k->answered)
        return;
    k->answered = true;
    if (e)
        k->err = *e;
    else
        k->result = json_incref(result);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct asking *k = ctx;
    if (more)
        return;
    finish(k, result, e);
    if (k->conn)
        rpc_conn_close(k->conn);
}

/* The hello has come, so the handshake is over: now it is known who that is. */
static void on_ready(void *ctx, struct rpc_conn *c)
{
    struct asking *k = ctx;
    const struct enrol_ask *a = k->a;
    char host[128];
    struct err e = {0};
    if (a->root_pem
        && !peers_host_of_id(a->platform, tls_stream_peer_id(k->stream), host, sizeof host)) {
        err_set(&e, ERR_DENIED, "who answers is no host of %s: %s", a->platform,
            tls_stream_peer_id(k->stream));
        finish(k, NULL, &e);
        rpc_conn_close(c);
        return;
    }
    rpc_call(c, a->method, a->params ? json_deep_copy(a->params) : NULL, a->timeout_ms, on_answer,
        k);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct err e;
    if (fd >= 0)
        close(fd);
    err_set(&e, ERR_DENIED, "nothing can be asked here");
    rpc_reply_error(req, &e);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct asking *k = ctx;
    k->conn = NULL;
    finish(k, NULL, e);
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .ready = on_ready, .closed = on_closed};
static const struct tls_stream_handler no_stream_handler = {0};

static int start(struct asking *k, int fd, struct err *e)
{
    SSL_CTX *ctx;
    int r = tls_ctx_stranger_new(k->a->root_pem, &ctx, e);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = tls_stream_new(
        &k->loop, ctx, fd, false, NULL, &no_stream_handler, NULL, &k->stream, e);
    SSL_CTX_free(ctx);
    return r < 0 ? r : rpc_conn_new_tls(k->stream, "join", &handler, k, &k->conn, e);
}

int enrol_ask(const struct enrol_ask *a, json_t **ret, struct err *e)
{
    struct asking k = {.a = a};
    int fd = dial(a, e);
    if (fd < 0)
        return fd;
    ASSERT(uv_loop_init(&k.loop) == 0);
    int r = start(&k, fd, e);
    if (r >= 0)
        uv_run(&k.loop, UV_RUN_DEFAULT);
    uv_run(&k.loop, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&k.loop) == 0);
    if (r < 0)
        return r;
    if (k.result) {
        *ret = k.result;
        return 0;
    }
    *e = k.err;
    return e->code ? e->code : err_set(e, ERR_UNAVAILABLE, "the platform hung up");
}
