/* SPDX-License-Identifier: Apache-2.0 */
/* Names inside are lower case and relative: the labels in front of the domain, none for the domain
 * itself. */
#pragma once

#include "base/arena/arena.h"
#include "domain/zone/zone.h"

#define ZONE_NONE UINT32_MAX
#define ZONE_NS_TTL_S 3600u
#define ZONE_NEGATIVE_TTL_S 60u /* a name that appears is seen within a minute */
#define ZONE_SOA_REFRESH_S 3600u
#define ZONE_SOA_RETRY_S 600u
#define ZONE_SOA_EXPIRE_S 1209600u
#define ZONE_ADDR_RR_SIZE(aaaa)                                                                    \
    ((aaaa) ? 28u : 16u)  /* pointer, type, class, TTL, length, address */
#define ZONE_RR_TTL_AT 6u /* in a record whose owner is a pointer */

struct zone_block { /* what stands behind the question of a whole answer */
    const uint8_t *bytes;
    uint16_t size;
    uint16_t
        required; /* bytes of answer and authority; the rest is left out where it does not fit */
    uint16_t counts[3]; /* answer, authority, additional */
    uint8_t rcode;
};

struct zone_set {
    uint16_t type;
    struct zone_block block;
};

struct zone_node {
    const uint8_t *name;
    uint8_t size;
    uint32_t hash;
    uint32_t steered;  /* index of the steered name, or ZONE_NONE */
    uint32_t wildcard; /* node of "*" right below, or ZONE_NONE */
    uint32_t first_rr; /* while compiling: chain in zone_build.rrs */
    uint32_t n_sets;
    struct zone_set *sets;
    bool has_cname;
    struct zone_block other; /* with a CNAME: for the types that no set is for */
};

struct zone_list {
    const uint8_t *regions; /* in order of preference */
    size_t n;
};

struct zone_region {
    const char *name;
    struct zone_block block[2]; /* A, AAAA; TTLs are filled in by the answer */
    const struct ip_addr *addresses;
    size_t n_addresses;
};

struct zone_steered {
    const char *name;
    uint64_t regions;
};

struct zone {
    struct arena *arena;
    uint64_t revision;
    uint32_t ttl_s;
    const char *domain_text;
    uint8_t domain[DNS_NAME_MAX];
    size_t domain_size;

    struct zone_node *nodes; /* [0] is the domain itself */
    size_t n_nodes, cap_nodes;
    uint32_t *table; /* open addressing: node number + 1, 0 empty */
    uint32_t table_mask;

    struct zone_region *regions;
    size_t n_regions;
    struct zone_list *lists;
    size_t n_lists;
    struct zone_steered *names;
    size_t n_names;
    _Atomic uint32_t *choices; /* [name * n_lists + list] = TTL << 16 | region */
    struct geo_countries countries;
    struct zone_override *overrides;
    size_t n_overrides;

    struct zone_block soa;    /* authority of a negative answer; its pointers to the domain ... */
    uint16_t soa_pointers[3]; /* ... stand at these offsets and are filled in by the answer */
    struct zone_block any;    /* RFC 8482 */
};

struct zone_rr {
    uint32_t next; /* of the node, in order of declaration */
    uint16_t type;
    uint32_t ttl_s;
    const uint8_t *rdata;
    size_t size;
};

struct zone_build {
    struct zone *z;
    struct zone_rr *rrs;
    size_t n, cap;
    uint8_t *scratch; /* DNS_MESSAGE_MAX */
};

static inline uint32_t zone_hash_seed(void)
{
    return 2166136261u;
}
static inline uint32_t zone_hash_step(
    uint32_t h, uint8_t byte) /* FNV-1a, from the last byte to the first */
{
    return (h ^ byte) * 16777619u;
}

static inline const struct zone_node *zone_find(
    const struct zone *z, uint32_t hash, const uint8_t *name, size_t size)
{
    for (uint32_t at = hash ^ hash >> 15;; at++) {
        uint32_t i = z->table[at & z->table_mask];
        if (!i)
            return NULL;
        const struct zone_node *n = &z->nodes[i - 1];
        if (n->hash == hash && n->size == size && !memcmp(n->name, name, size))
            return n;
    }
}

/* node.c; names are full wire names, any case. ZONE_NONE: outside of the domain, or not there. */
uint32_t zone_node_find(const struct zone *z, const uint8_t *name, size_t size);
/* Makes it and the empty ones between it and the domain. */
MUST_CHECK int zone_node_make(
    struct zone *z, const uint8_t *name, size_t size, uint32_t *ret, struct err *e);

void zone_table_resize(struct zone *z, size_t size); /* a power of two */

/* compile.c */
MUST_CHECK int zone_rr_add(struct zone_build *b, uint32_t node, uint16_t type, uint32_t ttl_s,
    const uint8_t *rdata, size_t size, struct err *e);
MUST_CHECK int zone_compile(struct zone_build *b, struct err *e);
void zone_compile_region(struct zone *z, struct zone_region *r);

/* snapshot.c: the first region of the list that is in the set; without one, any of the set. */
unsigned zone_first_choice(const struct zone_list *list, uint64_t regions);
