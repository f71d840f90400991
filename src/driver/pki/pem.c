/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/pki/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (256u * 1024)

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

int pem_parse_cert(const char *text, const char *what, X509 **ret, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(text, -1);
    *ret = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    return *ret ? 0 : ssl_err(e, what);
}

int pem_parse_key(const char *text, const char *what, EVP_PKEY **ret, struct err *e)
{
    _cleanup_bio_ BIO *bio = BIO_new_mem_buf(text, -1);
    *ret = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    return *ret ? 0 : ssl_err(e, what);
}

int pem_read_cert(const char *path, X509 **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, PEM_MAX, &text, e);
    return r < 0 ? r : pem_parse_cert(str_cstr(&text), path, ret, e);
}

int pem_read_key(const char *path, EVP_PKEY **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, PEM_MAX, &text, e);
    if (r >= 0)
        r = pem_parse_key(str_cstr(&text), path, ret, e);
    if (text.buf)
        OPENSSL_cleanse(text.buf, text.len);
    return r;
}

char *pem_certs_text(X509 *const *certs, size_t n)
{
    _cleanup_bio_ BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    for (size_t i = 0; i < n; i++)
        if (!bio || !PEM_write_bio_X509(bio, certs[i]))
            return NULL;
    long len = bio ? BIO_get_mem_data(bio, &data) : 0;
    return len > 0 ? xasprintf("%.*s", (int)len, data) : NULL;
}

static int write_bio(const char *path, BIO *bio, mode_t mode, struct err *e)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    return file_write_durable(path, data, (size_t)len, mode, e);
}

void pem_give_to_folder(const char *path)
{
    struct stat st;
    _cleanup_free_ char *dir = xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    if (geteuid() == 0 && stat(dir, &st) == 0 && st.st_uid != 0
        && lchown(path, st.st_uid, st.st_gid) < 0)
        return; /* `mcp host` does it again at its start */
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
    int r = write_bio(path, bio, 0600, e);
    if (r >= 0 && strchr(path, '/'))
        pem_give_to_folder(path);
    return r;
}
