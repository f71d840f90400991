/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: once a query for a steered name. */
#include "domain/geo/priv.h"

uint16_t geo_lookup(const struct geo *g, const struct ip_addr *a, uint8_t *ret_scope)
{
    if (!a->family) {
        *ret_scope = 0;
        return 0;
    }
    unsigned root, skipped;
    const uint8_t *p = geo_bytes_of(a, &root, &skipped);
    uint32_t ref = g->root[root];
    for (unsigned bit = 0; !(ref & GEO_LEAF); bit++)
        ref = g->nodes[ref][(p[bit / 8] >> (7 - bit % 8)) & 1];
    *ret_scope = (uint8_t)((ref >> 16 & 0xff) + skipped);
    return (uint16_t)ref;
}

size_t geo_nodes(const struct geo *g)
{
    return g->n_nodes;
}

size_t geo_bytes(const struct geo *g)
{
    return sizeof *g + g->n_nodes * sizeof g->nodes[0];
}
