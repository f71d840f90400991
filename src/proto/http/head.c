/* SPDX-License-Identifier: Apache-2.0 */
/* A whole head: first a look at every byte and line break (llhttp is lenient about some, and a head
 * that is refused here never reaches it), then llhttp, whose spans become the fields. */
#include "proto/http/priv.h"

#include <llhttp.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One line of the head, [at, eol) with eol at its CR. */
static enum http_reject check_line(const char *p, size_t n, bool first)
{
    if (!first && n && is_blank(p[0]))
        return HTTP_REJECT_FOLDED;
    for (size_t i = 0; i < n; i++)
        if (!byte_is(p[i], BYTE_VALUE))
            return p[i] == '\r' ? HTTP_REJECT_BARE_CR : HTTP_REJECT_CONTROL_BYTE;
    return HTTP_REJECT_NONE;
}

int http_head_scan(const char *buf, size_t len, size_t *scanned)
{
    size_t limit = MIN(len, HTTP_HEAD_MAX);
    while (*scanned < limit) {
        const char *line = buf + *scanned;
        const char *lf = memchr(line, '\n', limit - *scanned);
        if (!lf)
            break;
        if (lf == line || lf[-1] != '\r')
            return -HTTP_REJECT_BARE_LF;
        size_t n = (size_t)(lf - line) - 1;
        /* RFC 9112 section 2.2: one empty line in front of the start line is tolerated. */
        if (n == 0 && *scanned > 0 && *scanned != 2)
            return (int)(lf + 1 - buf);
        if (n == 0 && *scanned == 2)
            return -HTTP_REJECT_START_LINE;
        enum http_reject r = check_line(line, n, *scanned == 0);
        if (r)
            return -(int)r;
        *scanned = (size_t)(lf + 1 - buf);
    }
    if (len >= HTTP_HEAD_MAX)
        return -HTTP_REJECT_HEAD_SIZE;
    return 0;
}

static int on_url(llhttp_t *l, const char *at, size_t len)
{
    struct http_head *h = l->data;
    h->target = (struct http_text){at, len};
    return 0;
}

static int on_status(llhttp_t *l, const char *at, size_t len)
{
    struct http_head *h = l->data;
    h->reason = (struct http_text){at, len};
    return 0;
}

static int on_field(llhttp_t *l, const char *at, size_t len)
{
    struct http_head *h = l->data;
    if (h->fields->n == HTTP_FIELDS_MAX) {
        h->reject = HTTP_REJECT_FIELD_COUNT;
        return -1;
    }
    struct http_text name = {at, len};
    h->fields->v[h->fields->n++] = (struct http_field){.name = name, .value = {at + len, 0}};
    return 0;
}

static int on_value(llhttp_t *l, const char *at, size_t len)
{
    struct http_head *h = l->data;
    h->fields->v[h->fields->n - 1].value = (struct http_text){at, len};
    return 0;
}

static int on_head_end(llhttp_t *l)
{
    return HPE_PAUSED; /* bodies are not llhttp's: see body.c */
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_status = on_status,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head_end,
};

static enum http_reject reject_of(llhttp_errno_t e, const llhttp_t *l)
{
    switch (e) {
    case HPE_INVALID_METHOD:
        return HTTP_REJECT_METHOD;
    case HPE_INVALID_URL:
        return HTTP_REJECT_TARGET;
    case HPE_INVALID_HEADER_TOKEN:
        return HTTP_REJECT_FIELD_NAME;
    case HPE_INVALID_CONTENT_LENGTH:
        return HTTP_REJECT_LENGTH_INVALID;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return l->flags & F_TRANSFER_ENCODING ? HTTP_REJECT_LENGTH_AND_CODING
                                              : HTTP_REJECT_LENGTH_REPEATED;
    case HPE_INVALID_TRANSFER_ENCODING:
        return HTTP_REJECT_CODING;
    default:
        return l->type == HTTP_REQUEST ? HTTP_REJECT_START_LINE : HTTP_REJECT_STATUS;
    }
}

static enum http_reject finish_fields(struct http_fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct http_field *field = &f->v[i];
        if (field->name.len == 0)
            return HTTP_REJECT_FIELD_NAME;
        for (size_t k = 0; k < field->name.len; k++)
            if (!byte_is(field->name.p[k], BYTE_TOKEN))
                return HTTP_REJECT_FIELD_NAME;
        while (field->value.len && is_blank(field->value.p[field->value.len - 1]))
            field->value.len--;
        field->id = http_field_id_of(field->name);
        field->hop = http_field_is_alias(field->name);
    }
    return HTTP_REJECT_NONE;
}

enum http_reject http_head_run(
    bool request, const char *buf, size_t len, struct http_fields *fields, struct http_head *ret)
{
    *ret = (struct http_head){.fields = fields};
    fields->n = 0;
    llhttp_t l;
    llhttp_init(&l, request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    l.data = ret;
    llhttp_errno_t e = llhttp_execute(&l, buf, len);
    if (ret->reject)
        return ret->reject;
    if (e != HPE_PAUSED && e != HPE_PAUSED_UPGRADE)
        return reject_of(e, &l);
    ret->method = l.method;
    ret->major = l.http_major;
    ret->minor = l.http_minor;
    ret->status = l.status_code;
    return finish_fields(fields);
}

/* HTTP's own: behind SOURCE stand the preface of HTTP/2 and what RTSP has. */
bool http_method_known(struct http_text method)
{
    for (int i = 0; i <= HTTP_SOURCE; i++)
        if (http_text_is(method, llhttp_method_name((llhttp_method_t)i)))
            return true;
    return false;
}

const char *http_method_name(uint8_t method)
{
    return llhttp_method_name((llhttp_method_t)method);
}
