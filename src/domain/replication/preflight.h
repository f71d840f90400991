/* SPDX-License-Identifier: Apache-2.0 */
/* Can this server be replicated to that one, safely and for years? Judged from what each server
 * tells of itself ("facts"), every point with its verdict and, where it fails, the command that
 * mends it. Pure: the facts come from service/verify.
 *
 * Facts of one server: {"host", "vendor": "mariadb" | "mysql", "version": "10.11.6", "variables":
 *   {name: text}, "no_primary_key": ["db.table", ...], "not_innodb": [...], "events": [...],
 *   "triggers": [...], "powerful": ["user@host: SUPER", ...], "disk_free", "binlog_bytes",
 *   "binlog_span_ms", "cert_left_ms" | null, "clock_offset_ms" | null, "clock_error_ms"}
 * Lists are cut after 100 entries; "..." then is the last.
 *
 * Source of the points: MariaDB's and MySQL's own manuals on replication and GTID; what they leave
 * at a dangerous default was measured (doc/guide/data.md). */
#pragma once

#include "base/json/json.h"

struct preflight_wish { /* what the declaration asks for */
    uint64_t retention_ms;
    uint64_t source_id, replica_id; /* of the database's document; 0: not ours to say */
    bool semi_sync;
};

/* [{"id", "pass", "text", "fix"}, ...], always all points that apply to the pair. */
json_t *preflight_judge(
    const json_t *source, const json_t *replica, const struct preflight_wish *wish);
/* The variables that it looks at, NULL-terminated: for who collects facts. */
const char *const *preflight_variables(void);
