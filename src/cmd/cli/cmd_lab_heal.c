/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int switch_on(struct lab *l, const json_t *hosts, struct err *e)
{
    return lab_power_on(l, hosts, true, e);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_lab_hosts(ctx, switch_on, "on", e);
}

const struct cmd cmd_lab_heal = {
    .name = "lab heal",
    .operands = "REGION|HOST",
    .summary = "Switch a killed lab host, or a region's hosts, on again",
    .text = "The host starts from its disk as it was when the power went. Hosts that run already "
            "are left alone.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
