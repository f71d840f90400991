/* SPDX-License-Identifier: Apache-2.0 */
/* etcd 3.4 through its JSON gateway on libcurl. Each call goes to the endpoint that answered last;
 * one that cannot be connected or has no leader, or for reads one that fails or times out, makes the
 * next take over, round after round for as long as an election may take. A transaction that was sent
 * is never sent again: its outcome is unknown and the caller reads. */
#include "driver/kv/priv.h"

#include "base/clock/clock.h"
#include "base/curl/curl.h"
#include "base/str/str.h"
#include "driver/kv/etcd_json.h"

#define BODY_MAX (32u * 1024 * 1024)
#define DEFAULT_TIMEOUT_MS 3000u
#define CONNECT_TIMEOUT_MS 1000L /* over any WAN round trip with TLS, under a caller's patience */
#define PAUSE_MS 200u            /* between rounds */
#define ROUNDS_TIMEOUTS 2u /* rounds begin for so many timeouts: one is spent on a member that died */

struct etcd {
    struct kv base;
    uv_loop_t *loop;
    struct curl_loop *curl;
    char **endpoints;
    size_t n_endpoints;
    size_t current;
    char *ca, *cert, *key;
    uint64_t timeout_ms;
    struct kv_watch *watches;
    struct call *paused;
};

struct call {
    struct etcd *store;
    const char *path;
    char *body;
    size_t endpoint;
    size_t tried;
    bool idempotent;
    bool patient; /* else one round: who asks how things are wants to know it now */
    etcd_answer_fn answer;
    void *op;
    uint64_t begun_ms;
    struct call *next, *prev; /* while it pauses */
    uv_timer_t pause;
};

enum how {
    LOOK,  /* idempotent, one round */
    AGAIN, /* idempotent */
    TXN,   /* may not be sent twice */
    ONCE,  /* nor this, one round */
};

static void send_call(struct call *c);

static struct etcd *etcd_of(struct kv *kv)
{
    return CONTAINER_OF(kv, struct etcd, base);
}

static CURL *prepare(
    struct etcd *s, size_t endpoint, const char *path, const char *body, long timeout_ms)
{
    _cleanup_free_ char *url = xasprintf("%s%s", s->endpoints[endpoint], path);
    CURL *easy = curl_easy_prepared(url, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
    if (s->ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, s->ca);
        curl_easy_setopt(easy, CURLOPT_SSLCERT, s->cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, s->key);
    }
    return easy;
}

static struct curl_slist *json_headers(void)
{
    struct curl_slist *h = curl_slist_append(NULL, "Content-Type: application/json");
    /* A member that has lost its leader ends the stream instead of going silent. */
    return curl_slist_append(h, "Grpc-Metadata-hasleader: true");
}

static void on_pause_closed(uv_handle_t *h)
{
    struct call *c = CONTAINER_OF(h, struct call, pause);
    free(c->body);
    free(c);
}

static void free_call(struct call *c)
{
    uv_close((uv_handle_t *)&c->pause, on_pause_closed);
}

static int transport_error(
    const struct etcd *s, size_t endpoint, const struct curl_done *d, struct err *e)
{
    int code = d->code == CURLE_OPERATION_TIMEDOUT    ? ERR_TIMEOUT
               : d->code == CURLE_ABORTED_BY_CALLBACK ? ERR_CANCELED
                                                      : ERR_UNAVAILABLE;
    return err_set(
        e, code, "state store %s: %s", s->endpoints[endpoint % s->n_endpoints], d->error);
}

static bool never_sent(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST
           || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION;
}

static bool may_try_next(const struct call *c, const struct curl_done *d, const struct err *e)
{
    if (d->code == CURLE_ABORTED_BY_CALLBACK)
        return false;
    if (never_sent(d->code) || etcd_has_no_leader(e))
        return true;
    return c->idempotent && (e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT);
}

static void unlink_paused(struct call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->store->paused = c->next;
    if (c->next)
        c->next->prev = c->prev;
}

static void on_pause(uv_timer_t *t)
{
    struct call *c = CONTAINER_OF(t, struct call, pause);
    unlink_paused(c);
    send_call(c);
}

/* False: there was time enough. */
static bool try_next(struct call *c)
{
    struct etcd *s = c->store;
    bool round_is_over = c->tried % s->n_endpoints == 0;
    uint64_t spent_ms = clock_boot_ms() - c->begun_ms;
    if (round_is_over && (!c->patient || spent_ms >= ROUNDS_TIMEOUTS * s->timeout_ms))
        return false;
    c->endpoint = (c->endpoint + 1) % s->n_endpoints;
    if (!round_is_over) {
        send_call(c);
        return true;
    }
    c->prev = NULL;
    c->next = s->paused;
    if (c->next)
        c->next->prev = c;
    s->paused = c;
    uv_timer_start(&c->pause, on_pause, PAUSE_MS, 0);
    return true;
}

static void on_answer(void *ctx, const struct curl_done *d)
{
    struct call *c = ctx;
    struct etcd *s = c->store;
    struct err e = {0};
    _cleanup_json_ json_t *answer = NULL;
    int r = 0;
    if (d->code != CURLE_OK)
        r = transport_error(s, c->endpoint, d, &e);
    else if (json_parse(str_cstr(d->body), d->body->len, &answer, &e) < 0)
        r = err_set(&e, ERR_PROTOCOL, "state store %s answers %ld without JSON",
            s->endpoints[c->endpoint % s->n_endpoints], d->status);
    else if (d->status != 200)
        r = etcd_error(answer, d->status, &e);
    if (r < 0 && may_try_next(c, d, &e) && try_next(c))
        return;
    if (r >= 0)
        s->current = c->endpoint % s->n_endpoints;
    else if (e.code == ERR_UNAVAILABLE || e.code == ERR_TIMEOUT)
        s->current = (c->endpoint + 1) % s->n_endpoints; /* the next call asks another member */
    c->answer(c->op, answer, r < 0 ? &e : NULL);
    free_call(c);
}

static void send_call(struct call *c)
{
    struct etcd *s = c->store;
    c->endpoint %= s->n_endpoints; /* there may be fewer than a moment ago */
    c->tried++;
    curl_start(s->curl, prepare(s, c->endpoint, c->path, c->body, (long)s->timeout_ms),
        json_headers(), BODY_MAX, NULL, on_answer, c);
}

/* Takes `body`. */
static void start(struct etcd *s, const char *path, json_t *body, enum how how,
    etcd_answer_fn answer, void *op)
{
    struct call *c = xcalloc(1, sizeof *c);
    *c = (struct call){.store = s,
        .path = path,
        .body = json_text(body),
        .endpoint = s->current,
        .idempotent = how == LOOK || how == AGAIN,
        .patient = how == AGAIN || how == TXN,
        .answer = answer,
        .op = op,
        .begun_ms = clock_boot_ms()};
    uv_timer_init(s->loop, &c->pause);
    json_decref(body);
    send_call(c);
}

/* ---- the operations: each a small struct with the caller's callback */

struct range_op {
    kv_range_fn fn;
    void *ctx;
};

static void on_range(void *arg, json_t *answer, const struct err *e)
{
    struct range_op *op = arg;
    json_t *kvs = json_object_get(answer, "kvs");
    size_t n = 0, count = json_array_size(kvs);
    struct kv_pair *pairs = xcalloc(count, sizeof *pairs);
    for (size_t i = 0; i < count; i++) {
        char *key, *value;
        if (etcd_pair(
                json_array_get(kvs, i), &key, &value, &pairs[n].len, &pairs[n].mod_revision)) {
            pairs[n].key = key;
            pairs[n++].value = value;
        }
    }
    op->fn(op->ctx, pairs, n, e ? 0 : etcd_revision(answer), e);
    for (size_t i = 0; i < n; i++) {
        free((char *)pairs[i].key);
        free((char *)pairs[i].value);
    }
    free(pairs);
    free(op);
}

static void etcd_range(struct kv *kv, const char *prefix, bool exact, kv_range_fn fn, void *ctx)
{
    struct range_op *op = xcalloc(1, sizeof *op);
    *op = (struct range_op){fn, ctx};
    start(etcd_of(kv), "/v3/kv/range", etcd_range_request(prefix, exact), AGAIN, on_range, op);
}

struct txn_op {
    kv_txn_fn fn;
    void *ctx;
    struct err refused;
    uv_timer_t later; /* carries a refusal to the loop */
};

static void on_txn(void *arg, json_t *answer, const struct err *e)
{
    struct txn_op *op = arg;
    op->fn(op->ctx, !e && json_is_true(json_object_get(answer, "succeeded")),
        e ? 0 : etcd_revision(answer), e);
    free(op);
}

static void on_later_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct txn_op, later));
}

static void on_refused(uv_timer_t *t)
{
    struct txn_op *op = CONTAINER_OF(t, struct txn_op, later);
    op->fn(op->ctx, false, 0, &op->refused);
    uv_close((uv_handle_t *)t, on_later_closed);
}

static void etcd_txn(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp,
    const struct kv_op *ops, size_t n_ops, kv_txn_fn fn, void *ctx)
{
    struct etcd *s = etcd_of(kv);
    struct txn_op *op = xcalloc(1, sizeof *op);
    op->fn = fn;
    op->ctx = ctx;
    if (kv_check_txn(cmp, n_cmp, ops, n_ops, &op->refused) < 0) {
        uv_timer_init(s->loop, &op->later);
        uv_timer_start(&op->later, on_refused, 0, 0);
        return;
    }
    start(s, "/v3/kv/txn", etcd_txn_request(cmp, n_cmp, ops, n_ops), TXN, on_txn, op);
}

struct lease_op {
    kv_lease_fn fn;
    void *ctx;
    int64_t lease; /* 0: grant, tells the new one */
    bool keep;
};

static void on_lease(void *arg, json_t *answer, const struct err *e)
{
    struct lease_op *op = arg;
    struct err ended;
    json_t *body = op->keep ? json_object_get(answer, "result") : answer;
    int64_t lease = op->lease ? op->lease : etcd_int(body, "ID");
    if (!e && op->keep && etcd_int(body, "TTL") <= 0) {
        err_set(&ended, ERR_NOT_FOUND, "the lease has ended");
        e = &ended;
    }
    op->fn(op->ctx, lease, e);
    free(op);
}

static void lease_call(struct kv *kv, const char *path, json_t *body, int64_t lease, bool keep,
    kv_lease_fn fn, void *ctx)
{
    struct lease_op *op = xcalloc(1, sizeof *op);
    *op = (struct lease_op){fn, ctx, lease, keep};
    start(etcd_of(kv), path, body, AGAIN, on_lease, op);
}

static json_t *lease_id(int64_t lease)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)lease);
    return json_pack("{s:s}", "ID", text);
}

static void etcd_lease_grant(struct kv *kv, uint64_t ttl_ms, kv_lease_fn fn, void *ctx)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)((ttl_ms + 999) / 1000));
    lease_call(kv, "/v3/lease/grant", json_pack("{s:s}", "TTL", text), 0, false, fn, ctx);
}

static void etcd_lease_keep(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    lease_call(kv, "/v3/lease/keepalive", lease_id(lease), lease, true, fn, ctx);
}

static void etcd_lease_revoke(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    lease_call(kv, "/v3/lease/revoke", lease_id(lease), lease, false, fn, ctx);
}

/* ---- status and maintenance */

struct status_op {
    struct etcd *store;
    kv_status_fn fn;
    void *ctx;
    int64_t keep_from;
    size_t endpoint; /* being defragmented */
};

static bool has_alarm(const json_t *answer)
{
    json_t *errors = json_object_get(answer, "errors");
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const char *text = json_string_value(json_array_get(errors, i));
        if (text && strstr(text, "NOSPACE"))
            return true;
    }
    return false;
}

static void on_status(void *arg, json_t *answer, const struct err *e)
{
    struct status_op *op = arg;
    struct kv_status st = {0};
    if (!e)
        st = (struct kv_status){.size_bytes = etcd_int(answer, "dbSize"),
            .revision = etcd_revision(answer),
            .has_leader = etcd_int(answer, "leader") != 0,
            .leads = etcd_int(answer, "leader") != 0
                     && etcd_int(answer, "leader")
                            == etcd_int(json_object_get(answer, "header"), "member_id"),
            .quota_alarm = has_alarm(answer)};
    op->fn(op->ctx, &st, e);
    free(op);
}

static void etcd_status(struct kv *kv, kv_status_fn fn, void *ctx)
{
    struct status_op *op = xcalloc(1, sizeof *op);
    *op = (struct status_op){.store = etcd_of(kv), .fn = fn, .ctx = ctx};
    start(op->store, "/v3/maintenance/status", json_object(), LOOK, on_status, op);
}

static void fail_status(struct status_op *op, const struct err *e)
{
    struct kv_status none = {0};
    op->fn(op->ctx, &none, e);
    free(op);
}

static void on_disarmed(void *arg, json_t *answer, const struct err *e)
{
    struct status_op *op = arg;
    if (e)
        fail_status(op, e);
    else
        start(op->store, "/v3/maintenance/status", json_object(), LOOK, on_status, op);
}

/* One alarm at a time: maintenance runs again while the status still shows one. */
static void on_alarms(void *arg, json_t *answer, const struct err *e)
{
    struct status_op *op = arg;
    json_t *alarm = json_array_get(json_object_get(answer, "alarms"), 0);
    if (e || !alarm) {
        on_disarmed(op, answer, e);
        return;
    }
    json_t *body = json_pack("{s:s,s:O,s:s}", "action", "DEACTIVATE", "memberID",
        json_object_get(alarm, "memberID"), "alarm", "NOSPACE");
    start(op->store, "/v3/maintenance/alarm", body, LOOK, on_disarmed, op);
}

/* Every member defragments itself only, and answers nothing else meanwhile: one after the other. */
static void defragment_next(struct status_op *op);

static void on_defragmented(void *ctx, const struct curl_done *d)
{
    struct status_op *op = ctx;
    if (d->code == CURLE_ABORTED_BY_CALLBACK) {
        struct err canceled;
        err_set(&canceled, ERR_CANCELED, "the state store was closed");
        fail_status(op, &canceled);
        return;
    }
    op->endpoint++; /* a member that is away defragments another time */
    defragment_next(op);
}

static void defragment_next(struct status_op *op)
{
    struct etcd *s = op->store;
    if (op->endpoint < s->n_endpoints)
        curl_start(s->curl, prepare(s, op->endpoint, "/v3/maintenance/defragment", "{}", 30000),
            json_headers(), BODY_MAX, NULL, on_defragmented, op);
    else
        start(s, "/v3/maintenance/alarm", json_pack("{s:s}", "action", "GET"), LOOK, on_alarms, op);
}

static void on_compacted(void *arg, json_t *answer, const struct err *e)
{
    struct status_op *op = arg;
    if (e && e->code != ERR_CONFLICT) { /* already compacted that far: fine */
        fail_status(op, e);
        return;
    }
    defragment_next(op);
}

static void etcd_maintain(struct kv *kv, int64_t keep_from, kv_status_fn fn, void *ctx)
{
    struct status_op *op = xcalloc(1, sizeof *op);
    *op = (struct status_op){.store = etcd_of(kv), .fn = fn, .ctx = ctx};
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)keep_from);
    start(op->store, "/v3/kv/compaction", json_pack("{s:s,s:b}", "revision", text, "physical", 1),
        LOOK, on_compacted, op);
}

/* ---- watch: one long POST whose answer is a stream of JSON objects, one a line */

struct kv_watch {
    struct etcd *store;
    struct kv_watch *next, *prev;
    struct curl_request *request;
    struct str line;
    kv_watch_fn fn;
    void *ctx;
    bool in_chunk, dead;
    struct err err; /* why the stream must end; code 0: not known */
};

static void unlink_watch(struct kv_watch *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->store->watches = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

static void free_watch(struct kv_watch *w)
{
    unlink_watch(w);
    str_done(&w->line);
    free(w);
}

static void deliver_events(struct kv_watch *w, json_t *list)
{
    size_t n = 0, count = json_array_size(list);
    struct kv_event *events = xcalloc(count, sizeof *events);
    for (size_t i = 0; i < count; i++) {
        json_t *event = json_array_get(list, i);
        char *key, *value;
        if (!etcd_pair(json_object_get(event, "kv"), &key, &value, &events[n].len,
                &events[n].mod_revision))
            continue;
        if (str_eq(json_opt_str(event, "type", "PUT"), "DELETE")) {
            free(value);
            value = NULL;
        }
        events[n].key = key;
        events[n++].value = value;
    }
    if (n)
        w->fn(w->ctx, events, n, NULL);
    for (size_t i = 0; i < n; i++) {
        free((char *)events[i].key);
        free((char *)events[i].value);
    }
    free(events);
}

static int watch_line(struct kv_watch *w)
{
    _cleanup_json_ json_t *j = NULL;
    if (json_parse(w->line.buf, w->line.len, &j, &w->err) < 0)
        return err_set(&w->err, ERR_PROTOCOL, "the state store's watch sends no JSON");
    json_t *result = json_object_get(j, "result");
    if (!result)
        return etcd_error(j, 200, &w->err);
    if (etcd_int(result, "compact_revision"))
        return err_set(&w->err, ERR_CONFLICT, "compacted up to revision %lld",
            (long long)etcd_int(result, "compact_revision"));
    if (json_is_true(json_object_get(result, "canceled")))
        return err_set(&w->err, ERR_UNAVAILABLE, "the watch was ended: %s",
            json_opt_str(result, "cancel_reason", "no reason given"));
    deliver_events(w, json_object_get(result, "events"));
    return 0;
}

static int feed_watch(struct kv_watch *w, const char *data, size_t len)
{
    while (len && !w->dead) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline ? (size_t)(newline - data) : len;
        if (w->line.len + n > BODY_MAX)
            return err_set(&w->err, ERR_LIMIT, "a watch event over %u bytes", BODY_MAX);
        str_add_mem(&w->line, data, n);
        data += n + (newline != NULL);
        len -= n + (newline != NULL);
        if (!newline)
            break;
        int r = watch_line(w);
        str_clear(&w->line);
        if (r < 0)
            return r;
    }
    return 0;
}

static int on_watch_chunk(void *ctx, const char *data, size_t len)
{
    struct kv_watch *w = ctx;
    w->in_chunk = true;
    int r = feed_watch(w, data, len);
    w->in_chunk = false;
    if (w->dead)
        free_watch(w);
    return r;
}

static void on_watch_end(void *ctx, const struct curl_done *d)
{
    struct kv_watch *w = ctx;
    struct etcd *s = w->store;
    if (!w->dead && d->code != CURLE_ABORTED_BY_CALLBACK) {
        if (!w->err.code && d->code == CURLE_OK)
            err_set(&w->err, ERR_UNAVAILABLE, "state store: the watch ended");
        else if (!w->err.code)
            transport_error(s, s->current, d, &w->err);
        if (w->err.code != ERR_CONFLICT)
            s->current = (s->current + 1) % s->n_endpoints; /* the next watch asks another member */
        w->fn(w->ctx, NULL, 0, &w->err);
    }
    free_watch(w);
}

static struct kv_watch *etcd_watch(
    struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx)
{
    struct etcd *s = etcd_of(kv);
    struct kv_watch *w = xcalloc(1, sizeof *w);
    *w = (struct kv_watch){.store = s, .next = s->watches, .fn = fn, .ctx = ctx};
    if (s->watches)
        s->watches->prev = w;
    s->watches = w;
    json_t *request = etcd_watch_request(prefix, from_revision);
    _cleanup_free_ char *body = json_text(request);
    json_decref(request);
    CURL *easy = prepare(s, s->current, "/v3/watch", body, 0);
    curl_easy_setopt(
        easy, CURLOPT_TCP_KEEPALIVE, 1L); /* a member cut off is noticed in about 15 s */
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 3L);
    w->request =
        curl_start(s->curl, easy, json_headers(), BODY_MAX, on_watch_chunk, on_watch_end, w);
    return w;
}

static void etcd_unwatch(struct kv *kv, struct kv_watch *w)
{
    curl_cancel(w->request);
    if (w->in_chunk)
        w->dead = true; /* freed when the chunk callback returns */
    else
        free_watch(w);
}

void etcd_call(struct kv *kv, const char *path, json_t *body, bool idempotent,
    etcd_answer_fn answer, void *op)
{
    start(etcd_of(kv), path, body, idempotent ? LOOK : ONCE, answer, op);
}

static void cancel_paused(struct etcd *s)
{
    struct err canceled;
    err_set(&canceled, ERR_CANCELED, "the state store was closed");
    while (s->paused) {
        struct call *c = s->paused;
        unlink_paused(c);
        c->answer(c->op, NULL, &canceled);
        free_call(c);
    }
}

static void etcd_close(struct kv *kv)
{
    struct etcd *s = etcd_of(kv);
    cancel_paused(s);
    for (struct kv_watch *w = s->watches; w; w = w->next)
        w->dead = true;
    curl_loop_free(s->curl);
    for (size_t i = 0; i < s->n_endpoints; i++)
        free(s->endpoints[i]);
    free(s->endpoints);
    free(s->ca);
    free(s->cert);
    free(s->key);
    free(s);
}

static const struct kv_ops etcd_ops = {
    .members = etcd_members,
    .range = etcd_range,
    .txn = etcd_txn,
    .lease_grant = etcd_lease_grant,
    .lease_keep = etcd_lease_keep,
    .lease_revoke = etcd_lease_revoke,
    .watch = etcd_watch,
    .unwatch = etcd_unwatch,
    .status = etcd_status,
    .maintain = etcd_maintain,
    .close = etcd_close,
};

static void set_endpoints(struct etcd *s, const char *const *endpoints, size_t n)
{
    for (size_t i = 0; i < s->n_endpoints; i++)
        free(s->endpoints[i]);
    free(s->endpoints);
    s->n_endpoints = n;
    s->endpoints = xcalloc(n, sizeof *s->endpoints);
    for (size_t i = 0; i < n; i++)
        s->endpoints[i] = xstrdup(endpoints[i]);
    s->current = 0;
}

void kv_etcd_set_endpoints(struct kv *kv, const char *const *endpoints, size_t n)
{
    if (n)
        set_endpoints(etcd_of(kv), endpoints, n);
}

int kv_etcd_open(uv_loop_t *loop, const struct kv_etcd_config *c, struct kv **ret, struct err *e)
{
    if (!c->n_endpoints)
        return err_set(e, ERR_INVALID, "the state store has no endpoint");
    struct etcd *s = xcalloc(1, sizeof *s);
    s->base.ops = &etcd_ops;
    s->loop = loop;
    int r = curl_loop_new(loop, &s->curl, e);
    if (r < 0) {
        free(s);
        return r;
    }
    s->timeout_ms = c->timeout_ms ? c->timeout_ms : DEFAULT_TIMEOUT_MS;
    set_endpoints(s, c->endpoints, c->n_endpoints);
    if (c->ca) {
        s->ca = xstrdup(c->ca);
        s->cert = xstrdup(c->cert);
        s->key = xstrdup(c->key);
    }
    *ret = &s->base;
    return 0;
}
