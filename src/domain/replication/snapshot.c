/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/snapshot.h"

#include "base/str/str.h"
#include "domain/replication/doc.h"
#include "domain/replication/switchover.h"
#include "domain/replication/sync.h"
#include "domain/revision/revision.h"

static json_t *member_json(const struct replication_member *m)
{
    return json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:I}", "host", m->host, "region", m->region,
        "address", m->address, "port", (int)m->port, "server_id", (json_int_t)m->id, "domain_id",
        (json_int_t)m->id, "delay_ms", (json_int_t)m->delay_ms);
}

static json_t *members_json(const struct replication_doc *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_members; i++)
        json_array_append_new(list, member_json(&d->members[i]));
    return list;
}

static json_t *replication_json(const struct model_replication *r)
{
    return json_pack("{s:s,s:I,s:s,s:I,s:I,s:I,s:s}", "mode", data_mode_name(r->mode), "heartbeat_ms",
        (json_int_t)r->heartbeat_ms, "recovery", data_recovery_name(r->recovery),
        "binlog_retention_ms", (json_int_t)r->retention_ms, "lag_objective_ms",
        (json_int_t)r->lag_objective_ms, "read_only_check_ms", (json_int_t)r->read_only_check_ms,
        "disk_full", r->disk_full ? r->disk_full : "keep");
}

static json_t *schema_json(const struct model_database *db, const json_t *files)
{
    json_t *list = json_array();
    for (size_t i = 0; i < db->n_schema; i++) {
        const char *digest = revision_file(files, db->schema[i]);
        if (digest)
            json_array_append_new(
                list, json_pack("{s:s,s:s}", "name", db->schema[i], "digest", digest));
    }
    return list;
}

static json_t *backup_json(const struct model_backup *b)
{
    return json_pack("{s:s?,s:I,s:s}", "schedule", b->schedule, "keep_ms", (json_int_t)b->keep_ms,
        "directory", b->directory);
}

/* How the data role reaches its server: ours by the folder it lives in, others by name. */
static void add_reach(json_t *j, const struct model_database *db, const struct snapshot_input *in)
{
    if (db->managed) {
        json_object_set_new(j, "dir", json_sprintf("%s/%s", DATA_DIR, db->name));
        return;
    }
    json_t *login = json_object_get(in->credentials, db->secret);
    json_object_set_new(j, "dir", json_null());
    json_object_set_new(j, "external",
        json_pack("{s:b,s:O}", "tls", (int)db->tls, "login", login ? login : json_null()));
}

static json_t *database_json(
    const struct model_database *db, const json_t *doc, const struct snapshot_input *in)
{
    struct replication_doc d;
    struct err ignored;
    if (!doc || replication_doc_parse(doc, &d, &ignored) < 0)
        return NULL;
    const struct replication_member *self = replication_doc_find(&d, in->host);
    if (!self)
        return NULL;
    json_t *accounts = json_object_get(in->accounts, db->name);
    json_t *j = json_pack("{s:s,s:s,s:b,s:I,s:s,s:b,s:I,s:o,s:o,s:o,s:o,s:i,s:o,s:O,s:b}", "name",
        db->name, "engine", data_engine_name(db->engine), "managed", (int)db->managed, "epoch",
        (json_int_t)d.epoch, "duty", self == d.source ? "source" : "replica", "hold",
        (int)switchover_holds(d.change), "last_id", (json_int_t)d.last_id, "self", member_json(self), "source",
        member_json(d.source), "members", members_json(&d), "replication",
        replication_json(&db->replication), "connections", (int)db->connections, "schema",
        schema_json(db, in->files), "accounts", accounts ? accounts : json_null(), "tls_ready",
        (int)in->tls_ready);
    ASSERT(j);
    json_object_set_new(j, "backup", backup_json(&db->backup));
    if (model_lease_ms(db))
        json_object_set_new(j, "lease_ms", json_integer((json_int_t)model_lease_ms(db)));
    json_object_set_new(j, "sync", json_boolean(sync_waits(doc)));
    if (in->source_log && self != d.source)
        json_object_set_new(
            j, "source_log", json_string(in->source_log(in->ctx, db->name, d.source->host)));
    /* Its server may be fenced from another host: nobody makes it writable again meanwhile. */
    bool leaves = str_eq(json_opt_str(d.change, "kind", ""), "failover")
                  && str_eq(json_opt_str(d.change, "from", ""), self->host);
    if (!db->managed && self == d.source && leaves)
        json_object_set_new(j, "held", json_true());
    add_reach(j, db, in);
    return j;
}

json_t *snapshot_databases(const struct snapshot_input *in)
{
    json_t *list = json_array();
    for (size_t i = 0; i < in->model->n_databases; i++) {
        const struct model_database *db = &in->model->databases[i];
        json_t *j = database_json(db, json_object_get(in->docs, db->name), in);
        if (j)
            json_array_append_new(list, j);
    }
    return list;
}
