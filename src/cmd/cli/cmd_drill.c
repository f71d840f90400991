/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "cmd/cli/drill_view.h"
#include "cmd/cli/priv.h"
#include "service/drill/drill.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>

#define RESULTS "bench/results"
#define CLIENTS_MAX 64
#define GUARD_FD 3
#define STEADY_MAX_MS 60000u /* the drill gives its load 90 s to become steady */

/* ---- what they share */

static int ask(void *arg, const char *host, const char *method, json_t *params,
    uint64_t timeout_ms, json_t **ret, struct err *e)
{
    struct rpc_client *c;
    int r = cmd_connect(arg, host, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(c, method, params ? params : json_object(), timeout_ms, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}

/* Where there is a bench/ folder, reports are kept with the other figures. */
static const char *folder(const struct cmd_ctx *ctx)
{
    const char *out = cmd_opt(ctx, "out");
    return out ? out : file_exists("bench") ? RESULTS : ".";
}

static int read_config(struct cmd_ctx *ctx, char *platform, struct drill_config *ret, struct err *e)
{
    int64_t clients = 4, rate = 20;
    *ret = (struct drill_config){.platform = platform,
        .drill = ctx->operands[0],
        .mode = cmd_opt(ctx, "mode") ? cmd_opt(ctx, "mode") : "live",
        .database = cmd_opt(ctx, "database"),
        .region = cmd_opt(ctx, "region"),
        .out = folder(ctx),
        .steady_ms = 3000,
        .stop_fd = -1,
        .ask = ask,
        .ask_ctx = ctx};
    int r = cmd_opt_number(ctx, "clients", &clients, e);
    if (r >= 0)
        r = cmd_opt_number(ctx, "rate", &rate, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "hold", &ret->hold_ms, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "steady", &ret->steady_ms, e);
    if (r >= 0 && ret->steady_ms > STEADY_MAX_MS)
        r = err_set(e, ERR_USAGE, "--steady is at most %u s", STEADY_MAX_MS / 1000);
    if (r >= 0 && (clients < 1 || clients > CLIENTS_MAX))
        r = err_set(e, ERR_USAGE, "--clients is 1 to %d", CLIENTS_MAX);
    if (r >= 0 && (rate < 1 || rate > 10000))
        r = err_set(e, ERR_USAGE, "--rate is 1 to 10000");
    if (r >= 0 && strcmp(ret->mode, "live") != 0 && strcmp(ret->mode, "rehearse") != 0
        && strcmp(ret->mode, "plan") != 0)
        r = err_set(e, ERR_USAGE, "--mode is plan, rehearse or live");
    ret->clients = (unsigned)clients;
    ret->rate = (double)rate;
    return r;
}

/* ---- list */

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *list = json_array();
    for (const struct drill_fault *f = drill_catalogue; f->name; f++)
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:s,s:s,s:I,s:I}", "name", f->name, "summary", f->summary, "text",
                f->text, "expect", drill_expect_name(f->expect), "hold_ms", (json_int_t)f->hold_ms,
                "max_ms", (json_int_t)f->max_ms));
    if (ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:O}", "drills", list);
        cmd_print_json(j);
        return 0;
    }
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str text = STR_INIT;
    drill_view_list(list, &style, &text);
    fputs(str_cstr(&text), stdout);
    return 0;
}

const struct cmd cmd_drill_list = {
    .name = "drill list",
    .operands = "",
    .summary = "Show the faults that can be practised",
    .text = "Each with what it does and what must follow: that the platform mends it in place, that "
            "another region becomes the source, or that everybody is back once it is undone. "
            "JSON: {drills[] {name, summary, text, expect, hold_ms, max_ms}}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_JSON, {0}},
    .run = run_list,
};

/* ---- plan */

static int show_plan(struct cmd_ctx *ctx, const struct drill_config *c, struct err *e)
{
    _cleanup_json_ json_t *plan = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int r = drill_plan(c, &plan, e);
    if (r < 0)
        return r;
    struct table_style style = cmd_style(ctx);
    bool may = drill_view_plan(plan, &style, &text);
    if (ctx->json)
        cmd_print_json(plan);
    else
        fputs(str_cstr(&text), stdout);
    return may ? 0 : 3;
}

static int run_plan(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *platform = NULL;
    struct drill_config c;
    int r = cmd_lab_name(ctx, &platform, e);
    if (r >= 0)
        r = read_config(ctx, platform, &c, e);
    return r < 0 ? r : show_plan(ctx, &c, e);
}

#define OPTS_WHAT                                                                                  \
    {"database", 0, "NAME", "the database (default: the first)"},                                  \
        {"region", 0, "REGION", "the region that is struck (default: the source's)"},              \
        {"hold", 0, "DURATION", "how long the fault lasts at least"}, CMD_OPT_FILE,                \
        CMD_OPT_PLATFORM, CMD_OPT_JSON

const struct cmd cmd_drill_plan = {
    .name = "drill plan",
    .operands = "NAME",
    .summary = "Show what a drill would do, and whether it may",
    .text = "Nothing is done. Exit status 3 when the drill would be refused: the platform is not "
            "well, lines are cut already, or the state store would lose its majority. JSON: the "
            "plan as it stands in the report.",
    .opts = (const struct cmd_opt[]){OPTS_WHAT, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_plan,
};

/* ---- run */

static void tell(void *ctx, int64_t at_ms, const char *text)
{
    printf("%+9.2f s  %s\n", (double)at_ms / 1000, text);
    fflush(stdout);
}

/* Ctrl-C and SIGTERM undo the fault and end the drill with its report. */
static int open_stop(struct drill_config *c, struct err *e)
{
    signal(SIGPIPE, SIG_IGN);
    c->stop_fd = cmd_stop_open(SFD_NONBLOCK, e);
    return MIN(c->stop_fd, 0);
}

static int run_run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *platform = NULL, *by = cmd_who();
    _cleanup_json_ json_t *report = NULL;
    struct drill_config c;
    int r = cmd_lab_name(ctx, &platform, e);
    if (r >= 0)
        r = read_config(ctx, platform, &c, e);
    if (r >= 0 && !strcmp(c.mode, "plan"))
        return show_plan(ctx, &c, e);
    if (r >= 0)
        r = open_stop(&c, e);
    if (r < 0)
        return r;
    c.tell = ctx->json ? NULL : tell;
    c.by = by;
    r = drill_run(&c, &report, e);
    close(c.stop_fd);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(report);
    } else {
        struct table_style style = cmd_style(ctx);
        _cleanup_str_ struct str text = STR_INIT;
        drill_view_report(report, &style, &text);
        fputs(str_cstr(&text), stdout);
    }
    return json_opt_bool(report, "passed", false) ? 0 : 1;
}

const struct cmd cmd_drill_run = {
    .name = "drill run",
    .operands = "NAME",
    .summary = "Put a fault into the lab under load, and report what buyers saw of it",
    .text =
        "Places orders as `mcp traffic` does, several buyers of each country, waits until all of "
        "them are served, injects the fault, reads it back from the lab itself, waits for what "
        "must follow, undoes it, waits until all is well, and compares every acknowledged order "
        "with the database.\n\n"
        "The undo is held by a process of its own before anything is done: when this command is "
        "killed, or the drill's longest time is over, it undoes. Ctrl-C undoes and still reports. "
        "The drill ends early when two servers write at one moment, or when the injection cannot "
        "be read back.\n\n"
        "--mode plan shows what would be done; rehearse does everything but the fault; live is "
        "the default. Exit status 1 when the drill did not pass, 3 when it was refused.\n\n"
        "JSON: {drill, passed, why[], steps[] {name, at_ms}, rto_ms, client_rto_ms {n, p50, p95, "
        "max}, cached_client_rto_ms {n, p50, p95, max, over_ttl_max}, other_client_rto_ms {}, clients[] "
        "{client, country, cached, ttl_left_ms, rto_ms, excess_ms, told_again_ms, told_until_ms, "
        "region}, by_country {}, acked, "
        "present, lost, duplicated, reported_missing, rescued, two_writers, read_back[], undo[], "
        "servers[], evidence, page}; times count from the injection. rto_ms is until the first "
        "order that was sent after the injection is acknowledged to a client whose answer names a "
        "living region; cached clients are those whose answer named only the lost one.",
    .opts = (const struct cmd_opt[]){{"mode", 0, "MODE", "plan, rehearse or live (live)"},
        {"rate", 0, "N", "orders a second, of all buyers (20)"},
        {"clients", 0, "N", "buyers of each country (4)"},
        {"steady", 0, "D", "how long all is well under load before the fault (3s)"},
        {"out", 0, "DIR", "where the report is kept (bench/results if there is bench/, else .)"},
        OPTS_WHAT, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_run,
};

/* ---- report */

static int run_report(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *report = NULL;
    int r = drill_report_load(folder(ctx), ctx->n_operands ? ctx->operands[0] : NULL, &report, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(report);
        return 0;
    }
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str text = STR_INIT;
    drill_view_report(report, &style, &text);
    fputs(str_cstr(&text), stdout);
    return 0;
}

const struct cmd cmd_drill_report = {
    .name = "drill report",
    .operands = "[NAME]",
    .summary = "Show the newest report of a drill",
    .text = "Of the drill NAME, or of any. The page beside it is for a browser.",
    .opts = (const struct cmd_opt[]){{"out", 0, "DIR", "where reports are kept"}, CMD_OPT_JSON,
        {0}},
    .max_operands = 1,
    .run = run_report,
};

/* ---- the process that holds the undo */

static int run_guard(struct cmd_ctx *ctx, struct err *e)
{
    fcntl(GUARD_FD, F_SETFD, FD_CLOEXEC);
    return drill_guard(ctx->operands[0], GUARD_FD, ask, ctx);
}

const struct cmd cmd_drill_guard = {
    .name = "drill-guard",
    .operands = "PLATFORM",
    .summary = "Hold the undo of a drill (started by `mcp drill run`)",
    .opts = (const struct cmd_opt[]){CMD_OPT_PLATFORM, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .hidden = true,
    .run = run_guard,
};
