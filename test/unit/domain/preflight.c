/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/replication/preflight.h"

static const struct preflight_wish wish
    = {.retention_ms = 7 * 86400000ull, .source_id = 1, .replica_id = 2};

/* A server as the platform sets it up. */
static json_t *good(const char *host, const char *id, bool is_replica)
{
    json_t *vars = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}",
        "log_bin", "ON", "binlog_format", "ROW", "binlog_row_image", "FULL", "log_slave_updates",
        "ON", "gtid_strict_mode", "ON", "sync_binlog", "1", "innodb_flush_log_at_trx_commit", "1",
        "read_only", is_replica ? "ON" : "OFF", "event_scheduler", "OFF", "relay_log_recovery",
        "ON", "local_infile", "OFF", "have_ssl", "YES", "server_id", id, "gtid_domain_id", id,
        "max_allowed_packet", "67108864", "slave_net_timeout", "10");
    json_t *more = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "time_zone", "+00:00",
        "system_time_zone", "UTC", "lower_case_table_names", "0", "collation_server",
        "utf8mb4_general_ci", "max_connections", "200", "binlog_expire_logs_seconds", "1209600",
        "replicate_do_db", "");
    json_object_update(vars, more);
    json_decref(more);
    return json_pack("{s:s,s:s,s:s,s:o,s:[],s:[],s:[],s:I,s:I,s:I,s:I,s:I}", "host", host,
        "vendor", "mariadb", "version", "10.11.6-MariaDB", "variables", vars, "no_primary_key",
        "not_innodb", "powerful", "disk_free", (json_int_t)50e9, "binlog_bytes", (json_int_t)1e9,
        "binlog_span_ms", (json_int_t)86400000, "cert_left_ms", (json_int_t)30000000,
        "clock_offset_ms", (json_int_t)3);
}

static json_t *find_failed(const json_t *items, size_t *ret_n)
{
    json_t *first = NULL, *item;
    size_t i;
    *ret_n = 0;
    json_array_foreach (items, i, item)
        if (!json_opt_bool(item, "pass", false)) {
            first = first ? first : item;
            ++*ret_n;
        }
    return first;
}

static void test_what_the_platform_sets_up_passes(void **state)
{
    _cleanup_json_ json_t *s = good("hk1", "1", false), *r = good("seoul1", "2", true);
    _cleanup_json_ json_t *items = preflight_judge(s, r, &wish);
    size_t n;
    json_t *failed = find_failed(items, &n);
    if (failed)
        fail_msg("%s: %s", json_opt_str(failed, "id", ""), json_opt_str(failed, "text", ""));
    assert_true(json_array_size(items) > 30);
}

/* Each thing that is wrong is found by its point alone, with a word on how to mend it. */
static void test_each_fault_is_named_with_its_fix(void **state)
{
    static const struct {
        const char *id, *side, *key, *value; /* key "x" of variables, or "/x" of the facts */
    } rows[] = {
        {"versions", "source", "/version", "\"11.4.2-MariaDB\""},
        {"server-id", "replica", "server_id", "\"1\""},
        {"domain-id", "replica", "gtid_domain_id", "\"0\""},
        {"binary-log", "replica", "log_bin", "\"OFF\""},
        {"row-format", "source", "binlog_format", "\"MIXED\""},
        {"row-image", "source", "binlog_row_image", "\"MINIMAL\""},
        {"log-updates", "replica", "log_slave_updates", "\"OFF\""},
        {"gtid", "replica", "gtid_strict_mode", "\"OFF\""},
        {"durable-log", "source", "sync_binlog", "\"0\""},
        {"durable-rows", "replica", "innodb_flush_log_at_trx_commit", "\"2\""},
        {"read-only", "replica", "read_only", "\"OFF\""},
        {"events", "replica", "event_scheduler", "\"ON\""},
        {"relay-recovery", "replica", "relay_log_recovery", "\"OFF\""},
        {"local-infile", "source", "local_infile", "\"ON\""},
        {"tls", "source", "have_ssl", "\"DISABLED\""},
        {"table-names", "replica", "lower_case_table_names", "\"1\""},
        {"collation", "replica", "collation_server", "\"latin1_swedish_ci\""},
        {"time-zone", "source", "time_zone", "\"SYSTEM\""},
        {"system-time-zone", "source", "system_time_zone", "\"KST\""},
        {"packets", "replica", "max_allowed_packet", "\"1048576\""},
        {"connections", "replica", "max_connections", "\"100\""},
        {"net-timeout", "replica", "slave_net_timeout", "\"60\""},
        {"filters", "replica", "replicate_do_db", "\"trade\""},
        {"retention", "source", "binlog_expire_logs_seconds", "\"86400\""},
        {"clock", "replica", "/clock_offset_ms", "-51"},
        {"clock", "replica", "/clock_offset_ms", "null"},
        {"primary-keys", "source", "/no_primary_key", "[\"trade.log\"]"},
        {"engines", "source", "/not_innodb", "[\"trade.tmp: MyISAM\"]"},
        {"powerful-accounts", "source", "/powerful", "[\"app@%: SUPER\"]"},
        {"disk", "replica", "/disk_free", "5000000000"},
        {"certificate", "source", "/cert_left_ms", "60000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *s = good("hk1", "1", false), *r = good("seoul1", "2", true);
        json_t *of = str_eq(rows[i].side, "source") ? s : r;
        bool is_fact = rows[i].key[0] == '/';
        json_object_set_new(is_fact ? of : json_object_get(of, "variables"),
            rows[i].key + is_fact, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        _cleanup_json_ json_t *items = preflight_judge(s, r, &wish);
        size_t n;
        json_t *failed = find_failed(items, &n);
        if (n != 1 || !str_eq(json_opt_str(failed, "id", ""), rows[i].id))
            fail_msg("row %zu, %s: %zu failed, first %s", i, rows[i].id, n,
                json_opt_str(failed, "text", "-"));
        assert_true(*json_opt_str(failed, "fix", "") != '\0');
    }
}

static void test_semi_sync_is_asked_for_its_wait_point(void **state)
{
    struct preflight_wish semi = wish;
    semi.semi_sync = true;
    _cleanup_json_ json_t *s = good("hk1", "1", false), *r = good("seoul1", "2", true);
    json_object_set_new(json_object_get(s, "variables"), "rpl_semi_sync_master_wait_point",
        json_string("AFTER_SYNC"));
    json_object_set_new(json_object_get(r, "variables"), "rpl_semi_sync_master_wait_point",
        json_string("AFTER_COMMIT"));
    _cleanup_json_ json_t *items = preflight_judge(s, r, &semi);
    size_t n;
    assert_string_equal(json_opt_str(find_failed(items, &n), "id", ""), "semi-sync");
    assert_int_equal(n, 1);
}

static void test_mysql_has_its_own_words(void **state)
{
    _cleanup_json_ json_t *s = good("hk1", "1", false), *r = good("seoul1", "2", true);
    json_t *both[] = {s, r};
    for (size_t i = 0; i < 2; i++) {
        json_object_set_new(both[i], "vendor", json_string("mysql"));
        json_object_set_new(both[i], "version", json_string("9.7.4"));
        json_t *vars = json_object_get(both[i], "variables");
        json_object_set_new(vars, "gtid_mode", json_string(i ? "OFF" : "ON"));
        json_object_set_new(vars, "super_read_only", json_string(i ? "ON" : "OFF"));
        json_object_del(vars, "gtid_domain_id");
    }
    _cleanup_json_ json_t *items = preflight_judge(s, r, &wish);
    size_t n;
    assert_string_equal(json_opt_str(find_failed(items, &n), "text", ""),
        "seoul1: gtid_mode is OFF: positions are by GTID");
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_platform_sets_up_passes),
        cmocka_unit_test(test_each_fault_is_named_with_its_fix),
        cmocka_unit_test(test_semi_sync_is_asked_for_its_wait_point),
        cmocka_unit_test(test_mysql_has_its_own_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
