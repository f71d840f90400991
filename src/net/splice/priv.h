/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of net/splice. One thread owns everything below `struct splice_thread` but its listeners'
 * common part, which is counted. */
#pragma once

#include "net/splice/splice.h"

#include <pthread.h>

#define BUF_BYTES (32u * 1024 - 16)
#define BUFS_KEPT 256      /* per thread, free */
#define FLOWS_KEPT 1024    /* per thread, free */
#define PIECES_PER_TURN 16 /* of one flow, before others get theirs */

struct buf {
    struct buf *next;
    uint32_t start, end;
    uint32_t ok; /* with a filter: up to there it passed */
    char data[BUF_BYTES];
};

struct side {
    struct splice_source source;
    int fd;
    SSL *ssl;
    /* as far as known: cleared by a call that would block, set by an event */
    bool can_read, can_write;
    int epoll; /* of its thread; -1: all its events come as they are */
    bool hung; /* its end has come, perhaps behind bytes that were not read */
    bool eof;  /* its end was read */
    bool shut; /* its end was sent */
    bool framed;
    uint8_t length[2]; /* of the piece that comes, as far as it is there */
    unsigned n_length;
    uint32_t left; /* of that piece */
};

#define PIECE_MAX 16000u /* with its length it fits one TLS record */
#define PIECE_FRONT 2u   /* room in front of what pump_fill() reads */
#define KEPT_MAX 128u    /* unused connections, per thread */

struct kept { /* an unused framed connection */
    struct side s;
    struct splice_thread *t;
    uint64_t reuse, until_ms;
    struct kept *next;
};

enum pump { PUMP_WAIT, PUMP_MORE, PUMP_BROKEN, PUMP_DONE /* with the flow */ };
enum io { IO_OK, IO_WAIT, IO_EOF, IO_ERROR };

enum timer_kind { TIMER_SETUP, TIMER_DIAL, TIMER_IDLE, TIMER_HALF, TIMER_UNUSED, TIMER_KINDS };

struct timer {
    struct timer *prev, *next; /* next NULL: not set */
    uint64_t deadline_ms;
};

enum flow_state {
    FLOW_HANDSHAKE, /* of the accepted side */
    FLOW_HEAD,
    FLOW_WAIT,    /* for the application */
    FLOW_CONNECT, /* of an attempt; so are the next two */
    FLOW_PROVE,
    FLOW_HELLO,
    FLOW_JOINED,
    FLOW_LAST, /* sends the last words */
    FLOW_DEAD, /* memory is reused after this round of events */
};

struct splice_flow {
    struct splice_thread *t;
    enum flow_state state;
    struct side a, b; /* who connected, whom it wanted */
    struct buf *ab, *ba;
    struct buf *front; /* goes in front of what is in ab */
    struct timer timer;
    enum timer_kind timer_kind;
    struct splice_dial dial;
    size_t hello_sent, n_answer;
    uint8_t answer[SPLICE_ANSWER_MAX];
    bool seen;   /* the application knows it */
    bool reused; /* side b is a kept connection, and has said nothing yet */
    bool in_again, keep_timer;
    bool ending; /* by the application's word */
    unsigned wait_ms;
    struct splice_failure failure;
    const struct splice_filter *filter;
    void *filter_ctx;
    struct splice_flow *next, *prev, *again;
    uint64_t app[]; /* flow_size */
};

struct listener { /* shared by the threads; freed with the last of them */
    int fd;
    struct splice_tag tag;
    _Atomic unsigned refs;
    _Atomic bool removed;
};

struct slot { /* a thread's own part */
    struct splice_source source;
    struct splice_thread *t;
    struct listener *l;
    struct slot *next;
};

struct splice_thread {
    struct splice_server *server;
    pthread_t id;
    unsigned index;
    int epoll, wake;
    struct splice_source wake_source;
    uint64_t now_ms;
    unsigned listeners_seen; /* generation */
    struct slot *slots, *dead_slots;
    bool accepting;
    uint64_t accept_again_ms;
    unsigned max_flows, n_flows;
    struct splice_flow flows; /* ring, all living */
    struct splice_flow *again, *dead, *free_flows;
    unsigned n_free_flows, n_free_bufs;
    struct buf *free_bufs;
    struct timer timers[TIMER_KINDS];
    struct kept *kept, *dead_kept; /* newest first */
    unsigned n_kept;
    bool draining;
    uint64_t drain_until_ms, drain_silent_ms;
    _Atomic uint64_t stats[SPLICE_STATS];
};

enum drain { DRAIN_NO, DRAIN_SOON, DRAIN_NOW };

struct splice_server {
    struct splice_config config;
    uint64_t timeout_ms[TIMER_KINDS];
    unsigned n_threads, n_started;
    struct splice_thread *threads;
    pthread_mutex_t lock; /* listeners */
    struct listener **listeners;
    size_t n_listeners, cap_listeners;
    _Atomic unsigned listeners_generation;
    _Atomic int draining;
    _Atomic unsigned running;
};

static inline void stat_add(struct splice_thread *t, enum splice_stat s, uint64_t n)
{
    atomic_store_explicit(&t->stats[s],
        atomic_load_explicit(&t->stats[s], memory_order_relaxed) + n, memory_order_relaxed);
}

/* side.c */
MUST_CHECK int side_open(struct splice_thread *t, struct side *s, int fd); /* negative errno */
void side_close(struct side *s, bool broken);
void side_events(struct side *s, uint32_t events);
enum io side_read(struct side *s, char *p, size_t room, size_t *got);
enum io side_write(struct side *s, const char *p, size_t len, size_t *sent);
enum io side_shut(struct side *s);
enum io side_handshake(struct side *s, bool server);
/* Another flow may follow: both directions of this one have ended. */
void side_renew(struct side *s);
int side_connect(struct splice_thread *t, struct side *s, const struct splice_dial *d);

/* buf.c */
struct buf *buf_get(struct splice_thread *t);
void buf_put(struct splice_thread *t, struct buf **b);
static inline size_t buf_len(const struct buf *b)
{
    return b ? b->end - b->start : 0;
}
void timers_init(struct splice_thread *t);
void timer_set(struct splice_flow *f, enum timer_kind kind);
void timer_set_ms(struct splice_flow *f, uint64_t ms);
void timer_unset(struct splice_flow *f);
int timers_wait_ms(const struct splice_thread *t);
struct splice_flow *timers_due(struct splice_thread *t);

/* flow.c */
void flow_accept(
    struct splice_thread *t, int fd, struct splice_tag tag, const struct ip_addr *from);
void flow_run(struct splice_flow *f);
void flow_expired(struct splice_flow *f);
void flow_kill(struct splice_flow *f);
void flow_end(struct splice_flow *f);  /* in order */
void flow_last(struct splice_flow *f); /* sends what there is for who connected, then ends */
bool flow_settle(struct splice_flow *f, enum pump out, enum pump in, bool half);
bool flow_is_unused(const struct splice_flow *f); /* between two flows of its connection */
/* Joined, nothing on its way through here, nothing moved for that long. */
bool flow_is_silent(const struct splice_flow *f, uint64_t ms);

/* filter.c: both directions of a flow that has one */
bool filter_run(struct splice_flow *f);

/* kept.c */
/* Moves side b of an ended flow there. */
void kept_put(struct splice_flow *f);
/* One for f->dial.reuse becomes side b. */
bool kept_take(struct splice_flow *f);
void kept_sweep(struct splice_thread *t, bool all);
int kept_wait_ms(const struct splice_thread *t);

/* thread.c */
void *splice_thread_main(void *arg);
void thread_again(struct splice_flow *f);
void thread_sync(struct splice_thread *t);
