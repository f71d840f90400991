/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder: data.c keeps the set, db.c one database, want.c reads what
 * control wants of it, sample.c looks at its server, ops.c changes it, form.c makes what the
 * platform needs in it, calls.c answers. Whatever a worker's thread gets is a copy of its own. */
#pragma once

#include "service/data/data.h"

#include "domain/replication/lag.h"
#include "domain/replication/node.h"
#include "driver/sql/dialect.h"
#include "driver/sql/worker.h"

#include <stdatomic.h>

#define DATA_USER "mysql"       /* of our sessions: the system user that this process is */
#define DATA_REPL "mcp_repl"    /* of replicas; certificate only */
#define DATA_PROBE "mcp_probe"  /* like an application: may not write where that is refused */
#define DATA_SUBJECT "/O=MCP/CN=mcp-data" /* of leaves of the kind "data" */
#define DATA_SCHEMA "mcp_dts"

/* ---- what control wants (want.c); texts are those of `json` */

struct data_member {
    const char *host, *region, *address;
    uint16_t port;
    uint32_t id;
    uint64_t delay_ms;
};

struct data_want {
    json_t *json; /* a reference */
    const char *name, *dir;
    enum replication_duty duty;
    uint64_t epoch, last_change;
    struct data_member self, source;
    uint64_t heartbeat_ms, check_ms, retention_ms, objective_ms;
    bool manual, semi_sync, tls_ready;
    uint64_t form; /* of accounts and schema */
};

MUST_CHECK int data_want_parse(json_t *json, struct data_want *ret, struct err *e);
void data_want_done(struct data_want *w);
void data_want_copy(const struct data_want *w, struct data_want *ret); /* for a thread */

/* ---- a look at the server (sample.c) */

struct data_look {
    struct sql_position position;
    struct sql_replica_status status;
    char version[64];
    uint64_t epoch;
    uint32_t epoch_server;
    uint64_t sessions;
    uint64_t disk_total, disk_free;
    uint64_t began_ms;
};

struct data_look *data_look_new(void);
void data_look_free(struct data_look *l);
/* On a worker's thread. */
MUST_CHECK int data_look(
    struct sql_conn *c, const struct data_want *w, struct data_look *ret, struct err *e);
/* What of it the node goes by; texts stay those of the look. */
void data_look_sample(const struct data_look *l, const struct data_want *w,
    struct replication_sample *ret);
/* How far it is: its own log and what it applied, one position. */
void data_look_reached(const struct data_look *l, struct gtid_set *ret);

/* ---- changes (ops.c, form.c); on a worker's thread */

struct data_op {
    struct db *db;
    struct data_want want;
    enum replication_op op;
    json_t *files; /* {digest: text}: of the schema */
    uint64_t grace_ms;
    const atomic_bool *may_write; /* as of now */
};

MUST_CHECK int data_op_run(
    struct data_op *op, struct sql_conn *c, struct sql_stop *stop, struct err *e);
MUST_CHECK int data_probe_password(struct sql_conn *c, struct secret **ret, struct err *e);
MUST_CHECK int data_form_epoch(struct sql_conn *c, const struct data_want *w, struct err *e);
MUST_CHECK int data_form(
    struct sql_conn *c, const struct data_want *w, const json_t *files, struct err *e);
/* Of the server or of the platform, not of a module. */
bool data_is_system_user(const char *user);

/* ---- one database (db.c) */

struct db;

/* Called after every sample until it answers true; `over`: its time is. */
struct waiter {
    struct waiter *next;
    struct rpc_req *req;
    bool (*look)(struct waiter *w, struct db *db, bool over);
    uint64_t deadline_ms;
    uint64_t look_number; /* only what was seen from then on counts */
    uint64_t epoch;
    struct gtid_set gtid;
};

struct db {
    struct db *next;
    struct data *owner;
    char name[64];
    struct data_want want;
    struct replication_node node;
    atomic_bool may_write; /* as the node says: the loop writes it, threads look at it */
    struct rnd rnd;
    struct sql_worker *act, *watch, *beat; /* changes; looks; heartbeats */
    uv_timer_t timer, beat_timer;
    struct data_look *last; /* NULL: none yet, or it is not reachable */
    uint64_t looks, last_number; /* begun; that of `last` */
    bool sampling, again;        /* a look is under way; another one is due after it */
    uint64_t grace_ms;      /* of a freeze */
    json_t *files, *asking; /* {digest: text}, {digest: true} */
    struct waiter *waiters;
    /* beat.c */
    bool beating;
    struct sql_conn *probe; /* of the heartbeats' thread alone */
    char last_gtid[64]; /* of the row written last */
    uint64_t beats, beat_ms; /* written; the last one then */
    char beat_error[256];
    struct lag lag;
    char *source_pos; /* what the source had when it wrote the row that shows; NULL: not known */
    unsigned open_handles;
    bool closing;
};

struct data {
    struct data_config config;
    json_t *snapshot; /* as told last, or as it was on disk */
    int64_t seq;
    json_t *identity; /* {"ca", "cert", "key"}; NULL: not told */
    json_t *world;    /* what control knows of the other hosts; NULL: not told */
    struct db *dbs;
    uv_timer_t report_timer;
    unsigned refs;
    bool closing;
};

MUST_CHECK int db_new(struct data *d, const struct data_want *want, struct db **ret, struct err *e);
void db_close(struct db *db); /* frees itself on the loop */
/* Takes want. */
void db_want(struct db *db, struct data_want *want, bool fresh);
void db_event(struct db *db, const struct replication_event *ev);
void db_look_soon(struct db *db);
void db_identity(struct db *db);
json_t *db_report(const struct db *db);
void db_wait(struct db *db, struct waiter *w); /* takes it */

/* A session as an application has one: with the probe's account. `conn`: one of ours. */
MUST_CHECK int data_probe_open(struct sql_conn *conn, const struct data_want *w,
    struct sql_stop *stop, struct sql_conn **ret, struct err *e);
/* beat.c: the timer's; writes or watches, and comes again */
void db_beat(uv_timer_t *t);

void data_report_soon(struct data *d);
void data_unref(struct data *d);
void data_offset(struct data *d, struct db *db); /* its source's clock, as measured last */
void data_note(struct data *d, const struct db *db, const char *kind, const char *message,
    const char *cause);
MUST_CHECK int data_identity_write(
    const struct data *d, const struct data_want *want, struct err *e);
/* calls.c */
void db_call(struct db *db, struct rpc_req *req, const char *method, json_t *params);
