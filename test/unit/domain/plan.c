/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/model/model.h"
#include "domain/plan/plan.h"

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

#define HEAD                                                                                       \
    "platform: demo\ndomain: example.com\n"                                                        \
    "regions:\n"                                                                                   \
    "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"                           \
    "  kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
#define HOSTS                                                                                      \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"                                     \
    "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"                                     \
    "state: {members: [hk1]}\n"
#define ROUTING                                                                                    \
    "routing:\n"                                                                                   \
    "  countries: {KR: [kr]}\n"                                                                    \
    "  records: [{name: \"@\", type: MX, value: \"10 mail\"}]\n"
#define WEB                                                                                        \
    "modules:\n"                                                                                   \
    "  web: {image: oci:web, port: 80, regions: {hk: 2, kr: {standby: 1}}, env: {A: 1, B: 2},\n"   \
    "        route: {names: example.com, auth: none}}\n"
#define BASE HEAD HOSTS ROUTING WEB

static struct model *parse(const char *text)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(text, strlen(text), "p", &m, NULL, &e) < 0)
        fail_msg("%s %s\n%s", e.where, e.message, text);
    return m;
}

/* "verb subject | reason | impact", a line each. `digest`: of the web image, now. */
static char *plan(const char *from, const char *to, const char *digest)
{
    struct model *a = from ? parse(from) : NULL, *b = parse(to);
    json_t *old_files = json_pack("{s:s}", "web", DIGEST_A);
    json_t *new_files = json_pack("{s:s}", "web", digest);
    struct plan_side sides[] = {{a, a ? old_files : NULL}, {b, new_files}};
    struct plan *p = plan_make(&sides[0], &sides[1]);
    struct str out = STR_INIT;
    for (size_t i = 0; i < p->n; i++)
        str_addf(&out, "%s %s | %s | %s\n", plan_verb_name(p->actions[i].verb),
            p->actions[i].subject, p->actions[i].reason, p->actions[i].impact);
    plan_free(p);
    model_free(a);
    model_free(b);
    json_decref(old_files);
    json_decref(new_files);
    return str_steal(&out);
}

static void test_nothing_changes(void **state)
{
    char *text = plan(BASE, HOSTS WEB ROUTING HEAD, DIGEST_A);
    assert_string_equal(text, "");
    free(text);
}

static void test_from_nothing(void **state)
{
    char *text = plan(NULL, BASE, DIGEST_A);
    assert_string_equal(text,
        "create region hk | new: duty main, network 10.20.0.0/16, address 203.0.113.20 | no "
        "restart\n"
        "create region kr | new: duty dr, network 10.40.0.0/16, address 203.0.113.40 | no restart\n"
        "create host hk1 | new: in hk, address 10.20.0.11 | starts control, agent, resolver, dns "
        "and edge\n"
        "create host kr1 | new: in kr, address 10.40.0.11 | starts control, agent, resolver, dns "
        "and edge\n"
        "create state member hk1 | new: one of 1 | starts etcd\n"
        "create module web in hk | new: 2 active of oci:web (sha256:aaaaaaaaaaaa) | starts 2 "
        "instances\n"
        "create module web in kr | new: 1 standby of oci:web (sha256:aaaaaaaaaaaa) | holds 1 "
        "instance\n"
        "create route example.com/ | new: to module web, auth none | no restart\n"
        "create zone | new: example.com, ttl 60 s | answers change as resolvers' copies end\n"
        "create health probing | new: every 5s, timeout 2s, down after 2, up after 3 | no restart\n"
        "create steering KR | new: kr, hk | answers change as resolvers' copies end\n"
        "create steering default | new: hk, kr | answers change as resolvers' copies end\n"
        "create name server ns1 | new: hk | answers change as resolvers' copies end\n"
        "create name server ns2 | new: kr | answers change as resolvers' copies end\n"
        "create record example.com MX | new: 10 mail.example.com. (ttl 60 s) | answers change as "
        "resolvers' copies end\n");
    free(text);
}

/* One change each, and exactly what follows from it. */
static const struct {
    const char *name, *to, *digest, *expected;
} changes[] = {
    {"a new image", BASE, DIGEST_B,
        "replace module web in hk | image: oci:web (sha256:aaaaaaaaaaaa) → oci:web "
        "(sha256:bbbbbbbbbbbb) | "
        "rolls 2 instances, none lost\n"
        "update module web in kr | image: oci:web (sha256:aaaaaaaaaaaa) → oci:web "
        "(sha256:bbbbbbbbbbbb) | "
        "no restart\n"},
    {"more instances",
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 3, kr: 1}, env: {A: 1, B: 2},\n"
        "        route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "update module web in hk | active: 2 → 3 | starts 1 instance\n"
        "update module web in kr | active: 0 → 1, standby: 1 → 0 | starts 1 instance\n"},
    {"a region less, environment, limits",
        HEAD HOSTS ROUTING "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 1}, env: {B: "
                           "3, C: 1}, limits: {memory: 1GiB, "
                           "cpu: 1.5},\n        route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "replace module web in hk | env: A B C, memory: 256MiB → 1GiB, cpu: no limit → 1.5, "
        "active: 2 → 1 | "
        "rolls 1 instance, none lost, stops 1 instance\n"
        "remove module web in kr | no longer in this region | no restart\n"},
    {"probe and command",
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 2, kr: {standby: 1}}, env: {A: "
        "1, B: 2},\n"
        "        command: [/bin/web, -v], health: {path: /up, interval: 1s, timeout: 500ms}, "
        "route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "replace module web in hk | command: none → /bin/web -v, probe: tcp → http, probe path: "
        "none → /up, "
        "probe interval: 5s → 1s, probe timeout: 2s → 500ms | rolls 2 instances, none lost\n"
        "update module web in kr | command: none → /bin/web -v, probe: tcp → http, probe path: "
        "none → /up, "
        "probe interval: 5s → 1s, probe timeout: 2s → 500ms | no restart\n"},
    {"routes",
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 2, kr: {standby: 1}}, env: {A: "
        "1, B: 2},\n"
        "        route: [{names: example.com}, {names: www.example.com, path: /x}]}\n",
        DIGEST_A,
        "update route example.com/ | auth: none → jwt | no restart\n"
        "create route www.example.com/x | new: to module web, auth jwt | no restart\n"},
    {"secrets",
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 2, kr: {standby: 1}}, env: {A: "
        "1, B: 2},\n"
        "        secrets: [key, {name: b, on_change: restart}], "
        "route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "replace module web in hk | secrets: none → key, b (file b, mode 0400, restart) | rolls 2 "
        "instances, none lost\n"
        "update module web in kr | secrets: none → key, b (file b, mode 0400, restart) | no "
        "restart\n"},
    {"calls and names outside",
        BASE "  ai: {image: oci:web, port: 81, regions: {hk: 1}, needs: [{module: web}], "
             "egress: [\"*.b.example:90\"]}\n",
        DIGEST_A,
        "create module ai in hk | new: 1 active of oci:web (sha256:aaaaaaaaaaaa) | starts 1 "
        "instance\n"
        "create calls of module ai to module web | new: declared in needs | no restart\n"
        "create calls of module ai to *.b.example:90 | new: declared in egress | no restart\n"},
    {"all modules gone", HEAD HOSTS ROUTING, DIGEST_A,
        "remove route example.com/ | no longer declared | no restart\n"
        "remove module web in hk | no longer declared | stops 2 instances\n"
        "remove module web in kr | no longer declared | no restart\n"},
    {"routing",
        HEAD HOSTS WEB
        "routing:\n  ttl: 30s\n  countries: {JP: [kr]}\n  on_failure: [main]\n"
        "  health: {down: 3}\n  nameservers: {ns1: kr, a: hk}\n"
        "  geo: {overrides: {198.51.100.0/24: TH}}\n"
        "  records: [{name: \"@\", type: MX, value: \"10 mail\", ttl: 60s}, {name: \"@\", "
        "type: MX, value: \"20 mx\", ttl: 60s}, {name: t, type: TXT, value: hi}]\n",
        DIGEST_A,
        "update zone | example.com, ttl 60 s → example.com, ttl 30 s | answers change as "
        "resolvers' copies end\n"
        "update health probing | down: 2 → 3 | no restart\n"
        "create steering JP | new: kr, hk | answers change as resolvers' copies end\n"
        "remove steering KR | no longer declared | answers change as resolvers' copies end\n"
        "update steering default | hk, kr → hk | answers change as resolvers' copies end\n"
        "create country of 198.51.100.0/24 | new: TH | answers change as resolvers' copies end\n"
        "create name server a | new: hk | answers change as resolvers' copies end\n"
        "update name server ns1 | hk → kr | answers change as resolvers' copies end\n"
        "remove name server ns2 | no longer declared | answers change as resolvers' copies end\n"
        "update record example.com MX | 10 mail.example.com. (ttl 60 s) → 10 mail.example.com. "
        "(ttl 60 s); "
        "20 mx.example.com. (ttl 60 s) | answers change as resolvers' copies end\n"
        "create record t.example.com TXT | new: \"hi\" (ttl 30 s) | answers change as resolvers' "
        "copies end\n"},
    {"hosts and members",
        HEAD "hosts:\n"
             "  hk0: {region: hk, address: 10.20.0.10}\n"
             "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"
             "  kr1: {region: kr, address: 10.40.0.12, public: true}\n"
             "state: {members: [hk1, kr1, hk0]}\n" ROUTING WEB,
        DIGEST_A,
        "create host hk0 | new: in hk, address 10.20.0.10 | starts control, agent and resolver\n"
        "replace host kr1 | address: 10.40.0.11 → 10.40.0.12 | restarts the host's roles and "
        "instances\n"
        "create state member hk0 | new: one of 3 | starts etcd\n"
        "create state member kr1 | new: one of 3 | starts etcd\n"},
    {"how it rolls, and a replacement in place",
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 81, regions: {hk: 2, kr: {standby: 1}}, env: {A: "
        "1, B: 2},\n"
        "        rollout: {strategy: replace, wave: 50%, deadline: 2m},\n"
        "        route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "replace module web in hk | port: 80 → 81, rollout: rolling → replace, wave: 1 → 50%, "
        "rollout deadline: 5m → 2m | restarts 2 instances\n"
        "update module web in kr | port: 80 → 81, rollout: rolling → replace, wave: 1 → 50%, "
        "rollout deadline: 5m → 2m | no restart\n"},
    {"a region less",
        "platform: demo\ndomain: example.com\n"
        "regions: {hk: {duty: main, address: [203.0.113.20, \"2001:db8::1\"], network: "
        "10.20.0.0/16}}\n"
        "hosts: {hk1: {region: hk, address: 10.20.0.11, public: true}}\n"
        "routing:\n  countries: {KR: [hk]}\n  records: [{name: \"@\", type: MX, value: \"10 "
        "mail\"}]\n"
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 2}, env: {A: 1, B: 2},\n"
        "        route: {names: example.com, auth: none}}\n",
        DIGEST_A,
        "update region hk | address: 203.0.113.20 → 203.0.113.20 2001:db8::1 | its public host "
        "listens on "
        "the new addresses\n"
        "update steering KR | kr, hk → hk | answers change as resolvers' copies end\n"
        "update steering default | hk, kr → hk | answers change as resolvers' copies end\n"
        "remove name server ns2 | no longer declared | answers change as resolvers' copies end\n"
        "remove module web in kr | no longer in this region | no restart\n"
        "remove state member hk1 | no longer a member | stops etcd\n"
        "remove host kr1 | no longer declared | stops the host's roles\n"
        "remove region kr | no longer declared | no restart\n"},
    {"alarms",
        BASE "alarms: {web: {when: \"module.web.ready < 1\", for: 5s, notify: ops}}\n"
             "notify: {ops: {slack: {url_secret: hook}}}\n",
        DIGEST_A,
        "create notify ops | new: slack, by the secret hook | no restart\n"
        "create alarm web | new: module.web.ready < 1 | no restart\n"},
    {"the lab",
        BASE "lab: {clients: {KR: 198.51.100.0/28}, wan: [{between: [kr, hk], delay: 19ms, loss: "
             "0.5%}]}\n",
        DIGEST_A,
        "create clients 198.51.100.0/28 | new: KR | at the next `mcp up`\n"
        "create line hk – kr | new: 19 ms, 0.5% lost | at the next `mcp up`\n"},
};

static void test_changes(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        char *text = plan(BASE, changes[i].to, changes[i].digest);
        if (strcmp(text, changes[i].expected) != 0)
            fail_msg("%s:\n%s\nexpected:\n%s", changes[i].name, text, changes[i].expected);
        free(text);
    }
}

#define FN "functions: {f: {image: oci:f, deadline: 5s}}\n"
static void test_functions(void **state)
{
    static const char bound[] =
        HEAD HOSTS ROUTING
        "modules:\n  web: {image: oci:web, port: 80, regions: {hk: 2, kr: {standby: 1}}, "
        "env: {A: 1, B: 2}, before: f,\n        route: {names: example.com, auth: none}}\n"
        "functions: {f: {image: oci:f, deadline: 9s, may: [dns:SteerAway]}}\n";
    static const struct {
        const char *from, *to, *expected;
    } rows[] = {
        {BASE, BASE FN, "create function f | new: oci:f | no restart\n"},
        {BASE FN, BASE FN, ""},
        {BASE FN, bound,
            "update function f | deadline: \"5s\" → \"9s\", may: none → [\"dns:SteerAway\"] | "
            "no restart\ncreate run f before deployments of web | new | no restart\n"},
        {BASE FN, BASE, "remove function f | no longer declared | no restart\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *text = plan(rows[i].from, rows[i].to, DIGEST_A);
        assert_string_equal(text, rows[i].expected);
        free(text);
    }
}

static void test_json(void **state)
{
    struct model *m = parse(BASE);
    json_t *files = json_pack("{s:s}", "web", DIGEST_A);
    struct plan *p = plan_make(&(struct plan_side){0}, &(struct plan_side){m, files});
    json_t *j = plan_json(p, "demo", 0, 1);
    json_t *first = json_array_get(json_object_get(j, "actions"), 0);
    assert_true(json_is_null(json_object_get(j, "from")));
    assert_int_equal(json_integer_value(json_object_get(j, "to")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "actions")), p->n);
    assert_string_equal(json_string_value(json_object_get(first, "verb")), "create");
    assert_string_equal(json_string_value(json_object_get(first, "subject")), "region hk");
    json_decref(j);
    plan_free(p);
    json_decref(files);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_changes),
        cmocka_unit_test(test_from_nothing),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
