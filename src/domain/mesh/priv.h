/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of domain/mesh: what the readers of a view share. */
#pragma once

#include "domain/mesh/mesh.h"

#include "base/arena/arena.h"

struct reader {
    struct mesh_view *v;
    struct arena *a;
    struct err *e;
};

int mesh_wrong(struct reader *r, const char *what, const char *name); /* ERR_INVALID */
MUST_CHECK int mesh_read_addresses(struct reader *r, const json_t *list,
    const struct ip_addr **ret, size_t *ret_n, const char *of);

/* data.c */
MUST_CHECK int mesh_read_databases(struct reader *r, const json_t *list);
MUST_CHECK int mesh_read_data_listen(struct reader *r, const json_t *j, struct mesh_listen *l);
