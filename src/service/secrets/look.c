/* SPDX-License-Identifier: Apache-2.0 */
/* Reconciling: who can open what, and which versions are still needed. Every control that can does
 * it; whoever is second finds nothing left to do. */
#include "service/secrets/priv.h"

#include "base/clock/clock.h"

#define SOON_MS 200u /* a model and a register often change together */
#define EDITS_AT_ONCE 32

struct mend {
    struct secrets *s;
    char name[MODEL_SECRET_NAME_MAX + 1];
};

json_t *secrets_resealed(const struct secrets *s, const char *name, json_t *old)
{
    json_t *doc = json_incref(old), *version;
    _cleanup_json_ json_t *hosts = secrets_hosts(s, old);
    size_t i;
    if (!hosts)
        return doc;
    json_array_foreach (json_object_get(old, "versions"), i, version) {
        json_t *keys;
        if (secrets_reseal(s, name, version, hosts, &keys, NULL) < 0 || !keys)
            continue;
        json_t *next = secret_doc_with_keys(doc, json_opt_int(version, "v", 0), keys);
        json_decref(doc);
        doc = next;
    }
    return doc;
}

/* Its data key, that is. */
static bool all_have_newest(const struct secrets *s, const json_t *doc)
{
    const json_t *version = secret_doc_version(doc, secret_doc_newest(doc));
    _cleanup_json_ json_t *hosts = secrets_hosts(s, doc);
    size_t i;
    json_t *h;
    if (!hosts)
        return false;
    json_array_foreach (hosts, i, h) {
        const char *host = json_string_value(h);
        if (documents_get(s->c.hosts, host)
            && !json_object_get(json_object_get(version, "keys"), host))
            return false;
    }
    return true;
}

bool secrets_taken(const struct secrets *s, const json_t *doc)
{
    return all_have_newest(s, doc)
           && (!s->c.taken
               || s->c.taken(s->c.ctx, json_opt_str(doc, "name", ""), secret_doc_newest(doc)));
}

/* How long two passwords of one account are valid, secrets_step() says. */
static json_t *mended(const struct secrets *s, const char *name, json_t *old)
{
    json_t *doc = secrets_resealed(s, name, old);
    if (!secret_doc_made(doc) && secrets_taken(s, doc)) {
        json_t *next = secret_doc_pruned(doc);
        json_decref(doc);
        doc = next;
    }
    return doc;
}

static int edit(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct mend *m = ctx;
    if (!old || secret_doc_check(old, e) < 0)
        return err_set(e, ERR_NOT_FOUND, "no longer there");
    *ret = mended(m->s, m->name, old);
    return 0;
}

static void on_done(void *ctx, const json_t *doc, const struct err *e)
{
    struct mend *m = ctx;
    secrets_unref(m->s);
    free(m);
}

static void mend(struct secrets *s, const char *name)
{
    struct mend *m = xcalloc(1, sizeof *m);
    m->s = s;
    str_copy(m->name, sizeof m->name, name);
    secrets_ref(s);
    documents_edit(s->docs, name, edit, on_done, m);
}

static void on_look(uv_timer_t *t)
{
    struct secrets *s = CONTAINER_OF(t, struct secrets, look);
    const char *name;
    json_t *doc;
    int edits = 0;
    if (!s->model || !documents_synced(s->docs) || !documents_synced(s->c.hosts))
        return;
    json_object_foreach (documents_all(s->docs), name, doc) {
        if (!model_secret_name_valid(name) || secret_doc_check(doc, NULL) < 0)
            continue;
        _cleanup_json_ json_t *want = mended(s, name, doc);
        if (want != doc && !json_equal(want, doc) && edits++ < EDITS_AT_ONCE)
            mend(s, name);
    }
}

void secrets_look(struct secrets *s)
{
    if (!s->closing && !uv_is_active((uv_handle_t *)&s->look))
        uv_timer_start(&s->look, on_look, SOON_MS, 0);
}

void secrets_look_start(struct secrets *s)
{
    int r = uv_timer_init(s->c.loop, &s->look);
    ASSERT(r == 0);
}
