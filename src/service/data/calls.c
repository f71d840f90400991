/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a database. An answer is always of a look that was taken after the question. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/data/errant.h"
#include "service/data/maker.h"
#include "service/data/rescue.h"
#include "service/data/seed.h"
#include "service/verify/serve.h"

#define WAIT_MS 30000   /* the caller's patience, unless it says otherwise */
#define WAIT_MAX_MS 600000

static json_t *gtid_json(const struct gtid_set *s)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    return json_stringn(str_cstr(&text), text.len);
}

/* {"gtid": its own log, "binlog_state", "applied", "io_gtid", "read_only", "epoch", "state"} */
static json_t *position(const struct db *db)
{
    const struct data_look *l = db->last;
    return json_pack("{s:o,s:o,s:o,s:o,s:b,s:I,s:s}", "gtid", gtid_json(&l->position.binlog),
        "binlog_state", gtid_json(&l->position.state), "applied",
        gtid_json(&l->position.applied), "io_gtid", gtid_json(&l->status.retrieved), "read_only",
        l->position.read_only, "epoch", (json_int_t)l->epoch, "state",
        replication_state_name(db->node.state));
}

PRINTF_LIKE(3, 4) static bool fail(struct rpc_req *req, int code, const char *fmt, ...)
{
    struct err e;
    _cleanup_str_ struct str text = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    err_set(&e, code, "%s", str_cstr(&text));
    rpc_reply_error(req, &e);
    return true;
}

/* Its time is over: why it has not come about. */
static bool give_up(struct waiter *w, const struct db *db, const char *what)
{
    const char *why = db->node.why;
    return fail(w->req, db->closing ? ERR_UNAVAILABLE : ERR_TIMEOUT, "%s: not %s in time; it is %s%s%s",
        db->name, what, replication_state_name(db->node.state), *why ? ": " : "", why);
}

static bool look_position(struct waiter *w, struct db *db, bool over)
{
    if (over || !db->last)
        return over && give_up(w, db, "reached");
    rpc_reply(w->req, position(db));
    return true;
}

static bool look_frozen(struct waiter *w, struct db *db, bool over)
{
    if (!over && (!db->last || !db->last->position.read_only || db->node.op != REPLICATION_NOTHING))
        return false;
    if (over)
        return give_up(w, db, "read-only");
    rpc_reply(w->req, position(db));
    return true;
}

static bool look_promoted(struct waiter *w, struct db *db, bool over)
{
    bool done = db->node.state == REPLICATION_WRITABLE && db->want.epoch >= w->epoch;
    if (!done || over)
        return over && give_up(w, db, "writable");
    rpc_reply(w->req, position(db));
    return true;
}

static bool look_follows(struct waiter *w, struct db *db, bool over)
{
    bool done = db->node.state == REPLICATION_REPLICATING && db->want.epoch >= w->epoch;
    if (!done || over)
        return over && give_up(w, db, "replicating");
    rpc_reply(w->req, position(db));
    return true;
}

static bool look_reached(struct waiter *w, struct db *db, bool over)
{
    struct gtid_set here = {0};
    bool reached = false;
    if (db->last) {
        data_look_reached(db->last, &here);
        reached = gtid_set_contains(&here, &w->gtid);
    } else {
        gtid_set_init(&here, GTID_MARIADB);
    }
    if (reached || over)
        rpc_reply(w->req, json_pack("{s:b,s:o}", "reached", reached, "gtid", gtid_json(&here)));
    gtid_set_done(&here);
    return reached || over;
}

static struct waiter *wait_for(struct db *db, struct rpc_req *req, const json_t *params,
    bool (*fn)(struct waiter *w, struct db *db, bool over))
{
    struct waiter *w = xcalloc(1, sizeof *w);
    int64_t ms = json_opt_int(params, "timeout_ms", WAIT_MS);
    *w = (struct waiter){.req = req,
        .look = fn,
        .deadline_ms = clock_boot_ms() + (uint64_t)MIN(MAX(ms, 1), WAIT_MAX_MS),
        .epoch = (uint64_t)MAX(json_opt_int(params, "epoch", 0), 0)};
    return w;
}

static void call_position(struct db *db, struct rpc_req *req, json_t *params)
{
    db_wait(db, wait_for(db, req, params, look_position));
}

static void call_readonly(struct db *db, struct rpc_req *req, json_t *params)
{
    uint64_t epoch = (uint64_t)json_opt_int(params, "epoch", (int64_t)db->want.epoch);
    uint64_t id = (uint64_t)MAX(json_opt_int(params, "id", 0), 0);
    if (!json_opt_bool(params, "on", true)) {
        db_event(db, &(struct replication_event){.kind = REPLICATION_EV_THAW});
        call_position(db, req, params);
        return;
    }
    if (replication_node_refuses(&db->node, epoch, id)) {
        fail(req, ERR_REFUSED, "%s: that change is over, or its epoch is", db->name);
        return;
    }
    db->grace_ms = (uint64_t)MAX(json_opt_int(params, "grace_ms", 0), 0);
    db_event(db,
        &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .id = id, .epoch = epoch});
    db_wait(db, wait_for(db, req, params, look_frozen));
}

/* Thaws by itself, whatever came of it: who asked may be gone by then. */
static bool look_rehearsed(struct waiter *w, struct db *db, bool over)
{
    bool frozen = db->last && db->last->position.read_only && db->node.op == REPLICATION_NOTHING;
    if (!over && !frozen)
        return false;
    if (!over && !db->closing && db->want.external) { /* nothing else than this would stop it */
        lease_read_back(db, w->req);
        return true;
    }
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_THAW});
    if (over)
        return give_up(w, db, "read-only");
    rpc_reply(w->req, position(db));
    return true;
}

/* The freeze of a fence, read back and lifted: writes are refused for less than a second. */
static void call_rehearse(struct db *db, struct rpc_req *req, json_t *params)
{
    uint64_t epoch = (uint64_t)json_opt_int(params, "epoch", 0);
    if (db->node.state != REPLICATION_WRITABLE || db->node.frozen || epoch != db->want.epoch) {
        fail(req, ERR_REFUSED, "%s: it is %s, and a rehearsal takes a source that writes", db->name,
            replication_state_name(db->node.state));
        return;
    }
    db->grace_ms = 0;
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .epoch = epoch});
    db_wait(db, wait_for(db, req, params, look_rehearsed));
}

static void call_promote(struct db *db, struct rpc_req *req, json_t *params)
{
    struct waiter *w = wait_for(db, req, params, look_promoted);
    if (replication_node_refuses(&db->node, w->epoch, 0)) {
        fail(req, ERR_REFUSED, "%s: epoch %llu is over", db->name, (unsigned long long)w->epoch);
        free(w);
        return;
    }
    db_wait(db, w);
}

static void call_follow(struct db *db, struct rpc_req *req, json_t *params)
{
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_FOLLOW});
    db_wait(db, wait_for(db, req, params, look_follows));
}

static void call_wait(struct db *db, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    const char *text;
    struct gtid_set gtid = {0};
    if (json_get_str(params, "gtid", &text, &e) < 0
        || gtid_set_parse(GTID_MARIADB, text, strlen(text), &gtid, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct waiter *w = wait_for(db, req, params, look_reached);
    w->gtid = gtid;
    db_wait(db, w);
}

/* By hand; what the replica holds is replaced in the end. */
static void call_seed(struct db *db, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    uint64_t epoch = (uint64_t)json_opt_int(params, "epoch", (int64_t)db->want.epoch);
    if (epoch != db->want.epoch)
        fail(req, ERR_REFUSED, "%s: the source has moved meanwhile", db->name);
    else if (seed_begin(db, true, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, seed_json(db));
}

static void call_seed_status(struct db *db, struct rpc_req *req, json_t *params)
{
    json_t *seed = seed_json(db);
    const char *state = replication_state_name(db->node.state);
    rpc_reply(req, json_pack("{s:o,s:s,s:s}", "seed", seed ? seed : json_null(), "state", state,
                       "why", db->node.why));
}

static const struct {
    const char *method;
    void (*fn)(struct db *db, struct rpc_req *req, json_t *params);
} calls[] = {
    {"data.position", call_position},
    {"data.readonly", call_readonly},
    {"data.rehearse", call_rehearse},
    {"data.promote", call_promote},
    {"data.follow", call_follow},
    {"data.wait", call_wait},
    {"data.beat", lease_call_beat},
    {"data.fence", lease_call_fence},
    {"data.fence.far", far_call_fence},
    {"data.verify", lease_call_verify},
    {"data.errant", errant_call},
    {"data.rescue", rescue_call},
    {"data.seed.take", call_seed},
    {"data.seed.status", call_seed_status},
    {"data.seed.make", maker_call},
    {"data.seed.drop", maker_drop},
};

/* Questions about content: threads and sessions of their own. */
static bool look_into(struct db *db, struct rpc_req *req, const char *method, json_t *params)
{
    _cleanup_free_ char *logs = xasprintf("%s/binlog", db->want.dir);
    struct sql_target *t = data_target_new(&db->want, NULL, NULL, "mcp-verify");
    const struct verify_host h = {
        .loop = db->owner->config.loop,
        .target = *t,
        .database = db->name,
        .binlog_dir = db->want.external ? NULL : logs,
    };
    bool served = verify_serve(&h, req, method, params);
    sql_target_free(t);
    return served;
}

/* What works with a server's files: those of others' are on no host of ours. */
static bool is_of_files(const char *method)
{
    return str_starts(method, "data.seed.") || str_starts(method, "data.backup.")
           || str_starts(method, "data.vault");
}

void db_call(struct db *db, struct rpc_req *req, const char *method, json_t *params)
{
    if (db->want.external && is_of_files(method)) {
        fail(req, ERR_REFUSED, "the platform does not run the servers of %s: whoever does keeps copies",
            db->name);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (str_eq(calls[i].method, method)) {
            calls[i].fn(db, req, params);
            return;
        }
    if (!look_into(db, req, method, params) && !db_keep_call(db, req, method, params))
        fail(req, ERR_NOT_FOUND, "data has no method %s", method);
}
