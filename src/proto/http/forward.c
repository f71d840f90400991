/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Heads as the gateway sends them on (RFC 9110 section 7.6). */
#include "proto/http/priv.h"

void http_out_mem(struct http_out *o, const void *p, size_t len)
{
    if (len > o->cap - o->len) {
        o->full = true;
        return;
    }
    if (len)
        memcpy(o->p + o->len, p, len);
    o->len += len;
}

void http_out_text(struct http_out *o, struct http_text t)
{
    http_out_mem(o, t.p, t.len);
}

void http_out_str(struct http_out *o, const char *s)
{
    http_out_mem(o, s, strlen(s));
}

void http_out_u64(struct http_out *o, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    http_out_mem(o, text + at, sizeof text - at);
}

void http_out_hex(struct http_out *o, uint64_t v)
{
    char text[16];
    size_t at = sizeof text;
    do {
        text[--at] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    http_out_mem(o, text + at, sizeof text - at);
}

void http_out_chunk(struct http_out *o, const char *p, size_t len)
{
    http_out_hex(o, len);
    http_out_str(o, "\r\n");
    http_out_mem(o, p, len);
    http_out_str(o, "\r\n");
}

void http_out_last_chunk(struct http_out *o)
{
    http_out_str(o, "0\r\n\r\n");
}

static void out_field(struct http_out *o, const char *name, struct http_text value)
{
    http_out_str(o, name);
    http_out_str(o, ": ");
    http_out_text(o, value);
    http_out_str(o, "\r\n");
}

/* RFC 9113 section 8.2.3: HTTP/2 may send its crumbs one by one, HTTP/1.1 wants one line. */
static void out_cookies(struct http_out *o, const struct http_fields *f)
{
    const char *between = "Cookie: ";
    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].id != HTTP_FIELD_COOKIE || f->v[i].hop)
            continue;
        http_out_str(o, between);
        http_out_text(o, f->v[i].value);
        between = "; ";
    }
    if (between[0] == ';')
        http_out_str(o, "\r\n");
}

/* join: all but cookies. */
static void out_fields(struct http_out *o, const struct http_fields *f, bool join,
    bool (*skip)(const struct http_field *))
{
    for (size_t i = 0; i < f->n; i++) {
        const struct http_field *field = &f->v[i];
        if (field->hop || skip(field) || (join && field->id == HTTP_FIELD_COOKIE))
            continue;
        http_out_text(o, field->name);
        http_out_mem(o, ": ", 2);
        http_out_text(o, field->value);
        http_out_mem(o, "\r\n", 2);
    }
}

/* Written anew, or nothing that a client may tell a module about itself. */
static bool skip_in_request(const struct http_field *f)
{
    switch ((enum http_field_id)f->id) {
    case HTTP_FIELD_CONTENT_LENGTH:
    case HTTP_FIELD_EXPECT:
    case HTTP_FIELD_FORWARDED:
    case HTTP_FIELD_HOST:
    case HTTP_FIELD_X_FORWARDED_CLIENT_CERT:
    case HTTP_FIELD_X_FORWARDED_FOR:
    case HTTP_FIELD_X_FORWARDED_HOST:
    case HTTP_FIELD_X_FORWARDED_PORT:
    case HTTP_FIELD_X_FORWARDED_PROTO:
    case HTTP_FIELD_X_REAL_IP:
    case HTTP_FIELD_X_REQUEST_ID:
        return true;
    default:
        return false;
    }
}

bool http_field_is_own(const struct http_field *f)
{
    return f->id == HTTP_FIELD_CONTENT_LENGTH || f->id == HTTP_FIELD_X_REQUEST_ID;
}

static void out_length(struct http_out *o, uint64_t length)
{
    http_out_str(o, "Content-Length: ");
    http_out_u64(o, length);
    http_out_str(o, "\r\n");
}

void http_request_forward(
    const struct http_request *r, const struct http_forward *f, struct http_out *o)
{
    http_out_text(o, r->method);
    http_out_str(o, " ");
    http_out_text(o, f->path);
    if (r->has_query) {
        http_out_mem(o, "?", 1);
        http_out_text(o, r->query);
    }
    http_out_str(o, " HTTP/1.1\r\n");
    out_field(o, "Host", r->authority);
    out_fields(o, &r->fields, r->h2, skip_in_request);
    if (r->h2)
        out_cookies(o, &r->fields);
    if (r->framing == HTTP_BODY_CHUNKED)
        http_out_str(o, "Transfer-Encoding: chunked\r\n");
    else if (r->framing == HTTP_BODY_LENGTH
             || http_fields_find(&r->fields, HTTP_FIELD_CONTENT_LENGTH))
        out_length(o, r->content_length);
    if (f->keep_expect)
        http_out_str(o, "Expect: 100-continue\r\n");
    http_out_text(o, f->lines);
    out_field(o, "X-Forwarded-For", f->client);
    http_out_str(o, f->tls ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n");
    out_field(o, "X-Request-Id", f->request_id);
    http_out_str(o, r->h2 ? "Via: 2.0 mcp\r\n\r\n" : r->minor ? "Via: 1.1 mcp\r\n\r\n" : "Via: 1.0 mcp\r\n\r\n");
}

void http_response_forward(
    const struct http_response *r, const struct http_forward *f, struct http_out *o)
{
    http_out_str(o, "HTTP/1.1 ");
    http_out_u64(o, r->status);
    http_out_str(o, " ");
    http_out_text(o, r->reason);
    http_out_str(o, "\r\n");
    out_fields(o, &r->fields, false, http_field_is_own);
    if (f->chunked)
        http_out_str(o, "Transfer-Encoding: chunked\r\n");
    else if (r->has_length)
        out_length(o, r->content_length);
    if (r->status >= 200) {
        if (f->date.len && !http_fields_find(&r->fields, HTTP_FIELD_DATE))
            out_field(o, "Date", f->date);
        out_field(o, "X-Request-Id", f->request_id);
        http_out_str(o, r->minor ? "Via: 1.1 mcp\r\n" : "Via: 1.0 mcp\r\n");
        if (f->close)
            http_out_str(o, "Connection: close\r\n");
    }
    http_out_str(o, "\r\n");
}

const char *http_status_reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 304:
        return "Not Modified";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Status";
    }
}
