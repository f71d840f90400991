/* SPDX-License-Identifier: Apache-2.0 */
/* A source that others run, fenced from the host of another member: its own host may be gone with its region
 * while the server goes on. It is made read-only, sessions of applications are ended, and a session that is
 * opened afterwards reads back that it is read-only and that a write is refused. What makes it writable again is
 * held back by the change in the database's document (`held` of the snapshot), not from here. */
#include "service/data/lease.h"
#include "service/data/priv.h"

#include "base/str/str.h"

#include <inttypes.h>

#define WAIT_MAX_MS 60000
#define WAIT_MS 5000
#define GRACE_MS 300u
#define ER_READ_ONLY 1290u
#define ROW_FENCE 3 /* of the table of canaries */

struct far_job {
    struct rpc_req *req;
    struct data_want want; /* as the source's own host has it, in what matters */
    struct str gtid;
};

static int open_own(const struct far_job *j, struct sql_stop *stop, struct sql_conn **ret, struct err *e)
{
    struct sql_target *t = data_target_new(&j->want, NULL, NULL, "mcp-fence");
    int r = sql_open(t, stop, ret, e);
    sql_target_free(t);
    return r;
}

static int shut(struct far_job *j, struct sql_stop *stop, struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    struct data_op op = {
        .want = j->want, .op = REPLICATION_OP_READ_ONLY, .grace_ms = GRACE_MS, .ends = true};
    int r = open_own(j, stop, &c, e);
    return r < 0 ? r : data_op_run(&op, c, stop, e);
}

static int try_to_write(struct far_job *j, struct sql_conn *own, struct sql_stop *stop, struct err *e)
{
    _cleanup_sql_ struct sql_conn *probe = NULL;
    struct err refused;
    int r = data_probe_open(own, &j->want, stop, &probe, e);
    if (r < 0)
        return r;
    r = sql_execf(probe, &refused,
        "INSERT INTO " DATA_SCHEMA ".canary (id, seq) VALUES (%d, %" PRIu64
        ") ON DUPLICATE KEY UPDATE seq=VALUES(seq)",
        ROW_FENCE, j->want.epoch);
    if (r >= 0)
        return err_set(e, ERR_UNAVAILABLE, "it still takes a write");
    if (sql_errno(probe) == ER_READ_ONLY)
        return 0;
    *e = refused;
    return r;
}

static int read_back(struct far_job *j, struct sql_stop *stop, struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    _cleanup_sql_position_ struct sql_position p = {0};
    int r = open_own(j, stop, &c, e);
    if (r >= 0)
        r = try_to_write(j, c, stop, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r >= 0 && !p.read_only)
        r = err_set(e, ERR_UNAVAILABLE, "it is not read-only any more");
    if (r >= 0)
        gtid_set_format(&p.binlog, &j->gtid);
    return r;
}

static int run_far(void *ctx, struct sql_conn *none, struct sql_stop *stop, struct err *e)
{
    struct far_job *j = ctx;
    int r = shut(j, stop, e);
    return r < 0 ? r : read_back(j, stop, e);
}

static void on_far(void *ctx, int result, unsigned number, const struct err *e)
{
    struct far_job *j = ctx;
    if (e) {
        struct err told = *e;
        err_wrap(&told, "fence %s of %s from here", j->want.source.host, j->want.name);
        rpc_reply_error(j->req, &told);
    } else {
        rpc_reply(j->req, json_pack("{s:s,s:b,s:s}", "gtid", str_cstr(&j->gtid), "read_only", 1, "canary",
                              "refused"));
    }
    data_want_done(&j->want);
    str_done(&j->gtid);
    free(j);
}

static struct sql_worker *worker_of(struct db *db, struct err *e)
{
    struct db_lease *l = &db->lease;
    if (!l->far && sql_worker_new(db->owner->config.loop, NULL, &l->far, e) >= 0)
        db->open_handles++;
    return l->far;
}

void far_call_fence(struct db *db, struct rpc_req *req, json_t *params)
{
    struct err e;
    uint64_t epoch = (uint64_t)MAX(json_opt_int(params, "epoch", 0), 0);
    int64_t ms = MIN(MAX(json_opt_int(params, "timeout_ms", WAIT_MS), 1), WAIT_MAX_MS);
    bool may = db->want.external && db->want.duty == REPLICATION_REPLICA && epoch == db->want.epoch;
    err_set(&e, ERR_UNAVAILABLE, "%s: no replica of a server that others run, at that epoch", db->name);
    struct sql_worker *w = may && !db->closing ? worker_of(db, &e) : NULL;
    if (!w) {
        rpc_reply_error(req, &e);
        return;
    }
    struct far_job *j = xcalloc(1, sizeof *j);
    *j = (struct far_job){.req = req};
    data_want_copy(&db->want, &j->want);
    j->want.self = j->want.source;
    sql_worker_run(w, (uint64_t)ms, run_far, on_far, j);
}
