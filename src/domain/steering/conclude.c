/* SPDX-License-Identifier: Apache-2.0 */
/* From views to answers: what each target is taken for, which regions a name is answered from,
 * which region each list gets and for how long. */
#include "domain/steering/priv.h"

void steer_note(const struct steer *s, struct steer_actions *a, const char *kind,
    const char *subject, const char *cause, const char *fmt, ...)
{
    struct timeline_draft *d = GROW(a->entries, a->n_entries, a->cap_entries);
    _cleanup_str_ struct str message = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&message, fmt, ap);
    va_end(ap);
    timeline_draft_set(d, kind, subject, str_cstr(&message), cause);
    d->revision = s->plan->revision;
}

void steer_print_votes(const struct health_verdict *v, struct str *out)
{
    if (v->alone)
        str_add(out, "nobody else is reached or heard");
    else
        str_addf(out, "%u of %u observers", v->state == HEALTH_UP ? v->up : v->down, v->eligible);
    if (v->state != HEALTH_UP && v->down)
        str_addf(out, ": %s", health_class_name(v->why));
}

/* What one name's regions went through in this step. */
struct moves {
    uint64_t lost, back;   /* concluded otherwise than before */
    uint64_t up, app_down; /* concluded now; app_down: because the edge says so */
    uint64_t app_recent;   /* ... lost within the freeze window */
};

static void report_target(struct steer *s, size_t name, size_t region, struct steer_actions *a)
{
    const struct target *t = steer_target(s, name, region);
    _cleanup_str_ struct str cause = STR_INIT;
    steer_print_votes(&t->verdict, &cause);
    char subject[sizeof((struct timeline_draft *)0)->subject];
    snprintf(subject, sizeof subject, "%s/%s", s->plan->space.regions[region],
        s->plan->space.names[name]);
    steer_note(s, a, "health", subject, str_cstr(&cause), "%s", health_state_name(t->concluded));
}

/* A region that went stays away for as long as its return takes to be seen at least: votes that come and go with the
 * network between observers must not move users to and fro. */
static bool too_soon(const struct steer *s, const struct target *t)
{
    const struct health_params *p = &s->plan->params;
    return t->confirmed && p->up > 1
           && steer_within(s->now_ms, t->since_ms, (p->up - 1) * p->interval_ms);
}

static void conclude_target(struct steer *s, const struct health_council *c, size_t name,
    size_t region, struct moves *m, struct steer_actions *a)
{
    struct target *t = steer_target(s, name, region);
    struct health_verdict *v = &t->verdict;
    health_verdict(c, region, name, v);
    enum health_state now = v->state == HEALTH_UNKNOWN ? t->concluded : v->state;
    if (now == HEALTH_UP && t->concluded == HEALTH_DOWN && too_soon(s, t))
        now = HEALTH_DOWN;
    t->confirmed |= v->state == HEALTH_UP;
    if (now == HEALTH_DOWN && v->state == HEALTH_DOWN)
        t->why = v->why;
    if (now != t->concluded) {
        t->concluded = now;
        t->since_ms = s->now_ms;
        t->since_wall_ms = s->wall_ms;
        /* Only what worked once can be lost: a platform that is coming up freezes nothing. */
        bool app_lost = now == HEALTH_DOWN && t->why == HEALTH_APP && t->confirmed;
        t->app_lost_ms = app_lost ? s->now_ms : 0;
        *(now == HEALTH_DOWN ? &m->lost : &m->back) |= 1ull << region;
        report_target(s, name, region, a);
        a->save = true;
    }
    if (now == HEALTH_UP) {
        m->up |= 1ull << region;
    } else if (t->why == HEALTH_APP) {
        m->app_down |= 1ull << region;
        if (t->app_lost_ms && (t->held || s->now_ms - t->app_lost_ms <= STEER_FREEZE_WINDOW_MS))
            m->app_recent |= 1ull << region;
    }
    t->held = t->held && now == HEALTH_DOWN && t->why == HEALTH_APP;
}

static void report_frozen(
    struct steer *s, size_t name, const struct moves *m, struct steer_actions *a)
{
    int down = __builtin_popcountll(m->app_down), up = __builtin_popcountll(m->up);
    const char *subject = s->plan->space.names[name];
    if (s->names[name].frozen)
        steer_note(s, a, "alarm", subject,
            "most of its regions say at once that it does not work: a release or something they "
            "share is at "
            "fault, and moving users would not help",
            "answers are frozen: %d of %d regions would be lost within a minute", down, up + down);
    else
        steer_note(s, a, "alarm", subject, "", "answers are free again: %d of %d regions work", up,
            up + down);
    a->save = true;
}

/* Losses for an application reason that are too many at once are held: known, reported, not acted
 * on. */
static void freeze(struct steer *s, size_t name, const struct moves *m, struct steer_actions *a)
{
    struct name_state *ns = &s->names[name];
    int up = __builtin_popcountll(m->up), recent = __builtin_popcountll(m->app_recent);
    bool was = ns->frozen;
    if (!was && up + recent > 1 && recent > up)
        ns->frozen = true;
    else if (was && __builtin_popcountll(m->app_down) <= up)
        ns->frozen = false;
    for (size_t r = 0; r < s->plan->space.n_regions; r++) {
        struct target *t = steer_target(s, name, r);
        if (!ns->frozen)
            t->held = false;
        else if (m->lost & m->app_down & 1ull << r)
            t->held = true;
    }
    if (ns->frozen != was)
        report_frozen(s, name, m, a);
}

const json_t *steer_away_from(const struct steer *s, size_t name, size_t region)
{
    if (!(s->names[name].away >> region & 1))
        return NULL;
    return steer_away_entry(
        s->away, s->plan->space.regions[region], s->plan->space.names[name], s->wall_ms);
}

/* Those of `up` that nobody steers away from, or all of them when that would leave none. */
static uint64_t obey_away(struct steer *s, size_t name, uint64_t up, struct steer_actions *a)
{
    struct name_state *ns = &s->names[name];
    uint64_t serves = s->plan->serves[name];
    ns->away = steer_away_mask(s->away, s->plan, name, s->wall_ms) & serves;
    bool kept = (ns->away & up) && !(up & serves & ~ns->away);
    if (kept != ns->away_kept && __builtin_popcountll(serves) > 1)
        steer_note(s, a, "alarm", s->plan->space.names[name],
            kept ? "the last one standing is never withdrawn" : "", "%s",
            kept ? "it is answered from a region that is steered away from: no other one is up"
                 : "what is steered away from is left again");
    ns->away_kept = kept;
    return kept ? up : up & ~ns->away;
}

/* The regions to answer from. When none is left the answers stay. */
static void update_up(struct steer *s, size_t name, const struct moves *m, struct steer_actions *a)
{
    struct name_state *ns = &s->names[name];
    uint64_t serves = s->plan->serves[name], up = m->up;
    for (size_t r = 0; r < s->plan->space.n_regions; r++)
        if (steer_target(s, name, r)->held)
            up |= 1ull << r;
    bool none = serves && !(up & serves);
    if (none != ns->none_up) {
        ns->none_up = none;
        steer_note(s, a, "alarm", s->plan->space.names[name],
            none ? "the last one standing is never withdrawn" : "", "%s",
            none ? "no region is up: the last known answers stay" : "a region is up again");
    }
    uint64_t next = none ? ns->up & serves : obey_away(s, name, up, a) & serves;
    if (!next)
        next = serves;
    a->save |= next != ns->up;
    ns->up = next;
}

static uint8_t choose(const struct steer_plan *p, const struct steer_list *l, uint64_t up)
{
    for (size_t i = 0; i < l->n; i++)
        if (up >> l->order[i] & 1)
            return l->order[i];
    const struct steer_list *fallback = &p->lists[0];
    for (size_t i = 0; i < fallback->n; i++)
        if (up >> fallback->order[i] & 1)
            return fallback->order[i];
    if (up)
        return (uint8_t)__builtin_ctzll(up);
    return l->n ? l->order[0] : 0; /* a name that nothing runs: its edge will say so */
}

static uint32_t clamp_ttl(const struct steer *s, uint64_t ms)
{
    return (uint32_t)MIN(MAX(ms / 1000, (uint64_t)STEER_TTL_MIN_S), (uint64_t)s->plan->ttl_s);
}

/* The full TTL while nothing is about to change; while the region that is answered is suspect, one
 * before it is coming back, or a switch is young, as long as the next change can be away. */
static uint32_t ttl_of(
    const struct steer *s, size_t name, const struct steer_list *l, const struct list_choice *c)
{
    const struct health_params *p = &s->plan->params;
    uint32_t ttl = s->plan->ttl_s;
    if (steer_within(s->now_ms, c->switched_ms, p->up * p->interval_ms))
        ttl = clamp_ttl(s, p->interval_ms);
    for (size_t i = 0; i < l->n; i++) {
        unsigned left = steer_target(s, name, l->order[i])->verdict.probes_left;
        if (left)
            ttl = MIN(ttl, clamp_ttl(s, left * p->interval_ms));
        if (l->order[i] == c->c.region)
            break;
    }
    return ttl;
}

static void add_reason(
    const struct steer *s, size_t name, uint8_t from, uint8_t to, struct str *cause)
{
    const struct target *was = steer_target(s, name, from);
    const json_t *away = steer_away_from(s, name, from);
    if (cause->len)
        str_add(cause, "; ");
    if (was->concluded == HEALTH_DOWN && !(s->names[name].up >> from & 1)) {
        str_addf(cause, "%s is down, ", s->plan->space.regions[from]);
        steer_print_votes(&was->verdict, cause);
    } else if (away && !(s->names[name].up >> from & 1)) {
        str_addf(cause, "%s steers away from %s", json_opt_str(away, "by", "?"),
            s->plan->space.regions[from]);
        if (*json_opt_str(away, "why", ""))
            str_addf(cause, ": %s", json_opt_str(away, "why", ""));
    } else if (s->names[name].up >> from & 1) {
        str_addf(cause, "%s is up", s->plan->space.regions[to]);
    } else {
        str_addf(cause, "%s does not run it", s->plan->space.regions[from]);
    }
}

static void update_choices(struct steer *s, size_t name, struct steer_actions *a)
{
    const struct steer_plan *p = s->plan;
    _cleanup_str_ struct str message = STR_INIT, cause = STR_INIT;
    uint64_t told = 0; /* regions left whose reason is told already */
    for (size_t i = 0; i < p->n_lists; i++) {
        struct list_choice *c = &s->choices[name * p->n_lists + i];
        uint8_t region = choose(p, &p->lists[i], s->names[name].up);
        bool is_new = c->c.ttl_s == 0;
        if (!is_new && region != c->c.region) {
            str_addf(&message, "%s%s: %s → %s", message.len ? "; " : "", p->lists[i].label,
                p->space.regions[c->c.region], p->space.regions[region]);
            if (!(told >> c->c.region & 1))
                add_reason(s, name, c->c.region, region, &cause);
            told |= 1ull << c->c.region;
            c->switched_ms = s->now_ms;
        }
        struct steer_choice was = c->c;
        c->c.region = region;
        c->c.ttl_s = ttl_of(s, name, &p->lists[i], c);
        a->publish |= was.region != c->c.region || was.ttl_s != c->c.ttl_s;
    }
    if (message.len)
        steer_note(s, a, "steering", p->space.names[name], str_cstr(&cause), "%s", message.buf);
}

void steer_conclude_name(struct steer *s, size_t name, struct steer_actions *a)
{
    struct health_council council = steer_council(s, s->heard);
    struct moves m = {0};
    for (size_t r = 0; r < s->plan->space.n_regions; r++)
        if (s->plan->serves[name] >> r & 1)
            conclude_target(s, &council, name, r, &m, a);
    freeze(s, name, &m, a);
    update_up(s, name, &m, a);
    update_choices(s, name, a);
}

void steer_conclude_alone(struct steer *s, struct steer_actions *a)
{
    struct health_council council = steer_council(s, s->heard);
    if (council.alone == s->alone)
        return;
    s->alone = council.alone;
    if (s->alone)
        steer_note(s, a, "steering", s->region_name,
            "no other region is reached or heard, while its own network works",
            "alone: this region judges the others by itself");
    else
        steer_note(s, a, "steering", s->region_name, "", "no longer alone");
}
