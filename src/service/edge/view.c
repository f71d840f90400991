/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. What net/http calls on its threads. A thread counts itself into a snapshot once per
 * swap; requests count themselves into the thread's view, without an atomic operation. */
#include "service/edge/cached.h"

static void *thread_start(void *ctx, unsigned index)
{
    struct edge *edge = ctx;
    struct edge_thread *t = xcalloc(1, sizeof *t);
    *t = (struct edge_thread){.edge = edge, .index = index, .unnamed = edge->unnamed[index]};
    edge_cache_thread_start(t);
    return t;
}

static void view_release(struct edge_thread *t, struct edge_view *v)
{
    if (!v || v->requests)
        return;
    edge_snapshot_unref(t->edge, v->s);
    free(v);
}

static void thread_stop(void *thread)
{
    struct edge_thread *t = thread;
    edge_cache_thread_stop(t);
    view_release(t, t->view);
    free(t);
}

static void take_newest(struct edge_thread *t)
{
    struct edge_snapshot *s = atomic_load_explicit(&t->edge->current, memory_order_acquire);
    if (!s || (t->view && t->view->s == s))
        return;
    struct edge_view *old = t->view;
    t->view = xcalloc(1, sizeof *t->view); /* once per swap */
    t->view->s = s;
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    view_release(t, old); /* or the last of its requests does */
}

static void on_loop(void *thread)
{
    struct edge_thread *t = thread;
    /* Read first: it was asked after the snapshot that it is about was put in force. */
    unsigned question = atomic_load_explicit(&t->edge->question, memory_order_acquire);
    take_newest(t);
    if (question != t->answered)
        edge_leave_answer(t, question);
    edge_cache_loop(t);
}

static void on_request(void *thread, struct http_tx *tx)
{
    struct edge_thread *t = thread;
    struct edge_request *r = http_tx_alloc(tx, sizeof *r);
    if (!r) {
        http_tx_error(tx, 431, "the head is too long", NULL);
        return;
    }
    *r = (struct edge_request){.view = t->view, .thread = t};
    if (t->view)
        t->view->requests++;
    tx->app = r;
    edge_filter(tx, r);
}

/* What was chosen when the head came may have left while the content came. */
static void on_retarget(void *thread, struct http_tx *tx)
{
    struct edge_thread *t = thread;
    struct edge_request *r = tx->app;
    if (!r || r->view == t->view)
        return;
    struct edge_request now = {.view = t->view, .thread = t, .cached = r->cached};
    if (!edge_filter_again(tx, &now))
        return; /* it is served nowhere any more: by the old one, as begun */
    struct edge_view *old = r->view;
    t->view->requests++;
    *r = now;
    old->requests--;
    view_release(t, old);
}

static void on_done(void *thread, struct http_tx *tx)
{
    struct edge_thread *t = thread;
    struct edge_request *r = tx->app;
    edge_cache_done(t, tx, r);
    if (!tx->background && (!r || !r->quiet)) {
        edge_metrics_count(r && r->name ? r->name->stats->sets[t->index] : t->unnamed, tx);
        if (r && r->rule)
            edge_metrics_count_module(
                r->view->s->modules[r->rule->module->index]->sets[t->index], tx);
        if (t->edge->log)
            access_log_add(t->edge->log, t->index, tx);
    }
    if (!r || !r->view)
        return;
    r->view->requests--;
    if (r->view != t->view)
        view_release(t, r->view);
}

static SSL_CTX *on_certificate(void *thread, const char *server_name)
{
    struct edge_thread *t = thread;
    if (!t->view)
        return NULL;
    const struct route_snapshot *routes = t->view->s->routes;
    const struct route_certificate *c = route_find_certificate(routes, server_name);
    return c ? t->view->s->certificates[c - routes->certificates] : NULL;
}

static void on_stopped(void *ctx)
{
    struct edge *edge = ctx;
    if (edge->config.stopped)
        edge->config.stopped(edge->config.ctx);
}

const struct http_app edge_app = {
    .thread_start = thread_start,
    .thread_stop = thread_stop,
    .loop = on_loop,
    .request = on_request,
    .retarget = on_retarget,
    .done = on_done,
    .certificate = on_certificate,
    .stopped = on_stopped,
    .cache = &edge_cache,
};
