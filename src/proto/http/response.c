/* SPDX-License-Identifier: Apache-2.0 */
/* The upstream's side. A module is trusted more than a client, but a response that can be read in
 * two ways splits the connection for whoever comes next on it, so the rules are the same. */
#include "proto/http/priv.h"

/* RFC 9112 section 4: "HTTP/1.1 200 reason"; some leave the blank in front of an empty reason out.
 */
static enum http_reject check_status_line(const char *line, size_t len, struct http_response *r)
{
    if (len < 12 || memcmp(line, "HTTP/", 5) || line[8] != ' ')
        return HTTP_REJECT_STATUS;
    if (memcmp(line + 5, "1.1", 3) && memcmp(line + 5, "1.0", 3))
        return HTTP_REJECT_VERSION;
    r->minor = (uint8_t)(line[7] - '0');
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return HTTP_REJECT_STATUS;
        r->status = r->status * 10 + (unsigned)(line[i] - '0');
    }
    if (r->status < 100 || r->status > 599 || (len > 12 && line[12] != ' '))
        return HTTP_REJECT_STATUS;
    r->reason =
        len > 13 ? (struct http_text){line + 13, len - 13} : (struct http_text){line + 12, 0};
    return r->status == 101 ? HTTP_REJECT_SWITCHED : HTTP_REJECT_NONE;
}

/* RFC 9112 section 6.3, in its order. */
static enum http_reject decide_framing(
    struct http_response *r, const struct http_common *c, bool to_head)
{
    bool bodyless = r->status < 200 || r->status == 204;
    if (c->coding && r->minor == 0)
        return HTTP_REJECT_CODING_VERSION;
    if (bodyless && (c->coding || c->content_length))
        /* "Content-Length: 0" there is wrong but harmless, and common */
        return HTTP_REJECT_LENGTH_FORBIDDEN;
    r->has_length = c->length && !bodyless;
    r->content_length = c->content_length;
    if (bodyless || to_head || r->status == 304)
        r->framing = HTTP_BODY_NONE;
    else if (c->coding)
        r->framing = HTTP_BODY_CHUNKED;
    else if (c->length)
        r->framing = c->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    else
        r->framing = HTTP_BODY_UNTIL_CLOSE;
    r->close = c->close || (r->minor == 0 && !c->keep_alive) || r->framing == HTTP_BODY_UNTIL_CLOSE;
    return HTTP_REJECT_NONE;
}

int http_response_parse(
    const char *buf, size_t len, size_t *scanned, bool to_head, struct http_response *ret)
{
    int n = http_head_scan(buf, len, scanned);
    if (n <= 0)
        return n;
    memset(ret, 0, offsetof(struct http_response, fields));
    struct http_head head;
    const char *eol = memchr(buf, '\r', (size_t)n);
    enum http_reject e = check_status_line(buf, (size_t)(eol - buf), ret);
    if (!e)
        e = http_head_run(false, buf, (size_t)n, &ret->fields, &head);
    if (!e && head.status != ret->status)
        e = HTTP_REJECT_STATUS;
    struct http_common common;
    if (!e)
        e = http_fields_common(&ret->fields, &common);
    if (!e)
        e = decide_framing(ret, &common, to_head);
    return e ? -(int)e : n;
}
