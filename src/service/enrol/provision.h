/* SPDX-License-Identifier: Apache-2.0 */
/* What every host of a lab is given when it is made, and the first host of a real platform (the
 * others join): certificates from the built-in CA, the boot record, the boot units
 * (service/enrol/records.h). From the declaration alone; idempotent. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "driver/pki/authority.h"

#include <limits.h>

struct enrol_cluster;
struct model;
struct model_host;

struct provision { /* the same for every host; read by several threads */
    const struct model *model;
    const struct pki_authority *authority;
    const char *geo; /* path of the country database */
    int64_t leaf_s;  /* how long certificates live; 0: as usual */
    bool is_real;    /* no lab */
    const struct enrol_cluster *cluster; /* NULL: all declared members start at once */
};

/* Writes all of it below `root` ("/proc/PID/root", "" for this machine). *ret_changed: the boot
 * record is another than before, so a running host must read it again. */
MUST_CHECK int provision_host(const struct provision *p, const struct model_host *h,
    const char *root, bool *ret_changed, struct err *e);
