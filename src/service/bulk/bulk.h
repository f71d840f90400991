/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs between hosts: a thread, a port and connections of their own, so that an image of a
 * gigabyte never stands in the way of a view or a report. The thread serves what the owner opens
 * for it and fetches into files that the owner opened; it knows no store and no policy, and
 * believes no byte: who asked compares the digest.
 *
 * Everything is bounded: connections, heads, buffers; TCP itself slows a sender down. A transfer
 * goes on behind what the file holds already, from the next host when one fails, and ends when none
 * is left. Functions and callbacks belong to the owner's loop; certificates are read anew for new
 * connections. */
#pragma once

#include "base/ip/ip.h"
#include "base/tls/tls.h"
#include "proto/bulk/bulk.h"

#include <uv.h>

#define BULK_PORT 7404
#define BULK_TARGETS_MAX 256
#define BULK_HOST_SIZE 64

struct bulk;
struct bulk_pull;

struct bulk_config { /* texts are copied, descriptors are borrowed */
    const char *platform, *host;
    struct ip_addr source; /* dial from here (family 0: the kernel's choice) */
    struct tls_files tls;
    const int *listen_fds;
    size_t n_listen;
    uint16_t port; /* where the others listen; 0: BULK_PORT */
};

struct bulk_handler {
    /* Another host asks for a blob: answer with bulk_opened(), now or later. */
    void (*open)(
        void *ctx, uint64_t ticket, const char *host, enum bulk_kind kind, const char *digest);
};

struct bulk_target {
    char host[BULK_HOST_SIZE];
    const struct ip_addr *addresses; /* tried in turn */
    size_t n_addresses;
};

struct bulk_request_events {
    /* Now and then: `have` of `size` bytes (-1: not known yet) are in the file. */
    void (*progress)(void *ctx, int64_t have, int64_t size, const char *from);
    /* Once. `from`: the one host that sent every byte of the file; "" when there were several, or
     * some bytes were there before. */
    void (*done)(void *ctx, const char *from, const struct err *e);
    void *ctx;
};

MUST_CHECK int bulk_new(uv_loop_t *loop, const struct bulk_config *c, const struct bulk_handler *h,
    void *ctx, struct bulk **ret, struct err *e);
/* Ends all transfers (done() does not come any more) and the thread; blocks for a moment. Its
 * memory goes when the loop has closed the handle. */
void bulk_free(struct bulk *b);
/* Takes the descriptor of the blob, or -1 and why. */
void bulk_opened(struct bulk *b, uint64_t ticket, int fd, const struct err *why);
/* Takes fd, which holds `request->offset` bytes of the blob; more are written behind them. Targets
 * are copied. */
struct bulk_pull *bulk_pull(struct bulk *b, const struct bulk_request *request, int fd,
    const struct bulk_target *targets, size_t n, const struct bulk_request_events *events);
/* done() does not come; the file is closed soon. */
void bulk_pull_cancel(struct bulk_pull *p);
