/* SPDX-License-Identifier: Apache-2.0 */
/* The optional peer run on a real MySQL 9 (make integ-mysql): what the SQL driver says and reads, in the order in which
 * replication is supervised: preflight, accounts, attach, kill, resume, errant writes, purged logs, switchover. */
#include "test.h"

#include "base/clock/clock.h"
#include "domain/replication/ladder.h"
#include "mysqld.h"

static struct test_mysql one, two;
static const char *cache;
static struct err failure;

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %d %s", #call, failure.code, failure.message);                           \
    } while (0)

static int start_servers(void **state)
{
    mysql_start(&one, cache, 1, NULL);
    mysql_start(&two, cache, 2, "super-read-only=1");
    return 0;
}

static int end_servers(void **state)
{
    mariadb_end(&one.m);
    mariadb_end(&two.m);
    return 0;
}

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
    return s->io == SQL_IO_CONNECTING
           && ladder_classify(true, s->io_errno, s->io_error) == LADDER_PASSING;
}

static bool is_purged(const struct sql_replica_status *s)
{
    return s->io == SQL_IO_NO && s->io_errno != 0;
}

static bool is_duplicate(const struct sql_replica_status *s)
{
    return !s->sql_running && s->sql_errno != 0;
}

static void test_preflight(void **state)
{
    struct test_mysql *servers[] = {&one, &two};
    char uuids[2][GTID_UUID_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
        _cleanup_sql_ struct sql_conn *c = mariadb_open(&servers[i]->m);
        _cleanup_sql_position_ struct sql_position p = {0};
        _cleanup_sql_status_ struct sql_replica_status status = {0};
        assert_int_equal(sql_server(c)->vendor, SQL_MYSQL);
        assert_ptr_equal(sql_dialect(c), &sql_mysql);
        OK(sql_position(c, &p, &failure));
        OK(sql_status(c, &status, &failure));
        assert_false(status.configured);
        assert_int_equal(p.server_id, i + 1);
        assert_int_equal(p.read_only, i == 1);
        str_copy(uuids[i], sizeof uuids[i], p.uuid);
    }
    assert_string_not_equal(uuids[0], uuids[1]);
}

static bool may_log_in(struct test_mysql *s, const char *user, const char *password, bool tls)
{
    _cleanup_secret_ struct secret *secret = secret_new(password, strlen(password));
    struct sql_target t = mariadb_tcp(&s->m, user, secret);
    _cleanup_sql_ struct sql_conn *c = NULL;
    t.tls.mode = tls ? SQL_TLS_ANY : SQL_TLS_OFF;
    int r = sql_open(&t, NULL, &c, &failure);
    if (r < 0 && r != ERR_DENIED)
        fail_msg("%s", failure.message);
    return r >= 0;
}

static void test_accounts(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&one.m);
    _cleanup_secret_ struct secret *old = secret_new("old'1", 5), *fresh = secret_new("new\"2", 5);
    struct sql_account a = {.user = "api", .passwords = {{.clear = old}}, .n_passwords = 1};
    OK(sql_account_set(c, &a, false, &failure));
    assert_true(may_log_in(&one, "api", "old'1", true));
    assert_true(may_log_in(&one, "api", "old'1", false)); /* the server's public key is fetched */
    assert_false(may_log_in(&one, "api", "new\"2", true));
    a.passwords[0].clear = fresh;
    a.passwords[1].clear = old;
    a.n_passwords = 2;
    OK(sql_account_set(c, &a, false, &failure));
    OK(sql_account_set(c, &a, false, &failure));
    assert_true(may_log_in(&one, "api", "old'1", true) && may_log_in(&one, "api", "new\"2", true));
    a.n_passwords = 1;
    OK(sql_account_set(c, &a, false, &failure));
    assert_true(!may_log_in(&one, "api", "old'1", true) && may_log_in(&one, "api", "new\"2", true));
    struct sql_grant g = {"SELECT, INSERT", "shop", "orders"};
    mariadb_exec(c, "CREATE DATABASE shop");
    mariadb_exec(c, "CREATE TABLE shop.orders (id INT PRIMARY KEY)");
    OK(sql_grants_set(c, "api", NULL, &g, 1, &failure));
    OK(sql_grants_set(c, "api", NULL, &g, 1, &failure));
    struct sql_session *list = NULL;
    size_t n = 0;
    OK(sql_sessions(c, &list, &n, &failure));
    free(list);
    assert_true(n >= 1);
    OK(sql_account_drop(c, "api", NULL, &failure));
    mariadb_exec(c, "DROP DATABASE shop");
}

/* Every privilege of a duty is known to the server, and enough. */
static void test_supervisor(void **state)
{
    _cleanup_sql_ struct sql_conn *root = mariadb_open(&one.m), *c = NULL;
    _cleanup_secret_ struct secret *password = secret_new("Sup-1", 5);
    struct sql_account a = {.user = "sup", .passwords = {{.clear = password}}, .n_passwords = 1};
    OK(sql_account_set(root, &a, false, &failure));
    for (int duty = SQL_DUTY_REPLICA; duty <= SQL_DUTY_BACKUP; duty++) {
        struct sql_grant g = {.privileges = sql_mysql.privileges(duty)};
        OK(sql_grants_set(root, "sup", NULL, &g, 1, &failure));
    }
    struct sql_grant g = {.privileges = sql_mysql.privileges(SQL_DUTY_SUPERVISOR)};
    OK(sql_grants_set(root, "sup", NULL, &g, 1, &failure));
    struct sql_target t = mariadb_tcp(&one.m, "sup", password);
    t.tls.mode = SQL_TLS_ANY;
    OK(sql_open(&t, NULL, &c, &failure));
    _cleanup_sql_status_ struct sql_replica_status status = {0};
    struct sql_attach attach = {.host = two.m.address, .port = two.m.port, .user = "nobody"};
    struct sql_settings settings = {.net_timeout_s = 10, .expire_s = 1209600};
    struct sql_semisync semi = {.source = true, .timeout_ms = 1000};
    OK(sql_attach(c, &attach, &failure));
    OK(sql_start(c, SQL_THREAD_SQL, &failure));
    OK(sql_status(c, &status, &failure));
    assert_true(status.configured && status.sql_running && status.by_gtid);
    OK(sql_stop(c, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(c, false, &failure));
    OK(sql_reset_replica(c, true, &failure));
    OK(sql_read_only(c, true, 1, &failure));
    OK(sql_read_only(c, false, 1, &failure));
    OK(sql_settings(c, &settings, &failure));
    OK(sql_flush_tls(c, &failure));
    OK(sql_flush_binlogs(c, &failure));
    struct sql_binlog *logs = NULL;
    size_t n = 0;
    OK(sql_binlogs(c, &logs, &n, &failure));
    assert_true(n >= 2 && logs[0].size_bytes > 0);
    _cleanup_gtid_ struct gtid_set start = {0};
    OK(sql_binlog_start(c, logs[n - 1].name, &start, &failure));
    assert_false(gtid_set_empty(&start));
    OK(sql_purge_to(c, logs[n - 1].name, &failure));
    free(logs);
    OK(sql_semisync(root, &semi, &failure)); /* installs plugins: not the supervisor's */
    OK(sql_semisync(root, &semi, &failure));
    semi.source = false;
    OK(sql_semisync(root, &semi, &failure));
    OK(sql_account_drop(root, "sup", NULL, &failure));
}

static void follow(struct test_mysql *source, struct test_mysql *replica)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&source->m), *r = mariadb_open(&replica->m);
    _cleanup_secret_ struct secret *password = secret_new("Rp-123", 6);
    struct sql_account a = {.user = "repl",
        .passwords = {{.clear = password}},
        .n_passwords = 1,
        .require = SQL_REQUIRE_SSL};
    struct sql_grant g = {.privileges = sql_mysql.privileges(SQL_DUTY_REPLICA)};
    struct sql_attach attach = {.host = source->m.address,
        .port = source->m.port,
        .user = "repl",
        .password = password,
        .tls.mode = SQL_TLS_ANY,
        .heartbeat_ms = 500,
        .compress = true};
    OK(sql_account_set(s, &a, true, &failure));
    OK(sql_exec(s, "SET SESSION sql_log_bin=0", &failure));
    OK(sql_grants_set(s, "repl", NULL, &g, 1, &failure));
    OK(sql_attach(r, &attach, &failure));
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
}

static void test_replicate_kill_resume(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one.m), *r = mariadb_open(&two.m);
    OK(sql_reset_binlogs(s, &failure));
    OK(sql_read_only(r, false, 1, &failure)); /* a server that is read-only forgets nothing */
    OK(sql_reset_binlogs(r, &failure));
    OK(sql_read_only(r, true, 1, &failure));
    mariadb_exec(s, "CREATE DATABASE trade");
    mariadb_exec(s, "CREATE TABLE trade.o (id INT PRIMARY KEY)");
    follow(&one, &two);
    await_status(r, is_running, "running");
    mariadb_exec(s, "INSERT INTO trade.o VALUES (1)");
    mariadb_catch_up(&one.m, &two.m);
    await_status(r, has_heartbeat, "a heartbeat of an idle source");
    _cleanup_sql_status_ struct sql_replica_status st = {0};
    _cleanup_sql_position_ struct sql_position ps = {0}, pr = {0};
    OK(sql_status(r, &st, &failure));
    OK(sql_position(s, &ps, &failure));
    OK(sql_position(r, &pr, &failure));
    assert_true(st.tls && st.by_gtid && st.source_port == one.m.port && st.heartbeat_ms == 500);
    assert_string_equal(st.source_user, "repl");
    assert_true(gtid_set_equal(&st.executed, &ps.current));
    assert_true(gtid_set_equal(&ps.current, &pr.current));
    assert_true(
        gtid_set_contains(&ps.current, &st.retrieved) && gtid_set_count(&st.retrieved) == 3);

    mariadb_stop(&one.m, SIGKILL);
    await_status(r, has_lost_source, "the source is gone");
    mysql_run(&one);
    sql_close(s);
    s = mariadb_open(&one.m);
    mariadb_exec(s, "INSERT INTO trade.o VALUES (2)");
    mariadb_catch_up(&one.m, &two.m);

    mariadb_stop(&two.m, SIGKILL);
    mysql_run(&two);
    sql_close(r);
    r = mariadb_open(&two.m);
    OK(sql_start(r, SQL_THREAD_BOTH, &failure));
    mariadb_exec(s, "INSERT INTO trade.o VALUES (3)");
    mariadb_catch_up(&one.m, &two.m);
}

static void count_rows(struct test_mysql *m, const char *expected)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&m->m);
    _cleanup_str_ struct str n = STR_INIT;
    OK(sql_value(c, "SELECT COUNT(*) FROM trade.o", &n, &failure));
    assert_string_equal(str_cstr(&n), expected);
}

/* Planned: fence, wait until both are equal, turn round, release. */
static void move(struct test_mysql *from, struct test_mysql *to)
{
    _cleanup_sql_ struct sql_conn *f = mariadb_open(&from->m), *t = mariadb_open(&to->m);
    _cleanup_sql_position_ struct sql_position last = {0}, there = {0};
    uint64_t began = clock_boot_ms();
    OK(sql_read_only(f, true, 1, &failure));
    assert_int_equal(sql_exec(f, "INSERT INTO trade.o VALUES (666)", NULL), ERR_REFUSED);
    assert_int_equal(sql_errno(f), 1290); /* root as well */
    OK(sql_position(f, &last, &failure));
    assert_int_equal(sql_wait(t, &last.current, 30000, &failure), 1);
    OK(sql_position(t, &there, &failure));
    assert_int_equal(gtid_set_compare(&there.current, &last.current), GTID_SAME);
    OK(sql_stop(t, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(t, true, &failure));
    OK(sql_read_only(t, false, 1, &failure));
    uint64_t paused = clock_boot_ms() - began;
    print_message("switchover: writes paused for %llu ms\n", (unsigned long long)paused);
    follow(to, from);
    await_status(f, is_running, "the former source follows");
}

static void test_switchover(void **state)
{
    move(&one, &two);
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&two.m);
    mariadb_exec(s, "INSERT INTO trade.o VALUES (4)");
    mariadb_catch_up(&two.m, &one.m);
    move(&two, &one);
    _cleanup_sql_ struct sql_conn *back = mariadb_open(&one.m);
    mariadb_exec(back, "INSERT INTO trade.o VALUES (5)");
    mariadb_catch_up(&one.m, &two.m);
    count_rows(&one, "5");
    count_rows(&two, "5");
}

/* MySQL says nothing of an errant write: the sets do, with the number of transactions. */
static void test_errant(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one.m), *r = mariadb_open(&two.m);
    _cleanup_sql_position_ struct sql_position ps = {0}, pr = {0};
    OK(sql_read_only(r, false, 1, &failure));
    mariadb_exec(r, "INSERT INTO trade.o VALUES (100)");
    OK(sql_read_only(r, true, 1, &failure));
    OK(sql_position(s, &ps, &failure));
    OK(sql_position(r, &pr, &failure));
    assert_int_equal(gtid_set_compare(&pr.current, &ps.current), GTID_AHEAD);
    _cleanup_gtid_ranges_ struct gtid_ranges errant = {0};
    gtid_set_subtract(&pr.current, &ps.current, &errant);
    assert_int_equal(gtid_ranges_count(&errant), 1);

    /* the same row at the source: data differ, and that is loud */
    mariadb_exec(s, "INSERT INTO trade.o VALUES (100)");
    await_status(r, is_duplicate, "a duplicate key");
    _cleanup_sql_status_ struct sql_replica_status st = {0};
    OK(sql_status(r, &st, &failure));
    print_message("duplicate: %u %s\n", st.sql_errno, st.sql_error);
    assert_int_equal(ladder_classify(false, st.sql_errno, st.sql_error), LADDER_DATA);
}

static void test_purged(void **state)
{
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one.m), *r = mariadb_open(&two.m);
    _cleanup_sql_position_ struct sql_position p = {0};
    struct sql_binlog *logs = NULL;
    size_t n = 0;
    OK(sql_flush_binlogs(s, &failure));
    OK(sql_binlogs(s, &logs, &n, &failure));
    OK(sql_purge_to(s, logs[n - 1].name, &failure));
    free(logs);
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(r, true, &failure));
    OK(sql_read_only(r, false, 1, &failure));
    OK(sql_exec(r, "SET SESSION sql_log_bin=0", &failure));
    OK(sql_exec(r, "DROP DATABASE trade", &failure));
    OK(sql_reset_binlogs(r, &failure));
    follow(&one, &two);
    await_status(r, is_purged, "binary logs are gone");
    _cleanup_sql_status_ struct sql_replica_status st = {0};
    OK(sql_status(r, &st, &failure));
    print_message("purged: %u %s\n", st.io_errno, st.io_error);
    assert_int_equal(ladder_classify(true, st.io_errno, st.io_error), LADDER_PURGED);

    /* seeded anew: the data by whatever way, then the position that they have */
    OK(sql_stop(r, SQL_THREAD_BOTH, &failure));
    OK(sql_reset_replica(r, true, &failure));
    OK(sql_exec(r, "CREATE DATABASE trade", &failure));
    OK(sql_exec(r, "CREATE TABLE trade.o (id INT PRIMARY KEY)", &failure));
    OK(sql_exec(r, "INSERT INTO trade.o VALUES (1),(2),(3),(4),(5),(100)", &failure));
    OK(sql_position(s, &p, &failure));
    OK(sql_reset_binlogs(r, &failure));
    OK(sql_set_start(r, &p.current, &failure));
    OK(sql_read_only(r, true, 1, &failure));
    follow(&one, &two);
    await_status(r, is_running, "running again");
    mariadb_exec(s, "INSERT INTO trade.o VALUES (6)");
    mariadb_catch_up(&one.m, &two.m);
    count_rows(&two, "7");
}

/* What a replica would be sent: the transaction that it has not. */
static void test_feed(void **state)
{
    enum { HEAD = 19, TYPE = 4, GTID = 33, TAGGED = 42, ROWS = 30 };
    _cleanup_sql_ struct sql_conn *s = mariadb_open(&one.m), *feed = mariadb_open(&one.m);
    _cleanup_sql_position_ struct sql_position before = {0};
    OK(sql_position(s, &before, &failure));
    mariadb_exec(s, "INSERT INTO trade.o VALUES (200)");
    const struct sql_feed f = {.has = &before.current, .server_id = 4711, .heartbeat_ms = 1000};
    OK(sql_feed_begin(feed, &f, &failure));
    unsigned gtids = 0, rows = 0;
    while (!rows) {
        const uint8_t *p;
        size_t len;
        OK(sql_feed_next(feed, &p, &len, &failure));
        assert_true(len >= HEAD);
        gtids += p[TYPE] == GTID || p[TYPE] == TAGGED;
        rows += p[TYPE] == ROWS;
    }
    assert_int_equal(gtids, 1);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    cache = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_preflight),
        cmocka_unit_test(test_accounts), cmocka_unit_test(test_supervisor),
        cmocka_unit_test(test_replicate_kill_resume), cmocka_unit_test(test_switchover),
        cmocka_unit_test(test_errant), cmocka_unit_test(test_purged), cmocka_unit_test(test_feed)};
    return cmocka_run_group_tests(tests, start_servers, end_servers);
}
