/* SPDX-License-Identifier: Apache-2.0 */
/* Who may call whom, use which tables, and what outside: nothing restarts for it, except that the
 * first name outside and the last one change a module's environment. */
#include "domain/plan/priv.h"

enum allowed_kind { ALLOWED_MODULE, ALLOWED_DATA, ALLOWED_EGRESS };

struct allowed { /* one thing that one module may reach */
    const char *module, *what, *key;
    enum allowed_kind kind;
};

static int compare_allowed(const void *x, const void *y)
{
    const struct allowed *a = x, *b = y;
    int r = strcmp(a->module, b->module);
    r = r ? r : (int)a->kind - (int)b->kind;
    return r ? r : strcmp(a->key, b->key);
}

static const char *egress_text(struct differ *d, const struct model_egress *e)
{
    const char *star = e->below ? "*." : "";
    return e->port ? arena_printf(d->scratch, "%s%s:%u", star, e->name, e->port)
                   : arena_printf(d->scratch, "%s%s", star, e->name);
}

static size_t grants_of(struct differ *d, const struct model_module *m, struct allowed *v)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_grants; i++) {
        const struct model_grant *g = &m->grants[i];
        const char *db = g->database->name;
        const char *texts[2] = {
            g->publish ? arena_printf(d->scratch, "%s: publish events", db) : NULL,
            g->consume ? arena_printf(d->scratch, "%s: consume events", db) : NULL};
        for (size_t k = 0; k < g->n_tables; k++) {
            const char *text = arena_printf(
                d->scratch, "%s.%s: %s", db, g->tables[k], data_access_name(g->access[k]));
            v[n++] = (struct allowed){m->name, text, text, ALLOWED_DATA};
        }
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            if (texts[k])
                v[n++] = (struct allowed){m->name, texts[k], texts[k], ALLOWED_DATA};
    }
    return n;
}

static struct allowed *allowed_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++) {
        n += m->modules[i].n_needs + m->modules[i].n_egress;
        for (size_t k = 0; k < m->modules[i].n_grants; k++)
            n += m->modules[i].grants[k].n_tables + 2;
    }
    struct allowed *v = arena_alloc(d->scratch, (n + 1) * sizeof *v);
    n = 0;
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_module *module = &m->modules[i];
        for (size_t k = 0; k < module->n_needs; k++) {
            const char *name = module->needs[k]->name;
            v[n++] = (struct allowed){
                module->name, arena_printf(d->scratch, "module %s", name), name, ALLOWED_MODULE};
        }
        n += grants_of(d, module, &v[n]);
        for (size_t k = 0; k < module->n_egress; k++) {
            const char *name = egress_text(d, &module->egress[k]);
            v[n++] = (struct allowed){module->name, name, name, ALLOWED_EGRESS};
        }
    }
    if (n)
        qsort(v, n, sizeof *v, compare_allowed);
    *ret_n = n;
    return v;
}

static void each_new(struct differ *d, const void *o, const void *n)
{
    const struct allowed *new = n;
    if (o || !new)
        return;
    plan_note(
        d, new->kind == ALLOWED_EGRESS ? "new: declared in egress" : "new: declared in needs");
    plan_add(d, PLAN_CREATE, "calls", "no restart", "%s of module %s to %s",
        new->kind == ALLOWED_DATA ? "access" : "calls", new->module, new->what);
}

static void each_removed(struct differ *d, const void *o, const void *n)
{
    const struct allowed *old = o;
    if (n)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "calls", "refused from then on", "%s of module %s to %s",
        old->kind == ALLOWED_DATA ? "access" : "calls", old->module, old->what);
}

void plan_diff_calls(struct differ *d, bool removals)
{
    size_t n_old, n_new;
    struct allowed *old = allowed_of(d, d->old, &n_old), *new = allowed_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_allowed,
        removals ? each_removed : each_new);
}
