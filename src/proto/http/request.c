/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/priv.h"

#include "proto/uri/uri.h"

#include <strings.h>

#define VERSION_LEN 8 /* "HTTP/1.1" */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Before anything else, so that another version of HTTP is told so whatever the rest of it looks
 * like. */
static enum http_reject check_version(const char *line, size_t len, struct http_request *r)
{
    const char *v = line + len - VERSION_LEN;
    if (len < VERSION_LEN || memcmp(v, "HTTP/", 5) || !is_digit(v[5]) || v[6] != '.'
        || !is_digit(v[7]))
        return HTTP_REJECT_START_LINE;
    if (v[5] != '1' || v[7] > '1')
        return HTTP_REJECT_VERSION;
    r->minor = (uint8_t)(v[7] - '0');
    return HTTP_REJECT_NONE;
}

/* RFC 9112 section 3: method SP target SP version, single blanks, nothing else. llhttp lets more
 * pass. */
static enum http_reject check_start_line(
    const char *line, size_t len, const struct http_head *h, struct http_request *r)
{
    const char *method = http_method_name(h->method);
    size_t n = strlen(method);
    const char *version = line + len - VERSION_LEN;
    if (len < n + VERSION_LEN + 3 || memcmp(line, method, n) || line[n] != ' '
        || version[-1] != ' ')
        return HTTP_REJECT_START_LINE;
    if (h->target.p != line + n + 1 || h->target.p + h->target.len + 1 != version)
        return HTTP_REJECT_START_LINE;
    r->method = (struct http_text){line, n};
    r->target = h->target;
    return HTTP_REJECT_NONE;
}

enum http_reject http_method_check(struct http_request *r)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
    if (http_text_is(r->method, "CONNECT"))
        return HTTP_REJECT_METHOD_REFUSED;
    if (http_text_is(r->method, "TRACE"))
        return HTTP_REJECT_TRACE_REFUSED;
    for (size_t i = 0; i < ARRAY_SIZE(idempotent) && !r->is_idempotent; i++)
        r->is_idempotent = http_text_is(r->method, idempotent[i]);
    r->is_head = http_text_is(r->method, "HEAD");
    return HTTP_REJECT_NONE;
}

static bool cut_scheme(struct http_text *t, struct http_text *scheme)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (t->len > n && http_text_is_nocase((struct http_text){t->p, n}, schemes[i])) {
            *scheme = (struct http_text){t->p, n - 3};
            *t = (struct http_text){t->p + n, t->len - n};
            return true;
        }
    }
    return false;
}

/* Origin form "/path?query", absolute form, or "*" for OPTIONS (RFC 9112 section 3.2). */
enum http_reject http_target_split(struct http_request *r)
{
    struct http_text t = r->target;
    if (t.len > HTTP_TARGET_MAX)
        return HTTP_REJECT_TARGET_SIZE;
    for (size_t i = 0; i < t.len; i++)
        if (!byte_is(t.p[i], BYTE_TARGET) || t.p[i] == '#')
            return HTTP_REJECT_TARGET;
    if (http_text_is(t, "*")) {
        r->path = t;
        return http_text_is(r->method, "OPTIONS") ? HTTP_REJECT_NONE : HTTP_REJECT_TARGET;
    }
    if (t.p[0] != '/') {
        if (!cut_scheme(&t, &r->scheme))
            return HTTP_REJECT_TARGET;
        size_t n = 0;
        while (n < t.len && t.p[n] != '/' && t.p[n] != '?')
            n++;
        r->authority = (struct http_text){t.p, n};
        t = (struct http_text){t.p + n, t.len - n};
    }
    const char *mark = memchr(t.p, '?', t.len);
    r->has_query = mark != NULL;
    r->path = (struct http_text){t.p, mark ? (size_t)(mark - t.p) : t.len};
    if (mark)
        r->query = (struct http_text){mark + 1, t.len - r->path.len - 1};
    if (r->path.len == 0) /* "http://host" and "http://host?q" */
        r->path = (struct http_text){"/", 1};
    return HTTP_REJECT_NONE;
}

bool http_host_find(const struct http_fields *f, const struct http_field **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].id != HTTP_FIELD_HOST)
            continue;
        if (*ret)
            return false;
        *ret = &f->v[i];
    }
    return true;
}

/* RFC 9112 section 3.2: exactly one valid Host in HTTP/1.1, and no second opinion in an absolute
 * target. */
static enum http_reject check_host(struct http_request *r)
{
    const struct http_field *host;
    if (!http_host_find(&r->fields, &host))
        return HTTP_REJECT_HOST_REPEATED;
    if (!host)
        return r->minor == 1 || r->authority.len ? HTTP_REJECT_HOST_MISSING : HTTP_REJECT_NONE;
    struct uri_authority a;
    if (!uri_authority_parse(host->value.p, host->value.len, &a))
        return HTTP_REJECT_HOST_INVALID;
    if (r->scheme.len
        && (r->authority.len != host->value.len
            || strncasecmp(r->authority.p, host->value.p, host->value.len)))
        return HTTP_REJECT_HOST_MISMATCH;
    r->authority = host->value;
    r->host = (struct http_text){a.host, a.host_len};
    return HTTP_REJECT_NONE;
}

static enum http_reject check_expect(struct http_request *r, const struct http_field *f)
{
    if (r->minor == 0)
        return HTTP_REJECT_NONE; /* RFC 9110 section 10.1.1: ignored there */
    if (r->expect_continue)
        return HTTP_REJECT_FIELD_REPEATED;
    if (!http_text_is_nocase(f->value, "100-continue"))
        return HTTP_REJECT_EXPECT;
    r->expect_continue = true;
    return HTTP_REJECT_NONE;
}

enum http_reject http_expect_check(struct http_request *r)
{
    for (size_t i = 0; i < r->fields.n; i++) {
        const struct http_field *f = &r->fields.v[i];
        if (f->id == HTTP_FIELD_UPGRADE)
            return HTTP_REJECT_UPGRADE;
        enum http_reject e = f->id == HTTP_FIELD_EXPECT ? check_expect(r, f) : HTTP_REJECT_NONE;
        if (e)
            return e;
    }
    if (r->framing == HTTP_BODY_NONE)
        r->expect_continue = false;
    return HTTP_REJECT_NONE;
}

static enum http_reject check_fields(struct http_request *r)
{
    struct http_common c;
    enum http_reject e = http_fields_common(&r->fields, &c);
    if (e)
        return e;
    if (c.coding && r->minor == 0)
        return HTTP_REJECT_CODING_VERSION;
    /* HTTP/1.0 connections carry one request: its keep-alive is an extension that nobody needs any
     * more. */
    r->close = c.close || r->minor == 0;
    r->content_length = c.content_length;
    r->framing = c.coding           ? HTTP_BODY_CHUNKED
                 : c.content_length ? HTTP_BODY_LENGTH
                                    : HTTP_BODY_NONE;
    return http_expect_check(r);
}

int http_request_parse(const char *buf, size_t len, size_t *scanned, struct http_request *ret)
{
    int n = http_head_scan(buf, len, scanned);
    if (n <= 0)
        return n;
    /* Everything but the fields starts empty; those are http_head_run()'s and too large to clear
     * each time. */
    memset(ret, 0, offsetof(struct http_request, fields));
    struct http_head head;
    const char *line = buf[0] == '\r' ? buf + 2 : buf;
    const char *eol = memchr(line, '\r', (size_t)(buf + n - line));
    enum http_reject e = check_version(line, (size_t)(eol - line), ret);
    if (!e)
        e = http_head_run(true, buf, (size_t)n, &ret->fields, &head);
    if (!e)
        e = check_start_line(line, (size_t)(eol - line), &head, ret);
    if (!e)
        e = http_method_check(ret);
    if (!e)
        e = http_target_split(ret);
    if (!e)
        e = check_host(ret);
    if (!e)
        e = check_fields(ret);
    return e ? -(int)e : n;
}
