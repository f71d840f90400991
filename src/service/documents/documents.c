/* SPDX-License-Identifier: Apache-2.0 */
/* Following: list once, then watch from the next store revision on; whatever ends the watch starts
 * over with the list. A watch on a member without quorum may stay silent for ever, so the list is
 * also read again now and then. */
#include "service/documents/documents.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#define RETRY_MIN_MS 200u
#define RETRY_MAX_MS 5000u
#define AGAIN_MS 10000u
#define EDIT_ATTEMPTS 8

struct documents {
    struct kv *kv;
    char *prefix;
    json_t *all;
    json_t *mods; /* {name: modification revision} of what is in `all` */
    struct documents_handler handler;
    void *ctx;
    struct kv_watch *watch;
    uv_timer_t timer;
    uint64_t retry_ms, again_ms;
    uint64_t asked_ms, read_ms; /* of the newest question; of the newest answer's question */
    int refs; /* ours, the timer's, and each callback that the store still owes us */
    bool synced, closing;
};

static void list(struct documents *d);

static void unref(struct documents *d)
{
    if (--d->refs > 0)
        return;
    json_decref(d->all);
    json_decref(d->mods);
    free(d->prefix);
    free(d);
}

static json_t *parse(const char *text, size_t len)
{
    json_t *j = NULL;
    if (!text || json_parse(text, len, &j, NULL) < 0)
        return NULL;
    if (!json_is_object(j)) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* Takes doc. */
static void put(struct documents *d, const char *name, json_t *doc, int64_t mod_revision)
{
    json_t *old = json_object_get(d->all, name);
    if (doc)
        json_object_set_new(d->mods, name, json_integer((json_int_t)mod_revision));
    else
        json_object_del(d->mods, name);
    if (json_equal(old, doc) || (!old && json_object_size(d->all) >= DOCUMENTS_MAX)) {
        json_decref(doc);
        return;
    }
    if (doc)
        json_object_set_new(d->all, name, json_incref(doc));
    else
        json_object_del(d->all, name);
    if (d->handler.changed && !d->closing)
        d->handler.changed(d->ctx, name, doc);
    json_decref(doc);
}

static void on_timer(uv_timer_t *t)
{
    list(CONTAINER_OF(t, struct documents, timer));
}

static void stop_watch(struct documents *d)
{
    if (d->watch)
        kv_unwatch(d->kv, d->watch);
    d->watch = NULL;
}

static void retry(struct documents *d)
{
    uv_timer_start(&d->timer, on_timer, d->retry_ms, 0);
    d->retry_ms = MIN(d->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void on_event(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct documents *d = ctx;
    if (e) {
        d->watch = NULL;
        retry(d);
        return;
    }
    for (size_t i = 0; i < n && !d->closing; i++)
        put(d, events[i].key + strlen(d->prefix), parse(events[i].value, events[i].len),
            events[i].mod_revision);
}

static void take_list(struct documents *d, const struct kv_pair *pairs, size_t n)
{
    _cleanup_json_ json_t *gone = json_copy(d->all);
    for (size_t i = 0; i < n && !d->closing; i++) {
        const char *name = pairs[i].key + strlen(d->prefix);
        json_t *doc = parse(pairs[i].value, pairs[i].len);
        if (doc)
            json_object_del(gone, name);
        put(d, name, doc, pairs[i].mod_revision);
    }
    const char *name;
    json_t *doc;
    json_object_foreach (gone, name, doc)
        if (!d->closing)
            put(d, name, NULL, 0);
    d->synced = true;
    if (d->handler.synced && !d->closing)
        d->handler.synced(d->ctx);
}

static void on_list(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct documents *d = ctx;
    if (!d->closing && e) {
        stop_watch(d);
        retry(d);
    } else if (!d->closing) {
        d->retry_ms = RETRY_MIN_MS;
        d->read_ms = d->asked_ms;
        take_list(d, pairs, n);
        if (!d->closing) {
            /* from this listing on: what the old watch told since may have been undone by it */
            stop_watch(d);
            d->watch = kv_watch(d->kv, d->prefix, revision + 1, on_event, d);
            uv_timer_start(&d->timer, on_timer, d->again_ms, 0);
        }
    }
    unref(d);
}

static void list(struct documents *d)
{
    d->refs++;
    d->asked_ms = clock_boot_ms();
    kv_list(d->kv, d->prefix, on_list, d);
}

struct documents *documents_new(uv_loop_t *loop, struct kv *kv, const char *prefix,
    const struct documents_handler *h, void *ctx)
{
    struct documents *d = xcalloc(1, sizeof *d);
    *d = (struct documents){.kv = kv, .ctx = ctx, .retry_ms = RETRY_MIN_MS, .again_ms = AGAIN_MS,
        .refs = 2};
    d->prefix = xstrdup(prefix);
    d->all = json_object();
    d->mods = json_object();
    if (h)
        d->handler = *h;
    int r = uv_timer_init(loop, &d->timer);
    ASSERT(r == 0);
    list(d);
    return d;
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct documents, timer));
}

void documents_free(struct documents *d)
{
    if (!d)
        return;
    d->closing = true;
    stop_watch(d);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
    unref(d);
}

bool documents_synced(const struct documents *d)
{
    return d->synced;
}

void documents_refresh(struct documents *d, uint64_t ms)
{
    d->again_ms = ms;
    if (d->watch)
        uv_timer_start(&d->timer, on_timer, ms, 0);
}

uint64_t documents_read_ms(const struct documents *d)
{
    return d->read_ms;
}

const json_t *documents_get(const struct documents *d, const char *name)
{
    return json_object_get(d->all, name);
}

json_t *documents_all(struct documents *d)
{
    return d->all;
}

/* ---- editing */

struct edit {
    struct documents *d;
    char *key;
    const char *name; /* within key */
    json_t *wanted;   /* NULL: to be deleted */
    char *guard;      /* NULL: none */
    int64_t guard_mod;
    int64_t written; /* revision */
    int attempts;
    bool has_read; /* else it goes by what we have */
    documents_edit_fn edit;
    documents_done_fn done;
    void *ctx;
};

static void read_for_edit(struct edit *q);

static void finish(struct edit *q, const struct err *e)
{
    if (!e && !q->d->closing)
        put(q->d, q->name, json_incref(q->wanted), q->written); /* ours is seen at once */
    if (q->done)
        q->done(q->ctx, e ? NULL : q->wanted, e);
    json_decref(q->wanted);
    free(q->key);
    free(q->guard);
    unref(q->d);
    free(q);
}

static void on_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct edit *q = ctx;
    struct err busy;
    if (e || succeeded) {
        q->written = revision;
        finish(q, e);
    } else if (++q->attempts == EDIT_ATTEMPTS) {
        err_set(&busy, ERR_CONFLICT, "other changes keep coming in first");
        finish(q, &busy);
    } else {
        read_for_edit(q);
    }
}

static void write_edit(struct edit *q, int64_t mod_revision)
{
    _cleanup_free_ char *text = q->wanted ? json_text(q->wanted) : NULL;
    struct kv_compare cmp[] = {{q->key, mod_revision}, {q->guard, q->guard_mod}};
    struct kv_op op = {.key = q->key, .value = text};
    struct err e;
    if (text && strlen(text) > KV_VALUE_MAX && !q->has_read) {
        read_for_edit(q);
        return;
    }
    if (text && strlen(text) > KV_VALUE_MAX) {
        err_set(&e, ERR_LIMIT, "the document %s is larger than %u bytes", q->name, KV_VALUE_MAX);
        finish(q, &e);
        return;
    }
    kv_txn_sure(q->d->kv, cmp, q->guard ? 2 : 1, &op, 1, on_written, q);
}

/* What is there is `old`, of that revision, as far as we know. */
static void try_edit(struct edit *q, json_t *old, int64_t mod_revision)
{
    struct err refused = {0};
    json_decref(q->wanted);
    q->wanted = NULL;
    int r = q->edit(q->ctx, old, &q->wanted, &refused);
    bool is_change = r >= 0 && q->wanted != old && !json_equal(q->wanted, old);
    q->written = mod_revision;
    if (is_change)
        write_edit(q, mod_revision);
    else if (!q->has_read) /* what we have may be old: that is no reason to refuse or do nothing */
        read_for_edit(q);
    else
        finish(q, r < 0 ? &refused : NULL);
}

static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct edit *q = ctx;
    if (e) {
        finish(q, e);
        return;
    }
    _cleanup_json_ json_t *old = n ? parse(pairs[0].value, pairs[0].len) : NULL;
    q->has_read = true;
    try_edit(q, old, n ? pairs[0].mod_revision : 0);
}

static void read_for_edit(struct edit *q)
{
    kv_get(q->d->kv, q->key, on_read, q);
}

/* By what we have: a change that is written over just that needs no reading. */
static void begin_edit(struct edit *q)
{
    _cleanup_json_ json_t *old = json_deep_copy(json_object_get(q->d->all, q->name));
    if (q->d->synced)
        try_edit(q, old, json_opt_int(q->d->mods, q->name, 0));
    else
        read_for_edit(q);
}

static struct edit *new_edit(
    struct documents *d, const char *name, documents_done_fn done, void *ctx)
{
    struct edit *q = xcalloc(1, sizeof *q);
    *q = (struct edit){.d = d, .done = done, .ctx = ctx};
    q->key = xasprintf("%s%s", d->prefix, name);
    q->name = q->key + strlen(d->prefix);
    d->refs++;
    return q;
}

void documents_edit(struct documents *d, const char *name, documents_edit_fn edit,
    documents_done_fn done, void *ctx)
{
    struct edit *q = new_edit(d, name, done, ctx);
    q->edit = edit;
    begin_edit(q);
}

void documents_edit_under(struct documents *d, const char *name, const char *guard,
    int64_t guard_mod, documents_edit_fn edit, documents_done_fn done, void *ctx)
{
    struct edit *q = new_edit(d, name, done, ctx);
    q->edit = edit;
    q->guard = xstrdup(guard);
    q->guard_mod = guard_mod;
    begin_edit(q);
}

struct merge {
    json_t *patch;
    documents_done_fn done;
    void *ctx;
};

static int merge(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct merge *m = ctx;
    *ret = old ? json_copy(old) : json_object();
    json_object_update(*ret, m->patch);
    return 0;
}

static void on_merged(void *ctx, const json_t *doc, const struct err *e)
{
    struct merge *m = ctx;
    if (m->done)
        m->done(m->ctx, doc, e);
    json_decref(m->patch);
    free(m);
}

void documents_merge(
    struct documents *d, const char *name, json_t *patch, documents_done_fn done, void *ctx)
{
    struct merge *m = xcalloc(1, sizeof *m);
    *m = (struct merge){.patch = patch, .done = done, .ctx = ctx};
    documents_edit(d, name, merge, on_merged, m);
}
