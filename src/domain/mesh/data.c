/* SPDX-License-Identifier: Apache-2.0 */
/* Databases in a view: read from JSON, and who goes where. */
#include "domain/mesh/priv.h"

#include "base/str/str.h"

#define CONNECTIONS 200
#define CONNECTIONS_MAX 100000

/* ---- reading */

static int read_place(
    struct reader *r, const json_t *j, struct mesh_place *p, const char *of)
{
    const char *host;
    if (json_get_str(j, "host", &host, r->e) < 0)
        return err_wrap(r->e, "mesh view: a place of %s", of);
    p->host = arena_strdup(r->a, host);
    p->local = !strcmp(host, r->v->host);
    return mesh_read_addresses(r, json_object_get(j, "addresses"), &p->addresses, &p->n_addresses, of);
}

static int read_source(struct reader *r, const json_t *j, struct mesh_database *db)
{
    if (!j || json_is_null(j))
        return 0;
    struct mesh_place *p = arena_alloc(r->a, sizeof *p);
    db->source = p;
    return read_place(r, j, p, db->name);
}

static int read_replicas(struct reader *r, const json_t *list, struct mesh_database *db)
{
    size_t i, n = json_array_size(list);
    json_t *j;
    if (n > MESH_PLACES_MAX)
        return mesh_wrong(r, "too many replicas", db->name);
    struct mesh_place *v = arena_alloc(r->a, (n + 1) * sizeof *v);
    json_array_foreach (list, i, j) {
        int k = read_place(r, j, &v[i], db->name);
        if (k < 0)
            return k;
    }
    db->replicas = v;
    db->n_replicas = n;
    return 0;
}

static int compare_readers(const void *x, const void *y)
{
    const struct mesh_reader *a = x, *b = y;
    return strcmp(a->module, b->module);
}

static unsigned number_of(const json_t *j, const char *key, unsigned otherwise)
{
    return (unsigned)MAX(MIN(json_opt_int(j, key, otherwise), CONNECTIONS_MAX), 1);
}

static int read_readers(struct reader *r, const json_t *callers, struct mesh_database *db)
{
    const char *module;
    json_t *j;
    struct mesh_reader *v = arena_alloc(r->a, (json_object_size(callers) + 1) * sizeof *v);
    json_object_foreach ((json_t *)(uintptr_t)callers, module, j) {
        const char *access = json_opt_str(j, "access", "");
        if (!str_eq(access, "read") && !str_eq(access, "write"))
            return mesh_wrong(r, "the access of a caller", db->name);
        v[db->n_readers++] =
            (struct mesh_reader){arena_strdup(r->a, module), str_eq(access, "write")};
    }
    if (db->n_readers)
        qsort(v, db->n_readers, sizeof *v, compare_readers);
    db->readers = v;
    return 0;
}

/* "10.9.0.5:3306": nothing is looked up here. */
static int read_address(struct reader *r, const char *text, struct mesh_database *db)
{
    char address[IP_TEXT_SIZE + 2] = "";
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (n && n < sizeof address)
        memcpy(address, text, n);
    if (!n || !port || port > UINT16_MAX || !ip_parse(address, &db->address))
        return mesh_wrong(r, "the address of a server", db->name);
    db->address_port = (uint16_t)port;
    return 0;
}

static int read_database(struct reader *r, const json_t *j, struct mesh_database *db)
{
    const char *name, *socket = json_opt_str(j, "socket", NULL);
    int64_t port;
    int k = json_get_str(j, "name", &name, r->e);
    if (k >= 0)
        k = json_get_int(j, "epoch", 0, INT64_MAX, &db->epoch, r->e);
    if (k >= 0)
        k = json_get_int(j, "port", 1, UINT16_MAX, &port, r->e);
    if (k < 0)
        return err_wrap(r->e, "mesh view: a database");
    db->name = arena_strdup(r->a, name);
    db->port = (uint16_t)port;
    db->socket = socket ? arena_strdup(r->a, socket) : NULL;
    if (socket && *socket != '/') {
        db->socket = "";
        k = read_address(r, socket, db);
    }
    if (k < 0)
        return k;
    db->hold_until_ms = MAX(json_opt_int(j, "hold_until_ms", 0), 0);
    db->writable = json_opt_bool(j, "writable", true);
    db->leased = json_opt_bool(j, "leased", false);
    db->connections = number_of(j, "connections", CONNECTIONS);
    db->share = number_of(j, "share", db->connections);
    k = read_source(r, json_object_get(j, "source"), db);
    if (k >= 0)
        k = read_replicas(r, json_object_get(j, "replicas"), db);
    return k < 0 ? k : read_readers(r, json_object_get(j, "callers"), db);
}

static int compare_databases(const void *x, const void *y)
{
    const struct mesh_database *a = x, *b = y;
    return strcmp(a->name, b->name);
}

int mesh_read_databases(struct reader *r, const json_t *list)
{
    size_t i, n = json_array_size(list);
    json_t *j;
    if (n > MESH_DATABASES_MAX)
        return mesh_wrong(r, "too many databases", r->v->host);
    struct mesh_database *v = arena_alloc(r->a, (n + 1) * sizeof *v);
    memset(v, 0, (n + 1) * sizeof *v);
    json_array_foreach (list, i, j) {
        int k = read_database(r, j, &v[i]);
        if (k < 0)
            return k;
    }
    if (n)
        qsort(v, n, sizeof *v, compare_databases);
    r->v->databases = v;
    r->v->n_databases = n;
    return 0;
}

int mesh_read_data_listen(struct reader *r, const json_t *j, struct mesh_listen *l)
{
    const char *address = json_opt_str(j, "address", ""), *end = json_opt_str(j, "end", "");
    l->database = mesh_view_database(r->v, json_opt_str(j, "database", ""));
    l->write = str_eq(end, "rw");
    if (!l->database || (!l->write && !str_eq(end, "ro")) || !ip_parse(address, &l->address))
        return mesh_wrong(r, "a listen", address);
    return 0;
}

/* ---- HOT PATH: who goes where */

static int by_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct mesh_database *)item)->name);
}

const struct mesh_database *mesh_view_database(const struct mesh_view *v, const char *name)
{
    return v->n_databases
               ? bsearch(name, v->databases, v->n_databases, sizeof *v->databases, by_name)
               : NULL;
}

static int by_module(const void *key, const void *item)
{
    return strcmp(key, ((const struct mesh_reader *)item)->module);
}

const struct mesh_reader *mesh_reader_of(const struct mesh_database *db, const char *module)
{
    return db->n_readers
               ? bsearch(module, db->readers, db->n_readers, sizeof *db->readers, by_module)
               : NULL;
}

bool mesh_is_source_here(const struct mesh_database *db)
{
    return db->source && db->source->local && db->socket;
}

uint16_t mesh_listen_port(const struct mesh_listen *l)
{
    return l->database ? l->database->port : l->module->port;
}

size_t mesh_database_order(const struct mesh_database *db, bool write,
    bool (*is_bad)(void *ctx, const struct mesh_place *p), void *ctx,
    const struct mesh_place *ret[MESH_ORDER_MAX])
{
    size_t n = 0;
    for (size_t i = 0; !write && i < db->n_replicas && n < MESH_ORDER_MAX - 1; i++)
        if (!is_bad || !is_bad(ctx, &db->replicas[i]))
            ret[n++] = &db->replicas[i];
    if (db->source)
        ret[n++] = db->source;
    for (size_t i = 0; !write && i < db->n_replicas && n < MESH_ORDER_MAX; i++)
        if (is_bad && is_bad(ctx, &db->replicas[i]))
            ret[n++] = &db->replicas[i];
    return n;
}
