/* SPDX-License-Identifier: Apache-2.0 */
/* The role `dns`: service/dns on the sockets that host opened, fed by control ("zone", "health"),
 * reporting to log and timeline. Unprivileged; holds no key. */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_dns;
