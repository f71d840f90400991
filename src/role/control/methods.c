/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line may ask of control. A method that needs another host goes through its
 * control: "host" is a call {"host", "method", "params"} that is answered there. */
#include "role/control/admit.h"
#include "role/control/lease.h"
#include "role/control/alarms.h"
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "base/str/str.h"
#include "service/relay/relay.h"

typedef void (*method_fn)(struct control *c, struct rpc_req *req, json_t *params);

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static void do_status(struct control *c, struct rpc_req *req, json_t *params)
{
    rpc_reply(req, control_status(c));
}

static void on_revision(void *ctx, const json_t *revision, const struct err *e)
{
    if (e)
        rpc_reply_error(ctx, e);
    else
        rpc_reply(ctx, json_deep_copy(revision));
}

static void on_fresh(void *ctx, const json_t *revision)
{
    rpc_reply(ctx, json_deep_copy(revision));
}

static void do_revision(struct control *c, struct rpc_req *req, json_t *params)
{
    int64_t number = json_opt_int(params, "revision", 0);
    bool known = revisions_current(c->revisions) != NULL; /* also without the state store */
    if (known && !number)
        revisions_fresh(c->revisions, on_fresh, req);
    else if (known && number == c->number)
        on_fresh(req, revisions_current(c->revisions));
    else
        revisions_get(c->revisions, number, on_revision, req);
}

static void do_revisions(struct control *c, struct rpc_req *req, json_t *params)
{
    revisions_list(c->revisions, on_revision, req);
}

static void do_explain_dns(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    json_t *answer;
    if (steer_service_explain(c->steer, params, &answer, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, answer);
}

/* ---- units: logs and exec go to the hosts that have them */

static bool host_has(
    struct control *c, const struct model_host *h, const json_t *params, const char **ret_unit)
{
    const char *module = json_opt_str(params, "module", NULL),
               *unit = json_opt_str(params, "unit", NULL);
    const char *region = json_opt_str(params, "region", NULL);
    if (region && strcmp(region, h->region->name) != 0)
        return false;
    _cleanup_json_ json_t *status = control_status(c);
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(status, "units"), i, u) {
        const char *name = json_opt_str(u, "name", ""), *of = json_opt_str(u, "module", "");
        if (!str_eq(json_opt_str(u, "host", NULL), h->name))
            continue;
        if (unit ? !strcmp(unit, name) : module && (!strcmp(module, of) || !strcmp(module, name))) {
            *ret_unit = NULL;
            return true;
        }
    }
    return false;
}

/* The targets for a host's agent: ours directly, others' through their control. False: not
 * reachable now. */
static bool target_of(struct control *c, const struct model_host *h, const char *method,
    json_t *params, const json_t *wrap, struct relay_target *ret)
{
    bool own = !strcmp(h->name, c->host);
    struct rpc_conn *to = own ? control_link(c, "agent") : peers_conn(c->peers, h->name);
    if (!to)
        return false;
    *ret = (struct relay_target){.to = to,
        .wrap = wrap,
        .method = own ? method : "agent",
        .params = own ? json_deep_copy(params)
                      : json_pack("{s:s,s:o}", "method", method, "params", json_deep_copy(params))};
    return true;
}

static void to_agents(
    struct control *c, struct rpc_req *req, const char *method, json_t *params, bool all)
{
    struct relay_target targets[PEERS_MAX];
    json_t *wraps[PEERS_MAX];
    size_t n = 0, found = 0;
    for (size_t i = 0; c->model && i < c->model->n_hosts && n < (all ? PEERS_MAX : 1u); i++) {
        const struct model_host *h = &c->model->hosts[i];
        const char *unit;
        if (!host_has(c, h, params, &unit))
            continue;
        found++;
        wraps[n] = json_pack("{s:s,s:s}", "host", h->name, "region", h->region->name);
        if (target_of(c, h, method, params, wraps[n], &targets[n]))
            n++;
        else
            json_decref(wraps[n]);
    }
    if (n)
        relay_fan_out(req, targets, n);
    else if (found)
        fail(req, ERR_UNAVAILABLE, "the host that runs it is not reachable from here",
            "see `mcp status`");
    else
        fail(req, ERR_NOT_FOUND, "no unit of that name", "`mcp status` lists the units");
    for (size_t i = 0; i < n; i++)
        json_decref(wraps[i]);
}

static void do_logs(struct control *c, struct rpc_req *req, json_t *params)
{
    to_agents(c, req, "logs", params, true);
}

static void do_exec(struct control *c, struct rpc_req *req, json_t *params)
{
    to_agents(c, req, "exec", params, false);
}

static const struct {
    const char *name;
    method_fn fn;
} methods[] = {
    {"status", do_status},
    {"apply", control_apply},
    {"image.missing", control_blobs_missing},
    {"image.put", control_blobs_put},
    {"image.stage", control_stage},
    {"deploy", control_deploy},
    {"deploy.status", control_deploy_status},
    {"rollback", control_rollback},
    {"image.list", control_image_list},
    {"image.gc", control_image_gc},
    {"revision", do_revision},
    {"revisions", do_revisions},
    {"explain.dns", do_explain_dns},
    {"steer.away", control_steer_away},
    {"functions.list", control_functions_list},
    {"functions.run", control_functions_run},
    {"steer.back", control_steer_back},
    {"steer.list", control_steer_list},
    {"logs", do_logs},
    {"exec", do_exec},
    {"host.drain", control_host_drain},
    {"failback", control_failback},
    {"timeline", control_timeline},
    {"secret.list", control_secret_list},
    {"secret.history", control_secret_history},
    {"secret.set", control_secret_set},
    {"secret.rotate", control_secret_rotate},
    {"secret.grant", control_secret_grant},
    {"secret.remove", control_secret_remove},
    {"audit", control_audit},
    {"host.token", control_enrol_token},
    {"host.list", control_host_list},
    {"host.remove", control_host_remove},
    {"state.backup", control_state_backup},
    {"state.restore", control_state_restore},
    {"state.status", control_state_status},
    {"state.recover", control_state_recover},
    {"state.move", control_state_move},
    {"ca.status", control_ca_answer},
    {"ca.rotate", control_ca_rotate},
    {"operator.add", control_operator_add},
    {"operator.remove", control_operator_remove},
    {"operator.list", control_operator_list},
    {"data.status", control_data_status},
    {"data.look", control_data_look},
    {"data.checksum", control_data_checksum},
    {"backup.run", control_backup_run},
    {"backup.verify", control_backup_verify},
    {"backup.restore", control_backup_restore},
    {"data.seed", control_seed_take},
    {"data.resume", control_data_resume},
    {"data.switchover", control_switchover_start},
    {"data.switchover.status", control_switchover_status},
    {"alarms.list", control_alarms_list},
    {"alarms.values", control_alarms_values},
    {"alarms.ack", control_alarms_ack},
    {"alarms.silence", control_alarms_silence},
    {"data.arm", control_failover_arm},
    {"failover", control_failover_start},
    {"failover.pause", control_failover_pause},
    {"failover.resume", control_failover_resume},
    {"failover.ack", control_failover_ack},
    {"explain.failover", control_failover_explain},
    {"drill.begin", control_drill_begin},
    {"drill.end", control_drill_end},
    {"drill.status", control_drill_status},
    {"upgrade.status", control_upgrade_status},
    {"upgrade.plan", control_upgrade_plan},
    {"upgrade.start", control_upgrade_start},
    {"upgrade.rollback", control_upgrade_rollback},
};

void control_answer(struct control *c, struct rpc_req *req, const char *method, json_t *params)
{
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (!strcmp(methods[i].name, method)) {
            methods[i].fn(c, req, params);
            return;
        }
    fail(req, ERR_NOT_FOUND, "control knows no such method",
        "is this `mcp` newer than the platform's? `mcp version`");
}

/* ---- what other controls may ask */

static void peer_timeline(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    control_timeline_own(c, req, params);
}

static void peer_agent(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    struct rpc_conn *agent = control_link(c, "agent");
    json_t *inner = json_object_get(params, "params");
    const char *name = json_opt_str(params, "method", "");
    if (strcmp(name, "logs") != 0 && strcmp(name, "exec") != 0)
        fail(req, ERR_DENIED, "other hosts may not ask that of an agent", "");
    else if (!agent)
        fail(req, ERR_UNAVAILABLE, "the agent of that host is restarting", "try again");
    else
        relay_call(req, agent, name, json_incref(inner), NULL);
}

static const struct {
    const char *name;
    void (*fn)(struct control *c, const char *host, struct rpc_req *req, json_t *params);
} peer_methods[] = {
    {"timeline", peer_timeline},
    {"agent", peer_agent},
    {"role", control_reached},
    {"failsafe", control_failsafe},
    {"pki.issue", control_issue},
    {"enrol.join", control_enrol_relayed},
    {"state.member", control_member_told},
    {"blob.has", control_blobs_has},
    {"blob.ensure", control_blobs_ensure},
    {"upgrade.host", control_upgrade_peer},
    {"function.run", control_function_peer},
    {"blob.gc", control_blobs_gc_here},
    {"blob.list", control_blobs_list_here},
};

void control_answer_peer(
    struct control *c, const char *host, struct rpc_req *req, const char *method, json_t *params)
{
    for (size_t i = 0; i < ARRAY_SIZE(peer_methods); i++)
        if (!strcmp(peer_methods[i].name, method)) {
            peer_methods[i].fn(c, host, req, params);
            return;
        }
    fail(req, ERR_DENIED, "other hosts may not ask for that", "");
}
