/* SPDX-License-Identifier: Apache-2.0 */
/* From the declaration to a database's document: who is to be a member. Pure; the leader writes
 * what it returns, by compare and swap. The source is never moved and never removed, and nothing
 * changes while a switchover is under way; what the declaration wants all the same is told. */
#pragma once

#include "base/str/str.h"
#include "domain/model/model.h"
#include "domain/replication/doc.h"

/* The document as it is to be: a new reference, or NULL when `doc` (NULL: none yet) says it already.
 * `what` gets what changes, in words. `refused` (may be NULL) gets what is declared and not done;
 * "" when everything is. ERR_INVALID, ERR_REFUSED: the document cannot be read, see replication_doc_parse(). */
MUST_CHECK int topology_follow(const struct model_database *db, const json_t *doc, json_t **ret,
    struct str *what, struct str *refused, struct err *e);
