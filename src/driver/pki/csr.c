/* SPDX-License-Identifier: Apache-2.0 */
/* Requests (PKCS #10, RFC 2986): the key is made where it is used and never leaves; the authority
 * sees its public half. */
#include "driver/pki/priv.h"

#include "base/file/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define CSR_MAX (16u * 1024) /* a P-256 request has 400 bytes */

static int load_or_make(const char *path, EVP_PKEY **ret, struct err *e)
{
    struct err ignored;
    if (file_exists(path) && pem_read_key(path, ret, &ignored) >= 0)
        return 0;
    *ret = EVP_EC_gen("P-256");
    return *ret ? pem_write_key(path, *ret, e) : ssl_err(e, "new P-256 key");
}

int pki_csr_make(const char *key_path, const char *common_name, char **ret_pem, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    _cleanup_req_ X509_REQ *req = X509_REQ_new();
    _cleanup_bio_ BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    int r = load_or_make(key_path, &key, e);
    if (r < 0)
        return r;
    if (!req || !bio || !X509_REQ_set_version(req, X509_REQ_VERSION_1)
        || !X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
            (const uint8_t *)common_name, -1, -1, 0)
        || !X509_REQ_set_pubkey(req, key) || !X509_REQ_sign(req, key, EVP_sha256())
        || !PEM_write_bio_X509_REQ(bio, req))
        return ssl_err(e, "certificate request");
    long len = BIO_get_mem_data(bio, &data);
    *ret_pem = xasprintf("%.*s", (int)len, data);
    return 0;
}

/* Its public key, proven to be the asker's. */
static int open_request(const char *pem, EVP_PKEY **ret, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(pem, -1);
    _cleanup_req_ X509_REQ *req = NULL;
    if (strnlen(pem, CSR_MAX) == CSR_MAX)
        return err_set(e, ERR_LIMIT, "a certificate request over %u bytes", CSR_MAX);
    req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    _cleanup_pkey_ EVP_PKEY *key = req ? X509_REQ_get_pubkey(req) : NULL;
    char group[32] = "";
    ERR_clear_error();
    if (!key)
        return err_set(e, ERR_INVALID, "this is no certificate request");
    EVP_PKEY_get_utf8_string_param(key, "group", group, sizeof group, NULL);
    ERR_clear_error();
    if (!EVP_PKEY_is_a(key, "EC") || strcmp(group, "prime256v1") != 0)
        return err_set(e, ERR_INVALID, "the key of a certificate request must be P-256");
    if (X509_REQ_verify(req, key) != 1) {
        ERR_clear_error();
        return err_set(e, ERR_DENIED, "the certificate request is not signed with its own key");
    }
    *ret = util_steal_ptr(&key);
    return 0;
}

int pki_sign_csr(const struct pki_ca *ca, const char *csr_pem, const struct pki_leaf *leaf,
    int64_t now_ms, char **ret_chain_pem, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    _cleanup_x509_ X509 *cert = NULL;
    int64_t life_s = leaf->life_s ? leaf->life_s : PKI_LEAF_S;
    int r = open_request(csr_pem, &key, e);
    if (r >= 0)
        r = cert_clip(ca->intermediate, now_ms, &life_s, e);
    if (r >= 0)
        r = cert_make(&(struct cert_spec){.kind = CERT_LEAF,
                          .leaf = leaf,
                          .common_name = leaf->common_name,
                          .key = key,
                          .issuer = ca->intermediate,
                          .issuer_key = ca->key,
                          .now_ms = now_ms,
                          .life_s = life_s},
            &cert, e);
    if (r < 0)
        return r;
    X509 *chain[] = {cert, ca->intermediate};
    *ret_chain_pem = pem_certs_text(chain, ARRAY_SIZE(chain));
    return *ret_chain_pem ? 0 : ssl_err(e, leaf->common_name);
}
