/* SPDX-License-Identifier: Apache-2.0 */
/* The checked declaration as the model: names become pointers, lists lose their shorthands. */
#include "domain/model/priv.h"

#include <signal.h>

#define NEW_ARRAY(m, T, n) ((T *)arena_alloc((m)->arena, (n) * sizeof(T)))

static const struct model_region *region_of(const struct model *m, const char *name)
{
    const struct model_region *r = model_find_region(m, name);
    ASSERT(r);
    return r;
}

static struct model_addrs addrs_of(const struct model *m, const struct schema_list *list)
{
    const struct schema_addr *from = list->v;
    struct ip_addr *v = NEW_ARRAY(m, struct ip_addr, list->n);
    for (size_t i = 0; i < list->n; i++)
        v[i] = from[i].addr;
    return (struct model_addrs){v, list->n};
}

/* NULL-terminated; NULL when the list is empty. */
static const char *const *words_of(const struct model *m, const struct schema_list *list)
{
    const struct schema_text *from = list->v;
    if (!list->n)
        return NULL;
    const char **v = NEW_ARRAY(m, const char *, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        v[i] = from[i].s;
    return v;
}

static void build_regions(const struct decl *d, struct model *m)
{
    const struct decl_region *from = d->regions.v;
    m->n_regions = d->regions.n;
    m->regions = NEW_ARRAY(m, struct model_region, m->n_regions);
    for (size_t i = 0; i < m->n_regions; i++) {
        struct ip_prefix *networks = NEW_ARRAY(m, struct ip_prefix, from[i].network.n);
        for (size_t k = 0; k < from[i].network.n; k++)
            networks[k] = ((const struct schema_prefix *)from[i].network.v)[k].prefix;
        m->regions[i] = (struct model_region){
            .name = from[i].head.key.s,
            .index = i,
            .duty = (enum region_duty)from[i].duty,
            .addresses = addrs_of(m, &from[i].address),
            .networks = networks,
            .n_networks = from[i].network.n,
        };
    }
}

static void build_hosts(const struct decl *d, struct model *m)
{
    const struct decl_host *from = d->hosts.v;
    m->n_hosts = d->hosts.n;
    m->hosts = NEW_ARRAY(m, struct model_host, m->n_hosts);
    for (size_t i = 0; i < m->n_hosts; i++) {
        m->hosts[i] = (struct model_host){
            .name = from[i].head.key.s,
            .index = i,
            .region = region_of(m, from[i].region.s),
            .addresses = addrs_of(m, &from[i].address),
            .is_public = from[i].is_public,
            .bridge = from[i].bridge.prefix,
        };
    }
    const struct schema_text *members = d->state.members.v;
    m->n_members = d->state.members.n;
    m->members = NEW_ARRAY(m, const struct model_host *, m->n_members);
    for (size_t i = 0; i < m->n_members; i++)
        m->members[i] = model_find_host(m, members[i].s);
}

static void build_lab(const struct decl *d, struct model *m)
{
    const struct decl_wan *wan = d->lab.wan.v;
    struct model_wan *lines = NEW_ARRAY(m, struct model_wan, d->lab.wan.n);
    for (size_t i = 0; i < d->lab.wan.n; i++) {
        const struct schema_text *ends = wan[i].between.v;
        lines[i] = (struct model_wan){
            .a = region_of(m, ends[0].s),
            .b = region_of(m, ends[1].s),
            .delay_us = wan[i].delay_ms * 1000,
            .loss = wan[i].loss,
            .rate_bps = wan[i].rate_bps,
        };
    }
    const struct decl_client *clients = d->lab.clients.v;
    size_t n = 0;
    for (size_t i = 0; i < d->lab.clients.n; i++)
        n += clients[i].prefixes.n;
    struct model_client *out = NEW_ARRAY(m, struct model_client, n);
    m->lab = (struct model_lab){lines, d->lab.wan.n, out, n};
    for (size_t i = 0; i < d->lab.clients.n; i++) {
        const struct schema_prefix *prefixes = clients[i].prefixes.v;
        for (size_t k = 0; k < clients[i].prefixes.n; k++)
            *out++ = (struct model_client){clients[i].country.s, prefixes[k].prefix};
    }
}

static bool is_routable(const struct model *m, const struct model_region *r)
{
    for (size_t i = 0; i < m->n_hosts && r->addresses.n; i++)
        if (m->hosts[i].is_public && m->hosts[i].region == r)
            return true;
    return false;
}

struct order {
    const struct model_region **v;
    size_t n;
    uint64_t seen; /* region indexes */
};

static void order_add(const struct model *m, struct order *o, const struct model_region *r)
{
    if (o->seen & 1ull << r->index || !is_routable(m, r))
        return;
    o->seen |= 1ull << r->index;
    o->v[o->n++] = r;
}

static void order_add_list(const struct model *m, struct order *o, const struct schema_list *refs)
{
    const struct schema_text *words = refs->v;
    for (size_t i = 0; i < refs->n; i++) {
        int duty = decl_duty(words[i].s);
        if (duty < 0)
            order_add(m, o, region_of(m, words[i].s));
        for (size_t k = 0; k < m->n_regions && duty >= 0; k++)
            if (m->regions[k].duty == (enum region_duty)duty)
                order_add(m, o, &m->regions[k]);
    }
}

static struct model_region_list order_of(
    const struct decl *d, const struct model *m, const struct schema_list *refs)
{
    struct order o = {.v = NEW_ARRAY(m, const struct model_region *, m->n_regions)};
    order_add_list(m, &o, refs);
    order_add_list(m, &o, &d->routing.on_failure);
    return (struct model_region_list){o.v, o.n};
}

/* Declared, or one for each region that users can be sent to. */
static void build_nameservers(const struct decl *d, struct model *m)
{
    const struct decl_nameserver *from = d->routing.nameservers.v;
    size_t n = d->routing.nameservers.n;
    struct model_nameserver *v = NEW_ARRAY(m, struct model_nameserver, MAX(n, m->n_regions));
    for (size_t i = 0; i < n; i++)
        v[i] = (struct model_nameserver){from[i].label.s, region_of(m, from[i].region.s)};
    for (size_t i = 0; i < m->n_regions && !d->routing.nameservers.n; i++) {
        if (!is_routable(m, &m->regions[i]))
            continue;
        v[n] = (struct model_nameserver){arena_printf(m->arena, "ns%zu", n + 1), &m->regions[i]};
        n++;
    }
    m->routing.nameservers = v;
    m->routing.n_nameservers = n;
}

static void build_records(const struct decl *d, struct model *m)
{
    const struct decl_record *from = d->routing.records.v;
    struct model_record *v = NEW_ARRAY(m, struct model_record, d->routing.records.n);
    m->routing.records = v;
    m->routing.n_records = d->routing.records.n;
    for (size_t i = 0; i < d->routing.records.n; i++) {
        const char *type = model_record_types[from[i].type], *expected;
        v[i] = (struct model_record){
            .name = from[i].name.s,
            .fqdn = decl_record_fqdn(m->arena, from[i].name.s, m->domain),
            .type = type,
            .value = decl_record_value(m->arena, type, from[i].value.s, m->domain, &expected),
            .ttl_ms = from[i].ttl_ms ? from[i].ttl_ms : d->routing.ttl_ms,
        };
    }
}

static void build_routing(const struct decl *d, struct model *m)
{
    const struct decl_routing *r = &d->routing;
    m->routing.provider = "own";
    m->routing.ttl_ms = r->ttl_ms;
    m->routing.health = (struct model_health){
        .interval_ms = r->health.interval_ms,
        .timeout_ms = r->health.timeout_ms,
        .down = (unsigned)r->health.down,
        .up = (unsigned)r->health.up,
        .references = words_of(m, &r->health.references),
        .n_references = r->health.references.n,
    };
    build_nameservers(d, m);
    const struct decl_country *countries = r->countries.v;
    struct model_country *v = NEW_ARRAY(m, struct model_country, r->countries.n);
    for (size_t i = 0; i < r->countries.n; i++)
        v[i] = (struct model_country){countries[i].code.s, order_of(d, m, &countries[i].order)};
    m->routing.countries = v;
    m->routing.n_countries = r->countries.n;
    m->routing.fallback = order_of(d, m, &r->fallback);
    build_records(d, m);
    const struct decl_override *overrides = r->geo.overrides.v;
    struct model_override *o = NEW_ARRAY(m, struct model_override, r->geo.overrides.n);
    for (size_t i = 0; i < r->geo.overrides.n; i++) {
        ASSERT(ip_prefix_parse(overrides[i].prefix.s, &o[i].prefix));
        o[i].country = overrides[i].country.s;
    }
    m->routing.overrides = o;
    m->routing.n_overrides = r->geo.overrides.n;
    m->routing.geo_database = r->geo.database.s;
}

static struct model_probe probe_of(const struct decl_module *from, const struct model *m)
{
    const struct decl_probe *h = &from->health;
    int kind = h->kind >= 0   ? h->kind
               : h->path.s    ? PROBE_HTTP
               : h->command.n ? PROBE_EXEC
               : from->port   ? PROBE_TCP
                              : PROBE_NONE;
    return (struct model_probe){
        .kind = (enum probe_kind)kind,
        .path = h->path.s,
        .command = words_of(m, &h->command),
        .interval_ms = h->interval_ms,
        .timeout_ms = h->timeout_ms,
        .start_timeout_ms = h->start_timeout_ms,
        .failures = (unsigned)h->failures,
    };
}

static struct model_rollout rollout_of(const struct decl_rollout *r)
{
    const char *wave = r->wave.s;
    unsigned n = (unsigned)strtoul(wave, NULL, 10);
    bool percent = str_ends(wave, "%");
    return (struct model_rollout){
        .strategy = (enum rollout_strategy)r->strategy,
        .wave = percent ? 0 : n,
        .wave_percent = percent ? n : 0,
        .canary_weight = (unsigned)r->canary.weight,
        .canary_ms = r->canary.for_ms,
        .deadline_ms = r->deadline_ms,
        .drain_ms = r->drain_ms,
    };
}

static void build_routes(const struct decl_module *from, struct model *m, struct model_module *to)
{
    const struct decl_route *routes = from->route.v;
    struct model_route *v = NEW_ARRAY(m, struct model_route, from->route.n);
    for (size_t i = 0; i < from->route.n; i++) {
        const struct schema_text *names = routes[i].names.v;
        const char **lower = NEW_ARRAY(m, const char *, routes[i].names.n);
        for (size_t k = 0; k < routes[i].names.n; k++)
            lower[k] = decl_lower_name(m->arena, names[k].s);
        v[i] = (struct model_route){
            .names = lower,
            .n_names = routes[i].names.n,
            .path = model_route_path(m->arena, routes[i].path.s),
            .auth = (enum route_auth)routes[i].auth,
        };
    }
    to->routes = v;
    to->n_routes = from->route.n;
}

/* Named regions, and `each` for all others; regions without an instance are left out. */
static void build_instances(
    const struct decl_module *from, struct model *m, struct model_module *to)
{
    const struct decl_instances *each = decl_find(&from->regions, sizeof *each, "each");
    struct model_instances *v = NEW_ARRAY(m, struct model_instances, m->n_regions);
    for (size_t i = 0; i < m->n_regions; i++) {
        const struct decl_instances *row =
            decl_find(&from->regions, sizeof *row, m->regions[i].name);
        row = row ? row : each;
        if (row && row->active + row->standby > 0)
            v[to->n_instances++] = (struct model_instances){
                &m->regions[i], (unsigned)row->active, (unsigned)row->standby};
    }
    to->instances = v;
}

static const char *const *env_of(const struct model *m, const struct schema_list *list)
{
    const struct decl_env *env = list->v;
    const char **v = NEW_ARRAY(m, const char *, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        v[i] = arena_printf(m->arena, "%s=%s", env[i].name.s, env[i].value.s);
    return v;
}

static int compare_modules(const void *x, const void *y)
{
    const struct model_module *const *a = x, *const *b = y;
    return (*a > *b) - (*a < *b); /* of one array, sorted by name */
}

static void build_needs(const struct decl_module *from, struct model *m, struct model_module *to)
{
    const struct decl_need *needs = from->needs.v;
    const struct model_module **v = NEW_ARRAY(m, const struct model_module *, from->needs.n);
    for (size_t i = 0; i < from->needs.n; i++)
        if (needs[i].module.s)
            v[to->n_needs++] = model_find_module(m, needs[i].module.s);
    if (to->n_needs)
        qsort(v, to->n_needs, sizeof *v, compare_modules);
    to->needs = v;
}

static void build_egress(const struct decl_module *from, struct model *m, struct model_module *to)
{
    const struct schema_text *names = from->egress.v;
    struct model_egress *v = NEW_ARRAY(m, struct model_egress, from->egress.n);
    for (size_t i = 0; i < from->egress.n; i++) {
        const char *text = names[i].s;
        v[i].below = str_starts(text, "*.");
        text += v[i].below ? 2 : 0;
        size_t n = strcspn(text, ":");
        v[i].name = decl_lower_name(m->arena, arena_strndup(m->arena, text, n));
        v[i].port = text[n] ? (uint16_t)strtoul(text + n + 1, NULL, 10) : 0;
    }
    to->egress = v;
    to->n_egress = from->egress.n;
}

static void build_secrets(const struct decl_module *from, struct model *m, struct model_module *to)
{
    static const unsigned modes[] = {0400, 0440, 0444};
    static const int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT};
    const struct decl_secret *d = from->secrets.v;
    struct model_secret *v = NEW_ARRAY(m, struct model_secret, from->secrets.n);
    for (size_t i = 0; i < from->secrets.n; i++)
        v[i] = (struct model_secret){.name = d[i].name.s,
            .file = d[i].file.s ? d[i].file.s : d[i].name.s,
            .mode = modes[d[i].mode],
            .on_change = (enum secret_change)d[i].on_change,
            .signal = signals[d[i].signal]};
    to->secrets = v;
    to->n_secrets = from->secrets.n;
}

static const char *const rights[] = {"dns:SteerAway", "dns:SteerBack"};

const char *function_right_name(enum function_right r)
{
    ASSERT((size_t)r < ARRAY_SIZE(rights));
    return rights[r];
}

bool function_right_parse(const char *name, enum function_right *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(rights); i++)
        if (!strcmp(rights[i], name)) {
            *ret = (enum function_right)i;
            return true;
        }
    return false;
}

static struct model_function function_of(const struct decl_function *from, struct model *m)
{
    const struct decl_module *as = &from->as;
    const struct schema_text *may = from->may.v;
    struct model_function f = {.deadline_ms = from->deadline_ms,
        .as = {.name = from->head.key.s,
            .image = as->image.s,
            .command = words_of(m, &as->command),
            .env = env_of(m, &as->env),
            .probe = {.kind = PROBE_NONE},
            .limits = {as->limits.memory_bytes, (unsigned)as->limits.cpu_milli,
                (unsigned)as->limits.pids}}};
    build_egress(as, m, &f.as);
    build_secrets(as, m, &f.as);
    for (size_t i = 0; i < from->may.n; i++) {
        enum function_right right;
        if (function_right_parse(may[i].s, &right))
            f.may |= 1u << right;
    }
    return f;
}

/* Before who names them. */
static void build_functions(const struct decl *d, struct model *m)
{
    const struct decl_function *from = d->functions.v;
    struct model_function *v = NEW_ARRAY(m, struct model_function, d->functions.n);
    for (size_t i = 0; i < d->functions.n; i++)
        v[i] = function_of(&from[i], m);
    m->functions = v;
    m->n_functions = d->functions.n;
}

const struct model_function *const *decl_build_functions_of(
    const struct model *m, const struct schema_list *list)
{
    const struct schema_text *names = list->v;
    const struct model_function **v = NEW_ARRAY(m, const struct model_function *, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        v[i] = model_find_function(m, names[i].s);
    return v;
}

static void build_modules(const struct decl *d, struct model *m)
{
    const struct decl_module *from = d->modules.v;
    m->n_modules = d->modules.n;
    m->modules = NEW_ARRAY(m, struct model_module, m->n_modules);
    for (size_t i = 0; i < m->n_modules; i++) {
        struct model_module *to = &m->modules[i];
        *to = (struct model_module){
            .name = from[i].head.key.s,
            .image = from[i].image.s,
            .port = (uint16_t)from[i].port,
            .command = words_of(m, &from[i].command),
            .env = env_of(m, &from[i].env),
            .probe = probe_of(&from[i], m),
            .limits = {from[i].limits.memory_bytes, (unsigned)from[i].limits.cpu_milli,
                (unsigned)from[i].limits.pids},
            .stop_timeout_ms = from[i].stop_timeout_ms,
            .rollout = rollout_of(&from[i].rollout),
            .before = decl_build_functions_of(m, &from[i].before),
            .after = decl_build_functions_of(m, &from[i].after),
        };
        build_routes(&from[i], m, to);
        build_instances(&from[i], m, to);
        build_egress(&from[i], m, to);
        build_secrets(&from[i], m, to);
        decl_build_grants(&from[i], m, to);
    }
    for (size_t i = 0; i < m->n_modules; i++)
        build_needs(&from[i], m, &m->modules[i]);
}

void decl_build(const struct decl *d, struct model *m)
{
    m->platform = d->platform.s;
    m->domain = decl_lower_name(m->arena, d->domain.s);
    build_regions(d, m);
    build_hosts(d, m);
    build_lab(d, m);
    build_routing(d, m);
    build_functions(d, m);
    decl_build_data(d, m);
    build_modules(d, m);
    decl_build_alarms(d, m);
    m->tree = schema_json(&decl_schema, d);
}
