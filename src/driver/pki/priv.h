/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder. */
#pragma once

#include "driver/pki/pki.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

struct pki_ca {
    X509 *root, *intermediate;
    EVP_PKEY *key; /* the intermediate's */
};

static inline void x509_free_p(X509 **x)
{
    X509_free(*x);
}
static inline void pkey_free_p(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static inline void req_free_p(X509_REQ **r)
{
    X509_REQ_free(*r);
}
#define _cleanup_req_ _cleanup_(req_free_p)
static inline void bio_free_p(BIO **b)
{
    BIO_free(*b);
}
#define _cleanup_bio_ _cleanup_(bio_free_p)
#define _cleanup_x509_ _cleanup_(x509_free_p)
#define _cleanup_pkey_ _cleanup_(pkey_free_p)

enum cert_kind { CERT_ROOT, CERT_INTERMEDIATE, CERT_LEAF };

struct cert_spec {
    enum cert_kind kind;
    const struct pki_leaf *leaf; /* of a leaf */
    const char *common_name;
    EVP_PKEY *key; /* of the subject */
    X509 *issuer;  /* NULL: itself */
    EVP_PKEY *issuer_key;
    int64_t now_ms;
    int64_t life_s;
};

/* Fills *e with OpenSSL's own words. Returns ERR_FAILED. */
int ssl_err(struct err *e, const char *what);
MUST_CHECK int cert_make(const struct cert_spec *spec, X509 **ret, struct err *e);
/* Whether it names exactly what the leaf asks for. */
bool cert_names_equal(X509 *cert, const struct pki_leaf *leaf);
/* Share of its life that is left, 0 when expired or not begun. The backdating of a leaf is no part
 * of its life. */
double cert_life_left(X509 *cert, int64_t now_ms);
bool cert_time_ms(const ASN1_TIME *t, int64_t *ret);
/* The life of a leaf, cut at the end of its issuer. ERR_REFUSED: that has ended. */
MUST_CHECK int cert_clip(X509 *issuer, int64_t now_ms, int64_t *life_s, struct err *e);
void info_of(X509 *cert, struct pki_info *ret);
bool bundle_has(const char *path, X509 *root);

/* ---- pem.c ---- */

MUST_CHECK int pem_read_cert(
    const char *path, X509 **ret, struct err *e); /* the first of the file */
MUST_CHECK int pem_parse_cert(const char *text, const char *what, X509 **ret, struct err *e);
MUST_CHECK int pem_parse_key(const char *text, const char *what, EVP_PKEY **ret, struct err *e);
char *pem_certs_text(X509 *const *certs, size_t n); /* heap; NULL: OpenSSL fails */
MUST_CHECK int pem_read_key(const char *path, EVP_PKEY **ret, struct err *e);
MUST_CHECK int pem_write_certs(const char *path, X509 *const *certs, size_t n, struct err *e);
/* Written from outside, a file of a running host belongs to whom its folder belongs to: control. */
void pem_give_to_folder(const char *path);
MUST_CHECK int pem_write_key(const char *path, EVP_PKEY *key, struct err *e);

/* ---- ca.c ---- */

/* The root of a folder with a new intermediate, in memory. */
MUST_CHECK int ca_renew(
    const char *dir, const char *platform, int64_t now_ms, struct pki_ca **ret, struct err *e);
MUST_CHECK int ca_keep(const struct pki_ca *ca, const char *dir, struct err *e);
/* Key, intermediate and root belong together. */
MUST_CHECK int ca_check(const struct pki_ca *ca, struct err *e);
