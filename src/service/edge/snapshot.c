/* SPDX-License-Identifier: Apache-2.0 */
/* From a document to what threads serve from: targets, certificates, answers of /healthz, figures.
 */
#include "service/edge/priv.h"

#include <urcu/urcu-qsbr.h>

typedef struct metric_set **(*sets_fn)(struct edge *edge, const char *name);

static struct name_stats *stats_ref(
    struct edge *edge, struct name_stats **list, const char *name, sets_fn sets)
{
    struct name_stats *s = *list;
    while (s && strcmp(s->name, name))
        s = s->next;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        s->name = xstrdup(name);
        s->sets = sets(edge, name);
        s->next = *list;
        *list = s;
    }
    s->refs++;
    return s;
}

static void stats_unref(struct edge *edge, struct name_stats **list, struct name_stats *s)
{
    if (!s || --s->refs)
        return;
    struct name_stats **at = list;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    edge_metrics_sets_free(edge, s->sets);
    free(s->name);
    free(s);
}

static void snapshot_free(struct edge *edge, struct edge_snapshot *s)
{
    const struct route_snapshot *r = s->routes;
    for (size_t i = 0; s->names && i < r->n_names; i++) {
        stats_unref(edge, &edge->stats, s->names[i].stats);
        free(s->names[i].health);
    }
    for (size_t i = 0; s->targets && i < r->n_modules; i++) {
        stats_unref(edge, &edge->modules, s->modules[i]);
        free(s->targets[i]);
    }
    free(s->modules);
    for (size_t i = 0; s->certificates && i < r->n_certificates; i++)
        SSL_CTX_free(s->certificates[i]);
    free(s->names);
    free(s->targets);
    free(s->certificates);
    route_snapshot_free(s->routes);
    free(s);
}

static void add_module(struct edge *edge, struct edge_snapshot *s, const struct route_module *m)
{
    s->modules[m->index] = stats_ref(edge, &edge->modules, m->name, edge_metrics_modules);
    struct http_target *v = xcalloc(m->n_ready + 1, sizeof *v);
    size_t n = 0;
    uint32_t sum = 0;
    bool equal = true;
    for (size_t i = 0; i < m->n_endpoints; i++) {
        const struct route_endpoint *p = &m->endpoints[i];
        if (!p->ready || !p->weight)
            continue;
        sum += p->weight;
        equal = equal && sum == (n + 1) * p->weight;
        v[n++] = (struct http_target){p->address, p->port, p->unit, sum};
    }
    for (size_t i = 0; equal && i < n; i++)
        v[i].weight_sum = 0;
    s->targets[m->index] = v;
}

static void add_name(struct edge *edge, struct edge_snapshot *s, const struct route_name *n)
{
    struct edge_name *name = &s->names[n->index];
    _cleanup_json_ json_t *health = NULL;
    name->ready = route_health(s->routes, n->name, &health);
    _cleanup_free_ char *text = json_text(health);
    name->health = xasprintf("%s\n", text);
    name->health_len = strlen(name->health);
    name->stats = stats_ref(edge, &edge->stats, n->name, edge_metrics_sets);
}

/* The same PEM texts keep their context: nothing is parsed again when only routes or instances
 * change. */
static SSL_CTX *find_same(const struct edge_snapshot *old, const struct route_certificate *c)
{
    for (size_t i = 0; old && i < old->routes->n_certificates; i++) {
        const struct route_certificate *o = &old->routes->certificates[i];
        if (!strcmp(o->cert, c->cert) && !strcmp(o->key, c->key)) {
            SSL_CTX_up_ref(old->certificates[i]);
            return old->certificates[i];
        }
    }
    return NULL;
}

static int add_certificates(const struct edge_snapshot *old, struct edge_snapshot *s, struct err *e)
{
    for (size_t i = 0; i < s->routes->n_certificates; i++) {
        const struct route_certificate *c = &s->routes->certificates[i];
        s->certificates[i] = find_same(old, c);
        if (!s->certificates[i]
            && http_certificate_new(c->cert, c->key, &s->certificates[i], e) < 0)
            return err_wrap(e, "certificate '%s'", c->name);
    }
    return 0;
}

int edge_snapshot_new(struct edge *edge, const json_t *doc, const json_t *endpoints,
    struct edge_snapshot **ret, struct err *e)
{
    struct route_snapshot *routes;
    int r = route_snapshot_new(doc, endpoints, &routes, e);
    if (r < 0)
        return r;
    struct edge_snapshot *s = xcalloc(1, sizeof *s);
    s->routes = routes;
    s->names = xcalloc(routes->n_names + 1, sizeof *s->names);
    s->targets = xcalloc(routes->n_modules + 1, sizeof(struct http_target *));
    s->modules = xcalloc(routes->n_modules + 1, sizeof(struct name_stats *));
    s->certificates = xcalloc(routes->n_certificates + 1, sizeof(SSL_CTX *));
    atomic_store(&s->refs, 1);
    r = add_certificates(atomic_load(&edge->current), s, e);
    if (r < 0) {
        snapshot_free(edge, s);
        return r;
    }
    for (size_t i = 0; i < routes->n_modules; i++)
        add_module(edge, s, &routes->modules[i]);
    for (size_t i = 0; i < routes->n_names; i++)
        add_name(edge, s, &routes->names[i]);
    *ret = s;
    return 0;
}

void edge_snapshot_publish(struct edge *edge, struct edge_snapshot *s)
{
    struct edge_snapshot *old = atomic_exchange(&edge->current, s);
    if (edge->server)
        http_server_wake(edge->server);
    /* A thread may have read the old pointer and not counted itself yet: that ends with its loop
     * iteration. */
    urcu_qsbr_synchronize_rcu();
    if (old)
        edge_snapshot_unref(edge, old);
    edge_garbage_collect(edge);
}

void edge_snapshot_unref(struct edge *edge, struct edge_snapshot *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    s->next = atomic_load(&edge->garbage);
    while (!atomic_compare_exchange_weak(&edge->garbage, &s->next, s))
        ;
}

void edge_garbage_collect(struct edge *edge)
{
    struct edge_snapshot *s = atomic_exchange(&edge->garbage, NULL), *next;
    for (; s; s = next) {
        next = s->next;
        snapshot_free(edge, s);
    }
}
