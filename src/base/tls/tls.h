/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 (1.2 where a public client needs it) on OpenSSL 3: contexts from PEM, and streams on a
 * libuv loop for control-plane connections. Data paths use SSL_set_fd on their own epoll loops with
 * the same contexts. Peers are identified by SPIFFE id, the single URI name of their certificate:
 * spiffe://<platform>/host/<host>. Validity is judged by clock_wall_ms(). Hot reload is the
 * caller's: a new context for the connections to come. The process must ignore SIGPIPE. */
#pragma once

#include "base/err/err.h"

#include <openssl/ssl.h>
#include <uv.h>

struct tls_stream;

struct tls_files {    /* paths of PEM files; NULL where not used */
    const char *ca;   /* bundle that peers are verified against */
    const char *cert; /* own chain */
    const char *key;
};

/* Mutual: both ends present certificates and verify the other against `ca`. */
MUST_CHECK int tls_ctx_mutual_new(
    const struct tls_files *f, bool server, SSL_CTX **ret, struct err *e);
/* Public server: no client certificate. */
MUST_CHECK int tls_ctx_server_new(
    const char *cert_pem, const char *key_pem, SSL_CTX **ret, struct err *e);

/* A client that has no certificate yet. ca_pem: the only certificates that the server's chain may
 * end in; NULL: whoever answers is taken, so nothing may be said to it that not everybody may know.
 */
MUST_CHECK int tls_ctx_stranger_new(const char *ca_pem, SSL_CTX **ret, struct err *e);

struct tls_pem { /* PEM texts */
    const char *ca, *cert, *key;
};

/* As tls_ctx_mutual_new(). cert NULL: the caller chooses one for each connection. With `resume`
 * connections may go on from an earlier one; who accepts those judges the peer's certificate again
 * with tls_peer_check(), and makes a new context when what it trusts changes. */
MUST_CHECK int tls_ctx_pem_new(
    const struct tls_pem *p, bool server, bool resume, SSL_CTX **ret, struct err *e);

#define TLS_ID_MAX 255u

/* The only URI name of the certificate; ERR_DENIED when there is none, more than one, or no SPIFFE
 * id. */
MUST_CHECK int tls_spiffe_id(const X509 *cert, char out[TLS_ID_MAX + 1], struct err *e);
/* The id of the peer of a finished handshake, whose certificate must be valid at now_ms: also that
 * of a resumed one. */
MUST_CHECK int tls_peer_check(
    const SSL *ssl, int64_t now_ms, char out[TLS_ID_MAX + 1], struct err *e);

struct tls_stream_handler {
    /* handshake done, peer verified */
    void (*ready)(void *ctx, struct tls_stream *s);
    void (*data)(void *ctx, struct tls_stream *s, const void *p, size_t len);
    /* s frees itself after it */
    void (*closed)(void *ctx, struct tls_stream *s, const struct err *e);
    /* all that was written is with the kernel; may be NULL */
    void (*drained)(void *ctx, struct tls_stream *s);
};

/* Takes a connected socket. expect_id: the peer's SPIFFE id must equal it (NULL: any of the
 * platform's). */
MUST_CHECK int tls_stream_new(uv_loop_t *loop, SSL_CTX *ctx, int fd, bool server,
    const char *expect_id, const struct tls_stream_handler *h, void *ctx_arg,
    struct tls_stream **ret, struct err *e);
void tls_stream_set_handler(struct tls_stream *s, const struct tls_stream_handler *h, void *ctx);
/* Queues a copy; may be called before ready(). The caller watches the backlog. */
void tls_stream_write(struct tls_stream *s, const void *p, size_t len);
size_t tls_stream_backlog(const struct tls_stream *s);
/* Sends what the kernel takes at once, says goodbye; closed() comes from the loop with
 * ERR_CANCELED. */
void tls_stream_close(struct tls_stream *s);
/* "" before ready and for a peer without certificate */
const char *tls_stream_peer_id(const struct tls_stream *s);
uv_loop_t *tls_stream_loop(const struct tls_stream *s);
