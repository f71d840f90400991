/* SPDX-License-Identifier: Apache-2.0 */
/* Databases in the declaration: what is understood, what is refused where, and what an apply of a
 * change would do to them. */
#include "test.h"

#include "base/problems/problems.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

#define HEAD                                                                                       \
    "platform: demo\n"                                                                             \
    "domain: example.com\n"                                                                        \
    "regions:\n"                                                                                   \
    "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"                           \
    "  kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"                             \
    "  th: {network: 10.60.0.0/16}\n"                                                              \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"                                     \
    "  hk2: {region: hk, address: 10.20.0.12}\n"                                                   \
    "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"                                     \
    "  th1: {region: th, address: 10.60.0.11}\n"                                                   \
    "state: {members: [hk1, kr1, th1]}\n"
/* line 13 is the first of what follows */

static struct model *parse_ok(const char *text)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(text, strlen(text), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s: %s", e.where, e.message);
    return m;
}

static void test_defaults(void **state)
{
    struct model *m = parse_ok(HEAD "data: {trade: {source: hk}}\n");
    const struct model_database *db = model_find_database(m, "trade");
    assert_non_null(db);
    assert_int_equal(db->engine, DATA_MARIADB);
    assert_true(db->managed);
    assert_int_equal(db->n_members, 1);
    assert_string_equal(db->members[0].host->name, "hk2"); /* hk1 is public */
    assert_null(db->members[0].external);
    assert_int_equal(db->port, 3306);
    assert_int_equal(db->limits.memory_bytes, 512 << 20);
    assert_int_equal(db->connections, 200);
    assert_true(db->limits.pids > db->connections);
    assert_int_equal(db->replication.mode, DATA_ASYNC);
    assert_int_equal(db->replication.heartbeat_ms, 5000);
    assert_int_equal(db->replication.retention_ms, 7ull * 24 * 3600 * 1000);
    assert_int_equal(db->replication.lag_objective_ms, 3000);
    assert_int_equal(db->failover.lease_ms, 15000);
    assert_false(db->failover.automatic);
    assert_null(db->backup.schedule);
    assert_string_equal(db->backup.directory, "/var/backups/mcp");
    assert_null(m->outbox);
    model_free(m);
}

#define WHOLE                                                                                      \
    HEAD                                                                                           \
    "data:\n"                                                                                      \
    "  trade:\n"                                                                                   \
    "    source: hk\n"                                                                             \
    "    replicas: [{region: th, delay: 1h}, kr]\n"                                                \
    "    hosts: {hk: hk1}\n"                                                                       \
    "    schema: [schema/trade.sql, b.sql]\n"                                                      \
    "    limits: {memory: 1GiB, cpu: 1.5}\n"                                                       \
    "    connections: 400\n"                                                                       \
    "    replication: {mode: semi-sync, heartbeat: 2s, recovery: manual, binlog_retention: 2d}\n"  \
    "    failover: {auto: true, lease: 20s}\n"                                                     \
    "    backup: {schedule: \"daily 03:30\", keep: 7d, directory: /srv/backups}\n"                 \
    "  old:\n"                                                                                     \
    "    engine: mysql\n"                                                                          \
    "    managed: false\n"                                                                         \
    "    source: hk\n"                                                                             \
    "    external: {hk: \"10.9.0.5:3306\"}\n"                                                      \
    "    secret: old_admin\n"                                                                      \
    "events: {outbox: trade}\n"                                                                    \
    "modules:\n"                                                                                   \
    "  api:\n"                                                                                     \
    "    image: oci:api\n"                                                                         \
    "    regions: {hk: 1}\n"                                                                       \
    "    needs:\n"                                                                                 \
    "      - {data: trade, access: write, tables: [orders, items]}\n"                              \
    "      - {data: trade, tables: [orders, prices]}\n"                                            \
    "      - {events: publish, key: order.created}\n"                                              \
    "      - {module: ai}\n"                                                                       \
    "  ai: {image: oci:ai, port: 80, regions: {hk: 1}, needs: [{data: old, tables: \"*\"}]}\n"     \
    "  w: {image: oci:w, regions: {hk: 1}, needs: [{events: consume, queue: q}]}\n"

static void test_whole(void **state)
{
    struct model *m = parse_ok(WHOLE);
    const struct model_database *db = model_find_database(m, "trade"),
                                *old = model_find_database(m, "old");
    assert_int_equal(db->n_members, 3);
    assert_string_equal(db->members[0].host->name, "hk1");
    assert_string_equal(db->members[1].host->name, "th1");
    assert_int_equal(db->members[1].delay_ms, 3600 * 1000);
    assert_string_equal(db->members[2].region->name, "kr");
    assert_string_equal(db->schema[1], "b.sql");
    assert_int_equal(db->replication.mode, DATA_SEMI_SYNC);
    assert_int_equal(db->replication.recovery, DATA_MANUAL);
    assert_true(db->failover.automatic);
    assert_string_equal(db->backup.schedule, "daily 03:30");
    assert_ptr_equal(model_database_member(db, "kr1"), &db->members[2]);
    assert_null(model_database_member(db, "hk2"));
    assert_false(old->managed);
    assert_string_equal(old->members[0].external, "10.9.0.5:3306");
    assert_string_equal(old->secret, "old_admin");
    assert_ptr_equal(m->outbox, db);
    model_free(m);
}

/* All needs of one database are one grant; write includes read, whoever says it. */
static void test_grants(void **state)
{
    struct model *m = parse_ok(WHOLE);
    const struct model_module *api = model_find_module(m, "api"), *w = model_find_module(m, "w");
    const struct model_grant *g = model_grant(api, model_find_database(m, "trade"));
    assert_int_equal(api->n_needs, 1);
    assert_int_equal(api->n_grants, 1);
    assert_int_equal(g->n_tables, 3);
    assert_string_equal(g->tables[0], "items");
    assert_string_equal(g->tables[1], "orders");
    assert_string_equal(g->tables[2], "prices");
    assert_int_equal(g->access[0], DATA_WRITE);
    assert_int_equal(g->access[1], DATA_WRITE);
    assert_int_equal(g->access[2], DATA_READ);
    assert_true(g->publish);
    assert_false(g->consume);
    assert_int_equal(w->n_grants, 1);
    assert_int_equal(w->grants[0].n_tables, 0);
    assert_true(w->grants[0].consume);
    assert_null(model_grant(w, model_find_database(m, "old")));
    model_free(m);
}

/* Who speaks TLS with a server of others, or finds it by a name, has no end there. */
static void test_ends_of_others(void **state)
{
    static const struct {
        const char *also;
        bool ends, accounts;
    } rows[] = {
        {"external: {hk: \"10.9.0.5:3306\"}", false, true},
        {"tls: false, external: {hk: \"10.9.0.5:3306\"}", true, true},
        {"tls: false, external: {hk: \"[fd00::5]:3306\"}", true, true},
        {"tls: false, external: {hk: \"a.b:3306\"}", false, true},
        {"tls: false, engine: mysql, external: {hk: \"10.9.0.5:3306\"}", true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_free_ char *text =
            xasprintf("%sdata: {t: {source: hk, managed: false, secret: s, %s}}\n"
                      "modules: {a: {image: oci:a, regions: {hk: 1}, needs: [{data: t, tables: x}]}}\n",
                HEAD, rows[i].also);
        struct model *m = parse_ok(text);
        assert_int_equal(model_database_has_ends(&m->databases[0]), rows[i].ends);
        assert_int_equal(m->modules[0].n_secrets, rows[i].accounts);
        model_free(m);
    }
}

/* A file with the login comes with each need of a database that the platform runs. */
static void test_logins(void **state)
{
    struct model *m = parse_ok(WHOLE);
    const struct model_module *api = model_find_module(m, "api"), *w = model_find_module(m, "w");
    assert_int_equal(api->n_secrets, 1);
    assert_string_equal(api->secrets[0].name, "data.trade.api");
    assert_string_equal(api->secrets[0].file, "trade");
    assert_true(api->secrets[0].made);
    assert_int_equal(api->secrets[0].mode, 0400);
    assert_string_equal(w->secrets[0].name, "data.trade.w");
    assert_int_equal(model_find_module(m, "ai")->n_secrets, 0);
    model_free(m);
}

static void test_round_trip(void **state)
{
    struct model *m = parse_ok(WHOLE), *again = NULL;
    struct err e = {0};
    assert_int_equal(model_parse_json(m->tree, &again, &e), 0);
    char *a = json_text(m->tree), *b = json_text(again->tree);
    assert_string_equal(a, b);
    assert_string_equal(again->databases[1].members[0].host->name, "hk1");
    free(a);
    free(b);
    model_free(again);
    model_free(m);
}

#define MODULE "modules: {a: {image: oci:a, regions: {hk: 1}, needs: "
#define DB "data: {t: {source: hk}}\n"

static const struct {
    const char *name, *text, *where, *message;
} wrong[] = {
    {"name", "data: {my-data: {source: hk}}\n", "13:8", "a database's name"},
    {"taken name", "data: {mysql: {source: hk}}\n", "13:8", "the word has a meaning"},
    {"no source", "data: {t: {}}\n", "13:11", "\"source\" is missing"},
    {"unknown region", "data: {t: {source: hkk}}\n", "13:20", "unknown region \"hkk\""},
    {"replica of itself", "data: {t: {source: hk, replicas: hk}}\n", "13:34",
        "cannot be its replica too"},
    {"twice in a region", "data: {t: {source: hk, replicas: [kr, {region: kr, delay: 1h}]}}\n",
        "13:48", "two replicas in region kr"},
    {"unknown host", "data: {t: {source: hk, hosts: {hk: hk9}}}\n", "13:36",
        "unknown host \"hk9\""},
    {"host elsewhere", "data: {t: {source: hk, hosts: {hk: kr1}}}\n", "13:36",
        "does not stand in region hk"},
    {"host of no member", "data: {t: {source: hk, hosts: {kr: kr1}}}\n", "13:32",
        "has no member in region kr"},
    {"own port", "data: {t: {source: hk, port: 7400}}\n", "13:30", "one of the platform's own"},
    {"one port twice", "data: {t: {source: hk}, u: {source: kr, replicas: [hk]}}\n", "13:28",
        "would listen on port 3306 of host hk2, where t listens"},
    {"external of managed", "data: {t: {source: hk, secret: s}}\n", "13:32",
        "the platform runs those"},
    {"mysql of ours", "data: {t: {source: hk, engine: mysql}}\n", "13:32", "runs no MySQL"},
    {"no address", "data: {t: {source: hk, managed: false, secret: s}}\n", "13:20",
        "`external` does not say"},
    {"schema of others",
        "data: {t: {source: hk, managed: false, secret: s, external: {hk: \"a.b:1\"}, schema: x.sql}}\n",
        "13:84", "`schema` is for those that the platform runs"},
    {"no secret", "data: {t: {source: hk, managed: false, external: {hk: \"a.b:1\"}}}\n", "13:11",
        "without a `secret`"},
    {"no gtid", "data: {t: {source: hk, replication: {gtid: false}}}\n", "13:44", "by GTID"},
    {"semi-sync alone",
        "data: {t: {source: hk, replicas: [{region: kr, delay: 1h}], replication: {mode: "
        "semi-sync}}}\n",
        "13:81", "none that is prompt"},
    {"failover alone", "data: {t: {source: hk, failover: {auto: true}}}\n", "13:41",
        "no replica that could take over"},
    {"failover of others",
        "data: {t: {source: hk, replicas: [kr], managed: false, secret: s, external: {hk: "
        "\"a.b:1\", kr: \"c.d:1\"}, failover: {auto: true}}}\n",
        "13:122", "which others run has stopped writing"},
    {"fence of ours",
        "data: {t: {source: hk, replicas: [kr], failover: {fence: {by: statement}}}}\n",
        "13:63", "for servers that others run"},
    {"fence by which",
        "data: {t: {source: hk, replicas: [kr], managed: false, secret: s, external: {hk: \"a.b:1\", kr: \"c.d:1\"}, failover: {fence: {by: function}}}}\n",
        "13:128", "which function fences"},
    {"fence by none",
        "data: {t: {source: hk, replicas: [kr], managed: false, secret: s, external: {hk: \"a.b:1\", kr: \"c.d:1\"}, failover: {fence: {by: function, function: nobody}}}}\n",
        "13:148", "nobody"},
    {"fence and function",
        "data: {t: {source: hk, replicas: [kr], managed: false, secret: s, external: {hk: \"a.b:1\", kr: \"c.d:1\"}, failover: {fence: {by: statement, function: nobody}}}}\n",
        "13:149", "goes with"},
    {"schedule", "data: {t: {source: hk, backup: {schedule: \"daily 24:00\"}}}\n", "13:43",
        "expected hourly"},
    {"directory", "data: {t: {source: hk, backup: {directory: /a/../b}}}\n", "13:44",
        "an absolute path"},
    {"bucket", "data: {t: {source: hk, backup: {bucket: b}}}\n", "13:33",
        "`bucket` is not built yet"},
    {"outbox of nothing", "events: {outbox: t}\n", "13:18", "no database is declared"},
    {"unknown outbox", DB "events: {outbox: tt}\n", "14:18", "unknown database \"tt\""},
    {"needs what is not", DB MODULE "[{data: u, tables: [x]}]}}\n", "14:62",
        "unknown database \"u\""},
    {"needs no tables", DB MODULE "[{data: t}]}}\n", "14:55", "names its tables"},
    {"table's name", DB MODULE "[{data: t, tables: [x.y]}]}}\n", "14:74", "a table's name"},
    {"needs two things", DB MODULE "[{data: t, tables: [x], key: a}]}}\n", "14:83",
        "`key` does not go with `data`"},
    {"needs nothing", DB MODULE "[{access: read}]}}\n", "14:55", "a need is of a module"},
    {"events without outbox", DB MODULE "[{events: publish, key: k}]}}\n", "14:64",
        "no database carries any"},
    {"events without key", DB "events: {outbox: t}\n" MODULE "[{events: publish}]}}\n", "15:55",
        "needs a `key`"},
    {"secret's file",
        DB "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [t], needs: [{data: t, tables: "
           "[x]}]}}\n",
        "14:57", "gets the file t with its password"},
    {"secret's file and events",
        DB "events: {outbox: t}\nmodules: {a: {image: oci:a, regions: {hk: 1}, secrets: [t], needs: "
           "[{events: publish, key: k}]}}\n",
        "15:57", "gets the file t with its password"},
};

static void test_errors_and_their_places(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct problems p;
        struct model *m = NULL;
        struct str text = STR_INIT, all = STR_INIT;
        str_addf(&text, "%s%s", HEAD, wrong[i].text);
        problems_init(&p, "p");
        if (model_parse_problems(text.buf, text.len, &m, &p) == 0)
            fail_msg("%s: accepted", wrong[i].name);
        problems_format(&p, &all);
        char where[64];
        snprintf(where, sizeof where, "%u:%u", p.v[0].line, p.v[0].column);
        if (p.total > 2 || strcmp(where, wrong[i].where) != 0
            || !strstr(p.v[0].message, wrong[i].message))
            fail_msg("%s: expected one at %s with \"%s\", found %zu:\n%s", wrong[i].name,
                wrong[i].where, wrong[i].message, p.total, all.buf);
        if (!p.v[0].fix || !*p.v[0].fix)
            fail_msg("%s: no fix", wrong[i].name);
        str_done(&text);
        str_done(&all);
        problems_done(&p);
    }
}

/* With members of the state store in two regions none of the two knows that the other is dead. */
static void test_two_sites_do_not_fail_over_by_themselves(void **state)
{
    static const char head[] = "platform: demo\ndomain: example.com\nregions:\n"
        "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
        "  kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
        "  th: {network: 10.60.0.0/16}\nhosts:\n"
        "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"
        "  hk2: {region: hk, address: 10.20.0.12}\n"
        "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"
        "  th1: {region: th, address: 10.60.0.11}\n";
    static const struct {
        const char *members, *automatic;
        bool refused;
    } rows[] = {{"hk1, kr1, th1", "true", false}, {"hk1, hk2, kr1", "true", true},
        {"hk1, hk2, kr1", "false", false}, {"kr1", "true", true}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_free_ char *text = xasprintf("%sstate: {members: [%s]}\n"
            "data: {t: {source: hk, replicas: [kr], failover: {auto: %s}}}\n",
            head, rows[i].members, rows[i].automatic);
        struct model *m = NULL;
        struct err e = {0};
        int r = model_parse(text, strlen(text), "p.yaml", &m, NULL, &e);
        assert_int_equal(r < 0, rows[i].refused);
        assert_true(r >= 0 || strstr(e.message, "neither knows whether the other is dead"));
        assert_true(r >= 0 || strstr(e.fix, "third region"));
        model_free(m);
    }
}

/* "verb subject | reason | impact", a line each; of group data and of accesses. */
static char *plan(const char *from, const char *to, const char *sources)
{
    struct model *a = from ? parse_ok(from) : NULL, *b = parse_ok(to);
    json_t *old_files = json_pack("{s:s}", "s.sql", DIGEST_A);
    json_t *new_files = json_pack("{s:s}", "s.sql", DIGEST_B);
    json_t *where = sources ? json_loads(sources, 0, NULL) : NULL;
    struct plan *p = plan_make(&(struct plan_side){a, a ? old_files : NULL, where},
        &(struct plan_side){b, new_files, NULL});
    struct err e = {0};
    struct str out = STR_INIT;
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->actions[i].group, "data") || strstr(p->actions[i].subject, "access"))
            str_addf(&out, "%s %s | %s | %s\n", plan_verb_name(p->actions[i].verb),
                p->actions[i].subject, p->actions[i].reason, p->actions[i].impact);
    assert_int_equal(plan_refusal(p, &e) < 0, strstr(str_cstr(&out), "refuse ") != NULL);
    str_add(&out, "");
    plan_free(p);
    model_free(a);
    model_free(b);
    json_decref(old_files);
    json_decref(new_files);
    json_decref(where);
    return out.buf ? str_steal(&out) : xstrdup("");
}

#define T "data: {t: {source: hk, replicas: [kr], schema: s.sql"

static const struct {
    const char *name, *from, *to, *sources, *expected;
} changes[] = {
    {"new", "", HEAD T "}}\n", NULL,
        "create database t | new: mariadb, source hk on hk2, 1 schema file | starts 1 engine\n"
        "create replica of t in kr | new: on kr1 | starts 1 engine, seeded from the source\n"},
    {"settings and schema", HEAD T "}}\n",
        HEAD T ", connections: 300, limits: {memory: 1GiB}, replication: {heartbeat: 2s}}}\n", NULL,
        "replace database t | connections: 200 → 300, memory: 512MiB → 1GiB, schema: s.sql "
        "(sha256:aaaaaaaaaaaa) → s.sql (sha256:bbbbbbbbbbbb), heartbeat: 5s → 2s | restarts its "
        "engines, one after the other, the source last\n"},
    {"nothing restarts", HEAD T "}}\n", HEAD T ", backup: {keep: 2d}, failover: {lease: 30s}}}\n",
        NULL,
        "update database t | schema: s.sql (sha256:aaaaaaaaaaaa) → s.sql (sha256:bbbbbbbbbbbb), "
        "lease: 15s → 30s, backups kept: 14d → 2d | new files are run at the source\n"},
    {"a replica more, one moved", HEAD "data: {t: {source: hk, replicas: [kr]}}\n",
        HEAD "data: {t: {source: hk, replicas: [kr, {region: th, delay: 1h}]}}\n", "{\"t\":\"hk\"}",
        "create replica of t in th | new: on th1, 1h behind | starts 1 engine, seeded from the "
        "source\n"},
    {"a replica less", HEAD "data: {t: {source: hk, replicas: [kr, th]}}\n",
        HEAD "data: {t: {source: hk, replicas: [kr]}}\n", "{\"t\":\"hk\"}",
        "remove replica of t in th | no longer in this region | stops its engine, the data on th1 "
        "stays there\n"},
    {"all gone", HEAD "data: {t: {source: hk, replicas: [kr, th]}}\n", HEAD, "{\"t\":\"hk\"}",
        "remove database t | no longer declared | stops its engines, the data stays on their "
        "hosts\n"},
    {"its source is elsewhere now", HEAD "data: {t: {source: hk, replicas: [kr]}}\n",
        HEAD "data: {t: {source: hk}}\n", "{\"t\":\"kr\"}",
        "refuse database t | kr is its source, and would leave | first `mcp data switchover t --to "
        "hk`\n"
        "remove replica of t in kr | no longer in this region | stops its engine, the data on kr1 "
        "stays there\n"},
    {"its source would move", HEAD "data: {t: {source: hk}}\n",
        HEAD "data: {t: {source: hk, hosts: {hk: hk1}}}\n", "{\"t\":\"hk\"}",
        "refuse database t | hk is its source, and would move from host hk2 to hk1 | first add a "
        "replica in another region and switch over to it\n"},
    {"a replica moves", HEAD "data: {t: {source: kr, replicas: [hk]}}\n",
        HEAD "data: {t: {source: kr, replicas: [hk], hosts: {hk: hk1}}}\n", "{\"t\":\"kr\"}",
        "replace replica of t in hk | host: hk2 → hk1 | seeded anew, the data on hk2 stays there\n"},
    {"another engine", HEAD "data: {t: {source: hk}}\n",
        HEAD "data: {t: {source: hk, managed: false, external: {hk: \"a.b:1\"}, secret: s}}\n",
        NULL,
        "refuse database t | engine: mariadb → external mariadb | data is moved by replication: "
        "declare a second database beside it\n"},
    {"grants", HEAD DB MODULE "[{data: t, tables: [x]}]}}\n",
        HEAD DB "events: {outbox: t}\n" MODULE
             "[{data: t, access: write, tables: [x]}, {events: publish, key: k}]}}\n",
        NULL,
        "create events | outbox: none → t | no restart\n"
        "create access of module a to t.x: write | new: declared in needs | no restart\n"
        "create access of module a to t: publish events | new: declared in needs | no restart\n"
        "remove access of module a to t.x: read | no longer declared | refused from then on\n"},
};

static void test_changes(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        char *text =
            plan(*changes[i].from ? changes[i].from : NULL, changes[i].to, changes[i].sources);
        if (strcmp(text, changes[i].expected) != 0)
            fail_msg("%s:\n%s\nexpected:\n%s", changes[i].name, text, changes[i].expected);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_ends_of_others),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_errors_and_their_places),
        cmocka_unit_test(test_two_sites_do_not_fail_over_by_themselves),
        cmocka_unit_test(test_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
