/* SPDX-License-Identifier: Apache-2.0 */
/* Cache-Control (RFC 9111 section 5.2) and its targeted forms (RFC 9213). HOT PATH.
 *
 * A directive is a token, optionally with "=" and a token or a quoted string; both forms of a value
 * mean the same. Of a directive that comes twice the first one counts (section 4.2.1), but every
 * restriction of field names adds up. A value of seconds that is not valid makes the response stale
 * (section 4.2.1), it never makes it fresh. */
#include "proto/fields/fields.h"

#include <string.h>

#define TARGETED_MAX 4096u /* bytes of all lines together; more is as if it were not there */

enum kind { SECONDS, SECONDS_OR_NONE, NAMES, NONE, PERMIT };

static const struct {
    struct http_text name;
    enum kind kind;
} directives[FIELDS_CC_COUNT] = {
#define X(id, text, k) [FIELDS_CC_##id] = {{text, sizeof text - 1}, k},
    FIELDS_DIRECTIVES(X)
#undef X
};

static bool is_token(struct http_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return t.len > 0;
}

/* A token, or what stands between the quotes. False: neither; *ret is then all of it. */
static bool unquote(struct http_text t, struct http_text *ret)
{
    *ret = t;
    if (!t.len || t.p[0] != '"')
        return is_token(t);
    for (size_t i = 1; i < t.len; i++) {
        if (t.p[i] == '\\') {
            i++;
        } else if (t.p[i] == '"') {
            *ret = (struct http_text){t.p + 1, i - 1};
            return i + 1 == t.len;
        }
    }
    return false;
}

static void put_names(struct fields_cc *cc, enum fields_directive d, struct http_text names)
{
    bool of_private = d == FIELDS_CC_PRIVATE;
    struct http_text *lists = of_private ? cc->private : cc->no_cache;
    uint8_t *n = of_private ? &cc->n_private : &cc->n_no_cache;
    if (names.len && *n < FIELDS_NAMES_MAX)
        lists[(*n)++] = names;
    else if (of_private)
        cc->all_private = true;
    else
        cc->all_no_cache = true;
}

/* well_formed: name and value are as the grammar has them; value.p is NULL without "=". */
static void put(
    struct fields_cc *cc, enum fields_directive d, struct http_text value, bool well_formed)
{
    enum kind kind = directives[d].kind;
    if (kind == PERMIT && (!well_formed || value.p))
        return;
    if (kind == NAMES)
        put_names(cc, d, well_formed && value.p ? value : (struct http_text){0});
    bool first = !fields_cc_has(cc, d);
    cc->has |= 1u << d;
    if (!first || (kind != SECONDS && kind != SECONDS_OR_NONE))
        return;
    uint64_t seconds = 0;
    if (kind == SECONDS_OR_NONE && !value.p && well_formed)
        seconds = FIELDS_SECONDS_MAX;
    else if (!well_formed || !fields_number(value, FIELDS_SECONDS_MAX, &seconds))
        cc->invalid |= 1u << d;
    cc->seconds[d] = (uint32_t)seconds;
}

static int directive_of(struct http_text name)
{
    for (int d = 0; d < FIELDS_CC_COUNT; d++)
        if (fields_same_nocase(name, directives[d].name))
            return d;
    return -1;
}

static void put_member(struct fields_cc *cc, struct http_text member)
{
    size_t end = 0;
    while (
        end < member.len && member.p[end] != '=' && member.p[end] != ' ' && member.p[end] != '\t')
        end++;
    int d = directive_of((struct http_text){member.p, end});
    if (d < 0)
        return;
    struct http_text value = {0};
    bool well_formed = end == member.len;
    if (!well_formed && member.p[end] == '=')
        well_formed = unquote((struct http_text){member.p + end + 1, member.len - end - 1}, &value);
    put(cc, (enum fields_directive)d, value, well_formed);
}

void fields_cc_parse(const struct http_fields *f, const char *name, struct fields_cc *ret)
{
    *ret = (struct fields_cc){0};
    for (const struct http_field *line = NULL; (line = fields_find(f, name, line));) {
        struct http_text rest = line->value, member;
        ret->present = true;
        while (fields_list_next(&rest, &member))
            put_member(ret, member);
    }
}

/* Values of a type that the directive does not have are ignored with it (RFC 9213 section 2.1), but
 * for restrictions, which hold unless they are said to be false. */
static void put_structured(struct fields_cc *cc, const struct fields_sf_member *m)
{
    int d = directive_of(m->key);
    if (d < 0 || (m->type == FIELDS_SF_BOOLEAN && !m->integer))
        return;
    bool is_true = m->type == FIELDS_SF_BOOLEAN;
    enum kind kind = directives[d].kind;
    if (kind == SECONDS || kind == SECONDS_OR_NONE) {
        if (m->type != FIELDS_SF_INTEGER || m->integer < 0)
            return;
        cc->has |= 1u << d;
        cc->seconds[d] = (uint32_t)MIN(m->integer, (int64_t)FIELDS_SECONDS_MAX);
        return;
    }
    bool names = m->type == FIELDS_SF_STRING || m->type == FIELDS_SF_TOKEN;
    put(cc, (enum fields_directive)d, is_true || !names ? (struct http_text){0} : m->text,
        is_true || (names && kind == NAMES));
}

/* The field as it is in one piece. A single line needs no copy, and what it points to outlives us. */
static bool join(
    const struct http_fields *f, const char *name, char buf[TARGETED_MAX], struct http_text *ret)
{
    const struct http_field *line = fields_find(f, name, NULL);
    if (!line)
        return false;
    *ret = line->value;
    if (!fields_find(f, name, line))
        return line->value.len <= TARGETED_MAX;
    size_t len = 0;
    for (; line; line = fields_find(f, name, line)) {
        size_t comma = len ? 2 : 0;
        if (len + comma + line->value.len > TARGETED_MAX)
            return false;
        memcpy(buf + len, ", ", comma);
        memcpy(buf + len + comma, line->value.p, line->value.len);
        len += comma + line->value.len;
    }
    *ret = (struct http_text){buf, len};
    return true;
}

bool fields_cc_parse_targeted(const struct http_fields *f, const char *name, struct fields_cc *ret)
{
    char buf[TARGETED_MAX];
    struct http_text t;
    struct fields_sf_member members[FIELDS_SF_MAX];
    *ret = (struct fields_cc){0};
    if (!join(f, name, buf, &t))
        return false;
    int n = fields_sf_dictionary(t, members);
    if (n <= 0)
        return false;
    for (int i = 0; i < n; i++)
        put_structured(ret, &members[i]);
    if (t.p == buf) { /* names would point into our buffer: then the whole response is meant */
        ret->all_no_cache |= ret->n_no_cache > 0;
        ret->all_private |= ret->n_private > 0;
        ret->n_no_cache = ret->n_private = 0;
    }
    ret->present = true;
    return true;
}

bool fields_names_have(const struct http_text *lists, size_t n, struct http_text name)
{
    for (size_t i = 0; i < n; i++) {
        struct http_text rest = lists[i], member;
        while (fields_list_next(&rest, &member))
            if (fields_same_nocase(member, name))
                return true;
    }
    return false;
}
