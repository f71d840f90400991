/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/replication/doc.h"
#include "domain/replication/status.h"

static const json_t *report(void *ctx, const char *host, const char *database)
{
    assert_string_equal(database, "trade");
    return json_object_get(ctx, host);
}

static json_t *at(json_t *status, const char *list, size_t i)
{
    return json_array_get(json_object_get(status, list), i);
}

static void test_members(void **state)
{
    struct replication_member m[] = {{"hk1", "ap-hongkong", "10.0.0.1", 3306, 0, 0},
        {"sl1", "ap-seoul", "10.0.0.2", 3306, 0, 0}, {"sh1", "ap-shanghai", "10.0.0.3", 3306, 0, 3600000}};
    _cleanup_json_ json_t *doc = replication_doc_new(m, 3);
    _cleanup_json_ json_t *reports =
        json_pack("{s:{s:s,s:s,s:s},s:{s:s,s:s,s:i,s:i,s:i,s:s,s:b}}", "hk1", "state", "writable",
            "why", "", "gtid", "1-1-9", "sl1", "state", "replicating", "why", "", "lag_ms", 7,
            "ship_ms", 5, "apply_ms", 2, "gtid", "1-1-8", "uncertain", 0);
    _cleanup_json_ json_t *s = replication_status("trade", doc, report, reports);
    assert_string_equal(json_opt_str(s, "source", ""), "hk1");
    assert_string_equal(json_opt_str(s, "source_region", ""), "ap-hongkong");
    assert_string_equal(json_opt_str(s, "state", ""), "writable");
    assert_int_equal(json_opt_int(s, "epoch", 0), 1);
    assert_true(json_is_null(json_object_get(s, "change")));
    assert_int_equal(json_array_size(json_object_get(s, "members")), 3);
    assert_int_equal(json_array_size(json_object_get(s, "replicas")), 2);
    json_t *sl = at(s, "replicas", 0), *sh = at(s, "replicas", 1);
    assert_string_equal(json_opt_str(sl, "region", ""), "ap-seoul");
    assert_int_equal(json_opt_int(sl, "lag_ms", -1), 7);
    assert_int_equal(json_opt_int(sl, "ship_ms", -1), 5);
    assert_string_equal(json_opt_str(sl, "gtid", ""), "1-1-8");
    /* Not heard: said, and no figure of it. */
    assert_string_equal(json_opt_str(sh, "state", ""), "not-heard");
    assert_true(json_is_null(json_object_get(sh, "lag_ms")));
    assert_true(json_opt_bool(sh, "uncertain", false));
    assert_int_equal(json_opt_int(sh, "delay_ms", 0), 3600000);
    _cleanup_json_ json_t *newer = json_pack("{s:i}", "format", 2);
    assert_null(replication_status("trade", newer, report, reports));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
