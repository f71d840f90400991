/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/rescue.h"
#include "service/data/priv.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/replication/missing.h"
#include "service/copies/copies.h"
#include "service/data/decode.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READABLE 20000u   /* transactions that are also written for eyes */
#define UNDO 5000u        /* more than that a seed replaces sooner */
#define MANIFEST_MAX (4u * 1024 * 1024)
#define LISTED 8u
#define LOGS_MAX 256u

/* ---- what is missing */

struct rescue {
    struct sql_conn *c;
    const struct data_want *w;
    struct sql_stop *stop;
    char *dir, *logs; /* of this rescue; of the server's own */
    struct missing missing;
    struct gtid_set before; /* the position without them */
    char first[128];        /* log that they begin in */
    struct binlog_text text;
    json_t *tables; /* {"trade.orders": [rows]} */
    uint64_t transactions;
    bool undoable;
};

static void done(struct rescue *r)
{
    free(r->dir);
    free(r->logs);
    gtid_set_done(&r->before);
    binlog_text_done(&r->text);
    json_decref(r->tables);
}
#define _cleanup_rescue_ _cleanup_(done)

static void init(struct rescue *r, struct sql_conn *c, const struct data_want *w, struct sql_stop *stop)
{
    *r = (struct rescue){.c = c, .w = w, .stop = stop};
    r->dir = xasprintf("%s/rescue/%llu", w->dir, (unsigned long long)w->epoch);
    r->logs = xasprintf("%s/binlog", w->dir);
    r->tables = json_object();
    binlog_text_init(&r->text);
}

/* As the replication account, whose certificate this host has. */
static int ask_source(const struct rescue *r, struct sql_position *ret, struct err *e)
{
    _cleanup_free_ char *ca = xasprintf("%s/tls/ca.pem", r->w->dir);
    _cleanup_free_ char *cert = xasprintf("%s/tls/cert.pem", r->w->dir);
    _cleanup_free_ char *key = xasprintf("%s/tls/key.pem", r->w->dir);
    const struct sql_target t = {.host = r->w->source.address,
        .port = r->w->source.port,
        .user = DATA_REPL,
        .tls = {SQL_TLS_FULL, ca, cert, key},
        .program = "mcp-rescue"};
    _cleanup_sql_ struct sql_conn *c = NULL;
    if (r->w->external)
        return err_set(e, ERR_REFUSED, "a server of others");
    if (sql_open(&t, r->stop, &c, e) < 0)
        return err_wrap(e, "the source, %s", r->w->source.host);
    return sql_position(c, ret, e);
}

static int find_missing(struct rescue *r, struct err *e)
{
    _cleanup_sql_position_ struct sql_position here = {0}, there = {0};
    _cleanup_gtid_ struct gtid_set all = {0};
    int n = sql_position(r->c, &here, e);
    if (n >= 0)
        n = ask_source(r, &there, e);
    if (n >= 0)
        n = gtid_set_union(&there.binlog, &there.applied, &all, e);
    if (n < 0)
        return n;
    missing_find(&here.state, &all, &there.state, &r->missing);
    missing_forget(&r->missing, &here.current, &r->before);
    return r->missing.n ? data_decode_first(r->c, &r->missing, r->first, e) : 0;
}

/* ---- for eyes */

static bool is_missing(void *ctx, const struct gtid *g)
{
    return missing_has(ctx, g);
}

static void add_row(struct rescue *r, const json_t *transaction, const char *row)
{
    char database[80], table[80], name[168];
    if (!data_decode_table(row, database, table) || str_eq(database, DATA_SCHEMA))
        return;
    snprintf(name, sizeof name, "%s.%s", database, table);
    json_t *rows = json_object_get(r->tables, name);
    if (!rows) {
        rows = json_array();
        json_object_set_new(r->tables, name, rows);
    }
    json_array_append_new(rows, json_pack("{s:s,s:s,s:s}", "gtid",
                                    json_opt_str(transaction, "gtid", ""), "time",
                                    json_opt_str(transaction, "time", ""), "row", row));
}

/* Transactions of the platform alone, heartbeats, are none that somebody waits for. */
static void sort_rows(struct rescue *r)
{
    size_t i, k;
    json_t *t, *row;
    r->undoable = !r->text.more;
    json_array_foreach (r->text.list, i, t) {
        size_t ours = 0;
        json_t *rows = json_object_get(t, "rows");
        json_array_foreach (rows, k, row) {
            char database[80], table[80];
            add_row(r, t, json_string_value(row));
            ours += data_decode_table(json_string_value(row), database, table)
                    && str_eq(database, DATA_SCHEMA);
        }
        bool ddl = json_opt_bool(t, "ddl", false) || !json_array_size(rows);
        r->undoable &= !ddl;
        r->transactions += ddl || ours < json_array_size(rows);
    }
    if (r->text.more)
        r->transactions = missing_count(&r->missing);
    r->undoable &= json_array_size(r->text.list) <= UNDO;
}

static int read_rows(struct rescue *r, struct err *e)
{
    r->text.wants = is_missing;
    r->text.ctx = &r->missing;
    r->text.max = READABLE;
    int n = data_decode(r->logs, *r->first ? r->first : NULL, &r->text, r->stop, e);
    if (n < 0)
        return n;
    data_decode_names(r->c, r->text.list);
    sort_rows(r);
    return 0;
}

static int write_readable(const struct rescue *r, const char *table, const json_t *rows, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.jsonl", r->dir, table);
    _cleanup_str_ struct str text = STR_INIT;
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        _cleanup_free_ char *line = json_text(row);
        str_add(&text, line);
        str_add_ch(&text, '\n');
    }
    return file_write_durable(path, str_cstr(&text), text.len, 0600, e);
}

/* ---- to be run again */

/* The logs of the server from the first of them on, behind `args`. */
static int with_logs(const struct rescue *r, const char **argv, size_t n, char ***ret, size_t *ret_n,
    struct err *e)
{
    int x = data_decode_logs(r->logs, r->first, ret, ret_n, e);
    if (x >= 0 && *ret_n > LOGS_MAX)
        x = err_set(e, ERR_LIMIT, "they lie in %zu logs", *ret_n);
    for (size_t i = 0; x >= 0 && i < *ret_n; i++)
        argv[n + i] = (*ret)[i];
    return x;
}

static char *start_position(const struct rescue *r)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(&r->before, &text);
    return xasprintf("--start-position=%s", str_cstr(&text));
}

/* Without the names of the transactions: run again they are the source's own, new ones. */
static int write_replay(const struct rescue *r, const char *table, struct err *e)
{
    static const char *const anonymous[] = {"sed",
        "/^\\/\\*M\\{0,1\\}!100001 SET @@session\\.\\(gtid_seq_no\\|gtid_domain_id\\|server_id\\)=/d",
        NULL};
    char database[168];
    str_copy(database, sizeof database, table);
    char *dot = strchr(database, '.');
    *dot = '\0';
    _cleanup_free_ char *from = start_position(r), *path = xasprintf("%s/%s.sql", r->dir, table),
                        *d = xasprintf("--database=%s", database),
                        *t = xasprintf("--table=%s", dot + 1);
    const char *argv[LOGS_MAX + 8] = {
        "mariadb-binlog", "--no-defaults", "--skip-gtid-strict-mode", d, t};
    char **logs = NULL;
    size_t n_logs = 0, n = 5;
    if (r->before.n)
        argv[n++] = from;
    int x = with_logs(r, argv, n, &logs, &n_logs, e);
    int out = x < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (x >= 0 && out < 0)
        x = err_errno(e, errno, "open %s", path);
    if (x >= 0)
        x = copies_pipe(argv, anonymous, -1, out, r->stop, e);
    if (x >= 0 && fsync(out) < 0)
        x = err_errno(e, errno, "sync %s", path);
    if (out >= 0)
        close(out);
    data_decode_logs_free(logs, n_logs);
    return x;
}

/* ---- the whole */

static int write_tables(const struct rescue *r, json_t *list, struct err *e)
{
    const char *table;
    json_t *rows;
    json_object_foreach (r->tables, table, rows) {
        if (strchr(table, '/'))
            return err_set(e, ERR_REFUSED, "a table named %s", table);
        int n = write_readable(r, table, rows, e);
        if (n >= 0)
            n = write_replay(r, table, e);
        if (n < 0)
            return n;
        json_array_append_new(list, json_pack("{s:s,s:I,s:o,s:o}", "table", table, "rows",
                                        (json_int_t)json_array_size(rows), "readable",
                                        json_sprintf("%s.jsonl", table), "replay",
                                        json_sprintf("%s.sql", table)));
    }
    return 0;
}

static int write_manifest(const struct rescue *r, json_t *tables, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/rescue.json", r->dir);
    _cleanup_str_ struct str gtids = STR_INIT;
    missing_format(&r->missing, &gtids);
    _cleanup_json_ json_t *all = json_pack("{s:i,s:s,s:s,s:s,s:I,s:I,s:s,s:o,s:I,s:b,s:b,s:O}",
        "format", 1, "database", r->w->name, "host", r->w->self.host, "source", r->w->source.host,
        "epoch", (json_int_t)r->w->epoch, "time_ms", (json_int_t)clock_wall_ms(), "gtids",
        str_cstr(&gtids), "ranges", missing_json(&r->missing), "transactions",
        (json_int_t)r->transactions, "more", (int)r->text.more, "undoable", (int)r->undoable,
        "tables", tables);
    _cleanup_free_ char *text = json_text_pretty(all);
    return file_write_durable(path, text, strlen(text), 0600, e);
}

static int read_manifest(const char *dir, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/rescue.json", dir);
    return json_read_file(path, MANIFEST_MAX, ret, e);
}

/* Nothing is undone or replaced that is not in the files. */
static int check_saved(const struct rescue *r, const json_t *manifest, struct err *e)
{
    _cleanup_json_ json_t *now = missing_json(&r->missing);
    if (!r->missing.n || json_equal(now, json_object_get(manifest, "ranges")))
        return 0;
    err_set(e, ERR_REFUSED, "what is missing is not what was saved in %s", r->dir);
    err_fix(e, "move that folder away: then it is saved anew");
    return e->code;
}

int rescue_keep(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e)
{
    _cleanup_rescue_ struct rescue r;
    _cleanup_json_ json_t *saved = NULL, *tables = json_array();
    struct err ignored;
    init(&r, c, w, stop);
    int n = find_missing(&r, e);
    if (n >= 0 && read_manifest(r.dir, &saved, &ignored) >= 0)
        return check_saved(&r, saved, e);
    if (n >= 0)
        n = read_rows(&r, e);
    if (n >= 0)
        n = file_mkdirs(r.dir, 0700, e);
    if (n >= 0)
        n = write_tables(&r, tables, e);
    return n < 0 ? n : write_manifest(&r, tables, e);
}

/* ---- undoing */

/* Written before the first row is touched: half undone is neither the one nor the other. */
static int mark_begun(const struct rescue *r, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/undone", r->dir);
    if (access(path, F_OK) == 0)
        return err_set(e, ERR_REFUSED, "it was begun before and did not end");
    return file_write_durable(path, "", 0, 0600, e);
}

static int undo_rows(const struct rescue *r, struct err *e)
{
    _cleanup_free_ char *from = start_position(r),
                        *socket = xasprintf("--socket=%s/run/db.sock", r->w->dir),
                        *user = xasprintf("--user=%s", data_user(r->w));
    const char *argv[LOGS_MAX + 6] = {
        "mariadb-binlog", "--no-defaults", "--skip-gtid-strict-mode", "--flashback"};
    const char *const write[] = {"mariadb", "--no-defaults", socket, user, "--binary-mode",
        "--init-command=SET sql_log_bin=0", NULL};
    char **logs = NULL;
    size_t n_logs = 0, n = 4;
    if (r->before.n)
        argv[n++] = from;
    int x = with_logs(r, argv, n, &logs, &n_logs, e);
    if (x >= 0)
        x = copies_pipe(argv, write, -1, -1, r->stop, e);
    data_decode_logs_free(logs, n_logs);
    return x;
}

int rescue_flashback(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e)
{
    _cleanup_rescue_ struct rescue r;
    _cleanup_json_ json_t *saved = NULL;
    init(&r, c, w, stop);
    int n = read_manifest(r.dir, &saved, e);
    if (n >= 0 && !json_opt_bool(saved, "undoable", false))
        n = err_set(e, ERR_REFUSED, "not all of it can be undone row by row");
    if (n >= 0)
        n = find_missing(&r, e);
    if (n >= 0)
        n = check_saved(&r, saved, e);
    if (n >= 0)
        n = mark_begun(&r, e);
    if (n >= 0)
        n = sql_stop(c, SQL_THREAD_BOTH, e);
    if (n >= 0 && r.missing.n)
        n = undo_rows(&r, e);
    if (n >= 0)
        n = sql_reset_binlogs(c, e);
    if (n >= 0)
        n = sql_set_start(c, &r.before, e);
    return n < 0 ? n : sql_start(c, SQL_THREAD_BOTH, e);
}

/* ---- what is there */

static int newest_first(const void *a, const void *b)
{
    unsigned long long x = *(const unsigned long long *)a, y = *(const unsigned long long *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

json_t *rescue_list(const char *dir)
{
    _cleanup_free_ char *root = xasprintf("%s/rescue", dir);
    _cleanup_free_ unsigned long long *epochs = NULL;
    json_t *list = json_array();
    size_t n = 0;
    DIR *d = opendir(root);
    struct dirent *entry;
    while (d && (entry = readdir(d))) {
        epochs = xrealloc(epochs, (n + 1) * sizeof *epochs);
        if ((epochs[n] = strtoull(entry->d_name, NULL, 10)))
            n++;
    }
    if (d)
        closedir(d);
    if (n)
        qsort(epochs, n, sizeof *epochs, newest_first);
    for (size_t i = 0; i < n && json_array_size(list) < LISTED; i++) {
        _cleanup_free_ char *one = xasprintf("%s/%llu", root, epochs[i]);
        json_t *j = NULL;
        struct err ignored;
        if (read_manifest(one, &j, &ignored) >= 0)
            json_array_append_new(list, j);
    }
    return list;
}

/* ---- for who wants the files */

static bool is_named(const json_t *manifest, const char *file)
{
    size_t i;
    json_t *t;
    json_array_foreach (json_object_get(manifest, "tables"), i, t)
        if (str_eq(json_opt_str(t, "readable", ""), file)
            || str_eq(json_opt_str(t, "replay", ""), file))
            return true;
    return str_eq(file, "rescue.json");
}

static int read_piece(const char *path, int64_t offset, json_t **ret, struct err *e)
{
    _cleanup_free_ char *piece = xcalloc(1, RESCUE_PIECE);
    _cleanup_str_ struct str text = STR_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, piece, RESCUE_PIECE, offset);
    int r = n < 0 ? err_errno(e, errno, "read %s", path) : 0;
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return r;
    base64_encode(piece, (size_t)n, &text);
    *ret = json_pack("{s:s,s:o}", "data", str_cstr(&text), "next",
        n < (ssize_t)RESCUE_PIECE ? json_null() : json_integer(offset + n));
    return 0;
}

static int answer_file(const struct db *db, const json_t *params, json_t **ret, struct err *e)
{
    const char *file = json_opt_str(params, "file", "");
    int64_t epoch = json_opt_int(params, "epoch", 0), offset = json_opt_int(params, "offset", 0);
    _cleanup_free_ char *dir = xasprintf("%s/rescue/%lld", db->want.dir, (long long)epoch),
                        *path = xasprintf("%s/%s", dir, file);
    _cleanup_json_ json_t *manifest = NULL;
    int r = read_manifest(dir, &manifest, e);
    if (r >= 0 && (offset < 0 || !is_named(manifest, file)))
        r = err_set(e, ERR_NOT_FOUND, "there is no such file in that rescue");
    return r < 0 ? r : read_piece(path, offset, ret, e);
}

void rescue_call(struct db *db, struct rpc_req *req, json_t *params)
{
    json_t *answer = NULL;
    struct err e;
    if (!json_object_get(params, "file"))
        rpc_reply(req, json_pack("{s:o}", "rescues", rescue_list(db->want.dir)));
    else if (answer_file(db, params, &answer, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, answer);
}
