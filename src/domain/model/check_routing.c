/* SPDX-License-Identifier: Apache-2.0 */
/* Routing against regions and hosts; records against each other and against what routes serve. */
#include "domain/model/priv.h"

void decl_check_routable(
    struct checker *c, const struct schema_text *ref, const struct decl_region *region)
{
    if (region->address.at && decl_public_host(c->d, region))
        return;
    problem_fix(
        schema_problem(c->p, ref->at, "users cannot be sent to region %s: it has no public %s",
            region->head.key.s, region->address.at ? "host" : "address"),
        "give one of its hosts `public: true` and the region an `address`");
}

static bool has_duty(const struct decl *d, int duty)
{
    const struct decl_region *regions = d->regions.v;
    for (size_t i = 0; i < d->regions.n; i++)
        if (regions[i].duty == duty || regions[i].duty < 0)
            return true;
    return false;
}

/* `needed`: a duty that nobody has is an error. */
static void check_list(struct checker *c, const struct schema_list *list, bool needed)
{
    const struct schema_text *refs = list->v;
    for (size_t i = 0; i < list->n; i++) {
        const struct decl_region *region = decl_find_region(c->d, refs[i].s);
        int duty = decl_duty(refs[i].s);
        if (region)
            decl_check_routable(c, &refs[i], region);
        else if (duty >= 0 && needed && !has_duty(c->d, duty))
            problem_fix(schema_problem(c->p, refs[i].at, "no region has the duty %s", refs[i].s),
                "remove it, or give a region this duty");
        else if (duty < 0)
            decl_unknown(c, "region or duty", &refs[i], &c->d->regions, sizeof(struct decl_region));
        for (size_t j = 0; j < i; j++)
            if (str_eq(refs[i].s, refs[j].s))
                problem_fix(schema_problem(c->p, refs[i].at, "\"%s\" stands here twice", refs[i].s),
                    "keep one of them");
    }
}

static void check_lists(struct checker *c)
{
    const struct decl_routing *r = &c->d->routing;
    const struct decl_country *countries = r->countries.v;
    for (size_t i = 0; i < r->countries.n; i++)
        check_list(c, &countries[i].order, true);
    check_list(c, &r->fallback, yaml_map_get(r->head.at, "default") != NULL);
    check_list(c, &r->on_failure,
        false); /* its default names duties; a revision holds the default written out */
    const struct decl_nameserver *ns = r->nameservers.v;
    for (size_t i = 0; i < r->nameservers.n; i++) {
        const struct decl_region *region = decl_find_region(c->d, ns[i].region.s);
        if (region)
            decl_check_routable(c, &ns[i].region, region);
        else
            decl_unknown(c, "region", &ns[i].region, &c->d->regions, sizeof(struct decl_region));
    }
}

static void check_times(struct checker *c)
{
    const struct decl_routing *r = &c->d->routing;
    if (r->ttl_ms % 1000)
        problem_fix(schema_problem(c->p, schema_at(&r->head, "ttl"), "a TTL counts whole seconds"),
            "write it like 60s");
    const struct decl_health *h = &r->health;
    if (h->timeout_ms && h->interval_ms && h->timeout_ms >= h->interval_ms)
        problem_fix(schema_problem(c->p, schema_at(&h->head, "timeout"),
                        "routing.health: the timeout must be shorter than the interval"),
            "shorten `timeout` or lengthen `interval`");
}

struct parsed_override {
    struct ip_prefix prefix;
    const struct yaml_node *at;
};

static int compare_overrides(const void *x, const void *y)
{
    const struct parsed_override *a = x, *b = y;
    int r = memcmp(&a->prefix, &b->prefix, sizeof a->prefix);
    return r ? r : (a->at->line > b->at->line) - (a->at->line < b->at->line);
}

/* One prefix in two spellings is one prefix. */
static void check_overrides(struct checker *c)
{
    const struct schema_list *list = &c->d->routing.geo.overrides;
    const struct decl_override *rows = list->v;
    struct parsed_override *v = arena_alloc(c->arena, (list->n + 1) * sizeof *v);
    for (size_t i = 0; i < list->n; i++) {
        ASSERT(ip_prefix_parse(rows[i].prefix.s, &v[i].prefix));
        v[i].at = rows[i].prefix.at;
    }
    if (list->n)
        qsort(v, list->n, sizeof *v, compare_overrides);
    for (size_t i = 1; i < list->n; i++)
        if (!memcmp(&v[i].prefix, &v[i - 1].prefix, sizeof v[i].prefix))
            problem_fix(schema_problem(
                            c->p, v[i].at, "the same prefix stands in line %u", v[i - 1].at->line),
                "keep one of them");
}

/* One owner name and what claims it: a record's type, or what the platform itself answers there. */
enum owner_kind { OWNER_ROUTE, OWNER_NAMESERVER, OWNER_RECORD };

struct owner {
    const char *fqdn;
    enum owner_kind kind;
    const char *type, *value; /* records */
    const char *who;          /* module or label */
    const struct yaml_node *at;
};

static int compare_owners(const void *x, const void *y)
{
    const struct owner *a = x, *b = y;
    int r = strcmp(a->fqdn, b->fqdn);
    r = r ? r : (int)a->kind - (int)b->kind;
    if (r || a->kind != OWNER_RECORD)
        return r;
    r = strcmp(a->type, b->type);
    r = r ? r : strcmp(a->value, b->value);
    return r ? r : (a->at->line > b->at->line) - (a->at->line < b->at->line);
}

struct owners {
    struct owner *v;
    size_t n, cap;
};

static void collect_record(struct checker *c, const struct decl_record *r, struct owners *all)
{
    char found[PROBLEMS_QUOTE_SIZE];
    if (r->ttl_ms % 1000)
        problem_fix(schema_problem(c->p, schema_at(&r->head, "ttl"), "a TTL counts whole seconds"),
            "write it like 60s");
    if (!r->name.s || !r->value.s || r->type < 0 || !c->d->domain.s)
        return;
    const char *domain = decl_lower_name(c->arena, c->d->domain.s);
    const char *type = model_record_types[r->type];
    const char *fqdn = decl_record_fqdn(c->arena, r->name.s, domain);
    if (!fqdn)
        problem_fix(schema_problem(c->p, r->name.at, "expected \"@\" or a name in %s, found %s",
                        domain, problems_quote(r->name.s, found)),
            "write it relative to the domain");
    const char *expected = NULL;
    const char *value = decl_record_value(c->arena, type, r->value.s, domain, &expected);
    if (!value)
        problem_fix(schema_problem(c->p, r->value.at, "%s record: expected %s, found %s", type,
                        expected, problems_quote(r->value.s, found)),
            "see RFC 1035 for the form of a %s record", type);
    if (fqdn && value)
        *GROW(all->v, all->n, all->cap) =
            (struct owner){fqdn, OWNER_RECORD, .type = type, .value = value, .at = r->head.at};
}

static void add_nameserver(
    struct checker *c, struct owners *all, const char *label, const struct yaml_node *at)
{
    const char *domain = decl_lower_name(c->arena, c->d->domain.s);
    *GROW(all->v, all->n, all->cap) = (struct owner){
        arena_printf(c->arena, "%s.%s", label, domain), OWNER_NAMESERVER, .who = label, .at = at};
}

/* Declared, or the ns1, ns2, ... that build.c makes of the regions that users can be sent to. */
static void collect_nameservers(struct checker *c, struct owners *all)
{
    const struct decl *d = c->d;
    const struct decl_nameserver *ns = d->routing.nameservers.v;
    for (size_t i = 0; i < d->routing.nameservers.n; i++)
        add_nameserver(c, all, ns[i].label.s, ns[i].label.at);
    if (d->routing.nameservers.n)
        return;
    const struct decl_region *regions = d->regions.v;
    size_t n = 0;
    for (size_t i = 0; i < d->regions.n; i++)
        if (regions[i].address.n && decl_public_host(d, &regions[i]))
            add_nameserver(c, all, arena_printf(c->arena, "ns%zu", ++n), regions[i].head.key.at);
}

static void collect_routes(struct checker *c, struct owners *all)
{
    const struct decl_module *modules = c->d->modules.v;
    for (size_t i = 0; i < c->d->modules.n; i++) {
        const struct decl_route *routes = modules[i].route.v;
        for (size_t k = 0; k < modules[i].route.n; k++) {
            const struct schema_text *names = routes[k].names.v;
            for (size_t j = 0; j < routes[k].names.n; j++)
                *GROW(all->v, all->n, all->cap) =
                    (struct owner){decl_lower_name(c->arena, names[j].s), OWNER_ROUTE,
                        .who = modules[i].head.key.s, .at = names[j].at};
        }
    }
}

static void collect_owners(struct checker *c, struct owners *all)
{
    const struct decl_record *records = c->d->routing.records.v;
    for (size_t i = 0; i < c->d->routing.records.n; i++)
        collect_record(c, &records[i], all);
    if (c->d->domain.s)
        collect_nameservers(c, all);
    collect_routes(c, all);
}

/* `one` stands behind `first` of the same name; `before` is its direct neighbour. */
static void check_owner(struct checker *c, const struct owner *first, const struct owner *before,
    const struct owner *one)
{
    if (one->kind == OWNER_NAMESERVER && first->kind == OWNER_ROUTE) {
        problem_fix(
            schema_problem(c->p, one->at,
                "%s is served by module %s, it cannot be a name server too", one->fqdn, first->who),
            "choose another label in routing.nameservers");
    }
    if (one->kind != OWNER_RECORD)
        return;
    bool address = !strcmp(one->type, "A") || !strcmp(one->type, "AAAA"),
         alias = !strcmp(one->type, "CNAME");
    if (first->kind != OWNER_RECORD && (address || alias))
        problem_fix(
            schema_problem(c->p, one->at, "%s is %s, its addresses come from the routing",
                one->fqdn,
                first->kind == OWNER_ROUTE ? "a name that a route serves" : "a name server"),
            "remove the record");
    else if (before->kind == OWNER_RECORD && !strcmp(before->type, one->type)
             && !strcmp(before->value, one->value))
        problem_fix(
            schema_problem(c->p, one->at, "the same record stands in line %u", before->at->line),
            "keep one of them");
    else if (before->kind == OWNER_RECORD && (alias || !strcmp(before->type, "CNAME")))
        /* RFC 1034 3.6.2: a CNAME stands alone. */
        problem_fix(schema_problem(c->p, one->at, "%s has a CNAME and other records (line %u)",
                        one->fqdn, before->at->line),
            "keep the CNAME or the others");
}

static void check_owners(struct checker *c)
{
    struct owners all = {0};
    collect_owners(c, &all);
    if (all.n)
        qsort(all.v, all.n, sizeof *all.v, compare_owners);
    const struct owner *first = all.v;
    for (size_t i = 0; i < all.n; i++) {
        const struct owner *one = &all.v[i];
        if (strcmp(first->fqdn, one->fqdn) != 0)
            first = one;
        if (one->kind == OWNER_RECORD && !strcmp(one->type, "CNAME")
            && str_eq(one->fqdn, decl_lower_name(c->arena, c->d->domain.s)))
            problem_fix(schema_problem(
                            c->p, one->at, "the domain itself cannot be a CNAME (RFC 1034 3.6.2)"),
                "declare addresses, or serve it by a route");
        if (one != first)
            check_owner(c, first, &all.v[i - 1], one);
    }
    free(all.v);
}

void decl_check_routing(struct checker *c)
{
    if (!c->d->routing.head.at)
        return;
    check_lists(c);
    check_times(c);
    check_overrides(c);
    check_owners(c);
}
