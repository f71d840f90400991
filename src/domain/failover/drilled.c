/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/drilled.h"

#include "base/str/str.h"

static bool is_text(const char *text, bool may_be_empty)
{
    size_t len = strlen(text);
    return len <= DRILLED_TEXT_MAX && (len || may_be_empty);
}

bool drilled_running(const json_t *doc, int64_t wall_ms)
{
    return doc && !json_object_get(doc, "ended_ms")
           && json_opt_int(doc, "format", 0) == DRILLED_FORMAT
           && wall_ms < json_opt_int(doc, "until_ms", 0);
}

int drilled_gate(const json_t *doc, int64_t wall_ms, struct err *e)
{
    if (!drilled_running(doc, wall_ms))
        return 0;
    err_set(e, ERR_CONFLICT, "the drill %.64s of %.64s is under way",
        json_opt_str(doc, "drill", "?"), json_opt_str(doc, "by", "?"));
    err_fix(e, "wait for its end, in %lld s at the latest; Ctrl-C there undoes and ends it",
        (long long)(json_opt_int(doc, "until_ms", 0) - wall_ms + 999) / 1000);
    return ERR_CONFLICT;
}

int drilled_begin(
    const json_t *old, const struct drilled_wish *w, int64_t wall_ms, json_t **ret, struct err *e)
{
    if (!is_text(w->id, false) || !is_text(w->drill, false) || !is_text(w->mode, false)
        || !is_text(w->by, true) || !is_text(w->database, true) || !is_text(w->region, true))
        return err_set(e, ERR_USAGE, "id, drill and mode are names");
    if (w->max_ms <= 0 || w->max_ms > DRILLED_MAX_MS)
        return err_set(e, ERR_USAGE, "a drill lasts an hour at most");
    if (!str_eq(json_opt_str(old, "id", ""), w->id)) {
        int r = drilled_gate(old, wall_ms, e);
        if (r < 0)
            return r;
    }
    *ret = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "format", DRILLED_FORMAT, "id",
        w->id, "drill", w->drill, "mode", w->mode, "database", w->database, "region", w->region,
        "by", w->by, "begun_ms", (json_int_t)wall_ms, "until_ms",
        (json_int_t)(wall_ms + w->max_ms), "after", (json_int_t)w->after);
    return *ret ? 0 : err_set(e, ERR_USAGE, "the names of a drill are text");
}

json_t *drilled_end(json_t *old, const char *id, bool passed, int64_t wall_ms)
{
    if (!old || !str_eq(json_opt_str(old, "id", ""), id) || json_object_get(old, "ended_ms"))
        return json_incref(old);
    json_t *new = json_deep_copy(old);
    json_object_set_new(new, "ended_ms", json_integer(wall_ms));
    json_object_set_new(new, "passed", json_boolean(passed));
    return new;
}

static bool is_about(const json_t *doc, const char *database, const char *region)
{
    return str_eq(json_opt_str(doc, "database", ""), database) && *region
           && str_eq(json_opt_str(doc, "region", ""), region);
}

void drilled_facts(const json_t *doc, const char *database, const char *source_region,
    int64_t wall_ms, struct failover_automation *ret)
{
    ret->drill = drilled_running(doc, wall_ms);
    ret->drill_own = ret->drill && is_about(doc, database, source_region);
}

bool drilled_caused(
    const json_t *doc, const char *database, const char *from_region, const json_t *last)
{
    return doc && is_about(doc, database, from_region)
           && str_eq(json_opt_str(doc, "mode", ""), "live")
           && str_eq(json_opt_str(last, "kind", ""), "failover")
           && str_eq(json_opt_str(last, "outcome", ""), "done")
           && json_opt_int(last, "id", 0) > json_opt_int(doc, "after", INT64_MAX - 1);
}
