/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/failover/doc.h"

#define HOUR (3600 * 1000)

static const struct model_failover declared = {
    .automatic = true, .lease_ms = 15000, .max_lag_ms = 10000, .cooldown_ms = HOUR,
    .drill_max_age_ms = 90000};

static struct failover_facts facts(const json_t *doc, const char *last, int64_t wall_ms)
{
    struct failover_facts f = {0};
    _cleanup_json_ json_t *database = json_pack("{s:o}", "last", json_loads(last, 0, NULL));
    failover_doc_facts(doc, database, "1 mariadb", &declared, wall_ms, &f);
    return f;
}

static json_t *replace(json_t *old, json_t *new)
{
    json_decref(old);
    return new;
}

static void test_nothing_was_said_yet(void **unused)
{
    struct failover_facts f = facts(NULL, "{}", 5000);
    assert_true(f.automation.automatic);
    assert_false(f.automation.paused || f.armed.known || f.past.left_undone);
    assert_true(f.past.since_ms == FAILOVER_NEVER);
    assert_int_equal(f.past.cooldown_ms, HOUR);
}

static void test_what_people_say(void **unused)
{
    json_t *doc = failover_doc_pause(NULL, "kim", "upgrade", 1000);
    assert_true(facts(doc, "{}", 2000).automation.paused);
    json_object_set_new(doc, "newer", json_true());
    doc = replace(doc, failover_doc_arm(doc, "1 mariadb", "rehearsed", 1000));
    doc = replace(doc, failover_doc_resume(doc));
    struct failover_facts f = facts(doc, "{}", 2000);
    assert_false(f.automation.paused);
    assert_true(f.armed.known && f.armed.matches);
    assert_int_equal(f.armed.age_ms, 1000);
    assert_int_equal(facts(doc, "{}", 500).armed.age_ms, 0); /* a clock that was set back */
    assert_true(json_opt_bool(doc, "newer", false));
    doc = replace(doc, failover_doc_arm(doc, "1 postgres", "rehearsed", 1000));
    assert_false(facts(doc, "{}", 2000).armed.matches);
    json_decref(doc);
}

static const char done[] = "{\"kind\":\"failover\",\"id\":3,\"from\":\"hk1\",\"to\":\"seoul1\","
                           "\"auto\":true,\"ended_ms\":1000,\"outcome\":\"done\"}";
static const char partial[] = "{\"kind\":\"failover\",\"id\":3,\"from\":\"hk1\",\"to\":\"seoul1\","
                              "\"auto\":true,\"ended_ms\":900,\"outcome\":\"partial\"}";
static const char undone[] = "{\"kind\":\"failover\",\"id\":4,\"from\":\"hk1\",\"to\":\"seoul1\","
                             "\"auto\":true,\"ended_ms\":2000,\"outcome\":\"undone\"}";
static const char manual[] = "{\"kind\":\"failover\",\"id\":5,\"from\":\"hk1\",\"to\":\"seoul1\","
                             "\"auto\":false,\"ended_ms\":3000,\"outcome\":\"done\"}";
static const char switchover[] = "{\"kind\":\"switchover\",\"id\":6,\"outcome\":\"done\"}";

static json_t *note(json_t *doc, const char *last)
{
    _cleanup_json_ json_t *j = json_loads(last, 0, NULL);
    return replace(doc, failover_doc_note(doc, j));
}

static size_t noted(const json_t *doc)
{
    return json_array_size(json_object_get(doc, "history"));
}

static void test_the_history_counts_each_once(void **unused)
{
    struct failover_facts f = facts(NULL, partial, 2000); /* before it is noted */
    assert_true(f.past.left_undone);
    assert_int_equal(f.past.since_ms, 1100);
    assert_int_equal(f.past.count, 1);
    json_t *doc = note(failover_doc_new(), partial);
    f = facts(doc, partial, 2000);
    assert_true(f.past.left_undone);
    assert_int_equal(f.past.count, 1);
    doc = note(note(doc, done), done);
    assert_int_equal(noted(doc), 1); /* the same, and it is done now */
    f = facts(doc, done, 2000);
    assert_false(f.past.left_undone || f.past.acknowledged);
    assert_int_equal(f.past.since_ms, 1000);
    assert_int_equal(f.past.count, 1);
    doc = note(note(doc, undone), switchover);
    assert_int_equal(noted(doc), 2);
    f = facts(doc, undone, 2500);
    assert_int_equal(f.past.since_ms, 1500); /* what was called off moved nothing */
    assert_int_equal(f.past.count, 2);       /* but it counts against flapping */
    assert_int_equal(facts(doc, undone, INT64_C(86400000) + 3000).past.count, 0);
    json_decref(doc);
}

static void test_acknowledged_by_hand_or_by_order(void **unused)
{
    json_t *doc = note(note(failover_doc_new(), done), undone);
    doc = replace(doc, failover_doc_ack(doc, 4, "kim", 2000));
    struct failover_facts f = facts(doc, undone, 2500);
    assert_true(f.past.acknowledged);
    assert_int_equal(f.past.count, 0);
    assert_false(facts(doc, partial, 2500).past.left_undone);
    doc = note(doc, manual);
    assert_int_equal(json_opt_int(doc, "acked_id", 0), 5);
    assert_true(facts(doc, manual, 3100).past.acknowledged);
    doc = replace(doc, failover_doc_ack(doc, 2, "kim", 2000)); /* never back */
    assert_int_equal(json_opt_int(doc, "acked_id", 0), 5);
    json_decref(doc);
}

static void test_the_history_is_bounded(void **unused)
{
    json_t *doc = failover_doc_new();
    for (int i = 1; i <= 40; i++) {
        char last[200];
        snprintf(last, sizeof last,
            "{\"kind\":\"failover\",\"id\":%d,\"ended_ms\":1,\"outcome\":\"done\"}", i);
        doc = note(doc, last);
    }
    assert_int_equal(noted(doc), FAILOVER_HISTORY);
    assert_int_equal(
        json_opt_int(json_array_get(json_object_get(doc, "history"), 0), "id", 0), 9);
    json_decref(doc);
}

static void test_a_state_is_written_once(void **unused)
{
    json_t *doc = failover_doc_state(NULL, "healthy", "", 1000);
    _cleanup_json_ json_t *same = failover_doc_state(doc, "healthy", "", 2000);
    assert_ptr_equal(same, doc);
    _cleanup_json_ json_t *why = failover_doc_state(doc, "healthy", "R7", 3000);
    assert_int_equal(json_opt_int(why, "at_ms", 0), 1000);
    _cleanup_json_ json_t *other = failover_doc_state(doc, "blocked", "R8", 3000);
    assert_int_equal(json_opt_int(other, "at_ms", 0), 3000);
    json_decref(doc);
}

static void test_only_what_fences_is_in_the_fingerprint(void **unused)
{
    struct model_database db = {.managed = true, .failover = declared};
    char *was = failover_fingerprint(&db);
    db.failover.max_lag_ms = 1;
    db.failover.cooldown_ms = 1;
    char *same = failover_fingerprint(&db);
    assert_string_equal(was, same);
    db.failover.lease_ms = 10000;
    char *other = failover_fingerprint(&db);
    assert_string_not_equal(was, other);
    free(was);
    free(same);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_was_said_yet),
        cmocka_unit_test(test_what_people_say),
        cmocka_unit_test(test_the_history_counts_each_once),
        cmocka_unit_test(test_acknowledged_by_hand_or_by_order),
        cmocka_unit_test(test_the_history_is_bounded),
        cmocka_unit_test(test_a_state_is_written_once),
        cmocka_unit_test(test_only_what_fences_is_in_the_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
