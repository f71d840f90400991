/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of our own, with the number that the receiver waits for. */
#include "proto/mysql/priv.h"

#include <string.h>

size_t mysql_err_format(
    uint8_t seq, uint16_t code, const char *state, const char *text, uint8_t out[MYSQL_ERR_MAX])
{
    size_t len = MIN(strlen(text), (size_t)(MYSQL_ERR_MAX - MYSQL_HEADER - 9));
    size_t payload = 9 + len;
    put_u16(out, (uint32_t)payload);
    out[2] = 0;
    out[3] = seq;
    out[4] = 0xff;
    put_u16(out + 5, code);
    out[7] = '#';
    memcpy(out + 8, state, 5);
    memcpy(out + 13, text, len);
    return MYSQL_HEADER + payload;
}

size_t mysql_refusal(
    struct mysql *m, uint16_t code, const char *state, const char *text, uint8_t out[MYSQL_ERR_MAX])
{
    ASSERT(m->refused && !m->up.left && !m->n_waiting && mysql_down_between(m));
    m->refused = false;
    return mysql_err_format((uint8_t)(m->up.seq + 1), code, state, text, out);
}

/* The number that the server's next packet would have. */
static uint8_t next_seq(const struct mysql *m)
{
    switch (m->phase) {
    case MYSQL_GREETING:
        return 0;
    case MYSQL_AUTH:
        return (uint8_t)((m->turn ? m->down.seq : m->up.seq) + 1);
    case MYSQL_COMMANDS: /* of several, the oldest one's answer: long ones are not sent ahead */
        return m->n_waiting == 1 ? (uint8_t)(m->up.seq + 1) : 1;
    default:
        return (uint8_t)(m->up.seq + 1);
    }
}

size_t mysql_last_error(const struct mysql *m, uint16_t code, const char *state, const char *text,
    uint8_t out[MYSQL_ERR_MAX])
{
    if (!mysql_down_between(m) || m->begun || m->phase == MYSQL_ENDED)
        return 0;
    return mysql_err_format(next_seq(m), code, state, text, out);
}

const char *mysql_why_text(enum mysql_why why)
{
    static const char *const texts[MYSQL_WHYS] = {
        [MYSQL_WHY_NONE] = "nothing is wrong",
        [MYSQL_WHY_COMMAND] = "this command is not for applications: it is refused here",
        [MYSQL_WHY_LOAD] = "LOAD DATA is refused here: insert the rows",
        [MYSQL_WHY_TLS] =
            "TLS is not spoken here: the platform encrypts between hosts; set ssl off",
        [MYSQL_WHY_COMPRESS] = "compression is not spoken here: switch it off",
        [MYSQL_WHY_OLD] = "a protocol of before 4.1 is not spoken here",
        [MYSQL_WHY_FILE] = "the server asked for a file of the client: refused",
        [MYSQL_WHY_ORDER] = "a packet came out of its turn",
        [MYSQL_WHY_SHAPE] = "a packet was not understood",
    };
    return why < MYSQL_WHYS ? texts[why] : "?";
}
