/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of the documents: each prefix is listed once, then watched from the next store revision
 * on; whatever ends a watch starts over with the list, so nothing is missed. */
#include "service/scheduler/priv.h"

#include "base/file/file.h"

#define CACHE_MAX (64u * 1024 * 1024)
#define SAVE_MS 200u /* a rollout changes documents in bursts: one write to disk for all of one */
/* A watch may have died without a word (a member that was taken away): all is read again. */
#define LOOK_MS 30000u

static void list(struct follow *f);

static void on_follow_timer(uv_timer_t *t)
{
    struct scheduler *s = CONTAINER_OF(t, struct scheduler, follow_timer);
    bool all = true;
    for (size_t i = 0; i < FOLLOW_KINDS; i++)
        all = all && s->follows[i].watch;
    for (size_t i = 0; i < FOLLOW_KINDS; i++)
        if (all)
            follow_again(s, (enum follow_kind)i);
        else if (!s->follows[i].watch)
            list(&s->follows[i]);
    uv_timer_start(&s->follow_timer, on_follow_timer, all ? LOOK_MS : RETRY_MS, 0);
}

static void lost(struct follow *f)
{
    f->watch = NULL;
    if (!f->owner->closing)
        uv_timer_start(&f->owner->follow_timer, on_follow_timer, RETRY_MS, 0);
}

/* A document as the store has it now; NULL: gone. Tells whether that is news. */
static bool take(struct scheduler *s, const char *name, json_t *doc, int64_t mod)
{
    const json_t *known = json_object_get(s->docs, name);
    /* Ours on its way, or the answer to it, comes in either order. */
    const json_t *written = json_object_get(s->writing, name);
    const json_t *expected = written ? written : known;
    if (json_is_null(expected))
        expected = NULL;
    bool news = doc || known ? !json_equal(doc, known) : false;
    bool ours = doc || expected ? json_equal(doc, expected) : true;
    if (!ours && s->state == LEAD_LEADING)
        s->stale = true;
    if (doc) {
        json_object_set(s->docs, name, doc);
        json_object_set_new(s->mods, name, json_integer((json_int_t)mod));
    } else {
        json_object_del(s->docs, name);
        json_object_del(s->mods, name);
    }
    return news;
}

static bool take_text(
    struct scheduler *s, const char *key, const char *text, size_t len, int64_t mod)
{
    const char *name = key + strlen(s->root);
    _cleanup_json_ json_t *doc = NULL;
    struct err e;
    if (text && json_parse(text, len, &doc, &e) < 0) {
        err_wrap(&e, "%s", name);
        scheduler_trouble(s, &e);
        return false;
    }
    return take(s, name, doc, mod);
}

static void told(struct scheduler *s)
{
    follow_save_soon(s);
    s->handler.changed(s->ctx);
    scheduler_poke(s);
}

static void on_event(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct follow *f = ctx;
    struct scheduler *s = f->owner;
    bool news = false;
    if (e) {
        lost(f);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct kv_event *v = &events[i];
        /* One of our own writes may have told already, even the next one. */
        if (json_opt_int(s->mods, v->key + strlen(s->root), 0) < v->mod_revision)
            news |= take_text(s, v->key, v->value, v->len, v->mod_revision);
    }
    if (news)
        told(s);
    else if (s->stale)
        scheduler_poke(s);
}

static bool is_listed(
    const struct scheduler *s, const char *name, const struct kv_pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(pairs[i].key + strlen(s->root), name))
            return true;
    return false;
}

static bool take_list(struct follow *f, const struct kv_pair *pairs, size_t n)
{
    struct scheduler *s = f->owner;
    bool news = false;
    const char *name;
    json_t *doc;
    void *next;
    json_object_foreach_safe(s->docs, next, name, doc)
    {
        if (str_starts(name, f->prefix) && !is_listed(s, name, pairs, n)) {
            _cleanup_free_ char *gone = xstrdup(name);
            news |= take(s, gone, NULL, 0);
        }
    }
    for (size_t i = 0; i < n; i++)
        news |= take_text(s, pairs[i].key, pairs[i].value, pairs[i].len, pairs[i].mod_revision);
    return news;
}

static void watch(struct follow *f, int64_t revision)
{
    struct scheduler *s = f->owner;
    _cleanup_free_ char *prefix = xasprintf("%s%s", s->root, f->prefix);
    f->watch = kv_watch(s->kv, prefix, revision + 1, on_event, f);
}

static void on_list(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct follow *f = ctx;
    struct scheduler *s = f->owner;
    f->listing = false;
    if (!s->closing && (f->again || f->written != s->written)) {
        list(f);
    } else if (!s->closing && e) {
        lost(f);
    } else if (!s->closing) {
        bool first = !f->read, news = take_list(f, pairs, n);
        f->read = f->fresh = true;
        watch(f, revision);
        if (news || first)
            told(s);
        if (s->state == LEAD_LOADING && s->follows[FOLLOW_PLACEMENT].fresh
            && s->follows[FOLLOW_DEPLOY].fresh)
            lead_loaded(s);
    }
    scheduler_unref(s);
}

static void list(struct follow *f)
{
    struct scheduler *s = f->owner;
    f->again = f->listing;
    if (f->listing)
        return;
    _cleanup_free_ char *prefix = xasprintf("%s%s", s->root, f->prefix);
    f->listing = true;
    f->written = s->written;
    scheduler_ref(s);
    kv_list(s->kv, prefix, on_list, f);
}

void follow_again(struct scheduler *s, enum follow_kind kind)
{
    struct follow *f = &s->follows[kind];
    kv_unwatch(s->kv, f->watch);
    f->watch = NULL;
    f->fresh = false;
    list(f);
}

/* ---- the cache: a host that starts without the state store goes on with what was placed last */

static void on_save_timer(uv_timer_t *t)
{
    struct scheduler *s = CONTAINER_OF(t, struct scheduler, save_timer);
    struct err e;
    _cleanup_json_ json_t *both = json_pack("{s:i,s:O}", "format", 1, "docs", s->docs);
    _cleanup_free_ char *text = json_text(both);
    if (file_write_durable(s->cache_path, text, strlen(text), 0600, &e) < 0) {
        err_wrap(&e, "keep the placement");
        scheduler_trouble(s, &e);
    }
}

void follow_save_soon(struct scheduler *s)
{
    if (!s->closing && !uv_is_active((uv_handle_t *)&s->save_timer))
        uv_timer_start(&s->save_timer, on_save_timer, SAVE_MS, 0);
}

void follow_load_cache(struct scheduler *s)
{
    _cleanup_json_ json_t *j = NULL;
    struct err e;
    json_t *docs;
    if (json_read_file(s->cache_path, CACHE_MAX, &j, &e) < 0 || json_opt_int(j, "format", 0) != 1
        || json_get_obj(j, "docs", &docs, &e) < 0)
        return; /* none, or torn by a dying disk: the state store has it */
    json_object_update(s->docs, docs);
}

void follow_start(struct scheduler *s)
{
    static const char *const prefixes[] = {
        [FOLLOW_PLACEMENT] = "placement/", [FOLLOW_DEPLOY] = "deploy/"};
    for (size_t i = 0; i < FOLLOW_KINDS; i++) {
        s->follows[i] = (struct follow){.owner = s, .prefix = prefixes[i]};
        list(&s->follows[i]);
    }
    uv_timer_start(&s->follow_timer, on_follow_timer, RETRY_MS, 0);
}

void follow_stop(struct scheduler *s)
{
    for (size_t i = 0; i < FOLLOW_KINDS; i++) {
        kv_unwatch(s->kv, s->follows[i].watch);
        s->follows[i].watch = NULL;
    }
    if (uv_is_active((uv_handle_t *)&s->save_timer))
        on_save_timer(&s->save_timer);
}
