/* SPDX-License-Identifier: Apache-2.0 */
/* The `mcp alarms` commands by which people say something. */
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define ANSWER_MS 15000u
#define SILENCE_MS 3600000u /* unless told */

static int say(struct cmd_ctx *ctx, const char *method, uint64_t for_ms, const char *done,
    struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *who = cmd_who();
    const char *why = cmd_opt(ctx, "reason");
    json_t *params = json_pack("{s:s,s:s,s:s,s:I}", "name", ctx->operands[0], "by", who, "why",
        why ? why : "", "for_ms", (json_int_t)for_ms);
    int r = params ? cmd_call(ctx, method, params, ANSWER_MS, &answer, e)
                   : err_set(e, ERR_USAGE, "the words are no UTF-8");
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("%s %s\n", ctx->operands[0], done);
    return 0;
}

static int run_ack(struct cmd_ctx *ctx, struct err *e)
{
    return say(ctx, "alarms.ack", 0, "is acknowledged", e);
}

static int run_silence(struct cmd_ctx *ctx, struct err *e)
{
    uint64_t for_ms = SILENCE_MS;
    bool off = cmd_flag(ctx, "off");
    int r = cmd_opt_duration(ctx, "for", &for_ms, e);
    if (r < 0)
        return r;
    if (!off && !for_ms)
        return err_set(e, ERR_USAGE, "--for is a time, and not none; --off ends a silence");
    return say(ctx, "alarms.silence", off ? 0 : for_ms,
        off ? "is silenced no more" : "is silenced", e);
}

#define OPT_REASON                                                                                 \
    {                                                                                              \
        "reason", 'm', "TEXT", "why; kept with it"                                                 \
    }

const struct cmd cmd_alarms_ack = {
    .name = "alarms ack",
    .operands = "NAME",
    .summary = "Say that somebody looks after an alarm that fires",
    .text = "It is not told again (`repeat`) for as long as it lasts. The next time that it is "
            "raised, it is told anew.\n\n"
            "JSON: name, document.",
    .opts = (const struct cmd_opt[]){OPT_REASON, CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_ack,
};

const struct cmd cmd_alarms_silence = {
    .name = "alarms silence",
    .operands = "NAME",
    .summary = "Keep an alarm quiet for a time",
    .text = "It is raised and cleared as always, and the timeline has it, but nobody is told and "
            "no function is started. If it still fires when the silence ends, that is made up "
            "for. Without --for it is an hour.\n\n"
            "JSON: name, document.",
    .opts = (const struct cmd_opt[]){{"for", 0, "D", "how long (default 1h)"},
        {"off", 0, NULL, "end the silence now"}, OPT_REASON, CMD_OPT_FILE, CMD_OPT_PLATFORM,
        CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_silence,
};
