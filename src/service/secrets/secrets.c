/* SPDX-License-Identifier: Apache-2.0 */
#include "service/secrets/priv.h"

#include "base/clock/clock.h"

void secrets_ref(struct secrets *s)
{
    s->refs++;
}

void secrets_unref(struct secrets *s)
{
    if (--s->refs > 0)
        return;
    json_decref(s->cached);
    json_decref(s->pending);
    free(s->cache_dir);
    free(s);
}

/* ---- following */

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct secrets *s = ctx;
    if (!model_secret_name_valid(name))
        return;
    secrets_cache_put(s, name, doc && secret_doc_check(doc, NULL) >= 0 ? doc : NULL);
    secrets_look(s);
    if (s->c.changed)
        s->c.changed(s->c.ctx, name);
}

static void on_synced(void *ctx)
{
    struct secrets *s = ctx;
    secrets_cache_sweep(s);
    secrets_look(s);
}

struct secrets *secrets_new(const struct secrets_config *c)
{
    struct secrets *s = xcalloc(1, sizeof *s);
    struct documents_handler h = {on_changed, on_synced};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/secret/", c->platform);
    s->c = *c;
    s->cache_dir = xstrdup(c->cache_dir);
    s->cached = json_object();
    s->pending = json_object();
    s->refs = 2;
    secrets_look_start(s);
    secrets_cache_load(s);
    s->docs = documents_new(c->loop, c->kv, prefix, &h, s);
    return s;
}

static void on_timer_closed(uv_handle_t *h)
{
    secrets_unref(CONTAINER_OF(h, struct secrets, look));
}

void secrets_free(struct secrets *s)
{
    if (!s)
        return;
    s->closing = true;
    documents_free(s->docs);
    uv_close((uv_handle_t *)&s->look, on_timer_closed);
    secrets_unref(s);
}

void secrets_set_model(struct secrets *s, const struct model *m)
{
    s->model = m;
    secrets_look(s);
}

const json_t *secrets_get(struct secrets *s, const char *name)
{
    const json_t *doc = documents_get(s->docs, name);
    if (!documents_synced(s->docs) && !doc)
        doc = json_object_get(s->cached, name);
    return doc && secret_doc_check(doc, NULL) >= 0 ? doc : NULL;
}

json_t *secrets_list(struct secrets *s)
{
    json_t *list = json_array(), *doc;
    const char *name;
    bool store = documents_synced(s->docs);
    json_t *all = store ? documents_all(s->docs) : s->cached;
    json_object_foreach (all, name, doc) {
        if (secret_doc_check(doc, NULL) < 0)
            continue;
        size_t at = json_array_size(list);
        while (at
               && strcmp(json_opt_str(json_array_get(list, at - 1), "name", ""),
                      json_opt_str(doc, "name", ""))
                      > 0)
            at--;
        json_array_insert_new(list, at, secret_doc_show(doc, s->model));
    }
    return list;
}

const json_t *secrets_stored(struct secrets *s, const char *name)
{
    const json_t *doc = documents_synced(s->docs) ? documents_get(s->docs, name) : NULL;
    return doc && secret_doc_check(doc, NULL) >= 0 ? doc : NULL;
}

bool secrets_synced(const struct secrets *s)
{
    return documents_synced(s->docs);
}

json_t *secrets_all(struct secrets *s)
{
    return documents_all(s->docs);
}

/* ---- opening */

static int missing(const char *name, struct err *e)
{
    if (model_secret_is_made(name))
        return err_set(e, ERR_NOT_FOUND,
            "the password of database %s is not made yet: whoever leads the platform does so",
            name + strlen(MODEL_CREDENTIAL_PREFIX));
    err_set(e, ERR_NOT_FOUND, "secret %s is not set; `mcp secret set %s`", name, name);
    err_fix(e, "mcp secret set %s", name);
    return ERR_NOT_FOUND;
}

static int find_doc(struct secrets *s, const char *name, const json_t **ret, struct err *e)
{
    *ret = secrets_get(s, name);
    if (!*ret && !documents_synced(s->docs))
        return err_set(e, ERR_UNAVAILABLE,
            "secret %s is not known on this host, and the state store does not answer", name);
    return *ret ? 0 : missing(name, e);
}

static int open_doc(struct secrets *s, const char *name, const json_t *doc, struct secret **ret,
    int64_t *ret_version, struct err *e)
{
    const json_t *version = secret_doc_for_host(doc, s->c.host);
    if (!version)
        return err_set(e, ERR_UNAVAILABLE,
            "secret %s is not sealed to this host yet: a host that can open it does so; if none "
            "is left, `mcp secret rotate %s`",
            name, name);
    int r = secrets_unseal(s, name, version, ret, e);
    if (r < 0)
        return err_wrap(e, "secret %s cannot be opened on this host", name);
    *ret_version = json_opt_int(version, "v", 0);
    return 0;
}

int secrets_open(struct secrets *s, const char *name, const char *module, struct secret **ret,
    int64_t *ret_version, struct err *e)
{
    const json_t *doc;
    const struct model_module *m = s->model ? model_find_module(s->model, module) : NULL;
    const struct model_function *f = s->model && !m ? model_find_function(s->model, module) : NULL;
    m = f ? &f->as : m;
    int r = find_doc(s, name, &doc, e);
    if (r < 0)
        return r;
    if (!m || !secret_module_asks(m, name))
        return err_set(e, ERR_DENIED, "module %s does not ask for secret %s", module, name);
    if (!secret_doc_granted(doc, module)) {
        err_set(e, ERR_DENIED, "secret %s is not granted to module %s; `mcp secret grant %s %s`",
            name, module, name, module);
        err_fix(e, "mcp secret grant %s %s", name, module);
        return ERR_DENIED;
    }
    return open_doc(s, name, doc, ret, ret_version, e);
}

int secrets_open_login(struct secrets *s, const char *name, struct secret **ret, struct err *e)
{
    const json_t *doc;
    int64_t v;
    int r = find_doc(s, name, &doc, e);
    return r < 0 ? r : open_doc(s, name, doc, ret, &v, e);
}

/* ---- changing */

struct change {
    struct secrets *s;
    char name[MODEL_SECRET_NAME_MAX + 1];
    struct secret *value; /* NULL: none is set */
    json_t *modules;
    bool grant; /* else taken away */
    bool must_exist, must_be_new;
    bool is_made;
    char database[MODEL_DATABASE_NAME_MAX + 1], module[MODEL_NAME_MAX + 1], hash[64];
    int64_t overlap_ms;
    int64_t keep;
    char *by;
    secrets_done_fn done;
    void *ctx;
};

static struct change *change_new(
    struct secrets *s, const char *name, const char *by, secrets_done_fn done, void *ctx)
{
    struct change *c = xcalloc(1, sizeof *c);
    c->s = s;
    str_copy(c->name, sizeof c->name, name);
    c->modules = json_array();
    c->grant = true;
    c->by = xstrdup(by);
    c->done = done;
    c->ctx = ctx;
    secrets_ref(s);
    return c;
}

static void on_done(void *ctx, const json_t *doc, const struct err *e)
{
    struct change *c = ctx;
    c->done(c->ctx, doc, e);
    secret_free(c->value);
    json_decref(c->modules);
    free(c->by);
    secrets_unref(c->s);
    free(c);
}

/* Who gets the data key. Before the first revision: this host, which seals it on to the others when
 * it knows them. */
static json_t *recipients(const struct change *c, const json_t *doc)
{
    json_t *hosts = secrets_hosts(c->s, doc);
    if (!hosts || json_array_size(hosts) == 0) {
        json_decref(hosts);
        hosts = json_pack("[s]", c->s->c.host);
    }
    return hosts;
}

static int add_version(struct change *c, const json_t *old,
    const struct secret_change_note *note, json_t **ret, struct err *e)
{
    json_t *granted = old ? json_incref((json_t *)old)
                          : json_pack("{s:s,s:O}", "name", c->name, "grants", c->modules);
    json_t *keys, *hosts = recipients(c, granted);
    _cleanup_free_ char *value = NULL;
    int r = secrets_seal(c->s, c->name, secret_doc_next(old), secret_bytes(c->value),
        secret_len(c->value), hosts, &value, &keys, e);
    json_decref(granted);
    json_decref(hosts);
    if (r >= 0)
        r = secret_doc_add(old, c->name, value, keys, c->keep, note, ret, e);
    const struct secret_made made = {c->database, c->module, c->hash, c->overlap_ms};
    if (r >= 0 && c->is_made)
        *ret = secret_doc_with_made(*ret, &made);
    return r;
}

static int set_grants(
    struct change *c, const struct secret_change_note *note, json_t **doc, struct err *e)
{
    size_t i;
    json_t *m;
    json_array_foreach (c->modules, i, m) {
        json_t *next;
        int r = secret_doc_grant(*doc, json_string_value(m), c->grant, note, &next, e);
        json_decref(*doc);
        *doc = NULL;
        if (r < 0)
            return r;
        *doc = next;
    }
    return 0;
}

static int check_old(const struct change *c, const json_t *old, struct err *e)
{
    if (!old)
        return c->must_exist ? missing(c->name, e) : 0;
    int r = secret_doc_check(old, e);
    if (r < 0)
        return err_wrap(e, "the stored secret %s", c->name);
    if (c->must_be_new)
        return err_set(e, ERR_CONFLICT, "secret %s is there already", c->name);
    return c->is_made ? secret_made_may_rotate(old, secrets_taken(c->s, old), e) : 0;
}

static int edit(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct change *c = ctx;
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(clock_wall_ms(), stamp);
    struct secret_change_note note = {c->by, stamp};
    json_t *doc = NULL;
    int r = check_old(c, old, e);
    if (r >= 0 && !old && json_object_size(documents_all(c->s->docs)) >= SECRETS_MAX)
        r = err_set(e, ERR_LIMIT, "the platform has %d secrets already", SECRETS_MAX);
    if (r < 0)
        return r;
    if (c->value)
        r = add_version(c, old, &note, &doc, e);
    else
        doc = json_incref(old);
    if (r >= 0)
        r = set_grants(c, &note, &doc, e);
    if (r < 0)
        return r;
    *ret = secrets_resealed(c->s, c->name, doc); /* whom a grant lets have it, at once */
    json_decref(doc);
    return 0;
}

static void fail_later(struct change *c, struct err e);

void secrets_set(struct secrets *s, const struct secrets_set *what, secrets_done_fn fn, void *ctx)
{
    struct change *c = change_new(s, what->name, what->by, fn, ctx);
    c->must_exist = what->must_exist;
    c->must_be_new = what->must_be_new;
    c->keep = what->keep;
    if (what->made) {
        c->is_made = true;
        str_copy(c->database, sizeof c->database, what->made->database);
        str_copy(c->module, sizeof c->module, what->made->module);
        str_copy(c->hash, sizeof c->hash, what->made->hash);
        c->overlap_ms = what->made->overlap_ms;
    }
    for (size_t i = 0; i < what->n_modules; i++)
        json_array_append_new(c->modules, json_string(what->modules[i]));
    struct err e = {0};
    if (!model_secret_name_valid(what->name))
        err_set(&e, ERR_USAGE, "expected %s", MODEL_SECRET_NAME_EXPECTED);
    else if (what->len == 0)
        err_set(&e, ERR_USAGE, "the value is empty");
    else if (what->len > SECRET_VALUE_MAX)
        err_set(&e, ERR_LIMIT, "the value has over %u KiB", SECRET_VALUE_MAX / 1024);
    else if (what->keep < 0 || what->keep > SECRET_KEEP_MAX)
        err_set(&e, ERR_USAGE, "between 1 and %d versions can be kept", SECRET_KEEP_MAX);
    if (e.code) {
        fail_later(c, e);
        return;
    }
    c->value = secret_new(what->value, what->len);
    documents_edit(s->docs, c->name, edit, on_done, c);
}

void secrets_grant(struct secrets *s, const char *name, const char *const *modules, size_t n,
    bool granted, const char *by, secrets_done_fn fn, void *ctx)
{
    struct change *c = change_new(s, name, by, fn, ctx);
    c->must_exist = true;
    c->grant = granted;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(c->modules, json_string(modules[i]));
    documents_edit(s->docs, c->name, edit, on_done, c);
}

static int edit_away(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    const struct change *c = ctx;
    if (!old)
        return missing(c->name, e);
    *ret = NULL;
    return 0;
}

void secrets_remove(struct secrets *s, const char *name, secrets_done_fn fn, void *ctx)
{
    struct change *c = change_new(s, name, "", fn, ctx);
    documents_edit(s->docs, c->name, edit_away, on_done, c);
}

struct step {
    struct secrets *s;
    struct secret_made_facts facts;
    char *by;
    secrets_done_fn done;
    void *ctx;
};

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct step *q = ctx;
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(clock_wall_ms(), stamp);
    struct secret_change_note note = {q->by, stamp};
    const char *what;
    if (!old || secret_doc_check(old, e) < 0 || !secret_doc_made(old))
        return err_set(e, ERR_NOT_FOUND, "no longer there");
    json_t *next = secret_made_step(old, &q->facts, &note, &what);
    *ret = next ? next : json_incref(old);
    return 0;
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct step *q = ctx;
    q->done(q->ctx, doc, e);
    secrets_unref(q->s);
    free(q->by);
    free(q);
}

void secrets_step(struct secrets *s, const char *name, const struct secret_made_facts *f,
    const char *by, secrets_done_fn fn, void *ctx)
{
    struct step *q = xcalloc(1, sizeof *q);
    *q = (struct step){.s = s, .facts = *f, .by = xstrdup(by), .done = fn, .ctx = ctx};
    secrets_ref(s);
    documents_edit(s->docs, name, edit_step, on_stepped, q);
}

/* Answers come from the loop, never from within the call. */
struct failure {
    uv_timer_t timer;
    struct change *change;
    struct err e;
};

static void on_failure_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct failure, timer));
}

static void on_failure(uv_timer_t *t)
{
    struct failure *f = CONTAINER_OF(t, struct failure, timer);
    on_done(f->change, NULL, &f->e);
    uv_close((uv_handle_t *)t, on_failure_closed);
}

static void fail_later(struct change *c, struct err e)
{
    struct failure *f = xcalloc(1, sizeof *f);
    f->change = c;
    f->e = e;
    int r = uv_timer_init(c->s->c.loop, &f->timer);
    ASSERT(r == 0);
    uv_timer_start(&f->timer, on_failure, 0, 0);
}
