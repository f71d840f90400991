/* SPDX-License-Identifier: Apache-2.0 */
/* The session and its waiting. libmariadb counts its timeouts in seconds and cannot be interrupted,
 * so all its waiting is done here (MARIADB_OPT_IO_WAIT): a poll on the socket and on the stop, with
 * whatever deadline comes first. */
#include "driver/sql/priv.h"

#include "base/clock/clock.h"

#include <errmsg.h>
#include <errno.h>
#include <fcntl.h>
#include <mysqld_error.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define CONNECT_MS 5000u
#define SILENCE_MS 30000u
#define PACKET_BYTES (64u * 1024 * 1024)
/* The library's own limit, in seconds: only so that it never passes "wait for ever" on. */
#define LIBRARY_TIMEOUT_S 86400u
/* Never one that sends the password as it is, whatever the server asks for. */
#define AUTH_PLUGINS                                                                               \
    "mysql_native_password,caching_sha2_password,sha256_password,client_ed25519,ed25519"
#define ER_IDLE_MYSQL 4031 /* a session is ended for its silence; not in the header */

static _Thread_local struct sql_conn *active; /* whose call this thread is in */
static _Thread_local unsigned open_number;

void sql_enter(struct sql_conn *c)
{
    active = c;
    c->gave_up = SQL_WENT_ON;
}

void sql_leave(struct sql_conn *c)
{
    ASSERT(active == c);
    active = NULL;
}

static uint64_t earlier(uint64_t a, uint64_t b) /* 0: never */
{
    return !a ? b : !b ? a : MIN(a, b);
}

static int gave_up(struct sql_conn *c, enum sql_gave_up why)
{
    c->gave_up = why;
    errno = why == SQL_TIMED_OUT ? ETIMEDOUT : ECANCELED;
    return why == SQL_TIMED_OUT ? 0 : -1;
}

/* Asked by the library when a socket is not ready. */
static int wait_ready(my_socket fd, my_bool is_read, int timeout)
{
    struct sql_conn *c = active;
    if (!c || c->leaving)
        return -1;
    uint64_t limit = is_read ? c->read_timeout_ms : c->write_timeout_ms;
    uint64_t until = earlier(clock_boot_ms() + limit, sql_stop_deadline(c->stop));
    until = earlier(until, c->connect_deadline_ms);
    for (;;) {
        struct pollfd fds[2] = {
            {fd, is_read ? POLLIN : POLLOUT, 0}, {sql_stop_fd(c->stop), POLLIN, 0}};
        uint64_t now = clock_boot_ms();
        int left = now >= until ? 0 : (int)MIN(until - now, (uint64_t)INT32_MAX);
        int n = poll(fds, 2, left);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0 && fds[1].revents)
            return gave_up(c, SQL_CANCELED);
        if (n > 0)
            return 1;
        if (n == 0 && left == 0)
            return gave_up(c, SQL_TIMED_OUT);
    }
}

static void init_library(void)
{
    ASSERT(mysql_library_init(0, NULL, NULL) == 0);
}

static bool is_library(unsigned number)
{
    return IS_MYSQL_ERROR(number) || IS_MARIADB_ERROR(number) || number == CR_MIN_ERROR;
}

static int code_of(unsigned number)
{
    switch (number) {
    case ER_ACCESS_DENIED_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
        return ERR_DENIED;
    case ER_OPTION_PREVENTS_STATEMENT: /* 1290: read only */
    case ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION:
        return ERR_REFUSED;
    case ER_DUP_ENTRY:
        return ERR_EXISTS;
    case ER_NO_SUCH_TABLE:
    case ER_BAD_DB_ERROR:
    case ER_NO_SUCH_THREAD:
        return ERR_NOT_FOUND;
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_LOCK_DEADLOCK:
        return ERR_CONFLICT;
    case ER_PARSE_ERROR:
        return ERR_INVALID;
    case ER_CON_COUNT_ERROR:
    case ER_SERVER_SHUTDOWN:
    case ER_CONNECTION_KILLED:
    case ER_IDLE_MYSQL:
    case ER_TOO_MANY_USER_CONNECTIONS:
        return ERR_UNAVAILABLE;
    case CR_SSL_CONNECTION_ERROR:
    case CR_AUTH_PLUGIN_CANNOT_LOAD:
    case CR_PLUGIN_NOT_ALLOWED:
        return ERR_DENIED;
    case CR_NET_PACKET_TOO_LARGE:
    case ER_NET_PACKET_TOO_LARGE:
        return ERR_LIMIT;
    default:
        return is_library(number) ? ERR_UNAVAILABLE : ERR_FAILED;
    }
}

static bool ends_session(unsigned number)
{
    return is_library(number) || number == ER_SERVER_SHUTDOWN || number == ER_CONNECTION_KILLED
           || number == ER_IDLE_MYSQL;
}

int sql_fail(struct sql_conn *c, bool quiet, struct err *e)
{
    c->number = mysql_errno(c->my);
    str_copy(c->state, sizeof c->state, mysql_sqlstate(c->my));
    if (ends_session(c->number) || c->gave_up)
        c->lost = true;
    if (c->gave_up == SQL_CANCELED)
        return err_set(e, ERR_CANCELED, "cancelled");
    if (c->gave_up == SQL_TIMED_OUT)
        return err_set(e, ERR_TIMEOUT, "the server does not answer in time");
    return err_set(e, code_of(c->number), "%s (%u)",
        quiet ? "the server refuses it" : mysql_error(c->my), c->number);
}

void sql_cut(struct sql_conn *c)
{
    c->lost = true;
    c->leaving = true;
    int fd = mysql_get_socket(c->my);
    if (fd >= 0)
        (void)shutdown(fd, SHUT_RDWR);
}

/* ---- opening */

static void set_options(struct sql_conn *c, const struct sql_target *t)
{
    unsigned seconds = LIBRARY_TIMEOUT_S, tcp = MYSQL_PROTOCOL_TCP, off = 0;
    unsigned long packet = t->max_packet_bytes ? t->max_packet_bytes : PACKET_BYTES;
    mysql_optionsv(c->my, MARIADB_OPT_IO_WAIT, wait_ready);
    mysql_optionsv(c->my, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_optionsv(c->my, MYSQL_OPT_READ_TIMEOUT, &seconds);
    mysql_optionsv(c->my, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    mysql_optionsv(c->my, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_optionsv(c->my, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet);
    mysql_optionsv(c->my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_optionsv(c->my, MARIADB_OPT_RESTRICTED_AUTH, AUTH_PLUGINS);
    mysql_optionsv(c->my, MYSQL_OPT_CONNECT_ATTR_RESET, NULL);
    mysql_optionsv(
        c->my, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", t->program ? t->program : "mcp");
    if (t->compress)
        mysql_optionsv(c->my, MYSQL_OPT_COMPRESS, NULL);
    if (!t->socket)
        mysql_optionsv(c->my, MYSQL_OPT_PROTOCOL, &tcp);
}

static void set_tls(struct sql_conn *c, const struct sql_tls *tls)
{
    my_bool on = 1, name = tls->mode == SQL_TLS_FULL;
    if (tls->mode == SQL_TLS_OFF)
        return;
    mysql_ssl_set(c->my, tls->key, tls->cert, tls->ca, NULL, NULL);
    mysql_optionsv(c->my, MYSQL_OPT_SSL_ENFORCE, &on);
    mysql_optionsv(c->my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &name);
    mysql_optionsv(c->my, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3");
}

/* SQL statements wait for the socket through wait_ready() only if it does not block by itself. */
static void set_nonblocking(struct sql_conn *c)
{
    int fd = mysql_get_socket(c->my);
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int dial(struct sql_conn *c, const struct sql_target *t, struct err *e)
{
    int r = sql_stop_check(c->stop, e);
    if (r < 0)
        return r;
    const char *password = t->password ? (const char *)secret_bytes(t->password) : "";
    c->connect_deadline_ms =
        clock_boot_ms() + (t->connect_timeout_ms ? t->connect_timeout_ms : CONNECT_MS);
    sql_enter(c);
    MYSQL *ok = mysql_real_connect(
        c->my, t->socket ? NULL : t->host, t->user, password, t->database, t->port, t->socket, 0);
    sql_leave(c);
    if (!ok)
        return sql_fail(c, false, e);
    if (c->my->passwd) /* kept for reconnects, which are never made */
        secret_wipe(c->my->passwd, strlen(c->my->passwd));
    set_nonblocking(c);
    return 0;
}

static int introduce(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_exec(c,
        "SET SESSION sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION',time_zone='+00:00'", e);
    if (r >= 0)
        r = sql_query(c, "SELECT version() AS v, @@version_comment AS c", NULL, &rows, e);
    if (r < 0)
        return r;
    if (!rows.n)
        return err_set(e, ERR_PROTOCOL, "no answer to SELECT version()");
    return sql_server_parse(
        sql_text(&rows.v[0], "v"), sql_text(&rows.v[0], "c"), &c->server, &c->dialect, e);
}

static int open_session(struct sql_conn *c, const struct sql_target *t, struct err *e)
{
    c->my = mysql_init(NULL);
    ASSERT(c->my);
    set_options(c, t);
    set_tls(c, &t->tls);
    int r = dial(c, t, e);
    if (r >= 0 && t->tls.mode == SQL_TLS_CA)
        r = sql_check_chain(c, e);
    if (r >= 0)
        r = introduce(c, e);
    c->connect_deadline_ms = 0;
    return r;
}

int sql_open(
    const struct sql_target *t, struct sql_stop *stop, struct sql_conn **ret, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    ASSERT(t->socket || t->host);
    pthread_once(&once, init_library);
    struct sql_conn *c = xcalloc(1, sizeof *c);
    c->stop = stop;
    c->read_timeout_ms = t->read_timeout_ms ? t->read_timeout_ms : SILENCE_MS;
    c->write_timeout_ms = t->write_timeout_ms ? t->write_timeout_ms : SILENCE_MS;
    int r = open_session(c, t, e);
    if (r < 0) {
        _cleanup_str_ struct str where = STR_INIT;
        sql_target_format(t, &where);
        open_number = c->number;
        sql_close(c);
        return err_wrap(e, "connect to %s as '%s'", str_cstr(&where), t->user ? t->user : "");
    }
    *ret = c;
    return 0;
}

void sql_close(struct sql_conn *c)
{
    if (!c)
        return;
    if (c->lost)
        sql_cut(c);
    c->leaving = true; /* the farewell goes out if there is room for it */
    if (c->my) {
        set_nonblocking(c);
        sql_enter(c);
        mysql_close(c->my);
        sql_leave(c);
    }
    free(c);
}

/* ---- what it is */

const struct sql_server *sql_server(const struct sql_conn *c)
{
    return &c->server;
}

const struct sql_dialect *sql_dialect(const struct sql_conn *c)
{
    return c->dialect;
}

struct sql_stop *sql_conn_stop(const struct sql_conn *c)
{
    return c->stop;
}

uint64_t sql_conn_id(const struct sql_conn *c)
{
    return mysql_thread_id(c->my);
}

pid_t sql_server_pid(const struct sql_conn *c)
{
    struct ucred cred;
    socklen_t size = sizeof cred;
    int fd = (int)mysql_get_socket(c->my);
    struct sockaddr_storage peer = {0};
    socklen_t peer_size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) < 0 || peer.ss_family != AF_UNIX)
        return 0;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 ? 0 : cred.pid;
}

bool sql_lost(const struct sql_conn *c)
{
    return c->lost;
}

unsigned sql_errno(const struct sql_conn *c)
{
    return c->number;
}

const char *sql_sqlstate(const struct sql_conn *c)
{
    return c->state;
}

unsigned sql_open_errno(void)
{
    return open_number;
}

uint64_t sql_affected(const struct sql_conn *c)
{
    return c->affected;
}

void sql_set_read_timeout(struct sql_conn *c, uint64_t timeout_ms)
{
    c->read_timeout_ms = timeout_ms;
}

int sql_kill(const struct sql_target *t, struct sql_stop *stop, uint64_t conn_id,
    bool statement_only, struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    int r = sql_open(t, stop, &c, e);
    if (r < 0)
        return r;
    r = sql_execf(
        c, e, "KILL %s %llu", statement_only ? "QUERY" : "CONNECTION", (unsigned long long)conn_id);
    return r < 0 && c->number == ER_NO_SUCH_THREAD ? 0 : r;
}
