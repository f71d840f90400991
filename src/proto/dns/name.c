/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH (dns_name_size, dns_name_lower): run once a query. */
#include "proto/dns/dns.h"

#include "base/str/str.h"

size_t dns_name_size(const uint8_t *p, size_t len)
{
    size_t limit = MIN(len, (size_t)DNS_NAME_MAX);
    size_t at = 0;
    while (at < limit) {
        unsigned label = p[at++];
        if (label == 0)
            return at;
        if (label > DNS_LABEL_MAX)
            return 0;
        at += label;
    }
    return 0;
}

static inline uint8_t lower(uint8_t c)
{
    return (uint8_t)(c - 'A') < 26 ? c | 0x20 : c;
}

/* Length bytes are at most 63 and so never in A..Z: the whole name is folded in one pass. */
void dns_name_lower(uint8_t *dst, const uint8_t *src, size_t size)
{
    for (size_t i = 0; i < size; i++)
        dst[i] = lower(src[i]);
}

bool dns_name_eq(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    if (a_size != b_size)
        return false;
    for (size_t i = 0; i < a_size; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

bool dns_name_under(const uint8_t *name, size_t size, const uint8_t *zone, size_t zone_size)
{
    while (size > zone_size) {
        size_t step = (size_t)name[0] + 1;
        if (step >= size)
            return false;
        name += step;
        size -= step;
    }
    return dns_name_eq(name, size, zone, zone_size);
}

/* One character of a label, escapes undone. Returns how many characters of text it took, 0 when
 * malformed. */
static size_t read_char(const char *text, uint8_t *ret)
{
    if (text[0] != '\\') {
        *ret = (uint8_t)text[0];
        return 1;
    }
    if (text[1] >= '0' && text[1] <= '9') {
        unsigned v = 0;
        for (int i = 1; i <= 3; i++) {
            if (text[i] < '0' || text[i] > '9')
                return 0;
            v = v * 10 + (unsigned)(text[i] - '0');
        }
        *ret = (uint8_t)v;
        return v <= 255 ? 4 : 0;
    }
    *ret = (uint8_t)text[1];
    return text[1] ? 2 : 0;
}

bool dns_name_parse(const char *text, uint8_t out[DNS_NAME_MAX], size_t *ret_size)
{
    if (!strcmp(text, ".")) {
        out[0] = 0;
        *ret_size = 1;
        return true;
    }
    size_t len_at = 0, at = 1;
    while (*text) {
        if (*text == '.') {
            if (at == len_at + 1 || at >= DNS_NAME_MAX)
                return false;
            out[len_at] = (uint8_t)(at - len_at - 1);
            len_at = at++;
            text++;
            continue;
        }
        uint8_t c;
        size_t took = read_char(text, &c);
        if (!took || at - len_at > DNS_LABEL_MAX || at >= DNS_NAME_MAX - 1)
            return false;
        out[at++] = c;
        text += took;
    }
    if (at > len_at + 1) { /* no closing dot */
        out[len_at] = (uint8_t)(at - len_at - 1);
        len_at = at;
    }
    if (len_at == 0)
        return false;
    out[len_at] = 0;
    *ret_size = len_at + 1;
    return true;
}

void dns_name_format(const uint8_t *name, size_t size, char out[DNS_NAME_TEXT_MAX])
{
    size_t at = 0;
    for (size_t i = 0; i < size && name[i];) {
        size_t label = name[i++];
        if (at)
            out[at++] = '.';
        for (; label && i < size; label--, i++) {
            uint8_t c = name[i];
            if (c == '.' || c == '\\' || c == '"' || c == '(' || c == ')' || c == ';' || c == '@'
                || c == '$')
                at += (size_t)snprintf(out + at, 3, "\\%c", c);
            else if (c > ' ' && c < 0x7f)
                out[at++] = (char)c;
            else
                at += (size_t)snprintf(out + at, 5, "\\%03u", c);
        }
    }
    if (!at)
        out[at++] = '.';
    out[at] = '\0';
}

bool dns_name_read(
    const uint8_t *msg, size_t len, size_t *offset, uint8_t out[DNS_NAME_MAX], size_t *ret_size)
{
    size_t at = *offset, limit = len, size = 0;
    bool jumped = false;
    for (;;) {
        if (at >= limit)
            return false;
        unsigned label = msg[at];
        if ((label & 0xc0) == 0xc0) {
            if (limit - at < 2)
                return false;
            size_t target = dns_get16(msg + at) & 0x3fff;
            if (!jumped)
                *offset = at + 2;
            jumped = true;
            /* Backwards only, and each jump further back than the last: ends after at most len
             * steps. */
            if (target >= at || target < DNS_HEADER_SIZE)
                return false;
            limit = at;
            at = target;
            continue;
        }
        if (label > DNS_LABEL_MAX || limit - at <= label || size + label + 1 > DNS_NAME_MAX)
            return false;
        memcpy(out + size, msg + at, label + 1u);
        size += label + 1u;
        at += label + 1u;
        if (!label)
            break;
    }
    if (!jumped)
        *offset = at;
    *ret_size = size;
    return true;
}

static const struct {
    uint16_t type;
    const char *name;
} types[] = {
    {DNS_A, "A"},
    {DNS_NS, "NS"},
    {DNS_CNAME, "CNAME"},
    {DNS_SOA, "SOA"},
    {DNS_PTR, "PTR"},
    {DNS_HINFO, "HINFO"},
    {DNS_MX, "MX"},
    {DNS_TXT, "TXT"},
    {DNS_AAAA, "AAAA"},
    {DNS_SRV, "SRV"},
    {DNS_OPT, "OPT"},
    {DNS_TKEY, "TKEY"},
    {DNS_TSIG, "TSIG"},
    {DNS_IXFR, "IXFR"},
    {DNS_AXFR, "AXFR"},
    {DNS_MAILB, "MAILB"},
    {DNS_MAILA, "MAILA"},
    {DNS_ANY, "ANY"},
    {DNS_CAA, "CAA"},
};

const char *dns_type_name(uint16_t type, char buf[16])
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].type == type)
            return types[i].name;
    snprintf(buf, 16, "TYPE%u", type);
    return buf;
}

bool dns_type_parse(const char *name, uint16_t *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (!strcasecmp(types[i].name, name)) {
            *ret = types[i].type;
            return true;
        }
    uint64_t v;
    if (strncasecmp(name, "TYPE", 4) != 0 || !str_to_u64(name + 4, UINT16_MAX, &v))
        return false;
    *ret = (uint16_t)v;
    return true;
}

const char *dns_rcode_name(unsigned rcode)
{
    static const char *const names[] = {
        [DNS_NOERROR] = "NOERROR",
        [DNS_FORMERR] = "FORMERR",
        [DNS_SERVFAIL] = "SERVFAIL",
        [DNS_NXDOMAIN] = "NXDOMAIN",
        [DNS_NOTIMP] = "NOTIMP",
        [DNS_REFUSED] = "REFUSED",
        [DNS_BADVERS] = "BADVERS",
    };
    return rcode < ARRAY_SIZE(names) && names[rcode] ? names[rcode] : "OTHER";
}
