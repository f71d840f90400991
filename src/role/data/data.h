/* SPDX-License-Identifier: Apache-2.0 */
/* The role `data`: service/data on the databases of this host, fed by control ("databases",
 * "identity", "clocks"), which it tells how they are ("data"). It is the user mysql, so that it may
 * run that server's tools on its files, and end a server that must not write any more. */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_data;
