/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/evidence.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "service/data/decode.h"

#include <dirent.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

#define TRANSACTIONS 10u /* of those that wait */
#define NAME_SIZE 64

/* ---- files */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names in order of their times; how many there are. */
static size_t list(const char *dir, char (**ret)[NAME_SIZE])
{
    _cleanup_free_ char *path = xasprintf("%s/evidence", dir);
    DIR *d = opendir(path);
    struct dirent *entry;
    char(*v)[NAME_SIZE] = NULL;
    size_t n = 0;
    while (d && (entry = readdir(d))) {
        size_t len = strlen(entry->d_name);
        if (len >= NAME_SIZE || len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0)
            continue;
        v = xrealloc(v, (n + 1) * sizeof *v);
        str_copy(v[n++], NAME_SIZE, entry->d_name);
    }
    if (d)
        closedir(d);
    if (n)
        qsort(v, n, sizeof *v, by_name);
    *ret = v;
    return n;
}

bool evidence_newest(const char *dir, char out[320])
{
    char(*v)[NAME_SIZE];
    size_t n = list(dir, &v);
    if (n)
        snprintf(out, 320, "%s/evidence/%s", dir, v[n - 1]);
    free(v);
    return n > 0;
}

static void drop_old(const char *dir)
{
    char(*v)[NAME_SIZE];
    size_t n = list(dir, &v);
    for (size_t i = 0; i + EVIDENCE_FILES <= n; i++) {
        _cleanup_free_ char *path = xasprintf("%s/evidence/%s", dir, v[i]);
        unlink(path);
    }
    free(v);
}

static int store(const struct data_want *w, unsigned number, json_t *all, struct err *e)
{
    char when[32];
    struct tm tm;
    time_t now = (time_t)(clock_wall_ms() / 1000);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    _cleanup_free_ char *dir = xasprintf("%s/evidence", w->dir),
                        *path = xasprintf("%s/%s-%u.json", dir, when, number);
    _cleanup_free_ char *text = json_text_pretty(all);
    if (strlen(text) > EVIDENCE_BYTES) {
        json_object_del(all, "around");
        json_object_set_new(all, "transactions", json_array());
        json_object_set_new(all, "cut", json_true());
        free(text);
        text = json_text_pretty(all);
    }
    drop_old(w->dir);
    int r = file_mkdirs(dir, 0700, e);
    return r < 0 ? r : file_write_durable(path, text, strlen(text), 0600, e);
}

/* ---- what is in them */

static bool is_waiting(void *ctx, const struct gtid *g)
{
    struct gtid last;
    return !gtid_set_domain(ctx, g->domain, &last) || g->seq > last.seq;
}

/* "... end_log_pos 1234": of the event that failed, at its source. */
static uint64_t failed_at(const char *text)
{
    const char *p = strstr(text, "end_log_pos ");
    return p ? strtoull(p + 12, NULL, 10) : 0;
}

struct one {
    struct gtid gtid;
};

static bool is_that(void *ctx, const struct gtid *g)
{
    const struct one *one = ctx;
    return g->domain == one->gtid.domain && g->server == one->gtid.server
           && g->seq == one->gtid.seq;
}

/* 1950: "... out-of-order sequence number with existing GTID 1-2-41": what somebody wrote here. */
static json_t *in_the_way(
    struct sql_conn *c, const struct data_want *w, const char *error, struct sql_stop *stop)
{
    const char *p = strstr(error, "existing GTID ");
    unsigned long long seq;
    struct one one;
    struct err ignored;
    if (!p || sscanf(p + 14, "%u-%u-%llu", &one.gtid.domain, &one.gtid.server, &seq) != 3)
        return json_array();
    one.gtid.seq = seq;
    _cleanup_free_ char *dir = xasprintf("%s/binlog", w->dir);
    struct binlog_text t;
    binlog_text_init(&t);
    t.wants = is_that;
    t.ctx = &one;
    (void)!data_decode(dir, NULL, &t, stop, &ignored);
    data_decode_names(c, t.list);
    json_t *found = json_incref(t.list);
    binlog_text_done(&t);
    return found;
}

static json_t *gtid_json(const struct gtid_set *s)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    return json_stringn(str_cstr(&text), text.len);
}

/* What the thread that stopped says; the receiving one's where it is that. */
static json_t *describe(const struct data_want *w, const struct sql_replica_status *s,
    const struct sql_position *p, unsigned number, const char *error)
{
    json_t *text = json_stringn(error, str_utf8_cut(error, 1000));
    return json_pack("{s:i,s:I,s:s,s:s,s:s,s:I,s:i,s:o,s:{s:o,s:o,s:o,s:o}}", "format", 1, "time_ms",
        (json_int_t)clock_wall_ms(), "database", w->name, "host", w->self.host, "source",
        w->source.host, "epoch", (json_int_t)w->epoch, "errno", (int)number, "error",
        text ? text : json_string("(not UTF-8)"), "positions", "received",
        gtid_json(&s->retrieved), "applied", gtid_json(&s->executed), "binlog",
        gtid_json(&p->binlog), "binlog_state", gtid_json(&p->state));
}

static void add_transactions(struct sql_conn *c, const struct data_want *w,
    struct sql_replica_status *s, struct sql_stop *stop, json_t *all)
{
    _cleanup_free_ char *dir = xasprintf("%s/relay", w->dir);
    struct binlog_text t;
    struct err e = {0};
    size_t i;
    json_t *one, *around = NULL;
    binlog_text_init(&t);
    t.wants = is_waiting;
    t.ctx = &s->executed;
    t.max = TRANSACTIONS;
    t.failed = failed_at(s->sql_error);
    if (data_decode(dir, NULL, &t, stop, &e) < 0)
        json_object_set_new(all, "undecoded", json_string(e.message));
    json_array_foreach (t.list, i, one)
        if (!around && (json_is_true(json_object_get(one, "failed")) || !t.failed))
            around = data_decode_around(c, one);
    data_decode_names(c, t.list);
    json_object_set(all, "transactions", t.list);
    json_object_set_new(all, "around", around ? around : json_array());
    binlog_text_done(&t);
}

int evidence_keep(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e)
{
    _cleanup_sql_status_ struct sql_replica_status s = {0};
    _cleanup_sql_position_ struct sql_position p = {0};
    int r = sql_status(c, &s, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r < 0)
        return r;
    bool sql = s.sql_errno != 0;
    unsigned number = sql ? s.sql_errno : s.io_errno;
    const char *error = sql ? s.sql_error : s.io_error;
    _cleanup_json_ json_t *all = describe(w, &s, &p, number, error);
    if (!all)
        return err_set(e, ERR_FAILED, "the evidence cannot be written down");
    if (sql)
        add_transactions(c, w, &s, stop, all);
    json_object_set_new(all, "in_the_way", in_the_way(c, w, error, stop));
    return store(w, number, all, e);
}
