/* SPDX-License-Identifier: Apache-2.0 */
/* The lease of a source (domain/failover/lease.h), as its server's keeper sees it: until when it may
 * be written to, and what is done at the end of that, without asking anybody. */
#pragma once

#include "domain/failover/lease.h"
#include "domain/failover/local_check.h"
#include "driver/sql/worker.h"

#include <sys/types.h>

struct db;
struct rpc_req;
struct server; /* its process */

struct db_lease {
    uv_timer_t timer;
    struct sql_worker *worker; /* beats, probes of who is fenced; NULL: none yet */
    struct sql_conn *probe;    /* of the worker's thread alone */
    uint64_t since_ms;         /* one is needed since; 0: none is */
    uint64_t epoch, until_ms;
    bool told;
    uint64_t kill_ms; /* the server is ended then; 0: it is not */
    struct server *server; /* NULL: it does not run, or was not seen yet */
    bool unguarded;    /* the watchdog cannot be told */
    uint64_t down_ms; /* it ended then; 0: it did not */
    bool ends;        /* read-only is not enough: sessions go as well */
    struct sql_worker *far; /* far.c; NULL: none yet */
    /* check.c */
    struct sql_worker *checker; /* NULL: none yet */
    bool checking;
    uint64_t checked_ms, slow_ms; /* begun last; told last that it is slow, 0: never */
    struct local_check check; /* of `server` */
};

void db_lease_open(struct db *db);
void db_lease_close(struct db *db, void (*timer_closed)(uv_handle_t *h), void (*worker_closed)(void *ctx));
void db_lease_free(struct db *db); /* its thread has ended */
void db_lease_want(struct db *db); /* the view has changed */
/* Control's word; until_ms of CLOCK_BOOTTIME, 0: none. */
void db_lease_told(struct db *db, uint64_t epoch, uint64_t until_ms);
void db_lease_seen(struct db *db, pid_t pid); /* that process answered */
void db_lease_report(const struct db *db, json_t *report);
void db_lease_guard(struct db *db); /* says to the watchdog again what holds */
pid_t db_lease_pid(const struct db *db); /* of the process that answered last, and has not ended; 0: none */
void db_lease_check(struct db *db);      /* comes again and again while a lease is needed */
void db_lease_stands_still(struct db *db); /* the process is to be killed for that */
/* What /proc says of its threads, added to *s. */
void data_see_threads(pid_t pid, struct local_check_sample *s);
/* Have applications to be thrown out? */
bool db_lease_ends(const struct db *db);
/* "data.beat", "data.fence", "data.verify" */
void lease_call_beat(struct db *db, struct rpc_req *req, json_t *params);
void lease_call_fence(struct db *db, struct rpc_req *req, json_t *params);
/* The end of a rehearsal: that it refuses a write is read back, then it is thawed. */
void lease_read_back(struct db *db, struct rpc_req *req);
/* "data.fence.far": the source that others run, from here (far.c). */
void far_call_fence(struct db *db, struct rpc_req *req, json_t *params);
void lease_call_verify(struct db *db, struct rpc_req *req, json_t *params);
