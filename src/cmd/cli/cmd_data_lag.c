/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/data_view.h"
#include "cmd/cli/priv.h"

static void show(const struct cmd_ctx *ctx, const json_t *answer, struct str *out)
{
    struct table_style style = cmd_style(ctx);
    data_view_lag(answer, &style, out);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, data_view_ask, show, e);
}

const struct cmd cmd_data_lag = {
    .name = "data lag",
    .operands = "[DATABASE]",
    .summary = "Show how far replicas are behind, and where the time goes",
    .text =
        "The source writes a row each second with its clock; the replica notes when the row shows, "
        "on the source's clock by an offset that the hosts measure between each other. SHIP is the "
        "time until the row was received, APPLY from there until it was visible; P50, P95 and MAX "
        "are of the last five minutes. The moment is exact to about 20 ms. A figure marked ~ is "
        "uncertain: the offset is not known to 50 ms, or a clock has jumped and it was not "
        "measured since.\n\n"
        "JSON as `mcp data status`.",
    .opts = (const struct cmd_opt[]){{"watch", 'w', NULL, "show it again each second"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
