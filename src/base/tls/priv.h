/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base/tls: identities. */
#pragma once

#include "base/tls/tls.h"

/* Of a handshake that is still on its way. */
void tls_stream_handshake_timeout(struct tls_stream *s, uint64_t timeout_ms);
/* Both ids are of one trust domain ("spiffe://DOMAIN/..."). */
bool tls_same_domain(const char *a, const char *b);
