/* SPDX-License-Identifier: Apache-2.0 */
#include "uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* One call of the kernel for many ids. */
static void random_bytes(unsigned char *out, size_t n)
{
    static unsigned char stock[2560];
    static size_t left;
    if (left < n) {
        if (getrandom(stock, sizeof(stock), 0) != sizeof(stock))
            abort(); /* up to 256 bytes it cannot fall short, and for more only a signal stops it */
        left = sizeof(stock);
    }
    left -= n;
    memcpy(out, stock + left, n);
}

void uuid_new(const struct timespec *now, char out[UUID_SIZE])
{
    unsigned char r[8];
    unsigned long long ms = (unsigned long long)now->tv_sec * 1000 +
                            (unsigned long long)now->tv_nsec / 1000000;
    unsigned fraction = (unsigned)(now->tv_nsec % 1000000) * 512 / 125000; /* of it, in 4,096ths */
    random_bytes(r, sizeof(r));
    snprintf(out, UUID_SIZE, "%08llx-%04llx-7%03x-%02x%02x-%02x%02x%02x%02x%02x%02x",
        ms >> 16 & 0xffffffff, ms & 0xffff, fraction & 0xfff, 0x80u | (r[0] & 0x3fu), r[1], r[2],
        r[3], r[4], r[5], r[6], r[7]);
}

bool uuid_is(struct span text)
{
    if (text.n != UUID_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}
