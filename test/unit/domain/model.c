/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "base/problems/problems.h"
#include "domain/model/model.h"

/* A whole platform in few lines; rows below put their own in place of a part, or behind it. */
#define REGIONS                                                                                    \
    "platform: demo\n"                                                                             \
    "domain: Example.com\n"                                                                        \
    "regions:\n"                                                                                   \
    "  kr: {duty: dr, address: [203.0.113.40, \"2001:db8::40\"], network: 10.40.0.0/16}\n"         \
    "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"                           \
    "  th: {network: 10.60.0.0/16}\n"
#define HOSTS                                                                                      \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"                                     \
    "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"                                     \
    "  th1: {region: th, address: 10.60.0.11}\n"                                                   \
    "state: {members: [hk1, kr1, th1]}\n"
#define BASE REGIONS HOSTS

static struct model *parse_ok(const char *text)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(text, strlen(text), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s: %s", e.where, e.message);
    return m;
}

static void test_model(void **state)
{
    struct model *m =
        parse_ok(BASE "routing:\n"
                      "  countries: {NO: [kr], KR: kr}\n"
                      "  default: [main]\n"
                      "modules:\n"
                      "  web: {image: \"oci:images/web\", port: 80, regions: {each: 1, kr: "
                      "{standby: 2}},\n"
                      "        route: {names: WWW.example.com., path: /a/, auth: none}}\n");
    assert_int_equal(m->n_regions, 3);
    assert_string_equal(m->regions[0].name, "hk");
    assert_int_equal(m->regions[0].duty, REGION_MAIN);
    assert_int_equal(model_find_region(m, "kr")->addresses.n, 2);
    assert_null(model_find_region(m, "us"));
    assert_string_equal(m->domain, "example.com");
    assert_ptr_equal(m->members[1], model_find_host(m, "kr1"));
    assert_ptr_equal(model_first_host(m, &m->regions[2])->region, &m->regions[2]);
    assert_string_equal(m->routing.countries[1].code, "NO"); /* a country, not "false" */
    assert_int_equal(m->routing.countries[1].order.n, 2);
    assert_string_equal(m->routing.countries[1].order.v[1]->name, "hk");
    assert_string_equal(m->routing.fallback.v[1]->name, "kr"); /* main, then on_failure: dr */
    assert_int_equal(m->routing.n_nameservers, 2);             /* th has no public host */
    assert_int_equal(m->routing.ttl_ms, 60000);
    const struct model_module *web = model_find_module(m, "web");
    assert_int_equal(web->n_instances, 3);
    assert_int_equal(web->instances[1].standby, 2);
    assert_int_equal(web->instances[1].active, 0);
    assert_int_equal(web->probe.kind, PROBE_TCP);
    assert_string_equal(web->routes[0].names[0], "www.example.com");
    assert_string_equal(web->routes[0].path, "/a");
    model_free(m);
}

static void test_defaults(void **state)
{
    struct model *m = parse_ok(BASE "modules:\n"
                                    "  a: {image: oci:a, regions: {hk: 1}}\n"
                                    "  b: {image: oci:b, port: 1, regions: {hk: 1},"
                                    " health: {path: /x}, rollout: {strategy: canary, wave: 25%}}\n"
                                    "  c: {image: oci:c, regions: {hk: 0, kr: 1},"
                                    " health: {command: [/bin/true]}}\n");
    const struct model_module *a = model_find_module(m, "a"), *b = model_find_module(m, "b"),
                              *c = model_find_module(m, "c");
    assert_int_equal(a->probe.kind, PROBE_NONE);
    assert_int_equal(b->probe.kind, PROBE_HTTP);
    assert_int_equal(c->probe.kind, PROBE_EXEC);
    assert_string_equal(c->probe.command[0], "/bin/true");
    assert_null(c->probe.command[1]);
    assert_int_equal(c->n_instances, 1);
    assert_int_equal(a->limits.memory_bytes, 256 << 20);
    assert_int_equal(a->limits.cpu_milli, 0);
    assert_int_equal(a->stop_timeout_ms, 10000);
    assert_int_equal(a->rollout.strategy, ROLLOUT_ROLLING);
    assert_int_equal(model_wave(&a->rollout, 7), 1);
    assert_int_equal(model_wave(&b->rollout, 7), 1);
    assert_int_equal(model_wave(&b->rollout, 20), 5);
    assert_int_equal(b->rollout.canary_ms, 60000);
    assert_null(a->env[0]);
    assert_null(a->command);
    assert_int_equal(m->routing.health.down, 2);
    assert_int_equal(m->routing.health.up, 3);
    assert_int_equal(m->routing.health.interval_ms, 5000);
    assert_int_equal(m->hosts[0].bridge.bits, 16);
    assert_false(m->hosts[2].is_public);
    model_free(m);
}

/* What is declared here in one order comes back sorted: a region's bit is the same on every host. */
static void test_order_of_maps_means_nothing(void **state)
{
    struct model *a = parse_ok(BASE);
    struct model *b = parse_ok(HOSTS REGIONS);
    char *x = json_text(a->tree), *y = json_text(b->tree);
    assert_string_equal(x, y);
    for (size_t i = 0; i < a->n_regions; i++)
        assert_string_equal(a->regions[i].name, b->regions[i].name);
    free(x);
    free(y);
    model_free(a);
    model_free(b);
}

static void test_canonical_round_trip(void **state)
{
    struct model *m = parse_ok(BASE
        "lab: {clients: {KR: [198.51.100.0/28, \"2001:db8:1::/64\"]}, wan: [{between: [hk, kr],"
        " delay: 19ms, loss: 0.5%, rate: 100Mbit}]}\n"
        "routing: {on_failure: [], ttl: 90s, geo: {overrides: {198.51.100.0/24: KR}}}\n"
        "modules: {w: {image: oci:w, env: {A: \"1\", Z: \"x y\"}, limits: {cpu: 0.1},"
        " stop_timeout: 0s, regions: {each: {standby: 1}}}}\n");
    char *once = json_text(m->tree);
    struct model *again = parse_ok(once), *direct = NULL;
    struct err e = {0};
    char *twice = json_text(again->tree);
    assert_string_equal(once, twice);
    assert_int_equal(model_parse_json(m->tree, &direct, &e), 0);
    char *third = json_text(direct->tree);
    assert_string_equal(once, third);
    assert_int_equal(again->lab.wan[0].delay_us, 19000);
    assert_int_equal(again->lab.wan[0].rate_bps, 100000000);
    assert_true(again->lab.wan[0].loss > 0.00499 && again->lab.wan[0].loss < 0.00501);
    assert_int_equal(again->routing.fallback.n, 1); /* an empty list is not the default */
    assert_int_equal(direct->modules[0].limits.cpu_milli, 100);
    assert_int_equal(direct->modules[0].stop_timeout_ms, 0);
    assert_string_equal(direct->modules[0].env[1], "Z=x y");
    free(once);
    free(twice);
    free(third);
    model_free(direct);
    model_free(again);
    model_free(m);
}

/* One mistake each: exactly one error, at its place. Columns count from 1. */
static const struct {
    const char *name, *text, *where, *message;
} wrong[] = {
    {"unknown key", BASE "rooting: {}\n", "p.yaml:12:1", "unknown key \"rooting\""},
    {"later word", BASE "cache: {nodes: 6}\n", "p.yaml:12:1", "`cache` is not built yet"},
    {"key twice", BASE "lab: {}\nlab: {}\n", "p.yaml:13:1", "a second time"},
    {"not a duration", BASE "routing: {ttl: 60}\n", "p.yaml:12:16", "expected a duration"},
    {"out of range", BASE "routing: {ttl: 2d}\n", "p.yaml:12:16", "1s to 1d, found \"2d\""},
    {"no whole seconds", BASE "routing: {ttl: 1500ms}\n", "p.yaml:12:16", "whole seconds"},
    {"null", BASE "routing: {ttl: }\n", "p.yaml:12:16", "found nothing"},
    {"quoted number", BASE "routing: {health: {down: \"2\"}}\n", "p.yaml:12:26", "whole number"},
    {"timeout", BASE "routing: {health: {timeout: 5s}}\n", "p.yaml:12:29", "shorter than"},
    {"no such country", BASE "routing: {countries: {kr: [kr]}}\n", "p.yaml:12:23", "ISO 3166"},
    {"UK", BASE "routing: {countries: {UK: [kr]}}\n", "p.yaml:12:23", "is GB"},
    {"unknown region", BASE "routing: {default: [hkk]}\n", "p.yaml:12:21",
        "unknown region or duty"},
    {"not routable", BASE "routing: {default: [th]}\n", "p.yaml:12:21",
        "cannot be sent to region th"},
    {"region twice", BASE "routing: {default: [hk, hk]}\n", "p.yaml:12:25", "stands here twice"},
    {"name server", BASE "routing: {nameservers: {ns1: th}}\n", "p.yaml:12:30", "cannot be sent"},
    {"override twice",
        BASE "routing: {geo: {overrides: {\"2001:DB8::/32\": KR, \"2001:db8::/32\": JP}}}\n",
        "p.yaml:12:50", "the same prefix"},
    {"record type", BASE "routing: {records: [{name: a, type: NS, value: b}]}\n", "p.yaml:12:37",
        "expected one of A, AAAA"},
    {"record outside", BASE "routing: {records: [{name: a.org., type: A, value: 1.2.3.4}]}\n",
        "p.yaml:12:28", "a name in example.com"},
    {"record value", BASE "routing: {records: [{name: a, type: MX, value: mail}]}\n",
        "p.yaml:12:48", "PREFERENCE NAME"},
    {"relative slip", BASE "routing: {records: [{name: a, type: CNAME, value: b.example.com}]}\n",
        "p.yaml:12:51", "a dot behind a full name"},
    {"apex CNAME", BASE "routing: {records: [{name: \"@\", type: CNAME, value: b}]}\n",
        "p.yaml:12:21", "cannot be a CNAME"},
    {"CNAME and others",
        BASE
        "routing: {records: [{name: a, type: CNAME, value: b}, {name: a, type: TXT, value: c}]}\n",
        "p.yaml:12:55", "a CNAME and other records"},
    {"record twice",
        BASE
        "routing: {records: [{name: a, type: A, value: 1.2.3.4}, {name: A.example.com, type: A, "
        "value: 1.2.3.4}]}\n",
        "p.yaml:12:57", "the same record"},
    {"address of a name server",
        BASE "routing: {records: [{name: ns1, type: A, value: 1.2.3.4}]}\n", "p.yaml:12:21",
        "is a name server"},
    {"line to itself", BASE "lab: {wan: [{between: [hk, hk]}]}\n", "p.yaml:12:28", "two different"},
    {"line twice", BASE "lab: {wan: [{between: [hk, kr]}, {between: [kr, hk]}]}\n", "p.yaml:12:45",
        "declared twice"},
    {"loss", BASE "lab: {wan: [{between: [hk, kr], loss: 101%}]}\n", "p.yaml:12:39", "up to 100%"},
    {"clients overlap", BASE "lab: {clients: {KR: 198.51.100.0/24, TH: 198.51.100.16/28}}\n",
        "p.yaml:12:42", "overlaps the clients of KR"},
    {"clients in a network", BASE "lab: {clients: {KR: 10.20.3.0/24}}\n", "p.yaml:12:21",
        "overlaps the network of region hk"},
    {"module somewhere else", BASE "modules: {a: {image: oci:a, regions: {us: 1}}}\n",
        "p.yaml:12:39", "unknown region \"us\""},
    {"no instance", BASE "modules: {a: {image: oci:a, regions: {hk: 0}}}\n", "p.yaml:12:38",
        "no instance anywhere"},
    {"too many", BASE "modules: {a: {image: oci:a, regions: {hk: {active: 60, standby: 60}}}}\n",
        "p.yaml:12:39", "more than 99 instances"},
    {"route without port",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, route: {names: [a.example.com]}}}\n",
        "p.yaml:12:54", "a route but no port"},
    {"probe without port",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, health: {path: /}}}\n", "p.yaml:12:55",
        "no port"},
    {"probe of two kinds",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, health: {path: /, command: "
             "[a]}}}\n",
        "p.yaml:12:83", "not both"},
    {"http without path",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, health: {kind: http}}}\n",
        "p.yaml:12:64", "needs a path"},
    {"a rollout that cannot see",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, health: none, route: {names: "
             "a.example.com}}}\n",
        "p.yaml:12:64", "cannot know when a new instance answers"},
    {"a rollout over before a start",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, rollout: {deadline: 30s}}}\n",
        "p.yaml:12:56", "longer to start"},
    {"no wave", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, rollout: {wave: 0}}}\n",
        "p.yaml:12:63", "a number from 1 to 99"},
    {"docker image", BASE "modules: {a: {image: \"docker:///a\", regions: {hk: 1}}}\n",
        "p.yaml:12:22", "docker://HOST/NAME"},
    {"other domain",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, route: {names: [a.org]}}}\n",
        "p.yaml:12:72", "not in the platform's domain"},
    {"route path",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, route: {names: a.example.com, "
             "path: /../x}}}\n",
        "p.yaml:12:92", "a path that starts with /"},
    {"route twice",
        BASE
        "modules:\n"
        "  a: {image: oci:a, port: 1, regions: {hk: 1}, route: {names: a.example.com, path: /v/}}\n"
        "  b: {image: oci:a, port: 1, regions: {hk: 1}, route: {names: A.example.com, path: /v}}\n",
        "p.yaml:14:63", "a.example.com/v is served twice"},
    {"name of a name server",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, route: {names: "
             "ns1.example.com}}}\n",
        "p.yaml:5:3", "served by module a"},
    {"later word of a module",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, requires: [b]}}\n", "p.yaml:12:47",
        "`requires` is not built yet"},
    {"secret's name", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [../b]}}\n",
        "p.yaml:12:57", "a secret's name"},
    {"the platform's secret",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [data.trade.a]}}\n",
        "p.yaml:12:57", "the platform's: passwords of databases"},
    {"secret's file",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [{name: b, file: a/b}]}}\n",
        "p.yaml:12:73", "a secret's name"},
    {"secret's mode",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [{name: b, mode: 0666}]}}\n",
        "p.yaml:12:73", "0444"},
    {"secrets' files",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, secrets: [b, {name: c, file: b}]}}\n",
        "p.yaml:12:67", "two secrets of module a are the file b"},
    {"a function that is a module",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}}}\nfunctions: {a: {image: oci:b}}\n",
        "p.yaml:13:13", "a is a module and a function"},
    {"what a function may", BASE "functions: {a: {image: oci:b, may: [dns:All]}}\n",
        "p.yaml:12:37", "dns:SteerAway or dns:SteerBack"},
    {"a function's deadline", BASE "functions: {a: {image: oci:b, deadline: 2m}}\n",
        "p.yaml:12:41", "1m"},
    {"an unknown function",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, before: [f]}}\n", "p.yaml:12:56",
        "unknown function \"f\""},
    {"needs nobody", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, needs: [{module: b}]}}\n",
        "p.yaml:12:64", "unknown module \"b\""},
    {"needs itself",
        BASE "modules: {a: {image: oci:a, port: 1, regions: {hk: 1}, needs: [{module: a}]}}\n",
        "p.yaml:12:73", "needs itself"},
    {"needs what has no port",
        BASE "modules:\n  a: {image: oci:a, regions: {hk: 1}, needs: [{module: b}]}\n"
             "  b: {image: oci:a, regions: {hk: 1}}\n",
        "p.yaml:13:56", "no port to be called on"},
    {"needs twice",
        BASE "modules:\n  a: {image: oci:a, regions: {hk: 1}, needs: [{module: b}, {module: b}]}\n"
             "  b: {image: oci:a, port: 1, regions: {hk: 1}}\n",
        "p.yaml:13:69", "is needed twice"},
    {"egress to an address",
        BASE "modules: {a: {image: oci:a, regions: {hk: 1}, egress: 10.0.0.1}}\n", "p.yaml:12:55",
        "expected NAME"},
    {"egress to all", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, egress: \"*\"}}\n",
        "p.yaml:12:55", "expected NAME"},
    {"a module called egress", BASE "modules: {egress: {image: oci:a, regions: {hk: 1}}}\n",
        "p.yaml:12:11", "is the way out"},
    {"egress port", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, egress: \"a.b:0\"}}\n",
        "p.yaml:12:55", "expected NAME"},
    {"environment", BASE "modules: {a: {image: oci:a, regions: {hk: 1}, env: {1A: b}}}\n",
        "p.yaml:12:53", "a variable's name"},
    {"no main",
        "platform: a\ndomain: b.c\nregions: {x: {network: 10.0.0.0/8}}\nhosts: {h: {region: x, "
        "address: 10.0.0.1}}\n",
        "p.yaml:3:10", "no region has the duty main"},
    {"second main",
        "platform: a\ndomain: b.c\nregions:\n  x: {duty: main, network: 10.1.0.0/16}\n"
        "  y: {duty: main, network: 10.2.0.0/16}\nhosts: {h: {region: x, address: 10.1.0.1}}\n",
        "p.yaml:5:13", "a second region with the duty main; x has it"},
    {"reserved name",
        "platform: a\ndomain: b.c\nregions: {each: {duty: main, network: 10.0.0.0/8}}\nhosts: {h: "
        "{region: each, address: 10.0.0.1}}\n",
        "p.yaml:3:11", "cannot be a region's name"},
    {"missing key",
        "platform: a\ndomain: b.c\nregions: {x: {duty: main}}\nhosts: {h: {region: x, address: "
        "10.0.0.1}}\n",
        "p.yaml:3:14", "\"network\" is missing"},
    {"networks overlap",
        "platform: a\ndomain: b.c\nregions: {x: {duty: main, network: 10.0.0.0/8}, y: {network: "
        "10.2.0.0/16}}\nhosts: {h: {region: x, address: 10.0.0.1}}\n",
        "p.yaml:3:62", "overlaps the network of region x"},
    {"host elsewhere", REGIONS "hosts: {h: {region: hk, address: 10.40.0.9}}\n", "p.yaml:7:34",
        "does not lie in a network of region hk"},
    {"host has the broadcast", REGIONS "hosts: {h: {region: hk, address: 10.20.255.255}}\n",
        "p.yaml:7:34", "first or last address"},
    {"host address twice",
        REGIONS
        "hosts: {h: {region: hk, address: 10.20.0.1}, i: {region: hk, address: 10.20.0.1}}\n"
        "state: {members: [h]}\n",
        "p.yaml:7:71", "is also the address of host h"},
    {"not unicast",
        "platform: a\ndomain: b.c\nregions: {x: {duty: main, address: 224.0.0.1, network: "
        "10.0.0.0/8}}\nhosts: {h: {region: x, address: 10.0.0.1}}\n",
        "p.yaml:3:36", "no address that others can reach"},
    {"bridge on the network",
        REGIONS "hosts: {h: {region: hk, address: 10.20.0.1, bridge: 10.20.0.0/24}}\n",
        "p.yaml:7:53", "overlaps the network of region hk"},
    {"public host without address",
        REGIONS "hosts: {h: {region: th, address: 10.60.0.1, public: true}}\n", "p.yaml:7:53",
        "has no address to hold"},
    {"two public hosts",
        REGIONS "hosts: {h: {region: hk, address: 10.20.0.1, public: true}, i: {region: hk, "
                "address: 10.20.0.2, public: true}}\nstate: {members: [h]}\n",
        "p.yaml:7:104", "a second public host"},
    {"unknown region of a host", REGIONS "hosts: {h: {region: hkk, address: 10.20.0.1}}\n",
        "p.yaml:7:21", "unknown region \"hkk\""},
    {"no members",
        REGIONS
        "hosts: {h: {region: hk, address: 10.20.0.1}, i: {region: hk, address: 10.20.0.2}}\n",
        "p.yaml:7:8", "several hosts need `state.members`"},
    {"even members",
        REGIONS "hosts: {h: {region: hk, address: 10.20.0.1}, i: {region: hk, address: "
                "10.20.0.2}}\nstate: {members: [h, i]}\n",
        "p.yaml:8:18", "it must be 1, 3 or 5"},
    {"member twice",
        REGIONS "hosts: {h: {region: hk, address: 10.20.0.1}, i: {region: hk, address: "
                "10.20.0.2}}\nstate: {members: [h, i, h]}\n",
        "p.yaml:8:25", "named twice"},
    {"unknown member",
        REGIONS "hosts: {h: {region: hk, address: 10.20.0.1}, i: {region: hk, address: "
                "10.20.0.2}}\nstate: {members: [j]}\n",
        "p.yaml:8:19", "unknown host \"j\""},
    {"empty", "", "p.yaml:1:1", "declares nothing"},
    {"a list", "- a\n", "p.yaml:1:1", "expected a map of keys, found a list"},
    {"a tab", "platform: a\n\tdomain: b\n", "p.yaml:2:1", "a tab cannot indent"},
    {"Latin-1", "platform: caf\xe9\n", "p.yaml:1:14", "0xe9 is not UTF-8"},
};

static void test_errors_and_their_places(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct problems p;
        struct model *m = NULL;
        problems_init(&p, "p.yaml");
        if (model_parse_problems(wrong[i].text, strlen(wrong[i].text), &m, &p) == 0)
            fail_msg("%s: accepted", wrong[i].name);
        struct str all = STR_INIT;
        problems_format(&p, &all);
        char where[64];
        snprintf(where, sizeof where, "p.yaml:%u:%u", p.v[0].line, p.v[0].column);
        if (p.total != 1 || strcmp(where, wrong[i].where) != 0
            || !strstr(p.v[0].message, wrong[i].message))
            fail_msg("%s: expected one at %s with \"%s\", found %zu:\n%s", wrong[i].name,
                wrong[i].where, wrong[i].message, p.total, all.buf);
        if (!p.v[0].fix || !*p.v[0].fix)
            fail_msg("%s: no fix", wrong[i].name);
        str_done(&all);
        problems_done(&p);
    }
}

/* Every mistake of a file at once, in the order of the text, each told once. */
static void test_all_errors_at_once(void **state)
{
    static const char text[] = "platform: Demo\n"
                               "domain: example.com\n"
                               "regions:\n"
                               "  hk: {duty: mian, address: 203.0.113.20, network: 10.20.0.0/16}\n"
                               "  kr: {duty: dr, adress: 203.0.113.40, network: 10.40.0.1/16}\n"
                               "hosts:\n"
                               "  hk1: {region: hk, address: 10.99.0.1, public: yes}\n"
                               "  kr1: {region: krr, address: 10.40.0.11}\n"
                               "modules:\n"
                               "  api: {image: oci:images/api, regions: {kr: many, xx: 1}}\n";
    static const struct {
        unsigned line, column;
        const char *message, *fix;
    } expected[] = {
        {1, 11, "platform: expected a name", "reindeers"},
        {4, 14, "regions.hk.duty: expected one of main, dr, serving, found \"mian\"", "main?"},
        {5, 18, "regions.kr: unknown key \"adress\"", "did you mean \"address\"?"},
        {5, 49, "regions.kr.network: expected a prefix", "10.20.0.0/16"},
        {7, 3, "several hosts need `state.members`", "state:"},
        {7, 30, "10.99.0.1 does not lie in a network of region hk", "10.20.0.0/16"},
        {7, 49, "hosts.hk1.public: expected true or false, found \"yes\"", "false"},
        {8, 17, "unknown region \"krr\"", "did you mean \"kr\"?"},
        {10, 46, "modules.api.regions.kr.active: expected a whole number", "default"},
        {10, 52, "unknown region \"xx\"", "hk, kr"},
    };
    struct problems p;
    struct model *m = NULL;
    problems_init(&p, "p.yaml");
    assert_int_equal(model_parse_problems(text, sizeof text - 1, &m, &p), ERR_INVALID);
    problems_sort(&p);
    for (size_t i = 0; i < p.n; i++) {
        if (i >= ARRAY_SIZE(expected) || p.v[i].line != expected[i].line
            || p.v[i].column != expected[i].column || !strstr(p.v[i].message, expected[i].message))
            fail_msg("error %zu: %u:%u: %s", i + 1, p.v[i].line, p.v[i].column, p.v[i].message);
        if (!p.v[i].fix || !strstr(p.v[i].fix, expected[i].fix))
            fail_msg("error %zu: fix %s", i + 1, p.v[i].fix ? p.v[i].fix : "none");
    }
    assert_int_equal(p.n, ARRAY_SIZE(expected));
    problems_done(&p);
}

static void test_summary(void **state)
{
    struct model *m = NULL;
    struct err e = {0};
    struct str all = STR_INIT;
    assert_int_equal(model_parse("a: 1\nb: 2\n", 10, "p.yaml", &m, &all, &e), ERR_INVALID);
    assert_non_null(strstr(all.buf, "p.yaml:1:1: unknown key \"a\"; fix: "));
    assert_non_null(strstr(all.buf, "p.yaml:2:1: unknown key \"b\"; fix: "));
    assert_non_null(strstr(e.message, "unknown key \"b\""));
    assert_string_equal(e.where, "p.yaml");
    assert_null(m);
    str_done(&all);
}

static void test_records(void **state)
{
    static const struct {
        const char *name, *type, *value, *fqdn, *stored;
    } rows[] = {
        {"@", "MX", "10 mail", "example.com", "10 mail.example.com."},
        {"Mail", "A", "192.0.2.1", "mail.example.com", "192.0.2.1"},
        {"v6.example.com", "AAAA", "2001:DB8::1", "v6.example.com", "2001:db8::1"},
        {"a.b.example.com.", "CNAME", "@", "a.b.example.com", "example.com."},
        {"c", "CNAME", "other.org.", "c.example.com", "other.org."},
        {"_sip._tcp", "SRV", "0 5 5060 sip", "_sip._tcp.example.com", "0 5 5060 sip.example.com."},
        {"none", "MX", "0 .", "none.example.com", "0 ."},
        {"t", "TXT", "v=spf1 a \\\"~all", "t.example.com", "\"v=spf1 a \\\"~all\""},
        {"u", "TXT", "\\\"a\\\" \\\"b\\\"", "u.example.com", "\"a\" \"b\""},
        {"k", "TXT", "한", "k.example.com", "\"\\237\\149\\156\""},
        {"@", "CAA", "0 issue ca.org", "example.com", "0 issue \"ca.org\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[2048];
        snprintf(text, sizeof text,
            BASE "routing: {records: [{name: \"%s\", type: %s, value: \"%s\"}]}\n", rows[i].name,
            rows[i].type, rows[i].value);
        struct model *m = parse_ok(text);
        assert_string_equal(m->routing.records[0].fqdn, rows[i].fqdn);
        assert_string_equal(m->routing.records[0].value, rows[i].stored);
        assert_int_equal(m->routing.records[0].ttl_ms, 60000);
        model_free(m);
    }
}

/* A long text becomes strings of at most 255 bytes. */
static void test_long_text_record(void **state)
{
    struct str text = STR_INIT;
    str_add(&text, BASE "routing: {records: [{name: t, type: TXT, value: ");
    for (int i = 0; i < 300; i++)
        str_add_ch(&text, 'x');
    str_add(&text, "}]}\n");
    struct model *m = parse_ok(text.buf);
    const char *value = m->routing.records[0].value;
    assert_int_equal(strlen(value), 300 + 2 + 3);
    assert_memory_equal(value + 256, "\" \"", 3);
    model_free(m);
    str_done(&text);
}

/* The error count is bounded however much is wrong. */
static void test_functions(void **state)
{
    struct model *m = parse_ok(BASE
        "modules: {a: {image: oci:a, regions: {hk: 1}, after: [page]}}\n"
        "functions:\n"
        "  zoo: {image: oci:z}\n"
        "  page: {image: oci:p, deadline: 5s, may: [dns:SteerBack], egress: p.example, env: {B: 1, A: 2}}\n");
    const struct model_function *f = model_find_function(m, "page");
    assert_int_equal(m->n_functions, 2);
    assert_int_equal(m->n_modules, 1); /* nothing that is placed */
    assert_int_equal(f->deadline_ms, 5000);
    assert_int_equal(f->may, 1u << FUNCTION_STEER_BACK);
    assert_string_equal(f->as.egress[0].name, "p.example");
    assert_string_equal(f->as.env[0], "A=2");
    assert_ptr_equal(model_find_module(m, "a")->after[0], f);
    assert_null(model_find_module(m, "a")->after[1]);
    assert_null(model_find_module(m, "a")->before[0]);
    assert_null(model_find_function(m, "a"));
    struct model *again;
    struct err e;
    assert_int_equal(model_parse_json(m->tree, &again, &e), 0);
    assert_int_equal(model_find_function(again, "zoo")->deadline_ms, 30000);
    model_free(again);
    model_free(m);
}

static void test_flood(void **state)
{
    struct str text = STR_INIT, all = STR_INIT;
    for (int i = 0; i < 50000; i++)
        str_addf(&text, "k%d: 1\n", i);
    struct model *m = NULL;
    struct err e = {0};
    assert_int_equal(model_parse(text.buf, text.len, "p.yaml", &m, &all, &e), ERR_INVALID);
    size_t lines = 0;
    for (const char *s = all.buf; *s; s++)
        lines += *s == '\n';
    assert_int_equal(lines, PROBLEMS_SHOWN + 1);
    assert_non_null(strstr(all.buf, "more\n"));
    str_done(&all);
    str_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_order_of_maps_means_nothing),
        cmocka_unit_test(test_canonical_round_trip),
        cmocka_unit_test(test_errors_and_their_places),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_long_text_record),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
