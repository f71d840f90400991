/* SPDX-License-Identifier: Apache-2.0 */
/* A revision: one whole state of the platform, immutable, numbered, self-contained. Every file that
 * the declaration names is here by digest, so that what a revision says never depends on what lies
 * in a folder today:
 *
 *   {"format": 1, "revision": 7, "created": "2026-11-23T05:30:12.345Z", "by": "root@hk1",
 *    "note": "", "platform": {canonical tree of the declaration},
 *    "files": {"images/api": "sha256:..."}}
 *
 * Members that this version does not know stay in `json`: whoever writes a revision on keeps
 * them. */
#pragma once

#include "base/digest/digest.h"
#include "base/json/json.h"

struct model;

#define REVISION_FORMAT 1
#define REVISION_FILES_MAX 8192

struct revision {
    uint64_t number;
    const char *created, *by, *note; /* in json */
    const json_t *files;             /* in json: path as declared -> digest */
    struct model *model;
    json_t *json; /* all of it */
};

/* `platform` and `files` are borrowed and not looked into. */
json_t *revision_build(const json_t *platform, const json_t *files, uint64_t number,
    const char *created, const char *by, const char *note);
/* Checks everything: the format, the declaration, and that each file it names has a digest. */
MUST_CHECK int revision_parse(const json_t *json, struct revision **ret, struct err *e);
void revision_free(struct revision *r); /* NULL is fine */

/* The key in `files` of a module's image: the path behind "oci:", or all of "docker://...". NULL: it
 * is neither. */
const char *revision_image_key(const char *image);
/* The digest of a file, NULL: not in there. */
const char *revision_file(const json_t *files, const char *key);
/* Calls fn for every file that the model names, in no order; stops at its first negative return. */
int revision_each_file(const struct model *m, int (*fn)(void *ctx, const char *key), void *ctx);
/* The same without images: files that are what their bytes are. */
int revision_each_plain_file(
    const struct model *m, int (*fn)(void *ctx, const char *key), void *ctx);
/* Names what the revision makes of the platform, whoever made it when: equal content, equal digest.
 * */
void revision_content_digest(const json_t *platform, const json_t *files, char out[DIGEST_SIZE]);

/* A revision's content with one module changed: new references, nothing of the old one is touched. */
struct revision_edit {
    json_t *platform, *files;
};
/* Another image: `image` as declared ("oci:images/api"; NULL: as it is) with `digest`. ERR_REFUSED
 * if another module has its image from the same file and would change with it. */
MUST_CHECK int revision_edit_image(const json_t *platform, const json_t *files, const char *module,
    const char *image, const char *digest, struct revision_edit *ret, struct err *e);
/* The module as the revision `older` has it. */
MUST_CHECK int revision_edit_back(const json_t *platform, const json_t *files, const char *module,
    const json_t *older, struct revision_edit *ret, struct err *e);
void revision_edit_done(struct revision_edit *edit);
/* Do two revisions say the same of a module, its image included? */
bool revision_module_equal(const json_t *a, const json_t *b, const char *module);
