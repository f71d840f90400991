/* SPDX-License-Identifier: Apache-2.0 */
/* The stores without a network: SQLite in a file (one host) and SQLite in memory (simulator,
 * virtual time). Each call runs at once in one SQLite transaction; its completion and the watch
 * events wait in a queue that the loop (or kv_mem_run) drains, so that no callback comes from
 * inside a call. Writes fsync on the control loop: a few milliseconds, a few times a minute. Watch
 * history is the last EVENTS_KEPT changes of this process. */
#include "driver/kv/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <sqlite3.h>

#define EVENTS_KEPT 1000u
#define STORE_FORMAT 1
#define LEASE_CHECK_MS 200u

struct row {
    char *key;
    char *value; /* NULL: deleted */
    size_t len;
    int64_t mod_revision;
};

struct done { /* a completion that waits */
    struct done *next;
    enum { DONE_RANGE, DONE_TXN, DONE_LEASE, DONE_STATUS } kind;
    union {
        kv_range_fn range;
        kv_txn_fn txn;
        kv_lease_fn lease;
        kv_status_fn status;
    } fn;
    void *ctx;
    struct row *rows;
    size_t n_rows, cap_rows;
    bool succeeded;
    int64_t number; /* revision, lease */
    struct kv_status status;
    struct err err; /* code 0: fine */
};

struct kv_watch {
    struct kv_watch *next;
    char *prefix;
    int64_t next_revision;
    kv_watch_fn fn;
    void *ctx;
    bool dead;
};

struct lease {
    int64_t id;
    uint64_t ttl_ms;
    uint64_t deadline_ms;
};

struct local {
    struct kv base;
    uv_loop_t *loop; /* NULL: driven by kv_mem_run */
    uv_async_t wake;
    uv_timer_t lease_timer;
    int open_handles;
    sqlite3 *db;
    int64_t revision;
    uint64_t now_ms; /* virtual time */
    bool down;
    bool frozen;           /* nothing is written any more */
    unsigned lost_answers; /* of transactions to come */
    bool closing;
    struct done *head, **tail;
    struct row *events; /* oldest first */
    size_t n_events, cap_events;
    int64_t events_from; /* every change at or after this revision is in events */
    struct kv_watch *watches;
    struct lease *leases;
    size_t n_leases, cap_leases;
};

static struct local *local_of(struct kv *kv)
{
    return CONTAINER_OF(kv, struct local, base);
}

static uint64_t now_of(const struct local *s)
{
    return s->loop ? clock_boot_ms() : s->now_ms;
}

static struct done *enqueue(struct local *s, int kind, void *ctx)
{
    struct done *d = xcalloc(1, sizeof *d);
    d->kind = kind;
    d->ctx = ctx;
    *s->tail = d;
    s->tail = &d->next;
    if (s->down)
        err_set(&d->err, ERR_UNAVAILABLE, "the state store does not answer");
    if (s->loop && !s->closing)
        uv_async_send(&s->wake);
    return d;
}

static void wake(struct local *s)
{
    if (s->loop && !s->closing)
        uv_async_send(&s->wake);
}

static int sql_failed(struct local *s, struct err *e)
{
    int code = sqlite3_errcode(s->db);
    err_set(
        e, code == SQLITE_FULL ? ERR_LIMIT : ERR_SYSTEM, "state store: %s", sqlite3_errmsg(s->db));
    if (code == SQLITE_FULL)
        err_fix(e, "free space on the disk that holds /var/lib/mcp");
    return e->code;
}

static int sql_exec(struct local *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_failed(s, e);
}

static sqlite3_stmt *sql_prepare(struct local *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    ASSERT(sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK);
    return st;
}

/* ---- reads */

static void local_range(struct kv *kv, const char *prefix, bool exact, kv_range_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct done *d = enqueue(s, DONE_RANGE, ctx);
    d->fn.range = fn;
    d->number = s->revision;
    if (d->err.code)
        return;
    sqlite3_stmt *st = sql_prepare(s, exact ? "SELECT key, value, mod FROM kv WHERE key = ?1"
                                            : "SELECT key, value, mod FROM kv WHERE key >= ?1 AND "
                                              "substr(key, 1, length(?1)) = ?1 ORDER BY key");
    sqlite3_bind_text(st, 1, prefix, -1, SQLITE_STATIC);
    int r;
    while ((r = sqlite3_step(st)) == SQLITE_ROW) {
        struct row *row = GROW(d->rows, d->n_rows, d->cap_rows);
        row->key = xstrdup((const char *)sqlite3_column_text(st, 0));
        row->value = xstrdup((const char *)sqlite3_column_text(st, 1));
        row->len = strlen(row->value);
        row->mod_revision = sqlite3_column_int64(st, 2);
    }
    if (r != SQLITE_DONE)
        sql_failed(s, &d->err);
    sqlite3_finalize(st);
}

/* ---- writes */

static int64_t mod_revision_of(struct local *s, const char *key)
{
    sqlite3_stmt *st = sql_prepare(s, "SELECT mod FROM kv WHERE key = ?1");
    sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int64_t mod = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return mod;
}

static int write_op(struct local *s, const struct kv_op *op, int64_t revision, struct err *e)
{
    sqlite3_stmt *st = sql_prepare(s,
        op->value
            ? "INSERT INTO kv(key, value, mod, lease) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(key) DO UPDATE SET "
              "value = ?2, mod = ?3, lease = ?4"
            : "DELETE FROM kv WHERE key = ?1");
    sqlite3_bind_text(st, 1, op->key, -1, SQLITE_STATIC);
    if (op->value) {
        sqlite3_bind_text(st, 2, op->value, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, revision);
        sqlite3_bind_int64(st, 4, op->lease);
    }
    int r = sqlite3_step(st);
    sqlite3_finalize(st);
    return r == SQLITE_DONE ? 0 : sql_failed(s, e);
}

static int write_all(
    struct local *s, const struct kv_op *ops, size_t n, int64_t revision, struct err *e)
{
    int r = sql_exec(s, "BEGIN IMMEDIATE", e);
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = write_op(s, &ops[i], revision, e);
    if (r >= 0) {
        char sql[96];
        snprintf(sql, sizeof sql, "UPDATE meta SET revision = %lld", (long long)revision);
        r = sql_exec(s, sql, e);
    }
    if (r >= 0)
        r = sql_exec(s, "COMMIT", e);
    if (r < 0)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

static void drop_event(struct row *row)
{
    free(row->key);
    free(row->value);
}

static void remember(struct local *s, const struct kv_op *op, int64_t revision)
{
    if (s->n_events == EVENTS_KEPT) {
        size_t half = EVENTS_KEPT / 2; /* amortised: half of the history goes at once */
        for (size_t i = 0; i < half; i++)
            drop_event(&s->events[i]);
        s->events_from = s->events[half].mod_revision;
        /* The revision at the cut may have lost a part of its events: start behind it. */
        if (s->events[half - 1].mod_revision == s->events_from)
            s->events_from++;
        memmove(s->events, s->events + half, (s->n_events - half) * sizeof *s->events);
        s->n_events -= half;
    }
    struct row *row = GROW(s->events, s->n_events, s->cap_events);
    *row = (struct row){.key = xstrdup(op->key),
        .value = op->value ? xstrdup(op->value) : NULL,
        .len = op->value ? strlen(op->value) : 0,
        .mod_revision = revision};
}

static int commit(struct local *s, const struct kv_op *ops, size_t n, struct err *e)
{
    int64_t revision = s->revision + 1;
    int r = write_all(s, ops, n, revision, e);
    if (r < 0)
        return r;
    s->revision = revision;
    for (size_t i = 0; i < n; i++)
        remember(s, &ops[i], revision);
    wake(s);
    return 0;
}

static struct lease *find_lease(const struct local *s, int64_t id)
{
    for (size_t i = 0; i < s->n_leases; i++)
        if (s->leases[i].id == id)
            return &s->leases[i];
    return NULL;
}

static void local_txn(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp,
    const struct kv_op *ops, size_t n_ops, kv_txn_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct done *d = enqueue(s, DONE_TXN, ctx);
    d->fn.txn = fn;
    if (!d->err.code && s->frozen)
        err_set(&d->err, ERR_UNAVAILABLE, "the state store is being moved; try again");
    if (d->err.code || kv_check_txn(cmp, n_cmp, ops, n_ops, &d->err) < 0)
        return;
    d->succeeded = true;
    for (size_t i = 0; i < n_cmp; i++)
        d->succeeded = d->succeeded && mod_revision_of(s, cmp[i].key) == cmp[i].mod_revision;
    for (size_t i = 0; i < n_ops; i++)
        if (ops[i].lease && !find_lease(s, ops[i].lease)) {
            err_set(&d->err, ERR_NOT_FOUND, "the lease of %s has ended", ops[i].key);
            return;
        }
    if (d->succeeded && n_ops && commit(s, ops, n_ops, &d->err) < 0)
        d->succeeded = false;
    d->number = s->revision;
    if (s->lost_answers) {
        s->lost_answers--;
        err_set(&d->err, ERR_UNAVAILABLE, "the state store's answer was lost");
    }
}

/* ---- leases: deadlines live in memory; after a restart each key's lease begins anew, as after
 * etcd's elections */

static void lease_delete_keys(struct local *s, int64_t id)
{
    struct kv_op ops[KV_TXN_MAX];
    size_t n = 0;
    sqlite3_stmt *st = sql_prepare(s, "SELECT key FROM kv WHERE lease = ?1");
    sqlite3_bind_int64(st, 1, id);
    while (n < KV_TXN_MAX && sqlite3_step(st) == SQLITE_ROW)
        ops[n++] = (struct kv_op){.key = xstrdup((const char *)sqlite3_column_text(st, 0))};
    sqlite3_finalize(st);
    if (n)
        (void)!commit(s, ops, n, NULL);
    for (size_t i = 0; i < n; i++)
        free((char *)ops[i].key);
    if (n == KV_TXN_MAX)
        lease_delete_keys(s, id);
}

static void lease_remove(struct local *s, size_t i)
{
    int64_t id = s->leases[i].id;
    s->leases[i] = s->leases[--s->n_leases];
    lease_delete_keys(s, id);
}

static void expire_leases(struct local *s)
{
    uint64_t now = now_of(s);
    for (size_t i = s->n_leases; i-- > 0;)
        if (now >= s->leases[i].deadline_ms)
            lease_remove(s, i);
}

static void on_lease_timer(uv_timer_t *t)
{
    expire_leases(CONTAINER_OF(t, struct local, lease_timer));
}

static struct lease *add_lease(struct local *s, int64_t id, uint64_t ttl_ms)
{
    struct lease *l = GROW(s->leases, s->n_leases, s->cap_leases);
    *l = (struct lease){.id = id, .ttl_ms = ttl_ms, .deadline_ms = now_of(s) + ttl_ms};
    if (s->loop && !uv_is_active((uv_handle_t *)&s->lease_timer))
        uv_timer_start(&s->lease_timer, on_lease_timer, LEASE_CHECK_MS, LEASE_CHECK_MS);
    return l;
}

static void local_lease_grant(struct kv *kv, uint64_t ttl_ms, kv_lease_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct done *d = enqueue(s, DONE_LEASE, ctx);
    d->fn.lease = fn;
    if (d->err.code)
        return;
    if (sql_exec(s, "UPDATE meta SET lease = lease + 1", &d->err) < 0)
        return;
    sqlite3_stmt *st = sql_prepare(s, "SELECT lease FROM meta");
    ASSERT(sqlite3_step(st) == SQLITE_ROW);
    d->number = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    add_lease(s, d->number, ttl_ms);
}

/* The completion of a call about a lease; *ret_lease NULL: it is answered with an error already. */
static void lease_done(
    struct local *s, int64_t lease, kv_lease_fn fn, void *ctx, struct lease **ret_lease)
{
    struct done *d = enqueue(s, DONE_LEASE, ctx);
    d->fn.lease = fn;
    d->number = lease;
    *ret_lease = d->err.code ? NULL : find_lease(s, lease);
    if (!d->err.code && !*ret_lease)
        err_set(&d->err, ERR_NOT_FOUND, "the lease has ended");
}

static void local_lease_keep(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct lease *l;
    lease_done(s, lease, fn, ctx, &l);
    if (l)
        l->deadline_ms = now_of(s) + l->ttl_ms;
}

static void local_lease_revoke(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct lease *l;
    lease_done(s, lease, fn, ctx, &l);
    if (l)
        lease_remove(s, (size_t)(l - s->leases));
}

/* ---- watches */

static struct kv_watch *local_watch(
    struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct kv_watch *w = xcalloc(1, sizeof *w);
    *w = (struct kv_watch){.next = s->watches,
        .prefix = xstrdup(prefix),
        .fn = fn,
        .ctx = ctx,
        .next_revision = from_revision ? from_revision : s->revision + 1};
    s->watches = w;
    wake(s);
    return w;
}

static void local_unwatch(struct kv *kv, struct kv_watch *w)
{
    w->dead = true; /* freed by the next drain: this may run inside its own callback */
    wake(local_of(kv));
}

static size_t feed_watch(struct local *s, struct kv_watch *w)
{
    struct err e;
    if (s->down || w->next_revision < s->events_from) {
        w->dead = true;
        if (s->down)
            err_set(&e, ERR_UNAVAILABLE, "the state store does not answer");
        else
            err_set(
                &e, ERR_CONFLICT, "revision %lld is no longer kept", (long long)w->next_revision);
        w->fn(w->ctx, NULL, 0, &e);
        return 1;
    }
    size_t n = 0, cap = 0;
    struct kv_event *events = NULL;
    for (size_t i = 0; i < s->n_events; i++) {
        const struct row *row = &s->events[i];
        if (row->mod_revision >= w->next_revision && str_starts(row->key, w->prefix))
            *GROW(events, n, cap) =
                (struct kv_event){row->key, row->value, row->len, row->mod_revision};
    }
    w->next_revision = MAX(w->next_revision, s->revision + 1);
    if (n)
        w->fn(w->ctx, events, n, NULL);
    free(events);
    return n > 0;
}

static void sweep_watches(struct local *s)
{
    for (struct kv_watch **p = &s->watches; *p;) {
        struct kv_watch *w = *p;
        if (w->dead) {
            *p = w->next;
            free(w->prefix);
            free(w);
        } else {
            p = &w->next;
        }
    }
}

/* ---- status, maintenance */

static void fill_status(struct local *s, struct done *d)
{
    sqlite3_stmt *st =
        sql_prepare(s, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    if (sqlite3_step(st) == SQLITE_ROW)
        d->status.size_bytes = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    d->status.revision = s->revision;
    d->status.has_leader = true;
}

static void local_status(struct kv *kv, kv_status_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct done *d = enqueue(s, DONE_STATUS, ctx);
    d->fn.status = fn;
    if (!d->err.code)
        fill_status(s, d);
}

static void local_maintain(struct kv *kv, int64_t keep_from, kv_status_fn fn, void *ctx)
{
    struct local *s = local_of(kv);
    struct done *d = enqueue(s, DONE_STATUS, ctx);
    d->fn.status = fn;
    if (d->err.code || sql_exec(s, "VACUUM", &d->err) < 0)
        return;
    size_t n = 0;
    while (n < s->n_events && s->events[n].mod_revision < keep_from)
        drop_event(&s->events[n++]);
    memmove(s->events, s->events + n, (s->n_events - n) * sizeof *s->events);
    s->n_events -= n;
    s->events_from = MAX(s->events_from, MIN(keep_from, s->revision + 1));
    fill_status(s, d);
}

/* ---- delivery and life */

static void deliver(struct done *d)
{
    const struct err *e = d->err.code ? &d->err : NULL;
    struct kv_pair *pairs = xcalloc(d->n_rows, sizeof *pairs);
    for (size_t i = 0; i < d->n_rows; i++)
        pairs[i] = (struct kv_pair){
            d->rows[i].key, d->rows[i].value, d->rows[i].len, d->rows[i].mod_revision};
    switch (d->kind) {
    case DONE_RANGE:
        d->fn.range(d->ctx, pairs, e ? 0 : d->n_rows, d->number, e);
        break;
    case DONE_TXN:
        d->fn.txn(d->ctx, !e && d->succeeded, d->number, e);
        break;
    case DONE_LEASE:
        d->fn.lease(d->ctx, d->number, e);
        break;
    case DONE_STATUS:
        d->fn.status(d->ctx, &d->status, e);
        break;
    }
    free(pairs);
    for (size_t i = 0; i < d->n_rows; i++)
        drop_event(&d->rows[i]);
    free(d->rows);
    free(d);
}

static size_t drain(struct local *s)
{
    size_t calls = 0;
    struct done *batch = s->head; /* what callbacks add waits for the next round */
    s->head = NULL;
    s->tail = &s->head;
    while (batch) {
        struct done *d = batch;
        batch = d->next;
        deliver(d);
        calls++;
    }
    for (struct kv_watch *w = s->watches; w; w = w->next)
        if (!w->dead && (s->down || w->next_revision <= s->revision))
            calls += feed_watch(s, w);
    sweep_watches(s);
    return calls;
}

static void on_wake(uv_async_t *a)
{
    drain(CONTAINER_OF(a, struct local, wake));
}

static void destroy(struct local *s)
{
    struct err canceled;
    err_set(&canceled, ERR_CANCELED, "the state store was closed");
    for (struct done *d = s->head; d; d = d->next)
        d->err = canceled;
    for (struct kv_watch *w = s->watches; w; w = w->next)
        w->dead = true;
    drain(s);
    for (size_t i = 0; i < s->n_events; i++)
        drop_event(&s->events[i]);
    free(s->events);
    free(s->leases);
    sqlite3_close(s->db);
    free(s);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct local *s = h->data;
    if (--s->open_handles == 0)
        destroy(s);
}

static void local_close(struct kv *kv)
{
    struct local *s = local_of(kv);
    s->closing = true;
    if (!s->loop) {
        destroy(s);
        return;
    }
    s->wake.data = s->lease_timer.data = s;
    uv_close((uv_handle_t *)&s->wake, on_handle_closed);
    uv_close((uv_handle_t *)&s->lease_timer, on_handle_closed);
}

static const struct kv_ops local_ops = {
    .range = local_range,
    .txn = local_txn,
    .lease_grant = local_lease_grant,
    .lease_keep = local_lease_keep,
    .lease_revoke = local_lease_revoke,
    .watch = local_watch,
    .unwatch = local_unwatch,
    .status = local_status,
    .maintain = local_maintain,
    .close = local_close,
};

static int open_schema(struct local *s, struct err *e)
{
    int r = sql_exec(s,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000;"
        "CREATE TABLE IF NOT EXISTS kv(key TEXT PRIMARY KEY, value TEXT NOT NULL, mod INTEGER NOT NULL,"
        " lease INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
        "CREATE INDEX IF NOT EXISTS kv_lease ON kv(lease) WHERE lease <> 0;"
        "CREATE TABLE IF NOT EXISTS meta(format INTEGER, revision INTEGER, lease INTEGER);"
        "INSERT INTO meta SELECT 1, 1, 0 WHERE NOT EXISTS (SELECT 1 FROM meta)",
        e);
    if (r < 0)
        return r;
    sqlite3_stmt *st = sql_prepare(s, "SELECT format, revision FROM meta");
    ASSERT(sqlite3_step(st) == SQLITE_ROW);
    int format = sqlite3_column_int(st, 0);
    s->revision = sqlite3_column_int64(st, 1);
    sqlite3_finalize(st);
    if (format != STORE_FORMAT)
        return err_set(e, ERR_INVALID, "the state store has format %d, this version reads %d",
            format, STORE_FORMAT);
    s->events_from = s->revision + 1;
    return 0;
}

/* Keys of leases that were alive when the last process ended. */
static void adopt_leases(struct local *s)
{
    sqlite3_stmt *st = sql_prepare(s, "SELECT DISTINCT lease FROM kv WHERE lease <> 0");
    while (sqlite3_step(st) == SQLITE_ROW)
        add_lease(s, sqlite3_column_int64(st, 0),
            10000); /* its own length is not kept: 10 s is presence's usual */
    sqlite3_finalize(st);
}

static int open_local(uv_loop_t *loop, const char *path, struct kv **ret, struct err *e)
{
    struct local *s = xcalloc(1, sizeof *s);
    s->base.ops = &local_ops;
    s->tail = &s->head;
    int r = 0;
    if (sqlite3_open(path, &s->db) != SQLITE_OK)
        r = sql_failed(s, e);
    if (r >= 0)
        r = open_schema(s, e);
    if (r < 0) {
        err_wrap(e, "%s", path);
        sqlite3_close(s->db);
        free(s);
        return r;
    }
    if (loop) {
        s->loop = loop;
        s->open_handles = 2;
        ASSERT(uv_async_init(loop, &s->wake, on_wake) == 0);
        uv_timer_init(loop, &s->lease_timer);
    }
    adopt_leases(s);
    *ret = &s->base;
    return 0;
}

int kv_sqlite_open(uv_loop_t *loop, const char *path, struct kv **ret, struct err *e)
{
    return open_local(loop, path, ret, e);
}

struct kv *kv_mem_new(void)
{
    struct kv *kv;
    ASSERT(open_local(NULL, ":memory:", &kv, NULL) == 0);
    return kv;
}

size_t kv_mem_run(struct kv *kv, uint64_t now_ms)
{
    struct local *s = local_of(kv);
    s->now_ms = now_ms;
    if (!s->down)
        expire_leases(s);
    return drain(s);
}

void kv_local_freeze(struct kv *kv, bool frozen)
{
    local_of(kv)->frozen = frozen;
}

void kv_local_lose_answers(struct kv *kv, unsigned n)
{
    local_of(kv)->lost_answers = n;
}

void kv_mem_set_down(struct kv *kv, bool down)
{
    local_of(kv)->down = down;
}
