/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about databases share. */
#pragma once

#include "cmd/cli/cmd.h"

#include "domain/replication/doc.h"
#include "service/verify/compare.h"

struct data_cmd { /* one connection, kept for all calls */
    struct cmd_ctx *ctx;
    struct rpc_client *client;
    const char *database;
    json_t *json; /* the document */
    struct replication_doc doc;
};

MUST_CHECK int data_cmd_open(struct cmd_ctx *ctx, struct data_cmd *ret, struct err *e);
void data_cmd_done(struct data_cmd *d);
struct verify_caller data_cmd_caller(struct data_cmd *d);
