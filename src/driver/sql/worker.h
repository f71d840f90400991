/* SPDX-License-Identifier: Apache-2.0 */
/* A thread for blocking calls to databases, on behalf of a loop. One worker is one thread with one
 * queue and, when it has a target, one session that it opens when a job needs it and keeps; jobs
 * run one after the other. Servers that must not wait for each other get a worker each.
 *
 * Every job completes exactly once, from the loop and never from within sql_worker_run(): done,
 * failed, past its deadline (ERR_TIMEOUT), or cancelled (ERR_CANCELED). A job that is cancelled
 * while it runs is interrupted where it waits. All functions here belong to the loop's thread but
 * the work itself. */
#pragma once

#include "driver/sql/sql.h"

#include <uv.h>

#define SQL_JOBS_MAX 1024 /* queued of one worker: more is ERR_LIMIT */

struct sql_worker;
struct sql_job;

/* On the worker's thread. `conn` is the worker's session (NULL without a target); further ones are
 * opened with `stop`, so that cancelling reaches them. A session that is lost is opened anew for the
 * next job. */
typedef int (*sql_work_fn)(void *ctx, struct sql_conn *conn, struct sql_stop *stop, struct err *e);
/* On the loop. e NULL: done; result: what work returned; number: sql_errno() of a failure. */
typedef void (*sql_done_fn)(void *ctx, int result, unsigned number, const struct err *e);

MUST_CHECK int sql_worker_new(
    uv_loop_t *loop, const struct sql_target *target, struct sql_worker **ret, struct err *e);
/* From the next job on; NULL: no session. The old session is closed. */
void sql_worker_set_target(struct sql_worker *w, const struct sql_target *target);
/* deadline_ms: from now, time in the queue included; 0: none. Returns the job, to cancel it; it is
 * gone when done has been called. */
struct sql_job *sql_worker_run(
    struct sql_worker *w, uint64_t deadline_ms, sql_work_fn work, sql_done_fn done, void *ctx);
void sql_job_cancel(struct sql_job *j);
size_t sql_worker_jobs(const struct sql_worker *w); /* queued, running, not yet told */
/* Cancels everything; each job's done is called from the loop, then `closed` (may be NULL). The
 * loop must run until then. */
void sql_worker_close(struct sql_worker *w, void (*closed)(void *ctx), void *ctx);
