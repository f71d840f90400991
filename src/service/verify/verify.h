/* SPDX-License-Identifier: Apache-2.0 */
/* What is found out about the content of database servers: facts for the preflight, checksums of
 * tables, rows that differ. Everything blocks on a session of driver/sql: for a worker's thread.
 *
 * Checksums (the way of pt-table-checksum, exact at one GTID): the source computes one row for each
 * chunk of a table into mcp_dts.checksums with a statement that is replicated as a statement, so
 * that every replica computes the same over its own rows at the same place of the stream; then the
 * source's result follows as values, and who differs is seen by a look into the replica's table.
 * Nothing is skipped silently: what cannot be compared is in the result, with the reason. */
#pragma once

#include "base/json/json.h"
#include "driver/sql/sql.h"

/* Facts of domain/replication/preflight.h, but for host, cert_left_ms and the clock. `datadir_fd_path`
 * is a path on the file system of its binary logs; NULL: not on this host. */
MUST_CHECK int verify_facts(
    struct sql_conn *c, const char *binlog_dir, json_t **ret, struct err *e);

/* ---- tables */

struct verify_column {
    char name[65];
    bool is_text; /* compared by its bytes */
};

struct verify_table {
    char schema[65], name[65];
    char shape[65]; /* hex digest of columns and keys, without counters */
    struct verify_column columns[256];
    size_t n_columns;
    unsigned key[16]; /* columns of the primary key, else of a unique one that has no NULL */
    size_t n_key;     /* 0: none */
    uint64_t rows;    /* as the server estimates */
    bool too_wide;    /* over 256 columns: not compared */
};

#define VERIFY_TABLES_MAX 4096u

/* All tables of the schema, or those in `only` (array of names; NULL: all). free() it. */
MUST_CHECK int verify_tables(struct sql_conn *c, const char *schema, const json_t *only,
    struct verify_table **ret, size_t *ret_n, struct err *e);

/* ---- checksums, at the source */

struct verify_pace {
    uint64_t chunk_ms; /* what one chunk should take; 0: 500 */
    size_t rows_max;   /* of a table without a key: over it, it is not compared; 0: 100000 */
    /* Called between chunks: blocks while replicas are too far behind; negative gives up. */
    int (*wait)(void *ctx, const char *table, uint64_t rows_done, struct err *e);
    void *ctx;
};

/* Once a session, before anything is summed: also where there is nothing to sum, so that replicas
 * have the table to look into. */
MUST_CHECK int verify_begin(struct sql_conn *c, struct err *e);
/* Computes all chunks of one table under the run's number. *ret: {"table", "chunks", "rows"} or
 * {"table", "skipped": why}. */
MUST_CHECK int verify_checksum(struct sql_conn *c, const struct verify_table *t, int64_t run,
    const struct verify_pace *pace, json_t **ret, struct err *e);
/* At a replica: chunks of the run whose sums are not the source's, {"table", "chunk", "lower",
 * "upper", "source_rows", "rows"}; lower and upper are conditions' values, null at the ends. */
MUST_CHECK int verify_differences(
    struct sql_conn *c, const char *schema, int64_t run, json_t **ret, struct err *e);
/* Key and sum of each row of a chunk: {"<key as JSON array>": "crc"}, at most 100,000. */
MUST_CHECK int verify_rows(struct sql_conn *c, const struct verify_table *t, const json_t *lower,
    const json_t *upper, json_t **ret, struct err *e);
/* {"<db.table>": shape} */
MUST_CHECK int verify_shapes(struct sql_conn *c, const char *schema, json_t **ret, struct err *e);
