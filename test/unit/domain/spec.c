/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/spec/spec.h"

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define REST                                                                                                   \
    "\"env\":{\"A\":\"b\"},\"port\":8080,\"probe\":{\"kind\":\"http\",\"path\":\"/healthz\",\"command\":null," \
    "\"interval_ms\":1000,\"timeout_ms\":500,\"start_timeout_ms\":10000,\"failures\":3},"                      \
    "\"limits\":{\"memory_bytes\":67108864,\"cpu_milli\":500,\"pids\":64},\"stop_timeout_ms\":5000"
#define UNIT(name)                                                                                 \
    "{\"name\":\"" name                                                                            \
    "\",\"kind\":\"module\",\"module\":\"api\",\"runtime\":\"oci\",\"image\":\"" DIGEST            \
    "\",\"command\":null," REST ",\"standby\":false}"

static int parse(const char *text, struct unit_specs **ret, struct err *e)
{
    json_t *j;
    int r = json_parse(text, strlen(text), &j, e);
    if (r < 0)
        return r;
    r = unit_specs_parse(j, ret, e);
    json_decref(j);
    return r;
}

static void test_parse_and_format(void **state)
{
    struct unit_specs *s;
    struct err e = {0};
    assert_int_equal(
        parse("{\"revision\":7,\"units\":[" UNIT("api-1") "," UNIT("api-2") "]}", &s, &e), 0);
    assert_int_equal(s->revision, 7);
    assert_int_equal(s->n, 2);
    const struct unit_spec *u = unit_specs_find(s, "api-2");
    assert_string_equal(u->module, "api");
    assert_string_equal(u->env[0], "A=b");
    assert_int_equal(u->probe.failures, 3);
    assert_int_equal(u->limits.cpu_milli, 500);
    json_t *again = json_pack("{s:i,s:[o]}", "revision", 7, "units", unit_spec_format(u));
    struct unit_specs *t;
    assert_int_equal(unit_specs_parse(again, &t, &e), 0);
    assert_string_equal(t->v[0].digest, u->digest); /* nothing is lost on the way */
    assert_null(unit_specs_find(s, "api-3"));
    unit_specs_free(s);
    unit_specs_free(t);
    json_decref(again);
}

static void test_standby_is_no_part_of_the_digest(void **state)
{
    struct unit_specs *s;
    struct err e = {0};
    assert_int_equal(parse("{\"revision\":1,\"units\":[" UNIT("api-1") "]}", &s, &e), 0);
    char digest[DIGEST_SIZE];
    memcpy(digest, s->v[0].digest, sizeof digest);
    json_object_set_new(
        json_array_get(json_object_get(s->json, "units"), 0), "standby", json_true());
    struct unit_specs *t;
    assert_int_equal(unit_specs_parse(s->json, &t, &e), 0);
    assert_true(t->v[0].standby);
    assert_string_equal(t->v[0].digest, digest);
    unit_specs_free(s);
    unit_specs_free(t);
}

#define SECRET(name, mode)                                                                         \
    "{\"name\":\"" name "\",\"file\":\"f\",\"mode\":" mode                                           \
    ",\"on_change\":\"signal\",\"signal\":1}"
#define UNIT_SECRETS(list)                                                                         \
    "{\"revision\":1,\"units\":[{\"name\":\"api-1\",\"kind\":\"module\",\"module\":\"api\","              \
    "\"runtime\":\"oci\",\"image\":\"" DIGEST "\"," REST ",\"secrets\":" list "}]}"

static void test_secrets(void **state)
{
    struct unit_specs *s;
    struct err e = {0};
    assert_int_equal(
        parse(UNIT_SECRETS("[" SECRET("psp_key", "256") "," SECRET("b", "511") "]"), &s, &e), 0);
    assert_int_equal(s->v[0].n_secrets, 2);
    assert_string_equal(s->v[0].secrets[0].name, "psp_key");
    assert_int_equal(s->v[0].secrets[0].mode, 0400);
    assert_int_equal(s->v[0].secrets[1].mode, 0444); /* never to be written or run */
    assert_int_equal(s->v[0].secrets[0].on_change, SECRET_SIGNAL);
    json_t *again = unit_spec_format(&s->v[0]);
    assert_int_equal(json_array_size(json_object_get(again, "secrets")), 2);
    json_decref(again);
    unit_specs_free(s);
    assert_int_equal(
        parse(UNIT_SECRETS("[" SECRET("../psp_key", "256") "]"), &s, &e), ERR_INVALID);
    assert_int_equal(parse(UNIT_SECRETS("{}"), &s, &e), ERR_INVALID);
}

#define ENGINE(database, address)                                                                  \
    "{\"revision\":1,\"units\":[{\"name\":\"db-trade\",\"kind\":\"engine\",\"module\":\"db-trade\","    \
    "\"runtime\":\"exec\",\"command\":[\"/usr/sbin/mariadbd\"],\"user\":\"mysql\"," REST                \
    ",\"engine\":{\"kind\":\"mariadb\",\"database\":\"" database "\",\"server_id\":3,\"domain_id\":3,"     \
    "\"address\":\"" address "\",\"port\":3307,\"memory_bytes\":536870912,\"connections\":200,"           \
    "\"semi_sync\":true}}]}"

static void test_engine(void **state)
{
    struct unit_specs *s, *t;
    struct err e = {0};
    if (parse(ENGINE("trade", "10.20.0.12"), &s, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(s->v[0].engine->database, "trade");
    assert_int_equal(s->v[0].engine->port, 3307);
    json_t *again = json_pack("{s:i,s:[o]}", "revision", 1, "units", unit_spec_format(&s->v[0]));
    assert_int_equal(unit_specs_parse(again, &t, &e), 0);
    assert_int_equal(t->v[0].engine->server_id, 3);
    assert_true(t->v[0].engine->semi_sync);
    /* The name is a folder's: nothing else is let through, whoever sent it. */
    struct unit_specs *none;
    assert_int_equal(parse(ENGINE("../x", "10.20.0.12"), &none, &e), ERR_INVALID);
    assert_int_equal(parse(ENGINE("", "10.20.0.12"), &none, &e), ERR_INVALID);
    assert_int_equal(parse(ENGINE("trade", "0.0.0.0\\nx"), &none, &e), ERR_INVALID);
    unit_specs_free(s);
    unit_specs_free(t);
    json_decref(again);
}

/* What no acknowledged transaction survives without. */
static void test_engine_config(void **state)
{
    static const char *const lines[] = {"read_only = ON", "skip_slave_start = ON",
        "sync_binlog = 1", "innodb_flush_log_at_trx_commit = 1", "gtid_strict_mode = ON",
        "log_slave_updates = ON", "relay_log_recovery = ON", "binlog_format = ROW",
        "binlog_row_image = FULL", "slave_net_timeout = 10", "require_secure_transport = ON",
        "local_infile = OFF", "event_scheduler = OFF", "performance_schema = OFF",
        "binlog_expire_logs_seconds = 1209600", "server_id = 3", "gtid_domain_id = 4",
        "bind_address = 10.20.0.12", "port = 3307", "max_connections = 224",
        "innodb_buffer_pool_size = 128M", "innodb_log_file_size = 64M",
        "datadir = /var/lib/mcp/data/trade/data", "socket = /var/lib/mcp/data/trade/run/db.sock",
        "log_bin = /var/lib/mcp/data/trade/binlog/binlog",
        "ssl_key = /var/lib/mcp/data/trade/tls/key.pem",
        "rpl_semi_sync_master_wait_point = AFTER_SYNC"};
    struct unit_engine g = {.database = "trade",
        .server_id = 3,
        .domain_id = 4,
        .port = 3307,
        .memory_bytes = 512u << 20,
        .connections = 200};
    assert_true(ip_parse("10.20.0.12", &g.address));
    struct str text = STR_INIT;
    unit_engine_config(&g, &text);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        char *line = xasprintf("\n%s\n", lines[i]);
        if (!strstr(text.buf, line))
            fail_msg("no \"%s\" in\n%s", lines[i], text.buf);
        free(line);
    }
    assert_null(strstr(text.buf, "semi_sync_master_enabled"));
    str_clear(&text);
    g.semi_sync = true;
    g.memory_bytes = 4ull << 30;
    unit_engine_config(&g, &text);
    assert_non_null(strstr(text.buf, "rpl_semi_sync_master_enabled = ON"));
    assert_non_null(strstr(text.buf, "innodb_buffer_pool_size = 2048M"));
    str_done(&text);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *word;
    } rows[] = {
        {"{\"units\":[]}", "revision"},
        {"{\"revision\":1,\"units\":[" UNIT("api-1") "," UNIT("api-1") "]}", "twice"},
        {"{\"revision\":1,\"units\":[" UNIT("../x") "]}", "no unit name"},
        {"{\"revision\":1,\"units\":[" UNIT("") "]}", "no unit name"},
        {"{\"revision\":1,\"units\":[{\"name\":\"a\",\"kind\":\"module\",\"module\":\"a\",\"runtime\":\"oci\"," REST
         "}]}",
            "image"},
        {"{\"revision\":1,\"units\":[{\"name\":\"a\",\"kind\":\"engine\",\"module\":\"a\",\"runtime\":\"exec\","
         "\"command\":[\"etcd\"]," REST "}]}",
            "absolute"},
        {"{\"revision\":1,\"units\":[{\"name\":\"a\",\"kind\":\"thing\"}]}", "thing"},
        {"[]", "revision"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct unit_specs *s;
        struct err e = {0};
        assert_int_equal(parse(rows[i].text, &s, &e), ERR_INVALID);
        assert_non_null(strstr(e.message, rows[i].word));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format),
        cmocka_unit_test(test_standby_is_no_part_of_the_digest),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_engine_config),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
