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
    char socket[160], data[192], user[64]; /* ours: whom the server knows by the socket */
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

/* ---- which logs ---- */

static bool is_behind(const char *gtid, const char *reached) /* nothing of `gtid` is missing */
{
    struct gtid_set a, b;
    struct err ignored;
    bool yes = false;
    if (gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &a, &ignored) < 0)
        return false;
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &b, &ignored) >= 0) {
        yes = gtid_set_contains(&b, &a);
        gtid_set_done(&b);
    }
    gtid_set_done(&a);
    return yes;
}

static bool is_after(const struct copies_log *log, const struct copies_stop_at *at)
{
    if (!at)
        return false;
    if (at->gtid)
        return *log->from && is_behind(at->gtid, log->from);
    return at->time_s && log->first_s >= at->time_s;
}

/* The next log that begins where we are and goes on: whatever server wrote it. */
static struct copies_log *next_log(
    struct copies_log *v, size_t n, const char *reached, const struct copies_stop_at *at)
{
    for (size_t i = 0; i < n; i++)
        if (*v[i].to && !is_behind(v[i].to, reached) && is_behind(v[i].from, reached)
            && !is_after(&v[i], at))
            return &v[i];
    return NULL;
}

static int union_text(char reached[COPIES_GTID_MAX], const char *to, struct err *e)
{
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0}, both = {0};
    _cleanup_str_ struct str text = STR_INIT;
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &a, e) < 0
        || gtid_set_parse(GTID_MARIADB, to, strlen(to), &b, e) < 0
        || gtid_set_union(&a, &b, &both, e) < 0)
        return e->code;
    gtid_set_format(&both, &text);
    return str_copy(reached, COPIES_GTID_MAX, str_cstr(&text))
               ? 0
               : err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", text.len);
}

static int apply(struct restore *r, const struct copies_log *log, const char *reached,
    const struct copies_stop_at *at, struct err *e)
{
    char when[32];
    struct tm tm;
    time_t t = at ? (time_t)at->time_s : 0;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    _cleanup_free_ char *from = xasprintf("--start-position=%s", reached),
                        *to = xasprintf("--stop-position=%s", at && at->gtid ? at->gtid : ""),
                        *until = xasprintf("--stop-datetime=%s", when),
                        *socket = xasprintf("--socket=%s", r->socket),
                        *user = xasprintf("--user=%s", r->user);
    const char *read[8] = {"mariadb-binlog", "--no-defaults"};
    size_t n = 2;
    if (*reached)
        read[n++] = from;
    if (at && at->gtid)
        read[n++] = to;
    else if (at && at->time_s)
        read[n++] = until;
    read[n++] = log->path;
    const char *const write[] = {"mariadb", "--no-defaults", socket, user, "--binary-mode", NULL};
    return copies_pipe(read, write, -1, -1, r->stop, e);
}

/* Where it is: what the applied events said of themselves, kept by the logs' own order. */
static int apply_all(struct restore *r, const char *vault, const struct copies_stop_at *at,
    char gtid[COPIES_GTID_MAX], struct err *e)
{
    _cleanup_free_ struct copies_log *v = NULL;
    size_t n = 0;
    if (copies_vault_list(vault, &v, &n, e) < 0)
        return e->code;
    const struct copies_log *log;
    while (!(at && at->gtid && is_behind(at->gtid, gtid)) && (log = next_log(v, n, gtid, at))) {
        if (apply(r, log, gtid, at, e) < 0)
            return err_wrap(e, "apply %s", log->path);
        bool cut = at && at->gtid && is_behind(at->gtid, log->to);
        if (union_text(gtid, cut ? at->gtid : log->to, e) < 0)
            return e->code;
    }
    if (at && at->gtid && !is_behind(at->gtid, gtid)) {
        err_set(e, ERR_NOT_FOUND, "the backup and the vault end at %s, before %s", gtid, at->gtid);
        err_fix(e, "is the vault of the server that wrote it complete? `mcp data vault` lists it");
        return e->code;
    }
    return 0;
}

static int restore_in(struct restore *r, const char *vault, const struct copies_stop_at *at,
    char gtid[COPIES_GTID_MAX], struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    int ret = start_server(r, e);
    if (ret >= 0)
        ret = await_server(r, &c, e);
    if (ret >= 0 && vault)
        ret = apply_all(r, vault, at, gtid, e);
    end_server(r);
    return ret;
}

int copies_restore(const char *archive, const char *vault, const char *dir,
    const struct copies_stop_at *at, struct sql_stop *stop, char gtid[COPIES_GTID_MAX],
    struct err *e)
{
    struct restore r = {.dir = dir, .stop = stop};
    if (snprintf(r.data, sizeof r.data, "%s/data", dir) >= (int)sizeof r.data
        || snprintf(r.socket, sizeof r.socket, "%s/socket", dir) >= 100)
        return err_set(e, ERR_LIMIT, "%s: the path is too long for a socket", dir);
    const struct passwd *pw = getpwuid(geteuid());
    str_copy(r.user, sizeof r.user, pw ? pw->pw_name : "mysql");
    if (mkdir(dir, 0700) < 0)
        return err_errno(e, errno, "folder %s", dir);
    int ret = copies_check(archive, stop, e);
    if (ret >= 0)
        ret = copies_unpack(archive, r.data, stop, gtid, e);
    if (ret >= 0)
        ret = restore_in(&r, vault, at, gtid, e);
    if (ret < 0) {
        struct err ignored;
        (void)!file_remove_tree(dir, &ignored);
    }
    return ret;
}
