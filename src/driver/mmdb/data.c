/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of MaxMind's format 2.0 (https://maxmind.github.io/MaxMind-DB/): a control byte with type
 * and size, the payload behind it. Bounded: a pointer is followed once, skipping never follows one,
 * nesting ends at DEPTH_MAX. */
#include "driver/mmdb/priv.h"

#define DEPTH_MAX 16

static bool read_uint(const struct mmdb_bytes *b, size_t at, size_t bytes, uint64_t *ret)
{
    if (bytes > 8 || at > b->len || b->len - at < bytes)
        return false;
    *ret = 0;
    for (size_t i = 0; i < bytes; i++)
        *ret = *ret << 8 | b->p[at + i];
    return true;
}

/* Two bits say how many bytes follow, three are the highest of the value; each width begins where
 * the last ended. */
static bool read_pointer(
    const struct mmdb_bytes *b, uint8_t control, size_t at, size_t *ret_target, size_t *ret_after)
{
    static const uint32_t base[] = {0, 2048, 526336, 0};
    unsigned width = (control >> 3 & 3u) + 1;
    uint64_t low;
    if (!read_uint(b, at, width, &low))
        return false;
    uint64_t high = width == 4 ? 0 : (uint64_t)(control & 7u) << (8 * width);
    *ret_target = (size_t)(high + low + base[width - 1]);
    *ret_after = at + width;
    return true;
}

static bool read_size(const struct mmdb_bytes *b, uint8_t control, size_t *at, size_t *ret)
{
    static const uint32_t base[] = {29, 285, 65821};
    unsigned size = control & 31u;
    uint64_t more;
    *ret = size;
    if (size < 29)
        return true;
    if (!read_uint(b, *at, size - 28, &more))
        return false;
    *ret = (size_t)(base[size - 29] + more);
    *at += size - 28;
    return true;
}

static bool has_payload(enum mmdb_type type)
{
    return type != MMDB_MAP && type != MMDB_ARRAY && type != MMDB_BOOLEAN;
}

/* A field that is no pointer. */
static bool read_plain(const struct mmdb_bytes *b, size_t at, struct mmdb_value *ret)
{
    uint64_t extended;
    if (at >= b->len)
        return false;
    uint8_t control = b->p[at++];
    unsigned type = control >> 5;
    if (type == 0) {
        if (!read_uint(b, at++, 1, &extended))
            return false;
        type = (unsigned)extended + 7;
    }
    if (type == MMDB_POINTER || !read_size(b, control, &at, &ret->size))
        return false;
    ret->type = type;
    ret->at = at;
    if (has_payload(ret->type) && b->len - at < ret->size)
        return false;
    ret->after = has_payload(ret->type) ? at + ret->size : at;
    return true;
}

bool mmdb_read(const struct mmdb_bytes *b, size_t at, struct mmdb_value *ret)
{
    size_t target, after;
    if (at >= b->len || b->p[at] >> 5 != MMDB_POINTER)
        return read_plain(b, at, ret);
    if (!read_pointer(b, b->p[at], at + 1, &target, &after) || !read_plain(b, target, ret))
        return false;
    ret->after = after;
    return true;
}

/* The offset behind the field at `at` with all that is in it. */
static bool skip(const struct mmdb_bytes *b, size_t at, unsigned depth, size_t *ret)
{
    struct mmdb_value v;
    if (depth > DEPTH_MAX || !mmdb_read(b, at, &v))
        return false;
    bool by_pointer = b->p[at] >> 5 == MMDB_POINTER;
    size_t fields = by_pointer             ? 0
                    : v.type == MMDB_MAP   ? v.size * 2
                    : v.type == MMDB_ARRAY ? v.size
                                           : 0;
    for (at = v.after; fields; fields--)
        if (!skip(b, at, depth + 1, &at))
            return false;
    *ret = at;
    return true;
}

bool mmdb_find(const struct mmdb_bytes *b, const struct mmdb_value *map, const char *key,
    struct mmdb_value *ret)
{
    size_t at = map->at, len = strlen(key);
    for (size_t i = 0; map->type == MMDB_MAP && i < map->size; i++) {
        struct mmdb_value k;
        if (!mmdb_read(b, at, &k) || k.type != MMDB_STRING)
            return false;
        if (k.size == len && !memcmp(b->p + k.at, key, len))
            return mmdb_read(b, k.after, ret);
        if (!skip(b, k.after, 0, &at))
            return false;
    }
    return false;
}

bool mmdb_find_uint(
    const struct mmdb_bytes *b, const struct mmdb_value *map, const char *key, uint64_t *ret)
{
    struct mmdb_value v;
    if (!mmdb_find(b, map, key, &v))
        return false;
    return (v.type == MMDB_UINT16 || v.type == MMDB_UINT32 || v.type == MMDB_UINT64)
           && read_uint(b, v.at, v.size, ret);
}
