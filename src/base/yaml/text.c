/* SPDX-License-Identifier: Apache-2.0 */
/* The characters of a YAML text, checked before libyaml sees them: its reader's errors have no line. */
#include "base/yaml/priv.h"

/* Length of the UTF-8 sequence at s, 0 when it is none (RFC 3629: no overlong forms, no surrogates). */
static size_t sequence(const unsigned char *s, size_t left, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0x80) {
        *ret = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left)
        return 0;
    uint32_t c = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *ret = c;
    return n;
}

/* YAML 1.1 section 5.1, c-printable; a byte order mark only in front. */
static bool allowed(uint32_t c)
{
    if (c < 0x20)
        return c == '\t' || c == '\n' || c == '\r';
    return c < 0x7f || c == 0x85 || (c >= 0xa0 && c != 0xfeff && c != 0xfffe && c != 0xffff);
}

bool yaml_text_check(const char *text, size_t len, struct problems *p)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned line = 1, column = 1;
    size_t at = len >= 3 && !memcmp(s, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < len) {
        uint32_t c;
        size_t n = sequence(s + at, len - at, &c);
        if (!n) {
            problem_fix(problems_add(p, line, column, "byte 0x%02x is not UTF-8", s[at]), "save the file as UTF-8");
            return false;
        }
        if (!allowed(c)) {
            problem_fix(problems_add(p, line, column, "control character U+%04X is not allowed", c), "remove it");
            return false;
        }
        column++;
        if (c == '\n') {
            line++;
            column = 1;
        }
        at += n;
    }
    return true;
}
