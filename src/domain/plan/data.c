/* SPDX-License-Identifier: Apache-2.0 */
/* Databases: which engines start, restart or stop, and what no apply may do to data. */
#include "domain/plan/priv.h"

#include "base/units/units.h"
#include "domain/revision/revision.h"

#define IMPACT_ROLLS "restarts its engines, one after the other, the source last"

static const char *place_text(struct differ *d, const struct model_member *m)
{
    const char *text = m->external ? m->external : m->host->name;
    if (!m->delay_ms)
        return text;
    char delay[UNITS_TEXT_SIZE];
    units_format_duration(m->delay_ms, delay);
    return arena_printf(d->scratch, "%s, %s behind", text, delay);
}

static const struct model_member *member_in(
    const struct model_database *db, const struct model_region *region)
{
    for (size_t i = 0; db && i < db->n_members; i++)
        if (!strcmp(db->members[i].region->name, region->name))
            return &db->members[i];
    return NULL;
}

static const char *kind_text(const struct model_database *db)
{
    return db->managed ? data_engine_name(db->engine)
           : db->engine == DATA_MYSQL ? "external mysql"
                                      : "external mariadb";
}

static void create_database(struct differ *d, const struct model_database *db)
{
    plan_note(d, "new: %s, source %s on %s", kind_text(db), db->source->name,
        place_text(d, &db->members[0]));
    if (db->n_schema)
        plan_note(d, "%zu schema file%s", db->n_schema, db->n_schema == 1 ? "" : "s");
    plan_add(d, PLAN_CREATE, "data", db->managed ? "starts 1 engine" : "no restart", "database %s",
        db->name);
    for (size_t i = 1; i < db->n_members; i++) {
        plan_note(d, "new: on %s", place_text(d, &db->members[i]));
        plan_add(d, PLAN_CREATE, "data",
            db->managed ? "starts 1 engine, seeded from the source" : "attached to the source",
            "replica of %s in %s", db->name, db->members[i].region->name);
    }
}

/* What no apply does, with what does it. True: told. */
static bool refused(
    struct differ *d, const struct model_database *old, const struct model_database *new)
{
    if (plan_changed(d, "engine", kind_text(old), kind_text(new))) {
        plan_add(d, PLAN_REFUSE, "data",
            "data is moved by replication: declare a second database beside it", "database %s",
            new->name);
        return true;
    }
    const char *source = json_string_value(json_object_get(d->sources, new->name));
    const struct model_region *region = source ? model_find_region(d->old, source) : NULL;
    if (!region)
        return false;
    const struct model_member *was = member_in(old, region), *is = member_in(new, region);
    if (!was || (is && !strcmp(is->host->name, was->host->name)))
        return false;
    if (is)
        plan_note(d, "%s is its source, and would move from host %s to %s", source,
            was->host->name, is->host->name);
    else
        plan_note(d, "%s is its source, and would leave", source);
    const struct model_member *other = NULL;
    for (size_t i = 0; i < old->n_members && !other; i++)
        if (old->members[i].region != region && !old->members[i].delay_ms)
            other = &old->members[i];
    plan_add(d, PLAN_REFUSE, "data",
        other ? arena_printf(d->scratch, "first `mcp data switchover %s --to %s`", new->name,
                    other->region->name)
              : "first add a replica in another region and switch over to it",
        "database %s", new->name);
    return true;
}

/* Anything that is in the engine's own configuration or limits. */
static bool engine_changed(
    struct differ *d, const struct model_database *old, const struct model_database *new)
{
    bool changed = plan_changed_count(d, "port", old->port, new->port);
    changed |= plan_changed_count(d, "connections", old->connections, new->connections);
    changed |= plan_changed(d, "mode", data_mode_name(old->replication.mode),
        data_mode_name(new->replication.mode));
    char from[UNITS_TEXT_SIZE], to[UNITS_TEXT_SIZE];
    units_format_size(old->limits.memory_bytes, from);
    units_format_size(new->limits.memory_bytes, to);
    changed |= plan_changed(d, "memory", from, to);
    snprintf(from, sizeof from, old->limits.cpu_milli ? "%g" : "no limit",
        old->limits.cpu_milli / 1000.0);
    snprintf(to, sizeof to, new->limits.cpu_milli ? "%g" : "no limit",
        new->limits.cpu_milli / 1000.0);
    return plan_changed(d, "cpu", from, to) || changed;
}

static bool supervision_changed(
    struct differ *d, const struct model_database *old, const struct model_database *new)
{
    const struct model_replication *a = &old->replication, *b = &new->replication;
    const struct model_failover *f = &old->failover, *g = &new->failover;
    bool changed = plan_changed_ms(d, "heartbeat", a->heartbeat_ms, b->heartbeat_ms);
    changed |= plan_changed(
        d, "recovery", data_recovery_name(a->recovery), data_recovery_name(b->recovery));
    changed |= plan_changed_ms(d, "binlog retention", a->retention_ms, b->retention_ms);
    changed |= plan_changed_ms(d, "lag objective", a->lag_objective_ms, b->lag_objective_ms);
    changed |= plan_changed_ms(d, "read-only check", a->read_only_check_ms, b->read_only_check_ms);
    changed |= plan_changed(d, "automatic failover", f->automatic ? "yes" : "no",
        g->automatic ? "yes" : "no");
    changed |= plan_changed_ms(d, "lease", f->lease_ms, g->lease_ms);
    changed |= plan_changed_ms(d, "failover's lag", f->max_lag_ms, g->max_lag_ms);
    changed |= plan_changed_ms(d, "cooldown", f->cooldown_ms, g->cooldown_ms);
    changed |= plan_changed_ms(d, "age of the drill", f->drill_max_age_ms, g->drill_max_age_ms);
    changed |= plan_changed(d, "backup", old->backup.schedule, new->backup.schedule);
    changed |= plan_changed_ms(d, "backups kept", old->backup.keep_ms, new->backup.keep_ms);
    changed |= plan_changed(d, "backups in", old->backup.directory, new->backup.directory);
    changed |= plan_changed(d, "tls", old->tls ? "yes" : "no", new->tls ? "yes" : "no");
    changed |= plan_changed(d, "secret", old->secret, new->secret);
    return plan_changed(d, "preferred source", old->source->name, new->source->name) || changed;
}

static const char *schema_text(
    struct differ *d, const json_t *files, const struct model_database *db)
{
    const char *text = NULL;
    for (size_t i = 0; i < db->n_schema; i++) {
        const char *digest = revision_file(files, db->schema[i]);
        const char *one = digest ? arena_printf(d->scratch, "%s (%.19s)", db->schema[i], digest)
                                 : db->schema[i];
        text = text ? arena_printf(d->scratch, "%s, %s", text, one) : one;
    }
    return text;
}

static void diff_members(
    struct differ *d, const struct model_database *old, const struct model_database *new)
{
    for (size_t i = 0; i < new->n_members; i++) {
        const struct model_member *is = &new->members[i], *was = member_in(old, is->region);
        if (!was) {
            plan_note(d, "new: on %s", place_text(d, is));
            plan_add(d, PLAN_CREATE, "data",
                new->managed ? "starts 1 engine, seeded from the source" : "attached to the source",
                "replica of %s in %s", new->name, is->region->name);
            continue;
        }
        bool moved = strcmp(was->host->name, is->host->name) != 0;
        if (plan_changed(d, moved ? "host" : "place", place_text(d, was), place_text(d, is)))
            plan_add(d, moved ? PLAN_REPLACE : PLAN_UPDATE, "data",
                moved ? arena_printf(d->scratch, "seeded anew, the data on %s stays there",
                            was->host->name)
                      : "no restart",
                "%s of %s in %s", i ? "replica" : "member", new->name, is->region->name);
    }
}

static void each_database(struct differ *d, const void *o, const void *n)
{
    const struct model_database *old = o, *new = n;
    if (!new)
        return;
    if (!old) {
        create_database(d, new);
        return;
    }
    if (refused(d, old, new))
        return;
    bool engine = engine_changed(d, old, new);
    bool schema = plan_changed(
        d, "schema", schema_text(d, d->old_files, old), schema_text(d, d->new_files, new));
    if (supervision_changed(d, old, new) || schema || engine)
        plan_add(d, engine && new->managed ? PLAN_REPLACE : PLAN_UPDATE, "data",
            engine && new->managed ? IMPACT_ROLLS
            : schema               ? "new files are run at the source"
                                   : "no restart",
            "database %s", new->name);
    diff_members(d, old, new);
}

static void each_removed(struct differ *d, const void *o, const void *n)
{
    const struct model_database *old = o, *new = n;
    for (size_t i = 0; old && new && i < old->n_members; i++) {
        const struct model_member *was = &old->members[i];
        if (member_in(new, was->region))
            continue;
        plan_note(d, "no longer in this region");
        plan_add(d, PLAN_REMOVE, "data",
            old->managed ? arena_printf(d->scratch, "stops its engine, the data on %s stays there",
                               was->host->name)
                         : "no longer supervised",
            "replica of %s in %s", old->name, was->region->name);
    }
    if (!old || new)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "data",
        old->managed ? "stops its engines, the data stays on their hosts" : "no longer supervised",
        "database %s", old->name);
}

void plan_diff_data(struct differ *d, bool removals)
{
    plan_merge(d, d->old->databases, d->old->n_databases, d->new->databases, d->new->n_databases,
        sizeof *d->old->databases, plan_by_name, removals ? each_removed : each_database);
    if (removals)
        return;
    const char *from = d->old->outbox ? d->old->outbox->name : NULL;
    const char *to = d->new->outbox ? d->new->outbox->name : NULL;
    if (plan_changed(d, "outbox", from, to))
        plan_add(d, from ? to ? PLAN_UPDATE : PLAN_REMOVE : PLAN_CREATE, "data", "no restart",
            "events");
}
