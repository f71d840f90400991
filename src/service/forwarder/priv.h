/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder. */
#pragma once

#include "service/forwarder/forwarder.h"
#include "service/forwarder/sniff.h"

#include "base/ip/ip.h"

#include <openssl/ssl.h>
#include <uv.h>

#define FORWARDER_NAMESERVERS_MAX 8

struct forwarder {
    uv_loop_t loop;
    uv_tcp_t listener;
    struct ip_addr nameservers[FORWARDER_NAMESERVERS_MAX];
    size_t n_nameservers;
    struct ip_addr buyer; /* whose eyes we see through */
    char domain[SNIFF_NAME_SIZE];
    SSL_CTX *tls;
    size_t n_conns;
};

/* ---- resolve.c: one question, asked from the buyer's address ---- */

struct resolve;
/* address NULL: e says why. Exactly once, unless cancelled first. */
typedef void (*resolve_fn)(void *ctx, const struct ip_addr *address, const struct err *e);
MUST_CHECK int resolve_start(struct forwarder *f, const char *name, resolve_fn fn, void *ctx,
    struct resolve **ret, struct err *e);
void resolve_cancel(struct resolve *q);

/* ---- conn.c ---- */

void conn_accept(struct forwarder *f);
