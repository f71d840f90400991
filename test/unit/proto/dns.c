/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "proto/dns/dns.h"

static const uint8_t zone[] = "\11reindeers\3com"; /* the literal's NUL is the root label */
#define ZONE zone, sizeof zone

/* A query for reindeers.com A with this additional section. */
static size_t build(
    uint8_t *out, uint16_t flags, unsigned additional, const void *extra, size_t extra_size)
{
    static const uint8_t head[] = {0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    static const uint8_t tail[] = {0, 1, 0, 1};
    memcpy(out, head, sizeof head);
    dns_put16(out + 2, flags);
    dns_put16(out + 10, additional);
    size_t len = sizeof head;
    memcpy(out + len, zone, sizeof zone);
    memcpy(out + len + sizeof zone, tail, sizeof tail);
    len += sizeof zone + sizeof tail;
    if (extra_size)
        memcpy(out + len, extra, extra_size);
    return len + extra_size;
}

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})
#define OPT(size, version, do_bit, rdlen)                                                          \
    0, 0, 41, (size) >> 8, (size)&255, 0, version, do_bit, 0, 0, rdlen

static const struct {
    const char *name;
    uint16_t flags;
    unsigned additional;
    const uint8_t *extra;
    size_t extra_size;
    enum dns_parse verdict;
    unsigned rcode;
} queries[] = {
    {"plain", DNS_RD, 0, NULL, 0, DNS_PARSE_OK, 0},
    {"a response is never answered", DNS_QR, 0, NULL, 0, DNS_PARSE_DROP, 0},
    {"NOTIFY", 4 << 11, 0, NULL, 0, DNS_PARSE_ERROR, DNS_NOTIMP},
    {"UPDATE", 5 << 11, 0, NULL, 0, DNS_PARSE_ERROR, DNS_NOTIMP},
    {"byte behind the end", DNS_RD, 0, BYTES(0), DNS_PARSE_ERROR, DNS_FORMERR},
    {"additional announced but missing", DNS_RD, 1, NULL, 0, DNS_PARSE_ERROR, DNS_FORMERR},
    {"OPT", 0, 1, BYTES(OPT(4096, 0, 0, 0)), DNS_PARSE_OK, 0},
    {"OPT with unknown flags and option", 0, 1, BYTES(OPT(512, 0, 0x7f, 6), 0xff, 1, 0, 2, 7, 7),
        DNS_PARSE_OK, 0},
    {"two OPTs", 0, 2, BYTES(OPT(512, 0, 0, 0), OPT(512, 0, 0, 0)), DNS_PARSE_ERROR, DNS_FORMERR},
    {"OPT not at the root", 0, 1, BYTES(1, 'a', OPT(512, 0, 0, 0)), DNS_PARSE_ERROR, DNS_FORMERR},
    {"EDNS version 1", 0, 1, BYTES(OPT(512, 1, 0, 0)), DNS_PARSE_ERROR, DNS_BADVERS},
    {"option longer than the record", 0, 1, BYTES(OPT(512, 0, 0, 4), 0, 3, 0, 1), DNS_PARSE_ERROR,
        DNS_FORMERR},
    {"record longer than the message", 0, 1, BYTES(OPT(512, 0, 0, 5), 0, 3, 0, 0), DNS_PARSE_ERROR,
        DNS_FORMERR},
    {"TSIG besides OPT", 0, 2, BYTES(OPT(512, 0, 0, 0), 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0),
        DNS_PARSE_OK, 0},
    {"keepalive with a timeout", 0, 1, BYTES(OPT(512, 0, 0, 6), 0, 11, 0, 2, 0, 1), DNS_PARSE_ERROR,
        DNS_FORMERR},
    {"ECS /24", 0, 1, BYTES(OPT(512, 0, 0, 11), 0, 8, 0, 7, 0, 1, 24, 0, 168, 126, 63),
        DNS_PARSE_OK, 0},
    {"ECS /0", 0, 1, BYTES(OPT(512, 0, 0, 8), 0, 8, 0, 4, 0, 1, 0, 0), DNS_PARSE_OK, 0},
    {"ECS family 0", 0, 1, BYTES(OPT(512, 0, 0, 8), 0, 8, 0, 4, 0, 0, 0, 0), DNS_PARSE_OK, 0},
    {"ECS family 3", 0, 1, BYTES(OPT(512, 0, 0, 8), 0, 8, 0, 4, 0, 3, 0, 0), DNS_PARSE_ERROR,
        DNS_FORMERR},
    {"ECS IPv6 /48", 0, 1, BYTES(OPT(512, 0, 0, 14), 0, 8, 0, 10, 0, 2, 48, 0, 32, 1, 2, 32, 0, 0),
        DNS_PARSE_OK, 0},
    {"ECS scope in a query", 0, 1, BYTES(OPT(512, 0, 0, 11), 0, 8, 0, 7, 0, 1, 24, 1, 1, 2, 3),
        DNS_PARSE_ERROR, DNS_FORMERR},
    {"ECS spare bits set", 0, 1, BYTES(OPT(512, 0, 0, 11), 0, 8, 0, 7, 0, 1, 20, 0, 1, 2, 3),
        DNS_PARSE_ERROR, DNS_FORMERR},
    {"ECS prefix over 32", 0, 1, BYTES(OPT(512, 0, 0, 13), 0, 8, 0, 9, 0, 1, 33, 0, 1, 2, 3, 4, 0),
        DNS_PARSE_ERROR, DNS_FORMERR},
    {"ECS byte too many", 0, 1, BYTES(OPT(512, 0, 0, 12), 0, 8, 0, 8, 0, 1, 24, 0, 1, 2, 3, 0),
        DNS_PARSE_ERROR, DNS_FORMERR},
    {"ECS byte missing", 0, 1, BYTES(OPT(512, 0, 0, 10), 0, 8, 0, 6, 0, 1, 24, 0, 1, 2),
        DNS_PARSE_ERROR, DNS_FORMERR},
    {"ECS twice", 0, 1, BYTES(OPT(512, 0, 0, 16), 0, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0),
        DNS_PARSE_ERROR, DNS_FORMERR},
};

static void test_query_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        uint8_t msg[512];
        struct dns_query q;
        size_t len = build(
            msg, queries[i].flags, queries[i].additional, queries[i].extra, queries[i].extra_size);
        enum dns_parse r = dns_query_parse(msg, len, &q);
        if (r != queries[i].verdict || (r == DNS_PARSE_ERROR && q.rcode != queries[i].rcode))
            fail_msg("%s: verdict %d rcode %u", queries[i].name, r, q.rcode);
        /* Cut off anywhere it is never accepted. */
        for (size_t cut = 0; r == DNS_PARSE_OK && cut < len; cut++) {
            uint8_t *exact = xmalloc(cut ? cut : 1);
            memcpy(exact, msg, cut);
            if (dns_query_parse(exact, cut, &q) == DNS_PARSE_OK)
                fail_msg("%s: cut at %zu of %zu was accepted", queries[i].name, cut, len);
            free(exact);
        }
    }
}

static void test_query_fields(void **state)
{
    uint8_t msg[512];
    struct dns_query q;
    size_t len = build(msg, DNS_RD, 1,
        BYTES(OPT(1400, 0, 0x80, 19), 0, 8, 0, 7, 0, 1, 20, 0, 168, 126, 48, 0, 3, 0, 0, 0, 11, 0,
            0));
    assert_int_equal(dns_query_parse(msg, len, &q), DNS_PARSE_OK);
    assert_int_equal(q.id, 0x1234);
    assert_int_equal(q.type, DNS_A);
    assert_int_equal(q.class, DNS_IN);
    assert_int_equal(q.udp_size, 1400);
    assert_true(q.dnssec_ok && q.has_ecs && q.want_nsid && q.want_keepalive);
    assert_int_equal(q.ecs.source_bits, 20);
    assert_int_equal(q.ecs.addr.family, 4);
    assert_memory_equal(q.ecs.addr.bytes, "\250\176\60\0", 4);
    assert_int_equal(q.question_end, 12 + sizeof zone + 4);

    len = build(msg, 0, 0, NULL, 0);
    msg[5] = 0;
    assert_int_equal(dns_query_parse(msg, len, &q), DNS_PARSE_ERROR);
    assert_int_equal(q.rcode, DNS_FORMERR);
    msg[5] = 2;
    assert_int_equal(dns_query_parse(msg, len, &q), DNS_PARSE_ERROR);
    assert_null(q.name);
    msg[5] = 1;
    msg[12] = 0xc0; /* a question is never compressed */
    assert_int_equal(dns_query_parse(msg, len, &q), DNS_PARSE_ERROR);
}

static void test_names(void **state)
{
    static const struct {
        const char *text;
        size_t size; /* 0: refused */
        const char *formatted;
    } rows[] = {
        {"reindeers.com", 15, "reindeers.com"},
        {"reindeers.com.", 15, "reindeers.com"},
        {".", 1, "."},
        {"a\\.b.c", 7, "a\\.b.c"},
        {"\\065.x", 5, "A.x"},
        {"*.x", 5, "*.x"},
        {"", 0, NULL},
        {"a..b", 0, NULL},
        {".a", 0, NULL},
        {"a\\25", 0, NULL},
        {"a\\256", 0, NULL},
        {"a\\", 0, NULL},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 65,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t name[DNS_NAME_MAX];
        char text[DNS_NAME_TEXT_MAX];
        size_t size = 0;
        bool ok = dns_name_parse(rows[i].text, name, &size);
        if (ok != (rows[i].size != 0) || size != rows[i].size)
            fail_msg("'%s': %d, size %zu", rows[i].text, ok, size);
        if (!ok)
            continue;
        assert_int_equal(dns_name_size(name, size), size);
        dns_name_format(name, size, text);
        assert_string_equal(text, rows[i].formatted);
    }
}

static void test_name_longest(void **state)
{
    char text[512];
    uint8_t name[DNS_NAME_MAX];
    size_t size;
    for (int last = 55; last <= 63; last++) { /* 3 x 64 + last + 2 <= 255 */
        snprintf(text, sizeof text, "%063d.%063d.%063d.%0*d", 1, 2, 3, last, 4);
        assert_int_equal(dns_name_parse(text, name, &size), last <= 61);
    }
}

static void test_under(void **state)
{
    static const uint8_t www[] = "\3www\11REINDEERS\3com", evil[] = "\15evilreindeers\3com",
                         com[] = "\3com";
    assert_true(dns_name_under(ZONE, ZONE));
    assert_true(dns_name_under(www, sizeof www, ZONE));
    assert_false(dns_name_under(evil, sizeof evil, ZONE));
    assert_false(dns_name_under(com, sizeof com, ZONE));
}

static void test_compressed_names(void **state)
{
    /* At 12: "com"; 17: pointer to 12; 19: "a" + pointer to 17; 23: pointer to itself; 25: forward
     * pointer */
    static const uint8_t msg[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 'c', 'o', 'm', 0, 0xc0, 12,
        1, 'a', 0xc0, 17, 0xc0, 23, 0xc0, 27, 0xc0, 12};
    uint8_t name[DNS_NAME_MAX];
    size_t size, at = 19;
    assert_true(dns_name_read(msg, sizeof msg, &at, name, &size));
    assert_int_equal(at, 23);
    assert_int_equal(size, 7);
    assert_memory_equal(name, "\1a\3com", 7);
    at = 23;
    assert_false(dns_name_read(msg, sizeof msg, &at, name, &size));
    at = 25;
    assert_false(dns_name_read(msg, sizeof msg, &at, name, &size));
}

static void test_rdata(void **state)
{
    static const struct {
        uint16_t type;
        const char *text, *formatted; /* NULL: refused */
    } rows[] = {
        {DNS_A, "203.0.113.20", "203.0.113.20"},
        {DNS_A, "2001:db8::1", NULL},
        {DNS_A, "1.2.3", NULL},
        {DNS_AAAA, "2001:db8::1", "2001:db8::1"},
        {DNS_AAAA, "1.2.3.4", NULL},
        {DNS_NS, "ns1.other.net.", "ns1.other.net."},
        {DNS_CNAME, "www", "www.reindeers.com."},
        {DNS_CNAME, "@", "reindeers.com."},
        {DNS_CNAME, "mail.other.net", NULL},
        {DNS_MX, "10 mail.reindeers.com.", "10 mail.reindeers.com."},
        {DNS_MX, "mail.reindeers.com.", NULL},
        {DNS_MX, "65536 a.", NULL},
        {DNS_MX, "0 .", "0 ."},
        {DNS_TXT, "v=spf1 -all", "\"v=spf1 -all\""},
        {DNS_TXT, "\"a b\" \"c\"", "\"a b\" \"c\""},
        {DNS_TXT, "\"a\\\"b\\200\"", "\"a\\\"b\\200\""},
        {DNS_TXT, "\"a\" b", NULL},
        {DNS_TXT, "\"a", NULL},
        {DNS_TXT, "", NULL},
        {DNS_CAA, "0 issue \"letsencrypt.org\"", "0 issue \"letsencrypt.org\""},
        {DNS_CAA, "0 issue letsencrypt.org", "0 issue \"letsencrypt.org\""},
        {DNS_CAA, "256 issue a", NULL},
        {DNS_CAA, "0 is-sue a", NULL},
        {DNS_SRV, "1 2 443 target.", "1 2 443 target."},
        {DNS_SRV, "1 2 443", NULL},
        {DNS_SOA, "ns1 host\\.master 1 2 3 4 5",
            "ns1.reindeers.com. host\\.master.reindeers.com. 1 2 3 4 5"},
        {DNS_HINFO, "a b", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t out[512];
        char text[512];
        size_t len;
        struct err e = {0};
        int r = dns_rdata_parse(rows[i].type, rows[i].text, ZONE, out, sizeof out, &len, &e);
        if ((r >= 0) != (rows[i].formatted != NULL))
            fail_msg("type %u '%s': %d %s", rows[i].type, rows[i].text, r, e.message);
        if (r < 0)
            continue;
        /* Names inside rdata must not read below the header: place it behind one. */
        uint8_t msg[DNS_HEADER_SIZE + sizeof out] = {0};
        memcpy(msg + DNS_HEADER_SIZE, out, len);
        dns_rdata_format(
            rows[i].type, msg, DNS_HEADER_SIZE + len, DNS_HEADER_SIZE, len, text, sizeof text);
        assert_string_equal(text, rows[i].formatted);
        for (size_t cap = 0; cap < len; cap++) { /* any smaller buffer is refused, not overrun */
            uint8_t *small = xmalloc(cap ? cap : 1);
            size_t ignored;
            assert_true(
                dns_rdata_parse(rows[i].type, rows[i].text, ZONE, small, cap, &ignored, &e) < 0);
            free(small);
        }
    }
}

static void test_long_text_is_cut_into_strings(void **state)
{
    char text[602];
    uint8_t out[700];
    size_t len;
    struct err e = {0};
    memset(text, 'x', 600);
    text[600] = '\0';
    assert_int_equal(dns_rdata_parse(DNS_TXT, text, ZONE, out, sizeof out, &len, &e), 0);
    assert_int_equal(len, 603);
    assert_int_equal(out[0], 255);
    assert_int_equal(out[256], 255);
    assert_int_equal(out[512], 90);
}

static void test_writer_compresses(void **state)
{
    static const uint8_t ns1[] = "\3ns1\11reindeers\3com";
    uint8_t buf[512];
    struct dns_writer w;
    dns_writer_init(&w, buf, sizeof buf, 7, DNS_QR | DNS_AA);
    dns_write_question(&w, ZONE, DNS_NS, DNS_IN);
    dns_write_rr(&w, DNS_ANSWER, ZONE, DNS_NS, 60, ns1, sizeof ns1);
    dns_write_rr(&w, DNS_ADDITIONAL, ns1, sizeof ns1, DNS_A, 60, (const uint8_t *)"\1\2\3\4", 4);
    dns_write_opt(&w, DNS_BADVERS, DNS_UDP_MAX, true, NULL, 0);
    size_t len = dns_writer_finish(&w);
    assert_int_equal(len, 12 + 19 + (12 + 6) + (12 + 4) + 11);
    struct dns_walk walk;
    struct dns_rr rr;
    enum dns_section section;
    assert_true(dns_walk_init(&walk, buf, len));
    static const struct {
        enum dns_section section;
        uint16_t type;
        const char *name;
    } rows[] = {{DNS_QUESTION, DNS_NS, "reindeers.com"}, {DNS_ANSWER, DNS_NS, "reindeers.com"},
        {DNS_ADDITIONAL, DNS_A, "ns1.reindeers.com"}, {DNS_ADDITIONAL, DNS_OPT, "."}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[DNS_NAME_TEXT_MAX];
        assert_int_equal(dns_walk_next(&walk, &rr, &section), 1);
        dns_name_format(rr.name, rr.name_size, text);
        assert_int_equal(section, rows[i].section);
        assert_int_equal(rr.type, rows[i].type);
        assert_string_equal(text, rows[i].name);
    }
    assert_int_equal(rr.ttl, 0x01008000); /* extended rcode 1, DO */
    assert_int_equal(dns_walk_next(&walk, &rr, &section), 0);
}

static void test_writer_overflow(void **state)
{
    for (size_t cap = 0; cap < 47; cap++) {
        uint8_t *buf = xmalloc(cap ? cap : 1);
        struct dns_writer w;
        dns_writer_init(&w, buf, cap, 7, DNS_QR);
        dns_write_question(&w, ZONE, DNS_A, DNS_IN);
        dns_write_rr(&w, DNS_ANSWER, ZONE, DNS_A, 60, (const uint8_t *)"\1\2\3\4", 4);
        assert_int_equal(dns_writer_finish(&w), 0);
        free(buf);
    }
}

#define SHOP "\4shop\4test", 11
#define API "\3api\4shop\4test", 15

struct answer_row {
    const char *name;
    void (*fill)(struct dns_writer *w);
    bool ok;
    size_t n;
    uint32_t ttl;
};

static void put(struct dns_writer *w, enum dns_section section, const char *name, size_t size,
    uint16_t type, uint32_t ttl, const char *data, size_t len)
{
    dns_write_rr(w, section, (const uint8_t *)name, size, type, ttl, (const uint8_t *)data, len);
}

static void fill_two(struct dns_writer *w)
{
    put(w, DNS_ANSWER, API, DNS_A, 60, "\1\2\3\4", 4);
    put(w, DNS_ANSWER, API, DNS_A, 20, "\1\2\3\5", 4);
    put(w, DNS_ANSWER, SHOP, DNS_A, 5, "\6\6\6\6", 4);    /* somebody else's */
    put(w, DNS_ADDITIONAL, API, DNS_A, 1, "\7\7\7\7", 4); /* no part of the answer */
    put(w, DNS_ADDITIONAL, API, DNS_AAAA, 1, "\0", 1);
}

static void fill_alias(struct dns_writer *w)
{
    put(w, DNS_ANSWER, API, DNS_CNAME, 7, SHOP);
    put(w, DNS_ANSWER, API, DNS_A, 1, "\6\6\6\6", 4);
    put(w, DNS_ANSWER, SHOP, DNS_A, 90, "\1\2\3\4", 4);
}

static void fill_huge(struct dns_writer *w)
{
    put(w, DNS_ANSWER, API, DNS_A, 0x80000000u, "\1\2\3\4", 4);
}

static void fill_none(struct dns_writer *w)
{
    char soa[22] = "\0\0"
                   "0123456789abcdef"
                   "\0\0\0\12";
    put(w, DNS_AUTHORITY, SHOP, DNS_SOA, 300, soa, sizeof soa);
}

static void fill_many(struct dns_writer *w)
{
    for (unsigned i = 0; i < 20; i++)
        put(w, DNS_ANSWER, API, DNS_A, 60, "\1\2\3\4", 4);
}

static void fill_nothing(struct dns_writer *w)
{
}

static void test_answers(void **state)
{
    static const struct answer_row rows[] = {
        {"two addresses", fill_two, true, 2, 20},
        {"an alias", fill_alias, true, 1, 7},
        {"a life over 2^31", fill_huge, true, 1, 0},
        {"none, for ten seconds", fill_none, true, 0, 10},
        {"many", fill_many, true, DNS_ANSWER_ADDRESSES, 60},
        {"nothing", fill_nothing, true, 0, 0},
    };
    struct dns_asked asked = {.id = 7, .type = DNS_A, .name_size = 15};
    memcpy(asked.name, "\3API\4shop\4test", 15);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t msg[1024];
        struct dns_writer w;
        struct dns_answer a;
        dns_writer_init(&w, msg, sizeof msg, 7, DNS_QR);
        dns_write_question(&w, (const uint8_t *)API, DNS_A, DNS_IN);
        rows[i].fill(&w);
        size_t len = dns_writer_finish(&w);
        print_message("%s\n", rows[i].name);
        assert_true(dns_answer_read(msg, len, &asked, &a));
        assert_int_equal(a.n, rows[i].n);
        assert_int_equal(a.ttl, rows[i].ttl);
        if (a.n)
            assert_memory_equal(a.addresses[0].bytes, "\1\2\3\4", 4);
        for (size_t cut = 0; cut < len; cut++)
            assert_false(dns_answer_read(msg, cut, &asked, &a));
        msg[1]++; /* another question's */
        assert_false(dns_answer_read(msg, len, &asked, &a));
        msg[1]--;
        msg[2] &= 0x7f; /* a question itself */
        assert_false(dns_answer_read(msg, len, &asked, &a));
        msg[2] |= 0x82;
        msg[3] |= DNS_REFUSED;
        msg[DNS_HEADER_SIZE + 1] = 'b'; /* asked with another name */
        assert_false(dns_answer_read(msg, len, &asked, &a));
        msg[DNS_HEADER_SIZE + 1] = 'A';
        assert_true(dns_answer_read(msg, len, &asked, &a));
        assert_int_equal(a.rcode, DNS_REFUSED);
        assert_true(a.truncated);
    }
}

static void test_type_names(void **state)
{
    char buf[16];
    uint16_t type;
    assert_string_equal(dns_type_name(DNS_CAA, buf), "CAA");
    assert_string_equal(dns_type_name(65280, buf), "TYPE65280");
    assert_true(dns_type_parse("aaaa", &type));
    assert_int_equal(type, DNS_AAAA);
    assert_true(dns_type_parse("TYPE64", &type));
    assert_int_equal(type, 64);
    assert_false(dns_type_parse("TYPE70000", &type));
    assert_false(dns_type_parse("NOPE", &type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_table),
        cmocka_unit_test(test_query_fields),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_longest),
        cmocka_unit_test(test_under),
        cmocka_unit_test(test_compressed_names),
        cmocka_unit_test(test_rdata),
        cmocka_unit_test(test_long_text_is_cut_into_strings),
        cmocka_unit_test(test_writer_compresses),
        cmocka_unit_test(test_writer_overflow),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_type_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
