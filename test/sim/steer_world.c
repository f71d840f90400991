/* SPDX-License-Identifier: Apache-2.0 */
#include "steer_world.h"

#include <inttypes.h>
#include <string.h>

static const char *const region_names[REGIONS_MAX] = {
    "ap-hongkong", "ap-seoul", "ap-shanghai", "ap-bangkok", "ap-tokyo"};
static const char *const world_names[NAMES_MAX] = {"b.example", "c.example", "d.example"};

static const struct model_region *const *regions_from(struct world *w, size_t first, size_t n)
{
    const struct model_region **v = arena_alloc(w->arena, n * sizeof(struct model_region *));
    for (size_t i = 0; i < n; i++)
        v[i] = &w->model.regions[(first + i) % w->n_regions];
    return v;
}

/* Lists that start at different regions; one module everywhere behind all names. */
static void make_model(struct world *w)
{
    struct model *m = &w->model;
    m->domain = "example";
    struct model_instances *in = arena_alloc(w->arena, w->n_regions * sizeof *in);
    struct model_country *countries = arena_alloc(w->arena, 2 * sizeof *countries);
    struct model_module *modules = arena_alloc(w->arena, 2 * sizeof *modules);
    struct model_route *routes = arena_alloc(w->arena, 2 * sizeof *routes);
    struct ip_addr *address = arena_alloc(w->arena, sizeof *address);
    static const char *const extra[] = {"a.example"};
    m->regions = arena_alloc(w->arena, w->n_regions * sizeof *m->regions);
    m->n_regions = w->n_regions;
    ASSERT(ip_parse("192.0.2.1", address));
    for (size_t i = 0; i < w->n_regions; i++) {
        m->regions[i] =
            (struct model_region){.name = region_names[i], .index = i, .addresses = {address, 1}};
        in[i] = (struct model_instances){.region = &m->regions[i], .active = 1};
    }
    routes[0] = (struct model_route){.names = world_names, .n_names = w->n_names, .path = "/"};
    routes[1] = (struct model_route){.names = extra, .n_names = 1, .path = "/"};
    modules[0] = modules[1] =
        (struct model_module){.instances = in, .n_instances = w->n_regions, .n_routes = 1};
    modules[0].routes = &routes[0];
    modules[1].routes = &routes[1];
    m->modules = modules;
    countries[0] = (struct model_country){"JP", {regions_from(w, 1, w->n_regions), w->n_regions}};
    countries[1] = (struct model_country){"KR", {regions_from(w, w->n_regions - 1, 2), 2}};
    m->routing = (struct model_routing){.ttl_ms = 60000,
        .countries = countries,
        .n_countries = 2,
        .health = {w->told.interval_ms, w->told.timeout_ms, w->told.down, w->told.up, NULL,
            w->references},
        .fallback = {regions_from(w, 0, 2), 2}};
}

static struct steer_plan *make_plan(struct world *w)
{
    struct steer_plan *p;
    struct err e = {0};
    w->model.n_modules = w->extra_name ? 2 : 1;
    ASSERT(steer_plan_new(&w->model, w->revision, &p, &e) >= 0);
    return p;
}

void world_init(struct world *w, struct sim *sim, size_t n_regions, size_t n_names, bool references,
    bool hysteresis)
{
    *w = (struct world){.sim = sim,
        .arena = arena_new(0),
        .n_regions = n_regions,
        .n_names = n_names,
        .right = {5000, 2000, 2, 3},
        .references = references,
        .revision = 1};
    w->told = w->right;
    if (!hysteresis)
        w->told.down = w->told.up = 1;
    make_model(w);
    w->n_hosts = n_regions + (n_regions < REGIONS_MAX && sim_chance(sim, 30));
    for (size_t a = 0; a < n_regions; a++)
        for (size_t b = 0; b < n_regions; b++)
            w->net.links[a][b] =
                (struct sim_link){.delay_ms = a == b ? 1 : sim_between(sim, 5, 60)};
    for (size_t i = 0; i < w->n_hosts; i++) {
        struct sim_host *h = &w->hosts[i];
        *h = (struct sim_host){.w = w,
            .index = i,
            .region = i % n_regions,
            .boot_offset = sim_between(sim, 1, 1u << 30),
            .wall_offset = (int64_t)sim_between(sim, 0, 1u << 30)};
        snprintf(h->name, sizeof h->name, "host%zu", i);
    }
}

static void drop_message(struct message *m);

void world_done(struct world *w)
{
    while (w->messages)
        drop_message(w->messages);
    for (size_t i = 0; i < w->n_hosts; i++) {
        steer_free(w->hosts[i].steer);
        steer_actions_done(&w->hosts[i].actions);
        json_decref(w->hosts[i].disk);
    }
    arena_free(w->arena);
}

void world_changed(struct world *w)
{
    w->changed_ms = sim_now(w->sim);
}

static bool frozen(const struct sim_host *h)
{
    return sim_now(h->w->sim) < h->thaw_ms;
}

static void step(struct sim_host *h, struct steer_event *ev, const struct probed *probed);

/* --- what a step wants done --- */

#define ARG(life, plan, region, name, class)                                                       \
    ((life) << 40 | (uint64_t)(plan) << 24 | (uint64_t)(region) << 16 | (uint64_t)(name) << 8      \
        | (uint64_t)(class))

static void on_probe_result(void *ctx, uint64_t arg)
{
    struct sim_host *h = ctx;
    if (!h->steer || h->life != arg >> 40)
        return;
    if (frozen(h)) {
        sim_at(h->w->sim, h->thaw_ms, on_probe_result, ctx, arg);
        return;
    }
    struct steer_event ev = {.kind = STEER_PROBE,
        .probe = {.region = arg >> 16 & 0xff,
            .name = arg >> 8 & 0xff,
            .plan_seq = arg >> 24 & 0xffff,
            .result = (enum health_class)(arg & 0xff)}};
    struct probed probed = {ev.probe.region, SIZE_MAX, health_class_is_ok(ev.probe.result)};
    if (ev.probe.plan_seq == steer_plan_seq(h->steer))
        for (size_t n = 0; n < h->w->n_names; n++)
            if (world_plan_name(h, n) == ev.probe.name)
                probed.name = n;
    step(h, &ev, probed.name == SIZE_MAX ? NULL : &probed);
}

/* The truth, as one probe meets it. */
static enum health_class probe_truth(
    struct sim_host *h, size_t region, size_t name, uint64_t *ret_ms)
{
    struct world *w = h->w;
    uint64_t there, back;
    bool arrives = sim_net_send(w->sim, &w->net, h->region, region, &there);
    bool returns = sim_net_send(w->sim, &w->net, region, h->region, &back);
    *ret_ms = w->right.timeout_ms;
    if (h->lose_probes && region != h->region) {
        h->lose_probes--;
        return HEALTH_TIMEOUT;
    }
    if (!arrives || !returns || 3 * (there + back) > w->right.timeout_ms)
        return HEALTH_TIMEOUT;
    if (w->region_dead[region] || w->edge_down[region])
        return HEALTH_TIMEOUT;
    *ret_ms = 3 * (there + back) + 1;
    if (w->edge_refuses[region])
        return HEALTH_REFUSED;
    return name != SIZE_MAX && w->app_bad[name][region] ? HEALTH_APP : HEALTH_OK;
}

static void do_probe(struct sim_host *h, const struct steer_probe *p)
{
    size_t name = SIZE_MAX;
    for (size_t n = 0; n < h->w->n_names; n++)
        if (world_plan_name(h, n) == p->name)
            name = n;
    uint64_t ms;
    enum health_class c = probe_truth(h, p->region, name, &ms);
    sim_at(h->w->sim, sim_now(h->w->sim) + ms, on_probe_result, h,
        ARG(h->life, p->plan_seq, p->region, p->name, c));
}

struct message {
    struct world *w;
    struct message *next, **at; /* of all in flight */
    struct health_view view;
    size_t to;
    json_t *json;
};

static void take_message(struct message *m)
{
    *m->at = m->next;
    if (m->next)
        m->next->at = m->at;
}

static void drop_message(struct message *m)
{
    take_message(m);
    health_view_done(&m->view);
    json_decref(m->json);
    free(m);
}

static void on_message(void *ctx, uint64_t arg)
{
    struct message *m = ctx;
    struct sim_host *h = &m->w->hosts[m->to];
    if (h->steer && frozen(h)) {
        sim_at(m->w->sim, h->thaw_ms, on_message, ctx, arg);
        return;
    }
    take_message(m);
    /* Indexes are of the sender's plan; JSON speaks by name, like the real thing. */
    bool taken = h->steer && steer_plan_of(h->steer);
    if (taken && m->json) {
        ASSERT(health_view_parse(m->json, &steer_plan_of(h->steer)->space, &m->view, NULL) >= 0);
    }
    taken = taken && (m->json || steer_plan_of(h->steer)->space.n_names == (size_t)arg);
    if (taken) {
        struct steer_event ev = {.kind = STEER_VIEW, .view = &m->view};
        step(h, &ev, NULL);
    } else {
        health_view_done(&m->view);
    }
    json_decref(m->json);
    free(m);
}

static void do_send_view(struct sim_host *h)
{
    struct world *w = h->w;
    const struct health_view *v = steer_view(h->steer);
    const struct health_space *sp = &steer_plan_of(h->steer)->space;
    for (size_t i = 0; i < w->n_hosts; i++) {
        uint64_t delay, size = sp->n_names * sp->n_regions * sizeof *v->targets;
        if (i == h->index || sim_net_cut(&w->net, h->region, w->hosts[i].region))
            continue;
        sim_net_send(
            w->sim, &w->net, h->region, w->hosts[i].region, &delay); /* a stream: late, not lost */
        struct message *m = xcalloc(1, sizeof *m);
        *m = (struct message){.w = w, .to = i, .next = w->messages, .at = &w->messages};
        if (m->next)
            m->next->at = &m->next;
        w->messages = m;
        if (w->json) {
            m->json = health_view_format(v, sp);
        } else {
            m->view = *v;
            m->view.targets = xmalloc(size);
            memcpy(m->view.targets, v->targets, size);
        }
        sim_at(w->sim, sim_now(w->sim) + delay, on_message, m, sp->n_names);
    }
}

static void do_save(struct sim_host *h)
{
    json_decref(h->disk);
    h->disk = steer_journal_format(h->steer);
    h->has_disk_choices = true;
    for (size_t n = 0; n < h->w->n_names; n++)
        for (size_t l = 0; l < world_lists(h); l++)
            h->disk_choices[n][l] = steer_choice(h->steer, world_plan_name(h, n), l);
}

static void on_wake(void *ctx, uint64_t arg)
{
    struct sim_host *h = ctx;
    if (!h->steer || arg != h->wake_generation)
        return;
    if (frozen(h)) {
        sim_at(h->w->sim, h->thaw_ms, on_wake, ctx, arg);
        return;
    }
    struct steer_event ev = {.kind = STEER_TICK};
    step(h, &ev, NULL);
}

static void on_reference(void *ctx, uint64_t arg)
{
    struct sim_host *h = ctx;
    struct steer_event ev = {.kind = STEER_REFERENCE, .reference = arg & 1};
    if (h->steer && h->life == arg >> 1 && !frozen(h))
        step(h, &ev, NULL);
}

static void step(struct sim_host *h, struct steer_event *ev, const struct probed *probed)
{
    struct sim *sim = h->w->sim;
    struct steer_actions *a = &h->actions;
    uint64_t now = sim_now(sim) + h->boot_offset;
    ev->wall_ms = (int64_t)sim_now(sim) + h->wall_offset;
    steer_actions_clear(a);
    steer_step(h->steer, ev, now, a);
    for (size_t i = 0; i < a->n_entries; i++)
        sim_trace(sim, "%s %s %s: %s (%s)", h->name, a->entries[i].kind, a->entries[i].subject,
            a->entries[i].message, a->entries[i].cause);
    for (size_t i = 0; i < a->n_probes; i++)
        do_probe(h, &a->probes[i]);
    if (a->probe_references)
        sim_at(sim, sim_now(sim) + 20, on_reference, h,
            h->life << 1 | !h->w->reference_lost[h->region]);
    if (a->send_view)
        do_send_view(h);
    if (a->save)
        do_save(h);
    if (a->wake_ms <= now)
        sim_fail(sim, "%s wants to be woken in the past", h->name);
    sim_at(sim, a->wake_ms - h->boot_offset, on_wake, h, ++h->wake_generation);
    if (ev->kind != STEER_CONFIG)
        oracle_step(h->w, h, probed);
}

/* --- lives --- */

static void configure(struct sim_host *h)
{
    struct steer_event ev = {.kind = STEER_CONFIG, .plan = make_plan(h->w)};
    for (size_t n = 0; n < h->w->n_names; n++)
        ASSERT(steer_plan_find_name(ev.plan, world_names[n], &h->plan_names[n]));
    step(h, &ev, NULL);
}

void world_configure(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].steer) {
            configure(&w->hosts[i]);
            oracle_step(w, &w->hosts[i], NULL);
        }
}

void world_start(struct world *w, size_t host)
{
    struct sim_host *h = &w->hosts[host];
    if (h->steer || w->control_dead[host] || w->region_dead[h->region])
        return;
    struct steer_options o = {
        .host = h->name, .region = region_names[h->region], .seed = rnd_u64(sim_rnd(w->sim))};
    if (sim_chance(w->sim, 30)) /* the machine was rebooted: its boot clock starts again */
        h->boot_offset = sim_between(w->sim, 1, 100000);
    if (h->torn) {
        json_decref(h->disk);
        h->disk = NULL;
    }
    h->life++;
    h->thaw_ms = 0;
    h->steer = steer_new(&o, h->disk);
    sim_trace(w->sim, "%s starts%s", h->name, h->disk ? "" : " without a journal");
    bool from_journal = h->disk != NULL;
    configure(h);
    oracle_restarted(w, h, from_journal);
    h->torn = false;
}

void world_crash(struct world *w, size_t host)
{
    struct sim_host *h = &w->hosts[host];
    if (h->steer)
        sim_trace(w->sim, "%s dies", h->name);
    steer_free(h->steer);
    h->steer = NULL;
}

void world_kill(struct world *w, size_t region)
{
    w->region_dead[region]++;
    world_changed(w);
    sim_trace(w->sim, "%s is killed", region_names[region]);
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].region == region)
            world_crash(w, i);
}

void world_heal(struct world *w, size_t region)
{
    w->region_dead[region]--;
    world_changed(w);
    sim_trace(w->sim, "%s is healed", region_names[region]);
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].region == region)
            world_start(w, i);
}

void world_set_cut(struct world *w, size_t from, size_t to, bool cut)
{
    w->cut[from][to] += cut ? 1u : -1u;
    w->net.links[from][to].cut = w->cut[from][to] > 0;
    world_changed(w);
    sim_trace(w->sim, "%s -> %s is %s", region_names[from], region_names[to],
        w->net.links[from][to].cut ? "cut" : "mended");
}
