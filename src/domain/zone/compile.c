/* SPDX-License-Identifier: Apache-2.0 */
/* Records to whole answers. A block is written as it will stand behind a question of the owner's
 * length, so its compression pointers are right for every query; a wildcard's owner has no fixed
 * length, so its blocks point to the question only. */
#include "domain/zone/priv.h"

#define CHAIN_MAX 8 /* CNAMEs followed inside the zone */

static struct zone_rr *rr_of(const struct zone_build *b, uint32_t i)
{
    return i == ZONE_NONE ? NULL : &b->rrs[i];
}

#define FOR_RRS(b, node, rr)                                                                       \
    for (struct zone_rr *rr = rr_of(b, (node)->first_rr); rr; rr = rr_of(b, rr->next))

static const struct zone_rr *find_rr(
    const struct zone_build *b, const struct zone_node *n, uint16_t type)
{
    FOR_RRS(b, n, rr)
    if (rr->type == type)
        return rr;
    return NULL;
}

static size_t full_name(const struct zone *z, const struct zone_node *n, uint8_t out[DNS_NAME_MAX])
{
    memcpy(out, n->name, n->size);
    memcpy(out + n->size, z->domain, z->domain_size);
    return n->size + z->domain_size;
}

static const char *name_text(
    const struct zone *z, const struct zone_node *n, char out[DNS_NAME_TEXT_MAX])
{
    uint8_t name[DNS_NAME_MAX];
    dns_name_format(name, full_name(z, n, name), out);
    return out;
}

int zone_rr_add(struct zone_build *b, uint32_t node, uint16_t type, uint32_t ttl_s,
    const uint8_t *rdata, size_t size, struct err *e)
{
    uint32_t last = ZONE_NONE;
    for (uint32_t i = b->z->nodes[node].first_rr; i != ZONE_NONE; last = i, i = b->rrs[i].next) {
        struct zone_rr *rr = &b->rrs[i];
        if (rr->type != type)
            continue;
        rr->ttl_s = ttl_s = MIN(rr->ttl_s, ttl_s); /* one TTL a set: RFC 2181 §5.2 */
        if (rr->size == size && !memcmp(rr->rdata, rdata, size))
            return 0; /* the same record twice is one */
    }
    if (b->n >= UINT32_MAX - 1)
        return err_set(e, ERR_LIMIT, "too many records");
    uint8_t *copy = arena_alloc(b->z->arena, size + 1);
    memcpy(copy, rdata, size);
    uint32_t at = (uint32_t)b->n;
    struct zone_rr *rr = GROW(b->rrs, b->n, b->cap);
    *rr = (struct zone_rr){
        .next = ZONE_NONE, .type = type, .ttl_s = ttl_s, .rdata = copy, .size = size};
    *(last == ZONE_NONE ? &b->z->nodes[node].first_rr : &b->rrs[last].next) = at;
    return 0;
}

/* --- blocks --- */

static size_t begin(struct zone_build *b, struct dns_writer *w, const struct zone_node *n)
{
    uint8_t name[DNS_NAME_MAX];
    size_t size = full_name(b->z, n, name);
    dns_writer_init(w, b->scratch, DNS_MESSAGE_MAX, 0, 0);
    dns_write_question(w, name, size, 0, 0);
    w->owners_only = n->size && n->name[0] == 1 && n->name[1] == '*';
    return w->len;
}

static void write_rr(struct zone_build *b, struct dns_writer *w, enum dns_section section,
    const struct zone_node *owner, const struct zone_rr *rr)
{
    uint8_t name[DNS_NAME_MAX];
    size_t size = full_name(b->z, owner, name);
    dns_write_rr(w, section, name, size, rr->type, rr->ttl_s, rr->rdata, rr->size);
}

static void write_set(struct zone_build *b, struct dns_writer *w, enum dns_section section,
    const struct zone_node *owner, uint16_t type)
{
    FOR_RRS(b, owner, rr)
    if (rr->type == type)
        write_rr(b, w, section, owner, rr);
}

/* `required`: length of the message up to the additional section. */
static int end(struct zone_build *b, struct dns_writer *w, size_t start, size_t required,
    struct zone_block *ret, struct err *e)
{
    if (!dns_writer_finish(w))
        return err_set(e, ERR_LIMIT, "the records of one name and type do not fit into a message");
    uint8_t *bytes = arena_alloc(b->z->arena, w->len - start + 1);
    memcpy(bytes, w->buf + start, w->len - start);
    *ret = (struct zone_block){.bytes = bytes,
        .size = (uint16_t)(w->len - start),
        .required = (uint16_t)(required - start),
        .counts = {w->counts[DNS_ANSWER], w->counts[DNS_AUTHORITY], w->counts[DNS_ADDITIONAL]}};
    return 0;
}

static struct zone_set *add_set(struct zone_node *n, uint16_t type)
{
    n->sets[n->n_sets].type = type;
    return &n->sets[n->n_sets++];
}

static bool has_set(const struct zone_node *n, uint16_t type)
{
    for (size_t i = 0; i < n->n_sets; i++)
        if (n->sets[i].type == type)
            return true;
    return false;
}

/* Addresses of the zone's own name servers go along with its NS records. */
static void write_glue(struct zone_build *b, struct dns_writer *w, const struct zone_node *n)
{
    FOR_RRS(b, n, rr)
    {
        uint32_t target =
            rr->type == DNS_NS ? zone_node_find(b->z, rr->rdata, rr->size) : ZONE_NONE;
        if (target == ZONE_NONE)
            continue;
        write_set(b, w, DNS_ADDITIONAL, &b->z->nodes[target], DNS_A);
        write_set(b, w, DNS_ADDITIONAL, &b->z->nodes[target], DNS_AAAA);
    }
}

static int compile_plain(struct zone_build *b, struct zone_node *n, struct err *e)
{
    FOR_RRS(b, n, rr)
    {
        if (has_set(n, rr->type))
            continue;
        struct dns_writer w;
        size_t start = begin(b, &w, n);
        write_set(b, &w, DNS_ANSWER, n, rr->type);
        size_t required = w.len;
        if (rr->type == DNS_NS)
            write_glue(b, &w, n);
        int r = end(b, &w, start, required, &add_set(n, rr->type)->block, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- CNAMEs --- */

struct chain {
    const struct zone_node *owners[CHAIN_MAX];
    size_t n;
    const struct zone_node
        *target; /* NULL: not in this zone, or not there (`missing`), or by a wildcard */
    bool missing;
};

/* A name that is not there itself: does a wildcard stand in for it? */
static bool under_wildcard(const struct zone *z, const uint8_t *name, size_t size)
{
    while (size > z->domain_size) {
        size_t step = (size_t)name[0] + 1;
        name += step;
        size -= step;
        uint32_t encloser = zone_node_find(z, name, size);
        if (encloser != ZONE_NONE)
            return z->nodes[encloser].wildcard != ZONE_NONE;
    }
    return false;
}

static int follow(struct zone_build *b, const struct zone_node *n, struct chain *ret, struct err *e)
{
    *ret = (struct chain){.n = 0};
    for (const struct zone_rr *rr; (rr = find_rr(b, n, DNS_CNAME));) {
        char text[DNS_NAME_TEXT_MAX];
        if (ret->n == CHAIN_MAX)
            return err_set(e, ERR_INVALID,
                "the CNAME of %s leads in a circle or over more than %d others",
                name_text(b->z, ret->owners[0], text), CHAIN_MAX);
        ret->owners[ret->n++] = n;
        if (!dns_name_under(rr->rdata, rr->size, b->z->domain, b->z->domain_size))
            return 0;
        uint32_t next = zone_node_find(b->z, rr->rdata, rr->size);
        if (next == ZONE_NONE) {
            ret->missing = !under_wildcard(b->z, rr->rdata, rr->size);
            return 0;
        }
        n = &b->z->nodes[next];
    }
    ret->target = n;
    return 0;
}

static size_t begin_chain(
    struct zone_build *b, struct dns_writer *w, const struct zone_node *n, const struct chain *c)
{
    size_t start = begin(b, w, n);
    for (size_t i = 0; i < c->n; i++)
        write_set(b, w, DNS_ANSWER, c->owners[i], DNS_CNAME);
    return start;
}

static int compile_chain(struct zone_build *b, struct zone_node *n, const struct chain *c,
    uint16_t type, bool negative, struct zone_block *ret, struct err *e)
{
    struct dns_writer w;
    size_t start = begin_chain(b, &w, n, c);
    if (type)
        write_set(b, &w, DNS_ANSWER, c->target, type);
    if (negative) {
        struct zone_rr soa = *find_rr(b, &b->z->nodes[0], DNS_SOA);
        soa.ttl_s = MIN(soa.ttl_s, ZONE_NEGATIVE_TTL_S);
        write_rr(b, &w, DNS_AUTHORITY, &b->z->nodes[0], &soa);
    }
    return end(b, &w, start, w.len, ret, e);
}

/* The CNAME and, inside the zone, what it leads to. A steered target is left to a second question:
 * its answer depends on the client, which a resolver must not cache under the CNAME's name (RFC
 * 7871 §7.2.1). */
static int compile_cname(struct zone_build *b, struct zone_node *n, struct err *e)
{
    struct chain c;
    int r = follow(b, n, &c, e);
    bool steered = c.target && c.target->steered != ZONE_NONE;
    if (r >= 0)
        r = compile_chain(b, n, &c, 0, c.missing || c.target, &n->other, e);
    if (r < 0)
        return r;
    n->has_cname = true;
    n->other.rcode = c.missing ? DNS_NXDOMAIN : DNS_NOERROR;
    static const uint16_t families[] = {DNS_A, DNS_AAAA};
    for (size_t i = 0; steered && i < ARRAY_SIZE(families) && r >= 0; i++)
        r = compile_chain(b, n, &c, 0, false, &add_set(n, families[i])->block, e);
    for (struct zone_rr *rr = c.target ? rr_of(b, c.target->first_rr) : NULL; rr && r >= 0;
         rr = rr_of(b, rr->next))
        if (!has_set(n, rr->type))
            r = compile_chain(b, n, &c, rr->type, false, &add_set(n, rr->type)->block, e);
    return r;
}

static size_t count_rrs(const struct zone_build *b, const struct zone_node *n)
{
    size_t count = 0;
    FOR_RRS(b, n, rr)
    count++;
    return count;
}

/* One CNAME alone, and no declared address where steering answers. */
static int check_node(const struct zone_build *b, const struct zone_node *n, struct err *e)
{
    char text[DNS_NAME_TEXT_MAX];
    bool cname = find_rr(b, n, DNS_CNAME), steered = n->steered != ZONE_NONE;
    if (cname && (steered || count_rrs(b, n) != 1))
        return err_set(e, ERR_INVALID, "%s has a CNAME and something else besides it",
            name_text(b->z, n, text));
    if (steered && (find_rr(b, n, DNS_A) || find_rr(b, n, DNS_AAAA)))
        return err_set(e, ERR_INVALID,
            "%s is the name of a route: its addresses cannot be declared as records too",
            name_text(b->z, n, text));
    return 0;
}

static int compile_node(struct zone_build *b, struct zone_node *n, struct err *e)
{
    int r = check_node(b, n, e);
    if (r < 0)
        return r;
    size_t sets = count_rrs(b, n);
    if (find_rr(b, n, DNS_CNAME)) { /* the longest chain's end may bring its types */
        struct chain c;
        r = follow(b, n, &c, e);
        if (r < 0)
            return r;
        sets += 2 + (c.target ? count_rrs(b, c.target) : 0);
    }
    n->sets = arena_alloc(b->z->arena, (sets + 1) * sizeof *n->sets);
    r = compile_plain(b, n, e);
    return r >= 0 && find_rr(b, n, DNS_CNAME) ? compile_cname(b, n, e) : r;
}

/* --- answers that are not a node's --- */

/* SOA with the domain as a pointer wherever it stands; the answer knows where its question ends. */
static void compile_soa(struct zone_build *b)
{
    struct zone *z = b->z;
    const struct zone_rr *rr = find_rr(b, &z->nodes[0], DNS_SOA);
    uint8_t *p = b->scratch;
    size_t at = 2;
    z->soa_pointers[0] = 0;
    dns_put16(p + at, DNS_SOA);
    dns_put16(p + at + 2, DNS_IN);
    dns_put32(p + at + 4, MIN(rr->ttl_s, ZONE_NEGATIVE_TTL_S));
    at += 10;
    size_t from = 0;
    for (unsigned i = 1; i <= 2; i++) { /* both names end with the domain: see zone_new() */
        size_t size = dns_name_size(rr->rdata + from, rr->size - from);
        memcpy(p + at, rr->rdata + from, size - z->domain_size);
        at += size - z->domain_size;
        z->soa_pointers[i] = (uint16_t)at;
        at += 2;
        from += size;
    }
    memcpy(p + at, rr->rdata + from, rr->size - from);
    at += rr->size - from;
    dns_put16(p + 10, (unsigned)(at - 12));
    uint8_t *bytes = arena_alloc(z->arena, at);
    memcpy(bytes, p, at);
    z->soa = (struct zone_block){
        .bytes = bytes, .size = (uint16_t)at, .required = (uint16_t)at, .counts = {0, 1, 0}};
}

static void compile_any(struct zone *z)
{
    static const uint8_t hinfo[] = {0xc0, 12, 0, DNS_HINFO, 0, DNS_IN, 0, 0, 14, 16, 0, 9, 7, 'R',
        'F', 'C', '8', '4', '8', '2', 0};
    z->any = (struct zone_block){
        .bytes = hinfo, .size = sizeof hinfo, .required = sizeof hinfo, .counts = {1, 0, 0}};
}

void zone_compile_region(struct zone *z, struct zone_region *r)
{
    for (unsigned aaaa = 0; aaaa < 2; aaaa++) {
        size_t rr_size = ZONE_ADDR_RR_SIZE(aaaa), n = 0;
        uint8_t *bytes = arena_alloc(z->arena, r->n_addresses * rr_size + 1);
        for (size_t i = 0; i < r->n_addresses; i++) {
            if (r->addresses[i].family != (aaaa ? 6 : 4))
                continue;
            uint8_t *p = bytes + n++ * rr_size;
            dns_put16(p, 0xc000 | DNS_HEADER_SIZE);
            dns_put16(p + 2, aaaa ? DNS_AAAA : DNS_A);
            dns_put16(p + 4, DNS_IN);
            dns_put16(p + 10, aaaa ? 16 : 4);
            memcpy(p + 12, r->addresses[i].bytes, aaaa ? 16 : 4);
        }
        uint16_t size = (uint16_t)(n * rr_size);
        r->block[aaaa] = (struct zone_block){
            .bytes = bytes, .size = size, .required = size, .counts = {(uint16_t)n, 0, 0}};
    }
}

int zone_compile(struct zone_build *b, struct err *e)
{
    compile_soa(b);
    compile_any(b->z);
    for (size_t i = 0; i < b->z->n_nodes; i++) {
        int r = compile_node(b, &b->z->nodes[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}
