/* SPDX-License-Identifier: Apache-2.0 */
/* What a zone holds, and the choices that health messages set. */
#include "domain/zone/priv.h"

static uint32_t steered_index(const struct zone *z, const char *text)
{
    uint8_t name[DNS_NAME_MAX];
    size_t size;
    uint32_t node = dns_name_parse(text, name, &size) ? zone_node_find(z, name, size) : ZONE_NONE;
    return node == ZONE_NONE ? ZONE_NONE : z->nodes[node].steered;
}

/* One name's part: checked only, or stored too. */
static int apply_name(struct zone *z, const char *text, const json_t *j, bool store, struct err *e)
{
    int64_t ttl;
    json_t *choice;
    uint32_t name = steered_index(z, text);
    int r = json_get_int(j, "ttl_s", 0, ZONE_TTL_MAX_S, &ttl, e);
    if (r >= 0)
        r = json_get_array(j, "choice", &choice, e);
    if (r < 0)
        return err_wrap(e, "health of %s", text);
    if (name == ZONE_NONE)
        return 0;
    if (json_array_size(choice) != z->n_lists)
        return err_set(e, ERR_INVALID, "health of %s: %zu choices for %zu lists", text,
            json_array_size(choice), z->n_lists);
    for (size_t list = 0; list < z->n_lists; list++) {
        const json_t *v = json_array_get(choice, list);
        json_int_t region = json_integer_value(v);
        if (!json_is_integer(v) || region < 0 || (size_t)region >= z->n_regions)
            return err_set(e, ERR_INVALID, "health of %s: a choice is no region", text);
        if (store && z->regions[region].n_addresses)
            atomic_store_explicit(&z->choices[name * z->n_lists + list],
                (uint32_t)ttl << 16 | (uint32_t)region, memory_order_relaxed);
    }
    return 0;
}

int zone_apply_health(struct zone *z, const json_t *health, struct err *e)
{
    int64_t revision;
    json_t *names, *v;
    const char *text;
    int r = json_get_int(health, "revision", 0, INT64_MAX, &revision, e);
    if (r >= 0)
        r = json_get_obj(health, "names", &names, e);
    if (r < 0)
        return r;
    if ((uint64_t)revision != z->revision)
        return err_set(e, ERR_CONFLICT, "health is of revision %lld, the zone of %llu",
            (long long)revision, (unsigned long long)z->revision);
    for (int store = 0; store < 2 && r >= 0; store++)
        json_object_foreach (names, text, v) {
            r = apply_name(z, text, v, store, e);
            if (r < 0)
                break;
        }
    return r;
}

uint64_t zone_revision(const struct zone *z)
{
    return z->revision;
}

const char *zone_domain(const struct zone *z)
{
    return z->domain_text;
}

size_t zone_bytes(const struct zone *z)
{
    return arena_bytes(z->arena) + z->cap_nodes * sizeof *z->nodes;
}

size_t zone_n_lists(const struct zone *z)
{
    return z->n_lists;
}

size_t zone_n_names(const struct zone *z)
{
    return z->n_names;
}

const char *zone_name(const struct zone *z, size_t i)
{
    return z->names[i].name;
}

size_t zone_n_regions(const struct zone *z)
{
    return z->n_regions;
}

const char *zone_region(const struct zone *z, size_t i)
{
    return z->regions[i].name;
}

bool zone_region_serves(const struct zone *z, size_t region, uint16_t type)
{
    return (type == DNS_A || type == DNS_AAAA) && z->regions[region].block[type == DNS_AAAA].size;
}

const uint8_t *zone_list(const struct zone *z, size_t list, size_t *ret_n)
{
    *ret_n = z->lists[list].n;
    return z->lists[list].regions;
}

unsigned zone_choice(const struct zone *z, size_t name, size_t list, uint32_t *ret_ttl_s)
{
    uint32_t v = atomic_load_explicit(&z->choices[name * z->n_lists + list], memory_order_relaxed);
    *ret_ttl_s = v >> 16;
    return v & 0xffff;
}

const struct geo_countries *zone_countries(const struct zone *z)
{
    return &z->countries;
}

const struct zone_override *zone_overrides(const struct zone *z, size_t *ret_n)
{
    *ret_n = z->n_overrides;
    return z->overrides;
}
