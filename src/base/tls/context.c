/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tls/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

static int openssl_error(struct err *e, const char *what)
{
    /* The first cause: a file that is not there is in front of "system lib". */
    unsigned long code = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code)) {
        int sys_errno = ERR_GET_REASON(code);
        ERR_clear_error();
        return err_errno(e, sys_errno, "%s", what);
    }
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    err_set(e, ERR_INVALID, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    return ERR_INVALID;
}

/* A sealed key would make OpenSSL ask on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
    return 0;
}

static void ctx_free_p(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

static int load_own(SSL_CTX *ctx, const char *cert, const char *key, struct err *e)
{
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return openssl_error(e, cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return openssl_error(e, key);
    if (SSL_CTX_check_private_key(ctx) != 1) {
        ERR_clear_error();
        return err_set(e, ERR_INVALID, "%s is not the key of %s", key, cert);
    }
    return 0;
}

static SSL_CTX *ctx_new(bool server)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    ASSERT(ctx);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

int tls_ctx_mutual_new(const struct tls_files *f, bool server, SSL_CTX **ret, struct err *e)
{
    ERR_clear_error();
    _cleanup_(ctx_free_p) SSL_CTX *ctx = ctx_new(server);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    /* Each connection proves itself anew: a resumed one would outlive the certificate it came
     * from. */
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_load_verify_locations(ctx, f->ca, NULL) != 1)
        return openssl_error(e, f->ca);
    int r = load_own(ctx, f->cert, f->key, e);
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&ctx);
    return 0;
}

static int trust(SSL_CTX *ctx, const char *ca_pem, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(ca_pem, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t n = 0;
    for (X509 *cert; bio && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)); n++) {
        int added = X509_STORE_add_cert(store, cert);
        X509_free(cert);
        if (added != 1)
            break;
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text is one */
    return n ? 0 : err_set(e, ERR_INVALID, "no certificate to trust");
}

int tls_ctx_stranger_new(const char *ca_pem, SSL_CTX **ret, struct err *e)
{
    ERR_clear_error();
    _cleanup_(ctx_free_p) SSL_CTX *ctx = ctx_new(false);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, ca_pem ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    int r = ca_pem ? trust(ctx, ca_pem, e) : 0;
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&ctx);
    return 0;
}

int tls_ctx_server_new(const char *cert_pem, const char *key_pem, SSL_CTX **ret, struct err *e)
{
    ERR_clear_error();
    _cleanup_(ctx_free_p) SSL_CTX *ctx = ctx_new(true);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    int r = load_own(ctx, cert_pem, key_pem, e);
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&ctx);
    return 0;
}
