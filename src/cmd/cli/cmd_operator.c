/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define TIMEOUT_MS 30000

static int call(
    struct cmd_ctx *ctx, const char *method, json_t *params, json_t **ret, struct err *e)
{
    return cmd_call(ctx, method, params, TIMEOUT_MS, ret, e);
}

/* ---- add ---- */

static int run_add(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    const char *role = cmd_opt(ctx, "role"), *ttl = cmd_opt(ctx, "ttl");
    uint64_t ttl_ms = 0;
    bool endless = ttl && (!strcmp(ttl, "0") || !strcmp(ttl, "never"));
    int r = ttl && !endless ? cmd_opt_duration(ctx, "ttl", &ttl_ms, e) : 0;
    if (r < 0)
        return r;
    json_t *params =
        json_pack("{s:s,s:s}", "name", ctx->operands[0], "role", role ? role : "viewer");
    if (!params)
        return err_set(e, ERR_USAGE, "that is not UTF-8");
    if (ttl)
        json_object_set_new(params, "ttl_ms", json_integer((json_int_t)ttl_ms));
    r = call(ctx, "operator.add", params, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(answer);
        return 0;
    }
    printf("%s\n", json_opt_str(answer, "token", ""));
    fprintf(stderr,
        "shown once; %s gives it to: mcp login %s\n(an earlier token of %s is void now)\n",
        ctx->operands[0], json_opt_str(answer, "address", "ADDRESS"), ctx->operands[0]);
    return 0;
}

const struct cmd cmd_operator_add = {
    .name = "operator add",
    .operands = "NAME",
    .summary = "Let somebody work on the platform from afar",
    .text = "Prints a token, once, on standard output. Its owner gives it to `mcp login` on a "
            "machine of his own; from then on commands there work as on a host, over TLS, with "
            "his name in the audit log.\n\n"
            "Roles: a viewer looks, a deployer also applies, deploys and rolls back, an admin may "
            "do everything that root on a host may. Adding a name again replaces its token and "
            "its role at once.\n\n"
            "JSON: {name, role, token, address, expires_ms}.",
    .opts = (const struct cmd_opt[]){{"role", 0, "ROLE", "viewer (default), deployer or admin"},
        {"ttl", 0, "D", "the token's life: 8h, 90d (default 90d; never)"}, CMD_OPT_FILE,
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_add,
};

/* ---- rm ---- */

static int run_remove(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = call(ctx, "operator.remove", json_pack("{s:s}", "name", ctx->operands[0]), &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    return 0;
}

const struct cmd cmd_operator_rm = {
    .name = "operator rm",
    .operands = "NAME",
    .summary = "Take an operator's right away",
    .text = "At once: sessions that are open may do nothing more.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_remove,
};

/* ---- list ---- */

static void print_list(const struct cmd_ctx *ctx, const json_t *operators)
{
    static const char *const heads[] = {"NAME", "ROLE", "SINCE", "UNTIL", "BY", NULL};
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *row;
    char age[CMD_AGE_SIZE], stamp[CLOCK_STAMP_SIZE];
    table_init(&t, heads);
    json_array_foreach (operators, i, row) {
        int64_t until = json_opt_int(row, "expires_ms", 0);
        bool expired = json_opt_bool(row, "expired", false);
        clock_format_rfc3339(until, stamp);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "name", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "role", ""));
        table_cell(&t, TABLE_PLAIN, "%s",
            cmd_age(json_opt_int(row, "created_ms", 0), clock_wall_ms(), age));
        table_cell(&t, expired ? TABLE_BAD : TABLE_PLAIN, "%s", until ? stamp : "never");
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "by", ""));
    }
    table_format(&t, &style, &out);
    fputs(table_empty(&t) ? "nobody works from afar: `mcp operator add NAME`\n" : out.buf, stdout);
    table_done(&t);
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = call(ctx, "operator.list", NULL, &answer, e);
    if (r < 0)
        return r;
    const json_t *operators = json_object_get(answer, "operators");
    if (ctx->json)
        cmd_print_json(operators);
    else
        print_list(ctx, operators);
    return 0;
}

const struct cmd cmd_operator_list = {
    .name = "operator list",
    .operands = "",
    .summary = "List who may work on the platform from afar",
    .text = "JSON: [{name, role, created_ms, expires_ms (0: never), by, expired}].",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run_list,
};
