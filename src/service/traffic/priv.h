/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder: the engine, its buyers, their items and connections. */
#pragma once

#include "service/traffic/ledger.h"
#include "service/traffic/measure.h"
#include "service/traffic/names.h"
#include "service/traffic/traffic.h"

#include "proto/http/http.h"

#include <openssl/ssl.h>

#define ATTEMPT_MS 5000 /* from the choice of a connection to the whole answer */
#define STOP_MS 5000 /* a second for what is in flight after somebody stopped the run: an attempt */
#define READS_IN_FLIGHT_MAX 256
#define RING 64        /* of a buyer's newest acknowledged orders: what it reads */
#define REGIONS_MAX 16 /* that answered a buyer */
#define ANSWER_MAX (256u * 1024)

struct engine;
struct buyer;
struct conn;

struct source { /* what epoll gives back */
    void (*ready)(struct source *s, uint32_t events);
};

/* -- items: what is asked of the api ----------------------------------------------------------- */

enum item_kind { ITEM_ORDER, ITEM_READ, ITEM_PAGE };

struct item {
    struct item *next; /* in one queue, or free */
    struct buyer *buyer;
    enum item_kind kind;
    uint32_t seq;
    uint64_t due_us; /* the instant it was scheduled for */
    uint64_t at_us;  /* when it is tried again */
    uint64_t tried_us; /* when its last attempt began */
    unsigned tries;
};

struct item_queue {
    struct item *first, **last;
    size_t n;
};

void items_init(struct item_queue *q);
void items_put(struct item_queue *q, struct item *i);
struct item *items_take(struct item_queue *q); /* NULL: empty */

/* How long before another attempt, by the number of those that failed: one queue each, so that each is
 * in the order of its times. */
#define RETRY_CLASSES 4
extern const unsigned items_retry_ms[RETRY_CLASSES];

/* -- what went wrong --------------------------------------------------------------------------- */

#define TROUBLES(X)                                                                                \
    X(DNS, "dns")         /* a question that no name server answered */                            \
    X(CONNECT, "connect") /* no TCP connection */                                                  \
    X(TLS, "tls")                                                                                  \
    X(TIMEOUT, "timeout")   /* no whole answer within ATTEMPT_MS */                                \
    X(CLOSED, "closed")     /* the connection ended before the answer did */                       \
    X(PROTOCOL, "protocol") /* an answer that is none */

enum trouble {
#define X(name, text) TROUBLE_##name,
    TROUBLES(X)
#undef X
        TROUBLE_COUNT,
};

#define STATUSES 600

/* -- figures ----------------------------------------------------------------------------------- */

struct figures { /* of a buyer, and of all together */
    uint64_t scheduled, begun, acked, repeated, not_sent, unanswered, refused, retries;
    uint64_t reads_scheduled, reads_answered, reads_stale, reads_failed, reads_not_sent;
    uint64_t troubles[TROUBLE_COUNT], statuses[STATUSES];
    struct outage writes, reads;
    struct delays write_delays, read_delays;
};

struct region_count {
    char name[64];
    uint64_t n;
};

struct buyer {
    struct source source; /* of udp */
    struct engine *engine;
    const struct traffic_buyer *who;
    size_t index;
    struct names names;
    struct dns_asked asked;
    int udp;
    struct item_queue fresh, again, reads,
        pages;                        /* waiting for an answer of the DNS, or a connection */
    struct conn *idle;                /* the one used last first */
    unsigned order_conns, read_conns; /* at work */
    double reads_owed;
    SSL_SESSION *session;
    char head[512]; /* of a POST, up to the key; what follows it */
    char tail[768];
    uint32_t ring[RING]; /* seq of acknowledged orders */
    size_t ring_n;
    struct figures f;
    struct region_count regions[REGIONS_MAX];
    size_t n_regions;
    const char *region; /* which answered last */
};

/* -- connections ------------------------------------------------------------------------------- */

enum conn_state { CONN_TCP, CONN_TLS, CONN_BUSY, CONN_IDLE, CONN_DEAD };

struct conn {
    struct source source;
    struct buyer *buyer;
    enum conn_state state;
    int fd;
    SSL *ssl;
    struct ip_addr address;
    struct item *item;
    struct conn *next;          /* idle, to be sent, or dead */
    struct conn *older, *newer; /* of those at work, by deadline */
    uint64_t deadline_us;
    struct str out, in;
    size_t sent, taken, scanned; /* of out; of in; of the head at in + taken */
    bool head_done, close;
    struct http_body body;
    struct str content;
    unsigned status;
};

/* A new one to an address, for the item; false: not even that (the item stays the caller's). Nothing
 * is sent before conn_run(). */
bool conn_open(struct buyer *b, struct item *i, const struct ip_addr *address);
void conn_give(struct conn *c, struct item *i); /* an idle one, taken off the list */
/* An idle one to an address of the living answer, off the list; NULL: none. Closes the others. */
struct conn *conn_idle_take(struct buyer *b);
void conn_sweep(struct buyer *b); /* closes idle ones to addresses that are not in the answer */
void conn_run(struct conn *c);    /* as far as it goes */
void conn_expire(struct conn *c);
void conn_close(struct conn *c); /* its item is forgotten; its memory goes with conns_bury() */
void conns_bury(struct engine *e);
/* Ends what is under way; the items are forgotten. */
void conns_stop(struct engine *e);
int conns_tls_new(struct engine *e, struct err *err);

/* -- the engine -------------------------------------------------------------------------------- */

enum phase { PHASE_RUN, PHASE_DRAIN, PHASE_COMPARE, PHASE_END };

struct engine {
    const struct traffic_config *config;
    enum phase phase;
    int epoll;
    SSL_CTX *tls;
    uint64_t now_us, start_us, end_us; /* end: of the schedule */
    uint64_t give_up_us;               /* of draining, of comparing */
    int64_t wall_ms;                   /* at start_us */
    char run[LEDGER_RUN_SIZE];
    char *path; /* of the ledger */
    struct ledger *ledger;
    struct err error; /* what ends it all */
    bool failed, interrupted;
    struct buyer *buyers;
    size_t n_buyers;
    unsigned order_conns_max, read_conns_max; /* of one buyer */
    uint64_t scheduled;                       /* orders so far */
    uint64_t in_flight, reads_in_flight;
    struct item_queue retry[RETRY_CLASSES];
    struct item *free_items;
    struct conn *to_send, *dead;
    struct source stop_source;
    struct conn *oldest, *newest; /* at work */
    struct figures f;
    uint64_t second_us, acked_before; /* of progress */
    struct book book;
    char after[LEDGER_KEY_SIZE + 32];
    unsigned page_tries;
    bool compared;
    struct err compare_error;
};

static inline uint64_t engine_now_ms(const struct engine *e)
{
    return e->now_us / 1000;
}

/* items.c */
struct item *item_new(struct engine *e, struct buyer *b, enum item_kind kind);
void item_free(struct engine *e, struct item *i);
/* An attempt has failed: tried again, or given up. */
void item_failed(struct engine *e, struct item *i, enum trouble t);
void item_again(struct engine *e, struct item *i);

/* request.c: what is sent for an item, and what its answer says */
void request_prepare(struct buyer *b);
void request_write(const struct item *i, struct str *out);

/* dispatch.c: orders by the clock, and connections for what waits */
void dispatch_due(struct engine *e);
void dispatch_all(struct engine *e);
/* When it has something to do without an event. */
uint64_t dispatch_next_us(const struct engine *e);

/* ask.c: the DNS of one buyer */
MUST_CHECK int ask_open(struct buyer *b, struct err *e);
void ask_step(struct buyer *b, bool wanted);

/* answer.c */
void answer_take(
    struct engine *e, struct item *i, unsigned status, const char *content, size_t len);

/* pages.c: the comparison */
void pages_begin(struct engine *e);
void pages_ask(struct engine *e);
void pages_take(struct engine *e, struct item *i, const char *content, size_t len);
void pages_failed(struct engine *e, struct item *i, const char *why);

/* report.c */
json_t *report_second(struct engine *e);
json_t *report_all(struct engine *e);
json_t *report_comparison(struct engine *e);
