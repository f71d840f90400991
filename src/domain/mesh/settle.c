/* SPDX-License-Identifier: Apache-2.0 */
/* Who decides that an instance leaves knows others to be ready; this host may hear that later. */
#include "domain/mesh/mesh.h"

static bool all_leave(const json_t *targets)
{
    size_t i;
    json_t *t;
    json_array_foreach (targets, i, t)
        if (!json_opt_bool(t, "last", false))
            return false;
    return json_array_size(targets) > 0;
}

bool mesh_targets_settle(json_t *modules, const json_t *awaited)
{
    bool some = false;
    const char *name;
    json_t *module, *t;
    size_t i;
    json_object_foreach (modules, name, module) {
        json_t *targets = json_object_get(module, "targets");
        if (!json_object_get(awaited, name) || !all_leave(targets))
            continue;
        json_array_foreach (targets, i, t)
            json_object_set_new(t, "last", json_false());
        some = true;
    }
    return some;
}
