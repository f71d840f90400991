/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of service/gate. */
#pragma once

#include "service/gate/gate.h"

#include <pthread.h>
#include <stdatomic.h>

/* What waits or is under way is looked at that often. */
#define SCAN_MS 250u

#define CODE_CONNECTIONS 1040u
#define CODE_UNREACHABLE 1053u
#define CODE_TIMEOUT 1159u
#define CODE_RIGHTS 1227u
#define CODE_RATE 1226u
#define CODE_NOT_SOURCE 1290u
#define CODE_PROTOCOL 1835u
#define CODE_IDLE 4031u

#define TEXT_NOT_SOURCE                                                                            \
    "this server is no longer the source of the database: nothing was done, reconnect"

enum gate_metric {
    M_SESSIONS,
    M_STATEMENTS,
    M_LATE,
    M_HELD,
    M_SLOW,
    M_SERVER_BROKE,
    M_UNREACHABLE,
    M_REFUSED_MOVED,
    M_REFUSED_CONNECTIONS,
    M_REFUSED_CALLER,
    M_REFUSED_RATE,
    M_REFUSED_HOLD,
    M_REFUSED_COMMAND,
    M_REFUSED_HANDSHAKE,
    M_REFUSED_PROTOCOL,
    M_IDLE,
    M_ANSWER_SECONDS,
    M_COUNT
};

struct worker {                   /* of one thread, its only writer; others read the atomics */
    struct gate_session sessions; /* ring */
    unsigned generation;          /* of the policy, as looked at */
    uint64_t due_ms;
    _Atomic unsigned busy, asking, waiting, slow;
    _Atomic uint64_t asking_since_ms, said_ms, dialled_ms, failed_ms;
    struct metric_set *metrics;
};

struct caller {
    uint64_t key;
    unsigned n;
};

struct gate {
    /* The order of these is the rule: see policy_store() and gate_state(). */
    _Atomic uint64_t deadline_ms, epoch, hold_until_ms;
    _Atomic int mode;
    _Atomic unsigned generation;
    _Atomic unsigned handshake_ms, idle_ms, slow_ms, silent_ms, waiting;
    gate_login_fn login;
    void *login_ctx;
    pthread_mutex_t lock; /* the following */
    struct gate_limits limits;
    unsigned sessions;
    struct caller callers[GATE_CALLERS_MAX];
    uint64_t logins_ms;   /* the bucket's last filling */
    uint64_t logins_left; /* in thousandths */
    unsigned n_workers;
    struct worker *workers;
    struct metric_set *gauges;
};

enum state { STATE_OPEN, STATE_HELD, STATE_SHUT /* the deadline is past */, STATE_MOVED };

/* gate.c */
/* What the policy says to a session (s NULL: to a new one), at that time. */
enum state gate_state(const struct gate *g, const struct gate_session *s, uint64_t now_ms);
/* True: there is room; else the error was given to splice_reply(). */
bool gate_take_place(struct gate_session *s, uint64_t now_ms);
void gate_give_place(struct gate_session *s);

/* session.c */
extern const struct splice_filter gate_filter;
void session_waits(struct gate_session *s, bool *flag, bool waits); /* flag: s->queued or s->held */
void session_is_slow(struct gate_session *s, bool slow);
void session_forget(struct gate_session *s); /* takes back what it counts for */

/* enter.c */
void session_refuse_entry(struct gate_session *s, enum gate_metric why, uint16_t code,
    const char *sqlstate, const char *text);
/* A connection that a hold keeps: goes on, or is refused, if it may. */
void session_look_at_queue(struct gate_session *s, uint64_t now_ms);

/* watch.c */
void watch_soon(struct gate_session *s, uint64_t now_ms);

/* metrics.c */
void gate_metrics_open(struct gate *g, struct metrics *m, const char *name, const char *kind);
void gate_metrics_close(struct gate *g);

static inline struct worker *worker_of(const struct gate_session *s)
{
    return &s->gate->workers[s->thread];
}

static inline void count(const struct gate_session *s, enum gate_metric m)
{
    metric_add(worker_of(s)->metrics, m, 1);
}

static inline unsigned get(const _Atomic unsigned *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static inline void add(_Atomic unsigned *v, int n) /* one writer */
{
    atomic_store_explicit(v, get(v) + (unsigned)n, memory_order_relaxed);
}

static inline void set_time(_Atomic uint64_t *v, uint64_t ms)
{
    atomic_store_explicit(v, ms, memory_order_relaxed);
}
