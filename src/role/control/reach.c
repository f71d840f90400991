/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to a role of any host: on this one over its link, on another through that host's control,
 * which lets through what it knows. */
#include "role/control/priv.h"

#include "base/str/str.h"
#include "service/relay/relay.h"

#define ON_THE_WAY_MS 1000u

/* What the control of another host may have done to our roles. */
static const struct {
    const char *role, *method;
} reachable[] = {
    {"data", "data.facts"},
    {"data", "data.shapes"},
    {"data", "data.differences"},
    {"data", "data.rows"},
    {"data", "data.errant"},
    {"data", "data.rescue"},
    {"data", "data.checksum"},
    {"data", "data.readonly"},
    {"data", "data.fence.far"},
    {"data", "data.fence"},
    {"data", "data.verify"},
    {"data", "data.position"},
    {"data", "data.wait"},
    {"data", "data.promote"},
    {"data", "data.follow"},
    {"data", "data.fence"},
    {"data", "data.verify"},
    {"data", "data.rehearse"},
    {"data", "data.backup.run"},
    {"data", "data.backup.list"},
    {"data", "data.backup.verify"},
    {"data", "data.backup.restore"},
    {"data", "data.vault"},
    {"data", "data.seed.make"},
    {"data", "data.seed.drop"},
    {"data", "data.seed.take"},
    {"data", "data.seed.status"},
    {"mesh", "database.hold"},
    {"mesh", "database.release"},
};

static bool may_reach(const char *role, const char *method)
{
    for (size_t i = 0; i < ARRAY_SIZE(reachable); i++)
        if (!strcmp(reachable[i].role, role) && !strcmp(reachable[i].method, method))
            return true;
    return false;
}

struct refusal {
    uv_timer_t timer;
    rpc_answer_fn fn;
    void *ctx;
    struct err e;
};

static void on_refusal_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct refusal, timer));
}

static void on_refusal(uv_timer_t *t)
{
    struct refusal *r = CONTAINER_OF(t, struct refusal, timer);
    r->fn(r->ctx, NULL, false, &r->e);
    uv_close((uv_handle_t *)t, on_refusal_closed);
}

/* From the loop, as every answer. */
static void refuse(
    struct control *c, const char *host, const char *role, rpc_answer_fn fn, void *ctx)
{
    struct refusal *r = xcalloc(1, sizeof *r);
    *r = (struct refusal){.fn = fn, .ctx = ctx};
    err_set(&r->e, ERR_UNAVAILABLE, "the %s role of %s is not linked", role, host);
    uv_timer_init(&c->role->loop, &r->timer);
    uv_timer_start(&r->timer, on_refusal, 0, 0);
}

void control_reach(struct control *c, const char *host, const char *role, const char *method,
    json_t *params, uint64_t timeout_ms, rpc_answer_fn fn, void *ctx)
{
    bool is_own = !strcmp(host, c->host);
    struct rpc_conn *conn = is_own ? control_link(c, role) : peers_conn(c->peers, host);
    if (!conn) {
        json_decref(params);
        refuse(c, host, role, fn, ctx);
    } else if (is_own)
        rpc_call(conn, method, params, timeout_ms, fn, ctx);
    else
        rpc_call(conn, "role",
            json_pack("{s:s,s:s,s:o}", "role", role, "method", method, "params", params),
            timeout_ms + ON_THE_WAY_MS, fn, ctx);
}

void control_relay_role(struct control *c, struct rpc_req *req, const char *host, const char *role,
    const char *method, json_t *params)
{
    bool is_own = !strcmp(host, c->host);
    struct rpc_conn *conn = is_own ? control_link(c, role) : peers_conn(c->peers, host);
    struct err e;
    if (!conn) {
        err_set(&e, ERR_UNAVAILABLE, "the %s role of %s is not linked", role, host);
        rpc_reply_error(req, &e);
    } else if (is_own)
        relay_call(req, conn, method, json_incref(params), NULL);
    else
        relay_call(req, conn, "role",
            json_pack("{s:s,s:s,s:O*}", "role", role, "method", method, "params", params), NULL);
}

void control_reached(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    const char *role = json_opt_str(params, "role", ""),
               *method = json_opt_str(params, "method", "");
    struct rpc_conn *conn = control_link(c, role);
    struct err e;
    if (!may_reach(role, method)) {
        err_set(&e, ERR_DENIED, "other hosts may not ask that of the role %.32s", role);
        rpc_reply_error(req, &e);
    } else if (!conn) {
        err_set(&e, ERR_UNAVAILABLE, "the %s role of %s is not linked", role, c->host);
        rpc_reply_error(req, &e);
    } else
        relay_call(req, conn, method, json_incref(json_object_get(params, "params")), NULL);
}
