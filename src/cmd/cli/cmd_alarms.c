/* SPDX-License-Identifier: Apache-2.0 */
/* The `mcp alarms` commands that look. */
#include "base/clock/clock.h"
#include "base/str/str.h"
#include "base/units/units.h"
#include "cmd/cli/priv.h"
#include "domain/alarm/values.h"

#define ANSWER_MS 10000u

static int ask(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    json_t *params = ctx->n_operands ? json_pack("{s:s}", "name", ctx->operands[0]) : json_object();
    return params ? cmd_call(ctx, "alarms.list", params, ANSWER_MS, ret, e)
                  : err_set(e, ERR_USAGE, "the name is no UTF-8");
}

static bool fires(const json_t *a)
{
    const char *state = json_opt_str(a, "state", "");
    return !strcmp(state, "firing") || !strcmp(state, "clearing");
}

static enum table_mark mark_of(const json_t *a)
{
    if (json_opt_bool(a, "silenced", false))
        return TABLE_DIM;
    if (fires(a))
        return TABLE_BAD;
    return !strcmp(json_opt_str(a, "state", ""), "ok") ? TABLE_GOOD : TABLE_BOLD;
}

static const char *more_of(const json_t *a)
{
    if (json_opt_bool(a, "silenced", false))
        return ", silenced";
    return fires(a) && json_is_object(json_object_get(a, "acked")) ? ", acknowledged" : "";
}

static void add_alarm(struct table *t, const json_t *a)
{
    char age[CMD_AGE_SIZE];
    bool settled = !strcmp(json_opt_str(a, "state", ""), "ok");
    int64_t since = json_opt_int(a, settled ? "cleared_ms" : "since_ms", 0);
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(a, "name", "?"));
    table_cell(t, mark_of(a), "%s%s", json_opt_str(a, "state", "?"), more_of(a));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(a, "severity", "?"));
    table_cell(t, TABLE_PLAIN, "%s", cmd_age(since, clock_wall_ms(), age));
    table_cell(t, TABLE_DIM, "%s", json_opt_str(a, "why", ""));
}

static void show_list(const struct cmd_ctx *ctx, const json_t *answer, struct str *out)
{
    static const char *const heads[] = {"ALARM", "STATE", "SEVERITY", "SINCE", "BECAUSE", NULL};
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *a;
    table_init(&t, heads);
    for (int pass = 0; pass < 2; pass++) /* those that fire come first */
        json_array_foreach (json_object_get(answer, "alarms"), i, a)
            if (fires(a) == !pass)
                add_alarm(&t, a);
    if (table_empty(&t))
        str_add(out, "nothing was applied yet: there is nothing to raise an alarm for\n");
    else
        table_format(&t, &style, out);
    table_done(&t);
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, ask, show_list, e);
}

/* ---- one of them */

static void add_line(struct str *out, const char *what, const char *text)
{
    if (*text)
        str_addf(out, "%-13s%s\n", what, text);
}

static void add_time(struct str *out, const char *what, const json_t *a, const char *key)
{
    char stamp[CLOCK_STAMP_SIZE];
    int64_t at = json_opt_int(a, key, 0);
    if (!at)
        return;
    clock_format_rfc3339(at, stamp);
    add_line(out, what, stamp);
}

static void add_person(
    struct str *out, const char *what, const json_t *note, const char *word, const char *key)
{
    char stamp[CLOCK_STAMP_SIZE];
    const char *why = json_opt_str(note, "why", "");
    if (!json_is_object(note))
        return;
    clock_format_rfc3339(json_opt_int(note, key, 0), stamp);
    str_addf(out, "%-13sby %s %s %s%s%s\n", what, json_opt_str(note, "by", "?"), word, stamp,
        *why ? ": " : "", why);
}

static void add_told(struct str *out, const json_t *a)
{
    size_t i;
    json_t *d;
    const json_t *failed = json_object_get(a, "failed");
    json_array_foreach (json_object_get(a, "notify"), i, d)
        add_line(out, i ? "" : "tells", json_string_value(d));
    add_line(out, "runs", json_opt_str(a, "run", ""));
    json_array_foreach (json_object_get(a, "due"), i, d)
        str_addf(out, "%-13s%s to %s, after %lld tries\n", "due", json_opt_str(d, "what", "?"),
            json_opt_str(d, "to", "?"), (long long)json_opt_int(d, "tries", 0));
    if (json_is_object(failed))
        str_addf(out, "%-13s%s to %s: %s\n", "given up", json_opt_str(failed, "what", "?"),
            json_opt_str(failed, "to", "?"), json_opt_str(failed, "error", ""));
}

static void show_one(const struct cmd_ctx *ctx, const json_t *answer, struct str *out)
{
    const json_t *a = json_array_get(json_object_get(answer, "alarms"), 0);
    char time[UNITS_TEXT_SIZE], clear[UNITS_TEXT_SIZE];
    units_format_duration((uint64_t)MAX(json_opt_int(a, "for_ms", 0), 0), time);
    units_format_duration((uint64_t)MAX(json_opt_int(a, "clear_for_ms", 0), 0), clear);
    str_addf(out, "%-13s%s%s\n", "state", json_opt_str(a, "state", "?"), more_of(a));
    str_addf(out, "%-13s%s%s\n", "severity", json_opt_str(a, "severity", "?"),
        json_opt_bool(a, "builtin", false) ? ", built in" : "");
    add_line(out, "when", json_opt_str(a, "when", ""));
    str_addf(out, "%-13s%s (%s)\n", "now", json_opt_str(a, "now", "?"), json_opt_str(a, "why", ""));
    str_addf(out, "%-13s%s, cleared after %s\n", "for", time, clear);
    add_time(out, "fired", a, "fired_ms");
    add_time(out, "cleared", a, "cleared_ms");
    add_person(out, "acknowledged", json_object_get(a, "acked"), "at", "at_ms");
    add_person(out, "silenced", json_object_get(a, "silence"), "until", "until_ms");
    add_told(out, a);
}

static int run_show(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, ask, show_one, e);
}

/* ---- values */

static int ask_values(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    return cmd_call(ctx, "alarms.values", json_object(), ANSWER_MS, ret, e);
}

static void add_value(struct table *t, const char *path, const json_t *v)
{
    char name[ALARM_PATH_MAX + 1];
    const struct alarm_value *about = alarm_value_find(path, name, NULL);
    table_cell(t, TABLE_PLAIN, "%s", path);
    if (json_is_string(v))
        table_cell(t, TABLE_BOLD, "%s", json_string_value(v));
    else if (json_is_boolean(v))
        table_cell(t, TABLE_BOLD, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_number(v))
        table_cell(t, TABLE_BOLD, "%.6g", json_number_value(v));
    else
        table_cell(t, TABLE_DIM, "not known");
    table_cell(t, TABLE_DIM, "%s", about ? about->prose : "");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void show_values(const struct cmd_ctx *ctx, const json_t *answer, struct str *out)
{
    static const char *const heads[] = {"VALUE", "NOW", "WHAT IT IS", NULL};
    struct table_style style = cmd_style(ctx);
    struct table t;
    json_t *values = json_object_get(answer, "values"), *v;
    size_t n = 0;
    const char *path, *only = ctx->n_operands ? ctx->operands[0] : "";
    _cleanup_free_ const char **paths = xcalloc(json_object_size(values) + 1, sizeof *paths);
    json_object_foreach (values, path, v)
        if (str_starts(path, only))
            paths[n++] = path;
    qsort(paths, n, sizeof *paths, by_text);
    table_init(&t, heads);
    for (size_t i = 0; i < n; i++)
        add_value(&t, paths[i], json_object_get(values, paths[i]));
    if (table_empty(&t))
        str_add(out, "nothing of that is known\n");
    else
        table_format(&t, &style, out);
    table_done(&t);
}

static int run_values(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, ask_values, show_values, e);
}

#define LOOK_OPTS                                                                                  \
    (const struct cmd_opt[])                                                                       \
    {                                                                                              \
        {"watch", 'w', NULL, "show it again each second"}, CMD_OPT_FILE, CMD_OPT_PLATFORM,         \
            CMD_OPT_JSON, {0}                                                                      \
    }
#define LIST_TEXT                                                                                  \
    "Those that platform.yaml declares, and the built-in ones, which have dots in their names: "   \
    "every database, route and host has some without a word in the declaration. What fires "       \
    "stands first.\n\n"                                                                            \
    "pending: it is so, but not yet for as long as `for` says. clearing: it is over, but not yet " \
    "for as long as `clear_for` says.\n\n"                                                         \
    "JSON: alarms (name, state, severity, builtin, when, now: true, false or unknown, why, "       \
    "for_ms, clear_for_ms, notify, run, silenced, id: how many times it was raised, since_ms, "    \
    "fired_ms, cleared_ms, acked, due, failed), firing, asked_host."

const struct cmd cmd_alarms = {
    .name = "alarms",
    .operands = "",
    .summary = "Show alarms and what they say now",
    .text = LIST_TEXT,
    .opts = LOOK_OPTS,
    .run = run_list,
};

const struct cmd cmd_alarms_list = {
    .name = "alarms list",
    .operands = "",
    .summary = "Show alarms and what they say now",
    .text = LIST_TEXT,
    .opts = LOOK_OPTS,
    .run = run_list,
};

const struct cmd cmd_alarms_show = {
    .name = "alarms show",
    .operands = "NAME",
    .summary = "Show one alarm: since when, who was told, who has acknowledged it",
    .text = "due: who is still to be told; that is tried again for about a minute, by whoever "
            "leads. given up: who could not be.\n\n"
            "JSON as `mcp alarms list`, with this one alone.",
    .opts = LOOK_OPTS,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_show,
};

const struct cmd cmd_alarms_values = {
    .name = "alarms values",
    .operands = "[PREFIX]",
    .summary = "Show the values that alarms may look at, and what they are now",
    .text = "With a prefix (\"data.trade.\") only those that begin so. What is missing, or not "
            "known, neither raises an alarm nor clears one. Durations are in milliseconds, shares "
            "between 0 and 1.\n\n"
            "JSON: values (name to value), asked_host.",
    .opts = LOOK_OPTS,
    .max_operands = 1,
    .run = run_values,
};
