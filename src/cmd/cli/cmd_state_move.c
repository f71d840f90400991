/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"

#define CALL_MS 180000u

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_call(
        ctx, "state.move", json_pack("{s:s}", "to", ctx->operands[0]), CALL_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("%lld keys are in etcd; the next hosts may join: mcp host token\n",
            (long long)json_opt_int(answer, "keys", 0));
    return 0;
}

const struct cmd cmd_state_move = {
    .name = "state move",
    .operands = "etcd",
    .summary = "Move the state store from SQLite to etcd, before a second host joins",
    .text = "First declare the hosts to come, with this one among state.members, and `mcp apply`. "
            "Then a member of etcd begins on this host, everything is copied while nothing is "
            "written, compared, and control starts again with it. Modules run on. If it fails or "
            "is interrupted, SQLite is the state store as before. JSON: kind, keys.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
