/* SPDX-License-Identifier: Apache-2.0 */
/* What the edge of this host is told: routes and certificates with each revision, instances
 * whenever they change. */
#include "role/control/admit.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/route/route.h"

#include <openssl/crypto.h>

#define HOLD_MS 5000u /* longer than links take to come up, shorter than an outage */
#define PEM_MAX (64u * 1024)
#define EDGE_CERT "/var/lib/mcp/pki/edge.pem"
#define EDGE_KEY "/var/lib/mcp/pki/edge.key"

static const json_t *unit_named(const json_t *units, const char *name)
{
    size_t i;
    json_t *u;
    json_array_foreach (units, i, u)
        if (str_eq(json_opt_str(u, "name", NULL), name))
            return u;
    return NULL;
}

/* What is placed, not what a host that comes back still runs under that name. */
static bool is_placed(const json_t *instance, const json_t *unit)
{
    const char *spec = json_opt_str(instance, "spec", "");
    return unit && str_eq(json_opt_str(unit, "spec", spec), spec);
}

/* Told by name alone: a region's admission is not the business of what is drained. */
static bool is_admitted(const struct control *c, const char *region, const json_t *instance)
{
    return control_admits(c, region, json_opt_str(instance, "module", ""),
               json_opt_bool(instance, "standby", false))
           == ADMIT_TAKES;
}

static bool serves(const struct control *c, const char *region, const json_t *instance)
{
    return schedule_runs(instance) && is_admitted(c, region, instance);
}

json_t *control_awaited(const struct control *c, const json_t *placement)
{
    const char *region = json_opt_str(placement, "region", "");
    json_t *modules = json_object(), *instance;
    size_t i;
    json_array_foreach (json_object_get(placement, "instances"), i, instance)
        if (serves(c, region, instance))
            json_object_set_new(modules, json_opt_str(instance, "module", ""), json_true());
    return modules;
}

static enum control_duty duty_by(
    const struct control *c, const char *region, const json_t *instance)
{
    return !is_admitted(c, region, instance) ? CONTROL_DUTY_WAITS
           : schedule_runs(instance)         ? CONTROL_DUTY_SERVES
                                             : CONTROL_DUTY_LEAVES;
}

enum control_duty control_duty_of(
    const struct control *c, const struct model_host *host, const json_t *unit)
{
    const json_t *placement = json_object_get(c->placements, host->region->name);
    const char *name = json_opt_str(unit, "name", "");
    size_t i;
    json_t *instance;
    if (!placement) /* not decided yet: what runs goes on */
        return CONTROL_DUTY_SERVES;
    json_array_foreach (json_object_get(placement, "instances"), i, instance)
        if (str_eq(json_opt_str(instance, "name", NULL), name)
            && str_eq(json_opt_str(instance, "host", NULL), host->name)
            && is_placed(instance, unit))
            return duty_by(c, host->region->name, instance);
    return CONTROL_DUTY_NONE;
}

/* The unit as its host tells; `ret` is where this host's edge reaches it. NULL: nowhere. */
static const json_t *reach(struct control *c, const json_t *instance, struct ip_addr *ret)
{
    const char *host = json_opt_str(instance, "host", ""),
               *name = json_opt_str(instance, "name", "");
    const json_t *unit;
    if (!strcmp(host, c->host)) {
        unit = unit_named(c->units, name);
        return is_placed(instance, unit) && ip_parse(json_opt_str(unit, "address", ""), ret) ? unit
                                                                                             : NULL;
    }
    const struct host_report *r = control_find_report(c, host);
    unit = r ? unit_named(json_object_get(r->report, "units"), name) : NULL;
    return is_placed(instance, unit) && control_hears(c, host)
                   && control_mesh_address(c, host, name, ret)
               ? unit
               : NULL;
}

/* A control that has just begun has not heard what runs, here and elsewhere: its edge and its mesh
 * go on with what its predecessor told them until it has, or until whoever is silent really is. */
bool control_knows_hosts(struct control *c)
{
    size_t i;
    json_t *instance;
    if (c->knows_hosts || clock_boot_ms() >= c->started_ms + HOLD_MS)
        return c->knows_hosts = true;
    if (!c->units || !control_placement(c) || !control_admit_known(c))
        return false;
    json_array_foreach (json_object_get(control_placement(c), "instances"), i, instance) {
        const char *host = json_opt_str(instance, "host", "");
        const struct host_report *r = control_find_report(c, host);
        if (strcmp(host, c->host) != 0 && !(r && r->report))
            return false;
    }
    return c->knows_hosts = true;
}

/* ... and has its mesh answered for those on other hosts? */
static bool knows_ways(struct control *c)
{
    size_t i;
    json_t *instance;
    if (c->knows_ways || clock_boot_ms() >= c->started_ms + HOLD_MS)
        return c->knows_ways = true;
    if (!control_knows_hosts(c))
        return false;
    json_array_foreach (json_object_get(control_placement(c), "instances"), i, instance) {
        const char *host = json_opt_str(instance, "host", ""),
                   *name = json_opt_str(instance, "name", "");
        const struct host_report *r = control_find_report(c, host);
        struct ip_addr ignored;
        if (strcmp(host, c->host) != 0 && control_mesh_is_here(c)
            && unit_named(json_object_get(r->report, "units"), name)
            && !control_mesh_address(c, host, name, &ignored))
            return false;
    }
    return c->knows_ways = true;
}

void control_edge_look(struct control *c)
{
    if (!c->knows_ways && c->model && knows_ways(c))
        control_tell_units(c);
}

static void add_endpoint(
    struct control *c, const char *region, json_t *out, const json_t *instance)
{
    struct ip_addr at;
    char address[IP_TEXT_SIZE];
    bool leaves = str_eq(json_opt_str(instance, "state", NULL), "drain")
                  && is_admitted(c, region, instance);
    const json_t *unit =
        serves(c, region, instance) || leaves ? reach(c, instance, &at) : NULL;
    int64_t port = json_opt_int(unit, "port", 0);
    if (!unit || port <= 0 || port > UINT16_MAX)
        return;
    ip_format(&at, address);
    json_t *endpoint = route_endpoints_add(out, json_opt_str(instance, "module", ""),
        json_opt_str(instance, "name", ""), address, (uint16_t)port,
        str_eq(json_opt_str(unit, "state", NULL), "ready"),
        (unsigned)MIN(json_opt_int(instance, "weight", ROUTE_WEIGHT_DEFAULT), ROUTE_WEIGHT_MAX));
    if (leaves)
        json_object_set_new(endpoint, "last", json_true());
}

/* ret_held: some that leave serve on, so that nobody may stop them yet. */
static json_t *endpoints(struct control *c, bool *ret_held)
{
    json_t *out = json_object(), *instance;
    const char *region = json_opt_str(control_placement(c), "region", "");
    _cleanup_json_ json_t *awaited = control_awaited(c, control_placement(c));
    size_t i;
    json_array_foreach (json_object_get(control_placement(c), "instances"), i, instance)
        add_endpoint(c, region, out, instance);
    *ret_held = route_endpoints_settle(out, awaited);
    return out;
}

json_t *control_units_serving(struct control *c)
{
    json_t *out = json_array(), *instance;
    const char *region = json_opt_str(control_placement(c), "region", "");
    size_t i;
    json_array_foreach (json_object_get(control_placement(c), "instances"), i, instance) {
        const json_t *unit = unit_named(c->units, json_opt_str(instance, "name", ""));
        if (serves(c, region, instance) && is_placed(instance, unit)
            && str_eq(json_opt_str(instance, "host", NULL), c->host))
            json_array_append(out, (json_t *)(uintptr_t)unit);
    }
    return out;
}

struct telling { /* an "endpoints" call that the edge has not answered yet */
    struct control *c;
    int64_t seq;
    bool held;
};

/* It answers once no request is on its way to what was taken out. A later call's answer stands for
 * the earlier ones, and takes back what they would say. */
static void on_edge_answer(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct telling *t = ctx;
    if (more)
        return;
    if (!e && !t->held && !t->c->edge_held)
        control_acked(t->c, "edge", t->seq);
    free(t);
}

void control_edge_tell(struct control *c)
{
    struct rpc_conn *edge = control_link(c, "edge");
    const json_t *placement = control_placement(c);
    if (!edge || !placement || !knows_ways(c))
        return;
    struct telling *t = xcalloc(1, sizeof *t);
    *t = (struct telling){.c = c, .seq = json_opt_int(placement, "seq", 0)};
    json_t *list = endpoints(c, &t->held);
    c->edge_held = t->held;
    json_t *params = json_pack("{s:o,s:I}", "endpoints", list, "seq", (json_int_t)t->seq);
    rpc_call(edge, "endpoints", params, 0, on_edge_answer, t);
}

static json_t *certificate_names(const struct model *m)
{
    json_t *names = json_array();
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t n = 0; n < m->modules[i].routes[k].n_names; n++)
                json_array_append_new(names, json_string(m->modules[i].routes[k].names[n]));
    return names;
}

int control_edge_routes(
    struct control *c, const struct model_host *host, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str cert = STR_INIT, key = STR_INIT;
    int r = file_read(EDGE_CERT, PEM_MAX, &cert, e);
    if (r >= 0)
        r = file_read(EDGE_KEY, PEM_MAX, &key, e);
    if (r < 0)
        return err_wrap(e, "the edge's certificate");
    json_t *doc = route_snapshot_from_model(c->model, host->region, c->number);
    json_object_set_new(doc, "certificates",
        json_pack("[{s:s,s:o,s:b,s:s,s:s}]", "name", "platform", "names",
            certificate_names(c->model), "default", 1, "cert", str_cstr(&cert), "key",
            str_cstr(&key)));
    bool ignored;      /* it is told once more, and answers then */
    if (knows_ways(c)) /* else those that the edge has stay */
        json_object_set_new(doc, "endpoints", endpoints(c, &ignored));
    OPENSSL_cleanse(key.buf, key.len);
    *ret = doc;
    return 0;
}
