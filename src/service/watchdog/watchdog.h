/* SPDX-License-Identifier: Apache-2.0 */
/* The watchdog of a host: a process of its own (`mcp watchdog`) that ends database servers at the end
 * of their lease, whoever else hangs or has died by then. It is told "end that process at that time"
 * and later "at that later time"; told nothing any more it does what it was told last. It knows
 * nothing else: no configuration, no memory that grows, one thread.
 *
 * Who tells (the data role) starts it, and starts another when it has died. A teller that begins anew
 * finds its predecessor's watchdog by a socket in the state directory, tells it to retire, and takes
 * back order after order as it gives them to its own: an order that nobody has renewed stands. A
 * watchdog that has retired, or has no teller left, ends with its last order. */
#pragma once

#include "base/err/err.h"

#include <uv.h>

#define WATCHDOG_ORDERS_MAX 64u
#define WATCHDOG_NAME_SIZE 64u
/* Descriptors of `mcp watchdog`. */
#define WATCHDOG_TELLER_FD 3
#define WATCHDOG_LISTEN_FD 4

/* ---- the process: returns when there is nothing left to do */
int watchdog_serve(int teller, int listener);

/* ---- the teller; on a loop */

struct watchdog;
/* Nothing is started before the first order. `died`: it has gone and all orders have to be given again;
 * may be NULL. */
struct watchdog *watchdog_new(
    uv_loop_t *loop, const char *dir, void (*died)(void *ctx), void *ctx);
/* End the process behind pidfd (stays the caller's) at kill_ms, CLOCK_BOOTTIME; 0: not at all. */
MUST_CHECK int watchdog_order(
    struct watchdog *w, const char *name, int pidfd, uint64_t kill_ms, struct err *e);
/* The watchdog goes on; handles close on the loop. */
void watchdog_free(struct watchdog *w);
