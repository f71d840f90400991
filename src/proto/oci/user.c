/* SPDX-License-Identifier: Apache-2.0 */
/* passwd(5) and group(5) lines of an image: name:x:uid:gid:gecos:home:shell and name:x:gid:members. */
#include "proto/oci/oci.h"

#define ID_MAX 65535u
#define FIELDS_MAX 7

struct line {
    const char *p[FIELDS_MAX];
    size_t len[FIELDS_MAX];
    size_t n;
};

/* Splits the line at *at; false at the end of the text. */
static bool next_line(const struct str *text, size_t *at, struct line *l)
{
    if (!text || *at >= text->len)
        return false;
    const char *start = text->buf + *at;
    size_t left = text->len - *at;
    const char *nl = memchr(start, '\n', left);
    size_t len = nl ? (size_t)(nl - start) : left;
    *at += len + 1;
    l->n = 0;
    for (const char *end = start + len; l->n < FIELDS_MAX;) {
        const char *colon = memchr(start, ':', (size_t)(end - start));
        l->p[l->n] = start;
        l->len[l->n++] = (size_t)((colon ? colon : end) - start);
        if (!colon)
            break;
        start = colon + 1;
    }
    return true;
}

static bool field_is(const struct line *l, size_t i, const char *text)
{
    return i < l->n && l->len[i] == strlen(text) && !memcmp(l->p[i], text, l->len[i]);
}

static bool field_number(const struct line *l, size_t i, uint32_t *ret)
{
    char text[16];
    uint64_t n;
    if (i >= l->n || l->len[i] == 0 || l->len[i] >= sizeof text)
        return false;
    memcpy(text, l->p[i], l->len[i]);
    text[l->len[i]] = '\0';
    if (!str_to_u64(text, ID_MAX, &n))
        return false;
    *ret = (uint32_t)n;
    return true;
}

static bool is_number(const char *text)
{
    return *text && !text[strspn(text, "0123456789")];
}

static int parse_id(const char *text, const char *what, uint32_t *ret, struct err *e)
{
    uint64_t n;
    if (!str_to_u64(text, ID_MAX, &n))
        return err_set(e, ERR_LIMIT, "%s %.40s is over %u", what, text, ID_MAX);
    *ret = (uint32_t)n;
    return 0;
}

static void take_home(const struct line *l, struct oci_user *u)
{
    if (l->n > 5 && l->len[5] > 0 && l->len[5] < sizeof u->home && l->p[5][0] == '/') {
        memcpy(u->home, l->p[5], l->len[5]);
        u->home[l->len[5]] = '\0';
    }
}

/* `who` is a name or a number; a number needs no entry. */
static int find_user(const char *who, const struct str *passwd, struct oci_user *u, struct err *e)
{
    bool number = is_number(who);
    if (number) {
        int r = parse_id(who, "user", &u->uid, e);
        if (r < 0)
            return r;
    }
    struct line l;
    for (size_t at = 0; next_line(passwd, &at, &l);) {
        uint32_t uid, gid;
        if (!field_number(&l, 2, &uid) || !field_number(&l, 3, &gid))
            continue;
        if (number ? uid == u->uid : field_is(&l, 0, who)) {
            u->uid = uid;
            u->gid = gid;
            take_home(&l, u);
            return 0;
        }
    }
    return number ? 0 : err_set(e, ERR_NOT_FOUND, "the image has no user \"%.60s\"", who);
}

static int find_group(const char *who, const struct str *group, struct oci_user *u, struct err *e)
{
    if (is_number(who))
        return parse_id(who, "group", &u->gid, e);
    struct line l;
    for (size_t at = 0; next_line(group, &at, &l);)
        if (field_is(&l, 0, who) && field_number(&l, 2, &u->gid))
            return 0;
    return err_set(e, ERR_NOT_FOUND, "the image has no group \"%.60s\"", who);
}

int oci_user_resolve(const char *user, const struct str *passwd, const struct str *group,
    struct oci_user *ret, struct err *e)
{
    struct oci_user u = {.home = "/"};
    char name[128];
    const char *colon = strchr(user, ':');
    size_t len = colon ? (size_t)(colon - user) : strlen(user);
    if (len >= sizeof name)
        return err_set(e, ERR_LIMIT, "user name of %zu bytes", len);
    memcpy(name, user, len);
    name[len] = '\0';
    int r = find_user(len ? name : "0", passwd, &u, e);
    if (r >= 0 && colon && colon[1])
        r = find_group(colon + 1, group, &u, e);
    if (r < 0)
        return r;
    *ret = u;
    return 0;
}
