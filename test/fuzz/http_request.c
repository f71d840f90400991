/* SPDX-License-Identifier: Apache-2.0 */
/* A client's byte stream: heads and bodies one after the other, as the server reads them. What we forward must parse
 * again, to the same meaning, and nothing may depend on where the bytes were cut. */
#include "proto/http/http.h"
#include "proto/uri/uri.h"

#define ROUNDS_MAX 64

static size_t take_body(const struct http_request *r, const uint8_t *data, size_t len, bool *ok)
{
    struct http_body b;
    http_body_init(&b, r->framing, r->content_length);
    size_t at = 0, used;
    struct http_text content;
    do {
        int e = http_body_take(&b, (const char *)data + at, len - at, SIZE_MAX, &used, &content);
        ASSERT(e <= 0 && used <= len - at && content.len <= used);
        if (e < 0) {
            *ok = false;
            return at;
        }
        at += used;
    } while (used);
    *ok = http_body_ended(&b);
    return at;
}

static void check_forward(const struct http_request *r)
{
    static char buf[65536], path[HTTP_HEAD_MAX];
    int n = uri_path_normalise(r->path.p, r->path.len, 0, path);
    if (n < 0)
        return;
    ASSERT((size_t)n <= r->path.len && path[0] == '/');
    char again[HTTP_HEAD_MAX];
    ASSERT(uri_path_normalise(path, (size_t)n, 0, again) == n && !memcmp(path, again, (size_t)n));
    if (r->authority.len == 0)
        return;
    struct http_forward f = {
        .path = {path, (size_t)n}, .client = {"192.0.2.1", 9}, .request_id = {"id", 2}};
    struct http_out o = {.p = buf, .cap = sizeof buf};
    http_request_forward(r, &f, &o);
    ASSERT(!o.full);
    struct http_request twice;
    size_t scanned = 0;
    int len = http_request_parse(buf, o.len, &scanned, &twice);
    /* The fields that we add may carry a message over the limit of fields or bytes; nothing else may go wrong. */
    if (len == -HTTP_REJECT_FIELD_COUNT || len == -HTTP_REJECT_HEAD_SIZE)
        return;
    ASSERT(len == (int)o.len && twice.framing == r->framing
           && twice.content_length == r->content_length);
    ASSERT(twice.method.len == r->method.len && twice.authority.len == r->authority.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int round = 0; round < ROUNDS_MAX && size; round++) {
        struct http_request r, cut;
        size_t scanned = 0, scanned_cut = 0;
        int n = http_request_parse((const char *)data, size, &scanned, &r);
        int half = http_request_parse((const char *)data, size / 2, &scanned_cut, &cut);
        ASSERT(half <= 0 || half == n);
        ASSERT(half < 0 || http_request_parse((const char *)data, size, &scanned_cut, &cut) == n);
        if (n <= 0)
            break;
        check_forward(&r);
        bool ok;
        size_t used = take_body(&r, data + n, size - (size_t)n, &ok);
        if (!ok)
            break;
        data += (size_t)n + used;
        size -= (size_t)n + used;
    }
    return 0;
}
