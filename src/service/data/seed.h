/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of the source's data for a replica, step by step:
 *
 *   ask     how big it is; refused when there is no room for it
 *   make    the source makes an archive (maker.c); asked again until it is there
 *   fetch   over the hosts' own transfers, behind what is there already
 *   unpack  to <dir>/seed, synced, with a note of the position that it holds
 *   swap    <dir>/seed.ready is written and the server ended: whoever starts it takes the seed
 *
 * Which step it is at stands in <dir>/spool/seed.json, so that a role that was killed goes on. What
 * the server has is touched by the last step alone, and that is all or nothing; a member that is no
 * longer a replica of the same epoch gives up before it. The loop's alone. */
#pragma once

#include "base/json/json.h"
#include "driver/sql/dialect.h"

struct db;
struct seed;
struct data_want;

/* Begins one, or goes on with the one that was under way (by_hand false: only then, if `resume`). */
MUST_CHECK int seed_begin(struct db *db, bool by_hand, struct err *e);
void seed_resume(struct db *db);
/* Somebody else is the source now, or this member. */
void seed_view_changed(struct db *db);
void seed_close(struct db *db);
json_t *seed_json(const struct db *db); /* {"id", "step", ...}; NULL: never one */
/* On a worker's thread, before a server is attached: a seed that was just taken says from where on.
 * Returns 1 if there was one. */
MUST_CHECK int seed_set_start(struct sql_conn *c, const struct data_want *w, struct err *e);
/* The data folder is a copy whose position is not set yet. */
bool seed_is_new(const struct data_want *w);
/* It was a copy once: its logs do not reach back to the start of the data. */
bool seed_was_copy(const struct data_want *w);
/* Bytes of all files below. */
uint64_t seed_tree_bytes(const char *dir);
