/* SPDX-License-Identifier: Apache-2.0 */
#include "service/wan/priv.h"

#include <string.h>

static int compare_class(const struct wan_route *a, const struct wan_route *b)
{
    if (a->prefix.addr.family != b->prefix.addr.family)
        return a->prefix.addr.family < b->prefix.addr.family ? -1 : 1;
    return (int)b->prefix.bits - (int)a->prefix.bits;
}

static int compare(const void *x, const void *y)
{
    const struct wan_route *a = x, *b = y;
    int r = compare_class(a, b);
    if (r == 0)
        r = memcmp(a->prefix.addr.bytes, b->prefix.addr.bytes, sizeof a->prefix.addr.bytes);
    return r ? r : (int)a->endpoint - (int)b->endpoint;
}

void wan_table_add(struct wan_table *t, const struct ip_prefix *p, unsigned endpoint)
{
    struct wan_route *r = GROW(t->routes, t->n_routes, t->cap_routes);
    r->prefix = *p;
    r->endpoint = endpoint;
}

void wan_table_seal(struct wan_table *t)
{
    if (!t->n_routes)
        return;
    qsort(t->routes, t->n_routes, sizeof *t->routes, compare);
    t->n_groups = 0;
    for (size_t i = 0; i < t->n_routes; i++) {
        if (i == 0 || compare_class(&t->routes[i - 1], &t->routes[i]) != 0) {
            struct wan_group *g = GROW(t->groups, t->n_groups, t->cap_groups);
            g->family = t->routes[i].prefix.addr.family;
            g->bits = t->routes[i].prefix.bits;
            g->start = i;
        }
        t->groups[t->n_groups - 1].n++;
    }
}

static void mask(struct ip_addr *a, unsigned bits)
{
    for (unsigned i = 0; i < sizeof a->bytes; i++) {
        unsigned keep = bits > i * 8 ? MIN(bits - i * 8, 8u) : 0;
        a->bytes[i] &= (uint8_t)(0xff00u >> keep);
    }
}

/* First route of the group that is not below `a`. */
static size_t lower_bound(
    const struct wan_table *t, const struct wan_group *g, const struct ip_addr *a)
{
    size_t low = g->start, high = g->start + g->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(t->routes[mid].prefix.addr.bytes, a->bytes, sizeof a->bytes) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct wan_route *wan_table_find(
    const struct wan_table *t, const struct ip_addr *a, size_t *ret_n)
{
    for (size_t i = 0; i < t->n_groups; i++) {
        const struct wan_group *g = &t->groups[i];
        if (g->family != a->family)
            continue;
        struct ip_addr net = *a;
        mask(&net, g->bits);
        size_t at = lower_bound(t, g, &net), end = at;
        while (end < g->start + g->n && ip_eq(&t->routes[end].prefix.addr, &net))
            end++;
        if (end > at) {
            *ret_n = end - at;
            return &t->routes[at];
        }
    }
    *ret_n = 0;
    return NULL;
}

void wan_table_done(struct wan_table *t)
{
    free(t->routes);
    free(t->groups);
    *t = (struct wan_table){0};
}

bool wan_packet_addrs(
    const uint8_t *packet, size_t len, struct ip_addr *ret_src, struct ip_addr *ret_dst)
{
    *ret_src = *ret_dst = (struct ip_addr){0};
    if (len >= 20 && packet[0] >> 4 == 4) {
        ret_src->family = ret_dst->family = 4;
        memcpy(ret_src->bytes, packet + 12, 4);
        memcpy(ret_dst->bytes, packet + 16, 4);
        return true;
    }
    if (len >= 40 && packet[0] >> 4 == 6) {
        ret_src->family = ret_dst->family = 6;
        memcpy(ret_src->bytes, packet + 8, 16);
        memcpy(ret_dst->bytes, packet + 24, 16);
        return true;
    }
    return false;
}
