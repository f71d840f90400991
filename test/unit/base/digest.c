/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/digest/digest.h"
#include "base/file/file.h"

#define EMPTY "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_known_answers(void **state)
{
    char out[DIGEST_SIZE];
    digest_mem("", 0, out);
    assert_string_equal(out, EMPTY);
    digest_mem("abc", 3, out);
    assert_string_equal(out, ABC); /* FIPS 180-4 */
    struct digest_stream *d = digest_stream_new();
    digest_stream_add(d, "a", 1);
    digest_stream_add(d, "bc", 2);
    digest_stream_end(d, out);
    assert_string_equal(out, ABC);
}

static void test_file(void **state)
{
    char path[] = "/tmp/mcp-test-digest-XXXXXX", out[DIGEST_SIZE];
    struct err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(file_write_fd(fd, "abc", 3, &e), 0);
    close(fd);
    assert_int_equal(digest_file(path, out, &e), 0);
    assert_string_equal(out, ABC);
    unlink(path);
    assert_int_equal(digest_file(path, out, &e), ERR_NOT_FOUND);
    assert_int_equal(
        digest_file("/tmp", out, &e), ERR_SYSTEM); /* a folder opens, but does not read */
}

static void test_valid(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {EMPTY, true},
        {"sha256:", false},
        {EMPTY "0", false},
        {"sha512:" ABC, false},
        {"sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (digest_valid(rows[i].text) != rows[i].ok)
            fail_msg("%s", rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
