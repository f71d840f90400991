/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp status` says: the declaration held against the hosts' last reports. Pure.
 *
 * A report is what one control tells the others whenever it changes:
 *   {"host", "revision": N, "roles": [{"name", "pid", "restarts", "since_ms", "pss_bytes"}],
 *    "units": [{"name", "kind", "module", "state", "pid", "restarts", "reason", "address",
 *    "port", "since_ms", "standby"}], "admit_fresh": read lately, "state_store": {"kind", "connected", "reason"},
 *    "alarms": [{"text"}], "engines": {unit: "spec" as declared}, "engines_wait": why not yet}
 */
#pragma once

#include "domain/model/model.h"

struct status_report {
    const json_t *report; /* NULL: never heard */
    bool up;              /* the host is heard now */
    uint64_t age_ms;      /* of the report */
    bool drained;         /* operators asked to empty it */
};

struct status_name { /* of one routed name in one region, as steering acts on it */
    const char *name;
    size_t region;
    const char *state; /* "up", "down", "unknown" */
    int64_t since_wall_ms;
};

struct status_input {
    const struct model *model;
    int64_t revision;
    const char *asked_host;
    const struct status_report *hosts; /* [model->n_hosts] */
    const struct status_name *names;
    size_t n_names;
    const json_t *docs; /* domain/schedule: placement/… and deploy/…; NULL: none yet */
    const json_t *admissions; /* {module: document} of domain/admit; NULL: none */
};

/* The object of `mcp status --json`: platform, revision, ready, regions[], hosts[], units[] (as reported;
 * of modules also `admitted`, with the reason when they are not),
 * state_store, names[], alarms[], not_ready (why, "" when ready), asked_host, placements[{region,
 * seq, revision, epoch, instances, drains, lacks}], deployments[]. Keys are never renamed.
 *
 * Ready: every host heard and at the revision, each region's placement made for it and carried out
 * (every instance ready in the generation it was given, nothing draining, nothing without a place),
 * no rollout on its way, every member of a database with its server, every name up in each region that serves it. */
json_t *status_compose(const struct status_input *in);
