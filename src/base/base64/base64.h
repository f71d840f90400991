/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648 section 4, with padding), strictly: no blanks, no other alphabet, no stray bits
 * behind the end, so that bytes have one text only. Runs in time that depends on the length only as
 * far as the table look-ups do; the buffers are wiped by who owns them. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

void base64_encode(const void *data, size_t len, struct str *out); /* appends */
/* Appends the bytes. ERR_INVALID leaves *out as it was. */
MUST_CHECK int base64_decode(const char *text, size_t len, struct str *out, struct err *e);
/* The bytes that a text of this length can stand for, at most. */
size_t base64_decoded_max(size_t text_len);
/* Into dst; ERR_INVALID when the text stands for more than `max` bytes. */
MUST_CHECK int base64_decode_into(
    const char *text, size_t len, void *dst, size_t max, size_t *ret_len, struct err *e);
