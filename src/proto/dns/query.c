/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: parses a query. Strict: one question, nothing behind the last record, one OPT, options
 * that fit. */
#include "proto/dns/dns.h"

/* RFC 7871 §6, §7.2.1: family known, prefix within it, scope 0 in a query, exactly the bytes that
 * the prefix needs, its last byte's spare bits zero. Family 0 with nothing is what a client sends
 * that does not want to be located. */
static bool parse_ecs(const uint8_t *p, size_t len, struct dns_ecs *ret)
{
    if (len < 4)
        return false;
    unsigned family = dns_get16(p), source = p[2], scope = p[3];
    unsigned max = family == 1 ? 32 : family == 2 ? 128 : 0;
    size_t bytes = (source + 7) / 8;
    if (family > 2 || source > max || scope != 0 || len != 4 + bytes)
        return false;
    if (source % 8 && (p[3 + bytes] & (0xffu >> (source % 8))))
        return false;
    memset(ret, 0, sizeof *ret);
    ret->addr.family = family == 1 ? 4 : family == 2 ? 6 : 0;
    ret->source_bits = (uint8_t)source;
    memcpy(ret->addr.bytes, p + 4, bytes);
    return true;
}

static bool parse_options(const uint8_t *p, size_t len, struct dns_query *q)
{
    while (len) {
        if (len < 4)
            return false;
        unsigned code = dns_get16(p);
        size_t size = dns_get16(p + 2);
        if (size > len - 4)
            return false;
        if (code == DNS_OPTION_ECS) {
            if (q->has_ecs || !parse_ecs(p + 4, size, &q->ecs))
                return false;
            q->has_ecs = true;
        } else if (code == DNS_OPTION_NSID) {
            q->want_nsid = true;
        } else if (code == DNS_OPTION_KEEPALIVE) {
            if (size != 0) /* RFC 7828 §3.2.1: a client's carries no timeout */
                return false;
            q->want_keepalive = true;
        }
        p += 4 + size;
        len -= 4 + size;
    }
    return true;
}

static enum dns_parse fail(struct dns_query *q, unsigned rcode)
{
    q->rcode = rcode;
    return DNS_PARSE_ERROR;
}

/* The fixed part of an OPT record behind its name: type, class (size), TTL (rcode, version, flags),
 * length. */
static enum dns_parse parse_opt(const uint8_t *p, size_t rdata_size, struct dns_query *q)
{
    if (q->edns)
        return fail(q, DNS_FORMERR); /* RFC 6891 §6.1.1: one */
    q->edns = true;
    q->udp_size = MAX(dns_get16(p + 2), (uint16_t)DNS_UDP_MIN);
    q->dnssec_ok = p[6] & 0x80;
    if (p[5] != 0)
        return fail(q, DNS_BADVERS);
    if (!parse_options(p + 10, rdata_size, q))
        return fail(q, DNS_FORMERR);
    return DNS_PARSE_OK;
}

/* The additional section: an OPT and records that we do not act on (TSIG, SIG(0)). */
static enum dns_parse parse_additional(
    const uint8_t *msg, size_t len, size_t at, unsigned count, struct dns_query *q)
{
    for (; count; count--) {
        size_t name = at < len ? dns_name_size(msg + at, len - at) : 0;
        if (!name || len - at - name < 10)
            return fail(q, DNS_FORMERR);
        const uint8_t *p = msg + at + name;
        size_t rdata_size = dns_get16(p + 8);
        if (len - at - name - 10 < rdata_size)
            return fail(q, DNS_FORMERR);
        if (dns_get16(p) == DNS_OPT) {
            enum dns_parse r = name == 1 ? parse_opt(p, rdata_size, q) : fail(q, DNS_FORMERR);
            if (r != DNS_PARSE_OK)
                return r;
        }
        at += name + 10 + rdata_size;
    }
    return at == len ? DNS_PARSE_OK : fail(q, DNS_FORMERR);
}

enum dns_parse dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *q)
{
    memset(q, 0, sizeof *q);
    if (len < DNS_HEADER_SIZE)
        return DNS_PARSE_DROP;
    q->id = dns_get16(msg);
    q->flags = dns_get16(msg + 2);
    q->question_end = DNS_HEADER_SIZE;
    q->udp_size = DNS_UDP_MIN;
    if (q->flags & DNS_QR)
        return DNS_PARSE_DROP;
    if ((q->flags & DNS_OPCODE) != DNS_QUERY)
        return fail(q, DNS_NOTIMP);
    if (dns_get16(msg + 4) != 1 || len > DNS_MESSAGE_MAX)
        return fail(q, DNS_FORMERR);
    size_t size = dns_name_size(msg + DNS_HEADER_SIZE, len - DNS_HEADER_SIZE);
    if (!size || len - DNS_HEADER_SIZE - size < 4)
        return fail(q, DNS_FORMERR);
    const uint8_t *p = msg + DNS_HEADER_SIZE + size;
    q->name = msg + DNS_HEADER_SIZE;
    q->name_size = (uint8_t)size;
    q->type = dns_get16(p);
    q->class = dns_get16(p + 2);
    q->question_end = (uint16_t)(DNS_HEADER_SIZE + size + 4);
    /* IXFR carries its SOA in the authority section; it is refused all the same, and nothing else
     * has one. */
    if (dns_get16(msg + 6) || dns_get16(msg + 8))
        return fail(q, q->type == DNS_IXFR ? DNS_REFUSED : DNS_FORMERR);
    return parse_additional(msg, len, q->question_end, dns_get16(msg + 10), q);
}
