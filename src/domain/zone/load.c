/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshot to zone: checks every member, then compiles. */
#include "domain/zone/priv.h"

#define RECORDS_MAX 20000
#define OVERRIDES_MAX 100000
#define ADDRESSES_MAX 64 /* of a region: a full answer stays well below DNS_UDP_MAX with a few */

static int invalid(struct err *e, const char *member, const char *what)
{
    return err_set(e, ERR_INVALID, "%s: %s", member, what);
}

static int get_array(const json_t *obj, const char *key, size_t max, json_t **ret, struct err *e)
{
    int r = json_get_array(obj, key, ret, e);
    if (r >= 0 && json_array_size(*ret) > max)
        return err_set(e, ERR_LIMIT, "%s: more than %zu entries", key, max);
    return r;
}

static int get_name(const json_t *obj, const char *key, uint8_t out[DNS_NAME_MAX], size_t *ret_size,
    const char **ret_text, struct err *e)
{
    int r = json_get_str(obj, key, ret_text, e);
    if (r >= 0 && !dns_name_parse(*ret_text, out, ret_size))
        return err_set(e, ERR_INVALID, "%s: '%s' is not a domain name", key, *ret_text);
    return r;
}

static int load_domain(struct zone *z, const json_t *s, struct err *e)
{
    const char *text;
    int64_t format, revision, ttl;
    uint8_t name[DNS_NAME_MAX];
    uint32_t apex;
    int r = json_get_int(s, "format", 1, 1, &format, e);
    if (r >= 0)
        r = json_get_int(s, "revision", 0, INT64_MAX, &revision, e);
    if (r >= 0)
        r = json_get_int(s, "ttl_s", 1, ZONE_TTL_MAX_S, &ttl, e);
    if (r >= 0)
        r = get_name(s, "domain", name, &z->domain_size, &text, e);
    if (r < 0)
        return r;
    z->revision = (uint64_t)revision;
    z->ttl_s = (uint32_t)ttl;
    z->domain_text = arena_strdup(z->arena, text);
    dns_name_lower(z->domain, name, z->domain_size);
    return zone_node_make(z, z->domain, z->domain_size, &apex, e);
}

static int load_region(struct zone *z, const json_t *j, struct zone_region *region, struct err *e)
{
    const char *name;
    json_t *addresses;
    int r = json_get_str(j, "name", &name, e);
    if (r >= 0)
        r = get_array(j, "addresses", ADDRESSES_MAX, &addresses, e);
    if (r < 0)
        return r;
    region->name = arena_strdup(z->arena, name);
    region->n_addresses = json_array_size(addresses);
    struct ip_addr *v = arena_alloc(z->arena, (region->n_addresses + 1) * sizeof *v);
    for (size_t i = 0; i < region->n_addresses; i++) {
        const char *text = json_string_value(json_array_get(addresses, i));
        if (!text || !ip_parse(text, &v[i]))
            return err_set(
                e, ERR_INVALID, "regions: %s: '%s' is not an address", name, text ? text : "");
    }
    region->addresses = v;
    zone_compile_region(z, region);
    return 0;
}

static int load_regions(struct zone *z, const json_t *s, struct err *e)
{
    json_t *regions;
    int r = get_array(s, "regions", ZONE_REGIONS_MAX, &regions, e);
    if (r < 0)
        return r;
    z->n_regions = json_array_size(regions);
    z->regions = arena_alloc(z->arena, (z->n_regions + 1) * sizeof *z->regions);
    for (size_t i = 0; i < z->n_regions && r >= 0; i++)
        r = load_region(z, json_array_get(regions, i), &z->regions[i], e);
    return r;
}

/* An array of region indices. */
static int load_indices(const struct zone *z, const json_t *j, uint8_t *out, size_t *ret_n,
    const char *member, struct err *e)
{
    if (!json_is_array(j) || json_array_size(j) > z->n_regions)
        return invalid(e, member, "expected a list of regions");
    *ret_n = json_array_size(j);
    for (size_t i = 0; i < *ret_n; i++) {
        const json_t *v = json_array_get(j, i);
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 0 || (size_t)n >= z->n_regions)
            return invalid(e, member, "a region that does not exist");
        out[i] = (uint8_t)n;
    }
    return 0;
}

static int load_lists(struct zone *z, const json_t *s, struct err *e)
{
    json_t *lists;
    int r = get_array(s, "lists", GEO_LISTS_MAX, &lists, e);
    if (r < 0)
        return r;
    z->n_lists = json_array_size(lists);
    if (!z->n_lists)
        return invalid(e, "lists", "the default list is missing");
    z->lists = arena_alloc(z->arena, z->n_lists * sizeof *z->lists);
    for (size_t i = 0; i < z->n_lists; i++) {
        uint8_t *regions = arena_alloc(z->arena, z->n_regions + 1);
        r = load_indices(z, json_array_get(lists, i), regions, &z->lists[i].n, "lists", e);
        if (r < 0)
            return r;
        if (!z->lists[i].n)
            return invalid(e, "lists", "a list without regions");
        z->lists[i].regions = regions;
    }
    return 0;
}

static int load_countries(struct zone *z, const json_t *s, struct err *e)
{
    json_t *countries, *v;
    const char *code;
    int r = json_get_obj(s, "countries", &countries, e);
    if (r < 0)
        return r;
    json_object_foreach (countries, code, v) {
        int index = geo_country_index(code);
        json_int_t list = json_integer_value(v);
        if (index < 0)
            return err_set(e, ERR_INVALID, "countries: '%s' is not a country's two letters", code);
        if (!json_is_integer(v) || list < 0 || (size_t)list >= z->n_lists)
            return err_set(e, ERR_INVALID, "countries: %s has a list that does not exist", code);
        z->countries.list[index] = (uint16_t)list;
    }
    return 0;
}

static int load_overrides(struct zone *z, const json_t *s, struct err *e)
{
    json_t *overrides;
    int r = get_array(s, "overrides", OVERRIDES_MAX, &overrides, e);
    if (r < 0)
        return r;
    z->n_overrides = json_array_size(overrides);
    z->overrides = arena_alloc(z->arena, (z->n_overrides + 1) * sizeof *z->overrides);
    for (size_t i = 0; i < z->n_overrides; i++) {
        const json_t *pair = json_array_get(overrides, i);
        const char *prefix = json_string_value(json_array_get(pair, 0));
        const char *country = json_string_value(json_array_get(pair, 1));
        struct zone_override *o = &z->overrides[i];
        if (!prefix || !ip_prefix_parse(prefix, &o->prefix) || geo_country_index(country) < 0)
            return err_set(e, ERR_INVALID, "overrides: '%s' is not a prefix with a country",
                prefix ? prefix : "");
        str_copy(o->country, sizeof o->country, country);
    }
    return 0;
}

/* Regions that can answer at all: the others would make an answer empty. */
static uint64_t regions_with_address(const struct zone *z)
{
    uint64_t set = 0;
    for (size_t i = 0; i < z->n_regions; i++)
        if (z->regions[i].n_addresses)
            set |= UINT64_C(1) << i;
    return set;
}

static int load_name(struct zone *z, const json_t *j, size_t i, struct err *e)
{
    uint8_t name[DNS_NAME_MAX], regions[ZONE_REGIONS_MAX];
    size_t size, n;
    const char *text;
    uint32_t node;
    int r = get_name(j, "name", name, &size, &text, e);
    if (r >= 0)
        r = load_indices(z, json_object_get(j, "regions"), regions, &n, "names", e);
    if (r >= 0)
        r = zone_node_make(z, name, size, &node, e);
    if (r < 0)
        return err_wrap(e, "names");
    if (z->nodes[node].steered != ZONE_NONE)
        return err_set(e, ERR_INVALID, "names: %s stands there twice", text);
    uint64_t set = 0;
    for (size_t k = 0; k < n; k++)
        set |= UINT64_C(1) << regions[k];
    set &= regions_with_address(z);
    if (!set)
        return err_set(e, ERR_INVALID,
            "names: no region with an address serves %s: its answers would be empty", text);
    z->nodes[node].steered = (uint32_t)i;
    z->names[i] = (struct zone_steered){.name = arena_strdup(z->arena, text), .regions = set};
    for (size_t list = 0; list < z->n_lists; list++)
        atomic_init(&z->choices[i * z->n_lists + list],
            z->ttl_s << 16 | zone_first_choice(&z->lists[list], set));
    return 0;
}

static int load_names(struct zone *z, const json_t *s, struct err *e)
{
    json_t *names;
    int r = get_array(s, "names", ZONE_NAMES_MAX, &names, e);
    if (r < 0)
        return r;
    z->n_names = json_array_size(names);
    z->names = arena_alloc(z->arena, (z->n_names + 1) * sizeof *z->names);
    z->choices = arena_alloc(z->arena, (z->n_names * z->n_lists + 1) * sizeof *z->choices);
    for (size_t i = 0; i < z->n_names && r >= 0; i++)
        r = load_name(z, json_array_get(names, i), i, e);
    return r;
}

static int add_soa(struct zone_build *b, const uint8_t *mname, size_t mname_size, struct err *e)
{
    static const uint8_t hostmaster[] = "\12hostmaster";
    struct zone *z = b->z;
    uint8_t rdata[3 * DNS_NAME_MAX];
    size_t n = 0;
    if (sizeof hostmaster - 1 + z->domain_size > DNS_NAME_MAX)
        return invalid(e, "domain", "too long");
    memcpy(rdata, mname, mname_size);
    n += mname_size;
    memcpy(rdata + n, hostmaster, sizeof hostmaster - 1);
    n += sizeof hostmaster - 1;
    memcpy(rdata + n, z->domain, z->domain_size);
    n += z->domain_size;
    const uint32_t numbers[] = {(uint32_t)z->revision, ZONE_SOA_REFRESH_S, ZONE_SOA_RETRY_S,
        ZONE_SOA_EXPIRE_S, ZONE_NEGATIVE_TTL_S};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++, n += 4)
        dns_put32(rdata + n, numbers[i]);
    return zone_rr_add(b, 0, DNS_SOA, ZONE_NS_TTL_S, rdata, n, e);
}

static int load_nameserver(struct zone_build *b, const json_t *j, bool first, struct err *e)
{
    struct zone *z = b->z;
    uint8_t name[DNS_NAME_MAX];
    size_t size;
    const char *text;
    int64_t region;
    uint32_t node;
    int r = get_name(j, "name", name, &size, &text, e);
    if (r >= 0)
        r = json_get_int(j, "region", 0, (int64_t)z->n_regions - 1, &region, e);
    if (r >= 0)
        r = zone_node_make(z, name, size, &node, e);
    if (r < 0)
        return r;
    dns_name_lower(name, name, size);
    const struct zone_region *g = &z->regions[region];
    if (!g->n_addresses)
        return err_set(e, ERR_INVALID, "%s: the region %s has no address", text, g->name);
    if (first)
        r = add_soa(b, name, size, e);
    if (r >= 0)
        r = zone_rr_add(b, 0, DNS_NS, ZONE_NS_TTL_S, name, size, e);
    for (size_t i = 0; i < g->n_addresses && r >= 0; i++) {
        bool v4 = g->addresses[i].family == 4;
        r = zone_rr_add(
            b, node, v4 ? DNS_A : DNS_AAAA, ZONE_NS_TTL_S, g->addresses[i].bytes, v4 ? 4 : 16, e);
    }
    return r;
}

static int load_nameservers(struct zone_build *b, const json_t *s, struct err *e)
{
    json_t *servers;
    int r = get_array(s, "nameservers", ZONE_REGIONS_MAX, &servers, e);
    if (r < 0)
        return r;
    if (!json_array_size(servers))
        return invalid(e, "nameservers", "a zone needs at least one");
    for (size_t i = 0; i < json_array_size(servers) && r >= 0; i++)
        r = load_nameserver(b, json_array_get(servers, i), i == 0, e);
    return r < 0 ? err_wrap(e, "nameservers") : 0;
}

static int load_record(struct zone_build *b, const json_t *j, struct err *e)
{
    static const uint16_t allowed[] = {
        DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_CNAME, DNS_CAA, DNS_SRV};
    uint8_t name[DNS_NAME_MAX], rdata[8192];
    size_t size, rdata_size;
    const char *text, *type_text, *value;
    int64_t ttl;
    uint32_t node;
    uint16_t type;
    int r = get_name(j, "name", name, &size, &text, e);
    if (r >= 0)
        r = json_get_str(j, "type", &type_text, e);
    if (r >= 0)
        r = json_get_str(j, "value", &value, e);
    if (r >= 0)
        r = json_get_int(j, "ttl_s", 0, INT32_MAX, &ttl, e);
    if (r < 0)
        return r;
    bool known = dns_type_parse(type_text, &type), ok = false;
    for (size_t i = 0; known && i < ARRAY_SIZE(allowed); i++)
        ok |= type == allowed[i];
    if (!ok)
        return err_set(
            e, ERR_INVALID, "%s: records of type %s cannot be declared", text, type_text);
    r = dns_rdata_parse(
        type, value, b->z->domain, b->z->domain_size, rdata, sizeof rdata, &rdata_size, e);
    if (r < 0)
        return err_wrap(e, "%s %s", text, type_text);
    r = zone_node_make(b->z, name, size, &node, e);
    return r < 0 ? r : zone_rr_add(b, node, type, (uint32_t)ttl, rdata, rdata_size, e);
}

static int load_records(struct zone_build *b, const json_t *s, struct err *e)
{
    json_t *records;
    int r = get_array(s, "records", RECORDS_MAX, &records, e);
    for (size_t i = 0; r >= 0 && i < json_array_size(records); i++) {
        r = load_record(b, json_array_get(records, i), e);
        if (r < 0)
            return err_wrap(e, "records");
    }
    return r;
}

static int load(struct zone_build *b, const json_t *s, struct err *e)
{
    static int (*const steps[])(struct zone *, const json_t *, struct err *) = {
        load_domain, load_regions, load_lists, load_countries, load_overrides, load_names};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        int r = steps[i](b->z, s, e);
        if (r < 0)
            return r;
    }
    int r = load_nameservers(b, s, e);
    if (r >= 0)
        r = load_records(b, s, e);
    return r < 0 ? r : zone_compile(b, e);
}

int zone_new(const json_t *snapshot, struct zone **ret, struct err *e)
{
    struct arena *arena = arena_new(0);
    struct zone *z = arena_alloc(arena, sizeof *z);
    struct zone_build b = {.z = z, .scratch = xmalloc(DNS_MESSAGE_MAX)};
    z->arena = arena;
    zone_table_resize(z, 64);
    int r = load(&b, snapshot, e);
    free(b.rrs);
    free(b.scratch);
    if (r < 0) {
        zone_free(z);
        return err_wrap(e, "zone");
    }
    *ret = z;
    return 0;
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    free(z->nodes);
    arena_free(z->arena);
}
