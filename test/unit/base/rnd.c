/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rnd/rnd.h"

/* The reference implementation's first outputs from the state {1, 2, 3, 4}. */
static void test_reference(void **state)
{
    struct rnd r = {{1, 2, 3, 4}};
    assert_int_equal(rnd_u64(&r), 11520);
    assert_int_equal(rnd_u64(&r), 0);
    assert_int_equal(rnd_u64(&r), 1509978240);
    assert_int_equal(rnd_u64(&r), 1215971899390074240);
}

static void test_a_seed_is_a_sequence(void **state)
{
    struct rnd a, b, c;
    rnd_seed(&a, 7);
    rnd_seed(&b, 7);
    rnd_seed(&c, 8);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t x = rnd_u64(&a);
        assert_int_equal(x, rnd_u64(&b));
        differs |= x != rnd_u64(&c);
    }
    assert_true(differs);
}

static void test_below(void **state)
{
    struct rnd r;
    unsigned seen[6] = {0};
    rnd_seed(&r, 1);
    for (int i = 0; i < 6000; i++)
        seen[rnd_below(&r, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(seen[i], 850, 1150); /* five sigma around 1000 */
    assert_int_equal(rnd_below(&r, 1), 0);
}

static void test_kernel(void **state)
{
    unsigned char a[1000] = {0}, b[1000] = {0};
    rnd_bytes(a, sizeof a); /* more than getrandom gives at once */
    rnd_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 744, (unsigned char[256]){0}, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_a_seed_is_a_sequence),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
