/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_lab_hosts(ctx, lab_power_off, "off", e);
}

const struct cmd cmd_lab_kill = {
    .name = "lab kill",
    .operands = "REGION|HOST",
    .summary = "Cut the power of a lab host, or of every host of a region",
    .text = "Every process of the host gets SIGKILL at one moment, after its wire went silent: no "
            "peer sees a connection closed. The disk stays as it is. `mcp lab heal` switches it "
            "on again.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
