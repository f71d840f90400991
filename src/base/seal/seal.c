/* SPDX-License-Identifier: Apache-2.0 */
#include "base/seal/seal.h"

#include "base/rnd/rnd.h"
#include "base/seal/priv.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define MAGIC "mcps"
#define VERSION 1
#define TO_PUBLIC 1
#define WITH_KEY 2
#define HEAD_SIZE 6u
#define HELLO_SIZE 32u /* the sender's public half, or the salt */
#define TAG_SIZE 16u
#define NONCE_SIZE 12u

_Static_assert(SEAL_OVERHEAD == HEAD_SIZE + HELLO_SIZE + TAG_SIZE, "overhead");

/* One box's key and nonce. */
struct once {
    uint8_t key[32];
    uint8_t nonce[NONCE_SIZE];
};

static int failed(struct err *e, const char *what)
{
    return err_set(e, ERR_FAILED, "the cryptographic library failed: %s", what);
}

static int derive(const uint8_t *secret, const uint8_t *salt, size_t salt_len, const uint8_t *head,
    struct once *ret, struct err *e)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    char hash[] = "SHA256", info[] = "mcp seal";
    uint8_t label[sizeof info - 1 + HEAD_SIZE];
    memcpy(label, info, sizeof info - 1);
    memcpy(label + sizeof info - 1, head, HEAD_SIZE);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, 32),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, label, sizeof label),
        OSSL_PARAM_construct_end(),
    };
    bool ok = ctx && EVP_KDF_derive(ctx, (unsigned char *)ret, sizeof *ret, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok ? 0 : failed(e, "HKDF");
}

/* What X25519 of the two keys gives, bound to both public halves. ERR_INVALID: a key of small
 * order, whose result is zero. */
static int agree(EVP_PKEY *own, const uint8_t other[32], const uint8_t sender[32],
    const uint8_t recipient[32], const uint8_t *head, struct once *ret, struct err *e)
{
    uint8_t shared[32], salt[64];
    size_t len = sizeof shared;
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, other, 32);
    EVP_PKEY_CTX *ctx = peer ? EVP_PKEY_CTX_new(own, NULL) : NULL;
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1
              && EVP_PKEY_derive(ctx, shared, &len) == 1 && len == sizeof shared;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    memcpy(salt, sender, 32);
    memcpy(salt + 32, recipient, 32);
    int r = ok ? derive(shared, salt, sizeof salt, head, ret, e)
               : err_set(e, ERR_INVALID, "not a public key to seal to");
    OPENSSL_cleanse(shared, sizeof shared);
    return r;
}

static bool add_aad(EVP_CIPHER_CTX *c, bool seal, const uint8_t *head, const char *aad)
{
    int n;
    int (*update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int) =
        seal ? EVP_EncryptUpdate : EVP_DecryptUpdate;
    size_t len = strlen(aad);
    return update(c, NULL, &n, head, HEAD_SIZE + HELLO_SIZE) == 1
           && (!len || update(c, NULL, &n, (const unsigned char *)aad, (int)len) == 1);
}

/* head: HEAD_SIZE + HELLO_SIZE bytes; out takes len + TAG_SIZE. */
static bool encrypt(const struct once *k, const uint8_t *head, const char *aad, const void *data,
    size_t len, uint8_t *out)
{
    int n = 0, last;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->key, k->nonce) == 1
              && add_aad(c, true, head, aad)
              && (!len || EVP_EncryptUpdate(c, out, &n, data, (int)len) == 1)
              && EVP_EncryptFinal_ex(c, out + n, &last) == 1
              && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + len) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static bool decrypt(const struct once *k, const uint8_t *head, const char *aad, const uint8_t *data,
    size_t len, uint8_t *out)
{
    int n = 0, last;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok =
        c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->key, k->nonce) == 1
        && add_aad(c, false, head, aad)
        && (!len || EVP_DecryptUpdate(c, out, &n, data, (int)len) == 1)
        && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (void *)(data + len)) == 1
        && EVP_DecryptFinal_ex(c, out + n, &last) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static int check_sizes(size_t len, const char *aad, struct err *e)
{
    if (len > SEAL_DATA_MAX)
        return err_set(e, ERR_LIMIT, "over %u bytes to seal", SEAL_DATA_MAX);
    if (strlen(aad) > SEAL_AAD_MAX)
        return err_set(e, ERR_LIMIT, "over %u bytes of associated data", SEAL_AAD_MAX);
    return 0;
}

static void put_head(uint8_t *head, uint8_t kind)
{
    memcpy(head, MAGIC, 4);
    head[4] = VERSION;
    head[5] = kind;
}

static int put_box(const struct once *k, const uint8_t *head, const char *aad, const void *data,
    size_t len, struct str *out, struct err *e)
{
    str_reserve(out, SEAL_OVERHEAD + len);
    uint8_t *box = (uint8_t *)out->buf + out->len;
    memcpy(box, head, HEAD_SIZE + HELLO_SIZE);
    if (!encrypt(k, head, aad, data, len, box + HEAD_SIZE + HELLO_SIZE))
        return failed(e, "AES-256-GCM");
    out->len += SEAL_OVERHEAD + len;
    out->buf[out->len] = '\0';
    return 0;
}

/* The head of a box of that kind; what is left of it are at least the tag's bytes. */
static int check_box(const uint8_t *box, size_t len, uint8_t kind, struct err *e)
{
    if (len < SEAL_OVERHEAD || len - SEAL_OVERHEAD > SEAL_DATA_MAX || memcmp(box, MAGIC, 4) != 0)
        return err_set(e, ERR_INVALID, "not a sealed box");
    if (box[4] != VERSION)
        return err_set(
            e, ERR_INVALID, "a sealed box of version %u, this program knows %u", box[4], VERSION);
    if (box[5] != kind)
        return err_set(e, ERR_INVALID, "a sealed box of another kind");
    return 0;
}

static int take_box(const struct once *k, const char *aad, const uint8_t *box, size_t len,
    struct secret **ret, struct err *e)
{
    _cleanup_secret_ struct secret *plain = secret_new(NULL, len - SEAL_OVERHEAD);
    if (!decrypt(k, box, aad, box + HEAD_SIZE + HELLO_SIZE, len - SEAL_OVERHEAD,
            secret_bytes(plain)))
        return err_set(e, ERR_DENIED, "the box does not open: another key, use or content");
    *ret = util_steal_ptr(&plain);
    return 0;
}

int seal_to(const uint8_t public_key[SEAL_KEY_SIZE], const char *aad, const void *data, size_t len,
    struct str *out, struct err *e)
{
    _cleanup_seal_key_ struct seal_key *sender = NULL;
    uint8_t head[HEAD_SIZE + HELLO_SIZE];
    struct once k;
    int r = check_sizes(len, aad, e);
    if (r >= 0)
        r = seal_key_make(&sender, e);
    if (r < 0)
        return r;
    put_head(head, TO_PUBLIC);
    memcpy(head + HEAD_SIZE, seal_public(sender), HELLO_SIZE);
    r = agree(sender->pair, public_key, seal_public(sender), public_key, head, &k, e);
    if (r >= 0)
        r = put_box(&k, head, aad, data, len, out, e);
    OPENSSL_cleanse(&k, sizeof k);
    return r;
}

int seal_open(const struct seal_key *key, const char *aad, const void *box, size_t len,
    struct secret **ret, struct err *e)
{
    struct once k;
    int r = check_box(box, len, TO_PUBLIC, e);
    if (r >= 0)
        r = check_sizes(0, aad, e);
    if (r < 0)
        return r;
    const uint8_t *sender = (const uint8_t *)box + HEAD_SIZE;
    r = agree(key->pair, sender, sender, seal_public(key), box, &k, e);
    if (r >= 0)
        r = take_box(&k, aad, box, len, ret, e);
    OPENSSL_cleanse(&k, sizeof k);
    return r;
}

int seal_with(const uint8_t key[SEAL_KEY_SIZE], const char *aad, const void *data, size_t len,
    struct str *out, struct err *e)
{
    uint8_t head[HEAD_SIZE + HELLO_SIZE];
    struct once k;
    int r = check_sizes(len, aad, e);
    if (r < 0)
        return r;
    put_head(head, WITH_KEY);
    rnd_bytes(head + HEAD_SIZE, HELLO_SIZE);
    r = derive(key, head + HEAD_SIZE, HELLO_SIZE, head, &k, e);
    if (r >= 0)
        r = put_box(&k, head, aad, data, len, out, e);
    OPENSSL_cleanse(&k, sizeof k);
    return r;
}

int unseal_with(const uint8_t key[SEAL_KEY_SIZE], const char *aad, const void *box, size_t len,
    struct secret **ret, struct err *e)
{
    struct once k;
    int r = check_box(box, len, WITH_KEY, e);
    if (r >= 0)
        r = check_sizes(0, aad, e);
    if (r >= 0)
        r = derive(key, (const uint8_t *)box + HEAD_SIZE, HELLO_SIZE, box, &k, e);
    if (r >= 0)
        r = take_box(&k, aad, box, len, ret, e);
    OPENSSL_cleanse(&k, sizeof k);
    return r;
}
