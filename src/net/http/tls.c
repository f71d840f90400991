/* SPDX-License-Identifier: Apache-2.0 */
/* The clients' side of TLS: one front context for the handshakes of all threads, the certificate by
 * server name from the application. Sessions live in tickets only (no cache), which every thread
 * and every certificate understands (ticket.c). */
#include "net/http/priv.h"

#include <openssl/err.h>
#include <openssl/pem.h>

static int openssl_error(struct err *e, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    err_set(e, ERR_INVALID, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    return ERR_INVALID;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    struct conn *c = SSL_get_app_data(ssl);
    SSL_CTX *ctx =
        c->t->calls->certificate(c->t->app, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    if (!ctx) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301. A client that speaks none of ours is told so instead of being answered in a protocol it
 * did not offer. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    ASSERT(ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(
        ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    /* asked of the context that the server name has chosen */
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return ctx;
}

int http_front_ctx_new(SSL_CTX **ret, struct err *e)
{
    SSL_CTX *ctx = server_ctx();
    /* TLS 1.2 without forward secrecy is not offered; 1.3 has its own list. */
    if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
        SSL_CTX_free(ctx);
        return openssl_error(e, "cipher list");
    }
    SSL_CTX_set_read_ahead(ctx, 1); /* a record in one read, not its head and then its rest */
    /* one connection resumes one: two is for those that open several at once */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, http_tickets_callback);
    static const unsigned char id[] = "mcp";
    SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    *ret = ctx;
    return 0;
}

/* A sealed key would make OpenSSL ask on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
    return 0;
}

static int use_chain(SSL_CTX *ctx, BIO *pem, struct err *e)
{
    X509 *leaf = PEM_read_bio_X509_AUX(pem, NULL, no_password, NULL);
    int ok = leaf && SSL_CTX_use_certificate(ctx, leaf) == 1;
    X509_free(leaf);
    if (!ok)
        return openssl_error(e, "certificate");
    X509 *ca;
    while ((ca = PEM_read_bio_X509(pem, NULL, no_password, NULL)))
        if (SSL_CTX_add0_chain_cert(ctx, ca) != 1) {
            X509_free(ca);
            return openssl_error(e, "certificate chain");
        }
    ERR_clear_error(); /* the end of the text is an error to PEM_read_bio_X509() */
    return 0;
}

static int use_key(SSL_CTX *ctx, BIO *pem, struct err *e)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_password, NULL);
    int ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    return ok ? 0 : openssl_error(e, "private key");
}

int http_certificate_new(const char *cert_pem, const char *key_pem, SSL_CTX **ret, struct err *e)
{
    ERR_clear_error();
    SSL_CTX *ctx = server_ctx();
    BIO *cert = BIO_new_mem_buf(cert_pem, -1), *key = BIO_new_mem_buf(key_pem, -1);
    ASSERT(cert && key);
    int r = use_chain(ctx, cert, e);
    if (r >= 0)
        r = use_key(ctx, key, e);
    BIO_free(cert);
    BIO_free(key);
    if (r < 0)
        SSL_CTX_free(ctx);
    else
        *ret = ctx;
    return r;
}

const char *http_tls_version_of(const SSL *ssl)
{
    return SSL_version(ssl) == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2";
}

bool http_tls_chose_h2(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == 2 && !memcmp(name, "h2", 2);
}
