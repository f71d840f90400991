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
    r = lab_wipe(l, hosts, e);
    if (r < 0)
        return r;
    cmd_lab_print_hosts(ctx, "wiped", hosts, clock_boot_ms() - start);
    return 0;
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
