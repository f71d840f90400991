/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/data.h"

#include "base/file/file.h"
#include "base/str/str.h"

#define SNAPSHOT_MAX (4u * 1024 * 1024)
#define REPORT_MS 1000u

struct data {
    struct data_config config;
    json_t *snapshot; /* as told last, or as it was on disk */
    bool fresh;       /* and it was read from the quorum just now */
    uv_timer_t report_timer;
};

static char *snapshot_path(const struct data *d)
{
    return xasprintf("%s/databases.json", d->config.state_dir);
}

static json_t *list_of(const struct data *d)
{
    return json_object_get(d->snapshot, "databases");
}

static json_t *compose(const struct data *d)
{
    json_t *list = json_array(), *db;
    size_t i;
    json_array_foreach (list_of(d), i, db)
        json_array_append_new(list,
            json_pack("{s:s,s:I,s:s,s:s,s:s}", "name", json_opt_str(db, "name", ""), "epoch",
                (json_int_t)json_opt_int(db, "epoch", 0), "duty", json_opt_str(db, "duty", ""),
                "state", "starting", "why", ""));
    return json_pack("{s:o}", "databases", list);
}

static void on_report(uv_timer_t *t)
{
    struct data *d = t->data;
    d->config.report(d->config.ctx, compose(d));
}

static void set_timer(struct data *d)
{
    if (json_array_size(list_of(d)))
        uv_timer_start(&d->report_timer, on_report, 0, REPORT_MS);
    else
        uv_timer_stop(&d->report_timer);
}

static int check(const json_t *snapshot, struct err *e)
{
    json_t *list, *db;
    size_t i;
    bool fresh;
    int r = json_get_array(snapshot, "databases", &list, e);
    if (r >= 0)
        r = json_get_bool(snapshot, "fresh", &fresh, e);
    if (r >= 0 && json_array_size(list) > DATA_DATABASES_MAX)
        r = err_set(e, ERR_LIMIT, "over %u databases on a host", DATA_DATABASES_MAX);
    json_array_foreach (list, i, db) {
        const char *name;
        if (r >= 0)
            r = json_get_str(db, "name", &name, e);
    }
    return r;
}

static void store(struct data *d)
{
    struct err e;
    _cleanup_free_ char *path = snapshot_path(d), *text = json_text(d->snapshot);
    /* What is lost is a start without control. */
    if (file_write_durable(path, text, strlen(text), 0600, &e) < 0)
        d->config.timeline(d->config.ctx, "alarm", "data", "the snapshot cannot be stored", e.message);
}

static int take_databases(struct data *d, json_t *params, struct err *e)
{
    int r = check(params, e);
    if (r < 0)
        return r;
    bool same = json_equal(list_of(d), json_object_get(params, "databases"));
    d->fresh = json_opt_bool(params, "fresh", false);
    if (same)
        return 0;
    json_decref(d->snapshot);
    d->snapshot = json_incref(params);
    store(d);
    set_timer(d);
    return 0;
}

int data_told(struct data *d, const char *method, json_t *params, struct err *e)
{
    if (str_eq(method, "databases"))
        return take_databases(d, params, e);
    return err_set(e, ERR_NOT_FOUND, "data has no %s", method);
}

void data_linked(struct data *d)
{
    if (json_array_size(list_of(d)))
        on_report(&d->report_timer);
}

void data_call(struct data *d, struct rpc_req *req, const char *method, json_t *params)
{
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "data has no method %s", method);
    rpc_reply_error(req, &e);
}

void data_metrics_collect(struct data *d)
{
}

static void load(struct data *d)
{
    struct err e;
    json_t *snapshot;
    _cleanup_free_ char *path = snapshot_path(d);
    if (json_read_file(path, SNAPSHOT_MAX, &snapshot, &e) < 0)
        return; /* the first start, or nothing that could be used: control will tell */
    if (check(snapshot, &e) >= 0)
        d->snapshot = json_incref(snapshot);
    json_decref(snapshot);
}

int data_new(const struct data_config *c, struct data **ret, struct err *e)
{
    struct data *d = xcalloc(1, sizeof *d);
    d->config = *c;
    uv_timer_init(c->loop, &d->report_timer);
    d->report_timer.data = d;
    load(d);
    set_timer(d);
    *ret = d;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct data *d = h->data;
    json_decref(d->snapshot);
    free(d);
}

void data_free(struct data *d)
{
    if (d)
        uv_close((uv_handle_t *)&d->report_timer, on_closed);
}
