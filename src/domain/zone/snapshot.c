/* SPDX-License-Identifier: Apache-2.0 */
/* Control's side: the model as lists and steered names, the snapshot and the health message made of
 * them. */
#include "domain/zone/priv.h"

#include "domain/model/model.h"

unsigned zone_first_choice(const struct zone_list *list, uint64_t regions)
{
    for (size_t i = 0; i < list->n; i++)
        if (regions >> list->regions[i] & 1)
            return list->regions[i];
    return regions ? (unsigned)__builtin_ctzll(regions) : 0;
}

struct name {
    const char *name;
    uint64_t regions; /* with an address, where every route of the name has active instances */
};

struct build {
    struct arena *arena;
    const struct model *m;
    struct zone_list *lists; /* [0] is the default; no order twice */
    size_t n_lists;
    struct name *names; /* sorted, no name twice */
    size_t n_names;
    struct geo_countries countries;
};

/* The number of this order of regions, made when it is new. */
static size_t list_of(struct build *b, const struct model_region_list *order)
{
    uint8_t *regions = arena_alloc(b->arena, order->n + 1);
    for (size_t i = 0; i < order->n; i++)
        regions[i] = (uint8_t)order->v[i]->index;
    for (size_t i = 0; i < b->n_lists; i++)
        if (b->lists[i].n == order->n && !memcmp(b->lists[i].regions, regions, order->n))
            return i;
    b->lists[b->n_lists] = (struct zone_list){.regions = regions, .n = order->n};
    return b->n_lists++;
}

static uint64_t regions_with_address(const struct model *m)
{
    uint64_t set = 0;
    for (size_t i = 0; i < m->n_regions; i++)
        if (m->regions[i].addresses.n)
            set |= UINT64_C(1) << i;
    return set;
}

static uint64_t regions_of_module(const struct model_module *module)
{
    uint64_t set = 0;
    for (size_t i = 0; i < module->n_instances; i++)
        if (module->instances[i].active)
            set |= UINT64_C(1) << module->instances[i].region->index;
    return set;
}

/* Names of other domains are served by the edge, but answered by somebody else's DNS. */
static bool in_domain(const struct model *m, const char *name)
{
    uint8_t a[DNS_NAME_MAX], d[DNS_NAME_MAX];
    size_t a_size, d_size;
    return dns_name_parse(name, a, &a_size) && dns_name_parse(m->domain, d, &d_size)
           && dns_name_under(a, a_size, d, d_size);
}

static void add_name(struct build *b, const char *name, uint64_t regions)
{
    if (!in_domain(b->m, name))
        return;
    for (size_t i = 0; i < b->n_names; i++)
        if (!strcmp(b->names[i].name, name)) {
            b->names[i].regions &= regions;
            return;
        }
    b->names[b->n_names++] = (struct name){.name = name, .regions = regions};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static size_t count_names(const struct model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            n += m->modules[i].routes[k].n_names;
    return n;
}

static void collect_names(struct build *b)
{
    uint64_t with_address = regions_with_address(b->m);
    b->names = arena_alloc(b->arena, (count_names(b->m) + 1) * sizeof *b->names);
    for (size_t i = 0; i < b->m->n_modules; i++) {
        const struct model_module *module = &b->m->modules[i];
        for (size_t k = 0; k < module->n_routes; k++)
            for (size_t n = 0; n < module->routes[k].n_names; n++)
                add_name(b, module->routes[k].names[n], regions_of_module(module) & with_address);
    }
    /* No region runs all of it: then any may answer, and its edge says what is missing. */
    for (size_t i = 0; i < b->n_names; i++)
        if (!b->names[i].regions)
            b->names[i].regions = with_address;
    qsort(b->names, b->n_names, sizeof *b->names, compare_names);
}

static void reduce(struct build *b)
{
    const struct model_routing *routing = &b->m->routing;
    b->lists = arena_alloc(b->arena, (routing->n_countries + 1) * sizeof *b->lists);
    list_of(b, &routing->fallback);
    for (size_t i = 0; i < routing->n_countries; i++) {
        const struct model_country *c = &routing->countries[i];
        int index = geo_country_index(c->code);
        size_t list = list_of(b, &c->order);
        if (index >= 0)
            b->countries.list[index] = (uint16_t)list;
    }
    collect_names(b);
}

static json_t *regions_json(const struct model *m)
{
    json_t *regions = json_array();
    for (size_t i = 0; i < m->n_regions; i++) {
        json_t *addresses = json_array();
        for (size_t k = 0; k < m->regions[i].addresses.n; k++) {
            char text[IP_TEXT_SIZE];
            ip_format(&m->regions[i].addresses.v[k], text);
            json_array_append_new(addresses, json_string(text));
        }
        json_array_append_new(
            regions, json_pack("{s:s, s:o}", "name", m->regions[i].name, "addresses", addresses));
    }
    return regions;
}

static json_t *lists_json(const struct build *b)
{
    json_t *lists = json_array();
    for (size_t i = 0; i < b->n_lists; i++) {
        json_t *list = json_array();
        for (size_t k = 0; k < b->lists[i].n; k++)
            json_array_append_new(list, json_integer(b->lists[i].regions[k]));
        json_array_append_new(lists, list);
    }
    return lists;
}

static json_t *countries_json(const struct build *b)
{
    json_t *countries = json_object();
    for (int i = 0; i < GEO_COUNTRIES; i++) {
        char code[3] = {(char)('A' + i / 26), (char)('A' + i % 26), '\0'};
        if (b->countries.list[i])
            json_object_set_new(countries, code, json_integer(b->countries.list[i]));
    }
    return countries;
}

static void add_override(json_t *overrides, const struct ip_prefix *prefix, const char *country)
{
    char text[IP_TEXT_SIZE];
    ip_prefix_format(prefix, text);
    json_array_append_new(overrides, json_pack("[s, s]", text, country));
}

static json_t *overrides_json(const struct model *m, bool lab)
{
    json_t *overrides = json_array();
    for (size_t i = 0; lab && i < m->lab.n_clients; i++)
        add_override(overrides, &m->lab.clients[i].prefix, m->lab.clients[i].country);
    for (size_t i = 0; i < m->routing.n_overrides; i++)
        add_override(overrides, &m->routing.overrides[i].prefix, m->routing.overrides[i].country);
    return overrides;
}

static json_t *names_json(const struct build *b)
{
    json_t *names = json_array();
    for (size_t i = 0; i < b->n_names; i++) {
        json_t *regions = json_array();
        for (unsigned k = 0; k < ZONE_REGIONS_MAX; k++)
            if (b->names[i].regions >> k & 1)
                json_array_append_new(regions, json_integer(k));
        json_array_append_new(
            names, json_pack("{s:s, s:o}", "name", b->names[i].name, "regions", regions));
    }
    return names;
}

static json_t *nameservers_json(const struct model *m)
{
    json_t *servers = json_array();
    for (size_t i = 0; i < m->routing.n_nameservers; i++) {
        const struct model_nameserver *s = &m->routing.nameservers[i];
        _cleanup_free_ char *name = xasprintf("%s.%s", s->label, m->domain);
        json_array_append_new(
            servers, json_pack("{s:s, s:I}", "name", name, "region", (json_int_t)s->region->index));
    }
    return servers;
}

static json_t *records_json(const struct model *m)
{
    json_t *records = json_array();
    for (size_t i = 0; i < m->routing.n_records; i++) {
        const struct model_record *r = &m->routing.records[i];
        json_array_append_new(
            records, json_pack("{s:s, s:s, s:s, s:I}", "name", r->fqdn, "type", r->type, "value",
                         r->value, "ttl_s", (json_int_t)(r->ttl_ms / 1000)));
    }
    return records;
}

json_t *zone_snapshot_from_model(const struct model *m, uint64_t revision, bool lab)
{
    struct build b = {.arena = arena_new(0), .m = m};
    reduce(&b);
    uint64_t ttl_s = MIN(MAX(m->routing.ttl_ms / 1000, UINT64_C(1)), (uint64_t)ZONE_TTL_MAX_S);
    json_t *s = json_pack("{s:i, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "format", 1,
        "revision", (json_int_t)revision, "domain", m->domain, "ttl_s", (json_int_t)ttl_s,
        "regions", regions_json(m), "lists", lists_json(&b), "countries", countries_json(&b),
        "overrides", overrides_json(m, lab), "names", names_json(&b), "nameservers",
        nameservers_json(m), "records", records_json(m));
    arena_free(b.arena);
    ASSERT(s); /* every text of a model is UTF-8 */
    return s;
}
