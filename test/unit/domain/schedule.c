/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/schedule/schedule.h"
#include "domain/spec/spec.h"

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
    "    env: {COLOUR: green}\n"
    "    health: {path: /healthz}\n"
    "    route: {names: [api.example.com], path: /, auth: none}\n"
    "    regions: {ap-a: 2, ap-b: {standby: 1}}\n";

struct fixture {
    struct model *model;
    json_t *files;
    struct schedule_host hosts[3];
    struct schedule_input in;
    struct schedule *s;
    json_t *docs; /* as the state store holds them */
    struct schedule_actions acts;
    uint64_t now;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err e = {0};
    struct str errors = STR_INIT;
    if (model_parse(platform, strlen(platform), "p", &f->model, &errors, &e) < 0)
        fail_msg("%s", str_cstr(&errors));
    str_done(&errors);
    f->files = json_pack("{s:s}", "images/api",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    static const char *const names[] = {"a1", "a2", "b1"};
    for (size_t i = 0; i < 3; i++)
        f->hosts[i] = (struct schedule_host){.name = names[i],
            .heard = true,
            .usable = true,
            .memory_bytes = 4ull << 30,
            .cpu_milli = 2000};
    f->in = (struct schedule_input){.model = f->model,
        .files = f->files,
        .revision = 1,
        .by = "test",
        .epoch = 1,
        .hosts = f->hosts,
        .n_hosts = 3};
    f->s = schedule_new();
    f->docs = json_object();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    schedule_actions_done(&f->acts);
    schedule_free(f->s);
    model_free(f->model);
    json_decref(f->files);
    json_decref(f->docs);
    free(f);
    return 0;
}

/* One step whose write succeeds. */
static bool step(struct fixture *f)
{
    schedule_actions_done(&f->acts);
    f->now += 100;
    schedule_step(f->s, &f->in, f->now, 1790000000000 + (int64_t)f->now, &f->acts);
    const char *key;
    json_t *doc;
    json_object_foreach (f->acts.write, key, doc) {
        if (json_is_null(doc))
            json_object_del(f->docs, key);
        else
            json_object_set_new(f->docs, key, json_deep_copy(doc));
    }
    return f->acts.write;
}

/* "api-1@a1 api-2@a2" with "!" behind a drained and "~" behind a standby one. */
static char *shown(struct fixture *f, const char *region)
{
    struct str out = STR_INIT;
    _cleanup_free_ char *key = xasprintf("placement/%s", region);
    size_t i;
    json_t *in;
    json_array_foreach (json_object_get(json_object_get(f->docs, key), "instances"), i, in)
        str_addf(&out, "%s%s@%s%s%s", i ? " " : "", json_opt_str(in, "name", "?"),
            json_opt_str(in, "host", "?"),
            str_eq(json_opt_str(in, "state", NULL), "drain") ? "!" : "",
            json_opt_bool(in, "standby", false) ? "~" : "");
    return str_steal(&out);
}

static void expect(struct fixture *f, const char *region, const char *want)
{
    _cleanup_free_ char *have = shown(f, region);
    assert_string_equal(have, want);
}

static void test_the_first_placement_spreads(void **state)
{
    struct fixture *f = *state;
    assert_true(step(f));
    expect(f, "ap-a", "api-1@a1 api-2@a2");
    expect(f, "ap-b", "api-1@b1~");
    assert_false(step(f));
    assert_true(f->acts.due_ms == UINT64_MAX);
}

static void test_a_loaded_document_is_the_same(void **state)
{
    struct fixture *f = *state;
    struct err e;
    step(f);
    assert_int_equal(schedule_load(f->s, f->docs, &e), 0);
    f->in.epoch = 7;
    assert_false(step(f));
    json_object_set_new(json_object_get(f->docs, "placement/ap-a"), "format", json_integer(2));
    assert_int_equal(schedule_load(f->s, f->docs, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "placement/ap-a"));
}

static void test_a_revision_is_written_to_every_region(void **state)
{
    struct fixture *f = *state;
    step(f);
    f->in.revision = 2;
    assert_true(step(f));
    assert_int_equal(json_object_size(f->acts.write), 2);
    json_t *p = json_object_get(f->docs, "placement/ap-b");
    assert_int_equal(json_opt_int(p, "revision", 0), 2);
    assert_int_equal(json_opt_int(p, "seq", 0), 2);
}

static void test_units_of_a_host(void **state)
{
    struct fixture *f = *state;
    struct err e;
    json_t *doc, *spec;
    char generation[DIGEST_SIZE];
    struct unit_specs *specs;
    step(f);
    json_t *p = json_object_get(f->docs, "placement/ap-a");
    assert_int_equal(schedule_units(p, "a2", &doc, &e), 0);
    assert_int_equal(unit_specs_parse(doc, &specs, &e), 0);
    assert_int_equal(specs->n, 1);
    assert_string_equal(specs->v[0].name, "api-2");
    json_t *unit = json_array_get(json_object_get(doc, "units"), 0);
    json_t *env = json_object_get(unit, "env");
    static const char *const want[][2] = {{"COLOUR", "green"}, {"MCP_HOST", "a2"},
        {"MCP_INSTANCE", "api-2"}, {"MCP_MODULE", "api"}, {"MCP_REGION", "ap-a"}, {"PORT", "8080"}};
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(json_opt_str(env, want[i][0], ""), want[i][1]);
    assert_int_equal(json_object_size(env), ARRAY_SIZE(want));
    assert_int_equal(
        schedule_generation(f->model, f->files, &f->model->modules[0], &spec, generation, &e), 0);
    assert_string_equal(json_opt_str(unit, "spec", ""), generation);
    json_decref(spec);
    unit_specs_free(specs);
    json_decref(doc);
}

static void test_what_ran_before_placements_stays(void **state)
{
    struct fixture *f = *state;
    json_t *units = json_loads("[{\"name\":\"api-1\",\"kind\":\"module\",\"module\":\"api\"},"
                               "{\"name\":\"api-2\",\"kind\":\"module\",\"module\":\"api\"}]",
        0, NULL);
    f->hosts[0].units = units;
    step(f);
    expect(f, "ap-a", "api-1@a1 api-2@a1");
    json_decref(units);
    f->hosts[0].units = NULL;
}

static void test_a_module_that_no_host_can_take_says_why(void **state)
{
    struct fixture *f = *state;
    f->hosts[0].drained = true;
    f->hosts[1].usable = false;
    step(f);
    expect(f, "ap-a", "");
    json_t *lack =
        json_array_get(json_object_get(json_object_get(f->docs, "placement/ap-a"), "lacks"), 0);
    assert_int_equal(json_opt_int(lack, "count", 0), 2);
    assert_string_equal(
        json_opt_str(lack, "reason", ""), "a1 is drained, a2 cannot run instances now");
    f->hosts[1].usable = true;
    step(f);
    expect(f, "ap-a", "api-1@a2 api-2@a2");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_first_placement_spreads),
        T(test_a_loaded_document_is_the_same),
        T(test_a_revision_is_written_to_every_region),
        T(test_units_of_a_host),
        T(test_what_ran_before_placements_stays),
        T(test_a_module_that_no_host_can_take_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
