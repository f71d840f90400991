/* SPDX-License-Identifier: Apache-2.0 */
/* The characters of a YAML text, checked before libyaml sees them: its reader's errors have no
 * line. */
#include "base/yaml/priv.h"

/* YAML 1.1 section 5.1, c-printable; a byte order mark only in front. */
static bool allowed(uint32_t c)
{
    if (c < 0x20)
        return c == '\t' || c == '\n' || c == '\r';
    return c < 0x7f || c == 0x85 || (c >= 0xa0 && c != 0xfeff && c != 0xfffe && c != 0xffff);
}

bool yaml_text_check(const char *text, size_t len, struct problems *p)
{
    unsigned line = 1, column = 1;
    size_t at = len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < len) {
        uint32_t c;
        size_t n = str_utf8_next(text + at, len - at, &c);
        if (!n) {
            problem_fix(
                problems_add(p, line, column, "byte 0x%02x is not UTF-8", (unsigned char)text[at]),
                "save the file as UTF-8");
            return false;
        }
        if (!allowed(c)) {
            problem_fix(problems_add(p, line, column, "control character U+%04X is not allowed", c),
                "remove it");
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
