/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's multi interface on a libuv loop: many HTTP exchanges in flight, one thread, nothing
 * blocks. The caller prepares an easy handle (URL, method, TLS files, body), hands it over and gets
 * one completion. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#include <curl/curl.h>
#include <uv.h>

struct curl_loop;
struct curl_request;

struct curl_done {
    CURLcode code;          /* CURLE_OK, or what failed */
    long status;            /* HTTP status, 0 when none arrived */
    const char *error;      /* libcurl's words, "" when fine */
    const struct str *body; /* what arrived and no chunk callback took */
};
/* Called once, from the loop. The request is gone after it. */
typedef void (*curl_done_fn)(void *ctx, const struct curl_done *done);
/* Streaming responses: called from the loop with each piece instead of collecting it. A negative
 * return ends the request: its completion comes with CURLE_WRITE_ERROR. */
typedef int (*curl_chunk_fn)(void *ctx, const char *data, size_t len);

MUST_CHECK int curl_loop_new(uv_loop_t *loop, struct curl_loop **ret, struct err *e);
/* Cancels everything (completions come with CURLE_ABORTED_BY_CALLBACK); the handles close on the
 * loop. */
void curl_loop_free(struct curl_loop *c);
/* How many idle connections are kept for reuse; libcurl's own rule keeps few while few requests
 * run. */
void curl_loop_set_connections(struct curl_loop *c, long n);
/* A fresh handle with sane defaults: no signals, no redirects, no proxy, http(s) only, timeout in
 * ms (0: none). */
CURL *curl_easy_prepared(const char *url, long timeout_ms);
/* Takes `easy` and `headers` (may be NULL). Body (streams: what waits to be delivered) at most
 * max_body bytes. */
struct curl_request *curl_start(struct curl_loop *c, CURL *easy, struct curl_slist *headers,
    size_t max_body, curl_chunk_fn chunk, curl_done_fn done, void *ctx);
void curl_cancel(struct curl_request *r); /* no completion comes */
