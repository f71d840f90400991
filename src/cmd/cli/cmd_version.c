/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    if (ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:s,s:[i,i]}", "version", MCP_VERSION, "protocol",
            RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
        cmd_print_json(j);
    } else {
        printf("mcp %s (protocol %d to %d)\n", MCP_VERSION, RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
    }
    return 0;
}

const struct cmd cmd_version = {
    .name = "version",
    .operands = "",
    .summary = "Print the version and the protocol range",
    .text = "The range is of the protocol that hosts and commands speak to each other; two ends "
            "with no version in common say so and do not talk. JSON: version, protocol [lowest, "
            "highest].",
    .opts = (const struct cmd_opt[]){CMD_OPT_JSON, {0}},
    .run = run,
};
