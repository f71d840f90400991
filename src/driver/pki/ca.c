/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/pki/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

#define RENEW_BELOW (1.0 / 3) /* of its life */

struct paths {
    char *root, *root_key, *intermediate, *intermediate_key;
};

static void paths_done(struct paths *p)
{
    free(p->root);
    free(p->root_key);
    free(p->intermediate);
    free(p->intermediate_key);
}

static int new_key(EVP_PKEY **ret, struct err *e)
{
    *ret = EVP_EC_gen("P-256");
    return *ret ? 0 : ssl_err(e, "new P-256 key");
}

static bool matches(X509 *cert, EVP_PKEY *key)
{
    return X509_check_private_key(cert, key) == 1;
}

void pki_ca_free(struct pki_ca *ca)
{
    if (!ca)
        return;
    X509_free(ca->root);
    X509_free(ca->intermediate);
    EVP_PKEY_free(ca->key);
    free(ca);
}

/* The key is written first: a certificate that is there always has one. */
static int make_root(
    const struct paths *p, const char *platform, int64_t now_ms, X509 **ret, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    _cleanup_x509_ X509 *root = NULL;
    _cleanup_free_ char *cn = xasprintf("%s root", platform);
    int r = new_key(&key, e);
    if (r >= 0)
        r = cert_make(&(struct cert_spec){.kind = CERT_ROOT,
                          .common_name = cn,
                          .key = key,
                          .issuer_key = key,
                          .now_ms = now_ms,
                          .life_s = PKI_ROOT_DAYS * 86400ll},
            &root, e);
    if (r >= 0)
        r = pem_write_key(p->root_key, key, e);
    if (r >= 0)
        r = pem_write_certs(p->root, &root, 1, e);
    if (r >= 0)
        *ret = util_steal_ptr(&root);
    return r;
}

static int load_root(
    const struct paths *p, const char *platform, int64_t now_ms, X509 **ret, struct err *e)
{
    if (!file_exists(p->root))
        return make_root(p, platform, now_ms, ret, e);
    int r = pem_read_cert(p->root, ret, e);
    if (r >= 0 && cert_life_left(*ret, now_ms) <= 0) {
        err_set(e, ERR_REFUSED, "the root certificate %s is not valid now", p->root);
        err_fix(e, "check this machine's clock; if it is right, the CA must be made anew");
        return ERR_REFUSED;
    }
    return r;
}

static int make_intermediate(
    const struct paths *p, const char *platform, int64_t now_ms, struct pki_ca *ca, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *root_key = NULL, *key = NULL;
    _cleanup_x509_ X509 *cert = NULL;
    _cleanup_free_ char *cn = xasprintf("%s intermediate", platform);
    int r = pem_read_key(p->root_key, &root_key, e);
    if (r < 0)
        return r;
    if (!matches(ca->root, root_key))
        return err_set(e, ERR_INVALID, "%s is not the key of %s", p->root_key, p->root);
    r = new_key(&key, e);
    if (r >= 0)
        r = cert_make(&(struct cert_spec){.kind = CERT_INTERMEDIATE,
                          .common_name = cn,
                          .key = key,
                          .issuer = ca->root,
                          .issuer_key = root_key,
                          .now_ms = now_ms,
                          .life_s = PKI_INTERMEDIATE_DAYS * 86400ll},
            &cert, e);
    if (r < 0)
        return r;
    ca->intermediate = util_steal_ptr(&cert);
    ca->key = util_steal_ptr(&key);
    return 0;
}

static int keep_intermediate(const struct paths *p, const struct pki_ca *ca, struct err *e)
{
    int r = pem_write_key(p->intermediate_key, ca->key, e);
    return r < 0 ? r : pem_write_certs(p->intermediate, &ca->intermediate, 1, e);
}

/* True when the one on disk is whole and valid; *ret_left its share of life left. */
static bool load_intermediate(
    const struct paths *p, int64_t now_ms, struct pki_ca *ca, double *ret_left)
{
    struct err ignored;
    _cleanup_pkey_ EVP_PKEY *key = NULL, *root_public = X509_get_pubkey(ca->root);
    _cleanup_x509_ X509 *cert = NULL;
    if (pem_read_cert(p->intermediate, &cert, &ignored) < 0
        || pem_read_key(p->intermediate_key, &key, &ignored) < 0)
        return false;
    *ret_left = cert_life_left(cert, now_ms);
    if (!matches(cert, key) || X509_verify(cert, root_public) != 1 || *ret_left <= 0)
        return false;
    ca->intermediate = util_steal_ptr(&cert);
    ca->key = util_steal_ptr(&key);
    return true;
}

static int open_ca(
    const struct paths *p, const char *platform, int64_t now_ms, struct pki_ca *ca, struct err *e)
{
    double left = 0;
    int r = load_root(p, platform, now_ms, &ca->root, e);
    if (r < 0)
        return r;
    bool usable = load_intermediate(p, now_ms, ca, &left);
    if (usable && (left > RENEW_BELOW || !file_exists(p->root_key)))
        return 0;
    X509_free(ca->intermediate);
    EVP_PKEY_free(ca->key);
    ca->intermediate = NULL;
    ca->key = NULL;
    r = make_intermediate(p, platform, now_ms, ca, e);
    return r < 0 ? r : keep_intermediate(p, ca, e);
}

static void paths_of(const char *dir, struct paths *ret)
{
    *ret = (struct paths){xasprintf("%s/root.pem", dir), xasprintf("%s/root.key", dir),
        xasprintf("%s/intermediate.pem", dir), xasprintf("%s/intermediate.key", dir)};
}

int pki_ca_open(
    const char *dir, const char *platform, int64_t now_ms, struct pki_ca **ret, struct err *e)
{
    _cleanup_pki_ca_ struct pki_ca *ca = xcalloc(1, sizeof *ca);
    _cleanup_(paths_done) struct paths p;
    paths_of(dir, &p);
    int r = file_mkdirs(dir, 0700, e);
    if (r >= 0)
        r = open_ca(&p, platform, now_ms, ca, e);
    if (r < 0)
        return err_wrap(e, "certificate authority");
    *ret = util_steal_ptr(&ca);
    return 0;
}

int ca_renew(
    const char *dir, const char *platform, int64_t now_ms, struct pki_ca **ret, struct err *e)
{
    _cleanup_pki_ca_ struct pki_ca *ca = xcalloc(1, sizeof *ca);
    _cleanup_(paths_done) struct paths p;
    paths_of(dir, &p);
    int r = pem_read_cert(p.root, &ca->root, e);
    if (r >= 0)
        r = make_intermediate(&p, platform, now_ms, ca, e);
    if (r < 0) {
        err_fix(e, "name the folder that holds the root and its key, mounted for now");
        return err_wrap(e, "certificate authority");
    }
    *ret = util_steal_ptr(&ca);
    return 0;
}

int ca_keep(const struct pki_ca *ca, const char *dir, struct err *e)
{
    _cleanup_(paths_done) struct paths p;
    paths_of(dir, &p);
    return keep_intermediate(&p, ca, e);
}

int ca_check(const struct pki_ca *ca, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *root = X509_get_pubkey(ca->root);
    bool ok = root && matches(ca->intermediate, ca->key) && X509_verify(ca->intermediate, root) == 1;
    ERR_clear_error();
    return ok ? 0 : err_set(e, ERR_INVALID, "root, intermediate and key do not belong together");
}

static bool is_current(const struct pki_ca *ca, const struct pki_leaf *leaf, const char *pem,
    const char *key_path, int64_t now_ms)
{
    struct err ignored;
    _cleanup_x509_ X509 *cert = NULL;
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    if (!file_exists(pem) || pem_read_cert(pem, &cert, &ignored) < 0
        || pem_read_key(key_path, &key, &ignored) < 0)
        return false;
    return matches(cert, key) && X509_verify(cert, ca->key) == 1 && cert_names_equal(cert, leaf)
           && cert_life_left(cert, now_ms) > RENEW_BELOW;
}

static int make_leaf(const struct pki_ca *ca, const struct pki_leaf *leaf, const char *pem,
    const char *key_path, int64_t now_ms, struct err *e)
{
    _cleanup_pkey_ EVP_PKEY *key = NULL;
    _cleanup_x509_ X509 *cert = NULL;
    int64_t life_s = leaf->life_s ? leaf->life_s : PKI_LEAF_S;
    int r = cert_clip(ca->intermediate, now_ms, &life_s, e);
    if (r >= 0)
        r = new_key(&key, e);
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
    if (r >= 0)
        r = pem_write_key(key_path, key, e);
    X509 *chain[] = {cert, ca->intermediate};
    return r < 0 ? r : pem_write_certs(pem, chain, ARRAY_SIZE(chain), e);
}

int pki_issue(const struct pki_ca *ca, const struct pki_leaf *leaf, const char *dir,
    const char *file, int64_t now_ms, bool *ret_new, struct err *e)
{
    _cleanup_free_ char *pem = xasprintf("%s/%s.pem", dir, file),
                        *key = xasprintf("%s/%s.key", dir, file);
    if (leaf->n_names > PKI_NAMES_MAX)
        return err_set(e, ERR_LIMIT, "a certificate with more than %u names", PKI_NAMES_MAX);
    int r = file_mkdirs(dir, 0755, e);
    bool current = r >= 0 && is_current(ca, leaf, pem, key, now_ms);
    if (r >= 0 && !current)
        r = make_leaf(ca, leaf, pem, key, now_ms, e);
    if (r >= 0 && ret_new)
        *ret_new = !current;
    return r < 0 ? err_wrap(e, "certificate %s", leaf->common_name) : 0;
}

/* What hosts verify peers against: the roots alone, since every leaf brings its intermediate. A
 * bundle that trusts this root, and during a rotation others, stays. */
static int write_bundle(const struct pki_ca *ca, const char *dir, const char *file, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, file);
    return bundle_has(path, ca->root) ? 0 : pem_write_certs(path, &ca->root, 1, e);
}

int pki_issue_host(const struct pki_ca *ca, const char *platform, const char *host,
    const struct ip_addr *addresses, size_t n, int64_t life_s, const char *dir, int64_t now_ms,
    bool *ret_new, struct err *e)
{
    _cleanup_free_ char *uri = xasprintf("spiffe://%s/host/%s", platform, host);
    struct pki_leaf leaf = {.common_name = host,
        .uri = uri,
        .addresses = addresses,
        .n_addresses = n,
        .client = true,
        .life_s = life_s};
    int r = pki_issue(ca, &leaf, dir, "host", now_ms, ret_new, e);
    return r < 0 ? r : write_bundle(ca, dir, "ca.pem", e);
}

int pki_issue_state(const struct pki_ca *ca, const char *platform, const char *host,
    const struct ip_addr *addresses, size_t n, int64_t life_s, const char *dir, int64_t now_ms,
    bool *ret_new, struct err *e)
{
    _cleanup_free_ char *uri = xasprintf("spiffe://%s/control/%s", platform, host);
    struct pki_leaf leaf = {.common_name = n ? PKI_MEMBER_NAME : PKI_CLIENT_NAME,
        .uri = uri,
        .addresses = addresses,
        .n_addresses = n,
        .client = true,
        .life_s = life_s};
    int r = pki_issue(ca, &leaf, dir, "state", now_ms, ret_new, e);
    return r < 0 ? r : write_bundle(ca, dir, "state-ca.pem", e);
}

int pki_issue_edge(const struct pki_ca *ca, const char *const *names, size_t n, int64_t life_s,
    const char *dir, int64_t now_ms, bool *ret_new, struct err *e)
{
    struct pki_leaf leaf = {
        .common_name = n ? names[0] : "edge", .names = names, .n_names = n, .life_s = life_s};
    return pki_issue(ca, &leaf, dir, "edge", now_ms, ret_new, e);
}
