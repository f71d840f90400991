/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 in the form that OCI and the platform's revisions use: "sha256:" and 64 hex digits. */
#pragma once

#include "base/err/err.h"

#define DIGEST_SIZE 72 /* "sha256:" + 64 + NUL */

struct digest_stream; /* incremental */

void digest_mem(const void *data, size_t len, char out[DIGEST_SIZE]);
MUST_CHECK int digest_file(const char *path, char out[DIGEST_SIZE], struct err *e);
struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *d, const void *data, size_t len);
void digest_stream_end(struct digest_stream *d, char out[DIGEST_SIZE]); /* frees d */
bool digest_valid(const char *text); /* exactly the form above, lower case */
