/* SPDX-License-Identifier: Apache-2.0 */
#include "service/edge/alone.h"

#include "base/arena/arena.h"
#include "domain/model/decl.h"
#include "domain/model/model.h"
#include "domain/route/route.h"

#define MODULE "upstream"

struct alone_decl {
    struct schema_head head;
    struct schema_list route; /* decl_route */
};

static const struct schema_row rows[] = {
    {"route", SCHEMA_LIST, offsetof(struct alone_decl, route), .one = true, .item = &decl_route_row,
        .item_size = sizeof(struct decl_route), .min = 1, .max = ROUTE_NAMES_MAX, .required = true,
        .prose = "As a module's."},
    {0},
};
static const struct schema_row root = {"FILE", SCHEMA_STRUCT, .rows = rows};

static void add_route(json_t *routes, const char *name, const char *path, int auth)
{
    json_array_append_new(routes, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "path", path,
                                      "module", MODULE, "auth", auth == AUTH_JWT ? "jwt" : "none"));
}

static void add_declared(json_t *routes, const struct alone_decl *d)
{
    const struct decl_route *v = d->route.v;
    for (size_t i = 0; i < d->route.n; i++) {
        const struct schema_text *names = v[i].names.v;
        for (size_t k = 0; k < v[i].names.n; k++)
            add_route(routes, names[k].s, v[i].path.s, v[i].auth);
    }
}

static int read_text(const struct edge_alone *alone, json_t *routes, struct err *e)
{
    struct problems p;
    struct alone_decl d = {0};
    struct arena *arena = arena_new(0);
    problems_init(&p, alone->file);
    struct yaml_node *tree =
        yaml_tree_parse(arena, alone->text, alone->text_len, EDGE_ALONE_TEXT_MAX, &p);
    if (tree)
        schema_parse(&root, tree, &d, arena, &p);
    int r = p.total ? problems_err(&p, e) : 0;
    if (r >= 0)
        add_declared(routes, &d);
    problems_done(&p);
    arena_free(arena);
    return r;
}

static json_t *certificates(const struct edge_alone *alone)
{
    if (!alone->cert)
        return json_array();
    return json_pack("[{s:s, s:[], s:b, s:s, s:s}]", "name", "given", "names", "default", 1, "cert",
        alone->cert, "key", alone->key);
}

int edge_alone_routes(const struct edge_alone *alone, json_t **ret, struct err *e)
{
    json_t *routes = json_array();
    char address[IP_TEXT_SIZE];
    int r = 0;
    if (alone->text)
        r = read_text(alone, routes, e);
    else
        add_route(routes, "*", "/", AUTH_NONE);
    if (r < 0) {
        json_decref(routes);
        return r;
    }
    ip_format(&alone->upstream, address);
    *ret = json_pack("{s:i, s:i, s:s, s:o, s:o, s:{s:[{s:s, s:s, s:i, s:b}]}}", "format", 1,
        "revision", 1, "http", "serve", "certificates", certificates(alone), "routes", routes,
        "endpoints", MODULE, "unit", MODULE, "address", address, "port", (int)alone->port, "ready",
        1);
    ASSERT(*ret);
    return 0;
}
