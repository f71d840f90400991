/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/data_view.h"
#include "cmd/cli/priv.h"

static void show(const struct cmd_ctx *ctx, const json_t *answer, struct str *out)
{
    struct table_style style = cmd_style(ctx);
    data_view_status(answer, &style, out);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, data_view_ask, show, e);
}

const struct cmd cmd_data_status = {
    .name = "data status",
    .operands = "[DATABASE]",
    .summary = "Show databases, their source, their replicas and how far these are behind",
    .text =
        "For each database: its source, the epoch (it rises whenever the source moves), and each "
        "member. STATE of a source is `writable`, `forming` while it is given its accounts and "
        "tables, or `read-only` with the reason; of a replica `replicating`, `stopped` while "
        "replication is being resumed, `frozen` when its data differ from the source's (nothing "
        "is ever skipped; `mcp timeline` has the error), `broken` when "
        "only a seed helps. LAG is from the commit at the source to being visible at the replica, "
        "P95 of the last five minutes; of a delayed replica its delay and how late it is over "
        "that. READ-ONLY: when a replica last refused a write of an account "
        "like an application's, and answered a query (`read_only_check`, each minute).\n\n"
        "DISK is how full the disk of its data is, and in how many days it will be at the pace of the "
        "last day.\n\n"
        "Below the members stands what was found, each with what mends it; errors and warnings "
        "are alarms in `mcp status` too, and in the timeline when they come and when they have gone. "
        "doc/guide/data.md lists them.\n\n"
        "JSON: databases[] {name, source (host), source_region, epoch, state, why, change, "
        "members[], replicas[] {host, region, state, why, lag_ms, ship_ms, apply_ms, lag_p50_ms, "
        "lag_p95_ms, lag_max_ms, late_ms (over delay_ms), uncertain, gtid, io_gtid, delay_ms, ladder {step, tries, "
        "next_ms}, check {read_only, serving, age_ms}, findings[] {id, severity, text, fix}}}; of "
        "one DATABASE these are at the top as "
        "well. What is not known is null.",
    .opts = (const struct cmd_opt[]){{"watch", 'w', NULL, "show it again each second"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
