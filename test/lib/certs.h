/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests, made in the process: P-256, written as PEM files into a folder. */
#pragma once

#include "base/util/util.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct test_ca {
    EVP_PKEY *key;
    X509 *cert;
};

struct test_leaf {
    const char *uris[3];  /* NULL-terminated */
    int64_t from_s, to_s; /* validity, relative to now */
    const char *address;  /* its name where there are no URIs; NULL: none */
};

static inline X509 *certs_make(
    const char *cn, EVP_PKEY *key, const struct test_ca *ca, const struct test_leaf *leaf)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), leaf ? (long)leaf->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), leaf ? (long)leaf->to_s : 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(ca ? ca->cert : x));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, ca ? ca->cert : x, x, NULL, NULL, 0);
    X509_EXTENSION *basic = X509V3_EXT_conf_nid(
        NULL, &ctx, NID_basic_constraints, leaf ? "critical,CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(x, basic, -1);
    X509_EXTENSION_free(basic);
    for (int i = 0; leaf && i < 3 && leaf->uris[i]; i++) {
        static char names[512];
        size_t at = i ? strlen(names) : 0;
        snprintf(names + at, sizeof names - at, "%sURI:%s", i ? "," : "", leaf->uris[i]);
        if (i == 2 || !leaf->uris[i + 1]) {
            X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, names);
            X509_add_ext(x, san, -1);
            X509_EXTENSION_free(san);
        }
    }
    if (leaf && leaf->address && !leaf->uris[0]) {
        char name[64];
        snprintf(name, sizeof name, "IP:%s", leaf->address);
        X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, name);
        X509_add_ext(x, san, -1);
        X509_EXTENSION_free(san);
    }
    X509_sign(x, ca ? ca->key : key, EVP_sha256());
    return x;
}

static inline struct test_ca certs_ca(const char *cn)
{
    struct test_ca ca = {.key = EVP_EC_gen("P-256")};
    ca.cert = certs_make(cn, ca.key, NULL, NULL);
    return ca;
}

static inline void certs_ca_free(struct test_ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
}

static inline void certs_write(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    FILE *f = fopen(path, "we");
    PEM_write_X509(f, cert);
    fclose(f);
    if (!key)
        return;
    snprintf(path, sizeof path, "%s/%s.key", dir, name);
    f = fopen(path, "we");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
}

/* DIR/NAME.pem and DIR/NAME.key. */
static inline void certs_leaf(
    const char *dir, const char *name, const struct test_ca *ca, struct test_leaf leaf)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = certs_make(name, key, ca, &leaf);
    certs_write(dir, name, cert, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}
