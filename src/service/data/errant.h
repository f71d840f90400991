/* SPDX-License-Identifier: Apache-2.0 */
/* "data.errant": what this replica has written that its source does not have. */
#pragma once

#include "base/rpc/rpc.h"

struct db;

/* {"gtids": "2-2-1..3, ...", "transactions": [proto/binlog/text.h], "more"}. The source's position is
 * asked for after the replica's own was read, so that what just passed is not taken for errant. */
void errant_call(struct db *db, struct rpc_req *req, json_t *params);
