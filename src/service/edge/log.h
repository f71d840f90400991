/* SPDX-License-Identifier: Apache-2.0 */
/* The access log: one JSON object a line, in a file that is rotated by size (access.log, .1 ...
 * .4). Serving threads put records into a ring each and never wait: a full ring drops the record
 * and counts it. One writer thread formats and writes. A disk that fails costs lines, which are
 * counted too, never requests.
 *
 *   {"time","id","name","method","path","unit","client","status","bytes","duration_us",
 *    "upstream_us","attempts","tls","end"[,"reject"]}
 * without a query: it may hold what is not ours to keep. */
#pragma once

#include "base/err/err.h"
#include "net/http/http.h"

#define ACCESS_LOG_BYTES (20u * 1024 * 1024)
#define ACCESS_LOG_FILES 5

struct access_log;

/* bytes_max 0: ACCESS_LOG_BYTES. */
MUST_CHECK int access_log_open(
    const char *path, unsigned threads, uint64_t bytes_max, struct access_log **ret, struct err *e);
void access_log_close(struct access_log *log); /* writes what is in the rings; NULL is fine */
/* HOT PATH. Of the thread with that index alone. */
void access_log_add(struct access_log *log, unsigned thread, const struct http_tx *tx);
uint64_t access_log_dropped(const struct access_log *log); /* any thread */
uint64_t access_log_written(const struct access_log *log);
