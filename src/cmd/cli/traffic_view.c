/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/traffic_view.h"

#define LOST_SHOWN 20u

#define GAP_SHOWN_MS 1000 /* shorter ones are between one order and the next */

static long long number(const json_t *o, const char *key)
{
    return (long long)json_opt_int(o, key, 0);
}

static void add_gap(struct str *out, const char *what, long long ms)
{
    if (ms >= GAP_SHOWN_MS)
        str_addf(out, ", no %s for %lld.%lld s", what, ms / 1000, ms % 1000 / 100);
}

void traffic_view_second(const json_t *second, struct str *out)
{
    const char *country;
    json_t *of;
    long long elapsed = number(second, "elapsed_ms") / 1000;
    if (!strcmp(json_opt_str(second, "phase", ""), "compare")) {
        str_addf(out, "%lld s: comparing %lld orders with the database", elapsed,
            number(second, "acked"));
        return;
    }
    str_addf(out, "%lld s: %lld acknowledged (%lld/s), %lld errors, %lld in flight", elapsed,
        number(second, "acked"), number(second, "acked_now"), number(second, "errors"),
        number(second, "in_flight"));
    if (number(second, "not_sent"))
        str_addf(out, ", %lld not sent", number(second, "not_sent"));
    add_gap(out, "writes", number(second, "write_gap_ms"));
    add_gap(out, "reads", number(second, "read_gap_ms"));
    json_object_foreach (json_object_get(second, "by_country"), country, of)
        if (json_object_get(of, "region"))
            str_addf(out, " %s:%s", country, json_opt_str(of, "region", "?"));
}

static double real(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void add_delays(struct str *out, const json_t *delays)
{
    str_addf(out, "p50 %.1f ms, p95 %.1f ms, max %.0f ms", real(delays, "p50"), real(delays, "p95"),
        real(delays, "max"));
}

static void add_errors(struct str *out, const json_t *report)
{
    const char *kind;
    json_t *n;
    const json_t *errors = json_object_get(report, "errors");
    if (!json_object_size(errors))
        return;
    str_add(out, "errors    ");
    json_object_foreach ((json_t *)(uintptr_t)errors, kind, n)
        str_addf(out, " %s %lld", kind, (long long)json_integer_value(n));
    str_addf(out, "; %lld attempts were repeated\n", number(report, "retries"));
}

static void add_figures(const json_t *report, struct str *out)
{
    str_addf(out,
        "orders     %lld scheduled, %lld sent, %lld acknowledged, %lld unanswered, %lld refused, "
        "%lld not sent\n",
        number(report, "scheduled"), number(report, "sent"), number(report, "acked_here"),
        number(report, "unanswered"), number(report, "refused"), number(report, "not_sent"));
    str_addf(out, "writes     longest outage %lld ms, ", number(report, "write_outage_ms"));
    add_delays(out, json_object_get(report, "latency_ms"));
    str_add(out, "\n");
    const json_t *reads = json_object_get(report, "reads");
    if (reads) {
        str_addf(out, "reads      longest outage %lld ms, ", number(report, "read_outage_ms"));
        add_delays(out, json_object_get(reads, "latency_ms"));
        str_addf(out, "; %lld answered, %lld of them behind, %lld failed\n",
            number(reads, "answered"), number(reads, "stale"), number(reads, "failed"));
    }
    add_errors(out, report);
}

static void add_comparison(const json_t *report, const struct table_style *style, struct str *out)
{
    char text[160];
    if (!json_opt_bool(report, "compared", false)) {
        snprintf(text, sizeof text, "not compared: %s", json_opt_str(report, "compare_error", "?"));
        table_mark_text(out, style, TABLE_BAD, text);
        str_add(out, "\n");
        return;
    }
    bool good = !number(report, "lost") && !number(report, "duplicated");
    str_addf(out, "database   %lld acknowledged, %lld present, ", number(report, "acked"),
        number(report, "present"));
    snprintf(text, sizeof text, "%lld lost, %lld duplicated", number(report, "lost"),
        number(report, "duplicated"));
    table_mark_text(out, style, good ? TABLE_GOOD : TABLE_BAD, text);
    if (number(report, "unacked_present"))
        str_addf(
            out, "; %lld present without an acknowledgement", number(report, "unacked_present"));
    str_add(out, "\n");
    size_t i;
    json_t *key;
    json_array_foreach (json_object_get(report, "lost_keys"), i, key)
        if (i < LOST_SHOWN)
            str_addf(out, "%s %s\n", i ? "          " : "lost keys ", json_string_value(key));
}

static void add_countries(const json_t *countries, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {
        "COUNTRY", "REGIONS", "ACKED", "NO WRITES", "NO READS", "P50", "P95", "MAX", NULL};
    struct table t;
    const char *country, *region;
    json_t *of, *n;
    table_init(&t, heads);
    for (size_t i = 2; i < 8; i++)
        t.right[i] = true;
    json_object_foreach ((json_t *)(uintptr_t)countries, country, of) {
        _cleanup_str_ struct str regions = STR_INIT;
        const json_t *delays = json_object_get(of, "latency_ms");
        json_object_foreach (json_object_get(of, "regions"), region, n)
            str_addf(&regions, "%s%s %lld", regions.len ? ", " : "", region,
                (long long)json_integer_value(n));
        table_cell(&t, TABLE_PLAIN, "%s", country);
        table_cell(&t, TABLE_PLAIN, "%s", str_cstr(&regions));
        table_cell(&t, TABLE_PLAIN, "%lld", number(of, "acked"));
        table_cell(&t, TABLE_PLAIN, "%lld ms", number(of, "write_outage_ms"));
        table_cell(&t, TABLE_PLAIN, "%lld ms", number(of, "read_outage_ms"));
        table_cell(&t, TABLE_PLAIN, "%.1f ms", real(delays, "p50"));
        table_cell(&t, TABLE_PLAIN, "%.1f ms", real(delays, "p95"));
        table_cell(&t, TABLE_PLAIN, "%.0f ms", real(delays, "max"));
    }
    table_format(&t, style, out);
    table_done(&t);
}

void traffic_view_report(const json_t *report, const struct table_style *style, struct str *out)
{
    const json_t *countries = json_object_get(report, "by_country");
    str_addf(out, "run        %s, ledger %s\n", json_opt_str(report, "run", "?"),
        json_opt_str(report, "ledger", "?"));
    if (countries)
        add_figures(report, out);
    add_comparison(report, style, out);
    if (countries)
        add_countries(countries, style, out);
}
