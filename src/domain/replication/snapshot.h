/* SPDX-License-Identifier: Apache-2.0 */
/* What the data role of one host is told: each database that this host is a member of, with the
 * settings of the declaration and the facts of its document. Pure. */
#pragma once

#include "base/json/json.h"
#include "domain/model/model.h"

#define DATA_DIR "/var/lib/mcp/data" /* of engines, one folder a database */

struct snapshot_input {
    const struct model *model;
    const json_t *files; /* of the revision: path -> digest */
    const json_t *docs;  /* {database: document} */
    const char *host;
    bool tls_ready;      /* this host has its certificate for replication */
    /* {database: accounts of modules}; a database that is not in it: not known, and told as null. */
    const json_t *accounts;
    /* {secret's name: {"user", "password"}} for external servers; NULL: none known. */
    const json_t *credentials;
    /* Do the source's logs reach back to the start: "whole", "cut", or "unknown" where nobody has
     * said yet. NULL: not told. */
    const char *(*source_log)(void *ctx, const char *database, const char *source);
    void *ctx;
};

/* [{"name", "engine", "managed", "epoch", "duty", ...}]: a database whose document is not (yet) there, or
 * cannot be read, is left out. */
json_t *snapshot_databases(const struct snapshot_input *in);
