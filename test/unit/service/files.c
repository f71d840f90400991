/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/digest/digest.h"
#include "base/file/file.h"
#include "base/problems/problems.h"
#include "domain/model/model.h"
#include "service/files/files.h"

#define MANIFEST "application/vnd.oci.image.manifest.v1+json"

static char dir[64];

static int make_dir(void **state)
{
    str_copy(dir, sizeof dir, "/tmp/mcp-test-files-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    struct err e;
    return file_remove_tree(dir, &e);
}

static void put(const char *content, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void put(const char *content, const char *fmt, ...)
{
    char name[200];
    struct err e;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    char *path = xasprintf("%s/%s", dir, name), *parent = xstrdup(path);
    *strrchr(parent, '/') = '\0';
    if (file_mkdirs(parent, 0755, &e) < 0
        || file_write(path, content, strlen(content), 0644, &e) < 0)
        fail_msg("%s", e.message);
    free(parent);
    free(path);
}

/* A layout with one manifest for each "tag\0"; "" is untagged. */
static void put_layout(
    const char *name, const char *const *tags, size_t n, char digest[DIGEST_SIZE])
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char *manifest = xasprintf("{\"of\":\"%s %s\"}", name, tags[i]);
        digest_mem(manifest, strlen(manifest), digest);
        put(manifest, "%s/blobs/sha256/%s", name, digest + 7);
        json_t *one =
            json_pack("{s:s,s:s,s:i}", "mediaType", MANIFEST, "digest", digest, "size", 1);
        if (*tags[i])
            json_object_set_new(one, "annotations",
                json_pack("{s:s}", "org.opencontainers.image.ref.name", tags[i]));
        json_array_append_new(list, one);
        free(manifest);
    }
    json_t *index = json_pack("{s:i,s:o}", "schemaVersion", 2, "manifests", list);
    char *text = json_text(index);
    put(text, "%s/index.json", name);
    free(text);
    json_decref(index);
}

static void test_images(void **state)
{
    char untagged[DIGEST_SIZE], last[DIGEST_SIZE], found[DIGEST_SIZE];
    put_layout("images/one", (const char *[]){""}, 1, untagged);
    put_layout("images/two", (const char *[]){"v1", "v2"}, 2, last);
    put_layout("images/none", NULL, 0, found);
    put_layout("images/same", (const char *[]){"v1", "v1"}, 2, found);
    put_layout("a:b/c", (const char *[]){"x"}, 1, found); /* a colon in front of the last slash */
    static const struct {
        const char *key, *message; /* NULL: found */
    } rows[] = {
        {"images/one", NULL},
        {"images/two:v2", NULL},
        {"a:b/c", NULL},
        {"a:b/c:x", NULL},
        {"images/two", "it holds 2 images: name one"},
        {"images/two:v3", "none of its 2 images has the tag \"v3\""},
        {"images/one:v1", "none of its 1 images"},
        {"images/none", "it holds no image"},
        {"images/same:v1", "2 images have the tag"},
        {"images/else", "no OCI image layout at"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        int r = files_image_digest(dir, rows[i].key, found, NULL, &e);
        if ((r >= 0) != !rows[i].message
            || (rows[i].message && !strstr(e.message, rows[i].message)))
            fail_msg("%s: %s", rows[i].key, e.message);
    }
    struct err e;
    char *layout = NULL;
    assert_int_equal(files_image_digest(dir, "images/two:v2", found, &layout, &e), 0);
    assert_string_equal(found, last);
    assert_true(str_ends(layout, "/images/two"));
    free(layout);
    assert_int_equal(files_image_digest(dir, "images/one", found, NULL, &e), 0);
    assert_string_equal(found, untagged);
}

/* What lies there must be what the index says. */
static void test_spoiled_layouts(void **state)
{
    char digest[DIGEST_SIZE];
    struct err e = {0};
    put_layout("changed", (const char *[]){""}, 1, digest);
    put("{\"of\":\"somebody else\"}", "changed/blobs/sha256/%s", digest + 7);
    assert_int_equal(files_image_digest(dir, "changed", digest, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "does not have the content"));
    put("{\"manifests\":[{\"digest\":\"sha256:../../../etc/passwd\"}]}", "escape/index.json");
    assert_int_equal(files_image_digest(dir, "escape", digest, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "not sha256"));
    put("{\"manifests\":[{\"mediaType\":\"application/"
        "vnd.oci.image.index.v1+json\",\"digest\":\"sha256:"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}",
        "many/index.json");
    assert_int_equal(files_image_digest(dir, "many", digest, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.fix, "override-arch"));
    put("{", "broken/index.json");
    assert_int_equal(files_image_digest(dir, "broken", digest, NULL, &e), ERR_INVALID);
    put_layout("lost", (const char *[]){""}, 1, digest);
    char *blob = xasprintf("%s/lost/blobs/sha256/%s", dir, digest + 7);
    unlink(blob);
    free(blob);
    assert_int_equal(files_image_digest(dir, "lost", digest, NULL, &e), ERR_NOT_FOUND);
}

#define HEAD                                                                                       \
    "platform: a\ndomain: b.c\n"                                                                   \
    "regions: {x: {duty: main, network: 10.0.0.0/8}}\nhosts: {h: {region: x, address: "            \
    "10.0.0.1}}\n"

static void test_resolve(void **state)
{
    static const char text[] = HEAD "routing: {geo: {database: geo.mmdb}}\n"
                                    "modules:\n"
                                    "  m: {image: oci:images/m, regions: {x: 1}}\n"
                                    "  n: {image: oci:images/m, regions: {x: 1}}\n"
                                    "  o: {image: oci:images/o, regions: {x: 1}}\n"
                                    "data: {t: {source: x, schema: t.sql}}\n";
    struct model *m = NULL;
    struct problems p;
    struct err e;
    json_t *files = NULL;
    char digest[DIGEST_SIZE];
    assert_int_equal(model_parse(text, sizeof text - 1, "p", &m, NULL, &e), 0);
    problems_init(&p, "p");
    assert_int_equal(files_resolve(m, dir, text, sizeof text - 1, &files, &p), ERR_NOT_FOUND);
    problems_sort(&p);
    assert_int_equal(p.total, 4); /* the image that two modules share is told once */
    assert_int_equal(p.v[0].line, 5);
    assert_int_equal(p.v[0].column, 27);
    assert_int_equal(p.v[1].line, 7);
    assert_int_equal(p.v[1].column, 14);
    assert_non_null(strstr(p.v[1].message, "modules.m: no OCI image layout at"));
    assert_non_null(strstr(p.v[1].fix, "build-images.sh"));
    assert_int_equal(p.v[2].line, 9);
    assert_int_equal(p.v[3].line, 10);
    assert_int_equal(p.v[3].column, 31);
    assert_non_null(strstr(p.v[3].message, "data.t.schema: "));
    assert_null(files);
    problems_done(&p);
    put_layout("images/m", (const char *[]){""}, 1, digest);
    put_layout("images/o", (const char *[]){"latest"}, 1, digest);
    put("database", "geo.mmdb");
    put("create", "t.sql");
    problems_init(&p, "p");
    assert_int_equal(files_resolve(m, dir, text, sizeof text - 1, &files, &p), 0);
    assert_int_equal(json_object_size(files), 4);
    assert_string_equal(json_opt_str(files, "images/o", ""), digest);
    digest_mem("database", 8, digest);
    assert_string_equal(json_opt_str(files, "geo.mmdb", ""), digest);
    json_decref(files);
    problems_done(&p);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_images, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_spoiled_layouts, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_resolve, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
