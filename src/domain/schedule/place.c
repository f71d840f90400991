/* SPDX-License-Identifier: Apache-2.0 */
/* Which host takes an instance: instances of one module on different hosts first, then the host that is
 * least loaded by what is declared. Nothing that runs is ever moved for balance. */
#include "domain/schedule/priv.h"

/* A host that does not tell its size is taken for a small one. */
#define UNKNOWN_MEMORY (2ull * 1024 * 1024 * 1024)
#define UNKNOWN_CPU 2000u
/* Limits are upper bounds, rarely reached together; beyond twice the memory a host takes no more. */
#define MEMORY_OVERCOMMIT 2u

struct host_view *step_host(const struct step *st, const char *name)
{
    const struct model_host *h = model_find_host(st->in->model, name);
    return h ? &st->hosts[h->index] : NULL;
}

bool host_lost(const struct step *st, const struct placement *p, const char *host)
{
    const struct host_view *h = step_host(st, host);
    return !h || strcmp(h->model->region->name, p->region) != 0 || !h->seen || !h->seen->heard;
}

const json_t *step_unit(const struct step *st, const struct instance *i)
{
    const struct host_view *h = step_host(st, i->host);
    return h ? json_object_get(h->units, i->name) : NULL;
}

/* An agent that tells no "spec" is older than placements: what it runs is what it was told. */
int step_ready(const struct step *st, const struct instance *i)
{
    const struct host_view *h = step_host(st, i->host);
    if (!h || !h->units)
        return READY_UNKNOWN;
    const json_t *u = json_object_get(h->units, i->name);
    return u && str_eq(json_opt_str(u, "state", NULL), "ready")
                   && !strcmp(json_opt_str(u, "spec", i->spec), i->spec)
               ? READY_YES
               : READY_NO;
}

static void add_load(const struct step *st, const struct placement *p, const struct instance *i)
{
    struct host_view *h = step_host(st, i->host);
    const json_t *limits = json_object_get(json_object_get(p->specs, i->spec), "limits");
    if (!h || i->gone)
        return;
    h->load.memory_bytes += (uint64_t)json_opt_int(limits, "memory_bytes", 0);
    h->load.cpu_milli += (uint64_t)json_opt_int(limits, "cpu_milli", 0);
}

void step_loads(struct step *st)
{
    for (size_t k = 0; k < st->s->n_places; k++)
        for (size_t i = 0; i < st->s->places[k].n; i++)
            add_load(st, &st->s->places[k], &st->s->places[k].v[i]);
}

struct rank { /* smaller is better, the first difference decides */
    unsigned same_generation, same_module;
    uint64_t load; /* of memory or cpu, whichever is scarcer, in 1/1000 of the host */
};

static uint64_t memory_of(const struct host_view *h)
{
    return h->seen->memory_bytes ? h->seen->memory_bytes : UNKNOWN_MEMORY;
}

static struct rank rank_of(const struct placement *p, const struct host_view *h,
    const struct module_view *mv, const char *generation)
{
    const struct model_module *m = mv->model;
    struct rank r = {0};
    for (int i = mv->first; i >= 0; i = p->v[i].next) {
        const struct instance *in = &p->v[i];
        if (in->gone || in->drain || strcmp(in->host, h->model->name) != 0)
            continue;
        r.same_module++;
        r.same_generation += !strcmp(in->spec, generation);
    }
    unsigned cpu = h->seen->cpu_milli ? h->seen->cpu_milli : UNKNOWN_CPU;
    uint64_t memory = (h->load.memory_bytes + m->limits.memory_bytes) / (memory_of(h) / 1000 + 1);
    r.load = MAX(memory, (h->load.cpu_milli + m->limits.cpu_milli) * 1000 / cpu);
    return r;
}

static bool better(struct rank a, struct rank b)
{
    if (a.same_generation != b.same_generation)
        return a.same_generation < b.same_generation;
    if (a.same_module != b.same_module)
        return a.same_module < b.same_module;
    return a.load < b.load;
}

/* NULL: it can take the instance. */
static const char *refuses(const struct host_view *h, const struct model_module *m)
{
    if (!h->seen || !h->seen->heard)
        return "is silent";
    if (h->seen->drained)
        return "is drained";
    if (!h->seen->usable)
        return "cannot run instances now";
    if (h->seen->memory_bytes
        && h->load.memory_bytes + m->limits.memory_bytes
               > MEMORY_OVERCOMMIT * h->seen->memory_bytes)
        return "has no memory left";
    return NULL;
}

static struct host_view *best_host(const struct step *st, const struct placement *p,
    const struct module_view *m, const char *generation, char why[REASON_SIZE])
{
    struct host_view *best = NULL;
    struct rank rank = {0};
    size_t len = 0;
    snprintf(why, REASON_SIZE, "the region has no host");
    for (size_t i = 0; i < st->in->model->n_hosts; i++) {
        struct host_view *h = &st->hosts[i];
        if (strcmp(h->model->region->name, p->region) != 0)
            continue;
        const char *no = refuses(h, m->model);
        if (no) {
            if (len < REASON_SIZE)
                len += (size_t)snprintf(
                    why + len, REASON_SIZE - len, "%s%s %s", len ? ", " : "", h->model->name, no);
            continue;
        }
        struct rank r = rank_of(p, h, m, generation);
        if (!best || better(r, rank)) {
            best = h;
            rank = r;
        }
    }
    return best;
}

/* Free: in no document, and no agent that is heard still has a process of that name. */
static bool name_free(
    const struct step *st, const struct placement *p, const struct module_view *m, const char *name)
{
    for (int i = m->first; i >= 0; i = p->v[i].next)
        if (!strcmp(p->v[i].name, name))
            return false;
    for (size_t i = 0; i < st->in->model->n_hosts; i++) {
        const struct host_view *h = &st->hosts[i];
        if (!strcmp(h->model->region->name, p->region) && h->seen && h->seen->heard
            && json_object_get(h->units, name))
            return st->s->guard_off[GUARD_NAMES];
    }
    return true;
}

int step_create(struct step *st, struct placement *p, struct module_view *m,
    const struct generation *g, bool standby, char why[REASON_SIZE])
{
    struct host_view *h = best_host(st, p, m, g->id, why);
    if (!h)
        return -1;
    char name[NAME_SIZE];
    unsigned n = 1;
    do
        snprintf(name, sizeof name, "%s-%u", m->model->name, n);
    while (!name_free(st, p, m, name) && n++ < 1000);
    struct instance *i = GROW(p->v, p->n, p->cap);
    str_copy(i->name, sizeof i->name, name);
    str_copy(i->module, sizeof i->module, m->model->name);
    str_copy(i->host, sizeof i->host, h->model->name);
    str_copy(i->spec, sizeof i->spec, g->id);
    i->standby = standby;
    i->kind = standby ? KIND_STANDBY : KIND_GOOD;
    i->ready = READY_NO;
    i->weight = WEIGHT_FULL;
    i->since_ms = st->wall;
    i->next = m->first;
    m->first = (int)p->n - 1;
    json_object_set(p->specs, g->id, (json_t *)g->spec);
    add_load(st, p, i);
    return m->first;
}
