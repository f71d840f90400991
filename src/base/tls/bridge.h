/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS connection for a program that blocks: after the handshake a thread of its own carries bytes
 * between it and a local stream socket, which is all that the program sees. The end of either side
 * ends the other. Back-pressure goes both ways. */
#pragma once

#include "base/tls/tls.h"

/* Takes fd, a connected socket; ctx is borrowed. The peer's SPIFFE id must begin with id_prefix.
 * Blocks for the handshake, which has the stream's own deadline. ERR_DENIED: it is somebody else,
 * and nothing was said to it. */
MUST_CHECK int tls_bridge(int fd, SSL_CTX *ctx, const char *id_prefix, int *ret_fd, struct err *e);
