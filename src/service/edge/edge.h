/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway: the engine of net/http asks it what to do with each request, it answers from the
 * snapshot of routes through a table of filters (filters.c), counts, and writes the access log.
 *
 * Snapshots are immutable and swapped without a lock: each thread pins the one it sees at the start
 * of a loop iteration, requests keep the one they began with until they end. The main thread alone
 * makes and frees them. The last one lies in state_dir (mode 0600: it holds the certificates'
 * keys), so that the edge starts without control. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "net/http/http.h"

struct edge;
struct metrics;

struct edge_config {
    unsigned threads; /* 0: one per core */
    const struct http_listen *listens;
    size_t n_listens;
    unsigned max_connections; /* 0: by RLIMIT_NOFILE */
    struct http_timeouts timeouts;
    /* routes.json, access.log and its older ones; NULL: nothing is logged or stored */
    const char *state_dir;
    uint64_t cache_bytes; /* of answers kept in memory, with all that finds them; 0: none is kept */
    struct metrics *metrics;
    void (*stopped)(void *ctx); /* drained; called from another thread */
    void *ctx;
};

/* Opens the log, takes the stored snapshot if there is a valid one, starts the threads. */
MUST_CHECK int edge_start(const struct edge_config *config, struct edge **ret, struct err *e);

/* All of the following: the thread that called edge_start(). */

/* A new snapshot (domain/route); on failure the old one serves on. Without endpoints in it those that
 * there are stay. `doc` is borrowed. */
MUST_CHECK int edge_set_routes(struct edge *edge, json_t *doc, struct err *e);
/* {"endpoints": {...}}: instances alone. ERR_NOT_FOUND before the first snapshot. */
MUST_CHECK int edge_set_endpoints(struct edge *edge, const json_t *params, struct err *e);
/* Is no request on its way to an instance that the newest snapshot does not have? Asks the threads:
 * false until they have answered, call again in some milliseconds. */
bool edge_quiet(struct edge *edge);
/* Writes the snapshot that serves to state_dir. Fails when the disk does; serving is not touched by
 * that. */
MUST_CHECK int edge_store(struct edge *edge, struct err *e);
/* {"revision", "region", "names", "modules": {name: {"ready", "instances"}}, "warnings": [...]} */
json_t *edge_status(struct edge *edge);
/* {"modules": {name: {"requests", "errors"}}}: of the routes of each module, since the start. */
json_t *edge_requests(struct edge *edge);
/* Brings the figures that are read, not counted, up to date: before metrics_format(). */
void edge_metrics_collect(struct edge *edge);
/* Why the stored snapshot was not taken at start; "" when it was, or when there was none. */
const char *edge_start_warning(const struct edge *edge);
void edge_drain(struct edge *edge);
void edge_free(struct edge *edge); /* waits for the threads */
