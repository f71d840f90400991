/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: a query in, an answer out. Finds the node, picks a block, copies it behind the
 * question. */
#include "domain/zone/priv.h"

#define EDNS_OPTIONS_MAX 128 /* subnet 24, NSID 4 + 63, keepalive 6 */

const struct metric_def dns_metric_defs[DNS_M_COUNT] = {
#define QUERIES(label)                                                                             \
    {                                                                                              \
        "mcp_dns_queries_total", "Queries by transport.", METRIC_COUNTER, label                    \
    }
#define RESPONSES(label)                                                                           \
    {                                                                                              \
        "mcp_dns_responses_total", "Responses by code.", METRIC_COUNTER, label                     \
    }
#define TYPES(label)                                                                               \
    {                                                                                              \
        "mcp_dns_query_types_total", "Well-formed queries by type.", METRIC_COUNTER, label         \
    }
    [DNS_M_UDP] = QUERIES("transport=\"udp\""),
    [DNS_M_TCP] = QUERIES("transport=\"tcp\""),
    [DNS_M_DROPPED] = {"mcp_dns_dropped_total", "Messages that are not queries, not answered.",
        METRIC_COUNTER},
    [DNS_M_NOERROR] = RESPONSES("rcode=\"NOERROR\""),
    [DNS_M_NXDOMAIN] = RESPONSES("rcode=\"NXDOMAIN\""),
    [DNS_M_REFUSED] = RESPONSES("rcode=\"REFUSED\""),
    [DNS_M_FORMERR] = RESPONSES("rcode=\"FORMERR\""),
    [DNS_M_NOTIMP] = RESPONSES("rcode=\"NOTIMP\""),
    [DNS_M_BADVERS] = RESPONSES("rcode=\"BADVERS\""),
    [DNS_M_SERVFAIL] = RESPONSES("rcode=\"SERVFAIL\""),
    [DNS_M_TYPE_A] = TYPES("type=\"A\""),
    [DNS_M_TYPE_AAAA] = TYPES("type=\"AAAA\""),
    [DNS_M_TYPE_NS] = TYPES("type=\"NS\""),
    [DNS_M_TYPE_SOA] = TYPES("type=\"SOA\""),
    [DNS_M_TYPE_TXT] = TYPES("type=\"TXT\""),
    [DNS_M_TYPE_OTHER] = TYPES("type=\"other\""),
    [DNS_M_ECS] = {"mcp_dns_client_subnet_total", "Queries with a client subnet option.",
        METRIC_COUNTER},
    [DNS_M_TRUNCATED] = {"mcp_dns_truncated_total", "Responses that did not fit.", METRIC_COUNTER},
};

struct reply {
    unsigned rcode;
    bool authoritative;
    const struct zone_block *block; /* NULL: nothing behind the question */
    bool negative;                  /* block is the SOA, with pointers to fill in */
    bool steered;                   /* block is a region's, with TTLs to fill in */
    bool aaaa;
    uint32_t ttl_s;
    uint8_t scope;
};

static enum dns_metric rcode_metric(unsigned rcode)
{
    switch (rcode) {
    case DNS_NOERROR:
        return DNS_M_NOERROR;
    case DNS_NXDOMAIN:
        return DNS_M_NXDOMAIN;
    case DNS_REFUSED:
        return DNS_M_REFUSED;
    case DNS_FORMERR:
        return DNS_M_FORMERR;
    case DNS_NOTIMP:
        return DNS_M_NOTIMP;
    case DNS_BADVERS:
        return DNS_M_BADVERS;
    default:
        return DNS_M_SERVFAIL;
    }
}

static enum dns_metric type_metric(uint16_t type)
{
    switch (type) {
    case DNS_A:
        return DNS_M_TYPE_A;
    case DNS_AAAA:
        return DNS_M_TYPE_AAAA;
    case DNS_NS:
        return DNS_M_TYPE_NS;
    case DNS_SOA:
        return DNS_M_TYPE_SOA;
    case DNS_TXT:
        return DNS_M_TYPE_TXT;
    default:
        return DNS_M_TYPE_OTHER;
    }
}

/* Where the labels of a name in front of the domain begin, and the hash of the name from there on:
 * all of them come out of one pass over the bytes, last to first. */
struct labels {
    uint8_t lower[DNS_NAME_MAX];
    size_t size; /* without the domain */
    unsigned n;
    uint8_t start[DNS_LABELS_MAX + 1];
    uint32_t hash[DNS_LABELS_MAX + 1];
};

static bool split(const struct zone *z, const uint8_t *name, size_t size, struct labels *l)
{
    if (size < z->domain_size)
        return false;
    dns_name_lower(l->lower, name, size);
    l->size = size - z->domain_size;
    if (memcmp(l->lower + l->size, z->domain, z->domain_size) != 0)
        return false;
    l->n = 0;
    size_t at = 0;
    for (; at < l->size; at += l->lower[at] + 1u)
        l->start[l->n++] = (uint8_t)at;
    if (at != l->size)
        return false; /* the domain's bytes, but not at a label */
    l->start[l->n] = (uint8_t)at;
    uint32_t h = l->hash[l->n] = zone_hash_seed();
    for (unsigned i = l->n; i-- > 0;) {
        while (at > l->start[i])
            h = zone_hash_step(h, l->lower[--at]);
        l->hash[i] = h;
    }
    return true;
}

static const struct zone_node *find_from(const struct zone *z, const struct labels *l, unsigned i)
{
    return zone_find(z, l->hash[i], l->lower + l->start[i], l->size - l->start[i]);
}

/* The name itself, or the wildcard below its closest encloser (RFC 4592 §3.3.1); NULL: it does not
 * exist. */
static const struct zone_node *match(const struct zone *z, const struct labels *l)
{
    const struct zone_node *n = find_from(z, l, 0);
    for (unsigned i = 1; !n && i <= l->n; i++) {
        const struct zone_node *encloser = find_from(z, l, i);
        if (!encloser)
            continue;
        return encloser->wildcard == ZONE_NONE ? NULL : &z->nodes[encloser->wildcard];
    }
    return n;
}

static void no_data(const struct zone *z, struct reply *r, unsigned rcode)
{
    r->rcode = rcode;
    r->block = &z->soa;
    r->negative = true;
}

static void steer(const struct dns_state *s, struct dns_ctx *ctx, const struct ip_addr *client,
    const struct dns_query *q, const struct zone_node *n, struct reply *r)
{
    const struct zone *z = s->zone;
    /* A prefix of 0 bits asks not to be located by it: RFC 7871 §7.1.2. */
    bool by_subnet = q->has_ecs && q->ecs.source_bits;
    uint8_t scope = 0;
    size_t list = s->geo ? geo_lookup(s->geo, by_subnet ? &q->ecs.addr : client, &scope) : 0;
    if (list >= z->n_lists)
        list = 0;
    r->scope = by_subnet ? scope : 0;
    unsigned region = zone_choice(z, n->steered, list, &r->ttl_s);
    r->aaaa = q->type == DNS_AAAA;
    const struct zone_block *block = &z->regions[region].block[r->aaaa];
    if (!block->size) {
        no_data(z, r, DNS_NOERROR);
        return;
    }
    r->block = block;
    r->steered = true;
    metric_cell_add(&ctx->regions[region], 1);
}

static const struct zone_block *find_set(const struct zone_node *n, uint16_t type)
{
    for (size_t i = 0; i < n->n_sets; i++)
        if (n->sets[i].type == type)
            return &n->sets[i].block;
    return NULL;
}

static void select_block(const struct dns_state *s, struct dns_ctx *ctx,
    const struct ip_addr *client, const struct dns_query *q, const struct zone_node *n,
    struct reply *r)
{
    bool steered = n->steered != ZONE_NONE;
    if (steered && (q->type == DNS_A || q->type == DNS_AAAA)) {
        steer(s, ctx, client, q, n, r);
        return;
    }
    uint16_t type = q->type == DNS_ANY && n->has_cname ? (uint16_t)DNS_CNAME : q->type;
    r->block = find_set(n, type);
    if (r->block)
        return;
    if (n->has_cname) {
        r->block = &n->other;
        r->rcode = n->other.rcode;
    } else if (type == DNS_ANY && (n->n_sets || steered)) {
        r->block = &s->zone->any;
    } else {
        no_data(s->zone, r, DNS_NOERROR);
    }
}

static void resolve(const struct dns_state *s, struct dns_ctx *ctx, const struct ip_addr *client,
    const struct dns_query *q, struct reply *r)
{
    struct labels labels;
    metric_add(ctx->metrics, type_metric(q->type), 1);
    if (!s->zone) {
        r->rcode = DNS_SERVFAIL;
    } else if (q->class != DNS_IN || q->type == DNS_AXFR || q->type == DNS_IXFR) {
        r->rcode = DNS_REFUSED; /* CHAOS too: version and host are nobody's business */
    } else if (q->type == DNS_MAILB || q->type == DNS_MAILA) {
        r->rcode = DNS_NOTIMP;
    } else if (q->type == DNS_OPT || q->type == DNS_TKEY || q->type == DNS_TSIG) {
        r->rcode = DNS_FORMERR; /* not types of a question */
    } else if (!split(s->zone, q->name, q->name_size, &labels)) {
        r->rcode = DNS_REFUSED;
    } else {
        r->authoritative = true;
        const struct zone_node *n = match(s->zone, &labels);
        if (n)
            select_block(s, ctx, client, q, n, r);
        else
            no_data(s->zone, r, DNS_NXDOMAIN);
    }
}

/* OPT with its options at out; returns its size. */
static size_t write_opt(const struct dns_state *s, const struct dns_query *q, const struct reply *r,
    bool tcp, uint8_t *out)
{
    uint8_t *p = out + 11;
    out[0] = 0;
    dns_put16(out + 1, DNS_OPT);
    dns_put16(out + 3, DNS_UDP_MAX);
    dns_put32(
        out + 5, (uint32_t)(r->rcode >> 4) << 24 | (q->dnssec_ok ? 0x8000u : 0)); /* RFC 3225 §3 */
    if (q->has_ecs)
        p += dns_ecs_write(&q->ecs, r->scope, p);
    size_t nsid = q->want_nsid ? strnlen(s->nsid, sizeof s->nsid) : 0;
    if (nsid) {
        dns_put16(p, DNS_OPTION_NSID);
        dns_put16(p + 2, (unsigned)nsid);
        memcpy(p + 4, s->nsid, nsid);
        p += 4 + nsid;
    }
    if (tcp && q->want_keepalive) {
        dns_put16(p, DNS_OPTION_KEEPALIVE);
        dns_put16(p + 2, 2);
        dns_put16(p + 4, DNS_KEEPALIVE_MS / 100);
        p += 6;
    }
    dns_put16(out + 9, (unsigned)(p - out - 11));
    return (size_t)(p - out);
}

/* The block behind the question, as much as fits: all, or without its additional records, or
 * nothing and TC. */
static size_t write_block(const struct zone *z, const struct dns_query *q, const struct reply *r,
    uint8_t *out, size_t room, uint16_t counts[3], bool *ret_truncated)
{
    const struct zone_block *b = r->block;
    if (b->required > room) {
        *ret_truncated = true;
        return 0;
    }
    bool whole = b->size <= room;
    size_t size = whole ? b->size : b->required;
    memcpy(out, b->bytes, size);
    counts[0] = b->counts[0];
    counts[1] = b->counts[1];
    counts[2] = whole ? b->counts[2] : 0;
    if (r->negative) {
        unsigned domain_at = DNS_HEADER_SIZE + q->name_size - (unsigned)z->domain_size;
        for (unsigned i = 0; i < ARRAY_SIZE(z->soa_pointers); i++)
            dns_put16(out + z->soa_pointers[i], 0xc000u | domain_at);
    } else if (r->steered) {
        for (size_t at = 0; at < size; at += ZONE_ADDR_RR_SIZE(r->aaaa))
            dns_put32(out + at + ZONE_RR_TTL_AT, r->ttl_s);
    }
    return size;
}

size_t dns_answer(const struct dns_state *s, struct dns_ctx *ctx, const struct ip_addr *client,
    const uint8_t *q, size_t len, uint8_t *out, size_t cap, bool tcp)
{
    struct dns_query query;
    struct reply r = {.rcode = DNS_NOERROR};
    uint8_t opt[11 + EDNS_OPTIONS_MAX];
    uint16_t counts[3] = {0};
    bool truncated = false;

    metric_add(ctx->metrics, tcp ? DNS_M_TCP : DNS_M_UDP, 1);
    enum dns_parse parsed = dns_query_parse(q, len, &query);
    if (parsed == DNS_PARSE_DROP) {
        metric_add(ctx->metrics, DNS_M_DROPPED, 1);
        return 0;
    }
    if (query.has_ecs)
        metric_add(ctx->metrics, DNS_M_ECS, 1);
    if (parsed == DNS_PARSE_ERROR)
        r.rcode = query.rcode;
    else
        resolve(s, ctx, client, &query, &r);

    size_t limit = tcp ? MIN(cap, (size_t)DNS_MESSAGE_MAX)
                       : MIN(cap, (size_t)MIN(query.udp_size, DNS_UDP_MAX));
    size_t opt_size = query.edns ? write_opt(s, &query, &r, tcp, opt) : 0;
    size_t at = query.question_end;
    memcpy(out, q, at);
    if (r.block)
        at += write_block(s->zone, &query, &r, out + at, limit - at - opt_size, counts, &truncated);
    memcpy(out + at, opt, opt_size);
    at += opt_size;

    dns_put16(out + 2,
        (unsigned)(DNS_QR | (query.flags & (DNS_OPCODE | DNS_RD)) | (r.authoritative ? DNS_AA : 0)
                   | (truncated ? DNS_TC : 0) | (r.rcode & DNS_RCODE)));
    dns_put16(out + 4, query.name != NULL);
    dns_put16(out + 6, counts[0]);
    dns_put16(out + 8, counts[1]);
    dns_put16(out + 10, counts[2] + query.edns);
    metric_add(ctx->metrics, rcode_metric(r.rcode), 1);
    if (truncated)
        metric_add(ctx->metrics, DNS_M_TRUNCATED, 1);
    return at;
}
