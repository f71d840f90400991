/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/serve.h"

#include "base/clock/clock.h"
#include "driver/sql/dialect.h"
#include "driver/sql/worker.h"
#include "service/verify/verify.h"

#include <time.h>

#define SHORT_MS 60000u
#define LONG_MS 86400000u
#define REST_MS 500u /* the most between two chunks, and how often the caller is told */
#define KEEP_RUNS 10 /* of sums, for who looks later */

struct job;
typedef int (*work_fn)(struct job *j, struct sql_conn *c, struct err *e);

struct job {
    struct rpc_req *req;
    struct sql_worker *worker;
    struct sql_job *running;
    uv_timer_t timer; /* tells how far it is */
    work_fn work;
    struct sql_stop *stop;
    json_t *params, *result;
    char database[65], binlog_dir[192];
    const atomic_bool *behind;
    atomic_uint tables, tables_done;
    atomic_ullong rows;
    uint64_t told, chunk_ms; /* boot time at which the chunk began */
    unsigned handles;
};

/* ---- on the worker's thread ---- */

static int work_facts(struct job *j, struct sql_conn *c, struct err *e)
{
    return verify_facts(c, *j->binlog_dir ? j->binlog_dir : NULL, &j->result, e);
}

static int work_shapes(struct job *j, struct sql_conn *c, struct err *e)
{
    return verify_shapes(c, j->database, &j->result, e);
}

static int work_differences(struct job *j, struct sql_conn *c, struct err *e)
{
    return verify_differences(c, j->database, json_opt_int(j->params, "run", 0), &j->result, e);
}

static int work_rows(struct job *j, struct sql_conn *c, struct err *e)
{
    _cleanup_json_ json_t *only = json_pack("[s]", json_opt_str(j->params, "table", ""));
    _cleanup_free_ struct verify_table *v = NULL;
    size_t n = 0;
    if (verify_tables(c, j->database, only, &v, &n, e) < 0)
        return e->code;
    if (n != 1)
        return err_set(e, ERR_NOT_FOUND, "there is no such table");
    return verify_rows(c, &v[0], json_object_get(j->params, "lower"),
        json_object_get(j->params, "upper"), &j->result, e);
}

static void rest(uint64_t ms)
{
    const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* Rests as long as the chunk took, and while replicas are behind. */
static int between_chunks(void *ctx, const char *table, uint64_t rows_done, struct err *e)
{
    struct job *j = ctx;
    uint64_t took = j->chunk_ms ? clock_boot_ms() - j->chunk_ms : 0;
    atomic_store(&j->rows, rows_done);
    rest(MIN(took, REST_MS));
    while (j->behind && atomic_load(j->behind) && !sql_stop_raised(j->stop))
        rest(REST_MS);
    j->chunk_ms = clock_boot_ms();
    return sql_stop_raised(j->stop) ? err_set(e, ERR_CANCELED, "given up") : 0;
}

static int forget_old(struct sql_conn *c, int64_t run, struct err *e)
{
    return sql_execf(c, e, "DELETE FROM mcp_dts.checksums WHERE run < %lld - %d OR run = %lld",
        (long long)run, KEEP_RUNS, (long long)run);
}

static int sum_tables(
    struct job *j, struct sql_conn *c, const struct verify_table *v, json_t *list, struct err *e)
{
    const struct verify_pace pace = {.wait = between_chunks, .ctx = j};
    int64_t run = json_opt_int(j->params, "run", 0);
    for (unsigned i = 0; i < atomic_load(&j->tables); i++) {
        json_t *one = NULL;
        if (verify_checksum(c, &v[i], run, &pace, &one, e) < 0)
            return e->code;
        json_array_append_new(list, one);
        atomic_store(&j->tables_done, i + 1);
    }
    return 0;
}

static json_t *position_of(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_position_ struct sql_position p = {0};
    _cleanup_str_ struct str text = STR_INIT;
    if (sql_position(c, &p, e) < 0)
        return NULL;
    gtid_set_format(&p.binlog, &text);
    return json_stringn(str_cstr(&text), text.len);
}

static int work_checksum(struct job *j, struct sql_conn *c, struct err *e)
{
    _cleanup_free_ struct verify_table *v = NULL;
    size_t n = 0;
    if (verify_tables(c, j->database, json_object_get(j->params, "tables"), &v, &n, e) < 0
        || verify_begin(c, e) < 0 || forget_old(c, json_opt_int(j->params, "run", 0), e) < 0)
        return e->code;
    _cleanup_json_ json_t *list = json_array();
    atomic_store(&j->tables, (unsigned)n);
    if (sum_tables(j, c, v, list, e) < 0)
        return e->code;
    json_t *gtid = position_of(c, e);
    if (!gtid)
        return e->code;
    j->result = json_pack("{s:O,s:o}", "tables", list, "gtid", gtid);
    return 0;
}

static int work(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct job *j = ctx;
    j->stop = stop;
    return j->work(j, c, e);
}

/* ---- on the loop ---- */

static void unref(struct job *j)
{
    if (--j->handles)
        return;
    json_decref(j->params);
    json_decref(j->result);
    free(j);
}

static void on_worker_closed(void *ctx)
{
    unref(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF((uv_timer_t *)h, struct job, timer));
}

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct job *j = ctx;
    j->running = NULL;
    if (e)
        rpc_reply_error(j->req, e);
    else
        rpc_reply(j->req, json_incref(j->result));
    j->req = NULL;
    sql_worker_close(j->worker, on_worker_closed, j);
    uv_close((uv_handle_t *)&j->timer, on_timer_closed);
}

static void on_cancelled(void *ctx)
{
    struct job *j = ctx;
    if (j->running)
        sql_job_cancel(j->running);
}

static void on_timer(uv_timer_t *t)
{
    struct job *j = CONTAINER_OF(t, struct job, timer);
    uint64_t now = atomic_load(&j->rows) + atomic_load(&j->tables_done);
    if (!j->req || !atomic_load(&j->tables) || now == j->told)
        return;
    j->told = now;
    rpc_reply_more(j->req,
        json_pack("{s:I,s:I,s:I}", "tables", (json_int_t)atomic_load(&j->tables), "tables_done",
            (json_int_t)atomic_load(&j->tables_done), "rows", (json_int_t)atomic_load(&j->rows)));
}

static void begin(
    const struct verify_host *h, struct rpc_req *req, work_fn fn, uint64_t limit_ms, json_t *params)
{
    struct err e;
    struct job *j = xcalloc(1, sizeof *j);
    *j = (struct job){.req = req, .work = fn, .behind = h->behind, .handles = 2};
    if (sql_worker_new(h->loop, &h->target, &j->worker, &e) < 0) {
        rpc_reply_error(req, &e);
        free(j);
        return;
    }
    j->params = json_incref(params);
    str_copy(j->database, sizeof j->database, h->database);
    str_copy(j->binlog_dir, sizeof j->binlog_dir, h->binlog_dir ? h->binlog_dir : "");
    uv_timer_init(h->loop, &j->timer);
    uv_timer_start(&j->timer, on_timer, REST_MS, REST_MS);
    rpc_req_watch(req, NULL, on_cancelled, j);
    j->running = sql_worker_run(j->worker, limit_ms, work, on_done, j);
}

bool verify_serve(
    const struct verify_host *h, struct rpc_req *req, const char *method, json_t *params)
{
    static const struct {
        const char *method;
        work_fn fn;
        uint64_t limit_ms;
    } calls[] = {
        {"data.facts", work_facts, SHORT_MS},
        {"data.shapes", work_shapes, SHORT_MS},
        {"data.checksum", work_checksum, LONG_MS},
        {"data.differences", work_differences, SHORT_MS},
        {"data.rows", work_rows, SHORT_MS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (!strcmp(calls[i].method, method)) {
            begin(h, req, calls[i].fn, calls[i].limit_ms, params);
            return true;
        }
    return false;
}
