/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    const char *a = ctx->operands[0], *b = ctx->operands[1];
    int r = cmd_lab_open(ctx, &l, e);
    if (r >= 0)
        r = lab_link_set(
            l, &(struct lab_link){.from = a, .to = b, .has_cut = true, .cut = true}, e);
    if (r >= 0 && !cmd_flag(ctx, "one-way"))
        r = lab_link_set(
            l, &(struct lab_link){.from = b, .to = a, .has_cut = true, .cut = true}, e);
    if (r >= 0)
        printf("cut: %s %s %s\n", a, cmd_flag(ctx, "one-way") ? "->" : "<->", b);
    return r;
}

const struct cmd cmd_lab_cut = {
    .name = "lab cut",
    .operands = "A B",
    .summary = "Cut the line between two lab hosts or regions",
    .text = "Packets vanish without a word, as on a broken line. With --one-way only those from A "
            "to B do.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"one-way", 0, NULL, "only from A to B"}, {0}},
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
