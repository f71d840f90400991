/* SPDX-License-Identifier: Apache-2.0 */
/* Binary logs: each server begins a new one every few seconds, and its data role forgets the oldest by
 * domain/replication/retention, by what its control has heard last of where the other members are. */
#include "world.h"

#include "domain/replication/retention.h"

#include <string.h>

#define ROTATE_MS 3000u
#define TURN_MS 4000u
#define KEEP_LOGS_MS 6000 /* short: by age alone a replica that is cut off would always lack some */
#define NEARLY_FULL 24u   /* transactions, on the disks of a world whose disks are small */

static struct gtid_set set_of(const uint64_t have[HOSTS], struct gtid room[HOSTS])
{
    struct gtid_set s = {.flavour = GTID_MARIADB, .at = room};
    for (unsigned d = 0; d < HOSTS; d++)
        if (have[d])
            room[s.n++] = (struct gtid){d + 1, d + 1, have[d]};
    return s;
}

/* Those that it has begin where it was seeded. */
void retain_seeded(struct world *w, unsigned h)
{
    struct logs *l = &w->logs[h];
    memset(l, 0, sizeof *l);
    memcpy(l->v[l->n++].start, w->h[h].server.have, sizeof l->v[0].start);
}

static void rotate(struct world *w, unsigned h)
{
    struct logs *l = &w->logs[h];
    const struct server *s = &w->h[h].server;
    struct log *last = &l->v[l->n - 1];
    last->written_ms = wall_now(w, h);
    if (l->n == LOGS_MAX || covers(last->start, s->have))
        return;
    memcpy(l->v[l->n++].start, s->have, sizeof last->start);
}

static uint64_t count(const uint64_t have[HOSTS])
{
    uint64_t n = 0;
    for (unsigned d = 0; d < HOSTS; d++)
        n = MAX(n, have[d]); /* numbers are the world's */
    return n;
}

/* S4: nothing goes that a member needs, but from the one that is declared to be given up, for the disk. */
static void check_purged(
    struct world *w, unsigned h, const uint64_t upto[HOSTS], const struct retention_verdict *v)
{
    for (unsigned k = 0; k < HOSTS; k++) {
        if (k == h || !w->has_db[k] || covers(w->h[k].server.have, upto))
            continue;
        if (w->small_disks && w->sacrifice && k == KR && v->sacrificed)
            continue;
        sim_fail(w->sim, "S4: %s purges logs that %s needs", host_name(h), host_name(k));
    }
}

static void purge(struct world *w, unsigned h, const struct retention_verdict *v)
{
    struct logs *l = &w->logs[h];
    if (!v->purge)
        return;
    const uint64_t *upto = l->v[v->purge].start;
    sim_trace(w->sim, "%s: forgets %d logs%s%s", host_name(h), (int)v->purge,
        v->early ? ", early" : "", v->sacrificed ? ", and gives up a replica" : "");
    check_purged(w, h, upto, v);
    for (unsigned d = 0; d < HOSTS; d++)
        w->h[h].server.purged[d] = MAX(w->h[h].server.purged[d], upto[d]);
    w->purged += v->purge;
    l->n -= v->purge;
    memmove(l->v, l->v + v->purge, l->n * sizeof l->v[0]);
}

/* Every other member, as far as it was heard to be; the vault beside a replica has taken what that received. */
static size_t add_holders(struct world *w, unsigned h, struct retention_holder *v,
    struct gtid_set *sets, struct gtid (*room)[HOSTS])
{
    const struct control *c = &w->h[h].control;
    size_t n = 0;
    for (unsigned k = 0; k < HOSTS && !w->o.no_holders; k++) {
        const struct heard *heard = &c->heard[k];
        if (k == h || !w->has_db[k])
            continue;
        bool known = heard->at_ms != 0;
        if (known)
            sets[n] = set_of(heard->beat.report.have, room[n]);
        v[n] = (struct retention_holder){host_name(k), false, known ? &sets[n] : NULL};
        n++;
    }
    return n;
}

static void decide(struct world *w, unsigned h)
{
    const struct logs *l = &w->logs[h];
    struct retention_log logs[LOGS_MAX];
    struct retention_holder holders[HOSTS];
    struct gtid_set starts[LOGS_MAX], sets[HOSTS];
    struct gtid log_room[LOGS_MAX][HOSTS], room[HOSTS][HOSTS];
    struct retention_verdict v;
    struct retention_input in = {.logs = logs,
        .n_logs = l->n,
        .holders = holders,
        .n_holders = add_holders(w, h, holders, sets, room),
        .now_ms = wall_now(w, h),
        .retention_ms = KEEP_LOGS_MS,
        .sacrifice = w->sacrifice ? host_name(KR) : NULL};
    uint64_t first = count(l->v[0].start), end = count(w->h[h].server.have);
    if (w->small_disks) {
        in.disk_total = NEARLY_FULL * 100 / RETENTION_FULL_PERCENT;
        in.disk_free = in.disk_total - MIN(in.disk_total, end - first);
    }
    for (size_t i = 0; i < l->n; i++) {
        uint64_t next = i + 1 < l->n ? count(l->v[i + 1].start) : end;
        starts[i] = set_of(l->v[i].start, log_room[i]);
        logs[i] = (struct retention_log){
            next - MIN(next, count(l->v[i].start)), l->v[i].written_ms, &starts[i]};
    }
    retention_decide(&in, &v);
    purge(w, h, &v);
}

static void on_turn(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned h = (unsigned)arg;
    const struct role *r = &w->h[h].role;
    if (runs(w, h, P_DATA) && runs(w, h, P_CONTROL) && server_answers(w, h) && r->node.known
        && r->node.op == REPLICATION_NOTHING)
        decide(w, h);
    sim_at(w->sim, sim_now(w->sim) + TURN_MS, on_turn, w, arg);
}

static void on_rotate(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    for (unsigned h = 0; h < HOSTS; h++)
        if (w->has_db[h] && runs(w, h, P_SERVER) && !w->h[h].server.stalled)
            rotate(w, h);
    sim_at(w->sim, sim_now(w->sim) + ROTATE_MS, on_rotate, w, 0);
}

void retain_start(struct world *w)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        if (!w->has_db[h])
            continue;
        w->logs[h].n = 1; /* from its first transaction on */
        sim_at(w->sim, 2000 + 700 * h, on_turn, w, h);
    }
    sim_at(w->sim, 1700, on_rotate, w, 0);
}
