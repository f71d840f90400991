/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/binlog/binlog.h"

#include "base/util/util.h"

#include <zlib.h>

#define MAGIC "\xfe\x62\x69\x6e"
#define MAGIC_LEN 4u
#define HEADER 19u
#define CHECKSUM 4u
#define STANDALONE 1 /* flag of a GTID event: no commit event follows */
#define LIST_COUNT 0x0fffffffu

enum {
    QUERY = 2,
    STOP = 3,
    ROTATE = 4,
    FORMAT = 15,
    XID = 16,
    GTID = 162,
    GTID_LIST = 163,
    START_ENCRYPTION = 164
};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void binlog_reader_init(struct binlog_reader *r)
{
    *r = (struct binlog_reader){0};
    gtid_set_init(&r->from, GTID_MARIADB);
    gtid_set_init(&r->to, GTID_MARIADB);
    gtid_set_init(&r->open, GTID_MARIADB);
}

void binlog_reader_done(struct binlog_reader *r)
{
    gtid_set_done(&r->from);
    gtid_set_done(&r->to);
    gtid_set_done(&r->open);
}

static int damaged(const struct binlog_reader *r, struct err *e, const char *what)
{
    return err_set(
        e, ERR_INVALID, "binary log, after byte %llu: %s", (unsigned long long)r->whole, what);
}

/* ---- whole events ---- */

/* What the body's bytes are, checksum excluded, as far as they were kept. */
static size_t body_len(const struct binlog_reader *r)
{
    size_t len = r->length - HEADER - (r->has_checksums ? CHECKSUM : 0);
    return MIN(len, r->have - HEADER);
}

static int take_format(struct binlog_reader *r, struct err *e)
{
    if (r->length < HEADER + 57 + CHECKSUM + 1 || r->length > r->have)
        return damaged(r, e, "a format description of an odd length");
    r->has_checksums = r->head[r->length - CHECKSUM - 1] == 1;
    return 0;
}

static int take_list(struct binlog_reader *r, struct err *e)
{
    const uint8_t *p = r->head + HEADER;
    size_t len = body_len(r);
    struct str text = STR_INIT;
    uint32_t n = len >= 4 ? get32(p) & LIST_COUNT : 0;
    if (len < 4 || n > GTID_MAX || len < 4 + (size_t)n * 16)
        return damaged(r, e, "a list of GTIDs of an odd length");
    for (uint32_t i = 0; i < n; i++, p += 16)
        str_addf(&text, "%s%u-%u-%llu", i ? "," : "", get32(p + 4), get32(p + 8),
            (unsigned long long)get64(p + 12));
    struct gtid_set all;
    int ret = gtid_set_parse(GTID_MARIADB, str_cstr(&text), text.len, &all, e);
    str_done(&text);
    if (ret < 0)
        return ret;
    gtid_set_done(&r->from);
    gtid_set_to_position(&all, &r->from);
    gtid_set_done(&all);
    r->has_from = true;
    gtid_set_done(&r->to);
    gtid_set_copy(&r->from, &r->to);
    return 0;
}

static int take_gtid(struct binlog_reader *r, struct err *e)
{
    const uint8_t *p = r->head + HEADER;
    char text[64];
    if (body_len(r) < 13)
        return damaged(r, e, "a GTID of an odd length");
    int len = snprintf(text, sizeof text, "%u-%u-%llu", get32(p + 8), get32(r->head + 5),
        (unsigned long long)get64(p));
    gtid_set_done(&r->open);
    r->standalone = p[12] & STANDALONE;
    r->open_s = get32(r->head);
    return gtid_set_parse(GTID_MARIADB, text, (size_t)len, &r->open, e);
}

static int commit(struct binlog_reader *r, struct err *e)
{
    struct gtid_set both;
    if (gtid_set_empty(&r->open))
        return 0;
    r->past |= r->until_s && r->open_s >= r->until_s;
    if (r->past) {
        gtid_set_done(&r->open);
        return 0;
    }
    if (gtid_set_union(&r->to, &r->open, &both, e) < 0)
        return e->code;
    gtid_set_done(&r->to);
    r->to = both;
    gtid_set_done(&r->open);
    r->past |= r->until && gtid_set_contains(&r->to, r->until);
    r->transactions++;
    r->first_s = r->first_s ? r->first_s : r->open_s;
    r->last_s = r->open_s;
    return 0;
}

/* "COMMIT" or "ROLLBACK", at the end of the event: groups of tables without transactions. */
static bool is_commit(const struct binlog_reader *r)
{
    size_t len = body_len(r);
    const char *end = (const char *)r->head + HEADER + len;
    if (r->length > r->have)
        return false; /* too long to be one */
    return (len >= 6 && !memcmp(end - 6, "COMMIT", 6))
           || (len >= 8 && !memcmp(end - 8, "ROLLBACK", 8));
}

static int take_event(struct binlog_reader *r, struct err *e)
{
    switch (r->head[4]) {
    case FORMAT:
        return take_format(r, e);
    case START_ENCRYPTION:
        return err_set(e, ERR_REFUSED, "the binary log is encrypted");
    case GTID_LIST:
        return take_list(r, e);
    case GTID:
        return take_gtid(r, e);
    case XID:
        return commit(r, e);
    case QUERY:
        return r->standalone || is_commit(r) ? commit(r, e) : 0;
    default:
        return r->standalone ? commit(r, e) : 0;
    }
}

/* The server computes a format description's sum as if the log were not in use. */
static uint32_t sum_of_header(const struct binlog_reader *r)
{
    uint8_t copy[HEADER];
    memcpy(copy, r->head, HEADER);
    if (r->head[4] == FORMAT)
        copy[17] &= 0xfe;
    return (uint32_t)crc32(0, copy, HEADER);
}

static int end_event(struct binlog_reader *r, struct err *e)
{
    bool is_format = r->head[4] == FORMAT;
    if (is_format && take_format(r, e) < 0)
        return e->code;
    if (r->has_checksums && get32(r->tail) != r->crc)
        return damaged(r, e, "a checksum does not fit");
    int ret = is_format ? 0 : take_event(r, e);
    if (ret < 0)
        return ret;
    r->whole = r->offset;
    r->have = 0;
    r->length = 0;
    return 0;
}

/* ---- pieces ---- */

static int begin_event(struct binlog_reader *r, struct err *e)
{
    r->length = get32(r->head + 9);
    if (r->length < HEADER || r->length > BINLOG_EVENT_MAX)
        return damaged(r, e, "an event of an impossible length");
    r->left = r->length - HEADER;
    r->crc = sum_of_header(r);
    return 0;
}

/* Of the rest of the event: keeps its beginning and its last four bytes, sums what lies before. */
static size_t take_rest(struct binlog_reader *r, const uint8_t *p, size_t len)
{
    size_t n = MIN(len, r->left);
    size_t room = BINLOG_HEAD_MAX - r->have, kept = MIN(room, n);
    size_t before = r->left > CHECKSUM ? MIN(n, r->left - CHECKSUM) : 0;
    memcpy(r->head + r->have, p, kept);
    r->have += kept;
    r->crc = (uint32_t)crc32(r->crc, p, (unsigned)before);
    for (size_t i = before; i < n; i++)
        r->tail[CHECKSUM - (r->left - i)] = p[i];
    r->left -= (uint32_t)n;
    r->offset += n;
    return n;
}

static size_t take_header(struct binlog_reader *r, const uint8_t *p, size_t len)
{
    size_t want = r->began ? HEADER : MAGIC_LEN;
    size_t n = MIN(len, want - r->have);
    memcpy(r->head + r->have, p, n);
    r->have += n;
    r->offset += n;
    return n;
}

static int header_is_there(struct binlog_reader *r, struct err *e)
{
    if (r->began)
        return begin_event(r, e);
    if (memcmp(r->head, MAGIC, MAGIC_LEN) != 0)
        return err_set(e, ERR_INVALID, "no binary log: it begins with other bytes");
    r->began = true;
    r->have = 0;
    r->whole = r->offset;
    return 0;
}

int binlog_reader_feed(struct binlog_reader *r, const void *data, size_t len, struct err *e)
{
    const uint8_t *p = data;
    while (len) {
        bool in_event = r->length != 0;
        size_t n = in_event ? take_rest(r, p, len) : take_header(r, p, len);
        p += n;
        len -= n;
        if (!in_event && r->have == (r->began ? HEADER : MAGIC_LEN) && header_is_there(r, e) < 0)
            return e->code;
        if (r->length && !r->left && end_event(r, e) < 0)
            return e->code;
    }
    return 0;
}
