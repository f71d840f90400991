/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "role/lab/lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return lab_role_main(ctx->operands[0]);
}

const struct cmd cmd_lab_role = {
    .name = "lab-role",
    .operands = "NAME",
    .summary = "Run one of a lab's processes; only `mcp up` calls this",
    .min_operands = 1,
    .max_operands = 1,
    .hidden = true,
    .raw = true,
    .run = run,
};
