/* SPDX-License-Identifier: Apache-2.0 */
/* A drill says when it begins and when it has ended (drill/running). Meanwhile no other one, no
 * deployment and no switchover is begun, no failover but its own begins by itself, and its own needs
 * nobody to acknowledge it. */
#include "role/control/drill.h"
#include "role/control/databases.h"
#include "role/control/failover.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/failover/drilled.h"
#include "domain/replication/doc.h"

#define RUNNING "running"

static const json_t *running(const struct control *c)
{
    return c->drills ? documents_get(c->drills, RUNNING) : NULL;
}

int control_drill_gate(const struct control *c, struct err *e)
{
    return drilled_gate(running(c), clock_wall_ms(), e);
}

void control_drill_facts(const struct control *c, const char *database, const char *source_region,
    struct failover_automation *ret)
{
    drilled_facts(running(c), database, source_region, clock_wall_ms(), ret);
}

static const char *region_of(const struct control *c, const char *host)
{
    const struct model_host *h = c->model ? model_find_host(c->model, host) : NULL;
    return h ? h->region->name : "";
}

bool control_drill_caused(
    const struct control *c, const char *database, const json_t *last, char *by, size_t size)
{
    const json_t *doc = running(c);
    const char *from = region_of(c, json_opt_str(last, "from", ""));
    if (!drilled_caused(doc, database, from, last))
        return false;
    snprintf(by, size, "drill %s", json_opt_str(doc, "drill", "?"));
    return true;
}

/* ---- what the drill says */

struct said {
    struct control *c;
    struct rpc_req *req;
    json_t *params;
    bool passed;
    char *fingerprint;
};

static void drop(struct said *s)
{
    json_decref(s->params);
    free(s->fingerprint);
    free(s);
}

static void note(struct control *c, const json_t *doc, const char *message)
{
    char cause[200];
    const char *region = json_opt_str(doc, "region", "");
    snprintf(cause, sizeof cause, "%.16s%s%.64s, by %.64s", json_opt_str(doc, "mode", "?"),
        *region ? " in " : "", region, json_opt_str(doc, "by", "?"));
    control_note(c, "drill", json_opt_str(doc, "drill", "?"), message, cause);
}

/* A deployment is under way: a drill beside it would tell nothing of either. */
static int check_still(const struct control *c, const char *database, struct err *e)
{
    _cleanup_json_ json_t *status = schedule_status(scheduler_docs(c->scheduler));
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(status, "deployments"), i, d) {
        const char *state = json_opt_str(d, "state", "");
        if (!str_eq(state, "running") && !str_eq(state, "rolling-back"))
            continue;
        err_set(e, ERR_CONFLICT, "a deployment of %s is under way", json_opt_str(d, "module", "?"));
        err_fix(e, "wait until it has ended: `mcp deploy --status`");
        return e->code;
    }
    if (!json_is_object(json_object_get(control_data_doc(c, database), "change")))
        return 0;
    err_set(e, ERR_CONFLICT, "the source of %s is being moved", database);
    err_fix(e, "wait until it has ended: `mcp data status`");
    return e->code;
}

static int edit_begin(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct said *s = ctx;
    const char *database = json_opt_str(s->params, "database", "");
    const json_t *last = json_object_get(control_data_doc(s->c, database), "last");
    const struct drilled_wish w = {.id = json_opt_str(s->params, "id", ""),
        .drill = json_opt_str(s->params, "drill", ""),
        .mode = json_opt_str(s->params, "mode", ""),
        .by = json_opt_str(s->params, "by", "?"),
        .database = database,
        .region = json_opt_str(s->params, "region", ""),
        .after = json_opt_int(last, "id", 0),
        .max_ms = json_opt_int(s->params, "max_ms", 0)};
    int r = check_still(s->c, database, e);
    return r < 0 ? r : drilled_begin(old, &w, clock_wall_ms(), ret, e);
}

static void on_begun(void *ctx, const json_t *doc, const struct err *e)
{
    struct said *s = ctx;
    if (e) {
        rpc_reply_error(s->req, e);
    } else {
        note(s->c, doc, "a drill begins");
        rpc_reply(s->req, json_deep_copy(doc));
    }
    drop(s);
}

static void unavailable(struct rpc_req *req)
{
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "this control has just begun");
    err_fix(&e, "try again");
    rpc_reply_error(req, &e);
}

void control_drill_begin(struct control *c, struct rpc_req *req, json_t *params)
{
    if (!c->drills || !c->model || !c->scheduler || !control_data_docs(c)) {
        unavailable(req);
        return;
    }
    struct said *s = xcalloc(1, sizeof *s);
    *s = (struct said){.c = c, .req = req, .params = json_incref(params)};
    documents_edit(c->drills, RUNNING, edit_begin, on_begun, s);
}

/* ---- its end */

static int edit_end(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct said *s = ctx;
    *ret = drilled_end(old, json_opt_str(s->params, "id", ""), s->passed, clock_wall_ms());
    return 0;
}

static int edit_arm(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct said *s = ctx;
    *ret = failover_doc_arm(old, s->fingerprint, "drill", clock_wall_ms());
    return 0;
}

static void on_armed(void *ctx, const json_t *doc, const struct err *e)
{
    struct said *s = ctx;
    const char *database = json_opt_str(running(s->c), "database", "");
    if (e)
        rpc_reply_error(s->req, e);
    else {
        control_note(s->c, "failover", database, "armed: a drill of its failover has passed",
            json_opt_str(running(s->c), "drill", ""));
        rpc_reply(s->req, json_pack("{s:b}", "armed", 1));
    }
    drop(s);
}

static void on_ended(void *ctx, const json_t *doc, const struct err *e)
{
    struct said *s = ctx;
    struct control *c = s->c;
    const char *database = json_opt_str(doc, "database", "");
    char by[80];
    bool mine = doc && str_eq(json_opt_str(doc, "id", ""), json_opt_str(s->params, "id", ""));
    const struct model_database *db = c->model ? model_find_database(c->model, database) : NULL;
    const json_t *last = json_object_get(control_data_doc(c, database), "last");
    if (!e && mine)
        note(c, doc, s->passed ? "the drill has passed" : "the drill has ended, not passed");
    if (!e && mine && s->passed && db && c->failover
        && control_drill_caused(c, database, last, by, sizeof by)) {
        s->fingerprint = failover_fingerprint(db);
        documents_edit(c->failover->docs, database, edit_arm, on_armed, s);
        return;
    }
    if (e)
        rpc_reply_error(s->req, e);
    else
        rpc_reply(s->req, json_pack("{s:b}", "armed", 0));
    drop(s);
}

void control_drill_end(struct control *c, struct rpc_req *req, json_t *params)
{
    if (!c->drills) {
        unavailable(req);
        return;
    }
    struct said *s = xcalloc(1, sizeof *s);
    *s = (struct said){.c = c,
        .req = req,
        .params = json_incref(params),
        .passed = json_opt_bool(params, "passed", false)};
    documents_edit(c->drills, RUNNING, edit_end, on_ended, s);
}

void control_drill_status(struct control *c, struct rpc_req *req, json_t *params)
{
    const json_t *doc = running(c);
    rpc_reply(req, json_pack("{s:o}", "running",
                       drilled_running(doc, clock_wall_ms()) ? json_deep_copy(doc) : json_null()));
}

/* ---- life */

void control_drill_open(struct control *c)
{
    static const struct documents_handler handler = {0};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/drill/", c->platform);
    c->drills = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
}

void control_drill_close(struct control *c)
{
    if (c->drills)
        documents_free(c->drills);
    c->drills = NULL;
}
