/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The filter of a session: what the protocol says of the bytes in front, and what the policy
 * says at that moment. */
#include "service/gate/priv.h"

static const struct splice_look more = {.then = SPLICE_THEN_MORE},
                                again = {.then = SPLICE_THEN_AGAIN},
                                wait = {.then = SPLICE_THEN_WAIT},
                                last = {.then = SPLICE_THEN_LAST},
                                broken = {.then = SPLICE_THEN_BREAK};

/* -- what it counts for ------------------------------------------------------------------------ */

void session_is_slow(struct gate_session *s, bool slow)
{
    if (s->slow == slow)
        return;
    s->slow = slow;
    add(&worker_of(s)->slow, slow ? 1 : -1);
    if (slow)
        count(s, M_SLOW);
}

void session_waits(struct gate_session *s, bool *flag, bool waits)
{
    if (*flag == waits)
        return;
    *flag = waits;
    add(&worker_of(s)->waiting, waits ? 1 : -1);
    if (waits)
        count(s, M_HELD);
}

static void is_busy(struct gate_session *s, bool busy)
{
    if (s->busy == busy)
        return;
    s->busy = busy;
    add(&worker_of(s)->busy, busy ? 1 : -1);
}

static void is_asking(struct gate_session *s, bool asking, uint64_t now_ms)
{
    struct worker *w = worker_of(s);
    if (s->asking == asking)
        return;
    s->asking = asking;
    if (asking && !get(&w->asking))
        set_time(&w->asking_since_ms, now_ms);
    add(&w->asking, asking ? 1 : -1);
}

/* What a forwarding has made of it. */
static void note(struct gate_session *s, uint64_t now_ms)
{
    s->moved_ms = now_ms;
    if (s->answers != s->m.answers) {
        metric_observe(worker_of(s)->metrics, M_ANSWER_SECONDS, 1000 * (now_ms - s->asked_ms));
        s->answers = s->m.answers;
        s->asked_ms = now_ms; /* of the next in the row */
    }
    is_asking(s, s->m.n_waiting > 0, now_ms);
    is_busy(s, mysql_busy(&s->m) || mysql_in_transaction(&s->m));
}

void session_forget(struct gate_session *s)
{
    session_is_slow(s, false);
    session_waits(s, &s->held, false);
    session_waits(s, &s->queued, false);
    is_asking(s, false, 0);
    is_busy(s, false);
}

/* -- errors of ours ---------------------------------------------------------------------------- */

/* The last word, where one can be said: nothing was forwarded that has no answer, and the answers
 * before were sent. */
static struct splice_look say_last(
    struct gate_session *s, uint16_t code, const char *state, const char *text)
{
    uint8_t out[MYSQL_ERR_MAX];
    if (s->m.n_waiting || splice_unsent(s->flow))
        return broken;
    size_t n = mysql_last_error(&s->m, code, state, text, out);
    return n && splice_reply(s->flow, (char *)out, n) ? last : broken;
}

static struct splice_look say_moved(struct gate_session *s)
{
    count(s, M_REFUSED_MOVED);
    return say_last(s, CODE_NOT_SOURCE, "HY000", TEXT_NOT_SOURCE);
}

static struct splice_look say_refused(struct gate_session *s)
{
    uint8_t out[MYSQL_ERR_MAX];
    bool command = s->why == MYSQL_WHY_COMMAND;
    size_t n = mysql_refusal(&s->m, command ? CODE_RIGHTS : CODE_NOT_SOURCE,
        command ? "42000" : "HY000", mysql_why_text(s->why), out);
    count(s, M_REFUSED_COMMAND);
    return splice_reply(s->flow, (char *)out, n) ? again : broken;
}

/* What the client said in its reply may be wrong for here, and it is told; all else is nonsense. */
static struct splice_look say_bad(struct gate_session *s, enum mysql_why why)
{
    bool handshake = why == MYSQL_WHY_TLS || why == MYSQL_WHY_COMPRESS || why == MYSQL_WHY_OLD;
    count(s, handshake ? M_REFUSED_HANDSHAKE : M_REFUSED_PROTOCOL);
    return say_last(s, CODE_PROTOCOL, "08S01", mysql_why_text(why));
}

/* -- from the client --------------------------------------------------------------------------- */

static struct splice_look admit(struct gate_session *s, const struct splice_bytes *b)
{
    if (!s->m.n_waiting)
        s->asked_ms = s->said_ms = b->now_ms;
    session_waits(s, &s->held, false);
    mysql_admit(&s->m, b->p);
    metric_add(worker_of(s)->metrics, M_STATEMENTS, 1);
    note(s, b->now_ms);
    watch_soon(s, b->now_ms);
    return again;
}

static struct splice_look hold(struct gate_session *s, const struct splice_bytes *b)
{
    if (mysql_in_transaction(&s->m))
        return admit(s, b);
    if (s->m.n_waiting || mysql_busy(&s->m))
        return wait; /* may open a transaction, and then goes on */
    if (b->now_ms >= atomic_load_explicit(&s->gate->hold_until_ms, memory_order_relaxed)) {
        count(s, M_REFUSED_HOLD);
        return say_last(s, CODE_NOT_SOURCE, "HY000", TEXT_NOT_SOURCE);
    }
    session_waits(s, &s->held, true);
    watch_soon(s, b->now_ms);
    return wait;
}

static struct splice_look command(
    struct gate_session *s, const struct splice_bytes *b, enum mysql_why why)
{
    if (why != MYSQL_WHY_NONE) {
        s->why = why;
        mysql_refuse(&s->m, b->p);
        return again;
    }
    if (b->p[MYSQL_HEADER] == MYSQL_COM_QUIT)
        return admit(s, b);
    if (s->held && splice_has_left(s->flow))
        return broken; /* nobody waits for it any more: it may have been sent elsewhere by now */
    switch (gate_state(s->gate, s, b->now_ms)) {
    case STATE_OPEN:
        return admit(s, b);
    case STATE_HELD:
        return hold(s, b);
    case STATE_SHUT:
    case STATE_MOVED:
        break;
    }
    return say_moved(s);
}

static struct splice_look end_it(struct gate_session *s)
{
    switch (s->ending) {
    case GATE_MUST_END:
        return say_moved(s);
    case GATE_TOO_SLOW:
        count(s, M_REFUSED_HANDSHAKE);
        return say_last(s, CODE_TIMEOUT, "08S01", "the login took too long");
    case GATE_TOO_IDLE:
        count(s, M_IDLE);
        return say_last(s, CODE_IDLE, "HY000", "the connection was not used for too long");
    case GATE_GOES_ON:
        break;
    }
    return again;
}

static struct splice_look look_up(struct gate_session *s, const struct splice_bytes *b)
{
    if (s->ending != GATE_GOES_ON)
        return end_it(s);
    struct mysql_said said = mysql_up(&s->m, b->p, b->len);
    switch (said.word) {
    case MYSQL_MORE:
        return more;
    case MYSQL_PASS:
        note(s, b->now_ms);
        return (struct splice_look){.pass = said.len, .then = SPLICE_THEN_AGAIN};
    case MYSQL_DROP:
        return (struct splice_look){.drop = said.len, .then = SPLICE_THEN_AGAIN};
    case MYSQL_WAIT:
        return wait;
    case MYSQL_COMMAND:
        return command(s, b, said.why);
    case MYSQL_REFUSED:
        return say_refused(s);
    case MYSQL_BAD:
        break;
    }
    return say_bad(s, said.why);
}

/* -- from the server --------------------------------------------------------------------------- */

/* In the middle of anything the client must see that it broke: an end could be taken for an answer. */
static struct splice_look server_ended(struct gate_session *s, const struct splice_bytes *b)
{
    bool between = s->m.phase >= MYSQL_COMMANDS && !s->m.n_waiting && mysql_down_between(&s->m);
    if (b->len || !between) {
        count(s, M_SERVER_BROKE);
        return broken;
    }
    return splice_has_left(s->flow) ? more : last;
}

static struct splice_look look_down(struct gate_session *s, const struct splice_bytes *b)
{
    if (!b->len && !b->ended)
        return more;
    bool logs_in = s->m.phase == MYSQL_AUTH && !s->m.changing;
    struct mysql_said said = mysql_down(&s->m, b->p, b->len);
    if (said.word == MYSQL_PASS) {
        if (logs_in && s->m.phase == MYSQL_COMMANDS && s->gate->login)
            s->gate->login(s->gate->login_ctx, s->flow, s->m.user, s->m.second_try);
        s->said_ms = b->now_ms;
        set_time(&worker_of(s)->said_ms, b->now_ms);
        session_is_slow(s, false);
        note(s, b->now_ms);
        return (struct splice_look){.pass = said.len, .then = SPLICE_THEN_AGAIN};
    }
    if (said.word == MYSQL_MORE)
        return b->ended ? server_ended(s, b) : more;
    count(s, M_REFUSED_PROTOCOL);
    return broken;
}

static struct splice_look look(void *ctx, const struct splice_bytes *b)
{
    return b->back ? look_down(ctx, b) : look_up(ctx, b);
}

static bool may_send(void *ctx, uint64_t now_ms)
{
    struct gate_session *s = ctx;
    enum state state = gate_state(s->gate, s, now_ms);
    if (state == STATE_OPEN || state == STATE_HELD)
        return true;
    count(s, M_LATE);
    return false;
}

const struct splice_filter gate_filter = {.look = look, .may_send = may_send};
