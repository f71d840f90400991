/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a database on one host, as people read it: [{"id", "severity": "error" |
 * "warning" | "info", "text", "fix"}], one entry an id. A list is made anew at each look; the book
 * remembers what is raised, so that each finding is told once when it comes and once when it has
 * gone: gone is what was not seen for FINDINGS_HOLD_MS. Pure. */
#pragma once

#include "base/json/json.h"
#include "base/util/util.h"

#define FINDINGS_HOLD_MS 10000u
#define FINDINGS_MAX 64u

/* Appends one; a list that is full, or that has the id already, stays as it is. fix may be "". */
void data_finding(json_t *list, const char *id, const char *severity, const char *fix,
    const char *fmt, ...) PRINTF_LIKE(5, 6);

/* raised: it is new, else it has gone; f as it was seen last. Of "info" nothing is told. */
typedef void (*findings_told_fn)(void *ctx, const json_t *f, bool raised);

/* book: an object, begun empty, kept by the caller. list: of this look. */
void findings_step(
    json_t *book, const json_t *list, uint64_t now_ms, findings_told_fn told, void *ctx);
/* What is raised, errors first; a new array. */
json_t *findings_shown(const json_t *book);
