/* SPDX-License-Identifier: Apache-2.0 */
/* Binary logs as a replica is sent them. MariaDB: COM_BINLOG_DUMP by file and byte, events as they
 * lie in the file (MariaDB knowledge base, "COM_BINLOG_DUMP"). MySQL: COM_BINLOG_DUMP_GTID, whatever
 * is not in a set (MySQL client/server protocol, "COM_BINLOG_DUMP_GTID"). */
#include "driver/sql/priv.h"

#include <inttypes.h>

#define SEND_ANNOTATIONS 2 /* else the sender leaves these events out, and bytes shift */
#define FIXED 10           /* position, flags, server id */
#define NAME_MAX_LEN 255u
#define DUMP_GTID ((enum enum_server_command)30) /* libmariadb has no name for it */
#define THROUGH_GTID 4                           /* the set follows */
#define END 0xfe
#define FAILURE 0xff

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static int announce(struct sql_conn *c, const struct sql_feed *f, struct err *e)
{
    int r = sql_exec(c, "SET @master_binlog_checksum=@@global.binlog_checksum", e);
    if (r >= 0 && c->server.vendor == SQL_MARIADB) /* GTID events as they are, not made into something older */
        r = sql_exec(c, "SET @mariadb_slave_capability=4", e);
    return r < 0 ? r
                 : sql_execf(c, e, "SET @master_heartbeat_period=%" PRIu64, f->heartbeat_ms * 1000000);
}

static int ask(struct sql_conn *c, enum enum_server_command what, const void *p, size_t len, struct err *e)
{
    sql_enter(c);
    int failed = c->my->methods->db_command(c->my, what, p, len, 1, NULL);
    sql_leave(c);
    return failed ? sql_fail(c, false, e) : 0;
}

static int ask_by_log(struct sql_conn *c, const struct sql_feed *f, struct err *e)
{
    uint8_t command[FIXED + NAME_MAX_LEN];
    size_t len = strlen(f->log);
    if (len > NAME_MAX_LEN)
        return err_set(e, ERR_LIMIT, "a log's name of %zu bytes", len);
    put32(command, f->position);
    command[4] = SEND_ANNOTATIONS;
    command[5] = 0;
    put32(command + 6, f->server_id);
    memcpy(command + FIXED, f->log, len);
    return ask(c, COM_BINLOG_DUMP, command, FIXED + len, e);
}

static int ask_by_gtid(struct sql_conn *c, const struct sql_feed *f, struct err *e)
{
    /* flags, server id, length of a log's name (none), position in it, length of the set */
    uint8_t head[22] = {[0] = THROUGH_GTID, [10] = 4};
    _cleanup_str_ struct str set = STR_INIT, command = STR_INIT;
    int r = gtid_set_encode(f->has, &set, e);
    if (r < 0)
        return r;
    put32(head + 2, f->server_id);
    put32(head + 18, (uint32_t)set.len);
    str_add_mem(&command, (const char *)head, sizeof head);
    str_add_mem(&command, str_cstr(&set), set.len);
    return ask(c, DUMP_GTID, str_cstr(&command), command.len, e);
}

int sql_feed_begin(struct sql_conn *c, const struct sql_feed *f, struct err *e)
{
    int r = announce(c, f, e);
    if (r < 0)
        return r;
    return c->server.vendor == SQL_MARIADB ? ask_by_log(c, f, e) : ask_by_gtid(c, f, e);
}

int sql_feed_next(struct sql_conn *c, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    sql_enter(c);
    unsigned long n = mysql_net_read_packet(c->my);
    sql_leave(c);
    if (n == packet_error || n == 0)
        return sql_fail(c, false, e);
    const uint8_t *p = c->my->net.read_pos;
    if (*p == END && n < 8)
        return err_set(e, ERR_UNAVAILABLE, "the server has ended the feed");
    if (*p == FAILURE) /* read_packet() has taken it apart */
        return sql_fail(c, false, e);
    *ret = p + 1;
    *ret_len = n - 1;
    return 0;
}
