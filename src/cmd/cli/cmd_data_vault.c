/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/str/str.h"
#include "cmd/cli/priv.h"
#include "proto/gtid/gtid.h"

/* How many transactions the source has that the follower has not on disk yet; -1: not known. */
static int64_t behind(const json_t *db, const json_t *follower)
{
    struct gtid_set source, here;
    struct gtid_ranges missing;
    struct err ignored;
    json_t *m;
    const char *at = NULL, *has = json_opt_str(follower, "gtid", NULL);
    size_t i;
    json_array_foreach (json_object_get(db, "members"), i, m)
        if (str_eq(json_opt_str(m, "duty", ""), "source"))
            at = json_opt_str(m, "gtid", NULL);
    if (!at || !has || gtid_set_parse(GTID_MARIADB, at, strlen(at), &source, &ignored) < 0)
        return -1;
    int64_t n = -1;
    if (gtid_set_parse(GTID_MARIADB, has, strlen(has), &here, &ignored) >= 0) {
        gtid_set_subtract(&source, &here, &missing);
        n = (int64_t)MIN(gtid_ranges_count(&missing), (uint64_t)INT64_MAX);
        gtid_ranges_done(&missing);
        gtid_set_done(&here);
    }
    gtid_set_done(&source);
    return n;
}

static void add_follower(json_t *answer, const json_t *db, const json_t *m)
{
    json_t *f = json_object_get(m, "vault");
    if (!json_is_object(f))
        return;
    int64_t n = behind(db, f);
    json_object_set_new(f, "behind", n < 0 ? json_null() : json_integer(n));
    json_object_set(answer, "follower", f);
}

/* {"host", "logs", "gaps", ...} of each member, or with its error. */
static json_t *ask_all(struct backup_cmd *b)
{
    json_t *list = json_array(), *db, *m;
    size_t i, k;
    json_array_foreach (backup_databases(b), i, db)
        json_array_foreach (json_object_get(db, "members"), k, m) {
            json_t *answer = NULL;
            struct err e;
            const char *host = json_opt_str(m, "host", ""), *name = json_opt_str(db, "name", "");
            if (backup_ask(b, name, host, "data.vault", &answer, &e) < 0)
                answer = json_pack(
                    "{s:s,s:s,s:s}", "host", host, "database", name, "error", e.message);
            add_follower(answer, db, m);
            json_array_append_new(list, answer);
        }
    return json_pack("{s:o}", "vaults", list);
}

/* One row for each server whose logs a vault has. */
static void add_server(struct table *t, const json_t *vault, size_t from, size_t to)
{
    json_t *logs = json_object_get(vault, "logs");
    json_t *first = json_array_get(logs, from), *last = json_array_get(logs, to - 1);
    int64_t bytes = 0, stored = 0, begun = 0, ended = 0;
    for (size_t i = from; i < to; i++) {
        json_t *log = json_array_get(logs, i);
        bytes += json_opt_int(log, "bytes", 0);
        stored += json_opt_int(log, "stored", 0);
        begun = begun ? begun : json_opt_int(log, "first_s", 0);
        ended = MAX(ended, json_opt_int(log, "last_s", 0));
    }
    char size[24], packed[24], since[24], until[24];
    backup_size(bytes, size);
    backup_size(stored, packed);
    backup_when(begun * 1000, since);
    backup_when(ended * 1000, until);
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(vault, "database", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(vault, "host", ""));
    table_cell(t, TABLE_PLAIN, "%lld", (long long)json_opt_int(first, "server", 0));
    table_cell(t, TABLE_PLAIN, "%zu", to - from);
    table_cell(t, TABLE_PLAIN, "%s", size);
    table_cell(t, TABLE_PLAIN, "%s", packed);
    table_cell(t, TABLE_DIM, "%s", json_opt_str(first, "from", ""));
    table_cell(t, TABLE_DIM, "%s", json_opt_str(last, "to", ""));
    table_cell(t, TABLE_PLAIN, "%s", since);
    table_cell(t, TABLE_PLAIN, "%s", until);
}

static void add_vault(struct table *t, const json_t *vault)
{
    json_t *logs = json_object_get(vault, "logs");
    size_t n = json_array_size(logs), from = 0;
    for (size_t i = 1; i <= n; i++)
        if (i == n
            || json_opt_int(json_array_get(logs, i), "server", 0)
                   != json_opt_int(json_array_get(logs, from), "server", 0)) {
            add_server(t, vault, from, i);
            from = i;
        }
}

static void add_words(const json_t *vault, struct str *out)
{
    size_t i;
    json_t *one;
    const char *host = json_opt_str(vault, "host", "?");
    const json_t *f = json_object_get(vault, "follower");
    if (json_opt_str(vault, "error", NULL))
        str_addf(out, "%s: not known: %s\n", host, json_opt_str(vault, "error", ""));
    if (json_is_object(f))
        str_addf(out, "%s: %s server %lld%s%s, %lld transactions behind it\n", host,
            json_opt_str(f, "state", "?"), (long long)json_opt_int(f, "source", 0),
            *json_opt_str(f, "why", "") ? ": " : "", json_opt_str(f, "why", ""),
            (long long)json_opt_int(f, "behind", 0));
    json_array_foreach (json_object_get(vault, "gaps"), i, one)
        str_addf(out, "%s: a gap in what server %lld wrote: after %s comes %s\n", host,
            (long long)json_opt_int(one, "server", 0), json_opt_str(one, "after", "?"),
            json_opt_str(one, "from", "?"));
    json_array_foreach (json_object_get(vault, "logs"), i, one)
        if (*json_opt_str(one, "why", ""))
            str_addf(out, "%s: %s is damaged: %s\n", host, json_opt_str(one, "name", "?"),
                json_opt_str(one, "why", ""));
}

static void show(const struct cmd_ctx *ctx, const json_t *answer)
{
    static const char *const heads[] = {"DATABASE", "HOST", "SERVER", "LOGS", "SIZE", "STORED",
        "AFTER", "UP TO", "SINCE (UTC)", "UNTIL (UTC)", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    size_t i;
    json_t *v;
    table_init(&t, heads);
    for (size_t c = 2; c < 6; c++)
        t.right[c] = true;
    json_array_foreach (json_object_get(answer, "vaults"), i, v)
        add_vault(&t, v);
    if (table_empty(&t))
        str_add(&out, "no logs yet\n");
    else
        table_format(&t, &style, &out);
    table_done(&t);
    json_array_foreach (json_object_get(answer, "vaults"), i, v)
        add_words(v, &out);
    fputs(str_cstr(&out), stdout);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct backup_cmd b;
    _cleanup_json_ json_t *answer = NULL;
    int r = backup_open(ctx, ctx->n_operands ? ctx->operands[0] : NULL, &b, e);
    if (r >= 0)
        answer = ask_all(&b);
    backup_close(&b);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        show(ctx, answer);
    return 0;
}

const struct cmd cmd_data_vault = {
    .name = "data vault",
    .operands = "[DATABASE]",
    .summary = "Show the binary logs that the hosts of replicas keep of the source",
    .text =
        "Each replica's host, in another region than the source, keeps the source's binary logs as "
        "they are written, packed when a file is over, for `replication.binlog_retention`. They "
        "take a backup forward to any transaction (`mcp backup restore`). For each server whose "
        "logs are there: how many, their size and what they take, the transactions after and up to "
        "which they go, and when. Gaps and damaged files are named.\n\n"
        "JSON: vaults[] {database, host, dir, follower {source (server id), state, why, gtid (on disk up "
        "to here), behind (transactions), log, last_s, files, bytes, stored, short}, logs[] "
        "{server, name, bytes, stored, from, to, first_s, last_s, packed, torn, why}, gaps[] "
        "{server, after, from}, error}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
