/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of the audit log and the chain that holds them together: each entry carries the hash of
 * the one before and its own, so that no entry can be changed, taken out or put in between without
 * every later hash being wrong.
 *
 *   {"format": 1, "seq": 17, "id": "16 hex digits", "time": RFC 3339, "who": "ann", "from":
 *    "10.0.0.9" | "hk1", "host": "hk1", "action": "mcp:Apply", "subject": "...",
 *    "outcome": "accepted" | "refused" | "failed", "reason": "...", "of": id | "",
 *    "previous": "sha256:...", "hash": "sha256:..."}
 *
 * An entry is written before the act ("accepted"); an act that fails has a second entry, whose "of"
 * names the first. The hash is of the canonical text of all other members. Pure. */
#pragma once

#include "base/digest/digest.h"
#include "base/json/json.h"

#define AUDIT_FORMAT 1
/* "previous" of the very first entry */
#define AUDIT_START "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define AUDIT_ID_SIZE 17

enum audit_outcome { AUDIT_ACCEPTED, AUDIT_REFUSED, AUDIT_FAILED };

struct audit_draft {
    int64_t wall_ms;
    char id[AUDIT_ID_SIZE];
    const char *who, *from, *host, *action, *subject, *reason, *of;
    enum audit_outcome outcome;
};

json_t *audit_entry(const struct audit_draft *d); /* not yet in the chain */
/* Its place in the chain: sets seq, previous and hash. */
void audit_link(json_t *entry, int64_t seq, const char *previous);
/* Entries oldest first; the first must follow `previous` with number `seq`. ERR_INVALID names the
 * first entry that is wrong. *ret_last (may be NULL): the hash of the last. */
MUST_CHECK int audit_verify(const json_t *entries, int64_t seq, const char *previous,
    char ret_last[DIGEST_SIZE], struct err *e);
