/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/compile/compile.h"

#include "base/str/str.h"

json_t *compile_names(const struct model *m, const json_t *units)
{
    json_t *names = json_object();
    for (size_t i = 0; i < m->n_modules; i++) {
        _cleanup_free_ char *name = xasprintf("%s.mcp.internal", m->modules[i].name);
        json_object_set_new(names, name, json_array());
    }
    size_t index;
    json_t *u;
    json_array_foreach (units, index, u) {
        const char *address = json_opt_str(u, "address", "");
        if (!str_eq(json_opt_str(u, "state", NULL), "ready") || !*address)
            continue;
        _cleanup_free_ char *name = xasprintf("%s.mcp.internal", json_opt_str(u, "module", ""));
        json_t *list = json_object_get(names, name);
        if (list)
            json_array_append_new(list, json_string(address));
    }
    return json_pack("{s:o}", "names", names);
}
