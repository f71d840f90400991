/* SPDX-License-Identifier: Apache-2.0 */
/* The transport over a TLS stream: no descriptors; the stream keeps the unsent bytes. */
#include "base/rpc/priv.h"

#include "base/tls/tls.h"

static void tls_kick(struct rpc_conn *c)
{
    while (c->out) {
        struct rpc_out *o = rpc_conn_shift(c);
        tls_stream_write(c->tls, o->data.buf, o->data.len);
        rpc_out_free(o);
    }
}

static void tls_end(struct rpc_conn *c)
{
    if (c->tls)
        tls_stream_close(c->tls);
    else
        rpc_conn_gone(c);
}

static const struct rpc_transport tls_transport = {.kick = tls_kick, .end = tls_end};

static void on_data(void *ctx, struct tls_stream *s, const void *p, size_t len)
{
    struct rpc_conn *c = ctx;
    if (c->ending)
        return;
    memcpy(rpc_in_room(&c->in, len), p, len);
    rpc_in_added(&c->in, len);
    rpc_conn_arrived(c);
}

static void on_drained(void *ctx, struct tls_stream *s)
{
    rpc_conn_sent(ctx);
}

static void on_closed(void *ctx, struct tls_stream *s, const struct err *e)
{
    struct rpc_conn *c = ctx;
    c->tls = NULL;
    if (c->ending)
        rpc_conn_gone(c);
    else
        rpc_conn_end(c, e->code, "%s", e->message);
}

static const struct tls_stream_handler stream_handler = {
    .data = on_data, .closed = on_closed, .drained = on_drained};

int rpc_conn_new_tls(struct tls_stream *s, const char *name, const struct rpc_handler *handler,
    void *ctx, struct rpc_conn **ret, struct err *e)
{
    struct rpc_conn *c = rpc_conn_new(tls_stream_loop(s), &tls_transport, handler, ctx);
    c->tls = s;
    tls_stream_set_handler(s, &stream_handler, c);
    rpc_conn_hello(c, name);
    *ret = c;
    return 0;
}

size_t rpc_conn_backlog(struct rpc_conn *c)
{
    return c->out_bytes + (c->tls ? tls_stream_backlog(c->tls) : 0);
}
