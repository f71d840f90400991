/* SPDX-License-Identifier: Apache-2.0 */
/* The control of a host: reads the state store, hears the others, holds the lease of a source of its own
 * (domain/failover/lease), tells data role, watchdog and gate of its host what they go by, passes calls on. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define TICK_MS 500u

static struct control *control_of(struct world *w, unsigned h)
{
    return &w->h[h].control;
}

/* ---- its own host is told; in the order that things were said */

static void on_told_lease(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_DATA, on_told_lease))
        return;
    if (is_up(w, j->host, P_DATA) && j->seq > w->h[j->host].role.told_seq) {
        w->h[j->host].role.told_seq = j->seq;
        role_told_lease(w, j->host, j->epoch, j->ms);
    }
    job_free(j);
}

static void on_told_gate(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct gate *g = &w->h[j->host].gate;
    if (postponed(j, j->host, P_MESH, on_told_gate))
        return;
    if (is_up(w, j->host, P_MESH) && j->seq > g->told_seq)
        *g = (struct gate){j->epoch != 0, j->epoch, j->ms, j->seq, g->sent_seq};
    job_free(j);
}

static void on_told_watchdog(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct watchdog *d = &w->h[j->host].watchdog;
    if (postponed(j, j->host, P_WATCHDOG, on_told_watchdog))
        return;
    if (is_up(w, j->host, P_WATCHDOG) && j->seq > d->told_seq) {
        *d = (struct watchdog){j->pid, j->ms, boot_now(w, j->host), j->seq};
        if (!j->ms) /* it keeps its last order where there is no other */
            d->pid = 0;
    }
    job_free(j);
}

bool control_gate_shut(const struct world *w, unsigned h)
{
    const struct gate *g = &w->h[h].gate;
    return !is_up(w, h, P_MESH) || (!g->deadline_ms && g->told_seq >= g->sent_seq);
}

void control_tell(struct world *w, unsigned h)
{
    static const sim_fn fns[] = {on_told_lease, on_told_watchdog, on_told_gate};
    const struct lease_holder *l = &control_of(w, h)->holder;
    w->h[h].gate.sent_seq = ++w->tells;
    for (size_t i = 0; i < ARRAY_SIZE(fns); i++) {
        struct job *j = job_new(w);
        j->host = h;
        j->epoch = (uint64_t)l->epoch;
        j->ms = l->until_ms;
        j->pid = w->h[h].server.pid;
        j->seq = w->tells;
        job_in(j, 1, fns[i]);
    }
}

static void shut_gate(struct world *w, unsigned h)
{
    struct job *j = job_new(w);
    j->host = h;
    j->seq = w->h[h].gate.sent_seq = ++w->tells;
    job_in(j, 1, on_told_gate);
}

/* ---- the holder of the lease */

static void hold(struct world *w, unsigned h, const struct lease_event *ev);

static void on_promise_back(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct control *c = control_of(w, j->from);
    if (postponed(j, j->from, P_CONTROL, on_promise_back))
        return;
    bool mine = is_up(w, j->from, P_CONTROL) && w->h[j->from].p[P_CONTROL].life == j->life
                && c->ask_id == j->id;
    c->promises += mine && j->ok;
    bool all = mine && j->ok && c->promises == HOSTS - 1;
    if (all)
        check_promised(w, j->from, j->epoch, j->ms);
    if (mine && (all || !j->ok))
        hold(w, j->from, &(struct lease_event){.kind = LEASE_EV_PROMISED, .id = j->id, .ok = all});
    job_free(j);
}

static void on_promise_asked(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    struct control *c = control_of(w, j->host);
    struct err e = {0};
    uint64_t back;
    if (postponed(j, j->host, P_CONTROL, on_promise_asked))
        return;
    if (!is_up(w, j->host, P_CONTROL) || !c->has_picture
        || !link_send(w, j->host, j->from, &back)) {
        job_free(j);
        return;
    }
    j->ok = lease_promise_give(&c->promise, (int64_t)j->epoch, LEASE_MS, c->now.parsed.epoch,
                leader_promotes(w, j->host), boot_now(w, j->host), &e)
            == 0;
    job_in(j, back + 2, on_promise_back);
}

static void ask_promises(struct world *w, unsigned h, uint64_t id)
{
    struct control *c = control_of(w, h);
    struct err e = {0};
    c->ask_id = id;
    c->promises = 0;
    if (lease_promise_give(&c->promise, c->holder.epoch, LEASE_MS, c->now.parsed.epoch,
            leader_promotes(w, h), boot_now(w, h), &e)
        < 0)
        return;
    for (unsigned k = 0; k < HOSTS; k++) {
        uint64_t there;
        if (k == h || !link_send(w, h, k, &there))
            continue;
        struct job *j = job_new(w);
        j->host = k;
        j->from = h;
        j->life = w->h[h].p[P_CONTROL].life;
        j->id = id;
        j->epoch = (uint64_t)c->holder.epoch;
        j->ms = boot_now(w, h);
        job_in(j, there, on_promise_asked);
    }
}

/* A released record says that nothing of the old source gets out any more: its gate must be shut first. */
static void on_release(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (is_up(w, j->request.host, P_CONTROL) && control_gate_shut(w, j->request.host)) {
        store_send(w, &j->request);
    } else if (sim_now(w->sim) < j->ms) {
        job_in(j, 50, on_release);
        return;
    }
    job_free(j);
}

static void send_record(struct world *w, unsigned h, const struct lease_action *a)
{
    bool any = (w->o.lease_off & LEASE_OFF_EPOCH) != 0;
    struct request r = {.kind = REQUEST_LEASE,
        .purpose = FOR_HOLDER,
        .host = h,
        .id = a->id,
        .lease = a->record,
        .lease_rev = a->mod,
        .doc_rev = any ? 0 : a->doc_mod};
    if (!a->record.released) {
        store_send(w, &r);
        return;
    }
    struct job *j = job_new(w);
    j->request = r;
    j->ms = sim_now(w->sim) + 2000;
    job_in(j, 3, on_release);
}

static void hold(struct world *w, unsigned h, const struct lease_event *ev)
{
    struct control *c = control_of(w, h);
    struct lease_action a;
    c->holder.guards_off = w->o.lease_off;
    lease_holder_step(&c->holder, ev, boot_now(w, h), wall_now(w, h), &a);
    if (a.told)
        control_tell(w, h);
    if (a.ask_id)
        ask_promises(w, h, a.ask_id);
    if (a.act == LEASE_BEAT && is_up(w, h, P_DATA))
        role_beat(w, h, a.id);
    if (a.act == LEASE_READ)
        store_send(w,
            &(struct request){.kind = REQUEST_READ, .purpose = FOR_HOLDER, .host = h, .id = a.id});
    if (a.act == LEASE_SEND)
        send_record(w, h, &a);
}

void control_role_beaten(struct job *j)
{
    struct world *w = j->w;
    if (is_up(w, j->host, P_CONTROL) && w->h[j->host].p[P_CONTROL].life == j->control_life)
        hold(w, j->host,
            &(struct lease_event){
                .kind = LEASE_EV_BEATEN, .id = j->id, .ok = j->ok, .gtid = j->gtid});
    job_free(j);
}

static void on_gone(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_CONTROL, on_gone))
        return;
    if (is_up(w, j->host, P_CONTROL) && control_of(w, j->host)->holder.epoch)
        hold(w, j->host, &(struct lease_event){.kind = LEASE_EV_DEAD});
    job_free(j);
}

void control_server_gone(struct world *w, unsigned h)
{
    struct job *j = job_new(w);
    j->host = h;
    job_in(j, 5, on_gone);
}

/* ---- what it reads */

/* While a change is under way, the target is the member that it names; else the best other one. */
static void parse(struct world *w, struct picture *p)
{
    struct err e = {0};
    if (replication_doc_parse(p->doc, &p->parsed, &e) < 0) {
        sim_fail(w->sim, "the document does not parse: %s", e.message);
        return;
    }
    p->source = host_of(p->parsed.source->host);
    p->target = host_of(json_opt_str(p->parsed.change, "to", ""));
    for (size_t i = 0; p->target == NOBODY && i < p->parsed.n_members; i++)
        if (host_of(p->parsed.members[i].host) != p->source)
            p->target = host_of(p->parsed.members[i].host);
}

static void tell_view(struct world *w, unsigned h)
{
    struct control *c = control_of(w, h);
    uint64_t age = boot_now(w, h) - c->now.read_ms;
    const struct replication_doc *d = &c->now.parsed;
    const struct replication_view v = {
        .duty = c->now.source == h ? REPLICATION_SOURCE : REPLICATION_REPLICA,
        .epoch = (uint64_t)d->epoch,
        .self = h + 1,
        .source = c->now.source + 1,
        .fresh_ms = age < REPLICATION_FRESH_MS ? REPLICATION_FRESH_MS - age : 0,
        .last_change = (uint64_t)d->last_id,
        .tls_ready = true,
        .leased = true,
        .source_log = REPLICATION_LOG_WHOLE,
        .heartbeat_ms = 1000,
        .form = 7};
    if (runs(w, h, P_DATA))
        role_told_view(w, h, &v);
}

void control_sees(struct world *w, const struct request *r)
{
    struct control *c = control_of(w, r->host);
    bool older = c->has_picture && (r->doc_rev < c->now.doc_rev || r->lease_rev < c->now.lease_rev);
    if (older)
        return;
    bool other = !c->has_picture || c->now.doc_rev != r->doc_rev;
    c->now.doc = r->doc;
    c->now.notes = r->notes;
    c->now.doc_rev = r->doc_rev;
    c->now.notes_rev = r->notes_rev;
    c->now.lease_rev = r->lease_rev;
    c->now.lease = r->lease;
    c->now.has_lease = r->has_lease;
    c->now.read_ms = r->asked_ms;
    c->leader.blind &= r->asked_ms < c->leader.blind_ms;
    c->has_picture = true;
    if (other)
        parse(w, &c->now);
    lease_watch_see(&c->watch, r->has_lease ? &r->lease : NULL, boot_now(w, r->host));
    if (!w->has_db[r->host] || sim_failure(w->sim))
        return;
    int64_t epoch = c->now.source == r->host ? c->now.parsed.epoch : 0;
    if (other)
        hold(w, r->host,
            &(struct lease_event){.kind = LEASE_EV_WANT, .epoch = epoch, .lease_ms = LEASE_MS});
    tell_view(w, r->host);
}

static void holder_answered(struct world *w, const struct request *r)
{
    struct err e = {0};
    struct replication_doc d = {0};
    if (r->kind == REQUEST_READ) {
        bool ok = r->outcome == OUTCOME_DONE;
        bool mine = ok && replication_doc_parse(r->doc, &d, &e) == 0
                    && host_of(d.source->host) == r->host;
        hold(w, r->host,
            &(struct lease_event){.kind = LEASE_EV_READ,
                .id = r->id,
                .ok = ok,
                .epoch = mine ? d.epoch : 0,
                .record = ok && r->has_lease ? &r->lease : NULL,
                .mod = r->lease_rev,
                .doc_mod = r->doc_rev});
        return;
    }
    hold(w, r->host,
        &(struct lease_event){.kind = LEASE_EV_SENT,
            .id = r->id,
            .mod = r->lease_rev,
            .sent = r->outcome == OUTCOME_DONE      ? LEASE_SENT_DONE
                    : r->outcome == OUTCOME_REFUSED ? LEASE_SENT_CONFLICT
                                                    : LEASE_SENT_UNKNOWN});
}

void control_answered(struct world *w, const struct request *r)
{
    struct control *c = control_of(w, r->host);
    if (r->outcome != OUTCOME_UNKNOWN)
        c->store_ms = boot_now(w, r->host);
    if (r->purpose == FOR_HOLDER) {
        holder_answered(w, r);
    } else if (r->purpose == FOR_PICTURE) {
        if (r->outcome != OUTCOME_DONE)
            return;
        control_sees(w, r);
        if (r->lead_free && !c->leader.leads)
            leader_wants(w, r->host);
    } else {
        leader_answered(w, r);
    }
}

/* ---- what it hears */

void control_reported(struct world *w, unsigned h, const struct report *r)
{
    struct control *c = control_of(w, h);
    if (!runs(w, h, P_CONTROL))
        return;
    c->report = *r;
    c->report_ms = boot_now(w, h);
}

static void on_heard(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (is_stopped(w, j->host, P_CONTROL)) { /* newer ones come */
        job_free(j);
        return;
    }
    if (is_up(w, j->host, P_CONTROL)) {
        struct heard *k = &control_of(w, j->host)->heard[j->from];
        k->at_ms = boot_now(w, j->host);
        k->beat = j->beat;
    }
    job_free(j);
}

uint64_t control_silence(const struct world *w, unsigned h, unsigned of)
{
    const struct control *c = &w->h[h].control;
    uint64_t now = boot_now(w, h);
    if (h == of)
        return 0;
    return now - MAX(c->heard[of].at_ms, c->born_ms);
}

static bool sees_fault(const struct world *w, unsigned h)
{
    const struct control *c = &w->h[h].control;
    if (!c->has_picture)
        return false;
    unsigned source = c->now.source;
    if (h == source)
        return c->report.down_ms > 0;
    bool replica_lost_it = w->has_db[h] && c->report.told && !c->report.io_yes;
    return control_silence(w, h, source) > FAILOVER_SILENT_MS || replica_lost_it
           || (c->heard[source].at_ms && c->heard[source].beat.report.down_ms > 0);
}

static void beat(struct world *w, unsigned h)
{
    struct control *c = control_of(w, h);
    struct beat b = {.from = h,
        .report = c->report,
        .reaches_store = c->store_ms && boot_now(w, h) - c->store_ms < 3000,
        .sees_fault = sees_fault(w, h),
        .epoch = c->has_picture ? (uint64_t)c->now.parsed.epoch : 0};
    if (c->report.told && !runs(w, h, P_DATA))
        b.report.told = false;
    for (unsigned k = 0; k < HOSTS; k++)
        b.hears[k] = control_silence(w, h, k) < 3000;
    c->heard[h] = (struct heard){boot_now(w, h), b};
    for (unsigned k = 0; k < HOSTS; k++) {
        uint64_t there;
        if (k == h || !link_send(w, h, k, &there))
            continue;
        struct job *j = job_new(w);
        j->host = k;
        j->from = h;
        j->beat = b;
        job_in(j, there, on_heard);
    }
}

/* ---- calls: of a leader at a data role, by way of the control of that host */

static void on_call_back(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    if (postponed(j, j->from, P_CONTROL, on_call_back))
        return;
    leader_act_answered(j);
    job_free(j);
}

void control_role_answered(struct job *j)
{
    struct world *w = j->w;
    uint64_t back;
    if (!link_send(w, j->host, j->from, &back) || (!w->calm && sim_chance(w->sim, 3))) {
        j->ok = false;
        j->code = ERR_TIMEOUT;
        str_copy(j->text, sizeof j->text, "no answer");
        back = 3000;
    }
    job_in(j, back, on_call_back);
}

static void on_call_there(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    if (postponed(j, j->host, P_CONTROL, on_call_there))
        return;
    if (!is_up(w, j->host, P_CONTROL)) {
        j->code = ERR_UNAVAILABLE;
        str_copy(j->text, sizeof j->text, "nobody is there");
        control_role_answered(j);
        return;
    }
    if (j->kind == FAILOVER_FENCE)
        shut_gate(w, j->host);
    role_call(j, j->ms);
}

void control_call(struct world *w, unsigned from, const struct failover_action *a)
{
    struct job *j = job_new(w);
    uint64_t there;
    j->host = host_of(a->host);
    j->from = from;
    j->control_life = w->h[from].p[P_CONTROL].life;
    j->kind = (int)a->act;
    j->action_id = (uint64_t)a->id;
    j->epoch = (uint64_t)a->epoch;
    j->ms = a->wait_ms;
    if (j->host != NOBODY && link_send(w, from, j->host, &there)) {
        uint64_t late = w->calm || sim_chance(w->sim, 98) ? 0 : sim_between(w->sim, 1000, 15000);
        job_in(j, there + late, on_call_there); /* some come when all is over */
        return;
    }
    j->code = ERR_UNAVAILABLE;
    str_copy(j->text, sizeof j->text, "not reached");
    job_in(j, 1000, on_call_back);
}

/* ---- its turn */

static void on_tick(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned h = (unsigned)arg;
    struct control *c = control_of(w, h);
    uint64_t now = boot_now(w, h);
    sim_at(w->sim, sim_now(w->sim) + TICK_MS, on_tick, w, arg);
    if (!runs(w, h, P_CONTROL))
        return;
    bool whole = ++c->ticks % 2 == 0;
    if (whole || c->leader.leads)
        store_send(w, &(struct request){.kind = REQUEST_READ, .purpose = FOR_PICTURE, .host = h});
    if (whole)
        beat(w, h);
    if (c->holder.epoch)
        hold(w, h, &(struct lease_event){.kind = LEASE_EV_TICK});
    leader_tick(w, h, now);
}

/* Its disk has the promise and nothing else. */
void control_born(struct world *w, unsigned h)
{
    struct control *c = control_of(w, h);
    struct lease_promise promise = c->promise;
    memset(c, 0, sizeof *c);
    c->promise = promise;
    c->born_ms = boot_now(w, h);
    lease_holder_init(&c->holder, host_name(h));
}

void controls_start(struct world *w)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        control_born(w, h);
        sim_at(w->sim, 10 + 7 * h, on_tick, w, h);
    }
}
