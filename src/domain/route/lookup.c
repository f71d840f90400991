/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: lookups in a snapshot. */
#include "domain/route/priv.h"

#include <strings.h>

uint32_t route_hash(const char *name, size_t len)
{
    /* FNV-1a: names are few and not the client's to choose, only looked up */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h;
}

const struct route_name *route_find_name(
    const struct route_snapshot *s, const char *name, size_t len)
{
    size_t mask = s->table_size - 1;
    for (size_t at = route_hash(name, len) & mask; s->table[at]; at = (at + 1) & mask) {
        const struct route_name *n = &s->names[s->table[at] - 1];
        if (!strncmp(n->name, name, len) && n->name[len] == '\0')
            return n;
    }
    return s->any;
}

const struct route_rule *route_find_rule(const struct route_name *n, const char *path, size_t len)
{
    for (size_t i = 0; i < n->n_rules; i++) {
        const struct route_rule *r = &n->rules[i];
        if (r->path_len == 1) /* "/" */
            return r;
        if (len >= r->path_len && !memcmp(path, r->path, r->path_len)
            && (len == r->path_len || path[r->path_len] == '/'))
            return r;
    }
    return NULL;
}

static bool covers(const struct route_certificate *c, const char *name, bool wildcard)
{
    const char *dot = strchr(name, '.');
    for (size_t i = 0; i < c->n_names; i++) {
        bool star = c->names[i][0] == '*';
        if (star != wildcard)
            continue;
        if (star ? dot && dot != name && !strcasecmp(c->names[i] + 1, dot)
                 : !strcasecmp(c->names[i], name))
            return true;
    }
    return false;
}

const struct route_certificate *route_find_certificate(
    const struct route_snapshot *s, const char *server_name)
{
    const struct route_certificate *wild = NULL, *fallback = NULL;
    for (size_t i = 0; i < s->n_certificates; i++) {
        const struct route_certificate *c = &s->certificates[i];
        if (server_name && covers(c, server_name, false))
            return c;
        if (server_name && !wild && covers(c, server_name, true))
            wild = c;
        if (!fallback && c->is_default)
            fallback = c;
    }
    return wild ? wild : fallback;
}

static void add_missing(json_t *missing, const struct route_name *n)
{
    for (size_t i = 0; i < n->n_rules; i++) {
        if (n->rules[i].module->n_ready)
            continue;
        char text[512];
        snprintf(text, sizeof text, "no ready instance of %s for %s", n->rules[i].module->name,
            n->rules[i].path);
        json_array_append_new(missing, json_string(text));
    }
}

bool route_health(const struct route_snapshot *s, const char *name, json_t **ret)
{
    json_t *missing = json_array();
    const struct route_name *n = s ? route_find_name(s, name, strlen(name)) : NULL;
    if (!s)
        json_array_append_new(missing, json_string("no snapshot of routes"));
    else if (!n)
        json_array_append_new(missing, json_string("the name has no route"));
    else
        add_missing(missing, n);
    bool ready = json_array_size(missing) == 0;
    *ret = json_pack("{s:s, s:s, s:b}", "name", name, "region", s ? s->region : "", "ready", ready);
    if (!ready)
        json_object_set(*ret, "missing", missing);
    json_decref(missing);
    return ready;
}
