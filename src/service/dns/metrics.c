/* SPDX-License-Identifier: Apache-2.0 */
/* Figures that are read when somebody asks: what is served, and answers by region. Threads count
 * regions by index; here the indices become names. */
#include "service/dns/priv.h"

enum { REVISION, NAMES, GEO_NODES, BYTES, N_GAUGES };

static const struct metric_def gauge_defs[N_GAUGES] = {
    [REVISION] = {"mcp_dns_zone_revision", "Revision of the zone that is served.", METRIC_GAUGE},
    [NAMES] = {"mcp_dns_steered_names", "Names answered by region.", METRIC_GAUGE},
    [GEO_NODES] = {"mcp_dns_geo_nodes", "Nodes of the merged tree of prefixes.", METRIC_GAUGE},
    [BYTES] = {"mcp_dns_data_bytes", "Memory of zone and tree.", METRIC_GAUGE},
};

static const struct metric_def region_def = {
    "mcp_dns_region_answers_total", "Answers by the region they name.", METRIC_COUNTER};

struct region_count { /* one a region name that was ever served */
    char *name;
    struct metric_set *set;
};

static struct region_count *count_of(struct dns_service *s, const char *name)
{
    for (size_t i = 0; i < s->n_region_counts; i++)
        if (str_eq(s->region_counts[i].name, name))
            return &s->region_counts[i];
    struct metric_label label = {"region", name};
    s->region_counts =
        xrealloc(s->region_counts, (s->n_region_counts + 1) * sizeof *s->region_counts);
    struct region_count *c = &s->region_counts[s->n_region_counts++];
    c->name = xstrdup(name);
    c->set = metrics_set_new(metrics_process(), &region_def, 1, &label, 1);
    return c;
}

void dns_metrics_fold(struct dns_service *s)
{
    const struct zone *z = s->state->zone;
    for (size_t region = 0; z && region < zone_n_regions(z); region++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < s->n_answerers; i++) {
            struct answerer *a = s->answerers[i];
            uint64_t now = metric_cell_get(&a->ctx.regions[region]);
            sum += now - a->folded[region];
            a->folded[region] = now;
        }
        metric_add(count_of(s, zone_region(z, region))->set, 0, sum);
    }
}

void dns_service_metrics(struct dns_service *s, struct str *out)
{
    pthread_mutex_lock(&s->lock);
    dns_metrics_fold(s);
    const struct dns_state *state = s->state;
    size_t bytes = state->zone ? zone_bytes(state->zone) : 0;
    bytes += state->geo ? geo_bytes(state->geo) : 0;
    metric_set_value(s->gauges, REVISION, state->zone ? (double)zone_revision(state->zone) : 0);
    metric_set_value(s->gauges, NAMES, state->zone ? (double)zone_n_names(state->zone) : 0);
    metric_set_value(s->gauges, GEO_NODES, state->geo ? (double)geo_nodes(state->geo) : 0);
    metric_set_value(s->gauges, BYTES, (double)bytes);
    pthread_mutex_unlock(&s->lock);
    metrics_format(metrics_process(), out);
}

void dns_metrics_init(struct dns_service *s)
{
    s->gauges = metrics_set_new(metrics_process(), gauge_defs, N_GAUGES, NULL, 0);
}

void dns_metrics_done(struct dns_service *s)
{
    for (size_t i = 0; i < s->n_region_counts; i++) {
        metrics_set_free(s->region_counts[i].set);
        free(s->region_counts[i].name);
    }
    free(s->region_counts);
    metrics_set_free(s->gauges);
}
