/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"

#define ANSWER_TIMEOUT_MS 10000

static void add_rule(struct table *t, const json_t *rule)
{
    bool holds = json_opt_bool(rule, "holds", false);
    bool waived = json_opt_bool(rule, "waived", false);
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(rule, "id", ""));
    table_cell(t, !holds || waived ? TABLE_GOOD : TABLE_BAD, "%s",
        !holds ? "ok" : waived ? "waived" : "forbids");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(rule, "value", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(rule, "limit", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(rule, "text", ""));
}

static void print(const struct cmd_ctx *ctx, const json_t *j)
{
    static const char *const heads[] = {"RULE", "", "NOW", "TAKES", "WHICH MEANS", NULL};
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    const char *reason = json_opt_str(j, "reason", "");
    struct table t;
    size_t i;
    json_t *rule;
    printf("%s: %s, %s%s%s\n", json_opt_str(j, "database", "?"),
        json_opt_bool(j, "armed", false) ? "ARMED" : "DISARMED", json_opt_str(j, "state", "?"),
        *reason ? ": " : "", reason);
    printf("if the source were lost: %s would be promoted%s\n", json_opt_str(j, "target", "?"),
        json_opt_bool(j, "automatic", false) ? "" : ", when a person says so");
    table_init(&t, heads);
    json_array_foreach (json_object_get(j, "rules"), i, rule)
        add_rule(&t, rule);
    table_format(&t, &style, &out);
    printf("\n%s", str_cstr(&out));
    table_done(&t);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    json_t *params =
        json_pack("{s:s}", "database", ctx->n_operands ? ctx->operands[0] : "");
    if (!params)
        return err_set(e, ERR_USAGE, "names are UTF-8");
    int r = cmd_call(ctx, "explain.failover", params, ANSWER_TIMEOUT_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(ctx, answer);
    return 0;
}

const struct cmd cmd_explain_failover = {
    .name = "explain failover",
    .operands = "[DATABASE]",
    .summary = "Say whether a database would fail over now, and what forbids it",
    .text = "All rules with their present values, as the host that is asked sees them. ARMED: if the "
            "source were lost now, nothing that can be known beforehand would forbid a failover. "
            "While the source is well some rules forbid as they should: one region alone sees a "
            "fault (R4), the replica hears the source (R5), nothing is dead (R17).\n\n"
            "DATABASE may be left out where one database alone has replicas.\n\n"
            "JSON: database, armed, allowed, automatic, state, reason, target, asked_host, rules[] "
            "{id, holds (it forbids), waived, waiver, value, limit, text}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
