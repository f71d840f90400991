/* SPDX-License-Identifier: Apache-2.0 */
/* What looks after a server on its host: the data role (domain/replication/node and the rule of the lease), the
 * watchdog, and the supervisor that notices dead processes and starts them again. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define LOOK_MS 1000u
#define LEASE_LOOK_MS 250u
#define POLL_MS 150u

static struct role *role_of(struct world *w, unsigned h)
{
    return &w->h[h].role;
}

/* ---- the node */

static void begin(struct world *w, unsigned h, enum replication_op op);

static void feed(struct world *w, unsigned h, const struct replication_event *ev)
{
    struct role *r = role_of(w, h);
    struct replication_actions a;
    uint64_t now = boot_now(w, h);
    r->node.guards_off = w->o.node_off;
    replication_node_step(&r->node, ev, now, sim_rnd(w->sim), &a);
    r->may_write = replication_node_may_write(&r->node, now);
    r->write_until_ms = replication_node_write_until(&r->node, now);
    if (a.save)
        replication_node_save(&r->node, &r->saved);
    if (a.op != REPLICATION_NOTHING)
        begin(w, h, a.op);
}

bool role_may_write(const struct world *w, unsigned h, uint64_t epoch)
{
    const struct role *r = &w->h[h].role;
    return r->may_write && r->node.view.epoch == epoch && boot_now(w, h) < r->write_until_ms;
}

static void look(struct world *w, unsigned h);

static void on_op_end(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_DATA, on_op_end))
        return;
    if (is_up(w, j->host, P_DATA) && w->h[j->host].p[P_DATA].life == j->life) {
        feed(w, j->host,
            &(struct replication_event){
                .kind = REPLICATION_EV_DONE, .ok = j->ok, .number = 2013, .text = "lost"});
        if (j->ok && j->kind == REPLICATION_OP_RESEED)
            feed(
                w, j->host, &(struct replication_event){.kind = REPLICATION_EV_SEEDED, .ok = true});
        look(w, j->host); /* at once: the next step waits for what it shows */
    }
    job_free(j);
}

static void on_op(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_DATA, on_op))
        return;
    if (is_up(w, j->host, P_DATA) && w->h[j->host].p[P_DATA].life == j->life)
        j->ok = server_carry_out(w, j->host, (enum replication_op)j->kind, &j->view);
    if (j->ok && !w->calm && sim_chance(w->sim, 2))
        j->ok = false; /* done, and the answer is lost */
    job_in(j, 2, on_op_end);
}

static void begin(struct world *w, unsigned h, enum replication_op op)
{
    struct job *j = job_new(w);
    j->host = h;
    j->life = w->h[h].p[P_DATA].life;
    j->kind = (int)op;
    j->view = w->h[h].role.node.view;
    sim_trace(
        w->sim, "%s: %s (epoch %d)", host_name(h), replication_op_name(op), (int)j->view.epoch);
    job_in(j, sim_between(w->sim, 1, w->calm || sim_chance(w->sim, 95) ? 60 : 2000), on_op);
}

static struct replication_sample sample_of(
    const struct world *w, unsigned h, const struct server *s)
{
    const struct replication_view *v = &w->h[h].role.node.view;
    unsigned by = NOBODY;
    uint64_t epoch = server_epoch(w, s, &by);
    return (struct replication_sample){.read_only = s->read_only,
        .attached = s->attached != NOBODY,
        .as_wanted = s->attached != NOBODY && s->attached + 1 == v->source,
        .all_applied = covers(s->have, s->got),
        .empty = server_is_empty(s),
        .epoch = epoch,
        .epoch_server = epoch ? by + 1 : 0,
        .threads = {.io = s->io,
            .sql = s->sql,
            .io_errno = s->io_errno,
            .sql_errno = s->sql_errno,
            .io_error = server_io_text(w, h),
            .sql_error = "",
            .heartbeats = s->beats,
            .received = s->received}};
}

/* ---- what it was told */

void role_told_view(struct world *w, unsigned h, const struct replication_view *v)
{
    feed(w, h, &(struct replication_event){.kind = REPLICATION_EV_VIEW, .view = v});
}

void role_told_lease(struct world *w, unsigned h, uint64_t epoch, uint64_t until_ms)
{
    struct role *r = role_of(w, h);
    if (epoch < r->lease_epoch)
        return;
    r->lease_epoch = epoch;
    r->until_ms = until_ms;
    feed(w, h,
        &(struct replication_event){.kind = REPLICATION_EV_LEASE,
            .epoch = epoch,
            .until_ms = until_ms ? lease_fence_ms(until_ms, LEASE_MS) : 0});
}

/* The data role sees its server's process end: it has no lease from now on, and its control need not
 * wait for the end of the old one. */
static void on_death(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_DATA, on_death))
        return;
    if (is_up(w, j->host, P_DATA) && w->h[j->host].p[P_DATA].life == j->life
        && w->h[j->host].role.node.view.duty == REPLICATION_SOURCE) {
        role_told_lease(w, j->host, w->h[j->host].role.lease_epoch, 0);
        control_server_gone(w, j->host);
    }
    job_free(j);
}

void role_server_died(struct world *w, unsigned h)
{
    struct job *j = job_new(w);
    j->host = h;
    j->life = w->h[h].p[P_DATA].life;
    job_in(j, 2, on_death);
}

void role_start(struct world *w, unsigned h)
{
    struct role *r = role_of(w, h);
    struct replication_saved saved = r->saved;
    *r = (struct role){.saved = saved};
    replication_node_init(&r->node);
    replication_node_restore(&r->node, &saved);
}

/* ---- looks */

static void report(struct world *w, unsigned h, const struct server *s, bool reached)
{
    const struct role *r = role_of(w, h);
    uint64_t now = boot_now(w, h);
    struct report rp = {.told = true,
        .reachable = reached,
        .gone = !is_up(w, h, P_SERVER),
        .writable = reached && !s->read_only,
        .io_yes = s->io == LADDER_IO_YES,
        .all_applied = covers(s->have, s->got),
        .broken = s->sql_errno != 0 || (s->io_errno && s->io_errno != 2003),
        .diverged = s->attached != NOBODY && s->have[h] > w->h[s->attached].server.have[h],
        .replicating = r->node.state == REPLICATION_REPLICATING,
        .epoch = r->node.view.epoch,
        .lag_ms = sim_now(w->sim) - s->beat_ms,
        .down_ms = r->silent_ms ? MAX(now - r->silent_ms, 1) : 0};
    memcpy(rp.have, s->have, sizeof rp.have);
    control_reported(w, h, &rp);
}

/* Of a source only, and only of a process that has answered. */
static void check_alive(struct world *w, const struct job *j)
{
    unsigned h = j->host;
    struct role *r = role_of(w, h);
    unsigned pid = w->h[h].server.pid;
    bool up = is_up(w, h, P_SERVER), same = r->checked == pid;
    uint64_t now = boot_now(w, h), took = sim_now(w->sim) - j->ms;
    if (up && j->ok && !same) {
        r->check = (struct local_check){0};
        r->checked = pid;
        same = true;
    }
    if (up && same && r->node.view.duty == REPLICATION_SOURCE) {
        r->moves += runs(w, h, P_SERVER);
        const struct local_check_sample s = {.began_ms = now - MIN(now, took),
            .ended_ms = now,
            .answered = j->ok,
            .seen = true,
            .threads = 1,
            .steps = r->moves};
        if (local_check_step(&r->check, &s) == LOCAL_DEAD)
            server_die(w, h, "it stands still");
    }
    if (j->ok)
        r->silent_ms = 0;
    else if (!r->silent_ms)
        r->silent_ms = now;
}

static void on_looked(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_DATA, on_looked))
        return;
    if (!is_up(w, j->host, P_DATA) || w->h[j->host].p[P_DATA].life != j->life) {
        job_free(j);
        return;
    }
    struct role *r = role_of(w, j->host);
    check_alive(w, j);
    if (!j->ok) {
        feed(w, j->host,
            &(struct replication_event){.kind = REPLICATION_EV_UNREACHABLE, .text = "?"});
    } else if (j->ops == r->node.ops) {
        struct replication_sample s = sample_of(w, j->host, &j->look);
        feed(w, j->host,
            &(struct replication_event){
                .kind = REPLICATION_EV_SAMPLE, .sample = &s, .ops = j->ops});
        r->looked_ms = j->ms;
        r->seen_read_only = j->look.read_only;
    }
    report(w, j->host, &j->look, j->ok);
    job_free(j);
}

static void look(struct world *w, unsigned h)
{
    struct job *j = job_new(w);
    j->host = h;
    j->life = w->h[h].p[P_DATA].life;
    j->ops = w->h[h].role.node.ops;
    j->ms = sim_now(w->sim);
    j->look = w->h[h].server;
    j->ok = server_answers(w, h);
    job_in(j, j->ok ? sim_between(w->sim, 1, 20) : is_up(w, h, P_SERVER) ? 900 : 1, on_looked);
}

static void on_look(void *ctx, uint64_t h)
{
    struct world *w = ctx;
    if (runs(w, (unsigned)h, P_DATA))
        look(w, (unsigned)h);
    sim_at(w->sim, sim_now(w->sim) + LOOK_MS, on_look, w, h);
}

/* ---- the deadline: the data role and the watchdog, each by itself */

static void on_lease_look(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned h = (unsigned)arg;
    struct role *r = role_of(w, h);
    uint64_t now = boot_now(w, h);
    const struct watchdog *d = &w->h[h].watchdog;
    if (runs(w, h, P_DATA) && r->until_ms && r->lease_epoch) {
        enum lease_rule rule = lease_rule(r->until_ms, LEASE_MS, now, w->o.lease_off);
        if (rule != LEASE_WRITE && r->node.sampled && !r->node.sample.read_only)
            feed(w, h, &(struct replication_event){.kind = REPLICATION_EV_TICK});
        if (rule == LEASE_KILL && r->node.view.duty == REPLICATION_SOURCE)
            server_die(w, h, "its lease ends");
    }
    if (runs(w, h, P_WATCHDOG) && d->until_ms && d->pid == w->h[h].server.pid
        && lease_rule(d->until_ms, LEASE_MS, now, w->o.lease_off) == LEASE_KILL)
        server_die(w, h, "the watchdog's order");
    sim_at(w->sim, sim_now(w->sim) + LEASE_LOOK_MS, on_lease_look, w, h);
}

/* ---- calls */

static void call_ends(struct job *j, int code, const char *text)
{
    j->ok = code == 0;
    j->code = code;
    str_copy(j->text, sizeof j->text, text);
    control_role_answered(j);
}

static bool is_fenced(const struct world *w, const struct job *j)
{
    const struct role *r = &w->h[j->host].role;
    if (!r->node.frozen || r->node.freeze_id != j->action_id)
        return false;
    if (!is_up(w, j->host, P_SERVER))
        return control_gate_shut(w, j->host); /* and it starts read-only, and stays so */
    return r->seen_read_only && r->looked_ms >= j->ms && r->node.op == REPLICATION_NOTHING
           && w->h[j->host].server.read_only && control_gate_shut(w, j->host);
}

static void on_call(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    const struct server *s = &w->h[j->host].server;
    struct role *r = role_of(w, j->host);
    if (postponed(j, j->host, P_DATA, on_call))
        return;
    if (!is_up(w, j->host, P_DATA) || w->h[j->host].p[P_DATA].life != j->life) {
        call_ends(j, ERR_UNAVAILABLE, "the data role ended");
        return;
    }
    if (replication_node_refuses(&r->node, j->epoch, 0)
        && !(w->o.node_off & REPLICATION_OFF_EPOCH)) {
        call_ends(j, ERR_REFUSED, "an epoch of the past");
        return;
    }
    if (j->kind == FAILOVER_FENCE && is_fenced(w, j)) {
        gtid_text(s->have, j->gtid, sizeof j->gtid);
        call_ends(j, 0, "");
    } else if (j->kind == FAILOVER_PROMOTE && server_answers(w, j->host) && !s->read_only
               && s->opened_epoch == j->epoch) {
        gtid_text(s->have, j->gtid, sizeof j->gtid);
        call_ends(j, 0, "");
    } else if (j->kind == FAILOVER_VERIFY && server_answers(w, j->host) && !s->read_only
               && !s->stalled && s->opened_epoch == j->epoch) {
        server_commit(w, j->host);
        call_ends(j, 0, "");
    } else if (sim_now(w->sim) >= j->seq) {
        call_ends(j, ERR_TIMEOUT, "not in time");
    } else {
        job_in(j, POLL_MS, on_call);
    }
}

void role_call(struct job *j, uint64_t wait_ms)
{
    struct world *w = j->w;
    struct role *r = role_of(w, j->host);
    if (!is_up(w, j->host, P_DATA)) {
        call_ends(j, ERR_UNAVAILABLE, "the data role is not there");
        return;
    }
    j->life = w->h[j->host].p[P_DATA].life;
    j->ms = sim_now(w->sim);
    j->seq = sim_now(w->sim) + wait_ms;
    bool past = replication_node_refuses(&r->node, j->epoch, j->action_id);
    if (j->kind == FAILOVER_FENCE && !past && runs(w, j->host, P_DATA))
        feed(w, j->host,
            &(struct replication_event){
                .kind = REPLICATION_EV_FREEZE, .id = j->action_id, .epoch = j->epoch});
    on_call(j, 0);
}

/* ---- beats: a write that is on the disk */

static void on_disk_written(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct server *s = &w->h[j->host].server;
    if (postponed(j, j->host, P_SERVER, on_disk_written)
        || postponed(j, j->host, P_DATA, on_disk_written))
        return;
    bool same = is_up(w, j->host, P_SERVER) && s->pid == j->pid && is_up(w, j->host, P_DATA)
                && w->h[j->host].p[P_DATA].life == j->life;
    if (same && s->stalled) {
        job_in(j, 300, on_disk_written);
        return;
    }
    j->ok = same;
    if (same && !s->read_only) { /* else the file alone says it: the row is written as an application would */
        server_commit(w, j->host);
        s->beat_ms = s->got_beat_ms = sim_now(w->sim);
    }
    if (same)
        gtid_text(s->have, j->gtid, sizeof j->gtid);
    control_role_beaten(j);
}

void role_beat(struct world *w, unsigned h, uint64_t id)
{
    struct job *j = job_new(w);
    j->host = h;
    j->id = id;
    j->life = w->h[h].p[P_DATA].life;
    j->pid = w->h[h].server.pid;
    j->control_life = w->h[h].p[P_CONTROL].life;
    job_in(j, sim_between(w->sim, 3, 15), on_disk_written);
}

/* ---- heartbeat rows of the source, for the lag */

static void on_heartbeat(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    for (unsigned h = 0; h < HOSTS; h++) {
        struct server *s = &w->h[h].server;
        if (w->has_db[h] && runs(w, h, P_SERVER) && runs(w, h, P_DATA) && !s->read_only
            && !s->stalled && !s->by_hand) {
            server_commit(w, h);
            s->beat_ms = s->got_beat_ms = sim_now(w->sim);
        }
    }
    sim_at(w->sim, sim_now(w->sim) + 1000, on_heartbeat, w, 0);
}

void hosts_start(struct world *w)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        if (!w->has_db[h])
            continue;
        role_start(w, h);
        sim_at(w->sim, 20 + h, on_look, w, h);
        sim_at(w->sim, 40 + h, on_lease_look, w, h);
    }
    sim_at(w->sim, 1500, on_heartbeat, w, 0);
}

void role_follow(struct world *w, unsigned h)
{
    if (runs(w, h, P_DATA))
        feed(w, h, &(struct replication_event){.kind = REPLICATION_EV_FOLLOW});
}
