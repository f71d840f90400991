/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed boxes: bytes that only the holder of a key can open, and that nobody can alter unseen.
 * To a public key: X25519 (RFC 7748) with a key made for this box alone; with a symmetric key: a
 * fresh salt. Either way HKDF-SHA256 (RFC 5869) gives the key and nonce of AES-256-GCM, which are
 * thereby used once. The box:
 *
 *   "mcps"  version 1  kind (1 to a public key, 2 with a key)  32 bytes  ciphertext  16 bytes tag
 *            the 32: the sender's public half, or the salt
 *
 * `aad` (what the box is for: "secret/psp_key/3") is authenticated and not kept: who opens says it
 * again, so a box cannot be put in another's place. Opening tells nothing but that it did not work:
 * wrong key, wrong aad and damage are one error. Keys are wiped; nothing here blocks but the key
 * file. Thread safe. */
#pragma once

#include "base/err/err.h"
#include "base/secret/secret.h"
#include "base/str/str.h"

#define SEAL_KEY_SIZE 32u
#define SEAL_OVERHEAD 54u
#define SEAL_DATA_MAX (1024u * 1024)
#define SEAL_AAD_MAX 4096u
#define SEAL_PUBLIC_TEXT_SIZE 45 /* base64 of 32 bytes + NUL */

struct seal_key; /* a pair: opens what was sealed to its public half */

MUST_CHECK int seal_key_make(struct seal_key **ret, struct err *e);
/* From the 32 bytes of seal_key_private(). */
MUST_CHECK int seal_key_from(
    const uint8_t private_key[SEAL_KEY_SIZE], struct seal_key **ret, struct err *e);
/* Of a file, 0600 and owned by us, made (durably, once, whoever else tries) if it is missing. A
 * file that others may read is refused. */
MUST_CHECK int seal_key_load_or_make(const char *path, struct seal_key **ret, struct err *e);
MUST_CHECK int seal_key_load(const char *path, struct seal_key **ret, struct err *e);
void seal_key_free(struct seal_key *key); /* wipes; NULL is fine */
static inline void seal_key_free_p(struct seal_key **key)
{
    seal_key_free(*key);
}
#define _cleanup_seal_key_ _cleanup_(seal_key_free_p)

const uint8_t *seal_public(const struct seal_key *key); /* SEAL_KEY_SIZE bytes */
const uint8_t *seal_key_private(const struct seal_key *key);
void seal_public_format(const uint8_t public_key[SEAL_KEY_SIZE], char out[SEAL_PUBLIC_TEXT_SIZE]);
MUST_CHECK int seal_public_parse(
    const char *text, uint8_t ret_public[SEAL_KEY_SIZE], struct err *e);

/* Appends the box to *out. ERR_LIMIT over SEAL_DATA_MAX or SEAL_AAD_MAX; ERR_INVALID for a public
 * key that is none (of small order). */
MUST_CHECK int seal_to(const uint8_t public_key[SEAL_KEY_SIZE], const char *aad, const void *data,
    size_t len, struct str *out, struct err *e);
/* ERR_DENIED: not for this key, not for this aad, or altered. ERR_INVALID: no box. */
MUST_CHECK int seal_open(const struct seal_key *key, const char *aad, const void *box, size_t len,
    struct secret **ret, struct err *e);

/* The same with a symmetric key of SEAL_KEY_SIZE bytes ("data key"). */
MUST_CHECK int seal_with(const uint8_t key[SEAL_KEY_SIZE], const char *aad, const void *data,
    size_t len, struct str *out, struct err *e);
MUST_CHECK int unseal_with(const uint8_t key[SEAL_KEY_SIZE], const char *aad, const void *box,
    size_t len, struct secret **ret, struct err *e);
