/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base/rpc: the frame decoder, the message parser, the connection and its transports. A
 * transport moves bytes; the connection owns the send queue, the calls in both directions and the
 * end of it all. Everything that arrives is bounded here: frames, descriptors, requests in flight,
 * the first frame's size. */
#pragma once

#include "base/rpc/rpc.h"

#include <sys/socket.h>

#define RPC_HEADER 4u
/* before the hello a peer is a stranger: it gets no 16 MiB of our memory */
#define RPC_HELLO_MAX 4096u
#define RPC_HELLO_TIMEOUT_MS 10000u
#define RPC_METHOD_MAX 64u
#define RPC_NAME_MAX 128u
#define RPC_REQS_MAX 1024u  /* unanswered calls that a peer may have with us */
#define RPC_CALLS_MAX 8192u /* unanswered calls of ours */
#define RPC_FDS_MAX 8u      /* received descriptors that no frame has claimed yet */
#define RPC_BACKLOG_LOW (256u * 1024)
#define RPC_BACKLOG_HIGH (1024u * 1024)
#define RPC_ID_MAX (INT64_C(1) << 53)

/* Received bytes, cut into frames. */
struct rpc_in {
    struct str buf;
    size_t off; /* of the first byte not yet taken */
    size_t max; /* of a frame */
};

/* Room for `want` bytes behind what is there; rpc_in_added() says how many came. */
char *rpc_in_room(struct rpc_in *in, size_t want);
void rpc_in_added(struct rpc_in *in, size_t n);
/* 1: *ret is a frame's text, valid until the next rpc_in_*(); 0: more bytes are needed; negative:
 * not a frame. */
MUST_CHECK int rpc_in_next(struct rpc_in *in, const char **ret, size_t *ret_len, struct err *e);
void rpc_in_done(struct rpc_in *in);

enum rpc_kind {
    RPC_HELLO,
    RPC_CALL,
    RPC_NOTIFY,
    RPC_RESULT,
    RPC_ERROR,
    RPC_MORE,
    RPC_INPUT,
    RPC_CANCEL
};

struct rpc_msg { /* borrows from the parsed tree */
    enum rpc_kind kind;
    int64_t id;
    const char *method; /* call, notify */
    json_t *body;       /* params, result, error, more, input; NULL when absent */
    bool has_fd;
    int64_t min, max; /* hello */
    const char *name; /* hello */
};

MUST_CHECK int rpc_msg_parse(const json_t *root, struct rpc_msg *ret, struct err *e);
json_t *rpc_msg_hello(const char *name);
/* The agreed version, or ERR_PROTOCOL with both ranges in the message. */
MUST_CHECK int rpc_msg_agree(const struct rpc_msg *hello, struct err *e);
/* Appends the frame. ERR_LIMIT over RPC_FRAME_MAX; *out is then as before. */
MUST_CHECK int rpc_frame_add(struct str *out, const json_t *msg, struct err *e);

struct rpc_out { /* one frame waiting to be sent */
    struct rpc_out *next;
    struct str data;
    size_t off;
    int fd;
};

struct rpc_transport {
    void (*kick)(struct rpc_conn *c); /* the send queue is not empty */
    /* Sends what goes without waiting, lets go; then, at once or from the loop, rpc_conn_gone(). */
    void (*end)(struct rpc_conn *c);
};

struct rpc_req {
    struct rpc_req *next, **prev;
    struct rpc_conn *conn;
    int64_t id;
    void (*input)(void *ctx, json_t *input);
    void (*cancelled)(void *ctx);
    void (*drained)(void *ctx);
    void *ctx;
    void (*answered)(void *ctx, const struct err *error);
    void *answered_ctx;
    int fd; /* kept for the answerer; -1 */
    bool is_cancelled;
};

struct rpc_call {
    struct rpc_call *next, **prev;
    struct rpc_conn *conn;
    int64_t id;
    uint64_t deadline_ms; /* of the loop's clock; 0: none */
    /* what passing the deadline means: ERR_TIMEOUT, ERR_CANCELED, ERR_LIMIT */
    int late_code;
    rpc_answer_fn answer;
    void *ctx;
    char method[RPC_METHOD_MAX + 1];
};

struct rpc_conn {
    uv_loop_t *loop;
    const struct rpc_transport *transport;
    int fd; /* Unix */
    uv_poll_t poll;
    struct tls_stream *tls;
    uv_timer_t timer;
    uint64_t timer_at_ms; /* 0: not armed */
    uint64_t hello_at_ms; /* deadline of the peer's hello; 0: none */
    const struct rpc_handler *handler;
    void *ctx;
    char peer_name[RPC_NAME_MAX + 1];
    int protocol; /* 0 before ready */
    bool ending;  /* no more bytes either way */
    bool dead;    /* closed() has been called */
    bool was_high;
    unsigned open_parts; /* timer and transport: what the loop still holds */
    struct err why;
    struct rpc_in in;
    size_t frame_max; /* of in.max once the hello has come */
    int fds[RPC_FDS_MAX];
    size_t n_fds;
    int answer_fd; /* came with the answer that is being delivered; -1: none */
    struct rpc_out *out;
    struct rpc_out **out_tail;
    size_t out_bytes;
    int64_t last_id;
    struct rpc_call *calls;
    size_t n_calls;
    struct rpc_req *reqs;
    size_t n_reqs;
};

struct rpc_conn *rpc_conn_new(
    uv_loop_t *loop, const struct rpc_transport *t, const struct rpc_handler *handler, void *ctx);
/* close callback of the timer where no transport came to be */
void rpc_conn_free_early(uv_handle_t *timer);
void rpc_conn_hello(struct rpc_conn *c, const char *name); /* once the transport stands */
/* Ends it: nothing is sent or read any more; closed() follows from the loop. Only the first reason
 * counts. */
void rpc_conn_end(struct rpc_conn *c, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void rpc_conn_gone(struct rpc_conn *c);    /* the transport has let go */
void rpc_conn_arrived(struct rpc_conn *c); /* bytes were added to c->in */
/* takes it; false: too many, the connection has been ended */
bool rpc_conn_add_fd(struct rpc_conn *c, int fd);
void rpc_conn_sent(struct rpc_conn *c); /* the queue has become shorter */
struct rpc_out *rpc_conn_shift(struct rpc_conn *c);
void rpc_out_free(struct rpc_out *o);
/* Takes msg and fd (or -1). */
int rpc_conn_send(struct rpc_conn *c, json_t *msg, int fd, struct err *e);
void rpc_conn_arm(struct rpc_conn *c, uint64_t at_ms);
uint64_t rpc_conn_now(struct rpc_conn *c);

/* calls.c */
void rpc_calls_message(struct rpc_conn *c, const struct rpc_msg *m, int fd);
void rpc_calls_expire(struct rpc_conn *c, uint64_t now_ms);
void rpc_calls_end(struct rpc_conn *c);
void rpc_reqs_drained(struct rpc_conn *c);
