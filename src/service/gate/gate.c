/* SPDX-License-Identifier: Apache-2.0 */
#include "service/gate/priv.h"

/* -- policy ------------------------------------------------------------------------------------ */

/* Readers look at the deadline first and at the epoch next. It is shut before the epoch changes and
 * opened afterwards, so whoever sees the new deadline sees the new epoch too. */
void gate_set_policy(struct gate *g, const struct gate_policy *p)
{
    bool other = p->epoch != atomic_load(&g->epoch) || (int)p->mode != atomic_load(&g->mode)
                 || p->hold_until_ms != atomic_load(&g->hold_until_ms);
    if (other) {
        atomic_store(&g->deadline_ms, 0);
        atomic_store(&g->hold_until_ms, p->hold_until_ms);
        atomic_store(&g->mode, (int)p->mode);
        atomic_store(&g->epoch, p->epoch);
    }
    atomic_store(&g->deadline_ms, p->mode == GATE_RO ? UINT64_MAX : p->deadline_ms);
    if (other)
        atomic_fetch_add(&g->generation, 1);
}

/* A session whose mode is another's: one that was let in to read must not write unwatched. */
static bool moved(const struct gate *g, const struct gate_session *s, enum gate_mode mode)
{
    if (mode == GATE_CLOSED)
        return true;
    return s
           && (atomic_load_explicit(&g->epoch, memory_order_acquire) != s->epoch
               || (mode == GATE_RO) != (s->mode == GATE_RO));
}

enum state gate_state(const struct gate *g, const struct gate_session *s, uint64_t now_ms)
{
    uint64_t deadline_ms = atomic_load_explicit(&g->deadline_ms, memory_order_acquire);
    enum gate_mode mode = (enum gate_mode)atomic_load_explicit(&g->mode, memory_order_acquire);
    if (moved(g, s, mode))
        return STATE_MOVED;
    if (now_ms >= deadline_ms)
        return STATE_SHUT;
    return mode == GATE_HOLD ? STATE_HELD : STATE_OPEN;
}

/* -- room -------------------------------------------------------------------------------------- */

static struct caller *caller_of(struct gate *g, uint64_t key)
{
    struct caller *free_one = NULL;
    for (size_t i = 0; i < GATE_CALLERS_MAX; i++) {
        struct caller *c = &g->callers[(key + i) % GATE_CALLERS_MAX];
        if (c->n && c->key == key)
            return c;
        if (!c->n && !free_one)
            free_one = c;
    }
    if (free_one)
        free_one->key = key;
    return free_one; /* NULL: more callers than there are modules; not counted one by one */
}

static bool take_login(struct gate *g, uint64_t now_ms)
{
    uint64_t most = 2000u * (uint64_t)g->limits.logins_per_s;
    uint64_t passed = MIN(now_ms - g->logins_ms, (uint64_t)10000);
    g->logins_left = MIN(most, g->logins_left + passed * g->limits.logins_per_s);
    g->logins_ms = now_ms;
    if (g->logins_left < 1000)
        return false;
    g->logins_left -= 1000;
    return true;
}

static enum gate_metric take(struct gate *g, uint64_t key, uint64_t now_ms)
{
    struct caller *c = caller_of(g, key);
    if (g->sessions >= g->limits.connections)
        return M_REFUSED_CONNECTIONS;
    if (c && g->limits.per_caller && c->n >= g->limits.per_caller)
        return M_REFUSED_CALLER;
    if (!take_login(g, now_ms))
        return M_REFUSED_RATE;
    g->sessions++;
    if (c)
        c->n++;
    return M_SESSIONS;
}

bool gate_take_place(struct gate_session *s, uint64_t now_ms)
{
    struct gate *g = s->gate;
    pthread_mutex_lock(&g->lock);
    enum gate_metric m = take(g, s->caller, now_ms);
    pthread_mutex_unlock(&g->lock);
    if (m == M_REFUSED_CONNECTIONS)
        session_refuse_entry(
            s, m, CODE_CONNECTIONS, "08004", "too many connections to this database");
    else if (m == M_REFUSED_CALLER)
        session_refuse_entry(s, m, CODE_CONNECTIONS, "08004",
            "too many connections of this module to this database: raise its limit or pool them");
    else if (m == M_REFUSED_RATE)
        session_refuse_entry(s, m, CODE_RATE, "42000",
            "too many new connections in a second: keep connections open and use them again");
    s->entered = m == M_SESSIONS;
    return s->entered;
}

void gate_give_place(struct gate_session *s)
{
    struct gate *g = s->gate;
    if (!s->entered)
        return;
    s->entered = false;
    pthread_mutex_lock(&g->lock);
    g->sessions--;
    for (size_t i = 0; i < GATE_CALLERS_MAX; i++) {
        struct caller *c = &g->callers[(s->caller + i) % GATE_CALLERS_MAX];
        if (c->n && c->key == s->caller) {
            c->n--;
            break;
        }
    }
    pthread_mutex_unlock(&g->lock);
}

/* -- life -------------------------------------------------------------------------------------- */

static unsigned or_default(unsigned v, unsigned d)
{
    return v ? v : d;
}

void gate_set_limits(struct gate *g, const struct gate_limits *limits)
{
    pthread_mutex_lock(&g->lock);
    g->limits = *limits;
    g->limits.connections = or_default(limits->connections, 200);
    g->limits.logins_per_s = or_default(limits->logins_per_s, 500);
    pthread_mutex_unlock(&g->lock);
    atomic_store(&g->handshake_ms, or_default(limits->handshake_ms, 10000));
    atomic_store(&g->waiting, or_default(limits->waiting, 1000));
    atomic_store(&g->idle_ms, limits->idle_ms);
    atomic_store(&g->slow_ms, or_default(limits->slow_ms, 2000));
    atomic_store(&g->silent_ms, or_default(limits->silent_ms, 5000));
}

struct gate *gate_new(const char *name, const char *kind, const struct gate_limits *limits,
    struct metrics *metrics, unsigned threads)
{
    struct gate *g = xcalloc(1, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    gate_set_limits(g, limits);
    g->logins_left = 2000u * (uint64_t)g->limits.logins_per_s;
    g->n_workers = threads;
    g->workers = xcalloc(threads, sizeof *g->workers);
    for (unsigned i = 0; i < threads; i++)
        g->workers[i].sessions.prev = g->workers[i].sessions.next = &g->workers[i].sessions;
    gate_metrics_open(g, metrics, name, kind);
    return g;
}

void gate_on_login(struct gate *g, gate_login_fn login, void *ctx)
{
    g->login = login;
    g->login_ctx = ctx;
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    gate_metrics_close(g);
    pthread_mutex_destroy(&g->lock);
    free(g->workers);
    free(g);
}

/* -- how it is --------------------------------------------------------------------------------- */

struct gate_counts gate_counts(const struct gate *g)
{
    struct gate_counts n = {0};
    for (unsigned i = 0; i < g->n_workers; i++) {
        const struct worker *w = &g->workers[i];
        n.busy += get(&w->busy);
        n.waiting += get(&w->waiting);
        n.slow += get(&w->slow);
        n.statements += metric_get(w->metrics, M_STATEMENTS);
        n.late += metric_get(w->metrics, M_LATE);
    }
    pthread_mutex_lock((pthread_mutex_t *)&g->lock);
    n.sessions = g->sessions;
    pthread_mutex_unlock((pthread_mutex_t *)&g->lock);
    return n;
}

enum gate_health gate_health(const struct gate *g, uint64_t now_ms)
{
    uint64_t heard_ms = 0, dialled_ms = 0, failed_ms = 0, asking_since_ms = UINT64_MAX;
    bool slow = false;
    for (unsigned i = 0; i < g->n_workers; i++) {
        const struct worker *w = &g->workers[i];
        heard_ms = MAX(heard_ms, metric_cell_get(&w->said_ms));
        dialled_ms = MAX(dialled_ms, metric_cell_get(&w->dialled_ms));
        failed_ms = MAX(failed_ms, metric_cell_get(&w->failed_ms));
        if (get(&w->asking))
            asking_since_ms = MIN(asking_since_ms, metric_cell_get(&w->asking_since_ms));
        slow |= get(&w->slow) > 0;
    }
    if (failed_ms > dialled_ms)
        return GATE_DEAD;
    if (asking_since_ms != UINT64_MAX
        && MAX(heard_ms, asking_since_ms) + get(&g->silent_ms) <= now_ms && slow)
        return GATE_SILENT;
    return slow ? GATE_SLOW : GATE_WELL;
}

const char *gate_health_text(enum gate_health h)
{
    static const char *const texts[] = {
        [GATE_WELL] = "well", [GATE_SLOW] = "slow", [GATE_SILENT] = "silent", [GATE_DEAD] = "dead"};
    return texts[h];
}
