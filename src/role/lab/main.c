/* SPDX-License-Identifier: Apache-2.0 */
#include "role/lab/lab.h"

#include "base/util/util.h"

#include <stdio.h>
#include <string.h>

int lab_role_main(const char *name)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } roles[] = {
        {"machine", lab_machine_main},
        {"wan", lab_wan_main},
        {"forwarder", lab_forwarder_main},
    };
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (!strcmp(roles[i].name, name))
            return roles[i].run();
    fprintf(stderr, "mcp: there is no lab role '%s'\n", name);
    return 2;
}
