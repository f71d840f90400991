/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a record: head, texts, content. */
#include "service/cache/disk_priv.h"

#include <zlib.h>

size_t record_texts(const struct record_head *h)
{
    size_t total = 0;
    if (h->magic != RECORD_MAGIC || h->content_len > RECORD_CONTENT_MAX
        || h->lens[0] > CACHE_KEY_MAX || h->lens[4] >= CACHE_VARY_BYTES
        || h->lens[5] > CACHE_VARIANT_BYTES)
        return SIZE_MAX;
    for (size_t i = 0; i < TEXTS; i++) {
        if (h->lens[i] > HEAD_MAX)
            return SIZE_MAX;
        total += h->lens[i];
    }
    return total;
}

uint32_t record_head_crc(const struct record_head *h, const char *texts, size_t len)
{
    const size_t from = offsetof(struct record_head, number);
    uLong crc = crc32(0, (const Bytef *)h + from, (uInt)(sizeof *h - from));
    return (uint32_t)crc32(crc, (const Bytef *)texts, (uInt)len);
}

void record_point(const struct record_head *h, const char *texts, struct cache_record *ret)
{
    struct http_text *const at[TEXTS] = {
        &ret->key, &ret->head, &ret->etag, &ret->modified, &ret->vary, &ret->variant, &ret->tags};
    for (size_t i = 0; i < TEXTS; i++) {
        *at[i] = (struct http_text){texts, h->lens[i]};
        texts += h->lens[i];
    }
    ret->meta = h->meta;
    ret->content = (struct http_text){texts, (size_t)h->content_len};
}
