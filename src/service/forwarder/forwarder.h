/* SPDX-License-Identifier: Apache-2.0 */
/* Lets this computer's browser into a lab as one of its invented buyers. Runs in the client's
 * network with a listening socket of 127.0.0.1 that was made outside of it. For every connection it
 * reads which name is meant, asks the platform's own name servers from the buyer's address,
 * connects to what they answered from that address, and passes the bytes. So the browser sees what
 * a buyer in that country sees, a dead region included.
 *
 *   TLS with a server name   passed on as it is to port 443; the browser judges the certificate
 *   HTTP for a name          passed on as it is to port 80
 *   HTTP for 127.0.0.1, localhost or NAME.localhost
 *                            one request to NAME (default: the platform's domain) over verified
 *                            TLS: a URL for any browser, with nothing to be trusted
 *
 * Configuration, JSON: {"nameservers": ["203.0.113.20"], "buyers": {"KR": "198.51.100.1"},
 * "as": "KR", "domain": "reindeers.com", "ca": PEM text}. One thread, libuv. Connections and bytes
 * waiting are bounded. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define FORWARDER_CONNS_MAX 256u

/* Takes the socket. `lock_in` (may be NULL) runs once before the first connection. Returns only on
 * failure. */
MUST_CHECK int forwarder_serve(
    int listen_fd, const json_t *config, int (*lock_in)(struct err *e), struct err *e);
