/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "driver/sql/dialect.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY_MS 120000u
#define STOP_MS 120000u
#define LOOK_MS 100
#define LOG_MAX (1024u * 1024)

struct restore {
    const char *dir;
    char socket[160], data[192], scratch[192], user[64]; /* ours: whom the server knows by the socket */
    struct spawn_proc proc;
    struct sql_stop *stop;
};

/* Why it ended, as it said last. */
static int say_why(const struct restore *r, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/log", r->dir);
    _cleanup_str_ struct str log = STR_INIT;
    struct err ignored;
    const char *last = "it left no log";
    if (file_read(path, LOG_MAX, &log, &ignored) >= 0)
        for (const char *p = str_cstr(&log); p; p = strstr(p + 1, "[ERROR]"))
            last = p;
    return err_set(
        e, ERR_FAILED, "the server on the copy ends: %.*s", (int)strcspn(last, "\n"), last);
}

/* A server that nobody else reaches, with the copied one's settings for tablespaces: no network, no
 * binary log, no replication. It keeps its rows as safe as any, for what it leaves is a data
 * directory to go on with. */
static int start_server(struct restore *r, struct err *e)
{
    _cleanup_free_ char *data = xasprintf("--datadir=%s", r->data),
                        *socket = xasprintf("--socket=%s", r->socket),
                        *pid = xasprintf("--pid-file=%s/pid", r->dir),
                        *log = xasprintf("--log-error=%s/log", r->dir),
                        *user = xasprintf("--user=%s", r->user),
                        *settings = xasprintf("--defaults-file=%s/backup-my.cnf", r->data);
    const char *const argv[] = {"/usr/sbin/mariadbd", settings, data, socket, pid, log,
        "--skip-networking", "--skip-slave-start", "--skip-log-bin", "--event-scheduler=DISABLED",
        "--performance-schema=0", "--gtid-strict-mode=0", "--read-only=0",
        "--max-allowed-packet=1G", user, NULL};
    const struct spawn_opts opts = {.death_signal = SIGKILL};
    return spawn_start(argv, &opts, &r->proc, e);
}

static int await_server(struct restore *r, struct sql_conn **ret, struct err *e)
{
    const struct sql_target t = {.socket = r->socket, .user = r->user, .program = "mcp-restore"};
    uint64_t until = clock_boot_ms() + READY_MS;
    while (sql_open(&t, r->stop, ret, e) < 0) {
        struct pollfd fd = {r->proc.pidfd, POLLIN, 0};
        if (poll(&fd, 1, LOOK_MS) != 0)
            return say_why(r, e);
        if (clock_boot_ms() > until || (r->stop && sql_stop_raised(r->stop)))
            return err_wrap(e, "the server on the copy");
    }
    return 0;
}

static void end_server(struct restore *r)
{
    struct spawn_exit x;
    struct err ignored;
    struct pollfd fd = {r->proc.pidfd, POLLIN, 0};
    if (r->proc.pid <= 0)
        return;
    if (spawn_signal(&r->proc, SIGTERM, &ignored) < 0 || poll(&fd, 1, STOP_MS) <= 0)
        (void)!spawn_signal(&r->proc, SIGKILL, &ignored);
    (void)!spawn_reap(&r->proc, true, &x, &ignored);
    r->proc.pid = 0;
}

/* ---- the logs ---- */

static int apply(struct restore *r, const char *log, const char *reached, const char *end, struct err *e)
{
    _cleanup_free_ char *from = xasprintf("--start-position=%s", reached),
                        *to = xasprintf("--stop-position=%s", end),
                        *socket = xasprintf("--socket=%s", r->socket),
                        *user = xasprintf("--user=%s", r->user);
    /* Not strict: a domain that ends before where we begin is fine, the way was looked at already. */
    const char *read[8] = {"mariadb-binlog", "--no-defaults", "--skip-gtid-strict-mode"};
    size_t n = 3;
    if (*reached)
        read[n++] = from;
    if (*end)
        read[n++] = to;
    read[n++] = log;
    const char *const write[] = {"mariadb", "--no-defaults", socket, user, "--binary-mode", NULL};
    return copies_pipe(read, write, -1, -1, r->stop, e);
}

/* Of the end, the domains whose end lies in this log: mariadb-binlog refuses one that it never gets
 * to. */
static int end_in(const struct copies_log *log, const char *reached, const char *stop,
    struct str *out, struct err *e)
{
    _cleanup_gtid_ struct gtid_set from = {0}, to = {0}, all = {0};
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &from, e) < 0
        || gtid_set_parse(GTID_MARIADB, log->to, strlen(log->to), &to, e) < 0
        || gtid_set_parse(GTID_MARIADB, stop, strlen(stop), &all, e) < 0)
        return e->code;
    for (size_t i = 0; i < all.n; i++) {
        const struct gtid *g = &all.at[i];
        struct gtid a = {0}, b = {0};
        gtid_set_domain(&from, g->domain, &a);
        gtid_set_domain(&to, g->domain, &b);
        if (b.seq > a.seq && b.seq >= g->seq)
            str_addf(out, "%s%u-%u-%llu", out->len ? "," : "", g->domain, g->server,
                (unsigned long long)g->seq);
    }
    return 0;
}

static int apply_route(struct restore *r, const struct copies_log *v, const struct copies_route *way,
    char gtid[COPIES_GTID_MAX], struct err *e)
{
    for (size_t i = 0; i < way->n; i++) {
        const struct copies_log *log = &v[way->logs[i]];
        _cleanup_str_ struct str end = STR_INIT;
        int k = end_in(log, gtid, way->stop, &end, e);
        if (k >= 0)
            k = copies_log_unpack(log, r->scratch, r->stop, e);
        if (k >= 0)
            k = apply(r, r->scratch, gtid, str_cstr(&end), e);
        unlink(r->scratch);
        if (k >= 0)
            k = copies_union(gtid, i + 1 < way->n ? log->to : way->end, e);
        if (k < 0)
            return err_wrap(e, "apply %s", log->path);
    }
    return 0;
}

static int list_logs(
    const struct copies_order *o, struct copies_log **ret, size_t *ret_n, struct err *e)
{
    int r = copies_vault_list(o->vault, ret, ret_n, e);
    if (r >= 0 && o->own_logs && (r = copies_logs_add(o->own_logs, o->server, *ret, ret_n, e)) < 0) {
        free(*ret);
        *ret = NULL;
    }
    return r;
}

/* ---- what came of it ---- */

static int prove_table(struct sql_conn *c, const char *database, const char *table, json_t *list, struct err *e)
{
    _cleanup_str_ struct str name = STR_INIT, count = STR_INIT, rows = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows sum = {0};
    sql_add_name(&name, database);
    str_add(&name, ".");
    sql_add_name(&name, table);
    str_addf(&count, "SELECT COUNT(*) FROM %s", str_cstr(&name));
    _cleanup_free_ char *check = xasprintf("CHECKSUM TABLE %s EXTENDED", str_cstr(&name));
    int r = sql_value(c, str_cstr(&count), &rows, e);
    if (r >= 0)
        r = sql_query(c, check, NULL, &sum, e);
    if (r < 0)
        return err_wrap(e, "%s", str_cstr(&name));
    uint64_t n = 0, value = 0;
    bool whole = sum.n && sql_u64(&sum.v[0], "Checksum", &value)
                 && str_to_u64(str_cstr(&rows), UINT64_MAX, &n);
    if (!whole)
        return err_set(e, ERR_INVALID, "%s cannot be read", str_cstr(&name));
    json_array_append_new(list,
        json_pack("{s:s,s:s,s:I,s:I}", "database", database, "table", table, "rows", (json_int_t)n,
            "checksum", (json_int_t)value));
    return 0;
}

/* Every row of every table is read. */
static int prove(struct sql_conn *c, json_t *list, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c,
        "SELECT table_schema AS d, table_name AS t FROM information_schema.tables WHERE table_type="
        "'BASE TABLE' AND table_schema NOT IN ('mysql', 'sys', 'information_schema', "
        "'performance_schema') ORDER BY 1, 2",
        NULL, &rows, e);
    for (size_t i = 0; i < rows.n && r >= 0; i++)
        r = prove_table(c, sql_text(&rows.v[i], "d"), sql_text(&rows.v[i], "t"), list, e);
    return r;
}

/* ---- all of it ---- */

static void enter(const struct copies_order *o, enum copies_phase p)
{
    if (o->phase)
        atomic_store(o->phase, (int)p);
}

const char *copies_phase_name(enum copies_phase p)
{
    static const char *const names[] = {[COPIES_CHECKING] = "checking the archive",
        [COPIES_UNPACKING] = "unpacking",
        [COPIES_READING] = "reading the logs",
        [COPIES_APPLYING] = "applying the logs",
        [COPIES_PROVING] = "reading every row"};
    return names[p];
}

static int on_server(struct restore *r, const struct copies_order *o, const struct copies_log *v,
    const struct copies_route *way, struct copies_restored *ret, struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    enter(o, COPIES_APPLYING);
    int k = start_server(r, e);
    if (k >= 0)
        k = await_server(r, &c, e);
    if (k >= 0)
        k = apply_route(r, v, way, ret->gtid, e);
    if (k >= 0 && o->prove) {
        enter(o, COPIES_PROVING);
        k = prove(c, ret->tables, e);
    }
    end_server(r);
    return k;
}

/* The way is known before a server is started. */
static int find_way(const struct restore *r, const struct copies_order *o, struct copies_log **v,
    struct copies_route *way, const char *begin, struct err *e)
{
    size_t n = 0;
    enter(o, COPIES_READING);
    if (!o->vault)
        return copies_route_find(NULL, 0, begin, o->at, r->scratch, r->stop, way, e);
    int k = list_logs(o, v, &n, e);
    return k < 0 ? k : copies_route_find(*v, n, begin, o->at, r->scratch, r->stop, way, e);
}

static int restore(struct restore *r, const struct copies_order *o, struct copies_restored *ret,
    struct err *e)
{
    _cleanup_free_ struct copies_log *v = NULL;
    _cleanup_free_ struct copies_route *way = xcalloc(1, sizeof *way);
    struct copies_archive a;
    enter(o, COPIES_CHECKING);
    int k = copies_check(o->archive, r->stop, e);
    if (k >= 0)
        k = copies_manifest_read(o->archive, &a, e);
    if (k >= 0 && o->at && o->at->time_s && a.begun_ms / 1000 > o->at->time_s)
        k = err_set(e, ERR_REFUSED, "the backup is younger than that time");
    if (k >= 0)
        k = find_way(r, o, &v, way, a.gtid, e);
    if (k < 0)
        return k;
    enter(o, COPIES_UNPACKING);
    k = copies_unpack(o->archive, r->data, r->stop, ret->gtid, e);
    ret->logs = way->n;
    return k < 0 ? k : on_server(r, o, v, way, ret, e);
}

int copies_restore(const struct copies_order *o, struct sql_stop *stop, struct copies_restored *ret,
    struct err *e)
{
    struct restore r = {.dir = o->dir, .stop = stop};
    if (snprintf(r.data, sizeof r.data, "%s/data", o->dir) >= (int)sizeof r.data
        || snprintf(r.scratch, sizeof r.scratch, "%s/log.raw", o->dir) >= (int)sizeof r.scratch
        || snprintf(r.socket, sizeof r.socket, "%s/socket", o->dir) >= 100)
        return err_set(e, ERR_LIMIT, "%s: the path is too long for a socket", o->dir);
    const struct passwd *pw = getpwuid(geteuid());
    str_copy(r.user, sizeof r.user, pw ? pw->pw_name : "mysql");
    *ret = (struct copies_restored){0};
    if (mkdir(o->dir, 0700) < 0)
        return err_errno(e, errno, "folder %s", o->dir);
    ret->tables = json_array();
    int k = restore(&r, o, ret, e);
    if (k < 0) {
        struct err ignored;
        (void)!file_remove_tree(o->dir, &ignored);
        json_decref(ret->tables);
        ret->tables = NULL;
    }
    return k;
}
