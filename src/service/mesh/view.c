/* SPDX-License-Identifier: Apache-2.0 */
/* Views, counted: a worker pins the one it sees at the start of a turn, a flow the one it began
 * with. The lock is taken only when a new one has come. */
#include "service/mesh/priv.h"

struct view *view_ref(struct view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    mesh_view_free(v->v);
    keys_unref(v->keys);
    free(v);
}

int view_new(json_t *doc, struct keys *keys, struct view **ret, struct err *e)
{
    struct mesh_view *parsed;
    int r = mesh_view_parse(doc, &parsed, e);
    if (r < 0)
        return r;
    struct view *v = xcalloc(1, sizeof *v);
    atomic_init(&v->refs, 1);
    v->v = parsed;
    if (keys)
        atomic_fetch_add(&keys->refs, 1);
    v->keys = keys;
    *ret = v;
    return 0;
}

void view_publish(struct mesh *m, struct view *v)
{
    pthread_mutex_lock(&m->lock);
    struct view *old = m->current;
    m->current = v;
    pthread_mutex_unlock(&m->lock);
    atomic_fetch_add(&m->generation, 1);
    view_unref(old);
}

bool view_pin(struct worker *w)
{
    unsigned generation = atomic_load_explicit(&w->m->generation, memory_order_acquire);
    if (generation == w->seen)
        return false;
    w->seen = generation;
    pthread_mutex_lock(&w->m->lock);
    struct view *old = w->view;
    w->view = w->m->current ? view_ref(w->m->current) : NULL;
    pthread_mutex_unlock(&w->m->lock);
    if (old && (!w->view || old->keys != w->view->keys))
        keys_forget(w);
    view_unref(old);
    return true;
}
