/* SPDX-License-Identifier: Apache-2.0 */
/* A declaration reduced to what steering needs: routed names, ordered lists (each once, however
 * many countries share it), thresholds. */
#include "domain/steering/steering.h"

#include "base/arena/arena.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_countries(const void *a, const void *b)
{
    return strcmp(((const struct steer_country *)a)->code, ((const struct steer_country *)b)->code);
}

/* Every name that a route has, once, sorted. */
static int collect_names(const struct model *m, struct steer_plan *p, struct err *e)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            total += m->modules[i].routes[k].n_names;
    const char **v = arena_alloc(p->arena, (total + 1) * sizeof *v);
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t j = 0; j < m->modules[i].routes[k].n_names; j++)
                v[n++] = arena_strdup(p->arena, m->modules[i].routes[k].names[j]);
    qsort(v, n, sizeof *v, compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(v[kept - 1], v[i]) != 0)
            v[kept++] = v[i];
    if (kept > HEALTH_NAMES_MAX)
        return err_set(
            e, ERR_LIMIT, "%zu routed names, at most %d are steered", kept, HEALTH_NAMES_MAX);
    p->space.names = v;
    p->space.n_names = kept;
    return 0;
}

bool steer_plan_find_name(const struct steer_plan *p, const char *name, size_t *ret)
{
    const char *const *hit =
        bsearch(&name, p->space.names, p->space.n_names, sizeof name, compare_names);
    if (hit)
        *ret = (size_t)(hit - p->space.names);
    return hit != NULL;
}

static uint64_t module_regions(const struct model *m, const struct model_module *mod)
{
    uint64_t regions = 0;
    for (size_t i = 0; i < mod->n_instances; i++) {
        const struct model_instances *in = &mod->instances[i];
        if (in->active && m->regions[in->region->index].addresses.n)
            regions |= 1ull << in->region->index;
    }
    return regions;
}

/* A region serves a name when it has an address and an instance of every module behind the name. */
static void collect_places(const struct model *m, struct steer_plan *p)
{
    p->serves = arena_alloc(p->arena, (p->space.n_names + 1) * sizeof *p->serves);
    for (size_t n = 0; n < p->space.n_names; n++)
        p->serves[n] = UINT64_MAX;
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_module *mod = &m->modules[i];
        for (size_t k = 0; k < mod->n_routes; k++)
            for (size_t j = 0; j < mod->routes[k].n_names; j++) {
                size_t name = 0;
                ASSERT(steer_plan_find_name(p, mod->routes[k].names[j], &name));
                p->serves[name] &= module_regions(m, mod);
            }
    }
}

static bool same_order(const struct steer_list *l, const struct model_region_list *order)
{
    if (l->n != order->n)
        return false;
    for (size_t i = 0; i < l->n; i++)
        if (l->order[i] != order->v[i]->index)
            return false;
    return true;
}

static void fill_list(struct steer_list *l, const struct model_region_list *order, char *label)
{
    l->label = label;
    l->n = MIN(order->n, (size_t)HEALTH_REGIONS_MAX);
    for (size_t i = 0; i < l->n; i++)
        l->order[i] = (uint8_t)order->v[i]->index;
}

/* The index of the list with this order, made if it is new. */
static int intern_list(struct steer_plan *p, const struct model_region_list *order,
    const char *label, size_t *ret, struct err *e)
{
    for (size_t at = 0; at < p->n_lists; at++)
        if (same_order(&p->lists[at], order)) {
            p->lists[at].label = arena_printf(p->arena, "%s, %s", p->lists[at].label, label);
            *ret = at;
            return 0;
        }
    if (p->n_lists == STEER_LISTS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d different lists of regions", STEER_LISTS_MAX);
    *ret = p->n_lists++;
    fill_list(&p->lists[*ret], order, arena_strdup(p->arena, label));
    return 0;
}

static int collect_lists(const struct model *m, struct steer_plan *p, struct err *e)
{
    const struct model_routing *route = &m->routing;
    p->countries = arena_alloc(p->arena, (route->n_countries + 1) * sizeof *p->countries);
    p->n_countries = route->n_countries;
    p->lists = arena_alloc(
        p->arena, MIN(route->n_countries + 1, (size_t)STEER_LISTS_MAX) * sizeof *p->lists);
    size_t fallback;
    int r = intern_list(p, &route->fallback, "default", &fallback, e);
    for (size_t i = 0; i < route->n_countries && r >= 0; i++) {
        const struct model_country *c = &route->countries[i];
        str_copy(p->countries[i].code, sizeof p->countries[i].code, c->code);
        r = intern_list(p, &c->order, c->code, &p->countries[i].list, e);
    }
    qsort(p->countries, p->n_countries, sizeof *p->countries, compare_countries);
    return r;
}

int steer_plan_new(const struct model *m, uint64_t revision, struct steer_plan **ret, struct err *e)
{
    if (m->n_regions == 0 || m->n_regions > HEALTH_REGIONS_MAX)
        return err_set(
            e, ERR_LIMIT, "%zu regions, 1 to %d are steered", m->n_regions, HEALTH_REGIONS_MAX);
    struct arena *arena = arena_new(0);
    struct steer_plan *p = arena_alloc(arena, sizeof *p);
    const struct model_health *h = &m->routing.health;
    *p = (struct steer_plan){.arena = arena,
        .revision = revision,
        .params = {h->interval_ms, h->timeout_ms, h->down, h->up},
        .ttl_s = (uint32_t)(m->routing.ttl_ms / 1000),
        .has_references = h->n_references > 0};
    const char **regions = arena_alloc(arena, m->n_regions * sizeof *regions);
    for (size_t i = 0; i < m->n_regions; i++)
        regions[i] = arena_strdup(arena, m->regions[i].name);
    p->space.regions = regions;
    p->space.n_regions = m->n_regions;
    int r = collect_names(m, p, e);
    if (r >= 0)
        r = collect_lists(m, p, e);
    if (r < 0) {
        steer_plan_free(p);
        return r;
    }
    collect_places(m, p);
    *ret = p;
    return 0;
}

void steer_plan_free(struct steer_plan *p)
{
    if (p)
        arena_free(p->arena);
}

size_t steer_plan_list(const struct steer_plan *p, const char *country)
{
    struct steer_country key = {0};
    if (!country || !str_copy(key.code, sizeof key.code, country))
        return 0;
    const struct steer_country *hit =
        bsearch(&key, p->countries, p->n_countries, sizeof key, compare_countries);
    return hit ? hit->list : 0;
}
