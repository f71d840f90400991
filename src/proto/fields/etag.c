/* SPDX-License-Identifier: Apache-2.0 */
/* Entity tags (RFC 9110 section 8.8.3). HOT PATH. */
#include "proto/fields/fields.h"

static bool is_etagc(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x21 || (u >= 0x23 && u <= 0x7e) || u >= 0x80;
}

/* One tag at the start of *rest; what is behind it is left there. */
static bool take(struct http_text *rest, struct fields_etag *ret)
{
    struct http_text t = *rest;
    ret->weak = t.len >= 3 && t.p[0] == 'W' && t.p[1] == '/' && t.p[2] == '"';
    if (ret->weak)
        t.p += 2, t.len -= 2;
    size_t n = 0;
    if (t.len && t.p[0] == '"') {
        for (n = 1; n < t.len && is_etagc(t.p[n]); n++)
            ;
        if (n == t.len || t.p[n] != '"')
            return false;
        n++;
    } else {
        while (n < t.len && is_etagc(t.p[n]) && t.p[n] != ',')
            n++;
    }
    ret->opaque = (struct http_text){t.p, n};
    *rest = (struct http_text){t.p + n, t.len - n};
    return n > 0;
}

bool fields_etag_parse(struct http_text t, struct fields_etag *ret)
{
    t = fields_trim(t);
    return take(&t, ret) && t.len == 0;
}

bool fields_etag_weak(const struct fields_etag *a, const struct fields_etag *b)
{
    return fields_same(a->opaque, b->opaque);
}

bool fields_etag_strong(const struct fields_etag *a, const struct fields_etag *b)
{
    return !a->weak && !b->weak && fields_etag_weak(a, b);
}

bool fields_etag_next(struct http_text *rest, struct fields_etag *ret)
{
    while (rest->len && (rest->p[0] == ',' || rest->p[0] == ' ' || rest->p[0] == '\t'))
        rest->p++, rest->len--;
    if (!rest->len || !take(rest, ret))
        return false;
    *rest = fields_trim(*rest);
    return !rest->len || rest->p[0] == ',';
}
