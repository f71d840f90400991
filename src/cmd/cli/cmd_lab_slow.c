/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/units/units.h"

/* "5%", "0.05" */
static bool parse_loss(const char *text, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    if (end == text)
        return false;
    if (*end == '%') {
        *ret /= 100;
        end++;
    }
    return !*end && *ret >= 0 && *ret <= 1;
}

static int parse_link(const struct cmd_ctx *ctx, struct lab_link *ret, struct err *e)
{
    const char *delay = cmd_opt(ctx, "delay"), *loss = cmd_opt(ctx, "loss"),
               *rate = cmd_opt(ctx, "rate");
    uint64_t delay_ms = 0;
    if (!delay && !loss && !rate)
        return err_set(e, ERR_USAGE, "say how: --delay, --loss or --rate");
    if (delay && !units_parse_duration(delay, &delay_ms))
        return err_set(e, ERR_USAGE, "--delay '%s' is no duration (like 50ms)", delay);
    if (loss && !parse_loss(loss, &ret->loss))
        return err_set(e, ERR_USAGE, "--loss '%s' is no share (like 5%% or 0.05)", loss);
    if (rate && !units_parse_rate(rate, &ret->rate_bps))
        return err_set(e, ERR_USAGE, "--rate '%s' is no rate (like 10Mbit)", rate);
    ret->has_delay = delay != NULL;
    ret->has_loss = loss != NULL;
    ret->has_rate = rate != NULL;
    ret->delay_us = delay_ms * 1000;
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    struct lab_link there = {0}, back;
    int r = parse_link(ctx, &there, e);
    if (r >= 0)
        r = cmd_lab_open(ctx, &l, e);
    if (r < 0)
        return r;
    back = there;
    there.from = back.to = ctx->operands[0];
    there.to = back.from = ctx->operands[1];
    r = lab_link_set(l, &there, e);
    if (r >= 0 && !cmd_flag(ctx, "one-way"))
        r = lab_link_set(l, &back, e);
    if (r >= 0)
        printf("slowed: %s %s %s\n", there.from, cmd_flag(ctx, "one-way") ? "->" : "<->", there.to);
    return r;
}

const struct cmd cmd_lab_slow = {
    .name = "lab slow",
    .operands = "A B",
    .summary = "Give the line between two lab hosts or regions delay, loss or a rate",
    .text = "Each way gets what is given here in place of what the declaration says; what is not "
            "given stays. `mcp lab mend` undoes it.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"delay", 0, "D", "one-way delay: 50ms"},
        {"loss", 0, "P", "share of packets lost: 5%, 0.05"},
        {"rate", 0, "R", "bits per second: 10Mbit; 0: no limit"},
        {"one-way", 0, NULL, "only from A to B"}, {0}},
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
