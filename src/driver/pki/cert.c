/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 5280 profiles: root (path length 1), intermediate (0), leaf. */
#include "driver/pki/priv.h"

#include "base/rnd/rnd.h"

#include <openssl/x509v3.h>
#include <string.h>

#define SERIAL_BYTES                                                                               \
    16 /* RFC 5280 4.1.2.2 allows 20; the CA/B Forum wants 64 random bits at least */
#define CA_BACKDATE_S 3600 /* hosts' clocks differ */
#define COMMON_NAME_MAX 64 /* ub-common-name */

static inline void names_free_p(GENERAL_NAMES **n)
{
    GENERAL_NAMES_free(*n);
}
#define _cleanup_general_names_ _cleanup_(names_free_p)

static int set_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_BYTES];
    rnd_bytes(bytes, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | 0x40); /* positive, and never shorter */
    BIGNUM *bn = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
    BN_free(bn);
    return ok;
}

static bool set_subject(X509 *cert, const char *common_name)
{
    char cn[COMMON_NAME_MAX + 1];
    snprintf(cn, sizeof cn, "%s", common_name);
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"MCP", -1, -1, 0)
           && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
}

static bool set_validity(X509 *cert, const struct cert_spec *s)
{
    time_t now = (time_t)(s->now_ms / 1000);
    time_t start = now - (s->kind == CERT_LEAF ? PKI_BACKDATE_S : CA_BACKDATE_S);
    time_t end = now + (time_t)s->life_s;
    return X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &start)
           && X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &end);
}

static bool add_text_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer ? issuer : cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

static bool push_name(GENERAL_NAMES *names, int type, const void *data, size_t len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *text = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (!name || !text || !ASN1_STRING_set(text, data, (int)len)) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(text);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, text);
    if (sk_GENERAL_NAME_push(names, name))
        return true;
    GENERAL_NAME_free(name);
    return false;
}

static GENERAL_NAMES *make_names(const struct pki_leaf *leaf)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names != NULL;
    if (ok && leaf->uri)
        ok = push_name(names, GEN_URI, leaf->uri, strlen(leaf->uri));
    for (size_t i = 0; ok && i < leaf->n_addresses; i++)
        ok = push_name(
            names, GEN_IPADD, leaf->addresses[i].bytes, leaf->addresses[i].family == 6 ? 16 : 4);
    for (size_t i = 0; ok && i < leaf->n_names; i++)
        ok = push_name(names, GEN_DNS, leaf->names[i], strlen(leaf->names[i]));
    if (ok)
        return names;
    GENERAL_NAMES_free(names);
    return NULL;
}

static bool add_leaf_exts(X509 *cert, X509 *issuer, const struct pki_leaf *leaf)
{
    _cleanup_general_names_ GENERAL_NAMES *names = make_names(leaf);
    return names && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT)
           && add_text_ext(cert, issuer, NID_basic_constraints, "critical,CA:FALSE")
           && add_text_ext(cert, issuer, NID_key_usage, "critical,digitalSignature")
           && add_text_ext(cert, issuer, NID_ext_key_usage,
               leaf->client ? "serverAuth,clientAuth" : "serverAuth");
}

static bool add_ca_exts(X509 *cert, X509 *issuer, enum cert_kind kind)
{
    const char *constraints =
        kind == CERT_ROOT ? "critical,CA:TRUE,pathlen:1" : "critical,CA:TRUE,pathlen:0";
    return add_text_ext(cert, issuer, NID_basic_constraints, constraints)
           && add_text_ext(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
}

static bool add_exts(X509 *cert, const struct cert_spec *s)
{
    if (!add_text_ext(cert, s->issuer, NID_subject_key_identifier, "hash"))
        return false;
    if (s->issuer && !add_text_ext(cert, s->issuer, NID_authority_key_identifier, "keyid:always"))
        return false;
    return s->kind == CERT_LEAF ? add_leaf_exts(cert, s->issuer, s->leaf)
                                : add_ca_exts(cert, s->issuer, s->kind);
}

int cert_make(const struct cert_spec *s, X509 **ret, struct err *e)
{
    _cleanup_x509_ X509 *cert = X509_new();
    bool ok = cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert)
              && set_subject(cert, s->common_name) && set_validity(cert, s)
              && X509_set_pubkey(cert, s->key)
              && X509_set_issuer_name(cert, X509_get_subject_name(s->issuer ? s->issuer : cert))
              && add_exts(cert, s) && X509_sign(cert, s->issuer_key, EVP_sha256());
    if (!ok)
        return ssl_err(e, s->common_name);
    *ret = util_steal_ptr(&cert);
    return 0;
}

bool cert_names_equal(X509 *cert, const struct pki_leaf *leaf)
{
    _cleanup_general_names_ GENERAL_NAMES *have =
        X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    _cleanup_general_names_ GENERAL_NAMES *want = make_names(leaf);
    if (!have || !want || sk_GENERAL_NAME_num(have) != sk_GENERAL_NAME_num(want))
        return false;
    for (int i = 0; i < sk_GENERAL_NAME_num(have); i++)
        if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(have, i), sk_GENERAL_NAME_value(want, i)) != 0)
            return false;
    return true;
}

bool cert_time_ms(const ASN1_TIME *t, int64_t *ret)
{
    struct tm tm;
    if (!ASN1_TIME_to_tm(t, &tm))
        return false;
    *ret = (int64_t)timegm(&tm) * 1000;
    return true;
}

double cert_life_left(X509 *cert, int64_t now_ms)
{
    int64_t start, end;
    if (!cert_time_ms(X509_get0_notBefore(cert), &start)
        || !cert_time_ms(X509_get0_notAfter(cert), &end) || now_ms < start || now_ms >= end)
        return 0;
    if (X509_check_ca(cert) == 0)
        start = MIN(start + PKI_BACKDATE_S * 1000, end - 1);
    return (double)(end - now_ms) / (double)(end - start);
}

int cert_clip(X509 *issuer, int64_t now_ms, int64_t *life_s, struct err *e)
{
    int64_t end;
    if (!cert_time_ms(X509_get0_notAfter(issuer), &end) || end - now_ms < 1000) {
        err_set(e, ERR_REFUSED, "the intermediate certificate has ended");
        err_fix(e, "`mcp ca rotate --intermediate` makes a new one with the root's key");
        return ERR_REFUSED;
    }
    *life_s = MIN(*life_s, (end - now_ms) / 1000);
    return 0;
}
