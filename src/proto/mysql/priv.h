/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of proto/mysql: packet heads, and who looks at which packet. Heads are looked at in place and
 * change nothing before they are there as far as they matter. */
#pragma once

#include "proto/mysql/mysql.h"

enum mysql_shape { /* of a command's answer */
    SHAPE_REFUSED, /* the command is not for applications */
    SHAPE_NONE,
    SHAPE_STATUS, /* one packet: OK, EOF or an error */
    SHAPE_TEXT,   /* one packet of anything */
    SHAPE_RESULT, /* OK, an error, or columns and rows; and perhaps more of them */
    SHAPE_PREPARE,
    SHAPE_ROWS, /* packets up to the one that ends them */
    SHAPE_LOGIN,
};

struct head {
    uint32_t payload;
    uint8_t seq;
};

static inline uint32_t get_u16(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t get_u24(const uint8_t *p)
{
    return get_u16(p) | (uint32_t)p[2] << 16;
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return get_u16(p) | get_u16(p + 2) << 16;
}

static inline void put_u16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    put_u16(p, v & 0xffff);
    put_u16(p + 2, v >> 16);
}

static inline struct head head_of(const uint8_t *p)
{
    return (struct head){.payload = get_u24(p), .seq = p[3]};
}

static inline struct mysql_said said(enum mysql_word word)
{
    return (struct mysql_said){.word = word};
}

static inline struct mysql_said bad(enum mysql_why why)
{
    return (struct mysql_said){.word = MYSQL_BAD, .why = why};
}

/* The packet, its head with it, passes from now on. */
static inline void stream_begin(struct mysql_stream *s, struct head h)
{
    s->left = MYSQL_HEADER + h.payload;
    s->goes_on = h.payload == MYSQL_PACKET_MAX;
    s->seq = h.seq;
}

/* answer.c */
enum mysql_shape mysql_shape_of(uint8_t command);
struct mysql_said mysql_answer(struct mysql *m, const uint8_t *p, size_t len);
/* Server's status of an OK packet (0x00, or 0xfe for 0x00); false: not one. */
bool mysql_ok_status(const uint8_t *payload, size_t len, uint16_t *ret);

/* greeting.c: MYSQL_PASS stands for a packet that stream_begin() was called for */
struct mysql_said mysql_greeting(struct mysql *m, uint8_t *p, size_t len);
struct mysql_said mysql_reply(struct mysql *m, uint8_t *p, size_t len);
struct mysql_said mysql_login_up(struct mysql *m, const uint8_t *p, size_t len);
struct mysql_said mysql_login_down(struct mysql *m, const uint8_t *p, size_t len);
