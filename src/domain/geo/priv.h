/* SPDX-License-Identifier: Apache-2.0 */
/* A reference is a node's number or, with GEO_LEAF set, a leaf: depth in bits 16-23, list below. A
 * node is two references, for the next bit 0 and 1. */
#pragma once

#include "domain/geo/geo.h"

#define GEO_LEAF 0x80000000u

struct geo {
    uint32_t root[2]; /* IPv4, IPv6 */
    size_t n_nodes;
    uint32_t nodes[][2];
};

static inline uint32_t geo_leaf(unsigned depth, uint16_t list)
{
    return GEO_LEAF | depth << 16 | list;
}

/* Address as the tree sees it: v4-mapped is IPv4. Returns the bytes and sets family index and bits
 * added in front. */
static inline const uint8_t *geo_bytes_of(
    const struct ip_addr *a, unsigned *ret_root, unsigned *ret_skipped)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    *ret_skipped = 0;
    *ret_root = a->family == 4 ? 0 : 1;
    if (a->family == 6 && !memcmp(a->bytes, mapped, sizeof mapped)) {
        *ret_root = 0;
        *ret_skipped = 96;
        return a->bytes + 12;
    }
    return a->bytes;
}
