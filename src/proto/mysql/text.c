/* SPDX-License-Identifier: Apache-2.0 */
/* What a statement begins with. Who writes something long in front of it gets past this: what keeps
 * the server from reading files is that accounts have no FILE right, and that neither side is told
 * that the other knows LOCAL. */
#include "proto/mysql/mysql.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

struct cursor {
    const char *p, *end;
};

static bool take(struct cursor *c, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, text, n) != 0)
        return false;
    c->p += n;
    return true;
}

static void skip_past(struct cursor *c, const char *text)
{
    while (c->p < c->end && !take(c, text))
        c->p++;
}

/* Comments that are run by some versions are no comments here. */
static bool skip_comment(struct cursor *c)
{
    if (take(c, "#") || take(c, "-- ")) {
        skip_past(c, "\n");
    } else if (take(c, "/*!") || take(c, "/*M!")) {
        while (c->p < c->end && isdigit((unsigned char)*c->p))
            c->p++;
    } else if (take(c, "/*")) {
        skip_past(c, "*/");
    } else {
        return false;
    }
    return true;
}

static void skip_blank(struct cursor *c)
{
    do {
        while (c->p < c->end && (isspace((unsigned char)*c->p) || *c->p == '(' || *c->p == ';'))
            c->p++;
    } while (skip_comment(c));
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_blank(c);
    if ((size_t)(c->end - c->p) < n || strncasecmp(c->p, word, n) != 0)
        return false;
    if (c->p + n < c->end && (isalnum((unsigned char)c->p[n]) || c->p[n] == '_'))
        return false;
    c->p += n;
    return true;
}

bool mysql_is_load(const char *text, size_t len)
{
    struct cursor c = {.p = text, .end = text + len};
    return take_word(&c, "load") && (take_word(&c, "data") || take_word(&c, "xml"));
}
