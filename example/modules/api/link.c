/* SPDX-License-Identifier: Apache-2.0 */
/* One connection, through libmariadb's non-blocking calls: a stage is started, may say what it
 * waits for, is continued when that came, and ends. A stage that is out of time is continued with
 * MYSQL_WAIT_TIMEOUT, which ends it with an error. */
#include "priv.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Not among the names of every version of the client library. */
#define ERROR_READ_ONLY_MODE 1836

#define COLUMNS "id, idem_key, country, customer, item, quantity, amount_cents, region, created_at"

static const struct {
    const char *sql;
    unsigned values, columns;
} statements[DB_STATEMENTS] = {
    [DB_INSERT] = {"INSERT INTO orders (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", 9, 0},
    [DB_BY_KEY] = {"SELECT " COLUMNS " FROM orders WHERE idem_key = ?", 1, 9},
    [DB_BY_ID] = {"SELECT " COLUMNS " FROM orders WHERE id = ?", 1, 9},
    [DB_NEWEST] = {"SELECT " COLUMNS " FROM orders WHERE id < ? ORDER BY id DESC LIMIT ?", 2, 9},
    [DB_EXPORT] = {"SELECT idem_key, id FROM orders WHERE idem_key >= ? AND idem_key < ?"
                   " ORDER BY idem_key, id LIMIT ?",
        3, 2},
};

struct db_rows {
    MYSQL_STMT *statement;
    unsigned columns;
    char cells[DB_VALUES_MAX][DB_TEXT_MAX];
    unsigned long sizes[DB_VALUES_MAX];
};

bool db_row(struct db_rows *rows, const char **columns)
{
    /* Of a result that is here whole: never waits. Longer than a cell is no column of ours. */
    if (mysql_stmt_fetch(rows->statement) != 0)
        return false;
    for (unsigned i = 0; i < rows->columns; i++) {
        rows->cells[i][rows->sizes[i] < DB_TEXT_MAX ? rows->sizes[i] : DB_TEXT_MAX - 1] = 0;
        columns[i] = rows->cells[i];
    }
    return true;
}

static int bind_rows(MYSQL_STMT *statement, struct db_rows *rows, unsigned columns)
{
    MYSQL_BIND bind[DB_VALUES_MAX];
    memset(bind, 0, sizeof(bind));
    rows->statement = statement;
    rows->columns = columns;
    for (unsigned i = 0; i < columns; i++) {
        bind[i].buffer_type = MYSQL_TYPE_STRING;
        bind[i].buffer = rows->cells[i];
        bind[i].buffer_length = DB_TEXT_MAX - 1;
        bind[i].length = &rows->sizes[i];
    }
    return mysql_stmt_bind_result(statement, bind);
}

static int bind_values(MYSQL_STMT *statement, struct db_query *query)
{
    MYSQL_BIND bind[DB_VALUES_MAX];
    memset(bind, 0, sizeof(bind));
    for (unsigned i = 0; i < statements[query->statement].values; i++) {
        struct db_value *v = &query->values[i];
        bind[i].buffer_type = v->text ? MYSQL_TYPE_STRING : MYSQL_TYPE_LONGLONG;
        bind[i].buffer = v->text ? (void *)(uintptr_t)v->text : (void *)&v->number;
        bind[i].buffer_length = v->size;
        bind[i].length = v->text ? &v->size : NULL;
    }
    return mysql_stmt_bind_param(statement, bind);
}

static MYSQL_STMT *current(const struct link *l)
{
    return l->statements[l->query->statement];
}

/* After mysql_close(), since closing a statement would otherwise be said to the server. */
static void close_handle(struct link *l)
{
    if (!l->mysql)
        return;
    my_socket fd = mysql_get_socket(l->mysql);
    if (fd >= 0) /* nothing of a goodbye is waited for */
        shutdown(fd, SHUT_RDWR);
    mysql_close(l->mysql);
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        if (l->statements[i])
            mysql_stmt_close(l->statements[i]);
    memset(l->statements, 0, sizeof(l->statements));
    l->mysql = NULL;
}

void link_drop(struct link *l)
{
    close_handle(l);
    l->state = LINK_DOWN;
    l->waits = 0;
}

/* With its question, if it has one. */
static void go_down(struct link *l, unsigned code, const char *text, enum db_end end)
{
    struct db_query *query = l->query;
    struct link_error error = {.connecting = l->state == LINK_CONNECT, .code = code};
    snprintf(error.text, sizeof(error.text), "%s", text);
    link_drop(l);
    l->query = NULL;
    pool_link_down(l, &error);
    if (query)
        query->done(query, end, NULL);
}

static void finish(struct link *l, enum db_end end, struct db_rows *rows)
{
    struct db_query *query = l->query;
    l->query = NULL;
    query->done(query, end, rows);
}

/* What an error says about the change that was asked for. */
static enum db_end end_of(unsigned code)
{
    switch (code) {
    case ER_DUP_ENTRY:
        return DB_DUPLICATE;
    case ER_NO_SUCH_TABLE:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_BAD_FIELD_ERROR:
    case ER_PARSE_ERROR:
    case ER_DATA_TOO_LONG:
        return DB_REFUSED;
    case ER_CONNECTION_KILLED:
    case ER_QUERY_INTERRUPTED:
        return DB_LOST; /* perhaps while it was being committed */
    default:
        return code >= CR_MIN_ERROR && code <= CR_MAX_ERROR ? DB_LOST : DB_AGAIN;
    }
}

/* A connection is worth keeping after what only concerned the statement. */
static bool survives(unsigned code)
{
    switch (code) {
    case ER_DUP_ENTRY:
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
        return true;
    default: /* read-only among them: the source is elsewhere now */
        return false;
    }
}

/* A statement that failed; `sent`: so late that it may have happened. */
static void fail(struct link *l, bool sent)
{
    MYSQL_STMT *s = current(l);
    unsigned code = mysql_stmt_errno(s);
    enum db_end end = end_of(code);
    if (end == DB_LOST && !sent)
        end = DB_AGAIN;
    if (end != DB_REFUSED && !survives(code)) {
        go_down(l, code, mysql_stmt_error(s), end);
        return;
    }
    if (end == DB_REFUSED) {
        log_line("warn", "db", "refused code=%u error=%s", code, mysql_stmt_error(s));
        l->statements[l->query->statement] = NULL; /* prepared anew when it is asked for again */
        mysql_stmt_close(s);
    }
    l->state = LINK_IDLE;
    finish(l, end, NULL);
}

static void start_store(struct link *l)
{
    l->state = LINK_STORE;
    l->waits = mysql_stmt_store_result_start(&l->failed, current(l));
}

static void start_execute(struct link *l)
{
    l->state = LINK_EXECUTE;
    l->failed = bind_values(current(l), l->query);
    l->waits = l->failed ? 0 : mysql_stmt_execute_start(&l->failed, current(l));
}

static void start_prepare(struct link *l)
{
    const char *sql = statements[l->query->statement].sql;
    l->state = LINK_PREPARE;
    l->waits = 0;
    l->failed = 1;
    l->statements[l->query->statement] = mysql_stmt_init(l->mysql);
    if (current(l))
        l->waits = mysql_stmt_prepare_start(&l->failed, current(l), sql, strlen(sql));
}

static void give_rows(struct link *l)
{
    static struct db_rows rows; /* one thread, used up before the next */
    MYSQL_STMT *s = current(l);
    if (bind_rows(s, &rows, statements[l->query->statement].columns)) {
        fail(l, false);
        return;
    }
    l->state = LINK_IDLE;
    finish(l, DB_DONE, &rows);
    mysql_stmt_free_result(s); /* it is here whole: says nothing to the server */
}

static void connected(struct link *l)
{
    if (!l->connected) {
        go_down(l, mysql_errno(l->mysql), mysql_error(l->mysql), DB_AGAIN);
        return;
    }
    l->state = LINK_IDLE;
    pool_linked(l);
}

static void stage_ended(struct link *l)
{
    switch (l->state) {
    case LINK_CONNECT:
        connected(l);
        break;
    case LINK_PREPARE:
        if (!current(l))
            go_down(l, CR_OUT_OF_MEMORY, "out of memory", DB_AGAIN);
        else if (l->failed)
            fail(l, false);
        else
            start_execute(l);
        break;
    case LINK_EXECUTE:
        if (l->failed)
            fail(l, true);
        else if (statements[l->query->statement].columns)
            start_store(l);
        else {
            l->state = LINK_IDLE;
            finish(l, DB_DONE, NULL);
        }
        break;
    case LINK_STORE:
        if (l->failed)
            fail(l, true);
        else
            give_rows(l);
        break;
    case LINK_DOWN:
    case LINK_IDLE:
        break;
    }
}

static bool busy(const struct link *l)
{
    return l->state != LINK_DOWN && l->state != LINK_IDLE;
}

/* As far as it goes without waiting. */
static void run(struct link *l)
{
    while (busy(l) && !l->waits)
        stage_ended(l);
}

static void go_on(struct link *l, int ready)
{
    switch (l->state) {
    case LINK_CONNECT:
        l->waits = mysql_real_connect_cont(&l->connected, l->mysql, ready);
        break;
    case LINK_PREPARE:
        l->waits = mysql_stmt_prepare_cont(&l->failed, current(l), ready);
        break;
    case LINK_EXECUTE:
        l->waits = mysql_stmt_execute_cont(&l->failed, current(l), ready);
        break;
    case LINK_STORE:
        l->waits = mysql_stmt_store_result_cont(&l->failed, current(l), ready);
        break;
    case LINK_DOWN:
    case LINK_IDLE:
        break;
    }
    run(l);
}

void link_connect(struct link *l, const char *address, unsigned port, uint64_t now)
{
    unsigned seconds = CONNECT_MS / 1000 + 1; /* the library's own, never first */
    l->account = *account_get();
    snprintf(l->address, sizeof(l->address), "%s", address);
    l->mysql = mysql_init(NULL);
    if (!l->mysql)
        return;
    mysql_options(l->mysql, MYSQL_OPT_NONBLOCK, 0);
    mysql_options(l->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_options(l->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    l->state = LINK_CONNECT;
    l->until_ms = now + CONNECT_MS;
    l->waits = mysql_real_connect_start(&l->connected, l->mysql, l->address, l->account.user,
        l->account.password, l->account.database, port, NULL, 0);
    run(l);
}

void link_ask(struct link *l, struct db_query *query)
{
    l->query = query;
    l->until_ms = query->deadline_ms;
    if (l->statements[query->statement])
        start_execute(l);
    else
        start_prepare(l);
    run(l);
}

struct pollfd link_pollfd(const struct link *l)
{
    struct pollfd p = {.fd = l->mysql ? (int)mysql_get_socket(l->mysql) : -1};
    if (l->state == LINK_IDLE)
        p.events = POLLIN; /* only its end can come */
    else
        p.events = (short)((l->waits & MYSQL_WAIT_READ ? POLLIN : 0) |
                           (l->waits & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
                           (l->waits & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
    return p;
}

void link_ready(struct link *l, short revents)
{
    if (l->state == LINK_IDLE) {
        go_down(l, CR_SERVER_GONE_ERROR, "the other side has closed", DB_AGAIN);
        return;
    }
    int ready = (revents & POLLIN ? MYSQL_WAIT_READ : 0) |
                (revents & POLLOUT ? MYSQL_WAIT_WRITE : 0) |
                (revents & POLLPRI ? MYSQL_WAIT_EXCEPT : 0);
    if (revents & (POLLHUP | POLLERR | POLLNVAL)) /* whatever it tries will tell */
        ready = MYSQL_WAIT_READ | MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT;
    go_on(l, ready & l->waits);
}

void link_expire(struct link *l)
{
    if (l->state == LINK_IDLE || l->state == LINK_DOWN)
        return;
    my_socket fd = mysql_get_socket(l->mysql);
    if (fd >= 0) /* whatever the library still tries ends at once */
        shutdown(fd, SHUT_RDWR);
    l->until_ms = UINT64_MAX;
    go_on(l, MYSQL_WAIT_TIMEOUT);
}
