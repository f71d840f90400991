/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus text over HTTP/1.1 on a host's private address: GET /metrics, one answer a connection.
 * The text comes from a callback that may take its time (it asks the roles). Anything else is 404
 * or 405; a client that is slow, or one of too many, is dropped. On the control loop. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/str/str.h"

#include <uv.h>

struct scrape;
struct scrape_answer; /* to be finished with scrape_reply(), once */

typedef void (*scrape_fn)(void *ctx, struct scrape_answer *a);

/* Clients within `strangers` (NULL: nobody) are not answered: units reach their host's addresses. */
MUST_CHECK int scrape_new(uv_loop_t *loop, const int *listen_fds, size_t n,
    const struct ip_prefix *strangers, scrape_fn fn, void *ctx, struct scrape **ret, struct err *e);
void scrape_free(struct scrape *s);
void scrape_reply(struct scrape_answer *a, const struct str *text);
