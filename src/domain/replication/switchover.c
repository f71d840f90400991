/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/switchover.h"

#include "base/str/str.h"

#define GTID_MAX 4096u

enum where { AT_FROM, AT_TO };

/* Every step: its act, where, and what comes after. A step whose time is over goes to `late`, one
 * that is refused to `refused`; NULL: it ends, with `outcome`. */
static const struct switchover_stage {
    const char *name, *next, *late, *refused;
    enum switchover_act act;
    enum where where;
    uint64_t limit_ms;   /* of this step; 0: the hold's, from the beginning of the change */
    const char *outcome; /* when the step is left for the end */
} stages[] = {
    {"hold", "freeze", "undo", "undo", SWITCHOVER_HOLD, AT_FROM, 0, NULL},
    {"freeze", "equal", "undo", "undo", SWITCHOVER_FREEZE, AT_FROM, 0, NULL},
    {"equal", "promote", "undo", "undo", SWITCHOVER_EQUAL, AT_TO, 0, NULL},
    {"promote", "release", NULL, "promote", SWITCHOVER_PROMOTE, AT_TO, SWITCHOVER_PROMOTE_MS,
        "partial"},
    {"release", "reverse", "reverse", "reverse", SWITCHOVER_RELEASE, AT_FROM, SWITCHOVER_HOLD_MS,
        NULL},
    {"reverse", NULL, NULL, "reverse", SWITCHOVER_FOLLOW, AT_FROM, SWITCHOVER_REVERSE_MS, "done"},
    {"undo", NULL, NULL, NULL, SWITCHOVER_RELEASE, AT_FROM, SWITCHOVER_HOLD_MS, "undone"},
};

static const struct switchover_stage *find_step(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(stages); i++)
        if (str_eq(stages[i].name, name))
            return &stages[i];
    return &stages[ARRAY_SIZE(stages)
                   - 1]; /* a newer version's step: nothing is better than undo */
}

bool switchover_holds(const json_t *change)
{
    const char *step = json_opt_str(change, "step", "");
    return str_eq(step, "hold") || str_eq(step, "freeze") || str_eq(step, "equal");
}

const char *switchover_act_name(enum switchover_act act)
{
    static const char *const names[] = {
        "nothing", "hold", "freeze", "equal", "promote", "release", "follow"};
    return names[act];
}

/* ---- may it begin? ---- */

PRINTF_LIKE(2, 3) static void obstacle(json_t *list, const char *fmt, ...)
{
    _cleanup_str_ struct str text = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_string(str_cstr(&text)));
}

static void check_source(json_t *list, const char *host, const json_t *r)
{
    if (!r)
        obstacle(list, "%s, the source, is not heard", host);
    else if (!str_eq(json_opt_str(r, "state", ""), "writable"))
        obstacle(list, "%s, the source, is %s, not writable", host, json_opt_str(r, "state", "?"));
}

static void check_lag(json_t *list, const char *host, const json_t *r, uint64_t max_lag_ms)
{
    const json_t *lag = json_object_get(r, "lag_ms");
    if (!json_is_integer(lag))
        obstacle(list, "the lag of %s is not known", host);
    else if ((uint64_t)json_integer_value(lag) > max_lag_ms)
        obstacle(list, "%s is %lld ms behind, the limit is %llu ms", host,
            (long long)json_integer_value(lag), (unsigned long long)max_lag_ms);
}

static void check_target(json_t *list, const char *host, const json_t *r, uint64_t max_lag_ms)
{
    size_t i;
    json_t *f;
    if (!r) {
        obstacle(list, "%s is not heard", host);
        return;
    }
    if (!str_eq(json_opt_str(r, "state", ""), "replicating"))
        obstacle(list, "%s is %s, not replicating", host, json_opt_str(r, "state", "?"));
    check_lag(list, host, r, max_lag_ms);
    json_array_foreach (json_object_get(r, "findings"), i, f)
        if (str_eq(json_opt_str(f, "severity", ""), "error"))
            obstacle(list, "%s: %s", host, json_opt_str(f, "text", "?"));
}

json_t *switchover_obstacles(const struct replication_doc *d, const char *to,
    const json_t *source_report, const json_t *target_report, uint64_t max_lag_ms)
{
    json_t *list = json_array();
    const struct replication_member *m = replication_doc_find(d, to);
    if (d->change)
        obstacle(list, "%s to %s is under way", json_opt_str(d->change, "kind", "a change"),
            json_opt_str(d->change, "to", "?"));
    if (!m)
        obstacle(list, "%s holds no copy of the database", to);
    else if (m == d->source)
        obstacle(list, "%s is the source already", to);
    else if (m->delay_ms)
        obstacle(list, "%s is a delayed replica", to);
    if (json_array_size(list))
        return list;
    check_source(list, d->source->host, source_report);
    check_target(list, to, target_report, max_lag_ms);
    return list;
}

/* ---- the document ---- */

json_t *switchover_begin(
    const json_t *doc, const char *to, const char *by, uint64_t hold_ms, int64_t wall_ms)
{
    json_t *new = json_deep_copy(doc);
    int64_t id = json_opt_int(doc, "changes", 0) + 1;
    json_object_set_new(new, "changes", json_integer(id));
    json_object_set_new(new, "change",
        json_pack("{s:s,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:[{s:s,s:i}]}", "kind", "switchover", "id",
            (json_int_t)id, "from", json_opt_str(doc, "source", ""), "to", to, "step", "hold",
            "step_ms", (json_int_t)wall_ms, "begun_ms", (json_int_t)wall_ms, "hold_ms",
            (json_int_t)hold_ms, "by", by, "steps", "step", "hold", "at_ms", 0));
    return new;
}

struct turn {
    json_t *doc;
    const json_t *change; /* of doc */
    const struct switchover_stage *step;
    int64_t wall_ms;
};

static json_t *end(const struct turn *t, const char *outcome, const char *why)
{
    json_t *new = json_deep_copy(t->doc), *last = json_deep_copy(t->change);
    json_object_set_new(last, "outcome", json_string(outcome));
    json_object_set_new(last, "ended_ms", json_integer(t->wall_ms));
    if (why)
        json_object_set_new(last, "why", json_string(why));
    json_object_set_new(new, "last", last);
    json_object_set_new(new, "change", json_null());
    return new;
}

/* When each step began, for people. */
static void add_step(json_t *change, const char *step, int64_t wall_ms)
{
    json_t *steps = json_object_get(change, "steps");
    if (json_is_array(steps) && json_array_size(steps) < ARRAY_SIZE(stages))
        json_array_append_new(
            steps, json_pack("{s:s,s:I}", "step", step, "at_ms",
                       (json_int_t)(wall_ms - json_opt_int(change, "begun_ms", wall_ms))));
}

static json_t *enter(const struct turn *t, const char *step, const char *why)
{
    bool moves = str_eq(step, "promote") && !str_eq(t->step->name, "promote");
    json_t *new = moves ? replication_doc_move(t->doc, json_opt_str(t->change, "to", ""))
                        : json_deep_copy(t->doc);
    json_t *change = json_object_get(new, "change");
    json_object_set_new(change, "step", json_string(step));
    json_object_set_new(change, "step_ms", json_integer(t->wall_ms));
    add_step(change, step, t->wall_ms);
    if (str_eq(step, "reverse")) /* the writes go on: what is left is housekeeping */
        json_object_set_new(change, "pause_ms",
            json_integer(t->wall_ms - json_opt_int(change, "begun_ms", t->wall_ms)));
    if (why)
        json_object_set_new(change, "why", json_string(why));
    return new;
}

static json_t *go(const struct turn *t, const char *step, const char *why)
{
    if (step && str_eq(step, t->step->name))
        return json_incref(t->doc);
    return step ? enter(t, step, why) : end(t, t->step->outcome, why);
}

static json_t *too_late(const struct turn *t)
{
    char why[160];
    snprintf(why, sizeof why, "%s did not do its step, %s, in time",
        json_opt_str(t->change, t->step->where == AT_FROM ? "from" : "to", "?"), t->step->name);
    return go(t, t->step->late, why);
}

static bool is_late(const struct turn *t)
{
    bool whole = t->step->limit_ms == 0;
    int64_t from = json_opt_int(t->change, whole ? "begun_ms" : "step_ms", t->wall_ms);
    int64_t limit =
        whole ? json_opt_int(t->change, "hold_ms", SWITCHOVER_HOLD_MS) : (int64_t)t->step->limit_ms;
    return t->wall_ms - from >= limit;
}

/* ---- answers ---- */

static json_t *frozen(const struct turn *t, const char *gtid)
{
    if (!gtid || strlen(gtid) > GTID_MAX)
        return go(t, t->step->refused, "the source did not tell its last GTID");
    json_t *new = go(t, t->step->next, NULL);
    json_object_set_new(json_object_get(new, "change"), "gtid", json_string(gtid));
    return new;
}

static json_t *answered(const struct turn *t, struct switchover_run *run,
    const struct switchover_event *ev, uint64_t now_ms)
{
    run->asked = false;
    run->again_ms = now_ms + SWITCHOVER_AGAIN_MS;
    if (ev->error && ev->error->code == ERR_REFUSED)
        return go(t, t->step->refused, ev->error->message);
    if (ev->error)
        return json_incref(t->doc); /* again, until it is late */
    return ev->act == SWITCHOVER_FREEZE ? frozen(t, ev->gtid) : go(t, t->step->next, NULL);
}

/* ---- acts ---- */

static void act(const struct turn *t, struct switchover_action *ret)
{
    const char *host = json_opt_str(t->change, t->step->where == AT_FROM ? "from" : "to", "");
    bool whole = t->step->limit_ms == 0;
    ret->act = t->step->act;
    str_copy(ret->host, sizeof ret->host, host);
    ret->id = json_opt_int(t->change, "id", 0);
    ret->epoch = json_opt_int(t->doc, "epoch", 0);
    ret->gtid = json_opt_str(t->change, "gtid", "");
    ret->wait_ms = whole ? (uint64_t)json_opt_int(t->change, "hold_ms", SWITCHOVER_HOLD_MS)
                         : t->step->limit_ms;
}

json_t *switchover_step(json_t *doc, struct switchover_run *run, const struct switchover_event *ev,
    uint64_t now_ms, int64_t wall_ms, struct switchover_action *ret)
{
    const json_t *change = json_object_get(doc, "change");
    struct turn t = {doc, change, find_step(json_opt_str(change, "step", "")), wall_ms};
    *ret = (struct switchover_action){.act = SWITCHOVER_NOTHING};
    if (!json_is_object(change) || !str_eq(json_opt_str(change, "kind", ""), "switchover"))
        return json_incref(doc);
    int64_t id = json_opt_int(change, "id", 0);
    if (run->id != id || run->step != t.step)
        *run = (struct switchover_run){.id = id, .step = t.step};
    if (ev->kind == SWITCHOVER_ANSWER && ev->id == id && ev->act == t.step->act && run->asked)
        return answered(&t, run, ev, now_ms);
    if (is_late(&t))
        return too_late(&t);
    if (run->asked || now_ms < run->again_ms)
        return json_incref(doc);
    run->asked = true;
    act(&t, ret);
    return json_incref(doc);
}
