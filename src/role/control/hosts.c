/* SPDX-License-Identifier: Apache-2.0 */
/* The hosts of the platform as operators see them: declared, joined, heard. A host that was removed
 * is in `denied/<name>` of the state store until a machine of that name joins again. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/members/members.h"

/* Who was removed is cut off, who joined again is linked to. */
static void on_denied(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    if (doc)
        peers_expel(c->peers, name);
    control_set_peers(c);
    control_report_soon(c);
}

void control_hosts_start(struct control *c)
{
    static const struct documents_handler handler = {.changed = on_denied};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/denied/", c->platform);
    c->denied = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
}

void control_hosts_stop(struct control *c)
{
    documents_free(c->denied);
}

bool control_host_denied(const struct control *c, const char *host)
{
    return c->denied && documents_get(c->denied, host) != NULL;
}

static int drop(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = NULL;
    return 0;
}

static void on_admitted(void *ctx, const json_t *doc, const struct err *e)
{
    if (e)
        log_warn("hosts", "a host that joined is still denied", "error=%s", e->message);
}

void control_admit(struct control *c, const char *host)
{
    if (control_host_denied(c, host))
        documents_edit(c->denied, host, drop, on_admitted, c);
}

/* "" of a host that neither is nor shall be one. */
static const char *member_state(const struct control *c, const struct model_host *h)
{
    bool declared = false;
    size_t i;
    json_t *row;
    for (i = 0; model_has_etcd(c->model) && i < c->model->n_members; i++)
        declared |= c->model->members[i] == h;
    json_array_foreach (control_members_list(c), i, row)
        if (str_eq(json_opt_str(row, "host", NULL), h->name))
            return json_opt_bool(row, "learner", false)    ? "learner"
                   : control_member_lost(c, h->name, row) ? "lost"
                   : declared                             ? "member"
                                                          : "leaving";
    return declared ? "missing" : "";
}

/* One line of `mcp host list`. */
static json_t *row_of(struct control *c, const struct model_host *h, const json_t *seen)
{
    const json_t *doc = control_registry_host(c, h->name);
    char address[IP_TEXT_SIZE];
    ip_format(&h->addresses.v[0], address);
    return json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:s,s:s,s:b,s:b}", "host", h->name, "region",
        h->region->name, "address", address, "declared", 1, "joined", doc != NULL, "heard",
        !strcmp(json_opt_str(seen, "state", ""), "up"), "joined_ms",
        (json_int_t)json_opt_int(doc, "joined_ms", 0), "member", member_state(c, h), "version",
        json_opt_str(doc, "version", ""), "drained", json_opt_bool(doc, "drained", false), "denied",
        control_host_denied(c, h->name));
}

static const json_t *host_row(const json_t *status, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(status, "hosts"), i, row)
        if (!strcmp(json_opt_str(row, "name", ""), name))
            return row;
    return NULL;
}

void control_host_list(struct control *c, struct rpc_req *req, json_t *params)
{
    _cleanup_json_ json_t *status = control_status(c);
    json_t *rows = json_array(), *doc;
    const char *name;
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        json_array_append_new(rows, row_of(c, h, host_row(status, h->name)));
    }
    json_object_foreach (documents_all(c->hosts), name, doc)
        if (!c->model || !model_find_host(c->model, name)) /* joined once, not declared any more */
            json_array_append_new(
                rows, json_pack("{s:s,s:b,s:b,s:b,s:I,s:s}", "host", name, "declared", 0, "joined",
                          1, "heard", 0, "joined_ms",
                          (json_int_t)json_opt_int(doc, "joined_ms", 0), "version",
                          json_opt_str(doc, "version", "")));
    rpc_reply(req, json_pack("{s:s,s:o}", "platform", c->platform, "hosts", rows));
}

/* ---- `mcp host remove` */

struct removing {
    struct control *c;
    struct rpc_req *req;
    char host[64], by[64];
    uint64_t member; /* of the state store, 0: it is none */
};

static int refuse(struct err *e, const char *fix, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int refuse(struct err *e, const char *fix, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, ERR_REFUSED, "%s", text);
    err_fix(e, "%s", fix);
    return ERR_REFUSED;
}

static unsigned instances_on(const json_t *status, const char *host)
{
    unsigned n = 0;
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(status, "units"), i, u)
        n += str_eq(json_opt_str(u, "host", NULL), host)
             && !str_eq(json_opt_str(u, "module", NULL), "etcd")
             && !str_eq(json_opt_str(u, "state", NULL), "stopped");
    return n;
}

/* Would the others still agree? Healthy: heard, and their etcd runs. */
static bool quorum_without(struct control *c, const json_t *status, const char *host)
{
    size_t voters = 0, healthy = 0, i, k;
    json_t *row, *u;
    json_array_foreach (control_members_list(c), i, row) {
        const char *of = json_opt_str(row, "host", "");
        if (json_opt_bool(row, "learner", false) || !strcmp(of, host))
            continue;
        voters++;
        json_array_foreach (json_object_get(status, "units"), k, u)
            healthy += str_eq(json_opt_str(u, "host", NULL), of)
                       && str_eq(json_opt_str(u, "module", NULL), "etcd")
                       && str_eq(json_opt_str(u, "state", NULL), "ready");
    }
    return voters && healthy >= members_quorum(voters) && healthy >= members_quorum(voters + 1);
}

static int check_remove(struct removing *r, bool force, struct err *e)
{
    struct control *c = r->c;
    const struct model_host *h = c->model ? model_find_host(c->model, r->host) : NULL;
    _cleanup_json_ json_t *status = control_status(c);
    bool heard = peers_is_up(c->peers, r->host);
    if (!h && !control_registry_host(c, r->host))
        return err_set(e, ERR_NOT_FOUND, "there is no host %s", r->host);
    if (!strcmp(r->host, c->host))
        return refuse(e, "run it on another host", "this is %s itself", r->host);
    size_t i;
    json_t *row;
    json_array_foreach (control_members_list(c), i, row)
        if (str_eq(json_opt_str(row, "host", NULL), r->host))
            r->member = strtoull(json_opt_str(row, "id", "0"), NULL, 16);
    unsigned n = instances_on(status, r->host);
    if (!force && heard && n)
        return refuse(e, "`mcp host drain` moves them first", "%s runs %u instances", r->host, n);
    if (!force && !heard)
        return refuse(e, "if it is gone for good: --force", "%s is not heard", r->host);
    if (!force && r->member)
        return refuse(e, "take it out of state.members and `mcp apply` first",
            "%s holds a member of the state store", r->host);
    if (r->member && !quorum_without(c, status, r->host))
        return refuse(e, "heal the others first: `mcp state status`",
            "without the member of %s the state store would lose its quorum", r->host);
    return 0;
}

static void on_removed(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct removing *r = ctx;
    char message[128];
    snprintf(message, sizeof message, "%s was removed; its certificates are refused", r->host);
    if (e) {
        rpc_reply_error(r->req, e);
    } else {
        control_note(r->c, "enrol", r->host, message, r->by);
        rpc_reply(r->req, json_pack("{s:s,s:b}", "host", r->host, "member", r->member != 0));
    }
    free(r);
}

static void forget(struct removing *r)
{
    struct control *c = r->c;
    _cleanup_free_ char *host = xasprintf("/mcp/%s/host/%s", c->platform, r->host);
    _cleanup_free_ char *denied = xasprintf("/mcp/%s/denied/%s", c->platform, r->host);
    _cleanup_json_ json_t *doc = json_pack("{s:i,s:I,s:s}", "format", 1, "at_ms",
        (json_int_t)clock_wall_ms(), "by", r->by);
    _cleanup_free_ char *text = json_text(doc);
    struct kv_op ops[] = {{.key = host}, {.key = denied, .value = text}};
    kv_txn(c->kv, NULL, 0, ops, 2, on_removed, r);
}

static void on_member_gone(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e)
{
    struct removing *r = ctx;
    if (!e) {
        forget(r);
        return;
    }
    struct err why = *e;
    err_wrap(&why, "the state store does not let its member go");
    err_fix(&why, "in some seconds again: it must have seen the others for a while");
    rpc_reply_error(r->req, &why);
    free(r);
}

void control_host_remove(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    struct removing *r = xcalloc(1, sizeof *r);
    *r = (struct removing){.c = c, .req = req};
    str_copy(r->host, sizeof r->host, json_opt_str(params, "host", ""));
    str_copy(r->by, sizeof r->by, json_opt_str(params, "by", "root"));
    if (check_remove(r, json_opt_bool(params, "force", false), &e) < 0) {
        rpc_reply_error(req, &e);
        free(r);
        return;
    }
    struct kv_member_op op = {.change = KV_MEMBER_REMOVE, .id = r->member};
    if (r->member)
        kv_members(c->kv, &op, on_member_gone, r);
    else
        forget(r);
}
