/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/model/model.h"
#include "domain/steering/steering.h"
#include "domain/zone/zone.h"

/* --- every allocation of this program is counted --- */

static _Atomic size_t allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    allocations++;
    return __libc_realloc(p, size);
}
#else
#define COUNTS_ALLOCATIONS 0
#endif

/* --- a zone as control would send it --- */

#define HEAD "{\"format\":1,\"revision\":7,\"domain\":\"reindeers.com\",\"ttl_s\":60,"
#define REGIONS                                                                                    \
    "\"regions\":[{\"name\":\"ap-hongkong\",\"addresses\":[\"203.0.113.20\",\"2001:db8::20\"]},"   \
    "{\"name\":\"ap-seoul\",\"addresses\":[\"203.0.113.40\"]},"                                    \
    "{\"name\":\"ap-shanghai\",\"addresses\":[\"203.0.113.60\",\"203.0.113.61\"]},"                \
    "{\"name\":\"ap-bare\",\"addresses\":[]}],"
#define LISTS                                                                                      \
    "\"lists\":[[0,1],[1,0],[2,1,0]],\"countries\":{\"KR\":1,\"JP\":1,\"CN\":2},"                  \
    "\"overrides\":[[\"198.51.100.0/28\",\"KR\"]],"
#define NAMES                                                                                      \
    "\"names\":[{\"name\":\"reindeers.com\",\"regions\":[0,1,2]},"                                 \
    "{\"name\":\"api.reindeers.com\",\"regions\":[0,1]}],"
#define SERVERS                                                                                    \
    "\"nameservers\":[{\"name\":\"ns1.reindeers.com\",\"region\":0},"                              \
    "{\"name\":\"ns2.reindeers.com\",\"region\":1}],"
#define RECORD(name, type, value)                                                                  \
    "{\"name\":\"" name "\",\"type\":\"" type "\",\"value\":\"" value "\",\"ttl_s\":120}"
#define RECORDS                                                                                    \
    "\"records\":[" RECORD("reindeers.com", "MX", "10 mail.reindeers.com.") "," RECORD(            \
        "reindeers.com", "TXT", "v=spf1 -all") "," RECORD("reindeers.com", "TXT",                  \
        "second") "," RECORD("mail.reindeers.com", "A",                                            \
        "203.0.113.9") "," RECORD("alias.reindeers.com", "CNAME",                                  \
        "mail") "," RECORD("two.reindeers.com", "CNAME",                                           \
        "alias") "," RECORD("steered.reindeers.com", "CNAME",                                      \
        "@") "," RECORD("dangling.reindeers.com", "CNAME",                                         \
        "nowhere") "," RECORD("away.reindeers.com", "CNAME",                                       \
        "cdn.example.net.") "," RECORD("*.wild.reindeers.com", "TXT",                              \
        "any") "," RECORD("*.wild.reindeers.com", "MX",                                            \
        "5 mail.reindeers.com.") "," RECORD("there.wild.reindeers.com", "A",                       \
        "203.0.113.8") "," RECORD("*.cname.reindeers.com", "CNAME",                                \
        "mail") "," RECORD("a.b.ent.reindeers.com", "A", "203.0.113.7") "]}"
#define WHOLE HEAD REGIONS LISTS NAMES SERVERS RECORDS

static int load(const char *text, struct zone **ret, struct err *e)
{
    json_t *j;
    if (json_parse(text, strlen(text), &j, e) < 0)
        fail_msg("%s", e->message);
    int r = zone_new(j, ret, e);
    json_decref(j);
    return r;
}

struct server {
    struct dns_state state;
    struct dns_ctx ctx;
    struct metrics *metrics;
};

static void add(struct geo_builder *b, const char *prefix, const char *country)
{
    struct ip_prefix p;
    struct err e = {0};
    assert_true(ip_prefix_parse(prefix, &p));
    assert_int_equal(geo_builder_add(b, GEO_DATABASE, &p, country, &e), 0);
}

static void server_start(struct server *s, const char *snapshot)
{
    struct err e = {0};
    memset(s, 0, sizeof *s);
    if (load(snapshot, &s->state.zone, &e) < 0)
        fail_msg("%s", e.message);
    struct geo_builder *b = geo_builder_new(zone_countries(s->state.zone));
    add(b, "168.126.0.0/16", "KR");
    add(b, "126.0.0.0/8", "JP");
    add(b, "1.12.0.0/14", "CN");
    add(b, "2001:220::/32", "KR");
    size_t n;
    const struct zone_override *o = zone_overrides(s->state.zone, &n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(geo_builder_add(b, GEO_OVERRIDE, &o[i].prefix, o[i].country, &e), 0);
    assert_int_equal(geo_builder_finish(b, &s->state.geo, &e), 0);
    geo_builder_free(b);
    str_copy(s->state.nsid, sizeof s->state.nsid, "hk1");
    s->metrics = metrics_new();
    s->ctx.metrics = metrics_set_new(s->metrics, dns_metric_defs, DNS_M_COUNT, NULL, 0);
}

static void server_stop(struct server *s)
{
    zone_free(s->state.zone);
    geo_free(s->state.geo);
    metrics_free(s->metrics);
}

/* --- questions --- */

struct ask {
    const char *name, *type, *client;
    const char *ecs;   /* "168.126.63.0/24" */
    uint16_t udp_size; /* 0: no EDNS, unless ecs */
    bool tcp, dnssec_ok, nsid;
    uint16_t class;
};

static size_t build_query(const struct ask *a, uint8_t *out, size_t cap)
{
    uint8_t name[DNS_NAME_MAX], options[64];
    size_t size, options_size = 0;
    uint16_t type;
    struct ip_prefix p;
    struct dns_writer w;
    assert_true(dns_name_parse(a->name, name, &size) && dns_type_parse(a->type, &type));
    dns_writer_init(&w, out, cap, 0x4242, DNS_RD);
    dns_write_question(&w, name, size, type, a->class ? a->class : DNS_IN);
    if (a->ecs) {
        assert_true(ip_prefix_parse(a->ecs, &p));
        struct dns_ecs ecs = {.addr = p.addr, .source_bits = p.bits};
        options_size = dns_ecs_write(&ecs, 0, options);
    }
    if (a->nsid) {
        dns_put32(options + options_size, DNS_OPTION_NSID << 16);
        options_size += 4;
    }
    if (a->ecs || a->udp_size || a->nsid || a->dnssec_ok)
        dns_write_opt(&w, 0, a->udp_size ? a->udp_size : 1232, a->dnssec_ok, options, options_size);
    return dns_writer_finish(&w);
}

static void describe_opt(const uint8_t *msg, const struct dns_rr *rr, struct str *out)
{
    str_addf(out, " [%s%s", rr->ttl >> 24 ? "BADVERS" : "OPT", rr->ttl & 0x8000 ? " do" : "");
    for (size_t at = rr->rdata_offset; at < rr->rdata_offset + rr->rdata_size;) {
        unsigned code = dns_get16(msg + at), len = dns_get16(msg + at + 2);
        if (code == DNS_OPTION_ECS)
            str_addf(out, " ecs %u/%u", msg[at + 6], msg[at + 7]);
        else if (code == DNS_OPTION_NSID)
            str_addf(out, " nsid %.*s", (int)len, (const char *)msg + at + 4);
        at += 4 + len;
    }
    str_add_ch(out, ']');
}

/* "NOERROR aa; name 60 A value; ...| authority ...+ additional [OPT ecs 24/16]" */
static void describe(const uint8_t *msg, size_t len, struct str *out)
{
    static const char *const before[] = {"?", ";", " |", " +"};
    unsigned flags = dns_get16(msg + 2);
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    int more;
    str_addf(out, "%s%s%s", dns_rcode_name(flags & DNS_RCODE), flags & DNS_AA ? " aa" : "",
        flags & DNS_TC ? " tc" : "");
    assert_true(flags & DNS_QR);
    assert_false(flags & DNS_RA);
    assert_true(dns_walk_init(&w, msg, len));
    while ((more = dns_walk_next(&w, &rr, &section)) > 0) {
        char name[DNS_NAME_TEXT_MAX], type[16], value[512];
        if (section == DNS_QUESTION)
            continue;
        if (rr.type == DNS_OPT) {
            describe_opt(msg, &rr, out);
            continue;
        }
        dns_name_format(rr.name, rr.name_size, name);
        dns_rdata_format(rr.type, msg, len, rr.rdata_offset, rr.rdata_size, value, sizeof value);
        str_addf(out, "%s %s %u %s %s", before[section], name, rr.ttl, dns_type_name(rr.type, type),
            value);
    }
    assert_int_equal(more, 0);
    assert_int_equal(w.offset, len);
}

static size_t send_raw(
    struct server *s, const struct ask *a, const uint8_t *q, size_t len, uint8_t *out, size_t cap)
{
    struct ip_addr client;
    assert_true(ip_parse(a->client ? a->client : "192.0.2.1", &client));
    return dns_answer(&s->state, &s->ctx, &client, q, len, out, cap, a->tcp);
}

static void expect(struct server *s, const struct ask *a, const char *expected)
{
    uint8_t q[512], out[4096];
    _cleanup_str_ struct str text = STR_INIT;
    size_t len = build_query(a, q, sizeof q);
    size_t n = send_raw(s, a, q, len, out, sizeof out);
    describe(out, n, &text);
    if (strcmp(str_cstr(&text), expected) != 0)
        fail_msg("%s %s from %s ecs %s:\n  got      %s\n  expected %s", a->name, a->type,
            a->client ? a->client : "-", a->ecs ? a->ecs : "-", str_cstr(&text), expected);
}

#define SOA                                                                                        \
    "reindeers.com 60 SOA ns1.reindeers.com. hostmaster.reindeers.com. 7 3600 600 1209600 60"

static void test_answers(void **state)
{
    static const struct {
        struct ask ask;
        const char *expected;
    } rows[] = {
        /* by country, with and without client subnet */
        {{"reindeers.com", "A", .ecs = "168.126.63.0/24"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40 [OPT ecs 24/16]"},
        {{"reindeers.com", "A", .ecs = "126.1.2.0/24"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40 [OPT ecs 24/8]"},
        {{"reindeers.com", "A", .ecs = "1.12.0.0/16"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.60; reindeers.com 60 A 203.0.113.61 [OPT ecs "
            "16/14]"},
        {{"reindeers.com", "A", .ecs = "8.8.8.0/24"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.20 [OPT ecs 24/5]"},
        {{"reindeers.com", "A", .client = "168.126.63.1"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40"},
        {{"reindeers.com", "A", .client = "198.51.100.5"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40"},
        {{"reindeers.com", "A", .client = "198.51.100.16"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.20"},
        {{"reindeers.com", "A", .client = "2001:220::1"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40"},
        {{"reindeers.com", "A", .client = "8.8.8.8", .ecs = "2001:220:1::/48"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40 [OPT ecs 48/32]"},
        /* source prefix 0: by the resolver's address, scope 0 */
        {{"reindeers.com", "A", .client = "168.126.63.1", .ecs = "0.0.0.0/0"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.40 [OPT ecs 0/0]"},
        /* a source shorter than the answer's prefix learns that more would be needed */
        {{"reindeers.com", "A", .ecs = "168.0.0.0/8"},
            "NOERROR aa; reindeers.com 60 A 203.0.113.20 [OPT ecs 8/10]"},
        /* the spelling of the question comes back */
        {{"API.ReinDeers.COM", "A"}, "NOERROR aa; API.ReinDeers.COM 60 A 203.0.113.20"},
        /* only one region has IPv6 */
        {{"reindeers.com", "AAAA"}, "NOERROR aa; reindeers.com 60 AAAA 2001:db8::20"},
        {{"reindeers.com", "AAAA", .ecs = "168.126.63.0/24"},
            "NOERROR aa | " SOA " [OPT ecs 24/16]"},
        /* a name that does not run in the preferred region: the next of the list */
        {{"api.reindeers.com", "A", .ecs = "1.12.0.0/16"},
            "NOERROR aa; api.reindeers.com 60 A 203.0.113.40 [OPT ecs 16/14]"},
        /* records, scope 0 */
        {{"reindeers.com", "MX", .ecs = "168.126.63.0/24"},
            "NOERROR aa; reindeers.com 120 MX 10 mail.reindeers.com. [OPT ecs 24/0]"},
        {{"reindeers.com", "TXT"},
            "NOERROR aa; reindeers.com 120 TXT \"v=spf1 -all\"; reindeers.com 120 TXT \"second\""},
        {{"reindeers.com", "NS"},
            "NOERROR aa; reindeers.com 3600 NS ns1.reindeers.com.; reindeers.com 3600 NS "
            "ns2.reindeers.com."
            " + ns1.reindeers.com 3600 A 203.0.113.20 + ns1.reindeers.com 3600 AAAA 2001:db8::20"
            " + ns2.reindeers.com 3600 A 203.0.113.40"},
        {{"reindeers.com", "SOA"}, "NOERROR aa; reindeers.com 3600 SOA ns1.reindeers.com. "
                                   "hostmaster.reindeers.com. 7 3600 600 1209600 60"},
        {{"ns2.reindeers.com", "A"}, "NOERROR aa; ns2.reindeers.com 3600 A 203.0.113.40"},
        /* negative */
        {{"nope.reindeers.com", "A"}, "NXDOMAIN aa | " SOA},
        {{"a.b.c.nope.reindeers.com", "A", .udp_size = 1232}, "NXDOMAIN aa | " SOA " [OPT]"},
        {{"mail.reindeers.com", "AAAA"}, "NOERROR aa | " SOA},
        {{"b.ent.reindeers.com", "A"}, "NOERROR aa | " SOA}, /* empty non-terminals exist */
        {{"ent.reindeers.com", "ANY"}, "NOERROR aa | " SOA},
        {{"x.b.ent.reindeers.com", "A"}, "NXDOMAIN aa | " SOA},
        {{"nope.reindeers.com", "A", .ecs = "168.126.63.0/24"},
            "NXDOMAIN aa | " SOA " [OPT ecs 24/0]"},
        /* CNAMEs */
        {{"alias.reindeers.com", "A"}, "NOERROR aa; alias.reindeers.com 120 CNAME "
                                       "mail.reindeers.com.; mail.reindeers.com 120 A 203.0.113.9"},
        {{"two.reindeers.com", "A"}, "NOERROR aa; two.reindeers.com 120 CNAME "
                                     "alias.reindeers.com.; alias.reindeers.com 120 CNAME"
                                     " mail.reindeers.com.; mail.reindeers.com 120 A 203.0.113.9"},
        {{"alias.reindeers.com", "TXT"},
            "NOERROR aa; alias.reindeers.com 120 CNAME mail.reindeers.com. | " SOA},
        {{"alias.reindeers.com", "CNAME"},
            "NOERROR aa; alias.reindeers.com 120 CNAME mail.reindeers.com."},
        {{"alias.reindeers.com", "ANY"},
            "NOERROR aa; alias.reindeers.com 120 CNAME mail.reindeers.com."},
        {{"steered.reindeers.com", "A", .ecs = "168.126.63.0/24"},
            "NOERROR aa; steered.reindeers.com 120 CNAME reindeers.com. [OPT ecs 24/0]"},
        {{"steered.reindeers.com", "MX"},
            "NOERROR aa; steered.reindeers.com 120 CNAME reindeers.com.; reindeers.com 120 MX 10 "
            "mail.reindeers.com."},
        {{"dangling.reindeers.com", "A"},
            "NXDOMAIN aa; dangling.reindeers.com 120 CNAME nowhere.reindeers.com. | " SOA},
        {{"away.reindeers.com", "A"}, "NOERROR aa; away.reindeers.com 120 CNAME cdn.example.net."},
        /* wildcards */
        {{"x.wild.reindeers.com", "TXT"}, "NOERROR aa; x.wild.reindeers.com 120 TXT \"any\""},
        {{"longer.than.the.star.wild.reindeers.com", "MX"},
            "NOERROR aa; longer.than.the.star.wild.reindeers.com 120 MX 5 mail.reindeers.com."},
        {{"x.wild.reindeers.com", "A"}, "NOERROR aa | " SOA},
        {{"there.wild.reindeers.com", "TXT"}, "NOERROR aa | " SOA},
        {{"below.there.wild.reindeers.com", "TXT"}, "NXDOMAIN aa | " SOA},
        {{"wild.reindeers.com", "TXT"}, "NOERROR aa | " SOA},
        {{"some.cname.reindeers.com", "A"},
            "NOERROR aa; some.cname.reindeers.com 120 CNAME mail.reindeers.com.; "
            "mail.reindeers.com 120 A 203.0.113.9"},
        /* refusals */
        {{"example.com", "A"}, "REFUSED"},
        {{"com", "NS"}, "REFUSED"},
        {{".", "NS"}, "REFUSED"},
        {{"evilreindeers.com", "A"}, "REFUSED"},
        {{"version.bind", "TXT", .class = DNS_CH}, "REFUSED"},
        {{"id.server", "TXT", .class = DNS_CH, .udp_size = 512}, "REFUSED [OPT]"},
        {{"reindeers.com", "AXFR"}, "REFUSED"},
        {{"reindeers.com", "MAILA"}, "NOTIMP"},
        {{"reindeers.com", "TYPE41"}, "FORMERR"},
        {{"reindeers.com", "ANY"}, "NOERROR aa; reindeers.com 3600 HINFO \"RFC8482\" \"\""},
        {{"reindeers.com", "TYPE65280"}, "NOERROR aa | " SOA},
        /* EDNS */
        {{"mail.reindeers.com", "A", .udp_size = 4096, .dnssec_ok = true},
            "NOERROR aa; mail.reindeers.com 120 A 203.0.113.9 [OPT do]"},
        {{"mail.reindeers.com", "A", .nsid = true},
            "NOERROR aa; mail.reindeers.com 120 A 203.0.113.9 [OPT nsid hk1]"},
    };
    struct server s;
    server_start(&s, WHOLE);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        expect(&s, &rows[i].ask, rows[i].expected);
    server_stop(&s);
}

static void test_malformed(void **state)
{
    struct server s;
    uint8_t q[512], out[4096];
    struct ask a = {"reindeers.com", "A", .udp_size = 1232};
    server_start(&s, WHOLE);
    size_t len = build_query(&a, q, sizeof q);
    assert_int_equal(send_raw(&s, &a, q, 11, out, sizeof out), 0);
    q[2] |= 0x80; /* a response */
    assert_int_equal(send_raw(&s, &a, q, len, out, sizeof out), 0);
    q[2] = 0x28; /* UPDATE: header only */
    assert_int_equal(send_raw(&s, &a, q, len, out, sizeof out), 12);
    assert_memory_equal(out, "\x42\x42\xa8\x04\0\0\0\0\0\0\0\0", 12);
    q[2] = 1;
    q[5] = 2; /* two questions */
    assert_int_equal(send_raw(&s, &a, q, len, out, sizeof out), 12);
    assert_memory_equal(out, "\x42\x42\x81\x01\0\0\0\0\0\0\0\0", 12);
    q[5] = 1;
    q[len - 5] = 1; /* EDNS version 1: BADVERS is in OPT */
    size_t n = send_raw(&s, &a, q, len, out, sizeof out);
    _cleanup_str_ struct str text = STR_INIT;
    describe(out, n, &text);
    assert_string_equal(str_cstr(&text), "NOERROR [BADVERS]");
    server_stop(&s);
}

static void test_no_zone_is_servfail(void **state)
{
    struct server s;
    server_start(&s, WHOLE);
    struct zone *z = s.state.zone;
    s.state.zone = NULL;
    expect(&s, &(struct ask){"reindeers.com", "A"}, "SERVFAIL");
    s.state.zone = z;
    server_stop(&s);
}

/* 40 TXT records of 100 bytes: too much for any UDP answer; the additional records of NS are left
 * out before. */
static void test_truncation(void **state)
{
    _cleanup_str_ struct str snapshot = STR_INIT;
    str_add(&snapshot, HEAD REGIONS LISTS NAMES "\"nameservers\":[");
    for (int i = 0; i < 20; i++)
        str_addf(&snapshot, "%s{\"name\":\"ns%d.reindeers.com\",\"region\":2}", i ? "," : "", i);
    str_add(&snapshot, "],\"records\":[");
    for (int i = 0; i < 40; i++)
        str_addf(&snapshot,
            "%s{\"name\":\"big.reindeers.com\",\"type\":\"TXT\",\"value\":\"%0100d\",\"ttl_s\":9}",
            i ? "," : "", i);
    str_add(&snapshot, "]}");
    struct server s;
    server_start(&s, str_cstr(&snapshot));
    expect(&s, &(struct ask){"big.reindeers.com", "TXT"}, "NOERROR aa tc");
    expect(&s, &(struct ask){"big.reindeers.com", "TXT", .udp_size = 65535}, "NOERROR aa tc [OPT]");
    assert_int_equal(metric_get(s.ctx.metrics, DNS_M_TRUNCATED), 2);

    static const struct {
        struct ask ask;
        unsigned answers, additional;
        size_t most;
    } rows[] = {
        {{"big.reindeers.com", "TXT", .tcp = true}, 40, 0, 65535},
        {{"reindeers.com", "NS"}, 20, 0, 512},
        {{"reindeers.com", "NS", .udp_size = 1232}, 20, 41, 1232},
        {{"reindeers.com", "NS", .udp_size = 600}, 20, 1, 600},
        {{"reindeers.com", "NS", .udp_size = 100}, 20, 1, 512}, /* below 512 counts as 512 */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t q[512], out[16384];
        size_t len = build_query(&rows[i].ask, q, sizeof q);
        size_t n = send_raw(&s, &rows[i].ask, q, len, out, sizeof out);
        if (n > rows[i].most || dns_get16(out + 6) != rows[i].answers
            || dns_get16(out + 10) != rows[i].additional)
            fail_msg("row %zu: %zu bytes, %u answers, %u additional", i, n, dns_get16(out + 6),
                dns_get16(out + 10));
        assert_false(out[2] & (DNS_TC >> 8));
    }
    server_stop(&s);
}

static void apply(struct zone *z, const char *text, int expected)
{
    json_t *j;
    struct err e = {0};
    assert_int_equal(json_parse(text, strlen(text), &j, &e), 0);
    int r = zone_apply_health(z, j, &e);
    if (r != expected)
        fail_msg("%s: %d %s", text, r, e.message);
    json_decref(j);
}

static void test_health(void **state)
{
    struct server s;
    struct ask korea = {"reindeers.com", "A", .ecs = "168.126.63.0/24"},
               api = {"api.reindeers.com", "A"};
    const char *at_home = "NOERROR aa; reindeers.com 60 A 203.0.113.40 [OPT ecs 24/16]";
    server_start(&s, WHOLE);
    expect(&s, &korea, at_home);
    /* What does not fit changes nothing: another revision, too few choices, no such region, half of
     * it right. */
    apply(s.state.zone,
        "{\"revision\":6,\"names\":{\"reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0,0]}}}",
        ERR_CONFLICT);
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0]}}}",
        ERR_INVALID);
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0,4]}}}",
        ERR_INVALID);
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0,0]},"
        "\"api.reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0,9]}}}",
        ERR_INVALID);
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":70000,\"choice\":[0,0,0]}}}",
        ERR_INVALID);
    apply(s.state.zone, "{\"revision\":7}", ERR_INVALID);
    expect(&s, &korea, at_home);
    /* Seoul is down for one name only; a name of another domain is not ours to answer. */
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":5,\"choice\":[0,0,2]},"
        "\"x.com\":{\"ttl_s\":5,\"choice\":[0,0,0]}}}",
        0);
    expect(&s, &korea, "NOERROR aa; reindeers.com 5 A 203.0.113.20 [OPT ecs 24/16]");
    expect(&s, &api, "NOERROR aa; api.reindeers.com 60 A 203.0.113.20");
    assert_int_equal(s.ctx.regions[0], 2);
    assert_int_equal(s.ctx.regions[1], 2);
    /* A region without an address leaves what is there. */
    apply(s.state.zone,
        "{\"revision\":7,\"names\":{\"reindeers.com\":{\"ttl_s\":9,\"choice\":[3,3,2]}}}", 0);
    expect(&s, &korea, "NOERROR aa; reindeers.com 5 A 203.0.113.20 [OPT ecs 24/16]");
    server_stop(&s);
}

static void test_refused_snapshots(void **state)
{
    static const struct {
        const char *text, *message; /* a part of it */
    } rows[] = {
        {"{}", "format"},
        {"{\"format\":2,\"revision\":1,\"ttl_s\":60,\"domain\":\"a.com\"}", "format"},
        {HEAD "\"regions\":[{\"name\":\"x\",\"addresses\":[\"1.2.3\"]}]}", "1.2.3"},
        {HEAD REGIONS "\"lists\":[]}", "default list"},
        {HEAD REGIONS "\"lists\":[[]]}", "without regions"},
        {HEAD REGIONS "\"lists\":[[4]]}", "region that does not exist"},
        {HEAD REGIONS "\"lists\":[[0]],\"countries\":{\"KR\":1}}", "list that does not exist"},
        {HEAD REGIONS "\"lists\":[[0]],\"countries\":{\"kr\":0}}", "'kr'"},
        {HEAD REGIONS "\"lists\":[[0]],\"countries\":{},\"overrides\":[[\"1.2.3.4/8\",\"KR\"]]}",
            "1.2.3.4/8"},
        {HEAD REGIONS LISTS "\"names\":[{\"name\":\"other.com\",\"regions\":[0]}]}",
            "does not lie in reindeers.com"},
        {HEAD REGIONS LISTS "\"names\":[{\"name\":\"reindeers.com\",\"regions\":[]}]}",
            "would be empty"},
        {HEAD REGIONS LISTS NAMES "\"nameservers\":[]}", "at least one"},
        {HEAD REGIONS LISTS NAMES SERVERS
            "\"records\":[" RECORD("reindeers.com", "A", "1.2.3.4") "]}",
            "name of a route"},
        {HEAD REGIONS LISTS NAMES SERVERS
            "\"records\":[" RECORD("reindeers.com", "CNAME", "a.net.") "]}",
            "CNAME and something else"},
        {HEAD REGIONS LISTS NAMES SERVERS "\"records\":[" RECORD(
             "a.reindeers.com", "CNAME", "b") "," RECORD("b.reindeers.com", "CNAME", "a") "]}",
            "circle"},
        {HEAD REGIONS LISTS NAMES SERVERS "\"records\":[" RECORD("a.reindeers.com", "NS", "b") "]}",
            "cannot be declared"},
        {HEAD REGIONS LISTS NAMES SERVERS "\"records\":[" RECORD("a.net", "TXT", "b") "]}",
            "does not lie"},
        {HEAD REGIONS LISTS NAMES SERVERS
            "\"records\":[" RECORD("a.reindeers.com", "MX", "b.c") "]}",
            "PREFERENCE"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct zone *z;
        struct err e = {0};
        if (load(rows[i].text, &z, &e) >= 0)
            fail_msg("row %zu was accepted", i);
        if (!strstr(e.message, rows[i].message))
            fail_msg("row %zu: '%s' does not say '%s'", i, e.message, rows[i].message);
    }
}

static void test_nothing_is_allocated_per_query(void **state)
{
    static const struct ask asks[] = {{"reindeers.com", "A", .ecs = "168.126.63.0/24"},
        {"nope.reindeers.com", "A"}, {"example.com", "A"}, {"reindeers.com", "NS", .tcp = true},
        {"x.wild.reindeers.com", "TXT"}, {"alias.reindeers.com", "A", .nsid = true}};
    struct server s;
    server_start(&s, WHOLE);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        uint8_t q[512], out[4096];
        size_t len = build_query(&asks[i], q, sizeof q), before = allocations;
        for (int k = 0; k < 100; k++)
            send_raw(&s, &asks[i], q, len, out, sizeof out);
        assert_int_equal(allocations - before, 0);
    }
    if (COUNTS_ALLOCATIONS)
        assert_true(allocations > 0);
    server_stop(&s);
}

static void test_metrics(void **state)
{
    struct server s;
    server_start(&s, WHOLE);
    expect(&s, &(struct ask){"mail.reindeers.com", "A", .tcp = true},
        "NOERROR aa; mail.reindeers.com 120 A 203.0.113.9");
    expect(&s, &(struct ask){"nope.reindeers.com", "AAAA"}, "NXDOMAIN aa | " SOA);
    static const enum dns_metric ones[] = {
        DNS_M_UDP, DNS_M_TCP, DNS_M_NOERROR, DNS_M_NXDOMAIN, DNS_M_TYPE_A, DNS_M_TYPE_AAAA};
    for (size_t i = 0; i < ARRAY_SIZE(ones); i++)
        assert_int_equal(metric_get(s.ctx.metrics, ones[i]), 1);
    server_stop(&s);
}

/* --- from the model --- */

static const char declaration[] =
    "platform: reindeers\n"
    "domain: reindeers.com\n"
    "regions:\n"
    "  hk:    {duty: main,    address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "  seoul: {duty: dr,      address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "  shang: {duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}\n"
    "hosts:\n"
    "  hk1:    {region: hk,    address: 10.20.0.11, public: true}\n"
    "  seoul1: {region: seoul, address: 10.40.0.11, public: true}\n"
    "  shang1: {region: shang, address: 10.60.0.11, public: true}\n"
    "state: {members: [hk1, seoul1, shang1]}\n"
    "lab: {clients: {KR: 198.51.100.0/28}}\n"
    "routing:\n"
    "  nameservers: {ns1: hk, ns2: seoul}\n"
    "  countries: {KR: [seoul], CN: [shang], JP: [seoul], TH: [hk]}\n"
    "  default: [hk]\n"
    "  on_failure: [dr, main]\n"
    "  records: [{name: \"@\", type: MX, value: \"10 mail.reindeers.com.\"}]\n"
    "modules:\n"
    "  web: {image: oci:images/web, port: 8080, regions: {each: 1},\n"
    "        route: {names: [www.reindeers.com, reindeers.com], path: /, auth: none}}\n"
    "  api: {image: oci:images/api, port: 8080, regions: {hk: 2, seoul: {standby: 1}},\n"
    "        route: {names: [api.reindeers.com, reindeers.com], path: /v1, auth: none}}\n";

static struct model *parse_declaration(void)
{
    struct model *m;
    struct err e = {0};
    _cleanup_str_ struct str errors = STR_INIT;
    if (model_parse(declaration, sizeof declaration - 1, "platform.yaml", &m, &errors, &e) < 0)
        fail_msg("%s", str_cstr(&errors));
    return m;
}

static struct zone *zone_of_model(const struct model *m, bool lab)
{
    struct zone *z;
    struct err e = {0};
    json_t *snapshot = zone_snapshot_from_model(m, 12, lab);
    if (zone_new(snapshot, &z, &e) < 0)
        fail_msg("%s", e.message);
    json_decref(snapshot);
    return z;
}

static void test_snapshot_from_model(void **state)
{
    struct model *m = parse_declaration();
    struct zone *z = zone_of_model(m, true);
    const struct geo_countries *c = zone_countries(z);
    uint32_t ttl_s;
    size_t n;
    assert_int_equal(zone_revision(z), 12);
    assert_string_equal(zone_domain(z), "reindeers.com");
    assert_int_equal(zone_n_lists(z), 3); /* TH shares the default, JP shares KR's */
    assert_int_equal(c->list[geo_country_index("TH")], 0);
    assert_int_equal(c->list[geo_country_index("KR")], c->list[geo_country_index("JP")]);
    assert_int_equal(zone_n_names(z), 3); /* sorted */
    assert_string_equal(zone_name(z, 0), "api.reindeers.com");
    assert_string_equal(zone_name(z, 1), "reindeers.com");
    assert_int_equal(zone_choice(z, 2, c->list[geo_country_index("CN")], &ttl_s), 2);
    assert_int_equal(ttl_s, 60);
    /* needs web and api, whose only active instances are in hk */
    assert_int_equal(zone_choice(z, 1, c->list[geo_country_index("KR")], &ttl_s), 0);
    assert_int_equal(zone_overrides(z, &n)->prefix.bits, 28);
    assert_int_equal(n, 1);
    zone_free(z);
    z = zone_of_model(m, false);
    zone_overrides(z, &n);
    assert_int_equal(n, 0);
    zone_free(z);
    model_free(m);
}

/* Both sides count lists and names on their own: what steering says must fit what the zone holds. */
static void test_agrees_with_steering(void **state)
{
    struct model *m = parse_declaration();
    struct zone *z = zone_of_model(m, true);
    struct steer_options options = {.host = "hk1", .region = "hk", .seed = 1};
    struct steer *s = steer_new(&options, NULL);
    struct steer_event config = {.kind = STEER_CONFIG};
    struct steer_actions actions = {0};
    struct err e = {0};
    assert_int_equal(steer_plan_new(m, 12, &config.plan, &e), 0);
    steer_step(s, &config, 1000, &actions);
    steer_actions_done(&actions);
    const struct steer_plan *p = steer_plan_of(s);
    assert_int_equal(p->n_lists, zone_n_lists(z));
    for (size_t list = 0; list < p->n_lists; list++) {
        size_t n;
        const uint8_t *order = zone_list(z, list, &n);
        assert_int_equal(n, p->lists[list].n);
        assert_memory_equal(order, p->lists[list].order, n);
    }
    for (size_t i = 0; i < p->n_countries; i++)
        assert_int_equal(
            p->countries[i].list, zone_countries(z)->list[geo_country_index(p->countries[i].code)]);
    for (size_t name = 0; name < zone_n_names(z); name++)
        for (size_t list = 0; list < p->n_lists; list++) { /* before anything is known */
            uint32_t ttl_s;
            size_t same;
            assert_true(steer_plan_find_name(p, zone_name(z, name), &same));
            assert_int_equal(
                zone_choice(z, name, list, &ttl_s), steer_choice(s, same, list).region);
        }
    json_t *health = steer_choices_format(s, 1);
    assert_int_equal(zone_apply_health(z, health, &e), 0);
    json_decref(health);
    steer_free(s);
    zone_free(z);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_no_zone_is_servfail),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_refused_snapshots),
        cmocka_unit_test(test_nothing_is_allocated_per_query),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_snapshot_from_model),
        cmocka_unit_test(test_agrees_with_steering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
