/* SPDX-License-Identifier: Apache-2.0 */
/* From the server's greeting to the end of the login, and again for COM_CHANGE_USER. */
#include "proto/mysql/priv.h"

#include <string.h>

#define GREETING_MAX (MYSQL_LOOK_MAX - MYSQL_HEADER)
#define GREETING_VERSION 10
#define REPLY_FIXED 32u /* then come user, proof, database, plugin */
#define REPLY_LOOK 1000u
#define LOGIN_PACKET_MAX (128u * 1024) /* connection attributes are 64 KiB at most */
#define LOGIN_LOOK 80u                 /* the name of a plugin */
#define LOGIN_ROUNDS_MAX 32u           /* dialogs ask two or three times */

/* Taken out of every greeting: what changes the framing, what would let the server read files of the
 * client, and what puts something in front of statements or answers for little use. */
#define NEVER                                                                                      \
    (MYSQL_CAN_TLS | MYSQL_CAN_COMPRESS | MYSQL_CAN_ZSTD | MYSQL_CAN_LOCAL_FILES                   \
        | MYSQL_CAN_OPTIONAL_METADATA | MYSQL_CAN_QUERY_ATTRIBUTES | MYSQL_CAN_COM_MULTI)
/* Taken out of a reply unless it was offered: whatever gives answers another shape. Old servers and
 * clients differ in whether they look at the other's word, this makes both see the same. */
#define AGREED                                                                                     \
    (MYSQL_CAN_DEPRECATE_EOF | MYSQL_CAN_LOCAL_FILES | MYSQL_CAN_OPTIONAL_METADATA                 \
        | MYSQL_CAN_QUERY_ATTRIBUTES | UINT64_C(0xffffffff00000000))

#define CAN_DATABASE (UINT64_C(1) << 3)
#define CAN_PLUGIN (UINT64_C(1) << 19)

static uint32_t hash_name(const uint8_t *p, size_t len)
{
    uint32_t h = UINT32_C(2166136261); /* FNV-1a */
    for (size_t i = 0; i < len && p[i]; i++)
        h = (h ^ p[i]) * UINT32_C(16777619);
    return h;
}

/* -- greeting ---------------------------------------------------------------------------------- */

/* Where what it can do stands: 2 bytes, 2 more 5 bytes on, MariaDB's 4 behind 7 more. */
struct offer {
    uint8_t *low, *high, *mariadb;
};

static bool find_offer(uint8_t *payload, size_t len, struct offer *ret)
{
    const uint8_t *end = memchr(payload + 1, 0, len - 1); /* of the version */
    if (!end)
        return false;
    size_t at = (size_t)(end - payload) + 1 + 4 + 8 + 1; /* thread, scramble, 0 */
    if (len < at + 2 + 1 + 2 + 2 + 1 + 10)
        return false;
    ret->low = payload + at;
    ret->high = payload + at + 5;
    ret->mariadb = payload + at + 14;
    return true;
}

static uint64_t offered(const struct offer *o)
{
    uint64_t can = get_u16(o->low) | get_u16(o->high) << 16;
    return can & MYSQL_CAN_MYSQL ? can : can | (uint64_t)get_u32(o->mariadb) << 32;
}

static void put_offer(const struct offer *o, uint64_t can)
{
    put_u16(o->low, can & 0xffff);
    put_u16(o->high, can >> 16 & 0xffff);
    if (!(can & MYSQL_CAN_MYSQL))
        put_u32(o->mariadb, (uint32_t)(can >> 32));
}

struct mysql_said mysql_greeting(struct mysql *m, uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    struct offer o;
    if (!h.payload || h.payload > GREETING_MAX)
        return bad(MYSQL_WHY_SHAPE);
    if (len < MYSQL_HEADER + h.payload)
        return said(MYSQL_MORE);
    if (h.seq != 0)
        return bad(MYSQL_WHY_ORDER);
    if (p[MYSQL_HEADER] == 0xff) { /* too many connections, host blocked */
        m->phase = MYSQL_ENDED;
        m->errors++;
    } else if (p[MYSQL_HEADER] == GREETING_VERSION && find_offer(p + MYSQL_HEADER, h.payload, &o)) {
        m->can = offered(&o) & ~NEVER;
        if (!(m->can & MYSQL_CAN_PROTOCOL_41))
            return bad(MYSQL_WHY_OLD);
        put_offer(&o, m->can);
        m->phase = MYSQL_REPLY;
    } else {
        return bad(MYSQL_WHY_SHAPE);
    }
    stream_begin(&m->down, h);
    return said(MYSQL_PASS);
}

/* -- the client's reply ------------------------------------------------------------------------ */

/* How long what stands there is, its end with it; 0: not all of it is there. */
static size_t text_size(const uint8_t *p, size_t len)
{
    const uint8_t *end = len ? memchr(p, 0, len) : NULL;
    return end ? (size_t)(end - p) + 1 : 0;
}

/* Only told, nothing hangs on it: what cannot be found stays empty. */
static void note_user(struct mysql *m, const uint8_t *p, size_t len)
{
    size_t at = REPLY_FIXED, n = text_size(p + at, len - at);
    memcpy(m->user, p + at, n ? MIN(n - 1, sizeof m->user - 1) : 0);
    at += n;
    if (!n || at >= len)
        return;
    at += p[at] + 1u; /* a proof of more than 250 bytes has another length: no plugin does that */
    if (at < len && m->can & CAN_DATABASE)
        at += text_size(p + at, len - at);
    if (at < len && m->can & CAN_PLUGIN)
        m->plugin = hash_name(p + at, len - at);
}

struct mysql_said mysql_reply(struct mysql *m, uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    uint8_t *payload = p + MYSQL_HEADER;
    if (h.seq != 1)
        return bad(MYSQL_WHY_ORDER);
    m->up.seq = h.seq;
    if (h.payload < REPLY_FIXED || h.payload > LOGIN_PACKET_MAX)
        return bad(h.payload < REPLY_FIXED ? MYSQL_WHY_OLD : MYSQL_WHY_SHAPE);
    size_t look = MIN(h.payload, REPLY_LOOK);
    if (len < MYSQL_HEADER + look)
        return said(MYSQL_MORE);
    uint64_t can = get_u32(payload);
    if (!(can & MYSQL_CAN_PROTOCOL_41))
        return bad(MYSQL_WHY_OLD);
    if (can & MYSQL_CAN_TLS)
        return bad(MYSQL_WHY_TLS);
    if (can & (MYSQL_CAN_COMPRESS | MYSQL_CAN_ZSTD))
        return bad(MYSQL_WHY_COMPRESS);
    bool mariadb = !(can & MYSQL_CAN_MYSQL);
    if (mariadb)
        can |= (uint64_t)get_u32(payload + 28) << 32;
    can &= ~(AGREED & ~m->can);
    put_u32(payload, (uint32_t)can);
    if (mariadb)
        put_u32(payload + 28, (uint32_t)(can >> 32));
    m->can = can;
    note_user(m, payload, look);
    m->phase = MYSQL_AUTH;
    m->turn = false;
    stream_begin(&m->up, h);
    return said(MYSQL_PASS);
}

/* -- login ------------------------------------------------------------------------------------- */

struct mysql_said mysql_login_up(struct mysql *m, const uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    if (!m->turn)
        return said(MYSQL_WAIT);
    /* Packets of a login count on; one that begins anew would be a command. */
    if (h.seq != (uint8_t)(m->down.seq + 1) || h.seq == 0 || m->auth_rounds >= LOGIN_ROUNDS_MAX)
        return bad(MYSQL_WHY_ORDER);
    if (h.payload > LOGIN_PACKET_MAX)
        return bad(MYSQL_WHY_SHAPE);
    m->auth_rounds++;
    m->turn = false;
    stream_begin(&m->up, h);
    return said(MYSQL_PASS);
}

/* The server asks, says "wait" (caching_sha2's 01 03), or ends the login. Had the client said
 * something that was no part of it, the numbers would not fit. */
struct mysql_said mysql_login_down(struct mysql *m, const uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    const uint8_t *payload = p + MYSQL_HEADER;
    size_t there = MIN(len - MYSQL_HEADER, (size_t)h.payload);
    uint16_t status;
    if (!h.payload || h.payload == MYSQL_PACKET_MAX)
        return bad(MYSQL_WHY_SHAPE);
    if (there < MIN(h.payload, LOGIN_LOOK))
        return said(MYSQL_MORE);
    uint8_t before = m->turn ? m->down.seq : m->up.seq;
    if (h.seq != (uint8_t)(before + 1) || m->up.left)
        return bad(MYSQL_WHY_ORDER);
    if (payload[0] == 0x00) {
        if (!mysql_ok_status(payload, there, &status))
            return bad(MYSQL_WHY_SHAPE);
        m->status = status;
    }
    if (payload[0] == 0xfe && h.payload > 1) {
        uint32_t plugin = hash_name(payload + 1, there - 1);
        m->second_try |= !m->changing && plugin == m->plugin;
        m->plugin = plugin;
    }
    m->turn = payload[0] != 0x00 && payload[0] != 0xff;
    if (!m->turn) {
        bool failed = payload[0] == 0xff;
        m->phase = failed && !m->changing ? MYSQL_ENDED : MYSQL_COMMANDS;
        m->errors += failed;
        m->answers += m->changing;
        m->changing = false;
    }
    stream_begin(&m->down, h);
    return said(MYSQL_PASS);
}
