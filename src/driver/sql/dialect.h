/* SPDX-License-Identifier: Apache-2.0 */
/* What MariaDB and MySQL say differently about replication, behind one vtable. An entry of the
 * vtable writes the statements of one task (pure, so each is tested as text) or reads the server's
 * answer into a plain struct; the functions below run it on a session and are what everybody calls.
 *
 * Three dialects: MariaDB (10.6 and later), MySQL 8.0.23 to 8.1 (old verbs for binary logs) and MySQL
 * 8.2 to 9 (8.4 removed the old verbs). Which one a session speaks is sql_dialect(). All run
 * functions block like sql.h and return its errors; sql_errno() then tells the server's number. */
#pragma once

#include "driver/sql/sql.h"
#include "proto/gtid/gtid.h"

/* ---- statements of a task */

struct sql_step {
    char *text;
    unsigned tolerated; /* the server's error that is fine here; 0: none */
};

struct sql_script {
    struct sql_step *v;
    size_t n, cap;
    bool secret; /* a statement holds a password */
};
void sql_script_done(struct sql_script *s); /* wipes */
#define _cleanup_sql_script_ _cleanup_(sql_script_done)
void sql_script_add(struct sql_script *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Stops at the first statement that fails. */
MUST_CHECK int sql_run(struct sql_conn *c, const struct sql_script *s, struct err *e);

/* ---- replication */

struct sql_attach {
    const char *host;
    uint16_t port; /* 0: 3306 */
    const char *user;
    struct secret *password;  /* at most 96 bytes, MySQL 32 */
    struct sql_tls tls;       /* CA without name: MySQL only (MariaDB checks both or nothing) */
    uint64_t heartbeat_ms;    /* 0: 5000 */
    uint32_t connect_retry_s; /* 0: 1 */
    uint32_t net_timeout_s;   /* silence after which the source is asked anew; 0: 10 */
    uint32_t delay_s;         /* a delayed replica */
    bool compress;     /* MariaDB: has to be on at the source too (compress in sql_settings) */
    bool from_current; /* MariaDB: begin behind the own writes too: a former source rejoins */
};

enum sql_threads { SQL_THREAD_IO = 1, SQL_THREAD_SQL = 2, SQL_THREAD_BOTH = 3 };

enum sql_io_state { SQL_IO_NO, SQL_IO_CONNECTING, SQL_IO_YES };

struct sql_replica_status {
    bool configured; /* false: the rest is empty; it replicates from nobody */
    char source_host[256];
    uint16_t source_port;
    char source_user[128];
    uint32_t source_server_id;
    enum sql_io_state io;
    bool sql_running;
    unsigned io_errno, sql_errno;
    char io_error[1024], sql_error[1024];
    char io_text[128], sql_text[128]; /* what the threads say that they do */
    bool by_gtid;                     /* GTID positions are in use */
    bool tls;
    uint32_t delay_s;
    bool seconds_known;
    uint64_t seconds_behind;   /* the server's own, not to be relied on: 0 from a frozen source */
    uint64_t heartbeats;       /* received; stands still while transactions come */
    uint64_t heartbeat_ms;     /* period agreed */
    uint64_t retried;          /* transactions that the SQL thread had to begin again */
    uint64_t relay_bytes;      /* 0: not told (MySQL) */
    struct gtid_set retrieved; /* received from the source (MariaDB: Gtid_IO_Pos) */
    struct gtid_set executed;  /* applied (MariaDB: gtid_slave_pos, MySQL: gtid_executed) */
};
void sql_replica_status_done(struct sql_replica_status *s);
#define _cleanup_sql_status_ _cleanup_(sql_replica_status_done)

struct sql_position {
    struct gtid_set binlog;  /* in its binary log (gtid_binlog_pos, gtid_executed) */
    struct gtid_set applied; /* from its source (gtid_slave_pos, gtid_executed) */
    struct gtid_set current; /* both (gtid_current_pos, gtid_executed) */
    struct gtid_set state;   /* MariaDB: the last of every server (gtid_binlog_state) */
    struct gtid_set purged;  /* MySQL: no longer in its binary log */
    uint32_t server_id, domain;
    char uuid[GTID_UUID_TEXT_SIZE]; /* MySQL: server_uuid */
    bool read_only;                 /* MySQL: super_read_only */
};
void sql_position_done(struct sql_position *p);
#define _cleanup_sql_position_ _cleanup_(sql_position_done)

struct sql_semisync {
    bool source, replica;
    uint64_t timeout_ms; /* 0: 10000; then it goes on without */
};

struct sql_settings { /* what a managed server is told at run time */
    bool compress;
    uint32_t net_timeout_s; /* 0: as it is */
    uint32_t expire_s;      /* binary logs; 0: as it is */
    bool set_domain;        /* MariaDB */
    uint32_t domain;
};

struct sql_binlog {
    char name[128];
    uint64_t size_bytes;
};

struct sql_session {
    uint64_t id;
    char user[128], host[256], database[128], command[64], state[128];
    char info[128]; /* the statement's beginning */
    uint64_t seconds;
    bool own;  /* the server's own thread: never to be killed */
    bool feed; /* sends binary logs to a replica */
};

/* ---- accounts */

enum sql_require { SQL_REQUIRE_NONE, SQL_REQUIRE_SSL, SQL_REQUIRE_X509 };

#define SQL_HASH_SIZE 42 /* "*" and 40 hexadecimal digits */

struct sql_password { /* one of: */
    struct secret *clear;
    const char *hash; /* sql_password_hash(); MariaDB only */
};

struct sql_account {
    const char *user;
    const char *host; /* NULL: '%' */
    /* Each of them is good: the newest first, then one that is on its way out. None: the account has
     * no password; then `by_socket` or `require` says what it takes. */
    struct sql_password passwords[2];
    size_t n_passwords;
    bool by_socket; /* the system user of that name, over the Unix socket */
    enum sql_require require;
    const char *subject;      /* X509: of the certificate, "/CN=x"; NULL: any of the CA's */
    uint32_t max_connections; /* 0: no limit of its own */
};

struct sql_grant {
    const char *privileges; /* "SELECT, INSERT" */
    const char *database;   /* NULL: *.* */
    const char *table;      /* NULL: all of it */
};

enum sql_duty {          /* what an account is for: the privileges that it takes, nothing more */
    SQL_DUTY_REPLICA,    /* replicas connect with it */
    SQL_DUTY_SUPERVISOR, /* status, attach, promote, fence, purge, kill */
    SQL_DUTY_BACKUP,
};

/* ---- the vtable */

struct sql_dialect {
    const char *name; /* "mariadb", "mysql-8.0", "mysql" */
    enum sql_vendor vendor;
    enum gtid_flavour flavour;
    bool has_flashback; /* a diverged replica can be taken back, else it is seeded anew */
    int (*attach)(const struct sql_attach *a, struct sql_script *out, struct err *e);
    void (*start)(enum sql_threads which, struct sql_script *out);
    void (*stop)(enum sql_threads which, struct sql_script *out);
    void (*reset_replica)(bool forget_source, struct sql_script *out);
    void (*reset_binlogs)(struct sql_script *out);
    /* `reset_binlogs` first: an own log that is ahead is refused. */
    void (*set_start)(const struct gtid_set *position, struct sql_script *out);
    void (*read_only)(bool on, uint32_t lock_wait_s, struct sql_script *out);
    void (*semisync)(const struct sql_semisync *s, struct sql_script *out);
    void (*settings)(const struct sql_settings *s, struct sql_script *out);
    void (*flush_tls)(struct sql_script *out);
    void (*flush_binlogs)(struct sql_script *out);
    int (*account_set)(const struct sql_account *a, struct sql_script *out, struct err *e);
    const char *(*privileges)(enum sql_duty duty);
    /* SELECT whose one value is 0 when the position was reached. */
    void (*wait)(const struct gtid_set *position, uint64_t timeout_ms, struct str *out);
    int (*read_status)(struct sql_conn *c, struct sql_replica_status *ret, struct err *e);
    int (*read_position)(struct sql_conn *c, struct sql_position *ret, struct err *e);
    /* What is before the first event of a binary log. */
    int (*read_binlog_start)(
        struct sql_conn *c, const char *log, struct gtid_set *ret, struct err *e);
};

extern const struct sql_dialect sql_mariadb, sql_mysql80, sql_mysql;

/* ---- tasks */

MUST_CHECK int sql_attach(struct sql_conn *c, const struct sql_attach *a, struct err *e);
MUST_CHECK int sql_start(struct sql_conn *c, enum sql_threads which, struct err *e);
MUST_CHECK int sql_stop(struct sql_conn *c, enum sql_threads which, struct err *e);
MUST_CHECK int sql_reset_replica(struct sql_conn *c, bool forget_source, struct err *e);
MUST_CHECK int sql_reset_binlogs(struct sql_conn *c, struct err *e);
MUST_CHECK int sql_set_start(struct sql_conn *c, const struct gtid_set *position, struct err *e);
/* ret must be zeroed; sql_replica_status_done() always. */
MUST_CHECK int sql_status(struct sql_conn *c, struct sql_replica_status *ret, struct err *e);
MUST_CHECK int sql_position(struct sql_conn *c, struct sql_position *ret, struct err *e);
/* 1: reached, 0: not within the time. */
MUST_CHECK int sql_wait(
    struct sql_conn *c, const struct gtid_set *position, uint64_t timeout_ms, struct err *e);
/* Fence and release. On: waits for running commits up to lock_wait_s (0: 1), then ERR_CONFLICT
 * (1205). It is read back. */
MUST_CHECK int sql_read_only(struct sql_conn *c, bool on, uint32_t lock_wait_s, struct err *e);
MUST_CHECK int sql_semisync(struct sql_conn *c, const struct sql_semisync *s, struct err *e);
MUST_CHECK int sql_settings(struct sql_conn *c, const struct sql_settings *s, struct err *e);
MUST_CHECK int sql_flush_tls(struct sql_conn *c, struct err *e); /* certificates are read anew */
MUST_CHECK int sql_flush_binlogs(struct sql_conn *c, struct err *e); /* begins a new file */

#define SQL_BINLOGS_MAX 100000u
/* Oldest first; free() it. No binary log at all is an empty list. */
MUST_CHECK int sql_binlogs(
    struct sql_conn *c, struct sql_binlog **ret, size_t *ret_n, struct err *e);
MUST_CHECK int sql_binlog_start(
    struct sql_conn *c, const char *log, struct gtid_set *ret, struct err *e);
/* Everything older than `log` goes. */
MUST_CHECK int sql_purge_to(struct sql_conn *c, const char *log, struct err *e);

/* ---- binary logs as a replica is sent them; the session is good for nothing else after */
struct sql_feed {
    const char *log;   /* MariaDB: from there; "": the oldest that is there */
    uint32_t position; /* MariaDB: 4: from its beginning */
    const struct gtid_set *has; /* MySQL: all but these */
    uint32_t server_id; /* of who asks: unique among all who do */
    uint64_t heartbeat_ms; /* silence is never longer */
};
MUST_CHECK int sql_feed_begin(struct sql_conn *c, const struct sql_feed *f, struct err *e);
/* The next event, valid until the next call; sql_errno() 1236: it cannot be had. */
MUST_CHECK int sql_feed_next(
    struct sql_conn *c, const uint8_t **ret, size_t *ret_len, struct err *e);

#define SQL_SESSIONS_MAX 65536u
MUST_CHECK int sql_sessions(
    struct sql_conn *c, struct sql_session **ret, size_t *ret_n, struct err *e); /* free() it */
/* Ends every session but the server's own, this one, replicas' feeds and those of the users in
 * `spare` (NULL-terminated, may be NULL). Returns how many. */
MUST_CHECK int sql_kill_sessions(struct sql_conn *c, const char *const *spare, struct err *e);
MUST_CHECK int sql_kill_session(struct sql_conn *c, uint64_t id, struct err *e);

/* What mysql_native_password keeps of a password: enough to log in is not in it. */
void sql_password_hash(struct secret *password, char out[SQL_HASH_SIZE]);
/* Makes the account or changes it to what is said. Not written to the binary log when `local`. */
MUST_CHECK int sql_account_set(
    struct sql_conn *c, const struct sql_account *a, bool local, struct err *e);
MUST_CHECK int sql_account_drop(
    struct sql_conn *c, const char *user, const char *host, struct err *e);
/* The account then has exactly these. */
MUST_CHECK int sql_grants_set(struct sql_conn *c, const char *user, const char *host,
    const struct sql_grant *grants, size_t n, struct err *e);
