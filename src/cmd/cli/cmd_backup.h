/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about backups share: one connection, the members of databases, calls to their
 * hosts. */
#pragma once

#include "cmd/cli/cmd.h"

struct backup_cmd {
    struct cmd_ctx *ctx;
    struct rpc_client *client;
    json_t *status;       /* as `mcp data status --json` */
    const char *database; /* NULL: all */
    size_t told;          /* letters of the progress that stands on the terminal */
};

MUST_CHECK int backup_open(
    struct cmd_ctx *ctx, const char *database, struct backup_cmd *ret, struct err *e);
void backup_close(struct backup_cmd *b);
/* A question to a member of the database ("data.backup.list", "data.vault"). */
MUST_CHECK int backup_ask(struct backup_cmd *b, const char *database, const char *host,
    const char *method, json_t **ret, struct err *e);
/* Something long ("backup.run"), with its progress shown. Takes params. */
MUST_CHECK int backup_act(struct backup_cmd *b, const char *method, const char *database,
    const char *host, json_t *params, json_t **ret, struct err *e);

/* The backups of all members, newest first: {"backups": [...], "errors": [{"host", "database",
 * "error"}]}. */
json_t *backup_list(struct backup_cmd *b);
/* The `databases` of the status, for loops. */
const json_t *backup_databases(const struct backup_cmd *b);

void backup_when(int64_t wall_ms, char out[24]);  /* "2026-11-23 03:30:00"; "" for 0 */
void backup_size(int64_t bytes, char out[24]);    /* "1.4 GiB" */
/* "2026-11-23 03:30[:00]", with T for the blank and Z behind if you like: UTC. */
bool backup_time_parse(const char *text, int64_t *ret_s);
