/* SPDX-License-Identifier: Apache-2.0 */
/* The gates (service/gate) of the databases that have a member here, two of each: rw and ro. What
 * they let through follows the view, a hold that was asked for, and what was released. The main
 * thread makes them and sets their policies; threads find them in a list that only grows. */
#include "service/mesh/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

/* A source that begins: its engine starts and recovers, its supervisor makes it writable. */
#define BEGIN_MS 15000u

static struct gates *find(struct mesh *m, const char *database)
{
    for (struct gates *g = atomic_load_explicit(&m->gates, memory_order_acquire); g; g = g->next)
        if (!strcmp(g->database, database))
            return g;
    return NULL;
}

static struct gates *find_or_make(struct mesh *m, const char *database)
{
    struct gates *g = find(m, database);
    struct gate_limits limits = {0};
    if (g)
        return g;
    g = xcalloc(1, sizeof *g);
    g->database = xstrdup(database);
    g->rw = gate_new(database, "rw", &limits, m->config.metrics, m->config.threads);
    g->ro = gate_new(database, "ro", &limits, m->config.metrics, m->config.threads);
    g->next = atomic_load(&m->gates);
    atomic_store_explicit(&m->gates, g, memory_order_release);
    return g;
}

/* ---- policies */

/* No lease of this epoch was told yet: nobody was let in under it, so that there is nothing that
 * could be acknowledged. */
static bool awaits_lease(const struct gates *g, const struct mesh_database *db)
{
    return db->leased && g->lease_epoch != db->epoch;
}

static uint64_t deadline_of(const struct gates *g, const struct mesh_database *db)
{
    return db->leased && !awaits_lease(g, db) ? g->lease_until_ms : UINT64_MAX;
}

static struct gate_policy policy_of_rw(
    struct gates *g, const struct mesh_database *db, uint64_t now_ms)
{
    struct gate_policy p = {.mode = GATE_CLOSED,
        .epoch = (uint64_t)db->epoch,
        .deadline_ms = deadline_of(g, db)};
    if (!mesh_is_source_here(db) || db->epoch < g->released_epoch)
        return p;
    bool begins = !db->writable || awaits_lease(g, db);
    p.mode = GATE_RW;
    if (!begins)
        g->begun_epoch = -1;
    if (begins && g->begun_epoch != db->epoch) {
        g->begun_epoch = db->epoch;
        g->begun_ms = now_ms;
    }
    if (begins) {
        p.mode = GATE_HOLD;
        p.hold_until_ms = g->begun_ms + BEGIN_MS;
    }
    if (g->held_epoch == db->epoch && now_ms < g->hold_until_ms) {
        p.mode = GATE_HOLD;
        p.hold_until_ms = g->hold_until_ms;
    }
    return p;
}

/* Readers of a replica have no epoch: it may change while their server stays what it is. A source
 * takes writes at this end too, so that it needs its lease here as well. */
static struct gate_policy policy_of_ro(const struct gates *g, const struct mesh_database *db)
{
    bool source = mesh_is_source_here(db);
    return (struct gate_policy){.mode = !db->socket ? GATE_CLOSED : source ? GATE_RW : GATE_RO,
        .epoch = source ? (uint64_t)db->epoch : 0,
        .deadline_ms = !source ? UINT64_MAX : awaits_lease(g, db) ? 0 : deadline_of(g, db)};
}

static void follow(struct gates *g, const struct mesh_database *db, uint64_t now_ms)
{
    struct gate_policy rw = {.mode = GATE_CLOSED}, ro = rw;
    if (db) {
        struct gate_limits limits = {
            .connections = db->connections, .per_caller = db->share};
        gate_set_limits(g->rw, &limits);
        gate_set_limits(g->ro, &limits);
        rw = policy_of_rw(g, db, now_ms);
        ro = policy_of_ro(g, db);
    }
    gate_set_policy(g->rw, &rw);
    gate_set_policy(g->ro, &ro);
    g->holds = rw.mode == GATE_HOLD;
}

void gates_follow(struct mesh *m, const struct mesh_view *v)
{
    uint64_t now_ms = clock_boot_ms();
    for (size_t i = 0; i < v->n_databases; i++)
        if (v->databases[i].socket)
            (void)!find_or_make(m, v->databases[i].name);
    for (struct gates *g = atomic_load(&m->gates); g; g = g->next)
        follow(g, mesh_view_database(v, g->database), now_ms);
}

/* ---- the threads' */

struct gate *gates_find(struct mesh *m, const char *database, bool write)
{
    struct gates *g = find(m, database);
    return !g ? NULL : write ? g->rw : g->ro;
}

static void break_busy(void *ctx, struct splice_flow *f)
{
    const struct gates *g = ctx;
    const struct flow *flow = splice_app_of(f);
    if (flow->data.database && flow->data.gate.gate == g->rw && flow->data.gate.busy)
        splice_end(f);
}

void gates_turn(struct mesh *m, unsigned thread)
{
    uint64_t now_ms = clock_boot_ms();
    for (struct gates *g = atomic_load_explicit(&m->gates, memory_order_acquire); g; g = g->next) {
        unsigned breaks = atomic_load_explicit(&g->breaks, memory_order_relaxed);
        if (g->seen[thread] != breaks)
            splice_each(m->splice, thread, break_busy, g);
        g->seen[thread] = breaks;
        gate_turn(g->rw, thread, now_ms);
        gate_turn(g->ro, thread, now_ms);
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return !a ? b : !b ? a : MIN(a, b);
}

uint64_t gates_due_ms(struct mesh *m, unsigned thread)
{
    uint64_t due_ms = 0;
    for (struct gates *g = atomic_load_explicit(&m->gates, memory_order_acquire); g; g = g->next)
        due_ms = sooner(
            due_ms, sooner(gate_due_ms(g->rw, thread), gate_due_ms(g->ro, thread)));
    return due_ms;
}

/* ---- a source that moves */

static int find_source(struct mesh *m, const char *database, int64_t epoch, struct gates **ret,
    const struct mesh_database **ret_db, struct err *e)
{
    *ret = find(m, database);
    *ret_db = m->current ? mesh_view_database(m->current->v, database) : NULL;
    if (!*ret || !*ret_db || !(*ret_db)->socket)
        return err_set(e, ERR_NOT_FOUND, "database %s has no member on this host", database);
    if (epoch < (*ret_db)->epoch)
        return err_set(e, ERR_REFUSED, "database %s is at epoch %lld here, not %lld", database,
            (long long)(*ret_db)->epoch, (long long)epoch);
    return 0;
}

static void again(struct mesh *m, struct gates *g, const struct mesh_database *db)
{
    follow(g, db, clock_boot_ms());
    splice_wake(m->splice);
}

int mesh_hold(
    struct mesh *m, const char *database, int64_t epoch, uint64_t for_ms, struct err *e)
{
    struct gates *g;
    const struct mesh_database *db;
    int r = find_source(m, database, epoch, &g, &db, e);
    if (r < 0)
        return r;
    if (!mesh_is_source_here(db) || epoch != db->epoch)
        return err_set(e, ERR_UNAVAILABLE, "this host is not the source of %s at epoch %lld (yet)",
            database, (long long)epoch);
    g->held_epoch = epoch;
    g->hold_until_ms = clock_boot_ms() + MIN(for_ms, (uint64_t)MESH_HOLD_MAX_MS);
    again(m, g, db);
    return 0;
}

void mesh_lease(struct mesh *m, const char *database, int64_t epoch, uint64_t until_ms)
{
    struct gates *g = find_or_make(m, database);
    const struct mesh_database *db =
        m->current ? mesh_view_database(m->current->v, database) : NULL;
    bool later = g->lease_epoch == epoch && until_ms > g->lease_until_ms;
    if (epoch < g->lease_epoch)
        return;
    g->lease_epoch = epoch;
    g->lease_until_ms = until_ms;
    if (!db || !db->socket)
        return;
    follow(g, db, clock_boot_ms());
    if (!later || g->holds)
        splice_wake(m->splice);
}

int mesh_release(struct mesh *m, const char *database, int64_t epoch, struct err *e)
{
    struct gates *g;
    const struct mesh_database *db;
    int r = find_source(m, database, epoch, &g, &db, e);
    if (r < 0)
        return r;
    g->hold_until_ms = 0;
    g->released_epoch = MAX(g->released_epoch, epoch);
    again(m, g, db);
    return 0;
}

void mesh_break(struct mesh *m, const char *database)
{
    struct gates *g = find(m, database);
    if (!g)
        return;
    atomic_fetch_add(&g->breaks, 1);
    splice_wake(m->splice);
}

bool mesh_is_quiet(const struct mesh *m, const char *database, unsigned *ret_busy)
{
    struct gates *g = find((struct mesh *)m, database);
    *ret_busy = g ? gate_counts(g->rw).busy : 0;
    return *ret_busy == 0;
}

bool mesh_hold_look(struct mesh *m)
{
    bool any = false;
    for (struct gates *g = atomic_load(&m->gates); g; g = g->next) {
        const struct mesh_database *db =
            m->current ? mesh_view_database(m->current->v, g->database) : NULL;
        if (g->holds && db)
            again(m, g, db);
        any |= g->holds;
    }
    return any;
}

/* ---- looking, ending */

static json_t *counts_of(const struct gate *g)
{
    struct gate_counts n = gate_counts(g);
    return json_pack("{s:i,s:i,s:i,s:i,s:s}", "sessions", (int)n.sessions, "busy", (int)n.busy,
        "waiting", (int)n.waiting, "slow", (int)n.slow, "health",
        gate_health_text(gate_health(g, clock_boot_ms())));
}

json_t *gates_status(const struct mesh *m)
{
    json_t *all = json_object();
    for (struct gates *g = atomic_load(&m->gates); g; g = g->next)
        json_object_set_new(all, g->database,
            json_pack("{s:o,s:o}", "rw", counts_of(g->rw), "ro", counts_of(g->ro)));
    return all;
}

void gates_collect(struct mesh *m)
{
    for (struct gates *g = atomic_load(&m->gates); g; g = g->next) {
        gate_collect(g->rw);
        gate_collect(g->ro);
    }
}

void gates_free(struct mesh *m)
{
    for (struct gates *g = atomic_load(&m->gates), *next; g; g = next) {
        next = g->next;
        gate_free(g->rw);
        gate_free(g->ro);
        free(g->database);
        free(g);
    }
}
