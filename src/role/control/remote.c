/* SPDX-License-Identifier: Apache-2.0 */
/* Operators: who they are (`operator/<name>` in the state store), their tokens, and their commands
 * from afar. A session ends with the right it stands on: each call looks the operator up again. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/operator/login.h"

#include <openssl/crypto.h>

#define REFUSALS_PER_MINUTE 20u /* in the audit log: a stranger does not push the rest out */

static void note_refusal(struct control *c, const char *from, const struct err *why)
{
    uint64_t now = clock_boot_ms();
    struct err ignored;
    if (now - c->refusals_since_ms > 60000) {
        c->refusals_since_ms = now;
        c->refusals = 0;
    }
    if (++c->refusals > REFUSALS_PER_MINUTE)
        return;
    struct audit_draft d = {.who = "",
        .from = from,
        .action = "mcp:Login",
        .outcome = AUDIT_REFUSED,
        .reason = why->message};
    if (c->audit && audit_note(c->audit, &d, &ignored) < 0)
        log_error("audit", "a refusal is not noted", "error=%s", ignored.message);
}

static int on_login(
    void *ctx, const char *text, struct remote_who *who, json_t **ret_answer, struct err *e)
{
    struct control *c = ctx;
    struct token t;
    const char *name;
    enum operator_role role;
    int r = token_parse(text, &t, e);
    if (r >= 0)
        r = operator_admit(documents_all(c->operators), &t, clock_wall_ms(), &name, &role, e);
    if (r >= 0) {
        str_copy(who->name, sizeof who->name, name);
        token_id_format(&t, who->token_id);
        *ret_answer = json_pack("{s:s,s:s,s:s,s:s}", "operator", name, "role",
            operator_role_name(role), "platform", c->platform, "host", c->host);
        log_info("operator", "logged in", "operator=%s from=%s", name, who->from);
    } else {
        note_refusal(c, who->from, e);
    }
    OPENSSL_cleanse(&t, sizeof t);
    return r;
}

static void on_remote_call(void *ctx, const struct remote_who *who, struct rpc_req *req,
    const char *method, json_t *params)
{
    struct control *c = ctx;
    struct err e;
    struct control_caller by;
    if (operator_still(
            documents_get(c->operators, who->name), who->token_id, clock_wall_ms(), &by.role, &e)
        < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    str_copy(by.who, sizeof by.who, who->name);
    str_copy(by.from, sizeof by.from, who->from);
    json_object_set_new(params, "by", json_string(who->name)); /* not whom he says he is */
    control_ask(c, &by, req, method, params);
}

int control_remote_start(struct control *c, struct err *e)
{
    int fds[ROLE_LISTEN_MAX];
    size_t n = 0;
    char name[80];
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/operator/", c->platform);
    static const struct documents_handler no_handler = {0};
    while (n < ROLE_LISTEN_MAX && (fds[n] = role_listen_fd(c->role, "remote", n)) >= 0)
        n++;
    snprintf(name, sizeof name, "control@%s", c->host);
    c->operators = documents_new(&c->role->loop, c->kv, prefix, &no_handler, c);
    struct remote_config config = {.name = name,
        .cert = CONTROL_PKI "host.pem",
        .key = CONTROL_PKI "host.key",
        .listen_fds = fds,
        .n_listen = n,
        .login = on_login,
        .call = on_remote_call,
        .ctx = c};
    return remote_new(&c->role->loop, &config, &c->remote, e);
}

void control_remote_stop(struct control *c)
{
    remote_free(c->remote);
    documents_free(c->operators);
}

/* ---- `mcp operator` ---- */

struct adding {
    struct rpc_req *req;
    char name[64], text[TOKEN_TEXT_SIZE], address[IP_TEXT_SIZE];
    enum operator_role role;
};

static void on_added(void *ctx, const json_t *doc, const struct err *e)
{
    struct adding *a = ctx;
    if (e)
        rpc_reply_error(a->req, e);
    else
        rpc_reply(a->req, json_pack("{s:s,s:s,s:s,s:s,s:I}", "name", a->name, "role",
                              operator_role_name(a->role), "token", a->text, "address", a->address,
                              "expires_ms", (json_int_t)json_opt_int(doc, "expires_ms", 0)));
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

static int read_add(const json_t *params, struct adding *a, int64_t *ret_ttl, struct err *e)
{
    const char *name, *role = json_opt_str(params, "role", "viewer");
    int r = json_get_str(params, "name", &name, e);
    if (r < 0)
        return r;
    if (!operator_name_valid(name))
        return err_set(e, ERR_USAGE,
            "'%s' is no operator's name: up to %d of a-z, 0-9, '-', '_', '.'", name,
            OPERATOR_NAME_MAX);
    if (!operator_role_parse(role, &a->role))
        return err_set(e, ERR_USAGE, "'%s' is no role: viewer, deployer or admin", role);
    *ret_ttl = json_opt_int(params, "ttl_ms", OPERATOR_TTL_MS);
    if (*ret_ttl < 0 || *ret_ttl > OPERATOR_TTL_MAX_MS)
        return err_set(e, ERR_USAGE, "a login lasts at most ten years; 0 is without end");
    str_copy(a->name, sizeof a->name, name);
    return 0;
}

struct replacing {
    json_t *doc;
    struct adding *a;
};

static void on_replaced(void *ctx, const json_t *doc, const struct err *e)
{
    struct replacing *r = ctx;
    on_added(r->a, doc, e);
    json_decref(r->doc);
    free(r);
}

/* A merge would keep members of an old token: the document is a new one. */
static int edit_replace(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct replacing *r = ctx;
    *ret = json_incref(r->doc);
    return 0;
}

void control_operator_add(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    struct token t;
    int64_t ttl_ms = 0;
    struct adding *a = xcalloc(1, sizeof *a);
    a->req = req;
    int r = read_add(params, a, &ttl_ms, &e);
    if (r >= 0)
        r = control_own_root(t.root, &e);
    if (r < 0) {
        rpc_reply_error(req, &e);
        free(a);
        return;
    }
    rnd_bytes(t.id, sizeof t.id);
    rnd_bytes(t.secret, sizeof t.secret);
    token_format(&t, a->text);
    ip_format(&c->own_address, a->address);
    struct replacing *rep = xcalloc(1, sizeof *rep);
    *rep = (struct replacing){.doc = operator_doc(&t, a->role, json_opt_str(params, "by", "root"),
                                  clock_wall_ms(), ttl_ms),
        .a = a};
    OPENSSL_cleanse(&t, sizeof t);
    documents_edit(c->operators, a->name, edit_replace, on_replaced, rep);
}

static int edit_remove(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    if (!old)
        return err_set(e, ERR_NOT_FOUND, "there is no such operator");
    *ret = NULL;
    return 0;
}

static void on_removed(void *ctx, const json_t *doc, const struct err *e)
{
    if (e)
        rpc_reply_error(ctx, e);
    else
        rpc_reply(ctx, NULL);
}

void control_operator_remove(struct control *c, struct rpc_req *req, json_t *params)
{
    documents_edit(c->operators, json_opt_str(params, "name", ""), edit_remove, on_removed, req);
}

void control_operator_list(struct control *c, struct rpc_req *req, json_t *params)
{
    rpc_reply(req, json_pack("{s:o}", "operators",
                       operator_listing(documents_all(c->operators), clock_wall_ms())));
}
