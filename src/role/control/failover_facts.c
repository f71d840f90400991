/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules of failover go by, gathered from what hosts tell each other anyway: beats, reports,
 * the data roles' words, the lease's record, documents. Nothing is asked of anybody for it. Where
 * nothing is known, the facts stay zeroed, and that forbids. */
#include "role/control/databases.h"
#include "role/control/drill.h"
#include "role/control/failover.h"
#include "role/control/lease.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"
#include "domain/replication/doc.h"
#include "proto/gtid/gtid.h"

#define VIEW_MS 5000u       /* of a beat: two rounds and a little */
#define WORD_MS 3000u       /* of a data role: it speaks each second */
#define COMMITS_MS 3000u    /* a source writes its heartbeat's row each second */
#define LOST_MS 60000u      /* things that fell ill within it did so together */
#define DISK_LOW_PERCENT 5u
#define JOURNAL_MS 8000u /* since documents were read from the quorum: two readings and a little */

static uint64_t age(uint64_t at_ms, uint64_t now_ms)
{
    return !at_ms ? FAILOVER_NEVER : at_ms < now_ms ? now_ms - at_ms : 0;
}

static const struct model_host *host_of(const struct control *c, const char *name)
{
    return c->model ? model_find_host(c->model, name) : NULL;
}

static const char *region_of(const struct control *c, const char *host)
{
    const struct model_host *h = host_of(c, host);
    return h ? h->region->name : "";
}

/* ---- who is heard */

/* Since this control heard that host itself. */
static uint64_t silence(struct control *c, const char *host)
{
    const struct host_report *r = control_find_report(c, host);
    if (str_eq(host, c->host))
        return 0;
    return r ? age(MAX(MAX(r->heard_ms, r->beat_ms), r->data_ms), clock_boot_ms()) : FAILOVER_NEVER;
}

/* Since `by` heard `host`, as it said last; this host's own word is of now. */
static uint64_t silence_at(struct control *c, const char *by, const char *host)
{
    const struct host_report *r = control_find_report(c, by);
    if (str_eq(by, c->host))
        return silence(c, host);
    if (str_eq(by, host))
        return silence(c, by);
    json_t *said = r ? json_object_get(r->hears, host) : NULL;
    if (!json_is_integer(said))
        return FAILOVER_NEVER;
    return age(r->beat_ms, clock_boot_ms()) + (uint64_t)MAX(json_integer_value(said), 0);
}

static bool is_heard_view(struct control *c, const char *host)
{
    const struct host_report *r = control_find_report(c, host);
    return str_eq(host, c->host) || (r && age(r->beat_ms, clock_boot_ms()) < VIEW_MS);
}

/* It hears a host of another region that is not the source's: its own network is good. */
static bool reaches_others(struct control *c, const char *by, const char *source)
{
    for (size_t i = 0; i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        if (!str_eq(h->name, source) && !str_eq(h->region->name, region_of(c, by))
            && !str_eq(h->region->name, region_of(c, source))
            && silence_at(c, by, h->name) < FAILOVER_SILENT_MS)
            return true;
    }
    return false;
}

static const json_t *report_of(const struct control *c, const char *host)
{
    return str_eq(host, c->host) ? NULL : control_report_of(c, host);
}

/* NULL: nothing that is of now. */
static const json_t *word_of(struct control *c, const char *host, const char *database)
{
    const struct host_report *r = control_find_report(c, host);
    bool fresh = str_eq(host, c->host) || (r && age(r->data_ms, clock_boot_ms()) < WORD_MS);
    return fresh ? control_data_report(c, host, database) : NULL;
}

static bool is_state(const json_t *word, const char *state)
{
    return str_eq(json_opt_str(word, "state", ""), state);
}

/* ---- the source */

static const json_t *unit_of(const struct control *c, const char *host, const char *database)
{
    _cleanup_free_ char *name = xasprintf(COMPILE_ENGINE_PREFIX "%s", database);
    const json_t *units =
        str_eq(host, c->host) ? c->units : json_object_get(report_of(c, host), "units");
    size_t i;
    json_t *u;
    json_array_foreach ((json_t *)(uintptr_t)units, i, u)
        if (str_eq(json_opt_str(u, "name", NULL), name))
            return u;
    return NULL;
}

/* Of a server that others run its host says that it cannot be reached; nothing is known of its process. */
static bool is_out_of_reach(struct control *c, const char *host, const char *database)
{
    const struct model_database *db = model_find_database(c->model, database);
    const json_t *word = db && !db->managed ? word_of(c, host, database) : NULL;
    return is_state(word, "unreachable")
           && failover_class_of(json_opt_str(word, "why", "")) == FAILOVER_SLOW;
}

/* Its host says that there is no process, or one that has just begun. */
static bool is_gone(struct control *c, const char *host, const char *database)
{
    static const char *const gone[] = {"pending", "starting", "backoff", "failed", "stopped"};
    const char *state = json_opt_str(unit_of(c, host, database), "state", "");
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        if (str_eq(gone[i], state))
            return true;
    return is_out_of_reach(c, host, database);
}

static enum failover_class class_of(const struct failover_source *s, const json_t *word)
{
    if (s->down_ms || s->silent_ms >= FAILOVER_SUSPECT_MS)
        return FAILOVER_DEAD;
    return failover_class_of(json_opt_str(word, "why", ""));
}

static bool reaches_store(const struct control *c, const char *host)
{
    return str_eq(host, c->host)
               ? c->kv_connected
               : json_opt_bool(
                     json_object_get(report_of(c, host), "state_store"), "connected", false);
}

static void see_source(
    struct control *c, struct watcher *w, const char *host, struct failover_source *s)
{
    uint64_t now_ms = clock_boot_ms();
    const json_t *word = word_of(c, host, w->database);
    bool gone = is_gone(c, host, w->database);
    s->silent_ms = silence(c, host);
    w->seen.down_ms = !gone || s->silent_ms >= FAILOVER_SUSPECT_MS ? 0
                      : w->seen.down_ms                            ? w->seen.down_ms
                                                                   : now_ms;
    s->down_ms = w->seen.down_ms ? MAX(age(w->seen.down_ms, now_ms), 1) : 0;
    s->answers = word && !is_state(word, "unreachable") && !is_state(word, "starting");
    s->reaches_store = reaches_store(c, host);
    s->class = class_of(s, word);
    if (s->answers)
        str_copy(w->seen.version, sizeof w->seen.version, json_opt_str(word, "version", ""));
}

/* ---- replicas */

/* Since that mark changed. NULL: nothing is heard just now. */
static uint64_t mark_age(struct watcher *w, const char *key, const char *mark)
{
    uint64_t now_ms = clock_boot_ms();
    json_t *old = json_object_get(w->seen.news, key);
    if (mark && !str_eq(json_opt_str(old, "mark", NULL), mark)) {
        old = json_pack("{s:s,s:I}", "mark", mark, "at", (json_int_t)now_ms);
        json_object_set_new(w->seen.news, key, old);
    }
    return old ? age((uint64_t)json_opt_int(old, "at", 0), now_ms) : FAILOVER_NEVER;
}

/* Since anything of the source came to that replica, by what changes with it. */
static uint64_t news_age(struct control *c, struct watcher *w, const char *host)
{
    const json_t *word = word_of(c, host, w->database);
    if (!word)
        return mark_age(w, host, NULL);
    _cleanup_free_ char *mark = xasprintf("%lld %s",
        (long long)json_opt_int(word, "heartbeat_seq", 0), json_opt_str(word, "io_gtid", ""));
    return mark_age(w, host, mark);
}

static bool io_runs(const json_t *word)
{
    return json_opt_bool(json_object_get(word, "io"), "running", false);
}

/* A connection that stands says little (the kernel keeps it long after a host is gone): what comes
 * through it is what counts. */
static bool hears_source(
    struct control *c, struct watcher *w, const char *host, const struct model_database *db)
{
    return io_runs(word_of(c, host, w->database))
           && news_age(c, w, host) < 2 * db->replication.heartbeat_ms;
}

/* It commits: a server whose disk stands still answers, and what it says of its lag is that of a
 * clock that goes on. Where nobody ever told what it has committed, nothing is held against it. */
static bool commits(struct control *c, struct watcher *w, const char *host)
{
    _cleanup_free_ char *key = xasprintf("%s commits", host);
    const char *gtid = json_opt_str(word_of(c, host, w->database), "gtid", "");
    uint64_t age_ms = mark_age(w, key, *gtid ? gtid : NULL);
    return age_ms == FAILOVER_NEVER || age_ms < COMMITS_MS;
}

static bool has_finding(const json_t *word, const char *id)
{
    size_t i;
    json_t *f;
    json_array_foreach (json_object_get(word, "findings"), i, f)
        if (str_eq(json_opt_str(f, "id", NULL), id))
            return true;
    return false;
}

static bool has_unapplied(const json_t *word)
{
    _cleanup_gtid_ struct gtid_set got = {0};
    _cleanup_gtid_ struct gtid_set here = {0};
    struct err ignored;
    const char *io = json_opt_str(word, "io_gtid", ""), *gtid = json_opt_str(word, "gtid", "");
    return *io && gtid_set_parse(GTID_MARIADB, io, strlen(io), &got, &ignored) >= 0
           && gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &here, &ignored) >= 0
           && !gtid_set_contains(&here, &got);
}

static bool is_disk_low(const json_t *word)
{
    const json_t *disk = json_object_get(word, "disk");
    int64_t total = json_opt_int(disk, "total", 0), free = json_opt_int(disk, "free", 0);
    return total > 0 && free < total / 100 * DISK_LOW_PERCENT;
}

static uint64_t clock_off(const struct control *c, const char *host)
{
    struct offset_sample s;
    if (str_eq(host, c->host) || !c->peers || !peers_clock(c->peers, host, &s))
        return 0;
    return (uint64_t)(s.offset_us < 0 ? -s.offset_us : s.offset_us) / 1000;
}

/* People have it emptied, or its programs are being replaced. */
static bool is_leaving(const struct control *c, const char *host)
{
    return json_opt_bool(control_registry_host(c, host), "drained", false)
           || control_upgrades(c, host);
}

/* The one that a failover under way names; else, of those that stay, the one that is least behind. */
static const struct replication_member *pick_target(
    struct control *c, struct watcher *w, const struct replication_doc *d)
{
    const struct replication_member *best = NULL;
    int64_t best_lag = INT64_MAX;
    bool best_leaves = false;
    const char *named = *w->seen.wanted ? w->seen.wanted : NULL;
    const char *to = json_opt_str(d->change, "to", named);
    if (to)
        return replication_doc_find(d, to);
    for (size_t i = 0; i < d->n_members; i++) {
        const struct replication_member *m = &d->members[i];
        const json_t *word = word_of(c, m->host, w->database);
        int64_t lag = word ? json_opt_int(word, "lag_ms", INT64_MAX - 1) : INT64_MAX;
        bool keeps = str_eq(m->host, w->seen.target) && word; /* no flapping between two */
        bool leaves = is_leaving(c, m->host), better = lag < best_lag || keeps;
        if (m == d->source || m->delay_ms
            || (best && (leaves == best_leaves ? !better : leaves)))
            continue;
        best = m;
        best_lag = lag;
        best_leaves = leaves;
    }
    return best;
}

static bool lacks_something(const struct control *c, const char *region)
{
    _cleanup_free_ char *name = xasprintf("placement/%s", region);
    const json_t *doc = json_object_get(scheduler_docs(c->scheduler), name);
    return json_array_size(json_object_get(doc, "lacks")) > 0;
}

/* As it was published last: before the next write was acknowledged. */
static bool is_in_sync_set(const struct replication_doc *d, const char *host)
{
    const json_t *hosts = json_object_get(json_object_get(d->json, "sync"), "hosts");
    size_t i;
    json_t *h;
    json_array_foreach ((json_t *)(uintptr_t)hosts, i, h)
        if (str_eq(json_string_value(h), host))
            return true;
    return false;
}

static void new_target(struct watcher *w, const char *host)
{
    struct failover_seen *s = &w->seen;
    if (str_eq(s->target, host))
        return;
    str_copy(s->target, sizeof s->target, host);
    s->lag_known = s->broken = s->target_was_good = false;
    s->unapplied_ms = s->target_lost_ms = 0;
}

static bool is_stopped(const json_t *word)
{
    return is_state(word, "stopped") || is_state(word, "frozen") || is_state(word, "broken")
           || is_state(word, "seeding");
}

/* Samples of before the fault: what comes after it says how long the source has been away. */
static void remember_target(
    struct watcher *w, const json_t *word, bool source_well, bool heard, uint64_t now_ms)
{
    struct failover_seen *s = &w->seen;
    const json_t *lag = json_object_get(word, "lag_ms");
    bool good = heard && !is_state(word, "unreachable"); /* stopped it is for want of its source */
    if (source_well && json_is_integer(lag)) {
        s->lag_known = true;
        s->lag_ms = (uint64_t)MAX(json_integer_value(lag), 0);
        s->lag_at_ms = now_ms;
    }
    if (source_well && word)
        s->broken = is_stopped(word);
    s->unapplied_ms = !has_unapplied(word) ? 0 : s->unapplied_ms ? s->unapplied_ms : now_ms;
    if (s->target_was_good && !good)
        s->target_lost_ms = now_ms;
    s->target_was_good = good;
}

static void see_target(struct control *c, struct watcher *w, const struct model_database *db,
    const struct replication_doc *d, struct failover_facts *f)
{
    uint64_t now_ms = clock_boot_ms();
    const struct replication_member *m = pick_target(c, w, d);
    struct failover_target *t = &f->target;
    if (!m)
        return;
    new_target(w, m->host);
    const json_t *word = word_of(c, m->host, w->database);
    str_copy(t->host, sizeof t->host, m->host);
    str_copy(t->region, sizeof t->region, m->region);
    t->heard = word != NULL;
    t->hears_source = hears_source(c, w, m->host, db);
    remember_target(w, word, failover_source_writes(f) && commits(c, w, d->source->host), t->heard,
        now_ms);
    const struct failover_seen *s = &w->seen;
    t->lag_known = s->lag_known;
    t->lag_ms = s->lag_ms;
    t->lag_age_ms = s->well_ms > s->lag_at_ms ? s->well_ms - s->lag_at_ms : 0;
    t->heartbeat_ms = db->replication.heartbeat_ms;
    t->unapplied = s->unapplied_ms != 0;
    t->unapplied_ms = t->unapplied ? age(s->unapplied_ms, now_ms) : 0;
    t->broken_before = s->broken;
    t->stuck = is_state(word, "frozen");
    /* Of a copy that is being replaced nobody knows what it holds. */
    t->diverged = is_state(word, "frozen") || is_state(word, "seeding") || has_finding(word, "errant")
                  || json_opt_int(word, "epoch", 0) > d->epoch;
    t->in_sync_set = is_in_sync_set(d, m->host);
    t->test_login = word && !is_state(word, "unreachable") && !is_state(word, "starting");
    t->disk_low = is_disk_low(word);
    t->drift = *s->version && !str_eq(json_opt_str(word, "version", s->version), s->version);
    t->delayed = m->delay_ms != 0;
    t->leaves = is_leaving(c, m->host);
    t->lacks = lacks_something(c, m->region);
    t->clock_off_ms = clock_off(c, m->host);
    t->serving = !str_eq(steer_service_region_state(c->steer, m->region), "down");
}

/* ---- vantages */

static const struct replication_member *member_in(
    const struct replication_doc *d, const char *region)
{
    for (size_t i = 0; i < d->n_members; i++)
        if (str_eq(d->members[i].region, region))
            return &d->members[i];
    return NULL;
}

static bool lost_it(struct control *c, struct watcher *w, const struct model_database *db,
    const struct replication_doc *d, const char *region)
{
    const struct replication_member *m = member_in(d, region);
    return m && m != d->source && word_of(c, m->host, w->database)
           && !hears_source(c, w, m->host, db);
}

/* One region by the best of its hosts. */
static void see_vantage(struct control *c, struct watcher *w, const struct model_database *db,
    const struct replication_doc *d, const struct model_region *region, struct failover_vantage *v)
{
    const char *source = d->source->host;
    bool reaches = false;
    str_copy(v->region, sizeof v->region, region->name);
    for (size_t i = 0; i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        if (h->region != region || !is_heard_view(c, h->name))
            continue;
        v->heard = true;
        v->references |= reaches_others(c, h->name, source);
        reaches |= silence_at(c, h->name, source) < FAILOVER_SILENT_MS;
    }
    bool own = str_eq(region->name, d->source->region);
    v->sees_fault = own ? w->seen.down_ms != 0 || !reaches
                        : !reaches || lost_it(c, w, db, d, region->name);
}

static void see_vantages(struct control *c, struct watcher *w, const struct model_database *db,
    const struct replication_doc *d, struct failover_facts *f)
{
    str_copy(f->leader_region, sizeof f->leader_region, region_of(c, c->host));
    for (size_t i = 0; i < c->model->n_regions && f->n_vantages < FAILOVER_REGIONS_MAX; i++) {
        const struct model_region *region = &c->model->regions[i];
        bool has_host = false;
        for (size_t k = 0; k < c->model->n_hosts; k++)
            has_host |= c->model->hosts[k].region == region;
        if (has_host)
            see_vantage(c, w, db, d, region, &f->vantages[f->n_vantages++]);
    }
}

/* ---- the state store */

static bool is_first_of_region(const struct model *m, size_t member)
{
    for (size_t i = 0; i < member; i++)
        if (m->members[i]->region == m->members[member]->region)
            return false;
    return true;
}

static void see_voters(
    struct control *c, const struct replication_doc *d, struct failover_facts *f)
{
    struct failover_voters *v = &f->voters;
    uint64_t read_ms = documents_read_ms(control_data_docs(c));
    v->total = (unsigned)c->model->n_members;
    v->same_version = true;
    for (size_t i = 0; i < c->model->n_members; i++) {
        const struct model_host *h = c->model->members[i];
        bool own = str_eq(h->name, c->host);
        bool answers = silence(c, h->name) < FAILOVER_SILENT_MS && reaches_store(c, h->name);
        v->regions += is_first_of_region(c->model, i);
        if (!answers)
            continue;
        v->answering++;
        v->witness |= !str_eq(h->region->name, d->source->region)
                      && !str_eq(h->region->name, f->target.region);
        v->same_version &=
            own || json_opt_int(report_of(c, h->name), "revision", 0) == c->number;
        f->world.clock_off_ms = MAX(f->world.clock_off_ms, clock_off(c, h->name));
    }
    v->journal = age(read_ms, clock_boot_ms()) < JOURNAL_MS;
}

/* ---- the world */

static bool region_is_heard(struct control *c, const struct model_region *region)
{
    for (size_t i = 0; i < c->model->n_hosts; i++)
        if (c->model->hosts[i].region == region
            && silence(c, c->model->hosts[i].name) < FAILOVER_SILENT_MS)
            return true;
    return false;
}

void failover_look_world(struct control *c, struct failover_world_seen *w)
{
    uint64_t now_ms = clock_boot_ms();
    if (failover_clock_look(&w->clock, clock_wall_ms(), now_ms, clock_slept_ms()))
        control_report_soon(c);
    for (size_t i = 0; c->model && i < c->model->n_regions; i++) {
        const struct model_region *r = &c->model->regions[i];
        bool known = json_object_get(w->regions, r->name) != NULL;
        bool silent = json_opt_int(w->regions, r->name, 0) > 0;
        if (region_is_heard(c, r))
            json_object_set_new(w->regions, r->name, json_integer(0));
        else if (known && !silent)
            json_object_set_new(w->regions, r->name, json_integer((json_int_t)now_ms));
    }
}

void control_failover_report(const struct control *c, json_t *report)
{
    uint64_t at_ms = c->failover ? c->failover->world.clock.stepped_ms : 0;
    if (at_ms)
        json_object_set_new(
            report, "clock_step_ms", json_integer((json_int_t)age(at_ms, clock_boot_ms())));
}

/* Since that host's clock jumped or it slept. */
static uint64_t clock_step(struct control *c, const char *host)
{
    uint64_t now_ms = clock_boot_ms();
    const struct host_report *r = control_find_report(c, host);
    const json_t *said = r ? json_object_get(r->report, "clock_step_ms") : NULL;
    if (str_eq(host, c->host))
        return age(c->failover->world.clock.stepped_ms, now_ms);
    return json_is_integer(said)
               ? age(r->heard_ms, now_ms) + (uint64_t)MAX(json_integer_value(said), 0)
               : FAILOVER_NEVER;
}

/* Of all whose times are gone by: the leader's, the target's, of those that vote. The source's are
 * not: its clock may have jumped with what befell it. */
static uint64_t last_clock_step(
    struct control *c, const struct replication_doc *d, const struct failover_facts *f)
{
    uint64_t ms = MIN(clock_step(c, c->host), clock_step(c, f->target.host));
    for (size_t i = 0; i < c->model->n_members; i++)
        if (!str_eq(c->model->members[i]->name, d->source->host))
            ms = MIN(ms, clock_step(c, c->model->members[i]->name));
    return ms;
}

static void see_world(struct control *c, struct watcher *w, const struct replication_doc *d,
    struct failover_facts *f)
{
    const struct failover_world_seen *seen = &c->failover->world;
    uint64_t now_ms = clock_boot_ms();
    unsigned writable = 0;
    f->world.topology_known = true;
    for (size_t i = 0; i < d->n_members; i++) {
        const json_t *word = word_of(c, d->members[i].host, w->database);
        if (word)
            json_object_set_new(w->seen.heard, d->members[i].host, json_true());
        f->world.topology_known &= json_object_get(w->seen.heard, d->members[i].host) != NULL;
        writable += is_state(word, "writable");
    }
    f->world.two_sources = writable > 1;
    f->world.seen_healthy = w->seen.healthy;
    f->world.clock_step_ms = last_clock_step(c, d, f);
    f->world.target_was_lost = age(w->seen.target_lost_ms, now_ms) < LOST_MS;
    for (size_t i = 0; i < c->model->n_regions; i++) {
        const char *region = c->model->regions[i].name;
        if (str_eq(region, d->source->region))
            continue;
        uint64_t lost_ms = (uint64_t)json_opt_int(seen->regions, region, 0);
        f->world.regions_lost += age(lost_ms, now_ms) < LOST_MS;
        f->world.regions_on += region_is_heard(c, &c->model->regions[i])
                               && !str_eq(steer_service_region_state(c->steer, region), "down");
    }
}

/* ---- all of it */

static void see_home(struct control *c, struct watcher *w, const struct model_database *db,
    const struct replication_doc *d, struct failover_facts *f)
{
    const struct replication_member *home = member_in(d, db->source->name);
    const json_t *word = home ? word_of(c, home->host, w->database) : NULL;
    int64_t lag_ms = json_opt_int(word, "lag_ms", INT64_MAX);
    f->home.away = !str_eq(d->source->region, db->source->name);
    f->home.replicates = is_state(word, "replicating") && lag_ms >= 0
                         && (uint64_t)lag_ms <= db->failover.max_lag_ms;
}

static void see_automation(struct control *c, const struct model_database *db,
    const struct replication_doc *d, struct failover_facts *f)
{
    f->automation.automatic = db->failover.automatic;
    f->automation.maintenance = is_leaving(c, d->source->host);
    control_drill_facts(c, db->name, d->source->region, &f->automation);
}

bool failover_look(struct control *c, struct watcher *w)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, w->database);
    const struct model_database *db = c->model ? model_find_database(c->model, w->database) : NULL;
    if (!db || !doc || replication_doc_parse(doc, &d, &ignored) < 0)
        return false;
    if (!w->seen.news) {
        w->seen.news = json_object();
        w->seen.heard = json_object();
    }
    struct failover_facts *f = &w->facts;
    *f = (struct failover_facts){.max_lag_ms = db->failover.max_lag_ms,
        .sync_required = db->replication.mode == DATA_SEMI_SYNC,
        .has_before = db->failover.before && db->failover.before[0],
        .has_after = db->failover.after && db->failover.after[0]};
    _cleanup_free_ char *fingerprint = failover_fingerprint(db);
    see_automation(c, db, &d, f);
    see_source(c, w, d.source->host, &f->source);
    control_lease_facts(c, w->database, &f->lease);
    w->seen.healthy |= failover_source_well(f);
    if (failover_source_writes(f) && commits(c, w, d.source->host))
        w->seen.well_ms = clock_boot_ms();
    see_target(c, w, db, &d, f);
    see_vantages(c, w, db, &d, f);
    see_voters(c, &d, f);
    see_world(c, w, &d, f);
    see_home(c, w, db, &d, f);
    f->fence = (struct failover_fence){.by = (enum failover_fence_by)db->failover.fence,
        .reaches = !f->source.down_ms};
    failover_doc_facts(failover_doc_of(c, w->database), doc, fingerprint, &db->failover,
        clock_wall_ms(), f);
    return true;
}

void failover_seen_done(struct failover_seen *s)
{
    json_decref(s->news);
    json_decref(s->heard);
}
