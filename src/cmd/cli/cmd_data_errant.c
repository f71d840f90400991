/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define LOOK_MS 120000u

/* Of one replica; what it cannot say is its "error". */
static json_t *ask(struct data_cmd *d, const struct replication_member *m)
{
    struct err e;
    json_t *answer = NULL;
    json_t *params = json_pack("{s:s,s:s,s:s,s:{s:s}}", "database", d->database, "host", m->host,
        "method", "data.errant", "params", "database", d->database);
    if (rpc_client_call(d->client, "data.look", params, LOOK_MS, NULL, NULL, &answer, &e) < 0)
        answer = json_pack("{s:[],s:s}", "transactions", "error", e.message);
    json_object_set_new(answer, "host", json_string(m->host));
    json_object_set_new(answer, "region", json_string(m->region));
    return answer;
}

static void show(const json_t *replica)
{
    size_t i, k;
    json_t *t, *line;
    const json_t *list = json_object_get(replica, "transactions");
    const char *error = json_opt_str(replica, "error", NULL);
    printf("%s, %s: ", json_opt_str(replica, "host", "?"), json_opt_str(replica, "region", "?"));
    if (error)
        printf("cannot say: %s\n", error);
    else if (!json_array_size(list))
        printf("nothing that the source does not have\n");
    else
        printf("%zu transactions that the source does not have (%s)\n", json_array_size(list),
            json_opt_str(replica, "gtids", ""));
    json_array_foreach (list, i, t) {
        printf("  %s %s\n", json_opt_str(t, "gtid", "?"), json_opt_str(t, "time", ""));
        bool whole = json_array_size(json_object_get(t, "sql")) > 0;
        json_array_foreach (json_object_get(t, "sql"), k, line)
            printf("    %s;\n", json_string_value(line));
        json_array_foreach (json_object_get(t, "rows"), k, line)
            printf("    %s%s\n", whole ? "-- " : "", json_string_value(line));
    }
    if (json_opt_bool(replica, "more", false))
        printf("  and more\n");
}

/* What can be done about it. */
static void offer(const char *database, const json_t *replica)
{
    const char *host = json_opt_str(replica, "host", "?");
    if (json_array_size(json_object_get(replica, "transactions")))
        printf("\nDiscard them: mcp data seed %s --host %s\n"
               "Keep them: run the statements above at the source, then the same command.\n",
            database, host);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct data_cmd d;
    _cleanup_json_ json_t *list = json_array();
    bool any = false;
    int r = data_cmd_open(ctx, &d, e);
    for (size_t i = 0; r >= 0 && i < d.doc.n_members; i++)
        if (&d.doc.members[i] != d.doc.source) {
            json_t *answer = ask(&d, &d.doc.members[i]);
            any |= json_array_size(json_object_get(answer, "transactions")) > 0;
            json_array_append_new(list, answer);
        }
    data_cmd_done(&d);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *all = json_pack("{s:s,s:O}", "database", ctx->operands[0], "replicas", list);
    if (ctx->json)
        cmd_print_json(all);
    for (size_t i = 0; !ctx->json && i < json_array_size(list); i++)
        show(json_array_get(list, i));
    for (size_t i = 0; any && !ctx->json && i < json_array_size(list); i++)
        offer(ctx->operands[0], json_array_get(list, i));
    return 0;
}

const struct cmd cmd_data_errant = {
    .name = "data errant",
    .operands = "DATABASE",
    .summary = "Show what replicas have written that their source does not have",
    .text =
        "Compares what is in each replica's binary log with what the source had, and shows every "
        "transaction that came from elsewhere, with its rows as SQL. Such a replica must not "
        "become the source: the transactions would turn up there.\n\n"
        "Discard them by `mcp data seed`, or run them at the source first; nothing does either by "
        "itself.\n\n"
        "JSON: database, replicas[] {host, region, gtids, transactions[] {gtid, time, sql[] (as "
        "sent), rows[] (what it did), cut}, more, error}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
