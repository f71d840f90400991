/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of the gateway read from fields: message length, transfer coding, connection
 * options. */
#include "proto/http/priv.h"

/* RFC 9110 section 8.6: digits and nothing else; no sign, list or leading zero (which some read as
 * octal). */
static bool parse_length(struct http_text t, uint64_t *ret)
{
    uint64_t v = 0;
    if (t.len == 0 || t.len > 18 || (t.len > 1 && t.p[0] == '0'))
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(t.p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool next_option(struct http_text *list, struct http_text *ret)
{
    while (list->len && (list->p[0] == ',' || list->p[0] == ' ' || list->p[0] == '\t'))
        list->p++, list->len--;
    if (!list->len)
        return false;
    const char *comma = memchr(list->p, ',', list->len);
    size_t n = comma ? (size_t)(comma - list->p) : list->len;
    *ret = (struct http_text){list->p, n};
    list->p += n;
    list->len -= n;
    while (ret->len && (ret->p[ret->len - 1] == ' ' || ret->p[ret->len - 1] == '\t'))
        ret->len--;
    return true;
}

static bool same_nocase(struct http_text a, struct http_text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char x = a.p[i], y = b.p[i];
        if ((byte_is(x, BYTE_UPPER) ? x | 0x20 : x) != (byte_is(y, BYTE_UPPER) ? y | 0x20 : y))
            return false;
    }
    return true;
}

/* RFC 9110 section 7.6.1: a field that Connection names goes no further. Naming one that every
 * recipient needs is an attempt to make us drop it. */
static enum http_reject connection_option(
    struct http_fields *f, struct http_text option, struct http_common *ret)
{
    if (http_text_is_nocase(option, "close")) {
        ret->close = true;
        return HTTP_REJECT_NONE;
    }
    if (http_text_is_nocase(option, "keep-alive")) {
        ret->keep_alive = true;
        return HTTP_REJECT_NONE;
    }
    for (size_t i = 0; i < f->n; i++) {
        if (!same_nocase(f->v[i].name, option))
            continue;
        if (f->v[i].id == HTTP_FIELD_HOST || f->v[i].id == HTTP_FIELD_CONTENT_LENGTH
            || f->v[i].id == HTTP_FIELD_TRANSFER_ENCODING
            || http_text_is_nocase(option, "authorization")
            || http_text_is_nocase(option, "cookie"))
            return HTTP_REJECT_CONNECTION;
        f->v[i].hop = true;
    }
    return HTTP_REJECT_NONE;
}

static bool is_hop(enum http_field_id id)
{
    switch (id) {
    case HTTP_FIELD_CONNECTION:
    case HTTP_FIELD_HTTP2_SETTINGS:
    case HTTP_FIELD_KEEP_ALIVE:
    case HTTP_FIELD_PROXY_AUTHENTICATE:
    case HTTP_FIELD_PROXY_AUTHORIZATION:
    case HTTP_FIELD_PROXY_CONNECTION:
    case HTTP_FIELD_TE:
    case HTTP_FIELD_TRAILER:
    case HTTP_FIELD_TRANSFER_ENCODING:
    case HTTP_FIELD_UPGRADE:
        return true;
    default:
        return false;
    }
}

static enum http_reject one_field(
    struct http_fields *f, struct http_field *field, struct http_common *ret)
{
    field->hop |= is_hop(field->id);
    struct http_text list = field->value, option;
    switch ((enum http_field_id)field->id) {
    case HTTP_FIELD_CONTENT_LENGTH:
        if (ret->length)
            return HTTP_REJECT_LENGTH_REPEATED;
        ret->length = field;
        return parse_length(field->value, &ret->content_length) ? HTTP_REJECT_NONE
                                                                : HTTP_REJECT_LENGTH_INVALID;
    case HTTP_FIELD_TRANSFER_ENCODING:
        if (ret->coding || !http_text_is_nocase(field->value, "chunked"))
            return HTTP_REJECT_CODING;
        ret->coding = field;
        return HTTP_REJECT_NONE;
    case HTTP_FIELD_CONNECTION:
        while (next_option(&list, &option)) {
            enum http_reject r = connection_option(f, option, ret);
            if (r)
                return r;
        }
        return HTTP_REJECT_NONE;
    default:
        return HTTP_REJECT_NONE;
    }
}

enum http_reject http_fields_common(struct http_fields *f, struct http_common *ret)
{
    *ret = (struct http_common){0};
    for (size_t i = 0; i < f->n; i++) {
        enum http_reject r = one_field(f, &f->v[i], ret);
        if (r)
            return r;
    }
    return ret->length && ret->coding ? HTTP_REJECT_LENGTH_AND_CODING : HTTP_REJECT_NONE;
}
