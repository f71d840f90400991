/* SPDX-License-Identifier: Apache-2.0 */
/* The tasks of dialect.h on a session: statements from the dialect, answers into structs. */
#include "driver/sql/priv.h"

#include <inttypes.h>

#define WAIT_GRACE_MS 5000u /* on top of what the server waits by itself */

int sql_attach(struct sql_conn *c, const struct sql_attach *a, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    int r = c->dialect->attach(a, &s, e);
    if (r >= 0)
        r = sql_run(c, &s, e);
    return r < 0 ? err_wrap(e, "follow %s", a->host ? a->host : "?") : r;
}

int sql_start(struct sql_conn *c, enum sql_threads which, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->start(which, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "start replication") : 0;
}

int sql_stop(struct sql_conn *c, enum sql_threads which, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->stop(which, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "stop replication") : 0;
}

int sql_reset_replica(struct sql_conn *c, bool forget_source, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->reset_replica(forget_source, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "reset replication") : 0;
}

int sql_reset_binlogs(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->reset_binlogs(&s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "reset binary logs") : 0;
}

int sql_set_start(struct sql_conn *c, const struct gtid_set *position, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    if (position->flavour != c->dialect->flavour)
        return err_set(e, ERR_INVALID, "a position of the other kind of server");
    c->dialect->set_start(position, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "set the position to begin from") : 0;
}

void sql_replica_status_done(struct sql_replica_status *s)
{
    gtid_set_done(&s->retrieved);
    gtid_set_done(&s->executed);
}

int sql_status(struct sql_conn *c, struct sql_replica_status *ret, struct err *e)
{
    gtid_set_init(&ret->retrieved, c->dialect->flavour);
    gtid_set_init(&ret->executed, c->dialect->flavour);
    return c->dialect->read_status(c, ret, e) < 0 ? err_wrap(e, "status of replication") : 0;
}

void sql_position_done(struct sql_position *p)
{
    gtid_set_done(&p->binlog);
    gtid_set_done(&p->applied);
    gtid_set_done(&p->current);
    gtid_set_done(&p->state);
    gtid_set_done(&p->purged);
}

int sql_position(struct sql_conn *c, struct sql_position *ret, struct err *e)
{
    struct gtid_set *all[] = {
        &ret->binlog, &ret->applied, &ret->current, &ret->state, &ret->purged};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        gtid_set_init(all[i], c->dialect->flavour);
    return c->dialect->read_position(c, ret, e) < 0 ? err_wrap(e, "its position") : 0;
}

static int wait_answer(struct sql_conn *c, const char *statement, struct err *e)
{
    _cleanup_str_ struct str answer = STR_INIT;
    int r = sql_value(c, statement, &answer, e);
    if (r < 0)
        return r;
    if (!answer.len) /* NULL: the server refuses to wait */
        return err_set(e, ERR_FAILED, "the server cannot wait for this position");
    return !strcmp(str_cstr(&answer), "0");
}

int sql_wait(
    struct sql_conn *c, const struct gtid_set *position, uint64_t timeout_ms, struct err *e)
{
    _cleanup_str_ struct str statement = STR_INIT;
    if (position->flavour != c->dialect->flavour)
        return err_set(e, ERR_INVALID, "a position of the other kind of server");
    c->dialect->wait(position, timeout_ms, &statement);
    uint64_t silence = c->read_timeout_ms;
    c->read_timeout_ms = MAX(silence, timeout_ms + WAIT_GRACE_MS);
    int r = wait_answer(c, str_cstr(&statement), e);
    c->read_timeout_ms = silence;
    return r < 0 ? err_wrap(e, "wait for a position") : r;
}

/* A server that waits for others' locks does so in whole seconds. */
static int run_read_only(struct sql_conn *c, bool on, uint32_t lock_wait_s, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->read_only(on, lock_wait_s ? lock_wait_s : 1, &s);
    return sql_run(c, &s, e);
}

int sql_read_only(struct sql_conn *c, bool on, uint32_t lock_wait_s, struct err *e)
{
    _cleanup_sql_position_ struct sql_position p = {0};
    int r = run_read_only(c, on, lock_wait_s, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r >= 0 && p.read_only != on)
        r = err_set(e, ERR_CONFLICT, "somebody else changed it at once");
    return r < 0 ? err_wrap(e, on ? "make it read-only" : "make it writable") : 0;
}

int sql_semisync(struct sql_conn *c, const struct sql_semisync *semi, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->semisync(semi, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "semi-synchronous replication") : 0;
}

int sql_settings(struct sql_conn *c, const struct sql_settings *settings, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->settings(settings, &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "settings of replication") : 0;
}

int sql_flush_tls(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->flush_tls(&s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "read certificates anew") : 0;
}

int sql_flush_binlogs(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    c->dialect->flush_binlogs(&s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "begin a new binary log") : 0;
}

#define ER_NO_BINARY_LOGGING 1381

int sql_binlogs(struct sql_conn *c, struct sql_binlog **ret, size_t *ret_n, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    struct sql_limits limits = {.max_rows = SQL_BINLOGS_MAX};
    struct err why = {0};
    *ret = NULL;
    *ret_n = 0;
    int r = sql_query(c, "SHOW BINARY LOGS", &limits, &rows, &why);
    if (r < 0 && sql_errno(c) == ER_NO_BINARY_LOGGING)
        return 0;
    if (r < 0) {
        if (e)
            *e = why;
        return err_wrap(e, "list binary logs");
    }
    *ret = xcalloc(rows.n + 1, sizeof **ret);
    *ret_n = rows.n;
    for (size_t i = 0; i < rows.n; i++) {
        sql_take_text(&rows.v[i], "Log_name", (*ret)[i].name, sizeof(*ret)[i].name);
        (*ret)[i].size_bytes = sql_u64_or(&rows.v[i], "File_size", 0);
    }
    return 0;
}

int sql_binlog_start(struct sql_conn *c, const char *log, struct gtid_set *ret, struct err *e)
{
    struct gtid_set fresh;
    gtid_set_init(&fresh, c->dialect->flavour);
    int r = c->dialect->read_binlog_start(c, log, &fresh, e);
    if (r < 0)
        return err_wrap(e, "what came before binary log %s", log);
    *ret = fresh;
    return 0;
}

int sql_purge_to(struct sql_conn *c, const char *log, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    str_add(&s, "PURGE BINARY LOGS TO ");
    sql_add_text(&s, log);
    return sql_exec(c, str_cstr(&s), e) < 0 ? err_wrap(e, "purge binary logs to %s", log) : 0;
}
