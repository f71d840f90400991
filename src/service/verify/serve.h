/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a data role about content: data.facts, data.shapes, data.checksum, data.differences,
 * data.rows. Each has a worker thread and a session of its own, so that nothing else waits for a
 * long sum; a caller that goes away cancels it. */
#pragma once

#include "base/rpc/rpc.h"
#include "driver/sql/sql.h"

#include <stdatomic.h>

struct verify_host {
    uv_loop_t *loop;
    struct sql_target target;
    const char *database;      /* the schema's name, too */
    const char *binlog_dir;    /* NULL: of another host */
    const atomic_bool *behind; /* sums wait while it is set; NULL: never. Outlives the call */
};

/* False: no such method. Else the request is answered, now or later. */
bool verify_serve(
    const struct verify_host *h, struct rpc_req *req, const char *method, json_t *params);
