/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define CALL_MS 10000u

static void cell_state(struct table *t, const json_t *row)
{
    if (json_opt_bool(row, "denied", false))
        table_cell(t, TABLE_BAD, "removed");
    else if (!json_opt_bool(row, "declared", false))
        table_cell(t, TABLE_WARN, "not declared");
    else if (!json_opt_bool(row, "joined", false))
        table_cell(t, TABLE_WARN, "not joined");
    else if (!json_opt_bool(row, "heard", false))
        table_cell(t, TABLE_BAD, "not heard");
    else if (json_opt_bool(row, "drained", false))
        table_cell(t, TABLE_WARN, "drained");
    else
        table_cell(t, TABLE_GOOD, "up");
}

static void print(const struct cmd_ctx *ctx, const json_t *list)
{
    static const char *const heads[] = {
        "HOST", "REGION", "STATE", "ADDRESS", "STATE STORE", "JOINED", "VERSION", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    int64_t now = clock_wall_ms();
    char age[CMD_AGE_SIZE];
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach (json_object_get(list, "hosts"), i, row) {
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "host", "?"));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "region", ""));
        cell_state(&t, row);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "address", ""));
        const char *member = json_opt_str(row, "member", "");
        bool well = !*member || !strcmp(member, "member");
        table_cell(&t, well ? TABLE_PLAIN : TABLE_WARN, "%s", member);
        table_cell(&t, TABLE_PLAIN, "%s", cmd_age(json_opt_int(row, "joined_ms", 0), now, age));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "version", ""));
    }
    table_format(&t, &style, &out);
    table_done(&t);
    fputs(str_cstr(&out), stdout);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_call(ctx, "host.list", NULL, CALL_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(ctx, answer);
    return 0;
}

const struct cmd cmd_host_list = {
    .name = "host list",
    .operands = "",
    .summary = "List the hosts: declared, joined, heard",
    .text = "A host is `not joined` until a machine has become it (`mcp host join`), `not heard` "
            "when it has joined and is silent, `not declared` when the declaration no longer has "
            "it, `removed` after `mcp host remove`. Of the state store it is a `member`, a `learner` "
            "that has yet to catch up, `lost` when its machine joined again with an empty disk, "
            "`missing` when it is declared and not there yet, `leaving` "
            "when it is no longer declared. JSON: platform, hosts[] {host, region, "
            "address, declared, joined, joined_ms, heard, member, version, drained, denied}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
