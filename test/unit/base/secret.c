/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/secret/secret.h"

#include <sys/wait.h>

static void test_bytes(void **state)
{
    struct secret *a = secret_new("hunter2", 7), *b = secret_new("hunter2", 7),
                  *c = secret_new("hunter3", 7), *empty = secret_new(NULL, 0);
    assert_string_equal((char *)secret_bytes(a), "hunter2"); /* a 0 byte follows */
    assert_int_equal(secret_len(a), 7);
    assert_true(secret_eq(a, b));
    assert_false(secret_eq(a, c));
    assert_false(secret_eq(a, empty));
    secret_shorten(a, 4);
    assert_string_equal((char *)secret_bytes(a), "hunt");
    assert_int_equal(secret_bytes(a)[4], 0);
    assert_int_equal(secret_bytes(a)[6], 0); /* wiped, not only cut */
    assert_int_equal(secret_len(empty), 0);
    secret_free(a);
    secret_free(b);
    secret_free(c);
    secret_free(empty);
    secret_free(NULL);
}

/* The kernel's own word on the pages: "dd" is left out of core files, "wf" wiped in children. */
static void flags_of(const void *p, char out[256])
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false;
    assert_non_null(f);
    out[0] = '\0';
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (unsigned long)p >= from && (unsigned long)p < to;
        else if (here && !strncmp(line, "VmFlags:", 8))
            snprintf(out, 256, "%.255s", line);
    }
    fclose(f);
}

static void test_pages(void **state)
{
    char flags[256];
    struct secret *s = secret_new("canary", 6);
    flags_of(s, flags);
    assert_non_null(strstr(flags, " dd"));
    pid_t pid = fork();
    if (pid == 0)
        _exit(secret_bytes(s)[0] ? 1 : 0); /* a child finds zeros */
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal((char *)secret_bytes(s), "canary");
    secret_free(s);
}

static void test_large(void **state)
{
    struct secret *s = secret_new(NULL, 1 << 20);
    memset(secret_bytes(s), 'x', 1 << 20);
    assert_int_equal(secret_bytes(s)[1 << 20], 0);
    secret_free(s);
}

static void test_json(void **state)
{
    secret_wipe_freed();
    for (int i = 0; i < 100; i++) {
        _cleanup_json_ json_t *j = NULL;
        struct err e;
        assert_int_equal(json_parse("{\"a\": [1, \"two\", {}]}", 21, &j, &e), 0);
        _cleanup_free_ char *text = json_text(j);
        assert_string_equal(text, "{\"a\":[1,\"two\",{}]}");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
