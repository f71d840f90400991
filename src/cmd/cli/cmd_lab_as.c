/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    int r = cmd_lab_open(ctx, &l, e);
    if (r >= 0)
        r = lab_set_buyer(l, ctx->operands[0], e);
    if (r < 0)
        return r;
    const json_t *door = json_object_get(l->state, "forwarder");
    printf("http://%s:%lld/ now shows what a buyer in %s sees\n",
        json_opt_str(door, "address", "?"), (long long)json_opt_int(door, "port", 0),
        ctx->operands[0]);
    return 0;
}

const struct cmd cmd_lab_as = {
    .name = "lab as",
    .operands = "COUNTRY",
    .summary = "Choose the country whose buyer the lab's URL shows",
    .text = "The forwarder on 127.0.0.1 asks the platform's DNS and connects from the invented "
            "address of a buyer in that country (lab.clients). Connections that are open end.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
