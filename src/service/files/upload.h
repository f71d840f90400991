/* SPDX-License-Identifier: Apache-2.0 */
/* Brings what a declaration names to the platform, before a revision speaks of it: control says
 * which blobs its host misses, those are handed over as open files (the connection is a Unix
 * socket), manifest last. What a killed upload left there is not sent again. Blocking: for
 * commands. */
#pragma once

#include "base/json/json.h"

struct model;
struct rpc_client;

struct upload_progress {
    /* `done` of `total` bytes of all that is missing; also before the first byte. May be NULL. */
    void (*fn)(void *ctx, const char *what, int64_t done, int64_t total);
    void *ctx;
};

/* `files` as files_resolve() made it, `dir` the declaration's folder. */
/* One file that no declaration names. */
MUST_CHECK int upload_one(
    struct rpc_client *c, const char *path, const char *digest, struct err *e);
MUST_CHECK int upload_files(struct rpc_client *c, const struct model *m, const char *dir,
    const json_t *files, const struct upload_progress *p, struct err *e);
/* One image, "oci:PATH[:TAG]" as declared; `module` is whose, for words. */
MUST_CHECK int upload_image(struct rpc_client *c, const char *module, const char *image,
    const char *dir, const struct upload_progress *p, struct err *e);
