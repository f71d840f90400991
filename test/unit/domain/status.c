/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/compile/compile.h"
#include "domain/status/status.h"

static const char platform[] =
    "platform: p\n"
    "domain: example.com\n"
    "regions:\n"
    "  ap-a: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "  ap-b: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: ap-a, address: 10.20.0.11, public: true}\n"
    "  a2: {region: ap-a, address: 10.20.0.12}\n"
    "  b1: {region: ap-b, address: 10.40.0.11, public: true}\n"
    "state: {members: [a1, a2, b1]}\n"
    "routing: {nameservers: {ns1: ap-a, ns2: ap-b}, default: [ap-a], on_failure: [dr, main]}\n"
    "modules:\n"
    "  api:\n"
    "    image: oci:images/api\n"
    "    port: 8080\n"
    "    route: {names: [api.example.com], path: /, auth: none}\n"
    "    regions: {ap-a: 2, ap-b: {standby: 1}}\n";

struct fixture {
    struct model *model;
    struct status_report hosts[3];
    struct status_name name;
    struct status_input in;
};

static json_t *report(int64_t revision, const char *units)
{
    json_t *j = json_pack("{s:I,s:[],s:[{s:s}],s:{s:s,s:b,s:s}}", "revision", (json_int_t)revision,
        "roles", "alarms", "text", "something is wrong", "state_store", "kind", "etcd", "connected",
        1, "reason", "");
    json_object_set_new(j, "units", json_loads(units, 0, NULL));
    return j;
}

#define READY_UNITS                                                                                              \
    "[{\"name\":\"api-1\",\"kind\":\"module\",\"module\":\"api\",\"state\":\"ready\",\"pid\":7,\"restarts\":0}," \
    "{\"name\":\"api-2\",\"kind\":\"module\",\"module\":\"api\",\"state\":\"ready\",\"pid\":8,\"restarts\":1}]"

static const char docs[] =
    "{\"placement/ap-a\":{\"revision\":3,\"seq\":1,\"instances\":["
    "{\"name\":\"api-1\",\"host\":\"a1\",\"spec\":\"sha256:1\",\"state\":\"run\"},"
    "{\"name\":\"api-2\",\"host\":\"a1\",\"spec\":\"sha256:1\",\"state\":\"run\"}]},"
    "\"placement/ap-b\":{\"revision\":3,\"seq\":1,\"instances\":["
    "{\"name\":\"api-1\",\"host\":\"b1\",\"spec\":\"sha256:1\",\"state\":\"run\",\"standby\":true}]}}";

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err e = {0};
    struct str errors = STR_INIT;
    int r = model_parse(platform, strlen(platform), "p", &f->model, &errors, &e);
    if (r < 0)
        fail_msg("%s", str_cstr(&errors));
    str_done(&errors);
    f->hosts[0] = (struct status_report){.report = report(3, READY_UNITS), .up = true};
    f->hosts[1] = (struct status_report){.report = report(3, "[]"), .up = true};
    f->hosts[2] = (struct status_report){
        .report = report(3, "[{\"name\":\"api-1\",\"kind\":\"module\",\"module\":\"api\",\"state\":"
                            "\"pending\",\"standby\":true}]"),
        .up = true};
    f->name = (struct status_name){"api.example.com", 0, "up", 0};
    f->in = (struct status_input){.model = f->model,
        .revision = 3,
        .asked_host = "a1",
        .hosts = f->hosts,
        .names = &f->name,
        .n_names = 1,
        .docs = json_loads(docs, 0, NULL)};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        json_decref((json_t *)f->hosts[i].report);
    json_decref((json_t *)f->in.docs);
    model_free(f->model);
    free(f);
    return 0;
}

static json_t *compose(struct fixture *f, bool ready, const char *why)
{
    json_t *s = status_compose(&f->in);
    assert_non_null(s);
    assert_int_equal(json_opt_bool(s, "ready", !ready), ready);
    if (!strstr(json_opt_str(s, "not_ready", "?"), why))
        fail_msg("not_ready is '%s', not '%s'", json_opt_str(s, "not_ready", "?"), why);
    return s;
}

static void test_all_well(void **state)
{
    struct fixture *f = *state;
    json_t *s = compose(f, true, "");
    assert_int_equal(json_array_size(json_object_get(s, "regions")), 2);
    assert_int_equal(json_array_size(json_object_get(s, "hosts")), 3);
    assert_int_equal(json_array_size(json_object_get(s, "units")), 3);
    json_t *u = json_array_get(json_object_get(s, "units"), 1);
    assert_string_equal(json_opt_str(u, "region", ""), "ap-a");
    assert_string_equal(json_opt_str(u, "host", ""), "a1");
    assert_string_equal(json_opt_str(json_array_get(json_object_get(s, "alarms"), 0), "text", ""),
        "a1: something is wrong");
    json_decref(s);
}

static const json_t *unit_of_host(const json_t *status, const char *host)
{
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(status, "units"), i, u)
        if (!strcmp(json_opt_str(u, "host", ""), host))
            return u;
    return NULL;
}

static void test_who_is_admitted_is_said(void **state)
{
    struct fixture *f = *state;
    json_t *s = compose(f, true, "");
    const json_t *active = unit_of_host(s, "a1"), *standby = unit_of_host(s, "b1");
    assert_true(json_opt_bool(active, "admitted", false));
    assert_false(json_opt_bool(standby, "admitted", true));
    assert_string_equal(json_opt_str(standby, "reason", ""), "standby: admitted by promotion");
    json_decref(s);
    _cleanup_json_ json_t *admissions = json_pack("{s:{s:i,s:s,s:s,s:b}}", "api", "format", 1,
        "region", "ap-b", "from", "ap-a", "standbys", 1);
    f->in.admissions = admissions;
    s = compose(f, true, "");
    assert_true(json_opt_bool(unit_of_host(s, "b1"), "admitted", false));
    assert_string_equal(json_opt_str(unit_of_host(s, "b1"), "reason", ""), "standby: admitted");
    json_decref(s);
}

static void test_a_silent_host_makes_its_units_unknown(void **state)
{
    struct fixture *f = *state;
    f->hosts[0].up = false;
    f->hosts[0].age_ms = 12345;
    json_t *s = compose(f, false, "a1 is not heard");
    json_t *u = json_array_get(json_object_get(s, "units"), 0);
    assert_string_equal(json_opt_str(u, "state", ""), "unknown");
    assert_string_equal(json_opt_str(u, "reason", ""), "a1 is not heard; last report 12s ago");
    assert_int_equal(json_opt_int(u, "pid", -1), 0);
    json_decref(s);
}

static void test_an_instance_less_or_a_revision_behind_is_not_ready(void **state)
{
    struct fixture *f = *state;
    json_t *one = report(3,
        "[{\"name\":\"api-1\",\"kind\":\"module\",\"module\":\"api\",\"state\":\"ready\"},"
        "{\"name\":\"api-2\",\"kind\":\"module\",\"module\":\"api\",\"state\":\"backoff\"}]");
    json_t *kept = (json_t *)f->hosts[0].report;
    f->hosts[0].report = one;
    json_decref(compose(f, false, "ap-a: 1 of 2 instances ready"));
    f->hosts[0].report = kept;
    json_decref(one);
    json_t *behind = report(2, "[]");
    kept = (json_t *)f->hosts[1].report;
    f->hosts[1].report = behind;
    json_decref(compose(f, false, "a2 is at revision 2"));
    f->hosts[1].report = kept;
    json_decref(behind);
}

static void test_a_name_that_is_down_somewhere(void **state)
{
    struct fixture *f = *state;
    f->name.state = "down";
    json_t *s = compose(f, false, "api.example.com is down in ap-a");
    assert_string_equal(
        json_opt_str(json_array_get(json_object_get(s, "regions"), 0), "state", ""), "down");
    json_decref(s);
}

static json_t *instance(const char *name, const char *host, const char *state, const char *spec)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b}", "name", name, "module", "api", "host", host,
        "state", state, "spec", spec, "standby", 0);
}

static json_t *placement_a(struct fixture *f)
{
    return json_object_get((json_t *)f->in.docs, "placement/ap-a");
}

static void test_what_was_placed_must_be_there(void **state)
{
    struct fixture *f = *state;
    json_t *list = json_object_get(placement_a(f), "instances");
    json_object_set_new(json_array_get(list, 1), "spec", json_string("sha256:2"));
    json_decref(compose(f, true, "")); /* an agent that does not say what it runs is believed */
    json_t *u = json_array_get(json_object_get((json_t *)f->hosts[0].report, "units"), 1);
    json_object_set_new(u, "spec", json_string("sha256:1"));
    json_decref(compose(f, false, "ap-a: 1 of 2 instances ready"));
    json_object_set_new(u, "spec", json_string("sha256:2"));
    json_decref(compose(f, true, ""));
    json_array_append_new(list, instance("api-3", "a1", "drain", "sha256:1"));
    json_decref(compose(f, false, "ap-a: 1 instances leave"));
}

static void test_a_placement_of_another_revision_or_with_a_lack_is_not_ready(void **state)
{
    struct fixture *f = *state;
    json_object_set_new(placement_a(f), "lacks",
        json_pack("[{s:s,s:i,s:s}]", "module", "api", "count", 1, "reason", "a2 is drained"));
    json_t *s = compose(f, false, "ap-a: 2 of 3 instances ready (a2 is drained)");
    assert_string_equal(json_opt_str(json_array_get(json_object_get(s, "alarms"), 3), "text", ""),
        "ap-a: no place for 1 instances of api: a2 is drained");
    json_decref(s);
    json_object_set_new(placement_a(f), "revision", json_integer(2));
    json_decref(compose(f, false, "ap-a: not placed yet"));
    json_object_del((json_t *)f->in.docs, "placement/ap-a");
    json_decref(compose(f, false, "ap-a: not placed yet"));
}

static void set_units(struct fixture *f, size_t host, const char *units)
{
    json_object_set_new(
        (json_t *)f->hosts[host].report, "units", json_loads(units, 0, NULL));
}

static void test_a_database_without_its_server_is_not_ready(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct str text = STR_INIT;
    str_addf(&text, "%sdata: {trade: {source: ap-a, replicas: [ap-b]}}\n", platform);
    model_free(f->model);
    assert_int_equal(model_parse(text.buf, text.len, "p", &f->model, NULL, &e), 0);
    f->in.model = f->model;
    json_decref(compose(f, false, "database trade does not run on a2 yet"));
    set_units(f, 1, "[{\"name\":\"db-trade\",\"kind\":\"engine\",\"state\":\"starting\"}]");
    json_decref(compose(f, false, "a2: 1 engines not ready"));
    set_units(f, 1, "[{\"name\":\"db-trade\",\"kind\":\"engine\",\"state\":\"ready\"}]");
    json_decref(compose(f, false, "database trade does not run on b1 yet"));
    set_units(f, 2, "[{\"name\":\"db-trade\",\"kind\":\"engine\",\"state\":\"ready\",\"spec\":\"1\"}]");
    json_decref(compose(f, true, ""));
    json_t *b1 = (json_t *)f->hosts[2].report;
    json_object_set_new(b1, "engines", json_pack("{s:s}", "db-trade", "2"));
    json_object_set_new(b1, "engines_wait", json_string("trade waits for a2"));
    json_decref(compose(f, false, "b1: db-trade takes new settings; trade waits for a2"));
    str_done(&text);
}

static void test_a_rollout_on_its_way_is_not_ready(void **state)
{
    static const struct {
        const char *state;
        bool ready;
    } rows[] = {{"running", false}, {"rolling-back", false}, {"done", true}, {"rolled-back", true},
        {"failed", true}, {"superseded", true}};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_object_set_new((json_t *)f->in.docs, "deploy/api",
            json_pack("{s:i,s:i,s:s,s:s,s:s}", "format", 1, "id", 1, "module", "api", "state",
                rows[i].state, "step", "1 of 2 replaced"));
        json_t *s = compose(f, rows[i].ready, rows[i].ready ? "" : "api: 1 of 2 replaced");
        assert_int_equal(json_array_size(json_object_get(s, "deployments")), 1);
        json_decref(s);
    }
}

static void test_internal_names_hold_ready_units_only(void **state)
{
    struct fixture *f = *state;
    json_t *units =
        json_loads("[{\"module\":\"api\",\"state\":\"ready\",\"address\":\"100.127.0.2\"},"
                   "{\"module\":\"api\",\"state\":\"starting\",\"address\":\"100.127.0.3\"}]",
            0, NULL);
    json_t *names = compile_names(f->model, units);
    json_t *api = json_object_get(json_object_get(names, "names"), "api.mcp.internal");
    assert_int_equal(json_array_size(api), 1);
    assert_string_equal(json_string_value(json_array_get(api, 0)), "100.127.0.2");
    json_decref(names);
    json_decref(units);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_well, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_admitted_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_silent_host_makes_its_units_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_an_instance_less_or_a_revision_behind_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_that_is_down_somewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_placed_must_be_there, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_placement_of_another_revision_or_with_a_lack_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_database_without_its_server_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rollout_on_its_way_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_internal_names_hold_ready_units_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
