/* SPDX-License-Identifier: Apache-2.0 */
#include "role/control/admit.h"
#include "role/control/alarms.h"
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/status/status.h"

#define GATHER_MS 100u   /* a module's start makes a handful of changes */
#define REPEAT_MS 10000u /* reports also go out unchanged, so that their age says something */
#define HEARD_MS 12000u  /* a little over a report and the silence limit of its link */
#define REPORTS_MAX PEERS_MAX

static unsigned routes_without_identity(const struct model *m)
{
    unsigned n = 0;
    for (size_t i = 0; m && i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            n += m->modules[i].routes[k].auth == AUTH_JWT;
    return n;
}

json_t *control_own_report(struct control *c)
{
    json_t *alarms = json_array();
    unsigned open_routes = routes_without_identity(c->model);
    if (open_routes)
        json_array_append_new(alarms,
            json_pack("{s:o}", "text",
                json_sprintf("%u routes ask for a token (auth: jwt), which nobody can check yet: "
                             "they are served to everybody; write auth: none to say so",
                    open_routes)));
    if (*c->alarm)
        json_array_append_new(alarms, json_pack("{s:s}", "text", c->alarm));
    if (control_host_denied(c, c->host))
        json_array_append_new(alarms,
            json_pack("{s:s}", "text",
                "this host was removed from the platform: the others do not listen to it; stop it, "
                "or wipe /var/lib/mcp and `mcp host join`"));
    if (!c->kv_connected)
        json_array_append_new(alarms, json_pack("{s:s+}", "text",
                                          "the state store does not answer; this host goes on "
                                          "with what it knows: ",
                                          c->kv_reason));
    if (*c->placement_alarm)
        json_array_append_new(
            alarms, json_pack("{s:s+}", "text",
                        "where instances run cannot be decided: ", c->placement_alarm));
    json_t *report = json_pack("{s:s,s:I,s:o,s:o,s:{s:s,s:b,s:s},s:o}", "host", c->host, "revision",
        (json_int_t)c->number, "roles", c->roles ? json_deep_copy(c->roles) : json_array(), "units",
        c->units ? json_deep_copy(c->units) : json_array(), "state_store", "kind", c->kv_kind,
        "connected", c->kv_connected, "reason", c->kv_reason, "alarms", alarms);
    control_pki_report(c, report);
    control_fleet_report(c, report);
    control_upgrade_report(c, report);
    control_secrets_report(c, report);
    control_databases_report(c, report);
    control_requests_report(c, report);
    control_alarms_report(c, report);
    control_failover_report(c, report);
    return report;
}

static void broadcast(struct control *c)
{
    _cleanup_json_ json_t *report = control_own_report(c);
    peers_broadcast(c->peers, "report", report);
    scheduler_poke(c->scheduler);
    control_drains_check(c);
    control_waiters_check(c);
}

static void on_report_timer(uv_timer_t *t)
{
    broadcast(CONTAINER_OF(t, struct control, report_timer));
    uv_timer_start(t, on_report_timer, REPEAT_MS, 0);
}

void control_report_soon(struct control *c)
{
    if (!uv_is_active((uv_handle_t *)&c->report_timer)
        || uv_timer_get_due_in(&c->report_timer) > GATHER_MS)
        uv_timer_start(&c->report_timer, on_report_timer, GATHER_MS, 0);
}

struct host_report *control_find_report(struct control *c, const char *host)
{
    for (size_t i = 0; i < c->n_reports; i++)
        if (!strcmp(c->reports[i].host, host))
            return &c->reports[i];
    return NULL;
}

struct host_report *control_get_report(struct control *c, const char *host)
{
    struct host_report *r = control_find_report(c, host);
    if (!r && c->n_reports < REPORTS_MAX) {
        r = GROW(c->reports, c->n_reports, c->cap_reports);
        str_copy(r->host, sizeof r->host, host);
    }
    return r;
}

static bool is_neighbour(const struct control *c, const char *host)
{
    const struct model_host *own = c->model ? model_find_host(c->model, c->host) : NULL;
    const struct model_host *other = c->model ? model_find_host(c->model, host) : NULL;
    return own && other && own != other && own->region == other->region;
}

void control_hear_report(struct control *c, const char *host, json_t *report)
{
    struct host_report *r = control_get_report(c, host);
    if (!r)
        return;
    bool changed =
        !json_equal(json_object_get(r->report, "units"), json_object_get(report, "units"));
    if (!json_equal(json_object_get(r->report, "secrets"), json_object_get(report, "secrets")))
        control_secrets_look(c);
    json_decref(r->report);
    r->report = json_incref(report);
    r->heard_ms = clock_boot_ms();
    if (changed && is_neighbour(c, host))
        control_tell_units(c);
    else if (changed)
        control_mesh_tell(c);
    scheduler_poke(c->scheduler);
    control_drains_check(c);
    control_waiters_check(c);
}

const json_t *control_report_of(const struct control *c, const char *host)
{
    struct host_report *r = control_find_report((struct control *)c, host);
    return r && clock_boot_ms() - r->heard_ms < HEARD_MS ? r->report : NULL;
}

static struct status_report status_of(struct control *c, const struct model_host *h, json_t *own)
{
    if (!strcmp(h->name, c->host))
        return (struct status_report){.report = own, .up = true};
    struct host_report *r = control_find_report(c, h->name);
    if (!r || !r->report)
        return (struct status_report){0};
    uint64_t age = clock_boot_ms() - r->heard_ms;
    return (struct status_report){
        .report = r->report, .age_ms = age, .up = age < HEARD_MS && peers_is_up(c->peers, h->name)};
}

struct names {
    struct status_name *v;
    size_t n, cap;
};

static void add_name(
    void *ctx, const char *name, size_t region, const struct steer_region_state *st)
{
    struct names *names = ctx;
    *GROW(names->v, names->n, names->cap) =
        (struct status_name){name, region, health_state_name(st->state), st->since_wall_ms};
}

json_t *control_status(struct control *c)
{
    if (!c->model)
        return json_pack("{s:s,s:i,s:b,s:s,s:[],s:[],s:[],s:{s:s,s:b,s:s},s:[],s:[],s:s}",
            "platform", c->platform, "revision", 0, "ready", 0, "not_ready",
            "nothing was applied yet", "regions", "hosts", "units", "state_store", "kind",
            c->kv_kind, "connected", c->kv_connected, "reason", c->kv_reason, "names", "alarms",
            "asked_host", c->host);
    _cleanup_json_ json_t *own = control_own_report(c);
    struct status_report *hosts = xcalloc(c->model->n_hosts, sizeof *hosts);
    for (size_t i = 0; i < c->model->n_hosts; i++)
        hosts[i] = status_of(c, &c->model->hosts[i], own);
    struct names names = {0};
    steer_service_each_name(c->steer, add_name, &names);
    for (size_t i = 0; i < c->model->n_hosts; i++)
        hosts[i].drained =
            json_opt_bool(control_registry_host(c, c->model->hosts[i].name), "drained", false);
    _cleanup_json_ json_t *admissions = control_admissions(c);
    struct status_input in = {.model = c->model,
        .admissions = admissions,
        .revision = c->number,
        .docs = scheduler_docs(c->scheduler),
        .asked_host = c->host,
        .hosts = hosts,
        .names = names.v,
        .n_names = names.n};
    json_t *status = status_compose(&in);
    json_object_set_new(status, "failover", control_failover_status(c));
    free(names.v);
    free(hosts);
    return status;
}

/* The memory figures of the roles grow old: host, who may read them, is asked again. */
static void on_measure_timer(uv_timer_t *t)
{
    role_ask_host(CONTAINER_OF(t, struct control, measure_timer)->role, "roles");
}

void control_report_start(struct control *c)
{
    uv_timer_init(&c->role->loop, &c->report_timer);
    uv_timer_init(&c->role->loop, &c->measure_timer);
    uv_timer_start(&c->measure_timer, on_measure_timer, 1000, REPEAT_MS);
    control_report_soon(c);
}

void control_report_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->report_timer, NULL);
    uv_close((uv_handle_t *)&c->measure_timer, NULL);
    for (size_t i = 0; i < c->n_reports; i++) {
        json_decref(c->reports[i].report);
        json_decref(c->reports[i].hears);
        json_decref(c->reports[i].data);
    }
    free(c->reports);
}
