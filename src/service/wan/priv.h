/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the switch: the address table (table.c), the delay queue (queue.c), who may talk to
 * whom and how (config.c). */
#pragma once

#include "service/wan/wan.h"

#include "base/ip/ip.h"
#include "base/rnd/rnd.h"

/* ---- delay queue: a binary heap of packets by due time, packets in slots of one mapping ---- */

struct wan_queue;

struct wan_queue *wan_queue_new(void);
void wan_queue_free(struct wan_queue *q);
/* False when the queue is full. */
bool wan_queue_push(
    struct wan_queue *q, uint64_t due_ns, unsigned endpoint, const void *packet, size_t len);
uint64_t wan_queue_due(const struct wan_queue *q); /* WAN_NEVER when empty */
/* The first packet; valid until the next push. The queue must not be empty. */
const void *wan_queue_pop(struct wan_queue *q, unsigned *ret_endpoint, size_t *ret_len);
size_t wan_queue_len(const struct wan_queue *q);
size_t wan_queue_peak(const struct wan_queue *q);

/* ---- address table: longest prefix match ---- */

struct wan_route {
    struct ip_prefix prefix;
    unsigned endpoint;
};

struct wan_group { /* routes of one family and length, sorted by address */
    uint8_t family, bits;
    size_t start, n;
};

struct wan_table {
    struct wan_route *
        routes; /* IPv4 before IPv6, then longest first, then by address; equal ones side by side */
    size_t n_routes, cap_routes;
    struct wan_group *groups;
    size_t n_groups, cap_groups;
};

void wan_table_add(struct wan_table *t, const struct ip_prefix *p, unsigned endpoint);
void wan_table_seal(struct wan_table *t); /* after the last add, before the first find */
/* The routes that match best, *ret_n of them; NULL and 0 when none does. */
const struct wan_route *wan_table_find(
    const struct wan_table *t, const struct ip_addr *a, size_t *ret_n);
void wan_table_done(struct wan_table *t);
/* Source and destination of an IP packet; false when it is none. */
bool wan_packet_addrs(
    const uint8_t *packet, size_t len, struct ip_addr *ret_src, struct ip_addr *ret_dst);

/* ---- configuration ---- */

struct wan_shaper {
    uint64_t rate_bps; /* > 0 */
    uint64_t busy_until_ns;
};

struct wan_pair { /* one direction between two endpoints */
    bool cut;
    uint64_t delay_ns;
    double loss;
    int shaper; /* index into wan_config.shapers, or -1; a region's links share one */
    struct rnd rnd;
};

struct wan_endpoint {
    char *name;
    char *region;
};

struct wan_config {
    struct wan_endpoint *endpoints;
    size_t n_endpoints;
    struct wan_table table;
    struct wan_pair *pairs; /* [from * n_endpoints + to] */
    struct wan_shaper *shapers;
    size_t n_shapers;
};

MUST_CHECK int wan_config_parse(const json_t *j, struct wan_config *ret, struct err *e);
void wan_config_done(struct wan_config *c);
int wan_config_endpoint(const struct wan_config *c, const char *name);
