/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/node.h"

#include "base/str/str.h"

#include <stdio.h>
#include <string.h>

#define PROMOTE_AGAIN_MS 4000u /* at most: until it is done nobody takes writes */

static const char *const state_names[] = {
    [REPLICATION_STARTING] = "starting",
    [REPLICATION_FORMING] = "forming",
    [REPLICATION_SEEDING] = "seeding",
    [REPLICATION_READ_ONLY] = "read-only",
    [REPLICATION_WRITABLE] = "writable",
    [REPLICATION_REPLICATING] = "replicating",
    [REPLICATION_STOPPED] = "stopped",
    [REPLICATION_FROZEN] = "frozen",
    [REPLICATION_BROKEN] = "broken",
    [REPLICATION_UNREACHABLE] = "unreachable",
};

const char *replication_state_name(enum replication_state s)
{
    return state_names[s];
}

static const char *const op_names[REPLICATION_OPS] = {
    [REPLICATION_NOTHING] = "nothing",
    [REPLICATION_OP_READ_ONLY] = "make it read-only",
    [REPLICATION_OP_WRITABLE] = "make it writable",
    [REPLICATION_OP_PROMOTE] = "end following",
    [REPLICATION_OP_EPOCH] = "note the epoch",
    [REPLICATION_OP_FORM] = "make accounts and tables",
    [REPLICATION_OP_ATTACH] = "attach to the source",
    [REPLICATION_OP_ATTACH_CURRENT] = "attach to the new source",
    [REPLICATION_OP_SYNC] = "let commits wait for a replica",
    [REPLICATION_OP_UNSYNC] = "let commits wait for no replica",
    [REPLICATION_OP_START] = "start replication",
    [REPLICATION_OP_RESTART_IO] = "restart the receiving thread",
    [REPLICATION_OP_REBUILD] = "rebuild the relay log",
    [REPLICATION_OP_STOP_IO] = "stop the receiving thread",
    [REPLICATION_OP_REFILL] = "refill from the vault",
    [REPLICATION_OP_RESEED] = "reseed",
    [REPLICATION_OP_EVIDENCE] = "keep the evidence",
    [REPLICATION_OP_RESCUE] = "save what its successor lacks",
    [REPLICATION_OP_FLASHBACK] = "undo what its successor lacks",
};

const char *replication_op_name(enum replication_op op)
{
    return op_names[op];
}

void replication_node_init(struct replication_node *n)
{
    *n = (struct replication_node){0};
}

void replication_node_save(const struct replication_node *n, struct replication_saved *ret)
{
    *ret = (struct replication_saved){n->frozen, n->freeze_id, n->freeze_epoch, n->told_epoch};
}

void replication_node_restore(struct replication_node *n, const struct replication_saved *s)
{
    n->frozen = s->frozen;
    n->freeze_id = s->freeze_id;
    n->freeze_epoch = s->freeze_epoch;
    n->told_epoch = s->told_epoch;
}

bool replication_node_refuses(const struct replication_node *n, uint64_t epoch, uint64_t id)
{
    return epoch < n->view.epoch || epoch < n->sample.epoch
           || (id && id <= n->view.last_change);
}

/* ---- what holds now */

static bool is_frozen(const struct replication_node *n)
{
    return n->frozen && !(n->guards_off & REPLICATION_OFF_FREEZE);
}

/* The server has seen a later epoch than the view, or another view has told one: it is of the past. */
static bool is_outdated(const struct replication_node *n)
{
    return MAX(n->sample.epoch, n->told_epoch) > n->view.epoch
           && !(n->guards_off & REPLICATION_OFF_EPOCH);
}

static bool is_source(const struct replication_node *n)
{
    return n->view.duty == REPLICATION_SOURCE && !is_outdated(n);
}

static bool is_fresh(const struct replication_node *n, uint64_t now_ms)
{
    return now_ms < n->fresh_until_ms || (n->guards_off & REPLICATION_OFF_FRESH);
}

static bool is_leased(const struct replication_node *n, uint64_t now_ms)
{
    bool holds = n->lease_epoch == n->view.epoch && now_ms < n->lease_until_ms;
    return !n->view.leased || holds || (n->guards_off & REPLICATION_OFF_LEASE);
}

bool replication_node_may_write(const struct replication_node *n, uint64_t now_ms)
{
    return n->known && n->sampled && is_source(n) && is_fresh(n, now_ms) && !is_frozen(n)
           && is_leased(n, now_ms);
}

uint64_t replication_node_write_until(const struct replication_node *n, uint64_t now_ms)
{
    uint64_t until_ms = n->view.leased ? MIN(n->fresh_until_ms, n->lease_until_ms)
                                       : n->fresh_until_ms;
    return replication_node_may_write(n, now_ms) ? until_ms : 0;
}

static bool must_not_write(const struct replication_node *n, uint64_t now_ms)
{
    bool replica = n->view.duty == REPLICATION_REPLICA
                   && !(n->guards_off & REPLICATION_OFF_REPLICA);
    bool lapsed = n->view.duty == REPLICATION_SOURCE && n->lease_told && !is_leased(n, now_ms);
    return !n->sample.read_only && (replica || is_outdated(n) || is_frozen(n) || lapsed);
}

static bool evidence(const struct replication_node *n, uint64_t now_ms)
{
    return n->evidence_due;
}

static bool rescues(const struct replication_node *n, uint64_t now_ms)
{
    return n->rescue == RESCUE_DUE && n->view.duty == REPLICATION_REPLICA && n->sample.read_only;
}

static bool flashes_back(const struct replication_node *n, uint64_t now_ms)
{
    return n->rescue == RESCUE_SAVED && n->view.duty == REPLICATION_REPLICA && !n->view.manual
           && n->sample.read_only && !is_outdated(n);
}

static bool still_follows(const struct replication_node *n, uint64_t now_ms)
{
    return is_source(n) && n->sample.attached && is_fresh(n, now_ms);
}

static bool lacks_epoch(const struct replication_node *n, uint64_t now_ms)
{
    return replication_node_may_write(n, now_ms) && n->sample.epoch < n->view.epoch;
}

static bool lacks_form(const struct replication_node *n, uint64_t now_ms)
{
    return replication_node_may_write(n, now_ms)
           && (n->formed != n->view.form || n->formed_epoch != n->view.epoch);
}

static bool lacks_sync(const struct replication_node *n, uint64_t now_ms)
{
    return replication_node_may_write(n, now_ms) && n->view.sync && !n->sample.sync;
}

static bool has_sync(const struct replication_node *n, uint64_t now_ms)
{
    return replication_node_may_write(n, now_ms) && !n->view.sync && n->sample.sync;
}

static bool may_open(const struct replication_node *n, uint64_t now_ms)
{
    return replication_node_may_write(n, now_ms) && n->sample.read_only;
}

static bool shall_follow(const struct replication_node *n)
{
    return n->view.duty == REPLICATION_REPLICA && !is_outdated(n) && n->view.source
           && n->view.tls_ready && !n->needs_seed && !n->seeding && n->sample.read_only;
}

/* What is not empty and never had a source or an epoch came from elsewhere: nobody knows what of the
 * source's it holds. */
static bool is_foreign(const struct replication_node *n)
{
    return !n->sample.empty && !n->sample.epoch && !n->sample.attached;
}

static bool was_source(const struct replication_node *n)
{
    return n->sample.epoch && n->sample.epoch_server == n->view.self;
}

static bool rejoins(const struct replication_node *n, uint64_t now_ms)
{
    return shall_follow(n) && !n->sample.as_wanted && was_source(n);
}

static bool is_new(const struct replication_node *n)
{
    return n->sample.empty && !n->sample.attached;
}

static bool attaches(const struct replication_node *n, uint64_t now_ms)
{
    bool lacks_start = is_new(n) && n->view.source_log != REPLICATION_LOG_WHOLE;
    return shall_follow(n) && !n->sample.as_wanted && !was_source(n) && !is_foreign(n)
           && !lacks_start;
}

static bool wants_seed(const struct replication_node *n, uint64_t now_ms)
{
    bool missing = n->needs_seed || (is_new(n) && n->view.source_log == REPLICATION_LOG_CUT);
    return missing && n->view.duty == REPLICATION_REPLICA && !is_outdated(n) && n->view.tls_ready
           && !n->view.manual && !n->seeding && n->sample.read_only && now_ms >= n->seed_retry_ms;
}

/* Somebody has looked at what was stopped. */
static bool tries_again(const struct replication_node *n, uint64_t now_ms)
{
    return n->asked && shall_follow(n) && n->sample.as_wanted;
}

/* The first row that holds is what is done next. What is on none: the ladder's. */
static const struct {
    bool (*holds)(const struct replication_node *n, uint64_t now_ms);
    enum replication_op op;
} rules[] = {
    {must_not_write, REPLICATION_OP_READ_ONLY},
    {evidence, REPLICATION_OP_EVIDENCE},
    {rescues, REPLICATION_OP_RESCUE},
    {flashes_back, REPLICATION_OP_FLASHBACK},
    {still_follows, REPLICATION_OP_PROMOTE},
    {has_sync, REPLICATION_OP_UNSYNC},
    {lacks_sync, REPLICATION_OP_SYNC},
    {lacks_epoch, REPLICATION_OP_EPOCH},
    {lacks_form, REPLICATION_OP_FORM},
    {may_open, REPLICATION_OP_WRITABLE},
    {wants_seed, REPLICATION_OP_RESEED},
    {rejoins, REPLICATION_OP_ATTACH_CURRENT},
    {attaches, REPLICATION_OP_ATTACH},
    {tries_again, REPLICATION_OP_START},
};

static const enum replication_op ladder_ops[] = {
    [LADDER_WAIT] = REPLICATION_NOTHING,
    [LADDER_ACT_START] = REPLICATION_OP_START,
    [LADDER_ACT_RESTART_IO] = REPLICATION_OP_RESTART_IO,
    [LADDER_ACT_REBUILD] = REPLICATION_OP_REBUILD,
    [LADDER_ACT_STOP_IO] = REPLICATION_OP_STOP_IO,
    [LADDER_ACT_REFILL] = REPLICATION_OP_REFILL,
    [LADDER_ACT_RESEED] = REPLICATION_OP_RESEED,
    [LADDER_ACT_FREEZE] = REPLICATION_OP_EVIDENCE,
};

/* ---- deciding */

static enum replication_op climb(struct replication_node *n, uint64_t now_ms, struct rnd *rnd)
{
    const struct ladder_params p = {.heartbeat_ms = n->view.heartbeat_ms,
        .manual = n->view.manual,
        .has_vault = n->view.has_vault};
    if (!shall_follow(n) || !n->sample.as_wanted)
        return REPLICATION_NOTHING;
    enum ladder_act act = ladder_step(&n->ladder, &p, &n->sample.threads, now_ms, rnd);
    if (act == LADDER_ACT_FREEZE) {
        n->evidence_due = true;
        if (was_source(n) && n->ladder.held == LADDER_DIVERGED)
            n->rescue = RESCUE_DUE;
    }
    if (act == LADDER_ACT_RESEED)
        n->needs_seed = true;
    return ladder_ops[act];
}

static enum replication_op choose(
    struct replication_node *n, bool sampled_now, uint64_t now_ms, struct rnd *rnd)
{
    if (n->op != REPLICATION_NOTHING || !n->known || !n->sampled || n->stale || n->silent_ms)
        return REPLICATION_NOTHING;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if (!rules[i].holds(n, now_ms))
            continue;
        if (n->failed_op != rules[i].op || now_ms >= n->retry_ms)
            return rules[i].op;
        /* A schema file that does not work keeps no database from taking writes. */
        if (rules[i].op != REPLICATION_OP_FORM)
            return REPLICATION_NOTHING;
    }
    return sampled_now ? climb(n, now_ms, rnd) : REPLICATION_NOTHING;
}

static void begin(struct replication_node *n, enum replication_op op, struct replication_actions *out)
{
    n->op = op;
    n->stale = true;
    n->asked = n->asked && op != REPLICATION_OP_START;
    n->op_form = n->view.form;
    out->op = op;
    out->epoch = n->view.epoch;
}

/* ---- the words for it */

static const char *source_why(const struct replication_node *n, uint64_t now_ms)
{
    if (is_outdated(n))
        return "a later epoch than the document names has been here";
    if (is_frozen(n))
        return "no writes until the change that is under way is over";
    if (!is_leased(n, now_ms))
        return "its lease has ended: the right to write could not be proven to the state store in time";
    if (!is_fresh(n, now_ms))
        return "the state store has not confirmed just now that this is the source";
    return "";
}

static enum replication_state source_state(
    const struct replication_node *n, uint64_t now_ms, const char **why)
{
    *why = "";
    if (!n->sample.read_only && !must_not_write(n, now_ms))
        return REPLICATION_WRITABLE;
    *why = source_why(n, now_ms);
    if (is_outdated(n))
        return REPLICATION_BROKEN;
    return **why ? REPLICATION_READ_ONLY : REPLICATION_FORMING;
}

static enum replication_state replica_state(
    const struct replication_node *n, const char **why)
{
    const struct ladder_look *t = &n->sample.threads;
    *why = "";
    if (n->seeding)
        return REPLICATION_SEEDING;
    if (n->needs_seed || is_foreign(n)) {
        *why = n->needs_seed ? "the source no longer has what this replica needs: it needs a seed"
                             : "it holds data that are not the source's: it needs a seed";
        return REPLICATION_BROKEN;
    }
    if (n->ladder.step == LADDER_FROZEN) {
        *why = n->ladder.held == LADDER_DIVERGED
                   ? "it has transactions that the source does not have"
                   : "its data differ from the source's; nothing is skipped";
        return n->ladder.held == LADDER_DIVERGED ? REPLICATION_BROKEN : REPLICATION_FROZEN;
    }
    if (n->sample.as_wanted && t->io == LADDER_IO_YES && t->sql)
        return REPLICATION_REPLICATING;
    if (is_outdated(n))
        *why = "a later epoch than the document names has been here";
    else if (!n->view.tls_ready)
        *why = "its certificates have not come yet";
    else if (is_new(n) && n->view.source_log == REPLICATION_LOG_UNKNOWN)
        *why = "the source has not said yet whether its logs reach back to the start";
    return REPLICATION_STOPPED;
}

static enum replication_state state_of(
    const struct replication_node *n, uint64_t now_ms, const char **why)
{
    if (n->seeding) {
        *why = "";
        return REPLICATION_SEEDING;
    }
    if (n->silent_ms && n->sampled && now_ms - n->silent_ms >= REPLICATION_SILENT_MS) {
        *why = n->why;
        return REPLICATION_UNREACHABLE;
    }
    if (!n->known || !n->sampled) {
        *why = n->why;
        return REPLICATION_STARTING;
    }
    if (n->silent_ms) { /* it may have missed one sample only */
        *why = n->why;
        return n->state;
    }
    return n->view.duty == REPLICATION_SOURCE ? source_state(n, now_ms, why)
                                              : replica_state(n, why);
}

static void set_why(struct replication_node *n, const char *why, struct replication_actions *out)
{
    if (why == n->why || !strcmp(n->why, why))
        return;
    str_copy(n->why, sizeof n->why, why);
    out->report = true;
}

static void judge(struct replication_node *n, enum ladder_step before, uint64_t now_ms,
    struct replication_actions *out)
{
    const char *why;
    enum replication_state state = state_of(n, now_ms, &why);
    if (n->state != state || n->ladder.step != before)
        out->report = true;
    n->state = state;
    if (state == REPLICATION_REPLICATING)
        n->failures = 0;
    /* What failed last says more than that it is not done yet. */
    if (*why || !n->failures)
        set_why(n, why, out);
}

/* ---- events */

/* Returns whether it has told a later epoch. */
static bool on_view(struct replication_node *n, const struct replication_view *v, uint64_t now_ms)
{
    bool later = v->epoch > n->told_epoch;
    bool moved = !n->known || n->view.epoch != v->epoch || n->view.source != v->source;
    if (moved) {
        ladder_reset(&n->ladder);
        n->needs_seed = n->evidence_due = false;
        n->rescue = RESCUE_NONE;
        n->failures = n->seed_failures = 0;
        n->seed_retry_ms = 0;
        n->failed_op = REPLICATION_NOTHING;
        n->stale = true; /* "as wanted" was said of another source */
    }
    n->view = *v;
    n->known = true;
    n->fresh_until_ms = v->fresh_ms ? now_ms + MIN(v->fresh_ms, REPLICATION_FRESH_MS) : 0;
    n->told_epoch = MAX(n->told_epoch, v->epoch);
    return later;
}

/* Lifted by the end of its change, or by an epoch that came after it. */
static bool lift(struct replication_node *n)
{
    bool over = n->freeze_id && n->view.last_change >= n->freeze_id;
    if (!n->frozen || !n->known || (!over && n->view.epoch <= n->freeze_epoch))
        return false;
    n->frozen = false;
    return true;
}

/* Undone: it follows like any other. Not, or not wholly: it is replaced, for it is saved. */
static void on_rescued(struct replication_node *n, enum replication_op op, bool ok)
{
    if (op == REPLICATION_OP_RESCUE && ok)
        n->rescue = RESCUE_SAVED;
    if (op != REPLICATION_OP_FLASHBACK)
        return;
    n->rescue = RESCUE_NONE;
    n->needs_seed = !ok;
    if (ok)
        ladder_reset(&n->ladder);
}

static void on_done(struct replication_node *n, const struct replication_event *ev, uint64_t now_ms,
    struct rnd *rnd, struct replication_actions *out)
{
    enum replication_op op = n->op;
    n->op = REPLICATION_NOTHING;
    n->ops++;
    if (op == REPLICATION_OP_EVIDENCE)
        n->evidence_due = !ev->ok && n->failures < LADDER_LIMITED_TRIES;
    on_rescued(n, op, ev->ok);
    if (!ev->ok) {
        n->failures = n->failed_op == op ? n->failures + 1 : 1;
        n->failed_op = op;
        uint64_t most_ms = op == REPLICATION_OP_PROMOTE ? PROMOTE_AGAIN_MS : LADDER_WAIT_MAX_MS;
        n->retry_ms = now_ms + ladder_wait_ms(n->failures, LADDER_WAIT_MIN_MS, most_ms, rnd);
        char why[REPLICATION_WHY_SIZE];
        snprintf(why, sizeof why, "cannot %s: %s", op_names[op], ev->text ? ev->text : "");
        set_why(n, why, out);
        return;
    }
    if (op == n->failed_op) {
        n->failures = 0;
        n->failed_op = REPLICATION_NOTHING;
    }
    if (op == REPLICATION_OP_FORM) {
        n->formed = n->op_form;
        n->formed_epoch = n->view.epoch;
    }
    if (op == REPLICATION_OP_ATTACH || op == REPLICATION_OP_ATTACH_CURRENT)
        ladder_reset(&n->ladder);
}

static void on_sample(struct replication_node *n, const struct replication_event *ev)
{
    if (ev->ops != n->ops)
        return;
    n->sample = *ev->sample;
    n->sampled = true;
    n->stale = n->op != REPLICATION_NOTHING;
    n->silent_ms = 0;
}

static void on_unreachable(struct replication_node *n, const char *text, uint64_t now_ms,
    struct replication_actions *out)
{
    if (!n->silent_ms)
        n->silent_ms = now_ms;
    n->formed = 0; /* another server may come up in its place */
    set_why(n, text ? text : "", out);
}

/* A call that comes late, of a change before the one that it is frozen for, must not end that. */
static void on_freeze(struct replication_node *n, const struct replication_event *ev)
{
    if (n->frozen && ev->id < n->freeze_id && ev->epoch <= n->freeze_epoch)
        return;
    n->frozen = true;
    n->freeze_id = ev->id;
    n->freeze_epoch = ev->epoch;
}

/* Another server's data from now on, or the same as before. */
static void on_seeded(struct replication_node *n, const struct replication_event *ev,
    uint64_t now_ms, struct rnd *rnd, struct replication_actions *out)
{
    n->seeding = false;
    n->stale = true;
    n->ops++; /* what was seen before counts no more */
    n->formed = 0;
    out->report = true;
    if (ev->ok) {
        ladder_reset(&n->ladder);
        n->needs_seed = n->evidence_due = false;
        n->failures = n->seed_failures = 0;
        n->failed_op = REPLICATION_NOTHING;
        set_why(n, "", out);
        return;
    }
    n->seed_retry_ms = now_ms
                       + ladder_wait_ms(++n->seed_failures, REPLICATION_SEED_MIN_MS,
                           LADDER_SLOW_MAX_MS, rnd);
    char why[REPLICATION_WHY_SIZE];
    snprintf(why, sizeof why, "not seeded: %s", ev->text ? ev->text : "");
    n->failures++;
    n->failed_op = REPLICATION_OP_RESEED;
    set_why(n, why, out);
}

/* One of an epoch that is over says nothing of this one. */
static void on_lease(struct replication_node *n, const struct replication_event *ev)
{
    if (ev->epoch < n->lease_epoch)
        return;
    n->lease_told = true;
    n->lease_epoch = ev->epoch;
    n->lease_until_ms = ev->until_ms;
}

static void on_follow(struct replication_node *n)
{
    ladder_reset(&n->ladder);
    n->needs_seed = n->evidence_due = false;
    n->retry_ms = n->seed_retry_ms = 0;
    n->asked = true;
}

void replication_node_step(struct replication_node *n, const struct replication_event *ev,
    uint64_t now_ms, struct rnd *rnd, struct replication_actions *out)
{
    enum ladder_step before = n->ladder.step;
    *out = (struct replication_actions){0};
    switch (ev->kind) {
    case REPLICATION_EV_VIEW:
        out->save = on_view(n, ev->view, now_ms);
        out->save |= lift(n);
        break;
    case REPLICATION_EV_SAMPLE:
        on_sample(n, ev);
        break;
    case REPLICATION_EV_UNREACHABLE:
        on_unreachable(n, ev->text, now_ms, out);
        break;
    case REPLICATION_EV_DONE:
        on_done(n, ev, now_ms, rnd, out);
        break;
    case REPLICATION_EV_FREEZE:
        on_freeze(n, ev);
        out->save = true;
        break;
    case REPLICATION_EV_THAW:
        out->save = n->frozen && !n->freeze_id;
        n->frozen = n->frozen && n->freeze_id;
        break;
    case REPLICATION_EV_FOLLOW:
        on_follow(n);
        break;
    case REPLICATION_EV_SEEDING:
        out->report = !n->seeding;
        n->seeding = true;
        break;
    case REPLICATION_EV_SEEDED:
        on_seeded(n, ev, now_ms, rnd, out);
        break;
    case REPLICATION_EV_IDENTITY:
        ladder_hurry(&n->ladder);
        break;
    case REPLICATION_EV_LEASE:
        on_lease(n, ev);
        break;
    case REPLICATION_EV_TICK:
        break;
    }
    enum replication_op op = choose(n, ev->kind == REPLICATION_EV_SAMPLE, now_ms, rnd);
    judge(n, before, now_ms, out);
    if (op != REPLICATION_NOTHING)
        begin(n, op, out);
}
