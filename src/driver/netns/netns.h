/* SPDX-License-Identifier: Apache-2.0 */
/* The network of the namespace that the calling thread is in, by rtnetlink, ioctl and /proc/sys:
 * links, host addresses, routes, TUN devices. Nothing here changes namespaces except netns_enter().
 * Every function is idempotent: an address or route that is already there is success, so a machine
 * that starts twice ends in the same state.
 *
 * A handle belongs to the namespace that was current at netns_open() and to one thread. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define NETNS_IFNAME_MAX 15

struct netns;

MUST_CHECK int netns_open(struct netns **ret, struct err *e);
void netns_free(struct netns *n); /* NULL is fine */
static inline void netns_free_p(struct netns **n)
{
    netns_free(*n);
}
#define _cleanup_netns_ _cleanup_(netns_free_p)

/* mtu 0: as it is. */
MUST_CHECK int netns_link_up(struct netns *n, const char *ifname, unsigned mtu, struct err *e);
/* As a host address (/32, /128), without duplicate address detection. */
MUST_CHECK int netns_addr_add(
    struct netns *n, const char *ifname, const struct ip_addr *a, struct err *e);
/* Everything of that family through `ifname`, no gateway; `src` (may be NULL) is the preferred
 * source. */
MUST_CHECK int netns_route_default(
    struct netns *n, const char *ifname, int family, const struct ip_addr *src, struct err *e);
/* Every address of the prefix is this machine's own (AnyIP): it can be bound and is answered
 * for. */
MUST_CHECK int netns_route_local(struct netns *n, const struct ip_prefix *p, struct err *e);

/* A new layer 3 TUN device without packet information, its descriptor non-blocking: one read or
 * write is one IP packet. The device lives in the current namespace until the last copy of the
 * descriptor is closed. */
MUST_CHECK int netns_tun_open(const char *ifname, int *ret_fd, struct err *e);

/* "net/ipv4/ip_forward", "1". ERR_NOT_FOUND when this kernel has no such knob. */
MUST_CHECK int netns_sysctl(const char *name, const char *value, struct err *e);

/* Moves the calling process into the network (and with `also_mount` mount, UTS and IPC) namespaces
 * of a process. */
MUST_CHECK int netns_enter(int pidfd, bool also_mount, struct err *e);
