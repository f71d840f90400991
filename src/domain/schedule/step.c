/* SPDX-License-Identifier: Apache-2.0 */
/* One step: the world as it is seen, each module in each region, what changed in the documents. */
#include "domain/schedule/priv.h"

struct schedule *schedule_new(void)
{
    return xcalloc(1, sizeof(struct schedule));
}

static void clear(struct schedule *s)
{
    for (size_t i = 0; i < s->n_places; i++)
        placement_done(&s->places[i]);
    free(s->places);
    *s = (struct schedule){0};
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
        if (!str_starts(key, "placement/"))
            continue;
        int r = placement_parse(placement_get(s, key + strlen("placement/")), doc, e);
        if (r < 0)
            return err_wrap(e, "%s", key);
    }
    return 0;
}

int schedule_load(struct schedule *s, const json_t *docs, struct err *e)
{
    struct schedule fresh = {0};
    int r = load(&fresh, docs, e);
    if (r < 0) {
        clear(&fresh);
        return r;
    }
    clear(s);
    *s = fresh;
    return 0;
}

void step_note(struct step *st, const char *subject, const char *cause, const char *fmt, ...)
{
    struct schedule_actions *out = st->out;
    struct schedule_note *n = GROW(out->notes, out->n_notes, out->cap_notes);
    str_copy(n->subject, sizeof n->subject, subject);
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

static void look(struct step *st)
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
    st->generations = xcalloc(in->model->n_modules + 1, sizeof *st->generations);
    for (size_t i = 0; i < in->model->n_modules; i++) {
        struct err ignored; /* a revision without a digest of its image is never accepted */
        if (schedule_generation(in->model, in->files, &in->model->modules[i],
                &st->generations[i].spec, st->generations[i].id, &ignored)
            < 0)
            st->generations[i].spec = NULL;
    }
}

static void look_away(struct step *st)
{
    for (size_t i = 0; i < st->in->model->n_hosts; i++)
        json_decref(st->hosts[i].units);
    for (size_t i = 0; i < st->in->model->n_modules; i++)
        json_decref(st->generations[i].spec);
    free(st->hosts);
    free(st->generations);
}

/* A platform older than placements: what its agents run under a name of a declared module stays. */
static void adopt(struct step *st, struct placement *p, const struct host_view *h, const json_t *u)
{
    const struct model_module *m = model_find_module(st->in->model, json_opt_str(u, "module", ""));
    const char *name = json_opt_str(u, "name", "");
    if (!m || !st->generations[m - st->in->model->modules].spec
        || !str_eq(json_opt_str(u, "kind", NULL), "module"))
        return;
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->v[i].name, name))
            return;
    struct instance *i = GROW(p->v, p->n, p->cap);
    str_copy(i->name, sizeof i->name, name);
    str_copy(i->module, sizeof i->module, m->name);
    str_copy(i->host, sizeof i->host, h->model->name);
    str_copy(i->spec, sizeof i->spec, st->generations[m - st->in->model->modules].id);
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

static const struct model_instances *wanted_in(
    const struct model_module *m, const struct model_region *r)
{
    static const struct model_instances none;
    for (size_t i = 0; i < m->n_instances; i++)
        if (m->instances[i].region == r)
            return &m->instances[i];
    return &none;
}

static void step_region(struct step *st, const struct model_region *r)
{
    struct placement *p = placement_get(st->s, r->name);
    json_array_clear(p->lacks);
    for (size_t i = 0; i < p->n; i++)
        p->v[i].gone = !model_find_module(st->in->model, p->v[i].module);
    for (size_t i = 0; i < st->in->model->n_modules; i++)
        if (st->generations[i].spec)
            step_module_region(st, p, &st->in->model->modules[i],
                wanted_in(&st->in->model->modules[i], r), &st->generations[i]);
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

void schedule_step(struct schedule *s, const struct schedule_input *in, uint64_t now_ms,
    int64_t wall_ms, struct schedule_actions *out)
{
    struct step st = {.s = s, .in = in, .now = now_ms, .wall = wall_ms, .out = out};
    *out = (struct schedule_actions){.due_ms = UINT64_MAX};
    look(&st);
    for (size_t i = 0; i < in->model->n_regions; i++)
        begin_region(&st, &in->model->regions[i]);
    step_loads(&st);
    for (size_t i = 0; i < in->model->n_regions; i++)
        step_region(&st, &in->model->regions[i]);
    for (size_t i = 0; i < s->n_places; i++)
        put(&st, "placement", s->places[i].region, placement_write(&s->places[i], &st));
    look_away(&st);
}

void schedule_actions_done(struct schedule_actions *a)
{
    json_decref(a->write);
    free(a->notes);
    *a = (struct schedule_actions){0};
}

json_t *schedule_status(const json_t *docs)
{
    json_t *list = json_array();
    const char *key;
    json_t *doc;
    json_object_foreach ((json_t *)docs, key, doc)
        if (str_starts(key, "deploy/"))
            json_array_append(list, doc);
    return json_pack("{s:o}", "deployments", list);
}
