/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a query, as a peer's message to walk, as a name, as a record's value; what parses is
 * written again and must parse to the same. */
#include "base/str/str.h"
#include "proto/dns/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void query(const uint8_t *data, size_t size)
{
    struct dns_query q, again;
    uint8_t buf[1024], ecs[32];
    if (dns_query_parse(data, size, &q) != DNS_PARSE_OK)
        return;
    struct dns_writer w;
    dns_writer_init(&w, buf, sizeof buf, q.id, 0);
    dns_write_question(&w, q.name, q.name_size, q.type, q.class);
    if (q.edns)
        dns_write_opt(
            &w, 0, q.udp_size, q.dnssec_ok, ecs, q.has_ecs ? dns_ecs_write(&q.ecs, 0, ecs) : 0);
    size_t len = dns_writer_finish(&w);
    ASSERT(len && dns_query_parse(buf, len, &again) == DNS_PARSE_OK);
    ASSERT(again.type == q.type && again.has_ecs == q.has_ecs && again.edns == q.edns);
    ASSERT(!q.has_ecs
           || (ip_eq(&q.ecs.addr, &again.ecs.addr) && q.ecs.source_bits == again.ecs.source_bits));
    ASSERT(dns_name_eq(q.name, q.name_size, again.name, again.name_size));
}

static void walk(const uint8_t *data, size_t size)
{
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    if (!dns_walk_init(&w, data, size))
        return;
    while (dns_walk_next(&w, &rr, &section) > 0) {
        char text[DNS_NAME_TEXT_MAX], value[512];
        uint8_t name[DNS_NAME_MAX];
        size_t name_size;
        dns_name_format(rr.name, rr.name_size, text);
        ASSERT(dns_name_parse(text, name, &name_size));
        ASSERT(name_size == rr.name_size && !memcmp(name, rr.name, name_size));
        if (section != DNS_QUESTION)
            dns_rdata_format(
                rr.type, data, size, rr.rdata_offset, rr.rdata_size, value, sizeof value);
    }
}

/* Whatever it asks, it is the answer to that. */
static void answer(const uint8_t *data, size_t size)
{
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    struct dns_asked asked;
    struct dns_answer a;
    if (!dns_walk_init(&w, data, size) || dns_walk_next(&w, &rr, &section) != 1)
        return;
    asked = (struct dns_asked){.id = dns_get16(data), .type = rr.type, .name_size = rr.name_size};
    memcpy(asked.name, rr.name, rr.name_size);
    if (!dns_answer_read(data, size, &asked, &a))
        return;
    ASSERT(a.n <= DNS_ANSWER_ADDRESSES && a.ttl <= INT32_MAX);
}

static void value(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {
        DNS_A, DNS_AAAA, DNS_NS, DNS_MX, DNS_SRV, DNS_SOA, DNS_TXT, DNS_CAA};
    static const uint8_t origin[] = "\7example";
    _cleanup_str_ struct str text = STR_INIT;
    uint8_t out[2048];
    char formatted[8192];
    size_t len;
    struct err e = {0};
    str_add_mem(&text, data, size);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (dns_rdata_parse(
                types[i], str_cstr(&text), origin, sizeof origin, out, sizeof out, &len, &e)
            >= 0)
            dns_rdata_format(types[i], out, len, 0, len, formatted, sizeof formatted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    query(data, size);
    walk(data, size);
    answer(data, size);
    value(data, size);
    return 0;
}
