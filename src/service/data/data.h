/* SPDX-License-Identifier: Apache-2.0 */
/* The databases of one host: keeps each as the last snapshot of control says (source or replica, of
 * whom, at which epoch), tells how they are, answers what commands and switchovers ask. What is to
 * be done next decides domain/replication; here it is carried out.
 *
 * A server starts read-only, always, and stays so until a snapshot that was read from the quorum
 * just now (`fresh`) says that it is the source. The snapshot is kept on disk, and a restart begins
 * with it, not fresh.
 *
 * Client libraries of databases block: each database has threads of its own for that; everything
 * else happens on the loop. Without databases there are no threads. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "base/rpc/rpc.h"

#include <uv.h>

#define DATA_DATABASES_MAX 64u

struct data;

struct data_config {
    uv_loop_t *loop;
    const char *host;
    const char *state_dir;                 /* databases.json */
    struct rpc_conn *(*control)(void *ctx); /* NULL while it is not linked */
    void (*report)(void *ctx, json_t *report); /* takes it; each second while there are databases,
                                                  and on change */
    void (*timeline)(void *ctx, const char *kind, const char *subject, const char *message,
        const char *cause);
    void *ctx;
};

MUST_CHECK int data_new(const struct data_config *c, struct data **ret, struct err *e);
void data_free(struct data *d); /* handles close on the loop; NULL is fine */
/* "databases", "identity", "clocks", "lease" of control. ERR_INVALID changes nothing. */
MUST_CHECK int data_told(struct data *d, const char *method, json_t *params, struct err *e);
void data_linked(struct data *d); /* control is there (again): say all that it must know */
/* "data.position", ...: answers now or later. */
void data_call(struct data *d, struct rpc_req *req, const char *method, json_t *params);
void data_metrics_collect(struct data *d);
