/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/arena/arena.h"
#include "base/rnd/rnd.h"

/* Whatever the sizes: aligned, zeroed, apart from each other. */
static void test_blocks_are_apart(void **state)
{
    struct arena *a = arena_new(256);
    struct rnd rnd;
    rnd_seed(&rnd, 1);
    unsigned char *blocks[500];
    size_t sizes[500], total = 0;
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        sizes[i] = rnd_below(&rnd, i % 10 ? 40 : 2000);
        total += sizes[i];
        blocks[i] = arena_alloc(a, sizes[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(blocks[i][k], 0);
        memset(blocks[i], (int)(i % 255) + 1, sizes[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(blocks[i][k], (i % 255) + 1);
    assert_true(arena_bytes(a) >= total);
    arena_free(a);
}

static void test_texts(void **state)
{
    struct arena *a = arena_new(0);
    assert_string_equal(arena_strdup(a, "abc"), "abc");
    assert_string_equal(arena_strndup(a, "abc", 2), "ab");
    assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
    arena_free(a);
    arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_apart),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
