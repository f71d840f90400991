/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/plan_view.h"

#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"
#include "domain/revision/revision.h"

#define ANSWER_TIMEOUT_MS 10000

static int print_one(const struct cmd_ctx *ctx, struct rpc_client *c, struct err *e)
{
    _cleanup_json_ json_t *revision = NULL;
    int64_t number = 0;
    int r = cmd_number(ctx->operands[0], "revision", &number, e);
    if (r >= 0)
        r = cmd_revision_get(c, number, &revision, e);
    if (r >= 0)
        cmd_print_json(revision);
    return r;
}

static int get_parsed(struct rpc_client *c, const char *word, struct revision **ret, struct err *e)
{
    _cleanup_json_ json_t *json = NULL;
    int64_t number = 0;
    int r = cmd_number(word, "revision", &number, e);
    if (r >= 0)
        r = cmd_revision_get(c, number, &json, e);
    return r < 0 ? r : revision_parse(json, ret, e);
}

static int print_diff(const struct cmd_ctx *ctx, struct rpc_client *c, struct err *e)
{
    struct revision *a = NULL, *b = NULL;
    int r = get_parsed(c, ctx->operands[0], &a, e);
    if (r >= 0)
        r = get_parsed(c, ctx->operands[1], &b, e);
    if (r >= 0) {
        struct plan *p = plan_make(
            &(struct plan_side){a->model, a->files}, &(struct plan_side){b->model, b->files});
        _cleanup_json_ json_t *j = plan_json(p, b->model->platform, a->number, b->number);
        if (ctx->json)
            cmd_print_json(j);
        else if (p->n)
            cmd_plan_print(ctx, p, SIZE_MAX);
        else
            printf("revisions %s and %s say the same\n", ctx->operands[0], ctx->operands[1]);
        plan_free(p);
    }
    revision_free(a);
    revision_free(b);
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
    json_array_foreach (list, i, row) {
        bool current = json_opt_bool(row, "current", false);
        table_cell(&t, current ? TABLE_BOLD : TABLE_PLAIN, "%lld%s",
            (long long)json_opt_int(row, "revision", 0), current ? " (current)" : "");
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
    bool diff = cmd_flag(ctx, "diff");
    if (diff ? ctx->n_operands != 2 : ctx->n_operands > 1)
        return err_set(e, ERR_USAGE, "one revision to print, or --diff and two to compare");
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0)
        return r;
    if (diff)
        r = print_diff(ctx, c, e);
    else
        r = ctx->n_operands ? print_one(ctx, c, e) : print_list(ctx, c, e);
    rpc_client_free(c);
    return r;
}

const struct cmd cmd_revisions = {
    .name = "revisions",
    .operands = "[N | --diff A B]",
    .summary = "List what was applied, print one revision, or compare two",
    .text = "Every `mcp apply` that changes something makes a revision: numbered, never changed "
            "afterwards, with every file it refers to resolved to a digest. The newest hundred "
            "are kept. With a number, that revision is printed whole, as JSON; 0 means the "
            "current one. `mcp apply --revision N` makes its content current again.\n\n"
            "--diff A B shows what going from revision A to revision B changes, as `mcp plan` "
            "does.\n\n"
            "JSON: [{revision, created, by, note, current}], newest first.",
    .opts = (const struct cmd_opt[]){{"diff", 0, NULL, "compare the two revisions named"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 2,
    .run = run,
};
