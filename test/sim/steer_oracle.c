/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the truth and the rules, nothing of how the controllers follow them. */
#include "steer_world.h"

#include <inttypes.h>

/* --- the rules on the truth --- */

static bool path(const struct world *w, size_t a, size_t b)
{
    return !sim_net_cut(&w->net, a, b) && !sim_net_cut(&w->net, b, a);
}

static bool edge_answers(const struct world *w, size_t from, size_t region)
{
    return path(w, from, region) && !w->region_dead[region] && !w->edge_down[region]
           && !w->edge_refuses[region];
}

/* A control of `by` gets views of a control of `of`. */
static bool hears(const struct world *w, size_t by, size_t of)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].region == of && w->hosts[i].steer)
            return !sim_net_cut(&w->net, of, by);
    return false;
}

static bool reaches_somebody(const struct world *w, size_t by)
{
    for (size_t r = 0; r < w->n_regions; r++)
        if (r != by && (edge_answers(w, by, r) || hears(w, by, r)))
            return true;
    return false;
}

static bool own_network_works(const struct world *w, size_t region)
{
    return w->references ? !w->reference_lost[region] : edge_answers(w, region, region);
}

enum health_state oracle_verdict(const struct world *w, size_t region, size_t target, size_t name)
{
    bool alone = !reaches_somebody(w, region) && own_network_works(w, region);
    unsigned down = 0, up = 0, eligible = 0, need = alone ? 1 : (unsigned)MIN(2, w->n_regions - 1);
    if (alone && region == target)
        return edge_answers(w, region, region) && !w->app_bad[name][region] ? HEALTH_UP
                                                                            : HEALTH_DOWN;
    for (size_t o = 0; o < w->n_regions; o++) {
        bool heard = o == region || hears(w, region, o);
        bool counts = reaches_somebody(w, o) || (w->references && !w->reference_lost[o])
                      || (o == region && alone);
        if (o == target || !heard || !counts)
            continue;
        eligible++;
        *(edge_answers(w, o, target) && !w->app_bad[name][target] ? &up : &down) += 1;
    }
    if (need && down >= need && 2 * down > eligible)
        return HEALTH_DOWN;
    return up && up >= down ? HEALTH_UP : HEALTH_UNKNOWN;
}

/* --- one step --- */

static void check_own_state(
    struct world *w, struct sim_host *h, size_t n, size_t r, const struct probed *probed)
{
    struct oracle_target *t = &h->targets[n][r];
    const struct health_view *v = steer_view(h->steer);
    const struct health_space *sp = &steer_plan_of(h->steer)->space;
    enum health_state own =
        (enum health_state)v->targets[HEALTH_TARGET(sp, r, world_plan_name(h, n))].state;
    if (probed && probed->name == n && probed->region == r) {
        t->fails = probed->ok ? 0 : t->fails + 1;
        t->successes = probed->ok ? t->successes + 1 : 0;
    }
    if (own != t->own && own == HEALTH_DOWN && t->fails < w->right.down)
        sim_fail(w->sim, "%s calls region %zu down after %u failures", h->name, r, t->fails);
    if (own != t->own && own == HEALTH_UP && t->ever_up && t->own == HEALTH_DOWN
        && t->successes < w->right.up)
        sim_fail(w->sim, "%s calls region %zu up after %u successes", h->name, r, t->successes);
    t->own = own;
    t->ever_up |= own == HEALTH_UP;
    if (own == HEALTH_DOWN)
        t->own_down_ms = sim_now(w->sim);
}

/* How many regions outside had a host that called the target down lately enough to have been heard. */
static unsigned recent_accusers(const struct world *w, const struct sim_host *h, size_t n, size_t r)
{
    uint64_t now = sim_now(w->sim), window = 2 * w->right.interval_ms + 2000;
    uint64_t regions = 0;
    for (size_t i = 0; i < w->n_hosts; i++) {
        const struct oracle_target *t = &w->hosts[i].targets[n][r];
        if (w->hosts[i].region != r && t->own_down_ms && now - t->own_down_ms <= window)
            regions |= 1ull << w->hosts[i].region;
    }
    const struct oracle_target *own = &h->targets[n][r];
    if (h->region == r && own->own_down_ms && now - own->own_down_ms <= window)
        regions |= 1ull << r; /* alone, a region may judge itself */
    return (unsigned)__builtin_popcountll(regions);
}

static void check_conclusion(struct world *w, struct sim_host *h, size_t n, size_t r)
{
    struct oracle_target *t = &h->targets[n][r];
    struct steer_region_state st;
    steer_region_state(h->steer, world_plan_name(h, n), r, &st);
    uint64_t now = sim_now(w->sim);
    if (st.state != t->concluded && st.state == HEALTH_DOWN) {
        unsigned need = st.verdict.alone ? 1 : (unsigned)MIN(2, w->n_regions - 1);
        if (recent_accusers(w, h, n, r) < need)
            sim_fail(w->sim, "%s takes region %zu for down on the word of %u", h->name, r,
                recent_accusers(w, h, n, r));
        t->left_ms = t->confirmed ? now : 0;
    }
    if (st.state != t->concluded && st.state == HEALTH_UP && t->left_ms
        && now - t->left_ms < (w->right.up - 1) * w->right.interval_ms)
        sim_fail(w->sim, "%s takes region %zu for up again after %" PRIu64 " ms", h->name, r,
            now - t->left_ms);
    t->concluded = st.state;
    t->confirmed |= st.verdict.state == HEALTH_UP;
}

/* The rules say that r is down, while this host knows of a region that is up. */
static bool known_dead(const struct world *w, const struct sim_host *h, size_t n, size_t r)
{
    if (oracle_verdict(w, h->region, r, n) != HEALTH_DOWN)
        return false;
    for (size_t o = 0; o < w->n_regions; o++)
        if (oracle_verdict(w, h->region, o, n) == HEALTH_UP
            && h->targets[n][o].concluded == HEALTH_UP)
            return true;
    return false; /* nobody is known to be better */
}

static const struct steer_list *list_of(const struct sim_host *h, size_t l)
{
    return &steer_plan_of(h->steer)->lists[l];
}

/* The region the list should get, SIZE_MAX when the rules leave it open. */
static size_t ideal(const struct world *w, const struct sim_host *h, size_t n, size_t l)
{
    const struct steer_list *list = list_of(h, l);
    for (size_t i = 0; i < list->n; i++) {
        enum health_state v = oracle_verdict(w, h->region, list->order[i], n);
        if (v != HEALTH_DOWN)
            return v == HEALTH_UP ? list->order[i] : SIZE_MAX;
    }
    return SIZE_MAX;
}

static void check_answer(struct world *w, struct sim_host *h, size_t n, size_t l)
{
    struct steer_choice c = steer_choice(h->steer, world_plan_name(h, n), l),
                        *was = &h->choices[n][l];
    uint64_t now = sim_now(w->sim), quiet = now - w->changed_ms;
    if (c.region >= w->n_regions || c.ttl_s < STEER_TTL_MIN_S || c.ttl_s > 60)
        sim_fail(w->sim, "%s answers region %u for %u s", h->name, c.region, c.ttl_s);
    if (c.region != was->region) {
        w->switches++;
        h->switched_ms[n][l] = now;
    }
    *was = c;
    bool is_frozen = steer_frozen(h->steer, world_plan_name(h, n));
    h->was_frozen[n] |= is_frozen;
    if (w->shaky || is_frozen)
        return;
    if (quiet > DETECT_MS && known_dead(w, h, n, c.region))
        sim_fail(w->sim, "%s still answers region %u, dead for %" PRIu64 " ms, to list %zu",
            h->name, c.region, quiet, l);
    size_t best = quiet > CONVERGE_MS ? ideal(w, h, n, l) : SIZE_MAX;
    if (best != SIZE_MAX && c.region != best)
        sim_fail(w->sim, "%s answers region %u to list %zu and should answer %zu", h->name,
            c.region, l, best);
}

void oracle_step(struct world *w, struct sim_host *h, const struct probed *probed)
{
    for (size_t n = 0; n < w->n_names; n++) {
        for (size_t r = 0; r < w->n_regions; r++) {
            check_own_state(w, h, n, r, probed);
            check_conclusion(w, h, n, r);
        }
        if (!steer_up_mask(h->steer, world_plan_name(h, n)))
            sim_fail(w->sim, "%s has no region left for name %zu", h->name, n);
        for (size_t l = 0; l < steer_plan_of(h->steer)->n_lists; l++)
            check_answer(w, h, n, l);
    }
}

void oracle_restarted(struct world *w, struct sim_host *h, bool from_journal)
{
    for (size_t n = 0; n < w->n_names; n++) {
        for (size_t r = 0; r < w->n_regions; r++) {
            struct oracle_target *t = &h->targets[n][r];
            struct steer_region_state st;
            steer_region_state(h->steer, world_plan_name(h, n), r, &st);
            const struct health_view *v = steer_view(h->steer);
            const struct health_space *sp = &steer_plan_of(h->steer)->space;
            *t = (struct oracle_target){.ever_up = from_journal && t->ever_up,
                .concluded = st.state,
                .own = (enum health_state)v->targets[HEALTH_TARGET(sp, r, world_plan_name(h, n))]
                           .state,
                .own_down_ms = t->own_down_ms};
        }
        for (size_t l = 0; l < steer_plan_of(h->steer)->n_lists; l++) {
            struct steer_choice c = steer_choice(h->steer, world_plan_name(h, n), l);
            if (from_journal && h->has_disk_choices && c.region != h->disk_choices[n][l].region)
                sim_fail(w->sim, "%s starts with region %u for list %zu, its journal said %u",
                    h->name, c.region, l, h->disk_choices[n][l].region);
            h->choices[n][l] = c;
        }
    }
}

void oracle_final(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++) {
        struct sim_host *h = &w->hosts[i];
        for (size_t n = 0; h->steer && n < w->n_names; n++) {
            if (steer_frozen(h->steer, world_plan_name(h, n)))
                sim_fail(w->sim, "%s is still frozen", h->name);
            for (size_t l = 0; l < steer_plan_of(h->steer)->n_lists; l++) {
                size_t best = ideal(w, h, n, l);
                size_t has = steer_choice(h->steer, world_plan_name(h, n), l).region;
                if (best != SIZE_MAX && has != best)
                    sim_fail(w->sim, "in the end %s answers region %zu to list %zu and not %zu",
                        h->name, has, l, best);
            }
        }
    }
}
