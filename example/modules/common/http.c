/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <string.h>

struct head_seen {
    bool host, length, coding, http10, close;
};

static bool is_token(struct span s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !memchr(marks, c, sizeof(marks) - 1))
            return false;
    }
    return s.n > 0;
}

static bool is_value(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static struct span trim(struct span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct span){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Cuts the text before `mark` off *rest; the whole rest when the mark does not come. */
static struct span cut(struct span *rest, struct span mark)
{
    const char *at = memmem(rest->p, rest->n, mark.p, mark.n);
    struct span first = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
    size_t step = at ? first.n + mark.n : rest->n;
    *rest = (struct span){rest->p + step, rest->n - step};
    return first;
}

static int parse_request_line(struct span line, struct http_request *r, struct head_seen *seen)
{
    r->method = cut(&line, SPAN(" "));
    struct span target = cut(&line, SPAN(" "));
    if (!is_token(r->method) || r->method.n > 16)
        return -400;
    if (target.n == 0 || target.p[0] != '/' || memchr(target.p, '#', target.n))
        return -400;
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= 0x20 || target.p[i] >= 0x7f)
            return -400;
    r->path = cut(&target, SPAN("?"));
    r->query = target;
    seen->http10 = span_equal(line, "HTTP/1.0");
    bool version = line.n == 8 && span_starts(line, SPAN("HTTP/")) && line.p[6] == '.';
    if (!seen->http10 && !span_equal(line, "HTTP/1.1"))
        return version ? -505 : -400;
    return 0;
}

static int parse_length(struct span value, struct http_request *r, struct head_seen *seen)
{
    if (seen->length || value.n == 0)
        return -400;
    seen->length = true;
    size_t length = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return -400;
        length = length * 10 + (size_t)(value.p[i] - '0');
        if (length > HTTP_BODY_MAX)
            return -413;
    }
    r->content_length = length;
    return 0;
}

static void parse_connection(struct span value, struct head_seen *seen)
{
    while (value.n > 0)
        if (span_equal_nocase(trim(cut(&value, SPAN(","))), "close"))
            seen->close = true;
}

static int parse_header(struct span line, struct http_request *r, struct head_seen *seen)
{
    if (!memchr(line.p, ':', line.n))
        return -400;
    struct span name = cut(&line, SPAN(":"));
    struct span value = trim(line);
    /* A name with space around it, or a folded line, is where request smuggling begins (RFC 9112
     * §5). */
    if (!is_token(name) || !is_value(value))
        return -400;
    if (span_equal_nocase(name, "host")) {
        if (seen->host)
            return -400;
        seen->host = true;
    } else if (span_equal_nocase(name, "content-length")) {
        return parse_length(value, r, seen);
    } else if (span_equal_nocase(name, "transfer-encoding")) {
        if (seen->coding)
            return -400;
        seen->coding = r->chunked = true;
        return span_equal_nocase(value, "chunked") ? 0 : -501;
    } else if (span_equal_nocase(name, "connection")) {
        parse_connection(value, seen);
    } else if (span_equal_nocase(name, "expect")) {
        return -417;
    }
    return 0;
}

static int check_head(const struct http_request *r, const struct head_seen *seen)
{
    if (!seen->host && !seen->http10)
        return -400;
    /* Length and coding together are an attack or a mistake (RFC 9112 §6.1). */
    if (r->chunked && (seen->length || seen->http10))
        return -400;
    return 0;
}

static int parse_head(struct span head, struct http_request *r)
{
    struct head_seen seen = {0};
    int e = parse_request_line(cut(&head, SPAN("\r\n")), r, &seen);
    r->fields = head;
    while (e == 0 && head.n > 0)
        e = parse_header(cut(&head, SPAN("\r\n")), r, &seen);
    if (e == 0)
        e = check_head(r, &seen);
    r->keep_alive = !seen.http10 && !seen.close;
    return e;
}

int http_parse(char *in, size_t n, struct http_request *ret, size_t *ret_used)
{
    size_t within = n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX;
    const char *end = memmem(in, within, "\r\n\r\n", 4);
    if (!end)
        return n < HTTP_HEAD_MAX ? 0 : -431;
    size_t head_n = (size_t)(end - in);
    *ret = (struct http_request){0};
    int e = parse_head((struct span){in, head_n}, ret);
    if (e < 0)
        return e;
    size_t body_used = 0;
    e = http_body_parse(in + head_n + 4, n - head_n - 4, ret, &body_used);
    *ret_used = head_n + 4 + body_used;
    return e;
}

int http_field(const struct http_request *r, const char *name, struct span *ret)
{
    int found = 0;
    for (struct span rest = r->fields; rest.n > 0;) {
        struct span line = cut(&rest, SPAN("\r\n"));
        if (!span_equal_nocase(cut(&line, SPAN(":")), name))
            continue;
        if (found)
            return -1;
        *ret = trim(line);
        found = 1;
    }
    return found;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}
