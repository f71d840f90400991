/* SPDX-License-Identifier: Apache-2.0 */
/* What the report says of each database, as figures; NaN is what is not known. */
#include "service/data/priv.h"

#include "base/metrics/metrics.h"
#include "base/str/str.h"

#include <math.h>

enum { UP, WRITABLE, REPLICATING, UNCERTAIN, EPOCH, LAG, SHIP, APPLY, LAG_P95, BEAT, MISSING, SESSIONS, BINLOG,
    DISK_FREE, DISK_TOTAL, CHECK_AGE, ERRORS, WARNINGS, TRIES, ROWS };

#define FINDINGS "Findings that are raised now."

static const struct metric_def defs[ROWS] = {
    [UP] = {"mcp_data_up", "1 while the server answers.", METRIC_GAUGE},
    [WRITABLE] = {"mcp_data_writable", "1 while it is the source and takes writes.", METRIC_GAUGE},
    [REPLICATING] = {"mcp_data_replicating", "1 while it is a replica and follows.", METRIC_GAUGE},
    [UNCERTAIN] = {"mcp_data_lag_uncertain", "1 while the clocks are not compared well enough.",
        METRIC_GAUGE},
    [EPOCH] = {"mcp_data_epoch", "Rises whenever the source moves.", METRIC_GAUGE},
    [LAG] = {"mcp_data_lag_seconds", "From the commit at the source to being visible here.",
        METRIC_GAUGE, NULL, 1e-3},
    [SHIP] = {"mcp_data_ship_seconds", "Part of the lag: until it was received.", METRIC_GAUGE, NULL,
        1e-3},
    [APPLY] = {"mcp_data_apply_seconds", "Part of the lag: from there until it was visible.",
        METRIC_GAUGE, NULL, 1e-3},
    [LAG_P95] = {"mcp_data_lag_p95_seconds", "Of the last five minutes.", METRIC_GAUGE, NULL, 1e-3},
    [BEAT] = {"mcp_data_heartbeat_seq", "Of the heartbeat row that was written or seen last.",
        METRIC_GAUGE},
    [MISSING] = {"mcp_data_missing_transactions",
        "That the source had when it wrote the heartbeat row seen last, and that are not here.",
        METRIC_GAUGE},
    [SESSIONS] = {"mcp_data_sessions", "Connected to the server.", METRIC_GAUGE},
    [BINLOG] = {"mcp_data_binlog_bytes", "All binary logs.", METRIC_GAUGE},
    [DISK_FREE] = {"mcp_data_disk_free_bytes", "On the file system of the database.", METRIC_GAUGE},
    [DISK_TOTAL] = {"mcp_data_disk_bytes", "Size of the file system of the database.", METRIC_GAUGE},
    [CHECK_AGE] = {"mcp_data_read_only_check_age_seconds",
        "Since a replica last proved that it refuses writes.", METRIC_GAUGE, NULL, 1e-3},
    [ERRORS] = {"mcp_data_findings", FINDINGS, METRIC_GAUGE, "severity=\"error\""},
    [WARNINGS] = {"mcp_data_findings", FINDINGS, METRIC_GAUGE, "severity=\"warning\""},
    [TRIES] = {"mcp_data_resume_tries", "Steps to resume replication since it was well.",
        METRIC_GAUGE},
};

/* Where the report has them. */
static const struct {
    unsigned row;
    const char *in, *key; /* in: NULL is the report itself */
} figures[] = {
    {EPOCH, NULL, "epoch"},
    {LAG, NULL, "lag_ms"},
    {SHIP, NULL, "ship_ms"},
    {APPLY, NULL, "apply_ms"},
    {LAG_P95, NULL, "lag_p95_ms"},
    {BEAT, NULL, "heartbeat_seq"},
    {SESSIONS, NULL, "sessions"},
    {BINLOG, "binlog", "bytes"},
    {DISK_FREE, "disk", "free"},
    {DISK_TOTAL, "disk", "total"},
    {CHECK_AGE, "check", "age_ms"},
    {TRIES, "ladder", "tries"},
};

static void set(struct db *db, unsigned row, double value)
{
    metric_set_value(db->metrics, row, value);
}

static double missing(const struct db *db)
{
    struct gtid_set source = {0}, here = {0};
    struct gtid_ranges gap = {0};
    struct err ignored;
    if (!db->source_pos || !db->last || db->want.duty != REPLICATION_REPLICA
        || gtid_set_parse(
               GTID_MARIADB, db->source_pos, strlen(db->source_pos), &source, &ignored) < 0)
        return NAN;
    data_look_reached(db->last, &here);
    gtid_set_subtract(&source, &here, &gap);
    double n = (double)gtid_ranges_count(&gap);
    gtid_ranges_done(&gap);
    gtid_set_done(&here);
    gtid_set_done(&source);
    return n;
}

static unsigned count(const json_t *report, const char *severity)
{
    unsigned n = 0;
    size_t i;
    json_t *f;
    json_array_foreach (json_object_get(report, "findings"), i, f)
        n += str_eq(json_opt_str(f, "severity", NULL), severity);
    return n;
}

void db_metrics_collect(struct db *db)
{
    _cleanup_json_ json_t *report = db_report(db);
    const struct metric_label label = {"database", db->name};
    if (!db->metrics)
        db->metrics = metrics_set_new(metrics_process(), defs, ROWS, &label, 1);
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        const json_t *in = figures[i].in ? json_object_get(report, figures[i].in) : report;
        const json_t *v = json_object_get(in, figures[i].key);
        set(db, figures[i].row, json_is_number(v) ? json_number_value(v) : NAN);
    }
    set(db, UP, db->last != NULL);
    set(db, WRITABLE, db->node.state == REPLICATION_WRITABLE);
    set(db, REPLICATING, db->node.state == REPLICATION_REPLICATING);
    set(db, UNCERTAIN, json_opt_bool(report, "uncertain", false));
    set(db, MISSING, missing(db));
    set(db, ERRORS, count(report, "error"));
    set(db, WARNINGS, count(report, "warning"));
}
