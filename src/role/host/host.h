/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp host`: the root process of a host, kept tiny. Reads the boot record, opens every listening
 * socket and keeps a copy, starts each role as a process of its own, links roles to control,
 * restarts what dies (supervise.h), and decides nothing else. SIGHUP reads the boot record again,
 * SIGTERM stops the roles; units live on either way. One thread, poll(2), pidfds and a signalfd. */
#pragma once

#include "base/err/err.h"

/* Returns the exit status. Logs what happens; *e only for a refusal to start. */
MUST_CHECK int host_main(struct err *e);
