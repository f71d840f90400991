/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the machine process. Its description, JSON on descriptor LAB_FD_CONFIG:
 *   {"name": "hk1", "dir": "/run/mcp-lab/<platform>", "cgroup": PATH, "log": PATH,
 *    "disk": PATH of the image or null, "etc": {"hosts": TEXT, "resolv.conf": TEXT},
 *    "trust": PATH of a certificate or null,
 *    "net": {"addresses": [..], "public": [..], "local": [prefixes]} or null,
 *    "service": {"argv": [..], "config": FILE in dir or null} or null}
 * net null: no namespaces at all (the WAN's keeper). */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

/* Leaves the machine's own namespaces in place: mounts, addresses, routes, host name. *ret_tun: its
 * end of the wire. One thread, once. */
MUST_CHECK int machine_enter_namespaces(const json_t *config, int *ret_tun, struct err *e);
