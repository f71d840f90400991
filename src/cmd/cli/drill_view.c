/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/drill_view.h"

#include "base/str/str.h"

static const char *text_of(const json_t *o, const char *key)
{
    return json_opt_str(o, key, "");
}

void drill_view_list(const json_t *drills, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {"DRILL", "MUST FOLLOW", "WHAT IT DOES", NULL};
    struct table t;
    size_t i;
    json_t *d;
    table_init(&t, heads);
    json_array_foreach (drills, i, d) {
        table_cell(&t, TABLE_BOLD, "%s", text_of(d, "name"));
        table_cell(&t, TABLE_PLAIN, "%s", text_of(d, "expect"));
        table_cell(&t, TABLE_PLAIN, "%s", text_of(d, "summary"));
    }
    table_format(&t, style, out);
    table_done(&t);
}

static void add_act(const json_t *act, struct str *out)
{
    str_addf(out, "  %-8s", text_of(act, "op"));
    if (json_object_get(act, "from"))
        str_addf(out, " %s -> %s", text_of(act, "from"), text_of(act, "to"));
    if (json_object_get(act, "loss"))
        str_addf(out, " %g %%", json_number_value(json_object_get(act, "loss")) * 100);
    if (json_object_get(act, "what"))
        str_addf(out, " %s (pid %lld) on", text_of(act, "what"),
            (long long)json_opt_int(act, "pid", 0));
    if (json_object_get(act, "host"))
        str_addf(out, " %s", text_of(act, "host"));
    str_add(out, "\n");
}

bool drill_view_plan(const json_t *plan, const struct table_style *style, struct str *out)
{
    bool may = true;
    size_t i;
    json_t *item;
    str_addf(out, "drill      %s in %s, region %s\n", text_of(plan, "drill"),
        text_of(plan, "platform"), text_of(plan, "region"));
    str_addf(out, "must follow: %s; undone after %lld s at the latest\n", text_of(plan, "expect"),
        (long long)json_opt_int(plan, "max_ms", 0) / 1000);
    str_add(out, "acts, undone in any case\n");
    json_array_foreach (json_object_get(plan, "acts"), i, item)
        add_act(item, out);
    json_array_foreach (json_object_get(plan, "checks"), i, item) {
        bool good = json_opt_bool(item, "good", false);
        table_mark_text(out, style, good ? TABLE_GOOD : TABLE_BAD, good ? "ok    " : "FAIL  ");
        str_addf(out, "%-9s %s\n", text_of(item, "name"), text_of(item, "text"));
        if (!good)
            str_addf(out, "      fix: %s\n", text_of(item, "fix"));
        may &= good;
    }
    return may;
}

static void add_time(const json_t *value, struct str *out)
{
    if (json_is_integer(value))
        str_addf(out, "%lld ms", (long long)json_integer_value(value));
    else
        str_add(out, "never");
}

static void add_times(const char *name, const json_t *times, struct str *out)
{
    static const char *const keys[] = {"p50", "p95", "max"};
    str_addf(out, "%-10s %lld clients", name, (long long)json_opt_int(times, "n", 0));
    for (size_t i = 0; json_opt_int(times, "n", 0) && i < ARRAY_SIZE(keys); i++) {
        str_addf(out, ", %s ", keys[i]);
        add_time(json_object_get(times, keys[i]), out);
    }
    str_add(out, "\n");
}

static void add_cached(const json_t *cached, struct str *out)
{
    add_times("cached", cached, out);
    str_add(out, "           at most ");
    add_time(json_object_get(cached, "over_ttl_max"), out);
    str_add(out, " beyond the life of its answer\n");
}

static void add_orders(const json_t *r, struct str *out)
{
    static const char *const keys[] = {
        "acked", "present", "lost", "duplicated", "reported_missing", "rescued"};
    static const char *const names[] = {"acknowledged", "present", "lost", "duplicated",
        "reported missing", "rescued"};
    str_add(out, "orders    ");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        str_addf(out, "%s %lld %s", i ? "," : "", (long long)json_opt_int(r, keys[i], -1), names[i]);
    str_addf(out, "; two writers: %s\n",
        json_opt_bool(r, "two_writers", false) ? "yes" : "never");
}

void drill_view_report(const json_t *r, const struct table_style *style, struct str *out)
{
    bool good = json_opt_bool(r, "passed", false);
    const json_t *cached = json_object_get(r, "cached_client_rto_ms");
    size_t i;
    json_t *why;
    str_addf(out, "drill      %s (%s), %s: ", text_of(r, "drill"), text_of(r, "mode"),
        text_of(r, "begun"));
    table_mark_text(out, style, good ? TABLE_GOOD : TABLE_BAD, good ? "passed" : "failed");
    str_add(out, "\n");
    json_array_foreach (json_object_get(r, "why"), i, why)
        str_addf(out, "because    %s\n", json_string_value(why));
    str_add(out, "back       first order after ");
    add_time(json_object_get(r, "rto_ms"), out);
    str_add(out, "\n");
    add_times("clients", json_object_get(r, "client_rto_ms"), out);
    if (json_opt_int(cached, "clients", 0))
        add_cached(cached, out);
    add_orders(r, out);
    str_addf(out, "page       %s\n", text_of(r, "page"));
}
