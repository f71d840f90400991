/* SPDX-License-Identifier: Apache-2.0 */
/* Against a real server: what the vault has is what the server wrote, byte for byte, whatever died in between. */
#include "test.h"

#include "mariadb.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/copies/copies.h"
#include "service/vault/vault.h"

#define LOG_MAX (64u * 1024 * 1024)
#define IN_USE_BYTE 21 /* a flag of the server's own, in the first event of the log that it writes */

static struct test_mariadb m;
static struct sql_conn *c;
static char work[64], dir[96];
static uv_loop_t loop;
static struct vault *v;
static unsigned closed;

#define PATH_OF(name, ...)                                                                         \
    char name[400];                                                                                \
    snprintf(name, sizeof name, __VA_ARGS__)

static int begin(void **state)
{
    str_copy(work, sizeof work, "/tmp/mcp-vault-XXXXXX");
    assert_non_null(mkdtemp(work));
    snprintf(dir, sizeof dir, "%s/vault", work);
    assert_int_equal(uv_loop_init(&loop), 0);
    mariadb_start(&m, 1, NULL);
    c = mariadb_open(&m);
    mariadb_exec(c, "CREATE USER mcp_repl@'%'");
    mariadb_exec(c, "GRANT REPLICATION SLAVE ON *.* TO mcp_repl@'%'");
    mariadb_exec(c, "CREATE DATABASE shop");
    mariadb_exec(c, "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200))");
    return 0;
}

static void on_closed(void *ctx)
{
    closed++;
}

static void close_vault(void)
{
    unsigned before = closed;
    vault_close(v, on_closed, NULL);
    while (closed == before)
        uv_run(&loop, UV_RUN_ONCE);
    v = NULL;
}

static int end(void **state)
{
    struct err e;
    if (v)
        close_vault();
    while (uv_loop_close(&loop) == UV_EBUSY)
        uv_run(&loop, UV_RUN_ONCE);
    sql_close(c);
    mariadb_end(&m);
    return file_remove_tree(work, &e);
}

static void follow(int64_t retention_ms, uint64_t max_bytes)
{
    const struct vault_config config = {
        .loop = &loop, .dir = dir, .user = "mcp_repl", .server_id = 1000000001};
    const struct vault_source s = {1, m.address, m.port};
    const struct vault_limits l = {retention_ms, max_bytes};
    if (!v)
        MARIADB_CHECK(vault_new(&config, &v, &check_e));
    vault_follow(v, &s, &l);
}

static void position(char out[COPIES_GTID_MAX])
{
    _cleanup_sql_position_ struct sql_position p = {0};
    _cleanup_str_ struct str text = STR_INIT;
    MARIADB_CHECK(sql_position(c, &p, &check_e));
    gtid_set_format(&p.binlog, &text);
    str_copy(out, COPIES_GTID_MAX, str_cstr(&text));
}

/* Until the vault has on disk what the server has. */
static void caught_up(void)
{
    char now[COPIES_GTID_MAX];
    uint64_t until = clock_boot_ms() + MARIADB_PATIENCE_MS;
    position(now);
    for (;;) {
        json_t *j = vault_json(v);
        bool done = str_eq(json_opt_str(j, "gtid", ""), now)
                    && str_eq(json_opt_str(j, "state", ""), "following");
        if (!done && clock_boot_ms() > until)
            fail_msg("not at %s: %s", now, json_dumps(j, 0));
        json_decref(j);
        if (done)
            return;
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static void expect_equal(const struct copies_log *log, const char *name)
{
    _cleanup_str_ struct str ours = STR_INIT, theirs = STR_INIT;
    PATH_OF(out, "%s/out", work);
    PATH_OF(server, "%s/data/%s", m.dir, name);
    MARIADB_CHECK(copies_log_unpack(log, out, NULL, &check_e));
    MARIADB_CHECK(file_read(out, LOG_MAX, &ours, &check_e));
    MARIADB_CHECK(file_read(server, LOG_MAX, &theirs, &check_e));
    assert_true(ours.len <= theirs.len && ours.len > 100);
    theirs.buf[IN_USE_BYTE] = ours.buf[IN_USE_BYTE];
    assert_memory_equal(ours.buf, theirs.buf, ours.len);
    if (log->packed)
        assert_int_equal(ours.len, theirs.len);
}

/* The last n logs of the vault are the server's of these numbers. */
static void expect_logs(unsigned first, unsigned last)
{
    struct copies_log *logs;
    size_t n;
    MARIADB_CHECK(copies_vault_list(dir, &logs, &n, &check_e));
    assert_true(n >= last - first + 1);
    for (unsigned i = first; i <= last; i++) {
        struct copies_log *log = &logs[n - 1 - (last - i)];
        PATH_OF(name, "bin.%06u", i);
        assert_non_null(strstr(log->path, name));
        assert_int_equal(log->packed, i != last);
        expect_equal(log, name);
    }
    json_t *gaps = copies_gaps(logs, n);
    assert_int_equal(json_array_size(gaps), 0);
    json_decref(gaps);
    free(logs);
}

static void test_every_byte(void **state)
{
    mariadb_exec(c, "INSERT INTO shop.orders SELECT seq, 'before' FROM shop.seq_1_to_1000");
    mariadb_exec(c, "FLUSH BINARY LOGS");
    follow(86400000, 0);
    caught_up();
    mariadb_exec(c, "INSERT INTO shop.orders SELECT seq, REPEAT('x', 150) FROM shop.seq_2001_to_9000");
    mariadb_exec(c, "FLUSH BINARY LOGS");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'after' WHERE id < 10");
    caught_up();
    expect_logs(1, 3);
}

/* As a host that dies: the last event is half there, or rubbish is behind it. */
static void test_resumes_where_it_is_whole(void **state)
{
    static const char *const deaths[] = {"truncate -s -7 $f", "printf rubbishrubbishrubbish >> $f",
        "dd if=/dev/zero bs=300 count=1 2>/dev/null >> $f", "truncate -s 4 $f", "truncate -s 0 $f"};
    for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
        struct copies_log *logs;
        size_t n;
        close_vault();
        MARIADB_CHECK(copies_vault_list(dir, &logs, &n, &check_e));
        PATH_OF(words, "f=%s; %s", logs[n - 1].path, deaths[i]);
        const char *const die[] = {"sh", "-c", words, NULL};
        mariadb_check_run(die);
        free(logs);
        mariadb_exec(c, "UPDATE shop.orders SET note = CONCAT(note, 'y') WHERE id < 10");
        follow(86400000, 0);
        caught_up();
        expect_logs(1, 3);
    }
}

static void test_source_dies_and_comes_back(void **state)
{
    sql_close(c);
    mariadb_stop(&m, SIGKILL);
    mariadb_run(&m);
    c = mariadb_open(&m);
    mariadb_exec(c, "UPDATE shop.orders SET note = 'back' WHERE id = 3");
    caught_up();
    expect_logs(1, 4);
}

/* Not until the server has noticed that nobody reads the old ones any more. */
static void purge_to(const char *log)
{
    for (uint64_t until = clock_boot_ms() + MARIADB_PATIENCE_MS;;) {
        struct sql_binlog *logs = NULL;
        size_t n = 0;
        MARIADB_CHECK(sql_purge_to(c, log, &check_e));
        MARIADB_CHECK(sql_binlogs(c, &logs, &n, &check_e));
        bool done = n && str_eq(logs[0].name, log);
        free(logs);
        if (done)
            return;
        assert_true(clock_boot_ms() < until);
        poll(NULL, 0, 100);
    }
}

static void test_a_gap_is_shown(void **state)
{
    struct copies_log *logs;
    size_t n;
    close_vault();
    mariadb_exec(c, "FLUSH BINARY LOGS");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'not seen' WHERE id = 4");
    mariadb_exec(c, "FLUSH BINARY LOGS");
    purge_to("bin.000006");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'seen' WHERE id = 5");
    follow(86400000, 0);
    caught_up();
    MARIADB_CHECK(copies_vault_list(dir, &logs, &n, &check_e));
    json_t *gaps = copies_gaps(logs, n);
    assert_int_equal(json_array_size(gaps), 1);
    json_decref(gaps);
    assert_non_null(strstr(logs[n - 1].path, "bin.000006"));
    free(logs);
}

/* A server that was seeded anew counts its logs from the first again. */
static void test_logs_of_a_new_life(void **state)
{
    struct copies_log *logs;
    size_t n;
    uint64_t second = (uint64_t)clock_wall_ms() / 1000;
    while ((uint64_t)clock_wall_ms() / 1000 == second)
        uv_run(&loop, UV_RUN_ONCE);
    mariadb_exec(c, "RESET MASTER");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'new life' WHERE id = 6");
    mariadb_exec(c, "FLUSH BINARY LOGS");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'goes on' WHERE id = 6");
    caught_up();
    MARIADB_CHECK(copies_vault_list(dir, &logs, &n, &check_e));
    assert_non_null(strstr(logs[n - 2].path, "bin.000001.zst"));
    expect_equal(&logs[n - 1], "bin.000002");
    free(logs);
}

static void test_limits(void **state)
{
    struct copies_log *logs;
    size_t n;
    close_vault();
    follow(86400000, 1); /* one byte: nothing that is packed may stay */
    caught_up();
    MARIADB_CHECK(copies_vault_list(dir, &logs, &n, &check_e));
    assert_int_equal(n, 1);
    assert_false(logs[0].packed);
    free(logs);
    json_t *j = vault_json(v);
    assert_true(json_opt_bool(j, "short", false));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_resumes_where_it_is_whole),
        cmocka_unit_test(test_source_dies_and_comes_back),
        cmocka_unit_test(test_a_gap_is_shown),
        cmocka_unit_test(test_logs_of_a_new_life),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
