/* SPDX-License-Identifier: Apache-2.0 */
/* The drill itself: plan, load until it is steady, guard, fault, reading back, waiting for what the
 * fault leads to, undo, waiting until all is well, comparison, verdict. Whatever fails on the way,
 * the undo is done and the report is written. */
#include "service/drill/priv.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "service/drill/lost.h"
#include "service/drill/measure.h"

#include <poll.h>
#include <string.h>

#define SERVERS_MAX 8
#define TURN_MS 100
#define STEADY_WITHIN_MS 90000
#define SETTLED_WITHIN_MS 180000
#define COMPARED_WITHIN_MS 200000
#define ASK_MS 5000
#define RESCUE_MAX_BYTES (16u * 1024 * 1024)
#define GUARD_MORE_MS 30000 /* the drill undoes itself before its guard does */

struct drill {
    const struct drill_config *config;
    const struct drill_fault *fault;
    json_t *plan, *report, *why, *steps, *found, *undone;
    struct measure *measure;
    struct guard guard;
    struct observer traffic, platform, reader, servers[SERVERS_MAX];
    size_t n_servers;
    char *base, *ledger;
    size_t expected_clients;
    uint64_t begin_ms, whole_ms, until_hold_ms, undone_ms, start_ms;
    int64_t begin_wall_ms;
    json_t *load;         /* the load's report */
    json_t *last_platform; /* its last word */
    uint64_t flap_at_ms;
    bool flapped_away; /* just now it is undone */
    bool read_done, read_good, first_told, all_told;
    bool recorded; /* the platform knows that it is under way */
    char stopped[200]; /* why it ends early */
};

/* Whoever lives is told: the region that was struck may be away. */
static void end_record(struct drill *d, bool passed)
{
    const struct drill_config *c = d->config;
    size_t i;
    json_t *host;
    json_array_foreach (json_object_get(d->plan, "ask"), i, host) {
        _cleanup_json_ json_t *answer = NULL;
        struct err ignored;
        if (!d->recorded)
            return;
        d->recorded = c->ask(c->ask_ctx, json_string_value(host), "drill.end",
                          json_pack("{s:s,s:b}", "id", d->base, "passed", (int)passed), ASK_MS,
                          &answer, &ignored)
                      < 0;
    }
}

static int begin_record(struct drill *d, struct err *e)
{
    const struct drill_config *c = d->config;
    _cleanup_json_ json_t *answer = NULL;
    uint64_t most_ms =
        STEADY_WITHIN_MS + d->fault->max_ms + SETTLED_WITHIN_MS + COMPARED_WITHIN_MS + GUARD_MORE_MS;
    int r = c->ask(c->ask_ctx, NULL, "drill.begin",
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "id", d->base, "drill", d->fault->name, "mode",
            c->mode, "database", json_opt_str(d->plan, "database", ""), "region",
            json_opt_str(d->plan, "region", ""), "by", c->by ? c->by : "?", "max_ms",
            (json_int_t)most_ms),
        ASK_MS, &answer, e);
    d->recorded = r >= 0;
    return r;
}

static void drill_done(struct drill *d)
{
    end_record(d, false);
    observe_end(&d->traffic);
    observe_end(&d->platform);
    observe_end(&d->reader);
    for (size_t i = 0; i < d->n_servers; i++)
        observe_end(&d->servers[i]);
    guard_close(&d->guard);
    measure_free(d->measure);
    json_t *all[] = {
        d->plan, d->report, d->why, d->steps, d->found, d->undone, d->load, d->last_platform};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        json_decref(all[i]);
    free(d->base);
    free(d->ledger);
}

/* ---- telling */

static void step(struct drill *d, const char *name, uint64_t at_ms)
{
    json_array_append_new(
        d->steps, json_pack("{s:s,s:I}", "name", name, "at_ms", (json_int_t)at_ms));
    if (d->config->tell)
        d->config->tell(d->config->tell_ctx,
            (int64_t)at_ms - (int64_t)(d->begin_ms ? d->begin_ms : at_ms), name);
}

static void fails(struct drill *d, const char *text)
{
    json_array_append_new(d->why, json_string(text));
}

static void stop(struct drill *d, const char *text)
{
    if (!*d->stopped && !str_copy(d->stopped, sizeof d->stopped, text))
        d->stopped[sizeof d->stopped - 1] = '\0';
}

/* ---- what is heard */

static const json_t *doc_of(const struct drill *d)
{
    return json_object_get(d->last_platform, "doc");
}

/* Of every host outside the region that is struck. */
static void kill_controls(struct drill *d, uint64_t at_ms)
{
    _cleanup_json_ json_t *acts = json_array();
    size_t i;
    json_t *host;
    struct err ignored;
    json_array_foreach (json_object_get(d->plan, "ask"), i, host)
        json_array_append_new(acts,
            json_pack("{s:s,s:O,s:s}", "op", "role", "host", host, "what", "control"));
    bool done = acts_inject(d->config->platform, acts, &ignored) >= 0;
    step(d, done ? "the controls outside are killed" : "not every control could be killed", at_ms);
}

static void on_platform(struct drill *d, json_t *event)
{
    const json_t *doc = json_object_get(event, "doc"), *was = doc_of(d);
    const json_t *change = json_object_get(doc, "change"), *before = json_object_get(was, "change");
    uint64_t at_ms = (uint64_t)json_opt_int(event, "at_ms", 0);
    const char *now_step = json_opt_str(change, "step", "");
    char text[160];
    if (*now_step && !str_eq(now_step, json_opt_str(before, "step", ""))) {
        snprintf(text, sizeof text, "%s: %s", json_opt_str(change, "kind", "switchover"), now_step);
        step(d, text, at_ms);
        if (d->fault->kill_controls && d->begin_ms && !d->undone_ms)
            kill_controls(d, clock_boot_ms());
    }
    if (was && json_opt_int(doc, "epoch", 0) != json_opt_int(was, "epoch", 0)) {
        snprintf(text, sizeof text, "source is %s, epoch %lld", json_opt_str(doc, "source", "?"),
            (long long)json_opt_int(doc, "epoch", 0));
        step(d, text, at_ms);
    }
    json_decref(d->last_platform);
    d->last_platform = json_incref(event);
}

static void on_event(void *ctx, json_t *event)
{
    struct drill *d = ctx;
    const char *kind = json_opt_str(event, "event", "");
    if (str_eq(kind, "platform")) {
        on_platform(d, event);
    } else if (str_eq(kind, "read_back")) {
        d->read_done = true;
        d->read_good = json_opt_bool(event, "good", false);
        json_decref(d->found);
        d->found = json_incref(json_object_get(event, "found"));
        step(d, d->read_good ? "read back" : "not read back",
            (uint64_t)json_opt_int(event, "at_ms", 0));
        if (!d->read_good)
            stop(d, "the injection could not be read back");
    } else if (str_eq(json_opt_str(event, "phase", ""), "report")) {
        json_decref(d->load);
        d->load = json_incref(event);
    } else {
        measure_event(d->measure, event);
    }
}

static void note_back(struct drill *d)
{
    uint64_t first = measure_first_ms(d->measure);
    if (first && !d->first_told) {
        d->first_told = true;
        step(d, "first order acknowledged", first);
    }
    if (d->whole_ms && !d->all_told && measure_clients(d->measure)
        && measure_back(d->measure) == measure_clients(d->measure)) {
        d->all_told = true;
        step(d, "every client is back", clock_boot_ms());
    }
}

static void look_at_stops(struct drill *d)
{
    if (measure_two_writers(d->measure))
        stop(d, "two servers wrote at one moment");
}

static void listen_to(struct drill *d, struct observer *o, bool readable)
{
    if (!readable || observe_read(o, on_event, d))
        return;
    if (o == &d->traffic && !d->load)
        stop(d, "the load has ended by itself");
    close(o->fd);
    o->fd = -1;
}

/* Away and back, as often as the fault says, while it lasts. The guard undoes either. */
static void flap(struct drill *d)
{
    const char *platform = d->config->platform;
    const json_t *acts = json_object_get(d->plan, "acts");
    struct err why;
    uint64_t now_ms = clock_boot_ms();
    if (!d->flap_at_ms || now_ms < d->flap_at_ms || !d->read_done)
        return;
    int r = d->flapped_away ? acts_inject(platform, acts, &why) : acts_undo(platform, acts, &why);
    d->flapped_away = !d->flapped_away;
    d->flap_at_ms = now_ms + d->fault->flap_ms;
    step(d, d->flapped_away ? "away for a while" : "there again", now_ms);
    if (r < 0)
        stop(d, why.message);
}

static void turn(struct drill *d)
{
    struct observer *all[SERVERS_MAX + 3] = {&d->traffic, &d->platform, &d->reader};
    struct pollfd fds[SERVERS_MAX + 4];
    size_t n = 3;
    for (size_t i = 0; i < d->n_servers; i++)
        all[n++] = &d->servers[i];
    for (size_t i = 0; i < n; i++)
        fds[i] = (struct pollfd){all[i]->pid > 0 ? all[i]->fd : -1, POLLIN, 0};
    fds[n] = (struct pollfd){*d->stopped ? -1 : d->config->stop_fd, POLLIN, 0};
    if (poll(fds, n + 1, TURN_MS) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        listen_to(d, all[i], fds[i].revents != 0);
    if (fds[n].revents)
        stop(d, "somebody stopped it");
    note_back(d);
    look_at_stops(d);
    flap(d);
}

/* False: it did not come to that in time, or the drill is to end. */
static bool wait_until(struct drill *d, bool (*so)(const struct drill *), uint64_t within_ms,
    bool also_stopped)
{
    uint64_t until_ms = clock_boot_ms() + within_ms;
    while (!so(d)) {
        if (clock_boot_ms() >= until_ms || (*d->stopped && !also_stopped))
            return false;
        turn(d);
    }
    return true;
}

/* ---- conditions */

static bool is_steady(const struct drill *d)
{
    return measure_clients_since(d->measure, d->start_ms + d->config->steady_ms)
           >= d->expected_clients;
}

static bool all_back(const struct drill *d)
{
    return measure_back(d->measure) >= d->expected_clients;
}

static bool has_moved(const struct drill *d)
{
    const json_t *doc = doc_of(d);
    return json_opt_int(doc, "epoch", 0) > json_opt_int(d->plan, "epoch", 0)
           && !str_eq(json_opt_str(doc, "source", ""), json_opt_str(d->plan, "source", ""));
}

static bool has_happened(const struct drill *d)
{
    if (!d->read_done || clock_boot_ms() < d->until_hold_ms)
        return false;
    if (d->fault->expect == DRILL_AFTER)
        return true;
    return all_back(d) && (d->fault->expect == DRILL_RESTART || has_moved(d));
}

static bool is_settled(const struct drill *d)
{
    if (measure_clients_since(d->measure, d->undone_ms) < d->expected_clients)
        return false;
    if (!json_object_get(d->plan, "database"))
        return true;
    size_t i;
    json_t *state;
    json_array_foreach (json_object_get(d->last_platform, "replicas"), i, state)
        if (!str_eq(json_string_value(state), "replicating"))
            return false;
    return str_eq(json_opt_str(d->last_platform, "state", ""), "writable")
           && !json_is_object(json_object_get(doc_of(d), "change"));
}

static bool has_compared(const struct drill *d)
{
    return d->load != NULL || d->traffic.fd < 0;
}

/* ---- phases */

static int name_files(struct drill *d, struct err *e)
{
    char stamp[CLOCK_STAMP_SIZE], *to = stamp;
    clock_format_rfc3339(clock_wall_ms(), stamp);
    for (const char *p = stamp; *p; p++) /* 20261123T053012345Z */
        if (*p != '-' && *p != ':' && *p != '.')
            *to++ = *p;
    *to = '\0';
    d->base = xasprintf("drill-%s-%s", d->fault->name, stamp);
    d->ledger = xasprintf("%s/%s.ledger", d->config->out, d->base);
    return file_mkdirs(d->config->out, 0755, e);
}

static int start_observers(struct drill *d, struct err *e)
{
    const struct drill_config *c = d->config;
    const char *database = json_opt_str(d->plan, "database", NULL), *host;
    json_t *unused;
    d->start_ms = clock_boot_ms();
    int r = observe_traffic(c, d->ledger, &d->traffic, e);
    if (r >= 0 && database)
        r = observe_platform(
            c, json_object_get(d->plan, "ask"), database, d->guard.fd, &d->platform, e);
    json_object_foreach (json_object_get(d->plan, "servers"), host, unused)
        if (r >= 0 && d->n_servers < SERVERS_MAX) {
            r = observe_server(c, host, database, d->guard.fd, &d->servers[d->n_servers], e);
            d->n_servers += r >= 0;
        }
    return r;
}

static json_t *acts_of(const struct drill *d, bool lead)
{
    json_t *list = json_array(), *act;
    size_t i;
    json_array_foreach (json_object_get(d->plan, "acts"), i, act)
        if (json_opt_bool(act, "lead", false) == lead)
            json_array_append(list, act);
    return list;
}

static bool never(const struct drill *d)
{
    return false;
}

/* What goes before the fault itself. */
static void lead(struct drill *d)
{
    _cleanup_json_ json_t *acts = acts_of(d, true);
    struct err why;
    if (!d->fault->lead_ms)
        return;
    if (acts_inject(d->config->platform, acts, &why) < 0)
        stop(d, why.message);
    step(d, "what goes before the fault is done", clock_boot_ms());
    (void)wait_until(d, never, d->fault->lead_ms, false);
}

static void inject(struct drill *d)
{
    const json_t *acts = json_object_get(d->plan, "acts");
    _cleanup_json_ json_t *now = acts_of(d, false);
    struct err why;
    d->begin_wall_ms = clock_wall_ms();
    d->begin_ms = clock_boot_ms();
    int r = acts_inject(d->config->platform, now, &why);
    d->whole_ms = clock_boot_ms();
    d->until_hold_ms = d->whole_ms + json_opt_int(d->plan, "hold_ms", 0);
    d->flap_at_ms = d->fault->flap_ms ? d->whole_ms + d->fault->flap_ms : 0;
    measure_injected(d->measure, d->begin_ms, d->whole_ms);
    step(d, "fault injected", d->begin_ms);
    if (r >= 0)
        r = observe_read_back(d->config, acts, d->guard.fd, &d->reader, &why);
    if (r < 0)
        stop(d, why.message);
}

static void undo(struct drill *d)
{
    struct err why;
    d->flap_at_ms = 0;
    step(d, "undo begins", clock_boot_ms());
    int r = guard_undo(&d->guard, &d->undone, &why);
    d->undone_ms = clock_boot_ms();
    step(d, "undone", d->undone_ms);
    size_t i;
    json_t *found;
    if (r < 0)
        fails(d, why.message);
    json_array_foreach (d->undone, i, found)
        if (!json_opt_bool(found, "good", false))
            fails(d, json_opt_str(found, "read", "an act could not be undone"));
}

static void expect(struct drill *d)
{
    if (wait_until(d, has_happened, d->fault->max_ms, false))
        return;
    if (*d->stopped)
        return;
    char text[200];
    snprintf(text, sizeof text, "after %llu s: %zu of %zu clients back%s",
        (unsigned long long)(d->fault->max_ms / 1000), measure_back(d->measure),
        d->expected_clients,
        d->fault->expect == DRILL_FAILOVER && !has_moved(d) ? ", no other source" : "");
    fails(d, text);
}

static void live(struct drill *d)
{
    lead(d);
    if (!*d->stopped) {
        inject(d);
        expect(d);
    }
    undo(d);
    if (wait_until(d, is_settled, SETTLED_WITHIN_MS, true))
        step(d, "all is well again", clock_boot_ms());
    else
        fails(d, "after the undo not all became well again");
}

/* Everything but the fault: the undo must do no harm. */
static void rehearse(struct drill *d)
{
    d->begin_ms = clock_boot_ms();
    d->begin_wall_ms = clock_wall_ms();
    step(d, "rehearsed: nothing is injected", d->begin_ms);
    d->read_done = d->read_good = true;
    undo(d);
    if (!wait_until(d, is_settled, SETTLED_WITHIN_MS, false) && !*d->stopped)
        fails(d, "the platform is not well");
}

static void compare(struct drill *d)
{
    observe_interrupt(&d->traffic);
    (void)wait_until(d, has_compared, COMPARED_WITHIN_MS, true);
    if (d->load)
        step(d, "orders compared with the database", clock_boot_ms());
}

/* ---- the verdict */

static void put(json_t *o, const char *key, const json_t *from)
{
    const json_t *value = json_object_get(from, key);
    json_object_set_new(o, key, value ? json_deep_copy(value) : json_null());
}

/* A readable file of a rescue, piece by piece. */
static void read_rescue(
    struct drill *d, const char *host, int64_t epoch, const char *file, json_t *rows)
{
    const struct drill_config *c = d->config;
    const char *database = json_opt_str(d->plan, "database", "");
    _cleanup_str_ struct str text = STR_INIT;
    for (int64_t offset = 0; offset >= 0 && text.len < RESCUE_MAX_BYTES;) {
        _cleanup_json_ json_t *piece = NULL;
        struct err ignored;
        if (c->ask(c->ask_ctx, NULL, "data.look",
                json_pack("{s:s,s:s,s:s,s:{s:s,s:I,s:s,s:I}}", "database", database, "host", host,
                    "method", "data.rescue", "params", "database", database, "epoch",
                    (json_int_t)epoch, "file", file, "offset", (json_int_t)offset),
                ASK_MS, &piece, &ignored)
            < 0)
            return;
        const char *data = json_opt_str(piece, "data", "");
        if (base64_decode(data, strlen(data), &text, &ignored) < 0)
            return;
        offset = json_opt_int(piece, "next", -1);
    }
    lost_add_lines(rows, str_cstr(&text), text.len);
}

/* What the returned source had alone and has saved since the drill began. */
static json_t *rescued_rows(struct drill *d)
{
    const struct drill_config *c = d->config;
    const char *database = json_opt_str(d->plan, "database", ""), *host;
    json_t *unused, *one, *table, *rows = json_array();
    size_t i, k;
    json_object_foreach (json_object_get(d->plan, "servers"), host, unused) {
        _cleanup_json_ json_t *answer = NULL;
        struct err ignored;
        if (c->ask(c->ask_ctx, NULL, "data.look",
                json_pack("{s:s,s:s,s:s,s:{s:s}}", "database", database, "host", host, "method",
                    "data.rescue", "params", "database", database),
                ASK_MS, &answer, &ignored)
            < 0)
            continue;
        json_array_foreach (json_object_get(answer, "rescues"), i, one)
            json_array_foreach (json_object_get(one, "tables"), k, table)
                if (json_opt_int(one, "epoch", 0) > json_opt_int(d->plan, "epoch", 0))
                    read_rescue(d, host, json_opt_int(one, "epoch", 0),
                        json_opt_str(table, "readable", ""), rows);
    }
    return rows;
}

/* Each lost order by its key. */
static void judge_lost(struct drill *d, json_t *o)
{
    const json_t *keys = json_object_get(d->load, "lost_keys");
    const json_t *missing = json_object_get(json_object_get(doc_of(d), "last"), "missing");
    bool looks = has_moved(d) && json_array_size(keys);
    _cleanup_json_ json_t *rows = looks ? rescued_rows(d) : json_array();
    json_t *matched = lost_match(keys, rows, has_moved(d) ? missing : NULL);
    int64_t lost = json_opt_int(o, "lost", 0);
    size_t reported = lost_count(matched, "reported"), rescued = lost_count(matched, "rescued");
    char text[200];
    json_object_set_new(o, "lost_orders", matched);
    json_object_set_new(o, "reported_missing", json_integer((json_int_t)reported));
    json_object_set_new(o, "rescued", json_integer((json_int_t)rescued));
    json_object_set_new(o, "reported_range",
        has_moved(d) && missing ? json_deep_copy(missing) : json_null());
    if (lost <= 0 || ((size_t)lost == reported && (size_t)lost == rescued))
        return;
    snprintf(text, sizeof text,
        "%lld acknowledged orders are lost: %zu of them lie in the reported range, %zu are rescued",
        (long long)lost, reported, rescued);
    fails(d, text);
}

static void judge_orders(struct drill *d, json_t *o)
{
    static const char *const keys[] = {"acked", "present", "lost", "duplicated"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        put(o, keys[i], d->load);
    size_t i;
    json_t *key;
    uint64_t seq;
    json_array_foreach (json_object_get(d->load, "lost_keys"), i, key) {
        const char *number = strrchr(json_string_value(key), '-');
        if (number && str_to_u64(number + 1, UINT32_MAX, &seq))
            measure_lost(d->measure, seq);
    }
    if (json_opt_int(o, "lost", -1) < 0)
        fails(d, "the orders could not be compared with the database");
    judge_lost(d, o);
    if (json_opt_int(o, "duplicated", 0) > 0)
        fails(d, "orders are there twice");
}

/* Times of steps count from the injection. */
static json_t *steps_since(const struct drill *d)
{
    json_t *list = json_deep_copy(d->steps), *s;
    size_t i;
    json_array_foreach (list, i, s)
        json_object_set_new(
            s, "at_ms", json_integer(json_opt_int(s, "at_ms", 0) - (json_int_t)d->begin_ms));
    return list;
}

static json_t *verdict(struct drill *d)
{
    char begun[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(d->begin_wall_ms ? d->begin_wall_ms : clock_wall_ms(), begun);
    json_t *o = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s}", "format", 1, "drill", d->fault->name,
        "summary", d->fault->summary, "text", d->fault->text, "platform", d->config->platform,
        "mode", d->config->mode, "begun", begun);
    if (!d->begin_ms)
        d->begin_ms = d->start_ms;
    if (*d->stopped)
        fails(d, d->stopped);
    judge_orders(d, o);
    json_t *figures = measure_report(d->measure);
    json_object_update(o, figures);
    json_decref(figures);
    if (measure_two_writers(d->measure) && !strstr(d->stopped, "two servers"))
        fails(d, "an order was taken by another source after the service was back");
    json_object_set_new(o, "passed", json_boolean(json_array_size(d->why) == 0));
    json_object_set(o, "why", d->why);
    json_object_set_new(o, "steps", steps_since(d));
    json_object_set_new(o, "read_back", d->found ? json_incref(d->found) : json_array());
    json_object_set_new(o, "undo", d->undone ? json_incref(d->undone) : json_array());
    put(o, "last", doc_of(d));
    json_object_set(o, "plan", d->plan);
    json_object_set_new(o, "traffic", d->load ? json_incref(d->load) : json_null());
    return o;
}

static int check_plan(const json_t *plan, struct err *e)
{
    size_t i;
    json_t *check;
    json_array_foreach (json_object_get(plan, "checks"), i, check)
        if (!json_opt_bool(check, "good", false)) {
            err_set(e, ERR_REFUSED, "%s", json_opt_str(check, "text", "?"));
            err_fix(e, "%s", json_opt_str(check, "fix", "`mcp drill plan` shows every check"));
            return ERR_REFUSED;
        }
    return 0;
}

static int prepare(struct drill *d, struct err *e)
{
    const struct drill_config *c = d->config;
    int r = drill_find(c->drill, &d->fault, e);
    if (r >= 0)
        r = drill_plan(c, &d->plan, e);
    if (r >= 0)
        r = check_plan(d->plan, e);
    if (r >= 0)
        r = name_files(d, e);
    if (r < 0)
        return r;
    d->why = json_array();
    d->steps = json_array();
    d->expected_clients = (size_t)json_opt_int(d->plan, "countries", 1) * c->clients;
    d->measure =
        measure_new(json_object_get(d->plan, "regions"), json_object_get(d->plan, "lost_regions"));
    r = guard_start(c->platform, d->base, json_object_get(d->plan, "acts"),
        STEADY_WITHIN_MS + d->fault->max_ms + GUARD_MORE_MS, &d->guard, e);
    if (r < 0)
        return r;
    r = begin_record(d, e);
    if (r < 0)
        guard_dismiss(&d->guard);
    return r;
}

int drill_run(const struct drill_config *c, json_t **ret, struct err *e)
{
    _cleanup_(drill_done) struct drill d = {.config = c,
        .guard = {.fd = -1},
        .traffic = {.fd = -1},
        .platform = {.fd = -1},
        .reader = {.fd = -1}};
    int r = prepare(&d, e);
    if (r >= 0)
        r = start_observers(&d, e);
    if (r < 0)
        return r;
    step(&d, "load begins", d.start_ms);
    if (!wait_until(&d, is_steady, STEADY_WITHIN_MS, false)) {
        fails(&d, "the load did not become steady: nothing was injected");
        guard_dismiss(&d.guard);
    } else if (str_eq(c->mode, "rehearse")) {
        rehearse(&d);
    } else {
        live(&d);
    }
    compare(&d);
    d.report = verdict(&d);
    end_record(&d, json_opt_bool(d.report, "passed", false));
    r = report_write(c->out, d.base, d.report, e);
    if (r >= 0)
        *ret = json_incref(d.report);
    return r;
}
