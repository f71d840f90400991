/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/units/units.h"
#include "domain/timeline/timeline.h"

#include <errno.h>

#define ANSWER_TIMEOUT_MS 30000

struct printer {
    const struct cmd_ctx *ctx;
    int broken; /* errno of standard output */
};

static int on_part(void *ctx, json_t *part)
{
    struct printer *p = ctx;
    struct timeline_entry t;
    _cleanup_str_ struct str line = STR_INIT;
    const json_t *entry = json_object_get(part, "entry");
    if (!entry || timeline_entry_parse(entry, &t, NULL) < 0)
        return 0;
    if (p->ctx->json) {
        _cleanup_free_ char *text = json_text(entry);
        str_add(&line, text);
    } else {
        bool today = t.wall_ms / 86400000 == clock_wall_ms() / 86400000;
        timeline_entry_print(&t, !today, &line);
    }
    puts(line.buf);
    p->broken = fflush(stdout) != 0 ? errno : 0;
    return p->broken ? ERR_CANCELED : 0;
}

/* A time, or how long ago. */
static int read_since(const char *word, json_t *params, struct err *e)
{
    uint64_t ago;
    int64_t at;
    char stamp[CLOCK_STAMP_SIZE];
    if (timeline_time_parse(word, &at)) {
        str_copy(stamp, sizeof stamp, word);
    } else if (units_parse_duration(word, &ago) && ago <= INT64_MAX / 2) {
        clock_format_rfc3339(clock_wall_ms() - (int64_t)ago, stamp);
    } else {
        err_set(e, ERR_USAGE, "--since: '%s' is neither a duration nor a time", word);
        err_fix(e, "as 10m, or as 2026-11-23T05:30:12.345Z");
        return ERR_USAGE;
    }
    json_object_set_new(params, "since", json_string(stamp));
    return 0;
}

static int read_params(const struct cmd_ctx *ctx, json_t *params, struct err *e)
{
    int64_t lines = cmd_opt(ctx, "since") ? 10000 : 50;
    int r = cmd_opt_number(ctx, "lines", &lines, e);
    if (r >= 0 && cmd_opt(ctx, "since"))
        r = read_since(cmd_opt(ctx, "since"), params, e);
    if (r < 0)
        return r;
    json_object_set_new(params, "lines", json_integer(lines));
    json_object_set_new(params, "follow", json_boolean(cmd_flag(ctx, "follow")));
    if (cmd_opt(ctx, "kind"))
        json_object_set_new(params, "kind", json_string(cmd_opt(ctx, "kind")));
    if (cmd_opt(ctx, "subject"))
        json_object_set_new(params, "subject", json_string(cmd_opt(ctx, "subject")));
    return 0;
}

static void print_missing(const json_t *answer)
{
    size_t i;
    json_t *host;
    json_array_foreach (json_object_get(answer, "missing"), i, host)
        fprintf(stderr, "mcp: %s cannot be asked: its own entries are missing here\n",
            json_string_value(host));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c;
    struct printer p = {.ctx = ctx};
    _cleanup_json_ json_t *answer = NULL;
    json_t *params = json_object();
    int r = read_params(ctx, params, e);
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    uint64_t timeout_ms = cmd_flag(ctx, "follow") ? 0 : ANSWER_TIMEOUT_MS;
    r = rpc_client_call(c, "timeline", params, timeout_ms, on_part, &p, &answer, e);
    rpc_client_free(c);
    if (p.broken)
        return p.broken == EPIPE ? 0 : err_errno(e, p.broken, "write to standard output");
    if (r < 0)
        return r;
    print_missing(answer);
    return 0;
}

const struct cmd cmd_timeline = {
    .name = "timeline",
    .operands = "",
    .summary = "Show what the platform did and saw, and why",
    .text = "Every change of state is an entry with its cause: units, roles, revisions, health of "
            "names in regions, changed "
            "answers, alarms. Each host keeps its own timeline on its disk, some 16 MiB of it; "
            "they are shown as one, in the "
            "order of their clocks. Hosts that cannot be asked are named on standard error.\n\n"
            "A line is: time (UTC), host, kind, subject: what happened (why).\n\n"
            "--kind takes a list (health,steering,alarm); --subject a subject or its first part "
            "(ap-seoul for "
            "ap-seoul/reindeers.com).\n\n"
            "JSON: one object a line {seq, time, boot_ms, host, region, kind, subject, message, "
            "cause, revision}.",
    .opts = (const struct cmd_opt[]){{"follow", 'f', NULL, "go on with entries as they come"},
        {"lines", 'n', "N", "the newest N (default 50; with --since 10000)"},
        {"since", 0, "TIME", "from then on: 10m, or 2026-11-23T05:30:12.345Z"},
        {"kind", 0, "KIND,...", "only these kinds"}, {"subject", 0, "SUBJECT", "only about this"},
        {"file", 0, "FILE", "the declaration (default: $MCP_FILE, else ./platform.yaml)"},
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
