/* SPDX-License-Identifier: Apache-2.0 */
/* Joins connections: each one that is accepted is given a second one, and bytes flow both ways until
 * both ends have ended. Either side may be TLS. A thread per core, each with its own epoll, waits on
 * all listening sockets; a flow lives and dies on the thread that accepted it.
 *
 * Between two engines a TLS connection carries one flow after the other ("framed"): everything in it
 * comes in pieces of a two-byte length and that many bytes, and a length of zero ends one direction of
 * one flow. When both have ended the accepting side waits for the next head, the dialling side keeps
 * the connection for the next flow to the same place.
 *
 * What is allowed and where it goes is the application's: the engine calls it when a connection
 * comes, when its head can be read, and for each attempt to reach the other side, and calls it from
 * the flow's own thread only. Nothing grows: a direction has one buffer, held while it has content;
 * a full one stops the reading at its source. The end of one direction is passed on as such, a
 * broken connection as a broken one. Flows end when nothing moved for idle_ms.
 *
 * A flow may have a filter: the application then sees all bytes of a joined flow before they go on, in
 * the buffer they lie in, and says which do. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

#define SPLICE_THREADS_MAX 64
#define SPLICE_HEAD_MAX (16u * 1024)
#define SPLICE_HELLO_MAX 160
#define SPLICE_ANSWER_MAX 8

struct splice_server;
struct splice_thread;
struct splice_flow;

enum splice_stat {
    SPLICE_STAT_ACCEPTED,
    SPLICE_STAT_OPEN,
    SPLICE_STAT_REFUSED, /* closed at once by the application's word, or for want of room */
    SPLICE_STAT_JOINED,
    SPLICE_STAT_FAILED, /* no attempt succeeded */
    SPLICE_STAT_DIALS,
    SPLICE_STAT_DIAL_FAILURES,
    SPLICE_STAT_HANDSHAKES, /* TLS, either side */
    SPLICE_STAT_RESUMED,    /* of them */
    SPLICE_STAT_KEPT,       /* unused framed connections, of who dialled */
    SPLICE_STAT_REUSED,     /* connections that served another flow before */
    SPLICE_STAT_BYTES_OUT,  /* from who connected to whom it wanted */
    SPLICE_STAT_BYTES_IN,
    SPLICE_STAT_BROKEN, /* joined, and ended by an error of one side */
    SPLICE_STAT_IDLE,   /* ended because nothing moved */
    SPLICE_STATS,
};

struct splice_tag { /* of a listening socket: the application's own */
    uint32_t kind, key;
};

enum splice_verdict {
    SPLICE_REFUSE, /* closed at once, as if nobody listened */
    SPLICE_DIAL,   /* dial() is asked */
    SPLICE_HEAD,   /* head() is asked whenever bytes came */
    SPLICE_WAIT,   /* the application calls splice_resume(); after wait_ms waited() is asked */
    SPLICE_REPLY,  /* the bytes of splice_reply() are sent, then it is closed */
};

struct splice_dial { /* one attempt */
    struct ip_addr address;
    uint16_t port;
    const char *path; /* of a Unix socket, in place of an address; must live as long as the flow */
    unsigned timeout_ms;             /* of all of the attempt */
    SSL *ssl;                        /* becomes the flow's; NULL: plain. Framed */
    uint64_t reuse;                  /* whose kept connection will do; 0: none */
    uint8_t hello[SPLICE_HELLO_MAX]; /* sent first */
    size_t n_hello;
    size_t n_answer; /* bytes that come back before anything else; 0: none */
    bool wait_first; /* plain: joined when the other side says something, which is left to be read */
};

struct splice_failure { /* of the last attempt */
    enum { SPLICE_AT_CONNECT, SPLICE_AT_PROOF, SPLICE_AT_ANSWER } at;
    bool timed_out;
    int error; /* errno of the connection, or 0 */
};

enum splice_then {
    SPLICE_THEN_MORE,  /* asked again when more bytes have come; at the end: it is passed on */
    SPLICE_THEN_AGAIN, /* asked again for the rest, when what passes has been sent */
    SPLICE_THEN_WAIT,  /* not before the other direction has moved, or splice_again() */
    SPLICE_THEN_LAST,  /* what was given to splice_reply() is sent, then the flow ends */
    SPLICE_THEN_BREAK,
};

struct splice_bytes { /* of one direction, those that have not passed */
    bool back;        /* for who connected */
    bool ended;       /* no more will come */
    uint8_t *p;       /* may be changed */
    size_t len;       /* may be 0 */
    uint64_t now_ms;  /* read for this call, as deadlines hang on it */
};

struct splice_look { /* the first `pass` go on, or the first `drop` vanish; then ... */
    size_t pass, drop;
    enum splice_then then;
};

struct splice_filter {
    struct splice_look (*look)(void *ctx, const struct splice_bytes *b);
    /* Before each time that bytes which passed are sent to who connected. False: it is broken. */
    bool (*may_send)(void *ctx, uint64_t now_ms);
};

struct splice_app {
    /* At the start of each turn of a thread's loop. */
    void (*turn)(void *ctx, unsigned thread);
    /* When the application wants its next turn at the latest, 0: when something happens. May be NULL. */
    uint64_t (*due_ms)(void *ctx, unsigned thread);
    /* A connection came. With *ssl set it begins with a handshake as server, then secured(); it is
     * framed, and after each of its flows comes again(). */
    enum splice_verdict (*accepted)(void *ctx, struct splice_flow *f, struct splice_tag tag,
        const struct ip_addr *from, SSL **ssl);
    enum splice_verdict (*secured)(void *ctx, struct splice_flow *f, SSL *ssl);
    /* A flow has ended in order on a framed connection that was accepted: forget it, and say whether
     * another may come (SPLICE_HEAD). */
    enum splice_verdict (*again)(void *ctx, struct splice_flow *f, SSL *ssl);
    /* What came so far of the head. *used: how much of it is dropped (splice_reply() and
     * splice_forward() say what goes out instead); the rest follows to the other side. */
    enum splice_verdict (*head)(
        void *ctx, struct splice_flow *f, const char *p, size_t len, size_t *used);
    /* Nobody resumed it in time. */
    enum splice_verdict (*waited)(void *ctx, struct splice_flow *f);
    /* The next attempt (SPLICE_DIAL); there is none now (SPLICE_WAIT), or none left (SPLICE_REFUSE). */
    enum splice_verdict (*dial)(void *ctx, struct splice_flow *f, struct splice_dial *d);
    /* The other side of the attempt is proven by TLS. False: not the right one. May be NULL. */
    bool (*proven)(void *ctx, struct splice_flow *f, SSL *ssl);
    bool (*answered)(void *ctx, struct splice_flow *f, const uint8_t *answer, size_t len);
    /* Joined, or every attempt failed: the last moment for a splice_reply(). */
    void (*joined)(void *ctx, struct splice_flow *f);
    void (*failed)(void *ctx, struct splice_flow *f);
    void (*closed)(void *ctx, struct splice_flow *f); /* of every flow that accepted() saw */
    void (*thread_done)(void *ctx, unsigned thread);
    void (*stopped)(void *ctx); /* drained; from the last thread */
    size_t flow_size;           /* of the application's part of a flow, zeroed for each */
};

struct splice_config {
    unsigned threads;                              /* 0: one per core */
    unsigned max_flows;                            /* 0: by RLIMIT_NOFILE */
    unsigned setup_ms, idle_ms, half_ms, drain_ms; /* 0: 10 s, 1 h, 5 min, 8 s */
    unsigned wait_ms;                              /* 0: 1 s */
    unsigned keep_ms; /* an unused framed connection, by who dialled; 0: 15 s */
    const struct splice_app *app;
    void *ctx;
};

MUST_CHECK int splice_start(
    const struct splice_config *config, struct splice_server **ret, struct err *e);
unsigned splice_threads(const struct splice_server *s);
/* Any thread. The descriptor is listening, does not block, and becomes the server's; threads take it up soon. */
void splice_listen(struct splice_server *s, int fd, struct splice_tag tag);
void splice_unlisten(struct splice_server *s, struct splice_tag tag);
void splice_wake(struct splice_server *s); /* every thread takes a turn soon */
uint64_t splice_stat(const struct splice_server *s, enum splice_stat stat);
/* No new connections; those that are there have drain_ms to end, and after
 * most of that are ended as soon as nothing moves in them. stopped() follows. */
void splice_drain(struct splice_server *s);
void splice_free(struct splice_server *s); /* ends what is left, waits for the threads */

/* The following from the flow's thread. */
void *splice_app_of(struct splice_flow *f);
unsigned splice_thread_of(const struct splice_flow *f);
uint64_t splice_now_ms(const struct splice_flow *f);
/* Bytes for who connected, in front of what the other side sends. False: no room. */
bool splice_reply(struct splice_flow *f, const char *p, size_t len);
/* What was given to splice_reply() and is not sent yet is forgotten. Before it is joined. */
void splice_take_back(struct splice_flow *f);
/* Bytes for the other side, in front of what is left of the head. */
bool splice_forward(struct splice_flow *f, const char *p, size_t len);
/* From accepted() on, until joined() at the latest; NULL: none. */
void splice_set_filter(struct splice_flow *f, const struct splice_filter *filter, void *ctx);
/* The filter is asked again soon. */
void splice_again(struct splice_flow *f);
/* Who connected has ended its direction or is gone; seen before it is read. */
bool splice_has_left(const struct splice_flow *f);
/* Bytes that passed and were not sent to who connected yet. */
size_t splice_unsent(const struct splice_flow *f);
/* How long the next SPLICE_WAIT lasts, in place of wait_ms. */
void splice_wait_for(struct splice_flow *f, unsigned ms);
/* What it waited for has come: goes on as if that were the verdict. */
void splice_resume(struct splice_flow *f, enum splice_verdict v);
bool splice_is_waiting(const struct splice_flow *f);
const struct splice_failure *splice_failure_of(const struct splice_flow *f);
/* Soon, behind what has passed for who connected; one that is not joined is broken off. */
void splice_end(struct splice_flow *f);
/* Each flow of that thread (the caller's own) that accepted() saw. fn may end the flow it is given. */
void splice_each(struct splice_server *s, unsigned thread,
    void (*fn)(void *ctx, struct splice_flow *f), void *ctx);

/* A descriptor of the application on a thread's loop, level triggered; from turn() or later. */
struct splice_source {
    void (*ready)(struct splice_source *s, uint32_t events);
};
MUST_CHECK int splice_watch(
    struct splice_server *s, unsigned thread, int fd, struct splice_source *source);
