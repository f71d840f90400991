/* SPDX-License-Identifier: Apache-2.0 */
/* What the SQL driver says: quoting, versions, the statements of each dialect. No server; those with
 * one are in sql_server.c. */
#include "test.h"

#include "driver/sql/dialect.h"

#define U "3e11fa47-71ca-11e1-9e33-c80aa9429562"

static void test_quoting(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        const char *expected;
    } rows[] = {
        {"", 0, "''"},
        {"plain", 5, "'plain'"},
        {"it's", 4, "'it\\'s'"},
        {"a\\", 2, "'a\\\\'"},
        {"\"", 1, "'\"'"},
        {"a\0b", 3, "'a\\0b'"},
        {"\n\r\x1a", 3, "'\\n\\r\\Z'"},
        {"서울", 6, "'서울'"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_str_ struct str out = STR_INIT;
        sql_add_text_mem(&out, rows[i].text, rows[i].len);
        assert_string_equal(str_cstr(&out), rows[i].expected);
    }
    _cleanup_str_ struct str out = STR_INIT;
    sql_add_name(&out, "a`b");
    sql_add_account(&out, "o'neil", NULL);
    assert_string_equal(str_cstr(&out), "`a``b`'o\\'neil'@'%'");
}

static void test_versions(void **state)
{
    static const struct {
        const char *version, *comment, *dialect; /* NULL: refused */
    } rows[] = {
        {"10.11.19-MariaDB-0+deb12u1-log", "Debian 12", "mariadb"},
        {"10.6.0-MariaDB", "", "mariadb"},
        {"11.4.2", "mariadb.org binary distribution", "mariadb"},
        {"10.5.23-MariaDB", "", NULL},
        {"8.0.23", "MySQL Community Server - GPL", "mysql-8.0"},
        {"8.0.36-28", "Percona Server (GPL)", "mysql-8.0"},
        {"8.1.0", "", "mysql-8.0"},
        {"8.2.0", "", "mysql"},
        {"8.4.3", "MySQL Community Server - GPL", "mysql"},
        {"9.7.4-1", "(Debian)", "mysql"},
        {"8.0.22", "", NULL},
        {"5.7.44", "", NULL},
        {"mysql", "", NULL},
        {"8.0", "", NULL},
        {"999999.0.0", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_server s;
        const struct sql_dialect *d;
        struct err e = {0};
        int r = sql_server_parse(rows[i].version, rows[i].comment, &s, &d, &e);
        if ((r < 0) != !rows[i].dialect || (r >= 0 && strcmp(d->name, rows[i].dialect) != 0))
            fail_msg("%s: %d %s", rows[i].version, r, e.message);
        if (r >= 0)
            assert_string_equal(s.version, rows[i].version);
    }
}

/* "; " between statements, " ~N" behind one whose error N is fine. */
static void join(const struct sql_script *s, struct str *out)
{
    for (size_t i = 0; i < s->n; i++) {
        str_addf(out, "%s%s", i ? "; " : "", s->v[i].text);
        if (s->v[i].tolerated)
            str_addf(out, " ~%u", s->v[i].tolerated);
    }
}

static const struct sql_dialect *const dialects[] = {&sql_mariadb, &sql_mysql80, &sql_mysql};

typedef int (*say_fn)(const struct sql_dialect *d, struct sql_script *out, struct err *e);

static int say_attach(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    _cleanup_secret_ struct secret *password = secret_new("p'w", 3);
    struct sql_attach a = {.host = "10.20.0.11", .user = "mcp_repl", .password = password};
    return d->attach(&a, out, e);
}

static int say_attach_tls(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    struct sql_attach a = {.host = "10.20.0.11",
        .port = 3307,
        .user = "mcp_repl",
        .tls = {SQL_TLS_FULL, "/d/ca.pem", "/d/cert.pem", "/d/key.pem"},
        .heartbeat_ms = 500,
        .connect_retry_s = 2,
        .net_timeout_s = 20,
        .delay_s = 3600,
        .compress = true,
        .from_current = true};
    return d->attach(&a, out, e);
}

static int say_threads(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    d->stop(SQL_THREAD_IO, out);
    d->start(SQL_THREAD_SQL, out);
    d->start(SQL_THREAD_BOTH, out);
    d->reset_replica(false, out);
    d->reset_replica(true, out);
    d->reset_binlogs(out);
    d->flush_binlogs(out);
    d->flush_tls(out);
    return 0;
}

static int say_fence(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    d->read_only(true, 3, out);
    d->read_only(false, 3, out);
    return 0;
}

static int say_semisync(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    d->semisync(&(struct sql_semisync){.source = true, .timeout_ms = 2000}, out);
    return 0;
}

static int say_settings(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    d->settings(&(struct sql_settings){true, 10, 1209600, true, 2}, out);
    return 0;
}

static int say_account(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    _cleanup_secret_ struct secret *fresh = secret_new("new", 3), *old = secret_new("old", 3);
    struct sql_account a = {.user = "api",
        .passwords = {{.clear = fresh}, {.clear = old}},
        .n_passwords = 2,
        .max_connections = 50};
    return d->account_set(&a, out, e);
}

static int say_certificate(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    struct sql_account a = {
        .user = "mcp_repl", .require = SQL_REQUIRE_X509, .subject = "/CN=mcp-data"};
    return d->account_set(&a, out, e);
}

static int say_hash(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    struct sql_account a = {.user = "api",
        .host = "localhost",
        .passwords = {{.hash = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"}},
        .n_passwords = 1,
        .by_socket = true,
        .require = SQL_REQUIRE_SSL};
    return d->account_set(&a, out, e);
}

static int say_open_door(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    return d->account_set(&(struct sql_account){.user = "api"}, out, e);
}

static int say_start(const struct sql_dialect *d, struct sql_script *out, struct err *e)
{
    _cleanup_gtid_ struct gtid_set s = {0};
    const char *text = d->flavour == GTID_MARIADB ? "1-11-40,1-12-42" : U ":1-5";
    assert_int_equal(gtid_set_parse(d->flavour, text, strlen(text), &s, NULL), 0);
    d->set_start(&s, out);
    _cleanup_str_ struct str wait = STR_INIT;
    d->wait(&s, 1500, &wait);
    sql_script_add(out, "%s", str_cstr(&wait));
    return 0;
}

static void test_statements(void **state)
{
    static const struct {
        const char *name;
        say_fn say;
        const char *expected[3]; /* NULL: refused; "=": as the one before */
    } rows[] = {
        {"attach", say_attach,
            {"SET GLOBAL slave_net_timeout=10; SET GLOBAL slave_compressed_protocol=0; "
             "CHANGE MASTER TO MASTER_HOST='10.20.0.11', MASTER_PORT=3306, MASTER_USER='mcp_repl', "
             "MASTER_PASSWORD='p\\'w', MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=5.000, "
             "MASTER_CONNECT_RETRY=1, MASTER_DELAY=0, MASTER_SSL=0, MASTER_SSL_CA='', "
             "MASTER_SSL_CERT='', MASTER_SSL_KEY='', MASTER_SSL_VERIFY_SERVER_CERT=0",
                "SET GLOBAL replica_net_timeout=10; CHANGE REPLICATION SOURCE TO "
                "SOURCE_HOST='10.20.0.11', SOURCE_PORT=3306, SOURCE_USER='mcp_repl', "
                "SOURCE_PASSWORD='p\\'w', SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=5.000, "
                "SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=0, SOURCE_DELAY=0, "
                "SOURCE_COMPRESSION_ALGORITHMS='uncompressed', SOURCE_SSL=0, SOURCE_SSL_CA='', "
                "SOURCE_SSL_CERT='', SOURCE_SSL_KEY='', SOURCE_SSL_VERIFY_SERVER_CERT=0, "
                "GET_SOURCE_PUBLIC_KEY=1",
                "="}},
        {"attach with TLS, delayed, compressed", say_attach_tls,
            {"SET GLOBAL slave_net_timeout=20; SET GLOBAL slave_compressed_protocol=1; "
             "CHANGE MASTER TO MASTER_HOST='10.20.0.11', MASTER_PORT=3307, MASTER_USER='mcp_repl', "
             "MASTER_PASSWORD='', MASTER_USE_GTID=current_pos, MASTER_HEARTBEAT_PERIOD=0.500, "
             "MASTER_CONNECT_RETRY=2, MASTER_DELAY=3600, MASTER_SSL=1, MASTER_SSL_CA='/d/ca.pem', "
             "MASTER_SSL_CERT='/d/cert.pem', MASTER_SSL_KEY='/d/key.pem', "
             "MASTER_SSL_VERIFY_SERVER_CERT=1",
                "SET GLOBAL replica_net_timeout=20; CHANGE REPLICATION SOURCE TO "
                "SOURCE_HOST='10.20.0.11', SOURCE_PORT=3307, SOURCE_USER='mcp_repl', "
                "SOURCE_PASSWORD='', SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=0.500, "
                "SOURCE_CONNECT_RETRY=2, SOURCE_RETRY_COUNT=0, SOURCE_DELAY=3600, "
                "SOURCE_COMPRESSION_ALGORITHMS='zstd,uncompressed', SOURCE_SSL=1, "
                "SOURCE_SSL_CA='/d/ca.pem', SOURCE_SSL_CERT='/d/cert.pem', "
                "SOURCE_SSL_KEY='/d/key.pem', SOURCE_SSL_VERIFY_SERVER_CERT=1",
                "="}},
        {"threads and resets", say_threads,
            {"STOP SLAVE IO_THREAD; START SLAVE SQL_THREAD; START SLAVE; RESET SLAVE; "
             "RESET SLAVE ALL; RESET MASTER; FLUSH BINARY LOGS; FLUSH LOCAL SSL",
                "STOP REPLICA IO_THREAD; START REPLICA SQL_THREAD; START REPLICA; RESET REPLICA; "
                "RESET REPLICA ALL; RESET MASTER; FLUSH BINARY LOGS; ALTER INSTANCE RELOAD TLS",
                "STOP REPLICA IO_THREAD; START REPLICA SQL_THREAD; START REPLICA; RESET REPLICA; "
                "RESET REPLICA ALL; RESET BINARY LOGS AND GTIDS; FLUSH BINARY LOGS; "
                "ALTER INSTANCE RELOAD TLS"}},
        {"fence", say_fence,
            {"SET SESSION lock_wait_timeout=3; SET GLOBAL read_only=1; SET GLOBAL read_only=0",
                "SET SESSION lock_wait_timeout=3; SET GLOBAL super_read_only=1; "
                "SET GLOBAL super_read_only=0; SET GLOBAL read_only=0",
                "="}},
        {"semi-synchronous", say_semisync,
            {"SET GLOBAL rpl_semi_sync_master_wait_point='AFTER_SYNC'; "
             "SET GLOBAL rpl_semi_sync_master_timeout=2000; "
             "SET GLOBAL rpl_semi_sync_master_enabled=1; SET GLOBAL rpl_semi_sync_slave_enabled=0",
                "INSTALL PLUGIN rpl_semi_sync_master SONAME 'semisync_master.so' ~1125; "
                "INSTALL PLUGIN rpl_semi_sync_slave SONAME 'semisync_slave.so' ~1125; "
                "SET GLOBAL rpl_semi_sync_master_wait_point='AFTER_SYNC'; "
                "SET GLOBAL rpl_semi_sync_master_timeout=2000; "
                "SET GLOBAL rpl_semi_sync_master_enabled=1; "
                "SET GLOBAL rpl_semi_sync_slave_enabled=0",
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so' ~1125; "
                "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so' ~1125; "
                "SET GLOBAL rpl_semi_sync_source_wait_point='AFTER_SYNC'; "
                "SET GLOBAL rpl_semi_sync_source_timeout=2000; "
                "SET GLOBAL rpl_semi_sync_source_enabled=1; "
                "SET GLOBAL rpl_semi_sync_replica_enabled=0"}},
        {"settings", say_settings,
            {"SET GLOBAL slave_compressed_protocol=1; SET GLOBAL slave_net_timeout=10; "
             "SET GLOBAL binlog_expire_logs_seconds=1209600; SET GLOBAL gtid_domain_id=2",
                "SET GLOBAL replica_net_timeout=10; "
                "SET GLOBAL binlog_expire_logs_seconds=1209600",
                "="}},
        {"two passwords", say_account,
            {"CREATE USER IF NOT EXISTS 'api'@'%' IDENTIFIED VIA mysql_native_password USING "
             "'*6FE2B845E049CDA9EFED8CFAF265CD29622FD852' OR mysql_native_password USING "
             "'*CD02AC33DE7D3D2AFEDF5F2BAB51B07CDB499E79' REQUIRE NONE WITH "
             "MAX_USER_CONNECTIONS 50; ALTER USER 'api'@'%' IDENTIFIED VIA mysql_native_password "
             "USING '*6FE2B845E049CDA9EFED8CFAF265CD29622FD852' OR mysql_native_password USING "
             "'*CD02AC33DE7D3D2AFEDF5F2BAB51B07CDB499E79' REQUIRE NONE WITH MAX_USER_CONNECTIONS 50",
                "CREATE USER IF NOT EXISTS 'api'@'%' IDENTIFIED BY RANDOM PASSWORD REQUIRE NONE "
                "WITH MAX_USER_CONNECTIONS 50; ALTER USER 'api'@'%' IDENTIFIED BY 'old'; "
                "ALTER USER 'api'@'%' IDENTIFIED BY 'new' RETAIN CURRENT PASSWORD; "
                "ALTER USER 'api'@'%' REQUIRE NONE WITH MAX_USER_CONNECTIONS 50",
                "="}},
        {"a certificate instead", say_certificate,
            {"CREATE USER IF NOT EXISTS 'mcp_repl'@'%' IDENTIFIED VIA mysql_native_password USING "
             "'' REQUIRE SUBJECT '/CN=mcp-data' WITH MAX_USER_CONNECTIONS 0; ALTER USER "
             "'mcp_repl'@'%' IDENTIFIED VIA mysql_native_password USING '' REQUIRE SUBJECT "
             "'/CN=mcp-data' WITH MAX_USER_CONNECTIONS 0",
                "CREATE USER IF NOT EXISTS 'mcp_repl'@'%' REQUIRE SUBJECT '/CN=mcp-data' WITH "
                "MAX_USER_CONNECTIONS 0; ALTER USER 'mcp_repl'@'%' REQUIRE SUBJECT '/CN=mcp-data' "
                "WITH MAX_USER_CONNECTIONS 0",
                "="}},
        {"a hash, and the socket", say_hash,
            {"CREATE USER IF NOT EXISTS 'api'@'localhost' IDENTIFIED VIA mysql_native_password "
             "USING '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19' OR unix_socket REQUIRE SSL WITH "
             "MAX_USER_CONNECTIONS 0; ALTER USER 'api'@'localhost' IDENTIFIED VIA "
             "mysql_native_password USING '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19' OR "
             "unix_socket REQUIRE SSL WITH MAX_USER_CONNECTIONS 0",
                NULL, NULL}},
        {"nothing that keeps anybody out", say_open_door, {NULL, NULL, NULL}},
        {"positions", say_start,
            {"SET GLOBAL gtid_slave_pos='1-12-42'; SELECT MASTER_GTID_WAIT('1-12-42', 1.500)",
                "SET GLOBAL gtid_purged='" U ":1-5'; SELECT WAIT_FOR_EXECUTED_GTID_SET('" U
                ":1-5', 1.500)",
                "="}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *expected = NULL;
        for (size_t d = 0; d < ARRAY_SIZE(dialects); d++) {
            _cleanup_sql_script_ struct sql_script s = {0};
            _cleanup_str_ struct str text = STR_INIT;
            struct err e = {0};
            int r = rows[i].say(dialects[d], &s, &e);
            join(&s, &text);
            if (!str_eq(rows[i].expected[d], "="))
                expected = rows[i].expected[d];
            if ((r < 0) != !expected || (expected && strcmp(str_cstr(&text), expected) != 0))
                fail_msg("%s, %s: %d %s\n  %s", rows[i].name, dialects[d]->name, r, e.message,
                    str_cstr(&text));
        }
    }
}

static void test_attach_refused(void **state)
{
    char bytes[97];
    memset(bytes, 'x', sizeof bytes);
    static const struct {
        size_t password;
        bool too_long[3];
    } rows[] = {{32, {false, false, false}}, {33, {false, true, true}}, {97, {true, true, true}}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t d = 0; d < ARRAY_SIZE(dialects); d++) {
            _cleanup_secret_ struct secret *password = secret_new(bytes, rows[i].password);
            _cleanup_sql_script_ struct sql_script s = {0};
            struct sql_attach a = {.host = "h", .user = "u", .password = password};
            int r = dialects[d]->attach(&a, &s, NULL);
            assert_int_equal(r, rows[i].too_long[d] ? ERR_LIMIT : 0);
            assert_true(r < 0 || s.secret);
        }
    }
    _cleanup_sql_script_ struct sql_script s = {0};
    struct sql_attach nobody = {.user = "u"};
    assert_int_equal(sql_mariadb.attach(&nobody, &s, NULL), ERR_INVALID);
    struct sql_attach half = {.host = "h", .user = "u", .tls.mode = SQL_TLS_CA};
    assert_int_equal(sql_mariadb.attach(&half, &s, NULL), ERR_INVALID);
}

static void test_privileges(void **state)
{
    for (size_t d = 0; d < ARRAY_SIZE(dialects); d++)
        for (int duty = SQL_DUTY_REPLICA; duty <= SQL_DUTY_BACKUP; duty++) {
            const char *text = dialects[d]->privileges(duty);
            assert_non_null(text);
            assert_null(strstr(text, "SUPER"));
            assert_null(strstr(text, "ALL PRIVILEGES"));
        }
}

static void test_target(void **state)
{
    _cleanup_secret_ struct secret *password = secret_new("pw", 2);
    struct sql_target t = {.host = "fd00::1", .user = "u", .password = password};
    struct sql_target *copy = sql_target_copy(&t);
    _cleanup_str_ struct str text = STR_INIT;
    sql_target_format(copy, &text);
    str_add(&text, " ");
    sql_target_format(&(struct sql_target){.host = "10.0.0.1", .port = 3307}, &text);
    str_add(&text, " ");
    sql_target_format(&(struct sql_target){.socket = "/run/x"}, &text);
    assert_string_equal(str_cstr(&text), "[fd00::1]:3306 10.0.0.1:3307 unix:/run/x");
    assert_true(copy->password != password && secret_eq(copy->password, password));
    sql_target_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_versions), cmocka_unit_test(test_statements),
        cmocka_unit_test(test_attach_refused), cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_target)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
