/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets that the platform makes: a module's password of one database, "data.<database>.<module>".
 * The document is as of any secret (secret.h), with
 *
 *   "made": {"database", "module", "overlap_ms"}
 *   "versions": [{..., "public": {"user", "hash"}, "waits": true, "since_ms": wall clock}]
 *
 * What is sealed is the password alone; its hash is what servers keep of it. A rotation goes in three
 * steps, each a change of the document, so that whoever leads goes on where another left off:
 *   placing   the new version waits until the servers take its password, too; nobody has it yet
 *   overlap   holders get it; servers take both
 *   steady    all have it and the overlap is over: the older password is worth nothing
 * No holder ever has a password that a server does not take. Pure. */
#pragma once

#include "domain/secret/secret.h"

#define SECRET_OVERLAP_MS (60 * 60 * 1000ll) /* applications look at a file when they connect */
#define SECRET_OVERLAP_MAX_MS (7 * 86400 * 1000ll)
/* A holder that does not take the newest: nobody's password is valid for ever. */
#define SECRET_STRAGGLER_MS (86400 * 1000ll)
#define SECRET_ALTERNATIVES 2 /* passwords that an account has at most */

struct secret_made {
    const char *database, *module;
    const char *hash;    /* of the new password */
    int64_t overlap_ms;
};

enum secret_phase { SECRET_STEADY, SECRET_PLACING, SECRET_OVERLAP };
const char *secret_phase_name(enum secret_phase p);

bool secret_doc_made(const json_t *doc);
enum secret_phase secret_doc_phase(const json_t *doc);
/* Marks the newest version (of a document that secret_doc_add() has just made; taken). */
json_t *secret_doc_with_made(json_t *doc, const struct secret_made *m);
/* May there be another version now? `taken`: every holder has the newest. */
MUST_CHECK int secret_made_may_rotate(const json_t *doc, bool taken, struct err *e);
/* Hashes that servers shall take, the newest first: at most SECRET_ALTERNATIVES. New reference. */
json_t *secret_made_hashes(const json_t *doc);

struct secret_made_facts {
    int64_t v;   /* the version that they are of: of another they say nothing */
    bool placed; /* the servers take the newest */
    bool taken;  /* every holder that is heard has the newest */
    int64_t now_ms;
};
/* The document as it shall be now; NULL: as it is. *ret_what: what is different, for the timeline. */
json_t *secret_made_step(const json_t *doc, const struct secret_made_facts *f,
    const struct secret_change_note *note, const char **ret_what);
