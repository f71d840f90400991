/* SPDX-License-Identifier: Apache-2.0 */
/* One step: the world as it is seen, each module in each region, what changed in the documents. */
#include "domain/schedule/priv.h"

/* Documents that change together are written in one transaction (KV_TXN_MAX operations, half of them
 * compares). */
#define WRITES_MAX 30u
#define UNDECLARED_DRAIN_MS 10000u
#define LACK_RETRY_MS 10000u /* should a host's room change unseen */

struct schedule *schedule_new(void)
{
    return xcalloc(1, sizeof(struct schedule));
}

void schedule_guard_off(struct schedule *s, enum schedule_guard guard)
{
    s->guard_off[guard] = true;
}

static void forget_generations(struct schedule *s)
{
    for (size_t i = 0; i < s->n_generations; i++)
        json_decref((json_t *)s->generations[i].spec);
    free(s->generations);
    s->generations = NULL;
    s->n_generations = 0;
}

/* The model, its files and its number together: an address may be used again. */
static void learn_generations(struct schedule *s, const struct schedule_input *in)
{
    if (s->of_model == in->model && s->of_files == in->files && s->of_revision == in->revision
        && s->n_generations == in->model->n_modules)
        return;
    forget_generations(s);
    s->n_generations = in->model->n_modules;
    s->generations = xcalloc(s->n_generations + 1, sizeof *s->generations);
    for (size_t i = 0; i < s->n_generations; i++) {
        struct generation *g = &s->generations[i];
        struct err ignored; /* a revision without a digest of its image is never accepted */
        json_t *spec;
        if (schedule_generation(
                in->model, in->files, &in->model->modules[i], &spec, g->id, &ignored)
            >= 0)
            g->spec = spec;
    }
    s->of_model = in->model;
    s->of_files = in->files;
    s->of_revision = in->revision;
}

static void clear(struct schedule *s)
{
    forget_generations(s);
    for (size_t i = 0; i < s->n_places; i++)
        placement_done(&s->places[i]);
    for (size_t i = 0; i < s->n_deploys; i++)
        deploy_done(&s->deploys[i]);
    free(s->places);
    free(s->deploys);
}

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    clear(s);
    free(s);
}

static int load(struct schedule *s, const json_t *docs, struct err *e)
{
    const char *key;
    json_t *doc;
    json_object_foreach ((json_t *)docs, key, doc) {
        int r = 0;
        if (str_starts(key, "placement/"))
            r = placement_parse(placement_get(s, key + strlen("placement/")), doc, e);
        else if (str_starts(key, "deploy/"))
            r = deploy_parse(GROW(s->deploys, s->n_deploys, s->cap_deploys), doc, e);
        if (r < 0)
            return err_wrap(e, "%s", key);
    }
    return 0;
}

/* Timers count on: a lost race is no reason to begin them anew. */
static void keep_instance_timers(struct placement *to, const struct placement *from)
{
    for (size_t i = 0; i < to->n; i++)
        for (size_t k = 0; k < from->n; k++)
            if (!strcmp(to->v[i].name, from->v[k].name) && !strcmp(to->v[i].host, from->v[k].host)
                && to->v[i].drain_seq == from->v[k].drain_seq) {
                to->v[i].drain_due = from->v[k].drain_due;
                to->v[i].ready_at = from->v[k].ready_at;
            }
}

static void keep_timers(struct schedule *to, struct schedule *from)
{
    for (size_t i = 0; i < to->n_places; i++) {
        const struct placement *p = placement_find(from, to->places[i].region);
        if (p)
            keep_instance_timers(&to->places[i], p);
    }
    for (size_t i = 0; i < to->n_deploys; i++) {
        struct deploy *d = &to->deploys[i], *old = deploy_find(from, d->module);
        if (!old || old->id != d->id || old->state != d->state)
            continue;
        d->due = old->deadline_ms == d->deadline_ms ? old->due : 0;
        for (size_t k = 0; k < d->n_parts; k++) {
            const struct part *part = deploy_find_part(old, d->parts[k].region);
            d->parts[k].canary_at = part ? part->canary_at : 0;
        }
    }
}

int schedule_load(struct schedule *s, const json_t *docs, struct err *e)
{
    struct schedule fresh = {0};
    int r = load(&fresh, docs, e);
    if (r < 0) {
        clear(&fresh);
        return r;
    }
    keep_timers(&fresh, s);
    memcpy(fresh.guard_off, s->guard_off, sizeof fresh.guard_off);
    clear(s);
    *s = fresh;
    return 0;
}

void step_note(struct step *st, const char *module, const char *cause, const char *fmt, ...)
{
    struct schedule_actions *out = st->out;
    struct schedule_note *n = GROW(out->notes, out->n_notes, out->cap_notes);
    str_copy(n->subject, sizeof n->subject, module);
    str_copy(n->cause, sizeof n->cause, cause);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->message, sizeof n->message, fmt, ap);
    va_end(ap);
}

void step_due(struct step *st, uint64_t at_ms)
{
    st->out->due_ms = MIN(st->out->due_ms, at_ms);
}

const struct model_instances *module_wanted(
    const struct model_module *m, const struct model_region *r)
{
    static const struct model_instances none;
    for (size_t i = 0; i < m->n_instances; i++)
        if (m->instances[i].region == r)
            return &m->instances[i];
    return &none;
}

bool region_silent(const struct step *st, const char *region)
{
    for (size_t i = 0; i < st->in->model->n_hosts; i++)
        if (!strcmp(st->hosts[i].model->region->name, region) && st->hosts[i].seen
            && st->hosts[i].seen->heard)
            return false;
    return true;
}

static json_t *units_by_name(const json_t *units)
{
    if (!json_is_array(units))
        return NULL;
    json_t *map = json_object();
    size_t i;
    json_t *u;
    json_array_foreach (units, i, u)
        json_object_set(map, json_opt_str(u, "name", ""), u);
    return map;
}

static void look_at_hosts(struct step *st)
{
    const struct schedule_input *in = st->in;
    st->hosts = xcalloc(in->model->n_hosts + 1, sizeof *st->hosts);
    for (size_t i = 0; i < in->model->n_hosts; i++)
        st->hosts[i].model = &in->model->hosts[i];
    for (size_t i = 0; i < in->n_hosts; i++) {
        struct host_view *h = step_host(st, in->hosts[i].name);
        if (!h || h->seen)
            continue;
        h->seen = &in->hosts[i];
        h->units = units_by_name(in->hosts[i].units);
    }
}

static struct module_view *find_view(const struct step *st, const char *name)
{
    const struct model_module *m = model_find_module(st->in->model, name);
    if (m)
        return &st->modules[m - st->in->model->modules];
    for (size_t i = st->in->model->n_modules; i < st->n_modules; i++)
        if (!strcmp(st->modules[i].model->name, name))
            return &st->modules[i];
    return NULL;
}

/* Its instances leave, its rollout is forgotten. */
static void add_undeclared(struct step *st, const char *name)
{
    if (!*name || find_view(st, name))
        return;
    struct module_view *m = GROW(st->modules, st->n_modules, st->cap_modules);
    m->undeclared.name = xstrdup(name);
    m->undeclared.rollout.drain_ms = UNDECLARED_DRAIN_MS;
    m->undeclared.probe.kind = PROBE_NONE;
    for (size_t i = st->in->model->n_modules; i < st->n_modules; i++) /* they may have moved */
        st->modules[i].model = &st->modules[i].undeclared;
}

static void look_at_modules(struct step *st)
{
    const struct schedule_input *in = st->in;
    learn_generations(st->s, in);
    for (size_t i = 0; i < in->model->n_modules; i++) {
        struct module_view *m = GROW(st->modules, st->n_modules, st->cap_modules);
        m->model = &in->model->modules[i];
        m->wanted = st->s->generations[i];
    }
    for (size_t r = 0; r < st->s->n_places; r++)
        for (size_t i = 0; i < st->s->places[r].n; i++)
            add_undeclared(st, st->s->places[r].v[i].module);
    for (size_t i = 0; i < st->s->n_deploys; i++)
        add_undeclared(st, st->s->deploys[i].module);
    for (size_t i = 0; i < st->n_modules; i++)
        st->modules[i].deploy = deploy_find(st->s, st->modules[i].model->name);
}

static void look_away(struct step *st)
{
    for (size_t i = 0; i < st->in->model->n_hosts; i++)
        json_decref(st->hosts[i].units);
    for (size_t i = st->in->model->n_modules; i < st->n_modules; i++)
        free((char *)st->modules[i].undeclared.name);
    free(st->hosts);
    free(st->modules);
}

/* A platform older than placements: what its agents run under a name of a declared module stays. */
static void adopt(struct step *st, struct placement *p, const struct host_view *h, const json_t *u)
{
    const struct module_view *m = find_view(st, json_opt_str(u, "module", ""));
    const char *name = json_opt_str(u, "name", "");
    if (!m || !m->wanted.spec || !str_eq(json_opt_str(u, "kind", NULL), "module"))
        return;
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->v[i].name, name))
            return;
    struct instance *i = GROW(p->v, p->n, p->cap);
    str_copy(i->name, sizeof i->name, name);
    str_copy(i->module, sizeof i->module, m->model->name);
    str_copy(i->host, sizeof i->host, h->model->name);
    str_copy(i->spec, sizeof i->spec, m->wanted.id);
    json_object_set(p->specs, m->wanted.id, (json_t *)m->wanted.spec);
    i->standby = json_opt_bool(u, "standby", false);
    i->weight = WEIGHT_FULL;
    i->since_ms = json_opt_int(u, "since_ms", st->wall);
}

static void begin_region(struct step *st, const struct model_region *r)
{
    if (placement_find(st->s, r->name))
        return;
    struct placement *p = placement_get(st->s, r->name);
    for (size_t i = 0; i < st->in->model->n_hosts; i++) {
        const char *name;
        json_t *u;
        if (st->hosts[i].model->region == r)
            json_object_foreach (st->hosts[i].units, name, u)
                adopt(st, p, &st->hosts[i], u);
    }
}

/* The instances of each module, as a list through p->v. */
static void chain(struct step *st, struct placement *p)
{
    for (size_t i = 0; i < st->n_modules; i++)
        st->modules[i].first = -1;
    for (size_t i = p->n; i-- > 0;) {
        struct module_view *m = find_view(st, p->v[i].module);
        ASSERT(m);
        p->v[i].next = m->first;
        m->first = (int)i;
    }
}

static void step_region(struct step *st, const struct model_region *r)
{
    struct placement *p = placement_get(st->s, r->name);
    if (!region_silent(st, r->name))
        json_array_clear(p->lacks);
    chain(st, p);
    for (size_t i = 0; i < st->n_modules; i++) {
        struct aim aim;
        struct tally t;
        rollout_aim(st, &st->modules[i], r, &aim);
        step_module_region(st, p, &aim, &t);
        if (t.lacking)
            step_due(st, st->now + LACK_RETRY_MS);
        struct deploy *d = st->modules[i].deploy;
        struct part *part = d && deploy_live(d) ? deploy_find_part(d, r->name) : NULL;
        if (part)
            part->tally = t;
    }
}

static void put(struct step *st, const char *kind, const char *name, json_t *doc)
{
    if (!doc)
        return;
    _cleanup_free_ char *key = xasprintf("%s/%s", kind, name);
    if (!st->out->write)
        st->out->write = json_object();
    json_object_set_new(st->out->write, key, doc);
}

static void write_deploys(struct step *st)
{
    struct schedule *s = st->s;
    size_t n = 0;
    for (size_t i = 0; i < s->n_deploys; i++) {
        struct deploy *d = &s->deploys[i];
        if (d->gone) {
            put(st, "deploy", d->module, json_null());
            deploy_done(d);
            continue;
        }
        put(st, "deploy", d->module, deploy_write(d));
        s->deploys[n++] = *d;
    }
    s->n_deploys = n;
}

/* Rollouts begin only as many at a time as one transaction can say. */
static void decide(struct step *st)
{
    size_t room = WRITES_MAX - MIN(WRITES_MAX / 2, st->in->model->n_regions), live = 0;
    for (size_t i = 0; i < st->n_modules; i++)
        live += st->modules[i].deploy && deploy_live(st->modules[i].deploy);
    for (size_t i = 0; i < st->n_modules; i++) {
        struct module_view *m = &st->modules[i];
        bool was = m->deploy && deploy_live(m->deploy);
        m->held = !was && live >= room;
        if (m->held)
            continue;
        rollout_decide(st, m);
        live += !was && m->deploy && deploy_live(m->deploy);
    }
    for (size_t i = 0; i < st->n_modules; i++)
        rollout_gate(st, &st->modules[i]);
}

void schedule_step(struct schedule *s, const struct schedule_input *in, uint64_t now_ms,
    int64_t wall_ms, struct schedule_actions *out)
{
    struct step st = {.s = s, .in = in, .now = now_ms, .wall = wall_ms, .out = out};
    *out = (struct schedule_actions){.due_ms = UINT64_MAX};
    look_at_hosts(&st);
    look_at_modules(&st);
    for (size_t i = 0; i < in->model->n_regions; i++)
        begin_region(&st, &in->model->regions[i]);
    step_loads(&st);
    decide(&st);
    for (size_t i = 0; i < in->model->n_regions; i++)
        step_region(&st, &in->model->regions[i]);
    for (size_t i = 0; i < st.n_modules; i++)
        rollout_conclude(&st, &st.modules[i]);
    for (size_t i = 0; i < s->n_places; i++)
        put(&st, "placement", s->places[i].region, placement_write(&s->places[i], &st));
    write_deploys(&st);
    look_away(&st);
}

void schedule_actions_done(struct schedule_actions *a)
{
    json_decref(a->write);
    free(a->notes);
    *a = (struct schedule_actions){0};
}
