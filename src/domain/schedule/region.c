/* SPDX-License-Identifier: Apache-2.0 */
/* One module in one region, from what is there towards what shall be: sort the instances, begin what is
 * missing, let go what is too much. Nothing is remembered but the placement itself. */
#include "domain/schedule/priv.h"

/* What nothing probes is called ready the moment it runs; it has to stay so for a moment. */
#define UNPROBED_READY_MS 5000u
/* The first start and this many more have failed: it is the instance, not bad luck. */
#define RESTARTS_BAD 2

/* Admitted where they are, standbys are like all others. */
static bool is_idle(const struct aim *aim, const struct instance *i)
{
    return i->standby && !aim->marked;
}

static enum instance_kind kind_of(const struct step *st, const struct placement *p,
    const struct aim *aim, const struct instance *i)
{
    const struct host_view *h = step_host(st, i->host);
    if (host_lost(st, p, i->host))
        return KIND_LOST;
    if (i->drain)
        return KIND_DRAIN;
    if (is_idle(aim, i))
        return KIND_STANDBY;
    if (h->seen->drained)
        return KIND_LEAVING;
    return strcmp(i->spec, aim->goal.id) ? KIND_OLD : KIND_GOOD;
}

static void judge(struct step *st, const struct aim *aim, struct instance *i)
{
    uint64_t hold = aim->m->model->probe.kind == PROBE_NONE ? UNPROBED_READY_MS : 0;
    /* Not switched to yet, and no longer what is wanted: it serves nobody. */
    i->ready = i->kind == KIND_OLD && !i->weight ? READY_NO : step_ready(st, i);
    if (i->ready != READY_YES)
        i->ready_at = 0;
    else if (!i->ready_at)
        i->ready_at = st->now;
    i->proven = i->ready == READY_YES && st->now >= i->ready_at + hold;
    if (i->ready == READY_YES && !i->proven && i->kind == KIND_GOOD)
        step_due(st, i->ready_at + hold);
}

/* Again and again, as its agent tells. */
static void look_for_failure(
    const struct step *st, const struct placement *p, const struct instance *i, struct tally *t)
{
    const json_t *u = step_unit(st, i);
    const char *state = json_opt_str(u, "state", "");
    if (strcmp(json_opt_str(u, "spec", i->spec), i->spec) != 0)
        return;
    bool down = !strcmp(state, "failed") || !strcmp(state, "backoff");
    bool failing = down && json_opt_int(u, "restarts", 0) >= RESTARTS_BAD;
    if (t->failing || (*t->reason && !failing))
        return;
    const char *why = json_opt_str(u, "reason", "");
    t->failing = failing;
    snprintf(t->reason, sizeof t->reason, "%s on %s in %s is %s%s%s", i->name, i->host, p->region,
        u ? state : "not started yet", *why ? ": " : "", why);
}

static void sort_out(struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        if (i->gone)
            continue;
        i->kind = kind_of(st, p, aim, i);
        i->reason[0] = '\0';
        judge(st, aim, i);
        t->good += i->kind == KIND_GOOD;
        t->old += i->kind == KIND_OLD;
        t->leaving += i->kind == KIND_LEAVING;
        t->draining += i->kind == KIND_DRAIN;
        t->lost += i->kind == KIND_LOST && !is_idle(aim, i) && !i->drain;
        if (i->kind != KIND_GOOD)
            continue;
        t->ready += i->proven;
        if (!i->proven)
            look_for_failure(st, p, i, t);
    }
}

static void lacks(
    struct placement *p, const struct aim *aim, unsigned n, const char *why, struct tally *t)
{
    json_array_append_new(p->lacks,
        json_pack("{s:s,s:i,s:s}", "module", aim->m->model->name, "count", (int)n, "reason", why));
    t->lacking += n;
    if (!*t->reason)
        snprintf(
            t->reason, sizeof t->reason, "no host of %s can take %u more: %s", p->region, n, why);
}

static struct instance *idle_standby(const struct placement *p, const struct aim *aim)
{
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        if (!p->v[k].gone && p->v[k].kind == KIND_STANDBY && !strcmp(p->v[k].spec, aim->goal.id))
            return &p->v[k];
    return NULL;
}

static unsigned count_standby(const struct placement *p, const struct aim *aim)
{
    unsigned n = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        n += !p->v[k].gone && p->v[k].kind == KIND_STANDBY;
    return n;
}

/* A standby that is one too many is admitted before another is begun. */
static bool admit(struct placement *p, const struct aim *aim)
{
    struct instance *i = count_standby(p, aim) > aim->standby ? idle_standby(p, aim) : NULL;
    if (!i)
        return false;
    i->standby = false;
    i->kind = KIND_GOOD;
    return true;
}

/* Should it be a standby again when the admission ends? */
static bool is_marked_next(const struct placement *p, const struct aim *aim)
{
    unsigned n = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        n += !p->v[k].gone && p->v[k].kind == KIND_GOOD && p->v[k].standby;
    return n < aim->marked;
}

static void create(struct step *st, struct placement *p, const struct aim *aim, unsigned n,
    int weight, struct tally *t)
{
    char why[REASON_SIZE] = "";
    for (; n; n--) {
        if (admit(p, aim)) {
            t->good++;
            continue;
        }
        bool marked = is_marked_next(p, aim);
        int k = step_create(st, p, aim->m, &aim->goal, false, why);
        if (k < 0) {
            lacks(p, aim, n, why, t);
            return;
        }
        p->v[k].standby = marked;
        p->v[k].weight = weight;
        t->good++;
    }
}

static unsigned canaries(const struct aim *aim)
{
    return MAX(1u, aim->active * aim->m->model->rollout.canary_weight / 100);
}

/* So that all canaries together have their part of what `active` full ones and they get. */
static int canary_weight(const struct aim *aim)
{
    unsigned part = aim->m->model->rollout.canary_weight;
    unsigned weight = WEIGHT_FULL * aim->active * part / ((100 - part) * canaries(aim));
    return (int)MIN(MAX(weight, 1u), WEIGHT_MAX);
}

/* Processes of the module that the document has no longer and an agent still has; those of another
 * generation go to *others. */
static unsigned ghosts(
    const struct step *st, const struct placement *p, const struct aim *aim, unsigned *others)
{
    unsigned n = 0;
    for (size_t i = 0; i < st->in->model->n_hosts; i++) {
        const struct host_view *h = &st->hosts[i];
        const char *name;
        json_t *u;
        if (strcmp(h->model->region->name, p->region) != 0 || !h->seen || !h->seen->heard)
            continue;
        json_object_foreach (h->units, name, u) {
            bool known = !str_eq(json_opt_str(u, "module", NULL), aim->m->model->name);
            for (int k = aim->m->first; k >= 0 && !known; k = p->v[k].next)
                known = !p->v[k].gone && !strcmp(p->v[k].name, name)
                        && !strcmp(p->v[k].host, h->model->name);
            n += !known;
            *others += !known && !str_eq(json_opt_str(u, "spec", NULL), aim->goal.id);
        }
    }
    return n;
}

/* Old ones, but for those that have failed before and are down: they take no place in a wave. */
static unsigned count_hoped(const struct placement *p, const struct aim *aim)
{
    unsigned n = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        n += !p->v[k].gone && p->v[k].kind == KIND_OLD
             && (p->v[k].ready != READY_NO || !aim_refused(aim, p->v[k].spec));
    return n;
}

/* Two generations never run together, and never more than what is wanted. */
static unsigned target_of_replace(
    const struct step *st, const struct placement *p, const struct aim *aim, const struct tally *t)
{
    unsigned others = t->old, all = t->old + t->leaving + t->draining;
    all += ghosts(st, p, aim, &others);
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        others += !p->v[k].gone && (p->v[k].kind == KIND_DRAIN || p->v[k].kind == KIND_LEAVING)
                  && strcmp(p->v[k].spec, aim->goal.id) != 0;
    return others ? t->good : MAX(t->good, aim->active - MIN(all, aim->active));
}

/* How many of the goal there shall be now. */
static unsigned target(
    const struct step *st, const struct placement *p, const struct aim *aim, const struct tally *t)
{
    if (aim->canary)
        return MIN(canaries(aim), aim->active);
    if (aim->strategy == ROLLOUT_REPLACE)
        return target_of_replace(st, p, aim, t);
    bool at_once = aim->back || aim->strategy == ROLLOUT_BLUE_GREEN || !t->old;
    if (at_once || st->s->guard_off[GUARD_BUDGET])
        return aim->active;
    if (t->ready < t->good || t->draining)
        return t->good;
    unsigned wave = model_wave(&aim->m->model->rollout, aim->active);
    unsigned others = count_hoped(p, aim), most = aim->active + wave;
    unsigned room = most - MIN(most, t->good + others);
    return MIN(aim->active, t->good + MIN(wave, room));
}

/* Old ones that were lost before their turn are begun again as they were: the new ones are not proven. */
static void fill_old(struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    bool apart = aim->canary || aim->strategy == ROLLOUT_BLUE_GREEN;
    unsigned have = t->old + (apart ? 0 : t->good);
    if (!aim->fill.spec || (!t->old && !aim->canary) || aim->strategy == ROLLOUT_REPLACE)
        return;
    char why[REASON_SIZE];
    for (; have < aim->active; have++, t->old++) {
        int k = step_create(st, p, aim->m, &aim->fill, false, why);
        if (k < 0) {
            lacks(p, aim, aim->active - have, why, t);
            return;
        }
        p->v[k].kind = KIND_OLD;
    }
}

static void weigh(struct placement *p, const struct aim *aim, const struct tally *t)
{
    bool apart = aim->strategy == ROLLOUT_BLUE_GREEN && !aim->back && t->old;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        if (!i->gone && i->kind == KIND_GOOD && !(apart && i->weight == 0))
            i->weight = aim->canary ? canary_weight(aim) : WEIGHT_FULL;
    }
}

/* Replaced ones go; those that nobody can take stay where they are, in case their host comes back. */
static void forget_lost(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    unsigned have = t->good + t->old + t->leaving;
    unsigned keep = aim->active > have ? aim->active - have : 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        if (i->gone || i->kind != KIND_LOST)
            continue;
        if (!i->drain && !is_idle(aim, i) && keep && !st->s->guard_off[GUARD_KEEP]) {
            keep--;
            snprintf(i->reason, sizeof i->reason, "%s is silent, and no other host can take it",
                i->host);
            continue;
        }
        i->gone = true;
        if (!i->drain)
            step_note(st, aim->m->model->name, "", "%s leaves %s in %s, which is silent", i->name,
                i->host, p->region);
    }
}

static void place_standby(struct step *st, struct placement *p, const struct aim *aim)
{
    char why[REASON_SIZE];
    struct tally ignored = {0};
    unsigned have = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        if (i->gone || i->kind != KIND_STANDBY)
            continue;
        bool leaves = step_host(st, i->host)->seen->drained && have < aim->standby
                      && step_create(st, p, aim->m, &aim->goal, true, why) >= 0;
        i = &p->v[k]; /* creating moves them */
        i->gone = leaves || have == aim->standby;
        have += leaves || !i->gone;
        str_copy(i->spec, sizeof i->spec, aim->goal.id);
    }
    for (; have < aim->standby; have++)
        if (step_create(st, p, aim->m, &aim->goal, true, why) < 0) {
            lacks(p, aim, aim->standby - have, why, &ignored);
            return;
        }
}

static void conclude(const struct placement *p, const struct aim *aim, struct tally *t)
{
    bool others = t->old || t->lost || t->lacking;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        others |= !p->v[k].gone && p->v[k].drain && strcmp(p->v[k].spec, aim->goal.id) != 0;
    t->done = !others && t->ready >= aim->active;
    t->awaited = t->lacking || t->ready < t->good;
}

void step_module_region(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    *t = (struct tally){.silent = region_silent(st, p->region)};
    if (t->silent)
        return;
    if (aim->goal.spec)
        json_object_set(p->specs, aim->goal.id, (json_t *)aim->goal.spec);
    step_finish_drains(st, p, aim);
    sort_out(st, p, aim, t);
    unsigned want = target(st, p, aim, t);
    bool hidden = aim->strategy == ROLLOUT_BLUE_GREEN && !aim->back && t->old;
    if (want > t->good)
        create(st, p, aim, want - t->good, hidden ? 0 : WEIGHT_FULL, t);
    fill_old(st, p, aim, t);
    weigh(p, aim, t);
    step_drain_victims(st, p, aim, t);
    forget_lost(st, p, aim, t);
    place_standby(st, p, aim);
    conclude(p, aim, t);
}
