/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in a cell: the line keeps its width, stays UTF-8, and holds no control character. */
#include "base/table/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t c = 0;
        size_t n = str_utf8_next(text + at, len - at, &c);
        ASSERT(n > 0 && (c >= ' ' || c == '\n') && !(c >= 0x7f && c < 0xa0));
        at += n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const heads[] = {"A", "B", NULL};
    struct table_style style = {.width = size ? data[0] % 40u : 0};
    _cleanup_str_ struct str text = STR_INIT, out = STR_INIT;
    struct table t;
    str_add_mem(&text, data, size);
    table_init(&t, heads);
    t.right[0] = size & 1;
    table_cell(&t, TABLE_PLAIN, "%s", str_cstr(&text));
    table_cell(&t, TABLE_BAD, "%s", str_cstr(&text));
    table_format(&t, &style, &out);
    check(out.buf, out.len);
    for (char *p = out.buf; style.width && *p; p += strcspn(p, "\n"), p += *p == '\n') {
        _cleanup_free_ char *line = xasprintf("%.*s", (int)strcspn(p, "\n"), p);
        ASSERT(table_text_width(line) <= style.width);
    }
    table_done(&t);
    return 0;
}
