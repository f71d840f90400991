/* SPDX-License-Identifier: Apache-2.0 */
/* Which instances of a placement take requests, as its readers on every host understand it. */
#include "domain/schedule/schedule.h"

#include "base/str/str.h"

bool schedule_runs(const json_t *instance)
{
    return str_eq(json_opt_str(instance, "state", NULL), "run")
           && json_opt_int(instance, "weight", 1) > 0;
}
