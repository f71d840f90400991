/* SPDX-License-Identifier: Apache-2.0 */
/* From the declaration to what each role of one host is told: pure functions of the model, the
 * resolved files and what units report. The formats are the roles' own (domain/spec, domain/zone,
 * domain/route). */
#pragma once

#include "domain/model/model.h"

#define COMPILE_PROXY_NAME "egress.mcp.internal"
#define COMPILE_PROXY "http://" COMPILE_PROXY_NAME ":3128"

/* The host that runs the n-th instance (from 0) of a module in a region. Until placement spreads
 * them: the first. */
const struct model_host *compile_place(const struct model *m, const struct model_module *module,
    const struct model_region *region, unsigned n);

/* The "units" snapshot of a host. `files` maps a module's image as declared to its digest; a
 * missing one is ERR_NOT_FOUND naming the module. */
MUST_CHECK int compile_units(const struct model *m, const json_t *files,
    const struct model_host *host, int64_t revision, json_t **ret, struct err *e);

/* {"names": {"api.mcp.internal": ["100.127.0.5"], ...}}: ready units of a host by module; a module
 * that the platform has but that is not ready here has an empty list, which is NODATA rather than a
 * wrong NXDOMAIN. */
json_t *compile_names(const struct model *m, const json_t *units);

/* How many active instances the platform wants on that host. */
unsigned compile_wanted(const struct model *m, const struct model_host *host);
