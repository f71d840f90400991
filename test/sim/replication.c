/* SPDX-License-Identifier: Apache-2.0 */
/* Three servers of a database, each with the node that looks after it (domain/replication/node.c and
 * its ladder: the same code as in production), a document that somebody moves, as planned (the source
 * is fenced first) and unplanned, and everything that can go wrong: servers and roles crash and hang,
 * answers are lost, looks and documents are late, calls to fence come when all is over, logs are
 * purged, rows differ, logins are refused, somebody opens a replica by hand, clocks leap.
 *
 * Never are two servers writable at one epoch by our hand; a fenced one never becomes writable until
 * its change is over or another epoch has begun; a document of long ago opens nothing; replication is
 * never started over data that differ. When the faults stop (and somebody has looked at what was
 * stopped for good) the source takes writes and the others have all that it has.
 *
 * What an operation does to a server happens between its begin and its end, or not at all: a
 * statement does not go on after its session was given up. */
#include "fixture.h"

#include "base/str/str.h"
#include "domain/replication/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 3u
#define NOBODY N
#define FAULTS_MS 90000u
#define END_MS 1500000u /* the ladder waits up to 375 s, for logins and then for what was purged */
#define CALM_STEP_MS 5000u
#define OLD_MS (REPLICATION_FRESH_MS + 1000u) /* so old may be what opens a server */
#define ROWS_MAX 256u

enum {
    GUARD_NODE = (1 << 4) - 1, /* those of the node */
    GUARD_SKIPS = 1 << 4,
    GUARD_FORGETS = 1 << 5, /* a freeze is not kept on disk */
    GUARD_OTHER = 1 << 8, /* what was begun for one epoch is done in another */
    GUARD_WAITED = 1 << 7,  /* a document is as fresh as when it was sent */
    GUARD_LATE = 1 << 6,    /* whether it may write is not asked again when it is done */
};

struct doc {
    uint64_t epoch, last_id, change; /* change 0: none is under way */
    unsigned source;
    uint64_t read_ms; /* when it was read from the quorum */
};

struct server {
    bool up, hangs, read_only, by_hand;
    uint64_t opened_epoch;       /* by us, at that */
    uint64_t have[N], got[N];    /* of each domain: applied, received */
    uint64_t purged[N];          /* not in its logs any more */
    unsigned attached;           /* NOBODY */
    bool own_too;                /* behind its own writes as well */
    enum ladder_io io;
    bool sql, differs;           /* differs: the next row does not fit until somebody mends it */
    unsigned io_errno, sql_errno;
    uint64_t beats, received;
    uint64_t fence_id, fence_epoch; /* acknowledged; 0: none */
};

struct look { /* at a server; it arrives later */
    struct world *w;
    unsigned i, life;
    uint64_t ops, begun_ms;
    struct server s;
    bool reached;
};

struct role {
    bool up;
    unsigned life; /* what was begun in another one is of no concern */
    struct replication_node node;
    struct replication_saved saved;
    struct doc disk, told; /* of the snapshot; at its control */
    uint64_t skew_ms, paused_until_ms;
    uint64_t write_until_ms; /* as in production: what the thread looks at */
    bool may_write;
    uint64_t waits_id, waits_since_ms; /* a freeze whose answer is due */
};

struct op {
    struct world *w;
    unsigned i, life;
    enum replication_op kind;
    struct replication_view view;
    unsigned saw; /* error of the applying thread, when it was begun */
    bool ok;
};

struct world {
    struct sim *sim;
    struct doc doc;
    struct { /* of each epoch: how it ended */
        bool planned;
        uint64_t at_ms;
    } left[ROWS_MAX];
    struct server s[N];
    struct role r[N];
    struct {
        uint64_t epoch, seq;
        unsigned server;
    } rows[ROWS_MAX]; /* epoch rows */
    size_t n_rows;
    uint64_t changes;
    struct { /* a planned move */
        uint64_t id, until_ms;
        unsigned from, to;
        enum { IDLE, FREEZING, EQUAL, PROMOTING } step;
        uint64_t have[N];
    } move;
    bool refused; /* logins are */
    bool calm;
    unsigned off;
};

static uint64_t role_now(const struct world *w, unsigned i)
{
    return sim_now(w->sim) + 1000000 + w->r[i].skew_ms;
}

/* ---- what servers hold ---- */

static uint64_t epoch_of(const struct world *w, const struct server *s, unsigned *ret_server)
{
    uint64_t epoch = 0;
    for (size_t k = 0; k < w->n_rows; k++)
        if (s->have[w->rows[k].server] >= w->rows[k].seq && w->rows[k].epoch > epoch) {
            epoch = w->rows[k].epoch;
            *ret_server = w->rows[k].server;
        }
    return epoch;
}

static bool is_empty(const struct server *s)
{
    for (unsigned d = 0; d < N; d++)
        if (s->have[d])
            return false;
    return true;
}

static bool covers(const uint64_t a[N], const uint64_t b[N])
{
    for (unsigned d = 0; d < N; d++)
        if (a[d] < b[d])
            return false;
    return true;
}

static void open_server(struct world *w, unsigned i, uint64_t epoch)
{
    struct server *s = &w->s[i];
    for (unsigned k = 0; k < N; k++)
        if (k != i && w->s[k].up && !w->s[k].read_only && !w->s[k].by_hand
            && w->s[k].opened_epoch == epoch)
            sim_fail(w->sim, "%u and %u are writable at epoch %d", k, i, (int)epoch);
    if (s->fence_id && w->doc.last_id < s->fence_id && w->doc.epoch <= s->fence_epoch)
        sim_fail(w->sim, "%u is fenced by change %d and becomes writable", i, (int)s->fence_id);
    uint64_t ended_ms = w->left[epoch].at_ms;
    if (epoch < w->doc.epoch && w->left[epoch].planned)
        sim_fail(w->sim, "%u becomes writable at epoch %d, after it was fenced and left", i, (int)epoch);
    if (epoch < w->doc.epoch && sim_now(w->sim) > ended_ms + OLD_MS)
        sim_fail(w->sim, "%u becomes writable at epoch %d, %d ms after it ended", i, (int)epoch,
            (int)(sim_now(w->sim) - ended_ms));
    if (epoch == w->doc.epoch && w->left[epoch - 1].planned && !covers(s->have, w->move.have))
        sim_fail(w->sim, "%u becomes writable and lacks what the old source had", i);
    sim_trace(w->sim, "%u is writable at epoch %d", i, (int)epoch);
    s->read_only = s->by_hand = false;
    s->opened_epoch = epoch;
    s->fence_id = 0;
}

static void crash_server(struct server *s)
{
    s->up = s->sql = s->by_hand = false;
    s->read_only = true;
    s->io = LADDER_IO_NO;
    s->io_errno = s->sql_errno = 0;
    s->beats = s->received = 0;
    memcpy(s->got, s->have, sizeof s->got); /* relay_log_recovery */
}

/* ---- replication ---- */

static bool diverged(const struct server *s, unsigned self, const struct server *from)
{
    for (unsigned d = 0; d < N; d++)
        if ((d != self || s->own_too) && s->have[d] > from->have[d])
            return true;
    return false;
}

static unsigned connect_error(const struct world *w, unsigned i)
{
    const struct server *s = &w->s[i], *from = &w->s[s->attached];
    if (!from->up)
        return 2003;
    if (w->refused)
        return 1045;
    if (diverged(s, i, from) || !covers(s->have, from->purged))
        return 1236;
    return 0;
}

static const char *io_text(const struct world *w, unsigned i)
{
    const struct server *s = &w->s[i];
    return s->io_errno != 1236 || s->attached == NOBODY ? ""
           : diverged(s, i, &w->s[s->attached])         ? "which is not in the master's binlog"
                                                        : "Could not find GTID state";
}

static void receive(struct world *w, unsigned i)
{
    struct server *s = &w->s[i], *from = &w->s[s->attached];
    bool idle = true;
    if (s->io == LADDER_IO_YES && from->up && from->hangs)
        return; /* half-open: it says that all is well */
    s->io_errno = connect_error(w, i);
    s->io = !s->io_errno ? LADDER_IO_YES
            : s->io_errno == 1236 ? LADDER_IO_NO
                                  : LADDER_IO_CONNECTING;
    if (s->io != LADDER_IO_YES)
        return;
    if (from->hangs) {
        s->io = LADDER_IO_CONNECTING;
        return;
    }
    for (unsigned d = 0; d < N; d++)
        if (s->got[d] < from->have[d]) {
            s->received += from->have[d] - s->got[d];
            s->got[d] = from->have[d];
            idle = false;
        }
    s->beats += idle;
}

static void apply(struct world *w, struct server *s)
{
    if (s->differs && !covers(s->have, s->got)) {
        s->sql = false;
        s->sql_errno = 1062;
    }
    for (unsigned d = 0; d < N && s->sql; d++)
        if (s->have[d] < s->got[d])
            s->have[d] += sim_between(w->sim, w->calm, s->got[d] - s->have[d]);
}

static void on_replicate(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    for (unsigned i = 0; i < N; i++) {
        struct server *s = &w->s[i];
        if (!s->up || s->hangs)
            continue;
        if (!s->read_only && sim_chance(w->sim, 70))
            s->have[i] = s->got[i] = s->have[i] + 1;
        if (s->attached == NOBODY)
            continue;
        if (s->io != LADDER_IO_NO)
            receive(w, i);
        if (s->sql)
            apply(w, s);
    }
    sim_at(w->sim, sim_now(w->sim) + 250, on_replicate, w, 0);
}

static void start(struct server *s)
{
    s->io = s->io == LADDER_IO_YES ? LADDER_IO_YES : LADDER_IO_CONNECTING;
    s->sql = true;
    s->io_errno = s->sql_errno = 0;
}

static void attach(struct server *s, unsigned to, bool own_too)
{
    *s = (struct server){.up = true,
        .read_only = s->read_only,
        .by_hand = s->by_hand,
        .opened_epoch = s->opened_epoch,
        .differs = s->differs,
        .fence_id = s->fence_id,
        .fence_epoch = s->fence_epoch,
        .attached = to,
        .own_too = own_too};
    start(s);
}

static void attach_kept(struct server *s, unsigned to, bool own_too)
{
    struct server old = *s;
    attach(s, to, own_too);
    memcpy(s->have, old.have, sizeof s->have);
    memcpy(s->got, old.have, sizeof s->got);
    memcpy(s->purged, old.purged, sizeof s->purged);
}

/* Everything of the other one, and nothing of its own. */
static void seed(struct world *w, unsigned i, unsigned from)
{
    struct server *s = &w->s[i];
    memcpy(s->have, w->s[from].have, sizeof s->have);
    memcpy(s->got, s->have, sizeof s->got);
    memcpy(s->purged, s->have, sizeof s->purged);
    s->attached = NOBODY;
    s->io = LADDER_IO_NO;
    s->sql = s->differs = false;
    s->io_errno = s->sql_errno = 0;
}

/* ---- operations ---- */

static bool may_write(const struct world *w, unsigned i, uint64_t epoch)
{
    const struct role *r = &w->r[i];
    bool other = r->node.view.epoch != epoch && !(w->off & GUARD_OTHER);
    return r->may_write && !other && (role_now(w, i) < r->write_until_ms || (w->off & GUARD_LATE));
}

static void write_epoch(struct world *w, unsigned i, uint64_t epoch)
{
    struct server *s = &w->s[i];
    for (size_t k = 0; k < w->n_rows; k++)
        if (w->rows[k].epoch == epoch && s->have[w->rows[k].server] >= w->rows[k].seq)
            return;
    if (w->n_rows == ROWS_MAX)
        return;
    s->have[i] = s->got[i] = s->have[i] + 1;
    w->rows[w->n_rows].epoch = epoch;
    w->rows[w->n_rows].server = i;
    w->rows[w->n_rows++].seq = s->have[i];
}

static bool promote(struct server *s)
{
    if (s->differs && !covers(s->have, s->got))
        return false;
    memcpy(s->have, s->got, sizeof s->have);
    s->attached = NOBODY;
    s->io = LADDER_IO_NO;
    s->sql = false;
    s->io_errno = s->sql_errno = 0;
    return true;
}

/* What the source has not is gone, and the own logs begin here. */
static void flash_back(struct server *s, const struct server *from)
{
    for (unsigned d = 0; d < N; d++)
        s->have[d] = s->have[d] < from->have[d] ? s->have[d] : from->have[d];
    memcpy(s->got, s->have, sizeof s->got);
    memcpy(s->purged, s->have, sizeof s->purged);
    start(s);
}

static bool carry_out(struct world *w, const struct op *op)
{
    struct server *s = &w->s[op->i];
    unsigned from = op->view.source - 1;
    if (!s->up || s->hangs)
        return false;
    switch (op->kind) {
    case REPLICATION_OP_READ_ONLY:
        s->read_only = true;
        s->by_hand = false;
        return true;
    case REPLICATION_OP_WRITABLE:
        if (!may_write(w, op->i, op->view.epoch))
            return false;
        open_server(w, op->i, op->view.epoch);
        return true;
    case REPLICATION_OP_PROMOTE:
        return promote(s);
    case REPLICATION_OP_EPOCH:
        write_epoch(w, op->i, op->view.epoch);
        return true;
    case REPLICATION_OP_FORM:
        return w->calm || sim_chance(w->sim, 80);
    case REPLICATION_OP_ATTACH:
    case REPLICATION_OP_ATTACH_CURRENT:
    case REPLICATION_OP_REBUILD:
        attach_kept(s, from, op->kind == REPLICATION_OP_ATTACH_CURRENT
                                 || (op->kind == REPLICATION_OP_REBUILD && s->own_too));
        return true;
    case REPLICATION_OP_START:
        if (op->saw == 1062 && !w->calm)
            sim_fail(w->sim, "%u: replication is started over data that differ", op->i);
        start(s);
        return true;
    case REPLICATION_OP_RESTART_IO:
        s->io = LADDER_IO_CONNECTING;
        s->sql = true;
        s->io_errno = 0;
        return true;
    case REPLICATION_OP_STOP_IO:
        s->io = LADDER_IO_NO;
        return true;
    case REPLICATION_OP_RESCUE:
        return w->s[from].up && (w->calm || sim_chance(w->sim, 80));
    case REPLICATION_OP_FLASHBACK:
        if (!w->s[from].up || (!w->calm && sim_chance(w->sim, 30)))
            return false;
        flash_back(s, &w->s[from]);
        return true;
    case REPLICATION_OP_REFILL:
    case REPLICATION_OP_RESEED:
        if (!w->s[from].up || (!w->calm && sim_chance(w->sim, 50)))
            return false;
        seed(w, op->i, from);
        return true;
    default:
        return true;
    }
}

static void feed(struct world *w, unsigned i, const struct replication_event *ev);

static void on_op_end(void *ctx, uint64_t arg)
{
    struct op *op = ctx;
    struct world *w = op->w;
    struct role *r = &w->r[op->i];
    const struct replication_event ev = {
        .kind = REPLICATION_EV_DONE, .ok = op->ok, .number = 2013, .text = "lost"};
    if (r->life == op->life && r->paused_until_ms > sim_now(w->sim)) {
        sim_at(w->sim, r->paused_until_ms + 1, on_op_end, op, 0);
        return;
    }
    if (r->life == op->life)
        feed(w, op->i, &ev);
    free(op);
}

static void on_op(void *ctx, uint64_t arg)
{
    struct op *op = ctx;
    struct world *w = op->w;
    bool alive = w->r[op->i].life == op->life;
    if (alive && w->r[op->i].paused_until_ms > sim_now(w->sim)) { /* its thread stands still, too */
        sim_at(w->sim, w->r[op->i].paused_until_ms, on_op, op, 0);
        return;
    }
    op->ok = false;
    if (alive && (w->calm || !sim_chance(w->sim, 10)))
        op->ok = carry_out(w, op);
    if (op->ok && !w->calm && sim_chance(w->sim, 10))
        op->ok = false; /* done, and the answer is lost */
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1, 200), on_op_end, op, 0);
}

static void begin(struct world *w, unsigned i, enum replication_op kind)
{
    struct op *op = xcalloc(1, sizeof *op);
    *op = (struct op){
        .w = w, .i = i, .life = w->r[i].life, .kind = kind, .view = w->r[i].node.view,
        .saw = w->r[i].node.sample.threads.sql_errno};
    uint64_t late = w->calm || sim_chance(w->sim, 85) ? 100 : 6000;
    sim_trace(w->sim, "%u: %s (epoch %d)", i, replication_op_name(kind), (int)op->view.epoch);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1, late), on_op, op, 0);
}

/* ---- roles ---- */

static void feed(struct world *w, unsigned i, const struct replication_event *ev)
{
    struct role *r = &w->r[i];
    struct replication_actions a;
    uint64_t now = role_now(w, i);
    r->node.guards_off = w->off & GUARD_NODE;
    r->node.ladder.skips = w->off & GUARD_SKIPS;
    replication_node_step(&r->node, ev, now, sim_rnd(w->sim), &a);
    r->may_write = replication_node_may_write(&r->node, now);
    r->write_until_ms =
        w->off & REPLICATION_OFF_FRESH ? UINT64_MAX : replication_node_write_until(&r->node, now);
    if (a.save && !(w->off & GUARD_FORGETS))
        replication_node_save(&r->node, &r->saved);
    if (a.op != REPLICATION_NOTHING)
        begin(w, i, a.op);
}

static void tell(struct world *w, unsigned i, const struct doc *d, uint64_t fresh_ms)
{
    const struct replication_view v = {.duty = d->source == i ? REPLICATION_SOURCE : REPLICATION_REPLICA,
        .epoch = d->epoch,
        .self = i + 1,
        .source = d->source + 1,
        .fresh_ms = fresh_ms,
        .last_change = d->last_id,
        .tls_ready = true,
        .has_vault = i & 1,
        .heartbeat_ms = 1000,
        .form = 7};
    w->r[i].disk = *d;
    if (w->r[i].node.view.epoch != d->epoch || w->r[i].node.view.last_change != d->last_id)
        sim_trace(w->sim, "%u: told epoch %d, last change %d%s", i, (int)d->epoch, (int)d->last_id,
            fresh_ms ? "" : ", not fresh");
    feed(w, i, &(struct replication_event){.kind = REPLICATION_EV_VIEW, .view = &v});
}

static void start_role(struct world *w, unsigned i)
{
    struct role *r = &w->r[i];
    r->up = true;
    r->may_write = false;
    r->paused_until_ms = r->waits_id = 0;
    replication_node_init(&r->node);
    replication_node_restore(&r->node, &r->saved);
    if (r->disk.epoch)
        tell(w, i, &r->disk, 0);
}

static struct replication_sample sample_of(const struct world *w, const struct look *k)
{
    const struct server *s = &k->s;
    const struct replication_view *v = &w->r[k->i].node.view;
    unsigned by = NOBODY;
    uint64_t epoch = epoch_of(w, s, &by);
    return (struct replication_sample){.read_only = s->read_only,
        .attached = s->attached != NOBODY,
        .as_wanted = s->attached != NOBODY && s->attached + 1 == v->source,
        .all_applied = covers(s->have, s->got),
        .empty = is_empty(s),
        .epoch = epoch,
        .epoch_server = epoch ? by + 1 : 0,
        .threads = {.io = s->io,
            .sql = s->sql,
            .io_errno = s->io_errno,
            .sql_errno = s->sql_errno,
            .io_error = io_text(w, k->i),
            .sql_error = "",
            .heartbeats = s->beats,
            .received = s->received}};
}

/* A freeze is answered by a look that began after it, with nothing under way. */
static void answer_freeze(struct world *w, const struct look *k)
{
    struct role *r = &w->r[k->i];
    struct server *s = &w->s[k->i];
    if (!r->waits_id || k->begun_ms < r->waits_since_ms || !k->s.read_only
        || r->node.op != REPLICATION_NOTHING)
        return;
    if (r->node.frozen && r->node.freeze_id == r->waits_id) {
        s->fence_id = r->waits_id;
        s->fence_epoch = r->node.freeze_epoch;
        if (w->move.step == FREEZING && w->move.id == r->waits_id && (w->calm || !sim_chance(w->sim, 10))) {
            memcpy(w->move.have, k->s.have, sizeof w->move.have);
            w->move.step = EQUAL;
        }
    }
    r->waits_id = 0;
}

static void on_looked(void *ctx, uint64_t arg)
{
    struct look *k = ctx;
    struct world *w = k->w;
    struct role *r = &w->r[k->i];
    if (r->up && r->life == k->life && r->paused_until_ms > sim_now(w->sim)) {
        sim_at(w->sim, r->paused_until_ms + 1, on_looked, k, 0);
        return;
    }
    if (r->up && r->life == k->life && !k->reached) {
        feed(w, k->i, &(struct replication_event){.kind = REPLICATION_EV_UNREACHABLE, .text = "?"});
    } else if (r->up && r->life == k->life && k->ops == r->node.ops) {
        struct replication_sample s = sample_of(w, k);
        feed(w, k->i,
            &(struct replication_event){
                .kind = REPLICATION_EV_SAMPLE, .sample = &s, .ops = k->ops});
        answer_freeze(w, k);
    }
    free(k);
}

static void on_look(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    struct look *k = xcalloc(1, sizeof *k);
    *k = (struct look){.w = w,
        .i = (unsigned)i,
        .life = w->r[i].life,
        .ops = w->r[i].node.ops,
        .begun_ms = sim_now(w->sim),
        .s = w->s[i],
        .reached = w->s[i].up && !w->s[i].hangs};
    uint64_t late = w->calm || sim_chance(w->sim, 90) ? 50 : 3000;
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1, late), on_looked, k, 0);
    sim_at(w->sim, sim_now(w->sim) + 1000, on_look, w, i);
}

struct telling {
    struct world *w;
    unsigned i;
    struct doc doc;
};

/* When it arrives, not when it was sent: it may have waited long. */
static uint64_t fresh_for(const struct world *w, const struct doc *d)
{
    uint64_t age = sim_now(w->sim) - d->read_ms;
    if (w->off & GUARD_WAITED)
        age = 0;
    return age < REPLICATION_FRESH_MS ? REPLICATION_FRESH_MS - age : 0;
}

static void on_told(void *ctx, uint64_t arg)
{
    struct telling *t = ctx;
    struct world *w = t->w;
    struct role *r = &w->r[t->i];
    if (r->up && r->paused_until_ms > sim_now(w->sim)) {
        sim_at(w->sim, r->paused_until_ms + 1, on_told, t, 0);
        return;
    }
    if (r->up)
        tell(w, t->i, &t->doc, fresh_for(w, &t->doc));
    free(t);
}

/* A control: reads the document when it can, and tells what it has. Two of them may overlap while
 * one takes over from the other: then an older message comes last. */
static void on_control(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    struct role *r = &w->r[i];
    if (w->calm || sim_chance(w->sim, 60)) {
        r->told = w->doc;
        r->told.read_ms = sim_now(w->sim);
    }
    if (r->told.epoch) {
        struct telling *t = xcalloc(1, sizeof *t);
        *t = (struct telling){
            w, (unsigned)i, r->told};
        uint64_t late = w->calm || sim_chance(w->sim, 95) ? 100 : 5000;
        sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1, late), on_told, t, 0);
    }
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 500, 3000), on_control, w, i);
}

/* ---- moves ---- */

static void move_to(struct world *w, unsigned to, bool planned)
{
    w->left[w->doc.epoch].planned = planned;
    w->left[w->doc.epoch++].at_ms = sim_now(w->sim);
    w->doc.source = to;
    sim_trace(w->sim, "the document: %u is the source at epoch %d%s", to, (int)w->doc.epoch,
        planned ? "" : ", unplanned");
}

static void end_change(struct world *w)
{
    w->doc.last_id = w->move.id;
    w->doc.change = 0;
    w->move.step = IDLE;
}

struct freeze {
    struct world *w;
    unsigned i;
    uint64_t id, epoch;
};

static void on_freeze(void *ctx, uint64_t arg)
{
    struct freeze *f = ctx;
    struct world *w = f->w;
    struct role *r = &w->r[f->i];
    if (r->up && r->paused_until_ms > sim_now(w->sim)) {
        sim_at(w->sim, r->paused_until_ms + 1, on_freeze, f, 0);
        return;
    }
    if (r->up && !replication_node_refuses(&r->node, f->epoch, f->id)) {
        sim_trace(w->sim, "%u: frozen by change %d of epoch %d", f->i, (int)f->id, (int)f->epoch);
        feed(w, f->i,
            &(struct replication_event){
                .kind = REPLICATION_EV_FREEZE, .id = f->id, .epoch = f->epoch});
        r->waits_id = f->id;
        r->waits_since_ms = sim_now(w->sim);
    }
    free(f);
}

static void call_freeze(struct world *w)
{
    struct freeze *f = xcalloc(1, sizeof *f);
    *f = (struct freeze){w, w->move.from, w->move.id, w->doc.epoch};
    uint64_t late = w->calm || sim_chance(w->sim, 80) ? 200 : 15000; /* when all is over */
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1, late), on_freeze, f, 0);
}

static void step_move(struct world *w)
{
    const struct server *to = &w->s[w->move.to];
    bool late = sim_now(w->sim) > w->move.until_ms;
    if (w->move.step == FREEZING && !late && sim_chance(w->sim, 50))
        call_freeze(w);
    else if (w->move.step == EQUAL && to->up && covers(to->have, w->move.have)) {
        w->move.step = PROMOTING;
        w->move.until_ms = sim_now(w->sim) + 20000;
        move_to(w, w->move.to, true);
    } else if (w->move.step == PROMOTING && (!to->read_only || late))
        end_change(w);
    else if (late)
        end_change(w);
}

static void on_leader(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned other = (w->doc.source + 1 + (unsigned)sim_between(w->sim, 0, N - 2)) % N;
    if (w->move.step != IDLE) {
        step_move(w);
    } else if (!w->calm && sim_chance(w->sim, 12)) {
        w->move.id = w->doc.change = ++w->changes;
        w->move.from = w->doc.source;
        w->move.to = other;
        w->move.step = FREEZING;
        w->move.until_ms = sim_now(w->sim) + 8000;
    } else if (!w->calm && sim_chance(w->sim, 3)) {
        move_to(w, other, false);
    }
    sim_at(w->sim, sim_now(w->sim) + 400, on_leader, w, 0);
}

/* ---- faults ---- */

static void on_server_back(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    w->s[i].up = true;
    w->s[i].hangs = false;
}

static void on_role_back(void *ctx, uint64_t i)
{
    struct world *w = ctx;
    if (!w->r[i].up)
        start_role(w, (unsigned)i);
}

static void on_login_back(void *ctx, uint64_t arg)
{
    ((struct world *)ctx)->refused = false;
}

static void fault_server(struct world *w, unsigned i, uint64_t what)
{
    struct server *s = &w->s[i];
    if (what == 0)
        crash_server(s);
    else if (what == 1)
        s->hangs = true;
    else if (what == 2 && s->up && s->read_only && w->doc.source != i)
        s->read_only = false, s->by_hand = true;
    else if (what == 3 && s->attached != NOBODY)
        s->differs = true;
    else if (what == 4)
        memcpy(s->purged, s->have, sizeof s->purged);
    if (what < 2)
        sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 100, sim_chance(w->sim, 70) ? 2000 : 20000),
            on_server_back, w, i);
}

static void fault_role(struct world *w, unsigned i, uint64_t what)
{
    struct role *r = &w->r[i];
    if (what == 0 && r->up) {
        r->up = false;
        r->life++;
        r->waits_id = 0;
        sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 50, 15000), on_role_back, w, i);
    } else if (what == 1) {
        r->skew_ms += sim_between(w->sim, 1000, 60000); /* it slept, its clock went on */
    } else if (what == 2) {
        r->paused_until_ms = sim_now(w->sim) + sim_between(w->sim, 100, 60000);
    }
}

static void on_fault(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    if (w->calm)
        return;
    unsigned i = (unsigned)sim_between(w->sim, 0, N - 1);
    uint64_t what = sim_between(w->sim, 0, 9);
    if (what < 5)
        fault_server(w, i, what);
    else if (what < 8)
        fault_role(w, i, what - 5);
    else if (what == 8) {
        w->refused = true;
        sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 500, 20000), on_login_back, w, 0);
    }
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 200, 4000), on_fault, w, 0);
}

static void on_calm(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    w->calm = true;
    w->refused = false;
    for (unsigned i = 0; i < N; i++) {
        on_server_back(w, i);
        w->r[i].paused_until_ms = 0;
        on_role_back(w, i);
    }
}

/* Somebody looks at what was stopped for good: mends rows, seeds what has diverged, says go on. */
static void on_person(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    for (unsigned i = 0; i < N; i++) {
        const struct replication_node *n = &w->r[i].node;
        bool stuck = n->state == REPLICATION_FROZEN || n->state == REPLICATION_BROKEN;
        if (i == w->doc.source || !stuck || n->op != REPLICATION_NOTHING)
            continue;
        w->s[i].differs = false;
        if (n->state == REPLICATION_BROKEN)
            seed(w, i, w->doc.source);
        feed(w, i, &(struct replication_event){.kind = REPLICATION_EV_FOLLOW});
    }
    w->s[w->doc.source].differs = false;
    sim_at(w->sim, sim_now(w->sim) + 20000, on_person, w, 0);
}

static const char *unsettled(const struct world *w, unsigned i)
{
    const struct server *s = &w->s[i], *source = &w->s[w->doc.source];
    const struct replication_node *n = &w->r[i].node;
    if (i == w->doc.source)
        return s->read_only ? "is the source and takes no writes" : NULL;
    return !s->read_only                            ? "is a replica and takes writes"
           : n->state != REPLICATION_REPLICATING    ? replication_state_name(n->state)
           : source->have[w->doc.source] > s->have[w->doc.source] + 20 ? "is behind"
                                                                       : NULL;
}

static bool settled(struct world *w, bool say)
{
    bool well = w->move.step == IDLE;
    for (unsigned i = 0; i < N; i++) {
        const char *why = unsettled(w, i);
        if (why && say)
            sim_fail(w->sim, "when the faults are over %u %s (%s)", i, why, w->r[i].node.why);
        well = well && !why;
    }
    return well;
}

static char *run_with(uint64_t seed, bool trace, unsigned off)
{
    struct world w = {.sim = sim_new(seed, trace), .off = off, .doc = {.epoch = 1}};
    for (unsigned i = 0; i < N; i++) {
        w.s[i] = (struct server){.up = true, .read_only = true, .attached = NOBODY};
        start_role(&w, i);
        sim_at(w.sim, 10 + i, on_control, &w, i);
        sim_at(w.sim, 20 + i, on_look, &w, i);
    }
    sim_at(w.sim, 30, on_replicate, &w, 0);
    sim_at(w.sim, 8000, on_leader, &w, 0);
    sim_at(w.sim, 5000, on_fault, &w, 0);
    sim_at(w.sim, FAULTS_MS, on_calm, &w, 0);
    sim_at(w.sim, FAULTS_MS + 15000, on_person, &w, 0);
    sim_run(w.sim, FAULTS_MS + 40000);
    for (uint64_t t = FAULTS_MS + 40000; t < END_MS && !sim_failure(w.sim) && !settled(&w, false);
         t += CALM_STEP_MS)
        sim_run(w.sim, t);
    if (!sim_failure(w.sim))
        settled(&w, true);
    char *why = sim_failure(w.sim) ? xstrdup(sim_failure(w.sim)) : NULL;
    sim_free(w.sim);
    return why;
}

static char *run(uint64_t seed, bool trace)
{
    return run_with(seed, trace, 0);
}

static const struct {
    unsigned off;
    const char *name;
} guards[] = {
    {REPLICATION_OFF_FRESH, "a document that is not of now opens a server"},
    {REPLICATION_OFF_EPOCH, "an epoch that is over opens a server"},
    {REPLICATION_OFF_FREEZE, "a fence is not heeded"},
    {REPLICATION_OFF_REPLICA, "a writable replica is left alone"},
    {GUARD_SKIPS, "replication goes on over data that differ"},
    {GUARD_FORGETS, "a fence is forgotten in a crash"},
    {GUARD_LATE, "what was allowed is done much later"},
    {GUARD_OTHER, "what was allowed is done at another epoch"},
    {GUARD_WAITED, "a document that has waited counts as of now"},
};

static unsigned extra(unsigned *failed)
{
    unsigned passed = 0;
    for (size_t g = 0; g < ARRAY_SIZE(guards); g++) {
        bool seen = false;
        for (uint64_t seed = 1; seed <= 5000 && !seen; seed++) {
            _cleanup_free_ char *why = run_with(seed, false, guards[g].off);
            seen = why;
            if (why)
                printf("%s: seed %llu fails, as it must: %s\n", guards[g].name,
                    (unsigned long long)seed, why);
        }
        passed += seen;
        *failed += !seen;
        if (!seen)
            printf("FAILED: nobody notices that %s\n", guards[g].name);
    }
    return passed;
}

int main(int argc, char **argv)
{
    const struct sim_suite suite = {"replication", run, extra};
    return sim_main(argc, argv, &suite);
}
