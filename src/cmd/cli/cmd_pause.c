/* SPDX-License-Identifier: Apache-2.0 */
/* What people say to automatic failover: pause, resume, ack, and the rehearsal that arms it. */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

#define CALL_MS 30000u

static int say(struct cmd_ctx *ctx, const char *method, const char *done, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    const char *why = cmd_opt(ctx, "why");
    json_t *params = json_pack("{s:s,s:s,s:s}", "database",
        ctx->n_operands ? ctx->operands[0] : "", "by", by, "why", why ? why : "");
    int r = params ? cmd_call(ctx, method, params, CALL_MS, &answer, e)
                   : err_set(e, ERR_USAGE, "names and reasons are UTF-8");
    if (r >= 0 && ctx->json)
        cmd_print_json(answer);
    else if (r >= 0)
        printf("%s: %s\n", json_opt_str(answer, "database", "?"), done);
    return r;
}

static int run_pause(struct cmd_ctx *ctx, struct err *e)
{
    if (!cmd_opt(ctx, "why"))
        return err_set(e, ERR_USAGE, "--why TEXT: others will ask");
    return say(ctx, "failover.pause",
        "no failover by itself until `mcp resume`; `mcp failover` still does it by hand", e);
}

static int run_resume(struct cmd_ctx *ctx, struct err *e)
{
    return say(ctx, "failover.resume", "fails over by itself again", e);
}

static int run_ack(struct cmd_ctx *ctx, struct err *e)
{
    return say(ctx, "failover.ack", "earlier failovers count no more against the next", e);
}

static int run_arm(struct cmd_ctx *ctx, struct err *e)
{
    return say(ctx, "data.arm",
        "the source stopped writing when it was told to, was read back, and writes again", e);
}

/* The option is only of those that take a reason. */
#define OPTS                                                                                       \
    (const struct cmd_opt[])                                                                       \
    {                                                                                              \
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}                                          \
    }

const struct cmd cmd_pause = {
    .name = "pause",
    .operands = "[DATABASE]",
    .summary = "Keep a database from failing over by itself",
    .text = "Until `mcp resume`: for work on hosts or networks that would look like a fault. Kept in "
            "the state store with who and why; `mcp status` says DISARMED meanwhile. What is under "
            "way before its point of no return is called off. DATABASE may be left out where one "
            "database alone has replicas.\n\n"
            "JSON: database, document.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"why", 0, "TEXT", "the reason, for the others"}, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run_pause,
};

const struct cmd cmd_resume = {
    .name = "resume",
    .operands = "[DATABASE]",
    .summary = "Let a paused database fail over by itself again",
    .text = "The end of `mcp pause`.\n\nJSON: database, document.",
    .opts = OPTS,
    .max_operands = 1,
    .run = run_resume,
};

const struct cmd cmd_ack = {
    .name = "ack",
    .operands = "[DATABASE]",
    .summary = "Say that the last failover was looked at and is well",
    .text = "After a failover by itself there is no second one within failover.cooldown (rule R14), "
            "nor after one that was left unfinished (R15), until somebody has looked. What a person "
            "orders acknowledges itself.\n\nJSON: database, document.",
    .opts = OPTS,
    .max_operands = 1,
    .run = run_ack,
};

const struct cmd cmd_data_arm = {
    .name = "data arm",
    .operands = "[DATABASE]",
    .summary = "Rehearse the self-fence of a database's source",
    .text = "The source stops taking writes as it would when its lease ends, is read back, and goes "
            "on: writes are refused for less than a second. Automatic failover needs to have seen "
            "that with the settings of now, within failover.drill_max_age (rule R7): a fence that "
            "was never tried is none.\n\nJSON: database, document.",
    .opts = OPTS,
    .max_operands = 1,
    .run = run_arm,
};
