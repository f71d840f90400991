/* SPDX-License-Identifier: Apache-2.0 */
/* The document `failover/<database>` of the state store: what people and rehearsals have said about
 * a database's failover, and what became of it. The journal of one that is under way is the
 * database's own document (replication/doc.h).
 *
 *   {"format": 1, "paused": {"by", "why", "at_ms"} | null,
 *    "armed": {"fingerprint", "at_ms", "how": "rehearsed" | "drill"} | null, "acked_id": 4,
 *    "history": [{"id", "from", "to", "auto", "begun_ms", "ended_ms", "outcome"}, ...],
 *    "state": "healthy", "reason": "", "at_ms"}
 *
 * Each change returns a new document (NULL in: a fresh one); members that this version does not know
 * survive. Pure. */
#pragma once

#include "base/json/json.h"
#include "domain/failover/facts.h"
#include "domain/model/model.h"

#define FAILOVER_FORMAT 1
#define FAILOVER_HISTORY 32u

json_t *failover_doc_new(void);
json_t *failover_doc_pause(const json_t *doc, const char *by, const char *why, int64_t wall_ms);
json_t *failover_doc_resume(const json_t *doc);
/* Everything up to change `id` is well: it counts no more against the next. */
json_t *failover_doc_ack(const json_t *doc, int64_t id, const char *by, int64_t wall_ms);
json_t *failover_doc_arm(
    const json_t *doc, const char *fingerprint, const char *how, int64_t wall_ms);
/* What has ended (the database document's `last`), once; the same reference when it is there, or is
 * no failover. Manual ones acknowledge themselves and those before. */
json_t *failover_doc_note(json_t *doc, const json_t *last);
/* The state for people; the same reference (increased) when nothing differs. */
json_t *failover_doc_state(json_t *doc, const char *state, const char *reason, int64_t wall_ms);

/* Fills in automation.paused/held, armed and past of what the documents say. */
void failover_doc_facts(const json_t *doc, const json_t *database, const char *fingerprint,
    const struct model_failover *declared, int64_t wall_ms, struct failover_facts *ret);
/* Of the settings that fencing depends on, nothing else: probe and TTL settings never disarm. Heap. */
char *failover_fingerprint(const struct model_database *db);
