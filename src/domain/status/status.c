/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/status/status.h"

#include "base/str/str.h"
#include "base/units/units.h"
#include "domain/compile/compile.h"

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
        json_array_append_new(
            out, json_pack("{s:s,s:s,s:s,s:I,s:I,s:o}", "name", h->name, "region", h->region->name,
                     "state", host_state(&in->hosts[i]), "revision",
                     (json_int_t)json_opt_int(in->hosts[i].report, "revision", 0), "age_ms",
                     (json_int_t)in->hosts[i].age_ms, "roles",
                     roles ? json_deep_copy(roles) : json_array()));
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
    return out;
}

static unsigned ready_units(const json_t *report)
{
    unsigned n = 0;
    size_t index;
    json_t *u;
    json_array_foreach (json_object_get(report, "units"), index, u)
        n += str_eq(json_opt_str(u, "kind", NULL), "module")
             && str_eq(json_opt_str(u, "state", NULL), "ready")
             && !json_opt_bool(u, "standby", false);
    return n;
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

static void host_not_ready(const struct status_input *in, size_t i, struct str *why)
{
    const struct model_host *h = &in->model->hosts[i];
    const struct status_report *report = &in->hosts[i];
    unsigned wanted = compile_wanted(in->model, h);
    const char *sep = why->len ? "; " : "";
    if (!report->up)
        str_addf(why, "%s%s is not heard", sep, h->name);
    else if (json_opt_int(report->report, "revision", 0) != in->revision)
        str_addf(why, "%s%s is at revision %lld", sep, h->name,
            (long long)json_opt_int(report->report, "revision", 0));
    else if (ready_units(report->report) < wanted)
        str_addf(why, "%s%s: %u of %u instances ready", sep, h->name, ready_units(report->report),
            wanted);
    else if (engines_not_ready(report->report))
        str_addf(
            why, "%s%s: %u engines not ready", sep, h->name, engines_not_ready(report->report));
}

/* Why the platform is not ready, "" when it is: every host heard and at the revision, every
 * instance ready, every name up in each region that serves it. */
static char *not_ready(const struct status_input *in)
{
    struct str why = STR_INIT;
    if (!in->revision)
        str_add(&why, "nothing was applied yet");
    for (size_t i = 0; i < in->model->n_hosts; i++)
        host_not_ready(in, i, &why);
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
    return json_pack("{s:s,s:I,s:b,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:s}", "platform",
        in->model->platform, "revision", (json_int_t)in->revision, "ready", !*why, "not_ready", why,
        "regions", regions(in), "hosts", hosts(in), "units", units(in), "state_store",
        store ? json_deep_copy(store) : json_object(), "names", names(in), "alarms", alarms(in),
        "asked_host", in->asked_host);
}
