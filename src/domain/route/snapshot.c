/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to snapshot. */
#include "domain/route/priv.h"

#include "base/arena/arena.h"
#include "proto/uri/uri.h"

#define FORMAT 1
#define NAME_MAX_LEN 253
#define CERTIFICATES_MAX 1024
#define PATH_MAX_LEN 1024

struct build {
    struct arena *arena;
    struct route_snapshot *s;
    struct route_name *names;
    struct route_module *modules;
    const json_t *endpoints;
    struct err *e;
};

static int read_endpoint(struct build *b, const json_t *j, struct route_endpoint *ret)
{
    const char *unit, *address;
    int64_t port;
    bool ready;
    int r = json_get_str(j, "unit", &unit, b->e);
    if (r >= 0)
        r = json_get_str(j, "address", &address, b->e);
    if (r >= 0)
        r = json_get_int(j, "port", 1, 65535, &port, b->e);
    if (r >= 0)
        r = json_get_bool(j, "ready", &ready, b->e);
    if (r < 0)
        return r;
    int64_t weight = json_opt_int(j, "weight", ROUTE_WEIGHT_DEFAULT);
    if (!ip_parse(address, &ret->address))
        return err_set(b->e, ERR_INVALID, "%s: '%s' is not an address", unit, address);
    if (weight < 0 || weight > ROUTE_WEIGHT_MAX)
        return err_set(b->e, ERR_INVALID, "%s: weight is 0 to %d", unit, ROUTE_WEIGHT_MAX);
    ret->unit = arena_strdup(b->arena, unit);
    ret->port = (uint16_t)port;
    ret->weight = (uint16_t)weight;
    ret->ready = ready;
    return 0;
}

static int read_endpoints(struct build *b, struct route_module *m)
{
    const json_t *list = json_object_get(b->endpoints, m->name);
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > ROUTE_ENDPOINTS_MAX)
        return err_set(b->e, ERR_INVALID, "endpoints.%s: a list of at most %d instances", m->name,
            ROUTE_ENDPOINTS_MAX);
    size_t n = json_array_size(list);
    struct route_endpoint *v = arena_alloc(b->arena, n * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        int r = read_endpoint(b, json_array_get(list, i), &v[i]);
        if (r < 0)
            return err_wrap(b->e, "endpoints.%s[%zu]", m->name, i);
        m->n_ready += v[i].ready && v[i].weight;
    }
    m->endpoints = v;
    m->n_endpoints = n;
    return 0;
}

static int get_module(struct build *b, const char *name, const struct route_module **ret)
{
    for (size_t i = 0; i < b->s->n_modules; i++)
        if (!strcmp(b->modules[i].name, name)) {
            *ret = &b->modules[i];
            return 0;
        }
    struct route_module *m = &b->modules[b->s->n_modules];
    *m = (struct route_module){.name = arena_strdup(b->arena, name), .index = b->s->n_modules};
    b->s->n_modules++;
    *ret = m;
    return read_endpoints(b, m);
}

static bool name_ok(const char *name)
{
    struct uri_authority a;
    size_t len = strlen(name);
    char out[NAME_MAX_LEN + 1];
    return len <= NAME_MAX_LEN && uri_authority_parse(name, len, &a) && a.host_len == len
           && uri_host_normalise(&a, out) == len && !memcmp(out, name, len);
}

/* A name's index, in the order of the document; n_rules counts on the first pass. */
static struct route_name *get_name(struct build *b, const char *name)
{
    size_t mask = b->s->table_size - 1;
    uint32_t *table = (uint32_t *)(uintptr_t)b->s->table;
    size_t at = route_hash(name, strlen(name)) & mask;
    for (; table[at]; at = (at + 1) & mask)
        if (!strcmp(b->names[table[at] - 1].name, name))
            return &b->names[table[at] - 1];
    struct route_name *n = &b->names[b->s->n_names];
    *n = (struct route_name){.name = arena_strdup(b->arena, name), .index = b->s->n_names};
    table[at] = (uint32_t)++b->s->n_names;
    return n;
}

static int read_path(struct build *b, const char *path, struct route_rule *rule)
{
    size_t len = strlen(path);
    char normal[PATH_MAX_LEN];
    int n = len < sizeof normal ? uri_path_normalise(path, len, 0, normal) : URI_BAD_CHAR;
    if (n < 0)
        return err_set(b->e, ERR_INVALID, "'%s' is not an absolute path", path);
    while (n > 1 && normal[n - 1] == '/')
        n--;
    rule->path = arena_strndup(b->arena, normal, (size_t)n);
    rule->path_len = (size_t)n;
    return 0;
}

static int read_auth(struct build *b, const char *auth, struct route_rule *rule)
{
    if (strcmp(auth, "jwt") && strcmp(auth, "none"))
        return err_set(b->e, ERR_INVALID, "auth '%s' is not known here: jwt or none", auth);
    rule->auth = !strcmp(auth, "jwt") ? AUTH_JWT : AUTH_NONE;
    b->s->n_open_jwt += rule->auth == AUTH_JWT && b->s->identity_absent;
    return 0;
}

/* Behind all longer paths, so that the first match is the longest. */
static int insert_rule(struct build *b, struct route_name *n, const struct route_rule *rule)
{
    struct route_rule *v = (struct route_rule *)(uintptr_t)n->rules;
    size_t at = 0;
    while (at < n->n_rules && v[at].path_len >= rule->path_len) {
        if (!strcmp(v[at].path, rule->path))
            return err_set(b->e, ERR_INVALID, "%s%s is routed twice", n->name, rule->path);
        at++;
    }
    memmove(v + at + 1, v + at, (n->n_rules - at) * sizeof *v);
    v[at] = *rule;
    n->n_rules++;
    return 0;
}

static int read_route(struct build *b, const json_t *j)
{
    const char *name, *path, *module, *auth;
    struct route_rule rule = {0};
    int r = json_get_str(j, "name", &name, b->e);
    if (r >= 0)
        r = json_get_str(j, "path", &path, b->e);
    if (r >= 0)
        r = json_get_str(j, "module", &module, b->e);
    if (r >= 0)
        r = json_get_str(j, "auth", &auth, b->e);
    if (r >= 0)
        r = read_path(b, path, &rule);
    if (r >= 0)
        r = read_auth(b, auth, &rule);
    if (r >= 0)
        r = get_module(b, module, &rule.module);
    return r < 0 ? r : insert_rule(b, get_name(b, name), &rule);
}

/* First pass: which names there are and how many rules each needs room for. */
static int count_names(struct build *b, const json_t *routes)
{
    size_t i, n = json_array_size(routes);
    b->s->table_size = 16;
    while (b->s->table_size < 2 * n)
        b->s->table_size *= 2;
    b->s->table = arena_alloc(b->arena, b->s->table_size * sizeof *b->s->table);
    b->names = arena_alloc(b->arena, (n + 1) * sizeof *b->names);
    b->modules = arena_alloc(b->arena, (n + 1) * sizeof *b->modules);
    b->s->names = b->names;
    b->s->modules = b->modules;
    const json_t *j;
    json_array_foreach (routes, i, j) {
        const char *name;
        int r = json_get_str(j, "name", &name, b->e);
        if (r < 0)
            return err_wrap(b->e, "routes[%zu]", i);
        if (!name_ok(name) && !str_eq(name, "*"))
            return err_set(
                b->e, ERR_INVALID, "routes[%zu]: '%s' is not a name in lower case", i, name);
        get_name(b, name)->n_rules++;
    }
    for (i = 0; i < b->s->n_names; i++) {
        if (str_eq(b->names[i].name, "*"))
            b->s->any = &b->names[i];
        b->names[i].rules = arena_alloc(b->arena, b->names[i].n_rules * sizeof *b->names[i].rules);
        b->names[i].n_rules = 0;
    }
    return 0;
}

static int read_routes(struct build *b, const json_t *doc)
{
    json_t *routes;
    int r = json_get_array(doc, "routes", &routes, b->e);
    if (r < 0)
        return r;
    if (json_array_size(routes) > ROUTE_NAMES_MAX)
        return err_set(b->e, ERR_LIMIT, "more than %d routes", ROUTE_NAMES_MAX);
    r = count_names(b, routes);
    size_t i;
    const json_t *j;
    json_array_foreach (routes, i, j) {
        if (r >= 0 && (r = read_route(b, j)) < 0)
            err_wrap(b->e, "routes[%zu]", i);
    }
    return r;
}

static int read_certificate(struct build *b, const json_t *j, struct route_certificate *ret)
{
    const char *name, *cert, *key;
    json_t *names;
    int r = json_get_str(j, "name", &name, b->e);
    if (r >= 0)
        r = json_get_str(j, "cert", &cert, b->e);
    if (r >= 0)
        r = json_get_str(j, "key", &key, b->e);
    if (r >= 0)
        r = json_get_array(j, "names", &names, b->e);
    if (r < 0)
        return r;
    size_t n = json_array_size(names);
    const char **v = arena_alloc(b->arena, (n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(names, i));
        if (!text || !name_ok(str_starts(text, "*.") ? text + 2 : text))
            return err_set(b->e, ERR_INVALID, "names[%zu] is not a name in lower case", i);
        v[i] = arena_strdup(b->arena, text);
    }
    *ret = (struct route_certificate){.name = arena_strdup(b->arena, name),
        .names = v,
        .n_names = n,
        .cert = arena_strdup(b->arena, cert),
        .key = arena_strdup(b->arena, key),
        .is_default = json_opt_bool(j, "default", false)};
    return 0;
}

static int read_certificates(struct build *b, const json_t *doc)
{
    const json_t *list = json_object_get(doc, "certificates"), *j;
    if (!list)
        return 0;
    size_t i, n = json_array_size(list);
    if (!json_is_array(list) || n > CERTIFICATES_MAX)
        return err_set(b->e, ERR_INVALID, "certificates: a list of at most %d", CERTIFICATES_MAX);
    struct route_certificate *v = arena_alloc(b->arena, n * sizeof *v);
    json_array_foreach (list, i, j) {
        if (read_certificate(b, j, &v[i]) < 0)
            return err_wrap(b->e, "certificates[%zu]", i);
    }
    b->s->certificates = v;
    b->s->n_certificates = n;
    return 0;
}

static int read_doc(struct build *b, const json_t *doc)
{
    int64_t format;
    struct route_snapshot *s = b->s;
    int r = json_get_int(doc, "format", FORMAT, FORMAT, &format, b->e);
    if (r >= 0)
        r = json_get_int(doc, "revision", 0, INT64_MAX, &s->revision, b->e);
    if (r < 0)
        return r;
    if (b->endpoints && !json_is_object(b->endpoints))
        return err_set(b->e, ERR_INVALID, "endpoints: an object of lists");
    s->platform = arena_strdup(b->arena, json_opt_str(doc, "platform", ""));
    s->region = arena_strdup(b->arena, json_opt_str(doc, "region", ""));
    s->identity_absent = str_eq(json_opt_str(doc, "identity", "present"), "absent");
    s->serve_http = str_eq(json_opt_str(doc, "http", "redirect"), "serve");
    r = read_routes(b, doc);
    return r < 0 ? r : read_certificates(b, doc);
}

int route_snapshot_new(
    const json_t *doc, const json_t *endpoints, struct route_snapshot **ret, struct err *e)
{
    struct arena *arena = arena_new(0);
    struct build b = {.arena = arena, .s = arena_alloc(arena, sizeof *b.s), .e = e};
    b.s->arena = arena;
    b.endpoints = endpoints ? endpoints : json_object_get(doc, "endpoints");
    int r = read_doc(&b, doc);
    if (r < 0) {
        arena_free(arena);
        return err_wrap(e, "snapshot of routes");
    }
    *ret = b.s;
    return 0;
}

void route_snapshot_free(struct route_snapshot *s)
{
    if (s)
        arena_free(s->arena);
}
