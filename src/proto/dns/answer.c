/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/dns/dns.h"

#include <string.h>

#define TTL_MAX 0x7fffffffu /* over it counts as zero: RFC 2181 section 8 */

struct reader {
    struct dns_answer *answer;
    const uint8_t *msg;
    size_t len;
    uint16_t type;
    uint8_t name[DNS_NAME_MAX]; /* asked for, then what an alias says */
    size_t name_size;
    bool any;
};

static void take_ttl(struct reader *r, uint32_t ttl)
{
    ttl = ttl > TTL_MAX ? 0 : ttl;
    if (!r->any || ttl < r->answer->ttl)
        r->answer->ttl = ttl;
    r->any = true;
}

static bool take_alias(struct reader *r, const struct dns_rr *rr)
{
    size_t at = rr->rdata_offset;
    take_ttl(r, rr->ttl);
    return dns_name_read(r->msg, r->len, &at, r->name, &r->name_size);
}

static bool take_record(struct reader *r, const struct dns_rr *rr)
{
    struct dns_answer *a = r->answer;
    size_t wanted = r->type == DNS_A ? 4 : 16;
    if (rr->class != DNS_IN || !dns_name_eq(rr->name, rr->name_size, r->name, r->name_size))
        return true;
    if (rr->type == DNS_CNAME)
        return take_alias(r, rr);
    if (rr->type != r->type || rr->rdata_size != wanted)
        return true;
    take_ttl(r, rr->ttl);
    if (a->n < DNS_ANSWER_ADDRESSES) {
        a->addresses[a->n].family = wanted == 4 ? 4 : 6;
        memcpy(a->addresses[a->n++].bytes, r->msg + rr->rdata_offset, wanted);
    }
    return true;
}

/* How long there is none: the lesser of the SOA's own life and its last field, RFC 2308 section 5. */
static void take_negative(struct reader *r, const struct dns_rr *rr)
{
    if (rr->type != DNS_SOA || rr->rdata_size < 4)
        return;
    uint32_t minimum = dns_get32(r->msg + rr->rdata_offset + rr->rdata_size - 4);
    take_ttl(r, MIN(rr->ttl, minimum));
}

bool dns_answer_read(
    const uint8_t *msg, size_t len, const struct dns_asked *asked, struct dns_answer *ret)
{
    struct dns_walk walk;
    struct dns_rr rr;
    enum dns_section section;
    struct reader r = {.answer = ret, .msg = msg, .len = len, .type = asked->type};
    *ret = (struct dns_answer){0};
    if (!dns_walk_init(&walk, msg, len) || dns_get16(msg) != asked->id
        || !(dns_get16(msg + 2) & DNS_QR) || dns_walk_next(&walk, &rr, &section) != 1
        || section != DNS_QUESTION || rr.type != asked->type
        || !dns_name_eq(rr.name, rr.name_size, asked->name, asked->name_size))
        return false;
    memcpy(r.name, asked->name, asked->name_size);
    r.name_size = asked->name_size;
    ret->rcode = dns_get16(msg + 2) & DNS_RCODE;
    ret->truncated = dns_get16(msg + 2) & DNS_TC;
    int more;
    while ((more = dns_walk_next(&walk, &rr, &section)) == 1) {
        if (section == DNS_ANSWER && !take_record(&r, &rr))
            return false;
        if (section == DNS_AUTHORITY && !ret->n)
            take_negative(&r, &rr);
    }
    return more == 0;
}
