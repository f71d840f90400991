/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/errant.h"
#include "service/data/priv.h"

#include "base/str/str.h"
#include "domain/replication/missing.h"
#include "service/data/decode.h"

#define SOURCE_MS 15000u
#define WORK_MS 180000u
#define TRANSACTIONS 100u

struct errant {
    struct data *data;
    struct rpc_req *req;
    struct sql_worker *worker;
    struct data_want want;
    struct sql_position here;
    struct gtid_set there, there_state; /* the source's: what it has, and the last of each server */
    struct missing missing;
    json_t *result;
};

/* ---- its end */

static void on_worker_closed(void *ctx)
{
    struct errant *x = ctx;
    sql_position_done(&x->here);
    gtid_set_done(&x->there);
    gtid_set_done(&x->there_state);
    data_want_done(&x->want);
    json_decref(x->result);
    data_unref(x->data);
    free(x);
}

static void end(struct errant *x, const struct err *e)
{
    if (e)
        rpc_reply_error(x->req, e);
    else
        rpc_reply(x->req, json_incref(x->result));
    sql_worker_close(x->worker, on_worker_closed, x);
}

static bool is_errant(void *ctx, const struct gtid *g)
{
    const struct errant *x = ctx;
    return missing_has(&x->missing, g);
}

static json_t *gtids_json(const struct errant *x)
{
    _cleanup_str_ struct str text = STR_INIT;
    missing_format(&x->missing, &text);
    return json_string(str_cstr(&text));
}

/* ---- on the worker's thread */

static int run_here(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct errant *x = ctx;
    return sql_position(c, &x->here, e);
}

static int run_decode(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct errant *x = ctx;
    char first[128];
    _cleanup_free_ char *dir = xasprintf("%s/binlog", x->want.dir);
    struct binlog_text t;
    missing_find(&x->here.state, &x->there, &x->there_state, &x->missing);
    binlog_text_init(&t);
    t.wants = is_errant;
    t.ctx = x;
    t.max = TRANSACTIONS;
    int r = x->missing.n ? data_decode_first(c, &x->missing, first, e) : 0;
    if (r >= 0 && x->missing.n)
        r = data_decode(dir, *first ? first : NULL, &t, stop, e);
    data_decode_names(c, t.list);
    x->result = json_pack("{s:o,s:O,s:b}", "gtids", gtids_json(x), "transactions", t.list, "more",
        (int)t.more);
    binlog_text_done(&t);
    return r;
}

/* ---- on the loop */

static void on_decoded(void *ctx, int result, unsigned number, const struct err *e)
{
    end(ctx, e);
}

static int take_source(struct errant *x, const json_t *answer, struct err *e)
{
    const char *gtid, *applied, *state;
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0};
    int r = json_get_str(answer, "gtid", &gtid, e);
    if (r >= 0)
        r = json_get_str(answer, "applied", &applied, e);
    if (r >= 0)
        r = json_get_str(answer, "binlog_state", &state, e);
    if (r >= 0)
        r = gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &a, e);
    if (r >= 0)
        r = gtid_set_parse(GTID_MARIADB, applied, strlen(applied), &b, e);
    if (r >= 0)
        r = gtid_set_union(&a, &b, &x->there, e);
    if (r >= 0)
        r = gtid_set_parse(GTID_MARIADB, state, strlen(state), &x->there_state, e);
    return r < 0 ? err_wrap(e, "the source's position") : 0;
}

static void on_source(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct errant *x = ctx;
    struct err why;
    if (more)
        return;
    if (e)
        end(x, e);
    else if (take_source(x, result, &why) < 0)
        end(x, &why);
    else
        sql_worker_run(x->worker, WORK_MS, run_decode, on_decoded, x);
}

static void on_here(void *ctx, int result, unsigned number, const struct err *e)
{
    struct errant *x = ctx;
    struct rpc_conn *control = x->data->config.control(x->data->config.ctx);
    struct err why;
    err_set(&why, ERR_UNAVAILABLE, "control is not linked");
    if (e || !control) {
        end(x, e ? e : &why);
        return;
    }
    rpc_call(control, "data.seed.source",
        json_pack("{s:s,s:s,s:s,s:{s:s}}", "database", x->want.name, "host", x->want.source.host,
            "method", "data.position", "params", "database", x->want.name),
        SOURCE_MS, on_source, x);
}

void errant_call(struct db *db, struct rpc_req *req, json_t *params)
{
    struct err e;
    _cleanup_free_ char *socket = xasprintf("%s/run/db.sock", db->want.dir);
    const struct sql_target t = {.socket = socket, .user = DATA_USER, .program = "mcp-errant"};
    if (db->want.duty != REPLICATION_REPLICA) {
        rpc_reply(req, json_pack("{s:s,s:[],s:b}", "gtids", "", "transactions", "more", 0));
        return;
    }
    struct errant *x = xcalloc(1, sizeof *x);
    x->data = db->owner;
    x->req = req;
    if (sql_worker_new(db->owner->config.loop, &t, &x->worker, &e) < 0) {
        rpc_reply_error(req, &e);
        free(x);
        return;
    }
    db->owner->refs++;
    data_want_copy(&db->want, &x->want);
    sql_worker_run(x->worker, WORK_MS, run_here, on_here, x);
}
