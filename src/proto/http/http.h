/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 messages (RFC 9112), strictly, both sides of a gateway. Heads are parsed by llhttp; in
 * front of it and behind it stands a layer that refuses whatever two parties could read
 * differently: what is refused here is answered 400 and the connection closed, and nothing of it
 * reaches an upstream. Message bodies are decoded and framed anew, never copied through, so an
 * upstream sees only framing that we wrote.
 *
 * Everything points into the caller's bytes, which must outlive the struct. Pure: no allocation, no
 * clock; any thread. HOT PATH. */
#pragma once

#include "base/util/util.h"

#define HTTP_HEAD_MAX 16384u /* bytes of a head: start line and fields */
#define HTTP_TARGET_MAX 8192u
#define HTTP_FIELDS_MAX 100u
#define HTTP_CHUNK_LINE_MAX 256u /* a chunk's size and extensions */
/* of one body: more is an attempt to waste our time (CVE-2023-39326) */
#define HTTP_EXTENSION_TOTAL_MAX 4096u
#define HTTP_TRAILER_MAX 4096u
#define HTTP_TRAILER_FIELDS_MAX 32u

/* Why a message is refused: name, status that a client gets for a request like that, words. */
#define HTTP_REJECTS(X)                                                                            \
    X(CONTROL_BYTE, 400, "a control character in the head")                                        \
    X(BARE_CR, 400, "CR without LF")                                                               \
    X(BARE_LF, 400, "LF without CR")                                                               \
    X(FOLDED, 400, "a folded field line")                                                          \
    X(START_LINE, 400, "the start line does not parse")                                            \
    X(METHOD, 501, "unknown method")                                                               \
    X(METHOD_REFUSED, 501, "CONNECT is not supported")                                             \
    X(TRACE_REFUSED, 405, "TRACE is not supported")                                                \
    X(TARGET, 400, "the request target is not valid")                                              \
    X(TARGET_SIZE, 414, "the request target is too long")                                          \
    X(VERSION, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here")                                  \
    X(HEAD_SIZE, 431, "the head is too long")                                                      \
    X(FIELD_COUNT, 431, "too many fields")                                                         \
    X(FIELD_NAME, 400, "a field name that is not a token, or a blank in front of its colon")       \
    X(FIELD_VALUE, 400, "a field value with a control character")                                  \
    X(FIELD_REPEATED, 400, "a field that may stand once stands twice")                             \
    X(HOST_MISSING, 400, "no Host field")                                                          \
    X(HOST_REPEATED, 400, "more than one Host field")                                              \
    X(HOST_INVALID, 400, "the Host field is not a host")                                           \
    X(HOST_MISMATCH, 400, "the request target and the Host field name different hosts")            \
    X(LENGTH_REPEATED, 400, "more than one Content-Length")                                        \
    X(LENGTH_INVALID, 400, "Content-Length is not a number")                                       \
    X(LENGTH_AND_CODING, 400, "Content-Length and Transfer-Encoding together")                     \
    X(LENGTH_FORBIDDEN, 400, "a length on a message that has no content")                          \
    X(CODING, 400, "Transfer-Encoding other than chunked, once")                                   \
    X(CODING_VERSION, 400, "Transfer-Encoding in HTTP/1.0")                                        \
    X(CONNECTION_FIELD, 400, "a field of an HTTP/1.1 connection in HTTP/2")                        \
    X(PSEUDO, 400, "a pseudo field that is missing, repeated, unknown or late")                    \
    X(CONNECTION, 400, "Connection names a field that every recipient needs")                      \
    X(EXPECT, 417, "an expectation other than 100-continue")                                       \
    X(UPGRADE, 501, "Upgrade is not supported")                                                    \
    X(STATUS, 502, "the status line is not valid")                                                 \
    X(SWITCHED, 502, "switched protocols without being asked")                                     \
    X(CHUNK_SIZE, 400, "a chunk size is not valid")                                                \
    X(CHUNK_EXTENSION, 400, "a chunk extension is not valid or too long")                          \
    X(CHUNK_END, 400, "a chunk does not end where its size says")                                  \
    X(TRAILER, 400, "the trailer section is not valid or too long")

enum http_reject {
    HTTP_REJECT_NONE = 0,
#define X(name, status, text) HTTP_REJECT_##name,
    HTTP_REJECTS(X)
#undef X
        HTTP_REJECT_COUNT,
};

unsigned http_reject_status(enum http_reject r);
const char *http_reject_name(enum http_reject r); /* "bare_lf": for logs and metrics */
const char *http_reject_text(enum http_reject r); /* words for the client */

struct http_text {
    const char *p;
    size_t len;
};

bool http_text_is(struct http_text t, const char *s);        /* exactly */
bool http_text_is_nocase(struct http_text t, const char *s); /* `s` in lower case */

/* Fields that framing, routing or forwarding look at. */
#define HTTP_FIELD_NAMES(X)                                                                        \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(COOKIE, "cookie")                                                                            \
    X(DATE, "date")                                                                                \
    X(EXPECT, "expect")                                                                            \
    X(FORWARDED, "forwarded")                                                                      \
    X(HOST, "host")                                                                                \
    X(HTTP2_SETTINGS, "http2-settings")                                                            \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                    \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                  \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(UPGRADE, "upgrade")                                                                          \
    X(VIA, "via")                                                                                  \
    X(X_FORWARDED_CLIENT_CERT, "x-forwarded-client-cert")                                          \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_REAL_IP, "x-real-ip")                                                                      \
    X(X_REQUEST_ID, "x-request-id")

enum http_field_id {
    HTTP_FIELD_OTHER = 0,
#define X(name, text) HTTP_FIELD_##name,
    HTTP_FIELD_NAMES(X)
#undef X
        HTTP_FIELD_ID_COUNT,
};

struct http_field {
    struct http_text name;  /* as received */
    struct http_text value; /* without the blanks around it */
    uint8_t id;             /* enum http_field_id */
    bool hop;               /* for this connection only: never forwarded */
};

struct http_fields {
    struct http_field v[HTTP_FIELDS_MAX];
    size_t n;
};

/* The first field of that kind, or NULL. */
const struct http_field *http_fields_find(const struct http_fields *f, enum http_field_id id);

enum http_framing {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH,
    HTTP_BODY_CHUNKED,
    HTTP_BODY_UNTIL_CLOSE, /* responses only */
};

struct http_request {
    struct http_text method; /* "GET": one of llhttp's list, upper case */
    struct http_text target; /* as received */
    struct http_text path;   /* of the target, not normalised: "/..." or "*" */
    struct http_text query;  /* behind "?", may be empty */
    bool has_query;
    /* without port, as received; from the target if that is absolute; empty in bare HTTP/1.0 */
    struct http_text host;
    struct http_text authority; /* host with port, as received */
    struct http_text scheme;    /* "http" or "https" of an absolute target, else empty */
    uint8_t minor;              /* 1, or 0 for HTTP/1.0 */
    bool h2;       /* came by HTTP/2: minor is 1, there is no framing to read */
    bool is_head;
    bool is_idempotent; /* RFC 9110 section 9.2.2: may be sent again to another instance */
    /* the client wants no further request on this connection, or cannot have it */
    bool close;
    bool expect_continue;
    enum http_framing framing;
    uint64_t content_length; /* with HTTP_BODY_LENGTH */
    struct http_fields fields;
};

/* Parses the head of a request at the start of buf. `scanned` is the caller's, 0 for a new message,
 * kept between calls while more bytes arrive (so that a head sent byte by byte costs no more than
 * one sent at once). Returns the head's length, 0 when it is not there whole yet, or minus an enum
 * http_reject. */
MUST_CHECK int http_request_parse(
    const char *buf, size_t len, size_t *scanned, struct http_request *ret);

/* The same for the head of an HTTP/2 request (RFC 9113 section 8.3): its pseudo fields (p NULL: absent),
 * its other fields one by one into ret->fields. `ended`: no content follows. Returns why it is refused;
 * what has status 400 is malformed and must not even be answered. */
struct http_pseudo {
    struct http_text method, scheme, authority, path;
};
enum http_reject http_field_put(
    struct http_fields *f, struct http_text name, struct http_text value);
MUST_CHECK enum http_reject http_request_from_pseudo(
    const struct http_pseudo *p, bool ended, struct http_request *ret);

/* A CONNECT to a name or an IPv4 address. Returns the head's length, 0 when it is not there whole
 * yet, or minus an enum http_reject; -HTTP_REJECT_METHOD at once for any other method. */
MUST_CHECK int http_connect_parse(
    const char *buf, size_t len, struct http_text *ret_host, uint16_t *ret_port);
/* "host" or "host:port"; without a port that is `fallback` (0: it must have one). */
bool http_authority_split(struct http_text authority, uint16_t fallback, struct http_text *ret_host,
    uint16_t *ret_port);

struct http_response {
    unsigned status; /* 100 .. 599 */
    struct http_text reason;
    uint8_t minor;
    bool close; /* the upstream will take no further request on this connection */
    enum http_framing framing;
    uint64_t content_length; /* with HTTP_BODY_LENGTH, and whenever has_length */
    /* Content-Length was given (HEAD and 304: of content that does not follow) */
    bool has_length;
    struct http_fields fields;
};

/* The same for a response, to a request that was a HEAD or not: framing is what really follows. */
MUST_CHECK int http_response_parse(
    const char *buf, size_t len, size_t *scanned, bool to_head, struct http_response *ret);

/* Decoder of a message body, resumable at any byte. */
struct http_body {
    enum http_framing framing;
    uint8_t state;
    uint8_t digits;
    bool blank;         /* the trailer line read so far is empty */
    uint16_t line;      /* bytes of the chunk line or of the trailer section so far */
    uint16_t fields;    /* trailer lines so far */
    uint32_t extension; /* bytes of chunk extensions so far */
    uint64_t left;      /* of the content or of the chunk */
};

void http_body_init(struct http_body *b, enum http_framing framing, uint64_t content_length);
bool http_body_ended(const struct http_body *b);
/* Takes a run of bytes: *used are consumed, and *data is the content among them (one span, may be
 * empty; it never exceeds max_data). Call again with the rest while *used > 0. Returns 0, or minus
 * an enum http_reject. After http_body_ended() nothing is consumed. */
MUST_CHECK int http_body_take(struct http_body *b, const char *in, size_t len, size_t max_data,
    size_t *used, struct http_text *data);
/* The peer closed its side: true when that is a proper end of the body. */
bool http_body_close(struct http_body *b);

/* Output with a fixed room; what does not fit sets `full` and is dropped, checked once at the end.
 */
struct http_out {
    char *p;
    size_t len, cap;
    bool full;
};

void http_out_mem(struct http_out *o, const void *p, size_t len);
void http_out_text(struct http_out *o, struct http_text t);
void http_out_str(struct http_out *o, const char *s);
void http_out_u64(struct http_out *o, uint64_t v);
void http_out_hex(struct http_out *o, uint64_t v);

/* Longest framing that http_out_chunk() puts around content. */
#define HTTP_CHUNK_OVERHEAD 20u
void http_out_chunk(struct http_out *o, const char *p, size_t len); /* len > 0 */
void http_out_last_chunk(struct http_out *o);

/* What a gateway writes into what it forwards. */
struct http_forward {
    struct http_text path;       /* requests: in normal form; the query goes along as received */
    struct http_text client;     /* requests: for X-Forwarded-For */
    struct http_text request_id; /* X-Request-Id of both ways */
    bool tls;                    /* requests: X-Forwarded-Proto: https */
    bool keep_expect;            /* requests: pass Expect: 100-continue on */
    struct http_text lines;      /* requests: more field lines, each with its CRLF */
    bool chunked;                /* responses: our framing is chunked */
    bool close;                  /* responses: say Connection: close */
    bool via;                    /* responses by HTTP/2: an upstream's, not our own */
    struct http_text date;       /* responses: for those without Date */
};

/* The request as the upstream gets it: origin form, Host as received, no field of this connection,
 * nothing that a client could use to pass for us. */
void http_request_forward(
    const struct http_request *r, const struct http_forward *f, struct http_out *o);
void http_response_forward(
    const struct http_response *r, const struct http_forward *f, struct http_out *o);
/* A field of a response that the gateway writes itself. */
bool http_field_is_own(const struct http_field *f);
const char *http_status_reason(unsigned status);
