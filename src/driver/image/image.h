/* SPDX-License-Identifier: Apache-2.0 */
/* The images of a host: blobs by digest, and layers unpacked once by the digest of their content.
 *
 *   <root>/blobs/sha256/<hex>   as in an OCI layout; a file there is complete and has the digest it is named after
 *   <root>/layers/<hex>/        the layer of that diff_id as overlayfs wants it: whiteouts are devices 0:0, opaque
 *                               folders carry trusted.overlay.opaque; owners as in the image (mounts map them)
 *
 * Both appear by rename after an fsync: a crash or a full disk leaves temporary names, which the next unpacking
 * removes, and never half a blob or layer. One writer at a time (a lock file), across processes. Blocking calls: for
 * worker threads. An image is untrusted: a path or link that would leave its layer is refused, devices are left out,
 * sizes and counts are limited. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"
#include "proto/oci/oci.h"

#define IMAGE_ROOT "/var/lib/mcp/images"

struct image_limits {
    uint64_t layer_bytes; /* unpacked */
    uint64_t layer_entries;
};
#define IMAGE_LIMITS_DEFAULT                                                                       \
    ((struct image_limits){.layer_bytes = 16ull << 30, .layer_entries = 1000000})

/* The manifest digest of `tag` (NULL: the only one, else "latest") in an OCI layout folder; copies nothing. */
MUST_CHECK int image_resolve(
    const char *layout, const char *tag, char ret[DIGEST_SIZE], struct err *e);
/* Puts the image's blobs under `root`, each verified on the way; what is there already is not read again. */
MUST_CHECK int image_import(
    const char *root, const char *layout, const char *tag, char ret[DIGEST_SIZE], struct err *e);
bool image_present(const char *root, const char *digest);

struct image {
    struct arena *arena;
    char digest[DIGEST_SIZE];
    struct oci_image config;
    const char **layers; /* paths of the unpacked layers, bottom first */
    size_t n_layers;
};

/* Reads an imported image and unpacks what is not unpacked yet. ERR_NOT_FOUND: a blob is missing here; ERR_INVALID,
 * ERR_LIMIT: the image is not usable; ERR_SYSTEM: this host's trouble, try again. */
MUST_CHECK int image_open(const char *root, const char *digest, const struct image_limits *limits,
    struct image **ret, struct err *e);
void image_free(struct image *m); /* NULL is fine */
/* A regular file of the image as the container will see it (no whiteout of a folder above it is looked for). */
MUST_CHECK int image_read_file(
    const struct image *m, const char *path, size_t max_bytes, struct str *out, struct err *e);

struct image_gc {
    const char *const *images; /* manifests that are needed; one that is not here is ignored */
    size_t n_images;
    size_t n_running;         /* the first of them run now */
    const char *const *files; /* of the other kind */
    size_t n_files;
    uint64_t grace_s; /* what came later than this is kept: a revision may be about to name it */
    bool dry_run;
};
struct image_gc_done {
    size_t blobs, layers, files, partials;
    int64_t bytes; /* of blobs, files and partials; what layers unpack to is not counted */
};
/* Removes every blob, layer and file that nothing needs, and partial files that nobody has gone on
 * with for a day beyond the grace. When the documents of an image that runs can not be read nothing
 * is removed (ERR_UNAVAILABLE): its layers have no names then. */
MUST_CHECK int image_gc(
    const char *root, const struct image_gc *g, struct image_gc_done *ret, struct err *e);
