/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/priv.h"

#include <mysqld_error.h>

/* Threads of the server's own that the list shows as sessions. */
static bool is_own(const struct sql_session *s)
{
    static const char *const users[] = {"system user", "event_scheduler", "unauthenticated user"};
    static const char *const commands[] = {"Daemon", "Slave_IO", "Slave_SQL", "Slave_worker"};
    for (size_t i = 0; i < ARRAY_SIZE(users) - 1; i++) /* who logs in is not the server */
        if (!strcmp(s->user, users[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (!strcmp(s->command, commands[i]))
            return true;
    return false;
}

static void take(const struct sql_row *row, struct sql_session *s)
{
    s->id = sql_u64_or(row, "Id", 0);
    s->seconds = sql_u64_or(row, "Time", 0);
    sql_take_text(row, "User", s->user, sizeof s->user);
    sql_take_text(row, "Host", s->host, sizeof s->host);
    sql_take_text(row, "db", s->database, sizeof s->database);
    sql_take_text(row, "Command", s->command, sizeof s->command);
    sql_take_text(row, "State", s->state, sizeof s->state);
    sql_take_text(row, "Info", s->info, sizeof s->info);
    s->own = is_own(s);
    s->feed = str_starts(s->command, "Binlog Dump");
}

int sql_sessions(struct sql_conn *c, struct sql_session **ret, size_t *ret_n, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    struct sql_limits limits = {.max_rows = SQL_SESSIONS_MAX};
    if (sql_query(c, "SHOW PROCESSLIST", &limits, &rows, e) < 0)
        return err_wrap(e, "list sessions");
    *ret = xcalloc(rows.n + 1, sizeof **ret);
    *ret_n = rows.n;
    for (size_t i = 0; i < rows.n; i++)
        take(&rows.v[i], &(*ret)[i]);
    return 0;
}

int sql_kill_session(struct sql_conn *c, uint64_t id, struct err *e)
{
    struct err why = {0};
    int r = sql_execf(c, &why, "KILL CONNECTION %llu", (unsigned long long)id);
    if (r >= 0 || sql_errno(c) == ER_NO_SUCH_THREAD)
        return 0;
    if (e)
        *e = why;
    return err_wrap(e, "end session %llu", (unsigned long long)id);
}

static bool is_spared(const char *user, const char *const *spare)
{
    for (; spare && *spare; spare++)
        if (!strcmp(user, *spare))
            return true;
    return false;
}

int sql_kill_sessions(struct sql_conn *c, const char *const *spare, struct err *e)
{
    _cleanup_free_ struct sql_session *list = NULL;
    size_t n = 0;
    int killed = 0, r = sql_sessions(c, &list, &n, e);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        const struct sql_session *s = &list[i];
        if (s->own || s->feed || s->id == sql_conn_id(c) || is_spared(s->user, spare))
            continue;
        r = sql_kill_session(c, s->id, e);
        killed++;
    }
    return r < 0 ? r : killed;
}
