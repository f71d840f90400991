/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"
#include "cmd/cli/priv.h"

#include "base/file/file.h"
#include "cmd/cli/traffic_view.h"
#include "domain/model/model.h"
#include "service/traffic/traffic.h"

#include <sys/signalfd.h>

#define PEM_MAX 65536u

enum { PROGRESS_NONE, PROGRESS_LINE, PROGRESS_PLAIN, PROGRESS_JSONL, PROGRESS_EVENTS };

struct setup { /* the configuration and what it borrows */
    struct traffic_config config;
    json_t *buyers; /* of the lab; NULL: --here */
    struct model *model;
    struct str ca;
    char *name;
    unsigned clients; /* of each country */
    int progress;
    bool line_open; /* the terminal's last line is one of progress */
};

static void setup_done(struct setup *s)
{
    json_decref(s->buyers);
    model_free(s->model);
    str_done(&s->ca);
    free(s->name);
    if (s->config.stop_fd >= 0)
        close(s->config.stop_fd);
}

/* -- who asks whom ----------------------------------------------------------------------------- */

static int add_nameserver(struct traffic_config *c, const char *text, struct err *e)
{
    if (c->n_nameservers == TRAFFIC_NAMESERVERS_MAX)
        return 0; /* nobody asks that many */
    if (!text || !ip_parse(text, &c->nameservers[c->n_nameservers]))
        return err_set(e, ERR_INVALID, "the lab's name server is no address");
    c->n_nameservers++;
    return 0;
}

static int add_buyer(
    struct traffic_config *c, const char *country, const struct ip_addr *address, struct err *e)
{
    if (c->n_buyers == TRAFFIC_BUYERS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d countries", TRAFFIC_BUYERS_MAX);
    struct traffic_buyer *b = &c->buyers[c->n_buyers++];
    *b = (struct traffic_buyer){.address = *address};
    return str_copy(b->country, sizeof b->country, country)
               ? 0
               : err_set(e, ERR_USAGE, "'%s' is no country", country);
}

/* The address of a country's buyer; false: it has none. */
static bool find_buyer(const struct setup *s, const char *country, struct ip_addr *ret)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(s->buyers, "buyers"), country));
    if (s->buyers)
        return text && ip_parse(text, ret);
    for (size_t i = 0; i < s->model->lab.n_clients; i++) {
        const struct model_client *c = &s->model->lab.clients[i];
        if (!strcmp(c->country, country))
            return ip_prefix_nth(&c->prefix, 1, ret);
    }
    return false;
}

/* A country's buyers: its first address, and those that follow it in its range. */
static int add_country(
    struct setup *s, const char *country, const struct ip_addr *first, struct err *e)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(s->buyers, "ranges"), country));
    struct ip_prefix range;
    int r = add_buyer(&s->config, country, first, e);
    if (r < 0 || s->clients == 1)
        return r;
    if (!text || !ip_prefix_parse(text, &range))
        return err_set(e, ERR_USAGE, "--clients: the lab's buyers in %s have no range", country);
    for (unsigned k = 1; r >= 0 && k < s->clients; k++) {
        struct ip_addr a;
        r = ip_prefix_nth(&range, 1 + k, &a)
                ? add_buyer(&s->config, country, &a, e)
                : err_set(e, ERR_USAGE, "--clients: %s in lab.clients has room for %u", country, k);
    }
    return r;
}

static int add_chosen(struct setup *s, const char *list, struct err *e)
{
    _cleanup_free_ char *words = xstrdup(list);
    char *rest = words, *country;
    while ((country = strsep(&rest, ","))) {
        struct ip_addr address;
        if (!find_buyer(s, country, &address)) {
            err_set(e, ERR_USAGE, "there is no buyer in '%s'", country);
            err_fix(e, "lab.clients declares them, as in {KR: 198.51.100.0/28}");
            return ERR_USAGE;
        }
        int r = add_country(s, country, &address, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_all(struct setup *s, struct err *e)
{
    const char *country;
    json_t *text;
    struct ip_addr address = {0};
    if (!s->buyers)
        return add_buyer(&s->config, "", &address, e);
    json_object_foreach (json_object_get(s->buyers, "buyers"), country, text) {
        int r = ip_parse(json_string_value(text), &address)
                    ? add_country(s, country, &address, e)
                    : err_set(e, ERR_INVALID, "the lab's buyer in %s has no address", country);
        if (r < 0)
            return r;
    }
    return 0;
}

static int use_lab(const struct cmd_ctx *ctx, struct setup *s, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    size_t i;
    json_t *server;
    int r = cmd_lab_read(ctx, &l, e);
    if (r >= 0)
        r = lab_buyers(l, &s->buyers, e);
    json_array_foreach (json_object_get(s->buyers, "nameservers"), i, server)
        if (r >= 0)
            r = add_nameserver(&s->config, json_string_value(server), e);
    if (r < 0)
        return r;
    s->name = xasprintf("api.%s", json_opt_str(s->buyers, "domain", ""));
    str_add(&s->ca, json_opt_str(s->buyers, "ca", ""));
    s->config.ca_pem = s->ca.buf;
    return lab_enter_network(l, "client", e);
}

/* From this machine as it is, to a platform that is reached over its public addresses. */
static int use_here(struct cmd_ctx *ctx, struct setup *s, struct err *e)
{
    int r = cmd_load_model(ctx, &s->model, e);
    if (r < 0)
        return r;
    const struct model_routing *routing = &s->model->routing;
    for (size_t i = 0; i < routing->n_nameservers; i++) {
        const struct model_addrs *a = &routing->nameservers[i].region->addresses;
        for (size_t k = 0; k < a->n && s->config.n_nameservers < TRAFFIC_NAMESERVERS_MAX; k++)
            if (a->v[k].family == 4)
                s->config.nameservers[s->config.n_nameservers++] = a->v[k];
    }
    s->name = xasprintf("api.%s", s->model->domain);
    return 0;
}

static int find_platform(struct cmd_ctx *ctx, struct setup *s, struct err *e)
{
    const char *countries = cmd_opt(ctx, "countries"), *ca = cmd_opt(ctx, "ca");
    int r = cmd_flag(ctx, "here") ? use_here(ctx, s, e) : use_lab(ctx, s, e);
    if (r >= 0)
        r = countries ? add_chosen(s, countries, e) : add_all(s, e);
    if (r >= 0 && ca) {
        str_clear(&s->ca);
        r = file_read(ca, PEM_MAX, &s->ca, e);
        s->config.ca_pem = s->ca.buf;
    }
    s->config.name = cmd_opt(ctx, "name") ? cmd_opt(ctx, "name") : s->name;
    return r;
}

/* -- what is asked for ------------------------------------------------------------------------- */

static int opt_real(
    const struct cmd_ctx *ctx, const char *name, double min, double max, double *ret, struct err *e)
{
    const char *text = cmd_opt(ctx, name);
    char *end;
    if (!text)
        return 0;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= min) || !(v <= max))
        return err_set(e, ERR_USAGE, "--%s: '%s' is not %g to %g", name, text, min, max);
    *ret = v;
    return 0;
}

static int opt_count(
    const struct cmd_ctx *ctx, const char *name, unsigned max, unsigned *ret, struct err *e)
{
    int64_t v = *ret;
    int r = cmd_opt_number(ctx, name, &v, e);
    if (r >= 0 && (v < 1 || v > max))
        return err_set(e, ERR_USAGE, "--%s is 1 to %u", name, max);
    *ret = (unsigned)v;
    return r;
}

static int read_progress(const struct cmd_ctx *ctx, struct setup *s, struct err *e)
{
    const char *text = cmd_opt(ctx, "progress");
    s->progress = ctx->json ? PROGRESS_NONE : ctx->terminal ? PROGRESS_LINE : PROGRESS_PLAIN;
    if (text && strcmp(text, "jsonl") != 0 && strcmp(text, "events") != 0)
        return err_set(e, ERR_USAGE, "--progress is jsonl or events");
    if (text)
        s->progress = *text == 'e' ? PROGRESS_EVENTS : PROGRESS_JSONL;
    return 0;
}

static int read_options(const struct cmd_ctx *ctx, struct setup *s, struct err *e)
{
    struct traffic_config *c = &s->config;
    c->ledger = cmd_opt(ctx, "ledger");
    int r = opt_real(ctx, "rate", 0.01, TRAFFIC_RATE_MAX, &c->rate, e);
    if (r >= 0)
        r = opt_real(ctx, "reads", 0, 100, &c->reads, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "duration", &c->duration_ms, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "patience", &c->patience_ms, e);
    if (r >= 0)
        r = opt_count(ctx, "connections", TRAFFIC_CONNECTIONS_MAX, &c->connections, e);
    if (r >= 0)
        r = opt_count(ctx, "in-flight", TRAFFIC_IN_FLIGHT_MAX, &c->in_flight, e);
    s->clients = 1;
    if (r >= 0)
        r = opt_count(ctx, "clients", TRAFFIC_BUYERS_MAX, &s->clients, e);
    return r < 0 ? r : read_progress(ctx, s, e);
}

/* Ctrl-C and SIGTERM end the orders, not the comparison. */
static int open_stop(struct setup *s, struct err *e)
{
    s->config.stop_fd = cmd_stop_open(SFD_NONBLOCK, e);
    return MIN(s->config.stop_fd, 0);
}

/* -- telling ----------------------------------------------------------------------------------- */

static void on_event(void *ctx, const json_t *event)
{
    _cleanup_free_ char *text = json_text(event);
    puts(text);
    fflush(stdout);
}

static void on_second(void *ctx, const json_t *second)
{
    struct setup *s = ctx;
    _cleanup_str_ struct str line = STR_INIT;
    if (s->progress >= PROGRESS_JSONL) {
        _cleanup_free_ char *text = json_text(second);
        str_add(&line, text);
    } else {
        traffic_view_second(second, &line);
    }
    s->line_open = s->progress == PROGRESS_LINE;
    fputs(s->line_open ? "\r\033[K" : "", stdout);
    fputs(str_cstr(&line), stdout);
    fputs(s->line_open ? "" : "\n", stdout);
    fflush(stdout);
}

static void print_report(const struct cmd_ctx *ctx, struct setup *s, json_t *report)
{
    if (s->line_open)
        fputs("\n", stdout);
    if (s->progress >= PROGRESS_JSONL) {
        json_object_set_new(report, "phase", json_string("report"));
        _cleanup_free_ char *text = json_text(report);
        puts(text);
    } else if (ctx->json) {
        cmd_print_json(report);
    } else {
        struct table_style style = cmd_style(ctx);
        _cleanup_str_ struct str text = STR_INIT;
        traffic_view_report(report, &style, &text);
        fputs(str_cstr(&text), stdout);
    }
}

static int status_of(const json_t *report)
{
    bool good = json_opt_bool(report, "compared", false) && !json_opt_int(report, "lost", 1)
                && !json_opt_int(report, "duplicated", 1);
    return good ? 0 : 1;
}

static int go(struct cmd_ctx *ctx, bool only_compare, struct err *e)
{
    _cleanup_json_ json_t *report = NULL;
    _cleanup_(setup_done) struct setup s = {.config = {.port = 443,
                                                .path = "/v1/orders",
                                                .rate = 10,
                                                .patience_ms = 120000,
                                                .connections = 128,
                                                .in_flight = 1000,
                                                .stop_fd = -1}};
    int r = read_options(ctx, &s, e);
    if (r >= 0 && only_compare && !s.config.ledger)
        r = err_set(e, ERR_USAGE, "name the ledger with --ledger FILE");
    if (r >= 0)
        r = find_platform(ctx, &s, e);
    if (r >= 0)
        r = open_stop(&s, e);
    if (r < 0)
        return r;
    s.config.progress = s.progress == PROGRESS_NONE ? NULL : on_second;
    s.config.event = s.progress == PROGRESS_EVENTS ? on_event : NULL;
    s.config.ctx = &s;
    r = only_compare ? traffic_compare(&s.config, &report, e) : traffic_run(&s.config, &report, e);
    if (report && (r >= 0 || !ctx->json))
        print_report(ctx, &s, report);
    return r < 0 ? r : status_of(report);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return go(ctx, false, e);
}

static int run_compare(struct cmd_ctx *ctx, struct err *e)
{
    return go(ctx, true, e);
}

#define OPTS_COMMON                                                                                \
    {"countries", 0, "CC,...", "only buyers of these countries (default: all of lab.clients)"},    \
        {"patience", 0, "DURATION", "how long an order is tried, and the comparison (2m)"},        \
        {"name", 0, "NAME", "of the api (api. and the platform's domain)"},                        \
        {"here", 0, NULL, "from this machine's own network, not a lab's client"},                  \
        {"ca", 0, "FILE", "trust these certificates (default: the lab's, else this machine's)"},   \
        {"progress", 0, "jsonl|events",                                                            \
            "print one JSON object a second (and each acknowledgement), the report as the last"},  \
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON

const struct cmd cmd_traffic = {
    .name = "traffic",
    .operands = "",
    .summary = "Place orders as buyers do, and compare with the database what became of them",
    .text =
        "A load client in the lab's client network. Every country of lab.clients has a buyer, who "
        "asks the platform's name servers from an address of that country, keeps an answer for "
        "exactly its life, and places orders over HTTPS on kept connections. Orders are due at "
        "their instants, whatever the others are doing; one that cannot be sent within a second "
        "(--connections, --in-flight) is counted as not sent. An order without an answer is sent "
        "again with the same key until the patience is over.\n\n"
        "The ledger is a durable file: an order stands in it before it is sent, and its "
        "acknowledgement before it is counted. At the end it is read back and compared with "
        "every key of this run that the database's source has: acknowledged, present, lost, "
        "duplicated (one key in two rows, or with two ids). Exit status 1 when an order is lost or "
        "duplicated, or when nothing could be compared. Ctrl-C ends the orders and still "
        "compares; a second one does not.\n\n"
        "An outage is the longest time from an instant at which an order (a read) was due to the "
        "next success of any, of the country or of all. Delays count from that instant too. A "
        "read that finds nothing yet (404) is a success, counted as `stale`.\n\n"
        "JSON: {run, ledger, acked, present, lost, duplicated, unacked_present, errors {kind: n}, "
        "write_outage_ms, read_outage_ms, latency_ms {p50, p95, p99, max}, scheduled, sent, "
        "not_sent, unanswered, refused, retries, reads {}, by_country {CC: {regions {region: n}, "
        "acked, errors, write_outage_ms, read_outage_ms, latency_ms}}, compared}. present, lost "
        "and duplicated are null when it could not be compared.",
    .opts = (const struct cmd_opt[]){{"rate", 0, "N", "orders a second, of all countries (10)"},
        {"duration", 0, "DURATION", "how long orders are placed (default: until Ctrl-C)"},
        {"clients", 0, "N", "buyers of each country, each with its own name answers (1)"},
        {"reads", 0, "SHARE", "reads of an earlier order for each order (0)"},
        {"connections", 0, "N", "at most that many at work (128)"},
        {"in-flight", 0, "N", "at most that many orders sent and not answered (1000)"},
        {"ledger", 0, "FILE", "where the ledger is kept (./traffic-RUN.ledger); not there yet"},
        OPTS_COMMON, {0}},
    .run = run,
};

const struct cmd cmd_traffic_compare = {
    .name = "traffic compare",
    .operands = "",
    .summary = "Compare the ledger of an earlier run with the database",
    .text = "Reads the ledger and asks the api for every key of its run. A record that a crash has "
            "cut short at the end is left out (`torn`); a ledger that is spoilt elsewhere is "
            "refused. Exit status 1 when an acknowledged order is lost or duplicated.",
    .opts = (const struct cmd_opt[]){{"ledger", 0, "FILE", "the ledger"}, OPTS_COMMON, {0}},
    .run = run_compare,
};
