/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a box, for a fixed key either way: what opens was made by us (the corpus), and any
 * bytes as base64: what decodes encodes to the same text. */
#include "base/base64/base64.h"
#include "base/seal/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t raw[SEAL_KEY_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};

static void open_any(const uint8_t *data, size_t size)
{
    static struct seal_key *key;
    _cleanup_secret_ struct secret *to = NULL, *with = NULL;
    struct err e = {0};
    if (!key)
        ASSERT(seal_key_from(raw, &key, NULL) >= 0);
    bool opened = seal_open(key, "fuzz", data, size, &to, &e) >= 0;
    bool unsealed = unseal_with(raw, "fuzz", data, size, &with, &e) >= 0;
    ASSERT(!(opened && unsealed));
    /* Whoever opens had the content: only the corpus' own text is sealed to these keys. */
    struct secret *s = opened ? to : with;
    if (opened || unsealed)
        ASSERT(secret_len(s) == 5 && !memcmp(secret_bytes(s), "hello", 5));
}

static void decode_any(const uint8_t *data, size_t size)
{
    _cleanup_str_ struct str bytes = STR_INIT, text = STR_INIT;
    uint8_t public_half[SEAL_KEY_SIZE];
    struct err e = {0};
    str_add_mem(&text, data, size);
    if (seal_public_parse(str_cstr(&text), public_half, &e) >= 0)
        ASSERT(text.len >= 44);
    str_clear(&text);
    if (base64_decode((const char *)data, size, &bytes, &e) < 0)
        return;
    base64_encode(str_cstr(&bytes), bytes.len, &text);
    ASSERT(text.len == size && !memcmp(str_cstr(&text), data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_any(data, size);
    decode_any(data, size);
    return 0;
}
