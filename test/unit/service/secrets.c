/* SPDX-License-Identifier: Apache-2.0 */
/* Four hosts' secrets over one store, in virtual time: a1 keeps the state, a2 runs what may have the
 * secret, b1 runs nothing of it, c1 comes later. */
#include "test.h"

#include "base/base64/base64.h"
#include "base/file/file.h"
#include "service/secrets/secrets.h"

#include <poll.h>

#define HOSTS 4
#define CANARY "canary-8f3b1c"

static const char *const names[HOSTS] = {"a1", "a2", "b1", "c1"};

static const char declaration[] =
    "platform: p\ndomain: p.example\n"
    "regions:\n"
    "  ra: {duty: main, network: 10.20.0.0/16}\n  rb: {network: 10.40.0.0/16}\n"
    "  rc: {network: 10.60.0.0/16}\n  rd: {network: 10.80.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: rd, address: 10.80.0.11}\n  a2: {region: ra, address: 10.20.0.12}\n"
    "  b1: {region: rb, address: 10.40.0.11}\n  c1: {region: rc, address: 10.60.0.11}\n"
    "state: {members: [a1]}\n"
    "data: {trade: {source: ra}}\n"
    "modules:\n"
    "  api: {image: oci:x, regions: {ra: 1, rc: 1}, secrets: [psp_key],\n"
    "        needs: [{data: trade, tables: [orders]}]}\n"
    "  web: {image: oci:x, regions: {rb: 1}}\n";

struct world {
    uv_loop_t loop;
    struct kv *kv;
    char dir[48];
    struct model *model;
    struct {
        struct seal_key *key;
        struct documents *hosts;
        struct secrets *secrets;
        char *cache;
        int changes;
    } h[HOSTS];
    struct documents *raw; /* what is in the store */
    bool taken;
    int done, code;
    char message[768];
};

static void on_changed(void *ctx, const char *name)
{
    ++*(int *)ctx;
}

static struct world *the_world;

static bool taken(void *ctx, const char *name, int64_t v)
{
    return the_world->taken;
}

static void run(struct world *w)
{
    for (int i = 0; i < 30; i++) {
        kv_mem_run(w->kv, 1000);
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
}

/* Past the moment that changes are gathered in. */
static void settle(struct world *w)
{
    uv_update_time(&w->loop);
    uint64_t end = uv_now(&w->loop) + 700;
    /* also that many turns: on a busy machine the time alone may pass without one */
    for (int turns = 0; uv_now(&w->loop) < end || turns < 150; turns++) {
        poll(NULL, 0, 4);
        run(w);
    }
}

static void start(struct world *w, int i)
{
    struct secrets_config c = {.loop = &w->loop,
        .kv = w->kv,
        .platform = "p",
        .host = names[i],
        .key = w->h[i].key,
        .cache_dir = w->h[i].cache,
        .changed = on_changed,
        .taken = taken,
        .ctx = &w->h[i].changes};
    c.hosts = w->h[i].hosts = documents_new(&w->loop, w->kv, "/mcp/p/host/", NULL, NULL);
    w->h[i].secrets = secrets_new(&c);
    secrets_set_model(w->h[i].secrets, w->model);
}

static void stop(struct world *w, int i)
{
    secrets_free(w->h[i].secrets);
    documents_free(w->h[i].hosts);
    w->h[i].secrets = NULL;
    run(w);
}

static void enrol(struct world *w, int i)
{
    char text[SEAL_PUBLIC_TEXT_SIZE];
    stop(w, i);
    seal_key_free(w->h[i].key);
    assert_int_equal(seal_key_make(&w->h[i].key, NULL), 0);
    seal_public_format(seal_public(w->h[i].key), text);
    documents_merge(w->h[0].hosts, names[i],
        json_pack("{s:s}", "seal_public", text), NULL, NULL);
    start(w, i);
    run(w);
    for (int k = 0; k < HOSTS; k++)
        secrets_look(w->h[k].secrets); /* as control does when the register changes */
}

static int setup(void **state)
{
    struct world *w = the_world = xcalloc(1, sizeof *w);
    struct err e = {0};
    str_copy(w->dir, sizeof w->dir, "/tmp/mcp-test-secrets-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    uv_loop_init(&w->loop);
    w->kv = kv_mem_new();
    if (model_parse(declaration, strlen(declaration), "p", &w->model, NULL, &e) < 0)
        fail_msg("%s", e.message);
    for (int i = 0; i < HOSTS; i++) {
        char text[SEAL_PUBLIC_TEXT_SIZE];
        struct documents *d = documents_new(&w->loop, w->kv, "/mcp/p/host/", NULL, NULL);
        assert_int_equal(seal_key_make(&w->h[i].key, NULL), 0);
        seal_public_format(seal_public(w->h[i].key), text);
        if (i < 3)
            documents_merge(d, names[i], json_pack("{s:s}", "seal_public", text), NULL, NULL);
        run(w);
        documents_free(d);
        w->h[i].cache = xasprintf("%s/%s", w->dir, names[i]);
    }
    for (int i = 0; i < HOSTS; i++)
        start(w, i);
    w->raw = documents_new(&w->loop, w->kv, "/mcp/p/secret/", NULL, NULL);
    run(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct err e;
    for (int i = 0; i < HOSTS; i++) {
        if (w->h[i].secrets)
            stop(w, i);
        seal_key_free(w->h[i].key);
        free(w->h[i].cache);
    }
    documents_free(w->raw);
    run(w);
    kv_close(w->kv);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    model_free(w->model);
    assert_int_equal(file_remove_tree(w->dir, &e), 0);
    free(w);
    return 0;
}

static void on_done(void *ctx, const json_t *doc, const struct err *e)
{
    struct world *w = ctx;
    w->done++;
    w->code = e ? e->code : 0;
    str_copy(w->message, sizeof w->message, e ? e->message : "");
}

static void set(struct world *w, int host, const char *value, bool grant, bool must_exist)
{
    static const char *const api[] = {"api"};
    struct secrets_set s = {.name = "psp_key",
        .value = value,
        .len = strlen(value),
        .modules = api,
        .n_modules = grant,
        .must_exist = must_exist,
        .by = "root@test"};
    int before = w->done;
    secrets_set(w->h[host].secrets, &s, on_done, w);
    run(w);
    assert_int_equal(w->done, before + 1);
}

/* "value", or "!error". */
static const char *opened(struct world *w, int host, const char *module)
{
    static char text[800];
    _cleanup_secret_ struct secret *value = NULL;
    int64_t v;
    struct err e = {0};
    int r = secrets_open(w->h[host].secrets, "psp_key", module, &value, &v, &e);
    snprintf(text, sizeof text, "%s%s", r < 0 ? "!" : "",
        r < 0 ? e.message : (char *)secret_bytes(value));
    return text;
}

static json_t *newest(struct world *w)
{
    const json_t *doc = documents_get(w->raw, "psp_key");
    return secret_doc_version(doc, secret_doc_newest(doc));
}

static bool has_box(struct world *w, const char *host)
{
    return json_object_get(json_object_get(newest(w), "keys"), host) != NULL;
}

static void test_set_and_open(void **state)
{
    struct world *w = *state;
    assert_non_null(strstr(opened(w, 1, "api"), "!secret psp_key is not set; `mcp secret set"));
    set(w, 0, CANARY, false, false);
    assert_int_equal(w->code, 0);
    assert_non_null(strstr(opened(w, 0, "api"), "`mcp secret grant psp_key api`"));
    set(w, 0, CANARY "2", true, true);
    settle(w);
    assert_string_equal(opened(w, 1, "api"), CANARY "2");
    assert_string_equal(opened(w, 0, "api"), CANARY "2");
    assert_non_null(strstr(opened(w, 1, "web"), "does not ask for"));
    assert_non_null(strstr(opened(w, 2, "api"), "not sealed to this host"));
    _cleanup_json_ json_t *list = secrets_list(w->h[2].secrets);
    _cleanup_free_ char *text = json_text(list);
    assert_non_null(strstr(text, "\"grants\":[\"api\"],\"hosts\":[\"a1\",\"a2\"]"));
    assert_null(strstr(text, "box"));
}

/* The host that may not: whatever it does with its key, nothing opens; nor does a stolen store. */
static void test_a_host_that_may_not_cannot(void **state)
{
    struct world *w = *state;
    set(w, 0, CANARY, true, false);
    settle(w);
    const char *host;
    json_t *entry;
    assert_int_equal(json_object_size(json_object_get(newest(w), "keys")), 2);
    json_object_foreach (json_object_get(newest(w), "keys"), host, entry) {
        _cleanup_str_ struct str box = STR_INIT;
        const char *text = json_opt_str(entry, "box", "");
        assert_int_equal(base64_decode(text, strlen(text), &box, NULL), 0);
        for (int i = 0; i < HOSTS; i++) {
            _cleanup_secret_ struct secret *key = NULL;
            _cleanup_free_ char *aad = xasprintf("p/secret/psp_key/1/key/%s", host);
            int r = seal_open(w->h[i].key, aad, box.buf, box.len, &key, NULL);
            assert_int_equal(r, strcmp(names[i], host) ? ERR_DENIED : 0);
        }
    }
    _cleanup_free_ char *all = json_text(documents_all(w->raw));
    assert_null(strstr(all, CANARY));
    _cleanup_str_ struct str encoded = STR_INIT;
    base64_encode(CANARY, strlen(CANARY) / 3 * 3, &encoded);
    assert_null(strstr(all, encoded.buf));
}

static int forget(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = NULL;
    return 0;
}

/* A register that was lost takes nobody's key away: who could seal it on then? */
static void test_a_lost_register_changes_nothing(void **state)
{
    struct world *w = *state;
    set(w, 0, CANARY, true, false);
    for (int i = 0; i < HOSTS; i++)
        documents_edit(w->h[0].hosts, names[i], forget, NULL, NULL);
    run(w);
    for (int i = 0; i < HOSTS; i++)
        secrets_look(w->h[i].secrets);
    settle(w);
    assert_int_equal(json_object_size(documents_all(w->h[1].hosts)), 0);
    assert_true(has_box(w, "a1") && has_box(w, "a2"));
    assert_string_equal(opened(w, 1, "api"), CANARY);
}

static void test_a_host_comes_and_a_grant_goes(void **state)
{
    static const char *const api[] = {"api"};
    struct world *w = *state;
    set(w, 0, CANARY, true, false);
    assert_false(has_box(w, "c1"));
    enrol(w, 3);
    settle(w);
    assert_true(has_box(w, "c1"));
    assert_string_equal(opened(w, 3, "api"), CANARY);
    enrol(w, 3); /* wiped, and back with a new key */
    settle(w);
    assert_string_equal(opened(w, 3, "api"), CANARY);
    documents_edit(w->h[0].hosts, "c1", forget, NULL, NULL); /* removed from the platform */
    run(w);
    secrets_look(w->h[0].secrets);
    settle(w);
    assert_false(has_box(w, "c1"));
    secrets_grant(w->h[2].secrets, "psp_key", api, 1, false, "root@test", on_done, w);
    settle(w);
    assert_int_equal(w->code, 0);
    assert_true(has_box(w, "a1")); /* keeps the state, and re-seals for the others */
    assert_false(has_box(w, "a2"));
    assert_false(has_box(w, "c1"));
    assert_non_null(strstr(opened(w, 1, "api"), "not granted"));
}

static void test_old_versions_go_when_all_have_taken_the_new(void **state)
{
    struct world *w = *state;
    set(w, 0, "one", true, false);
    set(w, 0, "two", true, true);
    set(w, 0, "three", true, true);
    settle(w);
    const json_t *doc = documents_get(w->raw, "psp_key");
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), 3);
    assert_string_equal(opened(w, 1, "api"), "three");
    w->taken = true;
    secrets_look(w->h[0].secrets);
    settle(w);
    doc = documents_get(w->raw, "psp_key");
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), 1);
    assert_int_equal(secret_doc_newest(doc), 3);
    assert_int_equal(secret_doc_next(doc), 4); /* numbers are not used again */
    assert_string_equal(opened(w, 1, "api"), "three");
}

/* The store is away and the host has just been switched on. */
static void test_from_the_disk(void **state)
{
    struct world *w = *state;
    set(w, 0, CANARY, true, false);
    settle(w);
    stop(w, 1);
    kv_mem_set_down(w->kv, true);
    start(w, 1);
    run(w);
    assert_string_equal(opened(w, 1, "api"), CANARY);
    _cleanup_str_ struct str file = STR_INIT;
    _cleanup_free_ char *path = xasprintf("%s/psp_key.json", w->h[1].cache);
    assert_int_equal(file_read(path, 1 << 20, &file, NULL), 0);
    assert_null(strstr(file.buf, CANARY));
    assert_null(strstr(file.buf, "\"a1\"")); /* no box of another host */
    _cleanup_free_ char *other = xasprintf("%s/psp_key.json", w->h[2].cache);
    assert_false(file_exists(other)); /* b1 has nothing to keep */
    kv_mem_set_down(w->kv, false);
    secrets_remove(w->h[0].secrets, "psp_key", on_done, w);
    settle(w);
    assert_int_equal(w->code, 0);
    stop(w, 1);
    start(w, 1);
    settle(w);
    assert_false(file_exists(path));
    assert_non_null(strstr(opened(w, 1, "api"), "is not set"));
}

static void test_refusals(void **state)
{
    struct world *w = *state;
    set(w, 0, "x", false, true);
    assert_int_equal(w->code, ERR_NOT_FOUND); /* nothing to rotate */
    set(w, 0, "", false, false);
    assert_int_equal(w->code, ERR_USAGE);
    _cleanup_free_ char *big = xasprintf("%*s", (int)SECRET_VALUE_MAX + 1, "x");
    set(w, 0, big, false, false);
    assert_int_equal(w->code, ERR_LIMIT);
    big[SECRET_VALUE_MAX] = '\0';
    set(w, 0, big, true, false);
    assert_int_equal(w->code, 0);
    settle(w);
    assert_memory_equal(opened(w, 1, "api"), big, 700);
    secrets_remove(w->h[0].secrets, "other", on_done, w);
    run(w);
    assert_int_equal(w->code, ERR_NOT_FOUND);
    for (int i = 0; i < SECRET_VERSIONS_MAX + 1; i++)
        set(w, 0, "x", false, false);
    assert_int_equal(w->code, ERR_LIMIT);
    assert_non_null(strstr(w->message, "has not taken the newest"));
}

static void make(struct world *w, const char *password, bool rotate)
{
    static const char *const api[] = {"api"};
    const struct secret_made made = {"trade", "api", password, 0};
    struct secrets_set s = {.name = "data.trade.api",
        .value = password,
        .len = strlen(password),
        .modules = api,
        .n_modules = 1,
        .must_exist = rotate,
        .must_be_new = !rotate,
        .made = &made,
        .by = "platform"};
    secrets_set(w->h[0].secrets, &s, on_done, w);
    run(w);
}

static void expect_password(struct world *w, const char *password)
{
    _cleanup_secret_ struct secret *value = NULL;
    int64_t v;
    struct err e = {0};
    if (secrets_open(w->h[1].secrets, "data.trade.api", "api", &value, &v, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal((char *)secret_bytes(value), password);
}

/* A version that waits is sealed, and nobody gets it; the older one stays until told. */
static void test_what_the_platform_makes(void **state)
{
    struct world *w = *state;
    struct secret_made_facts f = {2, true, true, 1};
    make(w, "first", false);
    assert_int_equal(w->code, 0);
    settle(w);
    expect_password(w, "first");
    make(w, "other", false);
    assert_int_equal(w->code, ERR_CONFLICT); /* another leader was quicker */
    make(w, "second", true);
    w->taken = true;
    settle(w);
    expect_password(w, "first");
    make(w, "third", true);
    assert_int_equal(w->code, ERR_CONFLICT);
    secrets_step(w->h[2].secrets, "data.trade.api", &f, "platform", on_done, w);
    settle(w);
    expect_password(w, "second");
    const json_t *doc = documents_get(w->raw, "data.trade.api");
    assert_true(secrets_taken(w->h[0].secrets, doc));
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), 2); /* mending drops none */
    secrets_step(w->h[0].secrets, "data.trade.api", &f, "platform", on_done, w);
    settle(w);
    doc = documents_get(w->raw, "data.trade.api");
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), 1);
    expect_password(w, "second");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_set_and_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_that_may_not_cannot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_comes_and_a_grant_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_lost_register_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_old_versions_go_when_all_have_taken_the_new, setup, teardown),
        cmocka_unit_test_setup_teardown(test_from_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_platform_makes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
