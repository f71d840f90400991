/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <string.h>

struct chunk {
    size_t size, used; /* of data, and of data with its framing */
    char *data;
};

/* One chunk at `in`. Extensions are refused: no client of ours sends any, and parsers differ on
 * them. */
static int parse_chunk(char *in, size_t n, struct chunk *ret)
{
    size_t digits = 0, size = 0;
    while (digits < n && digits < 5 && hex_digit(in[digits]) >= 0)
        size = size << 4 | (size_t)hex_digit(in[digits++]);
    if (digits == n || (digits + 1 == n && in[digits] == '\r'))
        return 0;
    if (digits == 0 || in[digits] != '\r' || in[digits + 1] != '\n')
        return -400;
    if (size > HTTP_BODY_MAX)
        return -413;
    size_t frame = digits + 2;
    *ret = (struct chunk){.size = size, .used = frame + size + 2, .data = in + frame};
    if (n < ret->used)
        return 0;
    /* After the last chunk an empty trailer section is the only one taken. */
    return memcmp(in + frame + size, "\r\n", 2) == 0 ? 1 : -400;
}

/* The length of the joined body, once all of it is there; joins it when asked to. */
static int walk_chunks(char *in, size_t n, bool join, size_t *ret_total, size_t *ret_used)
{
    struct chunk c;
    size_t at = 0, total = 0;
    do {
        int e = parse_chunk(in + at, n - at, &c);
        if (e <= 0)
            return e;
        if (total + c.size > HTTP_BODY_MAX)
            return -413;
        if (join)
            memmove(in + total, c.data, c.size);
        total += c.size;
        at += c.used;
    } while (c.size > 0);
    *ret_total = total;
    *ret_used = at;
    return 1;
}

int http_body_parse(char *in, size_t n, struct http_request *r, size_t *ret_used)
{
    if (!r->chunked) {
        if (n < r->content_length)
            return 0;
        r->body = (struct span){in, r->content_length};
        *ret_used = r->content_length;
        return 1;
    }
    size_t total = 0;
    int e = walk_chunks(in, n, false, &total, ret_used);
    if (e <= 0)
        return e == 0 && n >= 2 * HTTP_BODY_MAX ? -413 : e;
    walk_chunks(in, n, true, &total, ret_used);
    r->body = (struct span){in, total};
    return 1;
}
