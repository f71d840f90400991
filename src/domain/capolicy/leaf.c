/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/capolicy/capolicy.h"

#include "base/arena/arena.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"

#include <string.h>

#define MEMBER_NAME "mcp-state-member" /* etcd lets only these be its peers */
#define CLIENT_NAME "mcp-state-client"
#define DATA_NAME "mcp-data" /* by which servers know each other */

static const char *const kinds[LEAF_KINDS] = {
    "host", "state", "edge", "gateway", "module", "data", "mesh"};

const char *leaf_kind_name(enum leaf_kind k)
{
    ASSERT(k < LEAF_KINDS);
    return kinds[k];
}

int leaf_kind_parse(const char *name)
{
    for (int k = 0; k < LEAF_KINDS; k++)
        if (str_eq(kinds[k], name))
            return k;
    return -1;
}

bool capolicy_holds(const struct model *m, const char *host)
{
    if (!model_has_etcd(m))
        return m->n_hosts == 1 && !strcmp(m->hosts[0].name, host);
    for (size_t i = 0; i < m->n_members; i++)
        if (!strcmp(m->members[i]->name, host))
            return true;
    return false;
}

bool capolicy_has_data(const struct model *m, const char *host)
{
    for (size_t i = 0; i < m->n_databases; i++)
        if (model_database_member(&m->databases[i], host))
            return true;
    return false;
}

/* ---- names of the edge's certificate */

static void add_name(
    struct str *seen, struct arena *a, const char **names, size_t *n, const char *name)
{
    _cleanup_free_ char *mark = xasprintf("\n%s\n", name);
    if (*n >= CAPOLICY_NAMES_MAX || (seen->len && strstr(seen->buf, mark)))
        return;
    str_add(seen, mark);
    names[(*n)++] = arena_strdup(a, name);
}

const char *const *capolicy_edge_names(const struct model *m, struct arena *a, size_t *ret_n)
{
    const char **names = arena_alloc(a, CAPOLICY_NAMES_MAX * sizeof *names);
    _cleanup_str_ struct str seen = STR_INIT;
    *ret_n = 0;
    add_name(&seen, a, names, ret_n, m->domain);
    add_name(&seen, a, names, ret_n, arena_printf(a, "*.%s", m->domain));
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t n = 0; n < m->modules[i].routes[k].n_names; n++)
                add_name(&seen, a, names, ret_n, m->modules[i].routes[k].names[n]);
    return names;
}

/* ---- who runs what */

static bool compiled_on(
    const struct model *m, const struct model_module *module, const struct model_host *host)
{
    for (size_t i = 0; i < module->n_instances; i++) {
        const struct model_instances *in = &module->instances[i];
        for (unsigned n = 0; in->region == host->region && n < in->active + in->standby; n++)
            if (compile_place(m, module, in->region, n) == host)
                return true;
    }
    return false;
}

static bool placed_on(const json_t *placement, const char *module, const char *host)
{
    size_t i;
    json_t *in;
    json_array_foreach (json_object_get(placement, "instances"), i, in)
        if (str_eq(json_opt_str(in, "module", NULL), module)
            && str_eq(json_opt_str(in, "host", NULL), host))
            return true;
    return false;
}

static bool runs(
    const struct capolicy_facts *f, const struct model_host *host, const char *name)
{
    const json_t *placement = json_object_get(f->placements, host->region->name);
    const struct model_module *module = model_find_module(f->model, name);
    if (placement)
        return placed_on(placement, name, host->name);
    return module && compiled_on(f->model, module, host);
}

/* ---- the leaves */

static bool is_member_now(const struct capolicy_facts *f, const char *host)
{
    size_t i;
    json_t *row;
    json_array_foreach (f->members, i, row)
        if (str_eq(json_opt_str(row, "host", NULL), host))
            return true;
    return json_array_size(f->members) == 0 && f->self_is_member && f->self
           && !strcmp(f->self->name, host);
}

static const struct model_host *find(
    const struct capolicy_facts *f, const char *host, bool *ret_member)
{
    const struct model_host *h = f->model ? model_find_host(f->model, host) : NULL;
    if (h) {
        *ret_member = model_has_etcd(f->model)
                      && (capolicy_holds(f->model, host) || is_member_now(f, host));
        return h;
    }
    *ret_member = f->self_is_member;
    return !f->model && f->self && !strcmp(f->self->name, host) ? f->self : NULL;
}

static void add_addresses(const struct model_host *h, struct arena *a, struct capolicy_leaf *ret)
{
    size_t n = h->addresses.n, n_public = h->is_public ? h->region->addresses.n : 0;
    struct ip_addr *all = arena_alloc(a, (n + n_public + 1) * sizeof *all);
    memcpy(all, h->addresses.v, n * sizeof *all);
    if (n_public)
        memcpy(all + n, h->region->addresses.v, n_public * sizeof *all);
    ret->addresses = all;
    ret->n_addresses = n + n_public;
}

static void state_leaf(const struct model_host *h, struct arena *a, struct capolicy_leaf *ret)
{
    ret->common_name = ret->is_member ? MEMBER_NAME : CLIENT_NAME;
    if (ret->is_member)
        add_addresses(h, a, ret);
}

static int fill(const struct capolicy_facts *f, const struct model_host *h, const char *module,
    struct arena *a, struct capolicy_leaf *ret, struct err *e)
{
    static const char *const words[LEAF_KINDS] = {
        "host", "control", NULL, "edge", "module", "data", "mesh"};
    bool is_module = ret->kind == LEAF_MODULE;
    if ((ret->kind == LEAF_EDGE || ret->kind == LEAF_GATEWAY) && !h->is_public)
        return err_set(e, ERR_REFUSED, "host %s is not public: it has no edge", h->name);
    if (ret->kind == LEAF_MESH && !f->model->n_databases)
        return err_set(e, ERR_REFUSED, "no database is declared: meshes need no certificate");
    if (is_module && (!module || !runs(f, h, module)))
        return err_set(e, ERR_REFUSED, "no instance of module %s is placed on host %s",
            module ? module : "(none)", h->name);
    if (ret->kind == LEAF_DATA && !capolicy_has_data(f->model, h->name))
        return err_set(e, ERR_REFUSED, "no database has a member on host %s", h->name);
    ret->common_name = is_module                 ? arena_strdup(a, module)
                       : ret->kind == LEAF_DATA ? DATA_NAME
                                                : h->name;
    if (words[ret->kind])
        ret->uri = arena_printf(a, "spiffe://%s/%s/%s", f->platform, words[ret->kind],
            is_module ? module : h->name);
    if (ret->kind == LEAF_HOST || ret->kind == LEAF_DATA)
        add_addresses(h, a, ret);
    else if (ret->kind == LEAF_STATE)
        state_leaf(h, a, ret);
    else if (ret->kind == LEAF_EDGE)
        ret->names = capolicy_edge_names(f->model, a, &ret->n_names);
    return 0;
}

int capolicy_leaf(const struct capolicy_facts *f, const char *host, enum leaf_kind kind,
    const char *module, struct arena *a, struct capolicy_leaf *ret, struct err *e)
{
    bool is_member = false;
    const struct model_host *h = find(f, host, &is_member);
    if (!h) {
        err_set(e, ERR_REFUSED, "the platform has no host %s", host);
        err_fix(e, "declare it under hosts and apply, then let it join");
        return ERR_REFUSED;
    }
    if (!f->model && kind != LEAF_HOST && kind != LEAF_STATE)
        return err_set(e, ERR_REFUSED, "nothing is applied yet: no %s certificate",
            leaf_kind_name(kind));
    *ret = (struct capolicy_leaf){
        .kind = kind, .is_client = kind != LEAF_EDGE, .is_member = is_member};
    int r = fill(f, h, module, a, ret, e);
    if (r >= 0 && kind == LEAF_EDGE)
        ret->common_name = ret->names[0];
    return r;
}
