/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that the source's sums and the rows' comparison have in common: both sides must compute the
 * very same. */
#pragma once

#include "service/verify/verify.h"

#define VERIFY_SUMS "mcp_dts.checksums"

void verify_add_table(struct str *out, const struct verify_table *t);
/* CRC32 of a row: NULLs told from empty texts, floating point as the server prints it. */
void verify_add_row_sum(struct str *out, const struct verify_table *t);
/* "a, b": the key's columns. */
void verify_add_key(struct str *out, const struct verify_table *t);
/* The condition that a row lies behind (`after`), or not behind, the key `at` (JSON array of texts);
 * null `at`: 1. Written out, for row comparisons use no index in MariaDB. */
void verify_add_bound(struct str *out, const struct verify_table *t, const json_t *at, bool after);
