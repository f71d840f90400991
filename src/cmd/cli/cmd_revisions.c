/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"

#define ANSWER_TIMEOUT_MS 10000

static int get(struct rpc_client *c, int64_t number, json_t **ret, struct err *e)
{
    json_t *params = json_pack("{s:I}", "revision", (json_int_t)number);
    return rpc_client_call(c, "revision", params, ANSWER_TIMEOUT_MS, NULL, NULL, ret, e);
}

static int print_one(const struct cmd_ctx *ctx, struct rpc_client *c, struct err *e)
{
    _cleanup_json_ json_t *revision = NULL;
    int64_t number = 0;
    int r = cmd_number(ctx->operands[0], "revision", &number, e);
    if (r >= 0)
        r = get(c, number, &revision, e);
    if (r >= 0)
        cmd_print_json(revision);
    return r;
}

static void print_table(const struct cmd_ctx *ctx, const json_t *list)
{
    static const char *const heads[] = {"REVISION", "CREATED", "BY", "NOTE", NULL};
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach(list, i, row)
    {
        bool current = json_opt_bool(row, "current", false);
        table_cell(&t, current ? TABLE_BOLD : TABLE_PLAIN, "%lld%s", (long long)json_opt_int(row, "revision", 0),
            current ? " (current)" : "");
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "created", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "by", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "note", ""));
    }
    table_format(&t, &style, &out);
    fputs(table_empty(&t) ? "no revision yet: `mcp apply` makes the first\n" : out.buf, stdout);
    table_done(&t);
}

static int print_list(const struct cmd_ctx *ctx, struct rpc_client *c, struct err *e)
{
    _cleanup_json_ json_t *list = NULL;
    int r = rpc_client_call(c, "revisions", NULL, ANSWER_TIMEOUT_MS, NULL, NULL, &list, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(list);
    else
        print_table(ctx, list);
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c;
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0)
        return r;
    r = ctx->n_operands ? print_one(ctx, c, e) : print_list(ctx, c, e);
    rpc_client_free(c);
    return r;
}

const struct cmd cmd_revisions = {
    .name = "revisions",
    .operands = "[N]",
    .summary = "List what was applied, or print one revision",
    .text =
        "Every `mcp apply` that changes something makes a revision: numbered, never changed afterwards, with every\n"
        "file it refers to resolved to a digest. The newest hundred are kept. With a number, that revision is\n"
        "printed whole, as JSON; 0 means the current one. `mcp apply --revision N` makes its content current again.\n\n"
        "JSON: [{revision, created, by, note, current}], newest first.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
