/* SPDX-License-Identifier: Apache-2.0 */
/* From the declaration to what each role of one host is told: pure functions of the model, the
 * resolved files and what units report. The formats are the roles' own (domain/spec, domain/zone,
 * domain/route). */
#pragma once

#include "domain/model/model.h"

#define COMPILE_PROXY_NAME "egress.mcp.internal"
#define COMPILE_PROXY "http://" COMPILE_PROXY_NAME ":3128"

/* The host that is sure to be given the images of a region's modules before its first revision: the
 * first. Where instances run is domain/schedule's. */
const struct model_host *compile_place(const struct model *m, const struct model_module *module,
    const struct model_region *region, unsigned n);

/* [unit]: the servers of databases whose documents (docs: {database: document}) have that host as a
 * member. "spec" of each is the same on all hosts of a database with equal settings. Their names
 * begin with: */
#define COMPILE_ENGINE_PREFIX "db-"
json_t *compile_engines(const struct model *m, const json_t *docs, const char *host);

/* {"names": {"api.mcp.internal": ["100.127.0.5"], ...}}: ready units of a host by module; a module
 * that the platform has but that is not ready here has an empty list, which is NODATA rather than a
 * wrong NXDOMAIN. */
json_t *compile_names(const struct model *m, const json_t *units);
