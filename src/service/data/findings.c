/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a database here, gathered from all who look: told once when it comes and once
 * when it has gone, and shown by the report meanwhile. Who finds something of his own appends it in
 * gather(). */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/hygiene.h"
#include "service/data/evidence.h"

#define ERRANT_MS 12000u
#define ERRANT 1950 /* a write that was not the source's */

static int64_t source_connections(const struct db *db)
{
    const json_t *of = json_object_get(json_object_get(db->owner->world, "positions"), db->name);
    return json_opt_int(json_object_get(of, db->want.source.host), "max_connections", 0);
}

static void add_looked(const struct db *db, struct hygiene_input *in)
{
    const struct data_look *l = db->last;
    if (!l)
        return;
    in->reached = true;
    in->read_only = l->position.read_only;
    in->attached = l->status.configured;
    in->follows = l->status.source_host;
    in->follows_port = l->status.source_port;
    in->receiving = l->status.io == SQL_IO_YES;
    in->waiting_ms = data_waiting_ms(db);
}

static void add_clock(struct db *db, struct hygiene_input *in)
{
    uint64_t now = clock_boot_ms();
    struct lag_figures f;
    lag_read(&db->lag, clock_wall_us(), clock_boot_ns() / 1000, &f);
    in->clock_jumped = f.known && lag_jumped(&db->lag);
    if (!f.known || !f.uncertain)
        db->hygiene.unsure_ms = 0;
    else if (!db->hygiene.unsure_ms)
        db->hygiene.unsure_ms = now;
    in->clock_unknown_ms = db->hygiene.unsure_ms ? now - db->hygiene.unsure_ms : 0;
}

static void add_login(struct db *db, struct hygiene_input *in)
{
    struct hygiene *h = &db->hygiene;
    const struct ladder *l = &db->node.ladder;
    const struct sql_replica_status *s = db->last ? &db->last->status : NULL;
    uint64_t now = clock_boot_ms();
    if (s && ladder_classify(true, s->io_errno, s->io_error) == LADDER_CREDENTIALS) {
        h->refused_number = s->io_errno; /* gone when its thread was stopped */
        str_copy(h->refused_text, sizeof h->refused_text, s->io_error);
    }
    in->refused = l->held == LADDER_CREDENTIALS && l->step != LADDER_NONE;
    in->refused_number = h->refused_number;
    in->refused_text = h->refused_text;
    in->tries = l->tries;
    in->next_ms = l->next_ms > now ? l->next_ms - now : 0;
}

static void add_certificate(const struct data *d, struct hygiene_input *in)
{
    if (!d->cert_until_ms)
        return;
    in->cert_life_ms = MAX(d->cert_until_ms - d->cert_from_ms, 1);
    in->cert_left_ms = d->cert_until_ms - clock_wall_ms();
}

static void judge(struct db *db, json_t *list)
{
    const struct data_want *w = &db->want;
    struct hygiene_input in = {.database = db->name,
        .duty = w->duty,
        .self = w->self.id,
        .self_host = w->self.host,
        .source_host = w->source.host,
        .source_address = w->source.address,
        .source_port = w->source.port,
        .members = json_object_get(w->json, "members"),
        .accounts = json_object_get(w->json, "accounts"),
        .facts = db->hygiene.facts,
        .now_ms = clock_boot_ms(),
        .check_ms = w->check_ms,
        .semi_sync = w->semi_sync,
        .source_connections = source_connections(db),
        .objective_ms = w->objective_ms,
        .delay_ms = w->self.delay_ms};
    add_looked(db, &in);
    add_clock(db, &in);
    add_login(db, &in);
    add_certificate(db->owner, &in);
    hygiene_judge(&in, list);
}

/* What froze it, where the evidence lies, and what ends it. */
static void add_frozen(const struct db *db, json_t *list)
{
    const struct ladder *l = &db->node.ladder;
    const char *host = db->want.self.host;
    char path[320] = "";
    _cleanup_free_ char *fix = NULL;
    if (db->want.duty != REPLICATION_REPLICA || l->step != LADDER_FROZEN)
        return;
    bool kept = evidence_newest(db->want.dir, path);
    bool errant = l->number == ERRANT || l->held == LADDER_DIVERGED;
    fix = errant ? xasprintf("`mcp data errant %s` shows it as SQL; `mcp data seed %s --host %s` "
                             "discards it",
                       db->name, db->name, host)
                 : xasprintf("`mcp data checksum %s` shows which rows differ; `mcp data seed %s "
                             "--host %s` replaces them, or mend them and `mcp data resume %s "
                             "--host %s`",
                       db->name, db->name, host, db->name, host);
    data_finding(list, "frozen", "error", fix, "replication is frozen by error %u: %s%s%s",
        l->number, db->node.why, kept ? "; evidence: " : "", path);
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    if (kept && str_eq(json_opt_str(last, "id", ""), "frozen"))
        json_object_set_new(last, "evidence", json_string(path));
}

/* What this server wrote itself and its source has not got. The source's position is a few seconds
 * old: it has to be so for a while, or a source that has just become a replica is suspected. */
static void add_errant(struct db *db, json_t *list)
{
    const json_t *of = json_object_get(json_object_get(db->owner->world, "positions"), db->name);
    const char *text = json_opt_str(json_object_get(of, db->want.source.host), "gtid", NULL);
    _cleanup_gtid_ struct gtid_set there = {0};
    struct err ignored;
    struct gtid g = {0}, position;
    uint64_t now = clock_boot_ms(), count = 0;
    if (db->want.duty != REPLICATION_REPLICA || !db->last || !text
        || gtid_set_parse(GTID_MARIADB, text, strlen(text), &there, &ignored) < 0)
        return;
    const struct gtid_set *state = &db->last->position.state;
    for (size_t i = 0; i < state->n; i++)
        if (state->at[i].server == db->want.self.id
            && (!gtid_set_domain(&there, state->at[i].domain, &position)
                || (state->at[i].seq > position.seq))) {
            g = state->at[i];
            count++;
        }
    if (!count)
        db->errant_ms = 0;
    else if (!db->errant_ms)
        db->errant_ms = now;
    if (!count || now - db->errant_ms < ERRANT_MS)
        return;
    _cleanup_free_ char *fix = xasprintf("`mcp data errant %s` shows it as SQL; `mcp data seed %s "
                                         "--host %s` discards it",
        db->name, db->name, db->want.self.host);
    data_finding(list, "errant", "error", fix,
        "it has written what the source does not have, up to %u-%u-%llu", g.domain, g.server,
        (unsigned long long)g.seq);
}

static void gather(struct db *db, json_t *list)
{
    add_frozen(db, list);
    add_errant(db, list);
    if (*db->beat_error)
        data_finding(list, "heartbeat", "warning",
            "the lag of replicas is not known until the heartbeat row can be written", "%s",
            db->beat_error);
    judge(db, list);
    db_keep_findings(db, list);
    db_retain_findings(db, list);
}

static void on_told(void *ctx, const json_t *f, bool raised)
{
    struct db *db = ctx;
    _cleanup_free_ char *gone = xasprintf("cleared: %s", json_opt_str(f, "id", "?"));
    data_note(db->owner, db, raised ? "alarm" : "data",
        raised ? json_opt_str(f, "text", "") : gone,
        raised ? json_opt_str(f, "fix", "") : json_opt_str(f, "text", ""));
    data_report_soon(db->owner);
}

void db_findings(struct db *db)
{
    _cleanup_json_ json_t *list = json_array();
    gather(db, list);
    findings_step(db->hygiene.book, list, clock_boot_ms(), on_told, db);
}
