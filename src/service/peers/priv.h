/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder: peers.c keeps the set, dial.c makes one outgoing link,
 * accept.c the incoming. */
#pragma once

#include "service/peers/peers.h"

#define HOST_SIZE 64

enum link_state { LINK_IDLE, LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_GONE };

struct link { /* outgoing, one a target */
    struct link *next;
    struct peers *owner;
    char host[HOST_SIZE];
    struct ip_addr *addresses;
    size_t n_addresses, turn;
    enum link_state state;
    int fd; /* while connecting */
    uv_poll_t poll;
    uv_timer_t timer; /* connect deadline, then retry */
    struct rpc_conn *conn;
    uint64_t retry_ms;
    int open_handles;
    struct offset clock;
};

struct incoming {
    struct incoming *next, *prev;
    struct peers *owner;
    struct tls_stream *stream;
    struct rpc_conn *conn;
    char host[HOST_SIZE]; /* "" until the certificate has told */
    char from[IP_TEXT_SIZE];
    struct err why; /* it is cut off */
};

struct listener {
    struct peers *owner;
    uv_poll_t poll;
    int fd;
};

struct peers {
    uv_loop_t *loop;
    char *platform, *host, *name;
    struct ip_addr source;
    SSL_CTX *client_ctx, *server_ctx;
    struct peers_handler handler;
    void *ctx;
    struct link *links;
    struct incoming *incoming;
    size_t n_incoming;
    struct listener *listeners;
    size_t n_listeners;
    uv_timer_t clock_timer;
    int refs; /* ours and one for each link, incoming link, listener, timer, question under way */
    bool closing;
};

void peers_unref(struct peers *p);
void link_start(struct link *l);
void link_stop(struct link *l); /* frees itself on the loop */
void peers_on_notify(struct peers *p, const char *host, const char *method, json_t *params, int fd);
void peers_on_call(struct peers *p, const char *host, struct rpc_req *req, const char *method,
    json_t *params, int fd);
MUST_CHECK int listeners_start(struct peers *p, const int *fds, size_t n, struct err *e);
void listeners_stop(struct peers *p);
void incoming_stop_all(struct peers *p);
void peers_tune_socket(int fd);
void peers_clock_start(struct peers *p);
void peers_clock_stop(struct peers *p);
void peers_clock_answer(struct rpc_req *req);
