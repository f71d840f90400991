/* SPDX-License-Identifier: Apache-2.0 */
/* Two controls of one platform over one store (SQLite in a file, so that a second handle and a
 * restart are real). */
#include "test.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "service/revisions/revisions.h"

#define PATIENCE_MS 10000u

/* A way to the store over which no watch tells anything, as to a member that was just cut off. */
struct deaf {
    struct kv base;
    struct kv *kv;
};

struct host {
    struct revisions *revisions;
    bool is_deaf;
    struct deaf deaf;
    char cache[96];
    int64_t seen; /* the revision that changed() told last */
    int changes;
    int connects, disconnects;
};

struct world {
    uv_loop_t loop;
    char dir[48];
    struct kv *kv;
    struct host hosts[2];
};

struct applied {
    bool done;
    int64_t number;
    bool unchanged;
    int code;
};

static void on_changed(void *ctx, const json_t *revision)
{
    struct host *h = ctx;
    h->seen = json_opt_int(revision, "revision", 0);
    h->changes++;
}

static void on_connected(void *ctx, bool connected, const struct err *e)
{
    struct host *h = ctx;
    if (connected)
        h->connects++;
    else
        h->disconnects++;
}

static void on_applied(void *ctx, int64_t number, bool unchanged, const struct err *e)
{
    *(struct applied *)ctx = (struct applied){true, number, unchanged, e ? e->code : 0};
}

static void pump_until(struct world *w, const bool *done)
{
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (!*done && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_true(*done);
}

static void pump_seen(struct world *w, const struct host *h, int64_t number)
{
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (h->seen != number && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_int_equal(h->seen, number);
}

static void start_host(struct world *w, int i)
{
    struct host *h = &w->hosts[i];
    snprintf(h->cache, sizeof h->cache, "%s/cache%d.json", w->dir, i);
    struct kv *kv = h->is_deaf ? &h->deaf.base : w->kv;
    struct revisions_config c = {.kv = kv, .platform = "p", .cache_path = h->cache};
    struct revisions_handler handler = {.changed = on_changed, .connected = on_connected};
    assert_int_equal(revisions_new(&w->loop, &c, &handler, h, &h->revisions, NULL), 0);
}

static struct applied apply(struct world *w, int host, const char *content, int64_t expect)
{
    struct applied a = {0};
    json_t *platform = json_pack("{s:s}", "platform", content);
    json_t *files = json_object();
    revisions_apply(
        w->hosts[host].revisions, platform, files, "tester", "", expect, on_applied, &a);
    json_decref(platform); /* the service keeps its own copy */
    json_decref(files);
    pump_until(w, &a.done);
    return a;
}

static void open_store(struct world *w)
{
    char path[96];
    snprintf(path, sizeof path, "%s/state.sqlite", w->dir);
    assert_int_equal(kv_sqlite_open(&w->loop, path, &w->kv, NULL), 0);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    memcpy(w->dir, "/tmp/mcp-revisions-XXXXXX", sizeof "/tmp/mcp-revisions-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    uv_loop_init(&w->loop);
    open_store(w);
    start_host(w, 0);
    start_host(w, 1);
    *state = w;
    return 0;
}

static void stop(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        revisions_free(w->hosts[i].revisions);
        w->hosts[i].revisions = NULL;
    }
    kv_close(w->kv);
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static int teardown(void **state)
{
    struct world *w = *state;
    stop(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(file_remove_tree(w->dir, NULL), 0);
    free(w);
    return 0;
}

static void test_every_host_sees_the_next_number(void **state)
{
    struct world *w = *state;
    assert_int_equal(apply(w, 0, "a", 0).number, 1);
    pump_seen(w, &w->hosts[0], 1);
    pump_seen(w, &w->hosts[1], 1);
    assert_int_equal(apply(w, 1, "b", 1).number, 2);
    pump_seen(w, &w->hosts[0], 2);
    pump_seen(w, &w->hosts[1], 2);
    assert_true(revisions_connected(w->hosts[0].revisions));
}

static void test_the_same_again_writes_nothing(void **state)
{
    struct world *w = *state;
    apply(w, 0, "a", -1);
    struct applied again = apply(w, 1, "a", -1);
    assert_true(again.unchanged);
    assert_int_equal(again.number, 1);
}

static void test_expectation_refuses_a_lost_race(void **state)
{
    struct world *w = *state;
    apply(w, 0, "a", -1);
    assert_int_equal(apply(w, 1, "b", 0).code, ERR_CONFLICT);
    pump_seen(w, &w->hosts[1], 1);
}

static void test_racing_applies_all_get_their_own_number(void **state)
{
    struct world *w = *state;
    struct applied a[4] = {0};
    json_t *files = json_object();
    for (int i = 0; i < 4; i++) {
        json_t *platform = json_pack("{s:i}", "content", i);
        revisions_apply(w->hosts[i % 2].revisions, platform, files, "t", "", -1, on_applied, &a[i]);
        json_decref(platform);
    }
    json_decref(files);
    unsigned got = 0;
    for (int i = 0; i < 4; i++) {
        pump_until(w, &a[i].done);
        assert_int_equal(a[i].code, 0);
        got |= 1u << a[i].number;
    }
    assert_int_equal(got, 0x1e);
    pump_seen(w, &w->hosts[0], 4);
    pump_seen(w, &w->hosts[1], 4);
}

static void test_restart_without_the_store_uses_the_cache(void **state)
{
    struct world *w = *state;
    apply(w, 0, "a", -1);
    pump_seen(w, &w->hosts[0], 1);
    pump_seen(w, &w->hosts[1], 1);
    stop(w);
    w->hosts[0].seen = w->hosts[1].seen = 0;
    w->kv = kv_mem_new();
    kv_mem_set_down(w->kv, true);
    start_host(w, 0); /* changed() comes from inside: nothing has to answer */
    assert_int_equal(w->hosts[0].seen, 1);
    assert_false(revisions_connected(w->hosts[0].revisions));
    revisions_free(w->hosts[0].revisions);
    w->hosts[0].revisions = NULL;
    kv_mem_run(w->kv, 1);
    kv_close(w->kv);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    open_store(w);
    start_host(w, 0);
    start_host(w, 1);
}

static void test_torn_cache_is_no_revision(void **state)
{
    struct world *w = *state;
    apply(w, 0, "a", -1);
    pump_seen(w, &w->hosts[0], 1);
    pump_seen(w, &w->hosts[1], 1);
    stop(w);
    assert_int_equal(file_write(w->hosts[0].cache, "{\"format\":1,\"revi", 16, 0600, NULL), 0);
    w->hosts[0].seen = 0;
    open_store(w);
    start_host(w, 0);
    assert_int_equal(w->hosts[0].seen, 0);
    start_host(w, 1);
    pump_seen(w, &w->hosts[0], 1); /* the store has it */
}

static struct kv *behind(struct kv *kv)
{
    return CONTAINER_OF(kv, struct deaf, base)->kv;
}

static void deaf_range(struct kv *kv, const char *prefix, bool exact, kv_range_fn fn, void *ctx)
{
    behind(kv)->ops->range(behind(kv), prefix, exact, fn, ctx);
}

static void deaf_txn(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp,
    const struct kv_op *ops, size_t n_ops, kv_txn_fn fn, void *ctx)
{
    kv_txn(behind(kv), cmp, n_cmp, ops, n_ops, fn, ctx);
}

static struct kv_watch *deaf_watch(
    struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx)
{
    return (struct kv_watch *)kv; /* only told apart from none */
}

static void deaf_unwatch(struct kv *kv, struct kv_watch *watch)
{
}

static const struct kv_ops deaf_ops = {
    .range = deaf_range, .txn = deaf_txn, .watch = deaf_watch, .unwatch = deaf_unwatch};

static void make_deaf(struct world *w, int i)
{
    struct host *h = &w->hosts[i];
    revisions_free(h->revisions);
    h->deaf = (struct deaf){.base.ops = &deaf_ops, .kv = w->kv};
    h->is_deaf = true;
    start_host(w, i);
}

static void on_fresh(void *ctx, const json_t *revision)
{
    *(struct applied *)ctx =
        (struct applied){true, json_opt_int(revision, "revision", 0), false, 0};
}

static int64_t fresh(struct world *w, int i)
{
    struct applied a = {0};
    revisions_fresh(w->hosts[i].revisions, on_fresh, &a);
    pump_until(w, &a.done);
    return a.number;
}

/* Its watch is behind: whoever asks it is told what holds, and may apply upon that. */
static void test_asked_while_the_watch_is_behind(void **state)
{
    struct world *w = *state;
    apply(w, 0, "a", -1);
    make_deaf(w, 1);
    pump_seen(w, &w->hosts[1], 1);
    w->hosts[1].changes = 0;
    apply(w, 0, "b", -1);
    assert_int_equal(revisions_number(w->hosts[1].revisions), 1);
    assert_int_equal(fresh(w, 1), 2);
    assert_int_equal(w->hosts[1].seen, 2); /* and runs it */
    assert_int_equal(apply(w, 1, "c", 2).number, 3);
    assert_int_equal(w->hosts[1].seen, 3); /* its own needs no watch */
    assert_int_equal(w->hosts[1].changes, 2);
}

/* The store holds the write and the answer did not come: it is no conflict with somebody. */
static void test_answer_to_an_apply_is_lost(void **state)
{
    struct world *w = *state;
    kv_local_lose_answers(w->kv, 1);
    struct applied a = apply(w, 0, "a", 0);
    assert_int_equal(a.code, 0);
    assert_int_equal(a.number, 1);
    assert_false(a.unchanged);
    kv_local_lose_answers(w->kv, 2);
    assert_int_equal(apply(w, 0, "b", 1).number, 2);
    assert_int_equal(apply(w, 1, "c", 1).code, ERR_CONFLICT);
}

static void test_asked_without_the_store(void **state)
{
    struct world *w = *state;
    assert_int_equal(fresh(w, 0), 0);
    apply(w, 0, "a", -1);
    kv_mem_set_down(w->kv, true);
    assert_int_equal(fresh(w, 0), 1);
    kv_mem_set_down(w->kv, false);
}

static void on_get(void *ctx, const json_t *revision, const struct err *e)
{
    struct applied *a = ctx;
    *a = (struct applied){
        true, e ? 0 : json_opt_int(revision, "revision", 0), false, e ? e->code : 0};
}

static void on_list(void *ctx, const json_t *list, const struct err *e)
{
    struct applied *a = ctx;
    assert_null(e);
    *a = (struct applied){true, (int64_t)json_array_size(list), false,
        (int)json_opt_int(json_array_get(list, 0), "revision", 0)};
}

static void test_history_is_kept_and_bounded(void **state)
{
    struct world *w = *state;
    struct applied a = {0};
    revisions_get(w->hosts[0].revisions, 0, on_get, &a);
    pump_until(w, &a.done);
    assert_int_equal(a.code, ERR_NOT_FOUND);
    for (int i = 1; i <= REVISIONS_KEPT + 3; i++) {
        char content[16];
        snprintf(content, sizeof content, "c%d", i);
        assert_int_equal(apply(w, 0, content, -1).number, i);
    }
    a = (struct applied){0};
    revisions_list(w->hosts[0].revisions, on_list, &a);
    pump_until(w, &a.done);
    assert_int_equal(a.number, REVISIONS_KEPT);
    assert_int_equal(a.code, REVISIONS_KEPT + 3);
    a = (struct applied){0};
    revisions_get(w->hosts[1].revisions, 3, on_get, &a);
    pump_until(w, &a.done);
    assert_int_equal(a.code, ERR_NOT_FOUND);
    a = (struct applied){0};
    revisions_get(w->hosts[1].revisions, 4, on_get, &a);
    pump_until(w, &a.done);
    assert_int_equal(a.number, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_host_sees_the_next_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_again_writes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expectation_refuses_a_lost_race, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_racing_applies_all_get_their_own_number, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_restart_without_the_store_uses_the_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_cache_is_no_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_asked_while_the_watch_is_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_to_an_apply_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_asked_without_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_is_kept_and_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
