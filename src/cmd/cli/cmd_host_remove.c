/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/rpc/rpc.h"

#define CALL_MS 20000u

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    json_t *params = json_pack(
        "{s:s,s:b,s:s}", "host", ctx->operands[0], "force", cmd_flag(ctx, "force"), "by", by);
    int r = cmd_call(ctx, "host.remove", params, CALL_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("%s is removed: the others no longer listen to it\n", ctx->operands[0]);
    return 0;
}

const struct cmd cmd_host_remove = {
    .name = "host remove",
    .operands = "HOST",
    .summary = "Take a host out of the platform",
    .text = "From now on no host listens to what proves to be it; a machine of that name must join "
            "again (`mcp host token --as HOST`). Refused while it runs instances (drain it first), "
            "while it holds a member of the state store (take it out of state.members first), and "
            "when it is not heard: --force is for one that is dead for good, and takes its member "
            "out of the state store too, unless the others would lose their quorum. The "
            "declaration is not changed. JSON: host, member.",
    .opts = (const struct cmd_opt[]){
        {"force", 0, NULL, "it is dead for good"}, CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON,
        {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
