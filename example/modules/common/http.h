/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 requests, read strictly (RFC 9112): what two servers could read differently is refused,
 * so that no gateway and module ever disagree where a request ends. Every size has a limit. */
#pragma once

#include "text.h"

#define HTTP_HEAD_MAX 8192
#define HTTP_BODY_MAX 8192
/* Chunk framing may double a small body. */
#define HTTP_IN_MAX (HTTP_HEAD_MAX + 2 * HTTP_BODY_MAX)
#define HTTP_OUT_MAX 65536

struct http_request {
    struct span method, path, query, body; /* into the caller's input */
    struct span fields;                    /* the header lines, without the empty one */
    bool keep_alive;
    bool chunked;
    size_t content_length;
};

/* 1 with *ret and the bytes it used; 0 when more input is needed; -status (-400, -431 …) when
 * refused. A chunked body is joined in place, which is why `in` is writable. */
int http_parse(char *in, size_t n, struct http_request *ret, size_t *ret_used);

/* The body that begins at `in`: same results as http_parse. */
int http_body_parse(char *in, size_t n, struct http_request *r, size_t *ret_used);

/* The value of a header: 1; 0 when it does not come, -1 when it comes more than once. */
int http_field(const struct http_request *r, const char *name, struct span *ret);

const char *http_reason(int status);
