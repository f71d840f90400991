/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/compile/compile.h"

const struct model_host *compile_place(const struct model *m, const struct model_module *module,
    const struct model_region *region, unsigned n)
{
    return model_first_host(m, region);
}
