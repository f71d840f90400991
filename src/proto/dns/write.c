/* SPDX-License-Identifier: Apache-2.0 */
/* Builds messages: used when answers are compiled and where answers are few, never once a query by
 * the dns role. */
#include "proto/dns/dns.h"

static void put_mem(struct dns_writer *w, const void *p, size_t len)
{
    if (w->overflow || w->cap - w->len < len) {
        w->overflow = true;
        return;
    }
    if (len)
        memcpy(w->buf + w->len, p, len);
    w->len += len;
}

static void put16(struct dns_writer *w, unsigned v)
{
    uint8_t b[2];
    dns_put16(b, v);
    put_mem(w, b, sizeof b);
}

static void put32(struct dns_writer *w, uint32_t v)
{
    uint8_t b[4];
    dns_put32(b, v);
    put_mem(w, b, sizeof b);
}

/* Does the possibly compressed name at buf[at] equal this suffix? Case must match too: a pointer
 * hands the first writer's spelling to the second name. */
static bool same_name(const struct dns_writer *w, size_t at, const uint8_t *name, size_t size)
{
    uint8_t there[DNS_NAME_MAX];
    size_t there_size;
    return dns_name_read(w->buf, w->len, &at, there, &there_size) && there_size == size
           && !memcmp(there, name, size);
}

static void put_name(struct dns_writer *w, const uint8_t *name, size_t size, bool compress)
{
    unsigned known = !compress ? 0 : w->owners_only ? MIN(w->n_names, 1u) : w->n_names;
    while (size > 1) {
        for (unsigned i = 0; i < known; i++)
            if (same_name(w, w->names[i], name, size)) {
                put16(w, 0xc000u | w->names[i]);
                return;
            }
        if (w->n_names < DNS_WRITER_NAMES && w->len < 0x4000)
            w->names[w->n_names++] = (uint16_t)w->len;
        size_t step = (size_t)name[0] + 1;
        put_mem(w, name, step);
        name += step;
        size -= step;
    }
    put_mem(w, "", 1);
}

void dns_writer_init(struct dns_writer *w, uint8_t *buf, size_t cap, uint16_t id, uint16_t flags)
{
    *w = (struct dns_writer){.buf = buf, .cap = cap};
    uint8_t header[DNS_HEADER_SIZE] = {0};
    dns_put16(header, id);
    dns_put16(header + 2, flags);
    put_mem(w, header, sizeof header);
}

void dns_write_question(
    struct dns_writer *w, const uint8_t *name, size_t size, uint16_t type, uint16_t class)
{
    put_name(w, name, size, true);
    put16(w, type);
    put16(w, class);
    w->counts[DNS_QUESTION]++;
}

/* The rdata of a type whose names may be compressed: `fixed` bytes, then `names` names, then the
 * rest. */
static void put_rdata(
    struct dns_writer *w, const uint8_t *p, size_t len, size_t fixed, unsigned names)
{
    put_mem(w, p, MIN(fixed, len));
    size_t at = MIN(fixed, len);
    for (; names; names--) {
        size_t size = dns_name_size(p + at, len - at);
        ASSERT(size); /* rdata comes from dns_rdata_parse() */
        put_name(w, p + at, size, !w->owners_only);
        at += size;
    }
    put_mem(w, p + at, len - at);
}

void dns_write_rr(struct dns_writer *w, enum dns_section section, const uint8_t *owner,
    size_t owner_size, uint16_t type, uint32_t ttl, const uint8_t *rdata, size_t rdata_size)
{
    put_name(w, owner, owner_size, true);
    put16(w, type);
    put16(w, DNS_IN);
    put32(w, ttl);
    size_t length_at = w->len;
    put16(w, 0);
    switch (type) {
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        put_rdata(w, rdata, rdata_size, 0, 1);
        break;
    case DNS_SOA:
        put_rdata(w, rdata, rdata_size, 0, 2);
        break;
    case DNS_MX:
        put_rdata(w, rdata, rdata_size, 2, 1);
        break;
    default:
        put_mem(w, rdata, rdata_size);
    }
    if (w->overflow || w->len - length_at - 2 > UINT16_MAX || w->counts[section] == UINT16_MAX) {
        w->overflow = true;
        return;
    }
    dns_put16(w->buf + length_at, (unsigned)(w->len - length_at - 2));
    w->counts[section]++;
}

void dns_write_opt(struct dns_writer *w, unsigned rcode, uint16_t udp_size, bool dnssec_ok,
    const uint8_t *options, size_t options_size)
{
    put_mem(w, "", 1);
    put16(w, DNS_OPT);
    put16(w, udp_size);
    put32(w, (uint32_t)(rcode >> 4) << 24 | (dnssec_ok ? 0x8000u : 0));
    put16(w, (unsigned)options_size);
    put_mem(w, options, options_size);
    w->counts[DNS_ADDITIONAL]++;
}

size_t dns_writer_finish(struct dns_writer *w)
{
    if (w->overflow)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        dns_put16(w->buf + 4 + 2 * i, w->counts[i]);
    return w->len;
}

size_t dns_ecs_write(const struct dns_ecs *ecs, uint8_t scope_bits, uint8_t *out)
{
    size_t bytes = (ecs->source_bits + 7u) / 8;
    dns_put16(out, DNS_OPTION_ECS);
    dns_put16(out + 2, (unsigned)(4 + bytes));
    dns_put16(out + 4, ecs->addr.family == 4 ? 1 : ecs->addr.family == 6 ? 2 : 0);
    out[6] = ecs->source_bits;
    out[7] = scope_bits;
    memcpy(out + 8, ecs->addr.bytes, bytes);
    return 8 + bytes;
}
