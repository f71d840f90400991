/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/doc.h"

#include "base/str/str.h"
#include "domain/failover/rules.h"

static json_t *copy_or_new(const json_t *doc)
{
    return doc ? json_deep_copy(doc) : failover_doc_new();
}

json_t *failover_doc_new(void)
{
    json_t *doc = json_pack("{s:i,s:n,s:n,s:i,s:[],s:s,s:s,s:i}", "format", FAILOVER_FORMAT,
        "paused", "armed", "acked_id", 0, "history", "state", "", "reason", "", "at_ms", 0);
    ASSERT(doc);
    return doc;
}

/* ---- what people say ---- */

json_t *failover_doc_pause(const json_t *doc, const char *by, const char *why, int64_t wall_ms)
{
    json_t *new = copy_or_new(doc);
    json_object_set_new(new, "paused",
        json_pack("{s:s,s:s,s:I}", "by", by, "why", why, "at_ms", (json_int_t)wall_ms));
    return new;
}

json_t *failover_doc_resume(const json_t *doc)
{
    json_t *new = copy_or_new(doc);
    json_object_set_new(new, "paused", json_null());
    return new;
}

json_t *failover_doc_ack(const json_t *doc, int64_t id, const char *by, int64_t wall_ms)
{
    json_t *new = copy_or_new(doc);
    json_object_set_new(
        new, "acked_id", json_integer(MAX(id, json_opt_int(new, "acked_id", 0))));
    json_object_set_new(
        new, "acked", json_pack("{s:s,s:I}", "by", by, "at_ms", (json_int_t)wall_ms));
    return new;
}

json_t *failover_doc_arm(
    const json_t *doc, const char *fingerprint, const char *how, int64_t wall_ms)
{
    json_t *new = copy_or_new(doc);
    json_object_set_new(new, "armed",
        json_pack("{s:s,s:s,s:I}", "fingerprint", fingerprint, "how", how, "at_ms",
            (json_int_t)wall_ms));
    return new;
}

/* ---- what became of it ---- */

static json_t *history_of(const json_t *doc)
{
    json_t *list = json_object_get(doc, "history");
    return json_is_array(list) ? list : NULL;
}

static bool is_noted(const json_t *doc, int64_t id, const char *outcome)
{
    size_t i;
    json_t *h;
    json_array_foreach (history_of(doc), i, h)
        if (json_opt_int(h, "id", 0) == id && str_eq(json_opt_str(h, "outcome", ""), outcome))
            return true;
    return false;
}

/* One that was partial and is done now stands in its old place. */
static void put_history(json_t *doc, json_t *entry)
{
    size_t i;
    json_t *h, *list = history_of(doc);
    if (!list)
        json_object_set_new(doc, "history", list = json_array());
    json_array_foreach (list, i, h)
        if (json_opt_int(h, "id", 0) == json_opt_int(entry, "id", -1)) {
            json_array_set_new(list, i, entry);
            return;
        }
    json_array_append_new(list, entry);
    while (json_array_size(list) > FAILOVER_HISTORY)
        json_array_remove(list, 0);
}

json_t *failover_doc_note(json_t *doc, const json_t *last)
{
    int64_t id = json_opt_int(last, "id", 0);
    const char *outcome = json_opt_str(last, "outcome", "");
    bool by_itself = json_opt_bool(last, "auto", true);
    if (!str_eq(json_opt_str(last, "kind", ""), "failover") || is_noted(doc, id, outcome))
        return json_incref(doc);
    json_t *new = copy_or_new(doc);
    put_history(new,
        json_pack("{s:I,s:s,s:s,s:b,s:s,s:I,s:I,s:s}", "id", (json_int_t)id, "from",
            json_opt_str(last, "from", ""), "to", json_opt_str(last, "to", ""), "auto",
            (int)by_itself, "by", json_opt_str(last, "by", ""), "begun_ms",
            (json_int_t)json_opt_int(last, "begun_ms", 0), "ended_ms",
            (json_int_t)json_opt_int(last, "ended_ms", 0), "outcome", outcome));
    /* Who gave the order has looked. What is left partial waits for the rest. */
    if (!by_itself && !str_eq(outcome, "partial"))
        json_object_set_new(
            new, "acked_id", json_integer(MAX(id, json_opt_int(new, "acked_id", 0))));
    return new;
}

json_t *failover_doc_state(json_t *doc, const char *state, const char *reason, int64_t wall_ms)
{
    bool same = doc && str_eq(json_opt_str(doc, "state", ""), state)
                && str_eq(json_opt_str(doc, "reason", ""), reason);
    if (same)
        return json_incref(doc);
    json_t *new = copy_or_new(doc);
    if (!str_eq(json_opt_str(new, "state", ""), state))
        json_object_set_new(new, "at_ms", json_integer(wall_ms));
    json_object_set_new(new, "state", json_string(state));
    json_object_set_new(new, "reason", json_string(reason));
    return new;
}

/* ---- facts ---- */

/* A clock that was set back makes nothing look long ago. */
static uint64_t age(int64_t at_ms, int64_t wall_ms)
{
    return at_ms < wall_ms ? (uint64_t)(wall_ms - at_ms) : 0;
}

static void read_history(const json_t *doc, int64_t wall_ms, struct failover_past *ret)
{
    int64_t acked = json_opt_int(doc, "acked_id", 0);
    size_t i;
    json_t *h;
    json_array_foreach (history_of(doc), i, h) {
        uint64_t ms = age(json_opt_int(h, "ended_ms", 0), wall_ms);
        bool seen = json_opt_int(h, "id", 0) <= acked;
        if (!seen && json_opt_bool(h, "auto", true) && ms < FAILOVER_WINDOW_MS)
            ret->count++;
        if (str_eq(json_opt_str(h, "outcome", ""), "undone") || ms > ret->since_ms)
            continue; /* nothing was moved by it */
        ret->since_ms = ms;
        ret->acknowledged = seen;
    }
}

static void read_last(const json_t *doc, const json_t *last, int64_t wall_ms, struct failover_past *ret)
{
    int64_t id = json_opt_int(last, "id", 0);
    const char *outcome = json_opt_str(last, "outcome", "");
    bool seen = id <= json_opt_int(doc, "acked_id", 0);
    if (!str_eq(json_opt_str(last, "kind", ""), "failover"))
        return;
    ret->left_undone = str_eq(outcome, "partial") && !seen;
    if (is_noted(doc, id, outcome) || str_eq(outcome, "undone"))
        return;
    /* Ended just now: the history does not have it yet. */
    ret->since_ms = MIN(ret->since_ms, age(json_opt_int(last, "ended_ms", 0), wall_ms));
    ret->acknowledged = seen || !json_opt_bool(last, "auto", true);
    ret->count += !ret->acknowledged;
}

void failover_doc_facts(const json_t *doc, const json_t *database, const char *fingerprint,
    const struct model_failover *declared, int64_t wall_ms, struct failover_facts *ret)
{
    const json_t *armed = json_object_get(doc, "armed");
    ret->automation.automatic = declared->automatic;
    ret->automation.paused = json_is_object(json_object_get(doc, "paused"));
    ret->max_lag_ms = declared->max_lag_ms;
    ret->armed = (struct failover_armed){.known = json_is_object(armed),
        .matches = str_eq(json_opt_str(armed, "fingerprint", ""), fingerprint),
        .age_ms = age(json_opt_int(armed, "at_ms", 0), wall_ms),
        .max_age_ms = declared->drill_max_age_ms};
    ret->past = (struct failover_past){
        .since_ms = FAILOVER_NEVER, .cooldown_ms = declared->cooldown_ms};
    read_history(doc, wall_ms, &ret->past);
    read_last(doc, json_object_get(database, "last"), wall_ms, &ret->past);
}

char *failover_fingerprint(const struct model_database *db)
{
    struct str s = STR_INIT;
    str_addf(&s, "1 %s %s lease=%llu", data_engine_name(db->engine),
        db->managed ? "managed" : "external", (unsigned long long)db->failover.lease_ms);
    if (db->failover.fence == DATA_FENCE_STATEMENT)
        str_add(&s, " statement");
    if (db->failover.fence_function)
        str_addf(&s, " function=%s", db->failover.fence_function->as.name);
    return str_steal(&s);
}
