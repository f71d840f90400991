/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a data role about backups: data.backup.run, data.backup.list, data.backup.verify,
 * data.backup.restore, data.vault. Each has a worker thread of its own; parts of the answer tell how
 * far it is ({"phase", "bytes"}), and a caller that goes away cancels it. */
#pragma once

#include "base/rpc/rpc.h"
#include "service/copies/copies.h"

#include <uv.h>

struct copies_host { /* copied */
    uv_loop_t *loop;
    const char *database;
    const char *host;
    const char *dir;       /* of the database: data/, binlog/, run/, vault/ */
    const char *directory; /* of backups */
    const char *user;      /* of sessions with its server */
    int64_t keep_ms;
    uint32_t server;
};

/* False: no such method. Else the request is answered, now or later. */
bool copies_serve(
    const struct copies_host *h, struct rpc_req *req, const char *method, json_t *params);

struct copies_job;
/* A backup without a caller. done: once, from the loop; result is {"id", ...} or NULL. */
struct copies_job *copies_run(const struct copies_host *h,
    void (*done)(void *ctx, const json_t *result, const struct err *e), void *ctx, struct err *e);
void copies_job_cancel(struct copies_job *j); /* done() still comes */
