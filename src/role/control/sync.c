/* SPDX-License-Identifier: Apache-2.0 */
/* Which replica holds every acknowledged commit of a semi-synchronous database: whoever leads steps
 * domain/replication/sync.h by what the data roles tell, and writes what comes of it. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"
#include "domain/replication/sync.h"

#define LOOK_MS 500u

struct keeper { /* one database */
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    struct sync_run run;
    struct sync_facts facts;
    char member[64];
    bool editing, began;
    char told[64]; /* host that the timeline has; "" */
    struct keeper *next;
};

struct control_sync {
    struct control *c;
    uv_timer_t timer;
    struct keeper *keepers;
};

static struct keeper *keeper_of(struct control *c, const char *database)
{
    struct keeper *k = c->sync->keepers;
    while (k && strcmp(k->database, database) != 0)
        k = k->next;
    if (k)
        return k;
    k = xcalloc(1, sizeof *k);
    *k = (struct keeper){.c = c, .next = c->sync->keepers};
    str_copy(k->database, sizeof k->database, database);
    return c->sync->keepers = k;
}

/* ---- what is known */

/* With two of them the acknowledgement of either would count. */
static const struct replication_member *only_prompt(const struct replication_doc *d)
{
    const struct replication_member *one = NULL;
    for (size_t i = 0; i < d->n_members; i++) {
        if (&d->members[i] == d->source || d->members[i].delay_ms)
            continue;
        if (one)
            return NULL;
        one = &d->members[i];
    }
    return one;
}

static bool follows(struct control *c, const struct model_database *db, const char *host)
{
    const json_t *r = control_data_report(c, host, db->name), *lag = json_object_get(r, "lag_ms");
    return r && control_hears(c, host) && str_eq(json_opt_str(r, "state", ""), "replicating")
           && json_is_integer(lag)
           && (uint64_t)json_integer_value(lag) <= db->replication.lag_objective_ms;
}

static bool gather(struct keeper *k, const struct model_database *db, const json_t *doc)
{
    struct replication_doc d;
    struct err ignored;
    if (replication_doc_parse(doc, &d, &ignored) < 0)
        return false;
    const struct replication_member *m = only_prompt(&d);
    const json_t *source = control_data_report(k->c, d.source->host, db->name),
                 *sync = json_object_get(source, "sync");
    k->facts = (struct sync_facts){.required = db->managed && db->replication.mode == DATA_SEMI_SYNC,
        .source_writable = str_eq(json_opt_str(source, "state", ""), "writable"),
        .firm = json_opt_bool(sync, "firm", false),
        .clients = (uint64_t)MAX(json_opt_int(sync, "clients", 0), 0),
        .stalled_ms = (uint64_t)MAX(json_opt_int(sync, "stalled_ms", 0), 0)};
    if (m && str_copy(k->member, sizeof k->member, m->host)) {
        k->facts.member = k->member;
        k->facts.follows = follows(k->c, db, m->host);
    }
    return true;
}

/* ---- the leader's turn */

static int edit(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct keeper *k = ctx;
    struct sync_run run = k->run; /* what it remembers was taken over before */
    *ret = old ? sync_step(old, &run, &k->facts, clock_boot_ms(), clock_wall_ms()) : NULL;
    return 0;
}

static void tell(struct keeper *k, const json_t *doc)
{
    const char *host = sync_host(doc);
    char message[160];
    if (!k->began) /* another leader has told it */
        str_copy(k->told, sizeof k->told, host ? host : "");
    k->began = true;
    if (str_eq(host ? host : "", k->told))
        return;
    if (host)
        snprintf(message, sizeof message, "commits wait for %s: it has all that is acknowledged", host);
    else
        snprintf(message, sizeof message, "commits wait for no replica any more: %s is away", k->told);
    str_copy(k->told, sizeof k->told, host ? host : "");
    control_note(k->c, host ? "data" : "alarm", k->database, message, "");
    log_info("data", message, "database=%s", k->database);
}

static void on_edited(void *ctx, const json_t *doc, const struct err *e)
{
    struct keeper *k = ctx;
    k->editing = false;
    if (!k->c->sync) {
        free(k);
        return;
    }
    if (!e && doc)
        tell(k, doc);
}

static void look(struct control *c, const struct model_database *db)
{
    const json_t *doc = control_data_doc(c, db->name);
    struct keeper *k = keeper_of(c, db->name);
    if (!doc || k->editing || !gather(k, db, doc))
        return;
    _cleanup_json_ json_t *next = sync_step(
        (json_t *)(uintptr_t)doc, &k->run, &k->facts, clock_boot_ms(), clock_wall_ms());
    if (next == doc) {
        tell(k, doc);
        return;
    }
    tell(k, doc);
    k->editing = true;
    control_data_edit(c, db->name, edit, on_edited, k);
}

static void on_timer(uv_timer_t *t)
{
    struct control_sync *s = CONTAINER_OF(t, struct control_sync, timer);
    struct control *c = s->c;
    bool leads = c->model && c->scheduler && scheduler_leads(c->scheduler) && control_data_docs(c)
                 && documents_synced(control_data_docs(c));
    for (struct keeper *k = s->keepers; k && !leads; k = k->next) {
        k->run = (struct sync_run){0};
        k->began = false;
    }
    for (size_t i = 0; leads && i < c->model->n_databases; i++)
        look(c, &c->model->databases[i]);
}

/* ---- life */

void control_sync_open(struct control *c)
{
    c->sync = xcalloc(1, sizeof *c->sync);
    c->sync->c = c;
    uv_timer_init(&c->role->loop, &c->sync->timer);
    uv_timer_start(&c->sync->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_sync, timer));
}

void control_sync_close(struct control *c)
{
    struct control_sync *s = c->sync;
    if (!s)
        return;
    c->sync = NULL;
    for (struct keeper *k = s->keepers, *next; k; k = next) {
        next = k->next;
        if (!k->editing)
            free(k);
    }
    uv_close((uv_handle_t *)&s->timer, on_closed);
}
