/* SPDX-License-Identifier: Apache-2.0 */
#include "service/drill/lost.h"

#include "base/str/str.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Part of a longer key it is not. */
static bool names(const char *row, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = row; len && (at = strstr(at, key)); at += len) {
        bool begins = at == row || (!isalnum((unsigned char)at[-1]) && at[-1] != '-');
        if (begins && !isalnum((unsigned char)at[len]) && at[len] != '-')
            return true;
    }
    return false;
}

const json_t *lost_find(const json_t *rows, const char *key)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (names(json_opt_str(row, "row", ""), key))
            return row;
    return NULL;
}

bool lost_is_reported(const char *gtid, const json_t *missing)
{
    unsigned long long domain, server, number, other, had;
    const char *from = json_opt_str(missing, "from_gtid", NULL);
    if (!from || sscanf(gtid, "%llu-%llu-%llu", &domain, &server, &number) != 3)
        return false;
    bool known = false;
    for (const char *p = from; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        if (sscanf(p, "%llu-%llu-%llu", &other, &server, &had) != 3 || other != domain)
            continue;
        known = true;
        if (number > had)
            return true;
    }
    return !known; /* the target had nothing of that domain */
}

json_t *lost_match(const json_t *keys, const json_t *rows, const json_t *missing)
{
    json_t *list = json_array(), *key;
    size_t i;
    json_array_foreach (keys, i, key) {
        const json_t *row = lost_find(rows, json_string_value(key));
        const char *gtid = json_opt_str(row, "gtid", NULL);
        json_array_append_new(list,
            json_pack("{s:O,s:b,s:s?,s:b}", "key", key, "rescued", row != NULL, "gtid", gtid,
                "reported", gtid && lost_is_reported(gtid, missing)));
    }
    return list;
}

size_t lost_count(const json_t *matched, const char *what)
{
    size_t n = 0, i;
    json_t *one;
    json_array_foreach (matched, i, one)
        n += json_opt_bool(one, what, false);
    return n;
}

void lost_add_lines(json_t *rows, const char *text, size_t len)
{
    for (const char *p = text, *end = text + len; p < end;) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((line_end ? line_end : end) - p);
        json_t *row = NULL;
        struct err ignored;
        if (n && json_parse(p, n, &row, &ignored) >= 0 && json_is_object(row))
            json_array_append(rows, row);
        json_decref(row);
        p += n + 1;
    }
}
