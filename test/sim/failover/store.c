/* SPDX-License-Identifier: Apache-2.0 */
/* The state store: one member a host, one of them leads, a majority of all commits. A request goes to the leader (by
 * way of any member that both ends reach), happens there at one moment or not at all, and its answer may be lost: then
 * who asked does not know. */
#include "world.h"

#include <string.h>

#define TIMEOUT_MS 2000u
#define ELECTION_MS 1000u /* without a leader that works */
#define LOOK_MS 250u

static bool serves(const struct world *w, unsigned h)
{
    return runs(w, h, P_MEMBER);
}

static bool both_ways(const struct world *w, unsigned a, unsigned b)
{
    return link_carries(w, a, b) && link_carries(w, b, a);
}

static bool has_majority(const struct world *w, unsigned m)
{
    unsigned n = serves(w, m);
    for (unsigned h = 0; n && h < HOSTS; h++)
        n += h != m && serves(w, h) && both_ways(w, m, h);
    return n > HOSTS / 2;
}

bool store_works(const struct world *w)
{
    return w->store.leader != NOBODY && sim_now(w->sim) >= w->store.ready_ms
           && has_majority(w, w->store.leader);
}

static void elect(struct world *w)
{
    unsigned first = (unsigned)sim_between(w->sim, 0, HOSTS - 1);
    for (unsigned k = 0; k < HOSTS; k++) {
        unsigned m = (first + k) % HOSTS;
        if (!has_majority(w, m))
            continue;
        w->store.leader = m;
        w->store.ready_ms = sim_now(w->sim) + sim_between(w->sim, 100, 800);
        if (w->store.lead_holder != NOBODY) /* leases begin anew with a new leader */
            w->store.lead_until_ms = w->store.ready_ms + LEAD_MS;
        w->store.lost_ms = 0;
        return;
    }
}

static void on_look(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    uint64_t now = sim_now(w->sim);
    if (w->store.leader != NOBODY && has_majority(w, w->store.leader)) {
        w->store.lost_ms = 0;
    } else if (!w->store.lost_ms) {
        w->store.lost_ms = now;
    } else if (now - w->store.lost_ms >= ELECTION_MS) {
        w->store.leader = NOBODY;
        elect(w);
    }
    sim_at(w->sim, now + LOOK_MS, on_look, w, 0);
}

void store_start(struct world *w)
{
    w->store.leader = HK;
    w->store.lead_holder = NOBODY;
    sim_at(w->sim, 1, on_look, w, 0);
}

/* By itself, or by way of another one. */
static bool route(struct world *w, unsigned from, unsigned to, uint64_t *ret_ms)
{
    if (both_ways(w, from, to))
        return link_send(w, from, to, ret_ms);
    for (unsigned k = 0; k < HOSTS; k++) {
        uint64_t second;
        if (k == from || k == to || !serves(w, k) || !both_ways(w, from, k) || !both_ways(w, k, to))
            continue;
        bool sent = link_send(w, from, k, ret_ms) && link_send(w, k, to, &second);
        *ret_ms += sent ? second : 0;
        return sent;
    }
    return false;
}

static bool leads_by_store(const struct world *w, const struct request *r)
{
    return w->store.lead_holder == r->host && w->store.lead_epoch == r->lead_epoch;
}

static void commit_lead(struct world *w, struct request *r)
{
    uint64_t now = sim_now(w->sim);
    bool over = w->store.lead_holder == NOBODY || now >= w->store.lead_until_ms;
    if (over
        || (w->store.lead_holder == r->host
            && !r->lead_epoch)) { /* its predecessor's, on the same host */
        w->store.lead_holder = r->host;
        w->store.lead_epoch++;
        sim_trace(w->sim, "%s leads (%d)", host_name(r->host), (int)w->store.lead_epoch);
    } else if (!leads_by_store(w, r)) {
        r->outcome = OUTCOME_REFUSED;
        return;
    }
    w->store.lead_until_ms = now + LEAD_MS;
    r->lead_epoch = w->store.lead_epoch;
}

static void commit_doc(struct world *w, struct request *r)
{
    if (!leads_by_store(w, r) || w->store.doc_rev != r->doc_rev
        || (r->notes_rev && w->store.notes_rev != r->notes_rev)) {
        r->outcome = OUTCOME_REFUSED;
        return;
    }
    check_document(w, w->store.doc, r->json);
    world_keep(w, r->json);
    w->store.doc = r->json;
    w->store.doc_rev = ++w->store.revs;
}

static void commit_notes(struct world *w, struct request *r)
{
    if (w->store.notes_rev != r->notes_rev) {
        r->outcome = OUTCOME_REFUSED;
        return;
    }
    world_keep(w, r->json);
    w->store.notes = r->json;
    w->store.notes_rev = ++w->store.revs;
    check_notes(w, r->json);
}

static void commit_lease(struct world *w, struct request *r)
{
    bool guarded = r->lead_epoch == 0 || leads_by_store(w, r);
    bool same_doc = r->doc_rev == 0 || r->doc_rev == w->store.doc_rev;
    if (!guarded || !same_doc || w->store.lease_rev != r->lease_rev) {
        r->outcome = OUTCOME_REFUSED;
        return;
    }
    check_lease(w, r);
    w->store.lease = r->lease;
    w->store.has_lease = true;
    w->store.lease_rev = ++w->store.revs;
}

static void take_picture(const struct world *w, struct request *r)
{
    r->doc = w->store.doc;
    r->notes = w->store.notes;
    r->doc_rev = w->store.doc_rev;
    r->notes_rev = w->store.notes_rev;
    r->lease_rev = w->store.lease_rev;
    r->lease = w->store.lease;
    r->has_lease = w->store.has_lease;
    r->lead_free = w->store.lead_holder == NOBODY || sim_now(w->sim) >= w->store.lead_until_ms;
}

static void on_answer(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct request *r = &j->request;
    if (postponed(j, r->host, P_CONTROL, on_answer))
        return;
    if (is_up(j->w, r->host, P_CONTROL) && j->w->h[r->host].p[P_CONTROL].life == r->life)
        control_answered(j->w, r);
    job_free(j);
}

static void late(struct job *j)
{
    struct request *r = &j->request;
    uint64_t now = sim_now(j->w->sim);
    r->outcome = OUTCOME_UNKNOWN;
    job_in(j, r->sent_ms + TIMEOUT_MS > now ? r->sent_ms + TIMEOUT_MS - now : 0, on_answer);
}

static void on_commit(void *ctx, uint64_t arg)
{
    static void (*const commits[])(struct world *, struct request *) = {
        [REQUEST_LEAD] = commit_lead,
        [REQUEST_DOC] = commit_doc,
        [REQUEST_NOTES] = commit_notes,
        [REQUEST_LEASE] = commit_lease,
    };
    struct job *j = ctx;
    struct world *w = j->w;
    uint64_t back;
    unsigned leader = w->store.leader;
    if (!store_works(w)) {
        late(j);
        return;
    }
    if (commits[j->request.kind])
        commits[j->request.kind](w, &j->request);
    if (j->request.outcome == OUTCOME_DONE && j->request.kind != REQUEST_LEAD)
        take_picture(w, &j->request);
    if (!route(w, leader, j->request.host, &back) || back > TIMEOUT_MS)
        late(j);
    else
        job_in(j, back, on_answer);
}

void store_send(struct world *w, const struct request *r)
{
    struct job *j = job_new(w);
    uint64_t there = 0, round = 0;
    unsigned leader = w->store.leader;
    j->request = *r;
    j->json = json_incref(r->json);
    j->request.sent_ms = sim_now(w->sim);
    j->request.asked_ms = boot_now(w, r->host);
    j->request.life = w->h[r->host].p[P_CONTROL].life;
    j->request.outcome = OUTCOME_DONE;
    bool leads = leader != NOBODY && sim_now(w->sim) >= w->store.ready_ms;
    if (!leads || !route(w, r->host, leader, &there) || there > TIMEOUT_MS) {
        late(j);
        return;
    }
    round =
        2
        * MIN(w->delay_ms[leader][(leader + 1) % HOSTS], w->delay_ms[leader][(leader + 2) % HOSTS]);
    job_in(j, there + round + sim_between(w->sim, 1, 5), on_commit);
}
