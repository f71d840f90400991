/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/steering/away.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#define AWAY_FORMAT 1

static bool is_over(const json_t *entry, int64_t wall_ms)
{
    int64_t until = json_opt_int(entry, "until_ms", 0);
    return !json_is_object(entry) || (until && until <= wall_ms);
}

static bool lists(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        if (str_eq(json_string_value(json_array_get(names, i)), name))
            return true;
    return false;
}

const json_t *steer_away_entry(
    const json_t *doc, const char *region, const char *name, int64_t wall_ms)
{
    const json_t *entry = json_object_get(json_object_get(doc, "regions"), region);
    const json_t *names = json_object_get(entry, "names");
    if (is_over(entry, wall_ms) || (json_is_array(names) && !lists(names, name)))
        return NULL;
    return entry;
}

uint64_t steer_away_mask(
    const json_t *doc, const struct steer_plan *p, size_t name, int64_t wall_ms)
{
    uint64_t mask = 0;
    for (size_t r = 0; doc && r < p->space.n_regions; r++)
        if (steer_away_entry(doc, p->space.regions[r], p->space.names[name], wall_ms))
            mask |= 1ull << r;
    return mask;
}

/* The document without what is over. */
static json_t *tidy(const json_t *doc, int64_t wall_ms)
{
    json_t *out = doc ? json_deep_copy(doc) : json_pack("{s:i}", "format", AWAY_FORMAT);
    json_t *regions = json_object_get(out, "regions"), *entry;
    const char *region;
    void *next;
    if (!json_is_object(regions))
        json_object_set_new(out, "regions", regions = json_object());
    json_object_foreach_safe (regions, next, region, entry)
        if (is_over(entry, wall_ms))
            json_object_del(regions, region);
    return out;
}

static int check_names(
    const struct steer_plan *p, const json_t *names, const char *region, struct err *e)
{
    size_t ignored;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || !steer_plan_find_name(p, name, &ignored))
            return err_set(e, ERR_NOT_FOUND, "%.80s is not a name that is steered, so not away from %s either",
                name ? name : "that", region);
    }
    return 0;
}

static int refuse_last(const struct steer_plan *p, size_t name, const char *region, struct err *e)
{
    err_set(e, ERR_REFUSED, "%s would have no region left: away from %s is away from the last one",
        p->space.names[name], region);
    err_fix(e, "`mcp steer list` says what is steered away from, `mcp steer back REGION` ends it");
    return e->code;
}

/* Every name keeps a region. One that only this region runs stays where it is, unless it was asked
 * for by name. */
static int check_left(const json_t *doc, const struct steer_plan *p, size_t region,
    const struct steer_away_wish *w, int64_t wall_ms, struct err *e)
{
    bool moves = false, by_name = json_array_size(w->names) > 0;
    for (size_t n = 0; n < p->space.n_names; n++) {
        uint64_t serves = p->serves[n], here = 1ull << region;
        if (!(serves & here) || (by_name && !lists(w->names, p->space.names[n])))
            continue;
        bool only = serves == here;
        if (!(serves & ~here & ~steer_away_mask(doc, p, n, wall_ms)) && (by_name || !only))
            return refuse_last(p, n, w->region, e);
        moves |= !only;
    }
    if (!moves)
        err_set(e, ERR_REFUSED, "nothing would move: no such name runs in %s and elsewhere", w->region);
    return moves ? 0 : e->code;
}

static bool find_region(const struct steer_plan *p, const char *name, size_t *ret)
{
    for (size_t r = 0; r < p->space.n_regions; r++)
        if (str_eq(p->space.regions[r], name)) {
            *ret = r;
            return true;
        }
    return false;
}

int steer_away_put(const json_t *doc, const struct steer_plan *p, const struct steer_away_wish *w,
    int64_t wall_ms, json_t **ret, struct err *e)
{
    size_t region;
    if (!find_region(p, w->region, &region))
        return err_set(e, ERR_NOT_FOUND, "there is no region %.64s", w->region);
    if (w->for_ms > STEER_AWAY_FOR_MS_MAX)
        return err_set(e, ERR_USAGE, "at most 30 days; without a time it is until it is taken back");
    if (check_names(p, w->names, w->region, e) < 0
        || check_left(doc, p, region, w, wall_ms, e) < 0)
        return e->code;
    json_t *entry = json_pack("{s:s,s:s%,s:I,s:I}", "by", w->by, "why", w->why,
        str_utf8_cut(w->why, STEER_AWAY_WHY_MAX), "at_ms", (json_int_t)wall_ms, "until_ms",
        (json_int_t)(w->for_ms ? wall_ms + (int64_t)w->for_ms : 0));
    if (!entry)
        return err_set(e, ERR_USAGE, "the reason is no UTF-8");
    if (json_array_size(w->names))
        json_object_set_new(entry, "names", json_deep_copy(w->names));
    *ret = tidy(doc, wall_ms);
    json_object_set_new(json_object_get(*ret, "regions"), w->region, entry);
    return 0;
}

int steer_away_drop(
    const json_t *doc, const char *region, int64_t wall_ms, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *out = tidy(doc, wall_ms);
    if (json_object_del(json_object_get(out, "regions"), region) < 0) {
        err_set(e, ERR_NOT_FOUND, "nobody steers away from %.64s", region);
        err_fix(e, "`mcp steer list` says what is steered away from");
        return e->code;
    }
    *ret = json_incref(out);
    return 0;
}

json_t *steer_away_list(const json_t *doc, int64_t wall_ms)
{
    json_t *out = json_array(), *entry;
    const char *region;
    json_object_foreach (json_object_get(doc, "regions"), region, entry) {
        char since[CLOCK_STAMP_SIZE], until[CLOCK_STAMP_SIZE];
        json_t *names = json_object_get(entry, "names");
        if (is_over(entry, wall_ms))
            continue;
        int64_t until_ms = json_opt_int(entry, "until_ms", 0);
        clock_format_rfc3339(json_opt_int(entry, "at_ms", 0), since);
        clock_format_rfc3339(until_ms, until);
        json_t *row = json_pack("{s:s,s:s,s:s,s:s}", "region", region, "by",
            json_opt_str(entry, "by", "?"), "why", json_opt_str(entry, "why", ""), "since", since);
        if (until_ms)
            json_object_set_new(row, "until", json_string(until));
        if (json_is_array(names))
            json_object_set(row, "names", names);
        json_array_append_new(out, row);
    }
    return out;
}
