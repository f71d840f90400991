/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a server about its right to write: a beat (a write that is on its disk), a fence
 * (no write comes through any more, which is tried), a probe of a new source. A thread of its own:
 * nothing that the server is busy with delays a beat but the server itself. */
#include "service/data/lease.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <inttypes.h>
#include <poll.h>

#define WAIT_MS 5000
#define WAIT_MAX_MS 60000
#define LOOK_EACH_MS 50
#define ER_READ_ONLY 1290u
#define ROW_BEAT 2 /* of the table of canaries; 1: of the check that replicas refuse */
#define ROW_FENCE 3
#define ROW_VERIFY 4

struct lease_job {
    struct db *db;
    struct rpc_req *req;
    struct data_want want;
    bool writable; /* as seen when it was asked */
    struct str gtid;
    uint64_t id; /* of the change */
};

static void fail(struct rpc_req *req, int code, const char *name, const char *why)
{
    struct err e;
    err_set(&e, code, "%s: %s", name, why);
    rpc_reply_error(req, &e);
}

/* ---- on the worker's thread */

/* As an application would: what refuses those refuses this. */
static int probe(struct lease_job *j, struct sql_conn *c, struct err *e)
{
    struct db_lease *l = &j->db->lease;
    if (l->probe && sql_lost(l->probe)) {
        sql_close(l->probe);
        l->probe = NULL;
    }
    return l->probe ? 0 : data_probe_open(c, &j->want, sql_conn_stop(c), &l->probe, e);
}

static int write_row(struct lease_job *j, int id, uint64_t seq, struct err *e)
{
    return sql_execf(j->db->lease.probe, e,
        "INSERT INTO " DATA_SCHEMA ".canary (id, seq) VALUES (%d, %" PRIu64
        ") ON DUPLICATE KEY UPDATE seq=VALUES(seq)",
        id, seq);
}

/* The file says so when the server's own files lie on a disk that it has cached; the row says that
 * it commits. */
static int write_file(const struct data_want *w, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/spool/lease.json", w->dir),
                        *text = xasprintf("{\"epoch\":%" PRIu64 ",\"boot_ms\":%" PRIu64 "}",
                            w->epoch, clock_boot_ms());
    return file_write_durable(path, text, strlen(text), 0600, e);
}

static int run_beat(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct lease_job *j = ctx;
    int r = write_file(&j->want, e);
    if (r >= 0 && j->writable) {
        r = probe(j, c, e);
        if (r >= 0)
            r = write_row(j, ROW_BEAT, clock_boot_ms(), e);
        /* It was made read-only just now, and may be asked again. */
        if (r < 0 && j->db->lease.probe && sql_errno(j->db->lease.probe) == ER_READ_ONLY) {
            j->writable = false;
            r = 0;
        }
    }
    return r < 0 ? r : sql_value(c, "SELECT @@global.gtid_binlog_pos", &j->gtid, e);
}

/* Read-only, nobody left who might have begun something, and a write is refused. */
static int run_fence(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct lease_job *j = ctx;
    _cleanup_str_ struct str on = STR_INIT;
    int r = sql_value(c, "SELECT @@global.read_only", &on, e);
    if (r >= 0 && !str_eq(str_cstr(&on), "1"))
        return err_set(e, ERR_UNAVAILABLE, "it is not read-only yet");
    sql_close(j->db->lease.probe); /* a new session, as an application would open one */
    j->db->lease.probe = NULL;
    if (r >= 0)
        r = probe(j, c, e);
    if (r < 0)
        return r;
    if (write_row(j, ROW_FENCE, j->want.epoch, e) >= 0)
        return err_set(e, ERR_UNAVAILABLE, "it still takes a write");
    if (sql_errno(j->db->lease.probe) != ER_READ_ONLY)
        return e->code;
    return sql_value(c, "SELECT @@global.gtid_binlog_pos", &j->gtid, e);
}

static int run_verify(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct lease_job *j = ctx;
    _cleanup_str_ struct str back = STR_INIT;
    uint64_t seq = 0;
    int r = probe(j, c, e);
    if (r >= 0)
        r = write_row(j, ROW_VERIFY, j->want.epoch, e);
    if (r >= 0)
        r = sql_value(j->db->lease.probe, "SELECT seq FROM " DATA_SCHEMA ".canary WHERE id=4", &back, e);
    if (r >= 0 && (!str_to_u64(str_cstr(&back), INT64_MAX, &seq) || seq != j->want.epoch))
        r = err_set(e, ERR_CONFLICT, "what was written is not what is read: %s", str_cstr(&back));
    return r < 0 ? r : sql_value(c, "SELECT @@global.gtid_binlog_pos", &j->gtid, e);
}

/* ---- on the loop */

static void job_free(struct lease_job *j)
{
    data_want_done(&j->want);
    str_done(&j->gtid);
    free(j);
}

static void answer(struct lease_job *j, const struct err *e, json_t *more)
{
    json_t *gtid = json_stringn(str_cstr(&j->gtid), j->gtid.len);
    json_object_set_new(more, "gtid", gtid);
    if (e) {
        json_decref(more);
        struct err told = *e;
        err_wrap(&told, "%s", j->want.name);
        rpc_reply_error(j->req, &told);
    } else {
        rpc_reply(j->req, more);
    }
    job_free(j);
}

static void on_beaten(void *ctx, int result, unsigned number, const struct err *e)
{
    struct lease_job *j = ctx;
    answer(j, e, json_pack("{s:b}", "writable", (int)j->writable));
}

struct shut { /* a fence that holds at the server, until the gate is shut as well */
    struct rpc_req *req;
    json_t *answer;
};

static void on_shut(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct shut *s = ctx;
    if (more)
        return;
    if (error)
        rpc_reply_error(s->req, error);
    else
        rpc_reply(s->req, json_incref(s->answer));
    json_decref(s->answer);
    free(s);
}

/* What the server has said already may still lie in the gate: an answer of the past would be passed
 * until the deadline. Only a gate that says that it is shut does not. */
static void shut_gate(struct data *d, const struct data_want *w, uint64_t id, struct rpc_req *req,
    json_t *answer)
{
    struct rpc_conn *control = d->config.control(d->config.ctx);
    if (!control) {
        json_decref(answer);
        fail(req, ERR_UNAVAILABLE, w->name, "control is restarting: the gate cannot be shut");
        return;
    }
    struct shut *s = xcalloc(1, sizeof *s);
    *s = (struct shut){req, answer};
    rpc_call(control, "gate.shut",
        json_pack("{s:s,s:I,s:I}", "database", w->name, "epoch", (json_int_t)w->epoch, "id",
            (json_int_t)id),
        WAIT_MS, on_shut, s);
}

static void on_fenced(void *ctx, int result, unsigned number, const struct err *e)
{
    struct lease_job *j = ctx;
    if (e || j->db->closing) {
        struct err gone;
        err_set(&gone, ERR_UNAVAILABLE, "it is not watched over any more");
        answer(j, e ? e : &gone, json_object());
        return;
    }
    shut_gate(j->db->owner, &j->want, j->id, j->req,
        json_pack("{s:o,s:b,s:s}", "gtid", json_stringn(str_cstr(&j->gtid), j->gtid.len),
            "read_only", 1, "canary", "refused"));
    job_free(j);
}

static void on_verified(void *ctx, int result, unsigned number, const struct err *e)
{
    struct lease_job *j = ctx;
    answer(j, e, json_pack("{s:I}", "epoch", (json_int_t)j->want.epoch));
}

/* The worker, with its first job: who needs no lease has no thread for it. */
static struct sql_worker *worker_of(struct db *db, struct err *e)
{
    if (db->lease.worker || db->closing)
        return db->lease.worker;
    struct sql_target *t = data_target_new(&db->want, NULL, NULL, "mcp-data");
    if (sql_worker_new(db->owner->config.loop, t, &db->lease.worker, e) >= 0)
        db->open_handles++;
    sql_target_free(t);
    return db->lease.worker;
}

static struct lease_job *job_new(struct db *db, struct rpc_req *req)
{
    struct lease_job *j = xcalloc(1, sizeof *j);
    *j = (struct lease_job){.db = db, .req = req};
    data_want_copy(&db->want, &j->want);
    return j;
}

static void run(struct lease_job *j, uint64_t ms, sql_work_fn work, sql_done_fn done)
{
    struct err e = {0};
    struct sql_worker *w = worker_of(j->db, &e);
    if (w)
        sql_worker_run(w, ms, work, done, j);
    else
        answer(j, &e, json_object());
}

static uint64_t patience(const json_t *params)
{
    return (uint64_t)MIN(MAX(json_opt_int(params, "timeout_ms", WAIT_MS), 1), WAIT_MAX_MS);
}

static uint64_t epoch_of(const json_t *params)
{
    return (uint64_t)MAX(json_opt_int(params, "epoch", 0), 0);
}

void lease_call_beat(struct db *db, struct rpc_req *req, json_t *params)
{
    if (db->want.external || db->want.duty != REPLICATION_SOURCE
        || epoch_of(params) != db->want.epoch) {
        fail(req, ERR_REFUSED, db->name, "it is not the source at that epoch here");
        return;
    }
    struct lease_job *j = job_new(db, req);
    j->writable = db->node.state == REPLICATION_WRITABLE;
    run(j, patience(params), run_beat, on_beaten);
}

void lease_call_verify(struct db *db, struct rpc_req *req, json_t *params)
{
    if (db->want.duty != REPLICATION_SOURCE || epoch_of(params) != db->want.epoch)
        fail(req, ERR_REFUSED, db->name, "it is not the source at that epoch here");
    else
        run(job_new(db, req), patience(params), run_verify, on_verified);
}

/* What does not run takes no write; it begins read-only, and frozen. */
static bool is_gone(struct db *db, struct rpc_req *req, uint64_t id)
{
    bool gone = !db->lease.server && db->lease.down_ms && !db->closing;
    if (gone)
        shut_gate(db->owner, &db->want, id, req,
            json_pack("{s:s,s:b,s:s}", "gtid", "", "read_only", 1, "canary", "gone"));
    return gone;
}

static void on_read_back(void *ctx, int result, unsigned number, const struct err *e)
{
    struct lease_job *j = ctx;
    if (!j->db->closing)
        db_event(j->db, &(struct replication_event){.kind = REPLICATION_EV_THAW});
    answer(j, e, json_pack("{s:s}", "canary", "refused"));
}

void lease_read_back(struct db *db, struct rpc_req *req)
{
    run(job_new(db, req), WAIT_MS, run_fence, on_read_back);
}

static bool look_fenced(struct waiter *w, struct db *db, bool over)
{
    bool quiet = db->last && db->last->position.read_only && db->node.op == REPLICATION_NOTHING;
    struct lease_job *j;
    if (quiet && !db->closing) {
        j = job_new(db, w->req);
        j->id = db->node.freeze_id;
        run(j, WAIT_MS, run_fence, on_fenced);
        return true;
    }
    if (over && !is_gone(db, w->req, db->node.freeze_id))
        fail(w->req, db->closing ? ERR_UNAVAILABLE : ERR_TIMEOUT, db->name,
            "it is not read-only in time");
    return over;
}

/* For a change of the document: kept on disk until that is over, as any freeze. */
void lease_call_fence(struct db *db, struct rpc_req *req, json_t *params)
{
    uint64_t epoch = epoch_of(params), id = (uint64_t)MAX(json_opt_int(params, "id", 0), 0);
    if (replication_node_refuses(&db->node, epoch, id)) {
        fail(req, ERR_REFUSED, db->name, "that change is over, or its epoch is");
        return;
    }
    db->lease.ends = true;
    db_event(db,
        &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .id = id, .epoch = epoch});
    if (is_gone(db, req, id))
        return;
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){.req = req,
        .look = look_fenced,
        .deadline_ms = clock_boot_ms() + patience(params),
        .epoch = epoch};
    db_wait(db, w);
}
