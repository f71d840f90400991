/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static char dir[64];

static int make_dir(void **state)
{
    str_copy(dir, sizeof dir, "/tmp/mcp-test-file-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    struct err e;
    return file_remove_tree(dir, &e);
}

static char *at(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static size_t entries(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_write_and_read(void **state)
{
    struct err e;
    struct str out = STR_INIT;
    struct stat st;
    assert_int_equal(file_write_durable(at("f"), "old", 3, 0600, &e), 0);
    assert_int_equal(file_write(at("f"), "newer", 5, 0640, &e), 0);
    assert_int_equal(stat(at("f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640); /* whatever the umask */
    str_add(&out, "> ");
    assert_int_equal(file_read(at("f"), 5, &out, &e), 0); /* exactly the limit fits; appends */
    assert_string_equal(out.buf, "> newer");
    str_clear(&out);
    assert_int_equal(file_read(at("f"), 4, &out, &e), ERR_LIMIT);
    assert_int_equal(file_read(at("none"), 4, &out, &e), ERR_NOT_FOUND);
    assert_int_equal(entries(), 1); /* no temporary file is left */
    str_done(&out);
}

/* Readers see the old or the new content: the name moves to a whole new file. */
static void test_replaced_as_a_whole(void **state)
{
    struct err e;
    char buf[8] = {0};
    assert_int_equal(file_write(at("f"), "old", 3, 0600, &e), 0);
    int fd = open(at("f"), O_RDONLY);
    assert_int_equal(file_write_durable(at("f"), "new!", 4, 0600, &e), 0);
    assert_int_equal(read(fd, buf, sizeof buf), 3);
    assert_string_equal(buf, "old");
    close(fd);
    assert_int_equal(file_write(at("no/such/f"), "x", 1, 0600, &e), ERR_NOT_FOUND);
    assert_int_equal(file_write(dir, "x", 1, 0600, &e), ERR_SYSTEM); /* a folder is not replaced */
}

static void test_full(void **state)
{
    struct err e;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(file_write_fd(fd, "x", 1, &e), ERR_SYSTEM);
    assert_non_null(strstr(e.message, "No space left"));
    close(fd);
}

static void test_mkdirs(void **state)
{
    struct err e;
    struct stat st;
    assert_int_equal(file_mkdirs(at("a/b//c/"), 0750, &e), 0);
    assert_int_equal(file_mkdirs(at("a/b/c"), 0700, &e), 0); /* twice is fine */
    assert_int_equal(stat(at("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    assert_int_equal(file_write(at("f"), "", 0, 0600, &e), 0);
    assert_int_equal(file_mkdirs(at("f"), 0755, &e), ERR_SYSTEM); /* a file is no folder */
    assert_int_equal(file_mkdirs(at("f/g"), 0755, &e), ERR_SYSTEM);
    assert_int_equal(file_mkdirs("", 0755, &e), ERR_INVALID);
}

static void test_remove_tree(void **state)
{
    struct err e;
    assert_int_equal(file_mkdirs(at("keep"), 0755, &e), 0);
    assert_int_equal(file_write(at("keep/f"), "x", 1, 0600, &e), 0);
    assert_int_equal(file_mkdirs(at("t/deep/er"), 0755, &e), 0);
    assert_int_equal(symlink(at("keep"), at("t/link")), 0);
    assert_int_equal(symlink("/nowhere", at("t/dangling")), 0);
    assert_int_equal(file_remove_tree(at("t"), &e), 0);
    assert_false(file_exists(at("t")));
    assert_true(file_exists(at("keep/f"))); /* links are not followed */
    assert_int_equal(file_remove_tree(at("t"), &e), 0);
    assert_int_equal(file_remove_tree(at("keep/f"), &e), 0);
    assert_int_equal(symlink(at("keep"), at("l")), 0);
    assert_int_equal(file_remove_tree(at("l"), &e), 0);
    assert_true(file_exists(at("keep")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_read, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_replaced_as_a_whole, make_dir, remove_dir),
        cmocka_unit_test(test_full),
        cmocka_unit_test_setup_teardown(test_mkdirs, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_remove_tree, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
