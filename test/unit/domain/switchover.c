/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/replication/switchover.h"

static const struct replication_member members[] = {
    {.host = "hk1", .region = "hk", .address = "10.0.0.1", .port = 3306},
    {.host = "seoul1", .region = "seoul", .address = "10.0.0.2", .port = 3306},
    {.host = "late1", .region = "bkk", .address = "10.0.0.3", .port = 3306, .delay_ms = 3600000},
};

static void test_what_stands_in_the_way(void **state)
{
    static const struct {
        const char *to, *source, *target, *says; /* says NULL: nothing */
    } rows[] = {
        {"seoul1", "{\"state\":\"writable\"}", "{\"state\":\"replicating\",\"lag_ms\":40}", NULL},
        {"hk1", "null", "null", "hk1 is the source already"},
        {"nobody", "null", "null", "nobody holds no copy"},
        {"late1", "null", "null", "late1 is a delayed replica"},
        {"seoul1", "null", "{\"state\":\"replicating\",\"lag_ms\":4}", "the source, is not heard"},
        {"seoul1", "{\"state\":\"read-only\"}", "{\"state\":\"replicating\",\"lag_ms\":4}",
            "is read-only, not writable"},
        {"seoul1", "{\"state\":\"writable\"}", "null", "seoul1 is not heard"},
        {"seoul1", "{\"state\":\"writable\"}", "{\"state\":\"frozen\",\"lag_ms\":4}", "is frozen"},
        {"seoul1", "{\"state\":\"writable\"}", "{\"state\":\"replicating\",\"lag_ms\":null}",
            "the lag of seoul1 is not known"},
        {"seoul1", "{\"state\":\"writable\"}", "{\"state\":\"replicating\",\"lag_ms\":10001}",
            "10001 ms behind, the limit is 10000 ms"},
        {"seoul1", "{\"state\":\"writable\"}",
            "{\"state\":\"replicating\",\"lag_ms\":1,\"findings\":[{\"severity\":\"error\",\"text\":\"errant\"}]}",
            "seoul1: errant"},
    };
    _cleanup_json_ json_t *json = replication_doc_new(members, 3);
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(json, &d, &e), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *s = json_loads(rows[i].source, JSON_DECODE_ANY, NULL),
                              *t = json_loads(rows[i].target, JSON_DECODE_ANY, NULL);
        _cleanup_json_ json_t *list = switchover_obstacles(
            &d, rows[i].to, json_is_object(s) ? s : NULL, json_is_object(t) ? t : NULL, 10000);
        assert_int_equal(json_array_size(list), rows[i].says ? 1 : 0);
        if (rows[i].says)
            assert_non_null(strstr(json_string_value(json_array_get(list, 0)), rows[i].says));
    }
}

struct play {
    json_t *doc;
    struct switchover_run run;
    struct switchover_action a;
    int64_t now;
};

static void begin(struct play *p)
{
    _cleanup_json_ json_t *json = replication_doc_new(members, 2);
    *p = (struct play){.doc = switchover_begin(json, "seoul1", "kim", 10000, 1000), .now = 1000};
}

static void feed(struct play *p, const struct switchover_event *ev)
{
    json_t *doc = switchover_step(p->doc, &p->run, ev, (uint64_t)p->now, p->now, &p->a);
    json_decref(p->doc);
    p->doc = doc;
}

static void tick(struct play *p)
{
    feed(p, &(struct switchover_event){.kind = SWITCHOVER_TICK});
}

static void answer(struct play *p, const struct err *error)
{
    p->now += 10;
    feed(p, &(struct switchover_event){.kind = SWITCHOVER_ANSWER,
                .act = p->a.act,
                .id = p->a.id,
                .gtid = "1-1-7",
                .error = error});
}

static const char *step_of(const struct play *p)
{
    return json_opt_str(json_object_get(p->doc, "change"), "step", "ended");
}

static void test_from_hold_to_done(void **state)
{
    static const struct {
        const char *step, *host;
        enum switchover_act act;
        int64_t epoch;
    } rows[] = {
        {"hold", "hk1", SWITCHOVER_HOLD, 1},
        {"freeze", "hk1", SWITCHOVER_FREEZE, 1},
        {"equal", "seoul1", SWITCHOVER_EQUAL, 1},
        {"promote", "seoul1", SWITCHOVER_PROMOTE, 2},
        {"release", "hk1", SWITCHOVER_RELEASE, 2},
        {"reverse", "hk1", SWITCHOVER_FOLLOW, 2},
    };
    struct play p;
    begin(&p);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_string_equal(step_of(&p), rows[i].step);
        assert_int_equal(switchover_holds(json_object_get(p.doc, "change")), i < 3);
        tick(&p);
        assert_int_equal(p.a.act, rows[i].act);
        assert_string_equal(p.a.host, rows[i].host);
        assert_int_equal(p.a.epoch, rows[i].epoch);
        if (p.a.act == SWITCHOVER_EQUAL)
            assert_string_equal(p.a.gtid, "1-1-7");
        answer(&p, NULL);
    }
    const json_t *last = json_object_get(p.doc, "last");
    assert_string_equal(step_of(&p), "ended");
    assert_string_equal(json_opt_str(last, "outcome", ""), "done");
    assert_int_equal(json_opt_int(last, "pause_ms", 0), 50);
    const json_t *steps = json_object_get(last, "steps");
    assert_int_equal(json_array_size(steps), ARRAY_SIZE(rows));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const json_t *s = json_array_get(steps, i);
        assert_string_equal(json_opt_str(s, "step", ""), rows[i].step);
        assert_int_equal(json_opt_int(s, "at_ms", -1), 10 * i);
    }
    assert_string_equal(json_opt_str(p.doc, "source", ""), "seoul1");
    json_decref(p.doc);
}

static void test_what_is_not_answered_in_time_is_undone(void **state)
{
    struct play p;
    struct err lost = {0}, no = {0};
    begin(&p);
    tick(&p);
    answer(&p, NULL);
    tick(&p);
    err_set(&lost, ERR_TIMEOUT, "no answer");
    answer(&p, &lost);
    tick(&p);
    assert_int_equal(p.a.act, SWITCHOVER_NOTHING); /* not again at once */
    p.now += SWITCHOVER_AGAIN_MS;
    tick(&p);
    assert_int_equal(p.a.act, SWITCHOVER_FREEZE);
    p.now += 10000;
    answer(&p, &lost);
    tick(&p);
    assert_string_equal(step_of(&p), "undo");
    assert_string_equal(json_opt_str(json_object_get(p.doc, "change"), "why", ""),
        "hk1 did not do its step, freeze, in time");
    tick(&p);
    assert_int_equal(p.a.act, SWITCHOVER_RELEASE);
    err_set(&no, ERR_REFUSED, "no such thing");
    answer(&p, &no);
    const json_t *last = json_object_get(p.doc, "last");
    assert_string_equal(json_opt_str(last, "outcome", ""), "undone");
    assert_int_equal(json_opt_int(p.doc, "epoch", 0), 1);
    json_decref(p.doc);
}

static void test_a_refusal_ends_it_at_once(void **state)
{
    struct play p;
    struct err no = {0};
    begin(&p);
    tick(&p);
    err_set(&no, ERR_REFUSED, "the gate is not ours");
    answer(&p, &no);
    assert_string_equal(step_of(&p), "undo");
    assert_string_equal(
        json_opt_str(json_object_get(p.doc, "change"), "why", ""), "the gate is not ours");
    json_decref(p.doc);
}

static void test_after_the_promotion_nothing_goes_back(void **state)
{
    struct play p;
    struct err no = {0};
    begin(&p);
    for (int i = 0; i < 3; i++) {
        tick(&p);
        answer(&p, NULL);
    }
    tick(&p);
    err_set(&no, ERR_REFUSED, "disk full");
    answer(&p, &no);
    assert_string_equal(step_of(&p), "promote");
    p.now += SWITCHOVER_PROMOTE_MS;
    tick(&p);
    const json_t *last = json_object_get(p.doc, "last");
    assert_string_equal(json_opt_str(last, "outcome", ""), "partial");
    assert_string_equal(json_opt_str(p.doc, "source", ""), "seoul1");
    json_decref(p.doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_stands_in_the_way),
        cmocka_unit_test(test_from_hold_to_done),
        cmocka_unit_test(test_what_is_not_answered_in_time_is_undone),
        cmocka_unit_test(test_a_refusal_ends_it_at_once),
        cmocka_unit_test(test_after_the_promotion_nothing_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
