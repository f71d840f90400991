/* SPDX-License-Identifier: Apache-2.0 */
#include "service/edge/cached.h"

enum { CODE_0, CODE_1XX, CODE_2XX, CODE_3XX, CODE_4XX, CODE_5XX, SECONDS, BYTES, FAILED_FIRST };

#define REQUESTS                                                                                   \
    "mcp_edge_requests_total", "Requests ended, by name and class of status; none: no answer."
#define FAILED "mcp_edge_failures_total", "Requests that did not end well, by name and why."
static const struct metric_def name_defs[] = {
    [CODE_0] = {REQUESTS, METRIC_COUNTER, "code=\"none\""},
    [CODE_1XX] = {REQUESTS, METRIC_COUNTER, "code=\"1xx\""},
    [CODE_2XX] = {REQUESTS, METRIC_COUNTER, "code=\"2xx\""},
    [CODE_3XX] = {REQUESTS, METRIC_COUNTER, "code=\"3xx\""},
    [CODE_4XX] = {REQUESTS, METRIC_COUNTER, "code=\"4xx\""},
    [CODE_5XX] = {REQUESTS, METRIC_COUNTER, "code=\"5xx\""},
    [SECONDS] = {"mcp_edge_request_seconds",
        "Time from a request's head to the last byte of its answer, by name.", METRIC_HISTOGRAM},
    [BYTES] = {"mcp_edge_answer_bytes_total", "Content of answers, by name.", METRIC_COUNTER},
    [FAILED_FIRST + HTTP_END_REFUSED] = {FAILED, METRIC_COUNTER, "why=\"refused\""},
    [FAILED_FIRST + HTTP_END_CLIENT_GONE] = {FAILED, METRIC_COUNTER, "why=\"client_gone\""},
    [FAILED_FIRST + HTTP_END_CLIENT_SLOW] = {FAILED, METRIC_COUNTER, "why=\"client_slow\""},
    [FAILED_FIRST + HTTP_END_NO_INSTANCE] = {FAILED, METRIC_COUNTER, "why=\"no_instance\""},
    [FAILED_FIRST + HTTP_END_UPSTREAM_LOST] = {FAILED, METRIC_COUNTER, "why=\"upstream_lost\""},
    [FAILED_FIRST + HTTP_END_UPSTREAM_BAD] = {FAILED, METRIC_COUNTER, "why=\"upstream_bad\""},
    [FAILED_FIRST + HTTP_END_UPSTREAM_SLOW] = {FAILED, METRIC_COUNTER, "why=\"upstream_slow\""},
    [FAILED_FIRST + HTTP_END_TRUNCATED] = {FAILED, METRIC_COUNTER, "why=\"truncated\""},
    [FAILED_FIRST + HTTP_END_STOPPED] = {FAILED, METRIC_COUNTER, "why=\"stopped\""},
    [FAILED_FIRST + HTTP_END_OK] = {FAILED, METRIC_COUNTER, "why=\"none\""},
};

enum { MODULE_REQUESTS, MODULE_ERRORS };
static const struct metric_def module_defs[] = {
    [MODULE_REQUESTS] = {"mcp_edge_route_requests_total",
        "Requests that a route led to its module, by module.", METRIC_COUNTER},
    [MODULE_ERRORS] = {"mcp_edge_route_errors_total",
        "Those of them answered with 5xx, or not answered for a reason that is not the client's.",
        METRIC_COUNTER},
};

#define CACHED                                                                                     \
    "mcp_edge_cache_requests_total", "Requests that came to the cache, by what became of them."
static const struct metric_def cache_defs[] = {
    [EDGE_CACHE_HIT] = {CACHED, METRIC_COUNTER, "result=\"hit\""},
    [EDGE_CACHE_MISS] = {CACHED, METRIC_COUNTER, "result=\"miss\""},
    [EDGE_CACHE_REVALIDATED] = {CACHED, METRIC_COUNTER, "result=\"revalidated\""},
    [EDGE_CACHE_STALE] = {CACHED, METRIC_COUNTER, "result=\"stale\""},
    [EDGE_CACHE_BYPASS] = {CACHED, METRIC_COUNTER, "result=\"bypass\""},
    [EDGE_CACHE_STORED] = {"mcp_edge_cache_stores_total", "Answers that the cache began to store.",
        METRIC_COUNTER},
};

enum { CACHE_OWN_BYTES, CACHE_OWN_OBJECTS, CACHE_OWN_EVICTIONS, CACHE_OWN_COLLAPSED };
static const struct metric_def cache_own_defs[] = {
    [CACHE_OWN_BYTES] = {"mcp_edge_cache_bytes", "Memory that the cache holds.", METRIC_GAUGE},
    [CACHE_OWN_OBJECTS] = {"mcp_edge_cache_objects", "Answers that the cache holds.", METRIC_GAUGE},
    [CACHE_OWN_EVICTIONS] = {"mcp_edge_cache_evictions_total", "Answers that left to make room.",
        METRIC_COUNTER},
    [CACHE_OWN_COLLAPSED] = {"mcp_edge_cache_collapsed_total",
        "Requests that shared another one's fetch.", METRIC_COUNTER},
};

enum {
#define X(name, help) OWN_##name,
    HTTP_STATS(X)
#undef X
        OWN_LOG_DROPPED,
    OWN_OPEN_JWT,
    OWN_REVISION,
};
#define FLOODS                                                                                     \
    "mcp_edge_h2_floods_total",                                                                    \
        "HTTP/2 connections ended because the client sent too much of what costs it nothing."
static const struct metric_def own_defs[] = {
    [OWN_ACCEPTED] = {"mcp_edge_connections_total", "Client connections accepted.", METRIC_COUNTER},
    [OWN_OPEN] = {"mcp_edge_connections", "Client connections open.", METRIC_GAUGE},
    [OWN_EVICTED] = {"mcp_edge_connections_evicted_total", "Idle connections closed to make room.",
        METRIC_COUNTER},
    [OWN_HANDSHAKES] = {"mcp_edge_tls_handshakes_total", "TLS handshakes completed.",
        METRIC_COUNTER},
    [OWN_HANDSHAKES_RESUMED] = {"mcp_edge_tls_resumed_total",
        "TLS handshakes that resumed a session.", METRIC_COUNTER},
    [OWN_HANDSHAKE_FAILURES] = {"mcp_edge_tls_failures_total", "TLS handshakes that failed.",
        METRIC_COUNTER},
    [OWN_REQUESTS] = {"mcp_edge_heads_total", "Request heads read, refused ones too.",
        METRIC_COUNTER},
    [OWN_UPSTREAM_OPENED] = {"mcp_edge_upstream_connections_total",
        "Connections made to instances.", METRIC_COUNTER},
    [OWN_UPSTREAM_OPEN] = {"mcp_edge_upstream_connections", "Connections to instances open.",
        METRIC_GAUGE},
    [OWN_UPSTREAM_REUSED] = {"mcp_edge_upstream_reused_total", "Requests on a kept connection.",
        METRIC_COUNTER},
    [OWN_CONNECT_FAILURES] = {"mcp_edge_connect_failures_total",
        "Connections to instances that failed.", METRIC_COUNTER},
    [OWN_RETRIES] = {"mcp_edge_retries_total", "Requests sent again.", METRIC_COUNTER},
    [OWN_EJECTIONS] = {"mcp_edge_ejections_total", "Instances left out for a while.",
        METRIC_COUNTER},
    [OWN_H2_CONNECTIONS] = {"mcp_edge_h2_connections_total", "Connections that speak HTTP/2.",
        METRIC_COUNTER},
    [OWN_H2_STREAMS] = {"mcp_edge_h2_streams_total", "Streams of HTTP/2 begun.", METRIC_COUNTER},
    [OWN_H2_MALFORMED] = {"mcp_edge_h2_malformed_total", "Requests by HTTP/2 that were malformed.",
        METRIC_COUNTER},
    [OWN_H2_RESETS] = {"mcp_edge_h2_resets_total", "Streams that clients reset.", METRIC_COUNTER},
    [OWN_H2_REFUSED] = {"mcp_edge_h2_refused_total", "Streams refused for want of room.",
        METRIC_COUNTER},
    [OWN_H2_ERRORS] = {"mcp_edge_h2_errors_total",
        "HTTP/2 connections ended for an error of the client.", METRIC_COUNTER},
    [OWN_H2_FLOOD_RESETS] = {FLOODS, METRIC_COUNTER, "of=\"resets\""},
    [OWN_H2_FLOOD_PINGS] = {FLOODS, METRIC_COUNTER, "of=\"pings\""},
    [OWN_H2_FLOOD_SETTINGS] = {FLOODS, METRIC_COUNTER, "of=\"settings\""},
    [OWN_H2_FLOOD_EMPTY] = {FLOODS, METRIC_COUNTER, "of=\"empty_data\""},
    [OWN_H2_FLOOD_WINDOWS] = {FLOODS, METRIC_COUNTER, "of=\"window_updates\""},
    [OWN_H2_FLOOD_OTHER] = {FLOODS, METRIC_COUNTER, "of=\"priorities\""},
    [OWN_H2_FLOOD_HEAD] = {FLOODS, METRIC_COUNTER, "of=\"heads\""},
    [OWN_ITERATIONS] = {"mcp_edge_loops_total", "Iterations of the threads' loops.",
        METRIC_COUNTER},
    [OWN_BUFFERS] = {"mcp_edge_buffers_total", "Buffers allocated.", METRIC_COUNTER},
    [OWN_LOG_DROPPED] = {"mcp_edge_log_dropped_total", "Lines of the access log that were lost.",
        METRIC_COUNTER},
    [OWN_OPEN_JWT] = {"mcp_edge_routes_without_identity",
        "Routes that want a token and are served without, for want of a declared identity.",
        METRIC_GAUGE},
    [OWN_REVISION] = {"mcp_edge_revision", "Revision of the routes served; 0: none.", METRIC_GAUGE},
};

static struct metric_set **make_sets(struct edge *edge, const struct metric_def *defs, size_t n,
    const char *label_name, const char *value)
{
    struct metric_set **sets = xcalloc(edge->threads, sizeof(struct metric_set *));
    struct metric_label label = {label_name, value};
    for (unsigned i = 0; i < edge->threads; i++)
        sets[i] = metrics_set_new(edge->config.metrics, defs, n, &label, 1);
    return sets;
}

struct metric_set **edge_metrics_sets(struct edge *edge, const char *name)
{
    return make_sets(edge, name_defs, ARRAY_SIZE(name_defs), "name", name);
}

struct metric_set **edge_metrics_modules(struct edge *edge, const char *module)
{
    return make_sets(edge, module_defs, ARRAY_SIZE(module_defs), "module", module);
}

void edge_metrics_sets_free(struct edge *edge, struct metric_set **sets)
{
    for (unsigned i = 0; sets && i < edge->threads; i++)
        metrics_set_free(sets[i]);
    free(sets);
}

void edge_metrics_count(struct metric_set *set, const struct http_tx *tx)
{
    metric_add(set, MIN(tx->status / 100, 5u), 1);
    metric_observe(set, SECONDS, tx->duration_us);
    metric_add(set, BYTES, tx->bytes);
    if (tx->end != HTTP_END_OK)
        metric_add(set, FAILED_FIRST + tx->end, 1);
}

/* Whose fault it was: a client that goes away is no error of a module. */
void edge_metrics_count_module(struct metric_set *set, const struct http_tx *tx)
{
    bool failed = tx->status >= 500 || tx->end == HTTP_END_NO_INSTANCE
                  || tx->end == HTTP_END_UPSTREAM_LOST || tx->end == HTTP_END_UPSTREAM_BAD
                  || tx->end == HTTP_END_UPSTREAM_SLOW || tx->end == HTTP_END_TRUNCATED;
    metric_add(set, MODULE_REQUESTS, 1);
    metric_add(set, MODULE_ERRORS, failed);
}

json_t *edge_requests(struct edge *edge)
{
    json_t *modules = json_object();
    for (const struct name_stats *s = edge->modules; s; s = s->next) {
        uint64_t requests = 0, errors = 0;
        for (unsigned i = 0; i < edge->threads; i++) {
            requests += metric_get(s->sets[i], MODULE_REQUESTS);
            errors += metric_get(s->sets[i], MODULE_ERRORS);
        }
        json_object_set_new(modules, s->name,
            json_pack("{s:I,s:I}", "requests", (json_int_t)requests, "errors", (json_int_t)errors));
    }
    return json_pack("{s:o}", "modules", modules);
}

static void set_own(struct edge *edge, size_t row, uint64_t value)
{
    if (own_defs[row].kind == METRIC_GAUGE)
        metric_set_value(edge->own, row, (double)value);
    else
        metric_add(edge->own, row, value - metric_get(edge->own, row));
}

static void collect_cache(struct edge *edge)
{
    struct cache_figures f;
    struct metric_set *s = edge->cache_own;
    if (!edge->cache)
        return;
    cache_tier_figures(edge->cache, &f);
    metric_set_value(s, CACHE_OWN_BYTES, (double)f.bytes);
    metric_set_value(s, CACHE_OWN_OBJECTS, (double)f.objects);
    metric_add(s, CACHE_OWN_EVICTIONS, f.evictions - metric_get(s, CACHE_OWN_EVICTIONS));
    metric_add(s, CACHE_OWN_COLLAPSED, f.collapsed - metric_get(s, CACHE_OWN_COLLAPSED));
}

void edge_metrics_collect(struct edge *edge)
{
    collect_cache(edge);
    for (size_t i = 0; i < HTTP_STAT_COUNT; i++)
        set_own(edge, i, http_server_stat(edge->server, (enum http_stat)i));
    set_own(edge, OWN_LOG_DROPPED, edge->log ? access_log_dropped(edge->log) : 0);
    const struct edge_snapshot *s = atomic_load(&edge->current);
    set_own(edge, OWN_OPEN_JWT, s ? s->routes->n_open_jwt : 0);
    set_own(edge, OWN_REVISION, s ? (uint64_t)s->routes->revision : 0);
}

void edge_metrics_open(struct edge *edge)
{
    edge->own = metrics_set_new(edge->config.metrics, own_defs, ARRAY_SIZE(own_defs), NULL, 0);
    edge->unnamed = edge_metrics_sets(edge, "");
    if (!edge->cache)
        return;
    edge->cache_own =
        metrics_set_new(edge->config.metrics, cache_own_defs, ARRAY_SIZE(cache_own_defs), NULL, 0);
    edge->cache_counts = xcalloc(edge->threads, sizeof(struct metric_set *));
    for (unsigned i = 0; i < edge->threads; i++)
        edge->cache_counts[i] =
            metrics_set_new(edge->config.metrics, cache_defs, ARRAY_SIZE(cache_defs), NULL, 0);
}

void edge_metrics_close(struct edge *edge)
{
    edge_metrics_sets_free(edge, edge->unnamed);
    edge_metrics_sets_free(edge, edge->cache_counts);
    metrics_set_free(edge->own);
    metrics_set_free(edge->cache_own);
}
