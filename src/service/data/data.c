/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "driver/pki/pki.h"
#include "service/data/maker.h"

#define SNAPSHOT_MAX (4u * 1024 * 1024)
#define REPORT_MS 1000u
#define REPORT_SOON_MS 20u /* a change brings others along */
#define PEM_MAX (64u * 1024)
#define FILE_WAIT_MS 30000u
#define FILE_MAX (16u * 1024 * 1024)

static char *snapshot_path(const struct data *d)
{
    return xasprintf("%s/databases.json", d->config.state_dir);
}

static struct db *find(const struct data *d, const char *name)
{
    for (struct db *db = d->dbs; db; db = db->next)
        if (str_eq(db->name, name))
            return db;
    return NULL;
}

void data_note(struct data *d, const struct db *db, const char *kind, const char *message,
    const char *cause)
{
    char subject[160];
    snprintf(subject, sizeof subject, "%s@%s", db->name, d->config.host);
    d->config.timeline(d->config.ctx, kind, subject, message, cause);
}

/* ---- what is told */

static void on_report(uv_timer_t *t)
{
    struct data *d = t->data;
    json_t *list = json_array();
    for (struct db *db = d->dbs; db; db = db->next)
        json_array_append_new(list, db_report(db));
    d->config.report(d->config.ctx, json_pack("{s:I,s:o}", "seq", (json_int_t)d->seq, "databases", list));
    if (d->dbs)
        uv_timer_start(t, on_report, REPORT_MS, 0);
}

void data_report_soon(struct data *d)
{
    if (!d->closing
        && (!uv_is_active((uv_handle_t *)&d->report_timer)
            || uv_timer_get_due_in(&d->report_timer) > REPORT_SOON_MS))
        uv_timer_start(&d->report_timer, on_report, REPORT_SOON_MS, 0);
}

/* ---- schema files, by digest, from control */

struct file_job {
    struct data *data;
    char db[64], digest[80];
};

/* A new object: the old one may be in the hands of a thread. */
static void keep_file(struct db *db, const char *digest, const char *text)
{
    json_t *files = json_copy(db->files);
    json_object_set_new(files, digest, json_string(text));
    json_decref(db->files);
    db->files = files;
}

static void on_file(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct file_job *j = ctx;
    struct err why = {0};
    if (more)
        return;
    struct db *db = j->data->closing ? NULL : find(j->data, j->db);
    struct rpc_conn *control = j->data->config.control(j->data->config.ctx);
    _cleanup_close_ int fd = !e && control ? rpc_answer_take_fd(control) : -1;
    _cleanup_str_ struct str text = STR_INIT;
    if (db && fd >= 0 && file_read_fd(fd, j->digest, FILE_MAX, &text, &why) >= 0)
        keep_file(db, j->digest, str_cstr(&text));
    if (db)
        json_object_del(db->asking, j->digest);
    data_unref(j->data);
    free(j);
}

static void ask_for_files(struct data *d, struct db *db)
{
    struct rpc_conn *control = d->config.control(d->config.ctx);
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(db->want.json, "schema"), i, entry) {
        const char *digest = json_opt_str(entry, "digest", "");
        struct file_job *j;
        if (!control || json_object_get(db->asking, digest) || json_object_get(db->files, digest))
            continue;
        j = xcalloc(1, sizeof *j);
        j->data = d;
        json_object_set_new(db->asking, digest, json_true());
        d->refs++;
        str_copy(j->db, sizeof j->db, db->name);
        str_copy(j->digest, sizeof j->digest, digest);
        rpc_call(control, "data.file", json_pack("{s:s,s:s}", "database", db->name, "digest", digest),
            FILE_WAIT_MS, on_file, j);
    }
}

/* ---- certificates */

static int write_pem(const char *dir, const char *name, const char *text, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/tls/%s.pem", dir, name);
    return file_write_durable(path, text, strlen(text), 0600, e);
}

int data_identity_write(const struct data *d, const struct data_want *want, struct err *e)
{
    static const char *const names[] = {"ca", "cert", "key"};
    _cleanup_free_ char *dir = xasprintf("%s/tls", want->dir);
    int r = file_mkdirs(dir, 0700, e);
    for (size_t i = 0; i < ARRAY_SIZE(names) && r >= 0; i++)
        r = write_pem(want->dir, names[i], json_opt_str(d->identity, names[i], ""), e);
    return r;
}

static void give_identity(struct data *d, struct db *db)
{
    struct err e;
    if (!d->identity || db->want.external)
        return;
    if (data_identity_write(d, &db->want, &e) < 0)
        data_note(d, db, "alarm", "its certificates cannot be written", e.message);
    else
        db_identity(db);
}

static void take_validity(struct data *d)
{
    struct pki_info info;
    struct err ignored;
    d->cert_from_ms = d->cert_until_ms = 0;
    if (pki_info_parse(json_opt_str(d->identity, "cert", ""), &info, &ignored) < 0)
        return;
    d->cert_from_ms = info.issued_ms;
    d->cert_until_ms = info.not_after_ms;
}

static int take_identity(struct data *d, json_t *params, struct err *e)
{
    static const char *const names[] = {"ca", "cert", "key"};
    const char *text;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names) && r >= 0; i++) {
        r = json_get_str(params, names[i], &text, e);
        if (r >= 0 && strlen(text) > PEM_MAX)
            r = err_set(e, ERR_LIMIT, "%s is over %u bytes", names[i], PEM_MAX);
    }
    if (r < 0 || json_equal(d->identity, params))
        return r;
    json_decref(d->identity);
    d->identity = json_incref(params);
    take_validity(d);
    for (struct db *db = d->dbs; db; db = db->next)
        give_identity(d, db);
    return 0;
}

/* ---- databases */

static void drop_others(struct data *d, const struct data_want *wants, size_t n)
{
    for (struct db **at = &d->dbs; *at;) {
        struct db *db = *at;
        size_t i = 0;
        while (i < n && !(str_eq(wants[i].name, db->name) && str_eq(wants[i].dir, db->want.dir)))
            i++;
        if (i < n) {
            at = &db->next;
        } else {
            *at = db->next;
            db_close(db);
        }
    }
}

static void add(struct data *d, struct data_want *want, uint64_t fresh_ms)
{
    struct err e;
    struct db *db;
    if (db_new(d, want, &db, &e) < 0) {
        d->config.timeline(d->config.ctx, "alarm", want->name, "it is not watched over", e.message);
        return;
    }
    db->next = d->dbs;
    d->dbs = db;
    db_want(db, want, fresh_ms);
    give_identity(d, db);
}

static void install(struct data *d, struct data_want *wants, size_t n, uint64_t fresh_ms)
{
    drop_others(d, wants, n);
    for (size_t i = 0; i < n; i++) {
        struct db *db = find(d, wants[i].name);
        if (db)
            db_want(db, &wants[i], fresh_ms);
        else
            add(d, &wants[i], fresh_ms);
    }
    for (struct db *db = d->dbs; db; db = db->next)
        ask_for_files(d, db);
    data_report_soon(d);
}

/* Of an external one nothing is done until its login is told. */
static bool is_wanted(const struct data *d, const json_t *entry)
{
    return json_opt_bool(entry, "managed", true)
           || json_object_get(d->logins, json_opt_str(entry, "name", ""));
}

/* All of it or nothing. */
static int parse(const struct data *d,
    const json_t *snapshot, struct data_want wants[DATA_DATABASES_MAX], size_t *ret_n, struct err *e)
{
    json_t *list, *entry;
    size_t i, n = 0;
    int r = json_get_array(snapshot, "databases", &list, e);
    if (r >= 0 && json_array_size(list) > DATA_DATABASES_MAX)
        r = err_set(e, ERR_LIMIT, "over %u databases on a host", DATA_DATABASES_MAX);
    if (r < 0)
        return r;
    json_array_foreach (list, i, entry)
        if (r >= 0 && is_wanted(d, entry)
            && (r = data_want_parse(entry, &wants[n], e)) >= 0) {
            if (wants[n].external)
                wants[n].login = json_incref(json_object_get(d->logins, wants[n].name));
            n++;
        }
    *ret_n = n;
    for (i = 0; r < 0 && i < n; i++)
        data_want_done(&wants[i]);
    return r;
}

static void store(struct data *d)
{
    struct err e;
    _cleanup_free_ char *path = snapshot_path(d), *text = json_text(d->snapshot);
    /* What is lost is a start without control. */
    if (file_write_durable(path, text, strlen(text), 0600, &e) < 0)
        d->config.timeline(
            d->config.ctx, "alarm", "data", "the snapshot cannot be stored", e.message);
}

/* A message may have waited here: while this process, or the whole host, stood still. */
static uint64_t fresh_for(const json_t *params)
{
    uint64_t now = clock_boot_ms();
    uint64_t read = (uint64_t)MAX(json_opt_int(params, "read_boot_ms", (int64_t)now), 0);
    uint64_t age = now > read ? now - read : 0;
    return json_opt_bool(params, "fresh", false) && age < REPLICATION_FRESH_MS
               ? REPLICATION_FRESH_MS - age
               : 0;
}

static int take_databases(struct data *d, json_t *params, struct err *e)
{
    struct data_want wants[DATA_DATABASES_MAX];
    size_t n;
    int r = parse(d, params, wants, &n, e);
    if (r < 0)
        return r;
    bool same = json_equal(
        json_object_get(d->snapshot, "databases"), json_object_get(params, "databases"));
    json_decref(d->snapshot);
    d->snapshot = json_incref(params);
    d->seq = json_opt_int(params, "seq", 0);
    if (!same)
        store(d);
    install(d, wants, n, fresh_for(params));
    for (size_t i = 0; i < n; i++)
        data_want_done(&wants[i]);
    return 0;
}

/* {"hosts": {"hk1": {"offset_us", "error_us", "boot_ms"}}, "positions": {"trade": {"sl1": {"gtid",
 * "boot_ms"}}}}: clocks of the others against this host's, and how far each member is. */
static int take_world(struct data *d, json_t *params, struct err *e)
{
    json_t *hosts;
    int r = json_get_obj(params, "hosts", &hosts, e);
    if (r < 0)
        return r;
    json_decref(d->world);
    d->world = json_incref(params);
    for (struct db *db = d->dbs; db; db = db->next)
        data_offset(d, db);
    return 0;
}

void data_offset(struct data *d, struct db *db)
{
    const json_t *host = json_object_get(
        json_object_get(d->world, "hosts"), db->want.source.host);
    int64_t error_us = json_opt_int(host, "error_us", -1);
    if (str_eq(db->want.source.host, d->config.host))
        return;
    if (error_us >= 0)
        lag_offset(&db->lag, json_opt_int(host, "offset_us", 0), (uint64_t)error_us,
            (uint64_t)MAX(json_opt_int(host, "boot_ms", 0), 0));
}

/* {database: {"user", "password"}}; never written anywhere. */
static int take_logins(struct data *d, json_t *params, struct err *e)
{
    json_t *logins;
    int r = json_get_obj(params, "logins", &logins, e);
    if (r < 0 || json_equal(d->logins, logins))
        return r;
    json_decref(d->logins);
    d->logins = json_incref(logins);
    json_t *snapshot = json_deep_copy(d->snapshot);
    if (!snapshot)
        return 0;
    json_object_set_new(snapshot, "fresh", json_false()); /* control tells again in a moment */
    r = take_databases(d, snapshot, e);
    json_decref(snapshot);
    return r;
}

/* {"database", "epoch", "until_ms"}, each renewal; CLOCK_BOOTTIME, 0: there is none. */
static int take_lease(struct data *d, const json_t *params, struct err *e)
{
    struct db *db = find(d, json_opt_str(params, "database", ""));
    int64_t epoch, until_ms;
    int r = json_get_int(params, "epoch", 0, INT64_MAX, &epoch, e);
    if (r >= 0)
        r = json_get_int(params, "until_ms", 0, INT64_MAX, &until_ms, e);
    if (r >= 0 && db && db->want.lease_ms)
        db_lease_told(db, (uint64_t)epoch, (uint64_t)until_ms);
    return r;
}

int data_told(struct data *d, const char *method, json_t *params, struct err *e)
{
    if (str_eq(method, "databases"))
        return take_databases(d, params, e);
    if (str_eq(method, "identity"))
        return take_identity(d, params, e);
    if (str_eq(method, "world"))
        return take_world(d, params, e);
    if (str_eq(method, "lease"))
        return take_lease(d, params, e);
    if (str_eq(method, "logins"))
        return take_logins(d, params, e);
    return err_set(e, ERR_NOT_FOUND, "data has no %s", method);
}

void data_linked(struct data *d)
{
    for (struct db *db = d->dbs; db; db = db->next)
        ask_for_files(d, db);
    data_report_soon(d);
}

/* A copy, whichever database it is of. */
static void open_copy(struct data *d, struct rpc_req *req, const json_t *params)
{
    struct err e;
    int fd = -1;
    const char *digest = json_opt_str(params, "digest", "");
    for (struct db *db = d->dbs; db && fd < 0; db = db->next)
        fd = maker_open(db, digest);
    if (fd >= 0) {
        rpc_reply_fd(req, NULL, fd);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "%s has no copy %s", d->config.host, digest);
    rpc_reply_error(req, &e);
}

void data_call(struct data *d, struct rpc_req *req, const char *method, json_t *params)
{
    struct err e;
    const char *name = json_opt_str(params, "database", "");
    struct db *db = find(d, name);
    if (str_eq(method, "data.seed.open")) {
        open_copy(d, req, params);
        return;
    }
    if (db) {
        db_call(db, req, method, params);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "%s has no database %s", d->config.host, name);
    rpc_reply_error(req, &e);
}

void data_metrics_collect(struct data *d)
{
    for (struct db *db = d->dbs; db; db = db->next)
        db_metrics_collect(db);
}

/* ---- life */

static void load(struct data *d)
{
    struct err e;
    struct data_want wants[DATA_DATABASES_MAX];
    size_t n;
    _cleanup_free_ char *path = snapshot_path(d);
    _cleanup_json_ json_t *snapshot = NULL;
    /* The first start, or nothing that could be used: control will tell. */
    if (json_read_file(path, SNAPSHOT_MAX, &snapshot, &e) < 0 || parse(d, snapshot, wants, &n, &e) < 0)
        return;
    d->snapshot = json_incref(snapshot);
    install(d, wants, n, 0);
    for (size_t i = 0; i < n; i++)
        data_want_done(&wants[i]);
}

static void on_watchdog_died(void *ctx)
{
    struct data *d = ctx;
    for (struct db *db = d->dbs; db; db = db->next)
        db_lease_guard(db);
}

int data_new(const struct data_config *c, struct data **ret, struct err *e)
{
    struct data *d = xcalloc(1, sizeof *d);
    d->config = *c;
    d->refs = 1;
    uv_timer_init(c->loop, &d->report_timer);
    d->report_timer.data = d;
    d->watchdog = watchdog_new(c->loop, c->state_dir, on_watchdog_died, d);
    load(d);
    *ret = d;
    return 0;
}

void data_unref(struct data *d)
{
    if (--d->refs)
        return;
    json_decref(d->snapshot);
    json_decref(d->identity);
    json_decref(d->world);
    json_decref(d->logins);
    free(d);
}

static void on_closed(uv_handle_t *h)
{
    data_unref(h->data);
}

void data_free(struct data *d)
{
    if (!d)
        return;
    d->closing = true;
    drop_others(d, NULL, 0);
    watchdog_free(d->watchdog);
    uv_close((uv_handle_t *)&d->report_timer, on_closed);
}
