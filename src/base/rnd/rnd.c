/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rnd/rnd.h"

#include "base/util/util.h"

#include <sys/random.h>

void rnd_bytes(void *out, size_t len)
{
    unsigned char *p = out;
    while (len) {
        ssize_t n = getrandom(p, MIN(len, (size_t)256), 0);
        ASSERT(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

/* splitmix64, the seeding that xoshiro's authors advise. */
void rnd_seed(struct rnd *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rnd_u64(struct rnd *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rnd_below(struct rnd *r, uint64_t bound)
{
    ASSERT(bound > 0);
    return (uint64_t)(((unsigned __int128)rnd_u64(r) * bound) >> 64);
}
