/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/str/str.h"
#include "cmd/cli/priv.h"

/* A replica that is well, so that the source has nothing to do with it; else the source. */
static const char *host_for(const json_t *db)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(db, "replicas"), i, m)
        if (str_eq(json_opt_str(m, "state", ""), "replicating") && !json_opt_int(m, "delay_ms", 0))
            return json_opt_str(m, "host", "");
    return json_opt_str(db, "source", "");
}

static void show(const json_t *b)
{
    char size[24];
    backup_size(json_opt_int(b, "bytes", 0), size);
    printf("%s: %s on %s, in %.1f s, up to %s\n", json_opt_str(b, "id", "?"), size,
        json_opt_str(b, "host", "?"),
        (double)(json_opt_int(b, "ended_ms", 0) - json_opt_int(b, "begun_ms", 0)) / 1000,
        json_opt_str(b, "gtid", "?"));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct backup_cmd b;
    _cleanup_json_ json_t *result = NULL;
    int r = backup_open(ctx, ctx->operands[0], &b, e);
    if (r >= 0) {
        const json_t *db = json_array_get(backup_databases(&b), 0);
        const char *host = cmd_opt(ctx, "host") ? cmd_opt(ctx, "host") : host_for(db);
        r = backup_act(&b, "backup.run", ctx->operands[0], host, json_object(), &result, e);
    }
    backup_close(&b);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(result);
    else
        show(result);
    return 0;
}

const struct cmd cmd_backup_run = {
    .name = "backup run",
    .operands = "DATABASE",
    .summary = "Make a full backup of a database now",
    .text =
        "On the first replica that replicates, so that the source is not slowed down, else on the "
        "source; --host says another member. The copy is taken while the server works "
        "(mariadb-backup), packed (zstd) and written to `backup.directory` of the declaration, "
        "with a manifest that has its digest and the transaction up to which it goes. It appears "
        "under its name when it is whole and on disk; when it fails, or the disk fills, those that "
        "were there stay. Backups older than `backup.keep` are removed afterwards, but never the "
        "newest whole one.\n\n"
        "With `backup.schedule` this happens by itself. A backup together with the vault (`mcp data "
        "vault`) leads to any later transaction: `mcp backup restore`.\n\n"
        "JSON: id, host, path, gtid, digest, version, bytes, begun_ms, ended_ms.",
    .opts = (const struct cmd_opt[]){{"host", 0, "HOST", "on this member"}, CMD_OPT_FILE,
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
