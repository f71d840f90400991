/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/str/str.h"
#include "cmd/cli/priv.h"

static void show(const struct cmd_ctx *ctx, const json_t *answer)
{
    static const char *const heads[] = {"BACKUP", "HOST", "BEGUN (UTC)", "SIZE", "UP TO", "STATE", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    size_t i;
    json_t *b;
    table_init(&t, heads);
    t.right[3] = true;
    json_array_foreach (json_object_get(answer, "backups"), i, b) {
        char when[24], size[24];
        bool whole = json_opt_bool(b, "whole", false);
        backup_when(json_opt_int(b, "begun_ms", 0), when);
        backup_size(json_opt_int(b, "bytes", 0), size);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(b, "id", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(b, "host", ""));
        table_cell(&t, TABLE_PLAIN, "%s", when);
        table_cell(&t, TABLE_PLAIN, "%s", size);
        table_cell(&t, TABLE_DIM, "%s", json_opt_str(b, "gtid", ""));
        table_cell(&t, whole ? TABLE_GOOD : TABLE_BAD, "%s", whole ? "whole" : "damaged");
    }
    if (table_empty(&t))
        str_add(&out, "no backups\n");
    else
        table_format(&t, &style, &out);
    table_done(&t);
    json_array_foreach (json_object_get(answer, "errors"), i, b)
        str_addf(&out, "%s of %s: not known: %s\n", json_opt_str(b, "database", "?"),
            json_opt_str(b, "host", "?"), json_opt_str(b, "error", "?"));
    fputs(str_cstr(&out), stdout);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct backup_cmd b;
    _cleanup_json_ json_t *answer = NULL;
    int r = backup_open(ctx, ctx->n_operands ? ctx->operands[0] : NULL, &b, e);
    if (r >= 0)
        answer = backup_list(&b);
    backup_close(&b);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        show(ctx, answer);
    return 0;
}

const struct cmd cmd_backup_list = {
    .name = "backup list",
    .operands = "[DATABASE]",
    .summary = "List the backups of databases, on all their hosts",
    .text =
        "Newest first. `whole` means that the archive is there and as long as its manifest says; "
        "`mcp backup verify` reads it. A host that does not answer is named.\n\n"
        "JSON: backups[] {id, database, host, path, begun_ms, ended_ms, bytes, gtid, digest, "
        "version, whole}, errors[] {database, host, error}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
