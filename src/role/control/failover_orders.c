/* SPDX-License-Identifier: Apache-2.0 */
/* What people order about failover: `mcp failover`, `pause`, `resume`, `ack`, `data arm`, and what
 * they are told: `mcp explain failover`, the lines of `mcp status`. Any control answers; the leader
 * carries a failover on. */
#include "role/control/failover.h"
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"

#define REHEARSE_MS 10000u

struct order {
    struct control *c;
    struct rpc_req *req;
    char database[MODEL_DATABASE_NAME_MAX + 1], to[64], by[64], why[160];
    struct failover_order waived;
    const char *kind; /* of a change of failover/<database> */
    char *fingerprint;
};

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static void drop(struct order *o)
{
    free(o->fingerprint);
    free(o);
}

static const struct model_database *only_one(const struct control *c)
{
    const struct model_database *found = NULL;
    for (size_t i = 0; i < c->model->n_databases; i++) {
        if (c->model->databases[i].n_members < 2)
            continue;
        if (found)
            return NULL;
        found = &c->model->databases[i];
    }
    return found;
}

/* The database named, or the only one that has a replica. NULL: refused, and said so. */
static const struct model_database *database_of(
    struct control *c, struct rpc_req *req, const json_t *params)
{
    const char *name = json_opt_str(params, "database", "");
    if (!c->model || !c->failover || !control_data_docs(c)) {
        fail(req, ERR_UNAVAILABLE, "this control has just begun", "try again");
        return NULL;
    }
    const struct model_database *db = *name ? model_find_database(c->model, name) : only_one(c);
    if (!db && *name)
        fail(req, ERR_NOT_FOUND, "there is no such database", "`mcp data status` lists them");
    else if (!db)
        fail(req, ERR_USAGE, "which database?", "name one that has a replica: `mcp data status`");
    else if (db->n_members < 2 && *name)
        fail(req, ERR_REFUSED, "the database has no replica that could take over",
            "declare `replicas` for it");
    return db && db->n_members > 1 ? db : NULL;
}

static struct order *order_of(struct control *c, struct rpc_req *req, const json_t *params)
{
    const struct model_database *db = database_of(c, req, params);
    if (!db)
        return NULL;
    struct order *o = xcalloc(1, sizeof *o);
    *o = (struct order){.c = c, .req = req, .fingerprint = failover_fingerprint(db)};
    str_copy(o->database, sizeof o->database, db->name);
    if (!str_copy(o->by, sizeof o->by, json_opt_str(params, "by", "?"))
        || !str_copy(o->why, sizeof o->why, json_opt_str(params, "why", ""))
        || !str_copy(o->to, sizeof o->to, json_opt_str(params, "to", ""))) {
        fail(req, ERR_USAGE, "too long a name or reason", "");
        drop(o);
        return NULL;
    }
    return o;
}

/* ---- mcp failover ---- */

/* `to` may be a region: its member. */
static const char *member_named(const struct replication_doc *d, const char *to)
{
    for (size_t i = 0; i < d->n_members; i++)
        if (str_eq(d->members[i].region, to))
            return d->members[i].host;
    return to;
}

/* The facts as if it had been ordered already, with that target. */
static struct failover_facts facts_of(const struct order *o, struct watcher *w, const char *to)
{
    str_copy(w->seen.wanted, sizeof w->seen.wanted, to);
    failover_look(o->c, w);
    w->seen.wanted[0] = '\0';
    struct failover_facts f = w->facts;
    f.order = o->waived;
    return f;
}

static int judge(const struct order *o, const char *to, struct err *e)
{
    struct failover_rule r;
    struct watcher *w = failover_watcher(o->c, o->database);
    if (!w)
        return err_set(e, ERR_UNAVAILABLE, "this control has just begun");
    const struct failover_facts f = facts_of(o, w, to);
    if (!failover_forbidden(&f, &r))
        return 0;
    err_set(e, ERR_REFUSED, "%s forbids it: %s (now: %s; it takes: %s)", r.id, r.text, r.value,
        r.limit);
    err_fix(e, "`mcp explain failover %s` lists all rules; for a source that lives: `mcp data "
               "switchover`",
        o->database);
    return e->code;
}

static int edit_begin(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct order *o = ctx;
    struct replication_doc d;
    if (!old)
        return err_set(e, ERR_NOT_FOUND, "there is no database %s", o->database);
    if (replication_doc_parse(old, &d, e) < 0)
        return e->code;
    const char *to = member_named(&d, o->to);
    if (failover_may_begin(old, to, e) < 0 || judge(o, to, e) < 0)
        return e->code;
    const struct watcher *w = failover_watcher(o->c, o->database);
    const struct failover_wish wish = {.to = to,
        .by = o->by,
        .why = o->why,
        .automatic = false,
        .order = o->waived,
        .facts = w ? &w->facts : NULL};
    *ret = failover_begin(old, &wish, clock_wall_ms());
    return 0;
}

static void on_begun(void *ctx, const json_t *doc, const struct err *e)
{
    struct order *o = ctx;
    if (e)
        rpc_reply_error(o->req, e);
    else
        rpc_reply(o->req, json_pack("{s:s,s:o}", "database", o->database, "document",
                              json_deep_copy(doc)));
    if (!e)
        failover_hurry(o->c);
    drop(o);
}

void control_failover_start(struct control *c, struct rpc_req *req, json_t *params)
{
    struct order *o = order_of(c, req, params);
    int64_t loss_ms = json_opt_int(params, "accept_loss_ms", -1);
    if (!o)
        return;
    o->waived = (struct failover_order){.by_hand = true,
        .accept_loss = loss_ms >= 0,
        .loss_ms = loss_ms >= 0 ? (uint64_t)loss_ms : 0,
        .source_off = json_opt_bool(params, "source_off", false)};
    if (*o->to)
        documents_edit(control_data_docs(c), o->database, edit_begin, on_begun, o);
    else {
        fail(req, ERR_USAGE, "where is the source to go?", "--to REGION");
        drop(o);
    }
}

/* ---- pause, resume, ack ---- */

static int edit_said(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct order *o = ctx;
    const json_t *doc = control_data_doc(o->c, o->database);
    if (str_eq(o->kind, "pause"))
        *ret = failover_doc_pause(old, o->by, o->why, clock_wall_ms());
    else if (str_eq(o->kind, "resume"))
        *ret = failover_doc_resume(old);
    else if (str_eq(o->kind, "arm"))
        *ret = failover_doc_arm(old, o->fingerprint, "rehearsed", clock_wall_ms());
    else
        *ret = failover_doc_ack(
            old, json_opt_int(json_object_get(doc, "last"), "id", 0), o->by, clock_wall_ms());
    return 0;
}

static void on_said(void *ctx, const json_t *doc, const struct err *e)
{
    static const struct {
        const char *kind, *message;
    } told[] = {{"pause", "automatic failover is paused"},
        {"resume", "automatic failover is resumed"},
        {"ack", "earlier failovers are acknowledged: they count no more against the next"},
        {"arm", "the self-fence was rehearsed: the source stopped, was read back and went on"}};
    struct order *o = ctx;
    for (size_t i = 0; !e && i < ARRAY_SIZE(told); i++)
        if (str_eq(told[i].kind, o->kind)) {
            char cause[240];
            snprintf(cause, sizeof cause, "by %s%s%s", o->by, *o->why ? ": " : "", o->why);
            control_note(o->c, "failover", o->database, told[i].message, cause);
        }
    if (e)
        rpc_reply_error(o->req, e);
    else
        rpc_reply(o->req, json_pack("{s:s,s:o}", "database", o->database, "document",
                              json_deep_copy(doc)));
    if (!e)
        failover_hurry(o->c);
    drop(o);
}

static void say(struct control *c, struct rpc_req *req, json_t *params, const char *kind)
{
    struct order *o = order_of(c, req, params);
    if (!o)
        return;
    o->kind = kind;
    documents_edit(c->failover->docs, o->database, edit_said, on_said, o);
}

void control_failover_pause(struct control *c, struct rpc_req *req, json_t *params)
{
    say(c, req, params, "pause");
}

void control_failover_resume(struct control *c, struct rpc_req *req, json_t *params)
{
    say(c, req, params, "resume");
}

void control_failover_ack(struct control *c, struct rpc_req *req, json_t *params)
{
    say(c, req, params, "ack");
}

/* ---- mcp data arm ---- */

static void on_rehearsed(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct order *o = ctx;
    if (more)
        return;
    if (error || !o->c->failover) {
        struct err e;
        err_set(&e, error ? error->code : ERR_UNAVAILABLE, "the self-fence was not rehearsed: %s",
            error ? error->message : "this control is ending");
        err_fix(&e, "`mcp data status %s` says how the source is", o->database);
        rpc_reply_error(o->req, &e);
        drop(o);
    } else
        documents_edit(o->c->failover->docs, o->database, edit_said, on_said, o);
}

json_t *failover_fence_input(const struct control *c, const struct model_database *db, int64_t id, int64_t epoch,
    bool rehearsal)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, db->name);
    bool known = doc && replication_doc_parse(doc, &d, &ignored) >= 0;
    const char *address = "";
    for (size_t i = 0; known && i < db->n_members; i++)
        if (db->members[i].external && str_eq(db->members[i].host->name, d.source->host))
            address = db->members[i].external;
    return json_pack("{s:s,s:I,s:I,s:s,s:s,s:b}", "database", db->name, "id", (json_int_t)id, "epoch",
        (json_int_t)epoch, "source", known ? d.source->host : "", "address", address, "rehearsal", (int)rehearsal);
}

static void on_function_rehearsed(void *ctx, const struct function_result *r, const struct err *e)
{
    on_rehearsed(ctx, NULL, false, e);
}

/* It is called as in earnest, but told that it is not. */
static void rehearse_function(struct order *o, const struct model_database *db, int64_t epoch)
{
    char run[64];
    snprintf(run, sizeof run, "rehearse-%.20s-%llx", db->name, (unsigned long long)clock_wall_ms());
    control_function_run(o->c, db->failover.fence_function->as.name, run, "rehearsal of the fence",
        failover_fence_input(o->c, db, 0, epoch, true), on_function_rehearsed, o);
}

void control_failover_arm(struct control *c, struct rpc_req *req, json_t *params)
{
    struct order *o = order_of(c, req, params);
    struct replication_doc d;
    struct err e;
    const json_t *doc = o ? control_data_doc(c, o->database) : NULL;
    if (!o)
        return;
    if (!doc || replication_doc_parse(doc, &d, &e) < 0 || d.change) {
        fail(req, ERR_REFUSED, "the database's source is being moved, or it is not formed yet",
            "try again when `mcp data status` shows that it is well");
        drop(o);
        return;
    }
    o->kind = "arm";
    const struct model_database *db = model_find_database(c->model, o->database);
    if (db && db->failover.fence_function) {
        rehearse_function(o, db, d.epoch);
        return;
    }
    control_reach(c, d.source->host, "data", "data.rehearse",
        json_pack("{s:s,s:I,s:I}", "database", o->database, "epoch", (json_int_t)d.epoch,
            "timeout_ms", (json_int_t)REHEARSE_MS),
        REHEARSE_MS, on_rehearsed, o);
}

/* ---- what people are told ---- */

/* Who leads knows what is in memory; the others go by what it has written. */
static json_t *explain(struct control *c, const char *database)
{
    struct watcher *w = failover_watcher(c, database);
    const json_t *doc = control_data_doc(c, database), *told = failover_doc_of(c, database);
    if (!w || !doc)
        return NULL;
    char reason[300];
    bool leads = scheduler_leads(c->scheduler);
    const struct failover_facts f = failover_facts_of(doc, &w->run, &w->facts);
    const char *state = leads ? failover_state_name(failover_state_of(doc, &w->run))
                              : json_opt_str(told, "state", "unknown");
    const char *why = leads ? failover_reason(doc, &w->run, reason, sizeof reason)
                            : json_opt_str(told, "reason", "");
    json_t *j = failover_explain(&f, state, why);
    json_object_set_new(j, "database", json_string(database));
    json_object_set_new(j, "target", json_string(f.target.host));
    json_object_set_new(j, "automatic", json_boolean(f.automation.automatic));
    return j;
}

void control_failover_explain(struct control *c, struct rpc_req *req, json_t *params)
{
    const struct model_database *one = database_of(c, req, params);
    if (!one)
        return;
    json_t *j = explain(c, one->name);
    if (j) {
        json_object_set_new(j, "asked_host", json_string(c->host));
        rpc_reply(req, j);
    } else
        fail(req, ERR_UNAVAILABLE, "the database has no document yet, or this control has just begun",
            "try again");
}

static json_t *status_row(struct control *c, const char *database, bool automatic)
{
    struct failover_rule r = {0};
    struct watcher *w = failover_watcher(c, database);
    const json_t *doc = control_data_doc(c, database), *told = failover_doc_of(c, database);
    if (!w || !doc)
        return NULL;
    const struct failover_facts f = failover_facts_of(doc, &w->run, &w->facts);
    bool armed = !failover_disarmed(&f, &r);
    return json_pack("{s:s,s:b,s:b,s:s,s:s,s:s,s:s}", "database", database, "automatic",
        (int)automatic, "armed", (int)armed, "state", json_opt_str(told, "state", "unknown"), "rule",
        r.id, "value", r.value, "text", r.text);
}

json_t *control_failover_status(struct control *c)
{
    json_t *rows = json_array();
    for (size_t i = 0; c->failover && c->model && i < c->model->n_databases; i++) {
        const struct model_database *db = &c->model->databases[i];
        json_t *row = failover_is_declared(db)
                          ? status_row(c, db->name, db->failover.automatic)
                          : NULL;
        if (row)
            json_array_append_new(rows, row);
    }
    return rows;
}
