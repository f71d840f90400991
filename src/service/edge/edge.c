/* SPDX-License-Identifier: Apache-2.0 */
#include "service/edge/priv.h"

#include "base/file/file.h"

#include <sched.h>

static unsigned cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) < 0
               ? 1
               : (unsigned)MIN(CPU_COUNT(&set), HTTP_THREADS_MAX);
}

/* The last snapshot, so that the edge serves before control is there. A broken file is no reason
 * not to start. */
static void load_stored(struct edge *edge)
{
    struct err e = {0};
    _cleanup_json_ json_t *doc = NULL;
    int r = json_read_file(edge->routes_path, ROUTE_BYTES_MAX, &doc, &e);
    if (r == ERR_NOT_FOUND)
        return;
    if (r >= 0)
        r = edge_set_routes(edge, doc, &e);
    if (r < 0)
        snprintf(edge->warning, sizeof edge->warning, "%s", e.message);
}

static int start_server(struct edge *edge, struct err *e)
{
    const struct edge_config *c = &edge->config;
    struct http_config http = {
        .threads = edge->threads,
        .listens = c->listens,
        .n_listens = c->n_listens,
        .max_connections = c->max_connections,
        .timeouts = c->timeouts,
        .app = &edge_app,
        .ctx = edge,
    };
    return http_server_start(&http, &edge->server, e);
}

static int open_state(struct edge *edge, struct err *e)
{
    edge->routes_path = xasprintf("%s/routes.json", edge->config.state_dir);
    _cleanup_free_ char *log_path = xasprintf("%s/access.log", edge->config.state_dir);
    int r = access_log_open(log_path, edge->threads, 0, &edge->log, e);
    if (r >= 0)
        load_stored(edge);
    return r;
}

int edge_start(const struct edge_config *config, struct edge **ret, struct err *e)
{
    struct edge *edge = xcalloc(1, sizeof *edge);
    edge->config = *config;
    edge->threads = config->threads ? MIN(config->threads, HTTP_THREADS_MAX) : cores();
    if (config->cache_bytes) {
        edge->cache = cache_tier_new(&(struct cache_tier_config){.limit_bytes = config->cache_bytes});
        edge->cache_policy = cache_policy_default;
    }
    edge_metrics_open(edge);
    int r = config->state_dir ? open_state(edge, e) : 0;
    if (r >= 0)
        r = start_server(edge, e);
    if (r < 0) {
        edge_free(edge);
        return r;
    }
    *ret = edge;
    return 0;
}

static int replace(struct edge *edge, json_t *doc, const json_t *endpoints, struct err *e)
{
    struct edge_snapshot *s;
    int r = edge_snapshot_new(edge, doc, endpoints, &s, e);
    if (r < 0)
        return r;
    edge_snapshot_publish(edge, s);
    return 0;
}

/* Routes without instances: a control that has just begun does not know them yet. */
int edge_set_routes(struct edge *edge, json_t *doc, struct err *e)
{
    json_t *old = edge->doc, *has = json_object_get(doc, "endpoints"),
           *endpoints = has ? has : json_object_get(old, "endpoints");
    int r = replace(edge, doc, has ? NULL : endpoints, e);
    if (r < 0)
        return r;
    edge->doc = json_copy(doc);
    if (endpoints)
        json_object_set(edge->doc, "endpoints", endpoints);
    edge_left(edge, json_object_get(old, "endpoints"), endpoints);
    json_decref(old);
    return 0;
}

int edge_set_endpoints(struct edge *edge, const json_t *params, struct err *e)
{
    json_t *endpoints;
    int r = json_get_obj(params, "endpoints", &endpoints, e);
    if (r < 0)
        return r;
    if (!edge->doc)
        return err_set(e, ERR_NOT_FOUND, "instances came before routes");
    r = replace(edge, edge->doc, endpoints, e);
    if (r < 0)
        return r;
    edge_left(edge, json_object_get(edge->doc, "endpoints"), endpoints);
    json_object_set(edge->doc, "endpoints", endpoints);
    return 0;
}

int edge_store(struct edge *edge, struct err *e)
{
    if (!edge->doc || !edge->routes_path)
        return 0;
    _cleanup_free_ char *text = json_text(edge->doc);
    int r = file_write_durable(edge->routes_path, text, strlen(text), 0600, e);
    OPENSSL_cleanse(text, strlen(text));
    return r;
}

static void add_warning(json_t *warnings, const char *text)
{
    json_array_append_new(warnings, json_string(text));
}

json_t *edge_status(struct edge *edge)
{
    json_t *warnings = json_array(), *modules = json_object();
    const struct edge_snapshot *s = atomic_load(&edge->current);
    const struct route_snapshot *r = s ? s->routes : NULL;
    char text[160];
    for (size_t i = 0; r && i < r->n_modules; i++)
        json_object_set_new(modules, r->modules[i].name,
            json_pack("{s:i, s:i}", "ready", (int)r->modules[i].n_ready, "instances",
                (int)r->modules[i].n_endpoints));
    if (!r)
        add_warning(warnings, "no routes yet");
    if (r && !r->n_certificates)
        add_warning(warnings, "no certificate: nothing is served over https");
    if (r && r->n_open_jwt) {
        snprintf(text, sizeof text,
            "%zu routes want a token and are served without: no identity is declared",
            r->n_open_jwt);
        add_warning(warnings, text);
    }
    if (edge->warning[0])
        add_warning(warnings, edge->warning);
    return json_pack("{s:I, s:s, s:i, s:o, s:o}", "revision", r ? (json_int_t)r->revision : 0,
        "region", r ? r->region : "", "names", r ? (int)r->n_names : 0, "modules", modules,
        "warnings", warnings);
}

const char *edge_start_warning(const struct edge *edge)
{
    return edge->warning;
}

void edge_drain(struct edge *edge)
{
    http_server_drain(edge->server);
}

void edge_free(struct edge *edge)
{
    if (!edge)
        return;
    http_server_free(edge->server);
    edge->server = NULL;
    edge_leave_done(edge);
    free(edge->left);
    access_log_close(edge->log);
    struct edge_snapshot *s = atomic_load(&edge->current);
    if (s)
        edge_snapshot_unref(edge, s);
    edge_garbage_collect(edge);
    edge_metrics_close(edge);
    cache_tier_free(edge->cache);
    json_decref(edge->doc);
    free(edge->routes_path);
    free(edge);
}
