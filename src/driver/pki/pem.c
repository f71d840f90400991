/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/pki/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define PEM_MAX (256u * 1024)

static inline void bio_free_p(BIO **b)
{
    BIO_free(*b);
}
#define _cleanup_bio_ _cleanup_(bio_free_p)

int ssl_err(struct err *e, const char *what)
{
    char text[160] = "unknown error";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return err_set(e, ERR_FAILED, "%s: %s", what, text);
}

/* Never asks anybody for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    return -1;
}

static int read_pem(const char *path, struct str *text, BIO **ret, struct err *e)
{
    int r = file_read(path, PEM_MAX, text, e);
    if (r < 0)
        return r;
    *ret = BIO_new_mem_buf(str_cstr(text), (int)text->len);
    return *ret ? 0 : ssl_err(e, path);
}

int pem_read_cert(const char *path, X509 **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_bio_ BIO *bio = NULL;
    int r = read_pem(path, &text, &bio, e);
    if (r < 0)
        return r;
    *ret = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    return *ret ? 0 : ssl_err(e, path);
}

int pem_read_key(const char *path, EVP_PKEY **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_bio_ BIO *bio = NULL;
    int r = read_pem(path, &text, &bio, e);
    if (r < 0)
        return r;
    *ret = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (text.buf)
        OPENSSL_cleanse(text.buf, text.len);
    return *ret ? 0 : ssl_err(e, path);
}

static int write_bio(const char *path, BIO *bio, mode_t mode, struct err *e)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    return file_write_durable(path, data, (size_t)len, mode, e);
}

int pem_write_certs(const char *path, X509 *const *certs, size_t n, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new(BIO_s_mem());
    for (size_t i = 0; i < n; i++)
        if (!bio || !PEM_write_bio_X509(bio, certs[i]))
            return ssl_err(e, path);
    return write_bio(path, bio, 0644, e);
}

int pem_write_key(const char *path, EVP_PKEY *key, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
    if (!bio || !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
        return ssl_err(e, path);
    return write_bio(path, bio, 0600, e);
}
