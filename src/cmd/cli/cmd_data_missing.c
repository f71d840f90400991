/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "base/base64/base64.h"
#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LOOK_MS 20000u

static int look(struct data_cmd *d, const char *host, json_t *params, json_t **ret, struct err *e)
{
    json_object_set_new(params, "database", json_string(d->database));
    return rpc_client_call(d->client, "data.look",
        json_pack("{s:s,s:s,s:s,s:o}", "database", d->database, "host", host, "method",
            "data.rescue", "params", params),
        LOOK_MS, NULL, NULL, ret, e);
}

/* ---- what lies where */

/* A host that is away is an entry with its error. */
static void add_host(struct data_cmd *d, const struct replication_member *m, json_t *to)
{
    _cleanup_json_ json_t *answer = NULL;
    struct err e;
    size_t i;
    json_t *one;
    if (look(d, m->host, json_object(), &answer, &e) < 0) {
        json_array_append_new(to, json_pack("{s:s,s:s}", "host", m->host, "error", e.message));
        return;
    }
    json_array_foreach (json_object_get(answer, "rescues"), i, one)
        json_array_append(to, one);
}

/* The failover that is under way, or the last one. */
static const json_t *last_failover(const json_t *doc)
{
    const json_t *change = json_object_get(doc, "change"), *last = json_object_get(doc, "last");
    const json_t *newest = json_is_object(change) ? change : last;
    return str_eq(json_opt_str(newest, "kind", ""), "failover") ? newest : NULL;
}

static json_t *gather(struct data_cmd *d)
{
    json_t *list = json_array();
    const json_t *failover = last_failover(d->json), *missing = json_object_get(failover, "missing");
    for (size_t i = 0; i < d->doc.n_members; i++)
        add_host(d, &d->doc.members[i], list);
    return json_pack("{s:s,s:O?,s:o}", "database", d->database, "missing", missing, "rescues", list);
}

/* ---- for people */

static void show_bound(const json_t *missing)
{
    if (!json_is_object(missing))
        return;
    const char *from = json_opt_str(missing, "from_gtid", ""), *to = json_opt_str(missing, "to_gtid", "");
    if (json_opt_bool(missing, "known", false) && str_eq(from, to))
        printf("at the failover nothing was known to be missing (%s)\n", from);
    else
        printf("at the failover: what is over %s may be missing, up to %s and what came after that\n",
            *from ? from : "?", *to ? to : "?");
}

static void show_one(const json_t *r)
{
    size_t i;
    json_t *t;
    const char *error = json_opt_str(r, "error", NULL), *host = json_opt_str(r, "host", "?");
    if (error) {
        printf("%s cannot say: %s\n", host, error);
        return;
    }
    printf("epoch %lld: %s had %lld transactions that %s lacked (%s)\n",
        (long long)json_opt_int(r, "epoch", 0), host, (long long)json_opt_int(r, "transactions", 0),
        json_opt_str(r, "source", "?"), json_opt_str(r, "gtids", ""));
    json_array_foreach (json_object_get(r, "tables"), i, t)
        printf("  %-32s %lld rows   %s, %s\n", json_opt_str(t, "table", "?"),
            (long long)json_opt_int(t, "rows", 0), json_opt_str(t, "readable", ""),
            json_opt_str(t, "replay", ""));
}

static void show(const json_t *all)
{
    size_t i;
    json_t *r;
    const json_t *list = json_object_get(all, "rescues");
    show_bound(json_object_get(all, "missing"));
    json_array_foreach (list, i, r)
        show_one(r);
    if (!json_array_size(list))
        printf("no source of %s has come back with transactions that its successor lacks\n",
            json_opt_str(all, "database", ""));
}

/* ---- files */

static int add_piece(int fd, const char *data, struct err *e)
{
    _cleanup_str_ struct str bytes = STR_INIT;
    int r = base64_decode(data, strlen(data), &bytes, e);
    if (r >= 0 && write(fd, str_cstr(&bytes), bytes.len) != (ssize_t)bytes.len)
        r = err_errno(e, errno, "write");
    return r;
}

static int save_file(struct data_cmd *d, const json_t *rescue, const char *file, const char *dir,
    struct err *e)
{
    int64_t epoch = json_opt_int(rescue, "epoch", 0), offset = 0;
    _cleanup_free_ char *path = xasprintf("%s/%lld/%s", dir, (long long)epoch, file);
    int fd = strchr(file, '/') ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? err_errno(e, errno, "create %s", path) : 0;
    while (r >= 0 && offset >= 0) {
        _cleanup_json_ json_t *answer = NULL;
        r = look(d, json_opt_str(rescue, "host", ""),
            json_pack("{s:I,s:s,s:I}", "epoch", (json_int_t)epoch, "file", file, "offset",
                (json_int_t)offset),
            &answer, e);
        if (r >= 0)
            r = add_piece(fd, json_opt_str(answer, "data", ""), e);
        offset = json_opt_int(answer, "next", -1);
    }
    if (fd >= 0 && close(fd) < 0 && r >= 0)
        r = err_errno(e, errno, "close %s", path);
    return r;
}

static int save_rescue(struct data_cmd *d, const json_t *rescue, const char *dir, struct err *e)
{
    _cleanup_free_ char *own = xasprintf("%s/%lld", dir, (long long)json_opt_int(rescue, "epoch", 0));
    size_t i;
    json_t *t;
    int r = file_mkdirs(own, 0700, e);
    json_array_foreach (json_object_get(rescue, "tables"), i, t) {
        if (r >= 0)
            r = save_file(d, rescue, json_opt_str(t, "readable", ""), dir, e);
        if (r >= 0)
            r = save_file(d, rescue, json_opt_str(t, "replay", ""), dir, e);
    }
    return r < 0 ? r : save_file(d, rescue, "rescue.json", dir, e);
}

static int save_all(struct data_cmd *d, const json_t *all, const char *dir, struct err *e)
{
    size_t i;
    json_t *rescue;
    json_array_foreach (json_object_get(all, "rescues"), i, rescue)
        if (!json_object_get(rescue, "error")) {
            int r = save_rescue(d, rescue, dir, e);
            if (r < 0)
                return r;
        }
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct data_cmd d;
    _cleanup_json_ json_t *all = NULL;
    const char *dir = cmd_opt(ctx, "save");
    int r = data_cmd_open(ctx, &d, e);
    if (r >= 0) {
        all = gather(&d);
        r = dir ? save_all(&d, all, dir, e) : 0;
    }
    data_cmd_done(&d);
    if (r >= 0 && ctx->json)
        cmd_print_json(all);
    if (r >= 0 && !ctx->json)
        show(all);
    return r;
}

const struct cmd cmd_data_missing = {
    .name = "data missing",
    .operands = "DATABASE",
    .summary = "Show, and fetch, what a failover has lost of a database's writes",
    .text =
        "At a failover the range of transactions that may be missing is bounded by what the source "
        "wrote into its lease last. When that source returns, what it alone has is saved before "
        "anything is done to it, a file each way a table: TABLE.jsonl to read, TABLE.sql to run "
        "again at the source (`mariadb < TABLE.sql`). Nothing is ever written back by itself.\n\n"
        "JSON: database, missing {from_gtid, to_gtid, known} or null, rescues[] {epoch, host, "
        "source, gtids, ranges[], transactions, more, undoable, tables[] {table, rows, readable, "
        "replay}, error}.",
    .opts = (const struct cmd_opt[]){
        {"save", 0, "DIRECTORY", "fetch the files, into a folder for each epoch"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
