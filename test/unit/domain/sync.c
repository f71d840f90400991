/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/sync.h"

#include "test.h"

struct world {
    json_t *doc;
    struct sync_run run;
    struct sync_facts f;
    uint64_t now_ms;
};

static struct world begin(void)
{
    return (struct world){.doc = json_pack("{s:i,s:n}", "epoch", 1, "change"),
        .now_ms = 1000,
        .f = {.required = true, .source_writable = true, .member = "sl1", .follows = true}};
}

/* Steps each half second; what the source does by the document is what its server does. */
static void run_for(struct world *w, uint64_t ms)
{
    for (uint64_t end = w->now_ms + ms; w->now_ms < end; w->now_ms += 500) {
        json_t *next = sync_step(w->doc, &w->run, &w->f, w->now_ms, 0);
        json_decref(w->doc);
        w->doc = next;
        w->f.firm = sync_waits(next);
        w->f.clients = w->f.firm && w->f.follows;
    }
}

static void test_it_is_tried_before_it_is_published(void **state)
{
    struct world w = begin();
    run_for(&w, 2500);
    assert_false(sync_waits(w.doc));
    run_for(&w, 1500);
    assert_true(sync_waits(w.doc)); /* the server waits first ... */
    run_for(&w, 1000);
    assert_string_equal(sync_host(w.doc), "sl1"); /* ... and only then it is promised */
    json_decref(w.doc);
}

static void test_a_try_without_a_replica_ends(void **state)
{
    struct world w = begin();
    run_for(&w, 3500);
    assert_true(sync_waits(w.doc) && !sync_host(w.doc));
    w.f.clients = 0;
    for (int i = 0; i < 24; i++) {
        json_t *next = sync_step(w.doc, &w.run, &w.f, w.now_ms += 500, 0);
        json_decref(w.doc);
        w.doc = next;
    }
    assert_null(sync_host(w.doc));
    assert_false(sync_waits(w.doc));
    run_for(&w, 10000); /* not again at once */
    assert_false(sync_waits(w.doc));
    json_decref(w.doc);
}

static void test_who_does_not_acknowledge_leaves(void **state)
{
    struct world w = begin();
    run_for(&w, 6000);
    assert_non_null(sync_host(w.doc));
    w.f.stalled_ms = 2500;
    run_for(&w, 2000);
    assert_non_null(sync_host(w.doc));
    w.f.stalled_ms = 3000;
    run_for(&w, 500);
    assert_null(sync_host(w.doc));
    assert_false(sync_waits(w.doc));
    json_decref(w.doc);
}

static void test_who_is_away_leaves(void **state)
{
    struct world w = begin();
    run_for(&w, 6000);
    w.f.follows = false;
    run_for(&w, 7500);
    assert_non_null(sync_host(w.doc));
    w.f.member = NULL; /* a second prompt replica: neither has everything */
    run_for(&w, 1500);
    assert_null(sync_host(w.doc));
    json_decref(w.doc);
}

static void test_a_change_under_way_is_left_alone(void **state)
{
    struct world w = begin();
    run_for(&w, 6000);
    json_object_set_new(w.doc, "change", json_object());
    w.f.stalled_ms = 60000;
    run_for(&w, 20000);
    assert_non_null(sync_host(w.doc)); /* what a failover goes by stays what it was */
    json_decref(w.doc);
}

static void test_async_publishes_nobody(void **state)
{
    struct world w = begin();
    run_for(&w, 6000);
    w.f.required = false;
    run_for(&w, 500);
    assert_false(sync_waits(w.doc));
    run_for(&w, 20000);
    assert_false(sync_waits(w.doc));
    json_decref(w.doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_tried_before_it_is_published),
        cmocka_unit_test(test_a_try_without_a_replica_ends),
        cmocka_unit_test(test_who_does_not_acknowledge_leaves),
        cmocka_unit_test(test_who_is_away_leaves),
        cmocka_unit_test(test_a_change_under_way_is_left_alone),
        cmocka_unit_test(test_async_publishes_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
