/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/str/str.h"
#include "cmd/cli/priv.h"
#include "proto/gtid/gtid.h"

struct aim { /* one of; none: as far as the logs go */
    const char *gtid;
    int64_t time_s;
};

static int parse_aim(const char *text, struct aim *ret, struct err *e)
{
    struct gtid_set set;
    struct err ignored;
    *ret = (struct aim){0};
    if (!text || str_eq(text, "latest") || backup_time_parse(text, &ret->time_s))
        return 0;
    if (gtid_set_parse(GTID_MARIADB, text, strlen(text), &set, &ignored) >= 0) {
        gtid_set_done(&set);
        ret->gtid = text;
        return 0;
    }
    err_set(e, ERR_USAGE, "--to %s is neither a time nor a GTID", text);
    err_fix(e, "\"2026-11-23 03:30:00\" (UTC), 1-1-42, or `latest`");
    return e->code;
}

static bool is_before(const json_t *backup, const struct aim *aim)
{
    struct gtid_set here, there;
    struct err ignored;
    const char *gtid = json_opt_str(backup, "gtid", "");
    bool yes = false;
    if (aim->time_s)
        return json_opt_int(backup, "begun_ms", 0) / 1000 <= aim->time_s;
    if (!aim->gtid)
        return true;
    if (gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &here, &ignored) < 0)
        return false;
    if (gtid_set_parse(GTID_MARIADB, aim->gtid, strlen(aim->gtid), &there, &ignored) >= 0) {
        yes = true; /* but where it is further */
        for (size_t i = 0; i < there.n; i++) {
            struct gtid at;
            yes &= !gtid_set_domain(&here, there.at[i].domain, &at) || at.seq <= there.at[i].seq;
        }
        gtid_set_done(&there);
    }
    gtid_set_done(&here);
    return yes;
}

static int restore_from(struct backup_cmd *b, const json_t *backup, const struct aim *aim,
    json_t **ret, struct err *e)
{
    const char *id = json_opt_str(backup, "id", ""), *host = json_opt_str(backup, "host", "");
    json_t *params = json_pack("{s:s,s:s*,s:s*}", "id", id, "gtid", aim->gtid, "into",
        cmd_opt(b->ctx, "into"));
    if (aim->time_s)
        json_object_set_new(params, "time_s", json_integer(aim->time_s));
    if (!b->ctx->json)
        printf("from %s on %s\n", id, host);
    return backup_act(b, "backup.restore", b->database, host, params, ret, e);
}

/* The newest backup before the point that leads there: one on another host may have the logs that
 * the first one lacks. */
static int restore(struct backup_cmd *b, const struct aim *aim, json_t **ret, struct err *e)
{
    const char *only = cmd_opt(b->ctx, "from"), *host = cmd_opt(b->ctx, "host");
    _cleanup_json_ json_t *all = backup_list(b);
    size_t i;
    json_t *one;
    err_set(e, ERR_NOT_FOUND, "there is no whole backup of %s from before that", b->database);
    err_fix(e, "`mcp backup list %s` shows what there is", b->database);
    json_array_foreach (json_object_get(all, "backups"), i, one) {
        if ((only && !str_eq(json_opt_str(one, "id", ""), only))
            || (host && !str_eq(json_opt_str(one, "host", ""), host))
            || !json_opt_bool(one, "whole", false) || !is_before(one, aim))
            continue;
        int r = restore_from(b, one, aim, ret, e);
        if (r != ERR_NOT_FOUND)
            return r;
    }
    return e->code;
}

static void show(const json_t *r)
{
    size_t i;
    json_t *t;
    json_array_foreach (json_object_get(r, "tables"), i, t)
        printf("%s.%s: %lld rows, checksum %lld\n", json_opt_str(t, "database", "?"),
            json_opt_str(t, "table", "?"), (long long)json_opt_int(t, "rows", 0),
            (long long)json_opt_int(t, "checksum", 0));
    printf("%s on %s: the data folder as of %s, %lld logs applied\n", json_opt_str(r, "into", "?"),
        json_opt_str(r, "host", "?"), json_opt_str(r, "gtid", "?"),
        (long long)json_opt_int(r, "logs", 0));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct backup_cmd b;
    struct aim aim;
    _cleanup_json_ json_t *result = NULL;
    int r = parse_aim(cmd_opt(ctx, "to"), &aim, e);
    if (r < 0)
        return r;
    r = backup_open(ctx, ctx->operands[0], &b, e);
    if (r >= 0)
        r = restore(&b, &aim, &result, e);
    backup_close(&b);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(result);
    else
        show(result);
    return 0;
}

const struct cmd cmd_backup_restore = {
    .name = "backup restore",
    .operands = "DATABASE",
    .summary = "Restore a database to a transaction or a time, into a folder of its own",
    .text =
        "The newest backup from before that point is unpacked on the host that has it, and binary "
        "logs are applied from there: those of the host's vault, and its server's own. That is done "
        "by a server that nobody else reaches, which then reads every row of every table; their "
        "numbers and checksums (CHECKSUM TABLE) are printed. What is left is DIR/data, a data folder "
        "that a server can be started on. The live database is not touched.\n\n"
        "--to takes a GTID (everything up to it and nothing after it; of domains that it does not name "
        "what the source had then), a time in UTC (everything before the first transaction that began at that second "
        "or later), or `latest`, which is also what happens without it. A point that the logs do not "
        "reach is refused, and so is a damaged archive or log, which is named; then nothing is "
        "left in DIR.\n\n"
        "DIR must not exist, in a folder in which the user mysql may write; without --into it is made "
        "beside the backups.\n\n"
        "JSON: id, host, into, gtid, logs, tables[] {database, table, rows, checksum}.",
    .opts = (const struct cmd_opt[]){{"to", 0, "GTID|TIME", "how far (default: latest)"},
        {"into", 0, "DIR", "on that host"}, {"from", 0, "BACKUP", "this one"},
        {"host", 0, "HOST", "from a backup on this host"}, CMD_OPT_FILE, CMD_OPT_PLATFORM,
        CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
