/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/str/str.h"
#include "cmd/cli/priv.h"
#include "domain/replication/archive.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct backup_cmd b;
    struct archive_id id;
    _cleanup_json_ json_t *result = NULL;
    if (!archive_id_parse(ctx->operands[0], &id)) {
        err_set(e, ERR_USAGE, "%s is not the name of a backup", ctx->operands[0]);
        err_fix(e, "`mcp backup list` has them");
        return e->code;
    }
    int r = backup_open(ctx, id.database, &b, e);
    if (r >= 0)
        r = backup_act(&b, "backup.verify", id.database, id.host,
            json_pack("{s:s}", "id", ctx->operands[0]), &result, e);
    backup_close(&b);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(result);
    else
        printf("%s is what its manifest says, and unpacks\n", ctx->operands[0]);
    return 0;
}

const struct cmd cmd_backup_verify = {
    .name = "backup verify",
    .operands = "BACKUP",
    .summary = "Read a backup to its end: is it what was written, does it unpack",
    .text = "On the host that has it. What it does not prove is that a server starts on it: `mcp "
            "backup restore` does.\n\n"
            "JSON: as of `mcp backup run`.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
