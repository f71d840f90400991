/* SPDX-License-Identifier: Apache-2.0 */
/* Between service/scheduler and who it talks to: what this control knows of the hosts goes in,
 * this host's placement goes to its agent and its edge. Which hosts live is told by beats: each
 * control says every two seconds whom it hears itself, so that a broken link between two hosts is
 * not taken for a death. */
#include "role/control/admit.h"
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/retention.h"

#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define CHECK_MS 1000u
#define BEAT_EVERY 2u  /* checks */
#define BOOT_MS 10000u /* the first placement waits that long for hosts to say what they run */

/* ---- who lives */

static uint64_t age_of(uint64_t at, uint64_t now)
{
    return at < now ? now - at : 0;
}

/* Heard by ourselves; a time in the boot clock, 0: never. */
static uint64_t heard_directly(struct control *c, const char *host)
{
    const struct host_report *r = control_find_report(c, host);
    return r ? MAX(r->heard_ms, r->beat_ms) : 0;
}

static uint64_t heard_by(const struct host_report *witness, const char *host)
{
    json_t *age = json_object_get(witness->hears, host);
    uint64_t ms = json_is_integer(age) ? (uint64_t)MAX(json_integer_value(age), 0) : UINT64_MAX;
    return ms < witness->beat_ms ? witness->beat_ms - ms : 0;
}

bool control_hears(struct control *c, const char *host)
{
    uint64_t now = clock_boot_ms(), at = MAX(c->started_ms, heard_directly(c, host));
    if (!strcmp(host, c->host))
        return true;
    for (size_t i = 0; i < c->n_reports; i++)
        if (age_of(c->reports[i].beat_ms, now) < SCHEDULE_SILENT_MS)
            at = MAX(at, heard_by(&c->reports[i], host));
    return age_of(at, now) < SCHEDULE_SILENT_MS;
}

void control_hear_beat(struct control *c, const char *host, const json_t *beat)
{
    struct host_report *r = control_get_report(c, host);
    if (!r)
        return;
    json_decref(r->hears);
    r->hears = json_incref(json_object_get(beat, "hears"));
    r->beat_ms = clock_boot_ms();
}

static void beat(struct control *c)
{
    uint64_t now = clock_boot_ms();
    _cleanup_json_ json_t *hears = json_object();
    for (size_t i = 0; i < c->n_reports; i++) {
        uint64_t age = age_of(heard_directly(c, c->reports[i].host), now);
        if (age < SCHEDULE_SILENT_MS)
            json_object_set_new(hears, c->reports[i].host, json_integer((json_int_t)age));
    }
    _cleanup_json_ json_t *params = json_pack("{s:O}", "hears", hears);
    peers_broadcast(c->peers, "beat", params);
}

/* The state store answers, so other members live, and yet nobody is heard: the fault is here. */
static bool is_cut_off(struct control *c)
{
    if (!c->model || c->model->n_members < 2)
        return false;
    for (size_t i = 0; i < c->model->n_hosts; i++)
        if (strcmp(c->model->hosts[i].name, c->host) != 0
            && control_hears(c, c->model->hosts[i].name))
            return false;
    return true;
}

/* Silence makes no event: it is looked for. */
static void check_silence(struct control *c)
{
    uint64_t silent = 0; /* a sum over the hosts' indexes, which changes when one of them does */
    scheduler_stand_aside(c->scheduler, is_cut_off(c));
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++)
        if (!control_hears(c, c->model->hosts[i].name))
            silent = silent * 31 + i + 1;
    if (silent == c->silent)
        return;
    c->silent = silent;
    scheduler_poke(c->scheduler);
    control_tell_units(c);
    control_report_soon(c);
}

static void on_fleet_timer(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control, fleet_timer);
    if (++c->checks % BEAT_EVERY == 0)
        beat(c);
    check_silence(c);
    control_edge_look(c);
}

/* ---- what the leader sees */

static bool has_role(const json_t *report, const char *name)
{
    size_t i;
    json_t *r;
    json_array_foreach (json_object_get(report, "roles"), i, r)
        if (str_eq(json_opt_str(r, "name", NULL), name))
            return true;
    return false;
}

static struct schedule_host see(struct control *c, const struct model_host *h, const json_t *report)
{
    const json_t *machine = json_object_get(report, "machine");
    bool known = json_opt_bool(report, "units_known", false)
                 && json_array_size(json_object_get(report, "roles"));
    bool mesh = has_role(report, "mesh");
    return (struct schedule_host){.name = h->name,
        .heard = control_hears(c, h->name),
        .usable = known && has_role(report, "agent") && (mesh || h->is_public),
        .drained = json_opt_bool(control_registry_host(c, h->name), "drained", false),
        .memory_bytes = (uint64_t)json_opt_int(machine, "memory_bytes", 0),
        .cpu_milli = (unsigned)json_opt_int(machine, "cpu_milli", 0),
        .units = known ? json_object_get(report, "units") : NULL,
        .must_ack = mesh || has_role(report, "edge"),
        .acked = json_opt_int(json_object_get(report, "acked"), h->region->name, 0)};
}

/* A placement of a later revision: ours is old, and the newer one is on its way to us. */
static bool is_behind(const struct control *c)
{
    const char *name;
    json_t *doc;
    json_object_foreach (c->placements, name, doc)
        if (json_opt_int(doc, "revision", 0) > c->number)
            return true;
    return false;
}

static bool observe(void *ctx, struct schedule_input *in)
{
    struct control *c = ctx;
    bool waits = clock_boot_ms() < c->started_ms + BOOT_MS && !json_object_size(c->placements);
    if (!c->model || is_behind(c) || !documents_synced(c->hosts) || !control_admit_known(c))
        return false;
    json_decref(c->seen_own);
    c->seen_own = control_own_report(c);
    free(c->seen);
    c->seen = xcalloc(c->model->n_hosts, sizeof *c->seen);
    for (size_t i = 0; i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        const struct host_report *r = control_find_report(c, h->name);
        c->seen[i] = see(c, h, !strcmp(h->name, c->host) ? c->seen_own : r ? r->report : NULL);
        /* What ran before there were placements is taken over, not started anew elsewhere. */
        if (waits && c->seen[i].heard && !c->seen[i].units)
            return false;
    }
    json_decref(c->admitted);
    c->admitted = control_admitted_standbys(c);
    *in = (struct schedule_input){.model = c->model,
        .admitted = c->admitted,
        .files = c->revision->files,
        .revision = c->number,
        .by = c->revision->by,
        .hosts = c->seen,
        .n_hosts = c->model->n_hosts};
    return true;
}

/* ---- what comes of it */

static void keep_placements(struct control *c)
{
    const char *name;
    json_t *doc;
    json_decref(c->placements);
    c->placements = json_object();
    json_object_foreach ((json_t *)(uintptr_t)scheduler_docs(c->scheduler), name, doc)
        if (str_starts(name, "placement/"))
            json_object_set(c->placements, name + strlen("placement/"), doc);
}

static void on_changed(void *ctx)
{
    struct control *c = ctx;
    keep_placements(c);
    const json_t *now = control_placement(c);
    if (!json_equal(now, c->placed)) {
        json_decref(c->placed);
        c->placed = json_incref((json_t *)(uintptr_t)now);
        control_tell_role(c, "agent");
        control_tell_units(c);
    }
    control_drains_check(c);
    control_waiters_check(c);
}

static void on_note(void *ctx, const struct schedule_note *n)
{
    log_info("placement", n->message, "subject=%s cause=\"%s\"", n->subject, n->cause);
    control_note(ctx, "placement", n->subject, n->message, n->cause);
}

static void on_leads(void *ctx, bool leads, int64_t epoch)
{
    struct control *c = ctx;
    char message[96];
    snprintf(message, sizeof message, "%s where instances run (epoch %lld)",
        leads ? "decides" : "no longer decides", (long long)epoch);
    log_info("placement", message, "%s", "");
    control_note(c, "placement", c->host, message, "");
    control_databases_look(c);
}

static void on_trouble(void *ctx, const struct err *e)
{
    struct control *c = ctx;
    str_copy(c->placement_alarm, sizeof c->placement_alarm, e ? e->message : "");
    if (e)
        log_warn("placement", "cannot decide where instances run", "error=%s", e->message);
    control_report_soon(c);
}

void control_fleet_host_changed(struct control *c)
{
    scheduler_poke(c->scheduler);
    control_drains_check(c);
}

/* ---- what others ask */

const json_t *control_placement(const struct control *c)
{
    const struct model_host *h = c->model ? model_find_host(c->model, c->host) : NULL;
    return h ? scheduler_placement(c->scheduler, h->region->name) : NULL;
}

/* Of this host's own files. What is not known is left out. */
static void add_disk(struct control *c, json_t *machine)
{
    struct statvfs fs;
    uint64_t now = clock_boot_ms();
    if (!c->disk_trend)
        c->disk_trend = xcalloc(1, sizeof *c->disk_trend);
    if (statvfs(ROLE_STATE_ROOT, &fs) < 0)
        return;
    uint64_t total = fs.f_blocks * fs.f_frsize, left = fs.f_bavail * fs.f_frsize;
    uint64_t used = total - MIN(left, total);
    retention_sample(c->disk_trend, now, used);
    int64_t full_in = retention_full_in_ms(c->disk_trend, now, used, left);
    json_object_set_new(machine, "disk_bytes", json_integer((json_int_t)total));
    json_object_set_new(machine, "disk_free_bytes", json_integer((json_int_t)left));
    if (full_in >= 0)
        json_object_set_new(machine, "disk_full_in_ms", json_integer(full_in));
}

static json_t *machine(struct control *c)
{
    struct sysinfo s = {0};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t bytes = sysinfo(&s) < 0 ? 0 : (uint64_t)s.totalram * s.mem_unit;
    json_t *j = json_pack("{s:I,s:i}", "memory_bytes", (json_int_t)bytes, "cpu_milli",
        cpus > 0 ? (int)cpus * 1000 : 0);
    add_disk(c, j);
    return j;
}

static json_t *acked(const struct control *c)
{
    const struct model_host *h = c->model ? model_find_host(c->model, c->host) : NULL;
    int64_t seq = INT64_MAX;
    _cleanup_json_ json_t *roles = json_pack("{s:O*}", "roles", c->roles);
    for (size_t i = 0; i < ARRAY_SIZE(c->acks); i++)
        if (has_role(roles, control_ack_roles[i]))
            seq = MIN(seq, c->acks[i]);
    return h && seq != INT64_MAX ? json_pack("{s:I}", h->region->name, (json_int_t)seq)
                                 : json_object();
}

void control_fleet_report(struct control *c, json_t *report)
{
    json_object_set_new(report, "acked", acked(c));
    json_object_set_new(report, "admit_fresh", json_boolean(control_admit_fresh(c)));
    json_object_set_new(report, "machine", machine(c));
    json_object_set_new(report, "units_known", json_boolean(c->units != NULL));
    json_object_set_new(report, "units_seq", json_integer(c->units_seq));
}

const char *const control_ack_roles[CONTROL_ACK_ROLES] = {"edge", "mesh"};

void control_acked(struct control *c, const char *role, int64_t seq)
{
    for (size_t i = 0; i < ARRAY_SIZE(c->acks); i++)
        if (!strcmp(control_ack_roles[i], role) && c->acks[i] != seq) {
            c->acks[i] = seq;
            control_report_soon(c);
            scheduler_poke(c->scheduler);
        }
}

/* ---- life */

int control_fleet_start(struct control *c, struct err *e)
{
    static const struct scheduler_handler handler = {.changed = on_changed,
        .observe = observe,
        .note = on_note,
        .leads = on_leads,
        .trouble = on_trouble};
    _cleanup_free_ char *cache = xasprintf("%s/placement.json", c->role->state_dir);
    struct scheduler_config config = {
        .kv = c->kv, .platform = c->platform, .host = c->host, .cache_path = cache};
    c->started_ms = clock_boot_ms();
    uv_timer_init(&c->role->loop, &c->fleet_timer);
    uv_timer_start(&c->fleet_timer, on_fleet_timer, CHECK_MS, CHECK_MS);
    return scheduler_new(&c->role->loop, &config, &handler, c, &c->scheduler, e);
}

void control_fleet_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->fleet_timer, NULL);
    scheduler_free(c->scheduler);
    c->scheduler = NULL;
    free(c->disk_trend);
    c->disk_trend = NULL;
    json_decref(c->placements);
    json_decref(c->placed);
    json_decref(c->seen_own);
    json_decref(c->admitted);
    free(c->seen);
}
