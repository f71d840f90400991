/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/data/accounts.h"
#include "service/data/seed.h"

#include <sys/statvfs.h>

#define NO_SUCH_TABLE 1146
#define NO_SUCH_DATABASE 1049
#define REPLAY_MAX 100000u /* transactions: more take longer than a copy */

struct data_look *data_look_new(void)
{
    return xcalloc(1, sizeof(struct data_look));
}

void data_look_free(struct data_look *l)
{
    if (!l)
        return;
    sql_position_done(&l->position);
    sql_replica_status_done(&l->status);
    json_decref(l->accounts);
    free(l);
}

/* The newest epoch that this server's data know of. */
static int look_epoch(struct sql_conn *c, struct data_look *l, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    struct err own;
    uint64_t server = 0;
    int r = sql_query(c, "SELECT epoch, server_id FROM " DATA_SCHEMA ".epoch ORDER BY epoch DESC LIMIT 1",
        NULL, &rows, &own);
    if (r < 0 && (sql_errno(c) == NO_SUCH_TABLE || sql_errno(c) == NO_SUCH_DATABASE))
        return 0;
    if (r < 0) {
        *e = own;
        return r;
    }
    if (rows.n && sql_u64(&rows.v[0], "epoch", &l->epoch)
        && sql_u64(&rows.v[0], "server_id", &server))
        l->epoch_server = (uint32_t)server;
    return 0;
}

static int look_sessions(struct sql_conn *c, struct data_look *l, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c, "SHOW GLOBAL STATUS LIKE 'Threads_connected'", NULL, &rows, e);
    if (r >= 0 && rows.n)
        sql_u64(&rows.v[0], "Value", &l->sessions);
    return r;
}

static void look_disk(const struct data_want *w, struct data_look *l)
{
    struct statvfs fs;
    if (w->external || statvfs(w->dir, &fs) < 0)
        return;
    l->disk_total = fs.f_blocks * fs.f_frsize;
    l->disk_free = fs.f_bavail * fs.f_frsize;
}

/* A source of which an empty replica may fetch everything from the first transaction on. Not asked of one
 * whose commits wait for a replica: the answer would wait with them. */
static int look_logs(
    struct sql_conn *c, const struct data_want *w, struct data_look *l, struct err *e)
{
    _cleanup_free_ struct sql_binlog *logs = NULL;
    size_t n = 0;
    if (w->duty != REPLICATION_SOURCE || w->semi_sync || seed_was_copy(w)
        || gtid_set_count(&l->position.binlog) > REPLAY_MAX)
        return 0;
    int r = sql_binlogs(c, &logs, &n, e);
    const char *dot = r >= 0 && n ? strrchr(logs[0].name, '.') : NULL;
    l->replayable = dot && strtoul(dot + 1, NULL, 10) == 1;
    return r;
}

/* A login to another's server need not be allowed to look. */
static int look_accounts(
    struct sql_conn *c, const struct data_want *w, struct data_look *l, struct err *e)
{
    struct err ignored;
    int r = data_accounts_read(c, &l->accounts, w->external ? &ignored : e);
    return w->external && !sql_lost(c) ? 0 : r;
}

/* The numbers are status variables, each a row. */
static int look_sync(
    struct sql_conn *c, const struct data_want *w, struct data_look *l, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0}, limit = {0};
    uint64_t timeout_ms = 0;
    if (!w->semi_sync || w->external || w->duty != REPLICATION_SOURCE)
        return 0;
    int r = sql_query(c,
        "SELECT @@rpl_semi_sync_master_enabled e, @@rpl_semi_sync_master_timeout t", NULL, &limit, e);
    if (r >= 0)
        r = sql_query(c, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%'", NULL, &rows, e);
    if (r < 0)
        return r;
    sql_u64(&limit.v[0], "t", &timeout_ms);
    l->sync = str_eq(sql_text(&limit.v[0], "e"), "1") && timeout_ms >= DATA_SYNC_MS;
    for (size_t i = 0; i < rows.n; i++) {
        const char *name = sql_text(&rows.v[i], "Variable_name");
        uint64_t *to = str_eq(name, "Rpl_semi_sync_master_clients")         ? &l->sync_clients
                       : str_eq(name, "Rpl_semi_sync_master_wait_sessions") ? &l->sync_waiting
                       : str_eq(name, "Rpl_semi_sync_master_yes_tx")        ? &l->sync_acks
                                                                            : NULL;
        if (to)
            (void)!sql_u64(&rows.v[i], "Value", to);
    }
    return 0;
}

int data_look(struct sql_conn *c, const struct data_want *w, struct data_look *ret, struct err *e)
{
    ret->began_ms = clock_boot_ms();
    str_copy(ret->version, sizeof ret->version, sql_server(c)->version);
    int r = sql_position(c, &ret->position, e);
    if (r >= 0)
        r = sql_status(c, &ret->status, e);
    if (r >= 0)
        r = look_epoch(c, ret, e);
    if (r >= 0)
        r = look_sessions(c, ret, e);
    if (r >= 0)
        r = look_accounts(c, w, ret, e);
    if (r >= 0)
        r = look_logs(c, w, ret, e);
    if (r >= 0)
        r = look_sync(c, w, ret, e);
    ret->seed_new = seed_is_new(w);
    look_disk(w, ret);
    ret->pid = w->external ? 0 : sql_server_pid(c);
    return r;
}

/* How many transactions came: of all domains, it only ever grows. */
static uint64_t received(const struct sql_replica_status *s)
{
    return gtid_set_count(&s->retrieved);
}

static bool is_as_wanted(const struct sql_replica_status *s, const struct data_want *w)
{
    if (w->external) /* by which account, and how often it says that it is there, others decide */
        return s->configured && s->by_gtid && str_eq(s->source_host, w->source.address)
               && s->source_port == w->source.port && s->delay_s == w->self.delay_ms / 1000;
    return s->configured && s->by_gtid && s->tls && str_eq(s->source_host, w->source.address)
           && s->source_port == w->source.port && str_eq(s->source_user, DATA_REPL)
           && s->delay_s == w->self.delay_ms / 1000 && s->heartbeat_ms == w->heartbeat_ms;
}

void data_look_sample(
    const struct data_look *l, const struct data_want *w, struct replication_sample *ret)
{
    static const enum ladder_io io[] = {[SQL_IO_NO] = LADDER_IO_NO,
        [SQL_IO_CONNECTING] = LADDER_IO_CONNECTING,
        [SQL_IO_YES] = LADDER_IO_YES};
    const struct sql_replica_status *s = &l->status;
    *ret = (struct replication_sample){.read_only = l->position.read_only,
        .attached = s->configured,
        .as_wanted = is_as_wanted(s, w),
        .all_applied = gtid_set_contains(&s->executed, &s->retrieved),
        .empty = gtid_set_empty(&l->position.binlog) && gtid_set_empty(&l->position.applied)
                 && !l->seed_new,
        .epoch = l->epoch,
        .epoch_server = l->epoch_server,
        .sync = l->sync,
        .threads = {.io = io[s->io],
            .sql = s->sql_running,
            .io_errno = s->io_errno,
            .sql_errno = s->sql_errno,
            .io_error = s->io_error,
            .sql_error = s->sql_error,
            .heartbeats = s->heartbeats,
            .received = received(s)}};
}

void data_look_reached(const struct data_look *l, struct gtid_set *ret)
{
    struct err e;
    if (gtid_set_union(&l->position.binlog, &l->position.applied, ret, &e) < 0)
        gtid_set_copy(&l->position.binlog, ret); /* over its limit: says less */
}
