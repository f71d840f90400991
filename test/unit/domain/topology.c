/* SPDX-License-Identifier: Apache-2.0 */
/* Who a database's members are, as the declaration changes; and what one host's data role is told. */
#include "test.h"

#include "domain/model/model.h"
#include "domain/replication/roll.h"
#include "domain/replication/snapshot.h"
#include "domain/replication/topology.h"

#define HEAD                                                                                       \
    "platform: demo\ndomain: example.com\n"                                                        \
    "regions:\n"                                                                                   \
    "  hk: {duty: main, network: 10.20.0.0/16}\n"                                                  \
    "  kr: {duty: dr, network: 10.40.0.0/16}\n"                                                    \
    "  th: {network: [10.60.0.0/16, \"2001:db8::/64\"]}\n"                                          \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11}\n"                                                   \
    "  hk2: {region: hk, address: 10.20.0.12}\n"                                                   \
    "  kr1: {region: kr, address: 10.40.0.11}\n"                                                   \
    "  kr2: {region: kr, address: 10.40.0.12}\n"                                                   \
    "  th1: {region: th, address: [\"2001:db8::1\", 10.60.0.11]}\n"                                \
    "state: {members: [hk1, kr1, th1]}\n"

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

/* "epoch source next: host(id)@address:port+delay ..." */
static char *shown(const json_t *doc)
{
    struct replication_doc d;
    struct err e = {0};
    struct str out = STR_INIT;
    if (replication_doc_parse(doc, &d, &e) < 0)
        fail_msg("%s", e.message);
    str_addf(&out, "%lld %s %lld:", (long long)d.epoch, d.source->host,
        (long long)json_opt_int(doc, "next_id", 0));
    for (size_t i = 0; i < d.n_members; i++) {
        const struct replication_member *m = &d.members[i];
        str_addf(&out, " %s(%u)@%s:%u", m->host, m->id, m->address, m->port);
        if (m->delay_ms)
            str_addf(&out, "+%llu", (unsigned long long)m->delay_ms);
    }
    return str_steal(&out);
}

/* Follows the declaration once; takes doc, returns what is there then. */
static json_t *follow(json_t *doc, const char *data, const char *expected, const char *expect_what,
    const char *expect_refused)
{
    struct model *m = parse(data);
    struct str what = STR_INIT, refused = STR_INIT;
    struct err e = {0};
    json_t *new = NULL;
    if (topology_follow(&m->databases[0], doc, &new, &what, &refused, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(str_cstr(&what), expect_what);
    assert_string_equal(str_cstr(&refused), expect_refused);
    assert_int_equal(new != NULL, *expect_what != '\0');
    json_t *now = new ? new : json_incref(doc);
    char *text = shown(now);
    assert_string_equal(text, expected);
    free(text);
    str_done(&what);
    str_done(&refused);
    json_decref(doc);
    model_free(m);
    return now;
}

#define TWO "data: {t: {source: hk, replicas: [kr]}}\n"
#define TWO_SHOWN "1 hk1 3: hk1(1)@10.20.0.11:3306 kr1(2)@10.40.0.11:3306"

static void test_forms_and_follows(void **state)
{
    json_t *d = follow(NULL, TWO, TWO_SHOWN, "formed with hk1 as its source, kr1 as replica", "");
    d = follow(d, TWO, TWO_SHOWN, "", "");
    d = follow(d, "data: {t: {source: hk, replicas: [kr, {region: th, delay: 1h}]}}\n",
        "1 hk1 4: hk1(1)@10.20.0.11:3306 kr1(2)@10.40.0.11:3306 th1(3)@2001:db8::1:3306+3600000",
        "th1 joins as replica", "");
    d = follow(d, "data: {t: {source: hk, replicas: [th], port: 3307}}\n",
        "1 hk1 4: hk1(1)@10.20.0.11:3307 th1(3)@2001:db8::1:3307",
        "kr1 leaves, hk1 at 10.20.0.11:3307, th1 at 2001:db8::1:3307", "");
    /* It comes back under a number of its own: what it wrote before is another's. */
    d = follow(d, "data: {t: {source: hk, replicas: [th, kr], port: 3307}}\n",
        "1 hk1 5: hk1(1)@10.20.0.11:3307 th1(3)@2001:db8::1:3307 kr1(4)@10.40.0.11:3307",
        "kr1 joins as replica", "");
    json_decref(d);
}

static void test_preferred_source_moves_nothing(void **state)
{
    json_t *d = follow(NULL, TWO, TWO_SHOWN, "formed with hk1 as its source, kr1 as replica", "");
    d = follow(d, "data: {t: {source: kr, replicas: [hk]}}\n", TWO_SHOWN, "", "");
    json_decref(d);
}

static void test_source_stays(void **state)
{
    json_t *d = follow(NULL, TWO, TWO_SHOWN, "formed with hk1 as its source, kr1 as replica", "");
    d = follow(d, "data: {t: {source: kr}}\n", TWO_SHOWN, "",
        "hk1 is the source of t and stays until `mcp data switchover`");
    d = follow(d, "data: {t: {source: hk, replicas: [kr], hosts: {hk: hk2, kr: kr2}}}\n",
        "1 hk1 4: hk1(1)@10.20.0.11:3306 kr2(3)@10.40.0.12:3306", "kr1 leaves, kr2 joins as replica",
        "hk1 is the source of t and stays until `mcp data switchover`, "
        "hk2 cannot join while hk1 of its region is the source");
    json_decref(d);
}

static void test_not_during_a_change(void **state)
{
    json_t *d = follow(NULL, TWO, TWO_SHOWN, "formed with hk1 as its source, kr1 as replica", "");
    json_object_set_new(d, "change", json_pack("{s:s,s:i}", "kind", "switchover", "id", 1));
    d = follow(d, "data: {t: {source: hk}}\n", TWO_SHOWN, "", "");
    json_decref(d);
}

static void test_what_newer_versions_wrote_stays(void **state)
{
    struct model *m = parse(TWO);
    struct str what = STR_INIT;
    struct err e = {0};
    json_t *d = NULL, *new = NULL;
    assert_int_equal(topology_follow(&m->databases[0], NULL, &d, &what, NULL, &e), 0);
    json_object_set_new(d, "later", json_true());
    json_object_set_new(json_array_get(json_object_get(d, "members"), 1), "later", json_true());
    model_free(m);
    m = parse("data: {t: {source: hk, replicas: [kr, th]}}\n");
    assert_int_equal(topology_follow(&m->databases[0], d, &new, &what, NULL, &e), 0);
    assert_true(json_is_true(json_object_get(new, "later")));
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(new, "members"), 1), "later")));
    json_object_set_new(d, "format", json_integer(2));
    json_decref(new);
    new = NULL;
    assert_int_equal(topology_follow(&m->databases[0], d, &new, &what, NULL, &e), ERR_REFUSED);
    assert_null(new);
    str_done(&what);
    json_decref(d);
    model_free(m);
}

static void test_external(void **state)
{
    json_t *d = follow(NULL,
        "data: {t: {source: hk, replicas: [th], managed: false, secret: s,"
        " external: {hk: \"db.example.net:3310\", th: \"[2001:db8::5]:3306\"}}}\n",
        "1 hk1 3: hk1(1)@db.example.net:3310 th1(2)@2001:db8::5:3306",
        "formed with hk1 as its source, th1 as replica", "");
    json_decref(d);
}

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static json_t *snapshot_of(const char *data, const char *host, json_t *accounts)
{
    struct model *m = parse(data);
    struct str what = STR_INIT;
    struct err e = {0};
    json_t *d = NULL;
    assert_int_equal(topology_follow(&m->databases[0], NULL, &d, &what, NULL, &e), 0);
    json_t *docs = json_pack("{s:o}", "t", d), *files = json_pack("{s:s}", "s.sql", DIGEST);
    struct snapshot_input in = {.model = m, .files = files, .docs = docs, .host = host,
        .tls_ready = true, .accounts = accounts};
    json_t *list = snapshot_databases(&in);
    json_decref(docs);
    json_decref(files);
    str_done(&what);
    model_free(m);
    return list;
}

static void test_snapshot(void **state)
{
    json_t *accounts = json_pack("{s:[]}", "t");
    json_t *list = snapshot_of(
        "data: {t: {source: hk, replicas: [kr], schema: s.sql, connections: 77}}\n", "kr1", accounts);
    const json_t *t = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_opt_str(t, "duty", ""), "replica");
    assert_string_equal(json_opt_str(t, "dir", ""), "/var/lib/mcp/data/t");
    assert_string_equal(json_opt_str(json_object_get(t, "self"), "host", ""), "kr1");
    assert_int_equal(json_opt_int(json_object_get(t, "self"), "server_id", 0), 2);
    assert_string_equal(json_opt_str(json_object_get(t, "source"), "address", ""), "10.20.0.11");
    assert_int_equal(json_array_size(json_object_get(t, "members")), 2);
    assert_string_equal(
        json_opt_str(json_array_get(json_object_get(t, "schema"), 0), "digest", ""), DIGEST);
    assert_int_equal(json_opt_int(t, "connections", 0), 77);
    assert_int_equal(json_opt_int(json_object_get(t, "replication"), "heartbeat_ms", 0), 5000);
    assert_true(json_is_array(json_object_get(t, "accounts")));
    assert_false(json_opt_bool(t, "hold", true));
    json_decref(list);
    json_decref(accounts);
    list = snapshot_of(TWO, "th1", NULL); /* none of it is here */
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    list = snapshot_of(TWO, "hk1", NULL);
    t = json_array_get(list, 0);
    assert_string_equal(json_opt_str(t, "duty", ""), "source");
    assert_true(json_is_null(json_object_get(t, "accounts"))); /* not known is not none */
    json_decref(list);
}

/* ---- settings, one server after the other */

static const struct {
    const char *name, *host;
    const char *heard[3]; /* of a (source), b, c: "old", "new", "old!" (not well), NULL */
    bool change, may;
    const char *waits_for;
} rolls[] = {
    {"the first replica goes first", "b", {"old", "old", "old"}, false, true, NULL},
    {"the second waits for it", "c", {"old", "old", "old"}, false, false, "b"},
    {"until it runs", "c", {"old", "new!", "old"}, false, false, "b"},
    {"and replicates", "c", {"old", "new", "old"}, false, true, NULL},
    {"the source waits for both", "a", {"old", "new", "old"}, false, false, "c"},
    {"and is last", "a", {"old", "new", "new"}, false, true, NULL},
    {"a host that is not heard holds the source", "a", {"old", NULL, "new"}, false, false, "b"},
    {"what does not run has nothing to lose", "a", {"old!", "old", "old"}, false, true, NULL},
    {"nor what is not known", "c", {"old", "old", NULL}, false, true, NULL},
    {"not while the source is moved", "b", {"old", "old", "old"}, true, false, NULL},
};

static void test_rolls(void **state)
{
    static const char *const hosts[] = {"a", "b", "c"};
    struct replication_member members[3];
    for (int i = 0; i < 3; i++)
        members[i] = (struct replication_member){
            .host = hosts[i], .region = hosts[i], .address = "10.0.0.1", .port = 1};
    for (size_t i = 0; i < ARRAY_SIZE(rolls); i++) {
        json_t *doc = replication_doc_new(members, 3);
        struct replication_doc d;
        struct roll_member heard[3];
        struct err e;
        const char *waits_for;
        size_t n = 0;
        if (rolls[i].change)
            json_object_set_new(doc, "change", json_pack("{s:i}", "id", 1));
        assert_int_equal(replication_doc_parse(doc, &d, &e), 0);
        for (int k = 0; k < 3; k++) {
            const char *text = rolls[i].heard[k];
            if (text)
                heard[n++] = (struct roll_member){
                    hosts[k], str_starts(text, "new") ? "new" : "old", !strchr(text, '!')};
        }
        if (roll_may(&d, rolls[i].host, "new", heard, n, &waits_for) != rolls[i].may
            || !str_eq(waits_for, rolls[i].waits_for))
            fail_msg("%s: waits for %s", rolls[i].name, waits_for ? waits_for : "nobody");
        json_decref(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_and_follows),
        cmocka_unit_test(test_preferred_source_moves_nothing),
        cmocka_unit_test(test_source_stays),
        cmocka_unit_test(test_not_during_a_change),
        cmocka_unit_test(test_what_newer_versions_wrote_stays),
        cmocka_unit_test(test_external),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_rolls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
