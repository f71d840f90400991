/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The head of an HTTP/2 request (RFC 9113 section 8) as the request that HTTP/1.1 would have
 * made, by the same rules: names and values byte by byte, one host, one length, no field that belongs
 * to a connection. */
#include "proto/http/priv.h"

#include "proto/uri/uri.h"

#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

enum http_reject http_field_put(
    struct http_fields *f, struct http_text name, struct http_text value)
{
    if (f->n == HTTP_FIELDS_MAX)
        return HTTP_REJECT_FIELD_COUNT;
    if (!name.len)
        return HTTP_REJECT_FIELD_NAME;
    for (size_t i = 0; i < name.len; i++)
        if (!byte_is(name.p[i], BYTE_TOKEN) || byte_is(name.p[i], BYTE_UPPER))
            return HTTP_REJECT_FIELD_NAME;
    for (size_t i = 0; i < value.len; i++)
        if (!byte_is(value.p[i], BYTE_VALUE))
            return HTTP_REJECT_FIELD_VALUE;
    if (value.len && (is_blank(value.p[0]) || is_blank(value.p[value.len - 1])))
        return HTTP_REJECT_FIELD_VALUE;
    f->v[f->n++] = (struct http_field){
        .name = name,
        .value = value,
        .id = http_field_id_of(name),
        .hop = http_field_is_alias(name),
    };
    return HTTP_REJECT_NONE;
}

/* Section 8.2.2: what HTTP/1.1 says of its connection has no meaning here, and a peer that says it may
 * be two peers. */
static enum http_reject check_connection_fields(const struct http_fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        switch ((enum http_field_id)f->v[i].id) {
        case HTTP_FIELD_CONNECTION:
        case HTTP_FIELD_HTTP2_SETTINGS:
        case HTTP_FIELD_KEEP_ALIVE:
        case HTTP_FIELD_PROXY_CONNECTION:
        case HTTP_FIELD_TRANSFER_ENCODING:
        case HTTP_FIELD_UPGRADE:
            return HTTP_REJECT_CONNECTION_FIELD;
        case HTTP_FIELD_TE:
            if (!http_text_is_nocase(f->v[i].value, "trailers"))
                return HTTP_REJECT_CONNECTION_FIELD;
            break;
        default:
            break;
        }
    }
    return HTTP_REJECT_NONE;
}

/* Section 8.3.1: :authority, or Host in its place; if both, then the same. */
static enum http_reject check_authority(struct http_request *r, struct http_text authority)
{
    const struct http_field *host;
    if (!http_host_find(&r->fields, &host))
        return HTTP_REJECT_HOST_REPEATED;
    if (!authority.p && !host)
        return HTTP_REJECT_HOST_MISSING;
    r->authority = authority.p ? authority : host->value;
    struct uri_authority a;
    if (!uri_authority_parse(r->authority.p, r->authority.len, &a))
        return HTTP_REJECT_HOST_INVALID;
    if (host
        && (host->value.len != r->authority.len
            || strncasecmp(host->value.p, r->authority.p, r->authority.len)))
        return HTTP_REJECT_HOST_MISMATCH;
    r->host = (struct http_text){a.host, a.host_len};
    return HTTP_REJECT_NONE;
}

static enum http_reject check_path(struct http_request *r, struct http_text path)
{
    r->target = path;
    if (!path.len || (path.p[0] != '/' && !http_text_is(path, "*")))
        return HTTP_REJECT_TARGET;
    return http_target_split(r);
}

static enum http_reject check_content(struct http_request *r, bool ended)
{
    struct http_common c;
    enum http_reject e = http_fields_common(&r->fields, &c);
    if (e)
        return e;
    if (ended && c.content_length)
        return HTTP_REJECT_LENGTH_FORBIDDEN;
    r->content_length = c.content_length;
    if (c.content_length)
        r->framing = HTTP_BODY_LENGTH;
    else
        r->framing = ended || c.length ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    return http_expect_check(r);
}

enum http_reject http_request_from_pseudo(
    const struct http_pseudo *p, bool ended, struct http_request *r)
{
    if (!p->method.len || !p->scheme.len || !p->path.len)
        return HTTP_REJECT_PSEUDO;
    if (!http_text_is(p->scheme, "http") && !http_text_is(p->scheme, "https"))
        return HTTP_REJECT_PSEUDO;
    r->minor = 1;
    r->h2 = true;
    r->method = p->method;
    enum http_reject e = check_connection_fields(&r->fields);
    if (!e)
        e = check_authority(r, p->authority);
    if (!e)
        e = check_content(r, ended);
    /* Malformed comes before what is only not served. */
    if (!e && !http_method_known(p->method))
        e = HTTP_REJECT_METHOD;
    if (!e)
        e = http_method_check(r);
    if (!e)
        e = check_path(r, p->path);
    r->scheme = p->scheme;
    return e;
}
