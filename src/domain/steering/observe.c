/* SPDX-License-Identifier: Apache-2.0 */
/* What this host sees by its own probes and hears from other hosts. */
#include "domain/steering/priv.h"

/* A round: within it every target is probed once and the result is in. */
uint64_t steer_round_ms(const struct steer *s)
{
    return s->plan->params.interval_ms + s->plan->params.timeout_ms;
}

static bool region_answered(const struct steer *s, size_t region)
{
    for (size_t n = 0; n < s->plan->space.n_names; n++)
        if (steer_within(s->now_ms, steer_target(s, n, region)->own.answered_ms, steer_round_ms(s)))
            return true;
    return false;
}

/* Brings the parts of the own view that change by time alone up to date. */
void steer_observe_refresh(struct steer *s)
{
    struct health_view *v = &s->own;
    v->reached = 0;
    for (size_t r = 0; r < s->plan->space.n_regions; r++)
        if (r != s->region && region_answered(s, r))
            v->reached |= 1ull << r;
    /* A view that came from another region crossed the same network that probes cross. */
    for (size_t i = 0; i < s->n_hosts; i++)
        if (s->hosts[i].view.region != s->region
            && steer_within(s->now_ms, s->hosts[i].received_ms, steer_round_ms(s)))
            v->reached |= 1ull << s->hosts[i].view.region;
    v->self = region_answered(s, s->region);
    v->references = steer_within(s->now_ms, s->reference_ms, steer_round_ms(s));
    v->age_ms = s->newest_result_ms && s->now_ms > s->newest_result_ms
                    ? s->now_ms - s->newest_result_ms
                    : 0;
}

static void own_vote(struct steer *s, size_t index)
{
    const struct health_target *t = &s->targets[index].own;
    s->own.targets[index] = (struct health_vote){.state = (uint8_t)t->state,
        .class = (uint8_t)t->class,
        .streak = (uint8_t)t->streak,
        .streak_ok = t->streak_ok,
        .since_wall_ms = t->since_wall_ms};
}

void steer_observe_probe(struct steer *s, const struct steer_event *ev, struct steer_actions *a)
{
    if (ev->probe.plan_seq != s->plan_seq)
        return;
    size_t index = HEALTH_TARGET(&s->plan->space, ev->probe.region, ev->probe.name);
    struct target *t = &s->targets[index];
    t->in_flight = false;
    s->newest_result_ms = s->now_ms;
    struct health_params p = s->plan->params;
    if (!t->seen_up) /* there is nothing to flap from yet: its first success is enough */
        p.up = 1;
    if (health_target_step(&t->own, &p, ev->probe.result, s->now_ms, s->wall_ms)) {
        a->send_view = true;
        a->save = true;
    }
    t->seen_up |= t->own.state == HEALTH_UP;
    own_vote(s, index);
}

/* A view is older than the one held when it comes from an earlier start of that host, or an earlier
 * moment. Once the one held is stale anything is better: a host whose clock and journal were both
 * lost counts from below again. */
static bool is_older(
    const struct steer *s, const struct heard_host *have, const struct health_view *v)
{
    if (!steer_within(s->now_ms, have->received_ms, 2 * s->plan->params.interval_ms))
        return false;
    const struct health_view *h = &have->view;
    return v->incarnation != h->incarnation ? v->incarnation < h->incarnation : v->seq <= h->seq;
}

void steer_observe_view(struct steer *s, struct steer_event *ev)
{
    struct health_view *v = ev->view;
    struct heard_host *slot = NULL;
    for (size_t i = 0; i < s->n_hosts && !slot; i++)
        if (!strcmp(s->hosts[i].view.host, v->host))
            slot = &s->hosts[i];
    bool full = !slot && s->n_hosts >= STEER_HOSTS_MAX;
    if (full || !strcmp(v->host, s->host) || (slot && is_older(s, slot, v))) {
        health_view_done(v);
        return;
    }
    if (!slot)
        slot = GROW(s->hosts, s->n_hosts, s->cap_hosts);
    health_view_done(&slot->view);
    slot->view = *v;
    /* What waited while this process stood still is as old as that, at worst. */
    slot->received_ms = s->now_ms < s->settled_ms ? s->gap_from_ms : s->now_ms;
    v->targets = NULL;
}

struct health_council steer_council(
    const struct steer *s, struct health_heard heard[STEER_HOSTS_MAX + 1])
{
    heard[0] = (struct health_heard){&s->own, s->now_ms};
    for (size_t i = 0; i < s->n_hosts; i++)
        heard[i + 1] = (struct health_heard){&s->hosts[i].view, s->hosts[i].received_ms};
    struct health_council c = {.space = &s->plan->space,
        .params = &s->plan->params,
        .heard = heard,
        .n_heard = s->n_hosts + 1,
        .own_region = s->region,
        .has_references = s->plan->has_references,
        .round_done = s->now_ms >= s->round_done_ms,
        .now_ms = s->now_ms};
    c.alone = s->plan->space.n_regions > 1 && health_alone(&c);
    return c;
}

static size_t find_region(const struct steer_plan *p, const char *name)
{
    for (size_t i = 0; i < p->space.n_regions; i++)
        if (!strcmp(p->space.regions[i], name))
            return i;
    return SIZE_MAX;
}

/* For each target of `to` its index in `from`, or SIZE_MAX. */
static size_t *target_map(const struct steer_plan *from, const struct steer_plan *to)
{
    size_t *map = xcalloc(to->space.n_regions * to->space.n_names + 1, sizeof *map);
    for (size_t r = 0; r < to->space.n_regions; r++) {
        size_t old_r = find_region(from, to->space.regions[r]);
        for (size_t n = 0; n < to->space.n_names; n++) {
            size_t old_n = 0;
            bool known =
                old_r != SIZE_MAX && steer_plan_find_name(from, to->space.names[n], &old_n);
            map[HEALTH_TARGET(&to->space, r, n)] =
                known ? HEALTH_TARGET(&from->space, old_r, old_n) : SIZE_MAX;
        }
    }
    return map;
}

static uint64_t map_mask(const struct steer_plan *from, const struct steer_plan *to, uint64_t mask)
{
    uint64_t out = 0;
    for (size_t r = 0; r < from->space.n_regions; r++)
        if (mask >> r & 1) {
            size_t now = find_region(to, from->space.regions[r]);
            out |= now == SIZE_MAX ? 0 : 1ull << now;
        }
    return out;
}

static void remap_view(
    struct steer *s, const struct steer_plan *old, const size_t *map, struct health_view *v)
{
    size_t n = s->plan->space.n_regions * s->plan->space.n_names;
    struct health_vote *votes = xcalloc(n + 1, sizeof *votes);
    for (size_t i = 0; i < n; i++)
        if (map[i] != SIZE_MAX)
            votes[i] = v->targets[map[i]];
    free(v->targets);
    v->targets = votes;
    v->reached = map_mask(old, s->plan, v->reached);
    v->region = find_region(s->plan, old->space.regions[v->region]);
}

/* Carries targets, names and views over from the old plan's indexes to the new one's. */
void steer_observe_remap(struct steer *s, const struct steer_plan *old)
{
    const struct health_space *sp = &s->plan->space;
    _cleanup_free_ size_t *map = target_map(old, s->plan);
    struct target *targets = xcalloc(sp->n_regions * sp->n_names + 1, sizeof *targets);
    for (size_t i = 0; i < sp->n_regions * sp->n_names; i++)
        if (map[i] != SIZE_MAX) {
            targets[i] = s->targets[map[i]];
            targets[i].in_flight = false; /* its answer will carry the old plan_seq */
        }
    free(s->targets);
    s->targets = targets;
    struct name_state *names = xcalloc(sp->n_names + 1, sizeof *names);
    for (size_t n = 0; n < sp->n_names; n++) {
        size_t was;
        if (steer_plan_find_name(old, sp->names[n], &was)) {
            names[n] = s->names[was];
            names[n].up = map_mask(old, s->plan, s->names[was].up);
        }
    }
    free(s->names);
    s->names = names;
    size_t kept = 0;
    for (size_t i = 0; i < s->n_hosts; i++) {
        remap_view(s, old, map, &s->hosts[i].view);
        if (s->hosts[i].view.region == SIZE_MAX) /* its region left the platform */
            health_view_done(&s->hosts[i].view);
        else
            s->hosts[kept++] = s->hosts[i];
    }
    s->n_hosts = kept;
    remap_view(s, old, map, &s->own);
    s->own.region = s->region;
}
