/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of net/http. One thread owns everything below `struct thread`; nothing here is locked. */
#pragma once

#include "net/http/http.h"

#include "base/rnd/rnd.h"
#include "proto/h2/h2.h"

#include <pthread.h>
#include <stdatomic.h>

/* Holds a head of HTTP_HEAD_MAX with what forwarding adds, or a head and the texts derived from it.
 */
#define BUF_BYTES (32u * 1024 - 16)
#define BUFS_KEPT 512         /* per thread, free */
#define TARGETS_TRIED_MAX 3   /* instances a request is offered to */
#define POOL_PER_PEER_MAX 128 /* unused connections kept to one instance, per thread */
#define SINKS_PER_THREAD 256  /* answers that are fetched without a client */
#define REQUESTS_PER_TURN 32  /* of one connection, before others get theirs */
#define PIECES_PER_TURN 16    /* buffers moved for one transaction, before others get theirs */

struct thread;
struct conn;
struct tx;
struct upstream;
struct peer;

/* -- buffers: recycled, data between start and end --------------------------------------------- */
struct buf {
    struct buf *next;
    uint32_t start, end;
    char data[BUF_BYTES];
};

struct buf *http_buf_get(struct thread *t);
void http_buf_put(struct thread *t, struct buf **b); /* NULL is fine */
static inline size_t http_buf_len(const struct buf *b)
{
    return b ? b->end - b->start : 0;
}
static inline char *http_buf_at(struct buf *b)
{
    return b->data + b->start;
}
/* Drops what was consumed; moves the rest to the front if that makes room. */
void http_buf_compact(struct buf *b);

/* -- timers: one list per kind, all of a kind last equally long, so the lists are sorted ------- */
enum timer_kind {
    TIMER_HANDSHAKE,
    TIMER_HEAD,
    TIMER_IDLE,
    TIMER_BODY,
    TIMER_SEND,
    TIMER_CONNECT,
    TIMER_ANSWER,
    TIMER_EXPECT,
    TIMER_POOL,
    TIMER_LINGER,
    TIMER_KINDS,
};

struct timer {
    struct timer *prev, *next; /* next NULL: not set */
    uint64_t deadline_ms;
    void (*fire)(struct timer *t, enum timer_kind kind);
    enum timer_kind kind;
};

void http_timer_set(struct thread *t, struct timer *timer, enum timer_kind kind);
void http_timer_unset(struct timer *timer);
int http_timers_wait_ms(const struct thread *t); /* for epoll_wait(): -1 when none is set */
void http_timers_fire(struct thread *t);
void http_timers_init(struct thread *t, const struct http_timeouts *timeouts);
void http_timeouts_default(struct http_timeouts *t);

/* -- streams: a non-blocking socket, plain or TLS, with its buffers; edge triggered ------------ */
struct source { /* what epoll gives back */
    void (*ready)(struct source *s, uint32_t events);
};

struct stream {
    struct source source;
    int fd;
    SSL *ssl;
    /* as far as known: cleared by a short read or a full socket, set by an event */
    bool can_read, can_write;
    bool hangup; /* the peer closed its side; there may be bytes in front of that */
    bool eof, broken;
    bool h2;   /* of an HTTP/2 stream: no socket, its connection's session moves the bytes */
    bool sink; /* nobody: what is written is gone, nothing is ever read */
    struct buf *in, *out;
};

enum io {
    IO_OK,
    IO_WAIT,
    IO_FULL, /* fill: no room; the reader must take something first */
    IO_EOF,
    IO_ERROR,
};

/* registers; negative errno */
MUST_CHECK int http_stream_open(struct thread *t, struct stream *s, int fd);
/* from now on through ssl, which becomes the stream's */
void http_stream_tls(struct stream *s, SSL *ssl);
void http_stream_close(struct thread *t, struct stream *s);
void http_stream_events(struct stream *s, uint32_t events);
enum io http_stream_fill(struct thread *t, struct stream *s);  /* one read; IO_OK: bytes came */
enum io http_stream_flush(struct thread *t, struct stream *s); /* IO_OK: nothing left of `out` */

/* -- client connections ------------------------------------------------------------------------ */
enum conn_state {
    CONN_HANDSHAKE,
    CONN_HEAD,   /* waits for a request, or reads its head */
    CONN_BUSY,   /* has a transaction */
    CONN_H2,     /* speaks HTTP/2: its streams have transactions */
    CONN_STREAM, /* a stream without a transaction: not begun, or ended on our side */
    CONN_LINGER, /* answered for the last time, reads on for a moment */
    CONN_DEAD,   /* closed; memory is reused after this round of events */
};

struct conn {
    struct stream s;
    struct timer timer;
    struct thread *t;
    struct conn *prev, *next; /* all of the thread, or the free list */
    struct conn *again;       /* list of those that had their turn */
    struct tx *tx;
    enum conn_state state;
    size_t scanned; /* of the head in s.in */
    bool in_again;
    uint8_t client_len;
    bool served; /* a request has come: HTTP/2 would have said so before */
    const char *tls_version;
    char client[IP_TEXT_SIZE];
    struct http_h2 *h2; /* in CONN_H2 */
    /* of a stream: */
    struct conn *parent;
    int32_t id;
    bool ended;                     /* the request's content has all come */
    bool gone;                      /* the session knows it no more */
    bool out_last;                  /* nothing comes behind what is in s.out */
    bool out_done;                  /* the end was sent */
    struct buf *queue, *queue_last; /* content that nobody has taken */
    struct h2_head head;
};

struct http_h2 { /* what HTTP/2 adds to a connection */
    struct h2 *session;
    struct conn *streams;
    unsigned n_streams;
    bool deaf;  /* nothing more is read */
    bool moved; /* bytes were written since the timer was set */
};

struct conn *http_conn_new(struct thread *t); /* in no list, without a socket */
void http_conn_forget(struct conn *c);        /* after this round of events */
void http_conn_accept(struct thread *t, int fd, const struct sockaddr *from, bool tls);
void http_conn_run(struct conn *c);
void http_conn_close(struct conn *c, bool reset);
void http_conn_linger(struct conn *c);
void http_conn_drain(struct conn *c);      /* the thread stops */
void http_conn_drain_idle(struct conn *c); /* ... and no request came since */
/* the one that has been idle longest; false: none is */
bool http_conn_evict_idle(struct thread *t);
/* In the place of a client that is not there; NULL: there are too many. */
struct conn *http_conn_sink(struct thread *t);
void http_conn_sink_end(struct conn *c);

/* -- HTTP/2 ------------------------------------------------------------------------------------ */
void http_h2_start(struct conn *c); /* what comes from now on is HTTP/2 */
void http_h2_run(struct conn *c);
void http_h2_drain(struct conn *c);
void http_h2_idle(struct conn *c); /* says goodbye and closes it */
void http_h2_done(struct conn *c); /* the connection is lost: ends its streams */
enum io http_h2_fill(struct stream *s);
enum io http_h2_flush(struct stream *s);
struct tx;
void http_h2_head(
    struct tx *tx, const struct http_response *r, const struct http_forward *f, bool content);
void http_h2_reply(struct tx *tx, const struct http_reply *reply);
void http_h2_continue(struct tx *tx);
void http_h2_stream_timeout(struct conn *c);
void http_h2_stream_end(struct conn *c, const struct tx *tx);

#define H2_MEM_CLASSES 10 /* 64 bytes to 32 KiB */
nghttp2_mem *http_h2_mem(struct thread *t);
void http_h2_mem_done(struct thread *t);

/* -- transactions ------------------------------------------------------------------------------ */
#define TX_STEPS(X)                                                                                \
    X(DECIDE, step_decide)   /* the application replies or names targets */                        \
    X(PARK, step_park)       /* the application has to find something out first */                 \
    X(COLLECT, step_collect) /* short content is waited for before anybody is bothered with it */  \
    X(ACQUIRE, step_acquire) /* a connection to one of them */                                     \
    X(CONNECT, step_connect) /* being made */                                                      \
    X(EXCHANGE, step_exchange) /* request out, answer's head awaited */                            \
    X(RELAY, step_relay)       /* answer's content to the client */                                \
    X(SERVE, step_serve)       /* the application's content to the client */                       \
    X(REPLY, step_reply)       /* our own answer to the client */                                  \
    X(END, step_end)           /* told, released, next request */

enum tx_step {
#define X(name, fn) TX_##name,
    TX_STEPS(X)
#undef X
        TX_STEP_COUNT,
};

struct tx {
    struct http_tx pub; /* first: the application's view */
    struct conn *conn;
    struct tx *next; /* free list */
    struct timer timer;
    enum tx_step step;
    struct buf *head; /* the request's head; behind it the room of http_tx_alloc() */
    /* the request as the upstream gets it, kept whole while it may be sent again */
    struct buf *sent;
    bool replayable;      /* `sent` holds all of it from its start */
    bool request_ended;   /* its content is in `sent` to the end */
    bool request_dropped; /* the upstream takes no more of it, but may answer */
    bool begun;           /* bytes of the final answer went to the client */
    bool answered;        /* the final answer's head is written (to s.out at least) */
    bool close;           /* the client's connection ends with this answer */
    bool cut;             /* ... in the middle of it */
    bool chunked;         /* framing towards the client */
    bool moved;           /* bytes went somewhere since the timer was set */
    bool expecting;       /* the client waits for 100 Continue */
    bool upstream_closes; /* ... its connection after this answer */
    bool observed;        /* the application looks at the answer */
    bool drop_conditions; /* the request's conditions and ranges stay here */
    bool resumed;         /* parked no longer */
    bool served;          /* all of the application's content is in s.out */
    bool orphan;          /* a fetch whose client left; the application does not know it */
    uint8_t interim;        /* 1xx answers so far */
    void *store;            /* the answer's content goes to the application, too */
    struct http_text lines; /* of http_tx_observe() */
    struct http_body request_body, answer_body;
    struct upstream *up;
    const struct http_target *targets;
    size_t n_targets;
    const struct http_target *tried[TARGETS_TRIED_MAX];
    uint64_t upstream_start_us;
    struct http_request request; /* last: large, cleared by its parser */
};

struct tx *http_tx_get(struct thread *t); /* with an empty request, to parse into */
void http_tx_put(struct thread *t, struct tx *tx);
/* The connection's request begins: a head of head_len bytes at the start of c->s.in was parsed into
 * tx->request, or refused. */
void http_tx_start(struct conn *c, struct tx *tx, size_t head_len, enum http_reject reject);
bool http_tx_run(struct tx *tx); /* true: it has ended, the connection has moved on; tx is gone */
/* no (further) answer: the client's connection is cut */
void http_tx_abort(struct tx *tx, enum http_end end);

/* reply.c */
void http_reply_write(struct tx *tx, const struct http_reply *reply);
void http_reply_error(struct tx *tx, unsigned status, const char *text, const char *fields);
void http_reply_continue(struct tx *tx);

/* relay.c */
enum pump {
    PUMP_WAIT, /* all moved that could be */
    PUMP_MORE, /* had its turn, there is more */
    PUMP_CLIENT_GONE,
    PUMP_CLIENT_BAD, /* tx->pub.reject says how */
    PUMP_UPSTREAM_GONE,
    PUMP_UPSTREAM_BAD,
    PUMP_DONE, /* answer: all of it is with the kernel */
};
enum io http_client_flush(struct tx *tx);
/* content into `sent`, sending nothing; it must have the room */
enum pump http_pump_collect(struct tx *tx);
bool http_pump_fits(const struct tx *tx); /* all of the content will have room in `sent` */
enum pump http_pump_request(struct tx *tx);
enum pump http_pump_answer(struct tx *tx);
enum pump http_pump_serve(struct tx *tx);
void http_store_end(struct tx *tx, bool whole); /* if there is one */

/* -- upstreams --------------------------------------------------------------------------------- */
struct peer {          /* one instance, as this thread sees it */
    struct peer *next; /* hash chain, or free list */
    struct ip_addr address;
    uint16_t port;
    struct upstream *idle; /* most recently used first */
    unsigned n_idle, n_busy;
    unsigned failures; /* connections refused in a row */
    uint64_t ejected_until_ms;
    uint64_t used_ms;
};

struct upstream {
    struct stream s;
    struct timer timer;
    struct thread *t;
    struct peer *peer;
    struct upstream *prev, *next; /* idle list, or free list */
    struct tx *tx;                /* NULL: idle or dead */
    bool dead, reused, connecting;
    size_t scanned;    /* of the answer's head in s.in */
    uint64_t until_ms; /* not reused after it */
};

#define PEER_BUCKETS 1024
/* A target that was not tried yet, least loaded first, ejected ones last; NULL: all were tried. */
const struct http_target *http_upstream_pick(struct tx *tx);
/* A kept or new connection for tx; NULL: it cannot even be tried (errno). */
struct upstream *http_upstream_get(struct tx *tx, const struct http_target *target);
void http_upstream_keep(struct upstream *u);
void http_upstream_drop(struct upstream *u);
void http_upstream_connected(struct upstream *u);
void http_upstream_refused(struct upstream *u); /* counts against the peer; drop it afterwards */
void http_upstream_drop_idle(struct thread *t);
void http_peers_sweep(struct thread *t); /* forgets instances that are gone */
void http_peers_free(struct thread *t);

/* -- threads ----------------------------------------------------------------------------------- */
struct listener {
    struct source source;
    struct thread *t;
    int fd;
    bool tls;
};

struct thread {
    struct http_server *server;
    unsigned index;
    pthread_t id;
    int epoll, wake;
    struct source wake_source;
    void *app; /* of thread_start() */
    const struct http_app *calls;
    uint64_t now_ms, now_us;
    int64_t wall_ms;
    char date[32]; /* IMF-fixdate of wall_ms */
    int64_t date_s;
    struct rnd rnd;
    struct timer timers[TIMER_KINDS]; /* list heads */
    uint32_t timeout_ms[TIMER_KINDS];
    struct listener *listeners;
    size_t n_listeners;
    bool accepting, draining;
    uint64_t drain_until_ms, drain_idle_ms, accept_again_ms, sweep_ms;
    unsigned n_conns, max_conns, n_streams, n_sinks;
    struct conn conns;  /* list head */
    struct conn *again; /* had their turn, have more to do */
    struct conn *dead;  /* of this round of events */
    struct upstream *dead_upstreams;
    struct buf *free_bufs;
    unsigned n_free_bufs;
    struct conn *free_conns;
    struct tx *free_txs;
    struct upstream *free_upstreams;
    struct peer *peers[PEER_BUCKETS];
    nghttp2_mem h2_mem;
    void *h2_free[H2_MEM_CLASSES];
    size_t h2_kept[H2_MEM_CLASSES];
    unsigned next_target;          /* where spreading starts, so that equals take turns */
    struct http_response response; /* scratch: a head is parsed and forwarded at once */
    _Atomic uint64_t stats[HTTP_STAT_COUNT];
};

struct ticket_key {
    unsigned char name[16], aes[32], mac[32];
};

struct tickets { /* the one thing that handshakes of different threads share */
    pthread_mutex_t lock;
    struct ticket_key keys[2]; /* newest first */
    uint64_t made_ms;          /* the newest; 0: none is in use yet */
};

void http_tickets_init(struct tickets *t);
void http_tickets_done(struct tickets *t);
int http_tickets_callback(SSL *ssl, unsigned char name[16], unsigned char *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int making);

enum drain {
    DRAIN_NO,
    DRAIN_GENTLY, /* what is in flight may finish, until the deadline */
    DRAIN_NOW,
};

struct http_server {
    struct thread *threads;
    unsigned n_threads;
    const struct http_app *app;
    void *ctx;
    struct http_timeouts timeouts;
    struct tickets tickets;
    /* every handshake starts here; app->certificate() puts the right certificate in */
    SSL_CTX *front;
    _Atomic int draining; /* enum drain */
    _Atomic unsigned running;
};

static inline void http_stat_add(struct thread *t, enum http_stat stat, uint64_t n)
{
    _Atomic uint64_t *c = &t->stats[stat]; /* one writer: no locked add */
    atomic_store_explicit(
        c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

void *http_thread_main(void *arg);
void http_thread_again(struct conn *c); /* run it once more before waiting */
void http_thread_accept_pause(struct thread *t, bool pause);

/* tls.c */
MUST_CHECK int http_front_ctx_new(SSL_CTX **ret, struct err *e);
const char *http_tls_version_of(const SSL *ssl);
bool http_tls_chose_h2(const SSL *ssl);
