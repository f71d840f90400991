/* SPDX-License-Identifier: Apache-2.0 */
/* Functions, and what they are bound to. They are told apart by what is declared, key by key: none
 * of it touches anything that runs. */
#include "domain/plan/priv.h"
#include "domain/revision/revision.h"

#include "base/str/str.h"

#define TEXT_MAX 60

static const json_t *declared(const struct model *m, const char *name)
{
    return json_object_get(json_object_get(m->tree, "functions"), name);
}

static const char *text_of(struct differ *d, const json_t *v)
{
    if (!v)
        return NULL;
    _cleanup_free_ char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    return arena_printf(d->scratch, "%.*s", (int)str_utf8_cut(text ? text : "", TEXT_MAX), text ? text : "");
}

static const char *digest_of(const json_t *files, const struct model_function *f)
{
    const char *key = revision_image_key(f->as.image);
    return key ? revision_file(files, key) : NULL;
}

static void note_key(struct differ *d, const json_t *old, const json_t *new, const char *key)
{
    const json_t *was = json_object_get(old, key), *is = json_object_get(new, key);
    if (!json_equal(was, is))
        plan_note(d, "%s: %s → %s", key, was ? text_of(d, was) : "none", is ? text_of(d, is) : "none");
}

static void note_changes(struct differ *d, const char *name)
{
    const json_t *old = declared(d->old, name), *new = declared(d->new, name);
    const char *key;
    json_t *ignored;
    json_object_foreach ((json_t *)(uintptr_t)new, key, ignored)
        note_key(d, old, new, key);
    json_object_foreach ((json_t *)(uintptr_t)old, key, ignored)
        if (!json_object_get(new, key))
            note_key(d, old, new, key);
}

static void each_function(struct differ *d, const void *o, const void *n)
{
    const struct model_function *old = o, *new = n;
    if (!old) {
        plan_note(d, "new: %s", new->as.image);
        plan_add(d, PLAN_CREATE, "functions", "no restart", "function %s", new->as.name);
        return;
    }
    if (!new)
        return;
    note_changes(d, new->as.name);
    const char *was = digest_of(d->old_files, old), *is = digest_of(d->new_files, new);
    if (!str_eq(was, is))
        plan_note(d, "image: %.19s → %.19s", was ? was : "none", is ? is : "none");
    if (d->reason.len)
        plan_add(d, PLAN_UPDATE, "functions", "no restart", "function %s", new->as.name);
}

static void each_removed(struct differ *d, const void *o, const void *n)
{
    const struct model_function *old = o;
    if (!n) {
        plan_note(d, "no longer declared");
        plan_add(d, PLAN_REMOVE, "functions", "no restart", "function %s", old->as.name);
    }
}

/* ---- what they are bound to: one text a binding */

static size_t add_bound(struct differ *d, const char **v, const char *what, const char *when,
    const struct model_function *const *list)
{
    size_t n = 0;
    for (; list && list[n]; n++)
        v[n] = arena_printf(d->scratch, "%s %s %s", list[n]->as.name, when, what);
    return n;
}

#define BOUND_MAX 16u /* of one module or database: eight before, eight after */

static const char **bound_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    const char **v =
        arena_alloc(d->scratch, (BOUND_MAX * (m->n_modules + m->n_databases) + 1) * sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++) {
        const char *what = arena_printf(d->scratch, "deployments of %s", m->modules[i].name);
        n += add_bound(d, &v[n], what, "before", m->modules[i].before);
        n += add_bound(d, &v[n], what, "after", m->modules[i].after);
    }
    for (size_t i = 0; i < m->n_databases; i++) {
        const struct model_failover *f = &m->databases[i].failover;
        const char *what = arena_printf(d->scratch, "a failover of %s", m->databases[i].name);
        n += add_bound(d, &v[n], what, "before", f->before);
        n += add_bound(d, &v[n], what, "after", f->after);
    }
    if (n)
        qsort(v, n, sizeof *v, plan_by_name);
    *ret_n = n;
    return v;
}

static void each_bound(struct differ *d, const void *o, const void *n)
{
    const char *const *old = o, *const *new = n;
    if (o && n)
        return;
    plan_note(d, o ? "no longer declared" : "new");
    plan_add(d, o ? PLAN_REMOVE : PLAN_CREATE, "functions", "no restart", "run %s", o ? *old : *new);
}

void plan_diff_functions(struct differ *d, bool removals)
{
    size_t n_old, n_new;
    plan_merge(d, d->old->functions, d->old->n_functions, d->new->functions, d->new->n_functions,
        sizeof(struct model_function), plan_by_name, removals ? each_removed : each_function);
    if (removals)
        return;
    const char **old = bound_of(d, d->old, &n_old), **new = bound_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, plan_by_name, each_bound);
}
