/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The one request that a proxy gets and no server does (RFC 9110 section 9.3.6). What it
 * says besides the authority is of no interest here and is checked for its form only. */
#include "proto/http/http.h"

#include <string.h>

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '.' || c == '_';
}

bool http_authority_split(struct http_text authority, uint16_t fallback, struct http_text *ret_host,
    uint16_t *ret_port)
{
    size_t n = 0;
    unsigned port = 0;
    while (n < authority.len && is_name_byte(authority.p[n]))
        n++;
    *ret_host = (struct http_text){authority.p, n};
    *ret_port = fallback;
    if (!n || n > 253)
        return false;
    if (n == authority.len)
        return fallback != 0;
    if (authority.p[n] != ':' || authority.len - n > 6 || authority.len == n + 1)
        return false;
    for (size_t i = n + 1; i < authority.len; i++) {
        if (authority.p[i] < '0' || authority.p[i] > '9')
            return false;
        port = port * 10 + (unsigned)(authority.p[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

/* Where the head ends; 0: not there yet; -1: a byte that a head may not have. */
static int find_end(const char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)buf[i];
        bool ends_line = c == '\r' && (i + 1 == len || buf[i + 1] == '\n');
        bool ended_line = c == '\n' && i && buf[i - 1] == '\r';
        if ((c < 0x20 && c != '\t' && !ends_line && !ended_line) || c == 0x7f)
            return -1;
        if (ended_line && i >= 3 && !memcmp(buf + i - 3, "\r\n\r", 3))
            return (int)i + 1;
    }
    return 0;
}

int http_connect_parse(
    const char *buf, size_t len, struct http_text *ret_host, uint16_t *ret_port)
{
    static const char method[] = "CONNECT ", v11[] = " HTTP/1.1\r\n", v10[] = " HTTP/1.0\r\n";
    size_t m = sizeof method - 1, v = sizeof v11 - 1;
    if (memcmp(buf, method, len < m ? len : m) != 0)
        return -HTTP_REJECT_METHOD;
    if (len > HTTP_HEAD_MAX)
        return -HTTP_REJECT_HEAD_SIZE;
    int end = find_end(buf, len);
    if (end <= 0)
        return end ? -HTTP_REJECT_CONTROL_BYTE : 0;
    const char *blank = memchr(buf + m, ' ', (size_t)end - m);
    if (!blank || (size_t)(buf + end - blank) < v
        || (memcmp(blank, v11, v) != 0 && memcmp(blank, v10, v) != 0))
        return -HTTP_REJECT_START_LINE;
    struct http_text authority = {buf + m, (size_t)(blank - buf) - m};
    return http_authority_split(authority, 0, ret_host, ret_port) ? end : -HTTP_REJECT_TARGET;
}
