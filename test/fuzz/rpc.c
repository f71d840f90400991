/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a peer through the frame decoder, the parser and the dispatcher of a connection with no
 * transport. The first input byte chooses: the hello is fed for the fuzzer (so that mutations get
 * past it), or the input brings it. */
#include "base/rpc/priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void kick(struct rpc_conn *c)
{
    while (c->out)
        rpc_out_free(rpc_conn_shift(c));
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct err e;
    struct rpc_req **kept = ctx;
    if (method[0] == 'e') {
        err_set(&e, ERR_REFUSED, "%s", method);
        rpc_reply_error(req, &e);
    } else if (method[0] == 'k' && !*kept) {
        *kept = req;
    } else {
        rpc_reply(req, json_incref(params));
    }
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    if (method[0] == 'q')
        rpc_conn_close(c);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct rpc_req **kept = ctx;
    if (*kept)
        rpc_reply(*kept, NULL);
    *kept = NULL;
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    unsigned *finals = ctx;
    *finals += !more;
}

static void feed(struct rpc_conn *c, const void *p, size_t len)
{
    if (c->ending || !len)
        return;
    memcpy(rpc_in_room(&c->in, len), p, len);
    rpc_in_added(&c->in, len);
    rpc_conn_arrived(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rpc_transport none = {.kick = kick, .end = rpc_conn_gone};
    static const struct rpc_handler handler = {
        .call = on_call, .notify = on_notify, .closed = on_closed};
    struct rpc_req *kept = NULL;
    unsigned finals = 0;
    uv_loop_t loop;
    if (!size)
        return 0;
    ASSERT(uv_loop_init(&loop) == 0);
    struct rpc_conn *c = rpc_conn_new(&loop, &none, &handler, &kept);
    rpc_conn_hello(c, "fuzz");
    if (data[0] & 1) {
        struct err e;
        _cleanup_str_ struct str hello = STR_INIT;
        _cleanup_json_ json_t *j = rpc_msg_hello("peer");
        ASSERT(rpc_frame_add(&hello, j, &e) >= 0);
        feed(c, hello.buf, hello.len);
    }
    rpc_call(c, "one", NULL, 0, on_answer, &finals);
    rpc_call(c, "two", NULL, 5000, on_answer, &finals);
    /* Two halves: a frame may be cut anywhere. */
    feed(c, data + 1, (size - 1) / 2);
    feed(c, data + 1 + (size - 1) / 2, size - 1 - (size - 1) / 2);
    rpc_conn_close(c);
    uv_run(&loop, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&loop) == 0 && finals == 2);
    return 0;
}
