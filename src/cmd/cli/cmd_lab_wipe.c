/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_lab_hosts(ctx, lab_wipe, "wiped", e);
}

const struct cmd cmd_lab_wipe = {
    .name = "lab wipe",
    .operands = "REGION|HOST",
    .summary = "Replace a lab host by a new machine with an empty disk",
    .text = "Its power is cut, its disk thrown away, and a machine with the same addresses switched "
            "on: it has the binary and nothing else, and runs nothing. `mcp lab exec HOST -- mcp "
            "host join ADDRESS TOKEN` makes it a host again, `mcp lab heal HOST` starts it.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
