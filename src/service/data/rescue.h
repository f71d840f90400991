/* SPDX-License-Identifier: Apache-2.0 */
/* A source that returns after another was promoted may hold transactions that were never shipped. They
 * are saved before anything else happens to them, and are never written back by themselves:
 *
 *   <dir>/rescue/<epoch of the successor>/
 *     rescue.json             {"format": 1, "database", "host", "source", "epoch", "time_ms", "gtids",
 *                              "ranges": [{"domain", "server", "over", "to"}], "transactions", "more",
 *                              "undoable", "tables": [{"table", "rows", "readable", "replay"}]}
 *     trade.orders.jsonl      a line a row: {"gtid", "time", "row"}
 *     trade.orders.sql        `mariadb < FILE` at the source does the same again
 *
 * rescue.json is written last: with it the rescue is whole. The platform's own tables are not in it. */
#pragma once

#include "base/rpc/rpc.h"
#include "driver/sql/dialect.h"

struct data_want;
struct db;

#define RESCUE_PIECE (256u * 1024) /* of a file, in one answer */

/* On a worker's thread. What is saved already is not saved again. */
MUST_CHECK int rescue_keep(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e);
/* Undoes what was saved, row by row from the end, forgets that it was here, and goes on replicating.
 * ERR_REFUSED: not all of it can be (a change of a table's form, too much), or an earlier try did not
 * come to its end. */
MUST_CHECK int rescue_flashback(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e);
/* [rescue.json of each epoch], the eight newest, the newest first. */
json_t *rescue_list(const char *dir);
/* "data.rescue": {"rescues": [...]}; of {"epoch", "file", "offset"} {"data": base64, "next": offset or
 * null}. */
void rescue_call(struct db *db, struct rpc_req *req, json_t *params);
