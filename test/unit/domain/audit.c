/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/audit/audit.h"

static json_t *chain(int n)
{
    json_t *list = json_array();
    char last[DIGEST_SIZE] = AUDIT_START;
    for (int i = 0; i < n; i++) {
        struct audit_draft d = {.wall_ms = 1700000000000 + i,
            .id = "0123456789abcdef",
            .who = "ann",
            .from = "10.0.0.9",
            .host = "hk1",
            .action = "mcp:Apply",
            .subject = "설정 변경"};
        json_t *entry = audit_entry(&d);
        audit_link(entry, i + 1, last);
        str_copy(last, sizeof last, json_opt_str(entry, "hash", ""));
        json_array_append_new(list, entry);
    }
    return list;
}

static void a_whole_chain_is_good(void **state)
{
    struct err e;
    char last[DIGEST_SIZE];
    _cleanup_json_ json_t *list = chain(5), *none = json_array();
    assert_int_equal(audit_verify(list, 1, AUDIT_START, last, &e), 0);
    assert_string_equal(last, json_opt_str(json_array_get(list, 4), "hash", ""));
    assert_int_equal(audit_verify(none, 9, last, NULL, &e), 0);
}

static void remove_third(json_t *l)
{
    json_array_remove(l, 2);
}

static void change_member(json_t *l)
{
    json_object_set_new(json_array_get(l, 2), "who", json_string("bob"));
}

static void add_member(json_t *l)
{
    json_object_set_new(json_array_get(l, 2), "extra", json_true());
}

static void change_and_rehash(json_t *l) /* its own hash is right then, the next one's is not */
{
    json_t *x = json_array_get(l, 2);
    json_object_set_new(x, "who", json_string("bob"));
    _cleanup_free_ char *previous = xstrdup(json_opt_str(x, "previous", ""));
    audit_link(x, 3, previous);
}

static void swap_two(json_t *l)
{
    json_t *x = json_incref(json_array_get(l, 1));
    json_array_set(l, 1, json_array_get(l, 2));
    json_array_set_new(l, 2, x);
}

static void every_tampering_is_seen(void **state)
{
    static const struct {
        const char *name, *says;
        void (*tamper)(json_t *);
    } rows[] = {{"removed", "entry 3 is missing", remove_third},
        {"changed", "entry 3 was changed", change_member},
        {"member added", "entry 3 was changed", add_member},
        {"changed and hashed anew", "entry 4 does not follow", change_and_rehash},
        {"swapped", "entry 2 is missing", swap_two}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e;
        _cleanup_json_ json_t *list = chain(5);
        rows[i].tamper(list);
        assert_int_equal(audit_verify(list, 1, AUDIT_START, NULL, &e), ERR_INVALID);
        if (!strstr(e.message, rows[i].says))
            fail_msg("%s: %s", rows[i].name, e.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_whole_chain_is_good),
        cmocka_unit_test(every_tampering_is_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
