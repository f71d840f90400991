/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/pki/authority.h"

#include "base/base64/base64.h"
#include "base/file/file.h"
#include "driver/pki/priv.h"

#include <openssl/pem.h>
#include <string.h>

#define FORMAT 1

struct pki_authority {
    struct pki_ca *ca[PKI_KINDS];
};

const char *pki_kind_name(enum pki_kind k)
{
    static const char *const names[] = {"hosts", "state"};
    ASSERT(k < PKI_KINDS);
    return names[k];
}

void pki_authority_free(struct pki_authority *a)
{
    for (size_t i = 0; a && i < PKI_KINDS; i++)
        pki_ca_free(a->ca[i]);
    free(a);
}

const struct pki_ca *pki_authority_ca(const struct pki_authority *a, enum pki_kind k)
{
    return a->ca[k];
}

void pki_ca_info(const struct pki_ca *ca, struct pki_info *root, struct pki_info *intermediate)
{
    if (root)
        info_of(ca->root, root);
    if (intermediate)
        info_of(ca->intermediate, intermediate);
}

char *pki_ca_root_pem(const struct pki_ca *ca)
{
    char *text = pem_certs_text(&ca->root, 1);
    ASSERT(text);
    return text;
}

char *pki_ca_intermediate_pem(const struct pki_ca *ca)
{
    char *text = pem_certs_text(&ca->intermediate, 1);
    ASSERT(text);
    return text;
}

/* ---- in a folder */

static char *folder_of(const char *folder, enum pki_kind k)
{
    return k == PKI_HOSTS ? xstrdup(folder) : xasprintf("%s/%s", folder, pki_kind_name(k));
}

static char *name_of(const char *platform, enum pki_kind k)
{
    return k == PKI_HOSTS ? xstrdup(platform) : xasprintf("%s state", platform);
}

typedef int (*open_fn)(
    const char *dir, const char *platform, int64_t now_ms, struct pki_ca **ret, struct err *e);

static int each(open_fn open, const char *folder, const char *platform, int64_t now_ms,
    struct pki_authority **ret, struct err *e)
{
    _cleanup_pki_authority_ struct pki_authority *a = xcalloc(1, sizeof *a);
    for (enum pki_kind k = 0; k < PKI_KINDS; k++) {
        _cleanup_free_ char *dir = folder_of(folder, k), *name = name_of(platform, k);
        int r = open(dir, name, now_ms, &a->ca[k], e);
        if (r < 0)
            return r;
    }
    *ret = util_steal_ptr(&a);
    return 0;
}

int pki_authority_open(const char *folder, const char *platform, int64_t now_ms,
    struct pki_authority **ret, struct err *e)
{
    return each(pki_ca_open, folder, platform, now_ms, ret, e);
}

int pki_authority_renew(const char *folder, const char *platform, int64_t now_ms,
    struct pki_authority **ret, struct err *e)
{
    return each(ca_renew, folder, platform, now_ms, ret, e);
}

int pki_authority_keep(const struct pki_authority *a, const char *folder, struct err *e)
{
    int r = 0;
    for (enum pki_kind k = 0; k < PKI_KINDS && r >= 0; k++) {
        _cleanup_free_ char *dir = folder_of(folder, k);
        r = ca_keep(a->ca[k], dir, e);
    }
    return r;
}

/* ---- sealed */

static char *aad_of(const char *platform, const char *host, enum pki_kind k, X509 *intermediate)
{
    struct pki_info info;
    info_of(intermediate, &info);
    return xasprintf("ca/%s/%s/%s/%s", platform, host, pki_kind_name(k), info.id);
}

static int seal_key_of(const struct pki_ca *ca, const char *aad,
    const uint8_t public_key[SEAL_KEY_SIZE], struct str *box, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
    char *data;
    if (!bio || !PEM_write_bio_PrivateKey(bio, ca->key, NULL, NULL, 0, NULL, NULL))
        return ssl_err(e, "the intermediate's key");
    long len = BIO_get_mem_data(bio, &data);
    return seal_to(public_key, aad, data, (size_t)len, box, e);
}

int pki_authority_seal(const struct pki_authority *a, const char *platform, const char *host,
    const uint8_t public_key[SEAL_KEY_SIZE], json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *doc = json_pack("{s:i}", "format", FORMAT);
    for (enum pki_kind k = 0; k < PKI_KINDS; k++) {
        _cleanup_str_ struct str box = STR_INIT, text = STR_INIT;
        _cleanup_free_ char *aad = aad_of(platform, host, k, a->ca[k]->intermediate);
        _cleanup_free_ char *root = pki_ca_root_pem(a->ca[k]),
                            *intermediate = pki_ca_intermediate_pem(a->ca[k]);
        int r = seal_key_of(a->ca[k], aad, public_key, &box, e);
        if (r < 0)
            return err_wrap(e, "seal the intermediate to %s", host);
        base64_encode(box.buf, box.len, &text);
        json_object_set_new(doc, pki_kind_name(k),
            json_pack("{s:s,s:s,s:s}", "root", root, "intermediate", intermediate, "box",
                str_cstr(&text)));
    }
    *ret = util_steal_ptr(&doc);
    return 0;
}

int pki_authority_write(const json_t *doc, const char *dir, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/" PKI_AUTHORITY_FILE, dir), *text = json_text(doc);
    int r = file_write_durable(path, text, strlen(text), 0600, e);
    if (r >= 0)
        pem_give_to_folder(path);
    return r;
}

static int open_box(
    const json_t *part, const char *aad, const struct seal_key *key, EVP_PKEY **ret, struct err *e)
{
    const char *text;
    _cleanup_str_ struct str box = STR_INIT;
    _cleanup_secret_ struct secret *pem = NULL;
    int r = json_get_str(part, "box", &text, e);
    if (r >= 0)
        r = base64_decode(text, strlen(text), &box, e);
    if (r >= 0)
        r = seal_open(key, aad, box.buf, box.len, &pem, e);
    return r < 0 ? r : pem_parse_key((const char *)secret_bytes(pem), "intermediate's key", ret, e);
}

static int unseal_one(const json_t *doc, const char *platform, const char *host, enum pki_kind k,
    const struct seal_key *key, struct pki_ca **ret, struct err *e)
{
    _cleanup_pki_ca_ struct pki_ca *ca = xcalloc(1, sizeof *ca);
    const char *root, *intermediate;
    json_t *part;
    int r = json_get_obj(doc, pki_kind_name(k), &part, e);
    if (r >= 0)
        r = json_get_str(part, "root", &root, e);
    if (r >= 0)
        r = json_get_str(part, "intermediate", &intermediate, e);
    if (r >= 0)
        r = pem_parse_cert(root, "root", &ca->root, e);
    if (r >= 0)
        r = pem_parse_cert(intermediate, "intermediate", &ca->intermediate, e);
    if (r < 0)
        return r;
    _cleanup_free_ char *aad = aad_of(platform, host, k, ca->intermediate);
    r = open_box(part, aad, key, &ca->key, e);
    if (r >= 0)
        r = ca_check(ca, e);
    if (r >= 0)
        *ret = util_steal_ptr(&ca);
    return r;
}

int pki_authority_unseal(const json_t *doc, const char *platform, const char *host,
    const struct seal_key *key, struct pki_authority **ret, struct err *e)
{
    _cleanup_pki_authority_ struct pki_authority *a = xcalloc(1, sizeof *a);
    int64_t format;
    int r = json_get_int(doc, "format", FORMAT, FORMAT, &format, e);
    for (enum pki_kind k = 0; k < PKI_KINDS && r >= 0; k++)
        r = unseal_one(doc, platform, host, k, key, &a->ca[k], e);
    if (r < 0)
        return err_wrap(e, "sealed intermediates of %s", host);
    *ret = util_steal_ptr(&a);
    return 0;
}
