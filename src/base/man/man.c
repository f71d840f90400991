/* SPDX-License-Identifier: Apache-2.0 */
#include "base/man/man.h"

/* groff_char(7): these ASCII characters print as something else when they stand alone. */
static const char *escape(uint32_t c)
{
    switch (c) {
    case '\\':
        return "\\e";
    case '-':
        return "\\-";
    case '\'':
        return "\\(aq";
    case '"':
        return "\\(dq";
    case '`':
        return "\\(ga";
    case '^':
        return "\\(ha";
    case '~':
        return "\\(ti";
    default:
        return NULL;
    }
}

static void add_span(struct str *out, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t c = '?';
        size_t n = str_utf8_next(text + at, len - at, &c);
        at += n ? n : 1;
        const char *escaped = escape(c);
        if (escaped)
            str_add(out, escaped);
        else if (c < 0x20 || c == 0x7f)
            str_add_ch(out, ' ');
        else if (c < 0x7f)
            str_add_ch(out, (char)c);
        else
            str_addf(out, "\\[u%04X]", c);
    }
}

void man_text(struct str *out, const char *text)
{
    add_span(out, text, strlen(text));
}

void man_macro(struct str *out, const char *macro, const char *text)
{
    str_addf(out, ".%s", macro);
    if (text) {
        str_add(out, " \"");
        man_text(out, text);
        str_add_ch(out, '"');
    }
    str_add_ch(out, '\n');
}

/* A line of prose; `x` is bold. \& keeps a leading dot or quote from being a request. */
static void add_line(struct str *out, const char *line, size_t len)
{
    str_add(out, "\\&");
    bool bold = false;
    while (len) {
        const char *tick = memchr(line, '`', len);
        size_t n = tick ? (size_t)(tick - line) : len;
        add_span(out, line, n);
        line += n;
        len -= n;
        if (!tick)
            break;
        bold = !bold;
        str_add(out, bold ? "\\fB" : "\\fR");
        line++;
        len--;
    }
    str_add(out, bold ? "\\fR\n" : "\n");
}

void man_prose(struct str *out, const char *text)
{
    bool verbatim = false;
    while (*text) {
        size_t len = strcspn(text, "\n");
        bool as_is = len >= 2 && text[0] == ' ' && text[1] == ' ';
        if (as_is != verbatim)
            str_add(out, as_is ? ".nf\n" : ".fi\n");
        verbatim = as_is;
        if (len == 0)
            str_add(out, ".PP\n");
        else
            add_line(out, text, len);
        text += len + (text[len] == '\n');
    }
    if (verbatim)
        str_add(out, ".fi\n");
}

void man_entry(struct str *out, const char *tag, const char *text)
{
    str_add(out, ".TP\n\\fB");
    man_text(out, tag);
    str_add(out, "\\fR\n");
    man_prose(out, text);
}
