/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people: one HTML file without anything else, made from the report alone. Every text
 * of it is escaped, whoever wrote it. */
#include "service/drill/drill.h"

#include "base/str/str.h"
#include "base/util/util.h"

#include <string.h>

#define CHART_WIDTH 900
#define CHART_HEIGHT 60
#define SECONDS_MAX 600

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Drill</title>\n<style>\n"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}\n"
    "h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:2.2rem}\n"
    ".verdict{display:inline-block;padding:.2rem .8rem;border-radius:.3rem;color:#fff;"
    "font-weight:600}.good{background:#1a7f37}.bad{background:#b42318}\n"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;"
    "border-bottom:1px solid #d8dee4;vertical-align:top}td.n,th.n{text-align:right;"
    "font-variant-numeric:tabular-nums}\n"
    ".tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}.tile{border:1px solid #d8dee4;"
    "border-radius:.4rem;padding:.6rem 1rem;min-width:8rem}.tile b{display:block;"
    "font-size:1.5rem}.dim{color:#59636e}\nsvg{width:100%;height:auto;display:block}\n"
    "</style></head><body>\n";

static void add_text(struct str *out, const char *text)
{
    for (const char *p = text ? text : ""; *p; p++)
        switch (*p) {
        case '<':
            str_add(out, "&lt;");
            break;
        case '>':
            str_add(out, "&gt;");
            break;
        case '&':
            str_add(out, "&amp;");
            break;
        case '"':
            str_add(out, "&quot;");
            break;
        case '\'':
            str_add(out, "&#39;");
            break;
        default:
            str_add_ch(out, *p);
        }
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_opt_str(o, key, "");
}

/* "12.3 s", "240 ms", "-" */
static void add_ms(struct str *out, const json_t *value)
{
    if (!json_is_integer(value)) {
        str_add(out, "–");
        return;
    }
    long long ms = (long long)json_integer_value(value);
    if (ms > -1000 && ms < 1000)
        str_addf(out, "%lld ms", ms);
    else
        str_addf(out, "%.1f s", (double)ms / 1000);
}

static void add_count(struct str *out, const json_t *value)
{
    if (json_is_integer(value))
        str_addf(out, "%lld", (long long)json_integer_value(value));
    else
        str_add(out, "–");
}

/* ---- top */

static void add_tile(struct str *out, const char *name, const json_t *value, bool is_time)
{
    str_add(out, "<div class=\"tile\"><b>");
    if (is_time)
        add_ms(out, value);
    else
        add_count(out, value);
    str_addf(out, "</b>%s</div>\n", name);
}

static void add_verdict(struct str *out, const json_t *r)
{
    bool good = json_opt_bool(r, "passed", false);
    size_t i;
    json_t *why;
    str_add(out, "<h1>Drill: ");
    add_text(out, text_of(r, "drill"));
    str_addf(out, " <span class=\"verdict %s\">%s</span></h1>\n<p class=\"dim\">",
        good ? "good" : "bad", good ? "passed" : "failed");
    add_text(out, text_of(r, "platform"));
    str_add(out, ", ");
    add_text(out, text_of(r, "mode"));
    str_add(out, ", ");
    add_text(out, text_of(r, "begun"));
    str_add(out, "</p>\n<p>");
    add_text(out, text_of(r, "text"));
    str_add(out, "</p>\n");
    json_array_foreach (json_object_get(r, "why"), i, why) {
        str_add(out, "<p><b>Failed:</b> ");
        add_text(out, json_string_value(why));
        str_add(out, "</p>\n");
    }
}

static void add_tiles(struct str *out, const json_t *r)
{
    const json_t *clients = json_object_get(r, "client_rto_ms"),
                 *cached = json_object_get(r, "cached_client_rto_ms");
    str_add(out, "<div class=\"tiles\">\n");
    add_tile(out, "until orders were taken again", json_object_get(r, "rto_ms"), true);
    add_tile(out, "half of the buyers were back", json_object_get(clients, "p50"), true);
    add_tile(out, "the last buyer was back", json_object_get(clients, "max"), true);
    if (json_opt_int(cached, "clients", 0))
        add_tile(out, "the last one with an old address", json_object_get(cached, "max"), true);
    add_tile(out, "orders acknowledged", json_object_get(r, "acked"), false);
    add_tile(out, "of them lost", json_object_get(r, "lost"), false);
    add_tile(out, "there twice", json_object_get(r, "duplicated"), false);
    str_add(out, "</div>\n<p>Two writers at one moment: <b>");
    str_add(out, json_opt_bool(r, "two_writers", false) ? "yes" : "never");
    str_add(out, "</b>. Reported missing by the platform: ");
    add_count(out, json_object_get(r, "reported_missing"));
    str_add(out, ", rescued: ");
    add_count(out, json_object_get(r, "rescued"));
    str_add(out, ".</p>\n");
}

/* ---- charts */

static int64_t most_of(const json_t *series)
{
    const char *country;
    json_t *list, *n;
    size_t i;
    int64_t most = 1;
    json_object_foreach ((json_t *)(uintptr_t)series, country, list)
        json_array_foreach (list, i, n)
            most = MAX(most, json_integer_value(n));
    return most;
}

static size_t length_of(const json_t *series)
{
    const char *country;
    json_t *list;
    size_t n = 1;
    json_object_foreach ((json_t *)(uintptr_t)series, country, list)
        n = MAX(n, json_array_size(list));
    return MIN(n, SECONDS_MAX);
}

static double place(int64_t at_ms, int64_t from_ms, size_t seconds)
{
    double x = (double)(at_ms - from_ms) / 1000 * CHART_WIDTH / (double)seconds;
    return MAX(0.0, MIN(x, (double)CHART_WIDTH));
}

static int64_t step_at(const json_t *r, const char *name, int64_t def)
{
    size_t i;
    json_t *step;
    json_array_foreach (json_object_get(r, "steps"), i, step)
        if (str_eq(text_of(step, "name"), name))
            return json_opt_int(step, "at_ms", def);
    return def;
}

static void add_chart(struct str *out, const json_t *r, const json_t *list, int64_t from_ms,
    size_t seconds, int64_t most)
{
    double width = (double)CHART_WIDTH / (double)seconds;
    double begin = place(0, from_ms, seconds),
           end = place(step_at(r, "undone", 0), from_ms, seconds);
    str_addf(out,
        "<svg viewBox=\"0 0 %d %d\" role=\"img\"><rect x=\"%.1f\" y=\"0\" width=\"%.1f\" "
        "height=\"%d\" fill=\"#fbe9e7\"/>\n",
        CHART_WIDTH, CHART_HEIGHT, begin, MAX(end - begin, 1.0), CHART_HEIGHT);
    size_t i;
    json_t *n;
    json_array_foreach (list, i, n) {
        double height = (double)json_integer_value(n) * (CHART_HEIGHT - 4) / (double)most;
        if (i < seconds && json_integer_value(n) > 0)
            str_addf(out,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#0969da\"/>",
                (double)i * width, CHART_HEIGHT - height, MAX(width - 0.5, 0.5), height);
    }
    str_add(out, "</svg>\n");
}

static void add_charts(struct str *out, const json_t *r)
{
    const json_t *series = json_object_get(r, "series"),
                 *lists = json_object_get(series, "acked_per_second");
    const char *country;
    json_t *list;
    size_t seconds = length_of(lists);
    str_addf(out,
        "<h2>Orders acknowledged in each second</h2>\n<p class=\"dim\">%zu seconds from left to "
        "right; the fault lasted where the ground is red.</p>\n",
        seconds);
    json_object_foreach ((json_t *)(uintptr_t)lists, country, list) {
        str_add(out, "<div>");
        add_text(out, country);
        str_add(out, "</div>");
        add_chart(out, r, list, json_opt_int(series, "from_ms", 0), seconds, most_of(lists));
    }
}

/* ---- tables */

static void add_countries(struct str *out, const json_t *r)
{
    const char *country, *region;
    json_t *of, *n;
    const json_t *load = json_object_get(json_object_get(r, "traffic"), "by_country");
    str_add(out, "<h2>As buyers saw it</h2>\n<table><tr><th>country<th class=\"n\">buyers"
                 "<th class=\"n\">with an old address<th class=\"n\">back: half"
                 "<th class=\"n\">95 %<th class=\"n\">last<th class=\"n\">longest outage"
                 "<th>then served by</tr>\n");
    json_object_foreach ((json_t *)(uintptr_t)json_object_get(r, "by_country"), country, of) {
        const json_t *rto = json_object_get(of, "rto_ms");
        static const char *const keys[] = {"p50", "p95", "max"};
        str_add(out, "<tr><td>");
        add_text(out, country);
        str_add(out, "<td class=\"n\">");
        add_count(out, json_object_get(of, "clients"));
        str_add(out, "<td class=\"n\">");
        add_count(out, json_object_get(of, "cached"));
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
            str_add(out, "<td class=\"n\">");
            add_ms(out, json_object_get(rto, keys[i]));
        }
        str_add(out, "<td class=\"n\">");
        add_ms(out, json_object_get(json_object_get(load, country), "write_outage_ms"));
        str_add(out, "<td>");
        json_object_foreach (json_object_get(of, "regions"), region, n) {
            add_text(out, region);
            str_add(out, " ");
        }
        str_add(out, "</tr>\n");
    }
    str_add(out, "</table>\n");
}

/* Those that held an old address, or were given one meanwhile. */
static void add_cached(struct str *out, const json_t *r)
{
    static const char *const keys[] = {"ttl_left_ms", "rto_ms", "excess_ms", "told_again_ms"};
    size_t i, n = 0;
    json_t *c;
    json_array_foreach (json_object_get(r, "clients"), i, c) {
        if (!json_opt_bool(c, "cached", false) && !json_is_integer(json_object_get(c, "told_again_ms")))
            continue;
        if (!n++)
            str_add(out, "<h2>Buyers with an old address, each</h2>\n<table><tr><th class=\"n\">buyer"
                         "<th>country<th class=\"n\">it was good for<th class=\"n\">back"
                         "<th class=\"n\">later than that<th class=\"n\">told it once more</tr>\n");
        str_add(out, "<tr><td class=\"n\">");
        add_count(out, json_object_get(c, "client"));
        str_add(out, "<td>");
        add_text(out, text_of(c, "country"));
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            str_add(out, "<td class=\"n\">");
            add_ms(out, json_object_get(c, keys[k]));
        }
        str_add(out, "</tr>\n");
    }
    str_add(out, n ? "</table>\n" : "");
}

static void add_timeline(struct str *out, const json_t *r)
{
    size_t i;
    json_t *step;
    str_add(out, "<h2>What happened</h2>\n<table><tr><th class=\"n\">time<th>event</tr>\n");
    json_array_foreach (json_object_get(r, "steps"), i, step) {
        str_addf(out, "<tr><td class=\"n\">%+.2f s<td>",
            (double)json_opt_int(step, "at_ms", 0) / 1000);
        add_text(out, text_of(step, "name"));
        str_add(out, "</tr>\n");
    }
    str_add(out, "</table>\n");
}

static void add_found(struct str *out, const json_t *r, const char *key, const char *title)
{
    size_t i;
    json_t *f;
    const json_t *list = json_object_get(r, key);
    if (!json_array_size(list))
        return;
    str_addf(out, "<h2>%s</h2>\n<table><tr><th>act<th>on<th>read back<th></tr>\n", title);
    json_array_foreach (list, i, f) {
        str_add(out, "<tr><td>");
        add_text(out, text_of(f, "op"));
        str_add(out, "<td>");
        add_text(out, text_of(f, "on"));
        str_add(out, "<td>");
        add_text(out, text_of(f, "read"));
        str_addf(out, "<td>%s</tr>\n", json_opt_bool(f, "good", false) ? "as it must be" : "<b>not so</b>");
    }
    str_add(out, "</table>\n");
}

static void add_servers(struct str *out, const json_t *r)
{
    size_t i;
    json_t *s;
    const json_t *list = json_object_get(r, "servers");
    if (!json_array_size(list))
        return;
    str_add(out, "<h2>Database servers, asked by themselves</h2>\n<table><tr><th class=\"n\">time"
                 "<th>host<th>it</tr>\n");
    json_array_foreach (list, i, s) {
        str_addf(out, "<tr><td class=\"n\">%+.2f s<td>", (double)json_opt_int(s, "at_ms", 0) / 1000);
        add_text(out, text_of(s, "host"));
        str_addf(out, "<td>%s</tr>\n",
            !json_opt_bool(s, "answers", false)    ? "does not answer"
            : json_opt_bool(s, "read_only", false) ? "reads only"
                                                   : "may write");
    }
    str_add(out, "</table>\n");
}

void drill_page(const json_t *report, struct str *out)
{
    str_add(out, head);
    add_verdict(out, report);
    add_tiles(out, report);
    add_charts(out, report);
    add_countries(out, report);
    add_cached(out, report);
    add_timeline(out, report);
    add_found(out, report, "read_back", "The fault, read back");
    add_found(out, report, "undo", "Its undoing, read back");
    add_servers(out, report);
    str_add(out, "<p class=\"dim\">Evidence: ");
    add_text(out, text_of(report, "evidence"));
    str_add(out, "</p>\n</body></html>\n");
}
