/* SPDX-License-Identifier: Apache-2.0 */
/* What a host keeps from the moment it belongs to a platform, in a lab, at `mcp host init` and at
 * `mcp host join` alike: the boot record and the boot units (its member of the state store). Pure
 * functions of the declaration, but for the search for the country database. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#include <limits.h>

struct model;
struct model_host;

/* The declared database (relative to the declaration's folder), else the one beside the binary or
 * installed. `file`: the declaration's absolute path. */
MUST_CHECK int enrol_find_geo(
    const struct model *m, const char *file, char ret[PATH_MAX], struct err *e);

/* The boot record (domain/spec/boot.h). is_lab: the invented buyers count as their countries. */
json_t *enrol_boot(
    const struct model *m, const struct model_host *h, const char *geo, bool is_lab);

struct enrol_cluster {   /* how the host's etcd finds its own */
    const char *initial; /* "hk1=https://10.20.0.11:2380,…", itself included */
    bool existing;       /* it was added to a cluster that runs */
    const char *id;      /* names the folder of its data; NULL: the first member of this host */
};
/* {"revision": 0, "units": […]}: etcd on the declared members, which all start at once; or on this
 * host if `c` is given. */
json_t *enrol_boot_units(
    const struct model *m, const struct model_host *h, const struct enrol_cluster *c);
/* "https://10.20.0.11:2380", heap: how the other members reach that host's. */
char *enrol_peer_url(const struct model_host *h);
char *enrol_client_url(const struct model_host *h); /* the same of its clients */
