/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/model/model.h"
#include "domain/revision/revision.h"

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char declaration[] =
    "platform: demo\ndomain: example.com\n"
    "regions: {hk: {duty: main, network: 10.0.0.0/8}}\nhosts: {h: {region: hk, address: "
    "10.0.0.1}}\n"
    "modules: {api: {image: \"oci:images/api:v1\", regions: {hk: 1}}}\n";

static json_t *make(void)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(declaration, sizeof declaration - 1, "p", &m, NULL, &e) < 0)
        fail_msg("%s", e.message);
    json_t *files = json_pack("{s:s}", "images/api:v1", DIGEST_A);
    json_t *j = revision_build(m->tree, files, 7, "2026-11-23T05:30:12.345Z", "root@hk1", "why");
    json_decref(files);
    model_free(m);
    return j;
}

static void test_round_trip(void **state)
{
    json_t *j = make();
    json_object_set_new(j, "from-a-later-version", json_true());
    struct revision *r = NULL;
    struct err e = {0};
    assert_int_equal(revision_parse(j, &r, &e), 0);
    assert_int_equal(r->number, 7);
    assert_string_equal(r->by, "root@hk1");
    assert_string_equal(r->note, "why");
    assert_string_equal(r->model->modules[0].name, "api");
    assert_string_equal(
        revision_file(r->files, revision_image_key(r->model->modules[0].image)), DIGEST_A);
    assert_true(json_is_true(json_object_get(r->json, "from-a-later-version")));
    assert_string_equal(revision_image_key("docker://x"), "docker://x");
    assert_null(revision_image_key("x"));
    revision_free(r);
    json_decref(j);
}

/* One member spoiled each. */
static void test_refused(void **state)
{
    static const struct {
        const char *name, *key, *value, *message;
    } rows[] = {
        {"no format", "format", NULL, "\"format\" is missing"},
        {"a later format", "format", "2", "has format 2, this version knows 1"},
        {"number 0", "revision", "0", "\"revision\" is 0"},
        {"number as text", "revision", "\"7\"", "whole number"},
        {"no author", "by", NULL, "\"by\" is missing"},
        {"no platform", "platform", NULL, "\"platform\" is missing"},
        {"a wrong platform", "platform", "{\"platform\":\"A\"}", "revision 7: "},
        {"files is a list", "files", "[]", "\"files\" must be an object"},
        {"an image without a digest", "files", "{}", "no digest of images/api:v1"},
        {"no digest", "files", "{\"images/api:v1\":\"sha256:aa\"}", "is no digest"},
        {"an extra file that is none", "files", "{\"images/api:v1\":\"" DIGEST_A "\",\"b\":1}",
            "is no digest"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *j = make();
        if (rows[i].value)
            json_object_set_new(j, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(j, rows[i].key);
        struct revision *r = NULL;
        struct err e = {0};
        if (revision_parse(j, &r, &e) >= 0 || !strstr(e.message, rows[i].message))
            fail_msg("%s: %s", rows[i].name, e.message);
        assert_null(r);
        json_decref(j);
    }
}

/* Who applied it, when and under which number does not change what it makes of the platform. */
static void test_content_digest(void **state)
{
    json_t *a = make(), *b = make();
    char x[DIGEST_SIZE], y[DIGEST_SIZE];
    json_object_set_new(b, "revision", json_integer(9));
    json_object_set_new(b, "by", json_string("somebody"));
    revision_content_digest(json_object_get(a, "platform"), json_object_get(a, "files"), x);
    revision_content_digest(json_object_get(b, "platform"), json_object_get(b, "files"), y);
    assert_string_equal(x, y);
    json_object_set_new(json_object_get(b, "files"), "images/api:v1", json_string("sha256:other"));
    revision_content_digest(json_object_get(b, "platform"), json_object_get(b, "files"), y);
    assert_string_not_equal(x, y);
    json_decref(a);
    json_decref(b);
}

static int count(void *ctx, const char *key)
{
    ++*(int *)ctx;
    return !strcmp(key, "stop") ? ERR_FAILED : 0;
}

static void test_each_file(void **state)
{
    struct model_module modules[] = {
        {.image = "oci:a"}, {.image = "docker://b"}, {.image = "oci:c"}};
    struct model m = {.modules = modules, .n_modules = 3, .routing.geo_database = "geo.mmdb"};
    int n = 0;
    assert_int_equal(revision_each_file(&m, count, &n), 0);
    assert_int_equal(n, 4);
    m.routing.geo_database = "stop";
    n = 0;
    assert_int_equal(revision_each_file(&m, count, &n), ERR_FAILED);
    assert_int_equal(n, 1);
}

#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* One module changes, the rest and what was given stay as they were. */
static void test_edit_of_one_module(void **state)
{
    json_t *old = make();
    json_t *platform = json_object_get(old, "platform"), *files = json_object_get(old, "files");
    json_t *before = json_deep_copy(old);
    struct revision_edit edit;
    struct err e = {0};
    assert_int_equal(
        revision_edit_image(platform, files, "ap", NULL, DIGEST_B, &edit, &e), ERR_NOT_FOUND);
    assert_int_equal(
        revision_edit_image(platform, files, "api", NULL, "latest", &edit, &e), ERR_USAGE);
    assert_int_equal(
        revision_edit_image(platform, files, "api", "oci:images/new", DIGEST_B, &edit, &e), 0);
    assert_string_equal(json_opt_str(edit.files, "images/new", ""), DIGEST_B);
    assert_null(json_object_get(edit.files, "images/api:v1")); /* nobody names it any more */
    json_t *new = revision_build(edit.platform, edit.files, 8, "2026-11-23T05:30:12.345Z", "a", "");
    struct revision *r;
    assert_int_equal(revision_parse(new, &r, &e), 0);
    revision_free(r);
    assert_false(revision_module_equal(old, new, "api"));
    assert_true(json_equal(old, before));
    revision_edit_done(&edit);
    /* And back. */
    assert_int_equal(revision_edit_back(json_object_get(new, "platform"),
                         json_object_get(new, "files"), "api", old, &edit, &e),
        0);
    assert_true(json_equal(edit.platform, platform) && json_equal(edit.files, files));
    revision_edit_done(&edit);
    json_decref(new);
    json_decref(before);
    json_decref(old);
}

static void test_an_image_of_two_modules_changes_for_none_alone(void **state)
{
    json_t *platform = json_loads("{\"modules\": {\"a\": {\"image\": \"oci:x\"}, "
                                  "\"b\": {\"image\": \"oci:x\"}}}",
        0, NULL);
    json_t *files = json_pack("{s:s}", "x", DIGEST_A);
    struct revision_edit edit;
    struct err e = {0};
    assert_int_equal(
        revision_edit_image(platform, files, "a", NULL, DIGEST_B, &edit, &e), ERR_REFUSED);
    assert_non_null(strstr(e.message, "module b"));
    assert_int_equal(revision_edit_image(platform, files, "a", "oci:y", DIGEST_B, &edit, &e), 0);
    assert_string_equal(json_opt_str(edit.files, "x", ""), DIGEST_A);
    revision_edit_done(&edit);
    json_decref(platform);
    json_decref(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_edit_of_one_module),
        cmocka_unit_test(test_an_image_of_two_modules_changes_for_none_alone),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_content_digest),
        cmocka_unit_test(test_each_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
