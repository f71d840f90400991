/* SPDX-License-Identifier: Apache-2.0 */
/* The failover of databases: every control looks at the facts each half second, the one that leads
 * steps the controller (domain/failover/fsm.h) over the database's document, carries its acts out
 * and feeds the answers back. What people see of it is kept in `failover/<database>`. */
#include "role/control/failover.h"
#include "role/control/admit.h"
#include "role/control/databases.h"
#include "role/control/drill.h"
#include "role/control/lease.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"
#include "domain/replication/node.h"

#define CALL_MARGIN_MS 1000u
#define GTID_MAX 4096u
#define STATE_MS 5000u   /* between two changes of the reason alone */

struct happened { /* an answer, with what it points to */
    struct happened *next;
    enum failover_act act;
    int64_t id;
    bool failed;
    struct err error;
    char gtid[GTID_MAX];
};

bool failover_is_declared(const struct model_database *db)
{
    return model_fails_over(db);
}

struct watcher *failover_watcher(struct control *c, const char *database)
{
    struct watcher *w = c->failover ? c->failover->watchers : NULL;
    while (w && !str_eq(w->database, database))
        w = w->next;
    return w;
}

const json_t *failover_doc_of(const struct control *c, const char *database)
{
    return c->failover ? documents_get(c->failover->docs, database) : NULL;
}

static struct watcher *get_watcher(struct control *c, const char *database)
{
    struct watcher *w = failover_watcher(c, database);
    if (w)
        return w;
    w = xcalloc(1, sizeof *w);
    *w = (struct watcher){.c = c, .next = c->failover->watchers};
    str_copy(w->database, sizeof w->database, database);
    return c->failover->watchers = w;
}

static void drop_queue(struct watcher *w)
{
    for (struct happened *h = w->queue, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    w->queue = NULL;
}

static void free_watcher(struct watcher *w)
{
    drop_queue(w);
    free(w->now);
    failover_seen_done(&w->seen);
    free(w);
}

/* ---- acts ---- */

struct asked {
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    enum failover_act act;
    int64_t id;
};

static void turn(struct watcher *w);

static struct asked *ask(struct watcher *w)
{
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){.c = w->c, .act = w->action.act, .id = w->action.id};
    str_copy(a->database, sizeof a->database, w->database);
    return a;
}

static void enqueue(struct watcher *w, struct happened *h)
{
    struct happened **end = &w->queue;
    while (*end)
        end = &(*end)->next;
    *end = h;
}

/* gtid and error may be NULL. */
static void answer(struct asked *a, const char *gtid, const struct err *error)
{
    struct watcher *w = failover_watcher(a->c, a->database);
    struct happened *h = xcalloc(1, sizeof *h);
    *h = (struct happened){.act = a->act, .id = a->id, .failed = error != NULL};
    if (error)
        h->error = *error;
    if (gtid && !str_copy(h->gtid, sizeof h->gtid, gtid))
        h->gtid[0] = '\0'; /* for people only: cut off it would be wrong */
    if (error)
        log_info("failover", "act was not done", "database=%s act=%s why=\"%s\"", a->database,
            failover_act_name(a->act), error->message);
    if (!w)
        free(h);
    else {
        enqueue(w, h);
        turn(w);
    }
    free(a);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    if (!more)
        answer(ctx, json_opt_str(result, "gtid", NULL), error);
}

static void on_lease_written(void *ctx, const json_t *doc, const struct err *e)
{
    answer(ctx, NULL, e);
}

static void on_admitted(void *ctx, const struct err *e)
{
    answer(ctx, NULL, e);
}

/* Is the lost region out of the answers, as far as this control knows? */
static void look_switched(struct watcher *w, struct asked *a)
{
    struct replication_doc d;
    struct err e;
    const json_t *doc = control_data_doc(w->c, w->database);
    const char *from = json_opt_str(json_object_get(doc, "change"), "from", "");
    bool known = doc && replication_doc_parse(doc, &d, &e) >= 0;
    const struct replication_member *m = known ? replication_doc_find(&d, from) : NULL;
    const char *state = m ? steer_service_region_state(w->c->steer, m->region) : "unknown";
    bool lives = m && control_hears(w->c, m->host);
    if (m && !lives && !str_eq(state, "down") && !str_eq(state, "unknown")) {
        err_set(&e, ERR_TIMEOUT, "names are still answered with %s", m->region);
        answer(a, NULL, &e);
    } else
        answer(a, NULL, NULL);
}

static void call_role_at(struct watcher *w, const char *host, const char *method, rpc_answer_fn fn)
{
    const struct failover_action *a = &w->action;
    control_reach(w->c, host, "data", method,
        json_pack("{s:s,s:I,s:I,s:I}", "database", w->database, "epoch", (json_int_t)a->epoch,
            "id", (json_int_t)a->id, "timeout_ms", (json_int_t)a->wait_ms),
        a->wait_ms + CALL_MARGIN_MS, fn, ask(w));
}

static void call_role(struct watcher *w, const char *method)
{
    call_role_at(w, w->action.host, method, on_answer);
}

/* ---- the fence of a source that others run */

/* From another host. Its own, if it lives, makes the server writable again for as long as what it read of the
 * quorum before the change holds: before that is over nothing is proven. */
static void on_far(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct asked *a = ctx;
    struct err e;
    if (more)
        return;
    const struct watcher *w = failover_watcher(a->c, a->database);
    uint64_t since_ms = w && w->far_id == a->id ? clock_boot_ms() - w->far_ms : 0;
    if (!error && since_ms < REPLICATION_FRESH_MS + CALL_MARGIN_MS) {
        err_set(&e, ERR_UNAVAILABLE, "it refuses writes; its own host might still permit them");
        answer(a, NULL, &e);
    } else
        on_answer(a, result, more, error);
}

static void on_fence_function(void *ctx, const struct function_result *r, const struct err *e)
{
    answer(ctx, NULL, e);
}

static void run_fence(struct watcher *w, const struct model_database *db)
{
    const struct failover_action *a = &w->action;
    char run[64], why[128];
    snprintf(run, sizeof run, "fence-%.20s-%lld-%lld-%u", w->database, (long long)a->epoch, (long long)a->id,
        a->attempt);
    snprintf(why, sizeof why, "fence of failover %lld of %s", (long long)a->id, w->database);
    control_function_run(w->c, db->failover.fence_function->as.name, run, why,
        failover_fence_input(w->c, db, a->id, a->epoch, false), on_fence_function, ask(w));
}

/* By its own host, which keeps it fenced, or from the successor's, in turn while neither has done it. */
static void fence(struct watcher *w)
{
    const struct failover_action *a = &w->action;
    struct control *c = w->c;
    const struct model_database *db = c->model ? model_find_database(c->model, w->database) : NULL;
    const char *to = json_opt_str(json_object_get(control_data_doc(c, w->database), "change"), "to", "");
    bool external = db && !db->managed;
    if (external && w->far_id != a->id) {
        w->far_id = a->id;
        w->far_ms = clock_boot_ms();
    }
    if (external && db->failover.fence_function)
        run_fence(w, db);
    else if (external && (a->attempt % 2 == 0 || !control_hears(c, a->host)))
        call_role_at(w, to, "data.fence.far", on_far);
    else
        call_role(w, "data.fence");
}

/* ---- functions around it */

static void on_functions(void *ctx, const struct err *e)
{
    answer(ctx, NULL, e);
}

static void run_functions(struct watcher *w)
{
    struct control *c = w->c;
    struct asked *a = ask(w);
    const struct model_database *db = c->model ? model_find_database(c->model, a->database) : NULL;
    bool first = a->act == FAILOVER_BEFORE;
    const char *when = first ? "before" : "after";
    char run[56], why[128];
    snprintf(run, sizeof run, "failover-%.24s-%lld-%s", a->database, (long long)a->id, when);
    snprintf(why, sizeof why, "%s failover %lld of %s", when, (long long)a->id, a->database);
    control_bound_run(c, !db ? NULL : first ? db->failover.before : db->failover.after, run, why,
        json_pack("{s:s,s:I,s:s,s:O*}", "database", a->database, "id", (json_int_t)a->id, "when", when,
            "change", json_object_get(control_data_doc(c, a->database), "change")),
        on_functions, a);
}

static void carry_out(struct watcher *w)
{
    const struct failover_action *a = &w->action;
    switch (a->act) {
    case FAILOVER_REVOKE:
    case FAILOVER_RESTORE:
        control_lease_revoke(w->c, w->database, a->epoch, a->act == FAILOVER_REVOKE,
            on_lease_written, ask(w));
        break;
    case FAILOVER_FENCE:
        fence(w);
        break;
    case FAILOVER_PROMOTE:
        call_role(w, "data.promote");
        break;
    case FAILOVER_VERIFY:
        call_role(w, "data.verify");
        break;
    case FAILOVER_SWITCH:
        look_switched(w, ask(w));
        break;
    case FAILOVER_ADMIT:
        control_admit_region(w->c, a->region, w->database, a->epoch, "promotion", on_admitted, ask(w));
        break;
    case FAILOVER_BEFORE:
    case FAILOVER_AFTER:
        run_functions(w);
        break;
    case FAILOVER_NOTHING:
    case FAILOVER_ACTS:
        break;
    }
}

/* ---- the timeline ---- */

static void note(struct watcher *w, const char *key, const char *message, const char *why)
{
    if (str_eq(w->told, key))
        return;
    str_copy(w->told, sizeof w->told, key);
    log_info("failover", message, "database=%s why=\"%s\"", w->database, why);
    control_note(w->c, "failover", w->database, message, why);
}

static void note_change(struct watcher *w, const json_t *about, const char *step)
{
    char message[240], key[sizeof w->told];
    snprintf(message, sizeof message, "%s from %s to %s: %s",
        json_opt_bool(about, "auto", true) ? "failover by itself" : "failover by hand",
        json_opt_str(about, "from", "?"), json_opt_str(about, "to", "?"), step);
    snprintf(key, sizeof key, "%lld %s", (long long)json_opt_int(about, "id", 0), step);
    note(w, key, message, json_opt_str(about, "why", ""));
}

static bool is_failover(const json_t *change)
{
    return str_eq(json_opt_str(change, "kind", NULL), "failover");
}

/* States in which nothing is wrong are told when they follow one in which something was. */
static void note_doc(struct watcher *w, const json_t *doc)
{
    const json_t *change = json_object_get(doc, "change"), *last = json_object_get(doc, "last");
    if (is_failover(change))
        note_change(w, change, json_opt_str(change, "step", "?"));
    else if (is_failover(last) && w->moved)
        note_change(w, last, json_opt_str(last, "outcome", "?"));
}

static void note_state(struct watcher *w, const json_t *doc)
{
    static const uint32_t worth = 1u << FAILOVER_SUSPECT | 1u << FAILOVER_CONFIRMED
                                  | 1u << FAILOVER_BLOCKED | 1u << FAILOVER_MANUAL
                                  | 1u << FAILOVER_PAUSED | 1u << FAILOVER_PARTIAL;
    enum failover_state s = failover_state_of(doc, &w->run);
    char why[300], message[64], key[sizeof w->told];
    if (s >= FAILOVER_FENCING)
        return;
    if (!(worth >> s & 1)) {
        if (str_starts(w->told, "state "))
            note(w, "", failover_state_name(s), "");
        return;
    }
    failover_reason(doc, &w->run, why, sizeof why);
    snprintf(message, sizeof message, "failover: %s", failover_state_name(s));
    snprintf(key, sizeof key, "state %s %s", failover_state_name(s), w->run.rule.id);
    note(w, key, message, why);
}

/* ---- what people see: failover/<database> ---- */

struct telling {
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    char state[32], reason[300];
    char drill[80]; /* that brought `last` about: it acknowledges its own */
    json_t *last;
};

static json_t *acknowledged(const struct telling *t, json_t *doc)
{
    int64_t id = json_opt_int(t->last, "id", 0);
    if (!*t->drill || json_opt_int(doc, "acked_id", 0) >= id)
        return json_incref(doc);
    return failover_doc_ack(doc, id, t->drill, clock_wall_ms());
}

static json_t *told_doc(const struct telling *t, json_t *old)
{
    json_t *fresh = old ? json_incref(old) : failover_doc_new();
    json_t *noted = is_failover(t->last) ? failover_doc_note(fresh, t->last) : json_incref(fresh);
    json_t *acked = acknowledged(t, noted);
    json_t *done = failover_doc_state(acked, t->state, t->reason, clock_wall_ms());
    json_decref(acked);
    json_decref(noted);
    json_decref(fresh);
    return done;
}

static int edit_told(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = told_doc(ctx, old);
    return 0;
}

static void on_told(void *ctx, const json_t *doc, const struct err *e)
{
    struct telling *t = ctx;
    struct watcher *w = failover_watcher(t->c, t->database);
    if (w)
        w->told_doc = false;
    if (w && !e && *t->drill && w->acked_drill != json_opt_int(t->last, "id", 0)) {
        w->acked_drill = json_opt_int(t->last, "id", 0);
        control_note(t->c, "failover", t->database,
            "the drill acknowledges its failover: it counts no more against the next", t->drill);
    }
    if (e)
        log_debug("failover", "the state is not told", "database=%s why=\"%s\"", t->database,
            e->message);
    json_decref(t->last);
    free(t);
}

/* A reason whose figures change each second is written now and then. */
static bool is_news(const struct watcher *w, const struct telling *t, const json_t *old)
{
    _cleanup_json_ json_t *new = told_doc(t, (json_t *)(uintptr_t)old);
    bool same_state = str_eq(json_opt_str(old, "state", NULL), t->state)
                      && json_array_size(json_object_get(old, "history"))
                             == json_array_size(json_object_get(new, "history"));
    return new != old && (!same_state || clock_boot_ms() - w->told_ms >= STATE_MS);
}

static void tell(struct watcher *w, const json_t *doc)
{
    struct control *c = w->c;
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    struct telling *t = xcalloc(1, sizeof *t);
    *t = (struct telling){
        .c = c, .last = json_incref((json_t *)(uintptr_t)json_object_get(doc, "last"))};
    str_copy(t->database, sizeof t->database, w->database);
    str_copy(t->state, sizeof t->state, failover_state_name(failover_state_of(doc, &w->run)));
    failover_reason(doc, &w->run, t->reason, sizeof t->reason);
    (void)control_drill_caused(c, w->database, t->last, t->drill, sizeof t->drill);
    if (w->told_doc || !is_news(w, t, failover_doc_of(c, w->database))
        || !scheduler_guard(c->scheduler, key, &mod)) {
        json_decref(t->last);
        free(t);
        return;
    }
    w->told_doc = true;
    w->told_ms = clock_boot_ms();
    documents_edit_under(c->failover->docs, w->database, key, mod, edit_told, on_told, t);
}

/* ---- the leader's turn ---- */

static json_t *step(struct watcher *w, json_t *doc, const struct happened *h)
{
    const struct failover_event ev = {.kind = h ? FAILOVER_ANSWER : FAILOVER_TICK,
        .facts = &w->facts,
        .act = h ? h->act : FAILOVER_NOTHING,
        .id = h ? h->id : 0,
        .gtid = h && *h->gtid ? h->gtid : NULL,
        .error = h && h->failed ? &h->error : NULL};
    w->next_run = w->run;
    return failover_step(doc, &w->next_run, &ev, clock_boot_ms(), clock_wall_ms(), &w->action);
}

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct watcher *w = ctx;
    *ret = old ? step(w, old, w->now) : NULL; /* called again when somebody else wrote first */
    w->moved = *ret != old;
    return 0;
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct watcher *w = ctx;
    if (!w->c->failover) { /* closed meanwhile: it was kept for this */
        free_watcher(w);
        return;
    }
    w->editing = false;
    if (e) {
        log_debug("failover", "the step is not written", "database=%s why=\"%s\"", w->database,
            e->message);
        if (w->now) { /* an answer is heard once: kept for the next turn */
            w->now->next = w->queue;
            w->queue = w->now;
            w->now = NULL;
        }
        return;
    }
    free(w->now);
    w->now = NULL;
    w->run = w->next_run;
    if (doc)
        note_doc(w, doc);
    if (w->moved && doc)
        tell(w, doc);
    bool again = w->moved || w->queue || w->action.act != FAILOVER_NOTHING;
    if (!w->moved)
        carry_out(w);
    if (again && !w->editing)
        turn(w);
}

static void write_step(struct watcher *w)
{
    control_lease_challenge(w->c, w->database, true); /* it may be what begins one */
    w->editing = true;
    free(w->now);
    w->now = w->queue;
    if (w->now)
        w->queue = w->now->next;
    control_data_edit(w->c, w->database, edit_step, on_stepped, w);
}

/* As the document is known here, without asking the store: is there something to write? */
static bool stays(struct watcher *w, const json_t *doc)
{
    _cleanup_json_ json_t *next = step(w, (json_t *)(uintptr_t)doc, NULL);
    if (next != doc)
        return false;
    w->run = w->next_run;
    return true;
}

static void turn(struct watcher *w)
{
    const json_t *doc = control_data_doc(w->c, w->database);
    if (w->editing || !doc)
        return;
    if (!scheduler_leads(w->c->scheduler)) {
        w->run = (struct failover_run){0}; /* another leader goes on; we begin anew */
        drop_queue(w);
        return;
    }
    bool quiet = !w->queue && !is_failover(json_object_get(doc, "change"));
    if (!quiet || !stays(w, doc))
        write_step(w);
    else {
        note_state(w, doc);
        tell(w, doc);
    }
}

static const json_t *change_of(const struct control *c, const char *database)
{
    return json_object_get(control_data_doc(c, database), "change");
}

static bool is_due(const struct control *c, const struct model_database *db)
{
    return failover_is_declared(db) || is_failover(change_of(c, db->name));
}

static void on_timer(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control_failover, timer)->c;
    if (!c->model || !c->scheduler || !c->steer || !control_data_docs(c)
        || !documents_synced(control_data_docs(c)))
        return;
    failover_look_world(c, &c->failover->world);
    for (size_t i = 0; i < c->model->n_databases; i++) {
        const struct model_database *db = &c->model->databases[i];
        if (db->n_members < 2)
            continue;
        struct watcher *w = get_watcher(c, db->name);
        if (!w->editing)
            control_lease_challenge(c, db->name, is_failover(change_of(c, db->name)));
        if (failover_look(c, w) && is_due(c, db))
            turn(w);
    }
}

void failover_hurry(struct control *c)
{
    if (c->failover)
        uv_timer_start(&c->failover->timer, on_timer, 0, FAILOVER_LOOK_MS);
}

/* ---- life ---- */

void control_failover_open(struct control *c)
{
    static const struct documents_handler handler = {0};
    struct control_failover *f = c->failover = xcalloc(1, sizeof *f);
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/failover/", c->platform);
    f->c = c;
    f->world.regions = json_object();
    f->docs = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
    uv_timer_init(&c->role->loop, &f->timer);
    uv_timer_start(&f->timer, on_timer, FAILOVER_LOOK_MS, FAILOVER_LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_failover, timer));
}

void control_failover_close(struct control *c)
{
    struct control_failover *f = c->failover;
    if (!f)
        return;
    c->failover = NULL;
    documents_free(f->docs);
    json_decref(f->world.regions);
    for (struct watcher *w = f->watchers, *next; w; w = next) {
        next = w->next;
        if (!w->editing)
            free_watcher(w);
    }
    uv_close((uv_handle_t *)&f->timer, on_closed);
}
