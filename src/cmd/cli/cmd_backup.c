/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_backup.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#include <time.h>

#define SHORT_MS 90000u
#define LONG_MS 86400000u

int backup_open(struct cmd_ctx *ctx, const char *database, struct backup_cmd *ret, struct err *e)
{
    *ret = (struct backup_cmd){.ctx = ctx, .database = database};
    json_t *params = database ? json_pack("{s:s}", "database", database) : json_object();
    if (!params)
        return err_set(e, ERR_USAGE, "names are UTF-8");
    int r = cmd_connect(ctx, NULL, &ret->client, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    return rpc_client_call(
        ret->client, "data.status", params, SHORT_MS, NULL, NULL, &ret->status, e);
}

void backup_close(struct backup_cmd *b)
{
    rpc_client_free(b->client);
    json_decref(b->status);
}

const json_t *backup_databases(const struct backup_cmd *b)
{
    return json_object_get(b->status, "databases");
}

static json_t *outer(const char *database, const char *host, const char *method, json_t *params)
{
    json_object_set_new(params, "database", json_string(database));
    return json_pack("{s:s,s:s,s:s*,s:o}", "database", database, "host", host, "method", method,
        "params", params);
}

int backup_ask(struct backup_cmd *b, const char *database, const char *host, const char *method,
    json_t **ret, struct err *e)
{
    return rpc_client_call(b->client, "data.look", outer(database, host, method, json_object()),
        SHORT_MS, NULL, NULL, ret, e);
}

/* One line that is written over on a terminal, a line each time in a pipe. */
static int show_progress(void *ctx, json_t *part)
{
    struct backup_cmd *b = ctx;
    char size[24];
    int64_t bytes = json_opt_int(part, "bytes", 0);
    backup_size(bytes, size);
    if (b->ctx->json)
        return 0;
    _cleanup_free_ char *text =
        xasprintf("%s%s%s", json_opt_str(part, "phase", ""), bytes ? ", " : "", bytes ? size : "");
    if (b->ctx->terminal)
        printf("\r%-*s", (int)b->told, text);
    else
        printf("%s\n", text);
    b->told = strlen(text);
    fflush(stdout);
    return 0;
}

int backup_act(struct backup_cmd *b, const char *method, const char *database, const char *host,
    json_t *params, json_t **ret, struct err *e)
{
    int r = rpc_client_call(b->client, method, outer(database, host, NULL, params), LONG_MS,
        show_progress, b, ret, e);
    if (b->ctx->terminal && !b->ctx->json && b->told)
        printf("\r%-*s\r", (int)b->told, "");
    return r;
}

static void insert(json_t *list, json_t *backup)
{
    int64_t begun = json_opt_int(backup, "begun_ms", 0);
    size_t i = 0;
    while (i < json_array_size(list)
           && json_opt_int(json_array_get(list, i), "begun_ms", 0) >= begun)
        i++;
    json_array_insert(list, i, backup);
}

static void add_member(
    struct backup_cmd *b, const char *database, const char *host, json_t *list, json_t *errors)
{
    struct err e;
    _cleanup_json_ json_t *answer = NULL;
    size_t i;
    json_t *one;
    if (backup_ask(b, database, host, "data.backup.list", &answer, &e) < 0)
        json_array_append_new(errors,
            json_pack("{s:s,s:s,s:s}", "host", host, "database", database, "error", e.message));
    json_array_foreach (json_object_get(answer, "backups"), i, one)
        insert(list, one);
}

json_t *backup_list(struct backup_cmd *b)
{
    json_t *list = json_array(), *errors = json_array(), *db, *m;
    size_t i, k;
    json_array_foreach (backup_databases(b), i, db)
        json_array_foreach (json_object_get(db, "members"), k, m)
            add_member(b, json_opt_str(db, "name", ""), json_opt_str(m, "host", ""), list, errors);
    return json_pack("{s:o,s:o}", "backups", list, "errors", errors);
}

void backup_when(int64_t wall_ms, char out[24])
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    out[0] = '\0';
    if (wall_ms)
        strftime(out, 24, "%Y-%m-%d %H:%M:%S", gmtime_r(&t, &tm));
}

void backup_size(int64_t bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t i = 0;
    for (; n >= 1024 && i + 1 < ARRAY_SIZE(units); i++)
        n /= 1024;
    snprintf(out, 24, i && n < 100 ? "%.1f %s" : "%.0f %s", n, units[i]);
}

bool backup_time_parse(const char *text, int64_t *ret_s)
{
    struct tm tm = {0};
    char sep = 0;
    int used = 0, more = 0;
    if (sscanf(text, "%4d-%2d-%2d%c%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &sep,
            &tm.tm_hour, &tm.tm_min, &used) != 6
        || (sep != ' ' && sep != 'T'))
        return false;
    if (sscanf(text + used, ":%2d%n", &tm.tm_sec, &more) == 1)
        used += more;
    if (text[used] && !str_eq(text + used, "Z"))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *ret_s = (int64_t)timegm(&tm);
    return *ret_s > 0 && tm.tm_mon >= 0 && tm.tm_mon < 12 && tm.tm_hour < 24 && tm.tm_min < 60;
}
