/* SPDX-License-Identifier: Apache-2.0 */
/* Two followers of one store, in virtual time. */
#include "test.h"

#include "base/str/str.h"
#include "service/documents/documents.h"

struct world {
    uv_loop_t loop;
    struct kv *kv;
    struct documents *d[2];
    int changes[2], synced[2];
    char last[2][256]; /* "name={json}" */
    int done, code;
};

struct side {
    struct world *w;
    int i;
};
static struct side sides[2];

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct side *s = ctx;
    _cleanup_free_ char *text = doc ? json_text(doc) : xstrdup("gone");
    s->w->changes[s->i]++;
    snprintf(s->w->last[s->i], sizeof s->w->last[0], "%s=%s", name, text);
}

static void on_synced(void *ctx)
{
    struct side *s = ctx;
    s->w->synced[s->i]++;
}

static void run(struct world *w)
{
    for (int i = 0; i < 20; i++) {
        kv_mem_run(w->kv, 1000);
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
}

static void run_ms(struct world *w, uint64_t ms)
{
    uint64_t end = uv_now(&w->loop) + ms;
    while (uv_now(&w->loop) < end) {
        kv_mem_run(w->kv, 1000);
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    run(w);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct documents_handler h = {on_changed, on_synced};
    uv_loop_init(&w->loop);
    w->kv = kv_mem_new();
    for (int i = 0; i < 2; i++) {
        sides[i] = (struct side){w, i};
        w->d[i] = documents_new(&w->loop, w->kv, "/mcp/p/host/", &h, &sides[i]);
    }
    run(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 2; i++)
        documents_free(w->d[i]);
    run(w);
    kv_close(w->kv);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

static void on_done(void *ctx, const json_t *doc, const struct err *e)
{
    struct world *w = ctx;
    w->done++;
    w->code = e ? e->code : 0;
}

static void assert_doc(struct world *w, int i, const char *name, const char *expect)
{
    const json_t *doc = documents_get(w->d[i], name);
    _cleanup_free_ char *text = doc ? json_text(doc) : xstrdup("none");
    assert_string_equal(text, expect);
}

static void test_merge_and_follow(void **state)
{
    struct world *w = *state;
    assert_true(documents_synced(w->d[1]));
    documents_merge(w->d[0], "hk1", json_pack("{s:i}", "a", 1), on_done, w);
    run(w);
    assert_int_equal(w->done, 1);
    assert_string_equal(w->last[1], "hk1={\"a\":1}");
    documents_merge(w->d[1], "hk1", json_pack("{s:i}", "b", 2), NULL, NULL);
    run(w);
    assert_doc(w, 0, "hk1", "{\"a\":1,\"b\":2}"); /* what another wrote survives */
    assert_doc(w, 1, "hk1", "{\"a\":1,\"b\":2}");
    int changes = w->changes[0];
    documents_merge(w->d[1], "hk1", json_pack("{s:i}", "b", 2), on_done, w);
    run(w);
    assert_int_equal(w->changes[0], changes); /* nothing new: nothing written */
    assert_int_equal(w->done, 2);
}

static int add_one(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    int64_t n = json_opt_int(old, "n", 0);
    if (n >= 20)
        return err_set(e, ERR_REFUSED, "enough");
    *ret = json_pack("{s:I}", "n", (json_int_t)n + 1);
    return 0;
}

/* Everybody reads the same before the first has written: one wins, the others go again. */
static void test_races(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 6; i++)
        documents_edit(w->d[i % 2], "count", add_one, on_done, w);
    run(w);
    assert_int_equal(w->done, 6);
    assert_int_equal(w->code, 0);
    assert_doc(w, 0, "count", "{\"n\":6}");
    assert_doc(w, 1, "count", "{\"n\":6}");
}

static int remove_it(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    if (!old)
        return err_set(e, ERR_NOT_FOUND, "no such document");
    *ret = NULL;
    return 0;
}

static void test_delete_and_refuse(void **state)
{
    struct world *w = *state;
    documents_merge(w->d[0], "x", json_pack("{s:i}", "n", 20), NULL, NULL);
    run(w);
    documents_edit(w->d[0], "x", add_one, on_done, w);
    run(w);
    assert_int_equal(w->code, ERR_REFUSED);
    documents_edit(w->d[0], "x", remove_it, on_done, w);
    run(w);
    assert_int_equal(w->code, 0);
    assert_string_equal(w->last[1], "x=gone");
    documents_edit(w->d[1], "x", remove_it, on_done, w);
    run(w);
    assert_int_equal(w->code, ERR_NOT_FOUND);
    assert_int_equal(json_object_size(documents_all(w->d[0])), 0);
}

/* While the store is away what was known stays; after it everything is read again. */
static void test_store_lost(void **state)
{
    struct world *w = *state;
    documents_merge(w->d[0], "hk1", json_pack("{s:i}", "a", 1), NULL, NULL);
    run(w);
    kv_mem_set_down(w->kv, true);
    documents_merge(w->d[0], "hk1", json_pack("{s:i}", "a", 2), on_done, w);
    run(w);
    assert_int_equal(w->code, ERR_UNAVAILABLE);
    assert_doc(w, 1, "hk1", "{\"a\":1}");
    int synced = w->synced[1];
    kv_mem_set_down(w->kv, false);
    documents_free(w->d[1]); /* as a restart does */
    struct documents_handler h = {on_changed, on_synced};
    w->d[1] = documents_new(&w->loop, w->kv, "/mcp/p/host/", &h, &sides[1]);
    run_ms(w, 300);
    assert_true(w->synced[1] > synced);
    documents_merge(w->d[0], "hk1", json_pack("{s:i}", "a", 3), on_done, w);
    run(w);
    assert_int_equal(w->code, 0);
    assert_doc(w, 1, "hk1", "{\"a\":3}");
}

static int claim(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    if (old)
        return err_set(e, ERR_REFUSED, "somebody has it");
    *ret = json_pack("{s:s}", "by", ctx);
    return 0;
}

static void on_claimed(void *ctx, const json_t *doc, const struct err *e)
{
    assert_null(e);
    assert_string_equal(json_opt_str(doc, "by", ""), ctx);
}

/* Who wrote it, and did not hear so, does not take its own write for another's. */
static void test_answer_lost(void **state)
{
    struct world *w = *state;
    kv_local_lose_answers(w->kv, 1);
    documents_edit(w->d[0], "it", claim, on_claimed, "me");
    run(w);
    assert_doc(w, 1, "it", "{\"by\":\"me\"}");
    kv_local_lose_answers(w->kv, 1);
    documents_edit(w->d[0], "count", add_one, on_done, w);
    run(w);
    assert_int_equal(w->done, 1);
    assert_doc(w, 1, "count", "{\"n\":1}"); /* once */
}

static void test_what_was_heard_last_refuses_nobody(void **state)
{
    struct world *w = *state;
    documents_edit(w->d[1], "it", claim, on_claimed, "them");
    run(w);
    assert_doc(w, 0, "it", "{\"by\":\"them\"}");
    documents_edit(w->d[1], "it", remove_it, on_done, w);
    documents_edit(w->d[0], "it", claim, on_claimed, "me"); /* has not heard that it is free */
    assert_doc(w, 0, "it", "{\"by\":\"them\"}");
    run(w);
    assert_doc(w, 1, "it", "{\"by\":\"me\"}");
}

static int64_t guard_mod;

static void on_guard(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    guard_mod = n ? pairs[0].mod_revision : 0;
}

static void on_raised(void *ctx, int64_t epoch, const struct err *e)
{
    assert_null(e);
}

/* Who leads no more writes no more, whatever it still has on its way. */
static void test_guarded(void **state)
{
    struct world *w = *state;
    kv_epoch_raise(w->kv, "/mcp/p/epoch/x", on_raised, NULL);
    run(w);
    kv_get(w->kv, "/mcp/p/epoch/x", on_guard, NULL);
    run(w);
    documents_edit_under(w->d[0], "count", "/mcp/p/epoch/x", guard_mod, add_one, on_done, w);
    run(w);
    assert_int_equal(w->code, 0);
    assert_doc(w, 1, "count", "{\"n\":1}");
    kv_epoch_raise(w->kv, "/mcp/p/epoch/x", on_raised, NULL);
    run(w);
    documents_edit_under(w->d[0], "count", "/mcp/p/epoch/x", guard_mod, add_one, on_done, w);
    run(w);
    assert_int_equal(w->code, ERR_CONFLICT);
    assert_doc(w, 1, "count", "{\"n\":1}");
}

static void test_how_fresh(void **state)
{
    struct world *w = *state;
    run(w);
    uint64_t read_ms = documents_read_ms(w->d[0]);
    assert_true(read_ms > 0);
    documents_refresh(w->d[0], 20);
    run_ms(w, 60);
    uint64_t later_ms = documents_read_ms(w->d[0]);
    assert_true(later_ms > read_ms);
    kv_mem_set_down(w->kv, true); /* what was known stays, and grows old */
    run_ms(w, 60);
    uint64_t last_ms = documents_read_ms(w->d[0]);
    run_ms(w, 60);
    assert_int_equal(documents_read_ms(w->d[0]), last_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_merge_and_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guarded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_how_fresh, setup, teardown),
        cmocka_unit_test_setup_teardown(test_races, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_and_refuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_heard_last_refuses_nobody, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
