/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/mesh/priv.h"

#define FORMAT 1

int mesh_wrong(struct reader *r, const char *what, const char *name)
{
    return err_set(r->e, ERR_INVALID, "mesh view: %s of %s", what, name);
}

static int read_words(
    struct reader *r, const json_t *list, const char *const **ret, size_t *ret_n, const char *of)
{
    size_t i;
    json_t *item;
    const char **v = arena_alloc(r->a, (json_array_size(list) + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        if (!json_is_string(item))
            return mesh_wrong(r, "a name", of);
        v[i] = arena_strdup(r->a, json_string_value(item));
    }
    *ret = v;
    *ret_n = json_array_size(list);
    return 0;
}

int mesh_read_addresses(struct reader *r, const json_t *list, const struct ip_addr **ret,
    size_t *ret_n, const char *of)
{
    size_t i, n = json_array_size(list);
    json_t *item;
    if (!n || n > MESH_ADDRESSES_MAX)
        return mesh_wrong(r, "the addresses of a target", of);
    struct ip_addr *v = arena_alloc(r->a, n * sizeof *v);
    json_array_foreach (list, i, item)
        if (!json_is_string(item) || !ip_parse(json_string_value(item), &v[i]))
            return mesh_wrong(r, "an address of a target", of);
    *ret = v;
    *ret_n = n;
    return 0;
}

static int read_target(struct reader *r, const json_t *j, struct mesh_target *t, const char *of)
{
    const char *unit, *host;
    int k = json_get_str(j, "unit", &unit, r->e);
    if (k >= 0)
        k = json_get_str(j, "host", &host, r->e);
    if (k < 0)
        return err_wrap(r->e, "mesh view: a target of %s", of);
    *t = (struct mesh_target){.unit = arena_strdup(r->a, unit),
        .host = arena_strdup(r->a, host),
        .local = !strcmp(host, r->v->host),
        .last = json_opt_bool(j, "last", false),
        .tier = (unsigned)MAX(json_opt_int(j, "tier", 1), 0)};
    return mesh_read_addresses(
        r, json_object_get(j, "addresses"), &t->addresses, &t->n_addresses, of);
}

static int compare_targets(const void *x, const void *y)
{
    const struct mesh_target *a = x, *b = y;
    if (a->tier != b->tier)
        return a->tier < b->tier ? -1 : 1;
    int k = strcmp(a->host, b->host);
    return k ? k : strcmp(a->unit, b->unit);
}

static int read_targets(struct reader *r, const json_t *list, struct mesh_module *m)
{
    size_t i, n = json_array_size(list);
    json_t *item;
    if (n > MESH_TARGETS_MAX)
        return mesh_wrong(r, "too many targets", m->name);
    struct mesh_target *v = arena_alloc(r->a, (n + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        int k = read_target(r, item, &v[i], m->name);
        if (k < 0)
            return k;
    }
    if (n)
        qsort(v, n, sizeof *v, compare_targets);
    m->targets = v;
    m->n_targets = n;
    return 0;
}

static int read_module(struct reader *r, const char *name, const json_t *j, struct mesh_module *m)
{
    m->name = arena_strdup(r->a, name);
    m->port = (uint16_t)json_opt_int(j, "port", 0);
    int k = read_words(r, json_object_get(j, "callers"), &m->callers, &m->n_callers, name);
    if (k >= 0)
        k = read_words(r, json_object_get(j, "edges"), &m->edges, &m->n_edges, name);
    return k < 0 ? k : read_targets(r, json_object_get(j, "targets"), m);
}

static int compare_modules(const void *x, const void *y)
{
    const struct mesh_module *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static int read_modules(struct reader *r, const json_t *modules)
{
    const char *name;
    json_t *j;
    struct mesh_view *v = r->v;
    v->modules = arena_alloc(r->a, (json_object_size(modules) + 1) * sizeof *v->modules);
    json_object_foreach ((json_t *)(uintptr_t)modules, name, j) {
        int k = read_module(r, name, j, &v->modules[v->n_modules++]);
        if (k < 0)
            return k;
    }
    if (v->n_modules)
        qsort(v->modules, v->n_modules, sizeof *v->modules, compare_modules);
    return 0;
}

static int compare_addr(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family != b->family ? (int)a->family - (int)b->family
                                  : memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int compare_callers(const void *x, const void *y)
{
    const struct mesh_caller *a = x, *b = y;
    return compare_addr(&a->address, &b->address);
}

static int read_callers(struct reader *r, const json_t *callers)
{
    const char *address;
    json_t *j;
    size_t n = 0;
    struct mesh_caller *v = arena_alloc(r->a, (json_object_size(callers) + 1) * sizeof *v);
    json_object_foreach ((json_t *)(uintptr_t)callers, address, j) {
        struct mesh_caller *c = &v[n++];
        c->module = mesh_view_module(r->v, json_opt_str(j, "module", ""));
        c->unit = arena_strdup(r->a, json_opt_str(j, "unit", ""));
        const char *waits = json_opt_str(j, "waits", "");
        c->waits = *waits ? arena_strdup(r->a, waits) : NULL;
        if (!c->module || !ip_parse(address, &c->address))
            return mesh_wrong(r, "a caller", address);
    }
    if (n)
        qsort(v, n, sizeof *v, compare_callers);
    r->v->callers = v;
    r->v->n_callers = n;
    return 0;
}

static int compare_listens(const void *x, const void *y)
{
    const struct mesh_listen *a = x, *b = y;
    return compare_addr(&a->address, &b->address);
}

static int read_listen(struct reader *r, const json_t *j, struct mesh_listen *l)
{
    const char *address = json_opt_str(j, "address", "");
    const json_t *target = json_object_get(j, "target");
    if (json_object_get(j, "database"))
        return mesh_read_data_listen(r, j, l);
    l->module = mesh_view_module(r->v, json_opt_str(j, "module", ""));
    if (!l->module || !l->module->port || !ip_parse(address, &l->address))
        return mesh_wrong(r, "a listen", address);
    if (!target)
        return 0;
    struct mesh_target *t = arena_alloc(r->a, sizeof *t);
    l->target = t;
    return read_target(r, target, t, l->module->name);
}

static int read_listens(struct reader *r, const json_t *list)
{
    size_t i, n = json_array_size(list);
    json_t *item;
    struct mesh_listen *v = arena_alloc(r->a, (n + 1) * sizeof *v);
    memset(v, 0, (n + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        int k = read_listen(r, item, &v[i]);
        if (k < 0)
            return k;
    }
    if (n)
        qsort(v, n, sizeof *v, compare_listens);
    r->v->listens = v;
    r->v->n_listens = n;
    return 0;
}

static int read_egress(struct reader *r, const json_t *egress)
{
    const char *name;
    json_t *list, *item;
    size_t i;
    json_object_foreach ((json_t *)(uintptr_t)egress, name, list) {
        struct mesh_module *m =
            (struct mesh_module *)(uintptr_t)mesh_view_module(r->v, name);
        if (!m)
            return mesh_wrong(r, "egress", name);
        struct mesh_egress *v = arena_alloc(r->a, (json_array_size(list) + 1) * sizeof *v);
        json_array_foreach (list, i, item)
            v[i] = (struct mesh_egress){arena_strdup(r->a, json_opt_str(item, "name", "")),
                json_opt_bool(item, "below", false), (uint16_t)json_opt_int(item, "port", 0)};
        m->egress = v;
        m->n_egress = json_array_size(list);
    }
    return 0;
}

static int read_head(struct reader *r, const json_t *doc)
{
    int64_t format;
    const char *platform, *host, *gateway;
    int k = json_get_int(doc, "format", 0, INT64_MAX, &format, r->e);
    if (k >= 0 && format != FORMAT)
        return err_set(r->e, ERR_INVALID, "mesh view: format %lld is not known", (long long)format);
    if (k >= 0)
        k = json_get_int(doc, "seq", 0, INT64_MAX, &r->v->seq, r->e);
    if (k >= 0)
        k = json_get_str(doc, "platform", &platform, r->e);
    if (k >= 0)
        k = json_get_str(doc, "host", &host, r->e);
    if (k >= 0)
        k = json_get_str(doc, "gateway", &gateway, r->e);
    if (k < 0)
        return err_wrap(r->e, "mesh view");
    r->v->platform = arena_strdup(r->a, platform);
    r->v->host = arena_strdup(r->a, host);
    r->v->region = arena_strdup(r->a, json_opt_str(doc, "region", ""));
    if (!ip_parse(json_opt_str(doc, "own", gateway), &r->v->own))
        return mesh_wrong(r, "the own address", host);
    return ip_parse(gateway, &r->v->gateway) ? 0 : mesh_wrong(r, "the gateway", gateway);
}

int mesh_view_parse(const json_t *doc, struct mesh_view **ret, struct err *e)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct mesh_view *v = arena_alloc(a, sizeof *v);
    *v = (struct mesh_view){0};
    struct reader r = {v, a, e};
    int k = read_head(&r, doc);
    if (k >= 0)
        k = read_modules(&r, json_object_get(doc, "modules"));
    if (k >= 0)
        k = read_callers(&r, json_object_get(doc, "callers"));
    if (k >= 0)
        k = mesh_read_databases(&r, json_object_get(doc, "databases"));
    if (k >= 0)
        k = read_listens(&r, json_object_get(doc, "listens"));
    if (k >= 0)
        k = read_egress(&r, json_object_get(doc, "egress"));
    if (k < 0)
        return k;
    v->arena = util_steal_ptr(&a);
    *ret = v;
    return 0;
}

void mesh_view_free(struct mesh_view *v)
{
    if (v)
        arena_free(v->arena);
}
