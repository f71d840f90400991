/* SPDX-License-Identifier: Apache-2.0 */
/* Quoting. The session has backslash escapes and utf8mb4 (conn.c sees to both), in which no byte of
 * a longer character looks like a quote or a backslash. */
#include "driver/sql/sql.h"

void sql_add_text_mem(struct str *out, const void *p, size_t len)
{
    const char *text = p;
    str_add_ch(out, '\'');
    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '\0':
            str_add(out, "\\0");
            break;
        case '\n':
            str_add(out, "\\n");
            break;
        case '\r':
            str_add(out, "\\r");
            break;
        case '\x1a': /* the end of a file to a Windows client that reads a log */
            str_add(out, "\\Z");
            break;
        case '\'':
        case '\\':
            str_add_ch(out, '\\');
            str_add_ch(out, text[i]);
            break;
        default:
            str_add_ch(out, text[i]);
        }
    }
    str_add_ch(out, '\'');
}

void sql_add_text(struct str *out, const char *text)
{
    sql_add_text_mem(out, text, strlen(text));
}

void sql_add_name(struct str *out, const char *name)
{
    str_add_ch(out, '`');
    for (; *name; name++) {
        if (*name == '`')
            str_add_ch(out, '`');
        str_add_ch(out, *name);
    }
    str_add_ch(out, '`');
}

void sql_add_account(struct str *out, const char *user, const char *host)
{
    sql_add_text(out, user);
    str_add_ch(out, '@');
    sql_add_text(out, host ? host : "%");
}
