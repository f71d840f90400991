/* SPDX-License-Identifier: Apache-2.0 */
/* An upstream's byte stream, read as the answer to a GET and to a HEAD; chunked content is taken whole and byte by byte
 * and must come out the same. */
#include "proto/http/http.h"

#include <stdlib.h>

static uint64_t hash_add(uint64_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t take(
    const struct http_response *r, const char *p, size_t len, size_t step, int *ret)
{
    struct http_body b;
    http_body_init(&b, r->framing, r->content_length);
    uint64_t h = 0xcbf29ce484222325u;
    size_t at = 0, end = 0, used;
    struct http_text content;
    *ret = 0;
    while (*ret == 0 && end < len) {
        end = MIN(len, end + step);
        do {
            *ret = http_body_take(&b, p + at, end - at, SIZE_MAX, &used, &content);
            if (*ret < 0)
                break;
            h = hash_add(h, content.p, content.len);
            at += used;
        } while (used);
    }
    if (*ret == 0)
        *ret = http_body_ended(&b);
    return *ret < 0 ? 0 : h;
}

static void one(const char *data, size_t size, bool to_head)
{
    static char buf[65536];
    struct http_response r;
    size_t scanned = 0;
    int n = http_response_parse(data, size, &scanned, to_head, &r);
    if (n <= 0)
        return;
    ASSERT(r.status >= 100 && r.status <= 599);
    ASSERT(!to_head || r.framing == HTTP_BODY_NONE);
    int whole, bytes;
    uint64_t a = take(&r, data + n, size - (size_t)n, SIZE_MAX / 2, &whole);
    uint64_t b = take(&r, data + n, size - (size_t)n, 1, &bytes);
    ASSERT(a == b && whole == bytes);
    struct http_forward f = {
        .request_id = {"id", 2}, .chunked = r.framing == HTTP_BODY_UNTIL_CLOSE};
    struct http_out o = {.p = buf, .cap = sizeof buf};
    http_response_forward(&r, &f, &o);
    ASSERT(!o.full);
    struct http_response twice;
    scanned = 0;
    int len = http_response_parse(buf, o.len, &scanned, to_head, &twice);
    if (len == -HTTP_REJECT_FIELD_COUNT || len == -HTTP_REJECT_HEAD_SIZE)
        return;
    ASSERT(len == (int)o.len && twice.status == r.status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one((const char *)data, size, false);
    one((const char *)data, size, true);
    return 0;
}
