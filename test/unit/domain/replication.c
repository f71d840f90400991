/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/replication/doc.h"

static const struct replication_member two[] = {
    {.host = "hk1", .region = "ap-hongkong", .address = "10.20.0.11", .port = 3306},
    {.host = "seoul1", .region = "ap-seoul", .address = "10.40.0.11", .port = 3306},
};

static void test_a_new_one_is_at_epoch_one(void **state)
{
    _cleanup_json_ json_t *json = replication_doc_new(two, 2);
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(json, &d, &e), 0);
    assert_int_equal(d.epoch, 1);
    assert_string_equal(d.source->host, "hk1");
    assert_int_equal(d.n_members, 2);
    assert_int_equal(d.members[0].id, 1);
    assert_int_equal(d.members[1].id, 2);
    assert_null(d.change);
    assert_int_equal(d.last_id, 0);
}

static void test_a_number_is_never_used_again(void **state)
{
    _cleanup_json_ json_t *json = replication_doc_new(two, 2);
    _cleanup_json_ json_t *one = replication_doc_remove(json, "seoul1");
    _cleanup_json_ json_t *back = replication_doc_add(one, &two[1]);
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(one, &d, &e), 0);
    assert_int_equal(d.n_members, 1);
    assert_int_equal(replication_doc_parse(back, &d, &e), 0);
    assert_int_equal(replication_doc_find(&d, "seoul1")->id, 3);
}

static void test_a_move_raises_the_epoch_and_keeps_what_it_does_not_know(void **state)
{
    _cleanup_json_ json_t *json = replication_doc_new(two, 2);
    json_object_set_new(json, "later", json_string("kept"));
    _cleanup_json_ json_t *moved = replication_doc_move(json, "seoul1");
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(moved, &d, &e), 0);
    assert_int_equal(d.epoch, 2);
    assert_string_equal(d.source->host, "seoul1");
    assert_string_equal(json_opt_str(moved, "later", ""), "kept");
}

static void test_what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *key, *value, *says;
    } rows[] = {
        {"format", "2", "format 2"},
        {"epoch", "0", "epoch"},
        {"source", "\"bangkok1\"", "bangkok1 is no member"},
        {"members", "[{\"host\":\"hk1\"}]", "members"},
        {"members", "3", "members"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *json = replication_doc_new(two, 2);
        json_object_set_new(json, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        struct replication_doc d;
        struct err e = {0};
        assert_true(replication_doc_parse(json, &d, &e) < 0);
        assert_non_null(strstr(e.message, rows[i].says));
    }
}

static void test_a_host_is_a_member_once(void **state)
{
    const struct replication_member twice[] = {two[0], two[0]};
    _cleanup_json_ json_t *json = replication_doc_new(twice, 2);
    struct replication_doc d;
    struct err e = {0};
    assert_int_equal(replication_doc_parse(json, &d, &e), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_one_is_at_epoch_one),
        cmocka_unit_test(test_a_number_is_never_used_again),
        cmocka_unit_test(test_a_move_raises_the_epoch_and_keeps_what_it_does_not_know),
        cmocka_unit_test(test_what_is_wrong_is_named),
        cmocka_unit_test(test_a_host_is_a_member_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
