/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a declaration names, as digests, before they become part of a revision. Relative
 * paths start at the declaration's folder. An image is an OCI layout folder (image-layout.md,
 * version 1.x of the specification): its digest is that of the manifest which index.json names, and
 * that manifest must lie there with that content, so that a plan never passes what an apply cannot
 * push. An archive file and docker://... become such a folder first, in a cache
 * (/var/cache/mcp/images, MCP_IMAGE_CACHE). Blocking: for commands. */
#pragma once

#include "base/json/json.h"

struct model;
struct problems;

#define FILES_INDEX_MAX (1u << 20) /* index.json, a manifest */

/* Fills *ret with {"path as declared": "sha256:..."}; the caller's. What is missing is added to p
 * at the place in `text` (the declaration, as parsed into m) that names it, and ERR_NOT_FOUND is
 * returned. */
MUST_CHECK int files_resolve(const struct model *m, const char *dir, const char *text, size_t len,
    json_t **ret, struct problems *p);
/* One image: "PATH" or "PATH:TAG" (what stands behind "oci:"), to its manifest's digest and its
 * folder. */
MUST_CHECK int files_image_digest(
    const char *dir, const char *key, char ret_digest[], char **ret_layout, struct err *e);
