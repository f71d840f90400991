/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The cache's part in a request: domain/cache decides, service/cache keeps, this carries out what net/http
 * asks for (struct http_cache). A hit copies from the stored object as the client takes it; the reference is held until
 * the request ends.
 *
 * Who holds a fill, ends it: the request until its answer is being stored, from then on the engine (`store`). A waiter
 * lies outside of its request: it may be woken from another thread while the request ends. */
#include "service/edge/cached.h"

#include <string.h>

#define CACHE_NAME "mcp"
#define LINES_MAX 2048u /* of validators; a response with longer ones is fetched anew */
#define BOUNDARY_LEN HTTP_REQUEST_ID_LEN

struct edge_wait {
    struct cache_waiter w;
    struct edge_wait *next;
    struct edge_thread *t;
    struct thread *loop;
    struct http_tx *tx; /* NULL: it has ended; its thread alone looks at this */
};

struct background { /* a refresh that has no client */
    struct cache_fill *fill;
    struct cache_object *object;
};

struct edge_cached {
    struct cache_request q;
    struct cache_target target;
    struct http_text key;
    struct cache_decision decision;
    struct cache_object *object; /* what is sent, or validated */
    struct cache_fill *fill;
    struct edge_wait *wait; /* registered, or woken and not delivered */
    enum cache_wake woken;
    struct cache_object *came; /* of the wake */
    int64_t asked_ms;
    struct cache_report report;
    enum edge_cache_result result;
    bool validates; /* the upstream is asked whether `object` still holds */
    /* of what is being sent: */
    struct cache_cursor cursor;
    uint64_t end; /* of the run of bytes; UINT64_MAX: the content's end */
    struct cache_ranges ranges;
    size_t part; /* the next one of a multipart answer */
    struct http_text type, text;
    uint64_t size;
    char age[24], status[192], range[72], multipart[48 + BOUNDARY_LEN];
    char between[512]; /* in front of a part */
};

struct edge_scratch { /* a thread's, for one call */
    struct cache_storing st;
    struct http_fields merged;
    char head[HTTP_HEAD_MAX], date[FIELDS_DATE_SIZE];
};

/* -- waiting -------------------------------------------------------------------------------------------------- */

/* Under a lock of the cache's, from any thread. */
static void on_wake(struct cache_waiter *w)
{
    struct edge_wait *x = CONTAINER_OF(w, struct edge_wait, w);
    struct edge_thread *t = x->t;
    struct thread *loop = x->loop;
    struct edge_wait *first = atomic_load_explicit(&t->woken, memory_order_relaxed);
    do
        x->next = first;
    while (!atomic_compare_exchange_weak_explicit(
        &t->woken, &first, x, memory_order_release, memory_order_relaxed));
    if (!first) /* else the thread has been woken and has not looked yet */
        http_thread_wake(loop);
}

static struct edge_wait *wait_get(struct edge_thread *t, struct http_tx *tx)
{
    struct edge_wait *x = t->spare_wait ? t->spare_wait : xmalloc(sizeof *x);
    t->spare_wait = NULL;
    *x = (struct edge_wait){.w.wake = on_wake, .t = t, .loop = http_tx_thread(tx), .tx = tx};
    return x;
}

static void wait_put(struct edge_thread *t, struct edge_wait *x)
{
    if (t->spare_wait)
        free(x);
    else
        t->spare_wait = x;
}

static void deliver(struct edge_thread *t, struct edge_wait *x)
{
    struct edge_request *r = x->tx ? x->tx->app : NULL;
    if (!r) {
        if (x->w.kind == CACHE_WAKE_OBJECT)
            cache_object_unref(x->w.object);
        else if (x->w.kind == CACHE_WAKE_FILL)
            cache_fill_abort(x->w.fill);
        return;
    }
    struct edge_cached *c = r->cached;
    c->wait = NULL;
    c->woken = x->w.kind;
    if (c->woken == CACHE_WAKE_OBJECT)
        c->came = x->w.object;
    else if (c->woken == CACHE_WAKE_FILL)
        c->fill = x->w.fill;
    http_tx_resume(x->tx);
}

void edge_cache_loop(struct edge_thread *t)
{
    if (!atomic_load_explicit(&t->woken, memory_order_relaxed))
        return;
    struct edge_wait *x = atomic_exchange_explicit(&t->woken, NULL, memory_order_acquire);
    while (x) {
        struct edge_wait *next = x->next;
        deliver(t, x);
        wait_put(t, x);
        x = next;
    }
}

/* -- sending what is stored ------------------------------------------------------------------------------ */

static void put_field(struct http_fields *f, const char *name, struct http_text value)
{
    if (f->n < HTTP_FIELDS_MAX)
        f->v[f->n++] = (struct http_field){.name = {name, strlen(name)}, .value = value};
}

static void put_status(struct edge_cached *c, struct http_fields *f)
{
    struct http_out o = {.p = c->status, .cap = sizeof c->status};
    c->report.name = (struct http_text){CACHE_NAME, sizeof CACHE_NAME - 1};
    cache_status_format(&c->report, &o);
    put_field(f, "Cache-Status", (struct http_text){o.p, o.len});
}

/* Our own lines, as store_head() wrote them. */
static void read_lines(struct http_text lines, struct http_fields *f)
{
    while (lines.len && f->n < HTTP_FIELDS_MAX) {
        const char *end = memchr(lines.p, '\n', lines.len),
                   *colon = memchr(lines.p, ':', lines.len);
        struct http_text name = {lines.p, (size_t)(colon - lines.p)};
        f->v[f->n++] = (struct http_field){
            .name = name,
            .value = {colon + 2, (size_t)(end - colon) - 3},
            .id = http_text_is_nocase(name, "date") ? HTTP_FIELD_DATE : HTTP_FIELD_OTHER,
        };
        lines.len -= (size_t)(end + 1 - lines.p);
        lines.p = end + 1;
    }
}

static void keep_fields(struct http_fields *f, enum cache_serve how, bool parts, bool has_etag)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct http_field *field = &f->v[i];
        bool type = http_text_is_nocase(field->name, "content-type");
        if (how == CACHE_SERVE_NOT_MODIFIED  ? cache_field_in_304(field, has_etag)
            : how == CACHE_SERVE_UNSATISFIED ? cache_field_in_304(field, false)
                                             : !(parts && type))
            f->v[n++] = *field;
    }
    f->n = n;
}

static struct http_text boundary_of(const struct http_tx *tx)
{
    return (struct http_text){tx->id, BOUNDARY_LEN};
}

static void put_range(
    struct edge_cached *c, const struct fields_range *range, struct http_fields *f)
{
    struct http_out o = {.p = c->range, .cap = sizeof c->range};
    cache_content_range_format(range, c->size, &o);
    put_field(f, "Content-Range", (struct http_text){o.p, o.len});
}

static void put_parts(struct http_tx *tx, struct edge_cached *c, struct http_response *r)
{
    struct http_out o = {.p = c->multipart, .cap = sizeof c->multipart};
    http_out_str(&o, "multipart/byteranges; boundary=");
    http_out_text(&o, boundary_of(tx));
    put_field(&r->fields, "Content-Type", (struct http_text){o.p, o.len});
    r->content_length = cache_parts_length(&c->ranges, c->size, c->type, boundary_of(tx));
    c->end = 0; /* the first part is still to begin */
}

/* Status, framing and fields of the answer, and where its content begins. */
static void put_answer(struct http_tx *tx, struct edge_cached *c, enum cache_serve how,
    unsigned stored_status, struct http_response *r)
{
    bool known = c->size != UINT64_MAX;
    r->status = stored_status;
    r->framing = known ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
    r->has_length = known;
    r->content_length = known ? c->size : 0;
    c->end = UINT64_MAX;
    if (how == CACHE_SERVE_NOT_MODIFIED) {
        r->status = 304;
        r->has_length = false;
        r->framing = HTTP_BODY_NONE;
    } else if (how == CACHE_SERVE_UNSATISFIED) {
        r->status = 416;
        r->content_length = 0;
        put_range(c, NULL, &r->fields);
    } else if (how == CACHE_SERVE_RANGES) {
        r->status = 206;
        if (c->ranges.n > 1) {
            put_parts(tx, c, r);
        } else {
            put_range(c, &c->ranges.v[0], &r->fields);
            c->cursor.at = c->ranges.v[0].first;
            c->end = c->ranges.v[0].last + 1;
            r->content_length = c->end - c->cursor.at;
        }
    }
    if (r->status == 204)
        r->has_length = false;
    if (r->status == 204 || c->q.head || (r->has_length && !r->content_length))
        r->framing = HTTP_BODY_NONE;
}

static void put_age(
    struct edge_cached *c, const struct cache_meta *m, int64_t now_ms, struct http_fields *f)
{
    struct http_out o = {.p = c->age, .cap = sizeof c->age};
    http_out_u64(&o, (uint64_t)(MAX(0, cache_age_ms(m, now_ms)) / 1000));
    put_field(f, "Age", (struct http_text){o.p, o.len});
    c->report.has_ttl = true;
    int64_t ttl = cache_ttl_ms(m, now_ms);
    c->report.ttl_s = ttl >= 0 ? ttl / 1000 : -((-ttl + 999) / 1000);
}

static void serve(struct http_tx *tx, struct edge_cached *c)
{
    const struct cache_stored *stored = cache_object_stored(c->object);
    int64_t now_ms = http_tx_now_ms(tx);
    struct http_response *r = http_tx_response(tx);
    struct cache_request q = c->q;
    c->size = cache_object_expected(c->object);
    q.range &= c->size != UINT64_MAX; /* while its end is not known it is sent whole */
    struct cache_stored s = {.meta = stored->meta,
        .etag = stored->etag,
        .modified = stored->modified,
        .vary = stored->vary,
        .variant = stored->variant,
        .size = c->size};
    enum cache_serve how = cache_serve_decide(&q, &s, now_ms, &c->ranges);
    if (tx->background) { /* nobody reads it */
        r->status = 204;
        http_tx_serve(tx, r);
        return;
    }
    read_lines(cache_object_head(c->object), &r->fields);
    const struct http_field *type = fields_find(&r->fields, "content-type", NULL);
    c->type = type && type->value.len < sizeof c->between / 2 ? type->value : (struct http_text){0};
    keep_fields(&r->fields, how, how == CACHE_SERVE_RANGES && c->ranges.n > 1, s.etag.len);
    r->minor = 1;
    put_answer(tx, c, how, s.meta->status, r);
    const char *reason = http_status_reason(r->status);
    r->reason = (struct http_text){reason, strlen(reason)};
    put_age(c, s.meta, now_ms, &r->fields);
    put_status(c, &r->fields);
    http_tx_serve(tx, r);
}

/* False: that was the last part. */
static bool next_part(struct http_tx *tx, struct edge_cached *c)
{
    if (c->ranges.n < 2 || c->part > c->ranges.n)
        return false;
    struct http_out o = {.p = c->between, .cap = sizeof c->between};
    cache_part_format(&c->ranges, c->part, c->size, c->type, boundary_of(tx), &o);
    c->text = (struct http_text){o.p, o.len};
    if (c->part < c->ranges.n) {
        c->cursor.at = c->ranges.v[c->part].first;
        c->end = c->ranges.v[c->part].last + 1;
    } else {
        c->end = c->cursor.at;
    }
    c->part++;
    return true;
}

static enum http_pull pull_text(struct edge_cached *c, size_t max, struct http_text *ret)
{
    *ret = (struct http_text){c->text.p, MIN(c->text.len, max)};
    c->text.p += ret->len;
    c->text.len -= ret->len;
    return HTTP_PULL_SOME;
}

static enum http_pull on_pull(void *thread, struct http_tx *tx, size_t max, struct http_text *ret)
{
    struct edge_cached *c = ((struct edge_request *)tx->app)->cached;
    for (;;) {
        if (c->text.len)
            return pull_text(c, max, ret);
        if (c->cursor.at >= c->end) {
            if (!next_part(tx, c))
                return HTTP_PULL_END;
            continue;
        }
        switch (cache_object_read(c->object, &c->cursor, ret)) {
        case CACHE_READ_SOME:
            ret->len = (size_t)MIN((uint64_t)MIN(ret->len, max), c->end - c->cursor.at);
            c->cursor.at += ret->len;
            return HTTP_PULL_SOME;
        case CACHE_READ_END:
            return c->end == UINT64_MAX ? HTTP_PULL_END : HTTP_PULL_FAILED;
        case CACHE_READ_FAILED:
            return HTTP_PULL_FAILED;
        case CACHE_READ_WAIT:
            break;
        }
        if (c->wait)
            return HTTP_PULL_WAIT;
        struct edge_wait *x = wait_get(thread, tx);
        if (cache_object_wait(c->object, c->cursor.at, &x->w)) {
            c->wait = x;
            return HTTP_PULL_WAIT;
        }
        wait_put(thread, x);
    }
}

/* -- asking ----------------------------------------------------------------------------------------------- */

static void ask_upstream(struct http_tx *tx, struct edge_cached *c)
{
    struct http_text lines = {0};
    char *p = c->fill && c->object ? http_tx_alloc(tx, LINES_MAX) : NULL;
    struct http_out o = {.p = p, .cap = LINES_MAX};
    if (p) {
        cache_validate_format(cache_object_stored(c->object), &o);
        if (!o.full)
            lines = (struct http_text){o.p, o.len};
    }
    c->validates = lines.len;
    c->asked_ms = http_tx_now_ms(tx);
    c->result = EDGE_CACHE_MISS;
    http_tx_observe(tx, c->fill && c->decision.drop_conditions, lines);
}

/* The stored one goes out; another request, which nobody waits for, asks whether it still holds. */
static void refresh(struct http_tx *tx, struct edge_cached *c)
{
    struct background *b = xmalloc(sizeof *b);
    *b = (struct background){c->fill, c->object};
    cache_object_ref(c->object);
    if (!http_tx_fetch(tx, b)) {
        cache_fill_abort(b->fill);
        cache_object_unref(b->object);
        free(b);
    }
    c->fill = NULL;
}

static void take_background(struct http_tx *tx, struct edge_cached *c)
{
    struct background *b = tx->background;
    c->fill = b->fill;
    c->object = b->object;
    c->decision = (struct cache_decision){
        .action = CACHE_REVALIDATE, .forward = CACHE_FORWARD_STALE, .drop_conditions = true};
    b->fill = NULL;
    b->object = NULL;
}

static bool act(struct http_tx *tx, struct edge_cached *c, const struct cache_lookup *l)
{
    switch (l->decision.action) {
    case CACHE_HIT:
    case CACHE_HIT_REFRESH:
        c->result = l->decision.action == CACHE_HIT
                            && cache_ttl_ms(l->decision.stored->meta, http_tx_now_ms(tx)) > 0
                        ? EDGE_CACHE_HIT
                        : EDGE_CACHE_STALE;
        if (l->collapsed) {
            c->result = EDGE_CACHE_HIT;
            c->report.action = CACHE_MISS;
            c->report.forward = CACHE_FORWARD_URI_MISS;
        }
        if (c->fill)
            refresh(tx, c);
        serve(tx, c);
        return true;
    case CACHE_UNSATISFIED:
        http_tx_error(tx, 504, "the request wants what is stored alone, and it is not",
            "Cache-Status: " CACHE_NAME "; detail=only-if-cached\r\n");
        return true;
    case CACHE_REVALIDATE:
    case CACHE_MISS:
        if (l->waiting) {
            http_tx_park(tx);
            return true;
        }
        ask_upstream(tx, c);
        return false;
    case CACHE_BYPASS:
        break;
    }
    http_tx_observe(tx, false, (struct http_text){0});
    return false;
}

static bool look_up(struct http_tx *tx, struct edge_request *r, struct edge_cached *c)
{
    struct edge_thread *t = r->thread;
    struct cache_lookup l;
    struct edge_wait *x = wait_get(t, tx);
    cache_tier_lookup(
        t->edge->cache, c->key, &c->q, http_tx_now_ms(tx), &t->edge->cache_policy, &x->w, &l);
    if (l.waiting)
        c->wait = x;
    else
        wait_put(t, x);
    c->decision = l.decision;
    c->object = l.object;
    c->fill = l.fill;
    c->report.action = l.decision.action;
    c->report.forward = l.decision.forward;
    c->report.collapsed = l.collapsed;
    return act(tx, c, &l);
}

static bool read_target(struct http_tx *tx, struct edge_cached *c)
{
    const struct http_request *q = tx->request;
    size_t cap = tx->name.len + tx->path.len + q->query.len + 8;
    char *p = cap <= CACHE_KEY_MAX ? http_tx_alloc(tx, cap) : NULL;
    struct http_out o = {.p = p, .cap = cap};
    struct http_text host;
    uint16_t port = 0;
    if (!p
        || (q->authority.len > q->host.len && !http_authority_split(q->authority, 0, &host, &port)))
        return false;
    c->target = (struct cache_target){.tls = tx->tls,
        .host = tx->name,
        .port = port,
        .path = tx->path,
        .query = q->query,
        .has_query = q->has_query};
    bool ok = cache_key_format(&c->target, &o);
    c->key = (struct http_text){o.p, o.len};
    return ok;
}

bool edge_cache_request(struct http_tx *tx, struct edge_request *r)
{
    struct edge_thread *t = r->thread;
    struct edge_cached *c = t->edge->cache ? http_tx_alloc(tx, sizeof *c) : NULL;
    if (!c)
        return false;
    memset(c, 0, offsetof(struct edge_cached, age));
    c->result = EDGE_CACHE_BYPASS;
    cache_request_read(tx->request, &t->edge->cache_policy, &c->q);
    bool asks = c->q.get || c->q.head;
    if ((asks && tx->request->framing != HTTP_BODY_NONE) || !read_target(tx, c))
        return false;
    r->cached = c;
    if (tx->background) {
        take_background(tx, c);
        ask_upstream(tx, c);
        return false;
    }
    if (asks)
        return look_up(tx, r, c);
    c->report.action = CACHE_BYPASS;
    c->report.forward = CACHE_FORWARD_METHOD;
    http_tx_observe(tx, false, (struct http_text){0});
    return false;
}

static void on_resume(void *thread, struct http_tx *tx)
{
    struct edge_request *r = tx->app;
    struct edge_cached *c = r->cached;
    if (c->woken == CACHE_WAKE_OBJECT) {
        struct cache_object *came = c->came;
        c->came = NULL;
        bool fits = cache_object_fits(came, &c->q);
        cache_object_unref(fits ? c->object : came);
        if (fits) {
            c->object = came;
            c->report.collapsed = true;
            c->result = EDGE_CACHE_HIT;
            serve(tx, c);
            return;
        }
    }
    ask_upstream(tx, c);
    edge_filter_forward(tx, r);
}

/* -- what upstream says ------------------------------------------------------------------------------------ */

static void forget(struct edge_thread *t, struct http_text key)
{
    cache_purge_key(t->edge->cache, key);
}

/* RFC 9111 section 4.4. */
static void invalidate(
    struct edge_thread *t, const struct edge_cached *c, const struct http_fields *f)
{
    static const char *const names[] = {"location", "content-location"};
    char buf[CACHE_KEY_MAX];
    forget(t, c->key);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct http_field *line = fields_find(f, names[i], NULL);
        struct http_out o = {.p = buf, .cap = sizeof buf};
        if (line && cache_location_key(&c->target, line->value, &o))
            forget(t, (struct http_text){o.p, o.len});
    }
}

/* The lines that are stored. A response without Date gets that of its receipt (RFC 9110 section 6.6.1). */
static bool store_head(struct edge_scratch *s, const struct http_fields *f, struct http_text *ret)
{
    struct http_out o = {.p = s->head, .cap = sizeof s->head};
    if (f->n > HTTP_FIELDS_MAX - 8) /* room for what is added when it is sent */
        return false;
    for (size_t i = 0; i < f->n; i++) {
        if (!cache_field_stored(&f->v[i], &s->st.cc))
            continue;
        http_out_text(&o, f->v[i].name);
        http_out_str(&o, ": ");
        http_out_text(&o, f->v[i].value);
        http_out_str(&o, "\r\n");
    }
    if (!fields_find(f, "date", NULL)) {
        fields_date_format(s->st.meta.received_ms / 1000, s->date);
        http_out_str(&o, "Date: ");
        http_out_str(&o, s->date);
        http_out_str(&o, "\r\n");
    }
    *ret = (struct http_text){o.p, o.len};
    return !o.full;
}

/* Section 3.2: the 304's fields take the place of those of the same name. */
static void merge(
    struct edge_scratch *s, const struct cache_object *old, const struct http_fields *now)
{
    struct http_fields *m = &s->merged;
    struct fields_cc cc;
    size_t n = 0;
    fields_cc_parse(now, "cache-control", &cc);
    m->n = 0;
    read_lines(cache_object_head(old), m);
    for (size_t i = 0; i < m->n; i++) {
        bool replaced = false;
        for (size_t k = 0; k < now->n && !replaced; k++)
            replaced = fields_same_nocase(now->v[k].name, m->v[i].name)
                       && cache_field_updates(&now->v[k], &cc);
        if (!replaced)
            m->v[n++] = m->v[i];
    }
    m->n = n;
    for (size_t k = 0; k < now->n && m->n < HTTP_FIELDS_MAX; k++)
        if (cache_field_updates(&now->v[k], &cc) || http_text_is_nocase(now->v[k].name, "age"))
            m->v[m->n++] = now->v[k];
}

/* It still holds. When it may no longer be stored it is sent this once and forgotten. */
static enum http_took freshen(
    struct edge_thread *t, struct http_tx *tx, struct edge_cached *c, const struct http_response *r)
{
    struct edge_scratch *s = t->scratch;
    struct cache_object *fresh;
    struct http_text head;
    merge(s, c->object, &r->fields);
    unsigned status = cache_object_stored(c->object)->meta->status;
    int64_t now_ms = http_tx_now_ms(tx);
    bool may = cache_store_decide(
                   &c->q, status, &s->merged, c->asked_ms, now_ms, &t->edge->cache_policy, &s->st)
                   == CACHE_STORE_OK
               && store_head(s, &s->merged, &head);
    if (may && cache_fill_freshen(c->fill, c->object, &s->st, head, &fresh)) {
        cache_object_unref(c->object);
        c->object = fresh;
    } else {
        cache_fill_pass(c->fill, now_ms);
        if (!may)
            forget(t, c->key);
    }
    c->fill = NULL;
    c->report.forward_status = 304;
    c->report.stored = may;
    c->result = EDGE_CACHE_REVALIDATED;
    serve(tx, c);
    return HTTP_TOOK_SERVED;
}

static bool serve_stale(
    struct edge_thread *t, struct http_tx *tx, struct edge_cached *c, unsigned status)
{
    if (!c->object || c->decision.action != CACHE_REVALIDATE
        || !cache_stale_on_error(&c->q, cache_object_stored(c->object), status, http_tx_now_ms(tx),
            &t->edge->cache_policy))
        return false;
    if (c->fill)
        cache_fill_give(c->fill, c->object);
    c->fill = NULL;
    c->report.forward_status = status;
    c->result = EDGE_CACHE_STALE;
    serve(tx, c);
    return true;
}

/* A cut cannot be told from an end when the connection's end is the content's. */
static bool has_an_end(const struct http_response *r)
{
    return r->framing != HTTP_BODY_UNTIL_CLOSE;
}

static uint64_t expected_of(const struct http_response *r)
{
    return r->framing == HTTP_BODY_LENGTH ? r->content_length
           : r->framing == HTTP_BODY_NONE ? 0
                                          : UINT64_MAX;
}

/* True: its content is to come by on_content(). */
static bool begin_store(
    struct edge_thread *t, struct http_tx *tx, struct edge_cached *c, const struct http_response *r)
{
    struct edge_scratch *s = t->scratch;
    struct cache_object *o;
    struct http_text head;
    enum cache_store verdict = cache_store_decide(&c->q, r->status, &r->fields, c->asked_ms,
        http_tx_now_ms(tx), &t->edge->cache_policy, &s->st);
    if (verdict == CACHE_STORE_OK && has_an_end(r) && store_head(s, &r->fields, &head)
        && cache_fill_begin(c->fill, &s->st, head, expected_of(r), &o))
        return true;
    /* 304 and 206 answer this request's own conditions, and say nothing about the whole. */
    if (r->status == 304 || r->status == 206)
        cache_fill_abort(c->fill);
    else
        cache_fill_pass(c->fill, http_tx_now_ms(tx));
    c->fill = NULL;
    if (verdict != CACHE_STORE_OK)
        c->report.detail = cache_store_name(verdict);
    return false;
}

static enum http_took validated(struct edge_thread *t, struct http_tx *tx, struct edge_cached *c,
    const struct http_response *r, bool *done)
{
    *done = true;
    switch (cache_validated_decide(cache_object_stored(c->object), r->status, &r->fields)) {
    case CACHE_VALIDATED_FRESHEN:
        return freshen(t, tx, c, r);
    case CACHE_VALIDATED_AGAIN:
        cache_object_unref(c->object);
        c->object = NULL;
        c->validates = false;
        http_tx_observe(tx, true, (struct http_text){0});
        return HTTP_TOOK_AGAIN;
    case CACHE_VALIDATED_ERROR:
    case CACHE_VALIDATED_REPLACE:
        break;
    }
    *done = false;
    return HTTP_TOOK_RELAY;
}

static enum http_took on_head(
    void *thread, struct http_tx *tx, struct http_response *r, void **store)
{
    struct edge_thread *t = thread;
    struct edge_cached *c = ((struct edge_request *)tx->app)->cached;
    bool done = false;
    if (c->validates && c->fill) {
        enum http_took took = validated(t, tx, c, r, &done);
        if (done)
            return took;
    }
    if (r->status >= 500 && serve_stale(t, tx, c, r->status))
        return HTTP_TOOK_SERVED;
    if (cache_invalidates(&c->q, r->status))
        invalidate(t, c, &r->fields);
    if (c->q.head && c->object && r->status == 200
        && !cache_head_freshens(
            cache_object_stored(c->object), &r->fields, (uint64_t)http_tx_now_ms(tx)))
        forget(t, c->key);
    if (c->fill && begin_store(t, tx, c, r)) {
        *store = c->fill;
        c->fill = NULL;
        c->report.stored = true;
        metric_add(t->cache_counts, EDGE_CACHE_STORED, 1);
    }
    put_status(c, &r->fields);
    return HTTP_TOOK_RELAY;
}

static bool on_content(void *thread, void *store, struct http_text data)
{
    if (cache_fill_append(store, data.p, data.len))
        return true;
    cache_fill_abort(store);
    return false;
}

static void on_end(void *thread, void *store, bool whole)
{
    if (whole)
        cache_fill_done(store);
    else
        cache_fill_abort(store);
}

/* Those who wait are not sent after a dead upstream one by one, each for his own time. */
static bool on_failed(void *thread, struct http_tx *tx, unsigned status)
{
    struct edge_cached *c = ((struct edge_request *)tx->app)->cached;
    if (serve_stale(thread, tx, c, status))
        return true;
    if (c->fill)
        cache_fill_pass(c->fill, http_tx_now_ms(tx));
    c->fill = NULL;
    return false;
}

bool edge_cache_unreachable(struct http_tx *tx, struct edge_request *r)
{
    return r->cached && on_failed(r->thread, tx, 0);
}

/* -- the end ------------------------------------------------------------------------------------------------ */

static void drop_background(struct background *b)
{
    if (b->fill) /* it was answered before it came to the cache */
        cache_fill_abort(b->fill);
    cache_object_unref(b->object);
    free(b);
}

void edge_cache_done(struct edge_thread *t, struct http_tx *tx, struct edge_request *r)
{
    struct edge_cached *c = r ? r->cached : NULL;
    if (tx->background)
        drop_background(tx->background);
    if (!c)
        return;
    if (c->wait && cache_waiter_cancel(&c->wait->w))
        wait_put(t, c->wait);
    else if (c->wait)
        c->wait->tx = NULL; /* woken: it comes by edge_cache_loop() */
    if (c->fill)
        cache_fill_abort(c->fill);
    cache_object_unref(c->object);
    cache_object_unref(c->came);
    if (!tx->background)
        metric_add(t->cache_counts, c->result, 1);
}

void edge_cache_thread_start(struct edge_thread *t)
{
    if (!t->edge->cache)
        return;
    t->scratch = xmalloc(sizeof *t->scratch);
    t->cache_counts = t->edge->cache_counts[t->index];
}

void edge_cache_thread_stop(struct edge_thread *t)
{
    edge_cache_loop(t);
    free(t->spare_wait);
    free(t->scratch);
}

const struct http_cache edge_cache = {
    .resume = on_resume,
    .head = on_head,
    .content = on_content,
    .end = on_end,
    .failed = on_failed,
    .pull = on_pull,
};
