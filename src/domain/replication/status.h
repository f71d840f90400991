/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp data status` says of a database: its document held against what the data roles of its
 * members report. Pure. */
#pragma once

#include "base/json/json.h"

/* What is heard of that database from that host; NULL: nothing. */
typedef const json_t *(*replication_report_fn)(void *ctx, const char *host, const char *database);

/* {"name", "epoch", "source": host, "source_region", "state", "why", "change": {...}|null,
 *  "members": [as replicas, the source included],
 *  "replicas": [{"host", "region", "state", "why", "lag_ms", "ship_ms", "apply_ms", "lag_p50_ms",
 *    "lag_p95_ms", "lag_max_ms", "uncertain", "gtid", "io_gtid", "delay_ms", "ladder", "findings"}]}
 * New reference; NULL: not a document of this format. */
json_t *replication_status(
    const char *database, const json_t *doc, replication_report_fn report, void *ctx);
