/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The answer of the oldest command, packet by packet: only heads are looked at. */
#include "proto/mysql/priv.h"

#define LOOK 24u /* OK: a byte, two numbers of up to 9, two bytes of status */
#define EOF_PAYLOAD_MAX 8u
#define OK_PAYLOAD_MIN 7u
#define CODE_PROGRESS 0xffff /* MariaDB: an "error" that reports how far it is */

enum mysql_shape mysql_shape_of(uint8_t command)
{
    switch (command) {
    case MYSQL_COM_QUIT:
    case MYSQL_COM_STMT_SEND_LONG_DATA:
    case MYSQL_COM_STMT_CLOSE:
        return SHAPE_NONE;
    case MYSQL_COM_INIT_DB:
    case MYSQL_COM_PING:
    case MYSQL_COM_STMT_RESET:
    case MYSQL_COM_SET_OPTION:
    case MYSQL_COM_RESET_CONNECTION:
        return SHAPE_STATUS;
    case MYSQL_COM_STATISTICS:
        return SHAPE_TEXT;
    case MYSQL_COM_QUERY:
    case MYSQL_COM_PROCESS_INFO:
    case MYSQL_COM_STMT_EXECUTE:
    case MYSQL_COM_STMT_BULK_EXECUTE:
        return SHAPE_RESULT;
    case MYSQL_COM_STMT_PREPARE:
        return SHAPE_PREPARE;
    case MYSQL_COM_FIELD_LIST:
    case MYSQL_COM_STMT_FETCH:
        return SHAPE_ROWS;
    case MYSQL_COM_CHANGE_USER:
        return SHAPE_LOGIN;
    default: /* replication, shutdown, kill, refresh, debug, and what nobody has invented yet */
        return SHAPE_REFUSED;
    }
}

/* A length-encoded number: bytes taken, 0: not one. */
static size_t get_number(const uint8_t *p, size_t len, uint64_t *ret)
{
    if (!len || p[0] == 0xfb || p[0] == 0xff)
        return 0;
    size_t more = p[0] == 0xfc ? 2 : p[0] == 0xfd ? 3 : p[0] == 0xfe ? 8 : 0;
    if (len < 1 + more)
        return 0;
    *ret = more ? 0 : p[0];
    for (size_t i = 0; i < more; i++)
        *ret |= (uint64_t)p[1 + i] << (8 * i);
    return 1 + more;
}

bool mysql_ok_status(const uint8_t *payload, size_t len, uint16_t *ret)
{
    uint64_t ignored;
    size_t at = 1;
    for (int i = 0; i < 2; i++) { /* rows, id */
        size_t n = get_number(payload + at, len - at, &ignored);
        if (!n)
            return false;
        at += n;
    }
    if (len < at + 2)
        return false;
    *ret = (uint16_t)get_u16(payload + at);
    return true;
}

struct first { /* what is there of a packet's payload */
    const uint8_t *p;
    size_t len;
    uint32_t payload;
};

static bool result_ends(struct mysql *m, uint16_t status, enum mysql_shape shape)
{
    m->status = status;
    m->expect = MYSQL_EXPECT_FIRST;
    m->finishing = shape != SHAPE_RESULT || !(status & MYSQL_STATUS_MORE_RESULTS);
    return true;
}

static bool take_ok(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    uint16_t status;
    return mysql_ok_status(f->p, f->len, &status) && result_ends(m, status, shape);
}

static bool take_eof(const struct first *f, uint16_t *ret)
{
    if (f->payload < 5 || f->payload > EOF_PAYLOAD_MAX)
        return false;
    *ret = (uint16_t)get_u16(f->p + 3);
    return true;
}

static bool take_error(struct mysql *m, const struct first *f)
{
    if (f->payload < 3)
        return false;
    if (get_u16(f->p + 1) == CODE_PROGRESS)
        return true;
    m->errors++;
    m->finishing = true;
    return true;
}

static bool no_eof(const struct mysql *m)
{
    return m->can & MYSQL_CAN_DEPRECATE_EOF;
}

/* EOF, or the OK that stands for it. */
static bool is_end_of_rows(const struct mysql *m, const struct first *f)
{
    return f->p[0] == 0xfe
           && (no_eof(m) ? f->payload < MYSQL_PACKET_MAX : f->payload <= EOF_PAYLOAD_MAX);
}

static bool take_end_of_rows(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    uint16_t status;
    if (no_eof(m)
        && f->payload >= OK_PAYLOAD_MIN) /* MariaDB sends an EOF here and there all the same */
        return take_ok(m, f, shape);
    return take_eof(f, &status) && result_ends(m, status, shape);
}

static void columns_follow(struct mysql *m)
{
    m->expect = m->columns  ? MYSQL_EXPECT_COLUMNS
                : no_eof(m) ? MYSQL_EXPECT_ROWS
                            : MYSQL_EXPECT_COLUMNS_END;
}

static bool take_columns(struct mysql *m, const struct first *f)
{
    size_t n = get_number(f->p, f->len, &m->columns);
    if (!n || !m->columns || f->p[0] > 0xfd)
        return false;
    if (m->can & MYSQL_CAN_CACHE_METADATA) {
        if (f->len < n + 1)
            return false;
        m->columns = f->p[n] ? m->columns : 0;
    }
    columns_follow(m);
    return true;
}

/* Statement, columns, parameters; then what describes them, each group with its EOF. */
static bool take_prepared(struct mysql *m, const struct first *f)
{
    if (f->payload < 12)
        return false;
    uint32_t columns = get_u16(f->p + 5), parameters = get_u16(f->p + 7);
    m->columns = columns + parameters;
    if (!no_eof(m))
        m->columns += (columns != 0) + (parameters != 0);
    m->expect = MYSQL_EXPECT_SKIP;
    m->finishing = !m->columns;
    return true;
}

static bool take_row(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    if (f->p[0] == 0xff)
        return take_error(m, f);
    return !is_end_of_rows(m, f) || take_end_of_rows(m, f, shape);
}

static bool take_first(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    uint16_t status;
    if (shape == SHAPE_TEXT)
        return m->finishing = true;
    if (shape == SHAPE_ROWS)
        return take_row(m, f, shape);
    switch (f->p[0]) {
    case 0xff:
        return take_error(m, f);
    case 0x00:
        return shape == SHAPE_PREPARE ? take_prepared(m, f) : take_ok(m, f, shape);
    case 0xfe:
        return shape == SHAPE_STATUS && take_eof(f, &status) && result_ends(m, status, shape);
    default:
        return shape == SHAPE_RESULT && take_columns(m, f);
    }
}

static bool take_column(struct mysql *m, const struct first *f)
{
    if (f->p[0] == 0xff)
        return take_error(m, f);
    if (--m->columns == 0)
        columns_follow(m);
    return true;
}

static bool take_columns_end(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    uint16_t status;
    if (f->p[0] == 0xff)
        return take_error(m, f);
    if (f->p[0] != 0xfe || !take_eof(f, &status))
        return false;
    m->expect = MYSQL_EXPECT_ROWS;
    m->status = status;
    return !(status & MYSQL_STATUS_CURSOR) || result_ends(m, status, shape);
}

static bool take(struct mysql *m, const struct first *f, enum mysql_shape shape)
{
    switch (m->expect) {
    case MYSQL_EXPECT_FIRST:
        return take_first(m, f, shape);
    case MYSQL_EXPECT_COLUMNS:
        return take_column(m, f);
    case MYSQL_EXPECT_COLUMNS_END:
        return take_columns_end(m, f, shape);
    case MYSQL_EXPECT_ROWS:
        return take_row(m, f, shape);
    case MYSQL_EXPECT_SKIP:
        m->finishing = --m->columns == 0;
        return true;
    }
    return false;
}

struct mysql_said mysql_answer(struct mysql *m, const uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    struct first f = {.p = p + MYSQL_HEADER,
        .len = MIN(len - MYSQL_HEADER, (size_t)h.payload),
        .payload = h.payload};
    if (f.len < MIN(h.payload, LOOK))
        return said(MYSQL_MORE);
    bool unasked = !m->n_waiting || m->phase == MYSQL_REPLY;
    if (unasked && (!h.payload || f.p[0] != 0xff)) /* only why the server closes */
        return bad(MYSQL_WHY_ORDER);
    if (!unasked) {
        enum mysql_shape shape = mysql_shape_of(m->waiting[m->first]);
        if (!h.payload && shape != SHAPE_TEXT)
            return bad(MYSQL_WHY_SHAPE);
        if (f.len && f.p[0] == 0xfb && m->expect == MYSQL_EXPECT_FIRST && shape == SHAPE_RESULT)
            return bad(MYSQL_WHY_FILE);
        if (!take(m, &f, shape))
            return bad(MYSQL_WHY_SHAPE);
        m->begun = true;
    }
    stream_begin(&m->down, h);
    return said(MYSQL_PASS);
}
