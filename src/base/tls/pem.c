/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts from texts: for roles that are told their certificates and read no file. */
#include "base/tls/tls.h"

#include "base/str/str.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define SESSION_S 3600

static int ssl_error(struct err *e, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return err_set(e, ERR_INVALID, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");
}

static void ctx_free_p(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

static void bio_free_p(BIO **b)
{
    BIO_free(*b);
}
#define _cleanup_bio_ _cleanup_(bio_free_p)

/* A sealed key would make OpenSSL ask on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
    return 0;
}

static X509 *next_cert(BIO *in)
{
    X509 *x = PEM_read_bio_X509(in, NULL, no_password, NULL);
    if (!x)
        ERR_clear_error(); /* the end of the text */
    return x;
}

static int load_ca(SSL_CTX *ctx, const char *pem, struct err *e)
{
    _cleanup_bio_ BIO *in = BIO_new_mem_buf(pem, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t n = 0;
    for (X509 *x; in && (x = next_cert(in)); n++) {
        int ok = X509_STORE_add_cert(store, x);
        X509_free(x);
        if (ok != 1)
            return ssl_error(e, "CA bundle");
    }
    return n ? 0 : err_set(e, ERR_INVALID, "the CA bundle holds no certificate");
}

static int load_chain(SSL_CTX *ctx, const char *pem, struct err *e)
{
    _cleanup_bio_ BIO *in = BIO_new_mem_buf(pem, -1);
    X509 *x = in ? next_cert(in) : NULL;
    if (!x)
        return err_set(e, ERR_INVALID, "no certificate in the text");
    int ok = SSL_CTX_use_certificate(ctx, x);
    X509_free(x);
    while (ok == 1 && (x = next_cert(in))) {
        ok = SSL_CTX_add0_chain_cert(ctx, x) == 1;
        if (!ok)
            X509_free(x);
    }
    return ok == 1 ? 0 : ssl_error(e, "certificate");
}

static int load_key(SSL_CTX *ctx, const char *pem, struct err *e)
{
    _cleanup_bio_ BIO *in = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    if (!key)
        return ssl_error(e, "private key");
    int ok = SSL_CTX_use_PrivateKey(ctx, key);
    EVP_PKEY_free(key);
    if (ok == 1 && SSL_CTX_check_private_key(ctx) == 1)
        return 0;
    ERR_clear_error();
    return err_set(e, ERR_INVALID, "the key is not the certificate's");
}

static void set_resume(SSL_CTX *ctx, bool server, bool resume)
{
    static const unsigned char name[] = "mcp";
    SSL_CTX_set_session_cache_mode(ctx,
        resume && !server ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                          : SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, resume && server ? 1 : 0);
    SSL_CTX_set_timeout(ctx, SESSION_S);
    SSL_CTX_set_session_id_context(ctx, name, sizeof name - 1);
}

int tls_ctx_pem_new(
    const struct tls_pem *p, bool server, bool resume, SSL_CTX **ret, struct err *e)
{
    ERR_clear_error();
    _cleanup_(ctx_free_p) SSL_CTX *ctx =
        SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    ASSERT(ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    set_resume(ctx, server, resume);
    int r = load_ca(ctx, p->ca, e);
    if (r >= 0 && p->cert)
        r = load_chain(ctx, p->cert, e);
    if (r >= 0 && p->cert)
        r = load_key(ctx, p->key, e);
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&ctx);
    return 0;
}

int tls_peer_check(const SSL *ssl, int64_t now_ms, char out[TLS_ID_MAX + 1], struct err *e)
{
    const X509 *cert = SSL_get0_peer_certificate(ssl);
    time_t now = (time_t)(now_ms / 1000);
    if (!cert)
        return err_set(e, ERR_DENIED, "the peer has no certificate");
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return err_set(e, ERR_DENIED, "the peer's certificate: %s",
            X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
    if (X509_cmp_time(X509_get0_notAfter(cert), &now) <= 0
        || X509_cmp_time(X509_get0_notBefore(cert), &now) > 0)
        return err_set(e, ERR_DENIED, "the peer's certificate is not valid now");
    return tls_spiffe_id(cert, out, e);
}
