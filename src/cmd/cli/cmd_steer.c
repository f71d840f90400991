/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp steer`: users sent elsewhere by hand. */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define ANSWER_TIMEOUT_MS 15000

static void add_row(struct table *t, const json_t *row)
{
    const json_t *names = json_object_get(row, "names");
    _cleanup_str_ struct str text = STR_INIT;
    for (size_t i = 0; i < json_array_size(names); i++)
        str_addf(&text, "%s%s", i ? ", " : "", json_string_value(json_array_get(names, i)));
    table_cell(t, TABLE_BAD, "%s", json_opt_str(row, "region", ""));
    table_cell(t, TABLE_PLAIN, "%s", text.len ? text.buf : "all");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(row, "since", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(row, "until", "taken back"));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(row, "by", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(row, "why", ""));
}

static void print(const struct cmd_ctx *ctx, const json_t *away)
{
    static const char *const heads[] = {
        "AWAY FROM", "NAMES", "SINCE", "UNTIL", "BY", "WHY", NULL};
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach (away, i, row)
        add_row(&t, row);
    table_format(&t, &style, &out);
    fputs(table_empty(&t) ? "no region is steered away from\n" : out.buf, stdout);
    table_done(&t);
}

static int ask(struct cmd_ctx *ctx, const char *method, json_t *params, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = params ? cmd_call(ctx, method, params, ANSWER_TIMEOUT_MS, &answer, e)
                   : err_set(e, ERR_USAGE, "the words are no UTF-8");
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(ctx, json_object_get(answer, "away"));
    return 0;
}

static int run_away(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *by = cmd_who();
    const char *why = cmd_opt(ctx, "why");
    uint64_t for_ms = 0;
    if (cmd_opt_duration(ctx, "for", &for_ms, e) < 0)
        return e->code;
    json_t *names = json_array();
    for (int i = 1; i < ctx->n_operands; i++)
        json_array_append_new(names, json_string(ctx->operands[i]));
    return ask(ctx, "steer.away",
        json_pack("{s:s,s:o,s:s,s:s,s:I}", "region", ctx->operands[0], "names", names, "by", by,
            "why", why ? why : "", "for_ms", (json_int_t)for_ms),
        e);
}

static int run_back(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *by = cmd_who();
    const char *why = cmd_opt(ctx, "why");
    return ask(ctx, "steer.back",
        json_pack("{s:s,s:s,s:s}", "region", ctx->operands[0], "by", by, "why", why ? why : ""), e);
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    return ask(ctx, "steer.list", json_object(), e);
}

#define OPT_WHY {"why", 'm', "TEXT", "the reason, for the timeline and for whoever looks later"}

const struct cmd cmd_steer_away = {
    .name = "steer away",
    .operands = "REGION [NAME]...",
    .summary = "Answer users with other regions than this one",
    .text =
        "Every name server of the platform answers as if the region were down, at once: for the "
        "names given, or for all of them. Users follow within the TTL that they were told. Health is "
        "probed on, and the region keeps running: only answers change, no database moves.\n\n"
        "The last region of a name is never withdrawn: a wish that would leave a name without one is "
        "refused (exit 3), and while all others are down the region is answered all the same; "
        "`mcp explain dns` says so. Names that run nowhere else stay.\n\n"
        "It lasts until `mcp steer back`, or for the time given. A function does the same with "
        "POST /v1/dns/steer-away if its `may:` says dns:SteerAway.\n\n"
        "JSON: away[] {region, names[] (absent: all), by, why, since, until (absent: no end)}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"for", 0, "D", "come back by itself after this long (30m, 2h)"}, OPT_WHY, CMD_OPT_JSON,
        {0}},
    .min_operands = 1,
    .max_operands = 32,
    .run = run_away,
};

const struct cmd cmd_steer_back = {
    .name = "steer back",
    .operands = "REGION",
    .summary = "Answer users with this region again",
    .text = "Ends what `mcp steer away`, or a function, began. The region is answered again as far "
            "as its health allows.\n\nJSON: as of `mcp steer list`.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, OPT_WHY, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_back,
};

const struct cmd cmd_steer_list = {
    .name = "steer list",
    .operands = "",
    .summary = "List the regions that users are steered away from",
    .text = "With who did it, why, since when and until when. `mcp explain dns` says what it means "
            "for one user.\n\n"
            "JSON: away[] {region, names[] (absent: all), by, why, since, until (absent: no end)}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run_list,
};
