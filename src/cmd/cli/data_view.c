/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/data_view.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "base/units/units.h"

#define ANSWER_TIMEOUT_MS 10000
#define MS_SIZE 32

int data_view_ask(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    struct rpc_client *c;
    json_t *params = ctx->n_operands ? json_pack("{s:s}", "database", ctx->operands[0]) : json_object();
    if (!params)
        return err_set(e, ERR_USAGE, "names are UTF-8");
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(c, "data.status", params, ANSWER_TIMEOUT_MS, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}

static enum table_mark mark_of(const char *state)
{
    static const char *const good[] = {"writable", "replicating"},
                            *const bad[] = {"frozen", "broken", "unreachable", "not-heard"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (str_eq(state, good[i]))
            return TABLE_GOOD;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (str_eq(state, bad[i]))
            return TABLE_BAD;
    return TABLE_WARN;
}

/* "14 ms", "3.2 s", "2m5s"; "" when it is not known, "~" in front when it is uncertain. */
static const char *lag_text(const json_t *m, const char *key, char out[MS_SIZE])
{
    const json_t *v = json_object_get(m, key);
    long long ms = (long long)json_integer_value(v);
    const char *about = json_opt_bool(m, "uncertain", false) ? "~" : "";
    if (!json_is_integer(v))
        return "";
    if (ms < 1000)
        snprintf(out, MS_SIZE, "%s%lld ms", about, ms);
    else if (ms < 60000)
        snprintf(out, MS_SIZE, "%s%lld.%lld s", about, ms / 1000, ms % 1000 / 100);
    else
        snprintf(out, MS_SIZE, "%s%lldm%llds", about, ms / 60000, ms % 60000 / 1000);
    return out;
}

/* Of one that is to be behind: how late it is over that. */
static void add_lag_cell(struct table *t, const json_t *m)
{
    char lag[MS_SIZE], delay[UNITS_TEXT_SIZE];
    uint64_t delay_ms = (uint64_t)MAX(json_opt_int(m, "delay_ms", 0), 0);
    units_format_duration(delay_ms, delay);
    if (delay_ms && json_is_integer(json_object_get(m, "late_ms")))
        table_cell(t, TABLE_PLAIN, "%s + %s", delay, lag_text(m, "late_ms", lag));
    else
        table_cell(t, TABLE_PLAIN, "%s", lag_text(m, "lag_ms", lag));
}

/* Why it is as it is; a ladder's step when it says nothing itself. */
static void add_why(struct table *t, const json_t *m)
{
    const json_t *ladder = json_object_get(m, "ladder");
    const char *why = json_opt_str(m, "why", ""), *step = json_opt_str(ladder, "step", "none");
    if (*why || str_eq(step, "none"))
        table_cell(t, TABLE_PLAIN, "%s", why);
    else
        table_cell(t, TABLE_WARN, "resumes: %s, try %lld", step,
            (long long)json_opt_int(ladder, "tries", 0));
}

/* "proven 12s ago": that it refuses writes and could serve. */
static void add_check(struct table *t, const json_t *m)
{
    const json_t *check = json_object_get(m, "check"), *proven = json_object_get(check, "read_only");
    bool well = json_is_true(proven) && json_opt_bool(check, "serving", false);
    long long age = (long long)json_opt_int(check, "age_ms", 0) / 1000;
    if (!json_is_object(check))
        table_cell(t, TABLE_PLAIN, "%s", "");
    else
        table_cell(t, well ? TABLE_GOOD : TABLE_BAD, "%s %llds ago",
            well                      ? "proven"
            : json_is_false(proven)   ? "WRITABLE"
            : json_is_true(proven)    ? "cannot serve"
                                      : "unproven",
            age);
}

/* How full, and in how many days to the end, if that is within a month. */
static void add_disk(struct table *t, const json_t *m)
{
    const json_t *disk = json_object_get(m, "disk"), *full = json_object_get(disk, "full_in_ms");
    double total = (double)json_opt_int(disk, "total", 0), days = json_number_value(full) / 86400000;
    if (total <= 0) {
        table_cell(t, TABLE_PLAIN, "%s", "");
        return;
    }
    double used = 100 - (double)json_opt_int(disk, "free", 0) * 100 / total;
    enum table_mark mark = used >= 90 ? TABLE_BAD : used >= 80 ? TABLE_WARN : TABLE_PLAIN;
    if (json_is_integer(full) && days < 30)
        table_cell(t, mark, "%.0f %%, full in %.1f d", used, days);
    else
        table_cell(t, mark, "%.0f %%", used);
}

static void add_member(struct table *t, const json_t *m)
{
    char p95[MS_SIZE];
    const char *state = json_opt_str(m, "state", "");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(m, "host", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(m, "region", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(m, "duty", ""));
    table_cell(t, mark_of(state), "%s", state);
    add_lag_cell(t, m);
    table_cell(t, TABLE_PLAIN, "%s", lag_text(m, "lag_p95_ms", p95));
    table_cell(t, TABLE_DIM, "%s", json_opt_str(m, "gtid", ""));
    add_check(t, m);
    add_disk(t, m);
    add_why(t, m);
}

static void add_findings(
    const json_t *m, const struct table_style *style, struct str *out)
{
    size_t i;
    json_t *f;
    json_array_foreach (json_object_get(m, "findings"), i, f) {
        const char *severity = json_opt_str(f, "severity", "");
        const char *fix = json_opt_str(f, "fix", "");
        _cleanup_free_ char *head =
            xasprintf("%s: %s", json_opt_str(m, "host", "?"), json_opt_str(f, "text", ""));
        str_add(out, "  ");
        table_mark_text(
            out, style, str_eq(severity, "error") ? TABLE_BAD : TABLE_WARN, head);
        str_add(out, "\n");
        if (*fix) {
            str_add(out, "    fix: ");
            table_mark_text(out, style, TABLE_PLAIN, fix);
            str_add(out, "\n");
        }
    }
}

static void show_change(const json_t *db, struct str *out)
{
    const json_t *change = json_object_get(db, "change");
    if (json_is_object(change))
        str_addf(out, "  %s from %s to %s: %s\n", json_opt_str(change, "kind", "change"),
            json_opt_str(change, "from", "?"), json_opt_str(change, "to", "?"),
            json_opt_str(change, "step", "?"));
}

static void show_database(const json_t *db, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {
        "HOST", "REGION", "DUTY", "STATE", "LAG", "P95", "GTID", "READ-ONLY", "DISK", "WHY", NULL};
    struct table t;
    size_t i;
    json_t *m;
    table_mark_text(out, style, TABLE_BOLD, json_opt_str(db, "name", "?"));
    str_addf(out, ": source %s (%s), epoch %lld, ", json_opt_str(db, "source", "?"),
        json_opt_str(db, "source_region", "?"), (long long)json_opt_int(db, "epoch", 0));
    table_mark_text(out, style, mark_of(json_opt_str(db, "state", "")), json_opt_str(db, "state", "?"));
    str_add(out, "\n");
    show_change(db, out);
    table_init(&t, heads);
    t.right[4] = t.right[5] = true;
    json_array_foreach (json_object_get(db, "members"), i, m)
        add_member(&t, m);
    table_format(&t, style, out);
    table_done(&t);
    json_array_foreach (json_object_get(db, "members"), i, m)
        add_findings(m, style, out);
}

void data_view_status(const json_t *answer, const struct table_style *style, struct str *out)
{
    size_t i;
    json_t *db;
    const json_t *list = json_object_get(answer, "databases");
    if (!json_array_size(list))
        str_add(out, "no database is declared, or none has its place yet\n");
    json_array_foreach (list, i, db) {
        str_add(out, i ? "\n" : "");
        show_database(db, style, out);
    }
}

static void add_lag(struct table *t, const json_t *db, const json_t *m)
{
    static const char *const keys[] = {
        "lag_ms", "lag_p50_ms", "lag_p95_ms", "lag_max_ms", "ship_ms", "apply_ms"};
    char text[MS_SIZE];
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(db, "name", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(m, "host", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(m, "region", ""));
    table_cell(t, mark_of(json_opt_str(m, "state", "")), "%s", json_opt_str(m, "state", ""));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        table_cell(t, TABLE_PLAIN, "%s", lag_text(m, keys[i], text));
}

void data_view_lag(const json_t *answer, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {"DATABASE", "HOST", "REGION", "STATE", "LAG", "P50", "P95",
        "MAX", "SHIP", "APPLY", NULL};
    struct table t;
    size_t i, k;
    json_t *db, *m;
    bool uncertain = false;
    table_init(&t, heads);
    for (size_t c = 4; c < 10; c++)
        t.right[c] = true;
    json_array_foreach (json_object_get(answer, "databases"), i, db)
        json_array_foreach (json_object_get(db, "replicas"), k, m) {
            add_lag(&t, db, m);
            uncertain |= json_opt_bool(m, "uncertain", false)
                         && json_is_integer(json_object_get(m, "lag_ms"));
        }
    if (table_empty(&t))
        str_add(out, "no database has a replica\n");
    else
        table_format(&t, style, out);
    table_done(&t);
    if (uncertain)
        str_add(out, "~: the clocks of the two hosts are not compared well enough for the figure\n");
}
