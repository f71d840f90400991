/* SPDX-License-Identifier: Apache-2.0 */
/* The memory tier: what is found, what is not any more, who waits for whom; against a naive oracle, and with threads
 * (tools/sanitize.sh thread). */
#include "test.h"

#include "base/rnd/rnd.h"
#include "service/cache/cache.h"

#include <pthread.h>
#include <string.h>

#define NOW_MS 1784203200000ll
#define POLICY (&cache_policy_default)

static struct http_text T(const char *s) {
    return (struct http_text){s, strlen(s)};
}

struct asked {
    struct http_request request;
    struct cache_request q;
};

/* "name: value" lines, at most four of each; the texts outlive it. */
static void put_fields(struct http_fields *f, const char *text)
{
    f->n = 0;
    while (*text) {
        size_t len = strcspn(text, "\n");
        const char *colon = memchr(text, ':', len);
        f->v[f->n++] = (struct http_field){.name = {text, (size_t)(colon - text)},
            .value = fields_trim((struct http_text){colon + 1, len - (size_t)(colon + 1 - text)})};
        text += len + (text[len] == '\n');
    }
}

static void ask(struct asked *a, const char *method, const char *fields)
{
    a->request.method = T(method);
    a->request.is_head = !strcmp(method, "HEAD");
    put_fields(&a->request.fields, fields);
    cache_request_read(&a->request, POLICY, &a->q);
}

static void look(struct cache_tier *t, const char *key, const char *fields, struct cache_waiter *w,
    struct cache_lookup *l)
{
    static _Thread_local struct asked a;
    ask(&a, "GET", fields);
    cache_tier_lookup(t, T(key), &a.q, NOW_MS, POLICY, w, l);
}

static void storing_of(const char *request, const char *response, struct cache_storing *st)
{
    static _Thread_local struct asked a;
    static _Thread_local struct http_fields f;
    ask(&a, "GET", request);
    put_fields(&f, response);
    assert_int_equal(cache_store_decide(&a.q, 200, &f, NOW_MS, NOW_MS, POLICY, st), CACHE_STORE_OK);
}

static struct cache_object *begin(
    struct cache_fill *f, const char *request, const char *response, uint64_t expected)
{
    static _Thread_local struct cache_storing st;
    struct cache_object *o = NULL;
    storing_of(request, response, &st);
    return cache_fill_begin(f, &st, T("x: y\r\n"), expected, &o) ? o : NULL;
}

static bool store(struct cache_tier *t, const char *key, const char *request, const char *response,
    const char *content)
{
    struct cache_lookup l;
    look(t, key, request, NULL, &l);
    cache_object_unref(l.object);
    if (!l.fill)
        return false;
    if (!begin(l.fill, request, response, strlen(content))) {
        cache_fill_pass(l.fill, NOW_MS);
        return false;
    }
    if (!cache_fill_append(l.fill, content, strlen(content))) {
        cache_fill_abort(l.fill);
        return false;
    }
    cache_fill_done(l.fill);
    return true;
}

static bool has_content(struct cache_object *o, const char *content)
{
    struct cache_cursor c = {0};
    struct http_text some;
    enum cache_read r;
    while ((r = cache_object_read(o, &c, &some)) == CACHE_READ_SOME) {
        if (strncmp(content + c.at, some.p, some.len) != 0)
            return false;
        c.at += some.len;
    }
    return r == CACHE_READ_END && c.at == strlen(content);
}

/* NULL: not there. */
static bool holds(struct cache_tier *t, const char *key, const char *request, const char *content)
{
    struct cache_lookup l;
    look(t, key, request, NULL, &l);
    bool hit = l.decision.action == CACHE_HIT;
    bool same = hit ? content && has_content(l.object, content) : !content;
    cache_object_unref(l.object);
    if (l.fill)
        cache_fill_abort(l.fill);
    return same;
}

static struct cache_tier *tier_of(uint64_t bytes)
{
    return cache_tier_new(&(struct cache_tier_config){.limit_bytes = bytes, .waiters_max = 3});
}

#define MAX60 "cache-control: max-age=60\n"

static void stored(void **state)
{
    struct cache_tier *t = tier_of(1 << 20);
    struct cache_figures fig;
    assert_true(holds(t, "a", "", NULL));
    assert_true(store(t, "a", "", MAX60, "content"));
    assert_true(holds(t, "a", "", "content") && holds(t, "b", "", NULL));
    struct cache_lookup l;
    look(t, "a", "", NULL, &l);
    assert_true(http_text_is(cache_object_head(l.object), "x: y\r\n"));
    assert_true(l.decision.stored->size == 7 && !l.fill && !l.waiting && !l.collapsed);
    cache_object_unref(l.object);
    /* variants */
    assert_true(store(t, "v", "x-a: 1", MAX60 "vary: x-a", "one"));
    assert_true(store(t, "v", "x-a: 2", MAX60 "vary: x-a", "two"));
    assert_true(holds(t, "v", "x-a: 1", "one") && holds(t, "v", "x-a: 2", "two")
                && holds(t, "v", "x-a: 3", NULL));
    look(t, "v", "x-a: 3", NULL, &l);
    assert_int_equal(l.decision.forward, CACHE_FORWARD_VARY_MISS);
    cache_fill_abort(l.fill);
    /* the same variant again takes the other's place */
    look(t, "v", "x-a: 1\ncache-control: no-cache", NULL, &l);
    assert_true(l.decision.action == CACHE_REVALIDATE && l.fill && l.object);
    assert_non_null(begin(l.fill, "x-a: 1", MAX60 "vary: x-a", 3));
    assert_true(cache_fill_append(l.fill, "new", 3));
    cache_fill_done(l.fill);
    assert_true(has_content(l.object, "one")); /* who is at it still has it */
    cache_object_unref(l.object);
    assert_true(holds(t, "v", "x-a: 1", "new"));
    cache_tier_figures(t, &fig);
    assert_int_equal(fig.objects, 3);
    cache_tier_free(t); /* asserts that every byte was accounted for */
}

static void lengths(void **state)
{
    struct cache_tier *t = tier_of(1 << 20);
    static char large[200000];
    struct cache_lookup l;
    memset(large, 'x', sizeof large - 1);
    look(t, "short", "", NULL, &l);
    struct cache_object *o = begin(l.fill, "", MAX60, 10);
    cache_object_ref(o);
    assert_true(cache_fill_append(l.fill, "12345", 5));
    cache_fill_done(l.fill); /* less than was announced */
    struct cache_cursor c = {.at = 5};
    struct http_text some;
    assert_int_equal(cache_object_read(o, &c, &some), CACHE_READ_FAILED);
    cache_object_unref(o);
    assert_true(holds(t, "short", "", NULL));
    assert_false(store(t, "large", "", MAX60, large)); /* more than an eighth */
    look(t, "unknown", "", NULL, &l);
    assert_non_null(begin(l.fill, "", MAX60, UINT64_MAX));
    assert_true(cache_fill_append(l.fill, large, 100000));
    assert_false(cache_fill_append(l.fill, large, 100000));
    cache_fill_abort(l.fill);
    look(t, "unknown", "", NULL, &l);
    assert_non_null(begin(l.fill, "", MAX60, UINT64_MAX));
    for (int i = 0; i < 100; i++)
        assert_true(cache_fill_append(l.fill, large, 777));
    cache_fill_done(l.fill);
    look(t, "unknown", "", NULL, &l);
    assert_int_equal(l.decision.stored->size, 77700);
    c = (struct cache_cursor){.at = 77000};
    assert_int_equal(cache_object_read(l.object, &c, &some), CACHE_READ_SOME);
    c.at = 5; /* and back */
    assert_int_equal(cache_object_read(l.object, &c, &some), CACHE_READ_SOME);
    cache_object_unref(l.object);
    cache_tier_free(t);
}

struct sleeper {
    struct cache_waiter w;
    unsigned woken;
};

static void wake(struct cache_waiter *w)
{
    CONTAINER_OF(w, struct sleeper, w)->woken++;
}

static void coalescing(void **state)
{
    struct cache_tier *t = tier_of(1 << 20);
    struct sleeper s[5] = {0};
    struct cache_lookup first, l;
    for (int i = 0; i < 5; i++)
        s[i].w.wake = wake;
    look(t, "a", "", &s[0].w, &first);
    assert_true(first.fill && !first.waiting);
    for (int i = 1; i < 4; i++) {
        look(t, "a", "", &s[i].w, &l);
        assert_true(l.waiting && !l.fill);
    }
    look(t, "a", "", &s[4].w, &l); /* over the limit of three */
    assert_true(l.passed && !l.waiting && !l.fill);
    look(t, "a", "cache-control: no-cache", &s[4].w, &l); /* wants nobody else's answer */
    assert_non_null(l.fill);
    cache_fill_abort(l.fill);
    assert_true(cache_waiter_cancel(&s[2].w) && !cache_waiter_cancel(&s[2].w));

    cache_fill_abort(first.fill); /* the next one fetches */
    assert_true(s[1].woken == 1 && s[1].w.kind == CACHE_WAKE_FILL && s[1].w.fill == first.fill
                && !s[3].woken);
    assert_false(cache_waiter_cancel(&s[1].w));

    struct cache_object *o = begin(s[1].w.fill, "", MAX60, 6);
    assert_true(s[3].woken == 1 && s[3].w.kind == CACHE_WAKE_OBJECT && s[3].w.object == o);
    static struct asked a;
    ask(&a, "GET", "");
    assert_true(cache_object_fits(o, &a.q));
    struct cache_cursor c = {0};
    struct http_text some;
    assert_int_equal(cache_object_read(o, &c, &some), CACHE_READ_WAIT);
    assert_true(cache_object_wait(o, 0, &s[2].w));
    assert_true(cache_fill_append(s[1].w.fill, "abc", 3));
    assert_true(s[2].woken == 1 && s[2].w.kind == CACHE_WAKE_MORE);
    assert_true(cache_object_read(o, &c, &some) == CACHE_READ_SOME && some.len == 3);
    assert_false(cache_object_wait(o, 0, &s[2].w));
    look(t, "a", "", &s[4].w, &l); /* who comes now reads along */
    assert_true(l.collapsed && l.object == o && l.decision.action == CACHE_HIT
                && cache_object_expected(o) == 6);
    assert_true(cache_object_wait(o, 3, &s[4].w) && cache_object_wait(o, 3, &s[2].w));
    assert_true(cache_waiter_cancel(&s[4].w));
    assert_true(cache_fill_append(s[1].w.fill, "def", 3));
    cache_fill_done(s[1].w.fill);
    assert_true(has_content(l.object, "abcdef") && s[2].woken == 2);
    cache_object_unref(l.object);
    cache_object_unref(s[3].w.object);
    assert_true(holds(t, "a", "", "abcdef"));

    /* a response that may not be stored: all go, and nobody waits again */
    memset(s, 0, sizeof s);
    s[0].w.wake = s[1].w.wake = wake;
    look(t, "b", "", &s[0].w, &first);
    look(t, "b", "", &s[1].w, &l);
    assert_true(l.waiting);
    cache_fill_pass(first.fill, NOW_MS);
    assert_true(s[1].woken && s[1].w.kind == CACHE_WAKE_PASS);
    look(t, "b", "", &s[0].w, &first);
    look(t, "b", "", &s[1].w, &l);
    assert_true(first.fill && l.fill);
    cache_fill_abort(first.fill);
    cache_fill_abort(l.fill);
    assert_true(store(t, "b", "", MAX60, "now it may")); /* and that is forgotten */
    assert_true(holds(t, "b", "", "now it may"));

    /* another variant than the one that came */
    look(t, "c", "x-a: 1", &s[0].w, &first);
    look(t, "c", "x-a: 2", &s[1].w, &l);
    assert_true(l.waiting);
    o = begin(first.fill, "x-a: 1", MAX60 "vary: x-a", 0);
    ask(&a, "GET", "x-a: 2");
    assert_true(s[1].w.kind == CACHE_WAKE_OBJECT && !cache_object_fits(s[1].w.object, &a.q));
    cache_object_unref(s[1].w.object);
    look(t, "c", "x-a: 2", &s[1].w, &l);
    assert_true(l.fill && l.fill != first.fill);
    cache_fill_abort(l.fill);
    cache_fill_done(first.fill);
    cache_tier_free(t);
}

static void freshen(void **state)
{
    struct cache_tier *t = tier_of(1 << 20);
    struct sleeper s = {.w.wake = wake};
    struct cache_lookup l, other;
    struct cache_object *o;
    static struct cache_storing st;
    assert_true(store(t, "a", "", "cache-control: no-cache\netag: \"1\"", "content"));
    look(t, "a", "", NULL, &l);
    assert_true(l.decision.action == CACHE_REVALIDATE && l.fill);
    look(t, "a", "", &s.w, &other);
    assert_true(other.waiting);
    cache_object_unref(other.object);
    storing_of("", MAX60 "etag: \"1\"", &st);
    assert_true(cache_fill_freshen(l.fill, l.object, &st, T("new: head\r\n"), &o));
    assert_true(s.woken && s.w.kind == CACHE_WAKE_OBJECT && s.w.object == o);
    assert_true(has_content(o, "content") && http_text_is(cache_object_head(o), "new: head\r\n"));
    cache_object_unref(o);
    cache_object_unref(o); /* the waiter's */
    cache_object_unref(l.object);
    assert_true(holds(t, "a", "", "content"));
    /* stale while it is asked: one asks, nobody waits */
    assert_true(store(t, "b", "", "cache-control: max-age=0, stale-while-revalidate=60", "old"));
    look(t, "b", "", NULL, &l);
    look(t, "b", "", NULL, &other);
    assert_true(l.decision.action == CACHE_HIT_REFRESH && l.fill && l.object);
    assert_true(
        other.decision.action == CACHE_HIT_REFRESH && !other.fill && other.object && !other.passed);
    cache_fill_give(l.fill, l.object);
    cache_object_unref(l.object);
    cache_object_unref(other.object);
    cache_tier_free(t);
}

static void purges(void **state)
{
    struct cache_tier *t = tier_of(1 << 22);
    struct cache_figures fig;
    struct cache_lookup l;
    assert_true(store(t, "h/a", "", MAX60 "cache-tag: x, y", "1")
                && store(t, "h/b", "", MAX60 "cache-tag: y", "2"));
    assert_true(store(t, "h/c/d", "", MAX60, "3") && store(t, "i/c", "", MAX60, "4"));
    assert_int_equal(cache_purge_tag(t, T("none")), 0);
    assert_true(holds(t, "h/a", "", "1"));
    assert_int_equal(cache_purge_tag(t, T("x")), 1);
    assert_true(holds(t, "h/a", "", NULL) && holds(t, "h/b", "", "2"));
    assert_true(store(t, "h/a", "", MAX60 "cache-tag: x", "again") && holds(t, "h/a", "", "again"));
    assert_int_equal(cache_purge_key(t, T("h/b")), 1);
    assert_int_equal(cache_purge_key(t, T("h/zzz")), 0);
    assert_true(holds(t, "h/b", "", NULL) && holds(t, "h/c/d", "", "3"));
    cache_purge_prefix(t, T("h/c/"));
    assert_true(
        holds(t, "h/c/d", "", NULL) && holds(t, "h/a", "", "again") && holds(t, "i/c", "", "4"));
    assert_true(store(t, "h/c/d", "", MAX60, "5") && holds(t, "h/c/d", "", "5"));
    assert_int_equal(cache_purge_all(t), 3);
    assert_true(
        holds(t, "h/a", "", NULL) && holds(t, "i/c", "", NULL) && holds(t, "h/c/d", "", NULL));

    /* What is on its way when it is purged is not found later; each kind of purge. */
    for (int kind = 0; kind < 5; kind++) {
        look(t, "h/f", "", NULL, &l);
        assert_non_null(l.fill);
        if (kind == 4)
            assert_non_null(begin(l.fill, "", MAX60 "cache-tag: late", 1));
        if (kind == 0)
            cache_purge_key(t, T("h/f"));
        else if (kind == 1 || kind == 4)
            cache_purge_tag(t, T("late")); /* in kind 1 nobody knows it yet */
        else if (kind == 2)
            cache_purge_prefix(t, T("h/"));
        else
            cache_purge_all(t);
        struct cache_lookup after; /* who asks after the purge does not get it either */
        look(t, "h/f", "", NULL, &after);
        assert_true(after.fill && after.fill != l.fill);
        cache_fill_abort(after.fill);
        if (kind != 4)
            assert_non_null(begin(l.fill, "", MAX60 "cache-tag: late", 1));
        assert_true(cache_fill_append(l.fill, "x", 1));
        cache_fill_done(l.fill);
        assert_true(holds(t, "h/f", "", NULL));
    }
    /* More prefixes than are remembered one by one. */
    assert_true(store(t, "h/g", "", MAX60, "6") && store(t, "h/h", "", MAX60, "7"));
    assert_true(holds(t, "h/h", "", "7"));
    cache_purge_prefix(t, T("h/g"));
    for (int i = 0; i < 3000; i++)
        cache_purge_prefix(t, T("q/"));
    assert_true(holds(t, "h/g", "", NULL));
    /* The memory comes back although nobody asks. */
    for (int i = 0; i < 500; i++) {
        char key[32];
        snprintf(key, sizeof key, "s/%d", i);
        assert_true(store(t, key, "", MAX60 "surrogate-key: s", "8"));
    }
    assert_int_equal(cache_purge_tag(t, T("s")), 500);
    unsigned freed = 0;
    for (int i = 0; i < 10000; i++)
        freed += cache_tier_sweep(t, 1);
    assert_in_range(freed, 500, 501); /* and h/h, which may be one of what is forgotten */
    cache_tier_figures(t, &fig);
    assert_true(fig.objects == 0 && fig.bytes == 0 && fig.tags == 0);
    cache_tier_free(t);
}

static void eviction(void **state)
{
    struct cache_tier *t = tier_of(1 << 20);
    struct cache_figures fig;
    struct cache_lookup held;
    static char content[2000];
    char key[32];
    memset(content, 'x', sizeof content - 1);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "hot/%d", i);
        assert_true(store(t, key, "", MAX60, content));
        assert_true(holds(t, key, "", content));
    }
    assert_true(store(t, "held", "", MAX60, content));
    look(t, "held", "", NULL, &held);
    for (int i = 0; i < 20000;
         i++) { /* a scan, twenty times the room; what is hot is asked for now and then */
        snprintf(key, sizeof key, "scan/%d", i);
        assert_true(store(t, key, "", MAX60, content));
        cache_tier_figures(t, &fig);
        assert_true(fig.bytes <= 1 << 20);
        if (i % 20 == 0) {
            snprintf(key, sizeof key, "hot/%d", i / 20 % 50);
            assert_true(holds(t, key, "", content));
        }
    }
    assert_true(fig.evictions > 19000 && fig.objects > 300);
    assert_true(has_content(held.object, content));
    cache_object_unref(held.object);
    cache_tier_free(t);
}

/* A naive cache that never evicts: what the tier has must be what that has, and what that has not it must not have. */
enum { KEYS = 24, VALUES = 3, TAGS = 6 };
struct oracle {
    bool there;
    unsigned version, tags;
};

static void model(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cache_tier *t = tier_of(seed % 2 ? 1 << 24 : 40000); /* every other seed evicts */
        static struct oracle o[KEYS][VALUES];
        struct rnd rnd;
        unsigned version = 0, hits = 0;
        memset(o, 0, sizeof o);
        rnd_seed(&rnd, seed);
        for (int step = 0; step < 3000; step++) {
            unsigned k = (unsigned)rnd_below(&rnd, KEYS), v = (unsigned)rnd_below(&rnd, VALUES);
            char key[32], request[32], response[128], content[256], prefix[8], tag[8];
            snprintf(key, sizeof key, "h%u/%u", k / 6, k % 6);
            snprintf(request, sizeof request, "x-a: %u", v);
            switch (rnd_below(&rnd, 12)) {
            case 0:
                cache_purge_key(t, T(key));
                for (v = 0; v < VALUES; v++)
                    o[k][v].there = false;
                break;
            case 1:
                snprintf(tag, sizeof tag, "t%u", k % TAGS);
                cache_purge_tag(t, T(tag));
                for (unsigned i = 0; i < KEYS * VALUES; i++)
                    o[i / VALUES][i % VALUES].there &=
                        !(o[i / VALUES][i % VALUES].tags >> k % TAGS & 1);
                break;
            case 2:
                snprintf(prefix, sizeof prefix, "h%u/", k / 6);
                cache_purge_prefix(t, T(prefix));
                for (unsigned i = 0; i < KEYS * VALUES; i++)
                    o[i / VALUES][i % VALUES].there &= i / VALUES / 6 != k / 6;
                break;
            case 3:
                if (rnd_below(&rnd, 20) == 0) {
                    cache_purge_all(t);
                    memset(o, 0, sizeof o);
                }
                (void)cache_tier_sweep(t, 5);
                break;
            case 4:
            case 5:
            case 6:
            case 7: {
                unsigned tags = (unsigned)rnd_below(&rnd, 1u << TAGS);
                int n = snprintf(response, sizeof response, MAX60 "vary: x-a\nsurrogate-key: _");
                for (unsigned i = 0; i < TAGS; i++)
                    if (tags >> i & 1)
                        n += snprintf(response + n, sizeof response - (size_t)n, " t%u", i);
                memset(content, 'c', sizeof content);
                snprintf(content, sizeof content, "%u", ++version);
                char fresh[64];
                snprintf(fresh, sizeof fresh, "%s\ncache-control: no-cache", request);
                struct cache_lookup l;
                look(t, key, fresh, NULL, &l);
                cache_object_unref(l.object);
                assert_non_null(l.fill);
                if (!begin(l.fill, request, response, strlen(content))) {
                    cache_fill_pass(l.fill, NOW_MS);
                    break;
                }
                assert_true(cache_fill_append(l.fill, content, strlen(content)));
                cache_fill_done(l.fill);
                o[k][v] = (struct oracle){true, version, tags};
                break;
            }
            default: {
                struct cache_lookup l;
                look(t, key, request, NULL, &l);
                if (l.decision.action == CACHE_HIT) {
                    snprintf(content, sizeof content, "%u", o[k][v].version);
                    if (!o[k][v].there || !has_content(l.object, content))
                        fail_msg("seed %d step %d: %s %s", (int)seed, step, key, request);
                    hits++;
                } else if (o[k][v].there && seed % 2) {
                    fail_msg("seed %d step %d: %s %s is gone", (int)seed, step, key, request);
                }
                cache_object_unref(l.object);
                if (l.fill)
                    cache_fill_abort(l.fill);
            }
            }
        }
        assert_true(hits > 50);
        cache_tier_free(t);
    }
}

/* Threads fetch, wait, read along, purge and give up at once. The content of a key names it: nobody may ever read
 * another one's, or a part. */
enum { THREADS = 4, ROUNDS = 3000 };
struct worker {
    pthread_t thread;
    struct cache_tier *t;
    uint64_t seed;
    uint64_t read, fetched, waited;
};
struct blocked {
    struct cache_waiter w;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken;
};

static void unblock(struct cache_waiter *w)
{
    struct blocked *b = CONTAINER_OF(w, struct blocked, w);
    pthread_mutex_lock(&b->lock);
    b->woken = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static void block(struct blocked *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->woken)
        pthread_cond_wait(&b->cond, &b->lock);
    b->woken = false;
    pthread_mutex_unlock(&b->lock);
}

static size_t size_of(unsigned k)
{
    return 10 + k * 4001;
}

static void read_all(struct worker *w, struct blocked *b, struct cache_object *o, unsigned k)
{
    struct cache_cursor c = {0};
    struct http_text some;
    enum cache_read r;
    while ((r = cache_object_read(o, &c, &some)) == CACHE_READ_SOME || r == CACHE_READ_WAIT) {
        if (r == CACHE_READ_WAIT && cache_object_wait(o, c.at, &b->w))
            block(b);
        for (size_t i = 0; i < some.len; i++)
            ASSERT(some.p[i] == (char)('a' + k));
        c.at += some.len;
    }
    ASSERT(r == CACHE_READ_FAILED || c.at == size_of(k));
    w->read++;
}

static void fetch(struct worker *w, struct rnd *rnd, struct cache_fill *f, unsigned k)
{
    static _Thread_local char content[16384];
    size_t left = size_of(k);
    memset(content, 'a' + (int)k, sizeof content);
    w->fetched++;
    if (rnd_below(rnd, 8) == 0) {
        cache_fill_abort(f);
        return;
    }
    if (rnd_below(rnd, 16) == 0
        || !begin(f, "", MAX60 "surrogate-key: s", rnd_below(rnd, 2) ? left : UINT64_MAX)) {
        cache_fill_pass(f, NOW_MS);
        return;
    }
    while (left) {
        size_t n = MIN(left, 1 + rnd_below(rnd, sizeof content));
        if (rnd_below(rnd, 50) == 0 || !cache_fill_append(f, content, n)) {
            cache_fill_abort(f);
            return;
        }
        left -= n;
    }
    cache_fill_done(f);
}

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct blocked b = {.w.wake = unblock};
    struct rnd rnd;
    rnd_seed(&rnd, w->seed);
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.cond, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned k = (unsigned)rnd_below(&rnd, 12);
        char key[8] = {'k', (char)('a' + k)};
        uint64_t what = rnd_below(&rnd, 60);
        struct cache_lookup l;
        if (what == 0)
            cache_purge_key(w->t, T(key));
        else if (what == 1)
            cache_purge_tag(w->t, T("s"));
        else if (what == 2)
            cache_purge_prefix(w->t, T("k"));
        else if (what == 3)
            cache_tier_sweep(w->t, 64);
        look(w->t, key, "", &b.w, &l);
        if (l.waiting && rnd_below(&rnd, 10) == 0 && cache_waiter_cancel(&b.w))
            l.waiting = false;
        if (l.waiting) {
            block(&b);
            w->waited++;
            cache_object_unref(l.object);
            l.object = b.w.kind == CACHE_WAKE_OBJECT ? b.w.object : NULL;
            l.fill = b.w.kind == CACHE_WAKE_FILL ? b.w.fill : NULL;
        }
        if (l.fill)
            fetch(w, &rnd, l.fill, k);
        if (l.object)
            read_all(w, &b, l.object, k);
        cache_object_unref(l.object);
    }
    pthread_mutex_destroy(&b.lock);
    pthread_cond_destroy(&b.cond);
    return NULL;
}

static void threads(void **state)
{
    struct cache_tier *t =
        cache_tier_new(&(struct cache_tier_config){.limit_bytes = 400000, .object_max = 100000});
    struct worker w[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.t = t, .seed = i + 1};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    uint64_t read = 0, fetched = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        read += w[i].read;
        fetched += w[i].fetched;
    }
    assert_true(read > 100 && fetched > 100);
    cache_tier_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored),
        cmocka_unit_test(lengths),
        cmocka_unit_test(coalescing),
        cmocka_unit_test(freshen),
        cmocka_unit_test(purges),
        cmocka_unit_test(eviction),
        cmocka_unit_test(model),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
