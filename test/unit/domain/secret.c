/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/secret/made.h"
#include "domain/secret/secret.h"

static const struct secret_change_note note = {"ann@laptop", "2026-11-23T10:00:00.000Z"};

static json_t *add(json_t *old, const char *value, int64_t keep)
{
    json_t *doc = NULL;
    struct err e = {0};
    json_t *keys = json_pack("{s:{s:s,s:s}}", "hk1", "to", "pub", "box", value);
    if (secret_doc_add(old, "psp_key", value, keys, keep, &note, &doc, &e) < 0)
        assert_int_equal(e.code, ERR_LIMIT);
    json_decref(old);
    return doc;
}

static void test_versions(void **state)
{
    struct err e = {0};
    json_t *doc = add(NULL, "one", 0);
    assert_int_equal(secret_doc_check(doc, &e), 0);
    assert_int_equal(secret_doc_newest(doc), 1);
    doc = add(doc, "two", 2);
    doc = add(doc, "three", 0);
    assert_int_equal(secret_doc_newest(doc), 3);
    assert_string_equal(json_opt_str(secret_doc_version(doc, 2), "value", ""), "two");
    assert_null(secret_doc_version(doc, 4));
    json_t *pruned = secret_doc_pruned(doc);
    assert_null(secret_doc_version(pruned, 1)); /* two are kept, as said with the second */
    assert_non_null(secret_doc_version(pruned, 2));
    assert_int_equal(secret_doc_next(pruned), 4);
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), 3); /* untouched */
    json_decref(doc);
    doc = pruned;
    for (int i = 0; i < SECRET_VERSIONS_MAX; i++) {
        json_t *next = add(json_incref(doc), "more", 0);
        if (!next)
            break;
        json_decref(doc);
        doc = next;
    }
    assert_int_equal(json_array_size(json_object_get(doc, "versions")), SECRET_VERSIONS_MAX);
    json_decref(doc);
}

static void test_grants_and_history(void **state)
{
    struct err e = {0};
    json_t *doc = add(NULL, "one", 0), *again, *less;
    for (int i = 0; i < 2; i++) { /* the second changes nothing */
        assert_int_equal(secret_doc_grant(doc, "api", true, &note, &again, &e), 0);
        assert_true(secret_doc_granted(again, "api"));
        json_decref(doc);
        doc = again;
    }
    assert_int_equal(json_array_size(json_object_get(doc, "history")), 2);
    assert_int_equal(secret_doc_grant(doc, "api", false, &note, &less, &e), 0);
    assert_false(secret_doc_granted(less, "api"));
    assert_true(secret_doc_granted(doc, "api"));
    json_decref(less);
    for (int i = 0; i < 2 * SECRET_HISTORY_MAX; i++) {
        assert_int_equal(secret_doc_grant(doc, "api", i % 2, &note, &less, &e), 0);
        json_decref(doc);
        doc = less;
    }
    assert_int_equal(json_array_size(json_object_get(doc, "history")), SECRET_HISTORY_MAX);
    json_decref(doc);
}

static void test_shown_without_boxes(void **state)
{
    json_t *doc = add(NULL, "BOXED", 0), *shown = secret_doc_show(doc, NULL);
    char *text = json_text(shown);
    assert_null(strstr(text, "BOXED"));
    assert_non_null(strstr(text, "\"hosts\":[\"hk1\"]"));
    free(text);
    json_decref(shown);
    json_decref(doc);
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "{\"format\":2,\"name\":\"a\",\"versions\":[]}",
        "{\"format\":1,\"name\":\"../a\",\"versions\":[]}",
        "{\"format\":1,\"name\":\"a\"}",
        "{\"format\":1,\"name\":\"a\",\"versions\":[1]}",
        "{\"format\":1,\"name\":\"a\",\"versions\":[{\"v\":0,\"value\":\"x\",\"keys\":{}}]}",
        "{\"format\":1,\"name\":\"a\",\"versions\":[{\"v\":2,\"value\":\"x\",\"keys\":{}},{\"v\":2,"
        "\"value\":\"x\",\"keys\":{}}]}",
        "[]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *j;
        struct err e = {0};
        assert_int_equal(json_parse(rows[i], strlen(rows[i]), &j, &e), 0);
        if (secret_doc_check(j, &e) >= 0)
            fail_msg("%s", rows[i]);
        json_decref(j);
    }
}

/* ---- made by the platform */

static json_t *add_made(json_t *old, const char *hash)
{
    struct secret_made m = {"trade", "api", hash, 5000};
    json_t *doc = NULL;
    struct err e = {0};
    json_t *keys = json_pack("{s:{s:s,s:s}}", "hk1", "to", "pub", "box", "b");
    assert_true(secret_doc_add(old, "data.trade.api", hash, keys, 0, &note, &doc, &e) >= 0);
    json_decref(old);
    return secret_doc_with_made(doc, &m);
}

static void expect_hashes(const json_t *doc, const char *expected)
{
    _cleanup_json_ json_t *list = secret_made_hashes(doc);
    _cleanup_free_ char *text = json_text(list);
    assert_string_equal(text, expected);
}

/* One step by these facts; the document stays when nothing is to be done. */
static bool step(json_t **doc, int64_t v, bool placed, bool taken, int64_t now_ms)
{
    const struct secret_made_facts f = {v, placed, taken, now_ms};
    const char *what;
    json_t *next = secret_made_step(*doc, &f, &note, &what);
    if (!next)
        return false;
    json_decref(*doc);
    *doc = next;
    return true;
}

static void test_a_first_password_waits_for_nobody(void **state)
{
    json_t *doc = add_made(NULL, "*A");
    assert_true(secret_doc_made(doc));
    assert_int_equal(secret_doc_phase(doc), SECRET_STEADY);
    assert_non_null(secret_doc_for_host(doc, "hk1"));
    expect_hashes(doc, "[\"*A\"]");
    assert_false(step(&doc, 1, true, true, 1));
    json_decref(doc);
}

static void test_a_rotation_step_by_step(void **state)
{
    struct err e = {0};
    json_t *doc = add_made(add_made(NULL, "*A"), "*B");
    assert_int_equal(secret_doc_phase(doc), SECRET_PLACING);
    assert_int_equal(secret_doc_newest(doc), 2);
    assert_int_equal(json_opt_int(secret_doc_for_host(doc, "hk1"), "v", 0), 1); /* nobody has it yet */
    expect_hashes(doc, "[\"*B\",\"*A\"]");
    assert_int_equal(secret_made_may_rotate(doc, true, &e), ERR_CONFLICT);
    assert_false(step(&doc, 2, false, true, 1000000)); /* whatever the time is */
    assert_false(step(&doc, 1, true, true, 1000));     /* that was said of another version */
    assert_true(step(&doc, 2, true, false, 1000));
    assert_int_equal(secret_doc_phase(doc), SECRET_OVERLAP);
    assert_int_equal(json_opt_int(secret_doc_for_host(doc, "hk1"), "v", 0), 2);
    expect_hashes(doc, "[\"*B\",\"*A\"]");
    assert_int_equal(secret_made_may_rotate(doc, false, &e), ERR_CONFLICT); /* it would push *A out */
    assert_int_equal(secret_made_may_rotate(doc, true, &e), 0);
    assert_false(step(&doc, 2, true, true, 5999));
    assert_false(step(&doc, 2, true, false, 6000)); /* some holder has the older one still */
    assert_true(step(&doc, 2, true, true, 6000));
    assert_int_equal(secret_doc_phase(doc), SECRET_STEADY);
    expect_hashes(doc, "[\"*B\"]");
    assert_int_equal(secret_doc_check(doc, &e), 0);
    _cleanup_json_ json_t *shown = secret_doc_show(doc, NULL);
    assert_string_equal(json_opt_str(shown, "phase", ""), "steady");
    json_decref(doc);
}

static void test_a_straggler_keeps_nothing_valid_for_ever(void **state)
{
    json_t *doc = add_made(add_made(NULL, "*A"), "*B");
    assert_true(step(&doc, 2, true, false, 1000));
    assert_false(step(&doc, 2, true, false, 1000 + SECRET_STRAGGLER_MS));
    assert_true(step(&doc, 2, true, false, 6000 + SECRET_STRAGGLER_MS));
    expect_hashes(doc, "[\"*B\"]");
    json_decref(doc);
}

/* During the overlap, all having the newest: the oldest goes at once. */
static void test_never_more_than_two_passwords(void **state)
{
    json_t *doc = add_made(add_made(NULL, "*A"), "*B");
    assert_true(step(&doc, 2, true, false, 1000));
    doc = add_made(doc, "*C");
    expect_hashes(doc, "[\"*C\",\"*B\"]");
    assert_int_equal(json_opt_int(secret_doc_for_host(doc, "hk1"), "v", 0), 2);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_grants_and_history),
        cmocka_unit_test(test_shown_without_boxes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_a_first_password_waits_for_nobody),
        cmocka_unit_test(test_a_rotation_step_by_step),
        cmocka_unit_test(test_a_straggler_keeps_nothing_valid_for_ever),
        cmocka_unit_test(test_never_more_than_two_passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
