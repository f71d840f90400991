/* SPDX-License-Identifier: Apache-2.0 */
/* What alarms look at, from what the hosts report. What nobody has said is left out: it is not
 * known. */
#include "role/control/alarms.h"
#include "role/control/databases.h"
#include "role/control/failover.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/alarm/values.h"
#include "domain/replication/status.h"

#define SILENT_MS 6500u /* three beats, and a little */
#define DAY_MS (24.0 * 3600 * 1000)

struct gather {
    struct control *c;
    json_t *values;
    json_t *own; /* this host's report */
    bool young;  /* this control has not heard everybody yet: silence says nothing */
};

static void set(struct gather *g, enum alarm_family family, const char *name, const char *key,
    json_t *v)
{
    alarm_value_set(g->values, family, name, key, v);
}

static bool hears(struct gather *g, const char *host)
{
    const struct host_report *r = control_find_report(g->c, host);
    uint64_t at = r ? MAX(MAX(r->heard_ms, r->beat_ms), r->data_ms) : 0;
    return str_eq(host, g->c->host) || clock_boot_ms() < at + SILENT_MS;
}

static const json_t *report_of(struct gather *g, const char *host)
{
    const struct host_report *r = control_find_report(g->c, host);
    return str_eq(host, g->c->host) ? g->own : r ? r->report : NULL;
}

static json_t *known(enum alarm_truth t)
{
    return t == ALARM_UNKNOWN ? json_null() : json_boolean(t == ALARM_TRUE);
}

/* ---- databases */

static const json_t *data_report(void *ctx, const char *host, const char *database)
{
    return control_data_report(ctx, host, database);
}

/* Of a server that is being made nothing is said. */
static enum alarm_truth answers(struct gather *g, const json_t *member)
{
    const char *state = json_opt_str(member, "state", "");
    if (!hears(g, json_opt_str(member, "host", "")) || str_eq(state, "not-heard"))
        return g->young ? ALARM_UNKNOWN : ALARM_FALSE;
    if (str_eq(state, "starting") || str_eq(state, "forming") || str_eq(state, "seeding"))
        return ALARM_UNKNOWN;
    return str_eq(state, "unreachable") ? ALARM_FALSE : ALARM_TRUE;
}

static enum alarm_truth follows(struct gather *g, const json_t *replica)
{
    enum alarm_truth t = answers(g, replica);
    if (t == ALARM_TRUE && !str_eq(json_opt_str(replica, "state", ""), "replicating"))
        t = ALARM_FALSE;
    return t;
}

static void gather_replicas(struct gather *g, const char *name, const json_t *status)
{
    enum alarm_truth all = ALARM_TRUE;
    int64_t worst = -1;
    size_t i;
    json_t *r, *replicas = json_object_get(status, "replicas");
    json_array_foreach (replicas, i, r) {
        enum alarm_truth t = follows(g, r);
        if (t == ALARM_FALSE || (t == ALARM_UNKNOWN && all == ALARM_TRUE))
            all = t;
        worst = MAX(worst, json_opt_int(r, "late_ms", -1));
    }
    if (!json_array_size(replicas))
        return;
    set(g, ALARM_OF_DATA, name, "replicating", known(all));
    if (worst >= 0)
        set(g, ALARM_OF_DATA, name, "lag_ms", json_integer(worst));
}

static void gather_disks(struct gather *g, const char *name, const json_t *status)
{
    double least = 2;
    int64_t soonest = INT64_MAX, errors = 0;
    size_t i, k;
    json_t *m, *f;
    json_array_foreach (json_object_get(status, "members"), i, m) {
        const json_t *disk = json_object_get(m, "disk");
        int64_t total = json_opt_int(disk, "total", 0);
        if (total > 0)
            least = MIN(least, (double)json_opt_int(disk, "free", 0) / (double)total);
        soonest = MIN(soonest, json_opt_int(disk, "full_in_ms", INT64_MAX));
        json_array_foreach (json_object_get(m, "findings"), k, f)
            errors += str_eq(json_opt_str(f, "severity", ""), "error");
    }
    if (least <= 1)
        set(g, ALARM_OF_DATA, name, "disk_free", json_real(least));
    if (soonest != INT64_MAX)
        set(g, ALARM_OF_DATA, name, "disk_full_in", json_integer(soonest));
    set(g, ALARM_OF_DATA, name, "findings", json_integer(errors));
}

static void gather_database(struct gather *g, const char *name)
{
    const json_t *doc = control_data_doc(g->c, name), *source = NULL;
    _cleanup_json_ json_t *status = doc ? replication_status(name, doc, data_report, g->c) : NULL;
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(status, "members"), i, m)
        if (str_eq(json_opt_str(m, "duty", ""), "source"))
            source = m;
    if (!source)
        return;
    enum alarm_truth t = answers(g, source);
    const char *state = json_opt_str(source, "state", "");
    set(g, ALARM_OF_DATA, name, "answering", known(t));
    if (t != ALARM_UNKNOWN)
        set(g, ALARM_OF_DATA, name, "writable",
            json_boolean(t == ALARM_TRUE && str_eq(state, "writable")));
    set(g, ALARM_OF_DATA, name, "state", json_string(state));
    gather_replicas(g, name, status);
    gather_disks(g, name, status);
}

/* A change that is under way says nothing of the next. */
static void gather_failover(struct gather *g)
{
    static const char *const never[] = {"blocked", "paused", "partial"};
    _cleanup_json_ json_t *rows = control_failover_status(g->c);
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        const char *state = json_opt_str(row, "state", "unknown"),
                   *name = json_opt_str(row, "database", "");
        bool ready = json_opt_bool(row, "armed", false);
        for (size_t k = 0; k < ARRAY_SIZE(never); k++)
            ready &= !str_eq(state, never[k]);
        if (!str_eq(state, "unknown"))
            set(g, ALARM_OF_DATA, name, "failover_ready", json_boolean(ready));
        int64_t armed_ms = json_opt_int(
            json_object_get(failover_doc_of(g->c, name), "armed"), "at_ms", 0);
        if (armed_ms > 0)
            set(g, ALARM_OF_DATA, name, "drill_age",
                json_integer(MAX(clock_wall_ms() - armed_ms, 0)));
    }
}

/* ---- modules and their routes */

static void gather_units(const json_t *units, const char *module, int64_t *n, int64_t *ready)
{
    size_t i;
    json_t *u;
    json_array_foreach (units, i, u)
        if (str_eq(json_opt_str(u, "module", NULL), module)) {
            ++*n;
            *ready += str_eq(json_opt_str(u, "state", ""), "ready");
        }
}

static void gather_module(struct gather *g, const struct model_module *m)
{
    int64_t n = 0, ready = 0, requests = 0, errors = 0;
    for (size_t i = 0; i < g->c->model->n_hosts; i++) {
        const char *host = g->c->model->hosts[i].name;
        const json_t *report = hears(g, host) ? report_of(g, host) : NULL;
        const json_t *route = json_object_get(json_object_get(report, "routes"), m->name);
        gather_units(json_object_get(report, "units"), m->name, &n, &ready);
        requests += json_opt_int(route, "requests", 0);
        errors += json_opt_int(route, "errors", 0);
    }
    set(g, ALARM_OF_MODULE, m->name, "instances", json_integer(n));
    set(g, ALARM_OF_MODULE, m->name, "ready", json_integer(ready));
    if (!m->n_routes)
        return;
    set(g, ALARM_OF_ROUTE, m->name, "requests", json_integer(requests));
    set(g, ALARM_OF_ROUTE, m->name, "errors", json_integer(errors));
    set(g, ALARM_OF_ROUTE, m->name, "error_rate",
        json_real(requests ? (double)errors / (double)requests : 0));
}

/* ---- hosts */

static void gather_certificates(struct gather *g, const char *host, const json_t *certs)
{
    bool late = false;
    int64_t first = INT64_MAX;
    size_t i;
    json_t *l, *leaves = json_object_get(certs, "leaves");
    json_array_foreach (leaves, i, l) {
        const char *state = json_opt_str(l, "state", "");
        int64_t end = json_opt_int(l, "not_after_ms", 0);
        late |= str_eq(state, "late") || str_eq(state, "expired");
        first = MIN(first, end ? end : INT64_MAX);
    }
    if (!json_array_size(leaves))
        return;
    set(g, ALARM_OF_HOST, host, "cert_late", json_boolean(late));
    if (first != INT64_MAX)
        set(g, ALARM_OF_HOST, host, "cert_days",
            json_real((double)(first - clock_wall_ms()) / DAY_MS));
}

static void gather_host(struct gather *g, const char *host, int64_t *silent, int64_t *ca_end)
{
    const json_t *report = report_of(g, host), *machine = json_object_get(report, "machine");
    bool heard = hears(g, host);
    if (heard || !g->young)
        set(g, ALARM_OF_HOST, host, "heard", json_boolean(heard));
    *silent += !heard;
    if (!heard)
        return;
    int64_t total = json_opt_int(machine, "disk_bytes", 0);
    json_t *full_in = json_object_get(machine, "disk_full_in_ms");
    if (total > 0)
        set(g, ALARM_OF_HOST, host, "disk_free",
            json_real((double)json_opt_int(machine, "disk_free_bytes", 0) / (double)total));
    if (json_is_integer(full_in))
        set(g, ALARM_OF_HOST, host, "disk_full_in", json_incref(full_in));
    const json_t *certs = json_object_get(report, "certs");
    gather_certificates(g, host, certs);
    *ca_end = MIN(*ca_end, json_opt_int(certs, "ca_not_after_ms", INT64_MAX));
}

json_t *control_alarm_values(struct control *c)
{
    _cleanup_json_ json_t *own = control_own_report(c);
    struct gather g = {.c = c,
        .values = json_object(),
        .own = own,
        .young = clock_boot_ms() < c->started_ms + 2 * SILENT_MS};
    int64_t silent = 0, ca_end = INT64_MAX;
    for (size_t i = 0; c->model && i < c->model->n_databases; i++)
        gather_database(&g, c->model->databases[i].name);
    if (!g.young)
        gather_failover(&g);
    for (size_t i = 0; c->model && i < c->model->n_modules; i++)
        gather_module(&g, &c->model->modules[i]);
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++)
        gather_host(&g, c->model->hosts[i].name, &silent, &ca_end);
    if (!g.young)
        set(&g, ALARM_OF_PLATFORM, "", "hosts_silent", json_integer(silent));
    if (ca_end != INT64_MAX)
        set(&g, ALARM_OF_PLATFORM, "", "ca_days",
            json_real((double)(ca_end - clock_wall_ms()) / DAY_MS));
    return g.values;
}
