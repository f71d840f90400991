/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/mesh/compile.h"
#include "domain/mesh/mesh.h"

#define HEAD                                                                                       \
    "'format':1,'seq':7,'platform':'p','host':'hk1','gateway':'100.127.0.1','own':'100.127.128.1'"
#define VIEW                                                                                       \
    "{" HEAD ",'callers':{'100.127.0.5':{'unit':'api-1','module':'api'}},"                         \
    "'modules':{'api':{'port':80},'ai':{'port':8080,'callers':['api','web'],'edges':['hk1'],"      \
    "'targets':[{'unit':'ai-9','host':'s1','tier':9,'addresses':['10.40.0.11']},"                  \
    "{'unit':'ai-2','host':'hk2','tier':1,'addresses':['10.20.0.12']},"                            \
    "{'unit':'ai-3','host':'hk3','tier':1,'addresses':['10.20.0.13']},"                            \
    "{'unit':'ai-0','host':'hk1','tier':0,'last':true,'addresses':['100.127.0.6']},"               \
    "{'unit':'ai-1','host':'hk1','tier':0,'addresses':['100.127.0.7']}]}},"                        \
    "'listens':[{'address':'100.127.128.3','module':'ai'},{'address':'100.127.128.2','module':"    \
    "'ai','target':{'unit':'ai-2','host':'hk2','addresses':['10.20.0.12']}}],"                     \
    "'egress':{'api':[{'name':'psp.example','below':false,'port':0},"                              \
    "{'name':'maps.example','below':true,'port':8443}]}}"

#define TRADE                                                                                      \
    "{'name':'trade','epoch':3,'port':3306,'connections':150,'share':75,'hold_until_ms':null,"                \
    "'source':{'host':'hk2','addresses':['10.20.0.12']},'replicas':[{'host':'hk1','addresses':"    \
    "['10.20.0.11']},{'host':'s1','addresses':['10.40.0.11']}],'socket':'/run/db.sock',"           \
    "'callers':{'web':{'access':'read'},'api':{'access':'write'}}}"
#define STOCK "{'name':'stock','epoch':1,'port':3307,'source':null,'hold_until_ms':7}"
#define DATABASES                                                                                  \
    "'databases':[" TRADE "," STOCK "],'modules':{'api':{'port':80}},"                             \
    "'listens':[{'address':'100.127.128.4','database':'trade','end':'rw'},{'address':"             \
    "'100.127.128.5','database':'stock','end':'ro'},{'address':'100.127.128.6','module':'api'}]"

static struct mesh_view *parse(const char *text, struct err *e)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *doc;
    struct mesh_view *v = NULL;
    assert_int_equal(json_parse(copy, strlen(copy), &doc, e), 0);
    if (mesh_view_parse(doc, &v, e) < 0)
        v = NULL;
    json_decref(doc);
    free(copy);
    return v;
}

static struct mesh_view *view(void)
{
    struct err e = {0};
    struct mesh_view *v = parse(VIEW, &e);
    if (!v)
        fail_msg("%s", e.message);
    return v;
}

static void test_wrong_documents(void **state)
{
    static const struct {
        const char *name, *text, *expected;
    } rows[] = {
        {"another format", "{'format':2}", "format 2"},
        {"no host", "{'format':1,'seq':1,'platform':'p'}", "host"},
        {"caller of no module", "{" HEAD ",'callers':{'100.127.0.5':{'module':'x'}}}", "a caller"},
        {"caller nowhere", "{" HEAD ",'modules':{'x':{}},'callers':{'here':{'module':'x'}}}",
            "a caller"},
        {"listen for what has no port",
            "{" HEAD ",'modules':{'x':{}},'listens':[{'address':'100.127.128.2','module':'x'}]}",
            "a listen"},
        {"target without address",
            "{" HEAD ",'modules':{'x':{'targets':[{'unit':'x-1','host':'h'}]}}}", "addresses"},
        {"target that is a number",
            "{" HEAD ",'modules':{'x':{'targets':[{'unit':'x-1','host':'h','addresses':[7]}]}}}",
            "an address"},
        {"callers that are numbers", "{" HEAD ",'modules':{'x':{'callers':[7]}}}", "a name"},
        {"egress of nobody", "{" HEAD ",'egress':{'x':[]}}", "egress"},
        {"database without a name", "{" HEAD ",'databases':[{'epoch':1,'port':1}]}", "name"},
        {"database without an epoch", "{" HEAD ",'databases':[{'name':'t','port':1}]}", "epoch"},
        {"epoch below zero", "{" HEAD ",'databases':[{'name':'t','epoch':-1,'port':1}]}", "epoch"},
        {"database without a port", "{" HEAD ",'databases':[{'name':'t','epoch':1}]}", "port"},
        {"another access",
            "{" HEAD ",'databases':[{'name':'t','epoch':1,'port':1,'callers':{'a':{}}}]}", "access"},
        {"source nowhere",
            "{" HEAD ",'databases':[{'name':'t','epoch':1,'port':1,'source':{'host':'a'}}]}",
            "addresses"},
        {"listen for no database",
            "{" HEAD ",'listens':[{'address':'100.127.128.2','database':'t','end':'rw'}]}", "a listen"},
        {"listen for another end",
            "{" HEAD ",'databases':[" TRADE "],'listens':[{'address':'100.127.128.2','database':"
            "'trade','end':'wo'}]}",
            "a listen"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        struct mesh_view *v = parse(rows[i].text, &e);
        if (v || !strstr(e.message, rows[i].expected))
            fail_msg("%s: %s", rows[i].name, v ? "taken" : e.message);
    }
}

static void test_lookups(void **state)
{
    struct mesh_view *v = view();
    struct ip_addr a;
    assert_true(ip_parse("100.127.0.5", &a));
    assert_string_equal(mesh_view_caller(v, &a)->unit, "api-1");
    assert_true(ip_parse("100.127.0.6", &a));
    assert_null(mesh_view_caller(v, &a));
    assert_true(ip_parse("100.127.128.3", &a));
    assert_null(mesh_view_listen(v, &a)->target);
    assert_true(ip_parse("100.127.128.2", &a));
    assert_string_equal(mesh_view_listen(v, &a)->target->host, "hk2");
    assert_false(mesh_view_listen(v, &a)->target->local);
    assert_null(mesh_view_module(v, "wms"));
    mesh_view_free(v);
    mesh_view_free(NULL);
}

static bool is_hk1(void *ctx, const struct mesh_place *p)
{
    return !strcmp(p->host, "hk1");
}

static const char *order_of(const struct mesh_database *db, bool write, bool bad)
{
    static char text[64];
    const struct mesh_place *order[MESH_ORDER_MAX];
    size_t n = mesh_database_order(db, write, bad ? is_hk1 : NULL, NULL, order);
    *text = '\0';
    for (size_t i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", order[i]->host);
    return text;
}

static void test_databases(void **state)
{
    struct err e = {0};
    struct ip_addr a;
    struct mesh_view *v = parse("{" HEAD "," DATABASES "}", &e);
    if (!v)
        fail_msg("%s", e.message);
    const struct mesh_database *trade = mesh_view_database(v, "trade"),
                               *stock = mesh_view_database(v, "stock");
    assert_null(mesh_view_database(v, "tra"));
    assert_int_equal(trade->epoch, 3);
    assert_string_equal(trade->socket, "/run/db.sock");
    assert_int_equal(trade->connections, 150);
    assert_int_equal(trade->share, 75);
    assert_true(trade->writable);
    assert_int_equal(stock->share, 200);
    assert_int_equal(trade->hold_until_ms, 0);
    assert_false(mesh_reader_of(trade, "web")->write);
    assert_true(mesh_reader_of(trade, "api")->write);
    assert_null(mesh_reader_of(trade, "ai"));
    assert_null(mesh_reader_of(stock, "api"));
    assert_false(mesh_is_source_here(trade)); /* hk2 is */
    assert_int_equal(stock->hold_until_ms, 7);
    assert_true(ip_parse("100.127.128.4", &a));
    assert_ptr_equal(mesh_view_listen(v, &a)->database, trade);
    assert_true(mesh_view_listen(v, &a)->write);
    assert_true(ip_parse("100.127.128.5", &a));
    assert_false(mesh_view_listen(v, &a)->write);
    assert_int_equal(mesh_listen_port(mesh_view_listen(v, &a)), 3307);
    assert_true(ip_parse("100.127.128.6", &a));
    assert_int_equal(mesh_listen_port(mesh_view_listen(v, &a)), 80);
    assert_string_equal(order_of(trade, true, false), "hk2");
    assert_string_equal(order_of(trade, true, true), "hk2");
    assert_string_equal(order_of(trade, false, false), "hk1 s1 hk2");
    assert_string_equal(order_of(trade, false, true), "s1 hk2 hk1");
    assert_string_equal(order_of(stock, false, false), "");
    assert_string_equal(mesh_module_in_id(v, "spiffe://p/module/api"), "api");
    assert_null(mesh_module_in_id(v, "spiffe://p/mesh/hk1"));
    mesh_view_free(v);
}

static void test_servers_of_others(void **state)
{
    static const struct {
        const char *text, *address;
        int port;
    } rows[] = {{"10.9.0.5:3310", "10.9.0.5", 3310}, {"fd00::5:3306", "fd00::5", 3306},
        {"10.9.0.5", NULL, 0}, {"a.b:3306", NULL, 0}, {"10.9.0.5:0", NULL, 0}, {"", NULL, 0},
        {"10.9.0.5:65536", NULL, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        char address[IP_TEXT_SIZE];
        _cleanup_free_ char *text =
            xasprintf("{" HEAD ",'databases':[{'name':'t','epoch':1,'port':3306,'socket':'%s'}]}", rows[i].text);
        struct mesh_view *v = parse(text, &e);
        assert_int_equal(v != NULL, rows[i].address != NULL);
        if (!v)
            continue;
        const struct mesh_database *db = mesh_view_database(v, "t");
        ip_format(&db->address, address);
        assert_string_equal(db->socket, "");
        assert_string_equal(address, rows[i].address);
        assert_int_equal(db->address_port, rows[i].port);
        mesh_view_free(v);
    }
}

static void test_who_may(void **state)
{
    struct mesh_view *v = view();
    const struct mesh_module *ai = mesh_view_module(v, "ai");
    static const struct {
        const char *id;
        bool may;
    } rows[] = {
        {"spiffe://p/module/api", true},
        {"spiffe://p/module/web", true},
        {"spiffe://p/module/wms", false},
        {"spiffe://p/edge/hk1", true},
        {"spiffe://p/edge/hk2", false},
        {"spiffe://p/host/hk1", false},
        {"spiffe://p/module/hk1", false},
        {"spiffe://p/edge/api", false},
        {"spiffe://q/module/api", false},
        {"spiffe://p.q/module/api", false},
        {"spiffe://p/module/api/x", false},
        {"spiffe://p/module/", false},
        {"spiffe://p/modulex/api", false},
        {"spiffe://p/module/ap", false},
        {"spiffe://p/module/apix", false},
        {"spiffe:///module/api", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (mesh_may_link(v, rows[i].id, ai) != rows[i].may)
            fail_msg("%s", rows[i].id);
    assert_true(mesh_may_call("api", ai));
    assert_false(mesh_may_call("ai", ai));
    mesh_view_free(v);
}

static bool hk2_is_bad(void *ctx, const struct mesh_target *t)
{
    return !strcmp(t->host, "hk2");
}

static void check_order(const struct mesh_module *m, unsigned n, bool bad, const char *expected)
{
    const struct mesh_target *order[MESH_ORDER_MAX];
    struct str got = STR_INIT;
    size_t k = mesh_order(m, n, bad ? hk2_is_bad : NULL, NULL, order);
    for (size_t i = 0; i < k; i++)
        str_addf(&got, "%s%s", i ? " " : "", order[i]->unit);
    assert_string_equal(str_cstr(&got), expected);
    str_done(&got);
}

static void test_nearest_first(void **state)
{
    struct mesh_view *v = view();
    const struct mesh_module *ai = mesh_view_module(v, "ai");
    check_order(ai, 1, false, "ai-1 ai-3 ai-2 ai-9");
    check_order(ai, 2, false, "ai-1 ai-2 ai-3 ai-9");
    check_order(ai, 2, true, "ai-1 ai-3 ai-9 ai-2");
    check_order(mesh_view_module(v, "api"), 0, false, "");
    assert_string_equal(mesh_local_target(ai, "", 5)->unit, "ai-1");
    assert_string_equal(mesh_local_target(ai, "ai-0", 0)->unit, "ai-0"); /* leaving, but named */
    assert_null(mesh_local_target(ai, "ai-2", 0));                       /* elsewhere */
    assert_null(mesh_local_target(mesh_view_module(v, "api"), "", 0));
    mesh_view_free(v);
}

static json_t *quoted(const char *text)
{
    char *copy = xstrdup(text);
    json_t *j;
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(json_parse(copy, strlen(copy), &j, NULL), 0);
    free(copy);
    return j;
}

/* Where all leave and others are on their way, those that leave are called until they are here. */
static void test_who_leaves_is_called_until_others_are_known(void **state)
{
    static const struct {
        const char *name, *targets, *awaited;
        bool held, takes;
    } rows[] = {
        {"not heard of yet", "[{'unit':'a','last':true}]", "{'ai':true}", true, true},
        {"another is here", "[{'unit':'a','last':true},{'unit':'b','last':false}]", "{'ai':true}",
            false, false},
        {"nobody comes after it", "[{'unit':'a','last':true}]", "{'web':true}", false, false},
        {"none", "[]", "{'ai':true}", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        print_message("%s\n", rows[i].name);
        _cleanup_json_ json_t *awaited = quoted(rows[i].awaited),
                              *modules =
                                  json_pack("{s:{s:o}}", "ai", "targets", quoted(rows[i].targets));
        assert_int_equal(mesh_targets_settle(modules, awaited), rows[i].held);
        json_t *targets = json_object_get(json_object_get(modules, "ai"), "targets");
        json_t *first = json_array_get(targets, 0);
        assert_int_equal(first && !json_opt_bool(first, "last", false), rows[i].takes);
    }
}

static void test_what_is_outside(void **state)
{
    static const char *const inside[] = {"0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255",
        "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.168.1.1",
        "198.18.0.1", "203.0.113.20", "224.0.0.1", "255.255.255.255", "::", "::1",
        "::ffff:10.0.0.1", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "2002:0a00:0001::1",
        "64:ff9b::a00:1", "2001:0:1::1"};
    static const char *const outside[] = {"1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1",
        "192.167.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888"};
    struct ip_addr a;
    for (size_t i = 0; i < ARRAY_SIZE(inside); i++)
        if (!ip_parse(inside[i], &a) || !mesh_is_inside(&a))
            fail_msg("%s", inside[i]);
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
        if (!ip_parse(outside[i], &a) || mesh_is_inside(&a))
            fail_msg("%s", outside[i]);
}

static void test_who_may_leave(void **state)
{
    struct mesh_view *v = view();
    static const struct {
        const char *name;
        uint16_t port;
        bool may;
    } rows[] = {
        {"psp.example", 443, true},
        {"psp.example", 80, true},
        {"psp.example", 8080, false},
        {"x.psp.example", 443, false},
        {"eu.maps.example", 8443, true},
        {"a.b.maps.example", 8443, true},
        {"maps.example", 8443, false},
        {"evilmaps.example", 8443, false},
        {".maps.example", 8443, false},
        {"eu.maps.example", 443, false},
        {"", 443, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (mesh_may_leave(mesh_view_module(v, "api"), rows[i].name, rows[i].port) != rows[i].may)
            fail_msg("%s:%u", rows[i].name, rows[i].port);
    assert_false(mesh_may_leave(mesh_view_module(v, "ai"), "psp.example", 443));
    mesh_view_free(v);
}

/* -- what control compiles --------------------------------------------------------------------- */

#define DECLARATION                                                                                \
    "platform: demo\ndomain: example.com\n"                                                        \
    "regions:\n  hk: {duty: main, network: 10.20.0.0/16}\n  kr: {duty: dr, network: 10.40.0.0/16}\n" \
    "  th: {network: 10.60.0.0/16}\n"                                                              \
    "hosts:\n  hk1: {region: hk, address: 10.20.0.11}\n  hk2: {region: hk, address: 10.20.0.12}\n"   \
    "  kr1: {region: kr, address: 10.40.0.11}\n  th1: {region: th, address: 10.60.0.11}\n"         \
    "state: {members: [hk1, kr1, th1]}\n"                                                          \
    "lab: {wan: [{between: [hk, kr], delay: 19ms}, {between: [hk, th], delay: 5ms}, "              \
    "{between: [kr, th], delay: 45ms}]}\n"                                                         \
    "data: {trade: {source: hk, replicas: [kr, th], replication: {lag_objective: 1s}}}\n"          \
    "modules:\n"                                                                                   \
    "  api: {image: \"oci:x\", regions: {hk: 1}, needs: [{data: trade, access: write, tables: [a]}]}\n" \
    "  ai: {image: \"oci:x\", regions: {hk: 1}, needs: [{data: trade, tables: [a]}]}\n"            \
    "  web: {image: \"oci:x\", regions: {hk: 1}}\n"

struct facts {
    const json_t *doc, *reports; /* by host */
};

static const json_t *doc_of(void *ctx, const char *database)
{
    return ((struct facts *)ctx)->doc;
}

static const json_t *report_of(void *ctx, const char *host, const char *database)
{
    return json_object_get(((struct facts *)ctx)->reports, host);
}

static json_t *unquoted(const char *text)
{
    struct err e = {0};
    json_t *j;
    _cleanup_free_ char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    if (json_parse(copy, strlen(copy), &j, &e) < 0)
        fail_msg("%s: %s", text, e.message);
    return j;
}

#define MEMBER(host, region, id, delay)                                                            \
    "{'host':'" host "','region':'" region "','address':'10.0.0.1','port':3306,'server_id':" id     \
    ",'domain_id':" id ",'delay_ms':" delay "}"
#define DOC(more)                                                                                  \
    "{'format':1,'epoch':4,'source':'hk1','next_id':4,'changes':0,'members':[" MEMBER("hk1", "hk",  \
        "1", "0") "," MEMBER("kr1", "kr", "2", "0") "," MEMBER("th1", "th", "3", "0") "]" more "}"
#define GOOD(lag) "{'state':'replicating','lag_ms':" lag "}"

static json_t *compiled(
    const struct model *m, const char *self, const char *doc, const char *reports, const json_t *told)
{
    _cleanup_json_ json_t *d = doc ? unquoted(doc) : NULL, *r = unquoted(reports);
    struct facts facts = {d, r};
    struct mesh_data_facts f = {.model = m,
        .self = model_find_host(m, self),
        .doc = doc_of,
        .report = report_of,
        .told = told,
        .ctx = &facts};
    return mesh_databases_compile(&f);
}

static struct model *declared(void)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(DECLARATION, strlen(DECLARATION), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s: %s", e.where, e.message);
    return m;
}

static const char *replicas_in(const json_t *list)
{
    static char text[64];
    size_t i;
    json_t *p;
    *text = '\0';
    json_array_foreach (json_object_get(json_array_get(list, 0), "replicas"), i, p)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
            json_opt_str(p, "host", "?"));
    return text;
}

static void test_replicas_that_may_be_read(void **state)
{
    static const struct {
        const char *name, *self, *reports, *expected;
        bool again; /* they were told before */
    } rows[] = {
        {"nearest first", "hk2", "{'kr1':" GOOD("1") ",'th1':" GOOD("1") "}", "th1 kr1", false},
        {"here first", "kr1", "{'kr1':" GOOD("1") ",'th1':" GOOD("1") "}", "kr1 th1", false},
        {"one that lags", "hk1", "{'kr1':" GOOD("1001") ",'th1':" GOOD("1") "}", "th1", true},
        {"one that comes back", "hk1", "{'kr1':" GOOD("900") ",'th1':" GOOD("800") "}", "th1", false},
        {"one that stays", "hk1", "{'kr1':" GOOD("900") ",'th1':" GOOD("1000") "}", "th1 kr1", true},
        {"one that is broken", "hk1", "{'kr1':{'state':'broken','lag_ms':0},'th1':" GOOD("1") "}",
            "th1", true},
        {"one whose lag is not known", "hk1", "{'kr1':{'state':'replicating','lag_ms':null}}", "", true},
        {"nobody heard", "hk1", "{}", "", true},
        {"a source is no replica", "hk1", "{'hk1':" GOOD("0") "}", "", true},
    };
    struct model *m = declared();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *told = rows[i].again
                           ? compiled(m, rows[i].self, DOC(""),
                               "{'kr1':" GOOD("1") ",'th1':" GOOD("1") "}", NULL)
                           : NULL;
        json_t *j = compiled(m, rows[i].self, DOC(""), rows[i].reports, told);
        if (strcmp(replicas_in(j), rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].name, replicas_in(j));
        json_decref(j);
        json_decref(told);
    }
    json_t *j = compiled(m, "hk1",
        "{'format':1,'epoch':4,'source':'hk1','next_id':3,'members':[" MEMBER("hk1", "hk", "1", "0") ","
            MEMBER("kr1", "kr", "2", "3600000") "]}",
        "{'kr1':" GOOD("1") "}", NULL);
    assert_string_equal(replicas_in(j), ""); /* delayed on purpose */
    json_decref(j);
    model_free(m);
}

#define CHANGE(step)                                                                               \
    ",'change':{'kind':'switchover','id':1,'from':'hk1','to':'kr1','step':'" step                   \
    "','step_ms':7000,'begun_ms':1000,'hold_ms':500,'by':'root'}"

static void test_the_source_as_it_is_told(void **state)
{
    static const struct {
        const char *name, *self, *doc, *reports;
        int64_t hold_until_ms;
        bool writable;
        const char *source, *socket;
    } rows[] = {
        {"nothing is known", "hk1", NULL, "{}", 0, true, NULL, NULL},
        {"elsewhere", "hk2", DOC(""), "{'hk1':{'state':'starting'}}", 0, true, "hk1", NULL},
        {"a replica here", "kr1", DOC(""), "{'kr1':{'state':'broken'}}", 0, true, "hk1", "trade"},
        {"here, and it says nothing", "hk1", DOC(""), "{}", 0, true, "hk1", "trade"},
        {"here", "hk1", DOC(""), "{'hk1':{'state':'writable'}}", 0, true, "hk1", "trade"},
        {"not writable yet", "hk1", DOC(""), "{'hk1':{'state':'starting'}}", 0, false, "hk1", "trade"},
        {"held", "hk2", DOC(CHANGE("hold")), "{}", 1500, true, "hk1", NULL},
        {"frozen", "hk2", DOC(CHANGE("freeze")), "{}", 1500, true, "hk1", NULL},
        {"promoting", "hk2", DOC(CHANGE("promote")), "{}", 22000, true, "hk1", NULL},
        {"fencing", "hk2", DOC(CHANGE("fencing")), "{}", 0, true, "hk1", NULL},
        {"promoting, a failover", "hk2", DOC(CHANGE("promoting")), "{}", 22000, true, "hk1", NULL},
        {"released", "hk2", DOC(CHANGE("release")), "{}", 0, true, "hk1", NULL},
        {"undone", "hk2", DOC(CHANGE("undo")), "{}", 0, true, "hk1", NULL},
    };
    struct model *m = declared();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *j = compiled(m, rows[i].self, rows[i].doc, rows[i].reports, NULL),
               *db = json_array_get(j, 0);
        const char *socket = json_opt_str(db, "socket", NULL);
        bool known = rows[i].doc != NULL;
        if (json_opt_int(db, "hold_until_ms", 0) != rows[i].hold_until_ms
            || json_opt_bool(db, "writable", false) != rows[i].writable
            || json_opt_int(db, "epoch", -1) != (known ? 4 : 0)
            || !str_eq(json_opt_str(json_object_get(db, "source"), "host", NULL), rows[i].source)
            || !socket != !rows[i].socket)
            fail_msg("%s: %s", rows[i].name, json_text(db));
        if (socket)
            assert_string_equal(socket, "/var/lib/mcp/data/trade/run/db.sock");
        json_decref(j);
    }
    model_free(m);
}

/* What is compiled is read by who is told it. */
static void test_from_one_to_the_other(void **state)
{
    struct model *m = declared();
    struct mesh_view *v = NULL;
    struct err e = {0};
    _cleanup_json_ json_t *doc = json_pack("{s:i,s:i,s:s,s:s,s:s,s:o}", "format", 1, "seq", 1,
        "platform", "demo", "host", "kr1", "gateway", "100.127.0.1", "databases",
        compiled(m, "kr1", DOC(""), "{'kr1':" GOOD("1") "}", NULL));
    if (mesh_view_parse(doc, &v, &e) < 0)
        fail_msg("%s", e.message);
    const struct mesh_database *db = mesh_view_database(v, "trade");
    assert_int_equal(db->epoch, 4);
    assert_int_equal(db->connections, 200);
    assert_int_equal(db->share, 100);
    assert_true(mesh_reader_of(db, "api")->write);
    assert_false(mesh_reader_of(db, "ai")->write);
    assert_null(mesh_reader_of(db, "web"));
    assert_true(db->replicas[0].local);
    assert_false(db->source->local);
    mesh_view_free(v);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong_documents),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_databases), cmocka_unit_test(test_servers_of_others),
        cmocka_unit_test(test_replicas_that_may_be_read),
        cmocka_unit_test(test_the_source_as_it_is_told), cmocka_unit_test(test_from_one_to_the_other), cmocka_unit_test(test_who_may),
        cmocka_unit_test(test_nearest_first),
        cmocka_unit_test(test_who_leaves_is_called_until_others_are_known),
        cmocka_unit_test(test_what_is_outside), cmocka_unit_test(test_who_may_leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
