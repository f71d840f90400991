/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "base/seal/seal.h"

#include <sys/stat.h>

#define AAD "secret/psp_key/3"

static struct seal_key *key_of(uint8_t fill)
{
    uint8_t raw[SEAL_KEY_SIZE];
    struct seal_key *k;
    memset(raw, fill, sizeof raw);
    assert_int_equal(seal_key_from(raw, &k, NULL), 0);
    return k;
}

static int open_box(const struct seal_key *k, const char *aad, const struct str *box)
{
    _cleanup_secret_ struct secret *plain = NULL;
    struct err e = {0};
    int r = seal_open(k, aad, str_cstr(box), box->len, &plain, &e);
    if (r < 0) {
        assert_null(plain);
        assert_true(r == ERR_DENIED || r == ERR_INVALID);
    }
    return r;
}

static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, 65536, SEAL_DATA_MAX};
    _cleanup_seal_key_ struct seal_key *k = NULL;
    uint8_t *data = xmalloc(SEAL_DATA_MAX + 1);
    memset(data, 'v', SEAL_DATA_MAX + 1);
    assert_int_equal(seal_key_make(&k, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_str_ struct str box = STR_INIT, again = STR_INIT;
        _cleanup_secret_ struct secret *plain = NULL;
        struct err e;
        assert_int_equal(seal_to(seal_public(k), AAD, data, sizes[i], &box, &e), 0);
        assert_int_equal(box.len, sizes[i] + SEAL_OVERHEAD);
        assert_int_equal(seal_open(k, AAD, box.buf, box.len, &plain, &e), 0);
        assert_int_equal(secret_len(plain), sizes[i]);
        assert_memory_equal(secret_bytes(plain), data, sizes[i]);
        assert_int_equal(seal_to(seal_public(k), AAD, data, sizes[i], &again, &e), 0);
        assert_int_not_equal(memcmp(box.buf, again.buf, box.len), 0); /* a key of its own each */
    }
    _cleanup_str_ struct str box = STR_INIT;
    assert_int_equal(
        seal_to(seal_public(k), AAD, data, SEAL_DATA_MAX + 1, &box, NULL), ERR_LIMIT);
    _cleanup_free_ char *long_aad = xasprintf("%*s", (int)SEAL_AAD_MAX + 1, "x");
    assert_int_equal(seal_to(seal_public(k), long_aad, data, 1, &box, NULL), ERR_LIMIT);
    assert_int_equal(box.len, 0);
    free(data);
}

/* Every bit of every byte matters: magic, version, kind, sender, ciphertext, tag. */
static void test_altered(void **state)
{
    _cleanup_seal_key_ struct seal_key *k = key_of(7);
    _cleanup_str_ struct str box = STR_INIT;
    assert_int_equal(seal_to(seal_public(k), AAD, "hunter2", 7, &box, NULL), 0);
    assert_int_equal(open_box(k, AAD, &box), 0);
    for (size_t at = 0; at < box.len; at++)
        for (int bit = 0; bit < 8; bit++) {
            /* X25519 ignores the top bit of a public half (RFC 7748 section 5); we do not */
            box.buf[at] ^= (char)(1 << bit);
            if (open_box(k, AAD, &box) >= 0)
                fail_msg("byte %zu bit %d", at, bit);
            box.buf[at] ^= (char)(1 << bit);
        }
    for (size_t len = 0; len < box.len; len++) {
        struct str cut = {.buf = box.buf, .len = len};
        assert_true(open_box(k, AAD, &cut) < 0);
    }
    str_add_ch(&box, 0);
    assert_true(open_box(k, AAD, &box) < 0);
}

static void test_for_another(void **state)
{
    _cleanup_seal_key_ struct seal_key *k = key_of(7), *other = key_of(8);
    _cleanup_str_ struct str box = STR_INIT, shared = STR_INIT;
    uint8_t zero[SEAL_KEY_SIZE] = {0};
    struct err e;
    assert_int_equal(seal_to(seal_public(k), AAD, "hunter2", 7, &box, NULL), 0);
    assert_int_equal(open_box(other, AAD, &box), ERR_DENIED);
    assert_int_equal(open_box(k, "secret/psp_key/4", &box), ERR_DENIED);
    assert_int_equal(open_box(k, "", &box), ERR_DENIED);
    /* a symmetric box is not taken for one to a public key, nor the other way */
    assert_int_equal(seal_with(seal_key_private(k), AAD, "hunter2", 7, &shared, NULL), 0);
    assert_int_equal(open_box(k, AAD, &shared), ERR_INVALID);
    _cleanup_secret_ struct secret *plain = NULL;
    assert_int_equal(
        unseal_with(seal_key_private(k), AAD, box.buf, box.len, &plain, NULL), ERR_INVALID);
    assert_int_equal(seal_to(zero, AAD, "x", 1, &box, &e), ERR_INVALID); /* of small order */
}

static void test_data_key(void **state)
{
    uint8_t key[SEAL_KEY_SIZE] = {1}, other[SEAL_KEY_SIZE] = {2};
    _cleanup_str_ struct str box = STR_INIT;
    _cleanup_secret_ struct secret *plain = NULL, *none = NULL;
    assert_int_equal(seal_with(key, AAD, "hunter2", 7, &box, NULL), 0);
    assert_int_equal(unseal_with(key, AAD, box.buf, box.len, &plain, NULL), 0);
    assert_string_equal((char *)secret_bytes(plain), "hunter2");
    assert_int_equal(unseal_with(other, AAD, box.buf, box.len, &none, NULL), ERR_DENIED);
    assert_int_equal(unseal_with(key, "elsewhere", box.buf, box.len, &none, NULL), ERR_DENIED);
    for (size_t at = 0; at < box.len; at++) {
        box.buf[at] ^= 0x20;
        assert_true(unseal_with(key, AAD, box.buf, box.len, &none, NULL) < 0);
        box.buf[at] ^= 0x20;
    }
    assert_null(none);
}

/* RFC 7748 section 6.1: Alice's keys. */
static void test_public_half(void **state)
{
    static const uint8_t alice[] = {0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16,
        0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1,
        0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a};
    static const uint8_t expect[] = {0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b,
        0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a, 0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb,
        0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a};
    _cleanup_seal_key_ struct seal_key *k = NULL;
    char text[SEAL_PUBLIC_TEXT_SIZE];
    uint8_t back[SEAL_KEY_SIZE];
    assert_int_equal(seal_key_from(alice, &k, NULL), 0);
    assert_memory_equal(seal_public(k), expect, sizeof expect);
    seal_public_format(expect, text);
    assert_int_equal(seal_public_parse(text, back, NULL), 0);
    assert_memory_equal(back, expect, sizeof expect);
    assert_int_equal(seal_public_parse("AAAA", back, NULL), ERR_INVALID);
    text[3] = '*';
    assert_int_equal(seal_public_parse(text, back, NULL), ERR_INVALID);
}

static void test_file(void **state)
{
    char dir[] = "/tmp/mcp-test-seal-XXXXXX";
    _cleanup_seal_key_ struct seal_key *made = NULL, *again = NULL, *none = NULL;
    struct err e = {0};
    struct stat st;
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *path = xasprintf("%s/seal.key", dir);
    assert_int_equal(seal_key_load(path, &none, &e), ERR_NOT_FOUND);
    assert_int_equal(seal_key_load_or_make(path, &made, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1); /* no temporary name is left */
    assert_int_equal(seal_key_load_or_make(path, &again, &e), 0);
    assert_memory_equal(seal_public(made), seal_public(again), SEAL_KEY_SIZE);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(seal_key_load_or_make(path, &none, &e), ERR_DENIED);
    assert_non_null(strstr(e.message, path));
    assert_int_equal(file_write(path, "mcp-seal-key 1 AAAA\n", 20, 0600, &e), 0);
    assert_int_equal(seal_key_load_or_make(path, &none, &e), ERR_INVALID); /* never replaced */
    assert_int_equal(file_remove_tree(dir, &e), 0);
    assert_int_equal(seal_key_load_or_make(path, &none, &e), ERR_NOT_FOUND); /* no folder */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_altered),
        cmocka_unit_test(test_for_another),
        cmocka_unit_test(test_data_key),
        cmocka_unit_test(test_public_half),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
