/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#define SHORT_MS 90000u
#define LONG_MS 86400000u

int data_cmd_open(struct cmd_ctx *ctx, struct data_cmd *ret, struct err *e)
{
    *ret = (struct data_cmd){.ctx = ctx, .database = ctx->operands[0]};
    json_t *params = json_pack("{s:s}", "database", ret->database);
    if (!params)
        return err_set(e, ERR_USAGE, "names are UTF-8");
    int r = cmd_connect(ctx, NULL, &ret->client, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(
        ret->client, "data.switchover.status", params, SHORT_MS, NULL, NULL, &ret->json, e);
    return r < 0 ? r : replication_doc_parse(ret->json, &ret->doc, e);
}

void data_cmd_done(struct data_cmd *d)
{
    rpc_client_free(d->client);
    json_decref(d->json);
}

static int show_progress(void *ctx, json_t *part)
{
    const struct data_cmd *d = ctx;
    if (!d->ctx->json) {
        printf("%lld of %lld tables, %lld rows of the next\n",
            (long long)json_opt_int(part, "tables_done", 0),
            (long long)json_opt_int(part, "tables", 0), (long long)json_opt_int(part, "rows", 0));
        fflush(stdout);
    }
    return 0;
}

static int call(
    void *ctx, const char *host, const char *method, json_t *params, json_t **ret, struct err *e)
{
    struct data_cmd *d = ctx;
    bool sums = str_eq(method, "data.checksum");
    json_t *outer = json_pack("{s:s,s:s,s:s,s:o}", "database", d->database, "host", host, "method",
        method, "params", params);
    return rpc_client_call(d->client, sums ? "data.checksum" : "data.look", outer,
        sums ? LONG_MS : SHORT_MS, show_progress, d, ret, e);
}

struct verify_caller data_cmd_caller(struct data_cmd *d)
{
    return (struct verify_caller){.call = call, .ctx = d};
}
