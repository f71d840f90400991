/* SPDX-License-Identifier: Apache-2.0 */
/* A client's HTTP/2 connection, the server's side (RFC 9113, RFC 7541) on nghttp2: bytes in, calls
 * out; answers in, bytes out. Heads become the same struct http_request as in HTTP/1.1, checked by the
 * same rules. One that is malformed is answered RST_STREAM with PROTOCOL_ERROR here and reaches nobody;
 * one that is well-formed but not served (too long, an unknown method) comes with its reject, to be
 * answered.
 *
 * What a peer can make us do for little of its own is metered, per kind of frame: a burst, then a rate.
 * Above it the connection ends with GOAWAY and ENHANCE_YOUR_CALM. Each limit has a counter.
 *
 * No input or output, no clock (the caller says the time), memory from the caller's allocator. One
 * thread. No function of here may be called from within a call but h2_reset() and h2_consume(). */
#pragma once

#include "proto/http/http.h"

#include <nghttp2/nghttp2.h>

#define H2_STREAMS_MAX 100u
#define H2_STREAM_WINDOW (256u * 1024)
#define H2_CONNECTION_WINDOW (1024u * 1024)
#define H2_GIVE_MIN (16384u + 64u) /* room that h2_give() needs: the largest frame */
#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_LEN 24u

struct h2;

#define H2_EVENTS(X)                                                                               \
    X(H2_STREAMS, "streams begun")                                                                    \
    X(H2_MALFORMED, "requests refused as malformed")                                                  \
    X(H2_RESETS, "streams that clients reset")                                                        \
    X(H2_REFUSED, "streams refused for want of room")                                                 \
    X(H2_ERRORS, "connections ended for an error of the client")                                      \
    X(H2_FLOOD_RESETS, "connections ended: too many resets or malformed requests")                    \
    X(H2_FLOOD_PINGS, "connections ended: too many PING frames")                                      \
    X(H2_FLOOD_SETTINGS, "connections ended: too many SETTINGS frames")                               \
    X(H2_FLOOD_EMPTY, "connections ended: too many empty DATA frames")                                \
    X(H2_FLOOD_WINDOWS, "connections ended: too many WINDOW_UPDATE frames")                           \
    X(H2_FLOOD_OTHER, "connections ended: too many PRIORITY frames")                                  \
    X(H2_FLOOD_HEAD, "connections ended: a head without end")

enum h2_event {
#define X(name, help) name,
    H2_EVENTS(X)
#undef X
        H2_EVENT_COUNT,
};

/* Where a request's head goes; the caller's, from begin() to closed(). */
struct h2_head {
    struct http_request *request; /* its fields start empty */
    char *room;
    size_t cap, used;
    /* the codec's: */
    struct http_pseudo pseudo;
    size_t decoded;
    enum http_reject reject;
    bool regular; /* a field that is no pseudo field has come */
    bool told;    /* request() was called */
};

struct h2_calls {
    /* A stream begins. NULL: there is no room for it, it is refused and may be tried again. */
    struct h2_head *(*begin)(void *ctx, int32_t id);
    /* Its head is whole. */
    void (*request)(void *ctx, struct h2_head *head, enum http_reject reject, bool ended);
    void (*content)(void *ctx, struct h2_head *head, const char *p, size_t len);
    void (*ended)(void *ctx, struct h2_head *head);
    /* It is over, by whomever; request() may never have been called. The head is the caller's again. */
    void (*closed)(void *ctx, struct h2_head *head, uint32_t error);
    /* Content that may be sent now, and whether nothing follows behind it. */
    struct http_text (*ready)(void *ctx, struct h2_head *head, bool *last);
    void (*sent)(void *ctx, struct h2_head *head, size_t len, bool last);
    void (*count)(void *ctx, enum h2_event event);
};

/* mem may be NULL. */
struct h2 *h2_new(const struct h2_calls *calls, void *ctx, nghttp2_mem *mem, uint64_t now_ms);
void h2_free(struct h2 *h); /* without calls: what heads there are is the caller's to know */

/* Takes bytes of the client; false: nothing it says is read any more. */
MUST_CHECK bool h2_take(struct h2 *h, const char *p, size_t len, uint64_t now_ms);
/* Fills a room of at least H2_GIVE_MIN with frames; 0: there is nothing to send just now. */
size_t h2_give(struct h2 *h, char *room, size_t cap);
/* Everything was said: the connection can be closed once that is sent. */
bool h2_over(const struct h2 *h);

/* Answers, with content to come through ready() or none. 1xx: without, and the final one follows. */
void h2_answer(struct h2 *h, int32_t id, const struct http_response *r,
    const struct http_forward *f, bool content);
void h2_resume(struct h2 *h, int32_t id); /* ready() has something */
void h2_reset(struct h2 *h, int32_t id, uint32_t error);
/* The client may send that much more: content was passed on. id 0: content of a stream that is over. */
void h2_consume(struct h2 *h, int32_t id, size_t len);
void h2_leave(struct h2 *h);   /* GOAWAY, soon: streams that are on their way are still taken */
void h2_goodbye(struct h2 *h); /* GOAWAY: no stream after those that there are */
