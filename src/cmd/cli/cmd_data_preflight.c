/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "cmd/cli/priv.h"

#define RETENTION_DEFAULT_MS 604800000u

static void show(const json_t *result, bool all)
{
    size_t i, k;
    json_t *replica, *item;
    json_array_foreach (json_object_get(result, "replicas"), i, replica) {
        size_t good = 0;
        printf(
            "%s, %s:\n", json_opt_str(replica, "host", "?"), json_opt_str(replica, "region", "?"));
        json_array_foreach (json_object_get(replica, "items"), k, item) {
            bool pass = json_opt_bool(item, "pass", false);
            good += pass;
            if (!pass)
                printf("  FAIL  %-18s %s\n        fix: %s\n", json_opt_str(item, "id", "?"),
                    json_opt_str(item, "text", ""), json_opt_str(item, "fix", ""));
            else if (all)
                printf("  ok    %-18s %s\n", json_opt_str(item, "id", "?"),
                    json_opt_str(item, "text", ""));
        }
        printf("  %zu of %zu points are good\n", good,
            json_array_size(json_object_get(replica, "items")));
    }
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct data_cmd d;
    _cleanup_json_ json_t *result = NULL;
    struct preflight_wish wish = {.retention_ms = RETENTION_DEFAULT_MS};
    int r = cmd_opt_duration(ctx, "retention", &wish.retention_ms, e);
    if (r >= 0)
        r = data_cmd_open(ctx, &d, e);
    else
        return r;
    struct verify_caller caller = data_cmd_caller(&d);
    if (r >= 0)
        r = verify_preflight(
            &d.doc, d.database, &wish, json_object_get(d.json, "clocks"), &caller, &result, e);
    data_cmd_done(&d);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(result);
    else
        show(result, cmd_flag(ctx, "all"));
    if (json_opt_bool(result, "passed", false))
        return 0;
    return ctx->json ? 3 : err_set(e, ERR_REFUSED, "not all points are good");
}

const struct cmd cmd_data_preflight = {
    .name = "data preflight",
    .operands = "DATABASE",
    .summary = "Check that a database can be replicated, safely and for years",
    .text = "Looks at the source and at each replica: versions, identities, formats, durability, "
            "keys, engines, time zones, limits, filters, disks, certificates, accounts. Each point "
            "that fails comes with the command that mends it. Changes nothing. Exit code 3 when a "
            "point fails.\n\n"
            "JSON: passed, replicas[] {host, region, passed, items[] {id, pass, text, fix}}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"all", 'a', NULL, "show what is good as well"},
        {"retention", 0, "D", "how long binary logs have to be kept (default 7d)"}, CMD_OPT_JSON,
        {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
