/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1.1 gateway engine: threads with an epoll loop each, client connections (TLS or plain),
 * upstream connection pools, and between them one transaction at a time per connection, driven by a
 * table of steps (tx.c). It moves bytes and decides nothing: for each valid request it asks the
 * application, which answers by http_tx_reply() or http_tx_forward(), and is told at the end what
 * came of it. A request that is not valid is refused here and reaches neither the application's
 * request() nor an upstream. An application with a cache looks at answers as they pass, answers from
 * what it has, and lets requests wait (struct http_cache).
 *
 * Threads share nothing but what the application publishes. Each is a registered reader of
 * liburcu-qsbr, so callbacks may rcu_dereference(); a pointer got that way is good until the
 * callback returns, unless loop() pins it. HOT PATH in steady state: no allocation, lock, log or
 * clock call per request; buffers, connections and transactions are recycled per thread and the
 * clock is read once per loop iteration. OpenSSL allocates as it likes. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "proto/h2/h2.h"
#include "proto/http/http.h"

#include <openssl/ssl.h>

#define HTTP_THREADS_MAX 64
#define HTTP_REQUEST_ID_LEN 32

struct http_server;

/* an instance that may take a request; the application's, unchanged while requests use it */
struct http_target {
    struct ip_addr address;
    uint16_t port;
    const char *unit;
    /* The sum of the weights up to and including this one: its share of the requests is its part of
     * the last one's. 0 in the last one: no weights, the least loaded is taken. */
    uint32_t weight_sum;
};

/* How a transaction ended. */
enum http_end {
    HTTP_END_OK,
    HTTP_END_REFUSED,       /* the request was not valid: `reject` says why */
    HTTP_END_CLIENT_GONE,   /* the client went away or stalled before it had all of the answer */
    HTTP_END_CLIENT_SLOW,   /* the client did not send its request in time */
    HTTP_END_NO_INSTANCE,   /* nothing to forward to, or none could be reached */
    HTTP_END_UPSTREAM_LOST, /* the upstream closed or reset before it answered */
    HTTP_END_UPSTREAM_BAD,  /* its answer was not valid HTTP */
    HTTP_END_UPSTREAM_SLOW, /* it did not answer in time */
    /* the upstream failed within its answer: the client's connection was cut */
    HTTP_END_TRUNCATED,
    HTTP_END_STOPPED, /* the drain's deadline came first */
    HTTP_END_COUNT,
};
const char *http_end_name(enum http_end end); /* "ok", "client_gone", ... */

/* One request and its answer. The application reads it and keeps its own pointer in `app`; texts
 * are good until done() returns. */
struct http_tx {
    const struct http_request *request; /* parts of it are empty when the request was refused */
    struct http_text path;              /* normal form */
    struct http_text name;              /* of Host, normal form; may be empty in HTTP/1.0 */
    struct http_text client;            /* address */
    char id[HTTP_REQUEST_ID_LEN];
    bool tls;
    const char *tls_version; /* "TLSv1.3", "" for plain */
    void *app;
    void *background; /* of http_tx_fetch(): the answer has no reader */
    /* From here on for done(): */
    uint64_t start_us;    /* boot clock, of the loop iteration that saw the head whole */
    uint64_t duration_us; /* until the last byte was handed to the kernel */
    /* from the first connection attempt until the answer's head, 0: none */
    uint64_t upstream_us;
    uint64_t bytes;                   /* of the answer's content sent */
    const struct http_target *target; /* the last one tried, or NULL */
    int64_t wall_ms;                  /* at start */
    unsigned status;                  /* 0: the client got no answer */
    unsigned attempts;                /* upstream connections used */
    enum http_end end;                /* request() may set it for its own reply */
    enum http_reject reject;
};

struct http_reply {
    unsigned status;
    /* Content-Type; NULL: no content at all, not even Content-Length: 0 for 204/304 */
    const char *type;
    struct http_text fields; /* more field lines, each with its CRLF */
    struct http_text body;   /* copied; together with the head at most 16 KiB */
    bool close;
};

/* Exactly one of these, of http_tx_serve() and of http_tx_park(), from within request() and resume(). Targets: ready
 * instances, the engine spreads by least load and tries another when one cannot be reached and nothing was lost;
 * at least one. */
void http_tx_reply(struct http_tx *tx, const struct http_reply *reply);
void http_tx_forward(struct http_tx *tx, const struct http_target *targets, size_t n);
/* From within retarget() only. */
void http_tx_retarget(struct http_tx *tx, const struct http_target *targets, size_t n);
/* A reply with the status, the text and the request's id as JSON. `text`: no characters that JSON
 * escapes; `fields`: more field lines, or NULL. */
void http_tx_error(struct http_tx *tx, unsigned status, const char *text, const char *fields);
/* Room that lives as long as the transaction; NULL when more than is left of some KiB. */
void *http_tx_alloc(struct http_tx *tx, size_t size);

/* -- for an application that keeps answers ------------------------------------------------------------------ */

/* An answer with content of the application's own: the engine asks for it by pull(), as the client takes it. Of r:
 * status, reason, fields, framing (NONE, LENGTH, or CHUNKED: the length is not known), length. Also from within head()
 * and failed(). Nothing of r is used after the call. */
void http_tx_serve(struct http_tx *tx, const struct http_response *r);
struct http_response *http_tx_response(struct http_tx *tx); /* an empty one to be filled in */
/* The request waits until http_tx_resume(), from a callback on its thread, brings resume() about. A request whose
 * answer waits for content (HTTP_PULL_WAIT) is resumed in the same way. */
void http_tx_park(struct http_tx *tx);
void http_tx_resume(struct http_tx *tx);
/* In front of http_tx_forward(), and of HTTP_TOOK_AGAIN: its answer comes by head(). `lines`: more field lines for the
 * upstream, copied by what follows. drop_conditions: If-None-Match, If-Modified-Since, If-Range and Range stay here. */
void http_tx_observe(struct http_tx *tx, bool drop_conditions, struct http_text lines);
/* The same request once more, without a client: it comes by request() with `background`. False: there are too many. Not
 * for one with content. */
MUST_CHECK bool http_tx_fetch(struct http_tx *tx, void *background);
int64_t http_tx_now_ms(const struct http_tx *tx); /* wall clock of the loop iteration */
struct thread;
struct thread *http_tx_thread(const struct http_tx *tx);
void http_thread_wake(struct thread *t); /* makes it run its loop() soon; any thread */

enum http_took {
    HTTP_TOOK_RELAY,  /* it goes on to the client; fields may have been added */
    HTTP_TOOK_SERVED, /* http_tx_serve() was called: what the upstream said is thrown away */
    HTTP_TOOK_AGAIN,  /* http_tx_observe() was called: the upstream is asked once more */
};
enum http_pull {
    HTTP_PULL_SOME,
    HTTP_PULL_END,
    HTTP_PULL_WAIT, /* http_tx_resume() will come */
    HTTP_PULL_FAILED,
};
struct http_cache {
    void (*resume)(void *thread, struct http_tx *tx);
    /* The head of the final answer to an observed request. With RELAY *store may be set: then its content comes by
     * content(), and end() exactly once, perhaps after the request has ended: when the client leaves, the answer is
     * fetched to its end without it. Without a client and without a store the upstream is left. */
    enum http_took (*head)(void *thread, struct http_tx *tx, struct http_response *r, void **store);
    bool (*content)(
        void *thread, void *store, struct http_text data); /* false: no more, no end() */
    void (*end)(void *thread, void *store, bool whole);
    /* An observed request found no answer; status 0: nobody could be reached. True: http_tx_serve() was called. */
    bool (*failed)(void *thread, struct http_tx *tx, unsigned status);
    /* The next piece, at most `max` bytes; it counts as taken. */
    enum http_pull (*pull)(void *thread, struct http_tx *tx, size_t max, struct http_text *ret);
};

struct http_app { /* callbacks run on the engine's threads; `thread` is what thread_start() made */
    void *(*thread_start)(void *ctx, unsigned index);
    void (*thread_stop)(void *thread);
    void (*loop)(void *thread); /* once per loop iteration, before anything else */
    void (*request)(void *thread, struct http_tx *tx);
    /* A forwarded request is about to get its first upstream; its content may have taken a while:
     * the application may give it other targets by http_tx_retarget(). May be NULL. */
    void (*retarget)(void *thread, struct http_tx *tx);
    void (*done)(void *thread, struct http_tx *tx); /* of every transaction, refused ones too */
    /* The context with the certificate for a server name (NULL: none sent); NULL: none, the
     * handshake fails. */
    SSL_CTX *(*certificate)(void *thread, const char *server_name);
    void (*stopped)(void *ctx);     /* the last thread has drained and ends; from that thread */
    const struct http_cache *cache; /* NULL: none of the calls for it is used */
};

struct http_listen {
    int fd; /* listening, non-blocking; stays the caller's */
    bool tls;
};

/* Milliseconds. 0 takes the default, which is in timer.c. */
struct http_timeouts {
    uint32_t handshake;  /* TLS, from accept */
    uint32_t head;       /* from its first byte to its last */
    uint32_t idle;       /* between requests of a client connection */
    uint32_t body;       /* between two pieces of a request's content */
    uint32_t send;       /* a client that takes nothing */
    uint32_t connect;    /* to an upstream */
    uint32_t answer;     /* request sent to answer, and between two pieces of an answer */
    uint32_t pool;       /* an unused upstream connection */
    uint32_t linger;     /* reading on, so that a refused client can read why */
    uint32_t drain;      /* stop: what is in flight may finish */
    uint32_t drain_idle; /* stop: a kept connection may bring one more request; 0: closed at once */
    uint32_t ticket;     /* a key makes session tickets this long, and opens them as long again */
};

struct http_config {
    unsigned threads; /* 0: one per core */
    const struct http_listen *listens;
    size_t n_listens;
    unsigned max_connections; /* of clients, all threads together; 0: by RLIMIT_NOFILE */
    struct http_timeouts timeouts;
    const struct http_app *app;
    void *ctx;
};

/* Starts the threads. A kind (TLS or plain) with at least as many descriptors as threads is dealt
 * out, otherwise every thread takes connections from all descriptors of it. */
MUST_CHECK int http_server_start(
    const struct http_config *config, struct http_server **ret, struct err *e);
/* No more connections; those that there are end with their request, idle ones after drain_idle: a
 * request may be on its way to them. app->stopped() comes. Any thread. */
void http_server_drain(struct http_server *s);
/* Makes every thread run its loop() soon. Any thread. */
void http_server_wake(struct http_server *s);
/* Waits for the threads (drains at once, without a deadline, if that was not asked before) and
 * frees. */
void http_server_free(struct http_server *s);
/* Requests of that thread that are on their way to the target. From a callback on it only. */
unsigned http_server_busy(
    const struct http_server *s, unsigned thread, const struct http_target *target);

#define HTTP_STATS(X)                                                                              \
    X(ACCEPTED, "connections accepted")                                                            \
    X(OPEN, "connections open")                                                                    \
    X(EVICTED, "idle connections closed to make room for others")                                  \
    X(HANDSHAKES, "TLS handshakes completed")                                                      \
    X(HANDSHAKES_RESUMED, "of them resumed")                                                       \
    X(HANDSHAKE_FAILURES, "TLS handshakes failed")                                                 \
    X(REQUESTS, "requests, refused ones too")                                                      \
    X(UPSTREAM_OPENED, "upstream connections opened")                                              \
    X(UPSTREAM_OPEN, "upstream connections open")                                                  \
    X(UPSTREAM_REUSED, "requests sent on a kept upstream connection")                              \
    X(CONNECT_FAILURES, "upstream connections that could not be made")                             \
    X(RETRIES, "requests sent again")                                                              \
    X(EJECTIONS, "instances left out for a while after a failed connection")                       \
    X(H2_CONNECTIONS, "connections that speak HTTP/2")                                             \
    H2_EVENTS(X)                                                                                   \
    X(ITERATIONS, "loop iterations")                                                               \
    X(BUFFERS, "buffers allocated")

enum http_stat {
#define X(name, help) HTTP_STAT_##name,
    HTTP_STATS(X)
#undef X
        HTTP_STAT_COUNT,
};

/* Sum over the threads; from any thread. */
uint64_t http_server_stat(const struct http_server *s, enum http_stat stat);

/* A context for app->certificate(), from PEM texts. */
MUST_CHECK int http_certificate_new(
    const char *cert_pem, const char *key_pem, SSL_CTX **ret, struct err *e);
