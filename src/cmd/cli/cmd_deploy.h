/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp deploy` and `mcp rollback` have in common: the call, its progress, its end. */
#pragma once

#include "cmd/cli/cmd.h"

#define CMD_OPTS_ROLL                                                                              \
    {"wait", 'w', NULL, "until the rollout is over (default on a terminal)"},                      \
        {"no-wait", 0, NULL, "do not wait, on a terminal either"},                                 \
        {"timeout", 't', "D", "wait at most this long (default 15m)"},                             \
    {                                                                                              \
        "note", 'n', "TEXT", "why, kept with the revision"                                         \
    }

/* `params` is taken: the method's own; who, how long and why are added. `client` is freed. Prints
 * the outcome; a rollout that was taken back is ERR_FAILED with its reason. */
MUST_CHECK int cmd_roll(struct cmd_ctx *ctx, struct rpc_client *client, const char *method,
    json_t *params, struct err *e);
