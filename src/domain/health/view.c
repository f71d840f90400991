/* SPDX-License-Identifier: Apache-2.0 */
/* Views as JSON: what one host tells the others about the targets it probes. */
#include "domain/health/health.h"

#define VIEW_FORMAT 1
#define AGE_MAX_MS (7ll * 24 * 3600 * 1000) /* older is as useless */

void health_view_done(struct health_view *v)
{
    free(v->targets);
    v->targets = NULL;
}

static json_t *format_vote(const struct health_vote *t)
{
    int streak = t->streak_ok ? t->streak : -(int)t->streak;
    return json_pack("[s,s,i,I]", health_state_name((enum health_state)t->state),
        health_class_name((enum health_class)t->class), streak, (json_int_t)t->since_wall_ms);
}

json_t *health_view_format(const struct health_view *v, const struct health_space *s)
{
    json_t *reached = json_array(), *targets = json_object();
    for (size_t r = 0; r < s->n_regions; r++) {
        if (v->reached >> r & 1)
            json_array_append_new(reached, json_string(s->regions[r]));
        json_t *row = json_object();
        for (size_t n = 0; n < s->n_names; n++) {
            const struct health_vote *t = &v->targets[HEALTH_TARGET(s, r, n)];
            if (t->class != HEALTH_NONE || t->state != HEALTH_UNKNOWN)
                json_object_set_new(row, s->names[n], format_vote(t));
        }
        json_object_set_new(targets, s->regions[r], row);
    }
    return json_pack("{s:i,s:s,s:s,s:I,s:I,s:I,s:o,s:b,s:b,s:o}", "format", VIEW_FORMAT, "host",
        v->host, "region", s->regions[v->region], "incarnation", (json_int_t)v->incarnation, "seq",
        (json_int_t)v->seq, "age_ms", (json_int_t)v->age_ms, "reached", reached, "references",
        v->references, "self", v->self, "targets", targets);
}

static bool find(const char *const *v, size_t n, const char *name, size_t *ret)
{
    for (size_t i = 0; name && i < n; i++)
        if (!strcmp(v[i], name)) {
            *ret = i;
            return true;
        }
    return false;
}

static int parse_vote(const json_t *j, struct health_vote *ret, struct err *e)
{
    const char *state = json_string_value(json_array_get(j, 0));
    const char *class = json_string_value(json_array_get(j, 1));
    json_int_t streak = json_integer_value(json_array_get(j, 2));
    enum health_state s;
    enum health_class c;
    if (!state || !class || !health_state_parse(state, &s) || streak < -255 || streak > 255)
        return err_set(e, ERR_INVALID, "a target is not [state, class, streak, since]");
    if (!health_class_parse(class, &c)) /* a newer version's word: the state still counts */
        c = HEALTH_UNREACHABLE;
    *ret = (struct health_vote){.state = (uint8_t)s,
        .class = (uint8_t)c,
        .streak = (uint8_t)(streak < 0 ? -streak : streak),
        .streak_ok = streak > 0,
        .since_wall_ms = json_integer_value(json_array_get(j, 3))};
    return 0;
}

static int parse_targets(
    json_t *targets, const struct health_space *s, struct health_view *v, struct err *e)
{
    const char *region, *name;
    json_t *row, *vote;
    json_object_foreach (targets, region, row) {
        size_t r, n;
        if (!find(s->regions, s->n_regions, region, &r))
            continue;
        json_object_foreach (row, name, vote) {
            if (!find(s->names, s->n_names, name, &n))
                continue;
            int k = parse_vote(vote, &v->targets[HEALTH_TARGET(s, r, n)], e);
            if (k < 0)
                return err_wrap(e, "target %s in %s", name, region);
        }
    }
    return 0;
}

static int parse_head(
    const json_t *j, const struct health_space *s, struct health_view *v, struct err *e)
{
    const char *host, *region;
    int64_t format, incarnation, seq, age;
    int r = json_get_int(j, "format", 1, VIEW_FORMAT, &format, e);
    if (r >= 0)
        r = json_get_str(j, "host", &host, e);
    if (r >= 0)
        r = json_get_str(j, "region", &region, e);
    if (r >= 0)
        r = json_get_int(j, "incarnation", 0, INT64_MAX, &incarnation, e);
    if (r >= 0)
        r = json_get_int(j, "seq", 0, INT64_MAX, &seq, e);
    if (r >= 0)
        r = json_get_int(j, "age_ms", 0, AGE_MAX_MS, &age, e);
    if (r < 0)
        return r;
    if (!str_copy(v->host, sizeof v->host, host))
        return err_set(e, ERR_LIMIT, "host: the name is too long");
    if (!find(s->regions, s->n_regions, region, &v->region))
        return err_set(e, ERR_NOT_FOUND, "region %.80s is not part of the platform", region);
    v->incarnation = (uint64_t)incarnation;
    v->seq = (uint64_t)seq;
    v->age_ms = (uint64_t)age;
    v->references = json_opt_bool(j, "references", false);
    v->self = json_opt_bool(j, "self", false);
    return 0;
}

int health_view_parse(
    const json_t *j, const struct health_space *s, struct health_view *ret, struct err *e)
{
    struct health_view v = {0};
    json_t *reached, *targets;
    int r = parse_head(j, s, &v, e);
    if (r >= 0)
        r = json_get_array(j, "reached", &reached, e);
    if (r >= 0)
        r = json_get_obj(j, "targets", &targets, e);
    if (r < 0)
        return err_wrap(e, "view");
    for (size_t i = 0, at; i < json_array_size(reached); i++)
        if (find(s->regions, s->n_regions, json_string_value(json_array_get(reached, i)), &at)
            && at != v.region)
            v.reached |= 1ull << at;
    v.targets = xcalloc(s->n_regions * s->n_names + 1, sizeof *v.targets);
    r = parse_targets(targets, s, &v, e);
    if (r < 0) {
        health_view_done(&v);
        return err_wrap(e, "view of %s", v.host);
    }
    *ret = v;
    return 0;
}
