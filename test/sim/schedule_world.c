/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule_world.h"

#include "base/str/str.h"

const char *const module_names[MODULES] = {"roll", "blue", "cana", "repl", "work"};
const char *const region_names[REGIONS] = {"ap-a", "ap-b", "ap-c"};
const enum rollout_strategy module_strategies[MODULES] = {
    ROLLOUT_ROLLING, ROLLOUT_BLUE_GREEN, ROLLOUT_CANARY, ROLLOUT_REPLACE, ROLLOUT_ROLLING};

bool world_faulty(const struct world *w)
{
    return sim_now(w->sim) < FAULTS_MS;
}

struct host_at *world_host(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (!strcmp(w->hosts[i].name, name))
            return &w->hosts[i];
    return NULL;
}

json_t *world_instances(const json_t *docs, const char *region)
{
    _cleanup_free_ char *key = xasprintf("placement/%s", region);
    return json_object_get(json_object_get(docs, key), "instances");
}

unsigned world_wanted(const struct world *w, size_t module, const char *region)
{
    const struct model_module *m = model_find_module(w->model, module_names[module]);
    for (size_t i = 0; m && i < m->n_instances; i++)
        if (!strcmp(m->instances[i].region->name, region))
            return m->instances[i].active;
    return 0;
}

bool world_has_standby(size_t module, const char *region)
{
    return module == MODULES - 1 && !strcmp(region, "ap-b");
}

/* ---- what operators declare */

static void declare(struct world *w)
{
    struct str t = STR_INIT;
    str_add(&t, "platform: p\ndomain: example.com\nregions:\n"
                "  ap-a: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
                "  ap-b: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n");
    if (w->has_serving)
        str_add(&t, "  ap-c: {duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}\n");
    str_add(&t, "hosts:\n");
    for (size_t i = 0; i < w->n_hosts; i++)
        str_addf(&t, "  %s: {region: %s, address: 10.%d.0.%zu}\n", w->hosts[i].name,
            w->hosts[i].region, 20 + 20 * (w->hosts[i].region[3] - 'a'), 11 + i);
    str_add(&t, "state: {members: [a1]}\nmodules:\n");
    static const char *const rollouts[MODULES] = {"strategy: rolling", "strategy: blue-green",
        "strategy: canary, canary: {weight: 20, for: 5s}", "strategy: replace",
        "strategy: rolling"};
    for (size_t i = 0; i < MODULES; i++)
        str_addf(&t,
            "  %s: {image: oci:%s, %s, regions: {ap-a: %u, %s},\n"
            "    rollout: {%s, wave: %s, deadline: 20s, drain: 5s}}\n",
            module_names[i], module_names[i],
            i == 4 ? "health: {kind: none, start_timeout: 4s}"
                   : "port: 80, health: {kind: tcp, start_timeout: 4s}",
            w->counts[i], i == 4 ? "ap-b: {standby: 1}" : "each: 1", rollouts[i], w->waves[i]);
    struct str errors = STR_INIT;
    struct err e;
    model_free(w->model);
    if (model_parse(t.buf, t.len, "p", &w->model, &errors, &e) < 0) {
        fprintf(stderr, "%s", str_cstr(&errors));
        abort();
    }
    str_done(&errors);
    str_done(&t);
    for (size_t i = 0; i < MODULES; i++)
        for (size_t r = 0; r < REGIONS; r++)
            w->wanted_in[i][r] = world_wanted(w, i, region_names[r]);
}

static void new_image(struct world *w, size_t module, enum image kind)
{
    char digest[DIGEST_SIZE];
    snprintf(digest, sizeof digest, "sha256:%064x", ++w->image_number);
    json_object_set_new(w->files, module_names[module], json_string(digest));
    json_object_set_new(w->images, digest, json_integer(kind));
    w->wanted[module] = kind;
    sim_trace(w->sim, "operator: %s becomes %.12s, %s", module_names[module], digest + 60,
        kind == IMAGE_GOOD      ? "good"
        : kind == IMAGE_CRASHES ? "crashes"
                                : "hangs");
}

/* ---- units of a host */

static void follow(struct host_at *h);
static void tell_soon(struct host_at *h);

static struct unit_at *find_unit(struct host_at *h, const char *name)
{
    for (size_t i = 0; i < UNITS_MAX; i++)
        if (h->units[i].state && !strcmp(h->units[i].name, name))
            return &h->units[i];
    return NULL;
}

struct unit_event_ctx {
    struct host_at *h;
    size_t slot;
};

static uint64_t pack(struct host_at *h, const struct unit_at *u)
{
    return (u->incarnation << 8) | (uint64_t)(u - h->units);
}

static struct unit_at *unpack(struct host_at *h, uint64_t arg)
{
    struct unit_at *u = &h->units[arg & 0xff];
    return u->state && u->incarnation == arg >> 8 ? u : NULL;
}

static void on_unit(void *ctx, uint64_t arg);

static void start(struct host_at *h, struct unit_at *u)
{
    struct sim *s = h->w->sim;
    u->state = "starting";
    u->incarnation++;
    uint64_t takes = u->image == IMAGE_GOOD      ? sim_between(s, 50, 2000)
                     : u->image == IMAGE_CRASHES ? sim_between(s, 20, 500)
                                                 : START_TIMEOUT_MS;
    sim_at(s, sim_now(s) + takes, on_unit, h, pack(h, u));
    tell_soon(h);
}

static void on_unit(void *ctx, uint64_t arg)
{
    struct host_at *h = ctx;
    struct unit_at *u = unpack(h, arg);
    struct sim *s = h->w->sim;
    if (!u)
        return;
    if (!strcmp(u->state, "stopping")) {
        u->state = NULL;
        follow(h);
    } else if (!strcmp(u->state, "backoff")) {
        u->restarts++;
        start(h, u);
    } else if (!strcmp(u->state, "starting") && u->image == IMAGE_GOOD) {
        u->state = "ready";
    } else if (!strcmp(u->state, "starting")) {
        u->state = "backoff";
        sim_at(s, sim_now(s) + (u->restarts ? MIN(1000u << u->restarts, 16000u) : 0), on_unit, h,
            pack(h, u));
    }
    tell_soon(h);
}

static void stop(struct host_at *h, struct unit_at *u)
{
    struct sim *s = h->w->sim;
    if (!strcmp(u->state, "stopping"))
        return;
    u->state = "stopping";
    u->incarnation++;
    sim_at(s, sim_now(s) + sim_between(s, 20, 2000), on_unit, h, pack(h, u));
    tell_soon(h);
}

static void want_unit(struct host_at *h, const json_t *spec)
{
    struct unit_at *u = find_unit(h, json_opt_str(spec, "name", ""));
    const char *id = json_opt_str(spec, "spec", "");
    if (u && strcmp(u->spec, id) != 0 && strcmp(u->state, "pending") != 0) {
        stop(h, u);
        return;
    }
    if (!u) {
        for (u = h->units; u->state; u++)
            ASSERT(u < h->units + UNITS_MAX - 1);
        u->restarts = 0;
        str_copy(u->name, sizeof u->name, json_opt_str(spec, "name", ""));
        str_copy(u->module, sizeof u->module, json_opt_str(spec, "module", ""));
        u->state = "pending";
    }
    if (strcmp(u->state, "pending") != 0)
        return;
    str_copy(u->spec, sizeof u->spec, id);
    u->image = (enum image)json_opt_int(h->w->images, json_opt_str(spec, "image", ""), IMAGE_GOOD);
    u->standby = json_opt_bool(spec, "standby", false);
    start(h, u); /* standbys run like all others */
}

/* As the agent does with a snapshot. */
static void follow(struct host_at *h)
{
    _cleanup_free_ char *key = xasprintf("placement/%s", h->region);
    const json_t *placement = json_object_get(h->w->docs, key);
    json_t *doc;
    struct err e;
    if (!h->up || h->cut || !placement)
        return;
    if (schedule_units(placement, h->name, &doc, &e) < 0) {
        sim_fail(h->w->sim, "no units of a placement: %s", e.message);
        return;
    }
    const json_t *units = json_object_get(doc, "units");
    size_t i;
    json_t *spec;
    for (struct unit_at *u = h->units; u < h->units + UNITS_MAX; u++) {
        bool wanted = false;
        json_array_foreach ((json_t *)units, i, spec)
            wanted |= u->state && !strcmp(json_opt_str(spec, "name", ""), u->name);
        if (u->state && !wanted && !strcmp(u->state, "pending"))
            u->state = NULL;
        else if (u->state && !wanted)
            stop(h, u);
    }
    json_array_foreach ((json_t *)units, i, spec)
        want_unit(h, spec);
    json_decref(doc);
    tell_soon(h);
}

static void on_follow(void *ctx, uint64_t unused)
{
    struct host_at *h = ctx;
    _cleanup_free_ char *key = xasprintf("placement/%s", h->region);
    int64_t seq = json_opt_int(json_object_get(h->w->docs, key), "seq", 0);
    if (h->followed != seq && h->up && !h->cut) {
        h->followed = seq;
        follow(h);
    }
}

static void on_edge(void *ctx, uint64_t seq)
{
    struct host_at *h = ctx;
    if (h->up && !h->cut && (int64_t)seq > h->edge_seq) {
        h->edge_seq = (int64_t)seq;
        h->edge_max = MAX(h->edge_max, h->edge_seq);
        tell_soon(h);
    }
}

static void notice(struct host_at *h)
{
    struct sim *s = h->w->sim;
    _cleanup_free_ char *key = xasprintf("placement/%s", h->region);
    int64_t seq = json_opt_int(json_object_get(h->w->docs, key), "seq", 0);
    uint64_t at = sim_now(s) + sim_between(s, 10, h->slow && world_faulty(h->w) ? 4000 : 200);
    sim_at(s, at, on_follow, h, 0);
    bool late = world_faulty(h->w) && sim_chance(s, 10);
    sim_at(s, at + sim_between(s, 10, late ? 9000 : 300), on_edge, h, (uint64_t)seq);
}

/* ---- reports to the leader */

static void on_step(void *ctx, uint64_t leader);

static void step_soon(struct world *w)
{
    if (w->step_soon || !w->s)
        return;
    w->step_soon = true;
    sim_at(w->sim, sim_now(w->sim) + 50, on_step, w, w->leader);
}

static void on_report(void *ctx, uint64_t unused)
{
    struct host_at *h = ctx;
    if (!h->up || h->cut)
        return;
    json_t *list = json_array();
    for (const struct unit_at *u = h->units; u < h->units + UNITS_MAX; u++)
        if (u->state)
            json_array_append_new(
                list, json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:b}", "name", u->name, "kind",
                          "module", "module", u->module, "spec", u->spec, "state", u->state,
                          "restarts", u->restarts, "reason",
                          strcmp(u->state, "backoff") ? "" : "exit 1", "standby", (int)u->standby));
    bool same = h->reported && json_equal(h->reported, list) && h->acked == h->edge_seq;
    json_decref(h->reported);
    h->reported = list;
    h->acked = h->edge_seq;
    h->heard_at = sim_now(h->w->sim);
    if (!same)
        step_soon(h->w);
}

static void tell_soon(struct host_at *h)
{
    struct sim *s = h->w->sim;
    check_truth(h->w);
    sim_at(s, sim_now(s) + sim_between(s, 5, h->slow && world_faulty(h->w) ? 3000 : 150), on_report,
        h, 0);
}

static void on_repeat(void *ctx, uint64_t unused)
{
    struct host_at *h = ctx;
    on_report(h, 0);
    sim_at(h->w->sim, sim_now(h->w->sim) + 3000, on_repeat, h, 0);
}

/* ---- the leader */

static void on_leader(void *ctx, uint64_t number);

static void leader_dies(struct world *w)
{
    sim_trace(w->sim, "leader %llu dies", (unsigned long long)w->leader);
    schedule_free(w->s);
    w->s = NULL;
    json_decref(w->pending);
    w->pending = NULL;
    w->leader++;
    w->step_soon = false;
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 200, 12000), on_leader, w, w->leader);
}

static void load(struct world *w)
{
    struct err e;
    if (schedule_load(w->s, w->docs, &e) < 0)
        sim_fail(w->sim, "its own documents are not taken: %s", e.message);
    json_decref(w->loaded);
    w->loaded = json_deep_copy(w->versions);
}

static void on_leader(void *ctx, uint64_t number)
{
    struct world *w = ctx;
    if (w->s || number != w->leader)
        return;
    w->s = schedule_new();
    if (w->guard_off >= 0)
        schedule_guard_off(w->s, (enum schedule_guard)w->guard_off);
    w->boot_skew = sim_between(w->sim, 0, 1000000);
    w->due = UINT64_MAX;
    for (size_t i = 0; i < w->n_hosts; i++) {
        json_decref(w->hosts[i].reported);
        w->hosts[i].reported = NULL;
        w->hosts[i].acked = 0;
        w->hosts[i].heard_at = sim_now(w->sim); /* until it knows better */
    }
    load(w);
    /* Reports arrive by their own time; a platform without placements waits for them. */
    sim_at(w->sim, sim_now(w->sim) + 3200, on_step, w, w->leader);
}

static void apply(struct world *w)
{
    json_t *before = json_copy(w->docs);
    const char *key;
    json_t *doc;
    json_object_foreach (w->pending, key, doc) {
        if (json_is_null(doc))
            json_object_del(w->docs, key);
        else
            json_object_set_new(w->docs, key, json_deep_copy(doc));
        json_object_set_new(w->versions, key, json_integer(json_opt_int(w->versions, key, 0) + 1));
        if (str_starts(key, "deploy/") && !json_is_null(doc))
            sim_trace(w->sim, "write %s: %lld %s %s %s", key, (long long)json_opt_int(doc, "id", 0),
                json_opt_str(doc, "state", "?"), json_opt_str(doc, "step", ""),
                json_opt_str(doc, "reason", ""));
        else if (str_starts(key, "placement/")) {
            struct str t = STR_INIT;
            size_t i;
            json_t *in;
            json_array_foreach (json_object_get(doc, "instances"), i, in)
                str_addf(&t, " %s@%s%s%s.%.4s", json_opt_str(in, "name", "?"),
                    json_opt_str(in, "host", "?"),
                    str_eq(json_opt_str(in, "state", NULL), "drain") ? "!" : "",
                    json_opt_bool(in, "standby", false) ? "~"
                    : !json_opt_int(in, "weight", 0)    ? "0"
                                                        : "",
                    json_opt_str(in, "spec", "") + 7);
            sim_trace(w->sim, "write %s %lld:%s", key, (long long)json_opt_int(doc, "seq", 0),
                str_cstr(&t));
            str_done(&t);
        }
    }
    w->last_write = sim_now(w->sim);
    check_write(w, before, w->docs);
    check_truth(w);
    json_decref(before);
    for (size_t i = 0; i < w->n_hosts; i++)
        notice(&w->hosts[i]);
}

/* Somebody else was first: a member that this version does not know, kept by whoever writes next. */
static void foreign_write(struct world *w)
{
    const char *key;
    json_t *doc;
    size_t n = json_object_size(w->docs);
    size_t nth = n ? sim_between(w->sim, 0, n - 1) : 0;
    json_object_foreach (w->docs, key, doc)
        if (nth-- == 0) {
            json_object_set_new(doc, "x-later", json_integer((json_int_t)sim_now(w->sim)));
            json_object_set_new(
                w->versions, key, json_integer(json_opt_int(w->versions, key, 0) + 1));
        }
}

static bool still_as_loaded(const struct world *w)
{
    const char *key;
    json_t *doc;
    json_object_foreach (w->pending, key, doc)
        if (json_opt_int(w->versions, key, 0) != json_opt_int(w->loaded, key, 0))
            return false;
    return true;
}

static void on_written(void *ctx, uint64_t leader)
{
    struct world *w = ctx;
    if (leader != w->leader || !w->pending)
        return;
    bool dies = world_faulty(w) && sim_chance(w->sim, 4);
    if (dies && sim_chance(w->sim, 50)) { /* before the store took it */
        leader_dies(w);
        return;
    }
    if (world_faulty(w) && sim_chance(w->sim, 4))
        foreign_write(w);
    bool won = still_as_loaded(w);
    if (won)
        apply(w);
    if (dies) {
        leader_dies(w);
        return;
    }
    json_decref(w->pending);
    w->pending = NULL;
    if (!won) {
        sim_trace(w->sim, "the write lost a race");
        load(w);
    } else {
        json_decref(w->loaded);
        w->loaded = json_deep_copy(w->versions);
    }
    step_soon(w);
}

static void on_due(void *ctx, uint64_t leader)
{
    struct world *w = ctx;
    if (leader == w->leader && w->s && w->due <= sim_now(w->sim)) {
        w->due = UINT64_MAX;
        step_soon(w);
    }
}

static void remember(struct world *w, const struct schedule_host *seen)
{
    w->view.admitted = w->admitted;
    for (size_t i = 0; i < w->n_hosts; i++) {
        json_decref(w->view.units[i]);
        w->view.units[i] = json_incref((json_t *)seen[i].units);
        w->view.heard[i] = seen[i].heard;
        w->view.drained[i] = seen[i].drained;
    }
}

static void on_step(void *ctx, uint64_t leader)
{
    struct world *w = ctx;
    if (leader != w->leader || !w->s)
        return;
    w->step_soon = false;
    if (w->pending)
        return;
    uint64_t now = sim_now(w->sim);
    struct schedule_host seen[HOSTS_MAX];
    for (size_t i = 0; i < w->n_hosts; i++)
        seen[i] = (struct schedule_host){.name = w->hosts[i].name,
            .heard = now - w->hosts[i].heard_at < SCHEDULE_SILENT_MS,
            .usable = true,
            .drained = w->hosts[i].drained,
            .memory_bytes = 8ull << 30,
            .cpu_milli = 4000,
            .units = w->hosts[i].reported,
            .must_ack = w->hosts[i].must_ack,
            .acked = w->hosts[i].acked};
    _cleanup_json_ json_t *admitted = json_pack("{s:s}", module_names[MODULES - 1], "ap-b");
    struct schedule_input in = {.model = w->model,
        .admitted = w->admitted ? admitted : NULL,
        .files = w->files,
        .revision = w->revision,
        .by = "sim",
        .epoch = (int64_t)w->leader,
        .hosts = seen,
        .n_hosts = w->n_hosts};
    struct schedule_actions acts;
    schedule_step(
        w->s, &in, now + w->boot_skew, 1790000000000 + (int64_t)now + w->wall_skew, &acts);
    remember(w, seen);
    w->due = acts.due_ms == UINT64_MAX ? UINT64_MAX : acts.due_ms - w->boot_skew;
    if (w->due != UINT64_MAX)
        sim_at(w->sim, MAX(w->due, now + 1), on_due, w, w->leader);
    if (acts.write) {
        w->pending = json_deep_copy(acts.write);
        sim_at(w->sim, now + sim_between(w->sim, 5, world_faulty(w) ? 400 : 20), on_written, w,
            w->leader);
    }
    schedule_actions_done(&acts);
}

static void on_tick(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    step_soon(w); /* a silence is noticed by nothing else */
    sim_at(w->sim, sim_now(w->sim) + 3000, on_tick, w, 0);
}

/* ---- faults and operators */

static void on_heal(void *ctx, uint64_t arg)
{
    struct host_at *h = ctx;
    if (!h->up)
        sim_trace(h->w->sim, "%s boots", h->name);
    h->up = true;
    h->cut = h->slow = false;
    notice(h);
}

static void on_fault(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!world_faulty(w))
        return;
    struct host_at *h = &w->hosts[sim_between(w->sim, 0, w->n_hosts - 1)];
    unsigned what = (unsigned)sim_between(w->sim, 0, 9);
    if (what < 3 && !w->calm) {
        sim_trace(w->sim, "%s loses its power", h->name);
        h->up = false;
        for (size_t i = 0; i < UNITS_MAX; i++)
            h->units[i].state = NULL;
        h->edge_seq = h->followed = 0;
    } else if (what < 5 && !w->calm) {
        sim_trace(w->sim, "%s is cut off", h->name);
        h->cut = true;
    } else if (what < 6) {
        h->slow = true;
    } else if (what < 8) {
        h->drained = !h->drained;
        sim_trace(w->sim, "%s is %s", h->name, h->drained ? "drained" : "undrained");
        step_soon(w);
    } else if (what < 9) {
        w->wall_skew += (int64_t)sim_between(w->sim, 0, 7200000) - 3600000;
    } else if (w->s) {
        leader_dies(w);
    }
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 2000, 40000), on_heal, h, 0);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 1000, 25000), on_fault, w, 0);
}

static void on_operator(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!world_faulty(w))
        return;
    size_t module = sim_between(w->sim, 0, MODULES - 1);
    if (sim_chance(w->sim, 75)) {
        new_image(
            w, module, sim_chance(w->sim, 60) ? IMAGE_GOOD : (enum image)sim_between(w->sim, 1, 2));
    } else if (!w->calm) {
        w->counts[module] = (unsigned)sim_between(w->sim, 1, 4);
        sim_trace(w->sim, "operator: %u of %s", w->counts[module], module_names[module]);
        declare(w);
    }
    w->revision++;
    step_soon(w);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 500, 30000), on_operator, w, 0);
}

static void on_admission(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    if (!world_faulty(w))
        return;
    w->admitted = !w->admitted;
    sim_trace(w->sim, "the standby is %s", w->admitted ? "admitted" : "a standby again");
    step_soon(w);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 500, 40000), on_admission, w, 0);
}

static void on_calm(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    sim_trace(w->sim, "calm");
    for (size_t i = 0; i < w->n_hosts; i++) {
        w->hosts[i].drained = false;
        on_heal(&w->hosts[i], 0);
    }
}

/* What failed in the storm, or just after it, is asked for again. */
static void on_ask_again(void *ctx, uint64_t unused)
{
    struct world *w = ctx;
    sim_trace(w->sim, "everything is asked for again");
    w->revision++;
    step_soon(w);
}

static void add_host(struct world *w, const char *name, const char *region)
{
    struct host_at *h = &w->hosts[w->n_hosts++];
    h->w = w;
    h->name = name;
    h->region = region;
    h->up = true;
    h->must_ack = sim_chance(w->sim, 80);
    sim_at(w->sim, sim_between(w->sim, 0, 3000), on_repeat, h, 0);
}

void world_init(struct world *w, uint64_t seed, bool trace, int guard_off)
{
    static const char *const waves[] = {"1", "2", "50%", "100%"};
    w->sim = sim_new(seed, trace);
    w->guard_off = guard_off;
    w->calm = sim_chance(w->sim, 40);
    w->has_serving = sim_chance(w->sim, 30);
    w->docs = json_object();
    w->versions = json_object();
    w->files = json_object();
    w->images = json_object();
    w->revision = 1;
    add_host(w, "a1", "ap-a");
    add_host(w, "a2", "ap-a");
    if (sim_chance(w->sim, 40))
        add_host(w, "a3", "ap-a");
    add_host(w, "b1", "ap-b");
    if (sim_chance(w->sim, 50))
        add_host(w, "b2", "ap-b");
    if (w->has_serving)
        add_host(w, "c1", "ap-c");
    for (size_t i = 0; i < MODULES; i++) {
        w->counts[i] = (unsigned)sim_between(w->sim, 1, 3);
        w->waves[i] = waves[sim_between(w->sim, 0, 3)];
        new_image(w, i, IMAGE_GOOD);
    }
    declare(w);
    on_leader(w, 0);
    sim_at(w->sim, 500, on_tick, w, 0);
    sim_at(w->sim, 20000 + sim_between(w->sim, 0, 20000), on_operator, w, 0);
    sim_at(w->sim, sim_between(w->sim, 5000, 60000), on_admission, w, 0);
    sim_at(w->sim, 20000 + sim_between(w->sim, 0, 20000), on_fault, w, 0);
    sim_at(w->sim, FAULTS_MS, on_calm, w, 0);
    sim_at(w->sim, FAULTS_MS + 70000, on_ask_again, w, 0);
}

void world_done(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++) {
        json_decref(w->hosts[i].reported);
        json_decref(w->view.units[i]);
    }
    schedule_free(w->s);
    model_free(w->model);
    json_decref(w->files);
    json_decref(w->images);
    json_decref(w->docs);
    json_decref(w->versions);
    json_decref(w->loaded);
    json_decref(w->pending);
    sim_free(w->sim);
}
