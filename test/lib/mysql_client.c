/* SPDX-License-Identifier: Apache-2.0 */
/* What libmariadb can say to a server, one part of it a word of the command line:
 *     mysql_client SOCKET|HOST:PORT USER PASSWORD DATABASE WORD...
 * Prints "ok WORD" for each, or what went wrong, and then ends with 1. */
#include <mysql.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *where, *user, *password, *database;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    exit(1);
}

static void check(MYSQL *m, int r, const char *what)
{
    if (r)
        fail("%s: %u %s", what, mysql_errno(m), mysql_error(m));
}

static void check_stmt(MYSQL_STMT *s, int r, const char *what)
{
    if (r)
        fail("%s: %u %s", what, mysql_stmt_errno(s), mysql_stmt_error(s));
}

static MYSQL *connect_to(unsigned long flags)
{
    MYSQL *m = mysql_init(NULL);
    char host[256];
    snprintf(host, sizeof host, "%s", where);
    char *colon = *where == '/' ? NULL : strrchr(host, ':');
    if (colon)
        *colon = '\0';
    if (!mysql_real_connect(m, colon ? host : NULL, user, password, database,
            colon ? (unsigned)atoi(colon + 1) : 0, colon ? NULL : where, flags))
        fail("connect: %u %s", mysql_errno(m), mysql_error(m));
    return m;
}

static void run(MYSQL *m, const char *sql)
{
    check(m, mysql_query(m, sql), sql);
    do {
        MYSQL_RES *r = mysql_use_result(m);
        while (r && mysql_fetch_row(r))
            ;
        mysql_free_result(r);
    } while (mysql_more_results(m) && mysql_next_result(m) == 0);
    if (mysql_errno(m))
        fail("%s: %u %s", sql, mysql_errno(m), mysql_error(m));
}

static long long ask(MYSQL *m, const char *sql)
{
    check(m, mysql_query(m, sql), sql);
    MYSQL_RES *r = mysql_store_result(m);
    MYSQL_ROW row = r ? mysql_fetch_row(r) : NULL;
    if (!row || !row[0])
        fail("%s: no row: %s", sql, mysql_error(m));
    long long v = atoll(row[0]);
    mysql_free_result(r);
    return v;
}

static MYSQL_STMT *prepare(MYSQL *m, const char *sql)
{
    MYSQL_STMT *s = mysql_stmt_init(m);
    check_stmt(s, mysql_stmt_prepare(s, sql, strlen(sql)), sql);
    return s;
}

static unsigned fetch_all(MYSQL_STMT *s)
{
    int r;
    unsigned n = 0;
    while ((r = mysql_stmt_fetch(s)) == 0)
        n++;
    if (r != MYSQL_NO_DATA)
        fail("fetch: %u %s", mysql_stmt_errno(s), mysql_stmt_error(s));
    return n;
}

static void is(long long got, long long wanted, const char *what)
{
    if (got != wanted)
        fail("%s: %lld, not %lld", what, got, wanted);
}

/* -- the parts --------------------------------------------------------------------------------- */

static void simple(void)
{
    MYSQL *m = connect_to(0);
    check(m, mysql_ping(m), "ping");
    check(m, mysql_select_db(m, database), "select_db");
    if (!mysql_stat(m))
        fail("stat: %s", mysql_error(m));
    MYSQL_RES *r = mysql_list_fields(m, "words", NULL);
    is(r ? mysql_num_fields(r) : 0, 2, "fields");
    mysql_free_result(r);
    r = mysql_list_processes(m);
    is(r && mysql_num_rows(r) > 0, 1, "processes");
    mysql_free_result(r);
    check(m, mysql_set_server_option(m, MYSQL_OPTION_MULTI_STATEMENTS_ON), "set_server_option");
    is(ask(m, "select 42"), 42, "answer");
    if (!mysql_query(m, "select nothing from nowhere"))
        fail("an error was expected");
    is(ask(m, "select count(*) from words"), 3, "words");
    check(m, mysql_reset_connection(m), "reset_connection");
    is(ask(m, "select 43"), 43, "answer");
    mysql_close(m);
}

static void multi(void)
{
    MYSQL *m = connect_to(CLIENT_MULTI_STATEMENTS);
    run(m, "select 1; set @a = 2; select @a; select word from words; do 1");
    run(m, "call three(5, @x)");
    is(ask(m, "select @x"), 10, "out parameter");
    MYSQL_STMT *s = prepare(m, "call three(?, ?)");
    int in = 21, out = 0, results = 0;
    MYSQL_BIND b[2] = {{.buffer_type = MYSQL_TYPE_LONG, .buffer = &in},
        {.buffer_type = MYSQL_TYPE_LONG, .buffer = &out}};
    check_stmt(s, mysql_stmt_bind_param(s, b), "bind");
    check_stmt(s, mysql_stmt_execute(s), "call");
    do {
        if (mysql_stmt_field_count(s)) {
            fetch_all(s);
            results++;
        }
    } while (mysql_stmt_next_result(s) == 0);
    is(results, 3, "results of a call, out parameters with them");
    mysql_stmt_close(s);
    mysql_close(m);
}

static void prepared(void)
{
    MYSQL *m = connect_to(0);
    run(m, "create temporary table p (id int primary key, t text)");
    MYSQL_STMT *s = prepare(m, "insert into p values (?, ?)");
    int id;
    char text[] = "hello";
    unsigned long len = strlen(text);
    MYSQL_BIND b[2] = {{.buffer_type = MYSQL_TYPE_LONG, .buffer = &id},
        {.buffer_type = MYSQL_TYPE_STRING, .buffer = text, .buffer_length = len, .length = &len}};
    check_stmt(s, mysql_stmt_bind_param(s, b), "bind");
    for (id = 0; id < 20; id++)
        check_stmt(s, mysql_stmt_execute(s), "insert");
    id = 3;
    is(mysql_stmt_execute(s) != 0 && mysql_stmt_errno(s) == 1062, 1, "duplicate");
    check_stmt(s, mysql_stmt_reset(s), "reset");
    mysql_stmt_close(s);
    s = prepare(m, "select id, t from p where id > ? order by id");
    id = 9;
    for (int i = 0; i < 3; i++) { /* with MariaDB's the columns come the first time only */
        check_stmt(s, mysql_stmt_bind_param(s, b), "bind");
        check_stmt(s, mysql_stmt_execute(s), "select");
        is(fetch_all(s), 10, "rows");
    }
    mysql_stmt_close(s);
    s = prepare(m, "do 1");
    check_stmt(s, mysql_stmt_execute(s), "do");
    mysql_stmt_close(s);
    mysql_close(m);
}

static void direct(void) /* prepare and execute without waiting in between */
{
    MYSQL *m = connect_to(0);
    for (int i = 0; i < 3; i++) {
        MYSQL_STMT *s = mysql_stmt_init(m);
        check_stmt(
            s, mariadb_stmt_execute_direct(s, "select word from words", (size_t)-1), "direct");
        is(fetch_all(s), 3, "rows");
        mysql_stmt_close(s);
    }
    MYSQL_STMT *s = mysql_stmt_init(m);
    is(mariadb_stmt_execute_direct(s, "select nothing from nowhere", (size_t)-1) != 0, 1, "error");
    mysql_stmt_close(s);
    is(ask(m, "select 7"), 7, "answer");
    mysql_close(m);
}

static void cursor(void)
{
    MYSQL *m = connect_to(0);
    unsigned long type = CURSOR_TYPE_READ_ONLY, rows = 7;
    MYSQL_STMT *s = prepare(m, "select seq, repeat('y', 50) from seq_1_to_100");
    mysql_stmt_attr_set(s, STMT_ATTR_CURSOR_TYPE, &type);
    mysql_stmt_attr_set(s, STMT_ATTR_PREFETCH_ROWS, &rows);
    for (int i = 0; i < 2; i++) {
        check_stmt(s, mysql_stmt_execute(s), "execute");
        is(fetch_all(s), 100, "rows");
    }
    check_stmt(s, mysql_stmt_execute(s), "execute"); /* closed in the middle */
    mysql_stmt_fetch(s);
    mysql_stmt_close(s);
    s = prepare(m, "select word from words where 1 = 0");
    mysql_stmt_attr_set(s, STMT_ATTR_CURSOR_TYPE, &type);
    check_stmt(s, mysql_stmt_execute(s), "execute");
    is(fetch_all(s), 0, "rows");
    mysql_stmt_close(s);
    is(ask(m, "select 8"), 8, "answer");
    mysql_close(m);
}

static void bulk(void)
{
    MYSQL *m = connect_to(0);
    enum { ROWS = 500 };
    int ids[ROWS];
    unsigned rows = ROWS;
    run(m, "create temporary table b (id int primary key)");
    MYSQL_STMT *s = prepare(m, "insert into b values (?)");
    for (int i = 0; i < ROWS; i++)
        ids[i] = i;
    MYSQL_BIND b = {.buffer_type = MYSQL_TYPE_LONG, .buffer = ids};
    mysql_stmt_attr_set(s, STMT_ATTR_ARRAY_SIZE, &rows);
    check_stmt(s, mysql_stmt_bind_param(s, &b), "bind");
    check_stmt(s, mysql_stmt_execute(s), "bulk");
    mysql_stmt_close(s);
    is(ask(m, "select count(*) from b"), ROWS, "rows");
    mysql_close(m);
}

static void longdata(void)
{
    enum { PIECE = 6 << 20, PIECES = 3 };
    MYSQL *m = connect_to(0);
    char *p = malloc(PIECE);
    memset(p, 'l', PIECE);
    run(m, "create temporary table l (t longtext)");
    MYSQL_STMT *s = prepare(m, "insert into l values (?)");
    MYSQL_BIND b = {.buffer_type = MYSQL_TYPE_STRING};
    check_stmt(s, mysql_stmt_bind_param(s, &b), "bind");
    for (int i = 0; i < PIECES; i++)
        check_stmt(s, mysql_stmt_send_long_data(s, 0, p, PIECE), "long data");
    check_stmt(s, mysql_stmt_execute(s), "execute");
    mysql_stmt_close(s);
    is(ask(m, "select length(t) from l"), PIECE * PIECES, "length");
    free(p);
    mysql_close(m);
}

/* Payloads around and above the longest packet, both ways. */
static void big(void)
{
    static const size_t sizes[] = {
        100000, (1 << 24) - 6, (1 << 24) - 5, (1 << 24) - 4, 1 << 24, 40 << 20};
    MYSQL *m = connect_to(0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char sql[100], *text = malloc(sizes[i] + 64);
        snprintf(sql, sizeof sql, "select repeat('x', %zu), 1", sizes[i]);
        check(m, mysql_query(m, sql), "big row");
        MYSQL_RES *r = mysql_store_result(m);
        MYSQL_ROW row = r ? mysql_fetch_row(r) : NULL;
        is(row ? (long long)strlen(row[0]) : -1, (long long)sizes[i], "length of a row");
        mysql_free_result(r);
        size_t n = (size_t)sprintf(text, "select length('");
        memset(text + n, 'z', sizes[i]);
        n += sizes[i];
        n += (size_t)sprintf(text + n, "')");
        check(m, mysql_real_query(m, text, n), "big statement");
        r = mysql_store_result(m);
        row = r ? mysql_fetch_row(r) : NULL;
        is(row ? atoll(row[0]) : -1, (long long)sizes[i], "length of a statement");
        mysql_free_result(r);
        free(text);
    }
    mysql_close(m);
}

static void rows(void)
{
    MYSQL *m = connect_to(0);
    check(m, mysql_query(m, "select seq, repeat('r', seq % 300) from seq_1_to_200000"), "rows");
    MYSQL_RES *r = mysql_use_result(m);
    MYSQL_ROW row;
    long long n = 0, sum = 0;
    while ((row = mysql_fetch_row(r))) {
        n++;
        sum += atoll(row[0]);
    }
    is(n, 200000, "rows");
    is(sum, 200000ll * 200001 / 2, "sum");
    mysql_free_result(r);
    check(m,
        mysql_query(
            m, "select if(seq = 90000, (select 1 union select 2), seq) from seq_1_to_100000"),
        "rows that end with an error");
    r = mysql_use_result(m);
    while (r && mysql_fetch_row(r))
        ;
    is(mysql_errno(m), 1242, "error among the rows");
    mysql_free_result(r);
    is(ask(m, "select 9"), 9, "answer");
    mysql_close(m);
}

static void change_user(void)
{
    MYSQL *m = connect_to(0);
    run(m, "set @a = 1");
    check(m, mysql_change_user(m, user, password, database), "change_user");
    is(ask(m, "select @a is null"), 1, "a new session");
    if (!mysql_change_user(m, user, "wrong", database))
        fail("a wrong password was taken");
    mysql_close(m);
    m = connect_to(0);
    check(m, mysql_change_user(m, "nat", "np", database), "change_user to another");
    check(m, mysql_change_user(m, "ed", "ep", database), "change_user to another plugin");
    is(ask(m, "select 10"), 10, "answer");
    mysql_close(m);
}

static void refused(void)
{
    MYSQL *m = connect_to(0);
    is(mysql_refresh(m, REFRESH_LOG) != 0 && mysql_errno(m) == 1227, 1, "refresh");
    is(mysql_shutdown(m, SHUTDOWN_DEFAULT) != 0 && mysql_errno(m) == 1227, 1, "shutdown");
    is(mysql_dump_debug_info(m) != 0 && mysql_errno(m) == 1227, 1, "debug");
    is(mysql_query(m, " /* x */ LOAD  DATA LOCAL INFILE '/etc/hosts' INTO TABLE words") != 0
            && mysql_errno(m) == 1290,
        1, "load data");
    is(ask(m, "select 11"), 11, "goes on");
    mysql_close(m);
}

static void transaction(void)
{
    MYSQL *m = connect_to(0);
    run(m, "begin");
    run(m, "insert into words (word) values ('x')");
    run(m, "rollback");
    check(m, mysql_autocommit(m, 0), "autocommit");
    is(ask(m, "select count(*) from words"), 3, "words");
    check(m, mysql_commit(m), "commit");
    mysql_close(m);
}

static const struct {
    const char *word;
    void (*run)(void);
} parts[] = {{"simple", simple}, {"multi", multi}, {"prepared", prepared}, {"direct", direct},
    {"cursor", cursor}, {"bulk", bulk}, {"longdata", longdata}, {"big", big}, {"rows", rows},
    {"change_user", change_user}, {"refused", refused}, {"transaction", transaction}};

int main(int argc, char **argv)
{
    if (argc < 6)
        fail("usage: mysql_client PLACE USER PASSWORD DATABASE WORD...");
    where = argv[1];
    user = argv[2];
    password = argv[3];
    database = argv[4];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 5; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof parts / sizeof *parts && strcmp(parts[k].word, argv[i]))
            k++;
        if (k == sizeof parts / sizeof *parts)
            fail("%s: no such part", argv[i]);
        parts[k].run();
        printf("ok %s\n", argv[i]);
    }
    mysql_library_end();
    return 0;
}
