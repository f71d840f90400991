/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/operator/login.h"

#include "base/str/str.h"

#define FORMAT 1

json_t *operator_doc(
    const struct token *t, enum operator_role role, const char *by, int64_t now_ms, int64_t ttl_ms)
{
    char id[TOKEN_ID_SIZE], hash[TOKEN_HASH_SIZE];
    token_id_format(t, id);
    token_hash(t->secret, hash);
    json_t *j = json_pack("{s:i,s:s,s:s,s:s,s:I,s:I,s:s}", "format", FORMAT, "role",
        operator_role_name(role), "id", id, "hash", hash, "created_ms", (json_int_t)now_ms,
        "expires_ms", (json_int_t)(ttl_ms ? now_ms + ttl_ms : 0), "by", by);
    ASSERT(j);
    return j;
}

static bool expired(const json_t *doc, int64_t now_ms)
{
    int64_t at = json_opt_int(doc, "expires_ms", 0);
    return at && at <= now_ms;
}

int operator_still(const json_t *doc, const char *token_id, int64_t now_ms,
    enum operator_role *ret_role, struct err *e)
{
    if (!doc || json_opt_int(doc, "format", 0) != FORMAT
        || !str_eq(json_opt_str(doc, "id", NULL), token_id)
        || !operator_role_parse(json_opt_str(doc, "role", ""), ret_role)) {
        err_set(e, ERR_DENIED, "this login was taken away or replaced");
        err_fix(e, "ask an admin for a token (`mcp operator add`), then `mcp login`");
        return ERR_DENIED;
    }
    if (expired(doc, now_ms)) {
        err_set(e, ERR_DENIED, "this login has expired");
        err_fix(e, "ask an admin for a new token (`mcp operator add`), then `mcp login`");
        return ERR_DENIED;
    }
    return 0;
}

int operator_admit(const json_t *docs, const struct token *t, int64_t now_ms, const char **ret_name,
    enum operator_role *ret_role, struct err *e)
{
    char id[TOKEN_ID_SIZE], hash[TOKEN_HASH_SIZE];
    const char *name, *found = NULL;
    json_t *doc;
    token_id_format(t, id);
    token_hash(t->secret, hash);
    json_object_foreach ((json_t *)docs, name, doc) {
        const char *kept = json_opt_str(doc, "hash", "");
        if (str_eq(json_opt_str(doc, "id", NULL), id) && strlen(kept) == strlen(hash)
            && str_mem_eq_const(kept, hash, strlen(hash)))
            found = name;
    }
    if (!found) {
        err_set(e, ERR_DENIED, "nobody has this token");
        err_fix(e, "ask an admin for one: `mcp operator add NAME`");
        return ERR_DENIED;
    }
    *ret_name = found;
    return operator_still(json_object_get(docs, found), id, now_ms, ret_role, e);
}

json_t *operator_listing(const json_t *docs, int64_t now_ms)
{
    json_t *list = json_array();
    const char *name;
    json_t *doc;
    json_object_foreach ((json_t *)docs, name, doc)
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:I,s:I,s:s,s:b}", "name", name, "role",
                      json_opt_str(doc, "role", ""), "created_ms",
                      (json_int_t)json_opt_int(doc, "created_ms", 0), "expires_ms",
                      (json_int_t)json_opt_int(doc, "expires_ms", 0), "by",
                      json_opt_str(doc, "by", ""), "expired", expired(doc, now_ms)));
    return list;
}
