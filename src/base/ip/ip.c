/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ip/ip.h"

#include "base/str/str.h"

#include <arpa/inet.h>

static unsigned addr_bits(const struct ip_addr *a)
{
    return a->family == 4 ? 32 : 128;
}

bool ip_parse(const char *text, struct ip_addr *ret)
{
    struct ip_addr a = {0};
    if (inet_pton(AF_INET, text, a.bytes) == 1)
        a.family = 4;
    else if (inet_pton(AF_INET6, text, a.bytes) == 1)
        a.family = 6;
    else
        return false;
    *ret = a;
    return true;
}

void ip_format(const struct ip_addr *a, char out[IP_TEXT_SIZE])
{
    if (!a->family || !inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, out, IP_TEXT_SIZE))
        str_copy(out, IP_TEXT_SIZE, "-");
}

bool ip_eq(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && !memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16);
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    return !rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest));
}

bool ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
    char copy[IP_TEXT_SIZE];
    if (!str_copy(copy, sizeof copy, text))
        return false;
    char *slash = strchr(copy, '/');
    if (!slash)
        return false;
    *slash = '\0';
    struct ip_prefix p;
    uint64_t bits;
    if (!ip_parse(copy, &p.addr) || !str_to_u64(slash + 1, addr_bits(&p.addr), &bits))
        return false;
    p.bits = (uint8_t)bits;
    for (unsigned i = p.bits; i < addr_bits(&p.addr); i++)
        if (p.addr.bytes[i / 8] & (0x80u >> (i % 8)))
            return false;
    *ret = p;
    return true;
}

void ip_prefix_format(const struct ip_prefix *p, char out[IP_TEXT_SIZE])
{
    ip_format(&p->addr, out);
    size_t n = strlen(out);
    snprintf(out + n, IP_TEXT_SIZE - n, "/%u", p->bits);
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
    return p->addr.family == a->family && bits_equal(p->addr.bytes, a->bytes, p->bits);
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
    return a->addr.family == b->addr.family
           && bits_equal(a->addr.bytes, b->addr.bytes, MIN(a->bits, b->bits));
}

bool ip_prefix_nth(const struct ip_prefix *p, uint64_t n, struct ip_addr *ret)
{
    unsigned host_bits = addr_bits(&p->addr) - p->bits;
    if (host_bits < 64 && n >> host_bits)
        return false;
    struct ip_addr a = p->addr;
    for (unsigned i = addr_bits(&a) / 8; n && i-- > 0; n >>= 8)
        a.bytes[i] |= (uint8_t)n;
    *ret = a;
    return true;
}

void ip_to_sockaddr(
    const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    memset(ret, 0, sizeof *ret);
    if (a->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, a->bytes, 4);
        *ret_len = sizeof *in;
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        memcpy(&in6->sin6_addr, a->bytes, 16);
        *ret_len = sizeof *in6;
    }
}

bool ip_from_sockaddr(const struct sockaddr *sa, struct ip_addr *ret, uint16_t *ret_port)
{
    struct ip_addr a = {0};
    uint16_t port;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        a.family = 4;
        memcpy(a.bytes, &in->sin_addr, 4);
        port = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        a.family = mapped ? 4 : 6;
        memcpy(a.bytes, in6->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
        port = ntohs(in6->sin6_port);
    } else {
        return false;
    }
    *ret = a;
    if (ret_port)
        *ret_port = port;
    return true;
}
