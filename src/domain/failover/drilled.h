/* SPDX-License-Identifier: Apache-2.0 */
/* The document `drill/running` of the state store: the drill that is under way, so that whoever leads
 * knows whose fault it looks at, and so that nobody changes the platform in the middle of it.
 *
 *   {"format": 1, "id", "drill", "mode", "database", "region", "by", "begun_ms", "until_ms",
 *    "after": id of the database's last change before it, "ended_ms", "passed"}
 *
 * It has an end of its own: a drill that died without a word keeps nobody waiting. Pure. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/failover/facts.h"

#define DRILLED_FORMAT 1
#define DRILLED_MAX_MS (60 * 60 * 1000)
#define DRILLED_TEXT_MAX 128u

struct drilled_wish {
    const char *id, *drill, *mode, *by;
    const char *database, *region; /* that is struck; "" when the drill is about none */
    int64_t after;
    int64_t max_ms;
};

/* ERR_CONFLICT while another one is under way. */
MUST_CHECK int drilled_begin(
    const json_t *old, const struct drilled_wish *w, int64_t wall_ms, json_t **ret, struct err *e);
/* The same reference when it is another's, or has ended. */
json_t *drilled_end(json_t *old, const char *id, bool passed, int64_t wall_ms);
bool drilled_running(const json_t *doc, int64_t wall_ms);
/* Nothing else may be begun: ERR_CONFLICT, and how long at most. */
MUST_CHECK int drilled_gate(const json_t *doc, int64_t wall_ms, struct err *e);

/* R1: one is under way, and it struck the region that this database's source is in. */
void drilled_facts(const json_t *doc, const char *database, const char *source_region,
    int64_t wall_ms, struct failover_automation *ret);
/* `last` (of the database's document) is a failover that this drill has brought about, from its
 * region, and that is done. */
bool drilled_caused(
    const json_t *doc, const char *database, const char *from_region, const json_t *last);
