/* SPDX-License-Identifier: Apache-2.0 */
/* Which servers of databases a host's agent is told to run. */
#include "test.h"

#include "domain/compile/compile.h"
#include "domain/replication/topology.h"
#include "domain/spec/spec.h"

#define HEAD                                                                                       \
    "platform: demo\ndomain: example.com\n"                                                        \
    "regions:\n"                                                                                   \
    "  hk: {duty: main, network: 10.20.0.0/16}\n"                                                  \
    "  kr: {duty: dr, network: 10.40.0.0/16}\n"                                                    \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11}\n"                                                   \
    "  kr1: {region: kr, address: 10.40.0.11}\n"                                                   \
    "  kr2: {region: kr, address: 10.40.0.12}\n"                                                   \
    "state: {members: [hk1]}\n"
#define T "t: {source: hk, replicas: [kr]"
#define EXTERNAL "u: {source: hk, managed: false, external: {hk: \"a.b:1\"}, secret: s}"

static struct model *parse(const char *data)
{
    struct model *m = NULL;
    struct err e = {0};
    struct str text = STR_INIT;
    str_addf(&text, "%s%s", HEAD, data);
    if (model_parse(text.buf, text.len, "p", &m, NULL, &e) < 0)
        fail_msg("%s %s\n%s", e.where, e.message, text.buf);
    str_done(&text);
    return m;
}

static json_t *docs_of(const struct model *m)
{
    json_t *docs = json_object();
    for (size_t i = 0; i < m->n_databases; i++) {
        struct str what = STR_INIT;
        struct err e = {0};
        json_t *doc = NULL;
        assert_int_equal(topology_follow(&m->databases[i], NULL, &doc, &what, NULL, &e), 0);
        json_object_set_new(docs, m->databases[i].name, doc);
        str_done(&what);
    }
    return docs;
}

/* As the agent reads it. */
static struct unit_specs *specs_of(const char *data, const json_t *docs, const char *host)
{
    struct model *m = parse(data);
    json_t *doc =
        json_pack("{s:i,s:o}", "revision", 1, "units", compile_engines(m, docs, host));
    struct unit_specs *s;
    struct err e = {0};
    if (unit_specs_parse(doc, &s, &e) < 0)
        fail_msg("%s", e.message);
    json_decref(doc);
    model_free(m);
    return s;
}

static void test_engines(void **state)
{
    static const char data[] = "data: {" T "}, " EXTERNAL "}\n";
    struct model *m = parse(data);
    json_t *docs = docs_of(m);
    struct unit_specs *hk = specs_of(data, docs, "hk1"), *kr = specs_of(data, docs, "kr1"),
                      *none = specs_of(data, docs, "kr2");
    assert_int_equal(hk->n, 1); /* not the external one */
    assert_int_equal(kr->n, 1);
    assert_int_equal(none->n, 0);
    const struct unit_spec *u = &kr->v[0];
    assert_string_equal(u->name, "db-t");
    assert_int_equal(u->kind, UNIT_ENGINE);
    assert_string_equal(u->user, "mysql");
    assert_string_equal(u->command[1], "--defaults-file=/var/lib/mcp/data/t/my.cnf");
    assert_int_equal(u->stop_timeout_ms, 60000);
    assert_int_equal(u->engine->server_id, 2);
    assert_int_equal(u->limits.memory_bytes, 512u << 20);
    assert_string_not_equal(u->digest, hk->v[0].digest); /* another address */
    assert_string_equal(u->generation, hk->v[0].generation);
    unit_specs_free(hk);
    unit_specs_free(kr);
    unit_specs_free(none);
    json_decref(docs);
    model_free(m);
}

/* A setting of the engine makes another process of it; one of its supervision does not. */
static void test_what_restarts(void **state)
{
    static const struct {
        const char *data;
        bool restarts;
    } rows[] = {{"data: {" T ", connections: 300}}\n", true},
        {"data: {" T ", port: 3307}}\n", true},
        {"data: {" T ", limits: {memory: 1GiB}}}\n", true},
        {"data: {" T ", replication: {mode: semi-sync}}}\n", true},
        {"data: {" T ", replication: {heartbeat: 2s, lag_objective: 1s}}}\n", false},
        {"data: {" T ", failover: {lease: 30s}, backup: {keep: 2d}}}\n", false}};
    struct model *m = parse("data: {" T "}}\n");
    json_t *docs = docs_of(m);
    struct unit_specs *was = specs_of("data: {" T "}}\n", docs, "hk1");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct unit_specs *is = specs_of(rows[i].data, docs, "hk1");
        if ((strcmp(was->v[0].digest, is->v[0].digest) != 0) != rows[i].restarts
            || (strcmp(was->v[0].generation, is->v[0].generation) != 0) != rows[i].restarts)
            fail_msg("%s", rows[i].data);
        unit_specs_free(is);
    }
    unit_specs_free(was);
    json_decref(docs);
    model_free(m);
}

/* Until a switchover the source runs, whatever a declaration says. */
static void test_source_that_is_not_declared(void **state)
{
    struct model *m = parse("data: {" T "}}\n");
    json_t *docs = docs_of(m);
    struct unit_specs *s = specs_of("data: {t: {source: kr}}\n", docs, "hk1");
    assert_int_equal(s->n, 1);
    unit_specs_free(s);
    s = specs_of("", docs, "hk1"); /* no longer declared at all: it stops */
    assert_int_equal(s->n, 0);
    unit_specs_free(s);
    json_t *nothing = json_object();
    s = specs_of("data: {" T "}}\n", nothing, "hk1"); /* not formed yet */
    assert_int_equal(s->n, 0);
    unit_specs_free(s);
    json_decref(nothing);
    json_decref(docs);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engines),
        cmocka_unit_test(test_what_restarts),
        cmocka_unit_test(test_source_that_is_not_declared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
