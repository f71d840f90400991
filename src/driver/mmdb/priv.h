/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "driver/mmdb/mmdb.h"

struct mmdb_bytes { /* a data section: offsets and pointers count from its start */
    const uint8_t *p;
    size_t len;
};

enum mmdb_type {
    MMDB_POINTER = 1,
    MMDB_STRING = 2,
    MMDB_UINT16 = 5,
    MMDB_UINT32 = 6,
    MMDB_MAP = 7,
    MMDB_UINT64 = 9,
    MMDB_UINT128 = 10,
    MMDB_ARRAY = 11,
    MMDB_BOOLEAN = 14,
};

struct mmdb_value {
    enum mmdb_type type;
    size_t size;  /* bytes; of a map pairs, of an array elements */
    size_t at;    /* of the payload */
    size_t after; /* the field behind this one; of maps and arrays their first element */
};

/* data.c. All of them: false when the bytes do not say that. */
/* The field at `at`, a pointer followed; `after` stays behind the pointer itself. */
bool mmdb_read(const struct mmdb_bytes *b, size_t at, struct mmdb_value *ret);
bool mmdb_find(const struct mmdb_bytes *b, const struct mmdb_value *map, const char *key,
    struct mmdb_value *ret);
bool mmdb_find_uint(
    const struct mmdb_bytes *b, const struct mmdb_value *map, const char *key, uint64_t *ret);
