/* SPDX-License-Identifier: Apache-2.0 */
/* Declaration to snapshot document: what control sends to each edge. */
#include "domain/route/priv.h"

static void add_routes(json_t *routes, const struct model_module *m, const struct model_route *r)
{
    for (size_t i = 0; i < r->n_names; i++)
        json_array_append_new(
            routes, json_pack("{s:s, s:s, s:s, s:s}", "name", r->names[i], "path", r->path,
                        "module", m->name, "auth", r->auth == AUTH_JWT ? "jwt" : "none"));
}

json_t *route_snapshot_from_model(
    const struct model *m, const struct model_region *region, int64_t revision)
{
    json_t *routes = json_array();
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            add_routes(routes, &m->modules[i], &m->modules[i].routes[k]);
    bool identity = json_object_get(m->tree, "identity") != NULL;
    return json_pack("{s:i, s:I, s:s, s:s, s:s, s:o}", "format", 1, "revision",
        (json_int_t)revision, "platform", m->platform, "region", region->name, "identity",
        identity ? "present" : "absent", "routes", routes);
}

static bool takes(const json_t *endpoint, bool last)
{
    return json_opt_bool(endpoint, "ready", false)
           && json_opt_bool(endpoint, "last", false) == last;
}

static bool any_takes(const json_t *list, bool last)
{
    size_t i;
    json_t *p;
    json_array_foreach (list, i, p)
        if (takes(p, last))
            return true;
    return false;
}

/* Those that leave go, or the ready ones of them become like all others. */
static void settle(json_t *list, bool stay)
{
    for (size_t i = json_array_size(list); i-- > 0;) {
        json_t *p = json_array_get(list, i);
        if (!json_opt_bool(p, "last", false))
            continue;
        if (stay && takes(p, true))
            json_object_del(p, "last");
        else
            json_array_remove(list, i);
    }
}

bool route_endpoints_settle(json_t *endpoints, const json_t *awaited)
{
    bool some = false;
    const char *module;
    json_t *list;
    json_object_foreach (endpoints, module, list) {
        bool stay =
            json_object_get(awaited, module) && !any_takes(list, false) && any_takes(list, true);
        settle(list, stay);
        some |= stay;
    }
    return some;
}

json_t *route_endpoints_add(json_t *endpoints, const char *module, const char *unit,
    const char *address, uint16_t port, bool ready, unsigned weight)
{
    json_t *list = json_object_get(endpoints, module);
    if (!list) {
        list = json_array();
        json_object_set_new(endpoints, module, list);
    }
    json_t *endpoint = json_pack("{s:s, s:s, s:i, s:b, s:i}", "unit", unit, "address", address,
        "port", (int)port, "ready", ready, "weight", (int)weight);
    json_array_append_new(list, endpoint);
    return endpoint;
}
