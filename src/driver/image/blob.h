/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs of a host's store on their way in: what is missing, partial files that outlive whoever
 * fills them, and the one door by which they become blobs.
 *
 *   <root>/blobs/sha256/<hex>   of images (image.h)
 *   <root>/files/sha256/<hex>   everything else by digest
 *   <root>/partial/<hex>        the first bytes of a blob; its length says where to go on
 *
 * A partial file has one writer at a time: the lock lies on the open file, so it goes where the
 * descriptor is passed and ends with its last holder. blob_finish() alone makes a blob: digest
 * compared, synced, renamed. Blocking calls: for worker threads. */
#pragma once

#include "driver/image/image.h"
#include "proto/bulk/bulk.h"

struct blob {
    enum bulk_kind kind;
    char digest[DIGEST_SIZE];
    int64_t size; /* -1: not known */
};

struct blobs {
    struct blob *v;
    size_t n, cap;
};
void blobs_done(struct blobs *b);
/* Once each. */
void blobs_add(struct blobs *b, enum bulk_kind kind, const char *digest, int64_t size);

bool blob_present(
    const char *root, enum bulk_kind kind, const char *digest, int64_t *ret_size /* or NULL */);
MUST_CHECK int blob_open(
    const char *root, enum bulk_kind kind, const char *digest, int *ret_fd, struct err *e);
/* How far a transfer of it got before; 0: none begun. */
int64_t blob_partial_size(const char *root, const char *digest);

/* Opens or makes the partial file, at its end, locked. ERR_CONFLICT: somebody else fills it now. */
MUST_CHECK int blob_partial_open(
    const char *root, const char *digest, int *ret_fd, int64_t *ret_have, struct err *e);
void blob_partial_remove(const char *root, const char *digest);
/* Does not close fd. ERR_INVALID: not the bytes that the digest names; the partial file is gone
 * then. */
MUST_CHECK int blob_finish(const char *root, const struct blob *b, int fd, struct err *e);

/* Fills the partial file from a regular file, from where it stands, and finishes it. Shares the
 * bytes where the file system can. `stop` may become true in another thread (ERR_CANCELED; what
 * came stays), `done` tells how far it is; both may be NULL. */
MUST_CHECK int blob_copy_in(const char *root, const struct blob *b, int from, const bool *stop,
    int64_t *done, struct err *e);

/* What an image still needs here: its manifest alone while that is not here, else every blob that
 * is not. *ret_have and *ret_total count bytes of what is known. ERR_INVALID: its documents are not
 * an image. */
MUST_CHECK int image_missing(const char *root, const char *digest, struct blobs *ret,
    int64_t *ret_have, int64_t *ret_total, struct err *e);
/* The blobs that make up an image of a layout folder, manifest last. */
MUST_CHECK int image_layout_blobs(
    const char *layout, const char *digest, struct blobs *ret, struct err *e);

/* Room for that many more bytes with a reserve left over? ERR_LIMIT tells both figures. */
MUST_CHECK int blob_space(const char *root, int64_t need, struct err *e);
