/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

#define TIMEOUT_MS 15000u

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *client = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    int r = cmd_connect(ctx, NULL, &client, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:s,s:s}", "module", ctx->operands[0], "by", by);
    r = params ? rpc_client_call(client, "failback", params, TIMEOUT_MS, NULL, NULL, &answer, e)
               : err_set(e, ERR_USAGE, "the module's name is not UTF-8");
    rpc_client_free(client);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("%s takes calls in %s again\n", ctx->operands[0], json_opt_str(answer, "region", "?"));
    return 0;
}

const struct cmd cmd_failback = {
    .name = "failback",
    .operands = "MODULE",
    .summary = "Let a module's main region take over again from its standby",
    .text =
        "A standby is admitted by the promotion of a database, or alone, when none of its module's "
        "instances has been ready in the main region for 15 s. The way back is never automatic for "
        "a module that failed alone: this is it. It is refused until the main region has had a "
        "ready instance for 60 s, and while a database that moved the module is still written "
        "elsewhere (`mcp data switchover` brings that back, and its modules with it).\n\n"
        "JSON: module, region, epoch.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
