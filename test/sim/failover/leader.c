/* SPDX-License-Identifier: Apache-2.0 */
/* Who leads: gathers the facts of the failover out of what its control has heard and read, steps domain/failover/fsm,
 * writes its documents, carries its acts out. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define KEEP_MS 1500u
#define MAX_LAG_MS 10000u

static const struct model_failover declared = {.automatic = true,
    .lease_ms = LEASE_MS,
    .max_lag_ms = MAX_LAG_MS,
    .cooldown_ms = COOLDOWN_MS,
    .drill_max_age_ms = 90ull * 24 * 3600 * 1000};

/* ---- to lead */

void leader_wants(struct world *w, unsigned h)
{
    struct leader *l = &w->h[h].control.leader;
    uint64_t now = boot_now(w, h);
    if (l->asked_ms && now - l->asked_ms < KEEP_MS)
        return;
    l->asked_ms = now;
    store_send(w, &(struct request){.kind = REQUEST_LEAD,
                      .purpose = FOR_LEADER,
                      .host = h,
                      .lead_epoch = l->leads ? l->epoch : 0});
}

static void on_lead(struct world *w, const struct request *r)
{
    struct leader *l = &w->h[r->host].control.leader;
    uint64_t now = boot_now(w, r->host);
    if (r->outcome == OUTCOME_REFUSED)
        l->leads = false;
    if (r->outcome != OUTCOME_DONE)
        return;
    if (!l->leads || l->epoch != r->lead_epoch) {
        memset(l, 0, sizeof *l);
        l->leads = true;
        l->epoch = r->lead_epoch;
        l->since_ms = now;
    }
    l->until_ms = r->asked_ms + LEAD_MS;
    l->journal_ms = now;
}

/* ---- facts */

static bool is_fresh(const struct world *w, unsigned h, unsigned of)
{
    return w->h[h].control.heard[of].at_ms && control_silence(w, h, of) < 3000;
}

static void gather_voters(const struct world *w, unsigned h, struct failover_facts *f)
{
    const struct control *c = &w->h[h].control;
    uint64_t now = boot_now(w, h);
    bool works = c->store_ms && now - c->store_ms < 3000;
    unsigned source = c->now.source, target = c->now.target;
    f->voters = (struct failover_voters){.total = HOSTS, .regions = HOSTS, .same_version = true};
    for (unsigned k = 0; k < HOSTS; k++) {
        bool answers = works && (k == h || is_fresh(w, h, k)) && runs(w, k, P_MEMBER);
        f->voters.answering += answers;
        f->voters.witness |= answers && k != source && k != target;
    }
    f->voters.journal = c->leader.journal_ms && now - c->leader.journal_ms < 5000;
}

static void gather_vantages(const struct world *w, unsigned h, struct failover_facts *f)
{
    const struct control *c = &w->h[h].control;
    f->n_vantages = HOSTS;
    for (unsigned k = 0; k < HOSTS; k++) {
        struct failover_vantage *v = &f->vantages[k];
        const struct beat *b = &c->heard[k].beat;
        str_copy(v->region, sizeof v->region, region_name(k));
        v->heard = is_fresh(w, h, k);
        v->sees_fault = v->heard && b->sees_fault;
        for (unsigned o = 0; o < HOSTS; o++)
            v->references |= v->heard && o != k && b->hears[o];
    }
    str_copy(f->leader_region, sizeof f->leader_region, region_name(h));
}

static void gather_source(struct world *w, unsigned h, struct failover_facts *f)
{
    const struct control *c = &w->h[h].control;
    unsigned source = c->now.source;
    const struct beat *b = &c->heard[source].beat;
    f->source = (struct failover_source){.silent_ms = control_silence(w, h, source),
        .answers = c->heard[source].at_ms && b->report.reachable,
        .reaches_store = c->heard[source].at_ms && b->reaches_store,
        .down_ms = b->report.down_ms,
        .class = FAILOVER_DEAD};
}

static void gather_target(struct world *w, unsigned h, struct failover_facts *f)
{
    struct control *c = &w->h[h].control;
    struct memory *l = &c->memory;
    unsigned target = c->now.target;
    uint64_t now = boot_now(w, h);
    const struct report *r = target < HOSTS ? &c->heard[target].beat.report : NULL;
    if (!r)
        return;
    str_copy(f->target.host, sizeof f->target.host, host_name(target));
    str_copy(f->target.region, sizeof f->target.region, region_name(target));
    f->target.heard = is_fresh(w, h, target) && r->told;
    f->target.hears_source = r->io_yes;
    f->target.heartbeat_ms = 1000;
    f->target.lag_known = l->lag_known;
    f->target.lag_ms = l->lag_ms;
    f->target.lag_age_ms = l->well_ms > l->lag_at_ms ? l->well_ms - l->lag_at_ms : 0;
    if (r->all_applied)
        l->unapplied_ms = 0;
    else if (!l->unapplied_ms)
        l->unapplied_ms = now;
    f->target.unapplied = !r->all_applied;
    f->target.unapplied_ms = l->unapplied_ms ? now - l->unapplied_ms : 0;
    f->target.broken_before = l->broken_before;
    f->target.stuck = r->broken;
    f->target.diverged = r->diverged || r->epoch > (uint64_t)c->now.parsed.epoch;
    f->target.in_sync_set = w->semi_sync;
    f->target.test_login = r->reachable;
    f->target.serving = is_fresh(w, h, target);
}

static void gather_lease(const struct world *w, unsigned h, struct failover_facts *f)
{
    const struct control *c = &w->h[h].control;
    const struct lease_watch *o = &c->watch;
    int64_t epoch = c->now.parsed.epoch;
    uint64_t now = boot_now(w, h), safe = lease_watch_safe_ms(o, epoch + 1, w->o.lease_off);
    f->lease = (struct failover_lease){.enforced = true,
        .known = o->seen && o->record.epoch == epoch,
        .epoch = o->record.epoch,
        .length_ms = LEASE_MS,
        .age_ms = o->seen ? now - o->read_ms : FAILOVER_NEVER,
        .released = o->record.released,
        .revoked = o->record.revoked,
        .safe_in_ms = safe == UINT64_MAX ? FAILOVER_NEVER
                      : safe > now       ? safe - now
                                         : 0,
        .promised_ms = lease_promise_left_ms(&c->promise, epoch + 1, now)};
    str_copy(f->lease.gtid, sizeof f->lease.gtid, o->record.gtid);
}

static void gather_world(struct world *w, unsigned h, struct failover_facts *f)
{
    struct memory *l = &w->h[h].control.memory;
    const struct control *c = &w->h[h].control;
    unsigned source = c->now.source, target = c->now.target;
    uint64_t now = boot_now(w, h);
    bool all = true;
    for (unsigned k = 0; k < HOSTS; k++) {
        bool fresh = is_fresh(w, h, k);
        all = all && (fresh || l->was_heard[k]);
        l->was_heard[k] |= fresh;
        if (k != h && l->was_fresh[k] && !fresh)
            l->lost_ms[k] = now;
        l->was_fresh[k] = fresh;
        bool lost = l->lost_ms[k] && now - l->lost_ms[k] < 60000;
        f->world.regions_lost += lost && !fresh && k != source;
        f->world.target_was_lost |= lost && !fresh && k == target;
        f->world.regions_on += fresh && k != source;
    }
    unsigned writable = 0;
    for (unsigned k = 0; k < HOSTS; k++)
        writable +=
            is_fresh(w, h, k) && c->heard[k].beat.report.told && c->heard[k].beat.report.writable;
    f->world.two_sources = writable > 1;
    f->world.topology_known = all;
    f->world.clock_step_ms = l->stepped_ms ? now - l->stepped_ms : FAILOVER_NEVER;
}

/* What a control remembers of what it sees, leading or not. */
static void observe(struct world *w, unsigned h, struct failover_facts *f)
{
    struct control *c = &w->h[h].control;
    struct memory *l = &c->memory;
    memset(f, 0, sizeof *f);
    gather_source(w, h, f);
    gather_target(w, h, f);
    gather_lease(w, h, f);
    gather_world(w, h, f);
    l->healthy |= failover_source_well(f);
    f->world.seen_healthy = l->healthy;
    if (!failover_source_writes(f))
        return;
    const struct report *r = &c->heard[c->now.target % HOSTS].beat.report;
    l->well_ms = boot_now(w, h);
    l->broken_before = r->broken;
    if (f->target.heard && r->replicating) {
        l->lag_known = true;
        l->lag_ms = r->lag_ms;
        l->lag_at_ms = l->well_ms;
    }
}

static void gather(struct world *w, unsigned h, struct failover_facts *f)
{
    const struct control *c = &w->h[h].control;
    observe(w, h, f);
    gather_voters(w, h, f);
    gather_vantages(w, h, f);
    failover_doc_facts(c->now.notes, c->now.doc, FINGERPRINT, &declared, wall_now(w, h), f);
    f->automation.automatic = w->automatic;
    f->max_lag_ms = MAX_LAG_MS;
    f->sync_required = w->semi_sync;
}

/* ---- steps */

static void carry_out(struct world *w, unsigned h, const struct failover_action *a);

static bool write_document(struct world *w, unsigned h, json_t *doc)
{
    struct control *c = &w->h[h].control;
    struct request r = {.kind = REQUEST_DOC,
        .purpose = FOR_STEP,
        .host = h,
        .lead_epoch = c->leader.epoch,
        .doc_rev = c->now.doc_rev,
        .notes_rev = c->now.notes_rev,
        .json = doc};
    c->leader.writing = true;
    c->leader.promotes = json_opt_int(doc, "epoch", 0) > c->now.parsed.epoch;
    store_send(w, &r);
    return true;
}

static void say(struct world *w, unsigned h)
{
    const struct control *c = &w->h[h].control;
    struct leader *l = &w->h[h].control.leader;
    char why[400];
    enum failover_state state = failover_state_of(c->now.doc, &l->run);
    if (!w->o.trace || (state == l->told && str_eq(l->told_rule, l->run.rule.id)))
        return;
    l->told = state;
    str_copy(l->told_rule, sizeof l->told_rule, l->run.rule.id);
    sim_trace(w->sim, "%s: %s %s", host_name(h), failover_state_name(state),
        failover_reason(c->now.doc, &l->run, why, sizeof why));
}

static void step(struct world *w, unsigned h, const struct failover_event *event)
{
    struct control *c = &w->h[h].control;
    struct leader *l = &c->leader;
    struct failover_event ev = *event;
    for (unsigned k = 0; k < FAILOVER_ACTS + 1; k++) {
        struct failover_facts f;
        struct failover_action a = {0};
        gather(w, h, &f);
        ev.facts = &f;
        l->next_run = l->run;
        l->next_run.guards_off = w->o.failover_off;
        json_t *doc =
            failover_step(c->now.doc, &l->next_run, &ev, boot_now(w, h), wall_now(w, h), &a);
        if (doc != c->now.doc) {
            write_document(w, h, doc);
            json_decref(doc);
            return;
        }
        json_decref(doc);
        l->run = l->next_run;
        say(w, h);
        if (a.act == FAILOVER_NOTHING)
            return;
        carry_out(w, h, &a);
        ev = (struct failover_event){.kind = FAILOVER_TICK};
    }
}

static bool may_step(const struct world *w, unsigned h)
{
    const struct control *c = &w->h[h].control;
    return c->leader.leads && c->has_picture && !c->leader.writing
           && boot_now(w, h) < c->leader.until_ms;
}

static void drain(struct world *w, unsigned h)
{
    struct leader *l = &w->h[h].control.leader;
    while (l->n_queue && may_step(w, h)) {
        struct happened p = l->queue[0];
        memmove(l->queue, l->queue + 1, --l->n_queue * sizeof l->queue[0]);
        p.ev.error = p.error.code ? &p.error : NULL;
        p.ev.gtid = *p.gtid ? p.gtid : NULL;
        step(w, h, &p.ev);
    }
}

static void happened(struct world *w, unsigned h, const struct happened *p)
{
    struct leader *l = &w->h[h].control.leader;
    if (!l->leads || l->n_queue == HAPPENED_MAX)
        return;
    l->queue[l->n_queue++] = *p;
    drain(w, h);
}

/* ---- acts */

static void on_local_act(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    if (postponed(j, j->from, P_CONTROL, on_local_act))
        return;
    leader_act_answered(j);
    job_free(j);
}

static void act_here(struct world *w, unsigned h, const struct failover_action *a)
{
    struct job *j = job_new(w);
    j->from = h;
    j->control_life = w->h[h].p[P_CONTROL].life;
    j->kind = (int)a->act;
    j->action_id = (uint64_t)a->id;
    j->ok = a->act != FAILOVER_SWITCH || !w->switch_fails;
    if (!j->ok) {
        j->code = ERR_UNAVAILABLE;
        str_copy(j->text, sizeof j->text, "an answer still names the region that is gone");
    }
    job_in(j, sim_between(w->sim, 20, 900), on_local_act);
}

static void act_on_lease(struct world *w, unsigned h, const struct failover_action *a)
{
    const struct control *c = &w->h[h].control;
    struct request r = {.kind = REQUEST_LEASE,
        .purpose = FOR_ACT,
        .host = h,
        .act = (int)a->act,
        .id = (uint64_t)a->id,
        .lead_epoch = c->leader.epoch,
        .lease_rev = c->now.lease_rev,
        .lease = c->now.lease};
    struct happened p = {.ev = {.kind = FAILOVER_ANSWER, .act = a->act, .id = a->id}};
    if (!c->now.has_lease || r.lease.epoch < a->epoch) {
        r.lease =
            (struct lease_record){.epoch = a->epoch, .seq = r.lease.seq + 1, .lease_ms = LEASE_MS};
        str_copy(r.lease.holder, sizeof r.lease.holder, c->now.parsed.source->host);
    } else if (r.lease.epoch > a->epoch) {
        err_set(&p.error, ERR_REFUSED, "another epoch");
        happened(w, h, &p);
        return;
    }
    r.lease.revoked = a->act == FAILOVER_REVOKE;
    store_send(w, &r);
}

static void carry_out(struct world *w, unsigned h, const struct failover_action *a)
{
    sim_trace(w->sim, "%s: act %s %s (change %d, epoch %d)", host_name(h),
        failover_act_name(a->act), a->host, (int)a->id, (int)a->epoch);
    switch (a->act) {
    case FAILOVER_REVOKE:
    case FAILOVER_RESTORE:
        act_on_lease(w, h, a);
        break;
    case FAILOVER_FENCE:
    case FAILOVER_PROMOTE:
    case FAILOVER_VERIFY:
        control_call(w, h, a);
        break;
    default:
        act_here(w, h, a);
    }
}

void leader_act_answered(const struct job *j)
{
    struct world *w = j->w;
    struct happened p = {.ev = {.kind = FAILOVER_ANSWER,
                             .act = (enum failover_act)j->kind,
                             .id = (int64_t)j->action_id}};
    if (!is_up(w, j->from, P_CONTROL) || w->h[j->from].p[P_CONTROL].life != j->control_life)
        return;
    if (!j->ok)
        err_set(&p.error, j->code, "%s", j->text);
    str_copy(p.gtid, sizeof p.gtid, j->gtid);
    sim_trace(w->sim, "%s: %s was %s%s", host_name(j->from),
        failover_act_name((enum failover_act)j->kind),
        j->ok ? "done" : "not done: ", j->ok ? "" : j->text);
    happened(w, j->from, &p);
}

/* ---- answers of the state store */

static void on_written(struct world *w, const struct request *r)
{
    struct control *c = &w->h[r->host].control;
    struct leader *l = &c->leader;
    if (!l->leads || l->epoch != r->lead_epoch)
        return;
    l->writing = l->promotes = false;
    if (r->outcome == OUTCOME_DONE) {
        l->run = l->next_run;
        l->journal_ms = boot_now(w, r->host);
        control_sees(w, r);
        step(w, r->host, &(struct failover_event){.kind = FAILOVER_TICK});
        drain(w, r->host);
        return;
    }
    /* Somebody else wrote, or nobody knows: it is read again before the next step. */
    l->blind = true;
    l->blind_ms = boot_now(w, r->host);
    store_send(w, &(struct request){.kind = REQUEST_READ, .purpose = FOR_PICTURE, .host = r->host});
}

static void on_act(struct world *w, const struct request *r)
{
    struct happened p = {
        .ev = {.kind = FAILOVER_ANSWER, .act = (enum failover_act)r->act, .id = (int64_t)r->id}};
    if (r->outcome != OUTCOME_DONE)
        err_set(&p.error, ERR_TIMEOUT, "not written");
    else
        control_sees(w, r);
    happened(w, r->host, &p);
}

void leader_answered(struct world *w, const struct request *r)
{
    if (r->purpose == FOR_LEADER)
        on_lead(w, r);
    else if (r->purpose == FOR_STEP)
        on_written(w, r);
    else if (r->purpose == FOR_ACT)
        on_act(w, r);
}

bool leader_promotes(const struct world *w, unsigned h)
{
    const struct control *c = &w->h[h].control;
    const char *kind = json_opt_str(c->now.parsed.change, "kind", "");
    return (c->leader.leads && c->leader.promotes) || str_eq(kind, "failover");
}

/* ---- its turn */

static void note_last(struct world *w, unsigned h)
{
    struct control *c = &w->h[h].control;
    const json_t *last = json_object_get(c->now.doc, "last");
    json_t *notes = failover_doc_note(json_incref(c->now.notes), last);
    if (notes != c->now.notes)
        store_send(w, &(struct request){.kind = REQUEST_NOTES,
                          .purpose = FOR_NOTE,
                          .host = h,
                          .notes_rev = c->now.notes_rev,
                          .json = notes});
    json_decref(notes);
}

void leader_tick(struct world *w, unsigned h, uint64_t now)
{
    struct control *c = &w->h[h].control;
    struct leader *l = &c->leader;
    struct memory *m = &c->memory;
    if (m->tick_ms && now - m->tick_ms > 5000)
        m->stepped_ms = now; /* it slept */
    m->tick_ms = now;
    if (!l->leads) {
        struct failover_facts f;
        if (c->has_picture)
            observe(w, h, &f);
        return;
    }
    if (now >= l->until_ms) {
        l->leads = false;
        return;
    }
    leader_wants(w, h);
    if (!may_step(w, h) || l->blind)
        return;
    drain(w, h);
    if (may_step(w, h))
        step(w, h, &(struct failover_event){.kind = FAILOVER_TICK});
    if (++l->turns % 8 == 0)
        note_last(w, h);
}

void leader_order(struct world *w, unsigned h, const struct failover_wish *wish)
{
    struct control *c = &w->h[h].control;
    struct failover_facts f;
    struct failover_rule rule;
    struct err e = {0};
    if (!runs(w, h, P_CONTROL) || !may_step(w, h) || c->leader.blind
        || failover_may_begin(c->now.doc, wish->to, &e) < 0)
        return;
    gather(w, h, &f);
    f.order = wish->order;
    if (failover_forbidden(&f, &rule)) {
        sim_trace(w->sim, "the order is refused: %s %s", rule.id, rule.text);
        return;
    }
    json_t *doc = failover_begin(c->now.doc, wish, wall_now(w, h));
    c->leader.next_run = c->leader.run;
    write_document(w, h, doc);
    json_decref(doc);
}
