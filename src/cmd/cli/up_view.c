/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/up_view.h"

#include "base/clock/clock.h"
#include "domain/model/model.h"

#include <errno.h>
#include <sys/ioctl.h>

#define ROWS_MIN 4 /* a terminal with no room for more gets the first line alone */

void up_view_hosts(struct up_view *v, const struct model *m)
{
    v->model = m;
    v->said = xcalloc(m->n_hosts, sizeof *v->said);
}

void up_view_done(struct up_view *v)
{
    up_view_end(v);
    free(v->said);
    v->said = NULL;
    v->model = NULL;
}

static bool has_room(const struct up_view *v)
{
    struct winsize size;
    return v->said && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
           && size.ws_row >= v->model->n_hosts + ROWS_MIN;
}

/* One line of the picture, cut so that it cannot wrap: what wraps could not be written over. */
static void add_line(struct str *out, const struct table_style *style, const char *text)
{
    _cleanup_free_ char *cut = xstrdup(text);
    if (style->width)
        cut[table_text_fit(cut, style->width - 1)] = '\0';
    str_add(out, "\r\033[K");
    table_mark_text(out, style, TABLE_DIM, cut);
}

/* In one write, over what stood there: nothing flickers. */
static void draw(struct up_view *v, enum up_phase phase, const char *text)
{
    struct table_style style = cmd_style(v->ctx);
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_free_ char *first = xasprintf("%-9s %s", up_phase_name(phase), text);
    if (v->lines > 1)
        str_addf(&out, "\033[%uA", v->lines - 1);
    add_line(&out, &style, first);
    v->lines = 1;
    for (size_t i = 0; has_room(v) && i < v->model->n_hosts; i++) {
        const struct model_host *h = &v->model->hosts[i];
        _cleanup_free_ char *row =
            xasprintf("  %-12s %-14s %s", h->name, h->region->name, v->said[i]);
        str_add(&out, "\n");
        add_line(&out, &style, row);
        v->lines++;
    }
    fputs(str_cstr(&out), stdout);
}

/* Returns whether that host has a row. */
static bool note(struct up_view *v, const char *host, const char *text)
{
    for (size_t i = 0; v->said && i < v->model->n_hosts; i++)
        if (!strcmp(v->model->hosts[i].name, host)) {
            str_copy(v->said[i], sizeof v->said[i], text);
            return true;
        }
    return false;
}

void up_view_progress(void *view, enum up_phase phase, const char *host, const char *text)
{
    struct up_view *v = view;
    uint64_t now = clock_boot_ms();
    if (!v->begun_ms[phase])
        v->begun_ms[phase] = now;
    if (!text)
        v->took_ms[phase] = now - v->begun_ms[phase];
    if (v->ctx->json)
        return;
    if (!text) {
        up_view_end(v);
        printf("%-9s %6.2f s\n", up_phase_name(phase), (double)v->took_ms[phase] / 1000);
    } else if (v->ctx->terminal) {
        bool has_row = host && note(v, host, text);
        if (!host)
            str_copy(v->text, sizeof v->text, text);
        draw(v, phase, has_row || !host ? v->text : text);
    }
    fflush(stdout);
}

void up_view_end(struct up_view *v)
{
    if (v->lines > 1)
        printf("\033[%uA", v->lines - 1);
    if (v->lines)
        fputs("\r\033[J", stdout);
    v->lines = 0;
    fflush(stdout);
}

/* ---- the result ---- */

static char *forwarder_url(const struct lab *l)
{
    const json_t *door = json_object_get(l->state, "forwarder");
    if (!json_opt_str(door, "as", NULL))
        return NULL; /* no buyers declared: nothing listens */
    return xasprintf("http://%s:%lld/", json_opt_str(door, "address", ""),
        (long long)json_opt_int(door, "port", 0));
}

static void print_json(
    const struct up_view *v, const struct lab *l, int64_t revision, const json_t *status)
{
    json_t *phases = json_object(), *hosts = json_array();
    _cleanup_free_ char *url = forwarder_url(l);
    size_t i;
    json_t *host;
    for (size_t k = 0; k < UP_PHASES; k++)
        if (v->begun_ms[k])
            json_object_set_new(
                phases, up_phase_name((enum up_phase)k), json_integer((json_int_t)v->took_ms[k]));
    json_array_foreach (json_object_get(l->state, "hosts"), i, host)
        json_array_append_new(hosts,
            json_pack("{s:O,s:O,s:O,s:O}", "name", json_object_get(host, "name"), "region",
                json_object_get(host, "region"), "addresses", json_object_get(host, "addresses"),
                "public_addresses", json_object_get(host, "public_addresses")));
    _cleanup_json_ json_t *j =
        json_pack("{s:s,s:I,s:b,s:I,s:o,s:s?,s:O?,s:O?,s:o}", "platform", l->platform, "revision",
            (json_int_t)revision, "ready", json_opt_bool(status, "ready", false), "took_ms",
            (json_int_t)(clock_boot_ms() - v->start_ms), "phases", phases, "url", url, "ca",
            json_object_get(l->state, "ca"), "as",
            json_object_get(json_object_get(l->state, "forwarder"), "as"), "hosts", hosts);
    cmd_print_json(j);
}

/* "2 of 3 ready" over the units of a region that are not standbys. */
static void count_units(
    const json_t *status, const char *region, unsigned *ready, unsigned *standby, unsigned *all)
{
    size_t i;
    json_t *u;
    *ready = *standby = *all = 0;
    json_array_foreach (json_object_get(status, "units"), i, u) {
        if (strcmp(json_opt_str(u, "region", ""), region) != 0)
            continue;
        bool waits = json_opt_bool(u, "standby", false);
        *standby += waits;
        *all += !waits;
        *ready += !waits && !strcmp(json_opt_str(u, "state", ""), "ready");
    }
}

static void add_addresses(struct str *out, const struct model_addrs *addrs)
{
    for (size_t i = 0; i < addrs->n; i++) {
        char text[IP_TEXT_SIZE];
        ip_format(&addrs->v[i], text);
        str_addf(out, "%s%s", out->len ? " " : "", text);
    }
}

static void add_region(
    struct table *t, const struct model *m, const struct model_region *region, const json_t *status)
{
    _cleanup_str_ struct str addresses = STR_INIT, hosts = STR_INIT;
    add_addresses(&addresses, &region->addresses);
    for (size_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].region == region)
            str_addf(&hosts, "%s%s", hosts.len ? " " : "", m->hosts[i].name);
    table_cell(t, TABLE_PLAIN, "%s", region->name);
    table_cell(t, TABLE_DIM, "%s", region_duty_name(region->duty));
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&addresses));
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&hosts));
    unsigned ready, standby, all;
    count_units(status, region->name, &ready, &standby, &all);
    if (standby)
        table_cell(t, ready == all ? TABLE_GOOD : TABLE_BAD, "%u of %u ready, %u standby", ready,
            all, standby);
    else
        table_cell(t, ready == all ? TABLE_GOOD : TABLE_BAD, "%u of %u ready", ready, all);
}

static void print_regions(const struct up_view *v, const struct model *m, const json_t *status)
{
    static const char *const heads[] = {"REGION", "DUTY", "ADDRESS", "HOSTS", "UNITS", NULL};
    struct table_style style = cmd_style(v->ctx);
    _cleanup_str_ struct str out = STR_INIT;
    struct table t;
    table_init(&t, heads);
    for (size_t i = 0; i < m->n_regions; i++)
        add_region(&t, m, &m->regions[i], status);
    table_format(&t, &style, &out);
    table_done(&t);
    printf("\n%s\n", str_cstr(&out));
}

/* A region worth killing: one that a country is sent to and that is not the main one. */
static const char *victim(const struct model *m)
{
    for (size_t i = 0; i < m->n_regions; i++)
        if (m->regions[i].duty == REGION_DR)
            return m->regions[i].name;
    return m->n_regions > 1 ? m->regions[m->n_regions - 1].name : NULL;
}

static void print_hints(const struct lab *l, const struct model *m)
{
    const char *self = program_invocation_name,
               *as = json_opt_str(json_object_get(l->state, "forwarder"), "as", NULL);
    long long port = (long long)json_opt_int(json_object_get(l->state, "forwarder"), "port", 0);
    _cleanup_free_ char *url = forwarder_url(l);
    _cleanup_names_ char **labs = lab_names();
    _cleanup_free_ char *which = xasprintf(
        "%s%s", labs[0] && labs[1] ? " --platform " : "", labs[0] && labs[1] ? l->platform : "");
    if (url) {
        printf("Open %s in a browser: %s as a buyer in %s sees it.\n", url, m->domain, as);
        printf("  %s lab as%s COUNTRY          another buyer's eyes\n", self, which);
        printf("  curl --cacert %s --connect-to ::127.0.0.1:%lld https://%s/\n",
            json_opt_str(l->state, "ca", ""), port, m->domain);
        printf("      the platform's own certificate; import that file to trust it in a browser\n");
    }
    if (m->routing.n_nameservers && m->lab.n_clients) {
        _cleanup_str_ struct str server = STR_INIT;
        struct model_addrs first = {m->routing.nameservers[0].region->addresses.v, 1};
        char range[IP_TEXT_SIZE];
        add_addresses(&server, &first);
        ip_prefix_format(&m->lab.clients[0].prefix, range);
        printf("  %s lab exec%s client -- dig @%s %s +subnet=%s\n", self, which, str_cstr(&server),
            m->domain, range);
    }
    if (victim(m))
        printf("  %s lab kill%s %s          then `lab heal`; `%s status --watch` beside it\n", self,
            which, victim(m), self);
    printf("  %s down %s\n", self, l->platform);
}

void up_view_result(struct up_view *v, const struct lab *l, const struct model *m, int64_t revision,
    const json_t *status)
{
    if (v->ctx->json) {
        print_json(v, l, revision, status);
        return;
    }
    double took_s = (double)(clock_boot_ms() - v->start_ms) / 1000;
    if (!status) {
        printf("%s: %zu hosts are on, nothing applied (%.2f s)\n", l->platform, m->n_hosts, took_s);
        return;
    }
    printf("%s is up: revision %lld, %zu hosts in %zu regions (%.1f s)\n", l->platform,
        (long long)revision, m->n_hosts, m->n_regions, took_s);
    print_regions(v, m, status);
    print_hints(l, m);
}
