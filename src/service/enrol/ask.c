/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/ask.h"

#include "base/rpc/rpc.h"
#include "base/tls/dial.h"
#include "base/tls/tls.h"
#include "service/peers/peers.h"


struct asking {
    const struct enrol_ask *a;
    uv_loop_t loop;
    struct tls_stream *stream;
    struct rpc_conn *conn;
    json_t *result;
    struct err err;
    bool answered;
};

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
    int fd = tls_dial(&a->address, a->port, e);
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
