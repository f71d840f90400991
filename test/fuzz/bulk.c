/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a transfer, as a server and as a client reads it; what was understood is written and
 * read again. */
#include "proto/bulk/bulk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bulk_request r, r2;
    struct bulk_answer a, a2;
    struct err e;
    if (bulk_request_parse((const char *)data, size, &r, &e) >= 0) {
        _cleanup_str_ struct str line = STR_INIT;
        bulk_request_format(&r, &line);
        ASSERT(line.len < BULK_HEAD_MAX);
        ASSERT(bulk_request_parse(line.buf, line.len - 1, &r2, &e) >= 0);
        ASSERT(r2.offset == r.offset && r2.kind == r.kind && !strcmp(r2.digest, r.digest));
    }
    if (bulk_answer_parse((const char *)data, size, &a, &e) >= 0) {
        _cleanup_str_ struct str line = STR_INIT;
        bulk_answer_format(&a, &line);
        ASSERT(line.len < BULK_HEAD_MAX);
        ASSERT(bulk_answer_parse(line.buf, line.len - 1, &a2, &e) >= 0);
        ASSERT(a2.code == a.code && (a.code || a2.size == a.size));
    }
    return 0;
}
