/* SPDX-License-Identifier: Apache-2.0 */
/* The few rtnetlink(7) requests that units need, one at a time, each acknowledged. A socket acts in the network
 * namespace that it was opened in. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#include <sys/types.h>

MUST_CHECK int netlink_open(struct err *e);
/* ERR_NOT_FOUND when there is no such link. */
MUST_CHECK int netlink_link_index(int nl, const char *name, unsigned *ret, struct err *e);
MUST_CHECK int netlink_bridge_add(int nl, const char *name, struct err *e); /* ERR_EXISTS */
/* A pair: `name` here as a port of the link `master`, up; `peer` in the namespace of process `pid`. */
MUST_CHECK int netlink_veth_add(int nl, const char *name, unsigned master, const char *peer,
    const uint8_t mac[6], pid_t pid, struct err *e);
MUST_CHECK int netlink_link_up(int nl, unsigned index, struct err *e);
MUST_CHECK int netlink_link_delete(int nl, const char *name, struct err *e);
MUST_CHECK int netlink_address_add(
    int nl, unsigned index, const struct ip_addr *a, unsigned bits, struct err *e);
/* Traffic to any address of the prefix is for this host; what it sends there comes from `source`. ERR_EXISTS. */
MUST_CHECK int netlink_local_route_add(int nl, unsigned index, const struct ip_prefix *p,
    const struct ip_addr *source, struct err *e);
/* What comes in by that link and is not for this host goes nowhere, forwarding or not. ERR_EXISTS. */
MUST_CHECK int netlink_no_forward(int nl, const char *link, int family, struct err *e);
/* A port of a bridge that exchanges frames with the bridge itself only, never with other such ports. */
MUST_CHECK int netlink_port_isolate(int nl, const char *name, struct err *e);
MUST_CHECK int netlink_default_route_add(int nl, const struct ip_addr *via, struct err *e);
