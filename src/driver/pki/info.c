/* SPDX-License-Identifier: Apache-2.0 */
/* What certificates say, and files of certificates and keys that belong together. */
#include "driver/pki/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (256u * 1024)
#define BUNDLE_CERTS_MAX 16

static void key_id_text(const ASN1_OCTET_STRING *id, char out[PKI_ID_SIZE])
{
    size_t n = id ? (size_t)ASN1_STRING_length(id) : 0;
    const uint8_t *bytes = id ? ASN1_STRING_get0_data(id) : NULL;
    out[0] = '\0';
    for (size_t i = 0; i < n && 2 * i + 2 < PKI_ID_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void uri_text(X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !*out; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI)
            snprintf(out, size, "%.*s", ASN1_STRING_length(name->d.uniformResourceIdentifier),
                (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier));
    }
    GENERAL_NAMES_free(names);
}

void info_of(X509 *cert, struct pki_info *ret)
{
    *ret = (struct pki_info){0};
    X509_NAME_get_text_by_NID(
        X509_get_subject_name(cert), NID_commonName, ret->subject, sizeof ret->subject);
    uri_text(cert, ret->uri, sizeof ret->uri);
    bool is_ca = X509_check_ca(cert) != 0; /* also makes OpenSSL read the extensions */
    key_id_text(X509_get0_subject_key_id(cert), ret->id);
    key_id_text(X509_get0_authority_key_id(cert), ret->issuer);
    if (!*ret->issuer)
        memcpy(ret->issuer, ret->id, sizeof ret->issuer); /* a root */
    cert_time_ms(X509_get0_notBefore(cert), &ret->not_before_ms);
    cert_time_ms(X509_get0_notAfter(cert), &ret->not_after_ms);
    ret->issued_ms = is_ca ? ret->not_before_ms : ret->not_before_ms + PKI_BACKDATE_S * 1000;
    ERR_clear_error();
}

int pki_info_parse(const char *pem, struct pki_info *ret, struct err *e)
{
    _cleanup_x509_ X509 *cert = NULL;
    int r = pem_parse_cert(pem, "certificate", &cert, e);
    if (r >= 0)
        info_of(cert, ret);
    return r;
}

int pki_info_read(const char *path, struct pki_info *ret, struct err *e)
{
    _cleanup_x509_ X509 *cert = NULL;
    int r = pem_read_cert(path, &cert, e);
    if (r >= 0)
        info_of(cert, ret);
    return r;
}

bool pki_pair_is(const char *pem_path, const char *key_path, const struct pki_leaf *leaf)
{
    struct err ignored;
    _cleanup_x509_ X509 *cert = NULL;
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    if (!file_exists(pem_path) || pem_read_cert(pem_path, &cert, &ignored) < 0
        || pem_read_key(key_path, &key, &ignored) < 0)
        return false;
    bool same = X509_check_private_key(cert, key) == 1;
    ERR_clear_error();
    return same && (!leaf || cert_names_equal(cert, leaf));
}

bool pki_chain_fits(const char *chain_pem, const char *key_path)
{
    struct err ignored;
    _cleanup_x509_ X509 *cert = NULL;
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    if (pem_parse_cert(chain_pem, "certificate", &cert, &ignored) < 0
        || pem_read_key(key_path, &key, &ignored) < 0)
        return false;
    bool same = X509_check_private_key(cert, key) == 1;
    ERR_clear_error();
    return same;
}

bool bundle_has(const char *path, X509 *root)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    bool found = false;
    if (!file_exists(path) || file_read(path, PEM_MAX, &text, &ignored) < 0)
        return false;
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(str_cstr(&text), (int)text.len);
    for (int i = 0; bio && !found && i < BUNDLE_CERTS_MAX; i++) {
        _cleanup_x509_ X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!cert)
            break;
        found = X509_cmp(cert, root) == 0;
    }
    ERR_clear_error();
    return found;
}

static void stack_free_p(STACK_OF(X509) * *s)
{
    sk_X509_pop_free(*s, X509_free);
}

static STACK_OF(X509) * read_chain(const char *pem)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(pem, -1);
    for (int i = 0; chain && bio && i < BUNDLE_CERTS_MAX; i++) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!cert || !sk_X509_push(chain, cert)) {
            X509_free(cert);
            break;
        }
    }
    ERR_clear_error();
    return chain;
}

int pki_chain_trusted(const char *chain_pem, const char *bundle_path, int64_t now_ms, struct err *e)
{
    _cleanup_(stack_free_p) STACK_OF(X509) *chain = read_chain(chain_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int r = 0;
    if (!store || !ctx || X509_STORE_load_file(store, bundle_path) != 1) {
        r = ssl_err(e, bundle_path);
    } else if (sk_X509_num(chain) < 1
               || !X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain)) {
        r = err_set(e, ERR_INVALID, "this is no certificate chain");
    } else {
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)(now_ms / 1000));
        if (X509_verify_cert(ctx) != 1)
            r = err_set(e, ERR_DENIED, "the certificate is not trusted here: %s",
                X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return r;
}

int pki_issuer_read(const char *path, struct pki_info *ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, PEM_MAX, &text, e);
    if (r < 0)
        return r;
    _cleanup_(stack_free_p) STACK_OF(X509) *chain = read_chain(str_cstr(&text));
    if (sk_X509_num(chain) < 2)
        return err_set(e, ERR_NOT_FOUND, "%s holds no intermediate", path);
    info_of(sk_X509_value(chain, 1), ret);
    return 0;
}

/* ---- putting a new pair into its place */

static int move(const char *from, const char *to, struct err *e)
{
    return rename(from, to) < 0 ? err_errno(e, errno, "rename %s", from) : 0;
}

int pki_install(const char *dir, const char *name, struct err *e)
{
    _cleanup_free_ char *pem = xasprintf("%s/%s.pem", dir, name),
                        *key = xasprintf("%s/%s.key", dir, name),
                        *next_pem = xasprintf("%s.next", pem),
                        *next_key = xasprintf("%s.next", key);
    int r = 0;
    if (!file_exists(next_pem)) /* a key without certificate is asked for again */
        return 0;
    if (pki_pair_is(next_pem, next_key, NULL))
        r = move(next_key, key, e); /* killed here: the next branch finishes */
    if (r >= 0 && pki_pair_is(next_pem, key, NULL))
        r = move(next_pem, pem, e);
    else if (r >= 0)
        unlink(next_pem);
    return r < 0 ? r : file_fsync_dir(dir, e);
}
