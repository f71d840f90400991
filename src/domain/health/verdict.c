/* SPDX-License-Identifier: Apache-2.0 */
/* What the views mean together. Every region computes this for itself from what it hears; nothing
 * is agreed on, so nothing has to be reachable. All hosts of a region are one observer with one
 * vote. */
#include "domain/health/health.h"

/* One region's vote on one target. */
struct ballot {
    bool heard, eligible;
    enum health_state says;
    unsigned downs, ups; /* of its eligible hosts */
    unsigned left;       /* health_target_left() of the host nearest to a change; 0: none */
    uint8_t classes[HEALTH_OK + 1];
};

bool health_heard_fresh(const struct health_council *c, const struct health_heard *h)
{
    uint64_t passed = c->now_ms > h->received_ms ? c->now_ms - h->received_ms : 0;
    return passed + h->view->age_ms <= 2 * c->params->interval_ms;
}

bool health_alone(const struct health_council *c)
{
    bool works = false;
    if (!c->round_done) /* others were not asked yet */
        return false;
    for (size_t i = 0; i < c->n_heard; i++) {
        const struct health_view *v = c->heard[i].view;
        if (!health_heard_fresh(c, &c->heard[i]))
            continue;
        if (v->region != c->own_region || v->reached)
            return false;
        works |= c->has_references ? v->references : v->self;
    }
    return works;
}

static unsigned vote_left(const struct health_vote *v, const struct health_params *p)
{
    const struct health_target t = {
        .state = (enum health_state)v->state, .streak = v->streak, .streak_ok = v->streak_ok};
    return health_target_left(&t, p);
}

static void count_host(struct ballot *b, const struct health_vote *v, const struct health_params *p)
{
    b->downs += v->state == HEALTH_DOWN;
    b->ups += v->state == HEALTH_UP;
    if (v->state == HEALTH_DOWN && b->classes[v->class] < UINT8_MAX)
        b->classes[v->class]++;
    unsigned left = vote_left(v, p);
    if (left && (!b->left || left < b->left))
        b->left = left;
}

/* Ballots of all regions; hosts that cannot trust their own network are heard but do not count. */
static void collect(
    const struct health_council *c, size_t target, bool alone, struct ballot *ballots)
{
    memset(ballots, 0, c->space->n_regions * sizeof *ballots);
    for (size_t i = 0; i < c->n_heard; i++) {
        const struct health_view *v = c->heard[i].view;
        if (!health_heard_fresh(c, &c->heard[i]))
            continue;
        struct ballot *b = &ballots[v->region];
        b->heard = true;
        if (!v->reached && !v->references && !alone)
            continue;
        b->eligible = true;
        count_host(b, &v->targets[target], c->params);
    }
    for (size_t r = 0; r < c->space->n_regions; r++) {
        struct ballot *b = &ballots[r];
        /* Hosts that differ within a region: down needs more than half. */
        b->says = b->downs > b->ups ? HEALTH_DOWN : b->ups ? HEALTH_UP : HEALTH_UNKNOWN;
    }
}

static void tally(const struct ballot *ballots, size_t n, size_t skip, struct health_verdict *v)
{
    unsigned classes[HEALTH_OK + 1] = {0}, most = 0;
    for (size_t r = 0; r < n; r++) {
        const struct ballot *b = &ballots[r];
        if (r == skip)
            continue;
        v->heard += b->heard;
        v->eligible += b->eligible;
        if (b->says == HEALTH_DOWN) {
            v->down++;
            v->down_by |= 1ull << r;
            for (size_t k = 0; k < ARRAY_SIZE(classes); k++)
                classes[k] += b->classes[k];
        } else if (b->says == HEALTH_UP) {
            v->up++;
            v->up_by |= 1ull << r;
        }
        if (b->left && (!v->probes_left || b->left < v->probes_left))
            v->probes_left = b->left;
    }
    for (size_t k = 0; k < ARRAY_SIZE(classes); k++)
        if (classes[k] > most) {
            most = classes[k];
            v->why = (enum health_class)k;
        }
}

static enum health_state decide(const struct health_verdict *v)
{
    if (v->need && v->down >= v->need && 2 * v->down > v->eligible)
        return HEALTH_DOWN;
    /* Losing the quorum is no recovery: somebody must see the target up, and no majority the
     * contrary. */
    if (v->up && v->up >= v->down)
        return HEALTH_UP;
    return HEALTH_UNKNOWN;
}

void health_verdict(
    const struct health_council *c, size_t region, size_t name, struct health_verdict *ret)
{
    struct ballot ballots[HEALTH_REGIONS_MAX];
    size_t n = c->space->n_regions;
    struct health_verdict v = {.alone = c->alone};
    collect(c, HEALTH_TARGET(c->space, region, name), v.alone, ballots);
    v.need = v.alone ? 1 : (unsigned)MIN(2, n - 1);
    if (v.alone && region == c->own_region) {
        /* Nobody outside is left to say: its own look at its own public address decides. */
        tally(ballots, n, SIZE_MAX, &v);
        v.state = ballots[region].says;
    } else {
        tally(ballots, n, region, &v);
        v.state = decide(&v);
    }
    *ret = v;
}
