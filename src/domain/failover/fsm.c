/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/fsm.h"

#include "base/str/str.h"
#include "domain/failover/lease.h"
#include "domain/replication/doc.h"

#include <stdio.h>
#include <string.h>

#define STEPS_MAX 32u      /* kept in the journal: a change that is taken up again adds some */
#define REFUSED_MS 5000u   /* between two tries of an act that was refused */
#define ANSWER_MARGIN_MS 5000u /* an act that was never answered is asked again after that */
#define RENEWAL_LATE_MS 2000u /* two readings of the record, and a round through the quorum */
#define HOPS_MAX 8u /* of states in memory within one event: the table has no longer path */

static const char *const state_names[FAILOVER_STATES] = {
    [FAILOVER_HEALTHY] = "healthy",
    [FAILOVER_SUSPECT] = "suspect",
    [FAILOVER_CONFIRMED] = "confirmed",
    [FAILOVER_BLOCKED] = "blocked",
    [FAILOVER_MANUAL] = "manual",
    [FAILOVER_PAUSED] = "paused",
    [FAILOVER_DRILL] = "drill",
    [FAILOVER_DR_ACTIVE] = "dr-active",
    [FAILOVER_COOLDOWN] = "cooldown",
    [FAILOVER_FAILBACK_READY] = "failback-ready",
    [FAILOVER_SWITCHOVER] = "switchover",
    [FAILOVER_PARTIAL] = "partial",
    [FAILOVER_FENCING] = "fencing",
    [FAILOVER_FENCED] = "fenced",
    [FAILOVER_PROMOTING] = "promoting",
    [FAILOVER_VERIFYING] = "verifying",
    [FAILOVER_ADMITTING] = "admitting",
    [FAILOVER_SWITCHING] = "switching",
    [FAILOVER_RESTORING] = "restoring",
};

const char *failover_state_name(enum failover_state s)
{
    return s < FAILOVER_STATES ? state_names[s] : "?";
}

const char *failover_act_name(enum failover_act act)
{
    static const char *const names[FAILOVER_ACTS] = {"nothing", "before", "revoke", "fence",
        "restore", "promote", "verify", "admit", "switch", "after"};
    return act < FAILOVER_ACTS ? names[act] : "?";
}

/* ---- one event ---- */

struct turn {
    json_t *doc;
    const json_t *change, *last; /* of doc; change NULL: no failover is under way */
    struct failover_facts f;     /* completed from journal and memory */
    struct failover_run *run;
    enum failover_state state;
    uint64_t now_ms;
    int64_t wall_ms;
};

static const json_t *change_of(const json_t *doc)
{
    const json_t *change = json_object_get(doc, "change");
    bool ours = json_is_object(change) && str_eq(json_opt_str(change, "kind", ""), "failover");
    return ours ? change : NULL;
}

/* A newer version's step: what it left is nothing that this one could judge; giving up is safe
 * before the document has moved, verifying is after. */
static enum failover_state step_of(const json_t *doc, const json_t *change)
{
    const char *name = json_opt_str(change, "step", "");
    for (int s = FAILOVER_FENCING; s < FAILOVER_STATES; s++)
        if (str_eq(state_names[s], name))
            return (enum failover_state)s;
    bool moved = str_eq(json_opt_str(doc, "source", ""), json_opt_str(change, "to", ""));
    return moved ? FAILOVER_VERIFYING : FAILOVER_RESTORING;
}

enum failover_state failover_state_of(const json_t *doc, const struct failover_run *run)
{
    const json_t *change = change_of(doc);
    return change ? step_of(doc, change) : run->state;
}

/* ---- facts ---- */

static bool has_lease(const struct failover_facts *f)
{
    return f->lease.enforced && f->lease.known;
}

/* The source will have stopped writing by itself, or is about to. */
static bool lease_is_stale(const struct failover_facts *f)
{
    const struct failover_lease *l = &f->lease;
    return has_lease(f) && !l->revoked && !l->promised_ms
           && l->age_ms >= lease_fence_ms(l->length_ms, l->length_ms);
}

bool failover_source_well(const struct failover_facts *f)
{
    return f->source.answers && f->source.reaches_store && !f->source.down_ms
           && f->source.silent_ms < FAILOVER_SUSPECT_MS && !lease_is_stale(f);
}

bool failover_source_writes(const struct failover_facts *f)
{
    const struct failover_lease *l = &f->lease;
    bool late =
        has_lease(f) && !l->promised_ms
        && (l->released || l->age_ms > l->length_ms / LEASE_RENEW_PARTS + RENEWAL_LATE_MS);
    return failover_source_well(f) && !late;
}

bool failover_source_lost(const struct failover_facts *f)
{
    return f->source.silent_ms >= FAILOVER_SILENT_MS || f->source.down_ms >= FAILOVER_RESTART_MS
           || lease_is_stale(f);
}

static enum failover_functions before_of(
    const struct failover_facts *f, const struct failover_run *run, enum failover_state state)
{
    const struct failover_try *t = &run->tries[FAILOVER_BEFORE];
    if (!f->has_before)
        return FAILOVER_NO_FUNCTIONS;
    if (state != FAILOVER_FENCING)
        return state < FAILOVER_FENCING ? FAILOVER_FUNCTIONS_DUE : FAILOVER_FUNCTIONS_DONE;
    return t->done      ? FAILOVER_FUNCTIONS_DONE
           : t->refused ? FAILOVER_FUNCTIONS_FAILED
                        : FAILOVER_FUNCTIONS_DUE;
}

static struct failover_order order_of(const json_t *change)
{
    int64_t loss_ms = json_opt_int(change, "accept_loss_ms", -1);
    return (struct failover_order){.by_hand = !json_opt_bool(change, "auto", true),
        .accept_loss = loss_ms >= 0,
        .loss_ms = loss_ms >= 0 ? (uint64_t)loss_ms : 0,
        .source_off = json_opt_bool(change, "source_off", false)};
}

/* What was known of before the fault: who goes on with it may have begun after the fault. */
static json_t *before_the_fault(const struct failover_facts *f)
{
    const struct failover_target *t = &f->target;
    return json_pack("{s:b,s:b,s:I,s:I}", "broken", (int)t->broken_before, "lag_known",
        (int)t->lag_known, "lag_ms", (json_int_t)t->lag_ms, "lag_age_ms",
        (json_int_t)t->lag_age_ms);
}

static void recall(const json_t *change, struct failover_facts *f)
{
    const json_t *was = json_object_get(change, "before");
    struct failover_target *t = &f->target;
    if (!json_is_object(was) || !str_eq(json_opt_str(change, "to", ""), t->host))
        return;
    t->broken_before = json_opt_bool(was, "broken", true);
    t->lag_known = json_opt_bool(was, "lag_known", false);
    t->lag_ms = (uint64_t)MAX(json_opt_int(was, "lag_ms", INT64_MAX - 1), 0);
    t->lag_age_ms = (uint64_t)MAX(json_opt_int(was, "lag_age_ms", INT64_MAX - 1), 0);
}

struct failover_facts failover_facts_of(
    const json_t *doc, const struct failover_run *run, const struct failover_facts *f)
{
    struct failover_facts own = *f;
    const json_t *change = change_of(doc);
    enum failover_state state = failover_state_of(doc, run);
    bool same = change && run->id == json_opt_int(change, "id", 0) && run->step == state;
    const struct failover_run none = {0};
    const struct failover_run *r = same ? run : &none;
    own.past.foreign_change = !change && json_is_object(json_object_get(doc, "change"));
    own.fencing = change != NULL;
    own.before = before_of(f, r, state);
    str_copy(own.before_text, sizeof own.before_text, r->tries[FAILOVER_BEFORE].text);
    if (!change)
        return own;
    own.order = order_of(change);
    recall(change, &own);
    /* What was proven once is in the journal, and holds as long as the lease stays revoked. */
    bool held = f->lease.enforced && f->lease.known && !f->lease.revoked;
    bool proven = *json_opt_str(change, "proof", "") && !held;
    own.fenced_ack = r->tries[FAILOVER_FENCE].done || proven;
    return own;
}

/* A lease that was given back just now could not be renewed before: its age counts from there. A
 * wall clock that was set back makes it young; silence and death of the source do not depend on it. */
static uint64_t lease_age(const json_t *last, uint64_t age_ms, int64_t wall_ms)
{
    bool given = str_eq(json_opt_str(last, "kind", ""), "failover")
                 && str_eq(json_opt_str(last, "outcome", ""), "undone");
    int64_t since_ms = wall_ms - json_opt_int(last, "ended_ms", 0);
    return given ? MIN(age_ms, (uint64_t)MAX(since_ms, 0)) : age_ms;
}

/* ---- what the table asks ---- */

static bool off(const struct turn *t, unsigned guard)
{
    return t->run->guards_off & guard;
}

static bool is_forbidden(const struct turn *t)
{
    if (off(t, FAILOVER_OFF_RULES)) {
        t->run->rule = (struct failover_rule){0};
        return failover_r6(&t->f, &t->run->rule) && !off(t, FAILOVER_OFF_FENCING);
    }
    bool forbidden = failover_forbidden(&t->f, &t->run->rule);
    return forbidden && !(off(t, FAILOVER_OFF_FENCING) && str_eq(t->run->rule.id, "R6"));
}

static bool is_permitted(const struct turn *t)
{
    return !is_forbidden(t);
}

static bool is_well(const struct turn *t)
{
    return failover_source_well(&t->f);
}

static bool is_ill(const struct turn *t)
{
    return !failover_source_well(&t->f);
}

static bool is_lost(const struct turn *t)
{
    return failover_source_lost(&t->f);
}

static bool is_not_lost(const struct turn *t)
{
    return !failover_source_lost(&t->f);
}

static bool moves(const struct turn *t)
{
    return t->f.past.foreign_change;
}

static bool moves_no_more(const struct turn *t)
{
    return !t->f.past.foreign_change;
}

static bool is_paused(const struct turn *t)
{
    return t->f.automation.paused;
}

static bool is_resumed(const struct turn *t)
{
    return !is_paused(t);
}

static bool is_drilled(const struct turn *t)
{
    return t->f.automation.drill && !t->f.automation.drill_own;
}

static bool is_drilled_no_more(const struct turn *t)
{
    return !is_drilled(t);
}

static bool is_by_hand(const struct turn *t)
{
    return !t->f.automation.automatic;
}

static bool is_automatic(const struct turn *t)
{
    return t->f.automation.automatic;
}

/* The document may have moved on since; then nothing is left to do. */
static bool is_partial(const struct turn *t)
{
    return t->f.past.left_undone && str_eq(json_opt_str(t->last, "kind", ""), "failover")
           && str_eq(json_opt_str(t->last, "outcome", ""), "partial")
           && str_eq(json_opt_str(t->last, "to", ""), json_opt_str(t->doc, "source", ""));
}

static bool is_whole(const struct turn *t)
{
    return !is_partial(t);
}

static bool is_retried(const struct turn *t)
{
    uint64_t tries = (uint64_t)MAX(0, MIN(10, json_opt_int(t->last, "tries", 0)));
    uint64_t wait_ms = MIN(FAILOVER_RETRY_MS << tries, FAILOVER_RETRY_MAX_MS);
    int64_t since_ms = t->wall_ms - json_opt_int(t->last, "ended_ms", 0);
    return since_ms < 0 || (uint64_t)since_ms >= wait_ms;
}

static bool is_away(const struct turn *t)
{
    return t->f.home.away;
}

static bool is_home(const struct turn *t)
{
    return !is_away(t);
}

static bool is_cooling(const struct turn *t)
{
    return t->f.past.since_ms < t->f.past.cooldown_ms && !t->f.past.acknowledged;
}

static bool is_alone(const struct turn *t)
{
    return is_away(t) && !t->f.home.replicates;
}

static bool is_back(const struct turn *t)
{
    return is_away(t) && t->f.home.replicates && is_cooling(t);
}

static bool is_ready(const struct turn *t)
{
    return is_away(t) && t->f.home.replicates && !is_cooling(t);
}

/* It can be the source of this document, which may have changed meanwhile. */
static bool can_be_source(const struct turn *t)
{
    struct replication_doc d;
    struct err ignored;
    const char *to = json_opt_str(t->change, "to", "");
    return replication_doc_parse(t->doc, &d, &ignored) >= 0 && replication_doc_find(&d, to)
           && !str_eq(d.source->host, to);
}

/* The source is there again before anything was lost, or automation has been turned off. A person's
 * order stands. */
static bool is_called_off(const struct turn *t)
{
    struct failover_rule ignored;
    if (!can_be_source(t))
        return true;
    /* Where it was the lease that was not renewed, a server that answers is no news: it has fenced
     * itself, and giving the lease back would begin the same again. That it had renewed it just
     * before it was revoked is. */
    const struct failover_lease *l = &t->f.lease;
    bool stale = str_eq(json_opt_str(t->change, "cause", ""), "lease")
                 && l->age_ms >= lease_fence_ms(l->length_ms, l->length_ms);
    bool returned = failover_source_well(&t->f) && !stale && !off(t, FAILOVER_OFF_RETURN);
    return !t->f.order.by_hand && (returned || failover_r1(&t->f, &ignored));
}

static bool is_late(const struct turn *t)
{
    static const uint64_t limits[FAILOVER_STATES] = {
        [FAILOVER_FENCING] = FAILOVER_FENCE_MS,
        [FAILOVER_FENCED] = FAILOVER_FENCED_MS,
        [FAILOVER_PROMOTING] = FAILOVER_PROMOTE_MS,
        [FAILOVER_VERIFYING] = FAILOVER_VERIFY_MS,
        [FAILOVER_ADMITTING] = FAILOVER_ADMIT_MS,
        [FAILOVER_SWITCHING] = FAILOVER_SWITCH_MS,
    };
    int64_t since_ms = t->wall_ms - json_opt_int(t->change, "step_ms", t->wall_ms);
    return limits[t->state] && since_ms >= (int64_t)limits[t->state];
}

static bool is_done(const struct turn *t, enum failover_act act)
{
    return t->run->tries[act].done;
}

/* Nothing renews the lease any more, and no write can be acknowledged. */
static bool is_proven(const struct turn *t)
{
    struct failover_rule r = {0}, *said = &t->run->rule;
    bool runs_first = t->f.has_before && !is_done(t, FAILOVER_BEFORE);
    *said = (struct failover_rule){0};
    if (runs_first && failover_r23(&t->f, &r)) {
        str_copy(r.id, sizeof r.id, "R23");
        *said = r;
        return false;
    }
    if (off(t, FAILOVER_OFF_FENCING) || t->f.order.source_off)
        return true;
    if (failover_r6(&t->f, &r)) {
        str_copy(r.id, sizeof r.id, "R6");
        *said = r;
        return false;
    }
    return !t->f.lease.enforced || t->f.lease.revoked || is_done(t, FAILOVER_REVOKE);
}

static bool is_promoted(const struct turn *t)
{
    return is_done(t, FAILOVER_PROMOTE);
}

static bool is_verified(const struct turn *t)
{
    return is_done(t, FAILOVER_VERIFY);
}

static bool is_admitted(const struct turn *t)
{
    return is_done(t, FAILOVER_ADMIT);
}

static bool is_switched(const struct turn *t)
{
    return is_done(t, FAILOVER_SWITCH) && (!t->f.has_after || is_done(t, FAILOVER_AFTER));
}

static bool is_restored(const struct turn *t)
{
    return !t->f.lease.enforced || is_done(t, FAILOVER_RESTORE);
}

/* ---- the journal ---- */

static void add_step(json_t *change, const char *step, int64_t wall_ms)
{
    json_t *steps = json_object_get(change, "steps");
    if (json_is_array(steps) && json_array_size(steps) < STEPS_MAX)
        json_array_append_new(
            steps, json_pack("{s:s,s:I}", "step", step, "at_ms",
                       (json_int_t)(wall_ms - json_opt_int(change, "begun_ms", wall_ms))));
}

static void end_change(json_t *doc, const char *outcome, const char *why, int64_t wall_ms)
{
    json_t *last = json_deep_copy(json_object_get(doc, "change"));
    json_object_set_new(last, "outcome", json_string(outcome));
    json_object_set_new(last, "ended_ms", json_integer(wall_ms));
    if (str_eq(outcome, "partial"))
        json_object_set_new(last, "left", json_string(json_opt_str(last, "step", "")));
    if (why && *why)
        json_object_set_new(last, "why", json_string(why));
    json_object_set_new(doc, "last", last);
    json_object_set_new(doc, "change", json_null());
}

static bool is_past_return(const json_t *doc, const json_t *change)
{
    enum failover_state s = step_of(doc, change);
    return s >= FAILOVER_PROMOTING && s <= FAILOVER_SWITCHING;
}

int failover_may_begin(const json_t *doc, const char *to, struct err *e)
{
    const json_t *any = json_object_get(doc, "change"), *change = change_of(doc);
    struct replication_doc d;
    if (replication_doc_parse(doc, &d, e) < 0)
        return e->code;
    const struct replication_member *m = replication_doc_find(&d, to);
    if (!m)
        return err_set(e, ERR_REFUSED, "%s holds no copy of the database", to);
    if (m == d.source)
        return err_set(e, ERR_REFUSED, "%s is the source already", to);
    if (json_is_object(any) && !change) {
        err_set(e, ERR_REFUSED, "%s to %s is under way", json_opt_str(any, "kind", "a change"),
            json_opt_str(any, "to", "?"));
        err_fix(e, "wait until it has ended: it ends by itself");
        return e->code;
    }
    if (change && step_of(doc, change) == FAILOVER_RESTORING) {
        err_set(e, ERR_REFUSED, "a failover is just being called off");
        err_fix(e, "try again in a moment");
        return e->code;
    }
    return 0;
}

json_t *failover_begin(const json_t *doc, const struct failover_wish *w, int64_t wall_ms)
{
    json_t *new = json_deep_copy(doc);
    const json_t *change = change_of(doc);
    if (change)
        end_change(new, is_past_return(doc, change) ? "partial" : "undone",
            "a person has ordered another", wall_ms);
    int64_t id = json_opt_int(doc, "changes", 0) + 1;
    json_t *c = json_pack("{s:s,s:I,s:s,s:s,s:s,s:I,s:I,s:s,s:b,s:s,s:[{s:s,s:i}]}", "kind",
        "failover", "id", (json_int_t)id, "from", json_opt_str(doc, "source", ""), "to", w->to,
        "step", state_names[FAILOVER_FENCING], "step_ms", (json_int_t)wall_ms, "begun_ms",
        (json_int_t)wall_ms, "by", w->by, "auto", (int)w->automatic, "why", w->why ? w->why : "",
        "steps", "step", state_names[FAILOVER_FENCING], "at_ms", 0);
    ASSERT(c);
    if (w->cause)
        json_object_set_new(c, "cause", json_string(w->cause));
    if (w->facts && str_eq(w->facts->target.host, w->to))
        json_object_set_new(c, "before", before_the_fault(w->facts));
    if (w->order.accept_loss)
        json_object_set_new(c, "accept_loss_ms", json_integer((json_int_t)w->order.loss_ms));
    if (w->order.source_off)
        json_object_set_new(c, "source_off", json_true());
    json_object_set_new(new, "changes", json_integer(id));
    json_object_set_new(new, "change", c);
    return new;
}

static const char *proof_of(const struct turn *t)
{
    return t->f.fenced_ack                          ? "acknowledged"
           : t->f.lease.revoked && t->f.lease.released ? "released"
           : has_lease(&t->f) && !t->f.order.source_off ? "lease"
                                                       : "attested";
}

/* At most this is missing: what the source was known to have, and what the target has. */
static void set_missing(json_t *change, const char *from, const char *to, int64_t since_ms)
{
    json_t *m = json_object_get(change, "missing");
    if (!json_is_object(m)) {
        m = json_pack("{s:n,s:n,s:b,s:I}", "from_gtid", "to_gtid", "known", 0, "since_ms",
            (json_int_t)since_ms);
        json_object_set_new(change, "missing", m);
    }
    if (*from)
        json_object_set_new(m, "from_gtid", json_string(from));
    if (*to)
        json_object_set_new(m, "to_gtid", json_string(to));
    json_object_set_new(m, "known",
        json_boolean(json_is_string(json_object_get(m, "from_gtid"))
                     && json_is_string(json_object_get(m, "to_gtid"))));
}

static void note_fenced(const struct turn *t, json_t *change)
{
    const char *to = *t->run->fence_gtid ? t->run->fence_gtid : t->f.lease.gtid;
    uint64_t age_ms = has_lease(&t->f) ? t->f.lease.age_ms : t->f.source.silent_ms;
    int64_t since_ms = age_ms < (uint64_t)t->wall_ms ? t->wall_ms - (int64_t)age_ms : 0;
    json_object_set_new(change, "proof", json_string(proof_of(t)));
    set_missing(change, "", to, since_ms);
}

static json_t *enter(struct turn *t, enum failover_state goal)
{
    json_t *new = goal == FAILOVER_PROMOTING
                      ? replication_doc_move(t->doc, json_opt_str(t->change, "to", ""))
                      : json_deep_copy(t->doc);
    json_t *change = json_object_get(new, "change");
    json_object_set_new(change, "step", json_string(state_names[goal]));
    json_object_set_new(change, "step_ms", json_integer(t->wall_ms));
    add_step(change, state_names[goal], t->wall_ms);
    if (goal == FAILOVER_FENCED)
        note_fenced(t, change);
    if (goal == FAILOVER_VERIFYING)
        set_missing(change, t->run->promote_gtid, "", t->wall_ms);
    return new;
}

/* ---- what a row does ---- */

static const char *say_cause(const struct turn *t, char *why, size_t size)
{
    const struct failover_source *s = &t->f.source;
    if (s->silent_ms >= FAILOVER_SILENT_MS) {
        snprintf(why, size, "the source's host has been silent for %llu ms",
            (unsigned long long)s->silent_ms);
        return "silent";
    }
    if (s->down_ms >= FAILOVER_RESTART_MS) {
        str_copy(why, size, "the source's server is gone and does not come back in place");
        return "gone";
    }
    snprintf(why, size, "the source has not renewed its lease for %llu ms",
        (unsigned long long)t->f.lease.age_ms);
    return "lease";
}

static json_t *begin(struct turn *t)
{
    char why[FAILOVER_TEXT_SIZE];
    struct err ignored;
    if (failover_may_begin(t->doc, t->f.target.host, &ignored) < 0)
        return NULL;
    struct failover_wish w = {
        .to = t->f.target.host, .by = "mcp", .why = why, .automatic = true, .facts = &t->f};
    w.cause = say_cause(t, why, sizeof why);
    return failover_begin(t->doc, &w, t->wall_ms);
}

static json_t *call_off(struct turn *t)
{
    json_t *new = enter(t, FAILOVER_RESTORING);
    struct failover_rule r;
    char why[sizeof r.text + 16];
    if (!can_be_source(t))
        str_copy(why, sizeof why, "the target holds no copy of the database any more");
    else if (failover_source_well(&t->f))
        str_copy(why, sizeof why, "the source came back");
    else if (!t->f.order.by_hand && failover_r1(&t->f, &r))
        snprintf(why, sizeof why, "R1: %s", r.value);
    else
        failover_reason(t->doc, t->run, why, sizeof why);
    json_object_set_new(json_object_get(new, "change"), "why", json_string(why));
    return new;
}

static json_t *finish(struct turn *t, const char *outcome, const char *why)
{
    json_t *new = json_deep_copy(t->doc);
    end_change(new, outcome, why, t->wall_ms);
    t->run->state = FAILOVER_HEALTHY;
    return new;
}

static json_t *end_done(struct turn *t)
{
    return finish(t, "done", NULL);
}

static json_t *end_undone(struct turn *t)
{
    return finish(t, "undone", NULL);
}

static json_t *leave(struct turn *t)
{
    char why[FAILOVER_TEXT_SIZE + 32], said[FAILOVER_TEXT_SIZE];
    failover_reason(t->doc, t->run, said, sizeof said);
    snprintf(why, sizeof why, "%s was not done in time%s%s", state_names[t->state],
        *said ? ": " : "", said);
    return finish(t, "partial", why);
}

/* Where it was left: the document has moved already. */
static json_t *take_up(struct turn *t)
{
    json_t *new = json_deep_copy(t->doc), *change = json_deep_copy(t->last);
    const char *left = json_opt_str(change, "left", state_names[FAILOVER_VERIFYING]);
    json_object_set_new(change, "step", json_string(left));
    json_object_set_new(change, "step_ms", json_integer(t->wall_ms));
    json_object_set_new(change, "tries", json_integer(json_opt_int(change, "tries", 0) + 1));
    add_step(change, json_opt_str(change, "step", ""), t->wall_ms);
    json_object_del(change, "outcome");
    json_object_del(change, "left");
    json_object_del(change, "ended_ms");
    json_object_set_new(new, "change", change);
    return new;
}

/* ---- the table ---- */

#define BIT(s) (1u << FAILOVER_##s)
#define REST (BIT(HEALTHY) | BIT(DR_ACTIVE) | BIT(COOLDOWN) | BIT(FAILBACK_READY))
#define ALERT (BIT(SUSPECT) | BIT(CONFIRMED) | BIT(BLOCKED) | BIT(MANUAL))
#define IDLE (REST | ALERT | BIT(PAUSED) | BIT(DRILL))
#define AFTERWARDS (BIT(PROMOTING) | BIT(VERIFYING) | BIT(ADMITTING) | BIT(SWITCHING))

/* The first row of the state whose guard holds is taken. `effect` NULL: a state of memory, or the
 * journal goes on to `goal`. */
static const struct row {
    uint32_t states;
    const char *event;
    bool (*guard)(const struct turn *t);
    enum failover_state goal;
    json_t *(*effect)(struct turn *t);
} rows[] = {
    {IDLE | BIT(PARTIAL), "a planned move has begun", moves, FAILOVER_SWITCHOVER, NULL},
    {BIT(SWITCHOVER), "the planned move has ended", moves_no_more, FAILOVER_HEALTHY, NULL},
    {IDLE, "the last failover was left partial", is_partial, FAILOVER_PARTIAL, NULL},
    {BIT(PARTIAL), "it is well now", is_whole, FAILOVER_HEALTHY, NULL},
    {BIT(PARTIAL), "what was left is due again", is_retried, FAILOVER_STATES, take_up},
    {REST | ALERT, "automation is paused", is_paused, FAILOVER_PAUSED, NULL},
    {BIT(PAUSED), "automation is resumed", is_resumed, FAILOVER_HEALTHY, NULL},
    {REST | ALERT, "a drill has begun", is_drilled, FAILOVER_DRILL, NULL},
    {BIT(DRILL), "the drill has ended", is_drilled_no_more, FAILOVER_HEALTHY, NULL},
    {REST, "the source is not well", is_ill, FAILOVER_SUSPECT, NULL},
    {ALERT, "the source is well", is_well, FAILOVER_HEALTHY, NULL},
    {BIT(SUSPECT), "the source is lost", is_lost, FAILOVER_CONFIRMED, NULL},
    {BIT(CONFIRMED) | BIT(BLOCKED) | BIT(MANUAL), "the source shows again", is_not_lost,
        FAILOVER_SUSPECT, NULL},
    {BIT(CONFIRMED) | BIT(BLOCKED), "a person decides", is_by_hand, FAILOVER_MANUAL, NULL},
    {BIT(MANUAL), "automation was turned on", is_automatic, FAILOVER_CONFIRMED, NULL},
    {BIT(CONFIRMED), "a rule forbids it", is_forbidden, FAILOVER_BLOCKED, NULL},
    {BIT(BLOCKED), "no rule forbids it any more", is_permitted, FAILOVER_CONFIRMED, NULL},
    {BIT(CONFIRMED), "no rule forbids it", is_permitted, FAILOVER_FENCING, begin},
    {REST & ~BIT(DR_ACTIVE), "the source is elsewhere, alone", is_alone, FAILOVER_DR_ACTIVE, NULL},
    {REST & ~BIT(COOLDOWN), "its home follows", is_back, FAILOVER_COOLDOWN, NULL},
    {REST & ~BIT(FAILBACK_READY), "its home follows for long enough", is_ready,
        FAILOVER_FAILBACK_READY, NULL},
    {REST & ~BIT(HEALTHY), "the source is at home", is_home, FAILOVER_HEALTHY, NULL},
    {BIT(FENCING) | BIT(FENCED), "the source came back", is_called_off, FAILOVER_RESTORING,
        call_off},
    {BIT(FENCING), "the source cannot write", is_proven, FAILOVER_FENCED, NULL},
    {BIT(FENCED), "no rule forbids it", is_permitted, FAILOVER_PROMOTING, NULL},
    {BIT(FENCING) | BIT(FENCED), "it takes too long", is_late, FAILOVER_RESTORING, call_off},
    {BIT(PROMOTING), "the target takes writes", is_promoted, FAILOVER_VERIFYING, NULL},
    {BIT(VERIFYING), "a write was read back", is_verified, FAILOVER_ADMITTING, NULL},
    {BIT(ADMITTING), "what was on standby is admitted", is_admitted, FAILOVER_SWITCHING, NULL},
    {BIT(SWITCHING), "users are sent to living regions", is_switched, FAILOVER_STATES, end_done},
    {AFTERWARDS, "it takes too long", is_late, FAILOVER_STATES, leave},
    {BIT(RESTORING), "the lease is given back", is_restored, FAILOVER_STATES, end_undone},
};

size_t failover_table(struct failover_row *ret, size_t max)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows) && i < max; i++)
        ret[i] = (struct failover_row){rows[i].states, rows[i].event, rows[i].goal};
    return ARRAY_SIZE(rows);
}

static const struct row *find_row(struct turn *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if ((rows[i].states >> t->state & 1) && rows[i].guard(t)) {
            t->run->row = (unsigned)i + 1;
            t->run->rows |= UINT64_C(1) << i;
            return &rows[i];
        }
    return NULL;
}

static bool is_journaled(enum failover_state s)
{
    return s >= FAILOVER_FENCING;
}

/* Goes through states of memory until nothing changes, or the document shall. NULL: it stays. */
static json_t *go(struct turn *t)
{
    for (unsigned hops = 0; hops < HOPS_MAX; hops++) {
        const struct row *row = find_row(t);
        if (!row)
            return NULL;
        if (row->effect)
            return row->effect(t);
        if (is_journaled(row->goal))
            return enter(t, row->goal);
        if (row->goal != FAILOVER_BLOCKED && row->goal != FAILOVER_CONFIRMED)
            t->run->rule = (struct failover_rule){0};
        t->state = t->run->state = row->goal;
    }
    return NULL;
}

/* ---- acts ---- */

enum where { NOWHERE, AT_FROM, AT_TO };

static const struct {
    enum failover_state state;
    enum failover_act act;
    enum failover_act first; /* must have been done */
    enum where where;
    uint64_t wait_ms;
} acts[] = {
    {FAILOVER_FENCING, FAILOVER_BEFORE, FAILOVER_NOTHING, NOWHERE, 65000},
    {FAILOVER_FENCING, FAILOVER_REVOKE, FAILOVER_BEFORE, NOWHERE, 3000},
    {FAILOVER_FENCING, FAILOVER_FENCE, FAILOVER_BEFORE, AT_FROM, 3000},
    {FAILOVER_PROMOTING, FAILOVER_PROMOTE, FAILOVER_NOTHING, AT_TO, 20000},
    {FAILOVER_VERIFYING, FAILOVER_VERIFY, FAILOVER_NOTHING, AT_TO, 5000},
    {FAILOVER_ADMITTING, FAILOVER_ADMIT, FAILOVER_NOTHING, NOWHERE, 15000},
    {FAILOVER_SWITCHING, FAILOVER_SWITCH, FAILOVER_NOTHING, NOWHERE, 10000},
    {FAILOVER_SWITCHING, FAILOVER_AFTER, FAILOVER_SWITCH, NOWHERE, 65000},
    {FAILOVER_RESTORING, FAILOVER_RESTORE, FAILOVER_NOTHING, NOWHERE, 3000},
};

static bool is_needed(const struct turn *t, enum failover_act act)
{
    switch (act) {
    case FAILOVER_BEFORE:
        return t->f.has_before;
    case FAILOVER_AFTER:
        return t->f.has_after;
    case FAILOVER_REVOKE:
        return t->f.lease.enforced && !t->f.lease.revoked;
    case FAILOVER_RESTORE:
        return t->f.lease.enforced;
    default:
        return true;
    }
}

static bool is_due(const struct turn *t, size_t i)
{
    const struct failover_try *try = &t->run->tries[acts[i].act];
    enum failover_act first = acts[i].first;
    if (acts[i].state != t->state || !is_needed(t, acts[i].act) || try->done
        || t->now_ms < try->again_ms)
        return false;
    return first == FAILOVER_NOTHING || !is_needed(t, first) || is_done(t, first);
}

static void act(struct turn *t, struct failover_action *ret)
{
    const char *from = json_opt_str(t->change, "from", ""), *to = json_opt_str(t->change, "to", "");
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
        if (!is_due(t, i))
            continue;
        struct failover_try *try = &t->run->tries[acts[i].act];
        try->asked = true;
        try->attempts++;
        try->again_ms = t->now_ms + acts[i].wait_ms + ANSWER_MARGIN_MS;
        *ret = (struct failover_action){.act = acts[i].act,
            .id = json_opt_int(t->change, "id", 0),
            .epoch = json_opt_int(t->doc, "epoch", 0),
            .attempt = try->attempts,
            .wait_ms = acts[i].wait_ms};
        str_copy(ret->host, sizeof ret->host, acts[i].where == AT_FROM ? from : to);
        str_copy(ret->region, sizeof ret->region, t->f.target.region);
        return;
    }
}

static void answered(struct failover_run *run, const struct failover_event *ev, uint64_t now_ms)
{
    struct failover_try *try = &run->tries[ev->act];
    bool refused = ev->error && ev->error->code == ERR_REFUSED;
    if (!try->asked)
        return;
    try->asked = false;
    try->refused = refused;
    try->again_ms = now_ms + (refused ? REFUSED_MS : FAILOVER_AGAIN_MS);
    str_copy(try->text, sizeof try->text, ev->error ? ev->error->message : "");
    /* A record that is not there any more has nothing to be given back. */
    try->done = !ev->error || (refused && ev->act == FAILOVER_RESTORE);
    if (!ev->error && ev->gtid && ev->act == FAILOVER_FENCE)
        str_copy(run->fence_gtid, sizeof run->fence_gtid, ev->gtid);
    if (!ev->error && ev->gtid && ev->act == FAILOVER_PROMOTE)
        str_copy(run->promote_gtid, sizeof run->promote_gtid, ev->gtid);
}

static void renew(struct failover_run *run, int64_t id, enum failover_state step)
{
    struct failover_run new = {.state = run->state,
        .id = id,
        .step = step,
        .row = run->row,
        .rows = run->rows,
        .guards_off = run->guards_off};
    if (run->id != id || run->step != step)
        *run = new;
}

json_t *failover_step(json_t *doc, struct failover_run *run, const struct failover_event *ev,
    uint64_t now_ms, int64_t wall_ms, struct failover_action *ret)
{
    const json_t *change = change_of(doc);
    int64_t id = json_opt_int(change, "id", 0);
    *ret = (struct failover_action){.act = FAILOVER_NOTHING};
    if (change)
        renew(run, id, step_of(doc, change));
    if (change && ev->kind == FAILOVER_ANSWER && ev->id == id && ev->act < FAILOVER_ACTS)
        answered(run, ev, now_ms);
    struct turn t = {.doc = doc,
        .change = change,
        .last = json_object_get(doc, "last"),
        .f = failover_facts_of(doc, run, ev->facts),
        .run = run,
        .state = failover_state_of(doc, run),
        .now_ms = now_ms,
        .wall_ms = wall_ms};
    t.f.lease.age_ms = lease_age(t.last, t.f.lease.age_ms, wall_ms);
    json_t *new = go(&t);
    if (new)
        return new;
    if (change)
        act(&t, ret);
    return json_incref(doc);
}

const char *failover_reason(
    const json_t *doc, const struct failover_run *run, char *buf, size_t size)
{
    const json_t *last = json_object_get(doc, "last");
    str_copy(buf, size, "");
    if (*run->rule.id)
        snprintf(buf, size, "%s: %s (%s)", run->rule.id, run->rule.text, run->rule.value);
    else if (change_of(doc)) {
        for (size_t i = 0; i < FAILOVER_ACTS && !*buf; i++)
            if (*run->tries[i].text)
                snprintf(buf, size, "%s: %s", failover_act_name((enum failover_act)i),
                    run->tries[i].text);
    } else if (run->state == FAILOVER_PARTIAL)
        str_copy(buf, size, json_opt_str(last, "why", ""));
    return buf;
}
