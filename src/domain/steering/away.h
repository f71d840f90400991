/* SPDX-License-Identifier: Apache-2.0 */
/* Regions that somebody steers users away from, by hand or by a function: one document of the state
 * store, which every control's steering obeys as if those regions were down.
 *
 *   {"format": 1, "regions": {"ap-seoul": {"names": ["api.x"] (absent: all), "by": "function/dns",
 *    "why": "...", "at_ms": wall, "until_ms": wall (0: until somebody takes it back)}}}
 *
 * The last region of a name is never taken from it: a wish that would do that is refused, and one
 * that comes to mean it, because other regions died, is not acted on for that name meanwhile. Pure:
 * documents in, documents out; what does not parse means nothing. */
#pragma once

#include "domain/steering/steering.h"

#define STEER_AWAY_WHY_MAX 200
#define STEER_AWAY_FOR_MS_MAX (30ull * 86400 * 1000)

struct steer_away_wish {
    const char *region;
    const json_t *names; /* strings; NULL or empty: every name */
    const char *by, *why;
    uint64_t for_ms; /* 0: until it is taken back */
};

/* The document with the wish in it, entries that are over left out; `doc` may be NULL. ERR_NOT_FOUND:
 * no such region or name; ERR_REFUSED: a name would have no region left, or none would move. */
MUST_CHECK int steer_away_put(const json_t *doc, const struct steer_plan *p,
    const struct steer_away_wish *w, int64_t wall_ms, json_t **ret, struct err *e);
/* Without it. ERR_NOT_FOUND: nobody steers away from it. */
MUST_CHECK int steer_away_drop(
    const json_t *doc, const char *region, int64_t wall_ms, json_t **ret, struct err *e);
/* The entry that takes this name from that region now; NULL: none. Borrowed. */
const json_t *steer_away_entry(
    const json_t *doc, const char *region, const char *name, int64_t wall_ms);
/* Regions that `name` is taken from. */
uint64_t steer_away_mask(
    const json_t *doc, const struct steer_plan *p, size_t name, int64_t wall_ms);
/* [{"region", "names" (absent: all), "by", "why", "since", "until" (absent: none)}]. */
json_t *steer_away_list(const json_t *doc, int64_t wall_ms);
