/* SPDX-License-Identifier: Apache-2.0 */
/* X509-SVID: exactly one URI SAN, and it is the id (SPIFFE X509-SVID section 2). */
#include "base/tls/priv.h"

#include "base/str/str.h"

#include <openssl/x509v3.h>

#define SCHEME "spiffe://"

static void names_free_p(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

int tls_spiffe_id(const X509 *cert, char out[TLS_ID_MAX + 1], struct err *e)
{
    _cleanup_(names_free_p) GENERAL_NAMES *names =
        X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const ASN1_IA5STRING *uri = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        if (uri)
            return err_set(e, ERR_DENIED, "the certificate has more than one URI name");
        uri = name->d.uniformResourceIdentifier;
    }
    if (!uri)
        return err_set(e, ERR_DENIED, "the certificate has no URI name");
    size_t len = (size_t)ASN1_STRING_length(uri);
    const char *text = (const char *)ASN1_STRING_get0_data(uri);
    if (len > TLS_ID_MAX || memchr(text, 0, len) || len <= strlen(SCHEME)
        || strncmp(text, SCHEME, strlen(SCHEME)) != 0 || text[strlen(SCHEME)] == '/')
        return err_set(e, ERR_DENIED, "the certificate's URI name is no SPIFFE id");
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

bool tls_same_domain(const char *a, const char *b)
{
    if (!str_starts(a, SCHEME) || !str_starts(b, SCHEME))
        return false;
    a += strlen(SCHEME);
    b += strlen(SCHEME);
    size_t n = strcspn(a, "/");
    return n && n == strcspn(b, "/") && !strncmp(a, b, n);
}
