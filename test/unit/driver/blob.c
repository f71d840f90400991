/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs on their way into a store in a temporary folder. */
#include "test.h"

#include "base/file/file.h"
#include "driver/image/blob.h"

#include <fcntl.h>
#include <sys/stat.h>

static char dir[] = "/tmp/mcp-blob-XXXXXX";
static char root[64], source[64];
static char data[3 << 20];
static struct blob blob;

static void reset(void)
{
    struct err e;
    assert_true(file_remove_tree(root, &e) >= 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7 + i / 4096);
    blob = (struct blob){.kind = BULK_IMAGE, .size = sizeof data};
    digest_mem(data, sizeof data, blob.digest);
    assert_true(file_write(source, data, sizeof data, 0644, &e) >= 0);
}

static int copy(const bool *stop, int64_t *done, struct err *e)
{
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    int r = blob_copy_in(root, &blob, fd, stop, done, e);
    close(fd);
    return r;
}

static void test_copied_whole(void **state)
{
    struct err e = {0};
    int64_t size = 0, done = 0;
    reset();
    assert_false(blob_present(root, BULK_IMAGE, blob.digest, NULL));
    assert_int_equal(copy(NULL, &done, &e), 0);
    assert_true(blob_present(root, BULK_IMAGE, blob.digest, &size));
    assert_int_equal(size, sizeof data);
    assert_false(blob_present(root, BULK_FILE, blob.digest, NULL));
    assert_int_equal(blob_partial_size(root, blob.digest), 0);
}

/* What an interrupted transfer left is not sent again: the source's own start may even be wrong. */
static void test_goes_on_where_it_stopped(void **state)
{
    struct err e = {0};
    int fd;
    int64_t have;
    reset();
    assert_int_equal(blob_partial_open(root, blob.digest, &fd, &have, &e), 0);
    assert_int_equal(have, 0);
    assert_int_equal(file_write_fd(fd, data, 1 << 20, &e), 0);
    close(fd);
    assert_int_equal(blob_partial_size(root, blob.digest), 1 << 20);
    fd = open(source, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "wrong", 5, 0), 5);
    close(fd);
    assert_int_equal(copy(NULL, NULL, &e), 0);
    assert_true(blob_present(root, BULK_IMAGE, blob.digest, NULL));
}

static void test_stopped_keeps_what_came(void **state)
{
    struct err e = {0};
    bool stop = true;
    reset();
    assert_int_equal(copy(&stop, NULL, &e), ERR_CANCELED);
    stop = false;
    assert_int_equal(copy(&stop, NULL, &e), 0);
}

static void test_wrong_bytes_are_no_blob(void **state)
{
    struct err e = {0};
    reset();
    data[2 << 20]++;
    assert_true(file_write(source, data, sizeof data, 0644, &e) >= 0);
    assert_int_equal(copy(NULL, NULL, &e), ERR_INVALID);
    assert_false(blob_present(root, BULK_IMAGE, blob.digest, NULL));
    assert_int_equal(blob_partial_size(root, blob.digest), 0);
    data[2 << 20]--;
    assert_true(file_write(source, data, sizeof data, 0644, &e) >= 0);
    assert_int_equal(copy(NULL, NULL, &e), 0);
}

static void test_sizes_are_compared(void **state)
{
    struct err e = {0};
    reset();
    blob.size++;
    assert_int_equal(copy(NULL, NULL, &e), ERR_INVALID);
    blob.size -= 2;
    assert_int_equal(copy(NULL, NULL, &e), ERR_INVALID);
    blob.size = BULK_BLOB_MAX + 1;
    assert_int_equal(copy(NULL, NULL, &e), ERR_LIMIT);
    blob.size = -1;
    assert_int_equal(copy(NULL, NULL, &e), ERR_LIMIT);
}

static void test_one_writer(void **state)
{
    struct err e = {0};
    int fd, other;
    int64_t have;
    reset();
    assert_int_equal(blob_partial_open(root, blob.digest, &fd, &have, &e), 0);
    assert_int_equal(blob_partial_open(root, blob.digest, &other, &have, &e), ERR_CONFLICT);
    int passed = dup(fd); /* as a descriptor that went to another process */
    close(fd);
    assert_int_equal(blob_partial_open(root, blob.digest, &other, &have, &e), ERR_CONFLICT);
    close(passed);
    assert_int_equal(blob_partial_open(root, blob.digest, &other, &have, &e), 0);
    close(other);
}

static void test_names_that_are_no_digest(void **state)
{
    struct err e = {0};
    int fd;
    int64_t have;
    reset();
    assert_int_equal(blob_partial_open(root, "sha256:../../x", &fd, &have, &e), ERR_INVALID);
    assert_int_equal(blob_open(root, BULK_IMAGE, "../x", &fd, &e), ERR_INVALID);
    assert_false(blob_present(root, BULK_IMAGE, "x", NULL));
}

static void test_space(void **state)
{
    struct err e = {0};
    reset();
    assert_int_equal(blob_space(root, 0, &e), 0);
    assert_int_equal(blob_space(root, 1ll << 50, &e), ERR_LIMIT);
    assert_non_null(strstr(e.message, "disk is full"));
}

static void add(const char *text, char digest[DIGEST_SIZE])
{
    struct err e = {0};
    digest_mem(text, strlen(text), digest);
    char *path = xasprintf("%s/blobs/sha256/%s", root, digest + 7);
    char *at = xasprintf("%s/blobs/sha256", root);
    assert_true(file_mkdirs(at, 0755, &e) >= 0);
    assert_true(file_write(path, text, strlen(text), 0644, &e) >= 0);
    free(path);
    free(at);
}

static void test_what_an_image_needs(void **state)
{
    struct err e = {0};
    struct blobs need = {0};
    int64_t have, total;
    char manifest[DIGEST_SIZE], config[DIGEST_SIZE];
    reset();
    digest_mem("{}", 2, config);
    char *text = xasprintf(
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":"
        "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":2},\"layers\":[{"
        "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu}]}",
        config, blob.digest, sizeof data);
    digest_mem(text, strlen(text), manifest);
    assert_int_equal(image_missing(root, manifest, &need, &have, &total, &e), 0);
    assert_int_equal(need.n, 1); /* its manifest first: nothing else is known */
    blobs_done(&need);
    add(text, manifest);
    assert_int_equal(image_missing(root, manifest, &need, &have, &total, &e), 0);
    assert_int_equal(need.n, 2);
    assert_string_equal(need.v[0].digest, blob.digest);
    assert_int_equal(total, sizeof data + 2 + strlen(text));
    assert_int_equal(have, strlen(text));
    blobs_done(&need);
    add("{}", config);
    assert_int_equal(copy(NULL, NULL, &e), 0);
    assert_int_equal(image_missing(root, manifest, &need, &have, &total, &e), 0);
    assert_int_equal(need.n, 0);
    assert_int_equal(have, total);
    assert_int_equal(image_layout_blobs(root, manifest, &need, &e), 0);
    assert_int_equal(need.n, 3);
    assert_string_equal(need.v[2].digest, manifest);
    blobs_done(&need);
    free(text);
}

static int set_up(void **state)
{
    assert_non_null(mkdtemp(dir));
    snprintf(root, sizeof root, "%s/store", dir);
    snprintf(source, sizeof source, "%s/source", dir);
    return 0;
}

static int tear_down(void **state)
{
    struct err e;
    return file_remove_tree(dir, &e) < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copied_whole),
        cmocka_unit_test(test_goes_on_where_it_stopped),
        cmocka_unit_test(test_stopped_keeps_what_came),
        cmocka_unit_test(test_wrong_bytes_are_no_blob),
        cmocka_unit_test(test_sizes_are_compared),
        cmocka_unit_test(test_one_writer),
        cmocka_unit_test(test_names_that_are_no_digest),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_what_an_image_needs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
