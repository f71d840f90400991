/* SPDX-License-Identifier: Apache-2.0 */
/* Modules' passwords of databases. Whoever leads makes one for each grant
 * of the declaration, carries rotations on (domain/secret/made.h), and removes what nobody declares
 * any more. Every control tells its data role which accounts there shall be; the one at the source
 * makes them so. A password is clear where it is made, for that moment, and at its holders. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/grants/grants.h"
#include "domain/replication/doc.h"
#include "driver/sql/dialect.h"
#include "role/control/databases.h"
#include "service/secrets/secrets.h"

#define PASSWORD_BYTES 24u /* twice as many characters */
#define FILE_TEXT_MAX 1024u
#define HASH_SHOWN 8u /* digits of a hash that servers tell of */
/* An older revision may be the leader's for a moment: it takes nothing away at once. */
#define UNWANTED_MS 60000u
#define BY "platform"

struct control_credentials {
    json_t *busy;     /* names whose document is being changed */
    json_t *unwanted; /* name: since when nobody declares it */
    char trouble[256]; /* as logged last */
};

static char *name_of(const struct model_database *db, const struct model_module *m)
{
    return xasprintf(MODEL_CREDENTIAL_PREFIX "%s.%s", db->name, m->name);
}

/* ---- the file of a holder */

void control_credentials_file(const struct control *c, const char *name, struct secret *password,
    struct str *out)
{
    const json_t *doc = secrets_get(control_secrets_service(c), name);
    const json_t *made = json_object_get(doc, "made");
    const char *database = json_opt_str(made, "database", "");
    const struct model_database *db = c->model ? model_find_database(c->model, database) : NULL;
    str_reserve(out, FILE_TEXT_MAX); /* so that it does not move and leave a copy */
    str_addf(out,
        "{\"user\":\"%s\",\"password\":\"%.*s\",\"database\":\"%s\","
        "\"host_rw\":\"%s.rw.mcp.internal\",\"host_ro\":\"%s.ro.mcp.internal\",\"port\":%u}\n",
        json_opt_str(made, "module", ""), (int)secret_len(password),
        (const char *)secret_bytes(password), database, database, database,
        db ? (unsigned)db->port : 3306u);
}

/* ---- a new password */

struct change {
    struct control *c;
    struct rpc_req *req; /* NULL: by ourselves */
    char name[MODEL_SECRET_NAME_MAX + 1], by[128];
    const char *what; /* of the timeline */
};

static struct change *change_new(
    struct control *c, const char *name, const char *by, const char *what, struct rpc_req *req)
{
    struct change *k = xcalloc(1, sizeof *k);
    *k = (struct change){.c = c, .req = req, .what = what};
    str_copy(k->name, sizeof k->name, name);
    str_copy(k->by, sizeof k->by, by);
    if (!req)
        json_object_set_new(c->credentials->busy, name, json_true());
    return k;
}

/* By ourselves: tried again in a moment, and said once. */
static void note_trouble(struct control *c, const char *name, const struct err *e)
{
    char text[sizeof c->credentials->trouble];
    snprintf(text, sizeof text, "%s: %s", name, e ? e->message : "");
    if (!e || e->code == ERR_CONFLICT || e->code == ERR_CANCELED
        || !strcmp(text, c->credentials->trouble))
        return;
    str_copy(c->credentials->trouble, sizeof c->credentials->trouble, text);
    log_warn("secret", "a password of a database waits", "error=\"%s\"", text);
}

static void on_changed(void *ctx, const json_t *doc, const struct err *e)
{
    struct change *k = ctx;
    struct control *c = k->c;
    char message[160];
    snprintf(message, sizeof message, "%s, version %lld", k->what,
        (long long)secret_doc_newest(doc));
    if (!k->req && c->credentials) {
        json_object_del(c->credentials->busy, k->name);
        note_trouble(c, k->name, e);
    }
    if (!e && c->started)
        control_note(c, "secret", k->name, doc ? message : k->what, k->by);
    if (k->req && e)
        rpc_reply_error(k->req, e);
    else if (k->req)
        rpc_reply(k->req, secret_doc_show(doc, c->model));
    free(k);
}

static struct secret *make_password(void)
{
    static const char digits[] = "0123456789abcdef";
    struct secret *s = secret_new(NULL, 2 * PASSWORD_BYTES);
    uint8_t *text = secret_bytes(s), random[PASSWORD_BYTES];
    rnd_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        text[2 * i] = (uint8_t)digits[random[i] >> 4];
        text[2 * i + 1] = (uint8_t)digits[random[i] & 15];
    }
    secret_wipe(random, sizeof random);
    return s;
}

static void set_password(struct change *k, const char *database, const char *module,
    int64_t overlap_ms, bool rotate)
{
    _cleanup_secret_ struct secret *password = make_password();
    char hash[SQL_HASH_SIZE];
    sql_password_hash(password, hash);
    const struct secret_made made = {database, module, hash, overlap_ms};
    const char *modules[] = {module};
    struct secrets_set s = {.name = k->name,
        .value = secret_bytes(password),
        .len = secret_len(password),
        .modules = modules,
        .n_modules = 1,
        .must_exist = rotate,
        .must_be_new = !rotate,
        .made = &made,
        .by = k->by};
    secrets_set(control_secrets_service(k->c), &s, on_changed, k);
}

void control_credentials_rotate(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *name = json_opt_str(params, "name", "");
    int64_t overlap_ms = json_opt_int(params, "overlap_ms", SECRET_OVERLAP_MS);
    const json_t *made =
        json_object_get(secrets_get(control_secrets_service(c), name), "made");
    int r = 0;
    if (overlap_ms < 0 || overlap_ms > SECRET_OVERLAP_MAX_MS)
        r = err_set(&e, ERR_USAGE, "two passwords are valid together for at most 7 days");
    if (r >= 0 && !made) {
        r = err_set(&e, ERR_NOT_FOUND, "the platform has made no secret %s", name);
        err_fix(&e, "`mcp secret list` shows those that there are");
    }
    if (r < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct change *k = change_new(c, name, json_opt_str(params, "by", "root"), "rotation begun", req);
    set_password(k, json_opt_str(made, "database", ""), json_opt_str(made, "module", ""),
        overlap_ms, true);
}

/* ---- whoever leads */

static bool has_hash(const json_t *report, const char *user, const char *hash)
{
    json_t *list = json_object_get(json_object_get(report, "accounts"), user), *h;
    size_t i;
    json_array_foreach (list, i, h)
        if (json_is_string(h) && !strncmp(json_string_value(h), hash + 1, HASH_SHOWN))
            return true;
    return false;
}

/* The source, and the replicas that are heard and follow. One that stays behind on purpose answers
 * no reads; one that is stopped gets the account before anything that comes after it. */
static bool is_placed(const struct control *c, const char *database, const char *user,
    const char *hash)
{
    struct replication_doc d;
    struct err ignored;
    if (*hash != '*'
        || replication_doc_parse(control_data_doc(c, database), &d, &ignored) < 0)
        return false;
    for (size_t i = 0; i < d.n_members; i++) {
        const struct replication_member *m = &d.members[i];
        const json_t *report = control_data_report(c, m->host, database);
        bool follows = report && str_eq(json_opt_str(report, "state", NULL), "replicating");
        bool counts = m == d.source || (follows && !m->delay_ms);
        if (counts && !has_hash(report, user, hash))
            return false;
    }
    return true;
}

static void step(struct control *c, const char *name, const json_t *doc)
{
    struct secrets *service = control_secrets_service(c);
    const json_t *made = json_object_get(doc, "made");
    int64_t v = secret_doc_newest(doc);
    const json_t *public = json_object_get(secret_doc_version(doc, v), "public");
    struct secret_made_facts f = {.v = v,
        .placed = is_placed(c, json_opt_str(made, "database", ""),
            json_opt_str(public, "user", ""), json_opt_str(public, "hash", "")),
        .taken = secrets_taken(service, doc),
        .now_ms = clock_wall_ms()};
    const struct secret_change_note note = {BY, ""};
    const char *what;
    json_t *next = secret_made_step(doc, &f, &note, &what);
    if (next)
        secrets_step(service, name, &f, BY, on_changed, change_new(c, name, BY, what, NULL));
    json_decref(next);
}

/* Adds to `wanted` what there shall be. */
static void look_at_module(struct control *c, const struct model_module *m, json_t *wanted)
{
    struct secrets *service = control_secrets_service(c);
    for (size_t i = 0; i < m->n_grants; i++) {
        const struct model_database *db = m->grants[i].database;
        if (!model_database_has_accounts(db))
            continue;
        _cleanup_free_ char *name = name_of(db, m);
        json_object_set_new(wanted, name, json_true());
        const json_t *doc = secrets_stored(service, name);
        if (json_object_get(c->credentials->busy, name))
            continue;
        if (doc)
            step(c, name, doc);
        else
            set_password(change_new(c, name, BY, "made", NULL), db->name, m->name,
                SECRET_OVERLAP_MS, false);
    }
}

static void remove_others(struct control *c, const json_t *wanted)
{
    struct control_credentials *k = c->credentials;
    _cleanup_json_ json_t *all = json_copy(secrets_all(control_secrets_service(c)));
    json_int_t now_ms = (json_int_t)clock_boot_ms();
    const char *name;
    json_t *doc;
    json_object_foreach (all, name, doc) {
        if (!model_secret_is_made(name) || json_object_get(wanted, name)) {
            json_object_del(k->unwanted, name);
            continue;
        }
        json_int_t since_ms = json_opt_int(k->unwanted, name, 0);
        if (!since_ms)
            json_object_set_new(k->unwanted, name, json_integer(now_ms));
        else if (now_ms - since_ms >= UNWANTED_MS && !json_object_get(k->busy, name))
            secrets_remove(control_secrets_service(c), name, on_changed,
                change_new(c, name, BY, "removed: no module needs it", NULL));
    }
}

static void lead(struct control *c)
{
    _cleanup_json_ json_t *wanted = json_object();
    for (size_t i = 0; i < c->model->n_modules; i++)
        look_at_module(c, &c->model->modules[i], wanted);
    remove_others(c, wanted);
}

/* ---- everybody */

static json_t *accounts_of(struct control *c, const struct model_database *db)
{
    json_t *list = grants_accounts(c->model, db), *account;
    size_t i;
    json_array_foreach (list, i, account) {
        const struct model_module *m =
            model_find_module(c->model, json_opt_str(account, "user", ""));
        _cleanup_free_ char *name = name_of(db, m);
        const json_t *doc = secrets_stored(control_secrets_service(c), name);
        json_object_set_new(account, "passwords", secret_made_hashes(doc));
    }
    return list;
}

void control_credentials_look(struct control *c)
{
    if (!c->model || !c->credentials || !secrets_synced(control_secrets_service(c)))
        return;
    json_t *accounts = json_object();
    for (size_t i = 0; i < c->model->n_databases; i++)
        if (model_database_has_accounts(&c->model->databases[i]))
            json_object_set_new(accounts, c->model->databases[i].name,
                accounts_of(c, &c->model->databases[i]));
    control_databases_accounts(c, accounts);
    if (c->scheduler && scheduler_leads(c->scheduler))
        lead(c);
    else
        json_object_clear(c->credentials->unwanted);
}

void control_credentials_start(struct control *c)
{
    c->credentials = xcalloc(1, sizeof *c->credentials);
    c->credentials->busy = json_object();
    c->credentials->unwanted = json_object();
}

void control_credentials_stop(struct control *c)
{
    struct control_credentials *k = c->credentials;
    if (!k)
        return;
    c->credentials = NULL;
    json_decref(k->busy);
    json_decref(k->unwanted);
    free(k);
}
