/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>

static void test_grow(void **state)
{
    struct item {
        int a, b;
    } *v = NULL;
    size_t n = 0, cap = 0;
    for (int i = 0; i < 100; i++) {
        struct item *slot = GROW(v, n, cap);
        assert_int_equal(slot->a + slot->b, 0); /* zeroed, also after growing */
        *slot = (struct item){i, -i - 1};
    }
    assert_int_equal(n, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(v[i].a, i);
    free(v);
}

static int open_and_fail(int *ret_number)
{
    _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *text = xasprintf("%d", fd);
    *ret_number = fd;
    return text ? -1 : 0;
}

static void test_cleanup(void **state)
{
    int fd = -1;
    assert_int_equal(open_and_fail(&fd), -1);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed on the way out */
    int kept = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = kept;
    assert_int_equal(util_steal_fd(&copy), kept);
    assert_int_equal(copy, -1);
    close(kept);
    char *p = xstrdup("a"), *q = p;
    assert_ptr_equal(util_steal_ptr(&q), p);
    assert_null(q);
    free(p);
}

static void test_allocations_of_nothing(void **state)
{
    void *a = xmalloc(0), *b = xcalloc(0, 8);
    assert_non_null(a);
    assert_non_null(b);
    free(xrealloc(a, 0));
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_cleanup),
        cmocka_unit_test(test_allocations_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
