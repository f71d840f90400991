/* SPDX-License-Identifier: Apache-2.0 */
#include "service/forwarder/sniff.h"

#include <string.h>
#include <strings.h>

#define RECORD_HEADER 5
#define CONTENT_HANDSHAKE 22
#define CLIENT_HELLO 1
#define EXT_SERVER_NAME 0
#define NAME_TYPE_HOST 0

struct cursor {
    const uint8_t *p;
    size_t left;
};

static bool take(struct cursor *c, size_t n, const uint8_t **ret)
{
    if (n > c->left)
        return false;
    *ret = c->p;
    c->p += n;
    c->left -= n;
    return true;
}

static bool take_uint(struct cursor *c, unsigned bytes, size_t *ret)
{
    const uint8_t *p;
    if (!take(c, bytes, &p))
        return false;
    for (*ret = 0; bytes--; p++)
        *ret = *ret << 8 | *p;
    return true;
}

/* A vector with its length in front, as a cursor of its own. */
static bool take_vector(struct cursor *c, unsigned length_bytes, struct cursor *ret)
{
    size_t n;
    if (!take_uint(c, length_bytes, &n))
        return false;
    ret->left = n;
    return take(c, n, &ret->p);
}

/* Letters, digits, dots and dashes; lower-cased, without a closing dot. */
static bool copy_name(const uint8_t *p, size_t len, char ret[SNIFF_NAME_SIZE])
{
    if (len && p[len - 1] == '.')
        len--;
    if (len >= SNIFF_NAME_SIZE)
        return false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = p[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_')
            return false;
        ret[i] = (char)(letter ? c | 0x20 : c);
    }
    ret[len] = '\0';
    return true;
}

static bool read_server_name(struct cursor ext, struct sniffed *ret)
{
    struct cursor list, name;
    size_t type;
    if (!take_vector(&ext, 2, &list))
        return false;
    while (list.left) {
        if (!take_uint(&list, 1, &type) || !take_vector(&list, 2, &name))
            return false;
        if (type == NAME_TYPE_HOST)
            return copy_name(name.p, name.left, ret->name);
    }
    return true;
}

static bool read_extensions(struct cursor all, struct sniffed *ret)
{
    while (all.left) {
        size_t type;
        struct cursor ext;
        if (!take_uint(&all, 2, &type) || !take_vector(&all, 2, &ext))
            return false;
        if (type == EXT_SERVER_NAME)
            return read_server_name(ext, ret);
    }
    return true;
}

/* `c` holds a whole ClientHello without its handshake header. */
static bool read_hello(struct cursor c, struct sniffed *ret)
{
    const uint8_t *version_and_random;
    struct cursor session, suites, compression, extensions;
    if (!take(&c, 2 + 32, &version_and_random) || !take_vector(&c, 1, &session)
        || !take_vector(&c, 2, &suites) || !take_vector(&c, 1, &compression))
        return false;
    if (!c.left)
        return true; /* no extensions: a very old client */
    return take_vector(&c, 2, &extensions) && read_extensions(extensions, ret);
}

/* The handshake bytes of all whole records, joined: a hello may be cut into several. False: not
 * TLS. */
static bool join_records(const uint8_t *data, size_t len, uint8_t *out, size_t *ret_len)
{
    struct cursor c = {data, len};
    *ret_len = 0;
    while (c.left >= RECORD_HEADER) {
        if (c.p[0] != CONTENT_HANDSHAKE || c.p[1] != 3)
            return false;
        struct cursor body;
        const uint8_t *header;
        if (!take(&c, 3, &header) || !take_vector(&c, 2, &body))
            break; /* the rest of this record is still to come */
        memcpy(out + *ret_len, body.p, body.left);
        *ret_len += body.left;
    }
    return true;
}

static enum sniff sniff_tls(const uint8_t *data, size_t len, struct sniffed *ret)
{
    uint8_t joined[SNIFF_MAX];
    size_t n;
    if (!join_records(data, len, joined, &n))
        return SNIFF_BAD;
    struct cursor c = {joined, n}, hello;
    size_t type;
    if (!take_uint(&c, 1, &type))
        return SNIFF_MORE;
    if (type != CLIENT_HELLO)
        return SNIFF_BAD;
    if (!take_vector(&c, 3, &hello))
        return SNIFF_MORE;
    return read_hello(hello, ret) ? SNIFF_TLS : SNIFF_BAD;
}

/* The next line of the head without its end; NULL behind the last. */
static const char *next_line(const char **p, const char *end, size_t *ret_len)
{
    const char *line = *p, *nl = memchr(line, '\n', (size_t)(end - line));
    if (!nl)
        return NULL;
    *p = nl + 1;
    *ret_len = (size_t)(nl - line);
    if (*ret_len && line[*ret_len - 1] == '\r')
        (*ret_len)--;
    return line;
}

/* The value of a header line if it has that name. */
static bool header_value(
    const char *line, size_t len, const char *name, const char **ret, size_t *ret_len)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    for (n++; n < len && (line[n] == ' ' || line[n] == '\t'); n++)
        continue;
    while (len > n && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    *ret = line + n;
    *ret_len = len - n;
    return true;
}

static size_t without_port(const char *host, size_t len)
{
    size_t i = len;
    while (i > 0 && host[i - 1] >= '0' && host[i - 1] <= '9')
        i--;
    return i > 0 && host[i - 1] == ':' ? i - 1 : len;
}

static enum sniff sniff_http(const uint8_t *data, size_t len, struct sniffed *ret)
{
    const char *p = (const char *)data, *end = p + len, *line, *value;
    size_t n, value_len;
    bool first = true;
    while ((line = next_line(&p, end, &n))) {
        if (n == 0) {
            ret->head_size = (size_t)(p - (const char *)data);
            return first ? SNIFF_BAD : SNIFF_HTTP;
        }
        first = false;
        if (!ret->name[0] && header_value(line, n, "host", &value, &value_len)
            && !copy_name((const uint8_t *)value, without_port(value, value_len), ret->name))
            return SNIFF_BAD;
    }
    return SNIFF_MORE;
}

enum sniff sniff(const uint8_t *data, size_t len, struct sniffed *ret)
{
    memset(ret, 0, sizeof *ret);
    if (!len)
        return SNIFF_MORE;
    if (len > SNIFF_MAX)
        return SNIFF_BAD;
    enum sniff kind = data[0] == CONTENT_HANDSHAKE       ? sniff_tls(data, len, ret)
                      : data[0] >= 'A' && data[0] <= 'Z' ? sniff_http(data, len, ret)
                                                         : SNIFF_BAD;
    return kind == SNIFF_MORE && len == SNIFF_MAX ? SNIFF_BAD : kind;
}

void sniff_rewrite(const char *head, size_t head_size, const char *host, struct str *out)
{
    const char *p = head, *end = head + head_size, *line, *value;
    size_t n, value_len;
    bool first = true, upgrade = false;
    while ((line = next_line(&p, end, &n)) && n) {
        bool is_connection = header_value(line, n, "connection", &value, &value_len);
        bool is_upgrade = is_connection && value_len == 7 && !strncasecmp(value, "upgrade", 7);
        upgrade |= is_upgrade;
        if (header_value(line, n, "host", &value, &value_len) || (is_connection && !is_upgrade))
            continue;
        str_add_mem(out, line, n);
        str_add(out, "\r\n");
        if (first)
            str_addf(out, "Host: %s\r\n", host);
        first = false;
    }
    str_add(out, upgrade ? "\r\n" : "Connection: close\r\n\r\n");
}
