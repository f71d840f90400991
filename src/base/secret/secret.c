/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret/secret.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>

struct secret {
    size_t mapped; /* of this and all that follows */
    size_t len;
    uint8_t data[];
};

struct secret *secret_new(const void *data, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (sizeof(struct secret) + len + 1 + page - 1) / page * page;
    struct secret *s =
        mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(s != MAP_FAILED);
    /* Both are a second line: processes that hold secrets write no core files at all. */
    madvise(s, mapped, MADV_DONTDUMP);
    madvise(s, mapped, MADV_WIPEONFORK);
    s->mapped = mapped;
    s->len = len;
    if (data && len)
        memcpy(s->data, data, len);
    return s;
}

void secret_free(struct secret *s)
{
    if (!s)
        return;
    size_t mapped = s->mapped;
    OPENSSL_cleanse(s, mapped);
    munmap(s, mapped);
}

uint8_t *secret_bytes(struct secret *s)
{
    return s->data;
}

size_t secret_len(const struct secret *s)
{
    return s->len;
}

void secret_shorten(struct secret *s, size_t len)
{
    ASSERT(len <= s->len);
    OPENSSL_cleanse(s->data + len, s->len - len);
    s->len = len;
}

bool secret_eq(const struct secret *a, const struct secret *b)
{
    return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

void secret_wipe(void *p, size_t len)
{
    if (len)
        OPENSSL_cleanse(p, len);
}

void secret_str_done(struct str *s)
{
    secret_wipe(s->buf, s->cap);
    str_done(s);
}

static void wiping_free(void *p)
{
    if (p)
        OPENSSL_cleanse(p, malloc_usable_size(p));
    free(p);
}

void secret_wipe_freed(void)
{
    str_wipe_freed();
    json_set_alloc_funcs(xmalloc, wiping_free);
}
