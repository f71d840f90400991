/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a server, made by the real tools. */
#include "test.h"

#include "base/file/file.h"
#include "base/sandbox/sandbox.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"
#include "driver/mariadb/mariadb.h"
#include "driver/mariadb/priv.h"

#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];

static int make_root(void **state)
{
    memcpy(root, "/tmp/mcp-mariadb-XXXXXX", sizeof "/tmp/mcp-mariadb-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    struct err e;
    return file_remove_tree(root, &e);
}

static char *at(const char *name)
{
    return xasprintf("%s/%s", root, name);
}

static bool here(const char *name)
{
    _cleanup_free_ char *path = at(name);
    return file_exists(path);
}

static void put(const char *name, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *path = at(name);
    if (file_write(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", e.message);
}

static void folder(const char *name)
{
    struct err e = {0};
    _cleanup_free_ char *path = at(name);
    if (file_mkdirs(path, 0700, &e) < 0)
        fail_msg("%s", e.message);
}

static void assert_text(const char *name, const char *expect)
{
    struct err e = {0};
    _cleanup_free_ char *path = at(name);
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, 4096, &text, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(str_cstr(&text), expect);
}

static int prepare(const char *config, const char *cert, struct err *e)
{
    _cleanup_free_ char *dir = at("db");
    _cleanup_free_ char *templates = at(".templates");
    struct mariadb_files f = {
        .dir = dir, .templates = templates, .config = config, .ca = cert, .cert = cert, .key = cert};
    return mariadb_prepare(&f, e);
}

static void prepare_ok(const char *config)
{
    struct err e = {0};
    if (prepare(config, "pem", &e) < 0)
        fail_msg("%s", e.message);
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    _cleanup_free_ char *path = at(name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

/* A stand-in for what the tool makes: a test of files needs no server. */
static void fake_data(void)
{
    folder("db/data/mysql");
    put("db/data/ibdata1", "one");
}

static void test_files(void **state)
{
    struct err e = {0};
    fake_data();
    assert_int_equal(prepare("a\n", NULL, &e), ERR_UNAVAILABLE); /* no certificate, and none there */
    prepare_ok("a\n");
    put("db/run/db.sock", "");
    put("db/run/db.pid", "1");
    prepare_ok("b\n");
    assert_text("db/my.cnf", "b\n");
    assert_text("db/data/ibdata1", "one"); /* never touched */
    assert_text("db/tls/key.pem", "pem");
    assert_false(here("db/run/db.sock"));
    assert_false(here("db/run/db.pid"));
    assert_int_equal(mode_of("db"), 0711);
    assert_int_equal(mode_of("db/run"), 0755);
    assert_int_equal(mode_of("db/tls"), 0700);
    assert_int_equal(mode_of("db/tls/key.pem"), 0600);
    assert_int_equal(prepare("b\n", NULL, &e), 0); /* those that are there do */
}

static void seed(void)
{
    folder("db/seed/mysql");
    put("db/seed/ibdata1", "two");
    put("db/seed.ready", "");
}

static void assert_seeded(void)
{
    assert_text("db/data/ibdata1", "two");
    assert_text("db/before/data/ibdata1", "one");
    assert_text("db/before/binlog/binlog.000001", "old");
    assert_true(here("db/binlog") && here("db/relay"));
    assert_false(here("db/binlog/binlog.000001"));
    assert_false(here("db/seed") || here("db/seed.ready"));
}

static void start_over(void)
{
    struct err e = {0};
    _cleanup_free_ char *dir = at("db");
    assert_int_equal(file_remove_tree(dir, &e), 0);
    fake_data();
    prepare_ok("a\n");
    put("db/binlog/binlog.000001", "old");
    seed();
}

static void test_seed(void **state)
{
    start_over();
    _cleanup_free_ char *mark = at("db/seed.ready");
    assert_int_equal(unlink(mark), 0);
    prepare_ok("a\n");
    assert_text("db/data/ibdata1", "one"); /* not before it is whole */
    start_over();
    prepare_ok("a\n");
    assert_seeded();
    prepare_ok("a\n");
    assert_seeded();
}

/* Killed after each rename: the next start goes on, and nothing of the old data is lost. */
static void test_seed_in_pieces(void **state)
{
    static const char *const moves[][2] = {{"db/data", "db/before/data"},
        {"db/binlog", "db/before/binlog"}, {"db/relay", "db/before/relay"}, {"db/seed", "db/data"}};
    for (size_t done = 1; done <= ARRAY_SIZE(moves); done++) {
        start_over();
        folder("db/before");
        for (size_t i = 0; i < done; i++) {
            _cleanup_free_ char *from = at(moves[i][0]);
            _cleanup_free_ char *to = at(moves[i][1]);
            assert_int_equal(rename(from, to), 0);
        }
        prepare_ok("a\n");
        assert_seeded();
    }
}

static void test_copy(void **state)
{
    struct err e = {0};
    folder("from/a/b");
    put("from/a/b/x", "x");
    put("from/y", "");
    _cleanup_free_ char *from = at("from");
    _cleanup_free_ char *to = at("to");
    _cleanup_free_ char *other = at("other");
    _cleanup_free_ char *link = at("from/link");
    assert_int_equal(tree_copy(from, to, &e), 0);
    assert_text("to/a/b/x", "x");
    assert_true(here("to/y"));
    assert_true(tree_copy(from, to, &e) < 0); /* never into what is there */
    assert_int_equal(symlink("/etc/passwd", link), 0);
    assert_int_equal(tree_copy(from, other, &e), ERR_INVALID);
}

/* As the server's user, for its tool refuses to be root. */
static long prepare_as_mysql(void)
{
    struct timespec begun, ended;
    struct sandbox_user user = sandbox_user_of("data");
    clock_gettime(CLOCK_MONOTONIC, &begun);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        if (geteuid() == 0
            && (setgroups(0, NULL) < 0 || setresgid(user.gid, user.gid, user.gid) < 0
                || setresuid(user.uid, user.uid, user.uid) < 0))
            _exit(2);
        if (prepare("a\n", "pem", &e) >= 0)
            _exit(0);
        fprintf(stderr, "%s\n", e.message);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (ended.tv_sec - begun.tv_sec) * 1000 + (ended.tv_nsec - begun.tv_nsec) / 1000000;
}

/* With the real tool, as every first start does it: once for the version, then copies. */
static void test_template(void **state)
{
    struct err e = {0};
    struct sandbox_user user = sandbox_user_of("data");
    if (geteuid() == 0)
        assert_int_equal(chown(root, user.uid, user.gid), 0);
    long made_ms = prepare_as_mysql();
    assert_true(here("db/data/mysql") && here("db/data/ibdata1") && here("db/data/sys"));
    assert_false(here("db/data/test"));
    _cleanup_free_ char *dir = at("db");
    assert_int_equal(file_remove_tree(dir, &e), 0);
    long copied_ms = prepare_as_mysql();
    assert_true(here("db/data/ibdata1"));
    assert_false(here("db/data.new"));
    printf("a data folder made in %ld ms, copied in %ld ms\n", made_ms, copied_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_seed, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_seed_in_pieces, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_copy, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_template, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
