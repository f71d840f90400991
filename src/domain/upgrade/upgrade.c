/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/upgrade/upgrade.h"

#include "base/str/str.h"

json_t *upgrade_new(
    const json_t *base, const struct upgrade_target *targets, size_t n, int64_t now_ms)
{
    json_t *hosts = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(hosts,
            json_pack("{s:s,s:s,s:b,s:s,s:I,s:s}", "name", targets[i].host, "to", targets[i].digest,
                "kept", (int)targets[i].kept, "state", "waiting", "since_ms", (json_int_t)now_ms,
                "reason", ""));
    json_t *doc = json_deep_copy(base);
    json_t *rest = json_pack("{s:i,s:s,s:s,s:I,s:o}", "format", 1, "state", "running", "reason", "",
        "started_ms", (json_int_t)now_ms, "hosts", hosts);
    json_object_update(doc, rest);
    json_decref(rest);
    return doc;
}

bool upgrade_running(const json_t *doc)
{
    return str_eq(json_opt_str(doc, "state", ""), "running");
}

bool upgrade_has_turn(const json_t *doc, const char *host)
{
    size_t i;
    json_t *entry;
    if (!upgrade_running(doc))
        return false;
    json_array_foreach (json_object_get(doc, "hosts"), i, entry) {
        const char *state = json_opt_str(entry, "state", "");
        if (str_eq(json_opt_str(entry, "name", ""), host))
            return !str_eq(state, "waiting") && !str_eq(state, "done");
    }
    return false;
}

static const struct upgrade_host *find(
    const struct upgrade_host *hosts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(hosts[i].name, name))
            return &hosts[i];
    return NULL;
}

static void enter(json_t *entry, const char *state, int64_t now_ms)
{
    json_object_set_new(entry, "state", json_string(state));
    json_object_set_new(entry, "since_ms", json_integer(now_ms));
    json_object_del(entry, "well_ms");
}

static void stop(json_t *doc, json_t *entry, const char *reason, int64_t now_ms)
{
    enter(entry, "failed", now_ms);
    json_object_set_new(entry, "reason", json_string(reason));
    json_object_set_new(doc, "state", json_string("failed"));
    json_object_set_new(doc, "ended_ms", json_integer(now_ms));
    json_object_set_new(
        doc, "reason", json_sprintf("%s: %s", json_opt_str(entry, "name", "?"), reason));
}

/* ---- is a host well? ---- */

static json_t *ready_pids(const json_t *report)
{
    json_t *pids = json_object();
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(report, "units"), i, u)
        if (str_eq(json_opt_str(u, "state", ""), "ready"))
            json_object_set_new(
                pids, json_opt_str(u, "name", "?"), json_integer(json_opt_int(u, "pid", 0)));
    return pids;
}

static const json_t *find_unit(const json_t *report, const char *name)
{
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(report, "units"), i, u)
        if (str_eq(json_opt_str(u, "name", ""), name))
            return u;
    return NULL;
}

static bool units_well(const json_t *entry, const json_t *report, char *why, size_t size)
{
    const char *name;
    json_t *pid;
    json_object_foreach (json_object_get(entry, "pids"), name, pid) {
        const json_t *u = find_unit(report, name);
        if (u && json_opt_int(u, "pid", 0) && json_opt_int(u, "pid", 0) != json_integer_value(pid))
            snprintf(why, size, "unit %s was restarted", name);
        else if (u && !str_eq(json_opt_str(u, "state", ""), "ready"))
            snprintf(why, size, "unit %s is %s", name, json_opt_str(u, "state", "?"));
        else if (!u && !json_opt_bool(report, "units_known", true))
            snprintf(why, size, "its agent does not tell its units");
        else
            continue; /* one that is gone was moved away meanwhile: not ours to judge */
        return false;
    }
    return true;
}

static bool roles_up(const json_t *report, char *why, size_t size)
{
    size_t i;
    json_t *r;
    json_array_foreach (json_object_get(report, "roles"), i, r)
        if (!str_eq(json_opt_str(r, "state", ""), "up")) {
            snprintf(why, size, "role %s is %s", json_opt_str(r, "name", "?"),
                json_opt_str(r, "state", "?"));
            return false;
        }
    if (!json_array_size(json_object_get(report, "roles"))) {
        str_copy(why, size, "it does not tell its roles");
        return false;
    }
    return true;
}

static bool is_well(const json_t *entry, const struct upgrade_host *h, char *why, size_t size)
{
    if (!h || !h->heard || !h->report) {
        str_copy(why, size, "it is not heard");
        return false;
    }
    return roles_up(h->report, why, size) && units_well(entry, h->report, why, size);
}

/* ---- one host's turn ---- */

struct turn {
    json_t *doc, *entry;
    const struct upgrade_host *h;
    const json_t *binary; /* of its report; may be NULL */
    const char *to, *has;
    int64_t now, age;
    struct upgrade_action *ret;
};

static void act(struct turn *t, enum upgrade_act what, const char *reason)
{
    t->ret->act = what;
    t->ret->kept = json_opt_bool(t->entry, "kept", false);
    str_copy(t->ret->host, sizeof t->ret->host, json_opt_str(t->entry, "name", ""));
    str_copy(t->ret->digest, sizeof t->ret->digest, t->to);
    str_copy(t->ret->reason, sizeof t->ret->reason, reason);
}

static void go_back(struct turn *t, const char *reason)
{
    enter(t->entry, "back", t->now);
    json_object_set_new(t->entry, "reason", json_string(reason));
    act(t, UPGRADE_BACK, reason);
}

static void on_waiting(struct turn *t)
{
    if (!t->h || !t->h->heard || !t->binary) {
        if (t->age >= UPGRADE_SILENT_MS)
            stop(t->doc, t->entry, "it is not heard", t->now);
        return;
    }
    /* One that has it already went there in an upgrade before: that one is undone with this. */
    const char *from = str_eq(t->has, t->to) ? json_opt_str(t->binary, "previous", "") : t->has;
    json_object_set_new(t->entry, "from", json_string(from));
    /* It may have failed with this very one before: only what is newer is this attempt's. */
    json_object_set_new(
        t->entry, "failed_ms", json_integer(json_opt_int(t->binary, "failed_ms", 0)));
    json_object_set_new(t->entry, "pids", ready_pids(t->h->report));
    enter(t->entry, "switching", t->now);
}

static void on_switching(struct turn *t)
{
    bool heard = t->h && t->h->heard && t->binary;
    if (heard && str_eq(t->has, t->to)) {
        if (!json_opt_bool(t->binary, "rolling", false))
            enter(t->entry, "settling", t->now);
        return;
    }
    if (heard && str_eq(json_opt_str(t->binary, "failed", ""), t->to)
        && json_opt_int(t->binary, "failed_ms", 0) != json_opt_int(t->entry, "failed_ms", 0)) {
        const char *why = json_opt_str(t->binary, "reason", "");
        stop(t->doc, t->entry, *why ? why : "it went back", t->now);
    } else if (t->age >= UPGRADE_SWITCH_MS) {
        go_back(t, heard ? "it did not switch in time" : "it was not heard again");
    } else {
        act(t, UPGRADE_SWITCH, "");
    }
}

static void on_settling(struct turn *t)
{
    char why[160] = "";
    int64_t well = json_opt_int(t->entry, "well_ms", 0);
    if (t->h && t->h->heard && t->binary && !str_eq(t->has, t->to)) {
        const char *reason = json_opt_str(t->binary, "reason", "");
        stop(t->doc, t->entry, *reason ? reason : "it went back", t->now);
    } else if (!is_well(t->entry, t->h, why, sizeof why)) {
        json_object_del(t->entry, "well_ms");
        if (strstr(why, "was restarted") || t->age >= UPGRADE_WELL_MS)
            go_back(t, why);
    } else if (!well) {
        json_object_set_new(t->entry, "well_ms", json_integer(t->now));
    } else if (t->now - well >= UPGRADE_STEADY_MS) {
        if (json_opt_bool(t->binary, "trial", false))
            act(t, UPGRADE_CONFIRM, "");
        else
            enter(t->entry, "done", t->now);
    }
}

static void on_back(struct turn *t)
{
    bool heard = t->h && t->h->heard && t->binary;
    char reason[256];
    str_copy(reason, sizeof reason, json_opt_str(t->entry, "reason", ""));
    if ((heard && !str_eq(t->has, t->to)) || t->age >= UPGRADE_BACK_MS)
        stop(t->doc, t->entry, reason, t->now);
    else
        act(t, UPGRADE_BACK, reason);
}

static void take_turn(struct turn *t)
{
    static const struct {
        const char *state;
        void (*fn)(struct turn *t);
    } table[] = {{"waiting", on_waiting}, {"switching", on_switching}, {"settling", on_settling},
        {"back", on_back}};
    const char *state = json_opt_str(t->entry, "state", "");
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (str_eq(table[i].state, state)) {
            table[i].fn(t);
            return;
        }
    stop(t->doc, t->entry, "its state is not known to this version", t->now);
}

json_t *upgrade_step(json_t *doc, const struct upgrade_host *hosts, size_t n, int64_t now_ms,
    struct upgrade_action *ret)
{
    *ret = (struct upgrade_action){0};
    if (!upgrade_running(doc))
        return json_incref(doc);
    json_t *next = json_deep_copy(doc), *entry = NULL;
    size_t i, size = json_array_size(json_object_get(next, "hosts"));
    json_array_foreach (json_object_get(next, "hosts"), i, entry)
        if (!str_eq(json_opt_str(entry, "state", ""), "done"))
            break;
    if (i == size) {
        json_object_set_new(next, "state", json_string("done"));
        json_object_set_new(next, "ended_ms", json_integer(now_ms));
        return next;
    }
    const struct upgrade_host *h = find(hosts, n, json_opt_str(entry, "name", ""));
    const json_t *binary = h ? json_object_get(h->report, "binary") : NULL;
    struct turn t = {.doc = next,
        .entry = entry,
        .h = h,
        .binary = binary,
        .to = json_opt_str(entry, "to", ""),
        .has = json_opt_str(binary, "digest", ""),
        .now = now_ms,
        .age = now_ms - json_opt_int(entry, "since_ms", now_ms),
        .ret = ret};
    take_turn(&t);
    if (!json_equal(next, doc))
        return next;
    json_decref(next);
    return json_incref(doc);
}

json_t *upgrade_refused(json_t *doc, const char *host, const char *reason, int64_t now_ms)
{
    json_t *next = json_deep_copy(doc), *entry = NULL;
    size_t i;
    json_array_foreach (json_object_get(next, "hosts"), i, entry)
        if (upgrade_running(next) && str_eq(json_opt_str(entry, "name", ""), host)
            && str_eq(json_opt_str(entry, "state", ""), "switching")) {
            stop(next, entry, reason, now_ms);
            return next;
        }
    json_decref(next);
    return json_incref(doc);
}
