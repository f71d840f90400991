/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/replication/hygiene.h"

static json_t *parse(const char *text)
{
    struct err e = {0};
    json_t *j = NULL;
    if (json_parse(text, strlen(text), &j, &e) < 0)
        fail_msg("%s: %s", text, e.message);
    return j;
}

static const char members[] =
    "[{\"server_id\":1,\"address\":\"10.0.0.1\"},{\"server_id\":2,\"address\":\"10.0.0.2\"}]";

static struct hygiene_input input(enum replication_duty duty)
{
    return (struct hygiene_input){.database = "trade",
        .duty = duty,
        .self = duty == REPLICATION_SOURCE ? 1 : 2,
        .source_host = "hk1",
        .source_address = "10.0.0.1",
        .source_port = 3306,
        .now_ms = 100000,
        .check_ms = 60000,
        .reached = true,
        .read_only = duty == REPLICATION_REPLICA,
        .attached = duty == REPLICATION_REPLICA,
        .follows = duty == REPLICATION_REPLICA ? "10.0.0.1" : "",
        .follows_port = duty == REPLICATION_REPLICA ? 3306 : 0,
        .receiving = duty == REPLICATION_REPLICA,
        .objective_ms = 3000};
}

static const struct row {
    const char *name;
    bool source;
    const char *facts; /* NULL: none */
    const char *id;    /* of the only finding; NULL: none */
    const char *says;  /* part of its text */
} rows[] = {
    {"nothing is known yet", false, NULL, NULL, NULL},
    {"the canary was refused", false, "{\"canary\":{\"writes\":false,\"number\":1290}}", NULL, NULL},
    {"it wrote, and was closed", false, "{\"canary\":{\"writes\":true,\"closed\":true}}", "writable",
        "read_only is set again"},
    {"it wrote past read_only", false,
        "{\"canary\":{\"writes\":true,\"closed\":false,\"powerful\":[\"PUBLIC: READ_ONLY ADMIN\"]}}",
        "writable", "PUBLIC: READ_ONLY ADMIN"},
    {"the canary could not be asked", false,
        "{\"canary\":{\"writes\":null,\"number\":1045,\"error\":\"denied\"}}", "read-only-unproven",
        "1045"},
    {"a source takes writes", true, "{\"canary\":{\"writes\":true,\"closed\":false}}", NULL, NULL},
    {"it serves", false, "{\"serving\":{\"max_connections\":124,\"event_scheduler\":\"OFF\"}}", NULL,
        NULL},
    {"it cannot serve", false, "{\"serving\":{\"error\":\"crashed table\"}}", "cannot-serve",
        "crashed table"},
    {"its events run", false, "{\"serving\":{\"event_scheduler\":\"ON\"}}", "event-scheduler", ""},
    {"members replicate", true,
        "{\"survey\":{\"replicas\":[{\"id\":2,\"host\":\"10.0.0.2\"}],\"feeds\":[{\"user\":"
        "\"mcp_repl\",\"host\":\"10.0.0.2\"}]}}",
        NULL, NULL},
    {"a stranger replicates", true,
        "{\"survey\":{\"replicas\":[{\"id\":77,\"host\":\"x\"}],\"feeds\":[]}}", "unknown-replica",
        "server 77 at x"},
    {"a stranger reads the binary log", true,
        "{\"survey\":{\"replicas\":[],\"feeds\":[{\"user\":\"mcp_repl\",\"host\":\"10.0.0.9\"}]}}",
        "unknown-replica", "10.0.0.9"},
    {"a stranger's transactions come", true, "{\"survey\":{\"writers\":[99]}}", "unknown-writer",
        "server 99"},
    {"an account that nobody declared", true,
        "{\"survey\":{\"sessions\":[{\"user\":\"bob\",\"host\":\"10.0.0.7\"},{\"user\":\"api\","
        "\"host\":\"localhost\"}]}}",
        "unknown-writer", "bob@10.0.0.7"},
    {"a session that logs in", true,
        "{\"survey\":{\"sessions\":[{\"user\":\"unauthenticated user\",\"host\":\"localhost\"}]}}", NULL,
        NULL},
    {"a second source", false,
        "{\"survey\":{\"named\":[{\"name\":\"old\",\"host\":\"10.9.9.9\"}]}}", "wrong-source",
        "10.9.9.9 (connection old)"},
    {"tables with keys", true, "{\"tables\":[]}", NULL, NULL},
    {"tables without", true, "{\"tables\":[\"trade.a\",\"trade.b\"]}", "no-primary-key",
        "trade.a, trade.b"},
    {"told at the source alone", false, "{\"tables\":[\"trade.a\"]}", NULL, NULL},
};

static void test_facts(void **state)
{
    _cleanup_json_ json_t *m = parse(members), *accounts = parse("[{\"user\":\"api\"}]");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *facts = parse(rows[i].facts ? rows[i].facts : "{}"), *list = json_array();
        struct hygiene_input in =
            input(rows[i].source ? REPLICATION_SOURCE : REPLICATION_REPLICA);
        in.members = m;
        in.accounts = accounts;
        in.facts = facts;
        hygiene_judge(&in, list);
        const json_t *f = json_array_get(list, 0);
        if (json_array_size(list) != (rows[i].id ? 1u : 0u)
            || !str_eq(json_opt_str(f, "id", NULL), rows[i].id)
            || (rows[i].says && !strstr(json_opt_str(f, "text", ""), rows[i].says))) {
            _cleanup_free_ char *text = json_text(list);
            fail_msg("%s: %s", rows[i].name, text);
        }
    }
}

static const char *found(const struct hygiene_input *in, char text[512])
{
    _cleanup_json_ json_t *list = json_array(), *facts = NULL;
    struct hygiene_input with = *in;
    if (!with.facts)
        with.facts = facts = json_object();
    hygiene_judge(&with, list);
    const json_t *f = json_array_get(list, 0);
    snprintf(text, 512, "%s %s | %s | %s", json_opt_str(f, "id", "-"),
        json_opt_str(f, "severity", ""), json_opt_str(f, "text", ""), json_opt_str(f, "fix", ""));
    assert_in_range(json_array_size(list), 0, 1);
    return text;
}

static void test_what_looks_say(void **state)
{
    char text[512];
    struct hygiene_input in = input(REPLICATION_REPLICA);
    assert_non_null(strstr(found(&in, text), "- "));
    in.read_only = false;
    assert_non_null(strstr(found(&in, text), "writable error"));
    in.read_only = true;
    in.follows = "10.0.0.5";
    assert_non_null(strstr(found(&in, text), "wrong-source error | it replicates from 10.0.0.5:3306"));
    in = input(REPLICATION_SOURCE);
    in.attached = true;
    in.follows = "10.0.0.2";
    assert_non_null(strstr(found(&in, text), "wrong-source"));
    in = input(REPLICATION_REPLICA);
    in.source_connections = 124;
    in.facts = parse("{\"serving\":{\"max_connections\":100}}");
    assert_non_null(strstr(found(&in, text), "max-connections"));
    json_decref((json_t *)in.facts);
    in = input(REPLICATION_REPLICA);
    in.refused = true;
    in.refused_number = 1045;
    in.refused_text = "Access denied";
    in.tries = 3;
    assert_non_null(strstr(found(&in, text), "login-refused error"));
    assert_non_null(strstr(text, "1045"));
    in = input(REPLICATION_REPLICA);
    in.clock_jumped = true;
    assert_non_null(strstr(found(&in, text), "clock-uncertain warning | a clock has jumped"));
    in.clock_jumped = false;
    in.clock_unknown_ms = HYGIENE_CLOCKS_MS - 1;
    assert_non_null(strstr(found(&in, text), "- "));
    in.clock_unknown_ms = HYGIENE_CLOCKS_MS;
    assert_non_null(strstr(found(&in, text), "clock-uncertain"));
}

static void test_slow_apply(void **state)
{
    char text[512];
    struct hygiene_input in = input(REPLICATION_REPLICA);
    in.waiting_ms = 2999;
    assert_non_null(strstr(found(&in, text), "- "));
    in.waiting_ms = 7000;
    assert_non_null(strstr(found(&in, text), "slow-apply warning | what has come from the source waits 7s"));
    in.facts = parse("{\"apply\":{\"state\":\"x\",\"table\":\"trade.n\",\"blocker\":null}}");
    assert_non_null(strstr(found(&in, text), "trade.n, which has no primary key | ALTER TABLE trade.n"));
    json_decref((json_t *)in.facts);
    in.facts = parse("{\"apply\":{\"state\":\"x\",\"table\":\"\",\"blocker\":{\"id\":42,\"user\":"
                     "\"root@localhost\",\"seconds\":9,\"statement\":\"SELECT 1\"}}}");
    assert_non_null(strstr(found(&in, text), "session 42 of root@localhost holds it up for 9 s"));
    assert_non_null(strstr(text, "KILL 42"));
    in.delay_ms = 3600000; /* what it waits for by declaration is not slow */
    assert_non_null(strstr(found(&in, text), "- "));
    json_decref((json_t *)in.facts);
}

static void test_certificates(void **state)
{
    char text[512];
    struct hygiene_input in = input(REPLICATION_REPLICA);
    in.cert_life_ms = 24 * 3600000ll;
    in.cert_left_ms = 12 * 3600000ll;
    assert_non_null(strstr(found(&in, text), "- "));
    in.cert_left_ms = 5 * 3600000ll;
    assert_non_null(strstr(found(&in, text), "certificate warning"));
    in.cert_left_ms = -1;
    assert_non_null(strstr(found(&in, text), "certificate error"));
}

static void test_semi_sync(void **state)
{
    char text[512];
    struct hygiene_input in = input(REPLICATION_SOURCE);
    _cleanup_json_ json_t *bad = parse("{\"semisync\":{\"on\":true,\"active\":false,\"clients\":0}}"),
                          *good = parse("{\"semisync\":{\"on\":true,\"active\":true,\"clients\":1}}");
    in.facts = bad;
    assert_non_null(strstr(found(&in, text), "- ")); /* asynchronous as declared */
    in.semi_sync = true;
    assert_non_null(strstr(found(&in, text), "semi-sync-degraded"));
    in.facts = good;
    assert_non_null(strstr(found(&in, text), "- "));
}

/* ---- the book */

static void count(void *ctx, const json_t *f, bool raised)
{
    ((int *)ctx)[raised]++;
}

static void test_told_once(void **state)
{
    int told[2] = {0, 0};
    _cleanup_json_ json_t *book = json_object(), *none = json_array(), *one = json_array();
    data_finding(one, "a", "error", "", "%s", "x");
    data_finding(one, "a", "error", "", "again");
    data_finding(one, "b", "info", "", "y");
    data_finding(one, "c", "warning", "", "not \xff UTF-8");
    assert_int_equal(json_array_size(one), 3);
    for (uint64_t t = 1000; t < 5000; t += 1000)
        findings_step(book, one, t, count, told);
    assert_int_equal(told[1], 2); /* not of what is for information */
    findings_step(book, none, 5000, count, told);
    findings_step(book, one, 6000, count, told); /* away for a moment */
    assert_int_equal(told[0] + told[1], 2);
    _cleanup_json_ json_t *shown = findings_shown(book);
    assert_int_equal(json_array_size(shown), 3);
    assert_string_equal(json_opt_str(json_array_get(shown, 0), "id", ""), "a");
    assert_string_equal(json_opt_str(json_array_get(shown, 2), "id", ""), "b");
    findings_step(book, none, 6000 + FINDINGS_HOLD_MS, count, told);
    assert_int_equal(told[0], 2);
    _cleanup_json_ json_t *gone = findings_shown(book);
    assert_int_equal(json_array_size(gone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_facts),
        cmocka_unit_test(test_what_looks_say), cmocka_unit_test(test_slow_apply),
        cmocka_unit_test(test_certificates), cmocka_unit_test(test_semi_sync),
        cmocka_unit_test(test_told_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
