/* SPDX-License-Identifier: Apache-2.0 */
/* The store of a host as its agent keeps it: what is wanted is checked, what is missing is asked of
 * control (which asks the other hosts), what arrives is verified before it counts, what nobody
 * needs is removed. Also takes what `mcp apply` uploads, and opens blobs for other hosts.
 *
 * Everything wanted is tried until it is there: after a failure with a back-off, at once when
 * control is linked again. A host that sent wrong bytes is not asked again for that blob. At most
 * IMAGES_FETCHES blobs are on their way at a time. On the agent's loop; what blocks runs on libuv's
 * worker threads. */
#pragma once

#include "base/rpc/rpc.h"
#include "driver/image/blob.h"

#define IMAGES_FETCHES 6
#define IMAGES_TEXT_SIZE 256
#define IMAGES_GRACE_MS                                                                            \
    900000 /* what came since is not collected: a revision may come to name it */

struct images;

struct images_config {
    uv_loop_t *loop;
    const char *root;
    struct rpc_conn *(*control)(void *ctx); /* NULL: not linked now */
    /* The state or the words of a wanted image are others now. */
    void (*changed)(void *ctx, const char *digest);
    json_t *(*used)(void *ctx); /* manifest digests of what runs; the caller's. May be NULL */
    void (*timeline)(void *ctx, const char *subject, const char *message, const char *cause);
    void *ctx;
};

enum images_state {
    IMAGES_UNKNOWN, /* not wanted, or not looked at yet */
    IMAGES_MISSING, /* on its way, or waiting for another try */
    IMAGES_READY,
    IMAGES_BAD, /* its documents are not an image */
};

struct images *images_new(const struct images_config *c);
/* Waits for the work that runs; what is on its way can be gone on with later. */
void images_free(struct images *im);
/* What this host shall have for its units (manifest digests, borrowed); the rest of what it was
 * given here is no longer pursued. */
void images_set_units(struct images *im, const char *const *digests, size_t n);
/* The same for {"images": [...], "files": [...]} as control tells. */
void images_set_wanted(struct images *im, const json_t *wanted);
/* Looks whether it is whole, whatever was known: changed() says when that is answered. */
void images_check(struct images *im, const char *digest);
/* Words for IMAGES_MISSING and IMAGES_BAD: "pulling image 34 MiB of 120 MiB from hk1". */
enum images_state images_state(
    const struct images *im, const char *digest, char text[IMAGES_TEXT_SIZE]);
/* Control is there: what waited is tried now. */
void images_linked(struct images *im);
/* "blob.*" and "image.*" calls of control. Takes fd. False: not one of them. */
bool images_call(
    struct images *im, struct rpc_req *req, const char *method, json_t *params, int fd);
