/* SPDX-License-Identifier: Apache-2.0 */
/* The one-time token by which a machine joins: which root certificate it must see before it says
 * anything, and the secret that proves that an operator sent it. Text for a terminal:
 *
 *   mcp1-<64 letters>-<4 letters>
 *
 * base32 (RFC 4648, small letters) of id, the first half of the root's SHA-256, secret; then a
 * checksum, so that a slip of the hand is told from a token that is refused. What the state store
 * keeps is the secret's hash. Pure. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define TOKEN_ID_BYTES 8u
#define TOKEN_ROOT_BYTES 16u /* nobody finds a second root with the same 128 bits */
#define TOKEN_SECRET_BYTES 16u
#define TOKEN_TEXT_SIZE 75 /* "mcp1-" + 64 + "-" + 4 + NUL */
#define TOKEN_ID_SIZE (2 * TOKEN_ID_BYTES + 1)
#define TOKEN_HASH_SIZE 72

struct token {
    uint8_t id[TOKEN_ID_BYTES];
    uint8_t root[TOKEN_ROOT_BYTES]; /* of the certificate's DER */
    uint8_t secret[TOKEN_SECRET_BYTES];
};

void token_format(const struct token *t, char out[TOKEN_TEXT_SIZE]);
/* ERR_INVALID says whether it is no token at all or one with a slip in it. Capitals are fine. */
MUST_CHECK int token_parse(const char *text, struct token *ret, struct err *e);
/* Lower case hex: its name in the state store. */
void token_id_format(const struct token *t, char out[TOKEN_ID_SIZE]);
/* "sha256:…" of the secret: what is kept and compared. */
void token_hash(const uint8_t secret[TOKEN_SECRET_BYTES], char out[TOKEN_HASH_SIZE]);
/* Of a root certificate's DER. */
void token_root_of(const void *der, size_t len, uint8_t out[TOKEN_ROOT_BYTES]);
