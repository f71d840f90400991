/* SPDX-License-Identifier: Apache-2.0 */
/* What goes over the sockets: SOCK_SEQPACKET, one order a packet, a pidfd with each that has a time. */
#pragma once

#include "service/watchdog/watchdog.h"

#define WATCHDOG_MAGIC 0x4d435057u /* another version's: not listened to */

enum watchdog_kind { WATCHDOG_ORDER = 1, WATCHDOG_RETIRE = 2 };

struct watchdog_message {
    uint32_t magic, kind;
    uint64_t kill_ms; /* 0: the order is taken back */
    char name[WATCHDOG_NAME_SIZE];
};
