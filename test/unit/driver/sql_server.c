/* SPDX-License-Identifier: Apache-2.0 */
/* The SQL driver against real MariaDB servers: sessions, their waiting, accounts, replication. */
#include "test.h"

#include "base/clock/clock.h"
#include "certs.h"
#include "driver/sql/worker.h"
#include "mariadb.h"

#include <pthread.h>

static struct test_mariadb one, two; /* two's certificate names another address */
static char pem[64];                 /* where the certificates are */

static const char *pem_path(const char *name)
{
    static char paths[16][128]; /* of the last calls */
    static size_t at;
    char *path = paths[at++ % ARRAY_SIZE(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", pem, name);
    return path;
}

static void make_certificates(void)
{
    char address[INET_ADDRSTRLEN];
    mariadb_loopback(address);
    snprintf(pem, sizeof pem, "/tmp/mcp-sql-XXXXXX");
    assert_non_null(mkdtemp(pem));
    struct test_ca ca = certs_ca("test ca"), other = certs_ca("another ca");
    certs_write(pem, "ca", ca.cert, NULL);
    certs_write(pem, "other-ca", other.cert, NULL);
    struct test_leaf server = {.from_s = -60, .to_s = 3600, .address = address};
    struct test_leaf elsewhere = {.from_s = -60, .to_s = 3600, .address = "192.0.2.1"};
    certs_leaf(pem, "one", &ca, server);
    server.to_s = 7200;
    certs_leaf(pem, "later", &ca, server);
    certs_leaf(pem, "two", &ca, elsewhere);
    certs_leaf(pem, "mcp-data", &ca, server);
    certs_leaf(pem, "somebody", &ca, server);
    certs_leaf(pem, "stranger", &other, server);
    certs_ca_free(&ca);
    certs_ca_free(&other);
    const char *const open_up[] = {"chmod", "-R", "a+rX", pem, NULL};
    mariadb_check_run(open_up);
}

static int start_servers(void **state)
{
    char extra[512];
    make_certificates();
    snprintf(extra, sizeof extra, "ssl-ca=%s\nssl-cert=%s\nssl-key=%s\n", pem_path("ca.pem"),
        pem_path("one.pem"), pem_path("one.key"));
    mariadb_start(&one, 1, extra);
    snprintf(extra, sizeof extra, "read-only=1\nssl-ca=%s\nssl-cert=%s\nssl-key=%s\n",
        pem_path("ca.pem"), pem_path("two.pem"), pem_path("two.key"));
    mariadb_start(&two, 2, extra);
    return 0;
}

static int end_servers(void **state)
{
    mariadb_end(&one);
    mariadb_end(&two);
    const char *const remove[] = {"rm", "-rf", pem, NULL};
    mariadb_check_run(remove);
    return 0;
}

static struct err failure;

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %d %s", #call, failure.code, failure.message);                           \
    } while (0)

/* ---- sessions */

static void test_rows(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    assert_int_equal(sql_server(c)->vendor, SQL_MARIADB);
    assert_ptr_equal(sql_dialect(c), &sql_mariadb);
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    OK(sql_query(c, "SELECT 42 AS n, NULL AS nothing, 'a\\0b' AS bytes, '서울' AS Name", NULL,
        &rows, &failure));
    assert_int_equal(rows.n, 1);
    const struct sql_row *row = &rows.v[0];
    uint64_t n;
    assert_true(sql_u64(row, "N", &n) && n == 42);
    assert_false(sql_u64(row, "nothing", &n) || sql_u64(row, "name", &n) || sql_u64(row, "x", &n));
    assert_null(sql_cell(row, "nothing")->value);
    assert_null(sql_cell(row, "absent"));
    assert_int_equal(sql_cell(row, "bytes")->len, 3);
    assert_memory_equal(sql_cell(row, "bytes")->value, "a\0b", 3);
    assert_string_equal(sql_text(row, "name"), "서울");
    assert_string_equal(sql_text(row, "absent"), "");
}

/* Whatever the quoting makes of bytes, the server reads the bytes. */
static void test_quoting_round(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    struct err e = {0};
    _cleanup_str_ struct str all = STR_INIT, statement = STR_INIT, answer = STR_INIT;
    for (int i = 0; i < 127; i++)
        str_add_ch(&all, (char)i);
    str_add(&all, "'; DROP TABLE x; -- \\' \" ` 서울 \xf0\x9f\x90\xb3");
    str_add(&statement, "SELECT ");
    sql_add_text_mem(&statement, all.buf, all.len);
    assert_int_equal(sql_value(c, str_cstr(&statement), &answer, &e), 0);
    assert_int_equal(answer.len, all.len);
    assert_memory_equal(answer.buf, all.buf, all.len);
    assert_int_equal(sql_execf(c, &e, "SELECT 1; SELECT 2"), ERR_INVALID); /* one at a time */
}

static int count_row(void *ctx, const struct sql_row *row, struct err *e)
{
    return ++*(size_t *)ctx == 100000 ? err_set(e, ERR_FAILED, "enough") : 0;
}

static void test_limits(void **state)
{
    static const struct {
        const char *name;
        struct sql_limits limits;
        const char *statement;
        int expected;
    } rows[] = {
        {"within", {10, 10000}, "SELECT seq FROM mysql.seq_1_to_10", 0},
        {"rows", {9, 10000}, "SELECT seq FROM mysql.seq_1_to_10", ERR_LIMIT},
        {"bytes", {10, 10000}, "SELECT REPEAT('x', 20000)", ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
        _cleanup_sql_rows_ struct sql_rows r = {0};
        int got = sql_query(c, rows[i].statement, &rows[i].limits, &r, NULL);
        if (got != rows[i].expected || sql_lost(c) != (got < 0))
            fail_msg("%s: %d", rows[i].name, got);
        if (got < 0)
            assert_int_equal(sql_exec(c, "SELECT 1", NULL), ERR_UNAVAILABLE);
    }
    /* a walk takes any number, and is left without reading the rest */
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    size_t n = 0;
    assert_int_equal(
        sql_walk(c, "SELECT seq FROM mysql.seq_1_to_1000000000", count_row, &n, NULL), ERR_FAILED);
    assert_int_equal(n, 100000);
}

static void test_errors(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one), *r = NULL;
    static const struct {
        const char *statement;
        unsigned number;
        int code;
    } rows[] = {
        {"SELECT * FROM nowhere.x", 1146, ERR_NOT_FOUND},
        {"SELEC 1", 1064, ERR_INVALID},
        {"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO=1062", 1062, ERR_EXISTS},
        {"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO=1205", 1205, ERR_CONFLICT},
        {"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO=1950", 1950, ERR_FAILED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        int got = sql_exec(c, rows[i].statement, &e);
        if (got != rows[i].code || sql_errno(c) != rows[i].number || sql_lost(c))
            fail_msg("%s: %d %u %s", rows[i].statement, got, sql_errno(c), e.message);
    }
    assert_string_equal(sql_sqlstate(c), "45000");
    OK(sql_exec(c, "SELECT 1", &failure));
    assert_int_equal(sql_errno(c), 0);

    /* a statement with a secret is quoted by nobody */
    struct err e = {0};
    assert_int_equal(sql_exec_secret(c, "SET PASSWORD hunter2 'x'", &e), ERR_INVALID);
    assert_null(strstr(e.message, "hunter2"));
    assert_non_null(strstr(e.message, "1064"));

    struct sql_target t = {.socket = one.socket, .user = "nobody"};
    assert_int_equal(sql_open(&t, NULL, &r, &e), ERR_DENIED);
    assert_int_equal(sql_open_errno(), 1045);
    t = (struct sql_target){.socket = "/nowhere/x", .user = "root"};
    assert_int_equal(sql_open(&t, NULL, &r, &e), ERR_UNAVAILABLE);
    assert_int_equal(sql_open_errno(), 2002);
}

static void test_killed(void **state)
{
    struct sql_target t = mariadb_target(&one);
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    OK(sql_kill(&t, NULL, sql_conn_id(c), false, &failure));
    assert_int_equal(sql_exec(c, "SELECT 1", NULL), ERR_UNAVAILABLE);
    assert_true(sql_lost(c));
    OK(sql_kill(&t, NULL, sql_conn_id(c), false, &failure)); /* gone already */
}

/* ---- waiting */

struct later {
    pthread_t thread;
    struct sql_stop *stop;
    struct sql_target target;
    uint64_t id;
};

/* Waits until the other session is seen in its SLEEP(), then interrupts it. */
static void *interrupt(void *arg)
{
    struct later *l = arg;
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    _cleanup_str_ struct str seen = STR_INIT;
    char watch[128];
    snprintf(watch, sizeof watch,
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id=%llu AND state='User sleep'",
        (unsigned long long)l->id);
    while (strcmp(str_cstr(&seen), "1") != 0) {
        str_clear(&seen);
        OK(sql_value(c, watch, &seen, &failure));
    }
    if (l->stop)
        sql_stop_raise(l->stop);
    else
        OK(sql_kill(&l->target, NULL, l->id, true, &failure));
    return NULL;
}

static void test_interrupted(void **state)
{
    for (int by_stop = 0; by_stop < 2; by_stop++) {
        struct sql_stop *stop = sql_stop_new();
        struct sql_target t = mariadb_target(&one);
        struct sql_conn *c = NULL;
        struct err e = {0};
        OK(sql_open(&t, stop, &c, &failure));
        struct later l = {
            .stop = by_stop ? stop : NULL, .target = mariadb_target(&one), .id = sql_conn_id(c)};
        pthread_create(&l.thread, NULL, interrupt, &l);
        int r = sql_exec(c, "SELECT BENCHMARK(1, SLEEP(60))", &e);
        pthread_join(l.thread, NULL);
        if (by_stop) {
            assert_int_equal(r, ERR_CANCELED);
            assert_true(sql_lost(c));
        } else { /* the server ends the statement, the session lives */
            assert_true(r == 0 || sql_errno(c) == 1317);
            OK(sql_exec(c, "SELECT 1", &failure));
        }
        sql_close(c);
        struct sql_conn *none = NULL;
        if (by_stop)
            assert_int_equal(sql_open(&t, stop, &none, &e), ERR_CANCELED);
        sql_stop_free(stop);
    }
}

static void test_timeouts(void **state)
{
    struct sql_target t = mariadb_target(&one);
    struct sql_conn *c = NULL;
    struct err e = {0};
    OK(sql_open(&t, NULL, &c, &failure));
    sql_set_read_timeout(c, 100);
    uint64_t began = clock_boot_ms();
    assert_int_equal(sql_exec(c, "SELECT SLEEP(60)", &e), ERR_TIMEOUT);
    uint64_t took = clock_boot_ms() - began;
    assert_true(took >= 100);
    assert_true(sql_lost(c));
    sql_close(c);

    struct sql_stop *stop = sql_stop_new();
    OK(sql_open(&t, stop, &c, &failure));
    sql_stop_set_deadline(stop, clock_boot_ms() + 100);
    assert_int_equal(sql_exec(c, "SELECT SLEEP(60)", &e), ERR_TIMEOUT);
    sql_close(c);
    sql_stop_free(stop);
}

static int thaw(void **state)
{
    mariadb_thaw(&one);
    return 0;
}

/* A server that is frozen accepts connections and says nothing: nobody may wait for it for ever,
 * neither for the greeting, nor in a session, nor for the farewell. */
static void test_frozen(void **state)
{
    struct err e = {0};
    struct sql_conn *c[3] = {0}, *none = NULL;
    _cleanup_sql_ struct sql_conn *root = mariadb_open(&one);
    _cleanup_secret_ struct secret *password = secret_new("f", 1);
    mariadb_exec(root, "CREATE USER frozen@'%' IDENTIFIED BY 'f'");
    struct sql_target targets[] = {mariadb_target(&one), mariadb_tcp(&one, "frozen", password),
        mariadb_tcp(&one, "frozen", password)};
    targets[2].tls.mode = SQL_TLS_ANY;
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        OK(sql_open(&targets[i], NULL, &c[i], &failure));
        sql_set_read_timeout(c[i], 100);
    }
    mariadb_freeze(&one);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        assert_int_equal(sql_exec(c[i], "SELECT 1", &e), ERR_TIMEOUT);
        sql_close(c[i]);
        targets[i].connect_timeout_ms = 100;
        assert_int_equal(sql_open(&targets[i], NULL, &none, &e), ERR_TIMEOUT);
    }
}

/* ---- TLS */

static void test_tls(void **state)
{
    static const struct {
        const char *name;
        struct test_mariadb *to;
        enum sql_tls_mode mode;
        const char *ca, *cert, *user;
        int expected;
    } rows[] = {
        {"no TLS", &one, SQL_TLS_OFF, NULL, NULL, "plain", 0},
        {"no TLS where it is asked for", &one, SQL_TLS_OFF, NULL, NULL, "tls", ERR_DENIED},
        {"whoever it is", &one, SQL_TLS_ANY, NULL, NULL, "tls", 0},
        {"whoever it is, elsewhere", &two, SQL_TLS_ANY, NULL, NULL, "tls", 0},
        {"the chain", &one, SQL_TLS_CA, "ca.pem", NULL, "tls", 0},
        {"the chain, not the name", &two, SQL_TLS_CA, "ca.pem", NULL, "tls", 0},
        {"another's chain", &one, SQL_TLS_CA, "other-ca.pem", NULL, "tls", ERR_DENIED},
        {"chain and name", &one, SQL_TLS_FULL, "ca.pem", NULL, "tls", 0},
        {"another name", &two, SQL_TLS_FULL, "ca.pem", NULL, "tls", ERR_DENIED},
        {"another's chain and the name", &one, SQL_TLS_FULL, "other-ca.pem", NULL, "tls",
            ERR_DENIED},
        {"a certificate of its own", &one, SQL_TLS_FULL, "ca.pem", "mcp-data", "mcp_repl", 0},
        {"another's certificate", &one, SQL_TLS_FULL, "ca.pem", "somebody", "mcp_repl", ERR_DENIED},
        {"no certificate", &one, SQL_TLS_FULL, "ca.pem", NULL, "mcp_repl", ERR_DENIED},
        {"a stranger's certificate", &one, SQL_TLS_FULL, "ca.pem", "stranger", "mcp_repl",
            ERR_UNAVAILABLE}, /* TLS 1.3: refused behind the handshake, by a break */
    };
    _cleanup_secret_ struct secret *password = secret_new("p", 1);
    struct sql_account accounts[] = {
        {.user = "plain", .passwords = {{.clear = password}}, .n_passwords = 1},
        {.user = "tls",
            .passwords = {{.clear = password}},
            .n_passwords = 1,
            .require = SQL_REQUIRE_SSL},
        {.user = "mcp_repl", .require = SQL_REQUIRE_X509, .subject = "/CN=mcp-data"}};
    struct test_mariadb *servers[] = {&one, &two};
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
        _cleanup_sql_ struct sql_conn *root = mariadb_open(servers[i]);
        for (size_t k = 0; k < ARRAY_SIZE(accounts); k++)
            OK(sql_account_set(root, &accounts[k], true, &failure));
        _cleanup_sql_position_ struct sql_position p = {0};
        OK(sql_position(root, &p, &failure)); /* local: not in the binary log */
        assert_int_equal(gtid_set_count(&p.binlog), i ? 0 : gtid_set_count(&p.binlog));
        mariadb_exec(root, "CREATE OR REPLACE USER x@localhost IDENTIFIED BY 'x'"); /* again on */
        _cleanup_sql_position_ struct sql_position after = {0};
        OK(sql_position(root, &after, &failure));
        assert_int_equal(gtid_set_compare(&after.binlog, &p.binlog), GTID_AHEAD);
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char cert[128], key[128];
        bool own = strcmp(rows[i].user, "mcp_repl") == 0;
        struct sql_target t = mariadb_tcp(rows[i].to, rows[i].user, own ? NULL : password);
        snprintf(cert, sizeof cert, "%s/%s.pem", pem, rows[i].cert);
        snprintf(key, sizeof key, "%s/%s.key", pem, rows[i].cert);
        t.tls = (struct sql_tls){rows[i].mode, rows[i].ca ? pem_path(rows[i].ca) : NULL,
            rows[i].cert ? cert : NULL, rows[i].cert ? key : NULL};
        _cleanup_sql_ struct sql_conn *c = NULL;
        struct err e = {0};
        int r = sql_open(&t, NULL, &c, &e);
        bool broken = rows[i].expected == ERR_UNAVAILABLE && r == ERR_DENIED;
        if (r != rows[i].expected && !broken)
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
        if (r < 0)
            continue;
        _cleanup_sql_rows_ struct sql_rows status = {0};
        OK(sql_query(c, "SHOW STATUS LIKE 'Ssl_version'", NULL, &status, &failure));
        assert_int_equal(*sql_text(&status.v[0], "Value") != 0, rows[i].mode != SQL_TLS_OFF);
    }
}

static void ends_when(struct sql_conn *c, char *out, size_t size)
{
    _cleanup_sql_rows_ struct sql_rows status = {0};
    OK(sql_query(c, "SHOW STATUS LIKE 'Ssl_server_not_after'", NULL, &status, &failure));
    str_copy(out, size, sql_text(&status.v[0], "Value"));
}

/* Certificates of hours: changed in place, without a restart. */
static void test_new_certificate(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    _cleanup_secret_ struct secret *password = secret_new("p", 1);
    struct sql_target t = mariadb_tcp(&one, "tls", password);
    t.tls.mode = SQL_TLS_FULL;
    t.tls.ca = pem_path("ca.pem");
    char before[64], after[64];
    _cleanup_sql_ struct sql_conn *old = NULL, *fresh = NULL;
    OK(sql_open(&t, NULL, &old, &failure));
    ends_when(old, before, sizeof before);
    assert_int_equal(rename(pem_path("later.pem"), pem_path("one.pem")), 0);
    assert_int_equal(rename(pem_path("later.key"), pem_path("one.key")), 0);
    OK(sql_flush_tls(c, &failure));
    OK(sql_open(&t, NULL, &fresh, &failure));
    ends_when(fresh, after, sizeof after);
    assert_true(*before && *after);
    assert_string_not_equal(before, after);
    OK(sql_exec(old, "DO 1", &failure));
}

/* ---- the worker */

struct told {
    size_t n;
    int result[8];
    unsigned number[8];
    char message[8][256];
    struct sql_worker *worker;
    struct sql_job *to_cancel;
};

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct told *t = ctx;
    t->result[t->n] = result;
    t->number[t->n] = number;
    str_copy(t->message[t->n], sizeof t->message[0], e ? e->message : "");
    assert_true((result < 0) == (e != NULL));
    t->n++;
    if (t->to_cancel)
        sql_job_cancel(t->to_cancel);
    t->to_cancel = NULL;
}

static int work_id(void *ctx, struct sql_conn *conn, struct sql_stop *stop, struct err *e)
{
    int r = sql_exec(conn, "DO 1", e);
    return r < 0 ? r : (int)sql_conn_id(conn);
}

static int work_sleep(void *ctx, struct sql_conn *conn, struct sql_stop *stop, struct err *e)
{
    return sql_exec(conn, "SELECT SLEEP(60)", e);
}

static int work_break(void *ctx, struct sql_conn *conn, struct sql_stop *stop, struct err *e)
{
    return sql_execf(conn, e, "KILL %llu", (unsigned long long)sql_conn_id(conn));
}

static int work_alone(void *ctx, struct sql_conn *conn, struct sql_stop *stop, struct err *e)
{
    assert_null(conn);
    return 7;
}

static void test_worker(void **state)
{
    uv_loop_t loop;
    struct sql_target t = mariadb_target(&one);
    struct told told = {0};
    uv_loop_init(&loop);
    OK(sql_worker_new(&loop, &t, &told.worker, &failure));
    struct sql_worker *w = told.worker;
    sql_worker_run(w, 0, work_id, on_done, &told);
    sql_worker_run(w, 0, work_id, on_done, &told);
    sql_worker_run(w, 0, work_break, on_done, &told);
    sql_worker_run(w, 0, work_id, on_done, &told);
    sql_worker_run(w, 100, work_sleep, on_done, &told);
    assert_int_equal(sql_worker_jobs(w), 5);
    assert_int_equal(told.n, 0); /* never from within */
    while (told.n < 5)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(told.result[0] > 0);
    assert_int_equal(told.result[0], told.result[1]); /* one session, kept */
    assert_true(told.number[2] == 1317 || told.number[2] == 1927);
    assert_true(told.result[3] > 0 && told.result[3] != told.result[0]);
    assert_int_equal(told.result[4], ERR_TIMEOUT);

    /* running and queued ones are cancelled; the next one works */
    told.n = 0;
    sql_worker_run(w, 0, work_id, on_done, &told);
    struct sql_job *running = sql_worker_run(w, 0, work_sleep, on_done, &told);
    told.to_cancel = running; /* from the first one's done: it runs or is about to */
    struct sql_job *queued = sql_worker_run(w, 0, work_sleep, on_done, &told);
    sql_job_cancel(queued);
    sql_worker_run(w, 0, work_id, on_done, &told);
    while (told.n < 4)
        uv_run(&loop, UV_RUN_ONCE);
    int cancelled = 0, fine = 0;
    for (int i = 0; i < 4; i++) {
        cancelled += told.result[i] == ERR_CANCELED;
        fine += told.result[i] > 0;
    }
    assert_true(cancelled == 2 && fine == 2);

    /* another target, none, one that does not answer */
    told.n = 0;
    sql_worker_set_target(w, NULL);
    sql_worker_run(w, 0, work_alone, on_done, &told);
    while (told.n < 1)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(told.result[0], 7);
    struct sql_target nowhere = {.socket = "/nowhere/x", .user = "root"};
    sql_worker_set_target(w, &nowhere);
    sql_worker_run(w, 0, work_id, on_done, &told);
    while (told.n < 2)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(told.result[1], ERR_UNAVAILABLE);
    assert_int_equal(told.number[1], 2002);

    /* closing ends everything, and everything is told */
    told.n = 0;
    sql_worker_set_target(w, &t);
    for (int i = 0; i < 4; i++)
        sql_worker_run(w, 0, work_sleep, on_done, &told);
    sql_worker_close(w, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(told.n, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(told.result[i], ERR_CANCELED);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- accounts and sessions */

static bool may_log_in(const struct test_mariadb *m, const char *user, const char *password)
{
    _cleanup_secret_ struct secret *secret = secret_new(password, strlen(password));
    struct sql_target t = mariadb_tcp(m, user, secret);
    _cleanup_sql_ struct sql_conn *c = NULL;
    struct err e = {0};
    int r = sql_open(&t, NULL, &c, &e);
    if (r < 0 && r != ERR_DENIED)
        fail_msg("%s", e.message);
    return r >= 0;
}

static void test_accounts(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one);
    _cleanup_secret_ struct secret *old = secret_new("old'1", 5), *fresh = secret_new("new\"2", 5);
    struct sql_account a = {.user = "api", .passwords = {{.clear = old}}, .n_passwords = 1};
    OK(sql_account_set(c, &a, false, &failure));
    assert_true(may_log_in(&one, "api", "old'1") && !may_log_in(&one, "api", "new\"2"));

    /* rotation: both are good while it lasts, the second by its hash alone */
    char hash[SQL_HASH_SIZE];
    sql_password_hash(old, hash);
    a.passwords[0] = (struct sql_password){.clear = fresh};
    a.passwords[1] = (struct sql_password){.hash = hash};
    a.n_passwords = 2;
    OK(sql_account_set(c, &a, false, &failure));
    OK(sql_account_set(c, &a, false, &failure)); /* again: nothing changes */
    assert_true(may_log_in(&one, "api", "old'1") && may_log_in(&one, "api", "new\"2"));
    assert_false(may_log_in(&one, "api", "") || may_log_in(&one, "api", "other"));
    a.n_passwords = 1;
    OK(sql_account_set(c, &a, false, &failure));
    assert_true(!may_log_in(&one, "api", "old'1") && may_log_in(&one, "api", "new\"2"));

    /* exactly the grants that are said */
    mariadb_exec(c, "CREATE DATABASE IF NOT EXISTS shop");
    mariadb_exec(c, "CREATE TABLE IF NOT EXISTS shop.orders (id INT PRIMARY KEY) ENGINE=InnoDB");
    mariadb_exec(c, "CREATE TABLE IF NOT EXISTS shop.other (id INT PRIMARY KEY) ENGINE=InnoDB");
    struct sql_grant both[] = {{"SELECT, INSERT", "shop", "orders"}, {"SELECT", "shop", "other"}};
    OK(sql_grants_set(c, "api", NULL, both, 2, &failure));
    OK(sql_grants_set(c, "api", NULL, both, 1, &failure));
    struct sql_target t = mariadb_tcp(&one, "api", fresh);
    _cleanup_sql_ struct sql_conn *api = NULL;
    OK(sql_open(&t, NULL, &api, &failure));
    mariadb_exec(api, "INSERT INTO shop.orders VALUES (1)");
    assert_int_equal(sql_exec(api, "SELECT * FROM shop.other", NULL), ERR_DENIED);
    assert_int_equal(sql_exec(api, "DELETE FROM shop.orders", NULL), ERR_DENIED);

    /* sessions are seen and ended, but not the one that asks, nor who is spared */
    struct sql_session *list = NULL;
    size_t n = 0, seen = 0;
    OK(sql_sessions(c, &list, &n, &failure));
    for (size_t i = 0; i < n; i++)
        seen += list[i].id == sql_conn_id(api) && !strcmp(list[i].user, "api") && !list[i].own;
    free(list);
    assert_int_equal(seen, 1);
    const char *const spare[] = {"api", NULL};
    struct err e = {0};
    assert_true(sql_kill_sessions(c, spare, &e) >= 0); /* what earlier tests left asleep */
    OK(sql_exec(api, "DO 1", &failure));
    assert_true(sql_kill_sessions(c, NULL, &e) >= 1);
    assert_int_equal(sql_exec(api, "DO 1", NULL), ERR_UNAVAILABLE);
    OK(sql_account_drop(c, "api", NULL, &failure));
    OK(sql_account_drop(c, "api", NULL, &failure));
    assert_false(may_log_in(&one, "api", "new\"2"));
}

/* Each duty's privileges are enough for what it does, over an account of their own. */
static void test_supervisor_privileges(void **state)
{
    _cleanup_sql_ struct sql_conn *root = mariadb_open(&two), *c = NULL;
    _cleanup_secret_ struct secret *password = secret_new("s", 1);
    mariadb_exec(root, "CREATE USER sup@'%' IDENTIFIED BY 's'");
    struct sql_grant g = {.privileges = sql_mariadb.privileges(SQL_DUTY_SUPERVISOR)};
    OK(sql_grants_set(root, "sup", NULL, &g, 1, &failure));
    struct sql_target t = mariadb_tcp(&two, "sup", password);
    OK(sql_open(&t, NULL, &c, &failure));
    _cleanup_sql_status_ struct sql_replica_status status = {0};
    _cleanup_sql_position_ struct sql_position p = {0};
    struct sql_attach a = {.host = one.address, .port = one.port, .user = "nobody"};
    struct sql_semisync semi = {0};
    struct sql_settings settings = {.net_timeout_s = 10, .expire_s = 1209600};
    OK(sql_attach(c, &a, &failure));
    OK(sql_start(c, SQL_THREAD_SQL, &failure));
    OK(sql_status(c, &status, &failure));
    OK(sql_stop(c, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(c, true, &failure));
    OK(sql_position(c, &p, &failure));
    OK(sql_read_only(c, false, 1, &failure));
    OK(sql_read_only(c, true, 1, &failure));
    OK(sql_semisync(c, &semi, &failure));
    OK(sql_settings(c, &settings, &failure));
    OK(sql_flush_tls(c, &failure));
    OK(sql_flush_binlogs(c, &failure));
    OK(sql_purge_to(c, "bin.000002", &failure));
    struct sql_session *list = NULL;
    size_t n;
    OK(sql_sessions(c, &list, &n, &failure));
    free(list);
    assert_true(n >= 2);
    OK(sql_kill_session(c, sql_conn_id(root), &failure));
    _cleanup_sql_ struct sql_conn *again = mariadb_open(&two);
    OK(sql_reset_binlogs(again, &failure));
    OK(sql_account_drop(again, "sup", NULL, &failure));
    OK(sql_reset_binlogs(again, &failure));
}

/* ---- replication */

static void await_status(
    struct sql_conn *c, bool (*good)(const struct sql_replica_status *), const char *what)
{
    uint64_t began = clock_boot_ms();
    for (;;) {
        _cleanup_sql_status_ struct sql_replica_status s = {0};
        OK(sql_status(c, &s, &failure));
        if (good(&s))
            return;
        if (clock_boot_ms() - began > 60000)
            fail_msg("%s: io %d '%s' (%u %s) sql %d (%u %s)", what, s.io, s.io_text, s.io_errno,
                s.io_error, s.sql_running, s.sql_errno, s.sql_error);
    }
}

static bool is_running(const struct sql_replica_status *s)
{
    return s->io == SQL_IO_YES && s->sql_running;
}

static bool has_heartbeat(const struct sql_replica_status *s)
{
    return s->heartbeats > 0;
}

static bool has_lost_source(const struct sql_replica_status *s)
{
    return s->io == SQL_IO_CONNECTING && s->io_errno == 2003;
}

static bool is_errant(const struct sql_replica_status *s)
{
    return !s->sql_running && s->sql_errno == 1950;
}

static bool is_purged(const struct sql_replica_status *s)
{
    return s->io == SQL_IO_NO && s->io_errno == 1236;
}

static void assert_position(const struct gtid_set *s, const char *expected)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    assert_string_equal(str_cstr(&text), expected);
}

static void test_replication(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one), *r = mariadb_open(&two);
    _cleanup_sql_status_ struct sql_replica_status none = {0}, st = {0};
    OK(sql_reset_binlogs(s, &failure));
    OK(sql_status(r, &none, &failure));
    assert_false(none.configured);
    mariadb_exec(s, "CREATE DATABASE IF NOT EXISTS trade");
    mariadb_exec(s, "CREATE TABLE trade.o (id INT PRIMARY KEY) ENGINE=InnoDB");
    mariadb_follow(&one, &two);
    await_status(r, is_running, "running");
    mariadb_exec(s, "INSERT INTO trade.o VALUES (1)");
    mariadb_catch_up(&one, &two);
    OK(sql_status(r, &st, &failure));
    assert_true(st.configured && st.by_gtid && !st.tls && st.source_port == one.port);
    assert_string_equal(st.source_host, one.address);
    assert_string_equal(st.source_user, "repl");
    assert_int_equal(st.source_server_id, 1);
    assert_int_equal(st.heartbeat_ms, 500);
    assert_position(&st.retrieved, "1-1-3");
    assert_position(&st.executed, "1-1-3");
    await_status(r, has_heartbeat, "a heartbeat of an idle source");

    _cleanup_sql_position_ struct sql_position p = {0};
    OK(sql_position(r, &p, &failure));
    assert_position(&p.applied, "1-1-3");
    assert_position(&p.binlog, "1-1-3");
    assert_true(p.server_id == 2 && p.domain == 2 && p.read_only);

    /* what is not there yet is waited for, but not longer */
    _cleanup_gtid_ struct gtid_set future = {0};
    OK(gtid_set_parse(GTID_MARIADB, "1-1-4", 5, &future, &failure));
    struct err e = {0};
    assert_int_equal(sql_wait(r, &future, 50, &e), 0);
    mariadb_exec(s, "INSERT INTO trade.o VALUES (2)");
    assert_int_equal(sql_wait(r, &future, 30000, &e), 1);

    /* the source crashes and comes back: resumed by itself */
    mariadb_stop(&one, SIGKILL);
    await_status(r, has_lost_source, "the source is gone");
    mariadb_run(&one);
    sql_close(s);
    s = mariadb_open(&one);
    mariadb_exec(s, "INSERT INTO trade.o VALUES (3)");
    mariadb_catch_up(&one, &two);
}

static bool is_over_tls(const struct sql_replica_status *s)
{
    return is_running(s) && s->tls;
}

static bool is_not_trusted(const struct sql_replica_status *s)
{
    return s->io != SQL_IO_YES && s->io_errno != 0;
}

/* By certificate alone, no password anywhere. Needs test_tls' accounts. */
static void test_replication_over_tls(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one), *r = mariadb_open(&two);
    mariadb_exec(s, "GRANT REPLICATION SLAVE ON *.* TO mcp_repl@'%'");
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    struct sql_attach a = {.host = one.address,
        .port = one.port,
        .user = "mcp_repl",
        .tls = {SQL_TLS_FULL, pem_path("ca.pem"), pem_path("mcp-data.pem"),
            pem_path("mcp-data.key")},
        .heartbeat_ms = 500,
        .compress = true};
    OK(sql_attach(r, &a, &failure));
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
    await_status(r, is_over_tls, "running over TLS");
    mariadb_catch_up(&one, &two);
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    a.tls.ca = pem_path("other-ca.pem");
    OK(sql_attach(r, &a, &failure));
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
    await_status(r, is_not_trusted, "a source of another CA is not believed");
    a.tls.ca = pem_path("ca.pem");
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    OK(sql_attach(r, &a, &failure));
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
    await_status(r, is_over_tls, "running over TLS again");
    mariadb_catch_up(&one, &two);
}

/* Who may not write sees 1290; root may (there is no super_read_only), and that is what strict mode
 * finds out. Needs test_replication's pair. */
static void test_fence_and_errant(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one), *r = mariadb_open(&two), *app = NULL;
    _cleanup_secret_ struct secret *password = secret_new("a", 1);
    mariadb_exec(s, "CREATE USER app@'%' IDENTIFIED BY 'a'");
    mariadb_exec(s, "GRANT SELECT, INSERT ON trade.* TO app@'%'");
    mariadb_catch_up(&one, &two);
    struct sql_target t = mariadb_tcp(&two, "app", password);
    OK(sql_open(&t, NULL, &app, &failure));
    assert_int_equal(sql_exec(app, "INSERT INTO trade.o VALUES (99)", NULL), ERR_REFUSED);
    assert_int_equal(sql_errno(app), 1290);

    mariadb_exec(r, "SET SESSION gtid_domain_id=1");
    mariadb_exec(
        r, "INSERT INTO trade.o VALUES (100)"); /* errant: takes the source's next number */
    mariadb_exec(s, "INSERT INTO trade.o VALUES (4)");
    await_status(r, is_errant, "an errant write is loud");
    _cleanup_sql_position_ struct sql_position ps = {0}, pr = {0};
    OK(sql_position(s, &ps, &failure));
    OK(sql_position(r, &pr, &failure));
    assert_int_equal(gtid_set_compare(&pr.binlog, &ps.binlog), GTID_DIVERGED);
}

/* The replica is made anew from a position, binary logs that it still needs are taken away. */
static void test_restart_from_position(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one), *r = mariadb_open(&two);
    _cleanup_sql_position_ struct sql_position p = {0};
    OK(sql_position(s, &p, &failure));
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(r, true, &failure));
    mariadb_exec(r, "SET SESSION sql_log_bin=0");
    mariadb_exec(r, "DELETE FROM trade.o WHERE id=100");
    mariadb_exec(r, "INSERT IGNORE INTO trade.o VALUES (4)");
    struct err e = {0};
    _cleanup_gtid_ struct gtid_set early = {0};
    OK(gtid_set_parse(GTID_MARIADB, "1-1-1", 5, &early, &failure));
    OK(sql_reset_binlogs(r, &failure));
    OK(sql_set_start(r, &p.binlog, &failure));
    mariadb_follow(&one, &two);
    await_status(r, is_running, "running again");

    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    OK(sql_flush_binlogs(s, &failure));
    OK(sql_flush_binlogs(s, &failure));
    mariadb_exec(s, "INSERT INTO trade.o VALUES (5)");
    struct sql_binlog *logs = NULL;
    size_t n = 0;
    OK(sql_binlogs(s, &logs, &n, &failure));
    assert_true(n >= 3);
    assert_true(logs[0].size_bytes > 0);
    _cleanup_gtid_ struct gtid_set first = {0}, last = {0}, absent = {0};
    OK(sql_binlog_start(s, logs[0].name, &first, &failure));
    OK(sql_binlog_start(s, logs[n - 1].name, &last, &failure));
    assert_true(gtid_set_empty(&first) && gtid_set_equal(&last, &p.binlog));
    assert_int_equal(sql_binlog_start(s, "bin.999999", &absent, &e), ERR_NOT_FOUND);
    OK(sql_purge_to(s, logs[n - 1].name, &failure));
    OK(sql_reset_binlogs(r, &failure));
    OK(sql_set_start(r, &early, &failure));
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
    await_status(r, is_purged, "binary logs are gone");
    free(logs);
}

/* Fencing waits for nobody longer than it is told. */
static void test_fence_waits(void **state)
{
    _cleanup_sql_ struct sql_conn *holder = mariadb_open(&one), *c = mariadb_open(&one);
    struct err e = {0};
    mariadb_exec(holder, "LOCK TABLES trade.o WRITE");
    assert_int_equal(sql_read_only(c, true, 1, &e), ERR_CONFLICT);
    assert_int_equal(sql_errno(c), 1205);
    OK(sql_kill_session(c, sql_conn_id(holder), &failure));
    OK(sql_read_only(c, true, 60, &failure));
    OK(sql_read_only(c, false, 1, &failure));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),
        cmocka_unit_test(test_quoting_round), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_timeouts),
        cmocka_unit_test_teardown(test_frozen, thaw), cmocka_unit_test(test_tls),
        cmocka_unit_test(test_new_certificate), cmocka_unit_test(test_worker),
        cmocka_unit_test(test_accounts), cmocka_unit_test(test_supervisor_privileges),
        cmocka_unit_test(test_replication), cmocka_unit_test(test_replication_over_tls),
        cmocka_unit_test(test_fence_and_errant), cmocka_unit_test(test_restart_from_position),
        cmocka_unit_test(test_fence_waits)};
    return cmocka_run_group_tests(tests, start_servers, end_servers);
}
