/* SPDX-License-Identifier: Apache-2.0 */
#include "service/steer/steer.h"

#include "service/steer/priv.h"

#include "base/clock/clock.h"
#include "base/rnd/rnd.h"

#define HTTPS_PORT 443

struct asked {
    struct steer_service *owner;
    struct asked *next, *prev;
    struct steer_probe probe;
};

static void step(struct steer_service *s, struct steer_event *ev);

static void probe_own(
    void *ctx, const struct probe_request *req, probe_done_fn done, void *done_ctx)
{
    prober_start(ctx, req, done, done_ctx);
}

static void reach_own(
    void *ctx, const char *endpoint, unsigned timeout_ms, probe_reach_fn done, void *done_ctx)
{
    prober_reach(ctx, endpoint, timeout_ms, done, done_ctx);
}

static const struct steer_prober net_prober = {probe_own, reach_own};

static enum health_class health_class_of(enum probe_class c)
{
    static const enum health_class map[] = {[PROBE_TIMEOUT] = HEALTH_TIMEOUT,
        [PROBE_REFUSED] = HEALTH_REFUSED,
        [PROBE_UNREACHABLE] = HEALTH_UNREACHABLE,
        [PROBE_TLS] = HEALTH_TLS,
        [PROBE_PROTOCOL] = HEALTH_PROTOCOL,
        [PROBE_APP] = HEALTH_APP,
        [PROBE_DEGRADED] = HEALTH_DEGRADED,
        [PROBE_OK] = HEALTH_OK};
    return map[c];
}

static void drop_asked(struct asked *a)
{
    if (a->prev)
        a->prev->next = a->next;
    else
        a->owner->asked = a->next;
    if (a->next)
        a->next->prev = a->prev;
    free(a);
}

static void on_probed(void *ctx, const struct probe_result *r)
{
    struct asked *a = ctx;
    struct steer_service *s = a->owner;
    const struct steer_plan *p = steer_plan_of(s->steer);
    struct steer_event ev = {.kind = STEER_PROBE,
        .probe = {.region = a->probe.region,
            .name = a->probe.name,
            .plan_seq = a->probe.plan_seq,
            .result = health_class_of(r->class)}};
    if (a->probe.plan_seq == steer_plan_seq(s->steer))
        steer_metrics_probe(s, HEALTH_TARGET(&p->space, ev.probe.region, ev.probe.name), r);
    drop_asked(a);
    step(s, &ev);
}

static void start_probe(struct steer_service *s, const struct steer_probe *probe)
{
    const struct steer_plan *p = steer_plan_of(s->steer);
    const struct model_region *region = &s->model->regions[probe->region];
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){.owner = s, .next = s->asked, .probe = *probe};
    if (s->asked)
        s->asked->prev = a;
    s->asked = a;
    const struct probe_request req = {.name = p->space.names[probe->name],
        .region = region->name,
        .addresses = region->addresses.v,
        .n_addresses = region->addresses.n,
        .port = s->o.port,
        .timeout_ms = (unsigned)p->params.timeout_ms,
        .fresh = probe->after_failure};
    s->prober.start(s->prober_ctx, &req, on_probed, a);
}

static void on_reached(void *ctx, bool reached)
{
    struct steer_event ev = {.kind = STEER_REFERENCE, .reference = reached};
    step(ctx, &ev);
}

/* One a round, in turn: all of them have to be unreachable for one's own network to count as bad.
 */
static void start_reference(struct steer_service *s)
{
    const struct model_health *h = &s->model->routing.health;
    if (h->n_references == 0)
        return;
    const char *endpoint = h->references[s->reference++ % h->n_references];
    s->prober.reach(s->prober_ctx, endpoint, (unsigned)h->timeout_ms, on_reached, s);
}

static void on_timer(uv_timer_t *t)
{
    struct steer_event ev = {.kind = STEER_TICK};
    step(t->data, &ev);
}

static void publish(struct steer_service *s)
{
    s->health_seq++;
    _cleanup_json_ json_t *j = steer_service_health(s);
    s->o.handler->health(s->o.ctx, j);
}

static void send_view(struct steer_service *s)
{
    _cleanup_json_ json_t *j =
        health_view_format(steer_view(s->steer), &steer_plan_of(s->steer)->space);
    s->o.handler->view(s->o.ctx, j);
}

/* Carries out what a step wants. Handlers may not call back into the service. */
static void act(struct steer_service *s)
{
    struct steer_actions *a = &s->actions;
    for (size_t i = 0; i < a->n_entries; i++) {
        steer_metrics_entry(s, &a->entries[i]);
        s->o.handler->entry(s->o.ctx, &a->entries[i]);
    }
    if (a->publish)
        publish(s);
    if (a->send_view)
        send_view(s);
    if (a->save)
        steer_journal_file_save(s->journal, steer_journal_format(s->steer));
    for (size_t i = 0; i < a->n_probes; i++)
        start_probe(s, &a->probes[i]);
    if (a->probe_references)
        start_reference(s);
    uint64_t now = clock_boot_ms();
    uv_timer_start(&s->timer, on_timer, a->wake_ms > now ? a->wake_ms - now : 0, 0);
}

static void step(struct steer_service *s, struct steer_event *ev)
{
    ASSERT(!s->stepping);
    s->stepping = true;
    ev->wall_ms = clock_wall_ms();
    steer_actions_clear(&s->actions);
    steer_step(s->steer, ev, clock_boot_ms(), &s->actions);
    act(s);
    s->stepping = false;
}

static int start_prober(struct steer_service *s, struct err *e)
{
    if (s->o.prober) {
        s->prober = *s->o.prober;
        s->prober_ctx = s->o.prober_ctx;
        return 0;
    }
    int r = prober_new(s->o.loop, s->o.ca_file, &s->own_prober, e);
    s->prober = net_prober;
    s->prober_ctx = s->own_prober;
    return r;
}

static void report_bad_journal(struct steer_service *s, const struct err *e)
{
    struct timeline_draft d;
    timeline_draft_set(&d, "alarm", s->host,
        "the steering journal cannot be read: starting without it", e->message);
    s->o.handler->entry(s->o.ctx, &d);
}

int steer_service_new(
    const struct steer_service_options *o, struct steer_service **ret, struct err *e)
{
    struct steer_service *s = xcalloc(1, sizeof *s);
    s->o = *o;
    s->o.port = o->port ? o->port : HTTPS_PORT;
    str_copy(s->host, sizeof s->host, o->host);
    str_copy(s->region, sizeof s->region, o->region);
    int r = start_prober(s, e);
    if (r < 0) {
        free(s);
        return err_wrap(e, "steering");
    }
    _cleanup_json_ json_t *journal = NULL;
    struct err bad = {0};
    if (steer_journal_file_read(o->journal, &journal, &bad) < 0)
        report_bad_journal(s, &bad);
    struct steer_options so = {.host = s->host, .region = s->region};
    rnd_bytes(&so.seed, sizeof so.seed);
    s->steer = steer_new(&so, journal);
    s->journal = steer_journal_file_new(o->loop, o->journal);
    uv_timer_init(o->loop, &s->timer);
    s->timer.data = s;
    steer_metrics_new(s);
    *ret = s;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

void steer_service_free(struct steer_service *s)
{
    if (!s)
        return;
    prober_free(s->own_prober);
    while (s->asked)
        drop_asked(s->asked);
    steer_journal_file_free(s->journal);
    steer_free(s->steer);
    steer_actions_done(&s->actions);
    steer_metrics_done(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

int steer_service_set_model(
    struct steer_service *s, const struct model *m, uint64_t revision, struct err *e)
{
    struct steer_plan *plan;
    int r = steer_plan_new(m, revision, &plan, e);
    if (r < 0)
        return err_wrap(e, "steering of revision %llu", (unsigned long long)revision);
    struct steer_event ev = {.kind = STEER_CONFIG, .plan = plan};
    if (!model_find_region(m, s->region)) {
        steer_plan_free(plan);
        return err_set(e, ERR_NOT_FOUND, "region %s is not part of revision %llu", s->region,
            (unsigned long long)revision);
    }
    s->model = m;
    step(s, &ev);
    steer_metrics_plan(s);
    return 0;
}

int steer_service_view(
    struct steer_service *s, const char *from_host, const json_t *view, struct err *e)
{
    if (!s->model)
        return 0; /* too early: the next one comes in a moment */
    const struct model_host *host = model_find_host(s->model, from_host);
    struct health_view v;
    int r = health_view_parse(view, &steer_plan_of(s->steer)->space, &v, e);
    if (r < 0)
        return err_wrap(e, "from %s", from_host);
    if (!host || strcmp(v.host, from_host) != 0 || v.region != host->region->index) {
        health_view_done(&v);
        return err_set(e, ERR_DENIED, "%s may not speak as %s", from_host, v.host);
    }
    steer_metrics_view(s);
    struct steer_event ev = {.kind = STEER_VIEW, .view = &v};
    step(s, &ev);
    return 0;
}

void steer_service_away(struct steer_service *s, const json_t *doc)
{
    struct steer_event ev = {.kind = STEER_AWAY, .away = doc};
    step(s, &ev);
}

const struct steer_plan *steer_service_plan(const struct steer_service *s)
{
    return steer_plan_of(s->steer);
}

json_t *steer_service_health(const struct steer_service *s)
{
    return steer_plan_of(s->steer) ? steer_choices_format(s->steer, s->health_seq) : NULL;
}

const char *steer_service_region_state(const struct steer_service *s, const char *region)
{
    const struct model_region *r = s->model ? model_find_region(s->model, region) : NULL;
    if (!r)
        return "unknown";
    const struct steer_plan *p = steer_plan_of(s->steer);
    size_t up = 0, down = 0;
    for (size_t n = 0; n < p->space.n_names; n++) {
        struct steer_region_state st;
        if (!(p->serves[n] >> r->index & 1))
            continue;
        steer_region_state(s->steer, n, r->index, &st);
        *(st.state == HEALTH_DOWN ? &down : &up) += 1;
    }
    return !up && !down ? "unknown" : !down ? "up" : up ? "degraded" : "down";
}

void steer_service_each_name(const struct steer_service *s, steer_service_name_fn fn, void *ctx)
{
    const struct steer_plan *p = steer_plan_of(s->steer);
    for (size_t n = 0; p && n < p->space.n_names; n++)
        for (size_t r = 0; r < p->space.n_regions; r++) {
            struct steer_region_state st;
            if (!(p->serves[n] >> r & 1))
                continue;
            steer_region_state(s->steer, n, r, &st);
            fn(ctx, p->space.names[n], r, &st);
        }
}
