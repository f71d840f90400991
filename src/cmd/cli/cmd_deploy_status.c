/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"

#include <poll.h>

#define ANSWER_MS 10000u
#define WATCH_MS 1000

/* "ap-seoul done 1/1, ap-hongkong running 1/2" */
static void add_regions(struct str *out, const json_t *d)
{
    const char *region;
    json_t *r;
    size_t start = out->len;
    json_object_foreach (json_object_get(d, "regions"), region, r)
        str_addf(out, "%s%s %s %lld/%lld", out->len > start ? ", " : "", region,
            json_opt_str(r, "state", "?"), (long long)json_opt_int(r, "ready", 0),
            (long long)json_opt_int(r, "wanted", 0));
}

static enum table_mark mark_of(const char *state)
{
    return !strcmp(state, "done") ? TABLE_GOOD : !strcmp(state, "running") ? TABLE_BOLD : TABLE_BAD;
}

static void format(const json_t *answer, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {
        "MODULE", "ROLLOUT", "REVISION", "STATE", "AGE", "REGIONS", NULL};
    struct table t;
    size_t i;
    json_t *d;
    table_init(&t, heads);
    json_array_foreach (json_object_get(answer, "deployments"), i, d) {
        _cleanup_str_ struct str regions = STR_INIT;
        char age[CMD_AGE_SIZE];
        const char *state = json_opt_str(d, "state", "?");
        add_regions(&regions, d);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(d, "module", "?"));
        table_cell(&t, TABLE_PLAIN, "%lld", (long long)json_opt_int(d, "id", 0));
        table_cell(&t, TABLE_PLAIN, "%lld", (long long)json_opt_int(d, "revision", 0));
        table_cell(&t, mark_of(state), "%s", state);
        table_cell(
            &t, TABLE_PLAIN, "%s", cmd_age(json_opt_int(d, "started_ms", 0), clock_wall_ms(), age));
        table_cell(&t, TABLE_DIM, "%s", str_cstr(&regions));
    }
    if (table_empty(&t))
        str_add(out, "nothing was rolled out yet: what runs is what was placed first\n");
    else
        table_format(&t, style, out);
    table_done(&t);
}

static void add_reasons(const json_t *answer, struct str *out)
{
    size_t i;
    json_t *j;
    json_array_foreach (json_object_get(answer, "deployments"), i, j) {
        const char *reason = json_opt_str(j, "reason", ""), *step = json_opt_str(j, "step", "");
        if (*step)
            str_addf(out, "%s: %s\n", json_opt_str(j, "module", "?"), step);
        if (*reason)
            str_addf(out, "%s: %s\n", json_opt_str(j, "module", "?"), reason);
    }
    json_array_foreach (json_object_get(answer, "lacks"), i, j)
        str_addf(out, "%s: %lld find no place in %s: %s\n", json_opt_str(j, "module", "?"),
            (long long)json_opt_int(j, "count", 0), json_opt_str(j, "region", "?"),
            json_opt_str(j, "reason", ""));
}

static bool any_live(const json_t *answer)
{
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(answer, "deployments"), i, d) {
        const char *state = json_opt_str(d, "state", "");
        if (!strcmp(state, "running") || !strcmp(state, "rolling-back"))
            return true;
    }
    return false;
}

static void print(const struct cmd_ctx *ctx, const json_t *answer)
{
    _cleanup_str_ struct str out = STR_INIT;
    if (ctx->json) {
        cmd_print_json(answer);
        return;
    }
    struct table_style style = cmd_style(ctx);
    format(answer, &style, &out);
    add_reasons(answer, &out);
    fputs(str_cstr(&out), stdout);
}

static int show(struct cmd_ctx *ctx, struct rpc_client *client, struct err *e)
{
    char *last = NULL;
    bool live = true;
    int r = 0;
    while (live && r >= 0) {
        _cleanup_json_ json_t *answer = NULL;
        json_t *params =
            ctx->n_operands ? json_pack("{s:s}", "module", ctx->operands[0]) : json_object();
        r = params ? rpc_client_call(
                client, "deploy.status", params, ANSWER_MS, NULL, NULL, &answer, e)
                   : err_set(e, ERR_USAGE, "the module's name is not UTF-8");
        char *text = answer ? json_text(answer) : NULL;
        if (r >= 0 && (!last || strcmp(last, text) != 0)) {
            if (last && !ctx->json)
                printf("\n");
            print(ctx, answer);
            fflush(stdout);
        }
        free(last);
        last = text;
        live = r >= 0 && cmd_flag(ctx, "watch") && any_live(answer);
        if (live)
            poll(NULL, 0, WATCH_MS);
    }
    free(last);
    return r < 0 ? r : 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *client;
    int r = cmd_connect(ctx, NULL, &client, e);
    if (r < 0)
        return r;
    r = show(ctx, client, e);
    rpc_client_free(client);
    return r;
}

const struct cmd cmd_deploy_status = {
    .name = "deploy status",
    .operands = "[MODULE]",
    .summary = "Show the last rollout of every module, or of one",
    .text =
        "Running ones first, then the newest: its number and revision, its state (running, done, "
        "rolling-back, rolled-back, failed), how far each region is, and the reason where there "
        "is one. What no host can take is said with the reason.\n\n"
        "--watch prints again whenever something changes, until no rollout runs.\n\n"
        "JSON: deployments[] (module, id, from, to, revision, by, strategy, state, step, reason, "
        "regions{}, started_ms, ended_ms), lacks[] (module, region, count, reason).",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"watch", 0, NULL, "print every change, until no rollout runs"}, CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
