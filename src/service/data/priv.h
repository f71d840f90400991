/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder: data.c keeps the set, db.c one database, want.c reads what
 * control wants of it, sample.c looks at its server, ops.c changes it, form.c makes what the
 * platform needs in it, calls.c answers. Whatever a worker's thread gets is a copy of its own. */
#pragma once

#include "service/data/data.h"

#include "service/data/lease.h"

#include "domain/replication/lag.h"
#include "domain/replication/node.h"
#include "driver/sql/dialect.h"
#include "driver/sql/worker.h"
#include "service/watchdog/watchdog.h"

#include <stdatomic.h>

#define DATA_USER "mysql"       /* of our sessions: the system user that this process is */
#define DATA_REPL "mcp_repl"    /* of replicas; certificate only */
#define DATA_PROBE "mcp_probe"  /* like an application: may not write where that is refused */
#define DATA_SUBJECT "/O=MCP/CN=mcp-data" /* of leaves of the kind "data" */
#define DATA_SCHEMA "mcp_dts"
#define DATA_SYNC_MS (365u * 86400000ull) /* no limit: a year */

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
    uint64_t lease_ms; /* 0: it needs none */
    bool manual, semi_sync, tls_ready;
    bool sync; /* domain/replication/sync.h: commits wait */
    bool external, tls; /* a server that others run, by TCP; with TLS */
    bool held; /* a failover is under way: it is not made writable */
    json_t *login;      /* {"user", "password"} of an external one, a reference; NULL: managed */
    uint64_t form; /* of accounts and schema */
    enum replication_log source_log;
};

MUST_CHECK int data_want_parse(json_t *json, struct data_want *ret, struct err *e);
void data_want_done(struct data_want *w);
void data_want_copy(const struct data_want *w, struct data_want *ret); /* for a thread */
/* Its server as `user` reaches it; NULL: as the supervisor does. To be freed. */
struct sql_target *data_target_new(const struct data_want *w, const char *user,
    struct secret *password, const char *program);
const char *data_user(const struct data_want *w); /* of our sessions */

/* ---- a look at the server (sample.c) */

struct data_look {
    struct sql_position position;
    struct sql_replica_status status;
    char version[64];
    uint64_t epoch;
    uint32_t epoch_server;
    uint64_t sessions;
    uint64_t disk_total, disk_free;
    json_t *accounts; /* data_accounts_read() */
    bool sync;        /* commits wait for a replica without a limit */
    uint64_t sync_clients, sync_waiting, sync_acks; /* replicas, sessions that wait, so far */
    bool seed_new;   /* a copy whose position is not set yet */
    bool replayable; /* its logs reach back to the start, and are short */
    uint64_t began_ms;
    pid_t pid; /* of its process; 0: not of this host */
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

struct data_leave { /* to write, as the node says: the loop writes it, threads look at it */
    atomic_ullong epoch, until_ms;
};

struct data_op {
    struct db *db;
    struct data_want want;
    enum replication_op op;
    json_t *files; /* {digest: text}: of the schema */
    uint64_t grace_ms;
    bool ends; /* READ_ONLY: and the sessions of applications, whatever they do */
    const struct data_leave *leave; /* as of now */
};

MUST_CHECK int data_op_run(
    struct data_op *op, struct sql_conn *c, struct sql_stop *stop, struct err *e);
MUST_CHECK int data_probe_password(struct sql_conn *c, struct secret **ret, struct err *e);
MUST_CHECK int data_form_epoch(struct sql_conn *c, const struct data_want *w, struct err *e);
MUST_CHECK int data_form(
    struct sql_conn *c, const struct data_want *w, const json_t *files, struct err *e);
/* May the server be written to at this moment, at that epoch? Also when the loop has not come to say
 * no, because all stood still. */
bool data_may_write(const struct data_leave *l, uint64_t epoch);
void data_give_leave(struct data_leave *l, uint64_t epoch, uint64_t until_ms);
/* Of the server or of the platform, not of a module. */
bool data_is_system_user(const char *user);

/* ---- what is wrong (hygiene.c looks, findings.c tells) */

struct hygiene {
    struct sql_worker *worker;
    uv_timer_t timer;
    bool busy;
    json_t *facts; /* of domain/replication/hygiene.h */
    json_t *book;  /* of findings.h */
    struct gtid_set state; /* at the last survey */
    bool has_state;
    uint64_t round_ms, survey_ms, apply_ms, raise_ms; /* begun last; 0: not yet */
    uint64_t applied; /* number of the source's last transaction here, at the look before */
    uint64_t epoch; /* that the facts are of */
    enum replication_duty duty;
    uint64_t unsure_ms; /* the lag is uncertain since; 0: it is not */
    unsigned refused_number;
    char refused_text[256];
};

/* ---- one database (db.c) */

struct db;
struct seed;
struct maker;

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
    struct data_leave leave;
    struct rnd rnd;
    struct sql_worker *act, *watch, *beat; /* changes; looks; heartbeats */
    uv_timer_t timer, beat_timer;
    struct data_look *last; /* NULL: none yet, or it is not reachable */
    uint64_t looks, last_number; /* begun; that of `last` */
    bool sampling, again;        /* a look is under way; another one is due after it */
    uint64_t grace_ms;      /* of a freeze */
    uint64_t stalled_ms, sync_acks; /* commits wait since, for who acknowledged so many; 0: none do */
    bool unsaved;    /* and it was told why */
    json_t *rescues; /* rescue.h: what lies there */
    json_t *files, *asking; /* {digest: text}, {digest: true} */
    struct waiter *waiters;
    /* beat.c */
    bool beating;
    uint32_t domain; /* that the source of an external one writes in, as seen last */
    struct sql_conn *probe; /* of the heartbeats' thread alone */
    char last_gtid[64]; /* of the row written last */
    uint64_t beats, beat_ms; /* written; the last one then */
    char beat_error[256];
    struct lag lag;
    char *source_pos; /* what the source had when it wrote the row that shows; NULL: not known */
    struct hygiene hygiene;
    struct metric_set *metrics; /* NULL: nobody has asked yet */
    struct db_keep *keep; /* keep.c */
    struct db_retain *retain; /* retain.c */
    struct db_lease lease;
    uint64_t errant_ms;  /* it has what the source has not, since; 0: no */
    struct seed *seed;   /* seed.c: of this replica; NULL: none yet */
    struct maker *maker; /* maker.c: for others, of this source */
    unsigned open_handles;
    bool closing;
};

struct data {
    struct data_config config;
    json_t *snapshot; /* as told last, or as it was on disk */
    int64_t seq;
    json_t *identity; /* {"ca", "cert", "key"}; NULL: not told */
    int64_t cert_from_ms, cert_until_ms; /* of its certificate */
    json_t *logins;   /* {database: {"user", "password"}}: of external ones; only in memory */
    json_t *world;    /* what control knows of the other hosts; NULL: not told */
    struct db *dbs;
    struct watchdog *watchdog; /* of sources under a lease */
    uv_timer_t report_timer;
    unsigned refs;
    bool closing;
};

MUST_CHECK int db_new(struct data *d, const struct data_want *want, struct db **ret, struct err *e);
void db_close(struct db *db); /* frees itself on the loop */
/* Takes want; read from the quorum, and good for so long; 0: it is not. */
void db_want(struct db *db, struct data_want *want, uint64_t fresh_ms);
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
/* threads.c: twice as many for applying, up to a bound. How many there are now; 0: as before. */
uint64_t data_more_threads(struct sql_conn *c);
/* keep.c: backups */
void db_keep_open(struct db *db);
void db_keep_close(struct db *db, void (*closed)(uv_handle_t *h)); /* of one handle */
void db_keep_free(struct db *db);
bool db_keep_call(struct db *db, struct rpc_req *req, const char *method, json_t *params);
void db_keep_report(const struct db *db, json_t *report);
void db_keep_findings(const struct db *db, json_t *list);
/* retain.c: which binary logs go, how full the disk is */
void db_retain_open(struct db *db);
void db_retain_free(struct db *db);
void db_retain_turn(struct db *db); /* each few seconds */
void db_retain_report(const struct db *db, json_t *report);
void db_retain_findings(const struct db *db, json_t *list);
/* calls.c */
void db_call(struct db *db, struct rpc_req *req, const char *method, json_t *params);
/* hygiene.c */
MUST_CHECK int db_hygiene_start(struct db *db, const struct sql_target *t, struct err *e);
void db_hygiene_done(struct db *db); /* its worker and timer are closed */
json_t *db_check_json(const struct db *db); /* of the last read-only check; null: none */
uint64_t data_waiting_ms(const struct db *db); /* what was received waits so long to be applied */
/* findings.c: looks at everything and tells what came and what went. */
void db_findings(struct db *db);
void db_metrics_collect(struct db *db); /* metrics.c */
