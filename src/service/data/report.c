/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a database. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/findings.h"
#include "service/data/seed.h"

static json_t *gtid_json(const struct gtid_set *s)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    return json_stringn(str_cstr(&text), text.len);
}

static json_t *thread_json(bool running, unsigned number, const char *message)
{
    return json_pack("{s:b,s:i,s:s}", "running", running, "errno", (int)number, "message", message);
}

static void add_look(const struct data_look *l, json_t *to)
{
    struct gtid_set reached = {0};
    data_look_reached(l, &reached);
    json_object_set_new(to, "read_only", json_boolean(l->position.read_only));
    json_object_set_new(to, "gtid", gtid_json(&reached));
    json_object_set_new(to, "binlog_gtid", gtid_json(&l->position.binlog));
    json_object_set_new(to, "sessions", json_integer((json_int_t)l->sessions));
    json_object_set_new(to, "version", json_string(l->version));
    json_object_set_new(to, "disk",
        json_pack("{s:I,s:I}", "total", (json_int_t)l->disk_total, "free",
            (json_int_t)l->disk_free));
    json_object_set(to, "accounts", l->accounts);
    gtid_set_done(&reached);
    if (!l->status.configured)
        return;
    json_object_set_new(to, "io_gtid", gtid_json(&l->status.retrieved));
    json_object_set_new(to, "io",
        thread_json(l->status.io == SQL_IO_YES, l->status.io_errno, l->status.io_error));
    json_object_set_new(to, "sql",
        thread_json(l->status.sql_running, l->status.sql_errno, l->status.sql_error));
}

static json_t *ladder_json(const struct ladder *l)
{
    uint64_t now = clock_boot_ms();
    return json_pack("{s:s,s:i,s:I}", "step", ladder_step_name(l->step), "tries", (int)l->tries,
        "next_ms", (json_int_t)(l->next_ms > now ? l->next_ms - now : 0));
}

static json_t *ms_json(int64_t us)
{
    return us < 0 ? json_null() : json_integer(us / 1000);
}

static void add_lag(const struct db *db, json_t *to)
{
    struct lag_figures f;
    lag_read(&db->lag, clock_wall_us(), clock_boot_ns() / 1000, &f);
    if (!f.known)
        return;
    int64_t late_us = f.now_us - (int64_t)db->want.self.delay_ms * 1000;
    json_object_set_new(to, "lag_ms", ms_json(f.now_us));
    json_object_set_new(to, "late_ms", ms_json(MAX(late_us, 0)));
    json_object_set_new(to, "ship_ms", ms_json(f.ship_us));
    json_object_set_new(to, "apply_ms", ms_json(f.apply_us));
    json_object_set_new(to, "lag_p50_ms", ms_json(f.p50_us));
    json_object_set_new(to, "lag_p95_ms", ms_json(f.p95_us));
    json_object_set_new(to, "lag_max_ms", ms_json(f.max_us));
    json_object_set_new(to, "uncertain", json_boolean(f.uncertain));
    json_object_set_new(to, "heartbeat_seq", json_integer((json_int_t)f.seq));
}

static json_t *sync_json(const struct db *db)
{
    uint64_t now = clock_boot_ms();
    return json_pack("{s:b,s:I,s:I}", "firm", (int)db->last->sync, "clients",
        (json_int_t)db->last->sync_clients, "stalled_ms",
        (json_int_t)(db->stalled_ms && now > db->stalled_ms ? now - db->stalled_ms : 0));
}

json_t *db_report(const struct db *db)
{
    const struct replication_node *n = &db->node;
    json_t *j = json_pack("{s:s,s:I,s:s,s:s,s:s,s:n,s:n,s:n,s:b,s:o}", "name", db->name, "epoch",
        (json_int_t)db->want.epoch, "duty",
        db->want.duty == REPLICATION_SOURCE ? "source" : "replica", "state",
        replication_state_name(n->state), "why", n->why, "lag_ms", "ship_ms", "apply_ms",
        "uncertain", 1, "findings", findings_shown(db->hygiene.book));
    if (db->last)
        add_look(db->last, j);
    if (db->want.duty == REPLICATION_REPLICA)
        json_object_set_new(j, "ladder", ladder_json(&n->ladder));
    json_object_set_new(j, "check", db_check_json(db));
    json_t *limit = json_object_get(
        json_object_get(db->hygiene.facts, "serving"), "max_connections");
    if (limit)
        json_object_set(j, "max_connections", limit);
    if (db->want.duty == REPLICATION_REPLICA)
        add_lag(db, j);
    else
        json_object_set_new(j, "heartbeat_seq", json_integer((json_int_t)db->beats));
    db_keep_report(db, j);
    db_retain_report(db, j);
    db_lease_report(db, j);
    json_object_set_new(j, "seed", seed_json(db));
    if (json_array_size(db->rescues))
        json_object_set(j, "rescue", json_array_get(db->rescues, 0));
    if (db->last && db->want.semi_sync)
        json_object_set_new(j, "sync", sync_json(db));
    if (db->last && db->want.duty == REPLICATION_SOURCE)
        json_object_set_new(j, "replayable", json_boolean(db->last->replayable));
    return j;
}
