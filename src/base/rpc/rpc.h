/* SPDX-License-Identifier: Apache-2.0 */
/* Framed JSON messages between processes, on a libuv loop, over a Unix socket pair (roles of one
 * host), a Unix socket (command line) or a TLS stream (hosts to hosts). One frame: 4 bytes length,
 * network order, then UTF-8 JSON; at most RPC_FRAME_MAX. A frame on a Unix socket may carry one
 * descriptor.
 *
 * The first frame each way is the hello {"protocol": [min, max], "name": "control@hk1"}; no common
 * version ends the connection with an error that names both ranges. After it:
 *   call    {"id": N, "method": "...", "params": {...}}          N > 0, chosen by the caller
 *   answer  {"id": N, "result": ...}  or  {"id": N, "error": {code, message, where, fix}}
 *   stream  {"id": N, "more": ...}    any number of them before the answer (server to caller)
 *   input   {"id": N, "input": ...}   caller to server while the call runs (exec's standard input)
 *   cancel  {"id": N, "cancel": true}
 *   notify  {"method": "...", "params": {...}}
 * A frame whose descriptor came along has the member "fd": true. Either end may call. Unknown
 * members are ignored. A peer that breaks these rules is cut off; so is one that says no hello
 * within 10 s, or does not read what it is sent. One thread: everything happens on the loop. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#include <uv.h>

/* What this build speaks. Hosts of two releases live together while the ranges overlap; what a
 * version adds is used once everybody that is heard speaks it. 2 so far exists for tests alone
 * (-Dprotocol_bump=1): hosts that speak it say in their reports which version the platform acts
 * at. */
extern const int rpc_protocol_min, rpc_protocol_max;
#define RPC_PROTOCOL_MIN rpc_protocol_min
#define RPC_PROTOCOL_MAX rpc_protocol_max
#define RPC_FRAME_MAX (16u * 1024 * 1024)
#define RPC_QUEUE_MAX (64u * 1024 * 1024) /* unsent bytes; over it the connection is ended */

struct rpc_conn;
struct rpc_req;  /* a call that the other end made, until answered */
struct rpc_call; /* a call that we made, until answered */
struct tls_stream;

struct rpc_handler {
    /* A call arrived: answer now or later with rpc_reply*(). `fd` (or -1) is the handler's to
     * close. */
    void (*call)(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd);
    void (*notify)(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd);
    void (*ready)(void *ctx, struct rpc_conn *c); /* hello seen; may be NULL */
    /* The connection ended (e says why); every call in flight has been answered with
     * ERR_UNAVAILABLE. The handler must not use c afterwards: it frees itself. */
    void (*closed)(void *ctx, struct rpc_conn *c, const struct err *e);
    /* The backlog had gone over 1 MiB and is under 256 KiB again; may be NULL. */
    void (*drained)(void *ctx, struct rpc_conn *c);
};

/* `error` NULL: result (borrowed) is the answer, or with `more` a part of a stream. Called exactly
 * once with more == false. */
typedef void (*rpc_answer_fn)(void *ctx, json_t *result, bool more, const struct err *error);

/* Takes the descriptor (a connected stream socket). `name` is what our hello says. */
MUST_CHECK int rpc_conn_new_fd(uv_loop_t *loop, int fd, const char *name,
    const struct rpc_handler *handler, void *ctx, struct rpc_conn **ret, struct err *e);
/* Over TLS; takes the stream (base/tls). */
MUST_CHECK int rpc_conn_new_tls(struct tls_stream *s, const char *name,
    const struct rpc_handler *handler, void *ctx, struct rpc_conn **ret, struct err *e);
/* How long the peer may take for its hello (default 10 s, 0: for ever, for a peer of our own that
 * is yet to start). */
void rpc_conn_hello_timeout(struct rpc_conn *c, uint64_t timeout_ms);
/* Frames that the peer may send after its hello (default RPC_FRAME_MAX): less for strangers, more once
 * they are known. */
void rpc_conn_frame_max(struct rpc_conn *c, size_t bytes);
/* closed() still comes, with ERR_CANCELED, from the loop */
void rpc_conn_close(struct rpc_conn *c);
void *rpc_conn_ctx(struct rpc_conn *c);
const char *rpc_conn_peer_name(struct rpc_conn *c); /* "" before ready */
int rpc_conn_protocol(struct rpc_conn *c);          /* the agreed version */
/* SO_PEERCRED of a Unix connection. */
MUST_CHECK int rpc_conn_peer_uid(struct rpc_conn *c, uid_t *ret, struct err *e);

/* All of these take (steal) the json_t they are given; NULL means {}. */
void rpc_notify(struct rpc_conn *c, const char *method, json_t *params);
/* takes fd too */
void rpc_notify_fd(struct rpc_conn *c, const char *method, json_t *params, int fd);
/* timeout_ms 0: none. The handle stays valid until the final answer, which never comes from within
 * rpc_call(). Not to be used on a connection after its closed(). */
struct rpc_call *rpc_call(struct rpc_conn *c, const char *method, json_t *params,
    uint64_t timeout_ms, rpc_answer_fn answer, void *ctx);
/* Same; takes fd too (Unix connections only). */
struct rpc_call *rpc_call_fd(struct rpc_conn *c, const char *method, json_t *params, int fd,
    uint64_t timeout_ms, rpc_answer_fn answer, void *ctx);
/* Within an answer callback: the descriptor that came with the answer, now the callee's; -1: none,
 * or taken already. One that nobody takes is closed. */
int rpc_answer_take_fd(struct rpc_conn *c);
void rpc_call_input(struct rpc_call *call, json_t *input);
/* the answer callback still comes, once, soon: ERR_CANCELED */
void rpc_call_cancel(struct rpc_call *call);

void rpc_reply(struct rpc_req *req, json_t *result);            /* final; req is gone after it */
void rpc_reply_fd(struct rpc_req *req, json_t *result, int fd); /* final, takes fd too */
void rpc_reply_error(struct rpc_req *req, const struct err *e); /* final */
void rpc_reply_more(struct rpc_req *req, json_t *part);
/* Input and cancellation of a long call; cancelled also comes when the connection ends. After
 * cancelled() the request must still be finished with rpc_reply*() (nothing more reaches the
 * caller). Input that comes before this is lost: watch from within call(). Any of the functions may
 * be NULL. */
void rpc_req_watch(struct rpc_req *req, void (*input)(void *ctx, json_t *input),
    void (*cancelled)(void *ctx), void *ctx);
/* drained(ctx of rpc_req_watch): go on with a stream that was paused for the backlog. */
void rpc_req_watch_drained(struct rpc_req *req, void (*drained)(void *ctx));
/* answered(ctx of its own, error or NULL): once, when the request is finished with rpc_reply*(). For
 * who stands in front of the handler, which knows nothing of it. */
void rpc_req_on_answer(
    struct rpc_req *req, void (*answered)(void *ctx, const struct err *error), void *ctx);
/* A descriptor that came with the call, kept with it for whoever answers: closed unless taken. */
void rpc_req_keep_fd(struct rpc_req *req, int fd);
int rpc_req_take_fd(struct rpc_req *req);           /* -1: none */
struct rpc_conn *rpc_req_conn(struct rpc_req *req); /* NULL once the connection has ended */
/* Bytes waiting to be sent: streams (logs -f, exec) pause their source over 1 MiB. */
size_t rpc_conn_backlog(struct rpc_conn *c);

/* A blocking client for commands: connects to a Unix socket, makes one call at a time. */
struct rpc_client;
MUST_CHECK int rpc_client_connect(const char *socket_path, struct rpc_client **ret, struct err *e);
/* Gives up when the peer's hello has not come by then; the plain form waits 10 s. Errors call the
 * peer `shown`. */
MUST_CHECK int rpc_client_connect_within(const char *socket_path, const char *shown,
    uint64_t timeout_ms, struct rpc_client **ret, struct err *e);
/* Over a stream socket that is connected already, which it takes. */
MUST_CHECK int rpc_client_adopt(
    int fd, const char *shown, uint64_t timeout_ms, struct rpc_client **ret, struct err *e);
void rpc_client_free(struct rpc_client *c);
/* *ret is the caller's. `part` (may be NULL) gets each part of a stream; a negative return
 * cancels. */
MUST_CHECK int rpc_client_call(struct rpc_client *c, const char *method, json_t *params,
    uint64_t timeout_ms, int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret,
    struct err *e);
/* Same, with a descriptor that goes along; it stays the caller's. */
MUST_CHECK int rpc_client_call_fd(struct rpc_client *c, const char *method, json_t *params, int fd,
    int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret, struct err *e);
/* Same, while bytes of `input_fd` (or -1) go along as {"data": base64} and {"eof": true}. */
MUST_CHECK int rpc_client_call_input(struct rpc_client *c, const char *method, json_t *params,
    int input_fd, int (*part)(void *ctx, json_t *part), void *ctx, json_t **ret, struct err *e);
