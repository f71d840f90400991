/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    const char *a = ctx->operands[0], *b = ctx->operands[1];
    unsigned there = 0, back = 0;
    int r = cmd_lab_open(ctx, &l, e);
    if (r >= 0)
        r = lab_link_mend(l, a, b, &there, e);
    if (r >= 0 && !cmd_flag(ctx, "one-way"))
        r = lab_link_mend(l, b, a, &back, e);
    if (r < 0)
        return r;
    if (there + back)
        printf("mended: %s %s %s\n", a, cmd_flag(ctx, "one-way") ? "->" : "<->", b);
    else
        printf("nothing to mend between %s and %s\n", a, b);
    return 0;
}

const struct cmd cmd_lab_mend = {
    .name = "lab mend",
    .operands = "A B",
    .summary = "Undo `lab cut` and `lab slow` between two lab hosts or regions",
    .text = "The line is as declared again. `mcp lab list` shows what is cut or slowed.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"one-way", 0, NULL, "only from A to B"}, {0}},
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
