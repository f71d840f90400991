/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold, at every moment:
 *
 *  S1  no write is acknowledged under an epoch after its deadline, or once a higher one exists; none is taken by a
 *      server whose deadline is over while somebody is there to fence it; nobody is promoted while the gate of the
 *      old source may still acknowledge
 *  S2  epochs rise one by one; no record or order of an old one is heeded
 *  S3  what was acknowledged and is missing at the new source lies in the range that is reported; none with semi-sync,
 *      unless by an order that accepts a loss (it waives R12 and R13)
 *  S4  no log is forgotten that a member needs, but for a full disk from the replica that is declared for that (retain.c)
 *  S5  what is paused, or may not, does not begin by itself
 *  S6  by itself at most once in a cooldown
 *  S7  a source that renews its lease and serves is not replaced by itself
 *
 * and, when the faults have stopped: a write is acknowledged within a minute, no change is left, not even partial, and
 * all others follow. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define GRACE_MS 700u /* of those who look at the deadline each 250 ms */
#define WELL_MS 6000u
#define WRITABLE_MS 60000u
#define REJOIN_MS 200000u

static bool is_failover(const json_t *change)
{
    return str_eq(json_opt_str(change, "kind", ""), "failover");
}

static bool is_partial(const json_t *last)
{
    return is_failover(last) && str_eq(json_opt_str(last, "outcome", ""), "partial");
}

/* Has run without a break for so long. */
static bool has_run(const struct world *w, unsigned h, enum process p, uint64_t ms)
{
    const struct process_state *s = &w->h[h].p[p];
    uint64_t now = sim_now(w->sim);
    return runs(w, h, p) && now - MIN(now, MAX(goes_on_ms(w, h, p), s->began_ms)) >= ms;
}

/* At this moment; what it has not read yet may open it. */
static bool gate_is_shut(const struct world *w, unsigned h)
{
    const struct gate *g = &w->h[h].gate;
    return !is_up(w, h, P_MESH) || !g->deadline_ms || boot_now(w, h) >= g->deadline_ms;
}

/* ---- the document */

static void check_begun(struct world *w, const json_t *new, const json_t *change)
{
    unsigned h = host_of(json_opt_str(new, "source", ""));
    uint64_t now = sim_now(w->sim);
    w->failovers++;
    sim_trace(w->sim, "change %d begins: %s, %s", (int)json_opt_int(change, "id", 0),
        json_opt_bool(change, "auto", false) ? "by itself" : "ordered",
        json_opt_str(change, "why", ""));
    if (!json_opt_bool(change, "auto", false) || h >= HOSTS)
        return;
    w->autos++;
    if (w->paused)
        sim_fail(w->sim, "S5: a failover begins by itself while paused");
    if (!w->automatic)
        sim_fail(w->sim, "S5: a failover begins by itself and may not");
    if (w->moved_ms && now - w->moved_ms < COOLDOWN_MS && !w->acked_all)
        sim_fail(w->sim, "S6: it fails over by itself %d ms after the last one",
            (int)(now - w->moved_ms));
}

/* A renewal that the leader has not read yet may begin a failover; it is called off before it moves. */
static bool is_well(const struct world *w, unsigned h)
{
    static const enum process needed[] = {P_SERVER, P_DATA, P_CONTROL, P_MESH};
    bool reached = false; /* by a majority with it, at this moment */
    for (unsigned k = 0; k < HOSTS; k++)
        reached |= k != h && link_carries(w, k, h) && link_carries(w, h, k) && runs(w, k, P_MEMBER);
    bool well = sim_now(w->sim) - w->store.renewed_ms < WELL_MS && !w->h[h].server.stalled
                && !w->h[h].server.read_only && reached;
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        well = well && has_run(w, h, needed[i], WELL_MS);
    return well;
}

static void check_moved(struct world *w, const json_t *old, const json_t *new)
{
    unsigned from = host_of(json_opt_str(old, "source", "")),
             to = host_of(json_opt_str(new, "source", ""));
    const json_t *change = json_object_get(old, "change");
    const struct gate *g = &w->h[from].gate;
    uint64_t epoch = (uint64_t)json_opt_int(new, "epoch", 0);
    sim_trace(w->sim, "the document: %s is the source at epoch %d", host_name(to), (int)epoch);
    if (epoch != w->epoch + 1 || epoch >= EPOCHS_MAX)
        sim_fail(w->sim, "S2: epoch %d follows epoch %d", (int)epoch, (int)w->epoch);
    if (is_failover(change) && !gate_is_shut(w, from) && g->epoch == w->epoch)
        sim_fail(w->sim, "S1: %s is promoted and the gate of %s is open for another %d ms",
            host_name(to), host_name(from), (int)(g->deadline_ms - boot_now(w, from)));
    if (is_failover(change) && json_opt_bool(change, "auto", false) && is_well(w, from))
        sim_fail(w->sim, "S7: %s is well and is failed over from", host_name(from));
    w->epoch = epoch;
    w->epochs[epoch % EPOCHS_MAX].host = to;
    w->epochs[epoch % EPOCHS_MAX].began_ms = sim_now(w->sim);
    w->epochs[epoch % EPOCHS_MAX].loss_accepted = json_opt_int(change, "accept_loss_ms", -1) >= 0;
    w->moved_ms = sim_now(w->sim);
    w->acked_all = !json_opt_bool(change, "auto", false);
}

/* S3: `missing` begins where the new source took over. */
static void check_missing(struct world *w, const json_t *last)
{
    const struct epoch *e = &w->epochs[w->epoch];
    const char *from = json_opt_str(json_object_get(last, "missing"), "from_gtid", "");
    char start[16];
    unsigned long long seq = 0;
    if (!e->lost_to || !is_failover(last) || str_eq(json_opt_str(last, "outcome", ""), "undone"))
        return;
    if (!*from) { /* left partial before it was known: reported when it is taken up again */
        if (str_eq(json_opt_str(last, "outcome", ""), "done"))
            sim_fail(w->sim, "S3: %d acknowledged writes are missing and nothing is reported",
                (int)(e->lost_to - e->lost_from));
        return;
    }
    snprintf(start, sizeof start, "%u-%u-", e->lost_domain + 1, e->lost_domain + 1);
    const char *at = strstr(from, start);
    if (at)
        seq = strtoull(at + strlen(start), NULL, 10);
    if (seq > e->lost_from)
        sim_fail(w->sim,
            "S3: acknowledged writes after %llu are missing, and what is reported begins at %llu",
            (unsigned long long)e->lost_from, seq);
}

void check_document(struct world *w, const json_t *old, const json_t *new)
{
    const json_t *was = json_object_get(old, "change"), *change = json_object_get(new, "change");
    const json_t *last = json_object_get(new, "last");
    int64_t id = json_opt_int(change, "id", 0);
    bool begins = is_failover(change) && id > json_opt_int(old, "changes", 0);
    if (json_opt_int(new, "epoch", 0) != json_opt_int(old, "epoch", 0))
        check_moved(w, old, new);
    else if (!str_eq(json_opt_str(new, "source", ""), json_opt_str(old, "source", "")))
        sim_fail(w->sim, "S2: another source at the same epoch");
    if (begins)
        check_begun(w, new, change);
    else if (is_failover(change)
             && !str_eq(json_opt_str(change, "step", ""), json_opt_str(was, "step", "")))
        sim_trace(w->sim, "change %d: %s", (int)id, json_opt_str(change, "step", ""));
    if (json_opt_int(json_object_get(old, "last"), "id", 0) != json_opt_int(last, "id", 0)
        || (json_is_object(was) && !json_is_object(change))) {
        sim_trace(w->sim, "change %d ends: %s %s", (int)json_opt_int(last, "id", 0),
            json_opt_str(last, "outcome", "?"), json_opt_str(last, "why", ""));
        w->partials += is_partial(last);
        check_missing(w, last);
    }
}

void check_notes(struct world *w, const json_t *notes)
{
    bool paused = json_is_object(json_object_get(notes, "paused"));
    if (paused != w->paused)
        sim_trace(w->sim, "%s", paused ? "paused" : "resumed");
    w->paused = paused;
    if (json_opt_int(notes, "acked_id", 0) >= json_opt_int(w->store.doc, "changes", 0))
        w->acked_all = true;
}

/* ---- the lease */

void check_lease(struct world *w, const struct request *r)
{
    const struct lease_record *old = &w->store.lease, *new = &r->lease;
    bool renewal = r->purpose == FOR_HOLDER && !new->released;
    if (w->store.has_lease && new->epoch < old->epoch)
        sim_trace(w->sim, "by %s, for %d, released %d seq %d rev %d doc %d", host_name(r->host),
            (int)r->purpose, (int)new->released, (int)new->seq, (int)r->lease_rev, (int)r->doc_rev);
    if (w->store.has_lease && new->epoch < old->epoch)
        sim_fail(w->sim, "S2: the lease of epoch %d is followed by that of %d", (int)old->epoch,
            (int)new->epoch);
    if (renewal && (uint64_t) new->epoch != w->epoch)
        sim_fail(w->sim, "S2: a lease of epoch %d is written, now is %d", (int)new->epoch,
            (int)w->epoch);
    if (renewal && w->store.has_lease && old->revoked && old->epoch == new->epoch)
        sim_fail(w->sim, "S2: a lease that is revoked is renewed");
    if (!w->store.has_lease || old->revoked != new->revoked || old->released != new->released)
        sim_trace(w->sim, "lease of epoch %d: %s%s", (int)new->epoch,
            new->revoked ? "revoked " : "", new->released ? "released" : "held");
    if (!renewal)
        return;
    w->store.renewed_ms = sim_now(w->sim);
    w->lawful_epoch[r->host] = (uint64_t) new->epoch;
    w->lawful_ms[r->host] = r->asked_ms + LEASE_MS;
}

/* All others have promised. */
void check_promised(struct world *w, unsigned h, uint64_t epoch, uint64_t asked_ms)
{
    sim_trace(w->sim, "%s: all have promised", host_name(h));
    w->promised++;
    if (w->lawful_epoch[h] == epoch)
        w->lawful_ms[h] = MAX(w->lawful_ms[h], asked_ms + LEASE_MS);
}

/* ---- writes */

void check_committed(struct world *w, unsigned h, uint64_t epoch, uint64_t seq)
{
    const struct watchdog *d = &w->h[h].watchdog;
    const struct role *r = &w->h[h].role;
    uint64_t now = boot_now(w, h);
    w->committed++;
    if (d->until_ms && d->pid == w->h[h].server.pid && now >= d->until_ms
        && has_run(w, h, P_WATCHDOG, GRACE_MS))
        sim_fail(w->sim, "S1: %s takes writes after its deadline, and its watchdog looks on",
            host_name(h));
    if (r->until_ms && now >= r->until_ms && has_run(w, h, P_DATA, GRACE_MS)
        && has_run(w, h, P_SERVER, GRACE_MS))
        sim_fail(w->sim, "S1: %s takes writes after its deadline, and its data role looks on",
            host_name(h));
}

void check_ack(struct world *w, unsigned h, uint64_t epoch, uint64_t seq)
{
    struct epoch *e = &w->epochs[epoch % EPOCHS_MAX];
    if (epoch != w->epoch)
        sim_fail(w->sim, "S1: %s acknowledges a write of epoch %d, now is %d", host_name(h),
            (int)epoch, (int)w->epoch);
    else if (w->lawful_epoch[h] != epoch || boot_now(w, h) >= w->lawful_ms[h])
        sim_fail(w->sim, "S1: %s acknowledges a write %d ms after its deadline", host_name(h),
            (int)(boot_now(w, h) - w->lawful_ms[h]));
    if (e->host != h)
        sim_fail(
            w->sim, "S1: %s acknowledges a write and is not the source of its epoch", host_name(h));
    if (epoch > 1 && !w->took_ms && w->n_faults)
        w->took_ms = sim_now(w->sim) - w->faults[0].at_ms;
    e->last_acked = MAX(e->last_acked, seq);
    e->acked++;
    w->acked++;
    w->acked_ms = sim_now(w->sim);
}

void check_opened(struct world *w, unsigned h, uint64_t epoch)
{
    struct epoch *now = &w->epochs[epoch % EPOCHS_MAX];
    if (epoch != w->epoch)
        sim_fail(w->sim, "S2: %s becomes writable at epoch %d, now is %d", host_name(h), (int)epoch,
            (int)w->epoch);
    if (now->opened)
        return;
    now->opened = true;
    for (uint64_t k = 1; k < epoch; k++) {
        struct epoch *e = &w->epochs[k];
        uint64_t has = w->h[h].server.have[e->host];
        if (e->last_acked <= has)
            continue;
        now->lost_domain = e->host;
        now->lost_from = has;
        now->lost_to = e->last_acked;
        sim_trace(w->sim, "acknowledged and not at %s: %d of epoch %d", host_name(h),
            (int)(e->last_acked - has), (int)k);
        if (w->semi_sync && !now->loss_accepted)
            sim_fail(w->sim, "S3: acknowledged writes are missing although semi-synchronous");
        e->last_acked = has;
    }
}

/* S3: what the platform throws away of a former source's own is saved, all that was acknowledged and
 * is missing among it. */
void check_discard(struct world *w, unsigned h, unsigned from)
{
    const struct server *s = &w->h[h].server, *other = &w->h[from].server;
    unsigned by;
    if (s->have[h] <= other->have[h] || !server_epoch(w, s, &by) || w->errant[h])
        return;
    if (w->rescued[h].to < s->have[h] || w->rescued[h].from > other->have[h])
        sim_fail(w->sim, "S3: %s throws away what is after %llu up to %llu, saved is %llu to %llu",
            host_name(h), (unsigned long long)other->have[h], (unsigned long long)s->have[h],
            (unsigned long long)w->rescued[h].from, (unsigned long long)w->rescued[h].to);
    for (uint64_t k = 1; k <= w->epoch; k++) {
        const struct epoch *e = &w->epochs[k];
        if (e->lost_to && e->lost_domain == h && !e->found
            && (w->rescued[h].from > e->lost_from || w->rescued[h].to < e->lost_to))
            sim_fail(w->sim, "S3: acknowledged writes up to %llu are missing, saved is up to %llu",
                (unsigned long long)e->lost_to, (unsigned long long)w->rescued[h].to);
        if (e->lost_to && e->lost_domain == h)
            w->epochs[k].found = true;
    }
}

/* ---- the end */

static const char *unsettled(const struct world *w, unsigned h, unsigned source)
{
    const struct server *s = &w->h[h].server;
    enum replication_state state = w->h[h].role.node.state;
    if (!w->has_db[h] || h == source)
        return NULL;
    return !s->read_only                      ? "is a replica and takes writes"
           : state != REPLICATION_REPLICATING ? replication_state_name(state)
                                              : NULL;
}

bool check_settled(struct world *w, bool say)
{
    uint64_t now = sim_now(w->sim), since = MAX(w->calm_ms, w->disturbed_ms);
    const json_t *change = json_object_get(w->store.doc, "change");
    unsigned source = host_of(json_opt_str(w->store.doc, "source", ""));
    bool writes = w->acked_ms > since && now - w->acked_ms < 3000;
    if (!w->wrote_again && writes)
        w->wrote_again = true;
    if (!w->wrote_again && now - since > WRITABLE_MS)
        sim_fail(w->sim, "the faults are over for %d s and no write is acknowledged",
            (int)(now - since) / 1000);
    const json_t *last = json_object_get(w->store.doc, "last");
    bool left = is_partial(last)
                && json_opt_int(w->store.notes, "acked_id", 0) < json_opt_int(last, "id", 0);
    bool well = writes && !json_is_object(change) && !left;
    for (unsigned h = 0; h < HOSTS; h++) {
        const char *why = unsettled(w, h, source);
        if (why && say)
            sim_fail(w->sim, "at the end %s %s (%s)", host_name(h), why, w->h[h].role.node.why);
        well = well && !why;
    }
    if (say && json_is_object(change))
        sim_fail(w->sim, "change %d never ends: %s", (int)json_opt_int(change, "id", 0),
            json_opt_str(change, "step", ""));
    if (say && left)
        sim_fail(w->sim, "at the end change %d is left partial: %s",
            (int)json_opt_int(last, "id", 0), json_opt_str(last, "why", ""));
    if (say && !writes)
        sim_fail(w->sim, "at the end nobody takes writes");
    return well;
}
