/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t len, struct str *out)
{
    const uint8_t *p = data;
    str_reserve(out, (len + 2) / 3 * 4);
    for (; len >= 3; p += 3, len -= 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            str_add_ch(out, alphabet[v >> shift & 63]);
    }
    if (!len)
        return;
    uint32_t v = (uint32_t)p[0] << 16 | (len == 2 ? (uint32_t)p[1] << 8 : 0);
    str_add_ch(out, alphabet[v >> 18 & 63]);
    str_add_ch(out, alphabet[v >> 12 & 63]);
    str_add_ch(out, len == 2 ? alphabet[v >> 6 & 63] : '=');
    str_add_ch(out, '=');
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t base64_decoded_max(size_t text_len)
{
    return text_len / 4 * 3;
}

/* One group of four characters of which `n` are no padding. Returns the bytes, or -1. */
static int group(const char *text, size_t n, uint8_t out[3])
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        int d = i < n ? digit(text[i]) : 0;
        if (d < 0)
            return -1;
        v = v << 6 | (uint32_t)d;
    }
    out[0] = (uint8_t)(v >> 16);
    out[1] = (uint8_t)(v >> 8);
    out[2] = (uint8_t)v;
    /* What the padding cuts off must be nothing. */
    if ((n == 2 && (out[1] || out[2])) || (n == 3 && out[2]))
        return -1;
    return (int)n - 1;
}

int base64_decode_into(
    const char *text, size_t len, void *dst, size_t max, size_t *ret_len, struct err *e)
{
    uint8_t *to = dst;
    size_t done = 0;
    if (len % 4)
        return err_set(e, ERR_INVALID, "not base64: a length of %zu", len);
    for (size_t at = 0; at < len; at += 4) {
        bool last = at + 4 == len;
        size_t pad = last && text[at + 3] == '=' ? (text[at + 2] == '=' ? 2 : 1) : 0;
        uint8_t bytes[3];
        int n = group(text + at, 4 - pad, bytes);
        if (n < 0)
            return err_set(e, ERR_INVALID, "not base64 at byte %zu", at);
        if ((size_t)n > max - done)
            return err_set(e, ERR_INVALID, "base64 of more than %zu bytes", max);
        memcpy(to + done, bytes, (size_t)n);
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

int base64_decode(const char *text, size_t len, struct str *out, struct err *e)
{
    size_t n = 0, max = base64_decoded_max(len);
    str_reserve(out, max);
    int r = base64_decode_into(text, len, out->buf + out->len, max, &n, e);
    out->len += r < 0 ? 0 : n;
    out->buf[out->len] = '\0';
    return r;
}
