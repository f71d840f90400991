/* SPDX-License-Identifier: Apache-2.0 */
/* What a platform trusts, and how that is replaced under load. One document of the state store,
 * ca/bundle, changed by compare and swap; every control follows it:
 *
 *   {"format": 1,
 *    "hosts": {"roots": [PEM], "intermediate": PEM, "issuer": ID}, "state": {the same},
 *    "renew_after_ms": N,
 *    "rotation": {"kind", "phase", "by", "started_ms", "next": {"hosts": {"root", "intermediate",
 *                 "issuer"}, "state": {…}}, "sealed": {"<host>": sealed document},
 *                 "restart": "<host>"},
 *    "last": {"kind", "by", "started_ms", "ended_ms"}}
 *
 *   kind          phases
 *   leaves        issue           every leaf is made anew
 *   intermediate  issue           by the new intermediate
 *   root          trust           both roots are trusted everywhere, by the state store's members too,
 *                                 which read them at start only: restarted one at a time
 *                 issue           every leaf under the new root
 *                 drop            the old root is trusted by nobody
 *
 * A phase ends when every host of the platform has said that it is there; a host that is away holds
 * it up. Whoever holds the issuing keys may step: the step is a pure function of the document and
 * the hosts' reports, so a rotation survives the death of all of them. */
#pragma once

#include "base/digest/digest.h"
#include "base/err/err.h"
#include "base/json/json.h"

enum cabundle_kind { CABUNDLE_HOSTS, CABUNDLE_STATE, CABUNDLE_KINDS };

struct cabundle_side {
    const char *root, *intermediate; /* PEM */
    const char *issuer;              /* the intermediate's id */
};

struct cabundle_host { /* of the model */
    const char *name;
    bool is_holder, is_member;
    const json_t *report; /* what its control said last; NULL: not heard */
};

json_t *cabundle_new(const struct cabundle_side sides[CABUNDLE_KINDS]);
MUST_CHECK int cabundle_check(const json_t *b, struct err *e);
/* All roots of one kind, as the file of a host holds them; heap. */
char *cabundle_roots(const json_t *b, enum cabundle_kind k);
const char *cabundle_issuer(const json_t *b, enum cabundle_kind k); /* "" unless known */
/* Of what a host trusts, hosts' and state's roots: hosts say it in their reports. */
void cabundle_trust_of(const char *hosts_roots, const char *state_roots, char ret[DIGEST_SIZE]);
void cabundle_trust(const json_t *b, char ret[DIGEST_SIZE]);

/* request: {"kind", "by", "next", "sealed"}. The same rotation begun again is *ret == NULL and 0.
 * ERR_CONFLICT: another is on its way. */
MUST_CHECK int cabundle_begin(
    const json_t *b, const json_t *request, int64_t now_ms, json_t **ret, struct err *e);
/* The next document, the caller's, or NULL: nothing to do yet, and why ("" without a rotation). */
json_t *cabundle_step(const json_t *b, const struct cabundle_host *hosts, size_t n, int64_t now_ms,
    char ret_waiting[256]);
