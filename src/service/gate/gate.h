/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in front of a database, on its own host: the ack gate (ADR 0013). A gate is one endpoint of one
 * database, `rw` or `ro`; each session of it is a flow of net/splice with the filter of this service,
 * which follows the MySQL protocol (proto/mysql).
 *
 * The invariant: under mode `rw`, no statement is forwarded and not one byte of an answer is sent on
 * after the policy's deadline, or once the policy has another epoch than the session began with; both
 * are checked with a clock that was read for that very packet. An answer that comes too late is not
 * passed: the connection breaks, and its client knows nothing, which is the truth. A statement that
 * was not forwarded gets an error that says so (1290), then the connection is closed.
 *
 * `hold`, for a switchover: new statements and new connections wait, transactions that are open go on
 * to their end; by hold_until_ms it is `rw` again, or they are refused. `ro` refuses nothing, the
 * server must be read-only: where it is not (the source serving readers), use `rw`. A change of epoch
 * ends `ro` sessions too: their server may be the source from now on.
 *
 * Threads: gate_set_policy(), counts and health from any; all else from the flow's own thread. The
 * policy is swapped without a lock; a session never sees a deadline of another epoch than its own.
 * HOT PATH: no allocation, lock or log per packet; connections come and go under a lock.
 *
 * Use, in a splice application whose flow part holds a struct gate_session:
 *   accepted/head  return gate_enter(...);        waited  return gate_waited(s);
 *   dial           first attempt only, then:      failed  gate_unreachable(s);
 *   joined         gate_joined(s);                closed, again  gate_leave(s);
 *   turn           gate_turn(g, thread, now);     due_ms  gate_due_ms(g, thread) */
#pragma once

#include "base/metrics/metrics.h"
#include "net/splice/splice.h"
#include "proto/mysql/mysql.h"

#define GATE_CALLERS_MAX 256

enum gate_mode { GATE_CLOSED, GATE_RW, GATE_HOLD, GATE_RO };

struct gate_policy {
    enum gate_mode mode;
    uint64_t epoch;
    uint64_t deadline_ms;   /* CLOCK_BOOTTIME; of GATE_RW and GATE_HOLD */
    uint64_t hold_until_ms; /* of GATE_HOLD */
};

struct gate_limits {       /* 0: the default */
    unsigned connections;  /* at once; 200 */
    unsigned per_caller;   /* of one caller; all of them */
    unsigned waiting;      /* for a hold to end; 1,000 */
    unsigned logins_per_s; /* 500, and twice that at once */
    unsigned handshake_ms; /* until the login has ended; 10 s */
    unsigned idle_ms;      /* without a statement; never */
    unsigned slow_ms;      /* an answer that takes longer is slow; 2 s */
    unsigned silent_ms;    /* the server says nothing at all to anybody who waits; 5 s */
};

enum gate_health {
    GATE_WELL,
    GATE_SLOW,   /* some statement waits longer than slow_ms, the server speaks to others */
    GATE_SILENT, /* statements wait, and for silent_ms not one byte came: it may be frozen */
    GATE_DEAD,   /* nobody takes connections */
};

struct gate_counts {
    unsigned sessions; /* joined or about to be */
    unsigned busy;     /* a statement is under way, or a transaction is open */
    unsigned waiting;  /* connections and statements that a hold keeps */
    unsigned slow;
    uint64_t statements, late; /* so far; late: answers that were not passed */
};

struct gate;

struct gate_session { /* fields are private; zeroed: none */
    struct gate *gate;
    struct splice_flow *flow;
    struct gate_session *prev, *next; /* of its thread */
    unsigned thread;
    uint64_t caller;
    uint64_t epoch;
    uint64_t begun_ms, asked_ms, moved_ms, said_ms;
    uint64_t answers;
    enum gate_mode mode; /* it was let in under */
    enum mysql_why why;  /* of the command that is being refused */
    bool entered, queued, joined, busy, asking, held, slow;
    enum { GATE_GOES_ON, GATE_MUST_END, GATE_TOO_SLOW, GATE_TOO_IDLE } ending;
    struct mysql m;
};

/* `name` and `kind` ("trade", "rw") become labels of its metrics. threads: of the splice server. */
struct gate *gate_new(const char *name, const char *kind, const struct gate_limits *limits,
    struct metrics *metrics, unsigned threads);
/* After the splice server has ended, or all its sessions have. */
void gate_free(struct gate *g);
/* Begins as GATE_CLOSED. One caller at a time. Call splice_wake() afterwards unless only the deadline has moved on. */
void gate_set_policy(struct gate *g, const struct gate_policy *p);
void gate_set_limits(struct gate *g, const struct gate_limits *limits);
/* Called when a login has succeeded, by the flow's thread; older: the server had to be given the proof
 * a second time, so the password is not the newest that the account takes. Set before any session. */
typedef void (*gate_login_fn)(void *ctx, struct splice_flow *f, const char *user, bool older);
void gate_on_login(struct gate *g, gate_login_fn login, void *ctx);
struct gate_counts gate_counts(const struct gate *g);
enum gate_health gate_health(const struct gate *g, uint64_t now_ms);
const char *gate_health_text(enum gate_health h);
/* Before metrics are printed. */
void gate_collect(struct gate *g);

/* Who connected wants in: SPLICE_DIAL, SPLICE_WAIT (a hold), or SPLICE_REPLY with an error of MySQL's.
 * Sets the flow's filter. caller: the module. */
enum splice_verdict gate_enter(
    struct gate *g, struct gate_session *s, struct splice_flow *f, const char *caller);
enum splice_verdict gate_waited(struct gate_session *s);
void gate_joined(struct gate_session *s);
void gate_unreachable(struct gate_session *s); /* with words */
void gate_failed(struct gate_session *s);      /* the words are the caller's; it leaves */
void gate_leave(struct gate_session *s); /* also of one that never entered */
void gate_turn(struct gate *g, unsigned thread, uint64_t now_ms);
uint64_t gate_due_ms(const struct gate *g, unsigned thread); /* 0: nothing to watch */

/* -- alone (mcp data gate) --------------------------------------------------------------------- */

struct gate_place { /* "unix:/PATH" or "ADDRESS:PORT" */
    char path[108];
    struct ip_addr address;
    uint16_t port;
};

MUST_CHECK int gate_place_parse(const char *text, struct gate_place *ret, struct err *e);
/* Returns the descriptor; port 0 becomes the one that the kernel chose. */
MUST_CHECK int gate_place_listen(struct gate_place *p, struct err *e);
/* "rw EPOCH MS" (writable for that long), "hold EPOCH MS MS" (the second: how long it may wait),
 * "ro EPOCH", "close". */
MUST_CHECK int gate_policy_parse(
    const char *line, uint64_t now_ms, struct gate_policy *ret, struct err *e);

struct gate_serve_config {
    int listener; /* becomes the service's */
    struct gate_place upstream;
    unsigned threads; /* 0: one per core */
    struct gate_limits limits;
};

struct gate_serve;
MUST_CHECK int gate_serve_new(
    const struct gate_serve_config *c, struct gate_serve **ret, struct err *e);
struct gate *gate_serve_gate(struct gate_serve *s);
void gate_serve_set_policy(struct gate_serve *s, const struct gate_policy *p);
void gate_serve_free(struct gate_serve *s); /* ends its sessions */
