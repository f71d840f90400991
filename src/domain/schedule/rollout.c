/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a module's rollout: begun by another generation, region after region, to its end or back. */
#include "domain/schedule/priv.h"

#include <inttypes.h>

/* A leader that has just come sees the world before it judges by a wall clock. */
#define FRESH_LEADER_MS 10000u

static struct generation generation_of(const struct deploy *d, const char *id)
{
    struct generation g = {.spec = json_object_get(d->specs, id)};
    str_copy(g.id, sizeof g.id, id);
    return g;
}

/* What the module runs today, wherever, other than `wanted`. */
static const struct instance *any_other(
    const struct step *st, const struct module_view *m, const json_t **ret_spec)
{
    for (size_t r = 0; r < st->s->n_places; r++) {
        const struct placement *p = &st->s->places[r];
        for (size_t k = 0; k < p->n; k++)
            if (!strcmp(p->v[k].module, m->model->name)
                && strcmp(p->v[k].spec, m->wanted.id) != 0) {
                *ret_spec = json_object_get(p->specs, p->v[k].spec);
                return &p->v[k];
            }
    }
    return NULL;
}

static void forget_refused(struct deploy *d, const char *generation)
{
    for (size_t i = json_array_size(d->refused); i-- > 0;)
        if (str_eq(json_string_value(json_array_get(d->refused, i)), generation))
            json_array_remove(d->refused, i);
}

static struct deploy *new_deploy(struct step *st, struct module_view *m)
{
    struct schedule *s = st->s;
    struct deploy *d = GROW(s->deploys, s->n_deploys, s->cap_deploys);
    str_copy(d->module, sizeof d->module, m->model->name);
    d->specs = json_object();
    d->refused = json_array();
    return d;
}

static void begin(struct step *st, struct module_view *m, const char *from, const json_t *from_spec)
{
    struct deploy *d = m->deploy;
    char kept[DIGEST_SIZE];
    str_copy(kept, sizeof kept, from);
    _cleanup_json_ json_t *spec = json_incref((json_t *)from_spec);
    if (deploy_live(d) && d->id)
        step_note(st, d->module, "", "rollout %" PRId64 " is superseded", d->id);
    deploy_clear_parts(d);
    json_decref(d->specs);
    d->specs = json_object();
    bool back = *kept && strcmp(kept, m->wanted.id) != 0 && spec;
    if (back)
        json_object_set(d->specs, kept, spec);
    json_object_set(d->specs, m->wanted.id, (json_t *)m->wanted.spec);
    forget_refused(d, m->wanted.id);
    d->id++;
    d->state = DEPLOY_RUNNING;
    d->strategy = m->model->rollout.strategy;
    d->revision = st->in->revision;
    d->started_ms = st->wall;
    d->deadline_ms = d->ended_ms = 0;
    d->due = 0;
    d->progress = 0;
    d->retry = false;
    d->step[0] = d->reason[0] = '\0';
    str_copy(d->from, sizeof d->from, back ? kept : "");
    str_copy(d->to, sizeof d->to, m->wanted.id);
    str_copy(d->by, sizeof d->by, st->in->by ? st->in->by : "");
    step_note(st, d->module, d->by, "rollout %" PRId64 " begins, %s, of revision %" PRId64, d->id,
        rollout_strategy_name(d->strategy), d->revision);
}

static void decide_first(struct step *st, struct module_view *m)
{
    const json_t *spec = NULL;
    const struct instance *other = any_other(st, m, &spec);
    if (!other)
        return;
    char from[DIGEST_SIZE];
    str_copy(from, sizeof from, other->spec);
    new_deploy(st, m);
    for (size_t i = 0; i < st->n_modules; i++) /* they may have moved */
        st->modules[i].deploy = deploy_find(st->s, st->modules[i].model->name);
    begin(st, m, from, spec);
}

/* What its last rollout left the module with: where the next one begins, and goes back to. */
static const char *settled(const struct deploy *d)
{
    return d->state == DEPLOY_DONE || !*d->from ? d->to : d->from;
}

void rollout_decide(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    if (!m->wanted.spec)
        return;
    if (!d) {
        decide_first(st, m);
        return;
    }
    bool same = !strcmp(m->wanted.id, d->to);
    bool back_home = !strcmp(m->wanted.id, d->from);
    bool again = d->revision != st->in->revision || d->retry;
    bool start;
    switch (d->state) {
    case DEPLOY_RUNNING:
    case DEPLOY_DONE:
        start = !same;
        break;
    case DEPLOY_ROLLING_BACK:
        start = !same && !back_home;
        break;
    case DEPLOY_ROLLED_BACK:
        start = same ? again : !back_home;
        break;
    default: /* failed: it goes on towards what it is left with */
        start = same ? again && *d->from : !back_home;
    }
    if (start) {
        char from[DIGEST_SIZE];
        str_copy(from, sizeof from, settled(d));
        begin(st, m, from, json_object_get(d->specs, from));
    }
    d->retry = false;
}

/* ---- region after region */

static int turn(const struct model_region *r)
{
    return r->duty == REGION_DR ? 0 : r->duty == REGION_SERVING ? 1 : 2;
}

static bool present(const struct step *st, const struct module_view *m, const char *region)
{
    const struct placement *p = placement_find(st->s, region);
    for (size_t k = 0; p && k < p->n; k++)
        if (!strcmp(p->v[k].module, m->model->name))
            return true;
    return false;
}

bool step_is_admitted(const struct step *st, const char *module, const char *region)
{
    return str_eq(json_opt_str(st->in->admitted, module, NULL), region);
}

static bool has_others(
    const struct step *st, const struct module_view *m, const char *region, const char *generation)
{
    const struct placement *p = placement_find(st->s, region);
    bool admitted = step_is_admitted(st, m->model->name, region);
    for (size_t k = 0; p && k < p->n; k++)
        if (!strcmp(p->v[k].module, m->model->name) && (admitted || !p->v[k].standby)
            && !p->v[k].drain && strcmp(p->v[k].spec, generation) != 0)
            return true;
    return false;
}

static void take_turn(struct step *st, struct module_view *m, const struct model_region *r)
{
    struct part *part = deploy_part(m->deploy, r->name);
    const struct model_instances *w = module_wanted(m->model, r);
    bool serves = w->active || (w->standby && step_is_admitted(st, m->model->name, r->name));
    bool canary = m->deploy->strategy == ROLLOUT_CANARY && serves
                  && has_others(st, m, r->name, m->deploy->to);
    part->state = canary ? PART_CANARY : PART_RUNNING;
    part->canary_at = 0;
}

void rollout_gate(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    const struct model *model = st->in->model;
    const struct model_region *next = NULL;
    bool busy = false;
    if (!d || !deploy_live(d))
        return;
    for (size_t i = 0; i < model->n_regions; i++) {
        const struct model_region *r = &model->regions[i];
        const struct model_instances *w = module_wanted(m->model, r);
        struct part *part = deploy_find_part(d, r->name);
        if (!w->active && !w->standby && !present(st, m, r->name)) {
            if (part)
                part->state = PART_DONE;
            continue;
        }
        part = part ? part : deploy_part(d, r->name);
        part->wanted = w->active;
        if (step_is_admitted(st, m->model->name, r->name))
            part->wanted += w->standby;
        if (part->state == PART_DONE || region_silent(st, r->name))
            continue;
        if (part->state != PART_WAITING)
            busy = true;
        else if (!next || turn(r) < turn(next))
            next = r;
    }
    if (next && !busy && d->state == DEPLOY_RUNNING) /* one region at a time */
        take_turn(st, m, next);
}

/* What it runs here today stays until its rollout may begin. */
static void hold(
    struct step *st, struct module_view *m, const struct model_region *r, struct aim *aim)
{
    const struct placement *p = placement_find(st->s, r->name);
    for (int k = m->first; k >= 0; k = p->v[k].next)
        if (strcmp(p->v[k].spec, m->wanted.id) != 0) {
            aim->goal.spec = json_object_get(p->specs, p->v[k].spec);
            str_copy(aim->goal.id, sizeof aim->goal.id, p->v[k].spec);
            return;
        }
}

void rollout_aim(
    struct step *st, struct module_view *m, const struct model_region *r, struct aim *ret)
{
    const struct model_instances *w = module_wanted(m->model, r);
    struct deploy *d = m->deploy;
    bool admitted = step_is_admitted(st, m->model->name, r->name);
    *ret = (struct aim){.m = m,
        .active = w->active + (admitted ? w->standby : 0),
        .standby = admitted ? 0 : w->standby,
        .marked = admitted ? w->standby : 0,
        .goal = m->wanted,
        .strategy = m->model->rollout.strategy};
    if (!d && m->held)
        hold(st, m, r, ret);
    if (!d || !m->wanted.spec)
        return;
    ret->refused = d->refused;
    if (d->state == DEPLOY_RUNNING) {
        const struct part *part = deploy_find_part(d, r->name);
        bool waits = (!part || part->state == PART_WAITING) && *d->from;
        ret->goal = generation_of(d, waits ? d->from : d->to);
        ret->canary = part && part->state == PART_CANARY;
        if (*d->from && !waits)
            ret->fill = generation_of(d, d->from);
    } else {
        ret->goal = generation_of(d, settled(d));
        ret->back = d->state != DEPLOY_DONE;
    }
    if (!ret->goal.spec)
        ret->goal = m->wanted;
}

/* ---- what became of it */

static void end(struct step *st, struct deploy *d, enum deploy_state state, const char *reason)
{
    d->state = state;
    d->ended_ms = st->wall;
    d->deadline_ms = 0;
    d->due = 0;
    d->step[0] = '\0';
    if (reason)
        str_copy(d->reason, sizeof d->reason, reason);
    step_due(st, st->now);
}

static void fail(struct step *st, struct deploy *d, const char *reason)
{
    d->revision = st->in->revision;
    forget_refused(d, d->to);
    json_array_append_new(d->refused, json_string(d->to));
    if (!*d->from) {
        end(st, d, DEPLOY_FAILED, reason);
        step_note(st, d->module, reason,
            "rollout %" PRId64 " failed, and there is nothing to go back to", d->id);
        return;
    }
    end(st, d, DEPLOY_ROLLING_BACK, reason);
    d->ended_ms = 0;
    d->progress = 0;
    for (size_t i = 0; i < d->n_parts; i++)
        d->parts[i].state = PART_RUNNING;
    step_note(st, d->module, reason, "rollout %" PRId64 " failed and goes back", d->id);
}

static void conclude_part(struct step *st, struct module_view *m, struct part *p)
{
    const struct tally *t = &p->tally;
    p->ready = t->ready;
    if (p->state == PART_CANARY) {
        bool well = t->good && !t->awaited;
        p->canary_at = !well ? 0 : p->canary_at ? p->canary_at : st->now;
        uint64_t until = p->canary_at + m->model->rollout.canary_ms;
        if (!t->old || (well && st->now >= until)) {
            p->state = PART_RUNNING;
            step_due(st, st->now);
        } else if (well) {
            step_due(st, until);
        }
    } else if (p->state == PART_RUNNING && t->done) {
        p->state = PART_DONE;
        step_due(st, st->now);
    }
}

/* The deadline counts while something is awaited, anew with every instance that is ready. */
static bool over_deadline(
    struct step *st, const struct module_view *m, struct deploy *d, bool awaited, unsigned ready)
{
    uint64_t allowed = m->model->rollout.deadline_ms;
    if (!awaited || ready > d->progress) {
        d->progress = MAX(d->progress, ready);
        d->due = 0;
        d->deadline_ms = 0;
    }
    if (!awaited)
        return false;
    if (!d->due) {
        int64_t left = d->deadline_ms ? d->deadline_ms - st->wall : (int64_t)allowed;
        left = MAX(left, (int64_t)MIN(allowed, FRESH_LEADER_MS));
        d->due = st->now + MIN((uint64_t)left, allowed);
        if (!d->deadline_ms)
            d->deadline_ms = st->wall + (int64_t)allowed;
    }
    step_due(st, d->due);
    return st->now >= d->due;
}

static const char *const doing[] = {[PART_WAITING] = "waits",
    [PART_CANARY] = "canary",
    [PART_RUNNING] = "in turn",
    [PART_DONE] = "done"};

struct outcome {
    bool awaited, all_done, failing;
    bool proven; /* in a region where it serves */
    unsigned ready;
    const char *reason; /* of what fails, else of what is awaited */
    const char *silent; /* a region that is */
    const struct part *turn;
};

static struct outcome look_at_parts(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    struct outcome o = {.all_done = true};
    for (size_t i = 0; i < d->n_parts; i++) {
        struct part *p = &d->parts[i];
        const struct tally *t = &p->tally;
        if (t->silent || region_silent(st, p->region)) {
            o.silent = p->state == PART_DONE ? o.silent : p->region;
            continue;
        }
        conclude_part(st, m, p);
        o.proven |= p->state == PART_DONE && p->wanted > 0;
        o.all_done &= p->state == PART_DONE;
        if (p->state == PART_WAITING)
            continue;
        o.ready += t->ready;
        o.awaited |= t->awaited || (p->state == PART_RUNNING && !t->done && !t->draining);
        if (*t->reason && (!o.reason || (t->failing && !o.failing)))
            o.reason = t->reason;
        o.failing |= t->failing;
        if (p->state != PART_DONE)
            o.turn = p;
    }
    return o;
}

static void conclude_running(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    struct outcome o = look_at_parts(st, m);
    char text[REASON_SIZE];
    if (o.failing) {
        fail(st, d, o.reason);
    } else if (over_deadline(st, m, d, o.awaited, o.ready)) {
        snprintf(text, sizeof text, "not ready within %" PRIu64 " s: %s",
            m->model->rollout.deadline_ms / 1000, o.reason ? o.reason : "");
        fail(st, d, text);
    } else if (o.all_done && (o.proven || !o.silent)) {
        snprintf(text, sizeof text, "%s is silent and follows when it is back",
            o.silent ? o.silent : "");
        end(st, d, DEPLOY_DONE, o.silent ? text : "");
        step_note(st, d->module, d->reason, "rollout %" PRId64 " is done", d->id);
    } else if (o.turn) {
        snprintf(d->step, sizeof d->step, "%s: %s, %u of %u ready", o.turn->region,
            doing[o.turn->state], o.turn->ready, o.turn->wanted);
    } else if (o.silent) {
        snprintf(d->step, sizeof d->step, "waits for %s, which is silent", o.silent);
    }
}

static void conclude_back(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    struct outcome o = look_at_parts(st, m);
    char text[REASON_SIZE * 2];
    if (o.all_done) {
        end(st, d, DEPLOY_ROLLED_BACK, NULL);
        step_note(st, d->module, d->reason, "rollout %" PRId64 " is rolled back", d->id);
    } else if (over_deadline(st, m, d, o.awaited, o.ready)) {
        snprintf(text, sizeof text, "%s; nor is what ran before ready again: %s", d->reason,
            o.reason ? o.reason : "");
        end(st, d, DEPLOY_FAILED, text);
        step_note(st, d->module, d->reason, "rollout %" PRId64 " could not be rolled back", d->id);
    } else {
        snprintf(d->step, sizeof d->step, "goes back to what ran before");
    }
}

void rollout_conclude(struct step *st, struct module_view *m)
{
    struct deploy *d = m->deploy;
    if (!d)
        return;
    if (!m->wanted.spec) { /* no longer declared */
        d->gone = true;
        for (size_t i = 0; i < st->in->model->n_regions; i++)
            d->gone &= !present(st, m, st->in->model->regions[i].name);
    } else if (d->state == DEPLOY_RUNNING) {
        conclude_running(st, m);
    } else if (d->state == DEPLOY_ROLLING_BACK) {
        conclude_back(st, m);
    }
}
