/* SPDX-License-Identifier: Apache-2.0 */
/* Which instances of a placement take requests, as its readers on every host understand it. */
#include "domain/schedule/schedule.h"

#include "base/str/str.h"

bool schedule_serves(const json_t *instance)
{
    return str_eq(json_opt_str(instance, "state", NULL), "run")
           && !json_opt_bool(instance, "standby", false) && json_opt_int(instance, "weight", 1) > 0;
}

json_t *schedule_awaited(const json_t *placement)
{
    json_t *modules = json_object(), *instance;
    size_t i;
    json_array_foreach (json_object_get(placement, "instances"), i, instance)
        if (schedule_serves(instance))
            json_object_set_new(modules, json_opt_str(instance, "module", ""), json_true());
    return modules;
}
