/* SPDX-License-Identifier: Apache-2.0 */
/* A session with a MariaDB or MySQL server (libmariadb). Everything here blocks: it is for worker
 * threads (driver/sql/worker.h) and short-lived programs, never for a loop. A connection belongs to
 * one thread at a time. What a call waits for ends at its timeout, at the deadline of the stop that
 * it was opened with, or when another thread raises that stop; a connection that was left in the
 * middle of an answer is lost (sql_lost()) and only good for sql_close(). The server does not notice
 * and goes on with the statement: sql_kill() ends it there.
 *
 * One statement a call (multi-statements are off), LOCAL INFILE is refused, the session is utf8mb4
 * with backslash escapes, so that sql_add_text() is right whatever the server's settings. Errors
 * carry the server's words and number, never the statement. Passwords are wiped from the library's
 * memory as far as it can be reached, and never in a message. */
#pragma once

#include "base/arena/arena.h"
#include "base/err/err.h"
#include "base/secret/secret.h"
#include "base/str/str.h"

#include <sys/types.h>

struct sql_conn;
struct sql_stop;
struct sql_dialect;

/* ---- giving up */

struct sql_stop *sql_stop_new(void);
void sql_stop_free(struct sql_stop *s); /* after whoever uses it */
/* From any thread, also a loop's: calls in progress and to come fail with ERR_CANCELED. */
void sql_stop_raise(struct sql_stop *s);
bool sql_stop_raised(const struct sql_stop *s);
void sql_stop_clear(struct sql_stop *s);
/* clock_boot_ms() after which calls fail with ERR_TIMEOUT; 0: none. The worker thread's. */
void sql_stop_set_deadline(struct sql_stop *s, uint64_t boot_ms);

/* ---- where */

enum sql_tls_mode {
    SQL_TLS_OFF,
    SQL_TLS_ANY,  /* encrypted, whoever it is */
    SQL_TLS_CA,   /* the chain leads to `ca`; the name is not looked at */
    SQL_TLS_FULL, /* and the certificate names the host (DNS name or address) */
};

struct sql_tls {
    enum sql_tls_mode mode;
    const char *ca, *cert, *key; /* PEM files; NULL: none */
};

struct sql_target {     /* zeroed members: the default in parentheses */
    const char *socket; /* Unix socket, or: */
    const char *host; /* an address: looking a name up heeds no timeout */
    uint16_t port; /* (3306) */
    const char *user;
    struct secret *password; /* borrowed; NULL: none */
    const char *database;    /* (none) */
    struct sql_tls tls;
    uint64_t connect_timeout_ms; /* (5000) whole connect with handshake */
    uint64_t read_timeout_ms;    /* (30000) the longest silence of the server in an answer */
    uint64_t write_timeout_ms;   /* (30000) */
    size_t max_packet_bytes;     /* (64 MiB) a row that is longer ends the session */
    bool compress;               /* (no) what goes over the wire */
    const char *program;         /* ("mcp") shown in the server's processlist attributes */
};
struct sql_target *sql_target_copy(const struct sql_target *t); /* deep, the password too */
void sql_target_free(struct sql_target *t);
/* "unix:/run/x.sock" or "10.0.0.1:3306": for messages. */
void sql_target_format(const struct sql_target *t, struct str *out);

/* ---- sessions */

enum sql_vendor { SQL_MARIADB, SQL_MYSQL };

struct sql_server {
    enum sql_vendor vendor;
    unsigned major, minor, patch;
    char version[64];  /* version() */
    char comment[128]; /* @@version_comment */
};

/* Connects, and finds out what it speaks to. `stop` may be NULL, else it outlives the connection. A
 * server that is too old (MariaDB 10.5, MySQL 8.0.23) is ERR_REFUSED. ERR_DENIED: password, TLS
 * demanded; ERR_UNAVAILABLE: not there; ERR_TIMEOUT. */
MUST_CHECK int sql_open(
    const struct sql_target *t, struct sql_stop *stop, struct sql_conn **ret, struct err *e);
unsigned sql_open_errno(void); /* of this thread's last sql_open() that failed, as sql_errno() */
void sql_close(struct sql_conn *c); /* NULL is fine; never waits for the server */
static inline void sql_close_p(struct sql_conn **c)
{
    sql_close(*c);
}
#define _cleanup_sql_ _cleanup_(sql_close_p)

const struct sql_server *sql_server(const struct sql_conn *c);
const struct sql_dialect *sql_dialect(const struct sql_conn *c); /* driver/sql/dialect.h */
struct sql_stop *sql_conn_stop(const struct sql_conn *c);        /* NULL: opened without */
uint64_t sql_conn_id(const struct sql_conn *c);                  /* CONNECTION_ID() */
bool sql_lost(const struct sql_conn *c);
/* Of the server's process, over its Unix socket; 0: it is reached in another way. */
pid_t sql_server_pid(const struct sql_conn *c);
/* Of the last call that failed: the server's or library's number (1290, 1950, 2013), 0 when the
 * failure was ours; SQLSTATE. */
unsigned sql_errno(const struct sql_conn *c);
const char *sql_sqlstate(const struct sql_conn *c);
/* Another silence limit from here on; for statements that take long by design. */
void sql_set_read_timeout(struct sql_conn *c, uint64_t timeout_ms);

/* "version()" and "@@version_comment" to a server and its dialect; ERR_REFUSED: too old. */
MUST_CHECK int sql_server_parse(const char *version, const char *comment, struct sql_server *ret,
    const struct sql_dialect **ret_dialect, struct err *e);

/* ---- statements */

struct sql_cell {
    const char *name;  /* the column's */
    const char *value; /* NULL: SQL NULL; else a 0 byte follows */
    size_t len;
};

struct sql_row {
    const struct sql_cell *cells;
    size_t n;
};

#define SQL_ROWS_MAX 100000u
#define SQL_BYTES_MAX (64u * 1024 * 1024)

struct sql_limits { /* 0: SQL_ROWS_MAX, SQL_BYTES_MAX */
    size_t max_rows, max_bytes;
};

struct sql_rows {
    struct sql_row *v;
    size_t n;
    struct arena *arena;
};
void sql_rows_done(struct sql_rows *r);
#define _cleanup_sql_rows_ _cleanup_(sql_rows_done)

/* For statements without rows (rows are thrown away). Returns 0; sql_affected() tells how many. */
MUST_CHECK int sql_exec(struct sql_conn *c, const char *statement, struct err *e);
MUST_CHECK int sql_execf(struct sql_conn *c, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The statement holds a password: what the server quotes of it is left out of the error, the
 * library's buffer is wiped. The caller wipes its own text. */
MUST_CHECK int sql_exec_secret(struct sql_conn *c, const char *statement, struct err *e);
uint64_t sql_affected(const struct sql_conn *c);

/* All rows in memory, within limits (NULL: the defaults); over one is ERR_LIMIT and the session is
 * lost. ret must be zeroed. */
MUST_CHECK int sql_query(struct sql_conn *c, const char *statement, const struct sql_limits *limits,
    struct sql_rows *ret, struct err *e);
/* Row by row as they come, without a limit on their number; the row is valid during the call. A
 * negative return of fn ends the walk with that error (it fills *e) and loses the session. Returns
 * 0. */
typedef int (*sql_row_fn)(void *ctx, const struct sql_row *row, struct err *e);
MUST_CHECK int sql_walk(
    struct sql_conn *c, const char *statement, sql_row_fn fn, void *ctx, struct err *e);
/* The first column of the first row; no row: ERR_NOT_FOUND, NULL: empty text. */
MUST_CHECK int sql_value(struct sql_conn *c, const char *statement, struct str *ret, struct err *e);

/* By name, small and capital letters alike; NULL: no such column. */
const struct sql_cell *sql_cell(const struct sql_row *row, const char *name);
/* "" for NULL and for no such column. */
const char *sql_text(const struct sql_row *row, const char *name);
/* False: NULL, no such column or no number. */
bool sql_u64(const struct sql_row *row, const char *name, uint64_t *ret);

/* ---- text of statements */

void sql_add_text(struct str *out, const char *text);                      /* 'quoted' */
void sql_add_text_mem(struct str *out, const void *p, size_t len);         /* 'quoted', any bytes */
void sql_add_name(struct str *out, const char *name);                      /* `quoted` */
void sql_add_account(struct str *out, const char *user, const char *host); /* 'u'@'h' */

/* ---- from another thread */

/* Opens a session of its own and ends another's statement, or the whole session. Blocks as
 * sql_open(). One that is gone already is success. */
MUST_CHECK int sql_kill(const struct sql_target *t, struct sql_stop *stop, uint64_t conn_id,
    bool statement_only, struct err *e);
