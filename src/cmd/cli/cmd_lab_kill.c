/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/clock/clock.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    _cleanup_json_ json_t *hosts = NULL;
    int r = cmd_lab_open(ctx, &l, e);
    if (r >= 0)
        r = lab_select(l, ctx->operands[0], &hosts, e);
    if (r < 0)
        return r;
    uint64_t start = clock_boot_ms();
    r = lab_power_off(l, hosts, e);
    if (r < 0)
        return r;
    cmd_lab_print_hosts(ctx, "off", hosts, clock_boot_ms() - start);
    return 0;
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
