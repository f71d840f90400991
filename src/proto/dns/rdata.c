/* SPDX-License-Identifier: Apache-2.0 */
/* Values of records, from and to presentation form. */
#include "proto/dns/dns.h"

#include "base/str/str.h"

#include <ctype.h>

#define WORDS_MAX 8
#define TEXT_MAX 4096 /* of a value as declared */

struct words { /* a value split at blanks; quotes keep blanks together, escapes stay for the reader
                  of the word */
    char text[TEXT_MAX];
    char *v[WORDS_MAX];
    bool quoted[WORDS_MAX];
    size_t n;
};

struct out {
    uint8_t *p;
    size_t cap, len;
    const uint8_t *origin;
    size_t origin_size;
};

static bool put(struct out *o, const void *p, size_t len)
{
    if (o->cap - o->len < len)
        return false;
    memcpy(o->p + o->len, p, len);
    o->len += len;
    return true;
}

static int split(const char *text, struct words *w, struct err *e)
{
    w->n = 0;
    if (!str_copy(w->text, sizeof w->text, text))
        return err_set(e, ERR_LIMIT, "a record's value is longer than %u bytes", TEXT_MAX - 1);
    char *p = w->text;
    for (;;) {
        p += strspn(p, " \t");
        if (!*p)
            return 0;
        if (w->n == WORDS_MAX)
            return err_set(e, ERR_INVALID, "more than %u words in '%.64s...'", WORDS_MAX, text);
        bool quoted = *p == '"';
        w->quoted[w->n] = quoted;
        w->v[w->n++] = p += quoted;
        while (*p && (quoted ? *p != '"' : *p != ' ' && *p != '\t'))
            p += p[0] == '\\' && p[1] ? 2 : 1;
        if (quoted && !*p)
            return err_set(e, ERR_INVALID, "a quote is not closed in '%.64s'", text);
        if (*p)
            *p++ = '\0';
    }
}

static int put_name(struct out *o, const char *text, struct err *e)
{
    uint8_t name[DNS_NAME_MAX + DNS_NAME_MAX];
    size_t size;
    if (!strcmp(text, "@"))
        return put(o, o->origin, o->origin_size) ? 0
                                                 : err_set(e, ERR_LIMIT, "the value is too long");
    if (!dns_name_parse(text, name, &size))
        return err_set(e, ERR_INVALID, "'%s' is not a domain name", text);
    size_t n = strlen(text);
    bool absolute = text[n - 1] == '.' && (n < 2 || text[n - 2] != '\\');
    if (!absolute) {
        if (size != name[0] + 2u) { /* more than one label */
            err_set(e, ERR_INVALID, "the name '%s' does not end with a dot", text);
            err_fix(e, "write '%s.' for that very name", text);
            return ERR_INVALID;
        }
        memcpy(name + size - 1, o->origin, o->origin_size);
        size += o->origin_size - 1;
        if (size > DNS_NAME_MAX)
            return err_set(e, ERR_INVALID, "the name '%s' is too long below its zone", text);
    }
    return put(o, name, size) ? 0 : err_set(e, ERR_LIMIT, "the value is too long");
}

static int put_number(struct out *o, const char *text, uint64_t max, struct err *e)
{
    uint64_t v;
    uint8_t b[4];
    if (!str_to_u64(text, max, &v))
        return err_set(
            e, ERR_INVALID, "'%s' is not a number from 0 to %llu", text, (unsigned long long)max);
    dns_put32(b, (uint32_t)v);
    size_t width = max == UINT8_MAX ? 1 : max == UINT16_MAX ? 2 : 4;
    return put(o, b + 4 - width, width) ? 0 : err_set(e, ERR_LIMIT, "the value is too long");
}

static int need(const struct words *w, size_t n, const char *form, struct err *e)
{
    return w->n == n ? 0 : err_set(e, ERR_INVALID, "expected %s", form);
}

/* The bytes of a quoted or plain word with \C and \DDD undone. */
static int unescape(const char *text, uint8_t *out, size_t cap, size_t *ret_len, struct err *e)
{
    size_t len = 0;
    for (; *text; text++) {
        unsigned v = (uint8_t)*text;
        if (*text == '\\' && text[1] >= '0' && text[1] <= '9') {
            char digits[4] = {text[1], text[2], text[2] ? text[3] : '\0', '\0'};
            uint64_t n;
            if (strlen(digits) != 3 || !str_to_u64(digits, 255, &n))
                return err_set(
                    e, ERR_INVALID, "'\\%s' is not an escape: \\DDD is a byte in decimal", digits);
            v = (unsigned)n;
            text += 3;
        } else if (*text == '\\' && text[1]) {
            v = (uint8_t) * ++text;
        }
        if (len == cap)
            return err_set(e, ERR_LIMIT, "the value is too long");
        out[len++] = (uint8_t)v;
    }
    *ret_len = len;
    return 0;
}

/* Strings of at most 255 bytes: a longer one is cut into several, as its readers join them (SPF,
 * DKIM). */
static int put_strings(struct out *o, const char *text, struct err *e)
{
    uint8_t bytes[TEXT_MAX];
    size_t len;
    int r = unescape(text, bytes, sizeof bytes, &len, e);
    if (r < 0)
        return r;
    size_t at = 0;
    do {
        uint8_t n = (uint8_t)MIN(len - at, (size_t)255);
        if (!put(o, &n, 1) || !put(o, bytes + at, n))
            return err_set(e, ERR_LIMIT, "the value is too long");
        at += n;
    } while (at < len);
    return 0;
}

static int parse_address(struct out *o, const struct words *w, uint8_t family, struct err *e)
{
    struct ip_addr a;
    if (w->n != 1 || !ip_parse(w->v[0], &a) || a.family != family)
        return err_set(e, ERR_INVALID, "'%s' is not an IPv%u address", w->n ? w->v[0] : "", family);
    return put(o, a.bytes, family == 4 ? 4 : 16) ? 0
                                                 : err_set(e, ERR_LIMIT, "the value is too long");
}

/* TXT: quoted strings, each its own; or plain text, which is one string with its blanks. */
static int parse_txt(struct out *o, const char *text, struct err *e)
{
    text += strspn(text, " \t");
    if (*text != '"')
        return *text ? put_strings(o, text, e) : err_set(e, ERR_INVALID, "expected text");
    struct words w;
    int r = split(text, &w, e);
    for (size_t i = 0; r >= 0 && i < w.n; i++)
        r = w.quoted[i] ? put_strings(o, w.v[i], e)
                        : err_set(e, ERR_INVALID, "'%s' stands outside the quotes", w.v[i]);
    return r;
}

static int parse_caa(struct out *o, const struct words *w, struct err *e)
{
    int r = need(w, 3, "FLAGS TAG \"VALUE\"", e);
    if (r >= 0)
        r = put_number(o, w->v[0], UINT8_MAX, e);
    if (r < 0)
        return r;
    uint8_t tag_size = (uint8_t)strlen(w->v[1]);
    if (!tag_size
        || strspn(w->v[1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
               != tag_size
        || tag_size > 15)
        return err_set(e, ERR_INVALID, "'%s' is not a CAA tag (issue, issuewild, iodef)", w->v[1]);
    uint8_t value[TEXT_MAX];
    size_t len;
    r = unescape(w->v[2], value, sizeof value, &len, e);
    if (r >= 0 && (!put(o, &tag_size, 1) || !put(o, w->v[1], tag_size) || !put(o, value, len)))
        r = err_set(e, ERR_LIMIT, "the value is too long");
    return r;
}

static int parse_words(uint16_t type, struct out *o, const struct words *w, struct err *e)
{
    int r;
    switch (type) {
    case DNS_A:
        return parse_address(o, w, 4, e);
    case DNS_AAAA:
        return parse_address(o, w, 6, e);
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        r = need(w, 1, "a name", e);
        return r < 0 ? r : put_name(o, w->v[0], e);
    case DNS_MX:
        r = need(w, 2, "PREFERENCE NAME", e);
        if (r >= 0)
            r = put_number(o, w->v[0], UINT16_MAX, e);
        return r < 0 ? r : put_name(o, w->v[1], e);
    case DNS_SRV:
        r = need(w, 4, "PRIORITY WEIGHT PORT NAME", e);
        for (size_t i = 0; r >= 0 && i < 3; i++)
            r = put_number(o, w->v[i], UINT16_MAX, e);
        return r < 0 ? r : put_name(o, w->v[3], e);
    case DNS_SOA:
        r = need(w, 7, "MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM", e);
        for (size_t i = 0; r >= 0 && i < 7; i++)
            r = i < 2 ? put_name(o, w->v[i], e) : put_number(o, w->v[i], UINT32_MAX, e);
        return r;
    case DNS_CAA:
        return parse_caa(o, w, e);
    default:
        return err_set(e, ERR_INVALID, "records of type %u cannot be declared", type);
    }
}

int dns_rdata_parse(uint16_t type, const char *text, const uint8_t *origin, size_t origin_size,
    uint8_t *out, size_t cap, size_t *ret_size, struct err *e)
{
    struct out o = {.p = out,
        .cap = MIN(cap, (size_t)UINT16_MAX),
        .origin = origin,
        .origin_size = origin_size};
    struct words w;
    int r;
    if (type == DNS_TXT) {
        r = parse_txt(&o, text, e);
    } else {
        r = split(text, &w, e);
        if (r >= 0)
            r = parse_words(type, &o, &w, e);
    }
    if (r < 0)
        return r;
    *ret_size = o.len;
    return 0;
}

struct text {
    char *p;
    size_t cap, len;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->p + t->len, t->cap - t->len, fmt, ap);
    va_end(ap);
    t->len = MIN(t->len + (size_t)MAX(n, 0), t->cap - 1);
}

static void add_bytes(struct text *t, const uint8_t *p, size_t len)
{
    add(t, "\"");
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"' || p[i] == '\\')
            add(t, "\\%c", p[i]);
        else if (p[i] >= ' ' && p[i] < 0x7f)
            add(t, "%c", p[i]);
        else
            add(t, "\\%03u", p[i]);
    }
    add(t, "\"");
}

static bool add_name(struct text *t, const uint8_t *msg, size_t end, size_t *at)
{
    uint8_t name[DNS_NAME_MAX];
    char text[DNS_NAME_TEXT_MAX];
    size_t size;
    if (!dns_name_read(msg, end, at, name, &size))
        return false;
    dns_name_format(name, size, text);
    add(t, "%s%s%s", t->len ? " " : "", text, size > 1 ? "." : "");
    return true;
}

static bool add_numbers(
    struct text *t, const uint8_t *msg, size_t end, size_t *at, unsigned n, size_t width)
{
    for (; n; n--, *at += width) {
        if (end - *at < width)
            return false;
        add(t, "%s%u", t->len ? " " : "", width == 4 ? dns_get32(msg + *at) : dns_get16(msg + *at));
    }
    return true;
}

static bool format_address(struct text *t, const uint8_t *p, size_t size, uint8_t family)
{
    struct ip_addr a = {.family = family};
    char text[IP_TEXT_SIZE];
    if (size != (family == 4 ? 4u : 16u))
        return false;
    memcpy(a.bytes, p, size);
    ip_format(&a, text);
    add(t, "%s", text);
    return true;
}

static bool format_known(uint16_t type, struct text *t, const uint8_t *msg, size_t at, size_t end)
{
    switch (type) {
    case DNS_A:
        return format_address(t, msg + at, end - at, 4);
    case DNS_AAAA:
        return format_address(t, msg + at, end - at, 6);
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        return add_name(t, msg, end, &at) && at == end;
    case DNS_MX:
        return add_numbers(t, msg, end, &at, 1, 2) && add_name(t, msg, end, &at) && at == end;
    case DNS_SRV:
        return add_numbers(t, msg, end, &at, 3, 2) && add_name(t, msg, end, &at) && at == end;
    case DNS_SOA:
        return add_name(t, msg, end, &at) && add_name(t, msg, end, &at)
               && add_numbers(t, msg, end, &at, 5, 4) && at == end;
    case DNS_TXT:
    case DNS_HINFO:
        for (; at < end && end - at > msg[at]; at += msg[at] + 1u) {
            add(t, "%s", t->len ? " " : "");
            add_bytes(t, msg + at + 1, msg[at]);
        }
        return at == end;
    case DNS_CAA:
        if (end - at < 2 || end - at < msg[at + 1] + 2u)
            return false;
        for (size_t i = 0; i < msg[at + 1]; i++)
            if (!isalnum(msg[at + 2 + i]))
                return false;
        add(t, "%u %.*s ", msg[at], (int)msg[at + 1], (const char *)msg + at + 2);
        add_bytes(t, msg + at + 2 + msg[at + 1], end - at - 2 - msg[at + 1]);
        return true;
    default:
        return false;
    }
}

void dns_rdata_format(uint16_t type, const uint8_t *msg, size_t len, size_t rdata_offset,
    size_t rdata_size, char *out, size_t cap)
{
    struct text t = {.p = out, .cap = cap};
    size_t end = rdata_offset + rdata_size;
    *out = '\0';
    ASSERT(end <= len);
    if (format_known(type, &t, msg, rdata_offset, end))
        return;
    t.len = 0;
    add(&t, "\\# %zu ", rdata_size);
    for (size_t i = rdata_offset; i < end; i++)
        add(&t, "%02x", msg[i]);
}
