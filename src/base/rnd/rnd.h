/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness: the kernel's for keys and tokens, a seeded generator (xoshiro256**) for jitter,
 * simulation and fuzzing. Layers that must be deterministic take a `struct rnd *` as an argument.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rnd {
    uint64_t s[4];
};

void rnd_bytes(void *out, size_t len); /* kernel randomness; aborts if the kernel has none */
void rnd_seed(struct rnd *r, uint64_t seed);
uint64_t rnd_u64(struct rnd *r);
uint64_t rnd_below(struct rnd *r, uint64_t bound); /* [0, bound), bound > 0 */
