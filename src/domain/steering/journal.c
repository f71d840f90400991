/* SPDX-License-Identifier: Apache-2.0 */
/* What survives a restart: conclusions, so that the first answer is not given from ignorance.
 * Everything in it is by name, for the revision may differ; whatever does not parse is left out,
 * and starts unknown. */
#include "domain/steering/priv.h"

#define JOURNAL_FORMAT 1

static json_t *format_target(const struct target *t)
{
    return json_pack("{s:s,s:I,s:b,s:s,s:I,s:s,s:b,s:b}", "own", health_state_name(t->own.state),
        "own_since", (json_int_t)t->own.since_wall_ms, "seen_up", t->seen_up, "state",
        health_state_name(t->concluded), "since", (json_int_t)t->since_wall_ms, "why",
        health_class_name(t->why), "held", t->held, "confirmed", t->confirmed);
}

static json_t *format_name(const struct steer *s, size_t name)
{
    const struct health_space *sp = &s->plan->space;
    json_t *up = json_array(), *targets = json_object();
    for (size_t r = 0; r < sp->n_regions; r++) {
        if (s->names[name].up >> r & 1)
            json_array_append_new(up, json_string(sp->regions[r]));
        if (s->plan->serves[name] >> r & 1)
            json_object_set_new(targets, sp->regions[r], format_target(steer_target(s, name, r)));
    }
    return json_pack("{s:o,s:b,s:b,s:o}", "up", up, "frozen", s->names[name].frozen, "none_up",
        s->names[name].none_up, "targets", targets);
}

json_t *steer_journal_format(const struct steer *s)
{
    json_t *names = json_object();
    for (size_t n = 0; s->plan && n < s->plan->space.n_names; n++)
        json_object_set_new(names, s->plan->space.names[n], format_name(s, n));
    return json_pack("{s:i,s:I,s:o,s:O*}", "format", JOURNAL_FORMAT, "incarnation",
        (json_int_t)s->incarnation, "names", names, "away", s->away);
}

static void restore_target(struct steer *s, size_t name, size_t region, const json_t *j)
{
    struct target *t = steer_target(s, name, region);
    enum health_state own, concluded;
    if (!health_state_parse(json_opt_str(j, "own", ""), &own)
        || !health_state_parse(json_opt_str(j, "state", ""), &concluded))
        return;
    t->own.state = own;
    t->own.since_wall_ms = json_opt_int(j, "own_since", 0);
    t->seen_up = json_opt_bool(j, "seen_up", true);
    t->concluded = concluded;
    t->since_wall_ms = json_opt_int(j, "since", 0);
    t->confirmed = json_opt_bool(j, "confirmed", true);
    if (!health_class_parse(json_opt_str(j, "why", ""), &t->why))
        t->why = HEALTH_NONE;
    t->held = json_opt_bool(j, "held", false) && concluded == HEALTH_DOWN && t->why == HEALTH_APP;
    if (t->held)
        t->app_lost_ms = s->now_ms;
    s->own.targets[HEALTH_TARGET(&s->plan->space, region, name)] =
        (struct health_vote){.state = (uint8_t)own, .since_wall_ms = t->own.since_wall_ms};
}

static void restore_name(struct steer *s, size_t name, const json_t *j)
{
    const struct health_space *sp = &s->plan->space;
    struct name_state *ns = &s->names[name];
    const json_t *up = json_object_get(j, "up"), *targets = json_object_get(j, "targets");
    for (size_t r = 0; r < sp->n_regions; r++) {
        for (size_t i = 0; i < json_array_size(up); i++)
            if (str_eq(json_string_value(json_array_get(up, i)), sp->regions[r]))
                ns->up |= 1ull << r;
        restore_target(s, name, r, json_object_get(targets, sp->regions[r]));
    }
    ns->frozen = json_opt_bool(j, "frozen", false);
    ns->none_up = json_opt_bool(j, "none_up", false);
}

void steer_journal_restore(struct steer *s)
{
    json_t *j = s->journal;
    s->journal = NULL;
    if (!j)
        return;
    if (json_opt_int(j, "format", 0) == JOURNAL_FORMAT) {
        int64_t incarnation = json_opt_int(j, "incarnation", 0);
        if (incarnation > 0 && incarnation < INT64_MAX)
            s->incarnation = MAX(s->incarnation, (uint64_t)incarnation + 1);
        if (!s->away_told && json_is_object(json_object_get(j, "away")))
            s->away = json_deep_copy(json_object_get(j, "away"));
        const json_t *names = json_object_get(j, "names");
        for (size_t n = 0; n < s->plan->space.n_names; n++) {
            const json_t *name = json_object_get(names, s->plan->space.names[n]);
            if (name)
                restore_name(s, n, name);
        }
    }
    json_decref(j);
}
