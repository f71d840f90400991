/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder. bulk.c: the owner's side and the letters between the two
 * threads. serve.c and fetch.c run on the thread alone. */
#pragma once

#include "service/bulk/bulk.h"

#include <pthread.h>

#define SERVES_MAX 32u
#define CHUNK_BYTES (256u * 1024)
#define SILENCE_MS 10000u /* a transfer that moves no byte for so long is given up */
#define IDLE_MS 60000u    /* a connection that asks for nothing */
#define PROGRESS_MS 200u

enum letter_kind {
    L_PULL, /* to the thread */
    L_CANCEL,
    L_OPENED,
    L_STOP,
    L_OPEN, /* to the owner */
    L_PROGRESS,
    L_DONE,
};

struct letter {
    struct letter *next;
    enum letter_kind kind;
    uint64_t id; /* of a pull, of a ticket */
    int fd;
    struct bulk_request request;
    struct bulk_target *targets;
    struct ip_addr *addresses; /* of all targets, in one piece */
    size_t n_targets;
    int64_t have, size;
    char host[BULK_HOST_SIZE];
    struct err why;
};

struct post { /* letters one way */
    struct letter *first, **tail;
    uv_async_t bell;
};

struct serve;
struct fetch;

struct bulk {
    /* owner's */
    uv_loop_t *owner_loop;
    struct bulk_handler handler;
    void *ctx;
    struct bulk_pull *pulls;
    uint64_t last_id;
    bool closing;
    pthread_t thread;
    /* shared */
    pthread_mutex_t lock;
    struct post to_thread, to_owner;
    /* the thread's */
    uv_loop_t loop;
    char *platform, *host, *ca, *cert, *key;
    struct ip_addr source;
    uint16_t port;
    uv_poll_t *listeners;
    int *listen_fds;
    size_t n_listeners;
    struct serve *serves;
    size_t n_serves;
    struct fetch *fetches;
    SSL_CTX *server_ctx, *client_ctx; /* for new connections, remade when old */
    uint64_t server_made_ms, client_made_ms;
    uint64_t last_ticket;
    bool stopping;
};

/* bulk.c */
struct letter *letter_new(enum letter_kind kind, uint64_t id);
void letter_free(struct letter *l);
void letter_send(struct bulk *b, struct post *to, struct letter *l);                /* takes l */
MUST_CHECK int bulk_tls(struct bulk *b, bool server, SSL_CTX **ret, struct err *e); /* borrowed */

/* serve.c */
void serve_start(struct bulk *b);
void serve_stop(struct bulk *b);
void serve_opened(struct bulk *b, struct letter *l); /* takes its descriptor */

/* fetch.c */
void fetch_start(struct bulk *b, struct letter *l); /* takes l */
void fetch_cancel(struct bulk *b, uint64_t id);
void fetch_stop(struct bulk *b);
