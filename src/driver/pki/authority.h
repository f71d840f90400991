/* SPDX-License-Identifier: Apache-2.0 */
/* What a control host needs to issue: the intermediates of both authorities of a platform, that of
 * hosts (mesh, edges, modules) and that of the state store, whose members trust nothing else. The
 * roots' keys are not in it: they lie in a folder that is needed only to make intermediates:
 *   FOLDER        root.pem root.key intermediate.pem intermediate.key
 *   FOLDER/state  the same of the state store's authority
 * To a host the intermediates go sealed to its own sealing key (base/seal), as one document:
 *   {"format": 1, "hosts": {"root", "intermediate", "box"}, "state": {the same}}
 * PEM texts, the box in base64. It lies in authority.json of that host and in the state store, and
 * opens on that host only. */
#pragma once

#include "base/json/json.h"
#include "base/seal/seal.h"
#include "driver/pki/pki.h"

#define PKI_AUTHORITY_FILE "authority.json"
#define PKI_AUTHORITY_BYTES_MAX (64u * 1024)

enum pki_kind { PKI_HOSTS, PKI_STATE, PKI_KINDS };
const char *pki_kind_name(enum pki_kind k); /* "hosts", "state" */

struct pki_authority;

/* Opens the folder, making what is missing. */
MUST_CHECK int pki_authority_open(const char *folder, const char *platform, int64_t now_ms,
    struct pki_authority **ret, struct err *e);
/* The same roots, new intermediates; nothing is written. ERR_NOT_FOUND: the roots' keys are not in
 * the folder. */
MUST_CHECK int pki_authority_renew(const char *folder, const char *platform, int64_t now_ms,
    struct pki_authority **ret, struct err *e);
/* Puts its intermediates into the folder of their roots. */
MUST_CHECK int pki_authority_keep(const struct pki_authority *a, const char *folder, struct err *e);
void pki_authority_free(struct pki_authority *a); /* NULL is fine */
static inline void pki_authority_free_p(struct pki_authority **a)
{
    pki_authority_free(*a);
}
#define _cleanup_pki_authority_ _cleanup_(pki_authority_free_p)

/* For that host alone. */
MUST_CHECK int pki_authority_seal(const struct pki_authority *a, const char *platform,
    const char *host, const uint8_t public_key[SEAL_KEY_SIZE], json_t **ret, struct err *e);
/* The sealed document as DIR/authority.json, for the folder's owner alone. */
MUST_CHECK int pki_authority_write(const json_t *doc, const char *dir, struct err *e);
/* ERR_DENIED: sealed for somebody else, or altered. */
MUST_CHECK int pki_authority_unseal(const json_t *doc, const char *platform, const char *host,
    const struct seal_key *key, struct pki_authority **ret, struct err *e);

const struct pki_ca *pki_authority_ca(const struct pki_authority *a, enum pki_kind k);
void pki_ca_info(const struct pki_ca *ca, struct pki_info *root, struct pki_info *intermediate);
char *pki_ca_root_pem(const struct pki_ca *ca);         /* heap */
char *pki_ca_intermediate_pem(const struct pki_ca *ca); /* heap */
