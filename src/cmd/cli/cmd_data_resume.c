/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

#define CALL_MS 60000u

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    const char *host = cmd_opt(ctx, "host");
    if (!host)
        return err_set(e, ERR_USAGE, "--host HOST: which member is to replicate again?");
    json_t *params = json_pack("{s:s,s:s}", "database", ctx->operands[0], "host", host);
    int r = params ? cmd_connect(ctx, NULL, &c, e) : err_set(e, ERR_USAGE, "names are UTF-8");
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(c, "data.resume", params, CALL_MS, NULL, NULL, &answer, e);
    rpc_client_free(c);
    if (r >= 0 && ctx->json)
        cmd_print_json(answer);
    else if (r >= 0)
        printf("%s replicates again, at %s\n", host, json_opt_str(answer, "applied", "?"));
    return r;
}

const struct cmd cmd_data_resume = {
    .name = "data resume",
    .operands = "DATABASE",
    .summary = "Let a frozen replica try again where it stopped",
    .text = "For somebody who has mended by hand what differed (in a session with sql_log_bin=0). The "
            "transaction that failed is applied first: nothing is skipped. Where it fails again the "
            "replica is frozen again, with new evidence.\n\n"
            "JSON: gtid, applied, io_gtid, read_only, epoch, state.",
    .opts = (const struct cmd_opt[]){{"host", 0, "HOST", "the member that tries again"}, CMD_OPT_FILE,
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
