/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

#define TIMEOUT_DEFAULT_MS 300000u
#define ANSWER_MS 10000u /* over what control itself waits */

static int show(void *ctx, json_t *part)
{
    const struct cmd_ctx *cmd = ctx;
    if (!cmd->json) {
        printf("%s\n", json_opt_str(part, "text", ""));
        fflush(stdout);
    }
    return 0;
}

static int call(struct cmd_ctx *ctx, bool drained, json_t **ret, struct err *e)
{
    struct rpc_client *client = NULL;
    uint64_t timeout_ms = TIMEOUT_DEFAULT_MS;
    _cleanup_free_ char *by = cmd_who();
    int r = drained ? cmd_opt_duration(ctx, "timeout", &timeout_ms, e) : 0;
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &client, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:s,s:b,s:s,s:b,s:I}", "host", ctx->operands[0], "drained",
        (int)drained, "by", by, "wait", (int)!(drained && cmd_flag(ctx, "no-wait")), "timeout_ms",
        (json_int_t)timeout_ms);
    r = params ? rpc_client_call(
            client, "host.drain", params, timeout_ms + ANSWER_MS, show, ctx, ret, e)
               : err_set(e, ERR_USAGE, "the host's name is not UTF-8");
    rpc_client_free(client);
    return r;
}

static int run_as(struct cmd_ctx *ctx, bool drained, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = call(ctx, drained, &answer, e);
    if (r < 0)
        return r;
    long long left = (long long)json_opt_int(answer, "instances", 0);
    if (ctx->json)
        cmd_print_json(answer);
    else if (!drained)
        printf("%s takes instances again; nothing is moved back for it\n", ctx->operands[0]);
    else if (left)
        printf("%s is drained; %lld instances still leave it\n", ctx->operands[0], left);
    else
        printf("%s is drained and empty\n", ctx->operands[0]);
    return 0;
}

static int run_drain(struct cmd_ctx *ctx, struct err *e)
{
    return run_as(ctx, !cmd_flag(ctx, "undo"), e);
}

static int run_undrain(struct cmd_ctx *ctx, struct err *e)
{
    return run_as(ctx, false, e);
}

const struct cmd cmd_host_drain = {
    .name = "host drain",
    .operands = "HOST",
    .summary = "Move every instance off a host, before work on it",
    .text =
        "Each instance is started on another host of the region first and stopped here when "
        "the new one is ready and no request is on its way to the old one. The host keeps "
        "its own roles and engines, and takes no instance until `mcp host undrain`. What "
        "finds no other place stays and is said.\n\n"
        "Waits until the host is empty, at most --timeout; it stays drained after that, too.\n\n"
        "JSON: host, drained, instances (still there), moved.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"undo", 0, NULL, "the same as `mcp host undrain`"},
        {"no-wait", 0, NULL, "do not wait until it is empty"},
        {"timeout", 't', "D", "wait at most this long (default 5m)"}, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_drain,
};

const struct cmd cmd_host_undrain = {
    .name = "host undrain",
    .operands = "HOST",
    .summary = "Let a drained host take instances again",
    .text = "Nothing that runs is moved back for it: new instances may go there.\n\n"
            "JSON: host, drained, instances, moved.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_undrain,
};
