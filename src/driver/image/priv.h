/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside driver/image: the store's lock, the unpacking of one layer; see image.h. */
#pragma once

#include "driver/image/image.h"

/* Unpacks the blob into the existing, empty folder `dirfd` and compares the digest of the uncompressed stream. */
MUST_CHECK int layer_unpack(const char *blob, enum oci_media media, const char *diff_id, int dirfd,
    const struct image_limits *limits, struct err *e);

/* The lock of the store's names, made if need be: held until the descriptor is closed. */
MUST_CHECK int image_lock(const char *root, struct err *e);
