/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_deploy.h"

#include "base/rpc/rpc.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *client;
    int64_t to = 0;
    int r = cmd_opt_number(ctx, "to", &to, e);
    if (r >= 0 && cmd_flag(ctx, "to") && to < 1)
        r = err_set(e, ERR_USAGE, "--to: revisions begin with 1");
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &client, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:s,s:I}", "module", ctx->operands[0], "to", (json_int_t)to);
    return cmd_roll(ctx, client, "rollback", params, e);
}

const struct cmd cmd_rollback = {
    .name = "rollback",
    .operands = "MODULE",
    .summary = "Put one module back to what an older revision says of it",
    .text =
        "Writes a new revision in which the module, its image included, is as it was before it "
        "changed last, or as in the revision that --to names; everything else stays as it is. It "
        "is rolled out like every change.\n\n"
        "JSON: revision, unchanged, ready.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"to", 'r', "REVISION", "as in this revision"}, CMD_OPTS_ROLL, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
