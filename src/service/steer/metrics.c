/* SPDX-License-Identifier: Apache-2.0 */
#include "service/steer/priv.h"

enum { VIEWS, HEALTH_CHANGES, SWITCHES, ALARMS };

static const struct metric_def defs[] = {
    [VIEWS] = {"mcp_steer_views_received_total", "Views of other hosts that were received.",
        METRIC_COUNTER},
    [HEALTH_CHANGES] = {"mcp_steer_health_changes_total",
        "Conclusions about a target that changed.", METRIC_COUNTER},
    [SWITCHES] = {"mcp_steer_switches_total", "Changes of answers.", METRIC_COUNTER},
    [ALARMS] = {"mcp_steer_alarms_total", "Names frozen or without any region.", METRIC_COUNTER},
};

enum { OK, FAILED, CLASS, SECONDS };

static const struct metric_def target_defs[] = {
    [OK] = {"mcp_probes_total", "Probes of this host.", METRIC_COUNTER, .labels = "result=\"ok\""},
    [FAILED] = {"mcp_probes_total", "Probes of this host.", METRIC_COUNTER,
        .labels = "result=\"failed\""},
    [CLASS] = {"mcp_probe_ok", "Whether the last probe of this host succeeded.", METRIC_GAUGE},
    [SECONDS] = {"mcp_probe_seconds", "Duration of probes that succeeded.", METRIC_HISTOGRAM,
        .lo = 1024, .hi = 1u << 23},
};

void steer_metrics_new(struct steer_service *s)
{
    s->metrics = metrics_set_new(metrics_process(), defs, ARRAY_SIZE(defs), NULL, 0);
}

static void free_targets(struct steer_service *s)
{
    for (size_t i = 0; i < s->n_targets; i++)
        metrics_set_free(s->targets[i]);
    free(s->targets);
    s->targets = NULL;
    s->n_targets = 0;
}

void steer_metrics_plan(struct steer_service *s)
{
    free_targets(s);
    const struct steer_plan *p = steer_plan_of(s->steer);
    if (!p)
        return;
    s->n_targets = p->space.n_regions * p->space.n_names;
    s->targets = xcalloc(s->n_targets + 1, sizeof(struct metric_set *));
    for (size_t n = 0; n < p->space.n_names; n++)
        for (size_t r = 0; r < p->space.n_regions; r++) {
            if (!(p->serves[n] >> r & 1))
                continue;
            const struct metric_label labels[] = {
                {"region", p->space.regions[r]}, {"name", p->space.names[n]}};
            s->targets[HEALTH_TARGET(&p->space, r, n)] =
                metrics_set_new(metrics_process(), target_defs, ARRAY_SIZE(target_defs), labels, 2);
        }
}

void steer_metrics_probe(struct steer_service *s, size_t target, const struct probe_result *r)
{
    struct metric_set *m = target < s->n_targets ? s->targets[target] : NULL;
    if (!m)
        return;
    bool ok = r->class >= PROBE_DEGRADED;
    metric_add(m, ok ? OK : FAILED, 1);
    metric_set_value(m, CLASS, ok);
    if (ok)
        metric_observe(m, SECONDS, r->ms * 1000ull);
}

void steer_metrics_view(struct steer_service *s)
{
    metric_add(s->metrics, VIEWS, 1);
}

void steer_metrics_entry(struct steer_service *s, const struct timeline_draft *d)
{
    if (!strcmp(d->kind, "health"))
        metric_add(s->metrics, HEALTH_CHANGES, 1);
    else if (!strcmp(d->kind, "steering"))
        metric_add(s->metrics, SWITCHES, 1);
    else
        metric_add(s->metrics, ALARMS, 1);
}

void steer_metrics_done(struct steer_service *s)
{
    free_targets(s);
    metrics_set_free(s->metrics);
}
