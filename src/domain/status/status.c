/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/status/status.h"

#include "base/str/str.h"
#include "base/units/units.h"
#include "domain/admit/admit.h"
#include "domain/compile/compile.h"
#include "domain/schedule/schedule.h"

static json_t *addresses(const struct model_addrs *list)
{
    json_t *out = json_array();
    for (size_t i = 0; i < list->n; i++) {
        char text[IP_TEXT_SIZE];
        ip_format(&list->v[i], text);
        json_array_append_new(out, json_string(text));
    }
    return out;
}

/* By its names where it serves any, else by its hosts. */
static const char *region_state(const struct status_input *in, size_t region)
{
    size_t up = 0, down = 0, total = 0;
    for (size_t i = 0; i < in->n_names; i++)
        if (in->names[i].region == region) {
            total++;
            up += str_eq(in->names[i].state, "up");
            down += str_eq(in->names[i].state, "down");
        }
    if (total)
        return up == total          ? "up"
               : down == total      ? "down"
               : up + down == total ? "degraded"
                                    : "unknown";
    size_t hosts = 0, heard = 0;
    for (size_t i = 0; i < in->model->n_hosts; i++)
        if (in->model->hosts[i].region->index == region) {
            hosts++;
            heard += in->hosts[i].up;
        }
    return hosts == 0 ? "unknown" : heard == hosts ? "up" : heard ? "degraded" : "down";
}

static json_t *regions(const struct status_input *in)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in->model->n_regions; i++) {
        const struct model_region *r = &in->model->regions[i];
        json_array_append_new(
            out, json_pack("{s:s,s:s,s:s,s:o}", "name", r->name, "duty", region_duty_name(r->duty),
                     "state", region_state(in, i), "address", addresses(&r->addresses)));
    }
    return out;
}

static const char *host_state(const struct status_report *h)
{
    return h->up ? "up" : h->report ? "down" : "unknown";
}

static json_t *hosts(const struct status_input *in)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in->model->n_hosts; i++) {
        const struct model_host *h = &in->model->hosts[i];
        const json_t *roles =
            in->hosts[i].up ? json_object_get(in->hosts[i].report, "roles") : NULL;
        const json_t *report = in->hosts[i].report, *binary = json_object_get(report, "binary");
        json_array_append_new(
            out, json_pack("{s:s,s:s,s:s,s:I,s:I,s:o,s:b,s:s,s:O?,s:O?}", "name", h->name, "region",
                     h->region->name, "state", host_state(&in->hosts[i]), "revision",
                     (json_int_t)json_opt_int(in->hosts[i].report, "revision", 0), "age_ms",
                     (json_int_t)in->hosts[i].age_ms, "roles",
                     roles ? json_deep_copy(roles) : json_array(), "drained",
                     (int)in->hosts[i].drained, "version", json_opt_str(binary, "version", ""),
                     "protocol", json_object_get(binary, "protocol"), "acts_at",
                     json_object_get(report, "acts_at")));
    }
    return out;
}

/* A unit of a host that is not heard: nobody knows how it is. */
static void mark_unheard(
    json_t *unit, const struct model_host *h, const struct status_report *report)
{
    char age[UNITS_TEXT_SIZE];
    units_format_duration(report->age_ms / 1000 * 1000, age);
    _cleanup_free_ char *reason = xasprintf("%s is not heard; last report %s ago", h->name, age);
    json_object_set_new(unit, "state", json_string("unknown"));
    json_object_set_new(unit, "reason", json_string(reason));
    json_object_set_new(unit, "pid", json_integer(0));
}

/* Does it take calls? What is ready and does not says why. */
static void mark_admission(const struct status_input *in, size_t host, json_t *unit)
{
    const char *module = json_opt_str(unit, "module", "");
    const struct admit_case c = {.module = model_find_module(in->model, module),
        .region = in->model->hosts[host].region->name,
        .standby = json_opt_bool(unit, "standby", false),
        .doc = json_object_get(in->admissions, module),
        .fresh = json_opt_bool(in->hosts[host].report, "admit_fresh", true)};
    if (!c.module || !str_eq(json_opt_str(unit, "kind", NULL), "module"))
        return;
    enum admit_answer a = admit_judge(&c);
    json_object_set_new(unit, "admitted", json_boolean(a == ADMIT_TAKES));
    if (!*json_opt_str(unit, "reason", ""))
        json_object_set_new(unit, "reason",
            json_string(a == ADMIT_TAKES && c.standby ? "standby: admitted" : admit_words(a)));
}

static json_t *units(const struct status_input *in)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in->model->n_hosts; i++) {
        const struct model_host *h = &in->model->hosts[i];
        size_t index;
        json_t *u;
        json_array_foreach (json_object_get(in->hosts[i].report, "units"), index, u) {
            json_t *copy = json_deep_copy(u);
            json_object_set_new(copy, "region", json_string(h->region->name));
            json_object_set_new(copy, "host", json_string(h->name));
            if (!in->hosts[i].up)
                mark_unheard(copy, h, &in->hosts[i]);
            mark_admission(in, i, copy);
            json_array_append_new(out, copy);
        }
    }
    return out;
}

static json_t *names(const struct status_input *in)
{
    json_t *by_name = json_object();
    for (size_t i = 0; i < in->n_names; i++) {
        const struct status_name *n = &in->names[i];
        json_t *list = json_object_get(by_name, n->name);
        if (!list)
            json_object_set_new(by_name, n->name, list = json_array());
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:I}", "region", in->model->regions[n->region].name, "state",
                      n->state, "since_ms", (json_int_t)n->since_wall_ms));
    }
    json_t *out = json_array();
    const char *name;
    json_t *list;
    json_object_foreach (by_name, name, list)
        json_array_append_new(out, json_pack("{s:s,s:O}", "name", name, "regions", list));
    json_decref(by_name);
    return out;
}

static unsigned engines_not_ready(const json_t *report)
{
    unsigned n = 0;
    size_t index;
    json_t *u;
    json_array_foreach (json_object_get(report, "units"), index, u)
        n += str_eq(json_opt_str(u, "kind", NULL), "engine")
             && !str_eq(json_opt_str(u, "state", NULL), "ready");
    return n;
}

/* A database's server that runs with other settings than are declared; NULL: none. */
static const char *engine_behind(const json_t *report)
{
    const char *name;
    json_t *spec;
    json_object_foreach (json_object_get(report, "engines"), name, spec) {
        size_t i;
        json_t *u;
        json_array_foreach (json_object_get(report, "units"), i, u)
            if (str_eq(json_opt_str(u, "name", NULL), name)
                && !str_eq(json_opt_str(u, "spec", NULL), json_string_value(spec)))
                return name;
    }
    return NULL;
}

static void host_not_ready(const struct status_input *in, size_t i, struct str *why)
{
    const struct model_host *h = &in->model->hosts[i];
    const struct status_report *report = &in->hosts[i];
    const char *sep = why->len ? "; " : "";
    const char *waits = json_opt_str(report->report, "engines_wait", NULL);
    if (!report->up)
        str_addf(why, "%s%s is not heard", sep, h->name);
    else if (json_opt_int(report->report, "revision", 0) != in->revision)
        str_addf(why, "%s%s is at revision %lld", sep, h->name,
            (long long)json_opt_int(report->report, "revision", 0));
    else if (engines_not_ready(report->report))
        str_addf(
            why, "%s%s: %u engines not ready", sep, h->name, engines_not_ready(report->report));
    else if (engine_behind(report->report))
        str_addf(why, "%s%s: %s takes new settings%s%s", sep, h->name,
            engine_behind(report->report), waits ? "; " : "", waits ? waits : "");
}

/* ---- is what was placed there? */

static const json_t *placement_of(const struct status_input *in, const char *region)
{
    _cleanup_free_ char *key = xasprintf("placement/%s", region);
    return json_object_get(in->docs, key);
}

static const json_t *unit_of(const struct status_input *in, const char *host, const char *name)
{
    const struct model_host *h = model_find_host(in->model, host);
    size_t i;
    json_t *u;
    if (!h || !in->hosts[h->index].up)
        return NULL;
    json_array_foreach (json_object_get(in->hosts[h->index].report, "units"), i, u)
        if (str_eq(json_opt_str(u, "name", NULL), name))
            return u;
    return NULL;
}

static bool is_carried_out(const struct status_input *in, const json_t *instance)
{
    const char *spec = json_opt_str(instance, "spec", "");
    const json_t *unit =
        unit_of(in, json_opt_str(instance, "host", ""), json_opt_str(instance, "name", ""));
    return unit && str_eq(json_opt_str(unit, "state", NULL), "ready")
           && str_eq(json_opt_str(unit, "spec", spec), spec);
}

/* Each member of a database has its server. One that is there and not ready was told already. */
static void databases_not_ready(const struct status_input *in, struct str *why)
{
    for (size_t i = 0; i < in->model->n_databases; i++) {
        const struct model_database *db = &in->model->databases[i];
        _cleanup_free_ char *name = xasprintf(COMPILE_ENGINE_PREFIX "%s", db->name);
        for (size_t k = 0; k < db->n_members && db->managed && why->len < 1024; k++) {
            const struct model_host *h = db->members[k].host;
            if (in->hosts[h->index].up && !unit_of(in, h->name, name))
                str_addf(why, "%sdatabase %s does not run on %s yet", why->len ? "; " : "",
                    db->name, h->name);
        }
    }
}

struct carried { /* of the active instances of a region */
    unsigned wanted, ready, draining, without_place, strays;
};

static bool is_placed(const json_t *placement, const char *host, const char *name)
{
    size_t i;
    json_t *j;
    json_array_foreach (json_object_get(placement, "instances"), i, j)
        if (str_eq(json_opt_str(j, "name", NULL), name)
            && str_eq(json_opt_str(j, "host", NULL), host))
            return true;
    return false;
}

/* Still there, though nothing says so any more: on their way out, or of a host that comes back. */
static unsigned strays(
    const struct status_input *in, const struct model_region *r, const json_t *placement)
{
    unsigned n = 0;
    for (size_t h = 0; h < in->model->n_hosts; h++) {
        size_t i;
        json_t *u;
        if (in->model->hosts[h].region != r || !in->hosts[h].up)
            continue;
        json_array_foreach (json_object_get(in->hosts[h].report, "units"), i, u)
            n += str_eq(json_opt_str(u, "kind", NULL), "module")
                 && !is_placed(placement, in->model->hosts[h].name, json_opt_str(u, "name", ""));
    }
    return n;
}

static struct carried carried_out(
    const struct status_input *in, const struct model_region *r, const json_t *placement)
{
    struct carried n = {.strays = strays(in, r, placement)};
    size_t i;
    json_t *j;
    json_array_foreach (json_object_get(placement, "instances"), i, j) {
        bool drains = str_eq(json_opt_str(j, "state", NULL), "drain");
        n.draining += drains;
        if (drains || json_opt_bool(j, "standby", false))
            continue;
        n.wanted++;
        n.ready += is_carried_out(in, j);
    }
    json_array_foreach (json_object_get(placement, "lacks"), i, j)
        n.without_place += (unsigned)json_opt_int(j, "count", 1);
    n.wanted += n.without_place;
    return n;
}

static bool has_instances(const struct model *m, const struct model_region *r)
{
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_instances; k++)
            if (m->modules[i].instances[k].region == r)
                return true;
    return false;
}

static void region_not_ready(
    const struct status_input *in, const struct model_region *r, struct str *why)
{
    const json_t *placement = placement_of(in, r->name);
    const char *sep = why->len ? "; " : "";
    if (!placement || json_opt_int(placement, "revision", 0) != in->revision) {
        if (placement || has_instances(in->model, r))
            str_addf(why, "%s%s: not placed yet", sep, r->name);
        return;
    }
    struct carried n = carried_out(in, r, placement);
    if (n.ready < n.wanted)
        str_addf(why, "%s%s: %u of %u instances ready", sep, r->name, n.ready, n.wanted);
    else if (n.draining + n.strays)
        str_addf(why, "%s%s: %u instances leave", sep, r->name, n.draining + n.strays);
    if (n.without_place)
        str_addf(why, " (%s)",
            json_opt_str(json_array_get(json_object_get(placement, "lacks"), 0), "reason", ""));
}

static bool is_over(const char *state)
{
    static const char *const over[] = {"done", "rolled-back", "failed", "superseded"};
    for (size_t i = 0; i < ARRAY_SIZE(over); i++)
        if (!strcmp(state, over[i]))
            return true;
    return false;
}

static void rollouts_not_ready(const struct status_input *in, struct str *why)
{
    const char *key;
    json_t *d;
    json_object_foreach ((json_t *)(uintptr_t)in->docs, key, d)
        if (str_starts(key, "deploy/") && !is_over(json_opt_str(d, "state", "done")))
            str_addf(why, "%s%s: %s", why->len ? "; " : "", key + strlen("deploy/"),
                json_opt_str(d, "step", "is rolled out"));
}

static json_t *placements(const struct status_input *in)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in->model->n_regions; i++) {
        const json_t *p = placement_of(in, in->model->regions[i].name);
        if (!p)
            continue;
        struct carried n = carried_out(in, &in->model->regions[i], p);
        const json_t *lacks = json_object_get(p, "lacks");
        json_array_append_new(
            out, json_pack("{s:s,s:I,s:I,s:I,s:i,s:i,s:i,s:o}", "region",
                     in->model->regions[i].name, "seq", (json_int_t)json_opt_int(p, "seq", 0),
                     "revision", (json_int_t)json_opt_int(p, "revision", 0), "epoch",
                     (json_int_t)json_opt_int(p, "epoch", 0), "instances", (int)n.wanted, "ready",
                     (int)n.ready, "drains", (int)n.draining, "lacks",
                     lacks ? json_deep_copy(lacks) : json_array()));
    }
    return out;
}

static void add_lack_alarms(const struct status_input *in, json_t *out)
{
    for (size_t i = 0; i < in->model->n_regions; i++) {
        const char *region = in->model->regions[i].name;
        size_t k;
        json_t *lack;
        json_array_foreach (json_object_get(placement_of(in, region), "lacks"), k, lack) {
            _cleanup_free_ char *text = xasprintf("%s: no place for %lld instances of %s: %s",
                region, (long long)json_opt_int(lack, "count", 1),
                json_opt_str(lack, "module", "?"), json_opt_str(lack, "reason", ""));
            json_array_append_new(out, json_pack("{s:s}", "text", text));
        }
    }
}

static json_t *alarms(const struct status_input *in)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in->model->n_hosts; i++) {
        size_t index;
        json_t *a;
        json_array_foreach (json_object_get(in->hosts[i].report, "alarms"), index, a) {
            _cleanup_free_ char *text =
                xasprintf("%s: %s", in->model->hosts[i].name, json_opt_str(a, "text", ""));
            json_array_append_new(out, json_pack("{s:s}", "text", text));
        }
    }
    add_lack_alarms(in, out);
    return out;
}

/* Why the platform is not ready, "" when it is. */
static char *not_ready(const struct status_input *in)
{
    struct str why = STR_INIT;
    if (!in->revision)
        str_add(&why, "nothing was applied yet");
    for (size_t i = 0; i < in->model->n_hosts; i++)
        host_not_ready(in, i, &why);
    for (size_t i = 0; i < in->model->n_regions; i++)
        region_not_ready(in, &in->model->regions[i], &why);
    rollouts_not_ready(in, &why);
    databases_not_ready(in, &why);
    for (size_t i = 0; i < in->n_names && why.len < 1024; i++)
        if (!str_eq(in->names[i].state, "up"))
            str_addf(&why, "%s%s is %s in %s", why.len ? "; " : "", in->names[i].name,
                in->names[i].state, in->model->regions[in->names[i].region].name);
    return str_steal(&why);
}

json_t *status_compose(const struct status_input *in)
{
    _cleanup_free_ char *why = not_ready(in);
    const json_t *store = NULL;
    for (size_t i = 0; i < in->model->n_hosts; i++)
        if (str_eq(in->model->hosts[i].name, in->asked_host))
            store = json_object_get(in->hosts[i].report, "state_store");
    json_t *status = json_pack("{s:s,s:I,s:b,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o}", "platform",
        in->model->platform, "revision", (json_int_t)in->revision, "ready", !*why, "not_ready", why,
        "regions", regions(in), "hosts", hosts(in), "units", units(in), "state_store",
        store ? json_deep_copy(store) : json_object(), "names", names(in), "alarms", alarms(in),
        "asked_host", in->asked_host, "placements", placements(in));
    _cleanup_json_ json_t *deployments =
        in->docs ? schedule_status(in->docs) : json_pack("{s:[]}", "deployments");
    json_object_update(status, deployments);
    return status;
}
