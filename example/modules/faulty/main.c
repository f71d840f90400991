/* SPDX-License-Identifier: Apache-2.0 */
/* faulty: ends with 1 at once, every time. For tests of backoff and rollback. */
#include <stdio.h>

int main(void)
{
    puts("error faulty module ending with 1, as always");
    return 1;
}
