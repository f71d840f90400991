/* SPDX-License-Identifier: Apache-2.0 */
/* What no single key can show: regions, hosts, state, lab against each other. Fields that parsing
 * left empty were told there and are skipped here. Nothing is quadratic in what the file may hold
 * many of. */
#include "domain/model/priv.h"

static int compare_keys(const void *x, const void *y)
{
    return strcmp(((const struct schema_text *)x)->s, ((const struct schema_text *)y)->s);
}

static void sort_list(struct schema_list *list, size_t item_size)
{
    if (list->n)
        qsort(list->v, list->n, item_size, compare_keys);
}

/* Maps have no order in JSON, so they must have none here: a revision reads back to the same model.
 * */
void decl_sort(struct decl *d)
{
    sort_list(&d->regions, sizeof(struct decl_region));
    sort_list(&d->hosts, sizeof(struct decl_host));
    sort_list(&d->modules, sizeof(struct decl_module));
    sort_list(&d->data, sizeof(struct decl_database));
    sort_list(&d->alarms, sizeof(struct decl_alarm));
    sort_list(&d->notify, sizeof(struct decl_notify));
    sort_list(&d->functions, sizeof(struct decl_function));
    sort_list(&d->lab.clients, sizeof(struct decl_client));
    sort_list(&d->routing.nameservers, sizeof(struct decl_nameserver));
    sort_list(&d->routing.countries, sizeof(struct decl_country));
    sort_list(&d->routing.geo.overrides, sizeof(struct decl_override));
    struct decl_module *modules = d->modules.v;
    for (size_t i = 0; i < d->modules.n; i++) {
        sort_list(&modules[i].regions, sizeof(struct decl_instances));
        sort_list(&modules[i].env, sizeof(struct decl_env));
    }
    struct decl_function *functions = d->functions.v;
    for (size_t i = 0; i < d->functions.n; i++)
        sort_list(&functions[i].as.env, sizeof(struct decl_env));
    struct decl_database *databases = d->data.v;
    for (size_t i = 0; i < d->data.n; i++) {
        sort_list(&databases[i].hosts, sizeof(struct decl_data_host));
        sort_list(&databases[i].external, sizeof(struct decl_external));
    }
}

const void *decl_find(const struct schema_list *list, size_t item_size, const char *key)
{
    struct schema_text wanted = {.s = key};
    return list->n ? bsearch(&wanted, list->v, list->n, item_size, compare_keys) : NULL;
}

const struct decl_region *decl_find_region(const struct decl *d, const char *name)
{
    return decl_find(&d->regions, sizeof(struct decl_region), name);
}

const struct decl_host *decl_find_host(const struct decl *d, const char *name)
{
    return decl_find(&d->hosts, sizeof(struct decl_host), name);
}

const struct decl_host *decl_public_host(const struct decl *d, const struct decl_region *region)
{
    const struct decl_host *hosts = d->hosts.v;
    for (size_t i = 0; i < d->hosts.n; i++)
        if (hosts[i].is_public && str_eq(hosts[i].region.s, region->head.key.s))
            return &hosts[i];
    return NULL;
}

int decl_duty(const char *word)
{
    for (int i = REGION_MAIN; i <= REGION_SERVING; i++)
        if (!strcmp(region_duty_name((enum region_duty)i), word))
            return i;
    return -1;
}

void decl_unknown(struct checker *c, const char *what, const struct schema_text *word,
    const struct schema_list *known, size_t item_size)
{
    char found[PROBLEMS_QUOTE_SIZE];
    if (!known->n) /* told already: every reference to them would repeat it */
        return;
    struct problem *q =
        schema_problem(c->p, word->at, "unknown %s %s", what, problems_quote(word->s, found));
    if (problems_full(c->p))
        return;
    _cleanup_free_ const char **names = xcalloc(known->n, sizeof *names);
    _cleanup_str_ struct str list = STR_INIT;
    for (size_t i = 0; i < known->n; i++) {
        names[i] =
            ((const struct schema_text *)(const void *)((const char *)known->v + i * item_size))->s;
        str_addf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = str_nearest(word->s, names, known->n);
    if (near)
        problem_fix(q, "did you mean \"%s\"?", near);
    else
        problem_fix(q, "declared are %s", list.buf);
}

static void check_duties(struct checker *c)
{
    const struct decl_region *regions = c->d->regions.v, *first[3] = {0};
    bool all_known = true;
    for (size_t i = 0; i < c->d->regions.n; i++) {
        const struct decl_region *r = &regions[i];
        if (decl_duty(r->head.key.s) >= 0 || !strcmp(r->head.key.s, "each"))
            problem_fix(
                schema_problem(c->p, r->head.key.at,
                    "\"%s\" cannot be a region's name: the word has a meaning", r->head.key.s),
                "name the region after its place");
        if (r->duty < 0) {
            all_known = false;
            continue;
        }
        if (r->duty != REGION_SERVING && first[r->duty]) {
            problem_fix(
                schema_problem(c->p, schema_at(&r->head, "duty"),
                    "a second region with the duty %s; %s has it already",
                    region_duty_name((enum region_duty)r->duty), first[r->duty]->head.key.s),
                "write `duty: serving`");
            continue;
        }
        first[r->duty] = r;
    }
    if (c->d->regions.n && all_known && !first[REGION_MAIN])
        problem_fix(
            schema_problem(c->p, c->d->regions.at, "no region has the duty main, exactly one must"),
            "write `duty: main` in the region where writes go");
}

static void check_host_address(
    struct checker *c, const struct decl_region *region, const struct schema_addr *a)
{
    const struct schema_prefix *networks = region->network.v;
    char text[IP_TEXT_SIZE];
    ip_format(&a->addr, text);
    for (size_t i = 0; i < region->network.n; i++) {
        const struct ip_prefix *net = &networks[i].prefix;
        if (!ip_prefix_contains(net, &a->addr))
            continue;
        /* RFC 3021: /31 and /32 have neither a network nor a broadcast address. */
        struct ip_addr last;
        if (net->addr.family == 4 && net->bits < 31
            && (ip_eq(&net->addr, &a->addr)
                || (ip_prefix_nth(net, (1ull << (32 - net->bits)) - 1, &last)
                    && ip_eq(&last, &a->addr))))
            problem_fix(schema_problem(c->p, a->at,
                            "%s is the first or last address of its network, which no host can "
                            "have",
                            text),
                "choose one between them");
        return;
    }
    struct problem *q = schema_problem(
        c->p, a->at, "%s does not lie in a network of region %s", text, region->head.key.s);
    if (region->network.n) {
        ip_prefix_format(&networks[0].prefix, text);
        problem_fix(q, "choose an address in %s", text);
    }
}

static void check_host(struct checker *c, const struct decl_host *h)
{
    const struct ip_prefix *bridge = &h->bridge.prefix;
    if (bridge->addr.family && (bridge->addr.family != 4 || bridge->bits < 16 || bridge->bits > 24))
        problem_fix(schema_problem(c->p, h->bridge.at,
                        "the bridge must be an IPv4 network between /16 and /24"),
            "write it like 100.127.0.0/16");
    if (!h->region.s)
        return;
    const struct decl_region *region = decl_find_region(c->d, h->region.s);
    if (!region) {
        decl_unknown(c, "region", &h->region, &c->d->regions, sizeof(struct decl_region));
        return;
    }
    const struct schema_addr *addresses = h->address.v;
    for (size_t i = 0; i < h->address.n && region->network.n; i++)
        check_host_address(c, region, &addresses[i]);
    if (!h->is_public)
        return;
    const struct yaml_node *at = schema_at(&h->head, "public");
    if (!region->address.at)
        problem_fix(
            schema_problem(c->p, at, "host %s is public, but region %s has no address to hold",
                h->head.key.s, region->head.key.s),
            "give the region its public `address`");
    const struct decl_host *other = decl_public_host(c->d, region);
    if (other != h)
        problem_fix(schema_problem(c->p, at,
                        "a second public host in region %s; %s holds its addresses already",
                        region->head.key.s, other->head.key.s),
            "remove `public: true` from one of them");
}

static void check_state(struct checker *c)
{
    const struct decl *d = c->d;
    const struct schema_list *list = &d->state.members;
    if (!list->at) {
        if (d->hosts.n > 1 && d->state.head.at)
            problem_fix(schema_problem(c->p, d->hosts.at,
                            "several hosts need `state.members`, the hosts that keep the "
                            "platform's state"),
                "add `state: {members: [HOST, HOST, HOST]}`");
        return;
    }
    const struct schema_text *members = list->v;
    for (size_t i = 0; i < list->n; i++) {
        if (!decl_find_host(d, members[i].s))
            decl_unknown(c, "host", &members[i], &d->hosts, sizeof(struct decl_host));
        for (size_t j = 0; j < i; j++)
            if (str_eq(members[i].s, members[j].s))
                problem_fix(
                    schema_problem(c->p, members[i].at, "host \"%s\" is named twice", members[i].s),
                    "name another host");
    }
    if (list->n % 2 == 0 && list->at->kind == YAML_LIST && list->at->n == list->n)
        problem_fix(schema_problem(c->p, list->at,
                        "%zu members; it must be 1, 3 or 5: an even number survives no more losses "
                        "than one less",
                        list->n),
            "name one host more or less");
}

static int compare_links(const void *x, const void *y)
{
    const struct schema_text *const *a = x, *const *b = y;
    int r = strcmp(a[0]->s, b[0]->s);
    r = r ? r : strcmp(a[1]->s, b[1]->s);
    return r ? r : (a[2] > b[2]) - (a[2] < b[2]);
}

/* Each row as {lesser name, greater name, where}, sorted: repeats stand next to each other. */
static void check_wan(struct checker *c)
{
    const struct schema_list *wan = &c->d->lab.wan;
    const struct decl_wan *rows = wan->v;
    const struct schema_text *(*links)[3] = arena_alloc(c->arena, (wan->n + 1) * sizeof *links);
    size_t n = 0;
    for (size_t i = 0; i < wan->n; i++) {
        const struct schema_text *ends = rows[i].between.v;
        if (rows[i].between.n != 2)
            continue;
        bool known = true;
        for (int k = 0; k < 2; k++)
            if (!decl_find_region(c->d, ends[k].s)) {
                decl_unknown(c, "region", &ends[k], &c->d->regions, sizeof(struct decl_region));
                known = false;
            }
        int order = strcmp(ends[0].s, ends[1].s);
        if (order == 0)
            problem_fix(schema_problem(c->p, ends[1].at, "a line needs two different regions"),
                "name another");
        if (!known || order == 0)
            continue;
        links[n][0] = &ends[order < 0 ? 0 : 1];
        links[n][1] = &ends[order < 0 ? 1 : 0];
        links[n++][2] = ends;
    }
    if (n)
        qsort(links, n, sizeof *links, compare_links);
    for (size_t i = 1; i < n; i++)
        if (str_eq(links[i][0]->s, links[i - 1][0]->s)
            && str_eq(links[i][1]->s, links[i - 1][1]->s))
            problem_fix(
                schema_problem(c->p, links[i][2]->at,
                    "the line between %s and %s is declared twice", links[i][0]->s, links[i][1]->s),
                "keep one of them");
}

/* Everything that takes addresses for itself. */
enum claim_kind { CLAIM_NETWORK, CLAIM_PUBLIC, CLAIM_HOST, CLAIM_CLIENT, CLAIM_BRIDGE };

struct claim {
    enum claim_kind kind;
    struct ip_prefix prefix;
    const char *owner;
    const struct yaml_node *at;
};

struct claims {
    struct claim *v;
    size_t n, cap;
};

static void claim(struct claims *all, enum claim_kind kind, const struct ip_prefix *prefix,
    const char *owner, const struct yaml_node *at)
{
    *GROW(all->v, all->n, all->cap) = (struct claim){kind, *prefix, owner, at};
}

/* Can one machine have it and another send to it? */
static bool is_unicast(const struct ip_addr *a)
{
    static const uint8_t unspecified[16], loopback[16] = {[15] = 1};
    if (a->family == 4)
        return a->bytes[0] != 0 && a->bytes[0] != 127 && a->bytes[0] < 224;
    bool link_local = a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
    return memcmp(a->bytes, unspecified, 16) != 0 && memcmp(a->bytes, loopback, 16) != 0
           && a->bytes[0] != 0xff && !link_local;
}

static void claim_address(struct checker *c, struct claims *all, enum claim_kind kind,
    const struct schema_list *list, const char *owner)
{
    const struct schema_addr *a = list->v;
    for (size_t i = 0; i < list->n; i++) {
        char text[IP_TEXT_SIZE];
        struct ip_prefix one = {a[i].addr, a[i].addr.family == 4 ? 32 : 128};
        ip_format(&a[i].addr, text);
        if (is_unicast(&a[i].addr))
            claim(all, kind, &one, owner, a[i].at);
        else
            problem_fix(
                schema_problem(c->p, a[i].at, "%s is no address that others can reach", text),
                "choose a unicast address");
    }
}

static void claim_prefixes(
    struct claims *all, enum claim_kind kind, const struct schema_list *list, const char *owner)
{
    const struct schema_prefix *p = list->v;
    for (size_t i = 0; i < list->n; i++)
        claim(all, kind, &p[i].prefix, owner, p[i].at);
}

static void claim_all(struct checker *c, struct claims *all)
{
    const struct decl *d = c->d;
    const struct decl_region *regions = d->regions.v;
    for (size_t i = 0; i < d->regions.n; i++) {
        claim_prefixes(all, CLAIM_NETWORK, &regions[i].network, regions[i].head.key.s);
        claim_address(c, all, CLAIM_PUBLIC, &regions[i].address, regions[i].head.key.s);
    }
    const struct decl_host *hosts = d->hosts.v;
    for (size_t i = 0; i < d->hosts.n; i++) {
        claim_address(c, all, CLAIM_HOST, &hosts[i].address, hosts[i].head.key.s);
        if (hosts[i].bridge.prefix.addr.family)
            claim(all, CLAIM_BRIDGE, &hosts[i].bridge.prefix, hosts[i].head.key.s,
                hosts[i].bridge.at);
    }
    const struct decl_client *clients = d->lab.clients.v;
    for (size_t i = 0; i < d->lab.clients.n; i++)
        claim_prefixes(all, CLAIM_CLIENT, &clients[i].prefixes, clients[i].country.s);
}

static int compare_claims(const void *x, const void *y)
{
    const struct claim *a = x, *b = y;
    if (a->prefix.addr.family != b->prefix.addr.family)
        return a->prefix.addr.family < b->prefix.addr.family ? -1 : 1;
    int r = memcmp(a->prefix.addr.bytes, b->prefix.addr.bytes, sizeof a->prefix.addr.bytes);
    if (r)
        return r;
    if (a->prefix.bits != b->prefix.bits)
        return a->prefix.bits < b->prefix.bits ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return a->at->line != b->at->line
               ? (a->at->line < b->at->line ? -1 : 1)
               : (a->at->column > b->at->column) - (a->at->column < b->at->column);
}

/* May these two share addresses? A host lives in a network; bridges never leave their hosts. */
static bool may_overlap(const struct claim *a, const struct claim *b)
{
    if (a->kind == CLAIM_BRIDGE && b->kind == CLAIM_BRIDGE)
        return true;
    return (a->kind == CLAIM_NETWORK && b->kind == CLAIM_HOST)
           || (a->kind == CLAIM_HOST && b->kind == CLAIM_NETWORK);
}

static void report_overlap(struct checker *c, const struct claim *a, const struct claim *b)
{
    static const char *const kinds[] = {
        [CLAIM_NETWORK] = "the network of region",
        [CLAIM_PUBLIC] = "the public address of region",
        [CLAIM_HOST] = "the address of host",
        [CLAIM_CLIENT] = "the clients of",
        [CLAIM_BRIDGE] = "the bridge of host",
    };
    bool a_first =
        a->at->line != b->at->line ? a->at->line < b->at->line : a->at->column < b->at->column;
    const struct claim *first = a_first ? a : b, *later = a_first ? b : a;
    bool same = ip_eq(&a->prefix.addr, &b->prefix.addr) && a->prefix.bits == b->prefix.bits;
    char text[IP_TEXT_SIZE];
    ip_prefix_format(&later->prefix, text);
    unsigned whole = later->prefix.addr.family == 4 ? 32 : 128;
    if (later->prefix.bits == whole)
        *strchr(text, '/') = '\0';
    problem_fix(
        schema_problem(c->p, later->at, "%s %s %s %s (line %u)", text,
            same ? "is also" : "overlaps", kinds[first->kind], first->owner, first->at->line),
        "choose addresses that nothing else has");
}

/* Sorted prefixes nest like brackets: a stack of those still open finds every overlap in one pass.
 * What conflicts is reported against one and not opened, so the stack holds at most the bridges and
 * one network. */
static void check_overlaps(struct checker *c)
{
    struct claims all = {0};
    claim_all(c, &all);
    if (all.n)
        qsort(all.v, all.n, sizeof *all.v, compare_claims);
    const struct claim **open = arena_alloc(c->arena, (all.n + 1) * sizeof *open);
    size_t depth = 0;
    for (size_t i = 0; i < all.n; i++) {
        const struct claim *one = &all.v[i];
        while (depth && !ip_prefix_contains(&open[depth - 1]->prefix, &one->prefix.addr))
            depth--;
        bool conflict = false;
        for (size_t k = depth; k-- > 0 && !conflict;) {
            conflict = !may_overlap(open[k], one);
            if (conflict)
                report_overlap(c, open[k], one);
        }
        if (!conflict)
            open[depth++] = one;
    }
    free(all.v);
}

void decl_check(struct checker *c)
{
    check_duties(c);
    const struct decl_host *hosts = c->d->hosts.v;
    for (size_t i = 0; i < c->d->hosts.n; i++)
        check_host(c, &hosts[i]);
    check_state(c);
    check_wan(c);
    check_overlaps(c);
}
