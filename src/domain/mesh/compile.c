/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/mesh/compile.h"

#include "base/str/str.h"
#include "domain/grants/grants.h"
#include "domain/mesh/mesh.h"
#include "domain/replication/doc.h"
#include "domain/replication/snapshot.h"

/* From the document of the target to its first statement: it stops following and is made writable. */
#define PROMOTE_MS 15000
#define BACK_PERCENT 80 /* of the lag objective, for one that had left */
#define DELAY_UNKNOWN_MS 1000

int mesh_tier(const struct model *m, const struct model_host *self, const struct model_host *h)
{
    uint64_t delay_ms = DELAY_UNKNOWN_MS;
    if (h == self)
        return 0;
    if (h->region == self->region)
        return 1;
    for (size_t i = 0; i < m->lab.n_wan; i++) {
        const struct model_wan *w = &m->lab.wan[i];
        if ((w->a == h->region && w->b == self->region)
            || (w->b == h->region && w->a == self->region))
            delay_ms = w->delay_us / 1000;
    }
    return 2 + (int)MIN(delay_ms, (uint64_t)100000) * MODEL_REGIONS_MAX + (int)h->region->index;
}

json_t *mesh_addresses(const struct model_addrs *list)
{
    json_t *texts = json_array();
    for (size_t i = 0; i < MIN(list->n, (size_t)MESH_ADDRESSES_MAX); i++) {
        char text[IP_TEXT_SIZE];
        ip_format(&list->v[i], text);
        json_array_append_new(texts, json_string(text));
    }
    return texts;
}

static json_t *place_of(const struct mesh_data_facts *f, const char *host)
{
    const struct model_host *h = model_find_host(f->model, host);
    return h ? json_pack("{s:s,s:o}", "host", host, "addresses", mesh_addresses(&h->addresses))
             : json_null();
}

/* ---- replicas that may be read from */

static bool was_told(const struct mesh_data_facts *f, const char *database, const char *host)
{
    size_t i, k;
    json_t *db, *place;
    json_array_foreach (f->told, i, db) {
        if (!str_eq(json_opt_str(db, "name", NULL), database))
            continue;
        json_array_foreach (json_object_get(db, "replicas"), k, place)
            if (str_eq(json_opt_str(place, "host", NULL), host))
                return true;
    }
    return false;
}

static bool may_be_read(const struct mesh_data_facts *f, const struct model_database *db,
    const struct replication_member *m)
{
    const json_t *report = f->report(f->ctx, m->host, db->name);
    const json_t *lag = json_object_get(report, "lag_ms");
    uint64_t objective_ms = db->replication.lag_objective_ms;
    if (m->delay_ms || !str_eq(json_opt_str(report, "state", NULL), "replicating")
        || !json_is_integer(lag) || json_integer_value(lag) < 0)
        return false;
    if (!was_told(f, db->name, m->host))
        objective_ms = objective_ms * BACK_PERCENT / 100;
    return (uint64_t)json_integer_value(lag) <= objective_ms;
}

struct near {
    const char *host;
    int tier;
};

static int compare_near(const void *x, const void *y)
{
    const struct near *a = x, *b = y;
    return a->tier != b->tier ? a->tier - b->tier : strcmp(a->host, b->host);
}

static json_t *replicas_of(const struct mesh_data_facts *f, const struct model_database *db,
    const struct replication_doc *d)
{
    struct near v[REPLICATION_MEMBERS_MAX];
    size_t n = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_members; i++) {
        const struct replication_member *m = &d->members[i];
        const struct model_host *h = model_find_host(f->model, m->host);
        if (h && m != d->source && may_be_read(f, db, m))
            v[n++] = (struct near){m->host, mesh_tier(f->model, f->self, h)};
    }
    if (n)
        qsort(v, n, sizeof *v, compare_near);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, place_of(f, v[i].host));
    return list;
}

/* ---- the source */

static json_t *hold_of(const json_t *change)
{
    const char *step = json_opt_str(change, "step", "");
    bool before = str_eq(step, "hold") || str_eq(step, "freeze") || str_eq(step, "equal");
    int64_t until_ms = 0;
    if (before)
        until_ms = json_opt_int(change, "begun_ms", 0) + json_opt_int(change, "hold_ms", 0);
    else if (str_eq(step, "promote") || str_eq(step, "promoting")) /* of a switchover, a failover */
        until_ms = json_opt_int(change, "step_ms", 0) + PROMOTE_MS;
    return until_ms > 0 ? json_integer(until_ms) : json_null();
}

/* Who says nothing is not held up: the server refuses by itself what may not be. */
static bool is_writable(const struct mesh_data_facts *f, const struct model_database *db)
{
    const char *state =
        json_opt_str(f->report(f->ctx, f->self->name, db->name), "state", "writable");
    return str_eq(state, "writable");
}

/* ---- all of it */

static json_t *callers_of(const struct mesh_data_facts *f, const struct model_database *db)
{
    json_t *callers = json_object();
    for (size_t i = 0; i < f->model->n_modules; i++) {
        const struct model_grant *g = model_grant(&f->model->modules[i], db);
        if (g)
            json_object_set_new(callers, f->model->modules[i].name,
                json_pack("{s:s}", "access", grants_write(g) ? "write" : "read"));
    }
    return callers;
}

static json_t *compile(const struct mesh_data_facts *f, const struct model_database *db)
{
    struct replication_doc d = {0};
    struct err ignored;
    const json_t *doc = f->doc(f->ctx, db->name);
    bool known = doc && replication_doc_parse(doc, &d, &ignored) >= 0;
    const struct replication_member *own = known ? replication_doc_find(&d, f->self->name) : NULL;
    bool source = known && !strcmp(d.source->host, f->self->name);
    _cleanup_free_ char *socket = own && !db->managed
                                      ? xasprintf("%s:%u", own->address, (unsigned)own->port)
                                      : xasprintf(DATA_DIR "/%s/run/db.sock", db->name);
    json_t *j = json_pack("{s:s,s:I,s:i,s:i,s:i,s:o,s:o,s:o,s:b,s:o,s:o}", "name", db->name, "epoch",
        (json_int_t)(known ? d.epoch : 0), "port", (int)db->port, "connections",
        (int)db->connections, "share", (int)grants_share(f->model, db), "source",
        known ? place_of(f, d.source->host) : json_null(), "replicas",
        known ? replicas_of(f, db, &d) : json_array(), "hold_until_ms",
        known ? hold_of(d.change) : json_null(), "writable", (int)(!source || is_writable(f, db)),
        "socket", own ? json_string(socket) : json_null(), "callers", callers_of(f, db));
    ASSERT(j);
    if (model_lease_ms(db))
        json_object_set_new(j, "leased", json_true());
    return j;
}

json_t *mesh_databases_compile(const struct mesh_data_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->model->n_databases; i++)
        if (model_database_has_ends(&f->model->databases[i]))
            json_array_append_new(list, compile(f, &f->model->databases[i]));
    return list;
}
