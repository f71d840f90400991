/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/zone/priv.h"

static uint32_t hash_of(const uint8_t *name, size_t size)
{
    uint32_t h = zone_hash_seed();
    while (size--)
        h = zone_hash_step(h, name[size]);
    return h;
}

static void table_put(struct zone *z, uint32_t node)
{
    uint32_t hash = z->nodes[node].hash;
    uint32_t at = hash ^ hash >> 15;
    while (z->table[at & z->table_mask])
        at++;
    z->table[at & z->table_mask] = node + 1;
}

void zone_table_resize(struct zone *z, size_t size)
{
    z->table = arena_alloc(
        z->arena, size * sizeof *z->table); /* the old one is small and dies with the zone */
    z->table_mask = (uint32_t)size - 1;
    for (uint32_t i = 0; i < z->n_nodes; i++)
        table_put(z, i);
}

uint32_t zone_node_find(const struct zone *z, const uint8_t *name, size_t size)
{
    uint8_t lower[DNS_NAME_MAX];
    if (!dns_name_under(name, size, z->domain, z->domain_size))
        return ZONE_NONE;
    size_t relative = size - z->domain_size;
    dns_name_lower(lower, name, relative);
    const struct zone_node *n = zone_find(z, hash_of(lower, relative), lower, relative);
    return n ? (uint32_t)(n - z->nodes) : ZONE_NONE;
}

static uint32_t add(struct zone *z, const uint8_t *relative, size_t size)
{
    struct zone_node *n = GROW(z->nodes, z->n_nodes, z->cap_nodes);
    uint8_t *copy = arena_alloc(z->arena, size + 1);
    dns_name_lower(copy, relative, size);
    *n = (struct zone_node){.name = copy,
        .size = (uint8_t)size,
        .hash = hash_of(copy, size),
        .steered = ZONE_NONE,
        .wildcard = ZONE_NONE,
        .first_rr = ZONE_NONE};
    if (z->n_nodes * 2 > z->table_mask) /* at most half full */
        zone_table_resize(z, (size_t)(z->table_mask + 1) * 2);
    else
        table_put(z, (uint32_t)z->n_nodes - 1);
    return (uint32_t)z->n_nodes - 1;
}

int zone_node_make(struct zone *z, const uint8_t *name, size_t size, uint32_t *ret, struct err *e)
{
    if (!dns_name_under(name, size, z->domain, z->domain_size)) {
        char text[DNS_NAME_TEXT_MAX];
        dns_name_format(name, size, text);
        return err_set(e, ERR_INVALID, "%s does not lie in %s", text, z->domain_text);
    }
    uint32_t found = zone_node_find(z, name, size);
    if (found == ZONE_NONE) {
        if (z->n_nodes >= ZONE_NAMES_MAX)
            return err_set(e, ERR_LIMIT, "more than %d names", ZONE_NAMES_MAX);
        found = add(z, name, size - z->domain_size);
        uint32_t parent = 0;
        size_t step = size > z->domain_size ? (size_t)name[0] + 1 : 0;
        int r = step ? zone_node_make(z, name + step, size - step, &parent, e) : 0;
        if (r < 0)
            return r;
        if (step == 2 && name[1] == '*')
            z->nodes[parent].wildcard = found;
    }
    *ret = found;
    return 0;
}
