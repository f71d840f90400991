/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/prove.h"

#include "base/str/str.h"
#include "service/enrol/ask.h"
#include "service/enrol/door.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#define HELLO_MS 10000u

static bool is_root(X509 *cert, const struct token *t)
{
    uint8_t *der = NULL, root[TOKEN_ROOT_BYTES];
    int len = i2d_X509(cert, &der);
    if (len < 0)
        return false;
    token_root_of(der, (size_t)len, root);
    OPENSSL_free(der);
    return !memcmp(root, t->root, sizeof root);
}

static char *to_pem(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL, *text = NULL;
    if (bio && PEM_write_bio_X509(bio, cert)) {
        long len = BIO_get_mem_data(bio, &data);
        text = xasprintf("%.*s", (int)len, data);
    }
    BIO_free(bio);
    return text;
}

/* The one certificate of the bundle that the token means; NULL: none. Heap. */
static char *find_root(const char *bundle, const struct token *t)
{
    BIO *bio = BIO_new_mem_buf(bundle, -1);
    char *found = NULL;
    for (X509 *cert; bio && !found && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
        if (is_root(cert, t))
            found = to_pem(cert);
        X509_free(cert);
    }
    BIO_free(bio);
    return found;
}

/* Unproven words: believed only so far as they match the token. */
int enrol_prove(const struct enrol_prover *p, struct enrol_proven *ret, struct err *e)
{
    const char *bundle, *platform;
    _cleanup_json_ json_t *hello = NULL;
    struct enrol_ask ask = {.address = p->address,
        .port = p->port ? p->port : ENROL_PORT,
        .method = "enrol.hello",
        .timeout_ms = HELLO_MS};
    int r = enrol_ask(&ask, &hello, e);
    if (r >= 0)
        r = json_get_str(hello, "ca", &bundle, e);
    if (r >= 0)
        r = json_get_str(hello, "platform", &platform, e);
    if (r >= 0)
        r = json_get_int(hello, "time_ms", 0, INT64_MAX, &ret->time_ms, e);
    if (r < 0)
        return r;
    ret->root_pem = find_root(bundle, &p->token);
    if (!ret->root_pem) {
        err_set(e, ERR_REFUSED,
            "who answers there is not of the platform that made the token: its root certificate "
            "has another fingerprint; nothing was said to it");
        err_fix(e, "check the address; make the token on a host of the same platform");
        return ERR_REFUSED;
    }
    ret->platform = xstrdup(platform);
    return 0;
}

void enrol_proven_done(struct enrol_proven *p)
{
    free(p->platform);
    free(p->root_pem);
    *p = (struct enrol_proven){0};
}
