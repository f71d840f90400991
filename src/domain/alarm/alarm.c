/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/alarm/alarm.h"

#include <string.h>

#define FIRST_PAUSE_MS 2000

static const char *const severities[] = {
    [ALARM_INFO] = "info", [ALARM_WARNING] = "warning", [ALARM_CRITICAL] = "critical"};

const char *alarm_severity_name(enum alarm_severity s)
{
    return severities[s];
}

bool alarm_severity_parse(const char *word, enum alarm_severity *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(severities); i++)
        if (str_eq(word, severities[i])) {
            *ret = (enum alarm_severity)i;
            return true;
        }
    return false;
}

const char *alarm_state(const json_t *doc)
{
    return json_opt_str(doc, "state", "ok");
}

bool alarm_fires(const json_t *doc)
{
    return str_eq(alarm_state(doc), "firing") || str_eq(alarm_state(doc), "clearing");
}

bool alarm_silenced(const json_t *doc, int64_t wall_ms)
{
    return json_opt_int(json_object_get(doc, "silence"), "until_ms", 0) > wall_ms;
}

/* ---- what is to be told */

/* The number of a raising begins anew when an alarm is forgotten and declared again; the time does
 * not. */
static json_t *delivery_of(
    const json_t *doc, const struct alarm_rule *rule, const char *what, int64_t wall_ms)
{
    return json_sprintf("%s-%lld-%s-%lld", rule->name, (long long)json_opt_int(doc, "id", 0), what,
        (long long)wall_ms);
}

static void add_due(json_t *doc, const struct alarm_rule *rule, const char *kind, const char *to,
    const char *what, int64_t wall_ms)
{
    json_t *due = json_object_get(doc, "due");
    if (!json_is_array(due)) {
        due = json_array();
        json_object_set_new(doc, "due", due);
    }
    while (json_array_size(due) >= ALARM_DUE_MAX)
        json_array_remove(due, 0);
    json_array_append_new(due,
        json_pack("{s:I,s:s,s:s,s:s,s:i,s:I,s:I,s:s,s:o}", "id",
            (json_int_t)json_opt_int(doc, "id", 0), "what", what, "kind", kind, "to", to, "tries",
            0, "next_ms", (json_int_t)wall_ms, "at_ms", (json_int_t)wall_ms, "why",
            json_opt_str(doc, "why", ""), "delivery", delivery_of(doc, rule, what, wall_ms)));
}

/* Functions are started when an alarm is raised, and then alone. */
static void say(json_t *doc, const struct alarm_rule *rule, const char *what, int64_t wall_ms)
{
    for (size_t i = 0; i < rule->n_notify; i++)
        add_due(doc, rule, "notify", rule->notify[i], what, wall_ms);
    if (rule->run && !strcmp(what, "raised"))
        add_due(doc, rule, "run", rule->run, what, wall_ms);
    json_object_set_new(doc, "said_ms", json_integer(wall_ms));
    json_object_del(doc, "unsaid");
}

const json_t *alarm_due(const json_t *doc, int64_t wall_ms)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(doc, "due"), i, entry)
        if (json_opt_int(entry, "next_ms", 0) <= wall_ms)
            return entry;
    return NULL;
}

static bool is_same(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"id", "what", "kind", "to", "at_ms"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
            return false;
    return true;
}

static void give_up(json_t *doc, const json_t *entry, const char *error, int64_t wall_ms)
{
    json_object_set_new(doc, "failed",
        json_pack("{s:s,s:s,s:I,s:s,s:I}", "to", json_opt_str(entry, "to", ""), "what",
            json_opt_str(entry, "what", ""), "id", (json_int_t)json_opt_int(entry, "id", 0),
            "error", error, "at_ms", (json_int_t)wall_ms));
}

json_t *alarm_told(
    const json_t *doc, const json_t *entry, const char *error, int64_t wall_ms, bool *ret_over)
{
    json_t *next = json_deep_copy(doc), *due = json_object_get(next, "due");
    *ret_over = true;
    for (size_t i = 0; i < json_array_size(due); i++) {
        json_t *d = json_array_get(due, i);
        int64_t tries = json_opt_int(d, "tries", 0) + 1;
        if (!is_same(d, entry))
            continue;
        if (error && tries < (int64_t)ALARM_TRIES_MAX) {
            json_object_set_new(d, "tries", json_integer(tries));
            json_object_set_new(
                d, "next_ms", json_integer(wall_ms + (FIRST_PAUSE_MS << (tries - 1))));
            *ret_over = false;
            return next;
        }
        if (error)
            give_up(next, d, error, wall_ms);
        json_array_remove(due, i);
        if (!json_array_size(due))
            json_object_del(next, "due");
        return next;
    }
    json_decref(next);
    return json_incref((json_t *)(uintptr_t)doc);
}

/* ---- the step */

static uint64_t lasted(const json_t *doc, struct alarm_run *run, uint64_t now_ms, int64_t wall_ms)
{
    int64_t since = json_opt_int(doc, "since_ms", wall_ms);
    if (run->since_wall_ms != since) { /* by another leader, or by us before a restart */
        uint64_t gone = since < wall_ms ? (uint64_t)(wall_ms - since) : 0;
        *run = (struct alarm_run){since, now_ms - gone}; /* may lie before the boot: it wraps, and back */
    }
    return now_ms - run->since_boot_ms;
}

static void enter(json_t *doc, const char *state, struct alarm_run *run, uint64_t now_ms,
    int64_t wall_ms)
{
    json_object_set_new(doc, "state", json_string(state));
    json_object_set_new(doc, "since_ms", json_integer(wall_ms));
    *run = (struct alarm_run){wall_ms, now_ms};
}

static void raise_it(json_t *doc, const struct alarm_rule *rule, const char *why, int64_t wall_ms)
{
    json_object_set_new(doc, "id", json_integer(json_opt_int(doc, "id", 0) + 1));
    json_object_set_new(doc, "severity", json_string(alarm_severity_name(rule->severity)));
    json_object_set_new(doc, "why", json_string(why));
    json_object_set_new(doc, "fired_ms", json_integer(wall_ms));
    json_object_del(doc, "acked");
    json_object_del(doc, "failed");
    json_object_del(doc, "said_ms");
    if (alarm_silenced(doc, wall_ms))
        json_object_set_new(doc, "unsaid", json_true());
    else
        say(doc, rule, "raised", wall_ms);
}

/* Who was not told of its raising is not told of its end. */
static void clear_it(json_t *doc, const struct alarm_rule *rule, const char *why, int64_t wall_ms)
{
    json_object_set_new(doc, "cleared_ms", json_integer(wall_ms));
    json_object_set_new(doc, "why", json_string(why));
    if (!json_opt_bool(doc, "unsaid", false) && !alarm_silenced(doc, wall_ms))
        say(doc, rule, "cleared", wall_ms);
    json_object_del(doc, "unsaid");
}

/* What follows from time alone while it fires. True: the document is another. */
static bool remind(json_t *doc, const struct alarm_rule *rule, int64_t wall_ms)
{
    bool acked = json_object_get(doc, "acked") != NULL;
    int64_t said = json_opt_int(doc, "said_ms", 0);
    if (alarm_silenced(doc, wall_ms))
        return false;
    if (json_opt_bool(doc, "unsaid", false)) {
        say(doc, rule, "raised", wall_ms);
        return true;
    }
    if (!rule->repeat_ms || acked || wall_ms - said < (int64_t)rule->repeat_ms)
        return false;
    say(doc, rule, "still", wall_ms);
    return true;
}

struct step {
    json_t *doc; /* the new one */
    const struct alarm_rule *rule;
    const struct alarm_look *look;
    struct alarm_run *run;
    uint64_t now_ms;
    int64_t wall_ms;
    enum alarm_change change;
};

static void go(struct step *s, const char *state)
{
    enter(s->doc, state, s->run, s->now_ms, s->wall_ms);
}

static bool step_quiet(struct step *s)
{
    bool pending = str_eq(alarm_state(s->doc), "pending");
    if (s->look->when == ALARM_UNKNOWN || (!pending && s->look->when == ALARM_FALSE))
        return false;
    if (s->look->when == ALARM_FALSE) {
        go(s, "ok");
        return true;
    }
    if (s->rule->for_ms
        && (!pending || lasted(s->doc, s->run, s->now_ms, s->wall_ms) < s->rule->for_ms)) {
        if (!pending)
            go(s, "pending");
        return !pending;
    }
    go(s, "firing");
    raise_it(s->doc, s->rule, s->look->why, s->wall_ms);
    s->change = ALARM_RAISED;
    return true;
}

static bool step_loud(struct step *s)
{
    enum alarm_truth cleared = s->rule->clear             ? s->look->clear
                               : s->look->when == ALARM_UNKNOWN ? ALARM_UNKNOWN
                               : s->look->when == ALARM_TRUE    ? ALARM_FALSE
                                                                : ALARM_TRUE;
    bool clearing = str_eq(alarm_state(s->doc), "clearing");
    if (cleared == ALARM_FALSE && clearing) {
        go(s, "firing");
        return true;
    }
    if (cleared != ALARM_TRUE)
        return remind(s->doc, s->rule, s->wall_ms);
    if (s->rule->clear_for_ms
        && (!clearing || lasted(s->doc, s->run, s->now_ms, s->wall_ms) < s->rule->clear_for_ms)) {
        if (!clearing)
            go(s, "clearing");
        return !clearing || remind(s->doc, s->rule, s->wall_ms);
    }
    go(s, "ok");
    clear_it(s->doc, s->rule, s->look->why, s->wall_ms);
    s->change = ALARM_CLEARED;
    return true;
}

json_t *alarm_step(const json_t *doc, const struct alarm_rule *rule, const struct alarm_look *look,
    struct alarm_run *run, uint64_t now_ms, int64_t wall_ms, enum alarm_change *ret)
{
    struct step s = {.rule = rule, .look = look, .run = run, .now_ms = now_ms, .wall_ms = wall_ms};
    s.doc = doc ? json_deep_copy(doc) : json_pack("{s:i}", "format", ALARM_FORMAT);
    bool moved = alarm_fires(s.doc) ? step_loud(&s) : step_quiet(&s);
    *ret = s.change;
    if (moved)
        return s.doc;
    json_decref(s.doc);
    return json_incref((json_t *)(uintptr_t)doc);
}

/* ---- people */

int alarm_ack(const json_t *doc, const char *by, const char *why, int64_t wall_ms, json_t **ret,
    struct err *e)
{
    if (!alarm_fires(doc)) {
        err_set(e, ERR_REFUSED, "it does not fire: there is nothing to acknowledge");
        err_fix(e, "`mcp alarms silence NAME` keeps it quiet beforehand");
        return e->code;
    }
    *ret = json_deep_copy(doc);
    json_object_set_new(*ret, "acked",
        json_pack("{s:s,s:I,s:s}", "by", by, "at_ms", (json_int_t)wall_ms, "why", why));
    return 0;
}

json_t *alarm_silence(
    const json_t *doc, const char *by, const char *why, uint64_t for_ms, int64_t wall_ms)
{
    json_t *next = doc ? json_deep_copy(doc) : json_pack("{s:i}", "format", ALARM_FORMAT);
    if (for_ms)
        json_object_set_new(next, "silence",
            json_pack("{s:s,s:I,s:s}", "by", by, "until_ms",
                (json_int_t)(wall_ms + (int64_t)MIN(for_ms, ALARM_SILENCE_MAX_MS)), "why", why));
    else
        json_object_del(next, "silence");
    return next;
}

json_t *alarm_show(const struct alarm_rule *rule, const json_t *doc, const struct alarm_look *look,
    int64_t wall_ms)
{
    static const char *const kept[] = {
        "since_ms", "id", "fired_ms", "cleared_ms", "acked", "due", "failed"};
    static const char *const truths[] = {
        [ALARM_FALSE] = "false", [ALARM_TRUE] = "true", [ALARM_UNKNOWN] = "unknown"};
    json_t *notify = json_array();
    for (size_t i = 0; i < rule->n_notify; i++)
        json_array_append_new(notify, json_string(rule->notify[i]));
    json_t *j = json_pack("{s:s,s:s,s:s,s:b,s:s,s:s,s:s,s:I,s:I,s:o,s:s?,s:b}", "name", rule->name,
        "state", alarm_state(doc), "severity", alarm_severity_name(rule->severity), "builtin",
        (int)rule->builtin, "when", rule->text, "now", truths[look->when], "why",
        alarm_fires(doc) && look->when != ALARM_TRUE ? json_opt_str(doc, "why", "") : look->why,
        "for_ms", (json_int_t)rule->for_ms, "clear_for_ms", (json_int_t)rule->clear_for_ms,
        "notify", notify, "run", rule->run, "silenced", (int)alarm_silenced(doc, wall_ms));
    ASSERT(j);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        json_t *v = json_object_get(doc, kept[i]);
        json_object_set_new(j, kept[i], v ? json_deep_copy(v) : json_null());
    }
    if (alarm_silenced(doc, wall_ms))
        json_object_set_new(j, "silence", json_deep_copy(json_object_get(doc, "silence")));
    return j;
}
