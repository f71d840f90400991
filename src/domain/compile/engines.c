/* SPDX-License-Identifier: Apache-2.0 */
/* The servers of databases, for the agent of their host: settings from the declaration, who it is
 * from the database's document. */
#include "domain/compile/compile.h"

#include "base/arena/arena.h"
#include "domain/replication/doc.h"
#include "domain/spec/spec.h"

#define STOP_MS 60000u /* a clean end writes out what is in memory: never cut short without need */
#define SERVER "/usr/sbin/mariadbd"

static const char *const no_env[] = {NULL};

static void engine_of(const struct model_database *db, const struct model_member *member,
    const struct replication_member *self, struct unit_engine *ret)
{
    *ret = (struct unit_engine){
        .database = db->name,
        .server_id = self->id,
        .domain_id = self->id,
        .address = member->host->addresses.v[0],
        .port = db->port,
        .memory_bytes = db->limits.memory_bytes,
        .connections = db->connections,
        .semi_sync = db->replication.mode == DATA_SEMI_SYNC,
        .backups = db->backup.directory,
    };
}

/* What all members of the database have alike: equal settings, equal name. Where backups lie is
 * nothing to start a server anew for. A version that starts
 * servers in another way makes another name as well. */
static void generation_of(const json_t *unit, char ret[DIGEST_SIZE])
{
    static const char *const own[] = {"server_id", "domain_id", "address", "backups"};
    _cleanup_json_ json_t *alike = json_deep_copy(unit);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        json_object_del(json_object_get(alike, "engine"), own[i]);
    _cleanup_free_ char *text = json_text(alike);
    digest_mem(text, strlen(text), ret);
}

static json_t *unit_of(const struct model_database *db, const struct model_member *member,
    const struct replication_member *self)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    const char *name = arena_printf(a, COMPILE_ENGINE_PREFIX "%s", db->name);
    const char *config =
        arena_printf(a, "--defaults-file=" UNIT_ENGINE_ROOT "/%s/my.cnf", db->name);
    const char *const command[] = {SERVER, config, NULL};
    struct unit_engine engine;
    engine_of(db, member, self, &engine);
    struct unit_spec spec = {.name = name,
        .kind = UNIT_ENGINE,
        .module = name,
        .runtime = UNIT_EXEC,
        .command = command,
        .env = no_env,
        .user = UNIT_ENGINE_USER,
        .port = db->port,
        .probe = {.kind = PROBE_TCP,
            .interval_ms = 2000, /* a server that stands still is shown within seven seconds */
            .timeout_ms = 1500,
            .start_timeout_ms = 60000,
            .failures = 3},
        .limits = db->limits,
        .stop_timeout_ms = STOP_MS,
        .engine = &engine};
    char generation[DIGEST_SIZE];
    json_t *j = unit_spec_format(&spec);
    generation_of(j, generation);
    json_object_set_new(j, "spec", json_string(generation));
    return j;
}

json_t *compile_engines(const struct model *m, const json_t *docs, const char *host)
{
    json_t *units = json_array();
    for (size_t i = 0; i < m->n_databases; i++) {
        const struct model_database *db = &m->databases[i];
        const struct model_member *member = model_database_member(db, host);
        const json_t *doc = json_object_get(docs, db->name);
        struct replication_doc d;
        struct err ignored;
        if (!db->managed || !doc || replication_doc_parse(doc, &d, &ignored) < 0)
            continue;
        const struct replication_member *self = replication_doc_find(&d, host);
        struct model_member stays = {.host = model_find_host(m, host)};
        if (self && (member || stays.host)) /* a source that is no longer declared stays one */
            json_array_append_new(units, unit_of(db, member ? member : &stays, self));
    }
    return units;
}
