/* SPDX-License-Identifier: Apache-2.0 */
/* Two controls of one platform over one store in memory. Its time runs five times as fast, so that
 * the shortest lease that it grants (2 s) ends within half a second of ours. */
#include "test.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "service/scheduler/scheduler.h"

#define PATIENCE_MS 10000u
#define STORE_SPEED 5u
#define TTL_MS 300u
#define DIGEST_A "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ROOT "/mcp/p/"

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
    "    regions: {ap-a: 2, ap-b: 1}\n";

struct control {
    struct world *w;
    struct scheduler *s;
    char cache[96];
    bool leads;
    int64_t epoch;
    int changes, troubles;
    bool blind; /* observe() has nothing to go by */
};

struct world {
    uv_loop_t loop;
    uv_timer_t tick;
    char dir[48];
    struct kv *kv;
    struct model *model;
    json_t *files, *none;
    int64_t revision;
    struct schedule_host hosts[3];
    struct control controls[2];
};

static void on_changed(void *ctx)
{
    ((struct control *)ctx)->changes++;
}

static bool observe(void *ctx, struct schedule_input *in)
{
    struct control *c = ctx;
    struct world *w = c->w;
    if (c->blind)
        return false;
    *in = (struct schedule_input){.model = w->model,
        .files = w->files,
        .revision = w->revision,
        .by = "tester",
        .hosts = w->hosts,
        .n_hosts = 3};
    return true;
}

static void on_note(void *ctx, const struct schedule_note *n)
{
}

static void on_leads(void *ctx, bool leads, int64_t epoch)
{
    struct control *c = ctx;
    c->leads = leads;
    c->epoch = epoch;
}

static void on_trouble(void *ctx, const struct err *e)
{
    ((struct control *)ctx)->troubles += e != NULL;
}

static const struct scheduler_handler handler = {.changed = on_changed,
    .observe = observe,
    .note = on_note,
    .leads = on_leads,
    .trouble = on_trouble};

static void on_tick(uv_timer_t *t)
{
    struct world *w = t->data;
    kv_mem_run(w->kv, clock_boot_ms() * STORE_SPEED);
}

static void start(struct world *w, int i, const char *host)
{
    struct control *c = &w->controls[i];
    c->w = w;
    snprintf(c->cache, sizeof c->cache, "%s/cache%d.json", w->dir, i);
    struct scheduler_config config = {
        .kv = w->kv, .platform = "p", .host = host, .cache_path = c->cache, .ttl_ms = TTL_MS};
    assert_int_equal(scheduler_new(&w->loop, &config, &handler, c, &c->s, NULL), 0);
}

static void stop(struct world *w, int i)
{
    scheduler_free(w->controls[i].s);
    w->controls[i] = (struct control){0};
}

#define PUMP_UNTIL(w, condition)                                                                   \
    do {                                                                                           \
        uint64_t end_ = clock_boot_ms() + PATIENCE_MS;                                             \
        while (!(condition) && clock_boot_ms() < end_)                                             \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                       \
        if (!(condition))                                                                          \
            fail_msg("not in time: %s", #condition);                                               \
    } while (0)

static void pump_ms(struct world *w, uint64_t ms)
{
    for (uint64_t end = clock_boot_ms() + ms; clock_boot_ms() < end;)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct err e = {0};
    memcpy(w->dir, "/tmp/mcp-schedule-XXXXXX", sizeof "/tmp/mcp-schedule-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->tick);
    w->tick.data = w;
    uv_timer_start(&w->tick, on_tick, 1, 1);
    w->kv = kv_mem_new();
    if (model_parse(platform, strlen(platform), "p", &w->model, NULL, &e) < 0)
        fail_msg("%s", e.message);
    w->files = json_pack("{s:s}", "images/api", DIGEST_A);
    w->none = json_array();
    w->revision = 1;
    for (int i = 0; i < 3; i++)
        w->hosts[i] = (struct schedule_host){
            .name = w->model->hosts[i].name, .heard = true, .usable = true, .units = w->none};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 2; i++)
        scheduler_free(w->controls[i].s);
    pump_ms(w, 5);
    kv_mem_run(w->kv, clock_boot_ms() * STORE_SPEED);
    kv_close(w->kv);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(file_remove_tree(w->dir, NULL), 0);
    json_decref(w->files);
    json_decref(w->none);
    model_free(w->model);
    free(w);
    return 0;
}

static const json_t *placed(struct world *w, int i, const char *region)
{
    return scheduler_placement(w->controls[i].s, region);
}

static int64_t epoch_of(struct world *w, int i, const char *region)
{
    return json_opt_int(placed(w, i, region), "epoch", 0);
}

static void test_one_leads_and_both_follow(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, w->controls[0].leads);
    start(w, 1, "b1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a") && placed(w, 1, "ap-a") && placed(w, 1, "ap-b"));
    assert_int_equal(json_array_size(json_object_get(placed(w, 1, "ap-a"), "instances")), 2);
    assert_true(json_equal((json_t *)placed(w, 0, "ap-a"), (json_t *)placed(w, 1, "ap-a")));
    pump_ms(w, 3 * TTL_MS);
    assert_true(w->controls[0].leads);
    assert_false(w->controls[1].leads);
    assert_int_equal(w->controls[0].epoch, 1);
}

static void test_a_change_is_written_once(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    w->revision = 2;
    scheduler_poke(w->controls[0].s);
    PUMP_UNTIL(w, json_opt_int(placed(w, 0, "ap-a"), "revision", 0) == 2);
    int64_t seq = json_opt_int(placed(w, 0, "ap-a"), "seq", 0);
    for (int i = 0; i < 5; i++) {
        scheduler_poke(w->controls[0].s);
        pump_ms(w, 60);
    }
    assert_int_equal(json_opt_int(placed(w, 0, "ap-a"), "seq", 0), seq);
}

static void test_a_successor_waits_for_the_lease_and_raises_the_epoch(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    start(w, 1, "b1");
    PUMP_UNTIL(w, placed(w, 1, "ap-a"));
    stop(w, 0); /* gives its lease back */
    PUMP_UNTIL(w, w->controls[1].leads);
    assert_int_equal(w->controls[1].epoch, 2);
    w->revision = 2;
    scheduler_poke(w->controls[1].s);
    PUMP_UNTIL(w, epoch_of(w, 1, "ap-a") == 2);
}

static void test_who_sees_less_than_others_stands_aside(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, w->controls[0].leads);
    start(w, 1, "a2");
    scheduler_stand_aside(w->controls[0].s, true);
    assert_false(scheduler_leads(w->controls[0].s));
    PUMP_UNTIL(w, w->controls[1].leads);
    assert_false(w->controls[0].leads);
    scheduler_stand_aside(w->controls[0].s, false);
    stop(w, 1);
    PUMP_UNTIL(w, w->controls[0].leads);
}

static void test_a_control_takes_its_predecessors_lease_over(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, w->controls[0].leads);
    uint64_t begun = clock_boot_ms();
    start(w, 1, "a1"); /* the same host: the other is dead, or this could not be */
    PUMP_UNTIL(w, w->controls[1].leads);
    assert_true(clock_boot_ms() - begun < TTL_MS);
    assert_int_equal(w->controls[1].epoch, 2);
}

struct done {
    bool done, succeeded;
    int64_t epoch;
};

static void on_epoch(void *ctx, int64_t epoch, const struct err *e)
{
    *(struct done *)ctx = (struct done){true, !e, epoch};
}

static void test_who_lost_the_epoch_writes_nothing_under_the_old_one(void **state)
{
    struct world *w = *state;
    struct done raised = {0};
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    kv_epoch_raise(w->kv, ROOT "epoch/scheduler", on_epoch, &raised);
    PUMP_UNTIL(w, raised.done);
    assert_int_equal(raised.epoch, 2);
    w->revision = 2;
    scheduler_poke(w->controls[0].s);
    PUMP_UNTIL(w, json_opt_int(placed(w, 0, "ap-a"), "revision", 0) == 2);
    assert_int_equal(epoch_of(w, 0, "ap-a"), 3); /* it had to become leader anew */
}

static void on_txn(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    *(struct done *)ctx = (struct done){true, succeeded && !e, revision};
}

static void put(struct world *w, const char *key, const json_t *doc)
{
    struct done d = {0};
    char *text = doc ? json_text(doc) : NULL;
    struct kv_op op = {.key = key, .value = text};
    kv_txn(w->kv, NULL, 0, &op, 1, on_txn, &d);
    free(text);
    PUMP_UNTIL(w, d.done);
    assert_true(d.succeeded);
}

static void test_what_others_write_is_loaded_again(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    json_t *other = json_deep_copy(placed(w, 0, "ap-a"));
    json_object_set_new(other, "unknown", json_string("kept"));
    json_object_set_new(other, "seq", json_integer(41));
    json_object_set_new(other, "instances", json_array());
    put(w, ROOT "placement/ap-a", other);
    json_decref(other);
    PUMP_UNTIL(w, json_opt_int(placed(w, 0, "ap-a"), "seq", 0) == 42);
    assert_int_equal(json_array_size(json_object_get(placed(w, 0, "ap-a"), "instances")), 2);
    assert_string_equal(json_opt_str(placed(w, 0, "ap-a"), "unknown", ""), "kept");
    put(w, ROOT "placement/ap-b", NULL);
    PUMP_UNTIL(w, placed(w, 0, "ap-b"));
}

static void test_without_the_store_nothing_changes_and_all_goes_on_after_it(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    kv_mem_set_down(w->kv, true);
    w->revision = 2;
    scheduler_poke(w->controls[0].s);
    PUMP_UNTIL(w, !w->controls[0].leads);
    pump_ms(w, TTL_MS);
    assert_int_equal(json_opt_int(placed(w, 0, "ap-a"), "revision", 0), 1);
    assert_true(w->controls[0].troubles > 0);
    kv_mem_set_down(w->kv, false);
    PUMP_UNTIL(w, json_opt_int(placed(w, 0, "ap-a"), "revision", 0) == 2);
}

static void test_a_restart_without_the_store_knows_the_last_placement(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
    stop(w, 0); /* writes what was still to be written to disk */
    pump_ms(w, 20);
    kv_mem_set_down(w->kv, true);
    start(w, 0, "a1");
    assert_int_equal(w->controls[0].changes, 1);
    assert_int_equal(json_array_size(json_object_get(placed(w, 0, "ap-a"), "instances")), 2);
    assert_false(scheduler_read(w->controls[0].s));
    kv_mem_set_down(w->kv, false);
    PUMP_UNTIL(w, scheduler_read(w->controls[0].s));
}

static void test_a_torn_cache_is_no_cache(void **state)
{
    struct world *w = *state;
    char path[96];
    snprintf(path, sizeof path, "%s/cache0.json", w->dir);
    assert_int_equal(file_write_durable(path, "{\"format\":1,", 12, 0600, NULL), 0);
    kv_mem_set_down(w->kv, true);
    start(w, 0, "a1");
    assert_null(placed(w, 0, "ap-a"));
    kv_mem_set_down(w->kv, false);
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
}

static void test_a_document_of_a_later_version_is_left_alone(void **state)
{
    struct world *w = *state;
    json_t *later = json_pack("{s:i,s:i,s:s}", "format", 7, "seq", 9, "region", "ap-a");
    put(w, ROOT "placement/ap-a", later);
    start(w, 0, "a1");
    PUMP_UNTIL(w, w->controls[0].troubles > 0);
    pump_ms(w, 100);
    assert_false(w->controls[0].leads);
    assert_true(json_equal(later, (json_t *)placed(w, 0, "ap-a")));
    json_decref(later);
}

static void test_nothing_is_decided_before_there_is_something_to_go_by(void **state)
{
    struct world *w = *state;
    start(w, 0, "a1");
    w->controls[0].blind = true;
    PUMP_UNTIL(w, w->controls[0].leads);
    pump_ms(w, 200);
    assert_null(placed(w, 0, "ap-a"));
    w->controls[0].blind = false;
    scheduler_poke(w->controls[0].s);
    PUMP_UNTIL(w, placed(w, 0, "ap-a"));
}

/* Stopped at any moment: no callback afterwards, nothing is left behind (teardown closes the loop). */
static void test_it_can_end_at_any_moment(void **state)
{
    struct world *w = *state;
    for (int turns = 0; turns < 40; turns++) {
        start(w, 0, "a1");
        for (int i = 0; i < turns; i++)
            uv_run(&w->loop, UV_RUN_ONCE);
        stop(w, 0);
        w->revision++;
    }
    start(w, 0, "a1");
    PUMP_UNTIL(w, json_opt_int(placed(w, 0, "ap-a"), "revision", 0) == w->revision);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_leads_and_both_follow),
        TEST(test_a_change_is_written_once),
        TEST(test_a_successor_waits_for_the_lease_and_raises_the_epoch),
        TEST(test_who_sees_less_than_others_stands_aside),
        TEST(test_a_control_takes_its_predecessors_lease_over),
        TEST(test_who_lost_the_epoch_writes_nothing_under_the_old_one),
        TEST(test_what_others_write_is_loaded_again),
        TEST(test_without_the_store_nothing_changes_and_all_goes_on_after_it),
        TEST(test_a_restart_without_the_store_knows_the_last_placement),
        TEST(test_a_torn_cache_is_no_cache),
        TEST(test_a_document_of_a_later_version_is_left_alone),
        TEST(test_nothing_is_decided_before_there_is_something_to_go_by),
        TEST(test_it_can_end_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
