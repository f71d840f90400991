/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/schedule/after.h"

#include "base/str/str.h"

#define FIRST_PAUSE_MS 5000

static json_t *same(const json_t *doc)
{
    return json_incref((json_t *)(uintptr_t)doc);
}

static json_t *entry(int64_t id, const char *state, int64_t wall_ms)
{
    json_t *doc = json_pack("{s:i,s:I,s:s,s:I}", "format", AFTER_FORMAT, "id", (json_int_t)id,
        "state", state, "since_ms", (json_int_t)wall_ms);
    ASSERT(doc);
    return doc;
}

static bool is_due(const json_t *doc)
{
    return str_eq(json_opt_str(doc, "state", ""), "due");
}

json_t *after_step(const json_t *doc, const json_t *deploy, int64_t wall_ms, bool *ret_run)
{
    int64_t id = json_opt_int(deploy, "id", 0);
    const char *state = json_opt_str(deploy, "state", "");
    *ret_run = is_due(doc) && json_opt_int(doc, "next_ms", 0) <= wall_ms;
    if (!deploy || is_due(doc))
        return same(doc);
    if (!doc)
        return entry(str_eq(state, "running") ? id - 1 : id, "done", wall_ms);
    if (str_eq(state, "done") && id > json_opt_int(doc, "id", 0))
        return entry(id, "due", wall_ms);
    return same(doc);
}

json_t *after_ran(const json_t *doc, int64_t id, const struct err *e, int64_t wall_ms)
{
    int64_t tries = json_opt_int(doc, "tries", 0) + 1;
    if (!is_due(doc) || json_opt_int(doc, "id", 0) != id)
        return same(doc);
    json_t *next = json_deep_copy(doc);
    bool again = e && e->code == ERR_UNAVAILABLE && tries < (int64_t)AFTER_TRIES_MAX;
    json_object_set_new(next, "tries", json_integer(tries));
    if (e)
        json_object_set_new(next, "error", json_string(e->message));
    else
        json_object_del(next, "error");
    if (again)
        json_object_set_new(
            next, "next_ms", json_integer(wall_ms + (FIRST_PAUSE_MS << (tries - 1))));
    else
        json_object_set_new(next, "state", json_string(e ? "failed" : "done"));
    return next;
}
