/* SPDX-License-Identifier: Apache-2.0 */
/* A view that another host sent: parses or is refused, and what was parsed formats to a view that
 * parses to the same. */
#include "domain/health/health.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const regions[] = {"ap-hongkong", "ap-seoul", "ap-shanghai"};
    static const char *const names[] = {"api.reindeers.com", "reindeers.com"};
    const struct health_space space = {regions, 3, names, 2};
    struct health_view v, again;
    _cleanup_json_ json_t *j = NULL, *back = NULL;
    if (json_parse((const char *)data, size, &j, NULL) < 0
        || health_view_parse(j, &space, &v, NULL) < 0)
        return 0;
    back = health_view_format(&v, &space);
    ASSERT(back);
    ASSERT(health_view_parse(back, &space, &again, NULL) == 0);
    ASSERT(again.reached == v.reached && again.region == v.region && again.seq == v.seq);
    for (size_t i = 0; i < 6; i++)
        ASSERT(v.targets[i].state == again.targets[i].state);
    health_view_done(&v);
    health_view_done(&again);
    return 0;
}
