/* SPDX-License-Identifier: Apache-2.0 */
/* Database servers: what they hold, ship and apply, what an operation of the data role does to them, the path of one
 * write, and the gate in front of it. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define REPLICATE_MS 250u
#define IN_FLIGHT_MAX 6u
#define FLASHBACK_MAX 120u /* transactions of all hosts: numbers are the world's */
#define STALLED_MS 300u    /* whether the disk writes again */

bool covers(const uint64_t a[HOSTS], const uint64_t b[HOSTS])
{
    for (unsigned d = 0; d < HOSTS; d++)
        if (a[d] < b[d])
            return false;
    return true;
}

void gtid_text(const uint64_t have[HOSTS], char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (unsigned d = 0; d < HOSTS; d++)
        if (have[d])
            n += (size_t)snprintf(out + n, size - n, "%s%u-%u-%llu", n ? "," : "", d + 1, d + 1,
                (unsigned long long)have[d]);
}

uint64_t server_epoch(const struct world *w, const struct server *s, unsigned *ret_by)
{
    for (uint64_t e = EPOCHS_MAX - 1; e > 0; e--)
        if (w->rows[e].seq && s->have[w->rows[e].host] >= w->rows[e].seq) {
            *ret_by = w->rows[e].host;
            return e;
        }
    *ret_by = NOBODY;
    return 0;
}

bool server_is_empty(const struct server *s)
{
    static const uint64_t nothing[HOSTS];
    return memcmp(s->have, nothing, sizeof nothing) == 0;
}

/* ---- the process */

void server_die(struct world *w, unsigned h, const char *why)
{
    struct server *s = &w->h[h].server;
    struct process_state *p = &w->h[h].p[P_SERVER];
    if (!p->up)
        return;
    sim_trace(w->sim, "%s: the server dies: %s", host_name(h), why);
    p->up = false;
    p->life++;
    p->stopped_until = 0;
    s->read_only = true;
    s->by_hand = s->sql = false;
    s->io = LADDER_IO_NO;
    s->io_errno = s->sql_errno = 0;
    s->beats = s->received = 0;
    s->in_flight = 0;
    memcpy(s->got, s->have, sizeof s->got); /* relay_log_recovery */
    s->got_beat_ms = s->beat_ms;
    role_server_died(w, h);
    struct job *j = job_new(w);
    j->host = h;
    job_in(j, sim_between(w->sim, 800, 4000), server_back);
}

/* The agent starts it again, if it may. */
void server_back(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct process_state *p = &w->h[j->host].p[P_SERVER];
    if (!w->h[j->host].powered || w->h[j->host].server.stalled
        || w->h[j->host].frozen_until > sim_now(w->sim) || w->stays_dead[j->host]) {
        job_in(j, 1000, server_back);
        return;
    }
    if (!p->up) {
        p->up = true;
        p->began_ms = sim_now(w->sim);
        w->h[j->host].server.pid = ++p->life;
        sim_trace(w->sim, "%s: the server is up", host_name(j->host));
    }
    job_free(j);
}

bool server_answers(const struct world *w, unsigned h)
{
    return runs(w, h, P_SERVER);
}

/* ---- replication */

static bool diverged(const struct server *s, unsigned self, const struct server *from)
{
    for (unsigned d = 0; d < HOSTS; d++)
        if ((d != self || s->own_too) && s->have[d] > from->have[d])
            return true;
    return false;
}

const char *server_io_text(const struct world *w, unsigned h)
{
    const struct server *s = &w->h[h].server;
    if (s->io_errno != 1236 || s->attached == NOBODY)
        return "";
    return diverged(s, h, &w->h[s->attached].server) ? "which is not in the master's binlog"
                                                     : "Could not find GTID state";
}

static void receive(struct world *w, unsigned h)
{
    struct server *s = &w->h[h].server;
    const struct server *from = &w->h[s->attached].server;
    bool idle = true;
    bool path = link_carries(w, s->attached, h) && link_carries(w, h, s->attached);
    bool lives = runs(w, s->attached, P_SERVER);
    if (s->io == LADDER_IO_YES && is_up(w, s->attached, P_SERVER) && (!path || !lives)) {
        if (!w->half_open && sim_now(w->sim) - s->heard_ms > IO_TIMEOUT_MS) { /* until then half open: it says that all is well */
            s->io = LADDER_IO_CONNECTING;
            s->io_errno = 2003;
        }
        return;
    }
    s->io_errno = !path || !lives                                          ? 2003
                  : diverged(s, h, from) || !covers(s->have, from->purged) ? 1236
                                                                           : 0;
    s->io = !s->io_errno          ? LADDER_IO_YES
            : s->io_errno == 1236 ? LADDER_IO_NO
                                  : LADDER_IO_CONNECTING;
    if (s->io != LADDER_IO_YES)
        return;
    s->heard_ms = sim_now(w->sim);
    for (unsigned d = 0; d < HOSTS; d++) {
        if (s->got[d] >= from->have[d])
            continue;
        s->received++;
        s->got[d] = from->have[d];
        idle = false;
    }
    s->got_beat_ms = MAX(s->got_beat_ms, from->beat_ms);
    s->beats += idle;
}

static void apply(struct world *w, unsigned h)
{
    struct server *s = &w->h[h].server;
    if (s->differs && !covers(s->have, s->got)) {
        s->sql = false;
        s->sql_errno = 1062;
    }
    if (!s->sql || (!w->calm && w->slow_apply && sim_chance(w->sim, 80)))
        return;
    memcpy(s->have, s->got, sizeof s->have);
    s->beat_ms = s->got_beat_ms;
}

static void on_replicate(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    for (unsigned h = 0; h < HOSTS; h++) {
        struct server *s = &w->h[h].server;
        if (!w->has_db[h] || !runs(w, h, P_SERVER) || s->stalled || s->attached == NOBODY)
            continue;
        if (s->io != LADDER_IO_NO)
            receive(w, h);
        if (s->sql)
            apply(w, h);
    }
    sim_at(w->sim, sim_now(w->sim) + REPLICATE_MS, on_replicate, w, 0);
}

void servers_start(struct world *w)
{
    sim_at(w->sim, 30, on_replicate, w, 0);
}

static void start(struct server *s)
{
    s->io = s->io == LADDER_IO_YES ? LADDER_IO_YES : LADDER_IO_CONNECTING;
    s->sql = true;
    s->io_errno = s->sql_errno = 0;
}

static void attach(struct world *w, unsigned h, unsigned to, bool own_too)
{
    struct server *s = &w->h[h].server;
    memcpy(s->got, s->have, sizeof s->got);
    s->got_beat_ms = s->beat_ms;
    s->attached = to;
    s->own_too = own_too;
    s->io = LADDER_IO_NO;
    s->heard_ms = sim_now(w->sim);
    start(s);
}

/* Everything of the other one, and nothing of its own. */
void server_seed(struct world *w, unsigned h, unsigned from)
{
    struct server *s = &w->h[h].server;
    memcpy(s->have, w->h[from].server.have, sizeof s->have);
    memcpy(s->got, s->have, sizeof s->got);
    memcpy(s->purged, s->have, sizeof s->purged);
    retain_seeded(w, h);
    w->seeds++;
    s->beat_ms = s->got_beat_ms = w->h[from].server.beat_ms;
    s->attached = NOBODY;
    s->io = LADDER_IO_NO;
    s->sql = s->differs = false;
    s->io_errno = s->sql_errno = 0;
}

/* What only this one has, by its own logs, becomes a file. */
static bool rescue(struct world *w, unsigned h, unsigned from)
{
    const struct server *s = &w->h[h].server, *other = &w->h[from].server;
    if (!link_carries(w, h, from) || !link_carries(w, from, h) || !runs(w, from, P_SERVER))
        return false;
    w->rescued[h].from = other->have[h];
    w->rescued[h].to = s->have[h];
    sim_trace(w->sim, "%s: saved what is after %llu, up to %llu", host_name(h),
        (unsigned long long)other->have[h], (unsigned long long)s->have[h]);
    return true;
}

/* Row by row, where there are few and all of them can be, and nothing that is not in the files. */
static bool flash_back(struct world *w, unsigned h, unsigned from)
{
    struct server *s = &w->h[h].server;
    const struct server *other = &w->h[from].server;
    if (s->have[h] > w->rescued[h].to || other->have[h] < w->rescued[h].from)
        return false;
    if (!runs(w, from, P_SERVER) || s->have[h] - MIN(s->have[h], other->have[h]) > FLASHBACK_MAX
        || sim_chance(w->sim, 20))
        return false;
    check_discard(w, h, from);
    s->have[h] = s->got[h] = MIN(s->have[h], other->have[h]);
    return true;
}

uint64_t server_commit(struct world *w, unsigned h)
{
    struct server *s = &w->h[h].server;
    s->have[h] = s->got[h] = ++w->seq;
    return w->seq;
}

/* ---- operations of the data role */

static void write_epoch(struct world *w, unsigned h, uint64_t epoch)
{
    unsigned by;
    if (epoch >= EPOCHS_MAX || server_epoch(w, &w->h[h].server, &by) >= epoch)
        return;
    w->rows[epoch].seq = server_commit(w, h);
    w->rows[epoch].host = h;
}

static bool stop_following(struct server *s)
{
    if (s->differs && !covers(s->have, s->got))
        return false;
    memcpy(s->have, s->got, sizeof s->have);
    s->beat_ms = s->got_beat_ms;
    s->attached = NOBODY;
    s->io = LADDER_IO_NO;
    s->sql = false;
    s->io_errno = s->sql_errno = 0;
    return true;
}

static bool open_server(struct world *w, unsigned h, uint64_t epoch)
{
    struct server *s = &w->h[h].server;
    if (!role_may_write(w, h, epoch))
        return false;
    s->read_only = s->by_hand = false;
    s->opened_epoch = epoch;
    sim_trace(w->sim, "%s: writable at epoch %d", host_name(h), (int)epoch);
    check_opened(w, h, epoch);
    return true;
}

bool server_carry_out(
    struct world *w, unsigned h, enum replication_op op, const struct replication_view *v)
{
    struct server *s = &w->h[h].server;
    unsigned from = v->source - 1;
    if (!runs(w, h, P_SERVER)
        || (s->stalled && op != REPLICATION_OP_READ_ONLY && op != REPLICATION_OP_WRITABLE))
        return false;
    switch (op) {
    case REPLICATION_OP_READ_ONLY:
        s->read_only = true;
        s->by_hand = false;
        return true;
    case REPLICATION_OP_WRITABLE:
        return open_server(w, h, v->epoch);
    case REPLICATION_OP_PROMOTE:
        return stop_following(s);
    case REPLICATION_OP_EPOCH:
        write_epoch(w, h, v->epoch);
        return true;
    case REPLICATION_OP_ATTACH:
    case REPLICATION_OP_ATTACH_CURRENT:
    case REPLICATION_OP_REBUILD:
        attach(w, h, from,
            op == REPLICATION_OP_ATTACH_CURRENT || (op == REPLICATION_OP_REBUILD && s->own_too));
        return true;
    case REPLICATION_OP_START:
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
        return rescue(w, h, from);
    case REPLICATION_OP_FLASHBACK:
        return flash_back(w, h, from);
    case REPLICATION_OP_REFILL:
    case REPLICATION_OP_RESEED:
        if (!runs(w, from, P_SERVER) || !link_carries(w, from, h) || !link_carries(w, h, from))
            return false;
        if (w->h[h].role.node.view.epoch != v->epoch) /* a seed is given up when its view ends */
            return false;
        check_discard(w, h, from);
        server_seed(w, h, from);
        return true;
    default:
        return true;
    }
}

/* ---- a write: gate, server, gate */

static bool gate_lets_by(const struct world *w, const struct job *j)
{
    const struct gate *g = &w->h[j->host].gate;
    return g->open
           && lease_acknowledges(g->deadline_ms, (int64_t)g->epoch, (int64_t)j->epoch,
               boot_now(w, j->host), w->o.lease_off);
}

static void write_ends(struct job *j)
{
    struct server *s = &j->w->h[j->host].server;
    if (j->pid && j->pid == s->pid && s->in_flight)
        s->in_flight--;
    job_free(j);
}

static void on_write_answer(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_MESH, on_write_answer))
        return;
    if (is_up(w, j->host, P_MESH) && w->h[j->host].p[P_MESH].life == j->life && gate_lets_by(w, j))
        check_ack(w, j->host, j->epoch, j->seq);
    write_ends(j);
}

/* Semi-synchronous: a replica must have received it. */
static void on_received(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_SERVER, on_received))
        return;
    if (w->h[j->host].server.pid != j->pid || !is_up(w, j->host, P_SERVER)) {
        write_ends(j);
        return;
    }
    for (unsigned k = 0; k < HOSTS; k++)
        if (k != j->host && w->has_db[k] && w->h[k].server.got[j->host] >= j->seq) {
            job_in(j, 1, on_write_answer);
            return;
        }
    job_in(j, 100, on_received);
}

static void on_write_commit(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct server *s = &w->h[j->host].server;
    if (postponed(j, j->host, P_SERVER, on_write_commit))
        return;
    if (s->pid != j->pid || !is_up(w, j->host, P_SERVER) || s->read_only) {
        write_ends(j);
        return;
    }
    if (s->stalled) {
        job_in(j, STALLED_MS, on_write_commit);
        return;
    }
    j->seq = server_commit(w, j->host);
    check_committed(w, j->host, j->epoch, j->seq);
    job_in(j, 1, w->semi_sync ? on_received : on_write_answer);
}

static void on_write_forward(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct host *h = &w->h[j->host];
    if (postponed(j, j->host, P_MESH, on_write_forward))
        return;
    j->epoch = h->gate.epoch;
    j->life = h->p[P_MESH].life;
    if (!is_up(w, j->host, P_MESH) || !gate_lets_by(w, j) || !is_up(w, j->host, P_SERVER)
        || h->server.in_flight >= IN_FLIGHT_MAX) {
        job_free(j);
        return;
    }
    j->pid = h->server.pid;
    h->server.in_flight++;
    job_in(
        j, sim_between(w->sim, 1, w->calm || sim_chance(w->sim, 97) ? 10 : 900), on_write_commit);
}

void client_write(struct world *w, unsigned from, unsigned to)
{
    uint64_t delay;
    if (!link_send(w, from, to, &delay))
        return;
    struct job *j = job_new(w);
    j->host = to;
    job_in(j, delay, on_write_forward);
}
