/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/rules.h"

#include "base/str/str.h"

#include <stdio.h>

/* ---- saying it */

PRINTF_LIKE(2, 3) static void value(struct failover_rule *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->value, sizeof r->value, fmt, ap);
    va_end(ap);
}

PRINTF_LIKE(2, 3) static void limit(struct failover_rule *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->limit, sizeof r->limit, fmt, ap);
    va_end(ap);
}

/* What it says when it forbids and when it does not. */
static bool say(struct failover_rule *r, bool holds, const char *forbids, const char *permits)
{
    r->holds = holds;
    str_copy(r->text, sizeof r->text, holds ? forbids : permits);
    return holds;
}

struct span {
    char text[32];
};

static struct span span(uint64_t ms)
{
    struct span s;
    if (ms == FAILOVER_NEVER)
        str_copy(s.text, sizeof s.text, "never");
    else if (ms < 10000)
        snprintf(s.text, sizeof s.text, "%llu ms", (unsigned long long)ms);
    else if (ms < 600000)
        snprintf(s.text, sizeof s.text, "%llu s", (unsigned long long)ms / 1000);
    else
        snprintf(s.text, sizeof s.text, "%llu min", (unsigned long long)ms / 60000);
    return s;
}

static const char *yes(bool b)
{
    return b ? "yes" : "no";
}

/* Nobody has renewed it for its whole length, as a majority knows: the source cannot write, whoever
 * still hears it (its server is up, its way to the state store is not). */
static bool lease_has_ended(const struct failover_facts *f)
{
    const struct failover_lease *l = &f->lease;
    return l->enforced && l->known && l->length_ms && !l->promised_ms && l->age_ms >= l->length_ms;
}

/* ---- the rules */

bool failover_r1(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_automation *a = &f->automation;
    const char *off = !a->automatic             ? "failover.auto is off"
                      : a->paused               ? "paused"
                      : a->maintenance          ? "maintenance of the source"
                      : a->drill && !a->drill_own ? "a drill is running"
                                                : NULL;
    value(ret, "%s", off ? off : "on");
    limit(ret, "on");
    return say(ret, off != NULL,
        !a->automatic ? "a person fails over by hand: `mcp failover --to REGION`"
        : a->paused   ? "`mcp resume` turns it on again"
                      : "it is on again when that is over",
        "automation is on");
}

bool failover_r2(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%u regions, witness %s", f->voters.regions,
        f->voters.witness ? "answers" : "does not answer");
    limit(ret, "3 regions, one that is neither the source's nor the target's answers");
    return say(ret, f->voters.regions < 3 || !f->voters.witness,
        "two sides alone cannot tell which of them is cut off",
        "a third region takes part in the decision");
}

bool failover_r3(const struct failover_facts *f, struct failover_rule *ret)
{
    unsigned need = f->voters.total / 2 + 1;
    value(ret, "%u of %u members of the state store answer", f->voters.answering, f->voters.total);
    limit(ret, "%u, the majority of all", need);
    return say(ret, !f->voters.total || f->voters.answering < need,
        "without a majority of all members nothing is decided", "a majority of all members answers");
}

/* Regions whose control can be believed and says that the source is gone; the leader's own counts
 * as any. */
static unsigned count_vantages(const struct failover_facts *f, bool *own_good)
{
    unsigned n = 0;
    *own_good = false;
    for (size_t i = 0; i < f->n_vantages && i < FAILOVER_REGIONS_MAX; i++) {
        const struct failover_vantage *v = &f->vantages[i];
        if (str_eq(v->region, f->leader_region))
            *own_good = v->references;
        n += v->heard && v->references && v->sees_fault;
    }
    return n;
}

bool failover_r4(const struct failover_facts *f, struct failover_rule *ret)
{
    bool own_good;
    unsigned n = count_vantages(f, &own_good);
    value(ret, "%u regions see it, the leader's network is %s", n, own_good ? "good" : "bad");
    limit(ret, "2 regions, good");
    if (lease_has_ended(f))
        return say(ret, false, "", "its lease has ended: a majority sees that it is not renewed");
    return say(ret, n < 2 || !own_good,
        own_good ? "one region alone may be the one that is cut off"
                 : "the leader reaches nothing else either: it may be the one that is cut off",
        "several regions see it");
}

bool failover_r5(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", !f->target.heard ? "not known" : f->target.hears_source ? "hears it" : "silent");
    limit(ret, "silent for two heartbeats, or the lease has ended");
    return say(ret, !f->target.heard || (f->target.hears_source && !lease_has_ended(f)),
        "the target still hears the source: what lives is moved by `mcp data switchover`",
        "the target does not hear a source that could write");
}

/* A source of others. A person may order it untried; the proof itself is asked for all the same. */
static bool can_be_fenced(const struct failover_facts *f, struct failover_rule *ret)
{
    bool tried = (f->armed.known && f->armed.matches) || f->order.by_hand;
    bool reaches = f->fence.reaches || f->fence.by == FAILOVER_FENCE_FUNCTION;
    const char *by = f->fence.by == FAILOVER_FENCE_FUNCTION ? "function" : "statement";
    value(ret, "by %s%s", by, !tried ? ", never rehearsed" : !reaches ? ", out of reach" : "");
    return say(ret, !tried || !reaches,
        !tried ? "fencing of a server that others run must have been rehearsed: `mcp data arm`"
               : "a server that cannot be reached cannot be told to stop: only a person can say that it is off",
        "the source can be kept from writing, and that is read back");
}

/* Before it begins: is there a way to prove it? Afterwards: is it proven? */
bool failover_r6(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_lease *l = &f->lease;
    bool counts = l->enforced && l->known;
    limit(ret, f->fencing ? "proof" : "a way to prove it");
    if (!f->fencing && f->fence.by != FAILOVER_FENCE_NONE && !f->fenced_ack)
        return can_be_fenced(f, ret);
    if (!f->fencing) {
        value(ret, "%s", counts ? "lease" : f->fenced_ack ? "acknowledged" : "none");
        return say(ret, !counts && !f->fenced_ack,
            "there is no lease that would end: only the source's own word, or a person's, proves it",
            "the source stops by itself when its lease ends");
    }
    bool expired = counts && l->revoked && !l->safe_in_ms && !l->promised_ms;
    bool released = counts && l->revoked && l->released;
    bool proven = f->fenced_ack || released || expired;
    value(ret, "%s",
        f->fenced_ack  ? "acknowledged"
        : released     ? "released"
        : expired      ? "lease ended"
        : f->fence.by != FAILOVER_FENCE_NONE ? "not fenced yet"
        : !counts      ? "no lease"
        : !l->revoked  ? "lease not revoked yet"
        : l->safe_in_ms == FAILOVER_NEVER ? "end of the lease not known"
                       : "lease still counts");
    if (!proven && counts && l->revoked && l->safe_in_ms != FAILOVER_NEVER)
        value(ret, "lease counts for another %s", span(MAX(l->safe_in_ms, l->promised_ms)).text);
    return say(ret, !proven,
        f->fence.by != FAILOVER_FENCE_NONE
            ? "it is not proven that the source cannot write: fence it, or attest with --attest-source-off "
              "that it is powered off"
            : "it is not proven that the source cannot write: wait for its lease, or attest with "
              "--attest-source-off that it is powered off",
        "the source cannot acknowledge a write any more");
}

bool failover_r7(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_armed *a = &f->armed;
    bool old = a->known && a->age_ms > a->max_age_ms;
    if (!a->known)
        value(ret, "never rehearsed");
    else
        value(ret, "%s ago, %s", span(a->age_ms).text,
            a->matches ? "with these settings" : "with other settings");
    limit(ret, "%s, with these settings", span(a->max_age_ms).text);
    return say(ret, !a->known || !a->matches || old,
        "nobody has seen the source fence itself as it is set up now: `mcp data arm` rehearses it",
        "the self-fence has been rehearsed as it is set up now");
}

bool failover_r8(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_target *t = &f->target;
    bool given = f->order.by_hand && f->order.accept_loss;
    uint64_t most = given ? f->order.loss_ms : f->max_lag_ms;
    bool sampled = t->lag_known && t->lag_age_ms <= 3 * t->heartbeat_ms;
    uint64_t lag = t->lag_known ? t->lag_ms + (sampled ? 0 : t->lag_age_ms) : FAILOVER_NEVER;
    if (!t->lag_known)
        value(ret, "not known");
    else if (!sampled)
        value(ret, "%s, of a sample %s before the fault", span(t->lag_ms).text,
            span(t->lag_age_ms).text);
    else
        value(ret, "%s", span(t->lag_ms).text);
    limit(ret, "%s%s", span(most).text, given ? " (accepted)" : "");
    bool any = given && most >= FAILOVER_ANY_LOSS_MS;
    bool over = lag > most || (!given && !sampled);
    return say(ret, over && !any,
        "what the target lacks would be lost: `--accept-loss D` takes up to D, 7d whatever it is",
        "the target is near enough");
}

bool failover_r9(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_target *t = &f->target;
    bool stuck = t->unapplied && t->stuck;
    value(ret, "%s",
        stuck          ? "stopped with an error"
        : t->unapplied ? span(t->unapplied_ms).text
                       : "all is applied");
    limit(ret, "%s", span(FAILOVER_DRAIN_MS).text);
    return say(ret, stuck || (t->unapplied && t->unapplied_ms > FAILOVER_DRAIN_MS),
        "the target does not get through what it has received", "what was received gets applied");
}

bool failover_r10(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", f->target.broken_before ? "stopped with an error" : "it ran");
    limit(ret, "it ran");
    return say(ret, f->target.broken_before,
        "replication had stopped before the fault: `mcp data status` says why",
        "replication ran until the fault");
}

bool failover_r11(const struct failover_facts *f, struct failover_rule *ret)
{
    bool two = f->world.two_sources;
    value(ret, "%s", two ? "two servers take writes" : f->target.diverged ? "diverged" : "same");
    limit(ret, "same");
    return say(ret, two || f->target.diverged,
        two ? "two servers take writes: which of them is right is for people to say"
            : "the target has what the source never had: `mcp data errant`, or seed it again",
        "the target's history is the source's");
}

bool failover_r12(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", !f->sync_required ? "not required" : yes(f->target.in_sync_set));
    limit(ret, "member of the last published sync set");
    return say(ret, f->sync_required && !f->target.in_sync_set,
        "acknowledged writes may be missing at the target", "no acknowledged write is missing");
}

bool failover_r13(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_target *t = &f->target;
    const char *bad = !*t->host       ? "there is no other member"
                      : !t->heard     ? "not heard"
                      : t->delayed    ? "a delayed replica"
                      : t->disk_low   ? "its disk is nearly full"
                      : t->drift      ? "another version than the source"
                      : t->leaves     ? "its host is drained or being upgraded"
                      : !t->test_login ? "the platform cannot log in"
                      : t->lacks      ? "images, secrets or room are missing there"
                                      : NULL;
    value(ret, "%s", bad ? bad : "ready");
    limit(ret, "ready");
    return say(ret, bad != NULL, "the target is not ready to be the source",
        "the target is ready to be the source");
}

bool failover_r14(const struct failover_facts *f, struct failover_rule *ret)
{
    const struct failover_past *p = &f->past;
    bool soon = p->since_ms < p->cooldown_ms && !p->acknowledged;
    value(ret, "the last %s%s, %u not acknowledged", span(p->since_ms).text,
        p->since_ms == FAILOVER_NEVER ? "" : " ago", p->count);
    limit(ret, "%s, fewer than %u in a day", span(p->cooldown_ms).text, FAILOVER_COUNT);
    return say(ret, soon || p->count >= FAILOVER_COUNT,
        "it has just failed over; somebody looks first: `mcp ack` permits the next",
        "it has not failed over lately");
}

bool failover_r15(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s",
        f->past.foreign_change ? "another change is under way"
        : f->past.left_undone  ? "the last one was left partial"
                               : "none");
    limit(ret, "none");
    return say(ret, f->past.foreign_change || (f->past.left_undone && !f->order.by_hand),
        f->past.foreign_change ? "one change at a time"
                               : "it is tried again by itself; `mcp ack` says that it is well",
        "no earlier change is unfinished");
}

bool failover_r16(const struct failover_facts *f, struct failover_rule *ret)
{
    if (f->fencing) { /* who began it had seen it */
        value(ret, "begun already");
        limit(ret, "seen well");
        return say(ret, false, "", "the controller that began it had seen it well");
    }
    value(ret, "%s", !f->world.seen_healthy     ? "never seen well"
                     : !f->world.topology_known ? "not every member was heard"
                                                : "seen well");
    limit(ret, "seen well");
    return say(ret, !f->world.seen_healthy || !f->world.topology_known,
        "this controller has begun after the fault and knows nothing of before",
        "this controller has seen it well");
}

bool failover_r17(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", failover_class_name(f->source.class));
    limit(ret, "%s, or the lease has ended", failover_class_name(FAILOVER_DEAD));
    return say(ret, f->source.class != FAILOVER_DEAD && !lease_has_ended(f),
        "it is ill, not dead: promoting another does not heal that", "it is not just slow");
}

bool failover_r18(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%u other regions%s", f->world.regions_lost,
        f->world.target_was_lost ? " and the target" : "");
    limit(ret, "none within a minute");
    return say(ret, f->world.regions_lost > 0 || f->world.target_was_lost,
        "too much fell ill at once: this side is suspect itself", "it is the source alone");
}

bool failover_r19(const struct failover_facts *f, struct failover_rule *ret)
{
    uint64_t off = MAX(f->world.clock_off_ms, f->target.clock_off_ms);
    bool jumped = f->world.clock_step_ms < FAILOVER_CLOCK_STEP_MS;
    value(ret, "off by %s%s", span(off).text, jumped ? ", jumped just now" : "");
    limit(ret, "%s, no jump for %s", span(FAILOVER_CLOCK_MS).text,
        span(FAILOVER_CLOCK_STEP_MS).text);
    return say(ret, off > FAILOVER_CLOCK_MS || jumped,
        "lags and deadlines cannot be told while clocks differ", "clocks agree");
}

bool failover_r20(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s, %u regions on afterwards", f->target.serving ? "serves" : "does not serve",
        f->world.regions_on);
    limit(ret, "serves, at least one");
    return say(ret, !f->target.serving || !f->world.regions_on,
        "users cannot be sent to the target's region", "users can be sent to the target's region");
}

/* A host with which this one has no protocol in common is not heard at all: R3 and R13. */
bool failover_r21(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", f->voters.same_version ? "all alike" : "they differ");
    limit(ret, "all alike");
    return say(ret, !f->voters.same_version,
        "hosts go by different revisions: `mcp status` says which", "hosts go by the same revision");
}

bool failover_r22(const struct failover_facts *f, struct failover_rule *ret)
{
    value(ret, "%s", f->voters.journal ? "takes writes" : "takes none");
    limit(ret, "takes writes, on a majority's disks");
    return say(ret, !f->voters.journal,
        "what cannot be journaled on a majority is not done", "the journal takes writes");
}

bool failover_r23(const struct failover_facts *f, struct failover_rule *ret)
{
    static const char *const names[] = {"none declared", "to be run", "all ended well", "failed"};
    bool due = f->fencing && f->before == FAILOVER_FUNCTIONS_DUE;
    value(ret, "%s", names[f->before]);
    limit(ret, "all ended well");
    char text[sizeof ret->text];
    snprintf(text, sizeof text, "a function of failover.before failed: %.120s",
        *f->before_text ? f->before_text : "no reason was told");
    return say(ret, due || f->before == FAILOVER_FUNCTIONS_FAILED,
        due ? "functions of failover.before are running" : text,
        "no function of failover.before stands in the way");
}

/* ---- all of them */

static const struct {
    const char *id;
    failover_rule_fn fn;
    enum failover_waiver waiver;
    bool fault; /* it speaks of the fault: says nothing while the source is well */
} rules[FAILOVER_RULES] = {
    {"R1", failover_r1, FAILOVER_WAIVE_BY_HAND, false},
    {"R2", failover_r2, FAILOVER_WAIVE_BY_HAND, false},
    {"R3", failover_r3, FAILOVER_WAIVE_NEVER, false},
    {"R4", failover_r4, FAILOVER_WAIVE_BY_HAND, true},
    {"R5", failover_r5, FAILOVER_WAIVE_LOSS, true},
    {"R6", failover_r6, FAILOVER_WAIVE_ATTEST, false},
    {"R7", failover_r7, FAILOVER_WAIVE_BY_HAND, false},
    {"R8", failover_r8, FAILOVER_WAIVE_LAG, false},
    {"R9", failover_r9, FAILOVER_WAIVE_LOSS, false},
    {"R10", failover_r10, FAILOVER_WAIVE_LOSS, false},
    {"R11", failover_r11, FAILOVER_WAIVE_NEVER, false},
    {"R12", failover_r12, FAILOVER_WAIVE_LOSS, false},
    {"R13", failover_r13, FAILOVER_WAIVE_LOSS, false},
    {"R14", failover_r14, FAILOVER_WAIVE_BY_HAND, false},
    {"R15", failover_r15, FAILOVER_WAIVE_NEVER, false},
    {"R16", failover_r16, FAILOVER_WAIVE_BY_HAND, false},
    {"R17", failover_r17, FAILOVER_WAIVE_BY_HAND, true},
    {"R18", failover_r18, FAILOVER_WAIVE_BY_HAND, true},
    {"R19", failover_r19, FAILOVER_WAIVE_BY_HAND, false},
    {"R20", failover_r20, FAILOVER_WAIVE_BY_HAND, false},
    {"R21", failover_r21, FAILOVER_WAIVE_BY_HAND, false},
    {"R22", failover_r22, FAILOVER_WAIVE_NEVER, false},
    {"R23", failover_r23, FAILOVER_WAIVE_NEVER, false},
};

static bool is_waived(const struct failover_facts *f, enum failover_waiver w)
{
    switch (w) {
    case FAILOVER_WAIVE_NEVER:
    case FAILOVER_WAIVE_LAG: /* the rule itself goes by what was accepted */
        return false;
    case FAILOVER_WAIVE_BY_HAND:
        return f->order.by_hand;
    case FAILOVER_WAIVE_LOSS:
        return f->order.by_hand && f->order.accept_loss;
    case FAILOVER_WAIVE_ATTEST:
        return f->order.by_hand && f->order.source_off;
    }
    return false;
}

/* A target that does not exist can be promoted by nobody. */
static bool judge(size_t i, const struct failover_facts *f, struct failover_rule *ret)
{
    *ret = (struct failover_rule){.waiver = rules[i].waiver};
    str_copy(ret->id, sizeof ret->id, rules[i].id);
    rules[i].fn(f, ret);
    ret->waived = ret->holds && is_waived(f, rules[i].waiver);
    if (rules[i].fn == failover_r13 && !f->target.heard)
        ret->waived = false;
    return ret->holds && !ret->waived;
}

void failover_rules(const struct failover_facts *f, struct failover_rule ret[FAILOVER_RULES])
{
    for (size_t i = 0; i < FAILOVER_RULES; i++)
        judge(i, f, &ret[i]);
}

static bool first(const struct failover_facts *f, bool with_fault, struct failover_rule *ret)
{
    for (size_t i = 0; i < FAILOVER_RULES; i++)
        if ((with_fault || !rules[i].fault) && judge(i, f, ret))
            return true;
    *ret = (struct failover_rule){0};
    return false;
}

bool failover_forbidden(const struct failover_facts *f, struct failover_rule *ret)
{
    return first(f, true, ret);
}

bool failover_disarmed(const struct failover_facts *f, struct failover_rule *ret)
{
    return first(f, false, ret);
}

json_t *failover_explain(const struct failover_facts *f, const char *state, const char *reason)
{
    static const char *const waivers[] = {
        "never", "by hand", "--accept-loss", "--accept-loss", "--attest-source-off"};
    struct failover_rule all[FAILOVER_RULES], ignored;
    json_t *list = json_array();
    failover_rules(f, all);
    for (size_t i = 0; i < FAILOVER_RULES; i++)
        json_array_append_new(
            list, json_pack("{s:s,s:b,s:b,s:s,s:s,s:s,s:s}", "id", all[i].id, "holds",
                      (int)all[i].holds, "waived", (int)all[i].waived, "waiver",
                      waivers[all[i].waiver], "value", all[i].value, "limit", all[i].limit, "text",
                      all[i].text));
    json_t *j = json_pack("{s:b,s:b,s:s,s:s,s:o}", "armed", (int)!failover_disarmed(f, &ignored),
        "allowed", (int)!failover_forbidden(f, &ignored), "state", state, "reason", reason, "rules",
        list);
    ASSERT(j);
    return j;
}
