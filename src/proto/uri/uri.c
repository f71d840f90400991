/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/uri/uri.h"

#include "base/ip/ip.h"

#define HOST_MAX 255 /* RFC 1035 section 2.3.4 */

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '.' || c == '_' || c == '~';
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Characters of a path as they come; clients leave some of RFC 3986's excluded ones raw ("|", "^",
 * "{"). */
static bool path_char_ok(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '#' && c != '<' && c != '>' && c != '?'
           && c != '\\';
}

/* One character or escape of the input to the output. Returns how much of the input it was, or an
 * error. */
static int take(const char *in, size_t len, char *out, size_t *out_len)
{
    static const char upper[] = "0123456789ABCDEF";
    unsigned char c = (unsigned char)in[0];
    if (c != '%') {
        if (!path_char_ok(c))
            return URI_BAD_CHAR;
        out[(*out_len)++] = (char)c;
        return 1;
    }
    int high = len >= 3 ? hex_value((unsigned char)in[1]) : -1;
    int low = len >= 3 ? hex_value((unsigned char)in[2]) : -1;
    if (high < 0 || low < 0)
        return URI_BAD_ESCAPE;
    unsigned char v = (unsigned char)(high << 4 | low);
    if (v == 0)
        return URI_NUL;
    if (is_unreserved(v)) {
        out[(*out_len)++] = (char)v;
    } else {
        out[(*out_len)++] = '%';
        out[(*out_len)++] = upper[high];
        out[(*out_len)++] = upper[low];
    }
    return 3;
}

static bool is_escaped_separator(const char *p, const char *end)
{
    return end - p >= 3 && p[0] == '%'
           && ((p[1] == '2' && p[2] == 'F') || (p[1] == '5' && p[2] == 'C'));
}

/* ".." (or ".") that ends or begins at an encoded separator, or is followed by ";": some servers
 * decode or cut there and then climb. `seg` is one segment of the normal form. */
static bool hides_dots(const char *seg, size_t len)
{
    const char *end = seg + len;
    bool at_start = true; /* of the segment, or right behind an encoded separator */
    for (const char *p = seg; p < end;) {
        if (at_start && *p == '.') {
            const char *q = p + 1 < end && p[1] == '.' ? p + 2 : p + 1;
            bool behind_separator = p != seg;
            if (q == end ? behind_separator : *q == ';' || is_escaped_separator(q, end))
                return true;
        }
        at_start = is_escaped_separator(p, end);
        p += at_start ? 3 : 1;
    }
    return false;
}

/* Ends the segment that starts at `seg` (just behind its "/"). Returns the new length or an error.
 */
static int end_segment(char *out, size_t seg, size_t len, bool last)
{
    size_t n = len - seg;
    const char *s = out + seg;
    if (n == 1 && s[0] == '.')
        return (int)seg; /* "/a/." is "/a/" */
    if (n == 2 && s[0] == '.' && s[1] == '.') {
        if (seg <= 1)
            return URI_ABOVE_ROOT;
        size_t at = seg - 1; /* the slash in front of ".." */
        while (out[at - 1] != '/')
            at--;
        return (int)at; /* behind the parent's slash */
    }
    if (hides_dots(s, n))
        return URI_HIDDEN_DOTS;
    if (!last)
        out[len++] = '/';
    return (int)len;
}

int uri_path_normalise(const char *in, size_t len, unsigned flags, char *out)
{
    if (len == 0 || in[0] != '/')
        return URI_NOT_ABSOLUTE;
    out[0] = '/';
    size_t n = 1, seg = 1;
    for (size_t i = 1; i < len;) {
        if (in[i] != '/') {
            int r = take(in + i, len - i, out, &n);
            if (r < 0)
                return r;
            i += (size_t)r;
            continue;
        }
        i++;
        if (n == seg && !(flags & URI_KEEP_SLASHES))
            continue;
        int r = end_segment(out, seg, n, false);
        if (r < 0)
            return r;
        n = seg = (size_t)r;
    }
    return end_segment(out, seg, n, true);
}

static bool host_ok(const char *host, size_t len)
{
    if (len == 0 || len > HOST_MAX)
        return false;
    if (host[0] == '[') {
        char text[64];
        struct ip_addr addr;
        if (len < 4 || len - 2 >= sizeof text || host[len - 1] != ']')
            return false;
        memcpy(text, host + 1, len - 2);
        text[len - 2] = '\0';
        return ip_parse(text, &addr) && addr.family == 6;
    }
    for (size_t i = 0; i < len; i++)
        if (!is_unreserved((unsigned char)host[i]) || host[i] == '~')
            return false;
    return true;
}

static bool parse_port(const char *text, size_t len, uint16_t *ret)
{
    unsigned v = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        v = v * 10 + (unsigned)(text[i] - '0');
    }
    if (v == 0 || v > 65535)
        return false;
    *ret = (uint16_t)v;
    return true;
}

bool uri_authority_parse(const char *text, size_t len, struct uri_authority *ret)
{
    *ret = (struct uri_authority){.host = text, .host_len = len};
    const char *from = len && text[0] == '[' ? memchr(text, ']', len) : text;
    if (!from)
        return false;
    const char *colon = memchr(from, ':', len - (size_t)(from - text));
    if (colon) {
        ret->host_len = (size_t)(colon - text);
        if (!parse_port(colon + 1, len - ret->host_len - 1, &ret->port))
            return false;
    }
    return host_ok(ret->host, ret->host_len);
}

size_t uri_host_normalise(const struct uri_authority *a, char *out)
{
    size_t n = a->host_len;
    if (n && a->host[n - 1] == '.')
        n--;
    for (size_t i = 0; i < n; i++) {
        char c = a->host[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return n;
}
