/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/admit/admit.h"

static const char platform[] =
    "platform: p\n"
    "domain: example.com\n"
    "regions:\n"
    "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "  kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "hosts:\n"
    "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"
    "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"
    "state: {members: [hk1]}\n"
    "data: {trade: {source: hk, replicas: [kr]}}\n"
    "events: {outbox: trade}\n"
    "routing: {nameservers: {ns1: hk, ns2: kr}, default: [hk], on_failure: [dr, main]}\n"
    "modules:\n"
    "  web: {image: oci:a, port: 80, route: {names: [www.example.com], path: /, auth: none},\n"
    "    regions: {hk: 1, kr: {standby: 1}}}\n"
    "  wms: {image: oci:a, port: 80, regions: {hk: 1, kr: {standby: 1}}}\n"
    "  worker: {image: oci:a, regions: {hk: 1, kr: {standby: 1}}, needs: [{events: consume, queue: "
    "q}]}\n"
    "  lone: {image: oci:a, regions: {hk: 1}, needs: [{events: consume, queue: q}]}\n";

struct fixture {
    struct model *model;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err e = {0};
    struct str errors = STR_INIT;
    if (model_parse(platform, strlen(platform), "p", &f->model, &errors, &e) < 0)
        fail_msg("%s", str_cstr(&errors));
    str_done(&errors);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    model_free(f->model);
    free(f);
    return 0;
}

static const struct admit_wish promoted = {.region = "kr",
    .from = "hk",
    .why = "promotion",
    .by = "failover",
    .database = "trade",
    .database_epoch = 2,
    .wall_ms = 5};

enum { NONE, MOVED, BACK };

static json_t *doc_of(int kind)
{
    json_t *moved = kind == NONE ? NULL : admit_move(NULL, &promoted);
    if (kind != BACK)
        return moved;
    json_t *back = admit_back(moved, "ann", 6);
    json_decref(moved);
    return back;
}

/* hk is active, kr has the standby. */
static const struct {
    const char *name, *module;
    int doc;
    bool fresh;
    enum admit_answer hk, kr;
} cases[] = {
    {"as declared", "wms", NONE, true, ADMIT_TAKES, ADMIT_WAITS},
    {"moved", "wms", MOVED, true, ADMIT_LOST, ADMIT_TAKES},
    {"moved, with routes", "web", MOVED, true, ADMIT_TAKES, ADMIT_TAKES},
    {"back", "wms", BACK, true, ADMIT_TAKES, ADMIT_WAITS},
    {"nobody reads the store", "wms", NONE, false, ADMIT_TAKES, ADMIT_WAITS},
    {"a consumer", "worker", NONE, true, ADMIT_TAKES, ADMIT_WAITS},
    {"a consumer that moved", "worker", MOVED, true, ADMIT_LOST, ADMIT_TAKES},
    {"a blind consumer", "worker", NONE, false, ADMIT_BLIND, ADMIT_WAITS},
    {"a blind consumer that moved", "worker", MOVED, false, ADMIT_LOST, ADMIT_BLIND},
    {"a blind consumer without standby", "lone", NONE, false, ADMIT_TAKES, ADMIT_WAITS},
};

static void test_who_is_admitted(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_json_ json_t *doc = doc_of(cases[i].doc);
        struct admit_case c = {.module = model_find_module(f->model, cases[i].module),
            .region = "hk",
            .doc = doc,
            .fresh = cases[i].fresh};
        enum admit_answer hk = admit_judge(&c);
        c.region = "kr";
        c.standby = true;
        enum admit_answer kr = admit_judge(&c);
        if (hk != cases[i].hk || kr != cases[i].kr)
            fail_msg("%s: hk \"%s\", kr \"%s\"", cases[i].name, admit_words(hk), admit_words(kr));
        bool both = hk == ADMIT_TAKES && kr == ADMIT_TAKES;
        assert_false(both && admit_is_exclusive(c.module));
    }
}

/* Only a consumer, only where it is admitted now, and only for a while. */
static void test_whoever_takes_over_gives_the_other_time(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *module;
        int doc;
        enum admit_answer hk, kr;
    } rows[] = {{"worker", NONE, ADMIT_TAKES, ADMIT_WAITS}, {"worker", MOVED, ADMIT_LOST, ADMIT_SOON},
        {"worker", BACK, ADMIT_SOON, ADMIT_WAITS}, {"wms", MOVED, ADMIT_LOST, ADMIT_TAKES}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *doc = doc_of(rows[i].doc);
        struct admit_case hk = {.module = model_find_module(f->model, rows[i].module),
            .region = "hk",
            .doc = doc,
            .fresh = true,
            .settling = true};
        struct admit_case kr = hk;
        kr.region = "kr";
        kr.standby = true;
        assert_int_equal(admit_judge(&hk), rows[i].hk);
        assert_int_equal(admit_judge(&kr), rows[i].kr);
    }
}

/* One document, two hosts that read it when they can, at most REFRESH apart while they reach the store: whatever the
 * one has not read, no two of them consume at any moment. */
static void test_no_two_regions_consume_at_once(void **state)
{
    struct fixture *f = *state;
    enum { REFRESH = 3000, STEP = 500 };
    _cleanup_json_ json_t *moved = doc_of(MOVED), *back = doc_of(BACK);
    for (unsigned cut_ms = 0; cut_ms < 40000; cut_ms += 700) /* how long hk does not reach the store */
        for (unsigned at_ms = 0; at_ms < 40000; at_ms += 1900) { /* the admission, after the cut */
            const json_t *seen[2] = {NULL, NULL};
            uint64_t read[2] = {0}, learned[2] = {0};
            for (uint64_t now = 20000; now < 120000; now += STEP) {
                uint64_t cut = 30000, written = cut + at_ms, returned = written + 45000;
                const json_t *doc = now >= returned ? back : now >= written ? moved : NULL;
                bool takes[2];
                for (int h = 0; h < 2; h++) {
                    bool reaches = h || now < cut || now >= cut + cut_ms;
                    if (reaches && now >= read[h] + REFRESH) {
                        learned[h] = seen[h] == doc ? learned[h] : now;
                        read[h] = now;
                        seen[h] = doc;
                    }
                    struct admit_case c = {.module = model_find_module(f->model, "worker"),
                        .region = h ? "kr" : "hk",
                        .standby = h,
                        .doc = seen[h],
                        .fresh = now - read[h] < ADMIT_FRESH_MS,
                        .settling = seen[h] && now - learned[h] < ADMIT_SETTLE_MS};
                    takes[h] = admit_judge(&c) == ADMIT_TAKES;
                }
                if (takes[0] && takes[1])
                    fail_msg("both at %llu: cut %u, admitted after %u", (unsigned long long)now, cut_ms,
                        at_ms);
            }
        }
}

static void test_a_document_that_is_none_of_ours(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *doc = json_pack("{s:i,s:s,s:b}", "format", 2, "region", "kr", "standbys", 1);
    struct admit_case c = {
        .module = model_find_module(f->model, "wms"), .region = "kr", .standby = true, .doc = doc};
    assert_int_equal(admit_judge(&c), ADMIT_WAITS);
}

static void test_changes(void **state)
{
    _cleanup_json_ json_t *first = admit_move(NULL, &promoted),
                          *again = admit_move(first, &promoted);
    assert_ptr_equal(first, again);
    assert_int_equal(json_opt_int(first, "epoch", 0), 1);
    _cleanup_json_ json_t *back = admit_back(first, "ann", 9), *twice = admit_back(back, "ann", 10);
    assert_ptr_equal(back, twice);
    assert_int_equal(json_opt_int(back, "epoch", 0), 2);
    assert_string_equal(json_opt_str(back, "region", ""), "hk");
    assert_string_equal(json_opt_str(back, "from", ""), "kr");
    /* An act that is repeated late does not undo what a person did since. */
    _cleanup_json_ json_t *late = admit_move(back, &promoted);
    assert_ptr_equal(late, back);
    struct admit_wish next = promoted;
    next.database_epoch = 3;
    _cleanup_json_ json_t *moved = admit_move(back, &next), *none = admit_back(NULL, "ann", 1);
    assert_true(admit_has_moved_to(moved, "kr"));
    assert_int_equal(json_opt_int(moved, "epoch", 0), 3);
    assert_null(none);
}

static void test_where_it_is_at_home(void **state)
{
    struct fixture *f = *state;
    const struct model_module *wms = model_find_module(f->model, "wms");
    assert_string_equal(admit_main(f->model, wms)->name, "hk");
    assert_true(admit_has_standby(wms, "kr") && admit_has_standby(wms, NULL));
    assert_false(admit_has_standby(wms, "hk"));
}

/* ---- failing alone */

struct alone {
    struct admit_watch w;
    struct admit_seen seen;
    uint64_t now;
};

static struct alone begin(struct fixture *f)
{
    return (struct alone){.now = 1000,
        .seen = {.module = model_find_module(f->model, "wms"),
            .main = "hk",
            .standby = "kr",
            .standby_ready = 1,
            .source_lives = true}};
}

/* The first act within that many seconds, or none; ret_s: when. */
static enum admit_act run(struct alone *a, unsigned seconds, unsigned *ret_s)
{
    for (*ret_s = 0; *ret_s < seconds; (*ret_s)++, a->now += 1000) {
        struct admit_action act;
        admit_watch_step(&a->w, &a->seen, a->now, &act);
        if (act.act != ADMIT_NOTHING)
            return act.act;
    }
    return ADMIT_NOTHING;
}

static void test_a_module_fails_alone(void **state)
{
    unsigned s;
    struct alone a = begin(*state);
    a.seen.main_ready = 1;
    assert_int_equal(run(&a, 100, &s), ADMIT_NOTHING);
    a.seen.main_ready = 0;
    assert_int_equal(run(&a, 100, &s), ADMIT_MOVE);
    assert_int_equal(s, 15);
}

static void test_a_moment_is_none(void **state)
{
    unsigned s;
    struct alone a = begin(*state);
    for (int i = 0; i < 5; i++) {
        a.seen.main_ready = 1;
        assert_int_equal(run(&a, 2, &s), ADMIT_NOTHING);
        a.seen.main_ready = 0;
        assert_int_equal(run(&a, 14, &s), ADMIT_NOTHING);
    }
}

static void test_what_begins_has_time(void **state)
{
    unsigned s;
    struct alone a = begin(*state);
    a.seen.placed_ms = 30000;
    assert_int_equal(run(&a, 100, &s), ADMIT_NOTHING);
    a.seen.placed_ms = ADMIT_SETTLED_MS; /* as a new leader finds it */
    assert_int_equal(run(&a, 100, &s), ADMIT_MOVE);
}

static void test_what_forbids_it(void **state)
{
    unsigned s;
    struct admit_action act;
    struct alone a = begin(*state);
    a.w.was_ready = true;
    a.seen.source_lives = false;
    assert_int_equal(run(&a, 100, &s), ADMIT_NOTHING);
    a.seen.source_lives = true;
    a.seen.rolls_out = true;
    assert_int_equal(run(&a, 100, &s), ADMIT_NOTHING);
    a.seen.rolls_out = false;
    a.seen.standby_ready = 0;
    admit_watch_step(&a.w, &a.seen, a.now, &act);
    assert_string_equal(act.note, "no instance is ready in hk, and no standby in kr");
    admit_watch_step(&a.w, &a.seen, a.now + 1000, &act);
    assert_string_equal(act.note, ""); /* told once */
    a.seen.standby_ready = 1;
    assert_int_equal(run(&a, 1, &s), ADMIT_MOVE);
}

static void test_the_way_back(void **state)
{
    unsigned s;
    struct admit_action act;
    struct alone a = begin(*state);
    struct admit_wish alone = {.region = "kr", .from = "hk", .why = "module", .by = "platform"};
    _cleanup_json_ json_t *doc = admit_move(NULL, &alone);
    a.seen.doc = doc;
    a.seen.main_ready = 1;
    a.seen.source_back = true;
    assert_int_equal(run(&a, 60, &s), ADMIT_NOTHING);
    admit_watch_step(&a.w, &a.seen, a.now, &act); /* never by itself */
    assert_int_equal(act.act, ADMIT_NOTHING);
    assert_non_null(strstr(act.note, "`mcp failback wms`"));
    _cleanup_json_ json_t *by_promotion = admit_move(NULL, &promoted);
    a.seen.doc = by_promotion;
    a.seen.source_back = false;
    assert_int_equal(run(&a, 100, &s), ADMIT_NOTHING);
    a.seen.source_back = true; /* a person has moved it back */
    assert_int_equal(run(&a, 100, &s), ADMIT_BACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_is_admitted, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_whoever_takes_over_gives_the_other_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_two_regions_consume_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_document_that_is_none_of_ours, setup, teardown),
        cmocka_unit_test(test_changes),
        cmocka_unit_test_setup_teardown(test_where_it_is_at_home, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_module_fails_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_moment_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_begins_has_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_forbids_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_way_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
