/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base/tls: identities. */
#pragma once

#include "base/tls/tls.h"

#define TLS_ID_MAX 255u

/* The only URI name of the certificate; ERR_DENIED when there is none, more than one, or no SPIFFE
 * id. */
MUST_CHECK int tls_spiffe_id(const X509 *cert, char out[TLS_ID_MAX + 1], struct err *e);
/* Of a handshake that is still on its way. */
void tls_stream_handshake_timeout(struct tls_stream *s, uint64_t timeout_ms);
/* Both ids are of one trust domain ("spiffe://DOMAIN/..."). */
bool tls_same_domain(const char *a, const char *b);
