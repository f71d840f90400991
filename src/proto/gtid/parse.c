/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/gtid/priv.h"

#include <ctype.h>

/* One below the types' ends, so that the number behind any number exists. MySQL's are signed. */
#define MARIADB_SEQ_MAX (UINT64_MAX - 1)
#define MYSQL_SEQ_MAX ((uint64_t)INT64_MAX - 1)

struct cursor {
    const char *p, *end, *begin;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct cursor *c)
{
    while (c->p < c->end && is_blank(*c->p))
        c->p++;
}

static bool take(struct cursor *c, char want)
{
    skip_blanks(c);
    if (c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

static bool at_digit(struct cursor *c)
{
    skip_blanks(c);
    return c->p < c->end && *c->p >= '0' && *c->p <= '9';
}

static bool take_number(struct cursor *c, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (!at_digit(c))
        return false;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        uint64_t digit = (uint64_t)(*c->p - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return true;
}

static int broken(const struct cursor *c, const char *what, struct err *e)
{
    size_t left = (size_t)(c->end - c->p);
    char near[32];
    size_t n = 0;
    for (; n < left && n + 1 < sizeof near; n++)
        near[n] = isprint((unsigned char)c->p[n]) ? c->p[n] : '?';
    near[n] = '\0';
    return err_set(e, ERR_INVALID, "GTID text: expected %s at byte %zu%s%s%s", what,
        (size_t)(c->p - c->begin), n ? ", found '" : "", near, n ? "'" : "");
}

/* ---- MariaDB */

static int parse_one(struct cursor *c, struct gtid_build *b, struct err *e)
{
    uint64_t domain, server, seq;
    if (!take_number(c, UINT32_MAX, &domain))
        return broken(c, "a domain", e);
    if (!take(c, '-') || !take_number(c, UINT32_MAX, &server))
        return broken(c, "'-' and a server id", e);
    if (!take(c, '-') || !take_number(c, MARIADB_SEQ_MAX, &seq))
        return broken(c, "'-' and a sequence number", e);
    gtid_build_at(b, &(struct gtid){(uint32_t)domain, (uint32_t)server, seq});
    return 0;
}

/* ---- MySQL */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool gtid_uuid_parse(const char *text, size_t len, uint8_t ret[16])
{
    size_t at = 0;
    if (len != GTID_UUID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < 16; i++) {
        if (at == 8 || at == 13 || at == 18 || at == 23)
            if (text[at++] != '-')
                return false;
        int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    return true;
}

static bool take_uuid(struct cursor *c, uint8_t ret[16])
{
    skip_blanks(c);
    size_t len = GTID_UUID_TEXT_SIZE - 1;
    if ((size_t)(c->end - c->p) < len || !gtid_uuid_parse(c->p, len, ret))
        return false;
    c->p += len;
    return true;
}

static bool is_tag_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'
           || (!first && c >= '0' && c <= '9');
}

static bool take_tag(struct cursor *c, char ret[GTID_TAG_MAX + 1])
{
    size_t n = 0;
    skip_blanks(c);
    for (; c->p < c->end && is_tag_char(*c->p, n == 0); c->p++) {
        if (n == GTID_TAG_MAX)
            return false;
        ret[n++] = (char)tolower((unsigned char)*c->p);
    }
    ret[n] = '\0';
    return n > 0;
}

static int parse_interval(
    struct cursor *c, const struct gtid_range *owner, struct gtid_build *b, struct err *e)
{
    struct gtid_range r = *owner;
    if (!take_number(c, MYSQL_SEQ_MAX, &r.from) || r.from == 0)
        return broken(c, "a transaction number", e);
    r.to = r.from;
    if (take(c, '-') && !take_number(c, MYSQL_SEQ_MAX, &r.to))
        return broken(c, "the interval's end", e);
    if (r.to < r.from)
        return err_set(e, ERR_INVALID, "GTID text: interval %llu-%llu runs backwards",
            (unsigned long long)r.from, (unsigned long long)r.to);
    gtid_build_range(b, &r);
    return 0;
}

/* uuid[:tag]:interval[:interval]...[:tag:interval...] */
static int parse_server(struct cursor *c, struct gtid_build *b, struct err *e)
{
    struct gtid_range owner = {0};
    bool open = true; /* uuid or tag, and no interval of it yet */
    if (!take_uuid(c, owner.uuid))
        return broken(c, "a UUID", e);
    while (take(c, ':')) {
        if (at_digit(c)) {
            int r = parse_interval(c, &owner, b, e);
            if (r < 0)
                return r;
            open = false;
        } else {
            if (open && owner.tag[0])
                return broken(c, "an interval after the tag", e);
            if (!take_tag(c, owner.tag))
                return broken(c, "an interval or a tag", e);
            open = true;
        }
        if (b->cap > 4 * GTID_MAX) /* far over: not worth reading on */
            return err_set(e, ERR_LIMIT, "over %d intervals in one GTID set", GTID_MAX);
    }
    return open ? broken(c, "':' and an interval", e) : 0;
}

/* ---- both */

static int parse_all(struct cursor *c, struct gtid_build *b, struct err *e)
{
    skip_blanks(c);
    while (c->p < c->end) {
        int r = b->set.flavour == GTID_MARIADB ? parse_one(c, b, e) : parse_server(c, b, e);
        if (r < 0)
            return r;
        if (b->cap > 4 * GTID_MAX)
            return err_set(e, ERR_LIMIT, "over %d entries in one GTID set", GTID_MAX);
        skip_blanks(c);
        if (c->p == c->end)
            return 0;
        if (!take(c, ','))
            return broken(c, "','", e);
        skip_blanks(c);
        if (c->p == c->end)
            return broken(c, "another entry after ','", e);
    }
    return 0;
}

int gtid_set_parse(
    enum gtid_flavour flavour, const char *text, size_t len, struct gtid_set *ret, struct err *e)
{
    if (len > GTID_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "GTID text of %zu bytes, at most %u", len, GTID_TEXT_MAX);
    struct cursor c = {text, text + len, text};
    struct gtid_build b = {.set.flavour = flavour};
    int r = parse_all(&c, &b, e);
    if (r < 0) {
        gtid_set_done(&b.set);
        return r;
    }
    return gtid_build_end(&b, ret, e);
}

bool gtid_flavour_guess(const char *text, size_t len, enum gtid_flavour *ret)
{
    struct cursor c = {text, text + len, text};
    uint8_t uuid[16];
    uint64_t number;
    skip_blanks(&c);
    if (take_uuid(&c, uuid)) {
        *ret = GTID_MYSQL;
        return take(&c, ':');
    }
    *ret = GTID_MARIADB;
    return take_number(&c, UINT32_MAX, &number) && take(&c, '-')
           && take_number(&c, UINT32_MAX, &number) && take(&c, '-')
           && take_number(&c, MARIADB_SEQ_MAX, &number);
}
