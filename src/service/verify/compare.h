/* SPDX-License-Identifier: Apache-2.0 */
/* A whole database looked at from outside: the preflight of each replica, and the comparison of all
 * members, down to the row. Works by blocking calls to the members' data roles, which whoever uses
 * it makes for it: a command does. */
#pragma once

#include "domain/replication/doc.h"
#include "domain/replication/preflight.h"

struct verify_caller {
    /* Takes params. Parts of a stream go to progress(). */
    int (*call)(void *ctx, const char *host, const char *method, json_t *params, json_t **ret,
        struct err *e);
    void *ctx;
};

/* {"passed", "replicas": [{"host", "region", "passed", "items": [...]}]} A member that does not
 * answer has one item, "reach". `clocks`: {host: ms ahead of one and the
 * same clock, its own 0}, or NULL. */
MUST_CHECK int verify_preflight(const struct replication_doc *d, const char *database,
    const struct preflight_wish *wish, const json_t *clocks, const struct verify_caller *caller,
    json_t **ret, struct err *e);

/* {"run", "equal", "tables": [{"table", "chunks", "rows"} | {"table", "skipped"}],
 *  "replicas": [{"host", "region", "error"? , "shapes": [{"table", "source", "replica"}],
 *    "differences": [{"table", "chunk", "source_rows", "rows",
 *      "keys": [{"key", "source", "replica"}], "more"}]}]}
 * source and replica of a key say whether the row is there: both, and it differs. Chunks that differ
 * are looked at again until two looks in a row agree, since rows change meanwhile. */
MUST_CHECK int verify_compare(const struct replication_doc *d, const char *database,
    const json_t *tables, int64_t run, const struct verify_caller *caller, json_t **ret,
    struct err *e);
