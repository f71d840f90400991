/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The two streams: what was begun passes on, a head is looked at by who knows what must
 * come. */
#include "proto/mysql/priv.h"

/* -- from the client --------------------------------------------------------------------------- */

static void up_packet_ends(struct mysql *m)
{
    if (m->dropping) {
        m->dropping = false;
        m->refused = true;
    } else if (m->phase == MYSQL_COMMANDS && m->command == MYSQL_COM_QUIT) {
        m->phase = MYSQL_ENDED;
    }
}

static struct mysql_said up_body(struct mysql *m, size_t len)
{
    size_t n = MIN((size_t)m->up.left, len);
    m->up.left -= (uint32_t)n;
    bool dropping = m->dropping;
    if (!m->up.left && !m->up.goes_on)
        up_packet_ends(m);
    return (struct mysql_said){.word = dropping ? MYSQL_DROP : MYSQL_PASS, .len = n};
}

static bool answers_wait(const struct mysql *m)
{
    return m->n_waiting || !mysql_down_between(m) || m->phase == MYSQL_AUTH;
}

static struct mysql_said look_at_command(struct mysql *m, const uint8_t *p, size_t len)
{
    struct head h = head_of(p);
    if (h.seq != 0)
        return bad(MYSQL_WHY_ORDER);
    if (!h.payload)
        return bad(MYSQL_WHY_SHAPE);
    if (len < MYSQL_HEADER + 1)
        return said(MYSQL_MORE);
    uint8_t command = p[MYSQL_HEADER];
    bool is_text = command == MYSQL_COM_QUERY || command == MYSQL_COM_STMT_PREPARE;
    size_t need = is_text ? MIN((size_t)h.payload, MYSQL_TEXT_LOOK) : 1;
    if (len < MYSQL_HEADER + need)
        return said(MYSQL_MORE);
    if (m->n_waiting >= MYSQL_PIPELINE || (command == MYSQL_COM_CHANGE_USER && answers_wait(m)))
        return said(MYSQL_WAIT);
    struct mysql_said s = said(MYSQL_COMMAND);
    if (mysql_shape_of(command) == SHAPE_REFUSED
        || (command == MYSQL_COM_CHANGE_USER && h.payload == MYSQL_PACKET_MAX))
        s.why = MYSQL_WHY_COMMAND;
    else if (is_text && mysql_is_load((const char *)p + MYSQL_HEADER + 1, need - 1))
        s.why = MYSQL_WHY_LOAD;
    return s;
}

void mysql_admit(struct mysql *m, const uint8_t *p)
{
    ASSERT(m->phase == MYSQL_COMMANDS && !m->up.left && m->n_waiting < MYSQL_PIPELINE);
    enum mysql_shape shape = mysql_shape_of(p[MYSQL_HEADER]);
    stream_begin(&m->up, head_of(p));
    m->command = p[MYSQL_HEADER];
    m->commands++;
    if (shape == SHAPE_LOGIN) {
        m->phase = MYSQL_AUTH;
        m->changing = true;
        m->turn = false;
        m->auth_rounds = 0;
    } else if (shape != SHAPE_NONE) {
        m->waiting[(m->first + m->n_waiting++) % MYSQL_PIPELINE] = m->command;
    }
}

void mysql_refuse(struct mysql *m, const uint8_t *p)
{
    ASSERT(m->phase == MYSQL_COMMANDS && !m->up.left);
    stream_begin(&m->up, head_of(p));
    m->command = p[MYSQL_HEADER];
    m->dropping = true;
}

struct mysql_said mysql_up(struct mysql *m, uint8_t *p, size_t len)
{
    if (m->up.left)
        return len ? up_body(m, len) : said(MYSQL_MORE);
    if (m->refused)
        return said(answers_wait(m) ? MYSQL_WAIT : MYSQL_REFUSED);
    if (m->phase == MYSQL_GREETING || (m->phase == MYSQL_AUTH && !m->turn && !m->up.goes_on))
        return said(MYSQL_WAIT);
    if (len < MYSQL_HEADER)
        return said(MYSQL_MORE);
    if (m->up.goes_on) {
        struct head h = head_of(p);
        if (h.seq != (uint8_t)(m->up.seq + 1))
            return bad(MYSQL_WHY_ORDER);
        stream_begin(&m->up, h);
        return up_body(m, len);
    }
    struct mysql_said s;
    if (m->phase == MYSQL_REPLY)
        s = mysql_reply(m, p, len);
    else if (m->phase == MYSQL_AUTH)
        s = mysql_login_up(m, p, len);
    else if (m->phase == MYSQL_COMMANDS)
        return look_at_command(m, p, len);
    else
        return bad(MYSQL_WHY_ORDER);
    return s.word == MYSQL_PASS ? up_body(m, len) : s;
}

/* -- from the server --------------------------------------------------------------------------- */

static void down_packet_ends(struct mysql *m)
{
    if (!m->finishing)
        return;
    m->finishing = m->begun = false;
    m->expect = MYSQL_EXPECT_FIRST;
    m->first = (uint8_t)((m->first + 1) % MYSQL_PIPELINE);
    m->n_waiting--;
    m->answers++;
}

static struct mysql_said down_head(struct mysql *m, uint8_t *p, size_t len)
{
    if (len < MYSQL_HEADER)
        return said(MYSQL_MORE);
    if (m->down.goes_on) {
        stream_begin(&m->down, head_of(p));
        return said(MYSQL_PASS);
    }
    switch (m->phase) {
    case MYSQL_GREETING:
        return mysql_greeting(m, p, len);
    case MYSQL_AUTH:
        return mysql_login_down(m, p, len);
    default:
        return mysql_answer(m, p, len);
    }
}

struct mysql_said mysql_down(struct mysql *m, uint8_t *p, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (!m->down.left) {
            struct mysql_said s = down_head(m, p + at, len - at);
            if (s.word != MYSQL_PASS && !at)
                return s;
            if (s.word != MYSQL_PASS)
                break;
        }
        size_t n = MIN((size_t)m->down.left, len - at);
        m->down.left -= (uint32_t)n;
        at += n;
        if (!m->down.left && !m->down.goes_on)
            down_packet_ends(m);
    }
    return at ? (struct mysql_said){.word = MYSQL_PASS, .len = at} : said(MYSQL_MORE);
}
