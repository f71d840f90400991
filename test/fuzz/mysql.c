/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations of a client and a server, as test/lib/mysqltap.py writes them down, and whatever
 * becomes of them: whoever says what, each command passes once, none before the login has ended, and
 * nothing goes on that did not come (the oracle in mysqlplay.h); in one piece and in many. */
#include "../lib/mysqlplay.h"

static void play(const uint8_t *data, size_t size, size_t piece)
{
    struct play c = {0};
    play_file(&c, data, size, piece);
    /* The last one's head may not have gone on yet. */
    ASSERT(c.seen_commands <= c.m.commands && c.seen_commands + 1 >= c.m.commands);
    play_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    play(data, size, SIZE_MAX / 2);
    play(data, size, 7);
    return 0;
}
