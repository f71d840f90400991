/* SPDX-License-Identifier: Apache-2.0 */
/* Pure: bytes to frames to messages and back. Shared by the connection, the blocking client and the
 * fuzzer. */
#include "base/rpc/priv.h"

#include "base/secret/secret.h"

#define KEEP_BYTES 4096u /* an idle connection keeps no more than this */

char *rpc_in_room(struct rpc_in *in, size_t want)
{
    if (in->off && in->off == in->buf.len) {
        in->off = 0;
        in->buf.len = 0;
    } else if (in->off > in->buf.len / 2) {
        memmove(in->buf.buf, in->buf.buf + in->off, in->buf.len - in->off);
        secret_wipe(in->buf.buf + in->buf.len - in->off, in->off);
        in->buf.len -= in->off;
        in->off = 0;
    }
    str_reserve(&in->buf, want);
    return in->buf.buf + in->buf.len;
}

void rpc_in_added(struct rpc_in *in, size_t n)
{
    in->buf.len += n;
    in->buf.buf[in->buf.len] = '\0';
}

int rpc_in_next(struct rpc_in *in, const char **ret, size_t *ret_len, struct err *e)
{
    size_t have = in->buf.len - in->off;
    if (have == 0 && in->buf.cap > KEEP_BYTES) {
        rpc_in_done(in);
    } else if (have == 0) { /* stays with an idle connection */
        secret_wipe(in->buf.buf, in->buf.len);
        in->off = in->buf.len = 0;
    }
    if (have < RPC_HEADER)
        return 0;
    const uint8_t *p = (const uint8_t *)in->buf.buf + in->off;
    size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (len == 0)
        return err_set(e, ERR_PROTOCOL, "empty frame");
    if (len > in->max)
        return err_set(e, ERR_PROTOCOL, "frame of %zu bytes, allowed are %zu", len, in->max);
    if (have < RPC_HEADER + len)
        return 0;
    *ret = (const char *)p + RPC_HEADER;
    *ret_len = len;
    in->off += RPC_HEADER + len;
    return 1;
}

void rpc_in_done(struct rpc_in *in)
{
    str_done(&in->buf);
    in->off = 0;
}

static int append(const char *text, size_t len, void *ctx)
{
    struct str *out = ctx;
    if (len > RPC_FRAME_MAX || out->len > 2 * (size_t)RPC_FRAME_MAX - len)
        return -1;
    str_add_mem(out, text, len);
    return 0;
}

int rpc_frame_add(struct str *out, const json_t *msg, struct err *e)
{
    size_t start = out->len;
    ASSERT(start <= RPC_FRAME_MAX);
    str_add_mem(out, "\0\0\0\0", RPC_HEADER);
    int r = json_dump_callback(msg, append, out, JSON_COMPACT);
    size_t len = out->len - start - RPC_HEADER;
    if (r < 0 || len > RPC_FRAME_MAX) {
        out->len = start;
        out->buf[start] = '\0';
        return err_set(e, ERR_LIMIT, "message over the frame limit of %u bytes", RPC_FRAME_MAX);
    }
    for (size_t i = 0; i < RPC_HEADER; i++)
        out->buf[start + i] = (char)(len >> (24 - 8 * i));
    return 0;
}

json_t *rpc_msg_hello(const char *name)
{
    json_t *j =
        json_pack("{s:[i,i],s:s}", "protocol", RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX, "name", name);
    ASSERT(j);
    return j;
}

int rpc_msg_agree(const struct rpc_msg *hello, struct err *e)
{
    int64_t low = MAX(hello->min, RPC_PROTOCOL_MIN), high = MIN(hello->max, RPC_PROTOCOL_MAX);
    if (low > high) {
        err_set(e, ERR_PROTOCOL,
            "no common protocol version: this end speaks %d to %d, %s speaks %lld to %lld",
            RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX, *hello->name ? hello->name : "the other",
            (long long)hello->min, (long long)hello->max);
        err_fix(e, "install the same release of mcp on both");
        return ERR_PROTOCOL;
    }
    return (int)high;
}

static int parse_hello(
    const json_t *root, const json_t *protocol, struct rpc_msg *ret, struct err *e)
{
    const json_t *min = json_array_get(protocol, 0), *max = json_array_get(protocol, 1);
    ret->kind = RPC_HELLO;
    ret->name = json_opt_str(root, "name", "");
    if (!json_is_integer(min) || !json_is_integer(max) || json_array_size(protocol) != 2)
        return err_set(e, ERR_PROTOCOL, "hello without a protocol range");
    ret->min = json_integer_value(min);
    ret->max = json_integer_value(max);
    if (ret->min < 1 || ret->min > ret->max || ret->max > INT32_MAX)
        return err_set(e, ERR_PROTOCOL, "hello with a protocol range that is none");
    if (strlen(ret->name) > RPC_NAME_MAX)
        return err_set(e, ERR_PROTOCOL, "hello with a name over %u bytes", RPC_NAME_MAX);
    return 0;
}

static int parse_method(
    const json_t *root, const json_t *method, struct rpc_msg *ret, struct err *e)
{
    ret->method = json_string_value(method);
    size_t len = json_string_length(method);
    if (!ret->method || !len || len > RPC_METHOD_MAX || strlen(ret->method) != len)
        return err_set(e, ERR_PROTOCOL, "method is not a word of at most %u bytes", RPC_METHOD_MAX);
    ret->body = json_object_get(root, "params");
    if (ret->body && !json_is_object(ret->body))
        return err_set(e, ERR_PROTOCOL, "params of %s are no object", ret->method);
    return 0;
}

static int parse_with_id(const json_t *root, struct rpc_msg *ret, struct err *e)
{
    static const struct {
        const char *key;
        enum rpc_kind kind;
    } kinds[] = {{"result", RPC_RESULT}, {"error", RPC_ERROR}, {"more", RPC_MORE},
        {"input", RPC_INPUT}, {"cancel", RPC_CANCEL}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        ret->body = json_object_get(root, kinds[i].key);
        ret->kind = kinds[i].kind;
        if (ret->kind == RPC_ERROR && ret->body && !json_is_object(ret->body))
            return err_set(e, ERR_PROTOCOL, "error is no object");
        if (ret->body)
            return 0;
    }
    return err_set(e, ERR_PROTOCOL, "message %lld says nothing", (long long)ret->id);
}

int rpc_msg_parse(const json_t *root, struct rpc_msg *ret, struct err *e)
{
    *ret = (struct rpc_msg){0};
    if (!json_is_object(root))
        return err_set(e, ERR_PROTOCOL, "message is no object");
    ret->has_fd = json_opt_bool(root, "fd", false);
    const json_t *protocol = json_object_get(root, "protocol");
    if (protocol)
        return parse_hello(root, protocol, ret, e);
    const json_t *id = json_object_get(root, "id"), *method = json_object_get(root, "method");
    if (id) {
        ret->id = json_is_integer(id) ? json_integer_value(id) : 0;
        if (ret->id < 1 || ret->id > RPC_ID_MAX)
            return err_set(e, ERR_PROTOCOL, "id is no positive number");
        if (!method)
            return parse_with_id(root, ret, e);
    }
    ret->kind = id ? RPC_CALL : RPC_NOTIFY;
    return parse_method(root, method, ret, e);
}
