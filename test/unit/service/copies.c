/* SPDX-License-Identifier: Apache-2.0 */
/* Against a real server: what is copied, kept and taken back is what was there. */
#include "test.h"

#include "mariadb.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/copies/copies.h"

#include <poll.h>

static struct test_mariadb m;
static struct sql_conn *c;
static char work[64], vault[96], logs[112];
static struct copies_archive made;

#define PATH_OF(name, ...)                                                                         \
    char name[400];                                                                                \
    snprintf(name, sizeof name, __VA_ARGS__)

static void position(char out[COPIES_GTID_MAX])
{
    _cleanup_sql_position_ struct sql_position p = {0};
    _cleanup_str_ struct str text = STR_INIT;
    MARIADB_CHECK(sql_position(c, &p, &check_e));
    gtid_set_format(&p.binlog, &text);
    str_copy(out, COPIES_GTID_MAX, str_cstr(&text));
}

/* The vault gets the logs as a follower would bring them. */
static void fill_vault(void)
{
    PATH_OF(all, "cp %s/data/bin.0* %s/", m.dir, logs);
    mariadb_exec(c, "FLUSH BINARY LOGS");
    const char *const copy[] = {"sh", "-c", all, NULL};
    mariadb_check_run(copy);
}

static int begin(void **state)
{
    str_copy(work, sizeof work, "/tmp/mcp-copies-XXXXXX");
    assert_non_null(mkdtemp(work));
    snprintf(vault, sizeof vault, "%s/vault", work);
    snprintf(logs, sizeof logs, "%s/1", vault);
    assert_int_equal(mkdir(vault, 0700), 0);
    assert_int_equal(mkdir(logs, 0700), 0);
    mariadb_start(&m, 1, NULL);
    c = mariadb_open(&m);
    mariadb_exec(c, "CREATE DATABASE shop");
    mariadb_exec(c, "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20))");
    mariadb_exec(c, "INSERT INTO shop.orders SELECT seq, 'first' FROM shop.seq_1_to_1000");
    return 0;
}

static int end(void **state)
{
    struct err e;
    sql_close(c);
    mariadb_end(&m);
    return file_remove_tree(work, &e);
}

static struct copies_source source(char *data, size_t size)
{
    snprintf(data, size, "%s/data", m.dir);
    return (struct copies_source){.socket = m.socket, .user = "root", .data_dir = data};
}

static void test_an_archive_says_how_far_it_goes(void **state)
{
    char data[160], now[COPIES_GTID_MAX];
    const struct copies_source s = source(data, sizeof data);
    PATH_OF(path, "%s/one.xb.zst", work);
    struct copies_archive read;
    position(now);
    MARIADB_CHECK(copies_make(&s, path, work, NULL, &made, &check_e));
    assert_string_equal(made.gtid, now);
    assert_true(made.bytes > 10000 && made.ended_ms >= made.begun_ms);
    MARIADB_CHECK(copies_manifest_read(path, &read, &check_e));
    assert_string_equal(read.gtid, now);
    MARIADB_CHECK(copies_check(path, NULL, &check_e));
}

static void test_nothing_is_left_of_one_that_fails(void **state)
{
    struct err e;
    struct copies_archive a;
    struct copies_source s = {.socket = "/nowhere", .user = "root", .data_dir = "/nowhere"};
    PATH_OF(path, "%s/none.xb.zst", work);
    PATH_OF(part, "%s/none.xb.zst.part", work);
    assert_true(copies_make(&s, path, work, NULL, &a, &e) < 0);
    assert_non_null(strstr(e.message, "mariadb-backup"));
    assert_false(file_exists(path) || file_exists(part));
}

static void test_damage_is_seen(void **state)
{
    struct err e;
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(bad, "%s/bad.xb.zst", work);
    PATH_OF(words, "cp %s %s && cp %s.json %s.json && printf x | dd of=%s bs=1 seek=5000 conv=notrunc",
        path, bad, path, bad, bad);
    const char *const spoil[] = {"sh", "-c", words, NULL};
    mariadb_check_run(spoil);
    assert_int_equal(copies_check(bad, NULL, &e), ERR_INVALID);
}

static void count(const char *dir, const char *query, const char *expected)
{
    /* read back by a server on the restored directory */
    struct test_mariadb back = {.id = 9};
    snprintf(back.dir, sizeof back.dir, "%s", dir);
    snprintf(back.socket, sizeof back.socket, "%s/socket", dir);
    mariadb_address(&back);
    mariadb_write_config(&back, NULL);
    const char *const own[] = {"chown", "-R", "mysql:", dir, NULL};
    PATH_OF(open_up, "%s", work);
    mariadb_check_run(own);
    assert_int_equal(chmod(open_up, 0711), 0);
    mariadb_run(&back);
    struct sql_conn *b = mariadb_open(&back);
    _cleanup_str_ struct str value = STR_INIT;
    MARIADB_CHECK(sql_value(b, query, &value, &check_e));
    assert_string_equal(str_cstr(&value), expected);
    sql_close(b);
    mariadb_stop(&back, SIGKILL);
}

static char at_2000[COPIES_GTID_MAX];
static int64_t accident_s;

static int try_restore(const char *archive, const char *dir, const struct copies_stop_at *at,
    char gtid[COPIES_GTID_MAX], struct err *e)
{
    static struct copies_restored done;
    const struct copies_order o = {
        .archive = archive, .vault = vault, .dir = dir, .at = at, .prove = true};
    int r = copies_restore(&o, NULL, &done, e);
    str_copy(gtid, COPIES_GTID_MAX, done.gtid);
    if (r >= 0)
        assert_string_equal(json_opt_str(json_array_get(done.tables, 0), "table", ""), "orders");
    json_decref(done.tables);
    return r;
}

static void restore(const char *archive, const char *dir, const struct copies_stop_at *at,
    char gtid[COPIES_GTID_MAX])
{
    MARIADB_CHECK(try_restore(archive, dir, at, gtid, &check_e));
}

static void test_back_to_a_transaction(void **state)
{
    char gtid[COPIES_GTID_MAX];
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(dir, "%s/r1", work);
    mariadb_exec(c, "INSERT INTO shop.orders SELECT seq, 'second' FROM shop.seq_1001_to_2000");
    mariadb_exec(c, "FLUSH BINARY LOGS"); /* the way leads over several files */
    mariadb_exec(c, "SET gtid_domain_id = 7"); /* as of another source before */
    mariadb_exec(c, "CREATE TABLE shop.other (id INT PRIMARY KEY)");
    mariadb_exec(c, "INSERT INTO shop.other VALUES (1)");
    mariadb_exec(c, "SET gtid_domain_id = 1");
    mariadb_exec(c, "UPDATE shop.orders SET note = 'third' WHERE id = 7");
    position(at_2000);
    accident_s = clock_wall_ms() / 1000 + 1;
    while (clock_wall_ms() / 1000 < accident_s)
        poll(NULL, 0, 20);
    mariadb_exec(c, "DELETE FROM shop.orders"); /* the accident */
    fill_vault();
    const struct copies_stop_at at = {.gtid = at_2000};
    restore(path, dir, &at, gtid);
    assert_string_equal(gtid, at_2000);
    count(dir, "SELECT CONCAT(COUNT(*), ' ', SUM(note = 'third')) FROM shop.orders", "2000 1");
}

/* Of domains that are not named, what was there at that transaction. */
static void test_one_domain_is_enough(void **state)
{
    char gtid[COPIES_GTID_MAX], own[64];
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(first, "%s/d1", work);
    PATH_OF(second, "%s/d2", work);
    snprintf(own, sizeof own, "%.*s", (int)strcspn(at_2000, ","), at_2000);
    assert_non_null(strstr(at_2000, ",7-1-2"));
    struct copies_stop_at at = {.gtid = own};
    restore(path, first, &at, gtid);
    assert_string_equal(gtid, at_2000);
    count(first, "SELECT CONCAT(SUM(note = 'third'), ' ', (SELECT COUNT(*) FROM shop.other)) FROM shop.orders",
        "1 1");
    at.gtid = "7-1-1";
    restore(path, second, &at, gtid);
    assert_non_null(strstr(gtid, "7-1-1"));
    count(second, "SELECT CONCAT(COUNT(*), ' ', SUM(note = 'third'), ' ', (SELECT COUNT(*) FROM shop.other)) "
                  "FROM shop.orders", "2000 0 0");
}

static void test_to_the_end(void **state)
{
    char gtid[COPIES_GTID_MAX], now[COPIES_GTID_MAX];
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(dir, "%s/r2", work);
    position(now);
    restore(path, dir, NULL, gtid);
    assert_string_equal(gtid, now);
    count(dir, "SELECT COUNT(*) FROM shop.orders", "0");
}

static void test_what_the_vault_does_not_reach_is_refused(void **state)
{
    char gtid[COPIES_GTID_MAX];
    struct err e;
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(dir, "%s/r3", work);
    const struct copies_stop_at at = {.gtid = "1-1-999999"};
    assert_int_equal(try_restore(path, dir, &at, gtid, &e), ERR_NOT_FOUND);
    assert_false(file_exists(dir));
}

static void test_back_to_a_second(void **state)
{
    char gtid[COPIES_GTID_MAX];
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(dir, "%s/r4", work);
    const struct copies_stop_at at = {.time_s = accident_s};
    restore(path, dir, &at, gtid);
    assert_string_equal(gtid, at_2000);
    count(dir, "SELECT COUNT(*) FROM shop.orders", "2000");
    struct err e;
    PATH_OF(none, "%s/r5", work);
    const struct copies_stop_at before = {.time_s = 1000}, after = {.time_s = accident_s + 3600};
    assert_int_equal(try_restore(path, none, &before, gtid, &e), ERR_REFUSED);
    assert_int_equal(try_restore(path, none, &after, gtid, &e), ERR_NOT_FOUND);
}

static void test_packed_logs_are_as_good(void **state)
{
    char gtid[COPIES_GTID_MAX];
    struct err e;
    struct copies_log *before = NULL, *v = NULL;
    size_t n = 0, n_before = 0;
    PATH_OF(path, "%s/one.xb.zst", work);
    PATH_OF(dir, "%s/r6", work);
    MARIADB_CHECK(copies_vault_list(vault, &before, &n_before, &check_e));
    for (size_t i = 0; i < n_before; i++)
        MARIADB_CHECK(copies_log_pack(before[i].path, NULL, &check_e));
    MARIADB_CHECK(copies_vault_list(vault, &v, &n, &check_e));
    assert_int_equal(n, n_before);
    for (size_t i = 0; i < n; i++) {
        assert_true(v[i].packed && v[i].stored < before[i].bytes);
        assert_int_equal(v[i].bytes, before[i].bytes);
        assert_string_equal(v[i].from, before[i].from);
        assert_string_equal(v[i].to, before[i].to);
        assert_false(file_exists(before[i].path));
    }
    json_t *gaps = copies_gaps(v, n);
    assert_int_equal(json_array_size(gaps), 0);
    json_decref(gaps);
    const struct copies_stop_at at = {.gtid = at_2000};
    restore(path, dir, &at, gtid);
    assert_string_equal(gtid, at_2000);
    /* one byte of one of them */
    PATH_OF(spoil, "printf x | dd of=%s bs=1 seek=60 conv=notrunc 2>/dev/null", v[0].path);
    const char *const words[] = {"sh", "-c", spoil, NULL};
    mariadb_check_run(words);
    PATH_OF(none, "%s/r7", work);
    assert_int_equal(try_restore(path, none, &at, gtid, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, v[0].path));
    assert_false(file_exists(none));
    /* and one that is not there at all is a gap */
    assert_int_equal(unlink(v[0].path), 0);
    free(v);
    MARIADB_CHECK(copies_vault_list(vault, &v, &n, &check_e));
    assert_int_equal(n, n_before - 1);
    assert_int_equal(try_restore(path, none, &at, gtid, &e), ERR_NOT_FOUND);
    free(v);
    free(before);
}

static void test_a_folder_of_backups(void **state)
{
    char data[160];
    const struct copies_source s = source(data, sizeof data);
    const struct copies_place p = {.directory = work, .database = "shop", .host = "h1", .keep_ms = 1};
    struct copies_part part = {0};
    struct copies_backup one, two, found, *v = NULL;
    struct err e;
    size_t n = 0;
    MARIADB_CHECK(copies_store_list(&p, &v, &n, &check_e));
    assert_int_equal(n, 0);
    free(v);
    MARIADB_CHECK(copies_store_make(&p, &s, &part, NULL, &one, &check_e));
    assert_true(str_starts(part.path, one.path) && atomic_load(&part.named));
    PATH_OF(rest, "%s/shop/shop-20200101T000000Z-h1.xb.zst.part", work);
    MARIADB_CHECK(file_write(rest, "x", 1, 0600, &check_e)); /* of one that was killed */
    while (clock_wall_ms() / 1000 * 1000 <= one.begun_ms)
        poll(NULL, 0, 20);
    MARIADB_CHECK(copies_store_make(&p, &s, &part, NULL, &two, &check_e));
    assert_false(file_exists(rest));
    MARIADB_CHECK(copies_store_list(&p, &v, &n, &check_e));
    assert_int_equal(n, 1); /* the older one was over its time */
    assert_string_equal(v[0].id, two.id);
    assert_true(v[0].whole);
    free(v);
    const struct copies_source none = {.socket = "/nowhere", .user = "root", .data_dir = "/nowhere"};
    assert_true(copies_store_make(&p, &none, &part, NULL, &one, &e) < 0);
    MARIADB_CHECK(copies_store_find(&p, two.id, &found, &check_e));
    MARIADB_CHECK(copies_check(found.path, NULL, &check_e));
    assert_int_equal(truncate(found.path, 5000), 0);
    MARIADB_CHECK(copies_store_find(&p, two.id, &found, &check_e));
    assert_false(found.whole);
    assert_int_equal(copies_store_find(&p, "shop-20200101T000000Z-h1", &found, &e), ERR_NOT_FOUND);
}

static void test_a_torn_log_is_good_up_to_there(void **state)
{
    struct copies_log *v = NULL;
    size_t n = 0;
    MARIADB_CHECK(copies_vault_list(vault, &v, &n, &check_e));
    assert_true(n >= 2);
    assert_false(v[0].torn);
    assert_string_equal(v[0].from, ""); /* the first log of a new server */
    assert_string_equal(v[1].from, v[0].to);
    PATH_OF(keep, "cp %s %s/kept", v[0].path, work);
    PATH_OF(put, "cp %s/kept %s", work, v[0].path);
    const char *const save[] = {"sh", "-c", keep, NULL}, *const back[] = {"sh", "-c", put, NULL};
    mariadb_check_run(save);
    assert_true(truncate(v[0].path, (off_t)v[0].bytes - 10) == 0);
    free(v);
    MARIADB_CHECK(copies_vault_list(vault, &v, &n, &check_e));
    assert_true(v[0].torn);
    assert_true(v[0].whole < v[0].bytes);
    free(v);
    mariadb_check_run(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_archive_says_how_far_it_goes),
        cmocka_unit_test(test_nothing_is_left_of_one_that_fails),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_back_to_a_transaction),
        cmocka_unit_test(test_one_domain_is_enough),
        cmocka_unit_test(test_to_the_end),
        cmocka_unit_test(test_what_the_vault_does_not_reach_is_refused),
        cmocka_unit_test(test_a_torn_log_is_good_up_to_there),
        cmocka_unit_test(test_back_to_a_second),
        cmocka_unit_test(test_a_folder_of_backups),
        cmocka_unit_test(test_packed_logs_are_as_good),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
