/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Who may speak to whom, and which instance is asked first. */
#include "domain/mesh/mesh.h"

#include "base/str/str.h"

static int by_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct mesh_module *)item)->name);
}

const struct mesh_module *mesh_view_module(const struct mesh_view *v, const char *name)
{
    return v->n_modules ? bsearch(name, v->modules, v->n_modules, sizeof *v->modules, by_name)
                        : NULL;
}

static int by_address(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family != b->family ? (int)a->family - (int)b->family
                                  : memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int caller_of(const void *key, const void *item)
{
    return by_address(key, &((const struct mesh_caller *)item)->address);
}

const struct mesh_caller *mesh_view_caller(const struct mesh_view *v, const struct ip_addr *a)
{
    return v->n_callers ? bsearch(a, v->callers, v->n_callers, sizeof *v->callers, caller_of)
                        : NULL;
}

static int listen_of(const void *key, const void *item)
{
    return by_address(key, &((const struct mesh_listen *)item)->address);
}

const struct mesh_listen *mesh_view_listen(const struct mesh_view *v, const struct ip_addr *a)
{
    return v->n_listens ? bsearch(a, v->listens, v->n_listens, sizeof *v->listens, listen_of)
                        : NULL;
}

static bool has_word(const char *const *v, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(v[i], word))
            return true;
    return false;
}

bool mesh_may_call(const char *caller, const struct mesh_module *target)
{
    return has_word(target->callers, target->n_callers, caller);
}

/* What follows "spiffe://PLATFORM/KIND/" if that is how it begins, and holds no further "/". */
static const char *name_in_id(const char *platform, const char *kind, const char *id)
{
    static const char scheme[] = "spiffe://";
    size_t n = strlen(platform), k = strlen(kind);
    if (!str_starts(id, scheme))
        return NULL;
    id += sizeof scheme - 1;
    if (strncmp(id, platform, n) != 0 || id[n] != '/' || strncmp(id + n + 1, kind, k) != 0
        || id[n + 1 + k] != '/')
        return NULL;
    id += n + k + 2;
    return *id && !strchr(id, '/') ? id : NULL;
}

const char *mesh_module_in_id(const struct mesh_view *v, const char *id)
{
    return name_in_id(v->platform, "module", id);
}

bool mesh_may_link(const struct mesh_view *v, const char *id, const struct mesh_module *target)
{
    const char *name = mesh_module_in_id(v, id);
    if (name)
        return mesh_may_call(name, target);
    name = name_in_id(v->platform, "edge", id);
    return name && has_word(target->edges, target->n_edges, name);
}

const struct mesh_target *mesh_local_target(
    const struct mesh_module *m, const char *unit, unsigned n)
{
    size_t takers = 0;
    for (size_t i = 0; i < m->n_targets; i++) {
        const struct mesh_target *t = &m->targets[i];
        if (t->local && *unit && !strcmp(t->unit, unit))
            return t;
        takers += t->local && !t->last;
    }
    if (*unit || !takers)
        return NULL;
    size_t wanted = n % takers;
    for (size_t i = 0; i < m->n_targets; i++)
        if (m->targets[i].local && !m->targets[i].last && wanted-- == 0)
            return &m->targets[i];
    return NULL;
}

bool mesh_may_leave(const struct mesh_module *m, const char *name, uint16_t port)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < m->n_egress; i++) {
        const struct mesh_egress *e = &m->egress[i];
        size_t n = strlen(e->name);
        if (e->port ? port != e->port : port != 80 && port != 443)
            continue;
        if (!e->below && !strcmp(name, e->name))
            return true;
        if (e->below && len > n + 1 && name[len - n - 1] == '.'
            && !strcmp(name + len - n, e->name))
            return true;
    }
    return false;
}

/* IANA's special-purpose registries (RFC 6890 and its successors): whatever is not globally
 * reachable. */
bool mesh_is_inside(const struct ip_addr *a)
{
    static const struct {
        uint8_t family, bytes[4], bits;
    } rows[] = {{4, {0, 0, 0, 0}, 8}, {4, {10, 0, 0, 0}, 8}, {4, {100, 64, 0, 0}, 10},
        {4, {127, 0, 0, 0}, 8}, {4, {169, 254, 0, 0}, 16}, {4, {172, 16, 0, 0}, 12},
        {4, {192, 0, 0, 0}, 24}, {4, {192, 0, 2, 0}, 24}, {4, {192, 88, 99, 0}, 24},
        {4, {192, 168, 0, 0}, 16}, {4, {198, 18, 0, 0}, 15}, {4, {198, 51, 100, 0}, 24},
        {4, {203, 0, 113, 0}, 24}, {4, {224, 0, 0, 0}, 3}};
    for (size_t i = 0; i < ARRAY_SIZE(rows) && a->family == 4; i++) {
        struct ip_prefix p = {.addr = {.family = 4}, .bits = rows[i].bits};
        memcpy(p.addr.bytes, rows[i].bytes, 4);
        if (ip_prefix_contains(&p, a))
            return true;
    }
    /* 2000::/3 is all that is allocated; within it 2001:db8::/32 and 2002::/16 (6to4 of anything)
     * are not outside. */
    const uint8_t *b = a->bytes;
    return a->family == 6
           && ((b[0] & 0xe0) != 0x20 || (b[0] == 0x20 && b[1] == 0x02)
               || (b[0] == 0x20 && b[1] == 0x01
                   && ((b[2] == 0x0d && b[3] == 0xb8) || (b[2] & 0xfe) == 0)));
}

size_t mesh_order(const struct mesh_module *m, unsigned n,
    bool (*is_bad)(void *ctx, const struct mesh_target *t), void *ctx,
    const struct mesh_target *ret[MESH_ORDER_MAX])
{
    size_t out = 0;
    for (int bad = 0; bad < 2; bad++)
        for (size_t first = 0; first < m->n_targets;) {
            size_t end = first;
            while (end < m->n_targets && m->targets[end].tier == m->targets[first].tier)
                end++;
            for (size_t i = 0; i < end - first && out < MESH_ORDER_MAX; i++) {
                const struct mesh_target *t = &m->targets[first + (n + i) % (end - first)];
                if (!t->last && (is_bad && is_bad(ctx, t)) == bad)
                    ret[out++] = t;
            }
            first = end;
        }
    return out;
}
