/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

static void show_keys(const json_t *chunk)
{
    size_t i;
    json_t *k;
    json_array_foreach (json_object_get(chunk, "keys"), i, k)
        printf("    %s %s\n", json_opt_str(k, "key", "?"),
            !json_opt_bool(k, "replica", false)  ? "is missing at the replica"
            : !json_opt_bool(k, "source", false) ? "is at the replica only"
                                                 : "differs");
    if (json_opt_int(chunk, "more", 0))
        printf("    and %lld more\n", (long long)json_opt_int(chunk, "more", 0));
}

static void show_replica(const json_t *r)
{
    size_t i;
    json_t *one;
    const char *error = json_opt_str(r, "error", NULL);
    size_t chunks = json_array_size(json_object_get(r, "differences")),
           shapes = json_array_size(json_object_get(r, "shapes"));
    printf("%s, %s: %s%s\n", json_opt_str(r, "host", "?"), json_opt_str(r, "region", "?"),
        error              ? "not compared: "
        : chunks || shapes ? "differs"
                           : "equal",
        error ? error : "");
    json_array_foreach (json_object_get(r, "shapes"), i, one)
        printf("  %s: its definition differs\n", json_opt_str(one, "table", "?"));
    json_array_foreach (json_object_get(r, "differences"), i, one) {
        printf("  %s, chunk %lld: %lld rows at the source, %lld here\n",
            json_opt_str(one, "table", "?"), (long long)json_opt_int(one, "chunk", 0),
            (long long)json_opt_int(one, "source_rows", 0),
            (long long)json_opt_int(one, "rows", 0));
        show_keys(one);
    }
}

static void show(const json_t *result)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(result, "tables"), i, one) {
        const char *why = json_opt_str(one, "skipped", NULL);
        if (why)
            printf("%s: NOT compared: %s\n", json_opt_str(one, "table", "?"), why);
        else
            printf("%s: %lld rows in %lld chunks\n", json_opt_str(one, "table", "?"),
                (long long)json_opt_int(one, "rows", 0), (long long)json_opt_int(one, "chunks", 0));
    }
    json_array_foreach (json_object_get(result, "replicas"), i, one)
        show_replica(one);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct data_cmd d;
    _cleanup_json_ json_t *result = NULL, *tables = NULL;
    if (ctx->n_operands > 1)
        tables = json_array();
    for (int i = 1; i < ctx->n_operands; i++)
        json_array_append_new(tables, json_string(ctx->operands[i]));
    int r = data_cmd_open(ctx, &d, e);
    struct verify_caller caller = data_cmd_caller(&d);
    if (r >= 0)
        r = verify_compare(&d.doc, d.database, tables, clock_wall_ms() / 1000, &caller, &result, e);
    data_cmd_done(&d);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(result);
    else
        show(result);
    if (json_opt_bool(result, "equal", false))
        return 0;
    if (ctx->json)
        return 1;
    err_set(e, ERR_FAILED, "a replica is not equal to the source");
    err_fix(e, "keep the evidence; then seed that replica anew: `mcp data seed %s`", d.database);
    return e->code;
}

const struct cmd cmd_data_checksum = {
    .name = "data checksum",
    .operands = "DATABASE [TABLE...]",
    .summary = "Compare every replica with the source, to the row, while both work",
    .text = "The source sums each table in chunks of about half a second; the statement is "
            "replicated, so each replica sums its own rows at the same place of the stream. Chunks "
            "that differ are looked at row by row until what differs stays. Nothing is skipped "
            "silently: tables that cannot be compared are named. Exit code 1 when a replica is not "
            "equal.\n\n"
            "JSON: run, equal, tables[] {table, chunks, rows, skipped}, replicas[] {host, region, "
            "error, shapes[], differences[] {table, chunk, source_rows, rows, keys[] {key, source, "
            "replica}, more}}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1000,
    .run = run,
};
