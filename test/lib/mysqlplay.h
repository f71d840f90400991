/* SPDX-License-Identifier: Apache-2.0 */
/* One who stands between the two sides of a conversation and does what proto/mysql says: for its unit
 * test and its fuzz target. An oracle of its own, that knows packets and nothing else, looks at what
 * went on: each command once, none before the login's end, no byte that did not come. */
#pragma once

#include "proto/mysql/mysql.h"

#include <stdlib.h>
#include <string.h>

struct play_side {
    uint8_t *p; /* what came and did not go on */
    size_t len, cap;
    uint64_t in, passed, dropped;
    /* The oracle's: of what passed. */
    uint8_t head[5];
    size_t n_head;
    uint32_t left;
    bool goes_on;
};

struct play {
    struct mysql m;
    struct play_side up, down;
    uint64_t seen_commands; /* by the oracle */
    bool seen_login;
    uint64_t refused;
    enum mysql_why bad;           /* how it ended */
    uint8_t error[MYSQL_ERR_MAX]; /* the last one of ours */
    size_t n_error;
};

static inline void play_done(struct play *c)
{
    free(c->up.p);
    free(c->down.p);
}

static inline void play_packet(struct play *c, bool down, const uint8_t *head, bool whole)
{
    struct play_side *s = down ? &c->down : &c->up;
    uint32_t payload = head[0] | head[1] << 8 | (uint32_t)head[2] << 16;
    if (!s->goes_on && !down && head[3] == 0) {
        ASSERT(c->seen_login);
        c->seen_commands++;
    }
    if (!s->goes_on && down && whole && head[3] > 1 && head[4] == 0)
        c->seen_login = true;
    s->goes_on = payload == MYSQL_PACKET_MAX;
}

/* A head is judged with its first byte, if it has one. */
static inline void play_oracle(struct play *c, bool down, const uint8_t *p, size_t len)
{
    struct play_side *s = down ? &c->down : &c->up;
    while (len) {
        if (s->left && s->n_head == 0) {
            size_t n = MIN(len, (size_t)s->left);
            s->left -= (uint32_t)n;
            p += n;
            len -= n;
            continue;
        }
        s->head[s->n_head++] = *p++;
        len--;
        if (s->n_head < 4)
            continue;
        uint32_t payload = s->head[0] | s->head[1] << 8 | (uint32_t)s->head[2] << 16;
        if (payload && s->n_head < 5)
            continue;
        play_packet(c, down, s->head, payload > 0);
        s->left = payload ? payload - 1 : 0;
        s->n_head = 0;
    }
}

static inline void play_take(struct play *c, bool down, const struct mysql_said *said)
{
    struct play_side *s = down ? &c->down : &c->up;
    ASSERT(said->len > 0 && said->len <= s->len);
    if (said->word == MYSQL_PASS) {
        s->passed += said->len;
        play_oracle(c, down, s->p, said->len);
    } else {
        ASSERT(!down);
        s->dropped += said->len;
    }
    s->len -= said->len;
    memmove(s->p, s->p + said->len, s->len);
}

/* Nothing is changed but greeting and reply. */
static inline struct mysql_said play_ask(struct play *c, bool down)
{
    struct play_side *s = down ? &c->down : &c->up;
    bool may_change = c->m.phase == (down ? MYSQL_GREETING : MYSQL_REPLY);
    size_t n = MIN(s->len, (size_t)MYSQL_LOOK_MAX);
    uint8_t before[MYSQL_LOOK_MAX];
    memcpy(before, s->p, n);
    struct mysql_said said = down ? mysql_down(&c->m, s->p, s->len) : mysql_up(&c->m, s->p, s->len);
    ASSERT(may_change || !memcmp(before, s->p, n));
    return said;
}

/* True: something went on. */
static inline bool play_up(struct play *c)
{
    struct mysql_said s = play_ask(c, false);
    switch (s.word) {
    case MYSQL_PASS:
    case MYSQL_DROP:
        play_take(c, false, &s);
        return true;
    case MYSQL_COMMAND:
        ASSERT(c->seen_login);
        if (s.why == MYSQL_WHY_NONE)
            mysql_admit(&c->m, c->up.p);
        else
            mysql_refuse(&c->m, c->up.p);
        return true;
    case MYSQL_REFUSED:
        c->n_error = mysql_refusal(&c->m, 1227, "42000", "no", c->error);
        c->refused++;
        return true;
    case MYSQL_BAD:
        c->bad = s.why;
        c->n_error = mysql_last_error(&c->m, 1835, "08S01", mysql_why_text(s.why), c->error);
        return false;
    default:
        ASSERT(s.word == MYSQL_MORE || s.word == MYSQL_WAIT);
        /* It may ask for no more than it says that it ever needs. */
        ASSERT(s.word == MYSQL_WAIT || c->up.len < MYSQL_LOOK_MAX);
        return false;
    }
}

static inline bool play_down(struct play *c)
{
    struct mysql_said s = play_ask(c, true);
    if (s.word == MYSQL_PASS) {
        play_take(c, true, &s);
        return true;
    }
    ASSERT(s.word == MYSQL_BAD || c->down.len < MYSQL_LOOK_MAX);
    if (s.word == MYSQL_BAD) {
        c->bad = s.why;
        c->n_error = mysql_last_error(&c->m, 1835, "08S01", mysql_why_text(s.why), c->error);
    }
    return false;
}

static inline void play_feed(struct play *c, bool down, const uint8_t *p, size_t len)
{
    struct play_side *s = down ? &c->down : &c->up;
    if (c->bad || !len)
        return;
    if (s->cap < s->len + len)
        s->p = xrealloc(s->p, s->cap = s->len + len + MYSQL_LOOK_MAX);
    memcpy(s->p + s->len, p, len);
    s->len += len;
    s->in += len;
    for (bool moved = true; moved && !c->bad;) {
        moved = false;
        while (!c->bad && c->up.p && play_up(c))
            moved = true;
        while (!c->bad && c->down.p && play_down(c))
            moved = true;
    }
    ASSERT(c->up.in == c->up.passed + c->up.dropped + c->up.len);
    ASSERT(c->down.in == c->down.passed + c->down.len && !c->down.dropped);
    ASSERT(c->m.n_waiting <= MYSQL_PIPELINE);
}

/* A file of test/lib/mysqltap.py, in pieces of at most `piece` bytes. */
static inline void play_file(struct play *c, const uint8_t *p, size_t len, size_t piece)
{
    while (len >= 5 && !c->bad) {
        bool down = p[0] == 'S';
        size_t n = p[1] | p[2] << 8 | (size_t)p[3] << 16 | (size_t)p[4] << 24;
        p += 5;
        len -= 5;
        n = MIN(n, len);
        for (size_t at = 0; at < n; at += piece)
            play_feed(c, down, p + at, MIN(piece, n - at));
        p += n;
        len -= n;
    }
}
