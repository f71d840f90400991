/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents below a prefix of the state store, one a name ("host/" + "hk1"), followed: all of
 * them are here, in memory, as the store last told, and stay so while it is silent. Changes go by
 * documents_edit(): read, change, compare and swap, again when somebody else was first. A document
 * is always an object; members that a version does not know survive, for an edit starts from what
 * is there. What does not parse is taken for absent and told by nothing: it is not ours.
 *
 * On the control loop; callbacks come from it, never from within a call. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "driver/kv/kv.h"

#define DOCUMENTS_MAX 4096

struct documents;

struct documents_handler {
    /* `doc` NULL: it was deleted. Borrowed. May be NULL. */
    void (*changed)(void *ctx, const char *name, const json_t *doc);
    /* A whole listing was taken over: after start and after each time the store was lost. */
    void (*synced)(void *ctx);
};

/* prefix: whole, "/mcp/<platform>/host/". */
struct documents *documents_new(uv_loop_t *loop, struct kv *kv, const char *prefix,
    const struct documents_handler *h, void *ctx);
/* Edits that are on their way end with ERR_CANCELED, from the loop. */
void documents_free(struct documents *d);

bool documents_synced(const struct documents *d); /* ever */
/* How often the whole listing is read again, 10 s unless told: what is here is that fresh. */
void documents_refresh(struct documents *d, uint64_t ms);
/* When the newest whole listing was asked for, CLOCK_BOOTTIME; 0: there was none. */
uint64_t documents_read_ms(const struct documents *d);
const json_t *documents_get(const struct documents *d, const char *name); /* NULL: none; borrowed */
/* All of them by name, borrowed: for json_object_foreach. */
json_t *documents_all(struct documents *d);

/* Given what is there (NULL: nothing), makes what shall be: a new reference in *ret, NULL to
 * delete, or the very same pointer (increased) when nothing is to be done. Negative refuses. May be
 * called several times: first, within documents_edit(), with what was last heard; it is read from
 * the store when that was old, or was no reason for a change. */
typedef int (*documents_edit_fn)(void *ctx, json_t *old, json_t **ret, struct err *e);
/* doc: as it is now (NULL: deleted), borrowed. */
typedef void (*documents_done_fn)(void *ctx, const json_t *doc, const struct err *e);
void documents_edit(struct documents *d, const char *name, documents_edit_fn edit,
    documents_done_fn done, void *ctx);
/* The same while `guard`, another key of the state store, has that modification revision: for who
 * writes in the name of an epoch. When it has another the edit ends with ERR_CONFLICT. */
void documents_edit_under(struct documents *d, const char *name, const char *guard,
    int64_t guard_mod, documents_edit_fn edit, documents_done_fn done, void *ctx);
/* Puts the members of `patch` (taken) over those of the document, making it if it is missing.
 * `done` may be NULL. */
void documents_merge(
    struct documents *d, const char *name, json_t *patch, documents_done_fn done, void *ctx);
