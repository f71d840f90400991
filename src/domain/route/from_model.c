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

void route_endpoints_add(json_t *endpoints, const char *module, const char *unit,
    const char *address, uint16_t port, bool ready, unsigned weight)
{
    json_t *list = json_object_get(endpoints, module);
    if (!list) {
        list = json_array();
        json_object_set_new(endpoints, module, list);
    }
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:i, s:b, s:i}", "unit", unit, "address", address, "port",
                  (int)port, "ready", ready, "weight", (int)weight));
}
