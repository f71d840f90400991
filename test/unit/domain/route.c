/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/route/route.h"

static json_t *parse(const char *text)
{
    json_t *j;
    struct err e;
    if (json_parse(text, strlen(text), &j, &e) < 0)
        fail_msg("%s", e.message);
    return j;
}

static struct route_snapshot *snapshot(const char *text)
{
    _cleanup_json_ json_t *doc = parse(text);
    struct route_snapshot *s;
    struct err e;
    if (route_snapshot_new(doc, NULL, &s, &e) < 0)
        fail_msg("%s", e.message);
    return s;
}

static const char platform[] =
    "{\"format\":1,\"revision\":7,\"platform\":\"p\",\"region\":\"ap-seoul\",\"certificates\":["
    "{\"name\":\"any\",\"names\":[\"*.a.example\"],\"cert\":\"C\",\"key\":\"K\"},"
    "{\"name\":\"dflt\",\"names\":[\"a.example\"],\"cert\":\"C\",\"key\":\"K\",\"default\":true},"
    "{\"name\":\"one\",\"names\":[\"api.a.example\"],\"cert\":\"C\",\"key\":\"K\"}],"
    "\"routes\":[{\"name\":\"a.example\",\"path\":\"/\",\"module\":\"web\",\"auth\":\"none\"},"
    "{\"name\":\"a.example\",\"path\":\"/v1/\",\"module\":\"api\",\"auth\":\"jwt\"},"
    "{\"name\":\"a.example\",\"path\":\"/v1/admin\",\"module\":\"admin\",\"auth\":\"jwt\"},"
    "{\"name\":\"api.a.example\",\"path\":\"/v1\",\"module\":\"api\",\"auth\":\"jwt\"}],"
    "\"endpoints\":{\"web\":[{\"unit\":\"web-1\",\"address\":\"100.127.0.2\",\"port\":8080,\"ready\":true},"
    "{\"unit\":\"web-2\",\"address\":\"100.127.0.3\",\"port\":8080,\"ready\":false}],"
    "\"api\":[{\"unit\":\"api-1\",\"address\":\"100.127.0.4\",\"port\":8080,\"ready\":true}]}}";

static const struct {
    const char *name, *path;
    const char *module; /* NULL: no route */
} lookups[] = {
    {"a.example", "/", "web"},
    {"a.example", "/index.html", "web"},
    {"a.example", "/v1", "api"},
    {"a.example", "/v1/", "api"},
    {"a.example", "/v1/orders", "api"},
    {"a.example", "/v10", "web"},
    {"a.example", "/v1/admin", "admin"},
    {"a.example", "/v1/admin/x", "admin"},
    {"a.example", "/v1/administrator", "api"},
    {"api.a.example", "/v1/orders", "api"},
    {"api.a.example", "/", NULL},
    {"api.a.example", "/v", NULL},
    {"b.example", "/", NULL},
    {"a.exampl", "/", NULL},
    {"", "/", NULL},
};

static void test_lookup(void **state)
{
    struct route_snapshot *s = snapshot(platform);
    for (size_t i = 0; i < ARRAY_SIZE(lookups); i++) {
        const struct route_name *n = route_find_name(s, lookups[i].name, strlen(lookups[i].name));
        const struct route_rule *r =
            n ? route_find_rule(n, lookups[i].path, strlen(lookups[i].path)) : NULL;
        print_message("%s%s\n", lookups[i].name, lookups[i].path);
        assert_string_equal(
            r ? r->module->name : "none", lookups[i].module ? lookups[i].module : "none");
    }
    const struct route_name *n = route_find_name(s, "a.example", 9);
    assert_int_equal(route_find_rule(n, "/", 1)->module->n_endpoints, 2);
    assert_int_equal(route_find_rule(n, "/", 1)->module->n_ready, 1);
    assert_int_equal(route_find_rule(n, "/v1", 3)->auth, AUTH_JWT);
    assert_int_equal(s->n_open_jwt, 0);
    assert_false(s->identity_absent || s->serve_http);
    route_snapshot_free(s);
}

static const struct {
    const char *server_name, *certificate;
} sni[] = {
    {"a.example", "dflt"},
    {"api.a.example", "one"},
    {"API.A.example", "one"},
    {"www.a.example", "any"},
    {"x.y.a.example", "dflt"},
    {".a.example", "dflt"},
    {"other", "dflt"},
    {NULL, "dflt"},
};

/* "*" serves what has no routes of its own, also where no name is given. */
static void test_any_name(void **state)
{
    static const struct {
        const char *name, *path, *module;
    } rows[] = {
        {"a.example", "/x", "a"}, {"a.example", "/other", NULL}, {"b.example", "/", "rest"}, {"", "/", "rest"}};
    _cleanup_json_ json_t *doc = parse(
        "{\"format\": 1, \"revision\": 1, \"routes\": [{\"name\": \"*\", \"path\": \"/\", \"module\": \"rest\", \"auth\": \"none\"},"
        "{\"name\": \"a.example\", \"path\": \"/x\", \"module\": \"a\", \"auth\": \"none\"}]}");
    struct route_snapshot *s = NULL;
    struct err e = {0};
    assert_int_equal(route_snapshot_new(doc, NULL, &s, &e), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct route_name *n = route_find_name(s, rows[i].name, strlen(rows[i].name));
        const struct route_rule *r = route_find_rule(n, rows[i].path, strlen(rows[i].path));
        assert_true(!r == !rows[i].module);
        if (r)
            assert_string_equal(r->module->name, rows[i].module);
    }
    route_snapshot_free(s);
}

static void test_certificates(void **state)
{
    struct route_snapshot *s = snapshot(platform);
    for (size_t i = 0; i < ARRAY_SIZE(sni); i++)
        assert_string_equal(
            route_find_certificate(s, sni[i].server_name)->name, sni[i].certificate);
    route_snapshot_free(s);
    s = snapshot("{\"format\":1,\"revision\":1,\"routes\":[]}");
    assert_null(route_find_certificate(s, "a.example"));
    route_snapshot_free(s);
}

static void test_health(void **state)
{
    struct route_snapshot *s = snapshot(platform);
    json_t *j;
    assert_false(route_health(s, "a.example", &j)); /* admin has no instance */
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "missing"), 0)),
        "no ready instance of admin for /v1/admin");
    json_decref(j);
    assert_true(route_health(s, "api.a.example", &j));
    char *text = json_text(j);
    assert_string_equal(
        text, "{\"name\":\"api.a.example\",\"ready\":true,\"region\":\"ap-seoul\"}");
    free(text);
    json_decref(j);
    assert_false(route_health(s, "b.example", &j));
    json_decref(j);
    assert_false(route_health(NULL, "a.example", &j));
    assert_non_null(json_object_get(j, "missing"));
    json_decref(j);
    route_snapshot_free(s);
}

static void test_endpoints_replace(void **state)
{
    _cleanup_json_ json_t *doc = parse(platform);
    _cleanup_json_ json_t *endpoints = json_object();
    route_endpoints_add(endpoints, "admin", "admin-1", "2001:db8::1", 80, true, 100);
    route_endpoints_add(endpoints, "admin", "admin-2", "2001:db8::2", 80, false, 100);
    struct route_snapshot *s;
    struct err e;
    assert_int_equal(route_snapshot_new(doc, endpoints, &s, &e), 0);
    const struct route_name *n = route_find_name(s, "a.example", 9);
    const struct route_module *m = route_find_rule(n, "/v1/admin", 9)->module;
    assert_int_equal(m->n_endpoints, 2);
    assert_int_equal(m->n_ready, 1);
    assert_int_equal(m->endpoints[0].address.family, 6);
    assert_int_equal(route_find_rule(n, "/", 1)->module->n_endpoints, 0);
    route_snapshot_free(s);
}

static char *settled(const char *before, const char *awaited, bool *ret_held)
{
    _cleanup_json_ json_t *endpoints = parse(before), *others = parse(awaited);
    *ret_held = route_endpoints_settle(endpoints, others);
    return json_text(endpoints);
}

/* An instance that is to leave serves until one that stays is known to be ready. */
static void test_who_leaves_serves_until_others_do(void **state)
{
    static const struct {
        const char *name, *before, *awaited, *after;
        bool held;
    } rows[] = {
        {"others are ready",
            "{\"api\":[{\"unit\":\"a\",\"ready\":true,\"last\":true},"
            "{\"unit\":\"b\",\"ready\":true}]}",
            "{\"api\":true}", "{\"api\":[{\"ready\":true,\"unit\":\"b\"}]}", false},
        {"not heard of yet", "{\"api\":[{\"unit\":\"a\",\"ready\":true,\"last\":true}]}",
            "{\"api\":true}", "{\"api\":[{\"ready\":true,\"unit\":\"a\"}]}", true},
        {"not ready yet",
            "{\"api\":[{\"unit\":\"a\",\"ready\":true,\"last\":true},"
            "{\"unit\":\"b\",\"ready\":false}]}",
            "{\"api\":true}",
            "{\"api\":[{\"ready\":true,\"unit\":\"a\"},{\"ready\":false,\"unit\":\"b\"}]}", true},
        {"who leaves is not ready", "{\"api\":[{\"unit\":\"a\",\"ready\":false,\"last\":true}]}",
            "{\"api\":true}", "{\"api\":[]}", false},
        {"nobody comes after it", "{\"api\":[{\"unit\":\"a\",\"ready\":true,\"last\":true}]}",
            "{\"web\":true}", "{\"api\":[]}", false},
        {"nobody leaves", "{\"api\":[{\"unit\":\"a\",\"ready\":false}]}", "{\"api\":true}",
            "{\"api\":[{\"ready\":false,\"unit\":\"a\"}]}", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool held;
        print_message("%s\n", rows[i].name);
        _cleanup_free_ char *after = settled(rows[i].before, rows[i].awaited, &held);
        assert_string_equal(after, rows[i].after);
        assert_int_equal(held, rows[i].held);
    }
}

static void test_identity(void **state)
{
    struct route_snapshot *s = snapshot(
        "{\"format\":1,\"revision\":1,\"identity\":\"absent\",\"http\":\"serve\",\"routes\":["
        "{\"name\":\"a\",\"path\":\"/\",\"module\":\"m\",\"auth\":\"jwt\"}]}");
    assert_true(s->identity_absent && s->serve_http);
    assert_int_equal(s->n_open_jwt, 1);
    route_snapshot_free(s);
}

static void test_from_model(void **state)
{
    const char *yaml = "platform: demo\ndomain: a.example\n"
                       "regions: {hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}\n"
                       "hosts: {hk1: {region: hk, address: 10.20.0.11, public: true}}\n"
                       "routing: {default: [main]}\n"
                       "modules:\n"
                       "  web: {image: \"oci:images/web\", port: 80, regions: {each: 1},\n"
                       "        route: {names: [a.example, www.a.example], path: /, auth: none}}\n"
                       "  api: {image: \"oci:images/api\", port: 80, regions: {each: 1},\n"
                       "        route: {names: api.a.example, path: /v1}}\n";
    struct model *m;
    struct err e = {0};
    if (model_parse(yaml, strlen(yaml), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s", e.message);
    _cleanup_json_ json_t *doc = route_snapshot_from_model(m, &m->regions[0], 7);
    struct route_snapshot *s;
    assert_int_equal(route_snapshot_new(doc, NULL, &s, &e), 0);
    assert_int_equal(s->revision, 7);
    assert_string_equal(s->region, "hk");
    assert_int_equal(s->n_names, 3);
    /* No identity is declared, so nobody could check a token; what wants one says so. */
    assert_true(s->identity_absent);
    assert_int_equal(s->n_open_jwt, 1);
    const struct route_name *n = route_find_name(s, "api.a.example", 13);
    assert_int_equal(route_find_rule(n, "/v1", 3)->auth, AUTH_JWT);
    n = route_find_name(s, "www.a.example", 13);
    assert_int_equal(route_find_rule(n, "/", 1)->auth, AUTH_NONE);
    assert_false(s->serve_http);
    route_snapshot_free(s);
    model_free(m);
}

static const struct {
    const char *doc, *message;
} broken[] = {
    {"{}", "format"},
    {"{\"format\":2,\"revision\":1,\"routes\":[]}", "format"},
    {"{\"format\":1,\"revision\":1}", "routes"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"A\"}]}", "'A'"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a:80\"}]}", "'a:80'"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a\",\"path\":\"v1\",\"module\":\"m\",\"auth\":\"none\"}]}",
        "'v1'"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a\",\"path\":\"/\",\"module\":\"m\",\"auth\":\"maybe\"}]}",
        "maybe"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a\",\"path\":\"/v1\",\"module\":\"m\",\"auth\":\"none\"},"
     "{\"name\":\"a\",\"path\":\"/v1/\",\"module\":\"n\",\"auth\":\"none\"}]}",
        "twice"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a\",\"path\":\"/\",\"module\":\"m\",\"auth\":\"none\"}],"
     "\"endpoints\":{\"m\":[{\"unit\":\"m-1\",\"address\":\"here\",\"port\":80,\"ready\":true}]}}",
        "'here'"},
    {"{\"format\":1,\"revision\":1,\"routes\":[{\"name\":\"a\",\"path\":\"/\",\"module\":\"m\",\"auth\":\"none\"}],"
     "\"endpoints\":{\"m\":[{\"unit\":\"m-1\",\"address\":\"::1\",\"port\":0,\"ready\":true}]}}",
        "port"},
    {"{\"format\":1,\"revision\":1,\"routes\":[],\"certificates\":[{\"name\":\"c\"}]}", "cert"},
};

static void test_broken(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
        _cleanup_json_ json_t *doc = parse(broken[i].doc);
        struct route_snapshot *s = NULL;
        struct err e = {0};
        assert_int_equal(route_snapshot_new(doc, NULL, &s, &e), ERR_INVALID);
        assert_null(s);
        if (!strstr(e.message, broken[i].message))
            fail_msg("%s: %s", broken[i].doc, e.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_any_name),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_endpoints_replace),
        cmocka_unit_test(test_who_leaves_serves_until_others_do),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_from_model),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
