/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/kv/etcd_json.h"

#include <openssl/evp.h>

static json_t *base64(const void *data, size_t len)
{
    _cleanup_free_ char *out = xmalloc(len * 4 / 3 + 8);
    EVP_EncodeBlock((unsigned char *)out, data, (int)len);
    return json_string(out);
}

static json_t *base64_text(const char *s)
{
    return base64(s, strlen(s));
}

/* The first key behind all that start with the prefix: its last byte plus one (prefixes here end in
 * no 0xff). */
static json_t *range_end(const char *prefix)
{
    _cleanup_free_ char *end = xstrdup(prefix);
    size_t len = strlen(end);
    ASSERT(len > 0 && (unsigned char)end[len - 1] < 0xff);
    end[len - 1]++;
    return base64_text(end);
}

static json_t *int_text(int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    return json_string(text);
}

json_t *etcd_range_request(const char *key, bool exact)
{
    json_t *j = json_pack("{s:o}", "key", base64_text(key));
    if (!exact) {
        json_object_set_new(j, "range_end", range_end(key));
        json_object_set_new(j, "sort_order", json_string("ASCEND"));
        json_object_set_new(j, "sort_target", json_string("KEY"));
    }
    return j;
}

static json_t *op_request(const struct kv_op *op)
{
    if (!op->value)
        return json_pack("{s:{s:o}}", "request_delete_range", "key", base64_text(op->key));
    json_t *put =
        json_pack("{s:o,s:o}", "key", base64_text(op->key), "value", base64_text(op->value));
    if (op->lease)
        json_object_set_new(put, "lease", int_text(op->lease));
    return json_pack("{s:o}", "request_put", put);
}

json_t *etcd_txn_request(
    const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops, size_t n_ops)
{
    json_t *compare = json_array(), *success = json_array();
    for (size_t i = 0; i < n_cmp; i++)
        json_array_append_new(
            compare, json_pack("{s:o,s:s,s:s,s:o}", "key", base64_text(cmp[i].key), "target", "MOD",
                         "result", "EQUAL", "mod_revision", int_text(cmp[i].mod_revision)));
    for (size_t i = 0; i < n_ops; i++)
        json_array_append_new(success, op_request(&ops[i]));
    return json_pack("{s:o,s:o}", "compare", compare, "success", success);
}

json_t *etcd_watch_request(const char *prefix, int64_t from_revision)
{
    json_t *create =
        json_pack("{s:o,s:o}", "key", base64_text(prefix), "range_end", range_end(prefix));
    if (from_revision)
        json_object_set_new(create, "start_revision", int_text(from_revision));
    return json_pack("{s:o}", "create_request", create);
}

int64_t etcd_int(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_integer(v))
        return json_integer_value(v);
    return json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : 0;
}

int64_t etcd_revision(const json_t *answer)
{
    return etcd_int(json_object_get(answer, "header"), "revision");
}

static char *unbase64(const json_t *v, size_t *ret_len)
{
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    size_t len = strlen(text);
    unsigned char *out = xmalloc(len / 4 * 3 + 4);
    int n = len ? EVP_DecodeBlock(out, (const unsigned char *)text, (int)len) : 0;
    if (n < 0) {
        free(out);
        return NULL;
    }
    for (size_t i = len; i > 0 && n > 0 && text[i - 1] == '='; i--)
        n--; /* EVP_DecodeBlock counts the padding */
    out[n] = '\0';
    *ret_len = (size_t)n;
    return (char *)out;
}

bool etcd_pair(
    const json_t *kv, char **ret_key, char **ret_value, size_t *ret_len, int64_t *ret_mod)
{
    size_t key_len;
    char *key = unbase64(json_object_get(kv, "key"), &key_len);
    char *value = key ? unbase64(json_object_get(kv, "value"), ret_len) : NULL;
    if (!value || !key_len) {
        free(key);
        free(value);
        return false;
    }
    *ret_key = key;
    *ret_value = value;
    *ret_mod = etcd_int(kv, "mod_revision");
    return true;
}

/* gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
static int code_of_grpc(int64_t code)
{
    switch (code) {
    case 1:
        return ERR_CANCELED;
    case 4:
        return ERR_TIMEOUT;
    case 5:
        return ERR_NOT_FOUND;
    case 7:
    case 16:
        return ERR_DENIED;
    case 8:
        return ERR_LIMIT;
    case 9: /* failed precondition: a member that is behind, too few that have started */
        return ERR_REFUSED;
    case 11: /* out of range: compacted */
        return ERR_CONFLICT;
    case 2:  /* unknown, internal: what a member says that is just stopping ("raft: stopped", */
    case 13: /* "server closed the stream without sending trailers") */
    case 14:
        return ERR_UNAVAILABLE;
    default:
        return ERR_FAILED;
    }
}

#define NO_LEADER "etcdserver: no leader" /* said before anything is proposed */

bool etcd_has_no_leader(const struct err *e)
{
    return e->code == ERR_UNAVAILABLE && strstr(e->message, NO_LEADER);
}

int etcd_error(const json_t *answer, long http_status, struct err *e)
{
    const json_t *body = answer;
    if (json_is_object(json_object_get(answer, "error"))) /* streams nest it */
        body = json_object_get(answer, "error");
    int64_t grpc = etcd_int(body, "code");
    if (!grpc)
        grpc = etcd_int(body, "grpc_code");
    const char *text =
        json_opt_str(body, "message", json_opt_str(body, "error", "no reason given"));
    int code = code_of_grpc(grpc);
    if (!grpc && http_status >= 500)
        code = ERR_UNAVAILABLE;
    err_set(e, code, "etcd answers %ld: %s", http_status, text);
    if (strstr(text, "database space exceeded")) {
        e->code = ERR_LIMIT;
        err_fix(e, "the state store is full: control compacts it; see `mcp status`");
    }
    return e->code;
}
