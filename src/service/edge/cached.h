/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of service/edge: the cache's part in requests. All but its metrics: on the request's thread. Without a cache
 * (edge->cache NULL) every call does nothing. */
#pragma once

#include "service/edge/priv.h"

enum edge_cache_result { /* rows of the metrics, too; the first ones say what became of a request */
    EDGE_CACHE_HIT,
    EDGE_CACHE_MISS,
    EDGE_CACHE_REVALIDATED,
    EDGE_CACHE_STALE,
    EDGE_CACHE_BYPASS,
    EDGE_CACHE_STORED,
    EDGE_CACHE_ROWS,
};

/* Of a request that is about to be forwarded. True: it was answered or waits; false: it is to be forwarded. */
bool edge_cache_request(struct http_tx *tx, struct edge_request *r);
/* No instance is there. True: it was answered by what is stored. */
bool edge_cache_unreachable(struct http_tx *tx, struct edge_request *r);
void edge_cache_done(
    struct edge_thread *t, struct http_tx *tx, struct edge_request *r); /* r may be NULL */
void edge_cache_loop(struct edge_thread *t);
void edge_cache_thread_start(struct edge_thread *t);
void edge_cache_thread_stop(struct edge_thread *t);
extern const struct http_cache edge_cache;
