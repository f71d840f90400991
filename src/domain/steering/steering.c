/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/steering/priv.h"

/* Views that were stuck on the way, or in this process while it was stopped, come in a burst, old ones first: what they
 * say together counts, a moment after the first. */
#define VIEW_SETTLE_MS 100
#define RESUME_SETTLE_MS 1000
#define TICK_MS 500         /* nothing that passes by time alone is looked at less often */
#define FIRST_PROBES_MS 500 /* the first round is spread over this */
#define EAGER_MS 60000 /* after a new plan, targets nobody saw up yet are probed more often ... */
#define EAGER_INTERVAL_MS 1000 /* ... so that a platform that comes up is noticed at once */

void steer_actions_clear(struct steer_actions *a)
{
    struct steer_actions kept = {.probes = a->probes,
        .cap_probes = a->cap_probes,
        .entries = a->entries,
        .cap_entries = a->cap_entries};
    *a = kept;
}

void steer_actions_done(struct steer_actions *a)
{
    free(a->probes);
    free(a->entries);
    *a = (struct steer_actions){0};
}

struct steer *steer_new(const struct steer_options *o, const json_t *journal)
{
    struct steer *s = xcalloc(1, sizeof *s);
    ASSERT(str_copy(s->host, sizeof s->host, o->host));
    ASSERT(str_copy(s->region_name, sizeof s->region_name, o->region));
    rnd_seed(&s->rnd, o->seed);
    s->journal = journal ? json_deep_copy(journal) : NULL;
    return s;
}

void steer_free(struct steer *s)
{
    if (!s)
        return;
    json_decref(s->journal);
    json_decref(s->away);
    steer_plan_free(s->plan);
    for (size_t i = 0; i < s->n_hosts; i++)
        health_view_done(&s->hosts[i].view);
    health_view_done(&s->own);
    free(s->hosts);
    free(s->targets);
    free(s->names);
    free(s->choices);
    free(s);
}

static void first_plan(struct steer *s)
{
    const struct health_space *sp = &s->plan->space;
    s->targets = xcalloc(sp->n_regions * sp->n_names + 1, sizeof *s->targets);
    s->names = xcalloc(sp->n_names + 1, sizeof *s->names);
    s->own = (struct health_view){.region = s->region,
        .targets = xcalloc(sp->n_regions * sp->n_names + 1, sizeof *s->own.targets)};
    str_copy(s->own.host, sizeof s->own.host, s->host);
    /* Each start has a higher number than the one before, by the journal or at least by the clock.
     */
    s->incarnation = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 1;
    steer_journal_restore(s);
    s->own.incarnation = s->incarnation;
    s->round_done_ms = s->now_ms + steer_round_ms(s);
}

/* Targets and names that are new with this plan. */
static void start_targets(struct steer *s)
{
    const struct health_space *sp = &s->plan->space;
    for (size_t n = 0; n < sp->n_names; n++) {
        for (size_t r = 0; r < sp->n_regions; r++) {
            struct target *t = steer_target(s, n, r);
            if (t->concluded == HEALTH_UNKNOWN)
                t->concluded = s->plan->serves[n] >> r & 1 ? HEALTH_UP : HEALTH_DOWN;
            t->due_ms = s->now_ms + rnd_below(&s->rnd, FIRST_PROBES_MS);
        }
        if (!(s->names[n].up & s->plan->serves[n]))
            s->names[n].up = s->plan->serves[n];
    }
}

static bool find_own_region(const struct steer *s, const struct steer_plan *p, size_t *ret)
{
    for (size_t r = 0; r < p->space.n_regions; r++)
        if (!strcmp(p->space.regions[r], s->region_name)) {
            *ret = r;
            return true;
        }
    return false;
}

/* Answers of the old plan that stay must not look new, or every revision would shorten TTLs. */
static struct list_choice *carry_choices(const struct steer *s, const struct steer_plan *old)
{
    const struct steer_plan *p = s->plan;
    struct list_choice *v = xcalloc(p->space.n_names * p->n_lists + 1, sizeof *v);
    for (size_t n = 0; old && n < p->space.n_names; n++) {
        size_t was_name, region;
        if (!steer_plan_find_name(old, p->space.names[n], &was_name))
            continue;
        for (size_t c = 0; c <= p->n_countries; c++) {
            const char *code = c < p->n_countries ? p->countries[c].code : NULL;
            const struct list_choice *was =
                &s->choices[was_name * old->n_lists + steer_plan_list(old, code)];
            struct list_choice *now = &v[n * p->n_lists + steer_plan_list(p, code)];
            *now = *was;
            for (region = 0; region < p->space.n_regions; region++)
                if (!strcmp(p->space.regions[region], old->space.regions[was->c.region]))
                    break;
            if (region == p->space.n_regions)
                *now = (struct list_choice){0};
            else
                now->c.region = (uint8_t)region;
        }
    }
    return v;
}

static void take_plan(struct steer *s, struct steer_plan *p, struct steer_actions *a)
{
    size_t region;
    if (!find_own_region(s, p, &region)) {
        /* This region left the platform: it answers as before until its host is taken down. */
        steer_plan_free(p);
        return;
    }
    struct steer_plan *old = s->plan;
    s->plan = p;
    s->region = region;
    s->plan_seq++;
    s->plan_ms = s->now_ms;
    if (old)
        steer_observe_remap(s, old);
    else
        first_plan(s);
    struct list_choice *choices = carry_choices(s, old);
    free(s->choices);
    s->choices = choices;
    start_targets(s);
    steer_plan_free(old);
    s->reference_in_flight = false;
    s->reference_due_ms = s->view_due_ms = s->now_ms;
    a->publish = a->send_view = a->save = true;
}

static uint64_t gap_ms(struct steer *s, const struct target *t)
{
    const struct health_params *p = &s->plan->params;
    if (!t->seen_up && s->now_ms - s->plan_ms < EAGER_MS)
        return MIN(p->interval_ms, MAX((uint64_t)EAGER_INTERVAL_MS, p->timeout_ms));
    /* Never longer than the interval, which the time to detect is counted in. */
    return p->interval_ms - rnd_below(&s->rnd, p->interval_ms / 10 + 1);
}

static void ask_due_probes(struct steer *s, struct steer_actions *a)
{
    const struct health_space *sp = &s->plan->space;
    for (size_t n = 0; n < sp->n_names; n++)
        for (size_t r = 0; r < sp->n_regions; r++) {
            struct target *t = steer_target(s, n, r);
            if (!(s->plan->serves[n] >> r & 1))
                continue;
            /* A prober that lost a probe must not silence its target. */
            if (t->in_flight && s->now_ms - t->asked_ms > 2 * s->plan->params.interval_ms)
                t->in_flight = false;
            if (!t->in_flight && t->due_ms <= s->now_ms) {
                struct steer_probe *probe = GROW(a->probes, a->n_probes, a->cap_probes);
                *probe = (struct steer_probe){.region = r,
                    .name = n,
                    .plan_seq = s->plan_seq,
                    .after_failure = !health_class_is_ok(t->own.class)};
                uint64_t gap = gap_ms(s, t);
                /* Counted from when it was due: lateness does not add up. Unless this host slept.
                 */
                t->due_ms = t->due_ms + gap > s->now_ms ? t->due_ms + gap : s->now_ms + gap;
                t->in_flight = true;
                t->asked_ms = s->now_ms;
            }
        }
}

static uint64_t next_wake(const struct steer *s)
{
    uint64_t wake = MIN(s->now_ms + TICK_MS, s->view_due_ms);
    if (s->conclude_ms)
        wake = MIN(wake, s->conclude_ms);
    const struct health_space *sp = &s->plan->space;
    for (size_t n = 0; n < sp->n_names; n++)
        for (size_t r = 0; r < sp->n_regions; r++) {
            const struct target *t = steer_target(s, n, r);
            if ((s->plan->serves[n] >> r & 1) && !t->in_flight)
                wake = MIN(wake, t->due_ms);
        }
    return MAX(wake, s->now_ms + 1);
}

static void ask_due_rest(struct steer *s, struct steer_actions *a)
{
    if (s->plan->has_references && s->reference_due_ms <= s->now_ms) {
        a->probe_references = true;
        s->reference_due_ms = s->now_ms + s->plan->params.interval_ms;
    }
    if (s->view_due_ms <= s->now_ms)
        a->send_view = true;
}

static void conclude_all(struct steer *s, struct steer_actions *a)
{
    s->conclude_ms = 0;
    steer_conclude_alone(s, a);
    for (size_t n = 0; n < s->plan->space.n_names; n++)
        steer_conclude_name(s, n, a);
}

static void conclude(struct steer *s, const struct steer_event *ev, struct steer_actions *a)
{
    if (ev->kind == STEER_VIEW && !s->conclude_ms)
        s->conclude_ms = s->now_ms + VIEW_SETTLE_MS;
    if (s->now_ms < s->settled_ms) {
        s->conclude_ms = s->settled_ms;
        return;
    }
    if (ev->kind == STEER_CONFIG || ev->kind == STEER_TICK || ev->kind == STEER_AWAY)
        conclude_all(s, a);
    else if (ev->kind == STEER_PROBE && ev->probe.plan_seq == s->plan_seq)
        steer_conclude_name(s, ev->probe.name, a); /* the rest at the next tick */
}

static void observe(struct steer *s, struct steer_event *ev, struct steer_actions *a)
{
    if (ev->kind == STEER_PROBE)
        steer_observe_probe(s, ev, a);
    else if (ev->kind == STEER_VIEW)
        steer_observe_view(s, ev);
    else if (ev->kind == STEER_REFERENCE && ev->reference)
        s->reference_ms = s->now_ms;
    steer_observe_refresh(s);
}

/* A process that was stopped, or a machine that slept, first hears what it missed. */
static void notice_gap(struct steer *s, uint64_t now_ms)
{
    if (s->plan && now_ms > s->now_ms + s->plan->params.interval_ms) {
        s->gap_from_ms = s->now_ms;
        s->settled_ms = now_ms + RESUME_SETTLE_MS;
        s->round_done_ms = now_ms + steer_round_ms(s);
    }
    s->now_ms = MAX(now_ms, s->now_ms);
}

static void take_away(struct steer *s, const json_t *doc, struct steer_actions *a)
{
    if (s->away_told && json_equal(s->away, doc))
        return;
    json_decref(s->away);
    s->away = json_is_object(doc) ? json_deep_copy(doc) : NULL;
    s->away_told = a->save = true;
}

void steer_step(struct steer *s, struct steer_event *ev, uint64_t now_ms, struct steer_actions *a)
{
    notice_gap(s, now_ms);
    s->wall_ms = ev->wall_ms;
    if (ev->kind == STEER_CONFIG)
        take_plan(s, ev->plan, a);
    else if (ev->kind == STEER_AWAY)
        take_away(s, ev->away, a);
    if (!s->plan) {
        if (ev->kind == STEER_VIEW)
            health_view_done(ev->view);
        a->wake_ms = s->now_ms + TICK_MS;
        return;
    }
    observe(s, ev, a);
    conclude(s, ev, a);
    ask_due_probes(s, a);
    ask_due_rest(s, a);
    if (a->send_view) {
        s->own.seq = ++s->seq;
        s->view_due_ms = s->now_ms + s->plan->params.interval_ms / 2;
    }
    a->wake_ms = next_wake(s);
}

const struct steer_plan *steer_plan_of(const struct steer *s)
{
    return s->plan;
}

uint64_t steer_plan_seq(const struct steer *s)
{
    return s->plan_seq;
}

const struct health_view *steer_view(const struct steer *s)
{
    return &s->own;
}

struct steer_choice steer_choice(const struct steer *s, size_t name, size_t list)
{
    return s->choices[name * s->plan->n_lists + list].c;
}

uint64_t steer_up_mask(const struct steer *s, size_t name)
{
    return s->names[name].up;
}

bool steer_frozen(const struct steer *s, size_t name)
{
    return s->names[name].frozen;
}

bool steer_none_up(const struct steer *s, size_t name)
{
    return s->names[name].none_up;
}
