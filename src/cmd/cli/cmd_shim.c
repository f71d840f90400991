/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "role/shim/shim.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return shim_main(ctx->operands[0]);
}

const struct cmd cmd_shim = {
    .name = "shim",
    .operands = "DIR",
    .summary = "Run one unit and hold its output and exit status",
    .min_operands = 1,
    .max_operands = 1,
    .hidden = true,
    .raw = true,
    .run = run,
};
