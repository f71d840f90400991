/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp data switchover`: any control writes the change into the database's document; whoever leads
 * carries it on, step by step (domain/replication/switchover.h): writes the document, calls the data
 * role or the mesh of the host whose turn it is, feeds the answer back. */
#include "role/control/databases.h"
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/switchover.h"

#define LOOK_MS 200u
#define GRACE_MS 1000u  /* for statements that are in flight when the hold begins */
#define MOST_MS 3600000 /* of a hold that somebody asks for */
#define CALL_MARGIN_MS 2000u
#define GTID_MAX 4096u

struct happened { /* an event with what it points to */
    struct switchover_event ev;
    struct err error;
    char gtid[GTID_MAX];
};

struct mover { /* one database whose source is being moved */
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    struct switchover_run run, next_run; /* the second: when the write has succeeded */
    struct switchover_action action;
    struct happened now, queued; /* an answer that came while a step was being written */
    bool editing, is_queued, moved;
    char told[64]; /* step that the timeline has */
    struct mover *next;
};

struct control_switchover {
    struct control *c;
    uv_timer_t timer;
    struct mover *movers;
};

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static struct mover *mover_of(struct control *c, const char *database)
{
    struct mover *m = c->switchover->movers;
    while (m && strcmp(m->database, database) != 0)
        m = m->next;
    if (m)
        return m;
    m = xcalloc(1, sizeof *m);
    *m = (struct mover){.c = c, .next = c->switchover->movers};
    str_copy(m->database, sizeof m->database, database);
    return c->switchover->movers = m;
}

/* ---- acts ---- */

struct asked {
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    enum switchover_act act;
    int64_t id;
};

static void turn(struct mover *m, const struct switchover_event *ev);

/* Servers of others whose statements no gate sees: there is nothing to hold, read_only does it all. */
static bool has_no_gate(const struct asked *a)
{
    const struct model_database *db =
        a->c->model ? model_find_database(a->c->model, a->database) : NULL;
    return (a->act == SWITCHOVER_HOLD || a->act == SWITCHOVER_RELEASE) && db
           && !model_database_has_ends(db);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct asked *a = ctx;
    struct err not_yet;
    if (more)
        return;
    if (has_no_gate(a))
        error = NULL;
    if (!error && a->act == SWITCHOVER_EQUAL && !json_opt_bool(result, "reached", false)) {
        err_set(&not_yet, ERR_TIMEOUT, "not all is applied yet");
        error = &not_yet;
    }
    if (error)
        log_info("data", "step was not done", "database=%s act=%s why=\"%s\"", a->database,
            switchover_act_name(a->act), error->message);
    const struct switchover_event ev = {.kind = SWITCHOVER_ANSWER,
        .act = a->act,
        .id = a->id,
        .gtid = json_opt_str(result, "gtid", NULL),
        .error = error};
    if (a->c->switchover)
        turn(mover_of(a->c, a->database), &ev);
    free(a);
}

static json_t *params_of(const struct mover *m, const struct switchover_action *a)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:s,s:b,s:I,s:I,s:I}", "database", m->database, "act",
        switchover_act_name(a->act), "epoch", (json_int_t)a->epoch, "id", (json_int_t)a->id, "gtid",
        a->gtid, "on", 1, "timeout_ms", (json_int_t)a->wait_ms, "for_ms", (json_int_t)a->wait_ms,
        "grace_ms", (json_int_t)GRACE_MS);
}

static void carry_out(struct mover *m)
{
    static const char *const methods[] = {
        [SWITCHOVER_FREEZE] = "data.readonly",
        [SWITCHOVER_EQUAL] = "data.wait",
        [SWITCHOVER_PROMOTE] = "data.promote",
        [SWITCHOVER_FOLLOW] = "data.follow",
        [SWITCHOVER_HOLD] = "database.hold",
        [SWITCHOVER_RELEASE] = "database.release",
    };
    const struct switchover_action *a = &m->action;
    struct asked *asked = xcalloc(1, sizeof *asked);
    *asked = (struct asked){.c = m->c, .act = a->act, .id = a->id};
    str_copy(asked->database, sizeof asked->database, m->database);
    const char *role = a->act == SWITCHOVER_HOLD || a->act == SWITCHOVER_RELEASE ? "mesh" : "data";
    control_reach(m->c, a->host, role, methods[a->act], params_of(m, a),
        a->wait_ms + CALL_MARGIN_MS, on_answer, asked);
}

/* ---- the leader's turn ---- */

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct mover *m = ctx;
    m->next_run = m->run; /* called again when somebody else wrote first */
    *ret = old ? switchover_step(
               old, &m->next_run, &m->now.ev, clock_boot_ms(), clock_wall_ms(), &m->action)
               : NULL;
    m->moved = *ret != old;
    return 0;
}

static void note_step(struct mover *m, const json_t *doc)
{
    const json_t *change = json_object_get(doc, "change"), *last = json_object_get(doc, "last");
    const char *step = json_opt_str(change, "step", json_opt_str(last, "outcome", ""));
    char message[200];
    if (!*step || str_eq(step, m->told))
        return;
    str_copy(m->told, sizeof m->told, step);
    const json_t *about = json_is_object(change) ? change : last;
    snprintf(message, sizeof message, "switchover from %s to %s: %s",
        json_opt_str(about, "from", "?"), json_opt_str(about, "to", "?"), step);
    control_note(m->c, "data", m->database, message, json_opt_str(about, "why", ""));
}

static const struct switchover_event tick = {.kind = SWITCHOVER_TICK};

/* What was written just now is what is there: its act needs no other look at the store. */
static bool has_act(struct mover *m, json_t *doc)
{
    m->next_run = m->run;
    _cleanup_json_ json_t *next = switchover_step(
        doc, &m->next_run, &tick, clock_boot_ms(), clock_wall_ms(), &m->action);
    bool stays = next == doc && m->action.act != SWITCHOVER_NOTHING;
    if (stays)
        m->run = m->next_run;
    return stays;
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct mover *m = ctx;
    if (!m->c->switchover) { /* closed meanwhile: it was kept for this */
        free(m);
        return;
    }
    m->editing = false;
    if (!e) {
        m->run = m->next_run;
        note_step(m, doc);
    }
    bool acts = !e && (m->moved ? doc && has_act(m, (json_t *)doc)
                                : m->action.act != SWITCHOVER_NOTHING);
    if (acts)
        carry_out(m);
    if (m->is_queued) {
        m->is_queued = false;
        turn(m, &m->queued.ev);
    } else if (!e && m->moved && !acts)
        turn(m, &tick); /* the new step's act, at once */
}

static void keep(struct happened *h, const struct switchover_event *ev)
{
    struct happened copy = {.ev = *ev};
    if (ev->error)
        copy.error = *ev->error;
    if (ev->gtid && !str_copy(copy.gtid, sizeof copy.gtid, ev->gtid))
        err_set(&copy.error, ERR_REFUSED, "its GTID is longer than %u", GTID_MAX);
    *h = copy;
    h->ev.error = copy.error.code ? &h->error : NULL;
    h->ev.gtid = ev->gtid ? h->gtid : NULL;
}

static void turn(struct mover *m, const struct switchover_event *ev)
{
    if (!scheduler_leads(m->c->scheduler))
        return;
    if (m->editing && ev->kind == SWITCHOVER_ANSWER) {
        keep(&m->queued, ev);
        m->is_queued = true;
    }
    if (m->editing)
        return;
    m->editing = true;
    keep(&m->now, ev);
    control_data_edit(m->c, m->database, edit_step, on_stepped, m);
}

static void on_timer(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control_switchover, timer)->c;
    const char *name;
    json_t *doc;
    if (!control_data_docs(c) || !scheduler_leads(c->scheduler)) {
        for (struct mover *m = c->switchover->movers; m; m = m->next)
            m->run = (struct switchover_run){0}; /* another leader goes on; we begin anew */
        return;
    }
    json_object_foreach (documents_all(control_data_docs(c)), name, doc)
        if (str_eq(json_opt_str(json_object_get(doc, "change"), "kind", NULL), "switchover"))
            turn(mover_of(c, name), &tick);
}

/* ---- what commands ask ---- */

struct wish {
    struct control *c;
    struct rpc_req *req;
    char database[MODEL_DATABASE_NAME_MAX + 1], to[64], by[64];
    uint64_t hold_ms;
    bool dry_run;
    json_t *obstacles;
};

/* `to` may be a region: its member. */
static const char *member_named(const struct replication_doc *d, const char *to)
{
    for (size_t i = 0; i < d->n_members; i++)
        if (str_eq(d->members[i].region, to))
            return d->members[i].host;
    return to;
}

static int edit_begin(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct wish *w = ctx;
    struct replication_doc d;
    if (!old)
        return err_set(e, ERR_NOT_FOUND, "there is no database %s", w->database);
    if (replication_doc_parse(old, &d, e) < 0)
        return e->code;
    const struct model_database *db = model_find_database(w->c->model, w->database);
    const char *to = member_named(&d, w->to);
    json_decref(w->obstacles);
    w->obstacles =
        switchover_obstacles(&d, to, control_data_report(w->c, d.source->host, w->database),
            control_data_report(w->c, to, w->database), db ? db->failover.max_lag_ms : 0);
    if (json_array_size(w->obstacles) && !w->dry_run) {
        err_set(e, ERR_REFUSED, "%s", json_string_value(json_array_get(w->obstacles, 0)));
        err_fix(e, "`mcp data switchover %s --to %s --dry-run` lists all that stands in the way",
            w->database, w->to);
        return e->code;
    }
    *ret = w->dry_run ? json_incref(old)
                      : switchover_begin(old, to, w->by, w->hold_ms, clock_wall_ms());
    return 0;
}

static void on_begun(void *ctx, const json_t *doc, const struct err *e)
{
    struct wish *w = ctx;
    if (e)
        rpc_reply_error(w->req, e);
    else
        rpc_reply(w->req,
            json_pack("{s:s,s:b,s:o,s:O}", "database", w->database, "dry_run", (int)w->dry_run,
                "document", json_deep_copy(doc), "obstacles", w->obstacles));
    if (!e && !w->dry_run && w->c->switchover)
        on_timer(&w->c->switchover->timer);
    json_decref(w->obstacles);
    free(w);
}

void control_switchover_start(struct control *c, struct rpc_req *req, json_t *params)
{
    struct wish *w = xcalloc(1, sizeof *w);
    int64_t hold_ms = json_opt_int(params, "hold_ms", SWITCHOVER_HOLD_MS);
    struct err e;
    *w = (struct wish){.c = c, .req = req, .dry_run = json_opt_bool(params, "dry_run", false)};
    w->hold_ms = (uint64_t)MAX(1000, MIN(hold_ms, MOST_MS));
    if (!str_copy(w->database, sizeof w->database, json_opt_str(params, "database", ""))
        || !str_copy(w->to, sizeof w->to, json_opt_str(params, "to", ""))
        || !str_copy(w->by, sizeof w->by, json_opt_str(params, "by", "?")) || !*w->to) {
        fail(req, ERR_USAGE, "database and to are names", "");
        free(w);
    } else if (!control_data_docs(c)) {
        fail(req, ERR_UNAVAILABLE, "this control has just begun", "try again");
        free(w);
    } else if (!w->dry_run && control_drill_gate(c, &e) < 0) {
        rpc_reply_error(req, &e);
        free(w);
    } else
        documents_edit(control_data_docs(c), w->database, edit_begin, on_begun, w);
}

/* {host: how many ms its clock is ahead of ours}, of the members that were asked. */
static json_t *clocks_of(const struct control *c, const json_t *doc)
{
    json_t *clocks = json_object();
    struct replication_doc d;
    struct offset_sample s;
    struct err ignored;
    bool good = replication_doc_parse(doc, &d, &ignored) >= 0;
    for (size_t i = 0; good && i < d.n_members; i++)
        if (str_eq(d.members[i].host, c->host))
            json_object_set_new(clocks, c->host, json_integer(0));
        else if (c->peers && peers_clock(c->peers, d.members[i].host, &s))
            json_object_set_new(
                clocks, d.members[i].host, json_integer((json_int_t)s.offset_us / 1000));
    return clocks;
}

void control_switchover_status(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *database = json_opt_str(params, "database", "");
    const json_t *doc = control_data_docs(c) ? documents_get(control_data_docs(c), database) : NULL;
    if (!doc)
        fail(req, ERR_NOT_FOUND, "there is no such database", "`mcp data status` lists them");
    else {
        json_t *answer = json_deep_copy(doc);
        json_object_set_new(answer, "clocks", clocks_of(c, doc));
        rpc_reply(req, answer);
    }
}

/* ---- life ---- */

void control_switchover_open(struct control *c)
{
    c->switchover = xcalloc(1, sizeof *c->switchover);
    c->switchover->c = c;
    uv_timer_init(&c->role->loop, &c->switchover->timer);
    uv_timer_start(&c->switchover->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_switchover, timer));
}

void control_switchover_close(struct control *c)
{
    struct control_switchover *s = c->switchover;
    if (!s)
        return;
    c->switchover = NULL;
    for (struct mover *m = s->movers, *next; m; m = next) {
        next = m->next;
        if (!m->editing)
            free(m);
    }
    uv_close((uv_handle_t *)&s->timer, on_closed);
}
