/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the holder of a lease (domain/failover/holder.c) asks for: beats of the data role,
 * reads and writes of the state store; tells data role and mesh the deadline. */
#include "role/control/databases.h"
#include "role/control/lease_priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"

#define LOOK_MS 100u
#define BEAT_PATIENCE_PARTS 4 /* of the lease */
#define SHUT_MS 2000u

struct lease_of *lease_find(const struct control *c, const char *database)
{
    struct lease_of *o = c->lease ? c->lease->holders : NULL;
    while (o && strcmp(o->database, database) != 0)
        o = o->next;
    return o;
}

struct lease_of *lease_get(struct control *c, const char *database)
{
    struct lease_of *o = lease_find(c, database);
    if (o)
        return o;
    o = xcalloc(1, sizeof *o);
    *o = (struct lease_of){.c = c, .next = c->lease->holders};
    str_copy(o->database, sizeof o->database, database);
    lease_holder_init(&o->h, c->host);
    return c->lease->holders = o;
}

/* ---- what this host's roles know */

static bool is_shut(const struct lease_of *o)
{
    const json_t *doc = control_data_doc(o->c, o->database);
    int64_t last = json_opt_int(json_object_get(doc, "last"), "id", 0);
    return o->shut_epoch == o->h.epoch && o->shut_id > last;
}

static json_t *words_for(const struct lease_of *o, uint64_t until_ms)
{
    return json_pack("{s:s,s:I,s:I}", "database", o->database, "epoch", (json_int_t)o->h.epoch,
        "until_ms", (json_int_t)until_ms);
}

static void tell_role(const struct lease_of *o, const char *role)
{
    struct rpc_conn *to = control_link(o->c, role);
    bool shut = str_eq(role, "mesh") && is_shut(o);
    if (to)
        rpc_notify(to, "lease", words_for(o, shut ? 0 : o->h.until_ms));
}

/* Taken: the gate first, it is the one that lets through. Given: the server first. */
static void tell(const struct lease_of *o)
{
    if (!o->h.epoch)
        return;
    tell_role(o, o->h.until_ms ? "data" : "mesh");
    tell_role(o, o->h.until_ms ? "mesh" : "data");
}

void control_lease_linked(struct control *c, const char *role)
{
    bool concerned = str_eq(role, "data") || str_eq(role, "mesh");
    for (struct lease_of *o = c->lease ? c->lease->holders : NULL; o && concerned; o = o->next)
        if (o->h.epoch)
            tell_role(o, role);
}

static void note(struct lease_of *o)
{
    bool held = o->h.until_ms > clock_boot_ms();
    char text[96];
    if (!o->h.epoch || (held && o->noted) || (!held && str_eq(o->h.why, o->told)))
        return;
    snprintf(text, sizeof text, held ? "its lease of epoch %lld is held" : "no lease at epoch %lld",
        (long long)o->h.epoch);
    str_copy(o->told, sizeof o->told, held ? "" : o->h.why);
    if (held || o->noted)
        control_note(o->c, "data", o->database, text, held ? "" : o->h.why);
    o->noted = held;
}

/* ---- acts */

struct asked { /* one act on its way; answered once, maybe after the close */
    struct control *c;
    struct lease_of *o;
    uint64_t id;
    struct lease_record record; /* READ */
    bool found;
    int64_t mod;
};

static struct asked *ask(struct lease_of *o, uint64_t id)
{
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){.c = o->c, .o = o, .id = id};
    return a;
}

static void answer(struct asked *a, struct lease_event ev)
{
    ev.id = a->id;
    if (a->c->lease)
        lease_step(a->o, &ev);
    free(a);
}

static void on_beaten(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct asked *a = ctx;
    if (more)
        return;
    if (error)
        log_debug("lease", "no beat", "why=\"%s\"", error->message);
    answer(a, (struct lease_event){.kind = LEASE_EV_BEATEN,
                  .ok = !error,
                  .gtid = json_opt_str(result, "gtid", "")});
}

static void beat(struct lease_of *o, uint64_t id)
{
    struct rpc_conn *data = control_link(o->c, "data");
    struct asked *a = ask(o, id);
    json_int_t ms = (json_int_t)(o->h.lease_ms / BEAT_PATIENCE_PARTS);
    if (data)
        rpc_call(data, "data.beat",
            json_pack("{s:s,s:I,s:I}", "database", o->database, "epoch", (json_int_t)o->h.epoch,
                "timeout_ms", ms),
            (uint64_t)ms, on_beaten, a);
    else
        answer(a, (struct lease_event){.kind = LEASE_EV_BEATEN});
}

static char *lease_key(const struct lease_of *o)
{
    return xasprintf("/mcp/%s/lease/data/%s", o->c->platform, o->database);
}

static char *doc_key(const struct lease_of *o)
{
    return xasprintf("/mcp/%s/data/%s", o->c->platform, o->database);
}

/* At which epoch the document names this host; 0: it does not. */
static int64_t named_at(const struct lease_of *o, const struct kv_pair *p)
{
    struct replication_doc d;
    struct err ignored;
    _cleanup_json_ json_t *j = NULL;
    bool is_doc = json_parse(p->value, p->len, &j, &ignored) >= 0
                  && replication_doc_parse(j, &d, &ignored) >= 0;
    return is_doc && str_eq(d.source->host, o->c->host) ? d.epoch : 0;
}

static void on_doc(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct asked *a = ctx;
    answer(a, (struct lease_event){.kind = LEASE_EV_READ,
                  .ok = !e,
                  .epoch = !e && n && a->c->lease ? named_at(a->o, &pairs[0]) : 0,
                  .record = a->found ? &a->record : NULL,
                  .mod = a->mod,
                  .doc_mod = !e && n ? pairs[0].mod_revision : 0});
}

static void on_record(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct asked *a = ctx;
    _cleanup_json_ json_t *j = NULL;
    struct err why = {0};
    bool fails = e || !a->c->lease;
    if (!fails && n)
        fails = json_parse(pairs[0].value, pairs[0].len, &j, &why) < 0
                || lease_record_parse(j, &a->record, &why) < 0;
    if (why.code)
        log_error("lease", "the record cannot be read", "error=\"%s\"", why.message);
    if (fails) {
        answer(a, (struct lease_event){.kind = LEASE_EV_READ});
        return;
    }
    a->found = n > 0;
    a->mod = n ? pairs[0].mod_revision : 0;
    _cleanup_free_ char *key = doc_key(a->o);
    kv_get(a->c->kv, key, on_doc, a);
}

static void on_sent(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    answer(ctx, (struct lease_event){.kind = LEASE_EV_SENT,
                    .mod = revision,
                    .sent = e           ? LEASE_SENT_UNKNOWN
                            : succeeded ? LEASE_SENT_DONE
                                        : LEASE_SENT_CONFLICT});
}

static void write_record(struct lease_of *o, const struct lease_action *act)
{
    _cleanup_free_ char *key = lease_key(o), *doc = doc_key(o);
    const json_t *old = documents_get(o->c->lease->docs, o->database);
    _cleanup_json_ json_t *j = lease_record_put(old, &act->record);
    _cleanup_free_ char *text = json_text(j);
    struct kv_compare cmp[] = {{key, act->mod}, {doc, act->doc_mod}};
    struct kv_op op = {key, text, 0};
    kv_txn(o->c->kv, cmp, ARRAY_SIZE(cmp), &op, 1, on_sent, ask(o, act->id));
}

void lease_step(struct lease_of *o, const struct lease_event *ev)
{
    struct lease_action act;
    lease_holder_step(&o->h, ev, clock_boot_ms(), clock_wall_ms(), &act);
    if (act.told)
        tell(o);
    note(o);
    if (act.act == LEASE_BEAT)
        beat(o, act.id);
    else if (act.act == LEASE_READ) {
        _cleanup_free_ char *key = lease_key(o);
        kv_get(o->c->kv, key, on_record, ask(o, act.id));
    } else if (act.act == LEASE_SEND)
        write_record(o, &act);
    if (act.ask_id)
        lease_ask_promises(o, act.ask_id);
}

/* ---- the gate is shut before anybody may count on it */

struct closing {
    struct control *c;
    struct lease_of *o;
    struct rpc_req *req; /* NULL: of a server that died */
    int64_t epoch;
};

static void on_gate_shut(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct closing *g = ctx;
    struct err e;
    if (more)
        return;
    bool here = g->c->lease && g->epoch == g->o->h.epoch;
    if (error)
        log_warn("lease", "the gate does not say that it is shut", "why=\"%s\"", error->message);
    err_set(&e, ERR_UNAVAILABLE, "the gate does not say that it is shut");
    if (g->req && error)
        rpc_reply_error(g->req, &e);
    else if (g->req)
        rpc_reply(g->req, json_object());
    else if (here && !error) /* else the lease ends by itself */
        lease_step(g->o, &(struct lease_event){.kind = LEASE_EV_DEAD});
    free(g);
}

static void shut_gate(struct lease_of *o, struct rpc_req *req)
{
    struct rpc_conn *mesh = control_link(o->c, "mesh");
    struct closing *g = xcalloc(1, sizeof *g);
    struct err e;
    *g = (struct closing){o->c, o, req, o->h.epoch};
    err_set(&e, ERR_UNAVAILABLE, "the mesh is not linked");
    if (mesh)
        rpc_call(mesh, "lease", words_for(o, 0), SHUT_MS, on_gate_shut, g);
    else
        on_gate_shut(g, NULL, false, &e);
}

void control_lease_dead(struct control *c, const json_t *params)
{
    struct lease_of *o = lease_find(c, json_opt_str(params, "database", ""));
    if (o && o->h.epoch && json_opt_int(params, "epoch", 0) == o->h.epoch)
        shut_gate(o, NULL);
}

void control_lease_shut(struct control *c, struct rpc_req *req, const json_t *params)
{
    struct lease_of *o = lease_find(c, json_opt_str(params, "database", ""));
    int64_t epoch = json_opt_int(params, "epoch", 0);
    if (!o || o->h.epoch != epoch) { /* it needs none, or is no source: its gate is shut by the view */
        rpc_reply(req, json_object());
        return;
    }
    o->shut_epoch = epoch;
    o->shut_id = json_opt_int(params, "id", 0);
    shut_gate(o, req);
}

/* ---- whose source is here */

static void look(struct control *c, const struct model_database *db)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, db->name);
    bool known = doc && replication_doc_parse(doc, &d, &ignored) >= 0;
    bool source = known && str_eq(d.source->host, c->host);
    uint64_t lease_ms = model_lease_ms(db);
    struct lease_of *o = lease_ms ? lease_get(c, db->name) : lease_find(c, db->name);
    if (!o)
        return;
    struct lease_event want = {.kind = LEASE_EV_WANT,
        .epoch = source && lease_ms ? d.epoch : 0,
        .lease_ms = lease_ms};
    if (want.epoch != o->h.epoch || (want.epoch && lease_ms != o->h.lease_ms))
        lease_step(o, &want);
    else if (clock_boot_ms() >= lease_holder_due_ms(&o->h))
        lease_step(o, &(struct lease_event){.kind = LEASE_EV_TICK});
}

static void on_timer(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control_lease, timer)->c;
    if (!c->model || !control_databases_known(c))
        return;
    for (size_t i = 0; i < c->model->n_databases; i++)
        look(c, &c->model->databases[i]);
}

/* ---- for who leads */

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    struct lease_record r;
    struct err e;
    if (!c->lease)
        return;
    bool known = doc && lease_record_parse(doc, &r, &e) >= 0;
    lease_watch_see(&lease_get(c, name)->watch, known ? &r : NULL, clock_boot_ms());
}

void control_lease_facts(struct control *c, const char *database, struct failover_lease *ret)
{
    const struct model_database *db = c->model ? model_find_database(c->model, database) : NULL;
    const json_t *doc = control_data_doc(c, database);
    const struct lease_of *o = lease_find(c, database);
    int64_t epoch = json_opt_int(doc, "epoch", 0);
    uint64_t now = clock_boot_ms();
    *ret = (struct failover_lease){.enforced = db && model_lease_ms(db),
        .length_ms = db ? model_lease_ms(db) : 0,
        .age_ms = FAILOVER_NEVER,
        .safe_in_ms = FAILOVER_NEVER};
    if (!o || !epoch)
        return;
    ret->promised_ms = lease_promise_left_ms(&o->promise, epoch + 1, now);
    if (!o->watch.seen)
        return;
    uint64_t safe = lease_watch_safe_ms(&o->watch, epoch + 1, 0);
    const struct lease_record *r = &o->watch.record;
    ret->known = r->epoch == epoch;
    ret->epoch = r->epoch;
    ret->length_ms = r->lease_ms;
    ret->age_ms = now - o->watch.read_ms;
    ret->released = r->released;
    ret->revoked = r->revoked;
    ret->safe_in_ms = safe == UINT64_MAX ? FAILOVER_NEVER : safe > now ? safe - now : 0;
    str_copy(ret->gtid, sizeof ret->gtid, r->gtid);
}

struct revocation {
    struct control *c;
    uv_timer_t later; /* of one that is refused at once */
    struct lease_record made; /* where there is none of its epoch */
    bool revoked;
    documents_done_fn done;
    void *ctx;
};

static int edit_revoked(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    const struct revocation *v = ctx;
    struct lease_record r = {0}, made = v->made;
    if (old && lease_record_parse(old, &r, e) < 0)
        return e->code;
    if (r.epoch > made.epoch || (!v->revoked && r.epoch != made.epoch))
        return err_set(e, ERR_REFUSED, "the lease is of epoch %lld, not %lld", (long long)r.epoch,
            (long long)made.epoch);
    made.seq = r.seq + 1;
    if (r.epoch < made.epoch)
        *ret = lease_record_put(old, &made);
    else
        *ret = r.revoked == v->revoked ? json_incref(old) : lease_record_revoke(old, v->revoked);
    return 0;
}

static void on_revoked(void *ctx, const json_t *doc, const struct err *e)
{
    struct revocation *v = ctx;
    if (v->c->lease)
        v->done(v->ctx, doc, e);
    free(v);
}

static void on_later_closed(uv_handle_t *h)
{
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "this host does not lead (any more)");
    on_revoked(CONTAINER_OF((uv_timer_t *)h, struct revocation, later), NULL, &e);
}

void control_lease_revoke(struct control *c, const char *database, int64_t epoch, bool revoked,
    documents_done_fn done, void *ctx)
{
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    const struct model_database *db = c->model ? model_find_database(c->model, database) : NULL;
    const char *source = json_opt_str(control_data_doc(c, database), "source", "");
    struct revocation *v = xcalloc(1, sizeof *v);
    *v = (struct revocation){.c = c, .revoked = revoked, .done = done, .ctx = ctx};
    v->made = (struct lease_record){.epoch = epoch, .revoked = true, .sent_wall_ms = clock_wall_ms()};
    v->made.lease_ms = db && model_lease_ms(db) ? model_lease_ms(db) : 1;
    str_copy(v->made.holder, sizeof v->made.holder, source);
    if (c->lease && scheduler_guard(c->scheduler, key, &mod)) {
        documents_edit_under(c->lease->docs, database, key, mod, edit_revoked, on_revoked, v);
        return;
    }
    uv_timer_init(&c->role->loop, &v->later);
    uv_close((uv_handle_t *)&v->later, on_later_closed);
}

/* ---- life */

void control_lease_open(struct control *c)
{
    struct documents_handler h = {.changed = on_changed};
    struct control_lease *l = c->lease = xcalloc(1, sizeof *l);
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/lease/data/", c->platform);
    l->c = c;
    lease_load_promises(c);
    l->docs = documents_new(&c->role->loop, c->kv, prefix, &h, c);
    uv_timer_init(&c->role->loop, &l->timer);
    uv_timer_start(&l->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_lease, timer));
}

void control_lease_close(struct control *c)
{
    struct control_lease *l = c->lease;
    if (!l)
        return;
    c->lease = NULL;
    documents_free(l->docs);
    for (struct lease_of *o = l->holders, *next; o; o = next) {
        next = o->next;
        free(o);
    }
    uv_close((uv_handle_t *)&l->timer, on_closed);
}
