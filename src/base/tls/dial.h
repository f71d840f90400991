/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP connection for who may wait: blocks until it stands, at most TLS_DIAL_MS. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define TLS_DIAL_MS 5000

/* The socket, non-blocking; errors name address and port. */
MUST_CHECK int tls_dial(const struct ip_addr *address, uint16_t port, struct err *e);
