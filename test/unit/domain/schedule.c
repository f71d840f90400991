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
    "    regions: {ap-a: 2, ap-b: {standby: 1}}\n"
    "    rollout: %s\n";

#define IMAGE_A "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define IMAGE_B "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
#define IMAGE_C "sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"

struct fixture {
    struct model *model;
    json_t *files;
    struct schedule_host hosts[3];
    struct schedule_input in;
    struct schedule *s;
    json_t *docs; /* as the state store holds them */
    struct schedule_actions acts;
    uint64_t now;
    const char *bad; /* an image that does not start */
};

static struct model *model_of(const char *rollout)
{
    struct model *m;
    struct err e = {0};
    struct str errors = STR_INIT;
    _cleanup_free_ char *text = xasprintf(platform, rollout);
    if (model_parse(text, strlen(text), "p", &m, &errors, &e) < 0)
        fail_msg("%s", str_cstr(&errors));
    str_done(&errors);
    return m;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->model = model_of("{}");
    f->files = json_pack("{s:s}", "images/api", IMAGE_A);
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
    for (size_t i = 0; i < 3; i++)
        json_decref((json_t *)f->hosts[i].units);
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

/* ---- with agents that do at once as they are told */

static json_t *unit_of(struct fixture *f, json_t *placement, json_t *in)
{
    const char *spec = json_opt_str(in, "spec", "");
    json_t *s = json_object_get(json_object_get(placement, "specs"), spec);
    bool bad = str_eq(json_opt_str(s, "image", NULL), f->bad);
    bool standby = json_opt_bool(in, "standby", false);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:b}", "name", json_opt_str(in, "name", ""),
        "kind", "module", "module", json_opt_str(in, "module", ""), "spec", spec, "state",
        bad ? "backoff" : "ready",
        "restarts", bad ? 3 : 0, "reason", bad ? "exit 1" : "", "standby", standby);
}

static void follow(struct fixture *f)
{
    for (size_t h = 0; h < 3; h++) {
        if (!f->hosts[h].heard)
            continue;
        json_t *p = json_object_get(f->docs, h == 2 ? "placement/ap-b" : "placement/ap-a");
        json_t *units = json_array();
        size_t i;
        json_t *in;
        json_array_foreach (json_object_get(p, "instances"), i, in)
            if (str_eq(json_opt_str(in, "host", NULL), f->hosts[h].name))
                json_array_append_new(units, unit_of(f, p, in));
        json_decref((json_t *)f->hosts[h].units);
        f->hosts[h].units = units;
        f->hosts[h].acked = json_opt_int(p, "seq", 0);
    }
}

static unsigned serving(struct fixture *f)
{
    unsigned n = 0;
    json_t *p = json_object_get(f->docs, "placement/ap-a");
    size_t i;
    json_t *in;
    json_array_foreach (json_object_get(p, "instances"), i, in) {
        _cleanup_json_ json_t *unit = unit_of(f, p, in);
        const char *host = json_opt_str(in, "host", "");
        bool heard = strcmp(host, "a2") ? f->hosts[0].heard : f->hosts[1].heard;
        bool was = false;
        size_t k;
        json_t *u;
        for (size_t h = 0; h < 2; h++)
            json_array_foreach ((json_t *)f->hosts[h].units, k, u)
                was |= !strcmp(host, f->hosts[h].name)
                       && str_eq(json_opt_str(u, "name", NULL), json_opt_str(in, "name", ""))
                       && str_eq(json_opt_str(u, "state", NULL), "ready");
        n += was && heard && !json_opt_bool(in, "standby", false)
             && str_eq(json_opt_str(in, "state", NULL), "run") && json_opt_int(in, "weight", 0);
    }
    return n;
}

/* Until nothing changes; tells the fewest that served after a write. */
static unsigned settle(struct fixture *f)
{
    unsigned fewest = UINT32_MAX;
    for (int turns = 0, quiet = 0; quiet < 30; turns++) {
        assert_true(turns < 1000);
        if (step(f))
            quiet = 0;
        else
            quiet++;
        fewest = MIN(fewest, serving(f));
        follow(f);
        if (quiet && f->acts.due_ms != UINT64_MAX && f->acts.due_ms > f->now)
            f->now = MIN(f->acts.due_ms, f->now + 7000);
    }
    return fewest;
}

static json_t *deploy_of(struct fixture *f)
{
    return json_object_get(f->docs, "deploy/api");
}

static void deploy_image(struct fixture *f, const char *image)
{
    json_object_set_new(f->files, "images/api", json_string(image));
    f->in.revision++;
}

static void use_rollout(struct fixture *f, const char *rollout)
{
    model_free(f->model);
    f->in.model = f->model = model_of(rollout);
}

static const struct {
    const char *name, *rollout, *after;
    unsigned fewest;
} strategies[] = {
    {"rolling", "{}", "api-3@a1 api-4@a2", 2},
    {"in waves", "{wave: 100%}", "api-3@a1 api-4@a2", 2},
    {"blue-green", "{strategy: blue-green}", "api-3@a1 api-4@a2", 2},
    {"canary", "{strategy: canary, canary: {for: 5s}}", "api-3@a1 api-4@a2", 2},
    {"replace", "{strategy: replace}", "api-1@a1 api-2@a2", 0},
};

static void test_strategies(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(strategies); i++) {
        struct fixture *f;
        setup((void **)&f);
        use_rollout(f, strategies[i].rollout);
        settle(f);
        expect(f, "ap-a", "api-1@a1 api-2@a2");
        deploy_image(f, IMAGE_B);
        unsigned fewest = settle(f);
        if (fewest != strategies[i].fewest)
            fail_msg("%s: %u served at the least", strategies[i].name, fewest);
        assert_string_equal(json_opt_str(deploy_of(f), "state", ""), "done");
        expect(f, "ap-a", strategies[i].after);
        expect(f, "ap-b", "api-1@b1~");
        /* A bad one comes back by itself, with the reason. */
        f->bad = IMAGE_C;
        deploy_image(f, IMAGE_C);
        fewest = settle(f);
        if (fewest != strategies[i].fewest)
            fail_msg("%s: %u served at the least on the way back", strategies[i].name, fewest);
        assert_string_equal(json_opt_str(deploy_of(f), "state", ""), "rolled-back");
        assert_non_null(strstr(json_opt_str(deploy_of(f), "reason", ""), "exit 1"));
        assert_int_equal(serving(f), 2);
        /* Nothing is tried again by itself, and everything when it is asked for. */
        f->bad = NULL;
        settle(f);
        assert_string_equal(json_opt_str(deploy_of(f), "state", ""), "rolled-back");
        f->in.revision++;
        settle(f);
        assert_string_equal(json_opt_str(deploy_of(f), "state", ""), "done");
        assert_int_equal(json_opt_int(deploy_of(f), "id", 0), 3);
        teardown((void **)&f);
    }
}

static void test_a_drained_host_is_left_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    settle(f);
    f->hosts[0].drained = true;
    assert_int_equal(settle(f), 2);
    expect(f, "ap-a", "api-2@a2 api-3@a2");
    f->hosts[0].drained = false;
    settle(f);
    expect(f, "ap-a", "api-2@a2 api-3@a2");
}

static void test_a_silent_host_loses_its_instances(void **state)
{
    struct fixture *f = *state;
    settle(f);
    f->hosts[1].heard = false;
    settle(f);
    expect(f, "ap-a", "api-1@a1 api-3@a1");
    f->hosts[0].heard = false; /* nobody is left to take them */
    settle(f);
    expect(f, "ap-a", "api-1@a1 api-3@a1");
    f->hosts[0].heard = f->hosts[1].heard = true;
    settle(f);
    expect(f, "ap-a", "api-1@a1 api-3@a1");
}

static void test_an_edge_that_does_not_answer_is_waited_for_until_the_deadline(void **state)
{
    struct fixture *f = *state;
    settle(f);
    f->hosts[0].must_ack = true;
    f->hosts[0].drained = true;
    step(f);
    follow(f);
    step(f);
    expect(f, "ap-a", "api-1@a1! api-2@a2 api-3@a2");
    f->hosts[0].acked = 1;
    uint64_t begun = f->now;
    while (!step(f))
        ;
    assert_true(f->now >= begun + 9900 && f->now <= begun + 10100);
    expect(f, "ap-a", "api-2@a2 api-3@a2");
}

static void test_a_newer_revision_takes_over(void **state)
{
    struct fixture *f = *state;
    settle(f);
    f->bad = IMAGE_B;
    deploy_image(f, IMAGE_B);
    step(f); /* the dr region has its standby only, the main one is next */
    step(f);
    step(f);
    deploy_image(f, IMAGE_C);
    assert_int_equal(settle(f), 2);
    assert_string_equal(json_opt_str(deploy_of(f), "state", ""), "done");
    assert_int_equal(json_opt_int(deploy_of(f), "id", 0), 2);
    assert_int_equal(json_opt_int(deploy_of(f), "revision", 0), f->in.revision);
}

static void test_what_runs(void **state)
{
    static const struct {
        const char *instance;
        bool runs;
    } rows[] = {{"{\"state\":\"run\"}", true}, {"{\"state\":\"drain\"}", false},
        {"{\"state\":\"run\",\"standby\":true}", true},
        {"{\"state\":\"run\",\"weight\":0}", false}, {"{\"state\":\"run\",\"weight\":5}", true}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *j = json_loads(rows[i].instance, 0, NULL);
        assert_int_equal(schedule_runs(j), rows[i].runs);
    }
}

/* Standbys that are admitted roll like all others, and are standbys again afterwards. */
static void test_an_admitted_standby_is_replaced_by_another(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *admitted = json_pack("{s:s}", "api", "ap-b");
    settle(f);
    expect(f, "ap-b", "api-1@b1~");
    f->in.admitted = admitted;
    settle(f);
    expect(f, "ap-b", "api-1@b1~"); /* an admission moves and starts nothing */
    deploy_image(f, IMAGE_B);
    bool both = false;
    for (int i = 0; i < 200; i++) {
        step(f);
        _cleanup_free_ char *now = shown(f, "ap-b");
        both |= strstr(now, "api-1@b1") && strstr(now, "api-2@b1~");
        follow(f);
    }
    assert_true(both); /* the new one is beside the old one, not in its place */
    settle(f);
    expect(f, "ap-b", "api-2@b1~");
    f->in.admitted = NULL;
    settle(f);
    expect(f, "ap-b", "api-2@b1~");
    expect(f, "ap-a", "api-3@a1 api-4@a2");
}

static void test_status_has_running_ones_first(void **state)
{
    struct fixture *f = *state;
    json_object_set_new(f->docs, "deploy/old",
        json_pack("{s:s,s:s,s:i}", "module", "old", "state", "done", "started_ms", 9));
    json_object_set_new(f->docs, "deploy/new",
        json_pack(
            "{s:s,s:s,s:i,s:{}}", "module", "new", "state", "running", "started_ms", 5, "specs"));
    json_t *status = schedule_status(f->docs);
    json_t *first = json_array_get(json_object_get(status, "deployments"), 0);
    assert_string_equal(json_opt_str(first, "module", ""), "new");
    assert_null(json_object_get(first, "specs"));
    json_decref(status);
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
        cmocka_unit_test(test_strategies),
        T(test_a_drained_host_is_left_one_after_the_other),
        T(test_a_silent_host_loses_its_instances),
        T(test_an_edge_that_does_not_answer_is_waited_for_until_the_deadline),
        T(test_a_newer_revision_takes_over),
        T(test_what_runs), T(test_an_admitted_standby_is_replaced_by_another),
        T(test_status_has_running_ones_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
