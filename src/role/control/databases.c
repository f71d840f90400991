/* SPDX-License-Identifier: Apache-2.0 */
/* The documents `data/<database>` of the state store. Every control follows them and tells its data
 * role what concerns this host; the leader also makes them follow the declaration. The last ones
 * known are kept on disk: a control that starts without the state store goes on with them, and says
 * that they are not fresh. How the databases of each host are, hosts tell each other. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"
#include "domain/replication/roll.h"
#include "domain/replication/snapshot.h"
#include "domain/replication/topology.h"
#include "service/secrets/secrets.h"

#define CACHE_MAX (4u * 1024 * 1024)
#define REFRESH_MS 3000u /* three chances to read them before they are no longer fresh */
#define LOOK_MS 500u     /* whether it is this host's turn */
#define FRESH_MS 10000u  /* of the snapshot: only with it may a source begin to write */
#define HEARD_MS 12000u
#define OPEN_TIMEOUT_MS 10000u
#define PEM_MAX (256u * 1024)

struct control_databases {
    struct control *c;
    struct documents *docs;
    json_t *cached;   /* what was on disk; NULL once the store has told */
    char *cache_path;
    uv_timer_t timer;
    unsigned ticks;
    int64_t seq;
    json_t *report;   /* of this host's data role; NULL: none */
    json_t *editing;  /* databases whose document is being changed */
    json_t *refused;  /* {database: what is declared and not done}, as noted last */
    json_t *engines;  /* {database: unit}: the settings that this host's servers were given last */
    json_t *wanted;   /* {unit: "spec"} of this host, as declared */
    char waits[128];  /* for whom changed settings wait here; "" */
    json_t *logins_noted; /* {database: why nobody can log in}, as noted last */
    bool logins_told;     /* not none */
    json_t *accounts; /* {database: accounts of this snapshot}, by whoever makes them */
};

static json_t *all_docs(const struct control *c)
{
    struct control_databases *d = c->databases;
    return d->cached ? d->cached : documents_all(d->docs);
}

bool control_databases_known(const struct control *c)
{
    return c->databases && (c->databases->cached || documents_synced(c->databases->docs));
}

const json_t *control_data_doc(const struct control *c, const char *database)
{
    return c->databases ? json_object_get(all_docs(c), database) : NULL;
}

struct documents *control_data_docs(const struct control *c)
{
    return c->databases ? c->databases->docs : NULL;
}

bool control_data_fresh(const struct control *c)
{
    uint64_t read_ms = documents_read_ms(c->databases->docs);
    return read_ms && clock_boot_ms() - read_ms < FRESH_MS;
}

json_t *control_data_sources(const struct control *c)
{
    json_t *sources = json_object(), *doc;
    const char *name;
    struct replication_doc d;
    struct err ignored;
    json_object_foreach (all_docs(c), name, doc)
        if (replication_doc_parse(doc, &d, &ignored) >= 0)
            json_object_set_new(sources, name, json_string(d.source->region));
    return sources;
}

/* ---- the cache */

static void load_cache(struct control_databases *d)
{
    struct err e;
    json_t *j = NULL;
    if (json_read_file(d->cache_path, CACHE_MAX, &j, &e) < 0)
        return; /* none, or torn by a dying disk: the state store has it */
    if (json_opt_int(j, "format", 0) == 1 && json_is_object(json_object_get(j, "docs")))
        d->cached = json_incref(json_object_get(j, "docs"));
    if (json_is_object(json_object_get(j, "engines")))
        json_object_update(d->engines, json_object_get(j, "engines"));
    json_decref(j);
}

static void save_cache(struct control_databases *d)
{
    struct err e;
    _cleanup_json_ json_t *j =
        json_pack("{s:i,s:O,s:O}", "format", 1, "docs", all_docs(d->c), "engines", d->engines);
    _cleanup_free_ char *text = json_text(j);
    if (file_write_durable(d->cache_path, text, strlen(text), 0600, &e) < 0)
        log_warn("data", "the documents of databases cannot be kept", "error=\"%s\"", e.message);
}

/* ---- telling this host's roles */

bool control_databases_here(const struct control *c)
{
    for (size_t i = 0; c->databases && c->model && i < c->model->n_databases; i++) {
        struct replication_doc d;
        struct err ignored;
        const json_t *doc = control_data_doc(c, c->model->databases[i].name);
        if (doc && replication_doc_parse(doc, &d, &ignored) >= 0
            && replication_doc_find(&d, c->host))
            return true;
    }
    return false;
}

/* As the source says itself; a hosts's word is good while it is heard. */
static const char *source_log(void *ctx, const char *database, const char *source)
{
    const json_t *replayable =
        json_object_get(control_data_report(ctx, source, database), "replayable");
    return !replayable ? "unknown" : json_is_true(replayable) ? "whole" : "cut";
}

void control_databases_tell(struct control *c)
{
    struct rpc_conn *to = control_link(c, "data");
    if (!to || !c->model || !control_databases_known(c))
        return;
    struct control_databases *d = c->databases;
    struct snapshot_input in = {.model = c->model,
        .files = c->revision->files,
        .docs = all_docs(c),
        .host = c->host,
        .tls_ready = file_exists(CONTROL_PKI "data.pem"),
        .accounts = d->accounts,
        .source_log = source_log,
        .ctx = c};
    rpc_notify(to, "databases",
        json_pack("{s:I,s:b,s:I,s:o}", "seq", (json_int_t)++d->seq, "fresh",
            (int)control_data_fresh(c), "read_boot_ms", (json_int_t)documents_read_ms(d->docs),
            "databases", snapshot_databases(&in)));
}

void control_databases_accounts(struct control *c, json_t *accounts)
{
    struct control_databases *d = c->databases;
    if (!d || json_equal(d->accounts, accounts)) {
        json_decref(accounts);
        return;
    }
    json_decref(d->accounts);
    d->accounts = accounts;
    control_databases_tell(c);
}

/* {"user", "password"} of the secret; NULL: *e says why not. */
static json_t *login_of(struct control *c, const struct model_database *db, struct err *e)
{
    _cleanup_secret_ struct secret *value = NULL;
    json_t *j = NULL;
    const char *text;
    int r = secrets_open_login(control_secrets_service(c), db->secret, &value, e);
    if (r >= 0)
        r = json_parse((const char *)secret_bytes(value), secret_len(value), &j, e);
    if (r >= 0)
        r = json_get_str(j, "user", &text, e);
    if (r >= 0)
        r = json_get_str(j, "password", &text, e);
    if (r < 0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* Said once, and again when it is another trouble. */
static void note_login(struct control *c, const char *database, const char *trouble)
{
    json_t *noted = c->databases->logins_noted;
    if (str_eq(json_opt_str(noted, database, ""), trouble))
        return;
    json_object_set_new(noted, database, json_string(trouble));
    if (*trouble)
        control_note(c, "alarm", database, "its servers cannot be logged in to", trouble);
}

void control_databases_logins(struct control *c)
{
    struct rpc_conn *to = c->databases ? control_link(c, "data") : NULL;
    if (!to || !c->model || !c->started)
        return;
    json_t *logins = json_object();
    bool any = false;
    for (size_t i = 0; i < c->model->n_databases; i++) {
        const struct model_database *db = &c->model->databases[i];
        struct err e = {0};
        if (db->managed || !model_database_member(db, c->host))
            continue;
        json_t *login = login_of(c, db, &e);
        any = true;
        note_login(c, db->name, login ? "" : e.message);
        if (login)
            json_object_set_new(logins, db->name, login);
    }
    if (any || c->databases->logins_told)
        rpc_notify(to, "logins", json_pack("{s:O}", "logins", logins));
    c->databases->logins_told = any;
    json_decref(logins);
}

static void changed_soon(struct control *c)
{
    control_databases_tell(c);
    control_mesh_data(c);
    control_tell_role(c, "agent"); /* an engine more or less */
}

static json_t *pem(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    return file_read(path, PEM_MAX, &text, &ignored) < 0 ? json_null()
                                                        : json_string(str_cstr(&text));
}

static void tell_identity(struct control *c)
{
    struct rpc_conn *to = control_link(c, "data");
    if (to && file_exists(CONTROL_PKI "data.pem"))
        rpc_notify(to, "identity",
            json_pack("{s:o,s:o,s:o}", "ca", pem(CONTROL_PKI "ca.pem"), "cert",
                pem(CONTROL_PKI "data.pem"), "key", pem(CONTROL_PKI "data.key")));
}

void control_databases_identity(struct control *c)
{
    if (!c->databases)
        return;
    tell_identity(c);
    changed_soon(c); /* with the first one servers may start */
}

void control_databases_linked(struct control *c)
{
    tell_identity(c);
    control_databases_logins(c);
    control_databases_tell(c);
}

/* ---- settings, one server after the other */

static const json_t *unit_of_report(const json_t *units, const char *name)
{
    size_t i;
    json_t *u;
    json_array_foreach ((json_t *)units, i, u)
        if (str_eq(json_opt_str(u, "name", NULL), name))
            return u;
    return NULL;
}

static struct roll_member heard_of(
    const struct control *c, const struct replication_member *m, const char *database, bool source)
{
    bool own = str_eq(m->host, c->host);
    _cleanup_free_ char *name = xasprintf(COMPILE_ENGINE_PREFIX "%s", database);
    const json_t *report = own ? NULL : control_report_of(c, m->host);
    const json_t *unit =
        unit_of_report(own ? c->units : json_object_get(report, "units"), name);
    const char *state =
        json_opt_str(control_data_report(c, m->host, database), "state", "replicating");
    bool ready = unit && str_eq(json_opt_str(unit, "state", NULL), "ready");
    return (struct roll_member){.host = m->host,
        .generation = unit ? json_opt_str(unit, "spec", NULL) : NULL,
        .well = ready && (source || own || !strcmp(state, "replicating"))};
}

/* Its new settings, or those that it has if it is not its turn yet. */
static json_t *turn_of(struct control *c, json_t *unit, bool *ret_changed)
{
    struct control_databases *d = c->databases;
    const char *database = json_opt_str(json_object_get(unit, "engine"), "database", "");
    const char *wanted = json_opt_str(unit, "spec", "");
    json_t *old = json_object_get(d->engines, database);
    struct roll_member heard[REPLICATION_MEMBERS_MAX];
    struct replication_doc doc;
    struct err ignored;
    const char *waits_for = NULL;
    bool may = !old || str_eq(json_opt_str(old, "spec", NULL), wanted)
               || replication_doc_parse(control_data_doc(c, database), &doc, &ignored) < 0;
    if (!may) {
        for (size_t i = 0; i < doc.n_members; i++)
            heard[i] = heard_of(c, &doc.members[i], database, &doc.members[i] == doc.source);
        may = roll_may(&doc, c->host, wanted, heard, doc.n_members, &waits_for);
    }
    if (!may) {
        snprintf(d->waits, sizeof d->waits, "%s waits for %s", database,
            waits_for ? waits_for : "the move of its source");
        return old;
    }
    if (!json_equal(old, unit)) {
        json_object_set(d->engines, database, unit);
        *ret_changed = true;
    }
    return unit;
}

static const json_t *report_of(const struct control *c, const char *host)
{
    if (!strcmp(host, c->host))
        return control_link((struct control *)c, "data") ? c->databases->report : NULL;
    const struct host_report *r = control_find_report((struct control *)c, host);
    return r && r->data && clock_boot_ms() - r->data_ms < HEARD_MS ? r->data : NULL;
}

/* Of this host's databases, as alarms of `mcp status`. */
static void add_alarms(const struct control *c, json_t *alarms)
{
    size_t i, k;
    json_t *db, *f;
    json_array_foreach (json_object_get(report_of(c, c->host), "databases"), i, db)
        json_array_foreach (json_object_get(db, "findings"), k, f)
            if (strcmp(json_opt_str(f, "severity", "info"), "info") != 0)
                json_array_append_new(alarms,
                    json_pack("{s:o}", "text",
                        json_sprintf("%s@%s: %s (%s)", json_opt_str(db, "name", "?"), c->host,
                            json_opt_str(f, "text", "?"), json_opt_str(f, "id", "?"))));
}

void control_databases_report(const struct control *c, json_t *report)
{
    if (!c->databases)
        return;
    add_alarms(c, json_object_get(report, "alarms"));
    if (!json_object_size(c->databases->wanted))
        return;
    json_object_set_new(report, "engines", json_deep_copy(c->databases->wanted));
    if (*c->databases->waits)
        json_object_set_new(report, "engines_wait", json_string(c->databases->waits));
}

/* A server does not start without its certificate; one that runs has it. */
void control_databases_units(struct control *c, json_t *units)
{
    if (!c->model->n_databases || !file_exists(CONTROL_PKI "data.pem"))
        return;
    _cleanup_json_ json_t *engines = compile_engines(c->model, all_docs(c), c->host);
    size_t i;
    json_t *unit;
    bool changed = false;
    c->databases->waits[0] = '\0';
    json_object_clear(c->databases->wanted);
    json_array_foreach (engines, i, unit) {
        json_object_set(c->databases->wanted, json_opt_str(unit, "name", ""),
            json_object_get(unit, "spec"));
        json_array_append(units, turn_of(c, unit, &changed));
    }
    if (changed)
        save_cache(c->databases);
}

/* ---- the leader: documents follow the declaration */

struct edit {
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    documents_edit_fn fn;
    documents_done_fn done;
    void *ctx;
};

static int edit_doc(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct edit *q = ctx;
    return q->fn(q->ctx, old, ret, e);
}

static void on_edited(void *ctx, const json_t *doc, const struct err *e)
{
    struct edit *q = ctx;
    if (q->done)
        q->done(q->ctx, doc, e);
    free(q);
}

void control_data_edit(struct control *c, const char *database, documents_edit_fn fn,
    documents_done_fn done, void *ctx)
{
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    struct err e;
    if (!scheduler_guard(c->scheduler, key, &mod)) {
        err_set(&e, ERR_UNAVAILABLE, "this host does not lead (any more)");
        done(ctx, NULL, &e);
        return;
    }
    struct edit *q = xcalloc(1, sizeof *q);
    *q = (struct edit){.c = c, .fn = fn, .done = done, .ctx = ctx};
    str_copy(q->database, sizeof q->database, database);
    documents_edit_under(c->databases->docs, database, key, mod, edit_doc, on_edited, q);
}

struct follow { /* of one database */
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    struct str what, refused;
};

static int follow_edit(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct follow *f = ctx;
    const struct model_database *db =
        f->c->model ? model_find_database(f->c->model, f->database) : NULL;
    str_clear(&f->what);
    *ret = NULL;
    int r = db ? topology_follow(db, old, ret, &f->what, &f->refused, e) : 0;
    if (r >= 0 && !*ret)
        *ret = json_incref(old);
    return r;
}

static void note_refused(struct control *c, const char *database, const char *text)
{
    json_t *old = json_object_get(c->databases->refused, database);
    if (str_eq(json_string_value(old), *text ? text : NULL))
        return;
    if (*text) {
        json_object_set_new(c->databases->refused, database, json_string(text));
        control_note(c, "data", database, "what is declared is not done", text);
    } else {
        json_object_del(c->databases->refused, database);
    }
}

static void on_followed(void *ctx, const json_t *doc, const struct err *e)
{
    struct follow *f = ctx;
    struct control *c = f->c;
    if (c->databases) {
        json_object_del(c->databases->editing, f->database);
        note_refused(c, f->database, str_cstr(&f->refused));
    }
    if (e && c->databases) /* tried again soon */
        log_warn("data", "the document cannot follow the declaration", "database=%s error=\"%s\"",
            f->database, e->message);
    else if (c->databases && f->what.len)
        control_note(c, "data", f->database, "members changed", f->what.buf);
    str_done(&f->what);
    str_done(&f->refused);
    free(f);
}

/* Does the document, as it is known here, want a change? */
static bool wants_change(struct control *c, const struct model_database *db)
{
    struct str what = STR_INIT, refused = STR_INIT;
    struct err e;
    json_t *new = NULL;
    int r = topology_follow(db, control_data_doc(c, db->name), &new, &what, &refused, &e);
    note_refused(c, db->name, r < 0 ? e.message : str_cstr(&refused));
    bool wants = r >= 0 && new;
    json_decref(new);
    str_done(&what);
    str_done(&refused);
    return wants;
}

static void follow_all(struct control *c)
{
    struct control_databases *d = c->databases;
    if (!c->model || !c->scheduler || !scheduler_leads(c->scheduler)
        || !documents_synced(d->docs))
        return;
    for (size_t i = 0; i < c->model->n_databases; i++) {
        const struct model_database *db = &c->model->databases[i];
        if (json_object_get(d->editing, db->name) || !wants_change(c, db))
            continue;
        json_object_set_new(d->editing, db->name, json_true());
        struct follow *f = xcalloc(1, sizeof *f);
        f->c = c;
        str_copy(f->database, sizeof f->database, db->name);
        control_data_edit(c, db->name, follow_edit, on_followed, f);
    }
}

void control_databases_look(struct control *c)
{
    if (!c->databases)
        return;
    follow_all(c);
}

/* ---- reports */

static bool same_ids(const json_t *x, const json_t *y)
{
    size_t n = json_array_size(x);
    bool same = n == json_array_size(y);
    for (size_t i = 0; same && i < n; i++)
        same = str_eq(json_opt_str(json_array_get(x, i), "id", ""),
            json_opt_str(json_array_get(y, i), "id", ""));
    return same;
}

/* Of each database, in their order; their words change each second. */
static bool same_findings(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "databases"), *y = json_object_get(b, "databases");
    size_t n = json_array_size(x);
    bool same = n == json_array_size(y);
    for (size_t i = 0; same && i < n; i++)
        same = same_ids(json_object_get(json_array_get(x, i), "findings"),
            json_object_get(json_array_get(y, i), "findings"));
    return same;
}

void control_data_heard(struct control *c, json_t *params)
{
    if (!same_findings(c->databases->report, params))
        control_report_soon(c);
    json_decref(c->databases->report);
    c->databases->report = json_incref(params);
    if (c->peers)
        peers_broadcast(c->peers, "data", params);
    control_mesh_data(c);
}

void control_data_peer(struct control *c, const char *host, json_t *params)
{
    struct host_report *r = control_get_report(c, host);
    if (!r)
        return;
    json_decref(r->data);
    r->data = json_incref(params);
    r->data_ms = clock_boot_ms();
    control_mesh_data(c);
}

const json_t *control_data_report(const struct control *c, const char *host, const char *database)
{
    size_t i;
    json_t *db;
    json_array_foreach (json_object_get(report_of(c, host), "databases"), i, db)
        if (str_eq(json_opt_str(db, "name", NULL), database))
            return db;
    return NULL;
}

/* ---- files that the data role runs at a source */

static bool is_schema(const struct control *c, const char *digest)
{
    for (size_t i = 0; c->model && i < c->model->n_databases; i++)
        for (size_t k = 0; k < c->model->databases[i].n_schema; k++)
            if (str_eq(revision_file(c->revision->files, c->model->databases[i].schema[k]), digest))
                return true;
    return false;
}

struct opening {
    struct control *c;
    struct rpc_req *req;
};

static void on_opened(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct opening *o = ctx;
    struct err e;
    if (more)
        return;
    struct rpc_conn *agent = control_link(o->c, "agent");
    int fd = agent && !error ? rpc_answer_take_fd(agent) : -1;
    err_set(&e, ERR_UNAVAILABLE, "the agent gave no file");
    if (fd >= 0)
        rpc_reply_fd(o->req, NULL, fd);
    else
        rpc_reply_error(o->req, error ? error : &e);
    free(o);
}

void control_data_file(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *digest = json_opt_str(params, "digest", "");
    struct rpc_conn *agent = control_link(c, "agent");
    struct err e;
    if (!agent || !is_schema(c, digest)) {
        err_set(&e, agent ? ERR_DENIED : ERR_UNAVAILABLE,
            agent ? "%s is no schema file of this revision" : "%s: the agent is restarting", digest);
        rpc_reply_error(req, &e);
        return;
    }
    struct opening *o = xcalloc(1, sizeof *o);
    *o = (struct opening){c, req};
    rpc_call(agent, "blob.open", json_pack("{s:s,s:s}", "kind", "file", "digest", digest),
        OPEN_TIMEOUT_MS, on_opened, o);
}

/* ---- life */

static void on_timer(uv_timer_t *t)
{
    struct control_databases *d = CONTAINER_OF(t, struct control_databases, timer);
    struct control *c = d->c;
    if (*d->waits)
        control_tell_role(c, "agent");
    control_credentials_look(c);
    if (++d->ticks % (REFRESH_MS / LOOK_MS))
        return;
    follow_all(c);
    control_mesh_data(c); /* whoever is not heard any more */
    if (control_databases_here(c)) /* so that the role knows how fresh what it was told is */
        control_databases_tell(c);
}

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    if (!c->databases || c->databases->cached) /* the whole listing is taken over at its end */
        return;
    save_cache(c->databases);
    changed_soon(c);
    follow_all(c);
}

static void on_synced(void *ctx)
{
    struct control *c = ctx;
    struct control_databases *d = c->databases;
    if (!d)
        return;
    if (d->cached) {
        json_decref(d->cached);
        d->cached = NULL;
        save_cache(d);
        changed_soon(c);
    }
    follow_all(c);
}

void control_databases_start(struct control *c)
{
    struct documents_handler h = {.changed = on_changed, .synced = on_synced};
    struct control_databases *d = c->databases = xcalloc(1, sizeof *d);
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/data/", c->platform);
    d->c = c;
    d->cache_path = xasprintf("%s/databases.json", c->role->state_dir);
    d->editing = json_object();
    d->refused = json_object();
    d->engines = json_object();
    d->wanted = json_object();
    d->logins_noted = json_object();
    load_cache(d);
    d->docs = documents_new(&c->role->loop, c->kv, prefix, &h, c);
    documents_refresh(d->docs, REFRESH_MS);
    uv_timer_init(&c->role->loop, &d->timer);
    uv_timer_start(&d->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct control_databases, timer));
}

void control_databases_stop(struct control *c)
{
    struct control_databases *d = c->databases;
    if (!d)
        return;
    c->databases = NULL;
    documents_free(d->docs);
    json_decref(d->cached);
    json_decref(d->report);
    json_decref(d->editing);
    json_decref(d->refused);
    json_decref(d->engines);
    json_decref(d->wanted);
    json_decref(d->accounts);
    json_decref(d->logins_noted);
    free(d->cache_path);
    uv_close((uv_handle_t *)&d->timer, on_closed);
}
