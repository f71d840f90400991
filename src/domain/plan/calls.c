/* SPDX-License-Identifier: Apache-2.0 */
/* Who may call whom, and what outside: nothing restarts for it, except that the first name outside
 * and the last one change a module's environment. */
#include "domain/plan/priv.h"

struct allowed { /* one thing that one module may reach */
    const char *module, *what, *key;
    bool is_module;
};

static int compare_allowed(const void *x, const void *y)
{
    const struct allowed *a = x, *b = y;
    int r = strcmp(a->module, b->module);
    r = r ? r : (int)b->is_module - (int)a->is_module;
    return r ? r : strcmp(a->key, b->key);
}

static const char *egress_text(struct differ *d, const struct model_egress *e)
{
    const char *star = e->below ? "*." : "";
    return e->port ? arena_printf(d->scratch, "%s%s:%u", star, e->name, e->port)
                   : arena_printf(d->scratch, "%s%s", star, e->name);
}

static struct allowed *allowed_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        n += m->modules[i].n_needs + m->modules[i].n_egress;
    struct allowed *v = arena_alloc(d->scratch, (n + 1) * sizeof *v);
    n = 0;
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_module *module = &m->modules[i];
        for (size_t k = 0; k < module->n_needs; k++) {
            const char *name = module->needs[k]->name;
            v[n++] = (struct allowed){
                module->name, arena_printf(d->scratch, "module %s", name), name, true};
        }
        for (size_t k = 0; k < module->n_egress; k++) {
            const char *name = egress_text(d, &module->egress[k]);
            v[n++] = (struct allowed){module->name, name, name, false};
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
    plan_note(d, new->is_module ? "new: declared in needs" : "new: declared in egress");
    plan_add(d, PLAN_CREATE, "calls", "no restart", "calls of module %s to %s", new->module,
        new->what);
}

static void each_removed(struct differ *d, const void *o, const void *n)
{
    const struct allowed *old = o;
    if (n)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "calls", "refused from then on", "calls of module %s to %s",
        old->module, old->what);
}

void plan_diff_calls(struct differ *d, bool removals)
{
    size_t n_old, n_new;
    struct allowed *old = allowed_of(d, d->old, &n_old), *new = allowed_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_allowed,
        removals ? each_removed : each_new);
}
