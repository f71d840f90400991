/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/serve.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "driver/sql/worker.h"

#include <sys/stat.h>

#define TELL_MS 500u
#define DEFAULT_THROTTLE 0u

struct copies_job {
    struct rpc_req *req; /* NULL: nobody's */
    void (*done)(void *ctx, const json_t *result, const struct err *e);
    void *ctx;
    struct sql_worker *worker;
    struct sql_job *running;
    uv_timer_t timer;
    int (*work)(struct copies_job *j, struct sql_stop *stop, struct err *e);
    json_t *params, *result;
    char database[64], host[64], user[64], *dir, *directory;
    int64_t keep_ms;
    uint32_t server;
    struct copies_part part;
    atomic_int phase;
    int64_t told_bytes;
    int told_phase;
    unsigned handles;
};

static struct copies_place place_of(const struct copies_job *j)
{
    return (struct copies_place){.directory = j->directory,
        .database = j->database,
        .host = j->host,
        .keep_ms = j->keep_ms};
}

/* ---- on the worker's thread ---- */

static json_t *backup_json(const struct copies_job *j, const struct copies_backup *b)
{
    json_t *out = copies_manifest_json(&b->a);
    json_object_set_new(out, "id", json_string(b->id));
    json_object_set_new(out, "database", json_string(j->database));
    json_object_set_new(out, "host", json_string(j->host));
    json_object_set_new(out, "path", json_string(b->path));
    json_object_set_new(out, "whole", json_boolean(b->whole));
    if (!b->a.begun_ms)
        json_object_set_new(out, "begun_ms", json_integer(b->begun_ms));
    return out;
}

static int work_run(struct copies_job *j, struct sql_stop *stop, struct err *e)
{
    _cleanup_free_ char *socket = xasprintf("%s/run/db.sock", j->dir),
                        *data = xasprintf("%s/data", j->dir);
    const struct copies_place p = place_of(j);
    const struct copies_source s = {
        .socket = socket, .user = j->user, .data_dir = data, .throttle = DEFAULT_THROTTLE};
    struct copies_backup *b = xcalloc(1, sizeof *b);
    int r = copies_store_make(&p, &s, &j->part, stop, b, e);
    if (r >= 0)
        j->result = backup_json(j, b);
    free(b);
    return r;
}

static int work_list(struct copies_job *j, struct sql_stop *stop, struct err *e)
{
    const struct copies_place p = place_of(j);
    _cleanup_free_ struct copies_backup *v = NULL;
    size_t n = 0;
    if (copies_store_list(&p, &v, &n, e) < 0)
        return e->code;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, backup_json(j, &v[i]));
    j->result = json_pack("{s:s,s:s,s:o}", "host", j->host, "database", j->database, "backups", list);
    return 0;
}

static int work_verify(struct copies_job *j, struct sql_stop *stop, struct err *e)
{
    const struct copies_place p = place_of(j);
    struct copies_backup *b = xcalloc(1, sizeof *b);
    int r = copies_store_find(&p, json_opt_str(j->params, "id", ""), b, e);
    if (r >= 0)
        r = copies_check(b->path, stop, e);
    if (r >= 0)
        j->result = backup_json(j, b);
    free(b);
    return r;
}

/* Into a folder of its own beside the backups, unless it is said where. */
static char *target_of(const struct copies_job *j)
{
    const char *into = json_opt_str(j->params, "into", NULL);
    if (into)
        return xstrdup(into);
    return xasprintf(
        "%s/%s/restored-%lld", j->directory, j->database, (long long)(clock_wall_ms() / 1000));
}

static int restore(struct copies_job *j, const struct copies_backup *b, const char *into,
    struct sql_stop *stop, struct err *e)
{
    _cleanup_free_ char *vault = xasprintf("%s/vault", j->dir), *own = xasprintf("%s/binlog", j->dir);
    const struct copies_stop_at at = {.gtid = json_opt_str(j->params, "gtid", NULL),
        .time_s = json_opt_int(j->params, "time_s", 0)};
    const struct copies_order o = {.archive = b->path,
        .vault = vault,
        .own_logs = own,
        .server = j->server,
        .dir = into,
        .at = at.gtid || at.time_s ? &at : NULL,
        .prove = true,
        .phase = &j->phase};
    struct copies_restored *done = xcalloc(1, sizeof *done);
    int r = copies_restore(&o, stop, done, e);
    if (r >= 0)
        j->result = json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:o}", "id", b->id, "database", j->database,
            "host", j->host, "into", into, "gtid", done->gtid, "logs", (json_int_t)done->logs,
            "tables", done->tables);
    else if (!*e->fix && file_exists(into))
        err_fix(e, "that is where the copy would be made: it must not exist, in a folder in which the "
                   "user mysql may write");
    free(done);
    return r;
}

static int work_restore(struct copies_job *j, struct sql_stop *stop, struct err *e)
{
    const struct copies_place p = place_of(j);
    struct copies_backup *b = xcalloc(1, sizeof *b);
    _cleanup_free_ char *into = target_of(j);
    int r = *into == '/' ? 0 : err_set(e, ERR_USAGE, "--into takes an absolute path");
    if (r >= 0)
        r = copies_store_find(&p, json_opt_str(j->params, "id", ""), b, e);
    if (r >= 0)
        r = restore(j, b, into, stop, e);
    free(b);
    return r;
}

static int work_vault(struct copies_job *j, struct sql_stop *stop, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/vault", j->dir);
    _cleanup_free_ struct copies_log *v = NULL;
    size_t n = 0;
    if (copies_vault_list(dir, &v, &n, e) < 0)
        return e->code;
    json_t *logs = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(logs, copies_log_json(&v[i]));
    j->result = json_pack("{s:s,s:s,s:s,s:o,s:o}", "host", j->host, "database", j->database, "dir",
        dir, "logs", logs, "gaps", copies_gaps(v, n));
    return 0;
}

static int work(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct copies_job *j = ctx;
    return j->work(j, stop, e);
}

/* ---- on the loop ---- */

static void unref(struct copies_job *j)
{
    if (--j->handles)
        return;
    json_decref(j->params);
    json_decref(j->result);
    free(j->dir);
    free(j->directory);
    free(j);
}

static void on_worker_closed(void *ctx)
{
    unref(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF((uv_timer_t *)h, struct copies_job, timer));
}

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct copies_job *j = ctx;
    j->running = NULL;
    if (j->req && e)
        rpc_reply_error(j->req, e);
    else if (j->req)
        rpc_reply(j->req, json_incref(j->result));
    j->req = NULL;
    if (j->done)
        j->done(j->ctx, e ? NULL : j->result, e);
    sql_worker_close(j->worker, on_worker_closed, j);
    uv_close((uv_handle_t *)&j->timer, on_timer_closed);
}

static void on_cancelled(void *ctx)
{
    copies_job_cancel(ctx);
}

void copies_job_cancel(struct copies_job *j)
{
    if (j->running)
        sql_job_cancel(j->running);
}

static void on_timer(uv_timer_t *t)
{
    struct copies_job *j = CONTAINER_OF(t, struct copies_job, timer);
    struct stat st;
    bool copies = atomic_load(&j->part.named);
    int64_t bytes = copies && stat(j->part.path, &st) == 0 ? (int64_t)st.st_size : 0;
    int phase = atomic_load(&j->phase);
    if (!j->req || (bytes == j->told_bytes && phase == j->told_phase))
        return;
    j->told_bytes = bytes;
    j->told_phase = phase;
    rpc_reply_more(j->req,
        json_pack("{s:s,s:I}", "phase", copies ? "copying" : copies_phase_name((enum copies_phase)phase),
            "bytes", (json_int_t)bytes));
}

static struct copies_job *begin(const struct copies_host *h, struct rpc_req *req,
    int (*fn)(struct copies_job *j, struct sql_stop *stop, struct err *e), json_t *params,
    struct err *e)
{
    struct copies_job *j = xcalloc(1, sizeof *j);
    j->req = req;
    j->work = fn;
    j->handles = 2;
    j->keep_ms = h->keep_ms;
    j->server = h->server;
    j->told_phase = -1;
    if (sql_worker_new(h->loop, NULL, &j->worker, e) < 0) {
        free(j);
        return NULL;
    }
    j->params = params ? json_incref(params) : json_object();
    j->dir = xstrdup(h->dir);
    j->directory = xstrdup(h->directory);
    str_copy(j->database, sizeof j->database, h->database);
    str_copy(j->host, sizeof j->host, h->host);
    str_copy(j->user, sizeof j->user, h->user);
    uv_timer_init(h->loop, &j->timer);
    uv_timer_start(&j->timer, on_timer, TELL_MS, TELL_MS);
    if (req)
        rpc_req_watch(req, NULL, on_cancelled, j);
    j->running = sql_worker_run(j->worker, 0, work, on_done, j);
    return j;
}

bool copies_serve(
    const struct copies_host *h, struct rpc_req *req, const char *method, json_t *params)
{
    static const struct {
        const char *method;
        int (*fn)(struct copies_job *j, struct sql_stop *stop, struct err *e);
    } calls[] = {
        {"data.backup.run", work_run},
        {"data.backup.list", work_list},
        {"data.backup.verify", work_verify},
        {"data.backup.restore", work_restore},
        {"data.vault", work_vault},
    };
    struct err e;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        if (str_eq(calls[i].method, method)) {
            if (!begin(h, req, calls[i].fn, params, &e))
                rpc_reply_error(req, &e);
            return true;
        }
    return false;
}

struct copies_job *copies_run(const struct copies_host *h,
    void (*done)(void *ctx, const json_t *result, const struct err *e), void *ctx, struct err *e)
{
    struct copies_job *j = begin(h, NULL, work_run, NULL, e);
    if (j) {
        j->done = done;
        j->ctx = ctx;
    }
    return j;
}
