/* SPDX-License-Identifier: Apache-2.0 */
/* The archive of a source that its replicas are seeded with: <dir>/spool/copy.zst, at most one, made
 * when somebody asks, kept for as long as somebody fetches it. */
#pragma once

#include "base/rpc/rpc.h"

struct db;

/* "data.seed.make" {"epoch", "ask", "not"}: begins, and tells how it stands: {"state": "none|making|
 * ready|failed", "data_bytes", "bytes", "digest", "gtid", "why"}. "not": the digest of one that was
 * of no use. */
void maker_call(struct db *db, struct rpc_req *req, json_t *params);
/* "data.seed.drop" {"digest"}: nobody fetches it any more. */
void maker_drop(struct db *db, struct rpc_req *req, json_t *params);
/* An open archive of that digest; -1: there is none. */
int maker_open(struct db *db, const char *digest);
void maker_tick(struct db *db); /* now and then: what nobody wants any more goes */
void maker_close(struct db *db);
