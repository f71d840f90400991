/* SPDX-License-Identifier: Apache-2.0 */
/* Real layouts in a temporary folder: imported, unpacked, collected. As root: layers hold owners and devices. */
#include "test.h"

#include "base/file/file.h"
#include "driver/image/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

struct item {
    const char *path;
    unsigned type; /* AE_IF..., 0: a hard link */
    const char *data;
    unsigned uid;
};

static char dir[] = "/tmp/mcp-image-XXXXXX";
static char *layout, *store;

static int set_up(void **state)
{
    layout = xasprintf("%s/layout", dir);
    store = xasprintf("%s/store", dir);
    return 0;
}

static void reset(void)
{
    struct err e;
    assert_true(file_remove_tree(layout, &e) >= 0 && file_remove_tree(store, &e) >= 0);
    char *blobs = xasprintf("%s/blobs/sha256", layout);
    assert_true(file_mkdirs(blobs, 0755, &e) >= 0);
    free(blobs);
}

static void put(const void *data, size_t len, char digest[DIGEST_SIZE])
{
    struct err e = {0};
    digest_mem(data, len, digest);
    char *path = xasprintf("%s/blobs/sha256/%s", layout, digest + 7);
    assert_true(file_write(path, data, len, 0644, &e) >= 0);
    free(path);
}

static size_t tar_of(const struct item *items, size_t n, void *buf, size_t size, int filter)
{
    size_t used = 0;
    setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive's writer needs it; what we test runs without */
    struct archive *a = archive_write_new();
    archive_write_set_format_pax(a);
    if (filter)
        archive_write_add_filter(a, filter);
    archive_write_set_bytes_in_last_block(a, 1);
    assert_int_equal(archive_write_open_memory(a, buf, size, &used), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *en = archive_entry_new();
        archive_entry_set_pathname_utf8(en, items[i].path);
        archive_entry_set_uid(en, items[i].uid);
        archive_entry_set_perm(en, 0750);
        bool file = items[i].type == AE_IFREG;
        if (items[i].type)
            archive_entry_set_filetype(en, items[i].type);
        if (items[i].type == AE_IFLNK)
            archive_entry_set_symlink(en, items[i].data);
        if (!items[i].type) {
            archive_entry_set_filetype(en, AE_IFREG);
            archive_entry_set_hardlink(en, items[i].data);
        }
        archive_entry_set_size(en, file ? (la_int64_t)strlen(items[i].data) : 0);
        assert_true(archive_write_header(a, en) >= ARCHIVE_WARN);
        if (file)
            archive_write_data(a, items[i].data, strlen(items[i].data));
        archive_entry_free(en);
    }
    archive_write_free(a);
    setlocale(LC_CTYPE, "C");
    return used;
}

static void make_image(const struct item *items, size_t n, int filter, const char *false_diff_id)
{
    static char raw[1 << 20], packed[1 << 20];
    const char *media = filter == ARCHIVE_FILTER_GZIP   ? "tar+gzip"
                        : filter == ARCHIVE_FILTER_ZSTD ? "tar+zstd"
                                                        : "tar";
    char diff_id[DIGEST_SIZE], blob[DIGEST_SIZE], digest[DIGEST_SIZE];
    reset();
    size_t raw_len = tar_of(items, n, raw, sizeof raw, 0);
    size_t len = tar_of(items, n, packed, sizeof packed, filter);
    digest_mem(raw, raw_len, diff_id);
    put(packed, len, blob);
    char *config = xasprintf("{\"config\":{\"Cmd\":[\"/x\"]},\"rootfs\":{\"diff_ids\":[\"%s\"]}}",
        false_diff_id ? false_diff_id : diff_id);
    put(config, strlen(config), digest);
    char *manifest = xasprintf(
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
        "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
        "\"application/vnd.oci.image.layer.v1.%s\",\"digest\":\"%s\",\"size\":%zu}]}",
        digest, strlen(config), media, blob, len);
    put(manifest, strlen(manifest), digest);
    char *index = xasprintf(
        "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
        "\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu}]}",
        digest, strlen(manifest));
    char *path = xasprintf("%s/index.json", layout);
    struct err e = {0};
    assert_true(file_write(path, index, strlen(index), 0644, &e) >= 0);
    free(config);
    free(manifest);
    free(index);
    free(path);
}

static int open_it(const struct image_limits *limits, struct image **ret, struct err *e)
{
    char digest[DIGEST_SIZE];
    int r = image_import(store, layout, NULL, digest, e);
    return r < 0 ? r : image_open(store, digest, limits, ret, e);
}

static size_t count_layers(void)
{
    char *cmd = xasprintf("%s/layers", store);
    size_t n = 0;
    struct stat st;
    if (stat(cmd, &st) == 0)
        n = st.st_nlink - 2;
    free(cmd);
    return n;
}

static const struct image_limits limits = {.layer_bytes = 1 << 20, .layer_entries = 100};

static void test_import_and_unpack(void **state)
{
    static const struct item items[] = {{"./", AE_IFDIR, NULL, 0},
        {"etc/passwd", AE_IFREG, "root:x:0:0::/:\n", 7}, {"bin/한글", AE_IFREG, "x", 0},
        {"bin/link", AE_IFLNK, "/etc/passwd", 0}, {"bin/hard", 0, "etc/passwd", 7},
        {"dev/null", AE_IFCHR, NULL, 0}, {"gone/.wh.file", AE_IFREG, "", 0},
        {"full/.wh..wh..opq", AE_IFREG, "", 0}};
    static const int filters[] = {0, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD};
    for (size_t f = 0; f < ARRAY_SIZE(filters); f++) {
        struct image *img = NULL;
        struct err e = {0};
        make_image(items, ARRAY_SIZE(items), filters[f], NULL);
        if (open_it(&limits, &img, &e) < 0)
            fail_msg("%s", e.message);
        struct stat st;
        struct str text = STR_INIT;
        assert_true(image_read_file(img, "etc/passwd", 100, &text, &e) >= 0);
        assert_string_equal(text.buf, "root:x:0:0::/:\n");
        str_clear(&text);
        assert_true(
            image_read_file(img, "bin/link", 100, &text, &e) >= 0); /* inside the image's root */
        str_done(&text);
        char *at = xasprintf("%s/etc/passwd", img->layers[0]);
        assert_int_equal(stat(at, &st), 0);
        assert_int_equal(st.st_uid, 7);
        assert_int_equal(st.st_nlink, 2);
        free(at);
        at = xasprintf("%s/gone/file", img->layers[0]);
        assert_int_equal(lstat(at, &st), 0);
        assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
        free(at);
        at = xasprintf("%s/full", img->layers[0]);
        char value[4] = "";
        assert_int_equal(getxattr(at, "trusted.overlay.opaque", value, sizeof value), 1);
        free(at);
        at = xasprintf("%s/dev/null", img->layers[0]);
        assert_int_equal(lstat(at, &st), -1);
        free(at);
        image_free(img);
        assert_true(open_it(&limits, &img, &e) >= 0); /* again: nothing to do */
        image_free(img);
    }
}

static void test_refusals_leave_no_layer(void **state)
{
    static const struct {
        const char *name;
        struct item items[3];
        size_t n;
        int code;
    } rows[] = {
        {"..", {{"a/../../x", AE_IFREG, "x", 0}}, 1, ERR_INVALID},
        {"through a link", {{"a", AE_IFLNK, "/tmp", 0}, {"a/x", AE_IFREG, "x", 0}}, 2, ERR_INVALID},
        {"through a relative link", {{"a", AE_IFLNK, "../../..", 0}, {"a/x", AE_IFREG, "x", 0}}, 2,
            ERR_INVALID},
        {"hard link out", {{"a", 0, "../../../etc/passwd", 0}}, 1, ERR_INVALID},
        {"hard link through a link", {{"l", AE_IFLNK, "/etc", 0}, {"a", 0, "l/passwd", 0}}, 2,
            ERR_INVALID},
        {"owner out of range", {{"a", AE_IFREG, "x", 70000}}, 1, ERR_LIMIT},
        {"whiteout of nothing", {{".wh.", AE_IFREG, "", 0}}, 1, ERR_INVALID},
        {"whiteout of the folder above", {{"a/.wh...", AE_IFREG, "", 0}}, 1, ERR_INVALID},
        {"under a file", {{"a", AE_IFREG, "x", 0}, {"a/b", AE_IFREG, "x", 0}}, 2, ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct image *img = NULL;
        struct err e = {0};
        make_image(rows[i].items, rows[i].n, ARCHIVE_FILTER_GZIP, NULL);
        int r = open_it(&limits, &img, &e);
        if (r != rows[i].code)
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
        assert_int_equal(count_layers(), 0);
    }
}

static void test_limits(void **state)
{
    static const struct item items[] = {
        {"a", AE_IFREG, "0123456789", 0}, {"b", AE_IFREG, "0123456789", 0}};
    struct image *img = NULL;
    struct err e = {0};
    make_image(items, 2, 0, NULL);
    assert_int_equal(
        open_it(&(struct image_limits){.layer_bytes = 19, .layer_entries = 9}, &img, &e),
        ERR_LIMIT);
    assert_int_equal(
        open_it(&(struct image_limits){.layer_bytes = 99, .layer_entries = 1}, &img, &e),
        ERR_LIMIT);
    assert_int_equal(count_layers(), 0);
    assert_true(
        open_it(&(struct image_limits){.layer_bytes = 20, .layer_entries = 2}, &img, &e) >= 0);
    image_free(img);
}

static void test_digests_are_checked(void **state)
{
    static const struct item items[] = {{"a", AE_IFREG, "x", 0}};
    struct image *img = NULL;
    struct err e = {0};
    make_image(
        items, 1, 0, "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc");
    assert_int_equal(open_it(&limits, &img, &e), ERR_INVALID);
    assert_int_equal(count_layers(), 0);
    make_image(items, 1, 0, NULL);
    char digest[DIGEST_SIZE], *path;
    assert_int_equal(image_resolve(layout, NULL, digest, &e), 0);
    path = xasprintf("%s/blobs/sha256/%s", layout, digest + 7);
    assert_true(file_write(path, "{}", 2, 0644, &e) >= 0);
    assert_int_equal(image_import(store, layout, NULL, digest, &e), ERR_INVALID);
    assert_false(image_present(store, digest));
    free(path);
}

/* A full disk is a clean error, and after room was made the same call succeeds. */
static void test_full_disk(void **state)
{
    static char big[200000];
    memset(big, 'x', sizeof big - 1);
    const struct item items[] = {{"a", AE_IFREG, big, 0}, {"b", AE_IFREG, big, 0}};
    struct image *img = NULL;
    struct err e = {0};
    make_image(items, 2, ARCHIVE_FILTER_GZIP, NULL);
    assert_true(file_mkdirs(store, 0755, &e) >= 0);
    assert_int_equal(mount("none", store, "tmpfs", 0, "size=256k"), 0);
    int r = open_it(&limits, &img, &e);
    size_t layers = count_layers();
    assert_int_equal(mount("none", store, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    struct err e2 = {0};
    int again = open_it(&limits, &img, &e2);
    if (again >= 0)
        image_free(img);
    assert_int_equal(umount2(store, MNT_DETACH), 0);
    assert_int_equal(r, ERR_SYSTEM);
    assert_non_null(strstr(e.message, "No space left"));
    assert_int_equal(layers, 0);
    assert_true(again >= 0);
}

static void test_gc(void **state)
{
    static const struct item one[] = {{"a", AE_IFREG, "1", 0}}, two[] = {{"a", AE_IFREG, "2", 0}};
    struct image *img = NULL;
    struct err e = {0};
    char first[DIGEST_SIZE], second[DIGEST_SIZE];
    struct image_gc_done done;
    make_image(one, 1, 0, NULL);
    char *kept = xasprintf("%s.kept", store);
    assert_true(open_it(&limits, &img, &e) >= 0);
    memcpy(first, img->digest, sizeof first);
    image_free(img);
    assert_int_equal(rename(store, kept), 0);
    make_image(two, 1, 0, NULL);
    assert_int_equal(rename(kept, store), 0);
    free(kept);
    assert_true(open_it(&limits, &img, &e) >= 0);
    memcpy(second, img->digest, sizeof second);
    image_free(img);
    const char *keep[] = {
        second, "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"};
    struct image_gc g = {.images = keep, .n_images = 2, .n_running = 1, .grace_s = 3600};
    assert_int_equal(image_gc(store, &g, &done, &e), 0);
    assert_int_equal(done.blobs + done.layers, 0); /* it has just come */
    g.grace_s = 0;
    g.dry_run = true;
    assert_int_equal(image_gc(store, &g, &done, &e), 0);
    assert_int_equal(done.blobs, 3);
    assert_true(image_present(store, first));
    g.dry_run = false;
    g.n_running = 2; /* and the second of them is not here: what it needs has no names */
    assert_int_equal(image_gc(store, &g, &done, &e), ERR_UNAVAILABLE);
    assert_true(image_present(store, first));
    g.n_running = 1;
    assert_int_equal(image_gc(store, &g, &done, &e), 0);
    assert_int_equal(done.blobs, 3); /* manifest, config, blob */
    assert_int_equal(done.layers, 1);
    assert_false(image_present(store, first));
    assert_true(image_open(store, second, &limits, &img, &e) >= 0);
    image_free(img);
    assert_int_equal(image_open(store, first, &limits, &img, &e), ERR_NOT_FOUND);
    assert_int_equal(image_gc("/tmp/no-such-store", &g, &done, &e), 0);
}

int main(void)
{
    if (geteuid() != 0) {
        puts("SKIP: needs root");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_and_unpack),
        cmocka_unit_test(test_refusals_leave_no_layer),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_digests_are_checked),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_gc),
    };
    struct err e;
    ASSERT(mkdtemp(dir));
    int r = cmocka_run_group_tests(tests, set_up, NULL);
    if (file_remove_tree(dir, &e) < 0)
        fprintf(stderr, "%s\n", e.message);
    free(layout);
    free(store);
    return r;
}
