/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual time for simulators of controllers: an event queue, one seeded generator, a network of links that delay,
 * lose and are cut in each direction, and the main function that runs seeds. A run is a pure function of its seed: the
 * seed that fails is printed and `SEED=n sim-NAME` plays it again with a trace. */
#pragma once

#include "base/rnd/rnd.h"
#include "base/util/util.h"

struct sim;

struct sim *sim_new(uint64_t seed, bool trace);
void sim_free(struct sim *s);
uint64_t sim_now(const struct sim *s); /* ms since the run began */
struct rnd *sim_rnd(struct sim *s);
uint64_t sim_between(struct sim *s, uint64_t lo, uint64_t hi); /* uniform, both ends included */
bool sim_chance(struct sim *s, unsigned percent);

/* Events of one moment run in the order they were made. */
typedef void (*sim_fn)(void *ctx, uint64_t arg);
void sim_at(struct sim *s, uint64_t when_ms, sim_fn fn, void *ctx, uint64_t arg);
/* Runs what is due up to and including `until_ms`, or until something failed. */
void sim_run(struct sim *s, uint64_t until_ms);

/* The first failure ends the run. */
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *sim_failure(const struct sim *s); /* NULL: none */
/* Printed when a seed is played again. */
void sim_trace(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define SIM_NODES_MAX 16u
struct sim_link { /* one direction */
    uint64_t delay_ms;
    unsigned loss_percent;
    bool cut;
};
struct sim_net {
    struct sim_link links[SIM_NODES_MAX]
                         [SIM_NODES_MAX]; /* [from][to]; a node to itself is never disturbed */
};
/* Whether one packet from a to b arrives, and after how long. */
bool sim_net_send(
    struct sim *s, const struct sim_net *n, size_t from, size_t to, uint64_t *ret_delay_ms);
bool sim_net_cut(const struct sim_net *n, size_t from, size_t to);

/* Runs `run` for `argv[1]` seeds (default 1000), or for $SEED alone with a trace, spread over the machine's cores.
 * run() returns NULL or a heap text of what failed. Prints the first failing seeds and "N passed, N failed"; extra()
 * may add checks that are no seeds: it returns how many passed and adds to *failed. */
struct sim_suite {
    const char *name;
    char *(*run)(uint64_t seed, bool trace);
    unsigned (*extra)(unsigned *failed); /* may be NULL */
};
int sim_main(int argc, char **argv, const struct sim_suite *suite);
