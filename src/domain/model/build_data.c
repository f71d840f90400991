/* SPDX-License-Identifier: Apache-2.0 */
/* Databases of the checked declaration as the model, and each module's needs of one as one grant. */
#include "domain/model/priv.h"

#include <signal.h>

/* Threads of an engine beside one for each connection: InnoDB's, replication's, the data role's. */
#define LEASE_MS 15000u
#define THREADS_MORE 128u

static const char *const *texts_of(const struct model *m, const struct schema_list *list)
{
    const struct schema_text *from = list->v;
    const char **v = arena_alloc(m->arena, list->n * sizeof *v);
    for (size_t i = 0; i < list->n; i++)
        v[i] = from[i].s;
    return v;
}

static struct model_member member_of(const struct decl *d, const struct model *m,
    const struct decl_database *from, const char *region, uint64_t delay_ms)
{
    const struct decl_external *external =
        from->managed ? NULL : decl_find(&from->external, sizeof *external, region);
    const struct decl_host *host = decl_database_host(d, from, region);
    ASSERT(host);
    return (struct model_member){
        .region = model_find_region(m, region),
        .host = model_find_host(m, host->head.key.s),
        .external = external ? external->address.s : NULL,
        .delay_ms = delay_ms,
    };
}

static void build_members(const struct decl *d, const struct model *m,
    const struct decl_database *from, struct model_database *to)
{
    const struct decl_replica *replicas = from->replicas.v;
    struct model_member *v = arena_alloc(m->arena, (from->replicas.n + 1) * sizeof *v);
    v[0] = member_of(d, m, from, from->source.s, 0);
    for (size_t i = 0; i < from->replicas.n; i++)
        v[i + 1] = member_of(d, m, from, replicas[i].region.s, replicas[i].delay_ms);
    to->source = v[0].region;
    to->members = v;
    to->n_members = from->replicas.n + 1;
}

static struct model_replication replication_of(const struct decl_replication *r)
{
    return (struct model_replication){
        .mode = (enum data_mode)r->mode,
        .heartbeat_ms = r->heartbeat_ms,
        .recovery = (enum data_recovery)r->recovery,
        .retention_ms = r->retention_ms,
        .lag_objective_ms = r->lag_objective_ms,
        .read_only_check_ms = r->read_only_check_ms,
        .disk_full = r->disk_full.s,
    };
}

static struct model_failover failover_of(const struct decl_failover *f)
{
    return (struct model_failover){.declared = f->automatic || f->lease_ms,
        .automatic = f->automatic,
        .lease_ms = f->lease_ms ? f->lease_ms : LEASE_MS,
        .max_lag_ms = f->max_lag_ms,
        .cooldown_ms = f->cooldown_ms,
        .drill_max_age_ms = f->drill_max_age_ms};
}

static void build_database(
    const struct decl *d, struct model *m, const struct decl_database *from,
    struct model_database *to)
{
    *to = (struct model_database){
        .name = from->head.key.s,
        .engine = (enum data_engine)from->engine,
        .managed = from->managed,
        .port = (uint16_t)from->port,
        .schema = texts_of(m, &from->schema),
        .n_schema = from->schema.n,
        .limits = {from->limits.memory_bytes, (unsigned)from->limits.cpu_milli,
            (unsigned)from->connections + THREADS_MORE},
        .connections = (unsigned)from->connections,
        .replication = replication_of(&from->replication),
        .failover = failover_of(&from->failover),
        .backup = {from->backup.schedule.s, from->backup.keep_ms, from->backup.directory.s},
        .tls = from->tls,
        .secret = from->managed ? NULL : from->secret.s,
    };
    to->failover.before = decl_build_functions_of(m, &from->failover.before);
    to->failover.after = decl_build_functions_of(m, &from->failover.after);
    to->failover.fence = from->managed ? DATA_FENCE_NONE : (enum data_fence)from->failover.fence.by;
    if (to->failover.fence == DATA_FENCE_FUNCTION)
        to->failover.fence_function = model_find_function(m, from->failover.fence.function.s);
    build_members(d, m, from, to);
}

struct table { /* of one need of one database */
    const char *name;
    enum data_access access;
};

static int compare_tables(const void *x, const void *y)
{
    const struct table *a = x, *b = y;
    int r = strcmp(a->name, b->name);
    return r ? r : (int)b->access - (int)a->access; /* the greater access first: it is kept */
}

static void add_tables(struct model *m, struct model_grant *to, struct table *v, size_t n)
{
    const char **names = arena_alloc(m->arena, (n + 1) * sizeof *names);
    enum data_access *access = arena_alloc(m->arena, (n + 1) * sizeof *access);
    if (n)
        qsort(v, n, sizeof *v, compare_tables);
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(v[i - 1].name, v[i].name))
            continue;
        names[to->n_tables] = v[i].name;
        access[to->n_tables++] = v[i].access;
    }
    to->tables = names;
    to->access = access;
}

/* What all needs of the module say of that database; false: nothing. */
static bool build_grant(struct model *m, const struct decl_module *from,
    const struct model_database *db, struct model_grant *to)
{
    const struct decl_need *needs = from->needs.v;
    *to = (struct model_grant){.database = db};
    struct table *tables = NULL;
    size_t n = 0, cap = 0;
    bool any = false;
    for (size_t i = 0; i < from->needs.n; i++) {
        const struct schema_text *names = needs[i].tables.v;
        if (needs[i].events >= 0 && db == m->outbox) {
            *(needs[i].events == EVENTS_PUBLISH ? &to->publish : &to->consume) = true;
            any = true;
        }
        if (!str_eq(needs[i].data.s, db->name))
            continue;
        any = true;
        for (size_t k = 0; k < needs[i].tables.n; k++)
            *GROW(tables, n, cap) =
                (struct table){names[k].s, (enum data_access)MAX(needs[i].access, DATA_READ)};
    }
    add_tables(m, to, tables, n);
    free(tables);
    return any;
}

/* A file for each database that the module needs and has an account in, behind those it declares. */
static void add_credentials(struct model *m, struct model_module *to)
{
    struct model_secret *v = arena_alloc(m->arena, (to->n_secrets + to->n_grants + 1) * sizeof *v);
    if (to->n_secrets)
        memcpy(v, to->secrets, to->n_secrets * sizeof *v);
    for (size_t i = 0; i < to->n_grants; i++) {
        const struct model_database *db = to->grants[i].database;
        if (model_database_has_accounts(db))
            v[to->n_secrets++] = (struct model_secret){.name = arena_printf(m->arena,
                                                           MODEL_CREDENTIAL_PREFIX "%s.%s", db->name, to->name),
                .file = db->name,
                .mode = 0400,
                .on_change = SECRET_WATCH,
                .signal = SIGHUP,
                .made = true};
    }
    to->secrets = v;
}

void decl_build_grants(const struct decl_module *from, struct model *m, struct model_module *to)
{
    struct model_grant *v = arena_alloc(m->arena, (m->n_databases + 1) * sizeof *v);
    for (size_t i = 0; i < m->n_databases; i++)
        to->n_grants += build_grant(m, from, &m->databases[i], &v[to->n_grants]);
    to->grants = v;
    add_credentials(m, to);
}

void decl_build_data(const struct decl *d, struct model *m)
{
    const struct decl_database *from = d->data.v;
    struct model_database *v = arena_alloc(m->arena, (d->data.n + 1) * sizeof *v);
    for (size_t i = 0; i < d->data.n; i++)
        build_database(d, m, &from[i], &v[i]);
    m->databases = v;
    m->n_databases = d->data.n;
    m->outbox = d->events.outbox.s ? model_find_database(m, d->events.outbox.s) : NULL;
}
