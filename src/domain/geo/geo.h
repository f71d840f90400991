/* SPDX-License-Identifier: Apache-2.0 */
/* Which list of regions an address is answered from: country prefixes of both families and the
 * overrides compiled into one binary tree whose leaves are list numbers. Countries that share a
 * list merge, so a few hundred thousand prefixes become a tree of some hundred kilobytes, and the
 * depth of the leaf is the exact scope for EDNS Client Subnet: every address of that prefix gets
 * the same list, no shorter prefix does.
 *
 * A built `struct geo` is immutable and may be read by any number of threads; lookup is a loop over
 * the bits, without allocation. The builder belongs to one thread. IPv4-mapped IPv6 addresses are
 * IPv4 everywhere. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define GEO_LISTS_MAX 4096
#define GEO_COUNTRIES (26 * 26)
/* A merged tree of real data has some 100,000 nodes; a database that needs more than this is
 * refused. */
#define GEO_NODES_MAX (8u * 1024 * 1024)

struct geo;
struct geo_builder;

/* List of each country by geo_country_index(); 0, the default list, for those that have none of
 * their own. */
struct geo_countries {
    uint16_t list[GEO_COUNTRIES];
};

/* "KR" -> [0, GEO_COUNTRIES), -1 when it is not two letters A-Z. */
int geo_country_index(const char *code);

enum geo_source { GEO_DATABASE, GEO_OVERRIDE };

/* Addresses that nothing covers get list 0. Copies `countries`. */
struct geo_builder *geo_builder_new(const struct geo_countries *countries);
void geo_builder_free(struct geo_builder *b); /* NULL is fine */
/* Entries come in any order: the more specific prefix wins, an override wins over the database
 * whatever its length, of two equal ones the later. A country that is not two letters counts as
 * none. ERR_LIMIT: too many. */
MUST_CHECK int geo_builder_add(struct geo_builder *b, enum geo_source source,
    const struct ip_prefix *prefix, const char *country, struct err *e);
/* Merges and compacts. The builder stays usable. */
MUST_CHECK int geo_builder_finish(const struct geo_builder *b, struct geo **ret, struct err *e);

void geo_free(struct geo *g); /* NULL is fine */
/* HOT PATH. The list, and in *ret_scope the bits of the widest prefix that holds `a` and has one
 * answer. An address of no family gets list 0 with scope 0. */
uint16_t geo_lookup(const struct geo *g, const struct ip_addr *a, uint8_t *ret_scope);
size_t geo_nodes(const struct geo *g);
size_t geo_bytes(const struct geo *g);
