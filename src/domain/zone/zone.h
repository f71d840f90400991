/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* The platform's zone: what is answered to whom. Control computes a snapshot from the model (a pure
 * function, one for each revision) and, whenever steering decides otherwise, a health message; the
 * dns role compiles the snapshot into whole answers and keeps the decisions in a flat array of
 * atomics.
 *
 * Words: a *steered name* is a name of a route, answered by region; a *list* is an ordered list of
 * regions that some countries share, list 0 being everybody else's; a *choice* is the region that a
 * steered name answers to a list now.
 *
 * Snapshot (notify "zone", with the descriptor of the mmdb; unknown members are ignored):
 *   {"format": 1, "revision": 7, "domain": "reindeers.com", "ttl_s": 60,
 *    "regions": [{"name": "ap-hongkong", "addresses": ["203.0.113.20"]}, ...],
 *         in the order of the model: everything below says their index
 *    "lists": [[0, 1], [1, 0], [2, 1, 0]],             in order of preference; [0] is the default
 *    "countries": {"KR": 1, "JP": 1, "CN": 2},         index in "lists"; the others have list 0
 *    "overrides": [["198.51.100.0/28", "KR"], ...],    before the mmdb
 *    "names": [{"name": "reindeers.com", "regions": [0, 1, 2, 3]}, ...],
 *         steered, and the regions that run what the name needs
 *    "nameservers": [{"name": "ns1.reindeers.com", "region": 0}, ...],
 *    "records": [{"name": "reindeers.com", "type": "MX", "value": "10 mail.reindeers.com.",
 *                 "ttl_s": 60}, ...]}
 * Health (notify "health"):
 *   {"revision": 7, "seq": 12,
 *    "names": {"reindeers.com": {"ttl_s": 60, "choice": [0, 1, 2]}, ...}}
 *         one region index for each list
 *   It counts for the snapshot of the same revision only; before the first one a name answers the
 *   first region of the list that it runs in. Names that are left out keep what they have.
 *
 * Thread: a zone is immutable but for its choices, which any thread may read while one other
 * applies health. */
/* clang-format on */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"
#include "base/metrics/metrics.h"
#include "domain/geo/geo.h"
#include "proto/dns/dns.h"

#define ZONE_REGIONS_MAX 64  /* region sets are bit masks */
#define ZONE_NAMES_MAX 65535 /* nodes of the zone, those without records included */
#define ZONE_TTL_MAX_S 65535

struct model;
struct zone;

/* --- control's side --- */

/* Which lists there are follows from the model's countries: the default first, then each order that
 * is new, as declared. domain/steering counts them the same way. lab: the lab's client networks
 * count as overrides. */
json_t *zone_snapshot_from_model(const struct model *m, uint64_t revision, bool lab);

/* --- the dns role's side --- */

/* Compiles. ERR_INVALID names the member at fault: names outside the domain, a CNAME beside other
 * records or in a loop, a steered name that some list would get no address for, indices that point
 * nowhere, ... */
MUST_CHECK int zone_new(const json_t *snapshot, struct zone **ret, struct err *e);
void zone_free(struct zone *z); /* NULL is fine */
/* ERR_CONFLICT: for another revision; ERR_INVALID: does not fit; the choices are untouched then.
 * Names that the zone does not have (other domains' among the routes') are passed over, and a
 * choice of a region without an address leaves what is there: an answer is never empty. */
MUST_CHECK int zone_apply_health(struct zone *z, const json_t *health, struct err *e);

uint64_t zone_revision(const struct zone *z);
const char *zone_domain(const struct zone *z);
size_t zone_bytes(const struct zone *z);
size_t zone_n_lists(const struct zone *z);
size_t zone_n_names(const struct zone *z); /* steered ones */
const char *zone_name(const struct zone *z, size_t i);
size_t zone_n_regions(const struct zone *z);
const char *zone_region(const struct zone *z, size_t i);
bool zone_region_serves(
    const struct zone *z, size_t region, uint16_t type); /* has addresses of A or AAAA */
/* Regions of a list in order; *ret_n of them. */
const uint8_t *zone_list(const struct zone *z, size_t list, size_t *ret_n);
unsigned zone_choice(const struct zone *z, size_t name, size_t list, uint32_t *ret_ttl_s);
const struct geo_countries *zone_countries(const struct zone *z);
struct zone_override {
    struct ip_prefix prefix;
    char country[3];
};
const struct zone_override *zone_overrides(const struct zone *z, size_t *ret_n);

/* --- answering --- */

struct dns_state { /* what one answer is made from; swapped whole */
    struct zone *zone;
    struct geo *geo;
    char nsid[64]; /* this server, told to who asks (RFC 5001); "" for nothing */
};

enum dns_metric { /* rows of dns_metric_defs, counted by the thread that owns the set */
    DNS_M_UDP,
    DNS_M_TCP,
    DNS_M_DROPPED,
    DNS_M_NOERROR,
    DNS_M_NXDOMAIN,
    DNS_M_REFUSED,
    DNS_M_FORMERR,
    DNS_M_NOTIMP,
    DNS_M_BADVERS,
    DNS_M_SERVFAIL,
    DNS_M_TYPE_A,
    DNS_M_TYPE_AAAA,
    DNS_M_TYPE_NS,
    DNS_M_TYPE_SOA,
    DNS_M_TYPE_TXT,
    DNS_M_TYPE_OTHER,
    DNS_M_ECS,
    DNS_M_TRUNCATED,
    DNS_M_COUNT,
};
extern const struct metric_def dns_metric_defs[DNS_M_COUNT];

struct dns_ctx {                                /* one a thread; zeroed, then: */
    struct metric_set *metrics;                 /* of dns_metric_defs */
    _Atomic uint64_t regions[ZONE_REGIONS_MAX]; /* answers by region */
};

/* What TCP clients that ask are told (RFC 7828): how long an idle connection is kept. */
#define DNS_KEEPALIVE_MS 10000u

/* HOT PATH, pure: the answer to the query q[len] from `client` into out, returns its length, 0 for
 * none. `cap` is at least DNS_UDP_MIN; over UDP at most MIN(cap, what the client takes,
 * DNS_UDP_MAX) is used. s->zone may be NULL: then everything is SERVFAIL. Allocates nothing, takes
 * no lock, reads no clock, logs nothing. */
size_t dns_answer(const struct dns_state *s, struct dns_ctx *ctx, const struct ip_addr *client,
    const uint8_t *q, size_t len, uint8_t *out, size_t cap, bool tcp);
