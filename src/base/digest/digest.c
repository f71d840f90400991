/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>

#define PREFIX "sha256:"

struct digest_stream {
    EVP_MD_CTX *md;
};

struct digest_stream *digest_stream_new(void)
{
    struct digest_stream *d = xcalloc(1, sizeof *d);
    d->md = EVP_MD_CTX_new();
    ASSERT(d->md && EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) == 1);
    return d;
}

void digest_stream_add(struct digest_stream *d, const void *data, size_t len)
{
    ASSERT(EVP_DigestUpdate(d->md, data, len) == 1);
}

void digest_stream_end(struct digest_stream *d, char out[DIGEST_SIZE])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASSERT(EVP_DigestFinal_ex(d->md, raw, &len) == 1 && len == 32);
    EVP_MD_CTX_free(d->md);
    free(d);
    memcpy(out, PREFIX, sizeof PREFIX);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + sizeof PREFIX - 1 + (size_t)i * 2, 3, "%02x", raw[i]);
}

void digest_mem(const void *data, size_t len, char out[DIGEST_SIZE])
{
    struct digest_stream *d = digest_stream_new();
    digest_stream_add(d, data, len);
    digest_stream_end(d, out);
}

int digest_file(const char *path, char out[DIGEST_SIZE], struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    struct digest_stream *d = digest_stream_new();
    unsigned char buf[64 * 1024];
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0)
        digest_stream_add(d, buf, (size_t)n);
    int read_errno = errno;
    digest_stream_end(d, out);
    return n < 0 ? err_errno(e, read_errno, "read %s", path) : 0;
}

bool digest_valid(const char *text)
{
    if (strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return false;
    const char *hex = text + sizeof PREFIX - 1;
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}
