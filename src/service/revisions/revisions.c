/* SPDX-License-Identifier: Apache-2.0 */
/* Following: list desired/ once, then watch it from the next store revision on; whatever ends the
 * watch starts over with the list, so nothing is missed and nothing needs to be remembered between.
 */
#include "service/revisions/revisions.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/revision/revision.h"

#define RETRY_MIN_MS 200u
#define RETRY_MAX_MS 5000u
#define CHECK_MS 5000u /* a watch on a member without quorum may stay silent: ask now and then */
#define CACHE_MAX (8u * 1024 * 1024)
#define APPLY_ATTEMPTS 5
#define FRESH_PATIENCE_MS 2000u /* a caller waits 10 s; an election takes 1 to 2 s */

struct revisions {
    uv_loop_t *loop;
    struct kv *kv;
    char *prefix; /* /mcp/<platform>/desired/ */
    char *cache_path;
    struct revisions_handler handler;
    void *ctx;
    json_t *current;
    int64_t number;
    bool connected;
    struct kv_watch *watch;
    uv_timer_t retry;
    uint64_t retry_ms;
    int refs; /* ours, the timer's, and each callback that the state store still owes us */
    bool closing;
};

static void follow(struct revisions *r);

static void unref(struct revisions *r)
{
    if (--r->refs > 0)
        return;
    json_decref(r->current);
    free(r->prefix);
    free(r->cache_path);
    free(r);
}

static void set_connected(struct revisions *r, bool connected, const struct err *e)
{
    if (r->closing || r->connected == connected)
        return;
    r->connected = connected;
    r->handler.connected(r->ctx, connected, e);
}

static void on_retry(uv_timer_t *t)
{
    follow(CONTAINER_OF(t, struct revisions, retry));
}

static void retry_later(struct revisions *r)
{
    if (r->closing)
        return;
    uv_timer_start(&r->retry, on_retry, r->retry_ms, 0);
    r->retry_ms = MIN(r->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void lost(struct revisions *r, const struct err *e)
{
    r->watch = NULL;
    set_connected(r, false, e);
    retry_later(r);
}

/* Durable first, then told: what runs is never newer than what a restart would find. */
static void adopt(struct revisions *r, json_t *revision)
{
    struct err e;
    _cleanup_free_ char *text = json_text(revision);
    if (file_write_durable(r->cache_path, text, strlen(text), 0600, &e) < 0) {
        err_wrap(&e, "keep revision %lld", (long long)json_opt_int(revision, "revision", 0));
        set_connected(r, false, &e);
        retry_later(r);
        return;
    }
    json_decref(r->current);
    r->current = json_incref(revision);
    r->number = json_opt_int(revision, "revision", 0);
    r->handler.changed(r->ctx, revision);
}

static int parse_revision(const char *text, size_t len, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    int r = json_parse(text, len, &j, e);
    int64_t format, number;
    json_t *platform;
    if (r >= 0)
        r = json_get_int(j, "format", 1, REVISION_FORMAT, &format, e);
    if (r >= 0)
        r = json_get_int(j, "revision", 1, INT64_MAX, &number, e);
    if (r >= 0)
        r = json_get_obj(j, "platform", &platform, e);
    if (r >= 0)
        *ret = json_incref(j);
    return r;
}

static bool parse_number(const char *text, int64_t *ret)
{
    uint64_t n;
    if (!str_to_u64(text, INT64_MAX, &n))
        return false;
    *ret = (int64_t)n;
    return true;
}

/* The pair whose key is `name` below the prefix. */
static const struct kv_pair *find(
    const struct revisions *r, const struct kv_pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(pairs[i].key + strlen(r->prefix), name))
            return &pairs[i];
    return NULL;
}

/* beyond: revisions up to that one are not taken. */
static void take_current(struct revisions *r, const struct kv_pair *pairs, size_t n, int64_t beyond)
{
    const struct kv_pair *current = find(r, pairs, n, "current");
    int64_t number;
    if (!current || !parse_number(current->value, &number) || number == r->number
        || number <= beyond)
        return;
    const struct kv_pair *p = find(r, pairs, n, current->value);
    _cleanup_json_ json_t *revision = NULL;
    struct err e;
    if (p && parse_revision(p->value, p->len, &revision, &e) >= 0)
        adopt(r, revision);
}

static void on_check_timer(uv_timer_t *t);

/* The store is asked for what it says is current: silence of the watch is no proof that it lives. */
static void on_check(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct revisions *r = ctx;
    int64_t number = r->number;
    bool moved = !e && n && parse_number(pairs[0].value, &number) && number != r->number;
    if (!r->closing && r->watch && (e || moved)) {
        kv_unwatch(r->kv, r->watch);
        r->watch = NULL;
        if (e)
            lost(r, e);
        else
            follow(r);
    } else if (!r->closing && r->watch) {
        uv_timer_start(&r->retry, on_check_timer, CHECK_MS, 0);
    }
    unref(r);
}

static void on_check_timer(uv_timer_t *t)
{
    struct revisions *r = CONTAINER_OF(t, struct revisions, retry);
    _cleanup_free_ char *current = xasprintf("%scurrent", r->prefix);
    r->refs++;
    kv_get(r->kv, current, on_check, r);
}

static void on_event(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct revisions *r = ctx;
    if (e) {
        lost(r, e);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (str_ends(events[i].key,
                "/current")) { /* read the whole again: simple, and current moves rarely */
            kv_unwatch(r->kv, r->watch);
            r->watch = NULL;
            follow(r);
            return;
        }
}

static void on_list(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct revisions *r = ctx;
    if (!r->closing && e) {
        lost(r, e);
    } else if (!r->closing) {
        r->retry_ms = RETRY_MIN_MS;
        set_connected(r, true, NULL);
        take_current(r, pairs, n, 0); /* numbers begin anew after a lost state store */
        if (!r->closing && !r->watch) {
            r->watch = kv_watch(r->kv, r->prefix, revision + 1, on_event, r);
            uv_timer_start(&r->retry, on_check_timer, CHECK_MS, 0);
        }
    }
    unref(r);
}

static void follow(struct revisions *r)
{
    if (r->closing || r->watch)
        return;
    r->refs++;
    kv_list(r->kv, r->prefix, on_list, r);
}

static void load_cache(struct revisions *r)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *revision = NULL;
    struct err e;
    if (file_read(r->cache_path, CACHE_MAX, &text, &e) < 0
        || parse_revision(str_cstr(&text), text.len, &revision, &e) < 0)
        return; /* none, or torn by a dying disk: the state store has it */
    r->current = json_incref(revision);
    r->number = json_opt_int(revision, "revision", 0);
    r->handler.changed(r->ctx, revision);
}

int revisions_new(uv_loop_t *loop, const struct revisions_config *c,
    const struct revisions_handler *h, void *ctx, struct revisions **ret, struct err *e)
{
    struct revisions *r = xcalloc(1, sizeof *r);
    *r = (struct revisions){
        .loop = loop, .kv = c->kv, .handler = *h, .ctx = ctx, .retry_ms = RETRY_MIN_MS, .refs = 2};
    r->prefix = xasprintf("/mcp/%s/desired/", c->platform);
    r->cache_path = xstrdup(c->cache_path);
    int code = uv_timer_init(loop, &r->retry);
    ASSERT(code == 0);
    load_cache(r);
    follow(r);
    *ret = r;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct revisions, retry));
}

void revisions_free(struct revisions *r)
{
    if (!r)
        return;
    r->closing = true;
    kv_unwatch(r->kv, r->watch);
    r->watch = NULL;
    uv_close((uv_handle_t *)&r->retry, on_timer_closed);
    unref(r);
}

const json_t *revisions_current(const struct revisions *r)
{
    return r->current;
}

int64_t revisions_number(const struct revisions *r)
{
    return r->number;
}

bool revisions_connected(const struct revisions *r)
{
    return r->connected;
}

/* ---- apply */

struct apply {
    struct revisions *r;
    json_t *platform, *files;
    json_t *revision; /* as written last */
    char *by, *note;
    int64_t expect;
    int64_t wanted;
    int attempts;
    revisions_apply_fn fn;
    void *ctx;
};

static void read_for_apply(struct apply *a);

static void finish_apply(struct apply *a, int64_t number, bool unchanged, const struct err *e)
{
    a->fn(a->ctx, number, unchanged, e);
    json_decref(a->platform);
    json_decref(a->files);
    json_decref(a->revision);
    free(a->by);
    free(a->note);
    unref(a->r);
    free(a);
}

static json_t *build(const struct apply *a)
{
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(clock_wall_ms(), stamp);
    return revision_build(a->platform, a->files, (uint64_t)a->wanted, stamp, a->by, a->note);
}

static void on_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct apply *a = ctx;
    struct err busy;
    if (e) {
        finish_apply(a, 0, false, e);
    } else if (succeeded) {
        /* At once, not when the watch tells: what is asked next is answered with it. */
        if (!a->r->closing && a->r->number < a->wanted)
            adopt(a->r, a->revision);
        finish_apply(a, a->wanted, false, NULL);
    } else if (++a->attempts == APPLY_ATTEMPTS) {
        err_set(&busy, ERR_CONFLICT, "other changes keep coming in first");
        finish_apply(a, 0, false, &busy);
    } else {
        read_for_apply(a);
    }
}

static void write_next(struct apply *a, int64_t number, int64_t current_mod)
{
    a->wanted = number + 1;
    json_decref(a->revision);
    a->revision = build(a);
    _cleanup_free_ char *text = json_text(a->revision);
    _cleanup_free_ char *key = xasprintf("%s%lld", a->r->prefix, (long long)a->wanted);
    _cleanup_free_ char *current = xasprintf("%scurrent", a->r->prefix);
    _cleanup_free_ char *oldest =
        xasprintf("%s%lld", a->r->prefix, (long long)(a->wanted - REVISIONS_KEPT));
    char value[24];
    snprintf(value, sizeof value, "%lld", (long long)a->wanted);
    struct kv_compare cmp[] = {{current, current_mod}, {key, 0}};
    struct kv_op ops[] = {{key, text, 0}, {current, value, 0}, {oldest, NULL, 0}};
    kv_txn_sure(a->r->kv, cmp, 2, ops, a->wanted > REVISIONS_KEPT ? 3 : 2, on_written, a);
}

static bool says_the_same(const struct apply *a, const struct kv_pair *p)
{
    _cleanup_json_ json_t *revision = NULL;
    return p && parse_revision(p->value, p->len, &revision, NULL) >= 0
           && json_equal(json_object_get(revision, "platform"), a->platform)
           && json_equal(json_object_get(revision, "files"), a->files);
}

static void on_read_for_apply(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct apply *a = ctx;
    if (e) {
        finish_apply(a, 0, false, e);
        return;
    }
    const struct kv_pair *current = find(a->r, pairs, n, "current");
    int64_t number = 0;
    struct err refused;
    if (current && !parse_number(current->value, &number)) {
        err_set(&refused, ERR_INVALID, "%scurrent holds no number", a->r->prefix);
        finish_apply(a, 0, false, &refused);
    } else if (current && says_the_same(a, find(a->r, pairs, n, current->value))) {
        finish_apply(a, number, true, NULL);
    } else if (a->expect >= 0 && number != a->expect) {
        err_set(&refused, ERR_CONFLICT, "revision %lld is current, not %lld", (long long)number,
            (long long)a->expect);
        err_fix(&refused, "look at `mcp plan` again: somebody applied in between");
        finish_apply(a, 0, false, &refused);
    } else {
        write_next(a, number, current ? current->mod_revision : 0);
    }
}

static void read_for_apply(struct apply *a)
{
    kv_list(a->r->kv, a->r->prefix, on_read_for_apply, a);
}

void revisions_apply(struct revisions *r, const json_t *platform, const json_t *files,
    const char *by, const char *note, int64_t expect, revisions_apply_fn fn, void *ctx)
{
    struct apply *a = xcalloc(1, sizeof *a);
    *a = (struct apply){.r = r,
        .platform = json_deep_copy(platform),
        .files = json_deep_copy(files),
        .by = xstrdup(by),
        .note = xstrdup(note),
        .expect = expect,
        .fn = fn,
        .ctx = ctx};
    r->refs++;
    read_for_apply(a);
}

/* ---- asking which is current */

struct fresh {
    struct revisions *r;
    uv_timer_t patience;
    revisions_fresh_fn fn; /* NULL: it was told */
    void *ctx;
};

static void tell(struct fresh *f)
{
    revisions_fresh_fn fn = f->fn;
    f->fn = NULL;
    if (fn)
        fn(f->ctx, f->r->current);
}

static void on_impatient(uv_timer_t *t)
{
    tell(CONTAINER_OF(t, struct fresh, patience));
}

static void on_patience_closed(uv_handle_t *h)
{
    struct fresh *f = CONTAINER_OF(h, struct fresh, patience);
    unref(f->r);
    free(f);
}

static void end_fresh(struct fresh *f)
{
    tell(f);
    uv_close((uv_handle_t *)&f->patience, on_patience_closed);
}

static void on_fresh_list(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct fresh *f = ctx;
    /* A following read that was asked later may have been answered before. */
    if (!e && !f->r->closing)
        take_current(f->r, pairs, n, f->r->number);
    end_fresh(f);
}

static void on_fresh_number(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct fresh *f = ctx;
    int64_t number;
    if (!e && n && parse_number(pairs[0].value, &number) && number > f->r->number)
        kv_list(f->r->kv, f->r->prefix, on_fresh_list, f);
    else
        end_fresh(f);
}

void revisions_fresh(struct revisions *r, revisions_fresh_fn fn, void *ctx)
{
    if (!r->connected) {
        fn(ctx, r->current);
        return;
    }
    struct fresh *f = xcalloc(1, sizeof *f);
    *f = (struct fresh){.r = r, .fn = fn, .ctx = ctx};
    _cleanup_free_ char *current = xasprintf("%scurrent", r->prefix);
    r->refs++;
    uv_timer_init(r->loop, &f->patience);
    uv_timer_start(&f->patience, on_impatient, FRESH_PATIENCE_MS, 0);
    kv_get(r->kv, current, on_fresh_number, f);
}

/* ---- reading */

struct read {
    struct revisions *r;
    int64_t number;
    revisions_get_fn get;
    revisions_list_fn list;
    void *ctx;
};

static void finish_get(struct read *q, const struct kv_pair *pairs, size_t n, const struct err *e)
{
    struct err failed;
    _cleanup_json_ json_t *revision = NULL;
    char name[24];
    const struct kv_pair *current = e ? NULL : find(q->r, pairs, n, "current");
    if (!e && !q->number && current)
        parse_number(current->value, &q->number);
    snprintf(name, sizeof name, "%lld", (long long)q->number);
    const struct kv_pair *p = e ? NULL : find(q->r, pairs, n, name);
    if (!e && !p) {
        err_set(&failed, ERR_NOT_FOUND,
            q->number ? "revision %s is not kept" : "nothing was applied yet%s",
            q->number ? name : "");
        err_fix(&failed, q->number ? "`mcp revisions` lists those that are" : "run `mcp apply`");
        e = &failed;
    } else if (!e && parse_revision(p->value, p->len, &revision, &failed) < 0) {
        e = &failed;
    }
    q->get(q->ctx, revision, e);
}

static json_t *summary(const struct kv_pair *p, const char *current)
{
    _cleanup_json_ json_t *revision = NULL;
    if (parse_revision(p->value, p->len, &revision, NULL) < 0)
        return NULL;
    int64_t number = json_opt_int(revision, "revision", 0);
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    return json_pack("{s:I,s:s,s:s,s:s,s:b}", "revision", (json_int_t)number, "created",
        json_opt_str(revision, "created", ""), "by", json_opt_str(revision, "by", ""), "note",
        json_opt_str(revision, "note", ""), "current", current && !strcmp(current, text));
}

static void finish_list(struct read *q, const struct kv_pair *pairs, size_t n, const struct err *e)
{
    _cleanup_json_ json_t *list = json_array();
    const struct kv_pair *current = e ? NULL : find(q->r, pairs, n, "current");
    for (size_t i = 0; !e && i < n; i++) {
        json_t *entry = summary(&pairs[i], current ? current->value : NULL);
        if (!entry)
            continue;
        size_t at = 0; /* keys sort as text ("10" before "9"): put by number, newest first */
        while (at < json_array_size(list)
               && json_opt_int(json_array_get(list, at), "revision", 0)
                      > json_opt_int(entry, "revision", 0))
            at++;
        json_array_insert_new(list, at, entry);
    }
    q->list(q->ctx, list, e);
}

static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct read *q = ctx;
    if (q->get)
        finish_get(q, pairs, n, e);
    else
        finish_list(q, pairs, n, e);
    unref(q->r);
    free(q);
}

static void start_read(struct revisions *r, struct read q)
{
    struct read *heap = xcalloc(1, sizeof *heap);
    *heap = q;
    r->refs++;
    kv_list(r->kv, r->prefix, on_read, heap);
}

void revisions_get(struct revisions *r, int64_t number, revisions_get_fn fn, void *ctx)
{
    start_read(r, (struct read){.r = r, .number = number, .get = fn, .ctx = ctx});
}

void revisions_list(struct revisions *r, revisions_list_fn fn, void *ctx)
{
    start_read(r, (struct read){.r = r, .list = fn, .ctx = ctx});
}
