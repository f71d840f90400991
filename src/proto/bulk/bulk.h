/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a transfer between two hosts: a client asks for a blob from an offset on, the server
 * answers with a head and, where it has the blob, with all bytes from there to its end. One request
 * at a time on a connection, as many after each other as the client likes. A head is one line:
 *
 *   {"protocol":[1,1],"kind":"image","digest":"sha256:...","offset":4096}\n
 *   {"protocol":[1,1],"size":8192}\n<bytes 4096 to 8191>
 *   {"protocol":[1,1],"error":"not_found","message":"..."}\n
 *
 * Text in, struct out; nothing here is believed about the bytes: who receives them compares the
 * digest. */
#pragma once

#include "base/digest/digest.h"
#include "base/str/str.h"

#define BULK_PROTOCOL_MIN 1
#define BULK_PROTOCOL_MAX 1
#define BULK_HEAD_MAX 2048u        /* a line of either side, with its end */
#define BULK_BLOB_MAX (16ll << 30) /* of an image's or a file's: as a layer may be long */
#define BULK_SIZE_MAX (16ll << 40) /* of any: a copy of a database */

enum bulk_kind {
    BULK_IMAGE, /* manifests, configurations, layers */
    BULK_FILE,  /* everything else: a country database, a version of this program */
    BULK_SEED,  /* the copy of a database that a replica is made of */
};
const char *bulk_kind_name(enum bulk_kind kind); /* "image", "file", "seed" */
int64_t bulk_size_max(enum bulk_kind kind);
bool bulk_kind_parse(const char *text, enum bulk_kind *ret);

struct bulk_request {
    enum bulk_kind kind;
    char digest[DIGEST_SIZE];
    int64_t offset;
};

struct bulk_answer {
    int code;     /* 0, or an enum err_code of the server */
    int64_t size; /* of the whole blob */
    char message[256];
};

/* `text` without the end of the line. ERR_PROTOCOL: no version in common, or not such a line. */
MUST_CHECK int bulk_request_parse(
    const char *text, size_t len, struct bulk_request *ret, struct err *e);
MUST_CHECK int bulk_answer_parse(
    const char *text, size_t len, struct bulk_answer *ret, struct err *e);
/* Append the line with its end. */
void bulk_request_format(const struct bulk_request *r, struct str *out);
void bulk_answer_format(const struct bulk_answer *a, struct str *out);
