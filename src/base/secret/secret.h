/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that must not be seen: keys, values of secrets, tokens. The type is opaque and has no form
 * that prints: a log line, an error or a JSON document cannot take one by accident, only by calling
 * secret_bytes(). The memory is pages of its own, left out of core files (MADV_DONTDUMP) and of
 * children (MADV_WIPEONFORK), and wiped before it is given back. */
#pragma once

#include "base/json/json.h"

struct secret;

/* A copy of the bytes, or `len` zero bytes to fill when data is NULL. A 0 byte follows them. */
struct secret *secret_new(const void *data, size_t len);
void secret_free(struct secret *s); /* wipes; NULL is fine */
static inline void secret_free_p(struct secret **s)
{
    secret_free(*s);
}
#define _cleanup_secret_ _cleanup_(secret_free_p)

uint8_t *secret_bytes(struct secret *s); /* for those who must: never into a text that is kept */
size_t secret_len(const struct secret *s);
void secret_shorten(struct secret *s, size_t len); /* wipes the rest */
bool secret_eq(const struct secret *a, const struct secret *b); /* in constant time */

/* Wipes memory of any other kind. */
void secret_wipe(void *p, size_t len);
/* Wipes and frees a text's buffer. */
void secret_str_done(struct str *s);
/* For `_cleanup_`: of a struct str that holds something secret for a moment. */
#define _cleanup_secret_str_ _cleanup_(secret_str_done)

/* From here on all memory of JSON values and texts (struct str) is wiped when it is freed: messages
 * between the processes of a host carry secrets. To be called at the start of a process. */
void secret_wipe_freed(void);
