/* SPDX-License-Identifier: Apache-2.0 */
/* Of the `mcp secret` commands; and what `plan` and `apply` say of secrets that a declaration asks
 * for and nobody can have yet. Values are read by cmd_secret.c alone. */
#pragma once

#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

/* One warning a line on standard error (none with --json): declared and not set, or not granted.
 * A platform that cannot be asked warns of nothing. */
void cmd_secret_warn(const struct cmd_ctx *ctx, struct rpc_client *c, const struct model *m);
