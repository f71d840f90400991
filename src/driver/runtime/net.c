/* SPDX-License-Identifier: Apache-2.0 */
/* One cable per unit: "mcpu<slot>" on the host's bridge, "eth0" in the unit's own namespace. The unit's
 * MAC follows its address, so that a restarted unit is found without waiting for a neighbour entry to age.
 * Cables are isolated ports: units speak to the host alone, to each other only through its mesh. */
#include "driver/runtime/netlink.h"
#include "driver/runtime/shim.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

static int set(const char *path, const char *value, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return err_errno(e, errno, "%s", path);
    return 0;
}

/* Of the namespace that we are in. Who ends a connection first keeps its port for a minute: 28,000
 * calls to one instance a minute and no more, unless the port may be taken again for a new call to
 * the same one (RFC 6191; Linux does so by itself on a loopback only). A kernel that has not got it
 * goes on with that limit. */
static void take_ports_again(void)
{
    struct err ignored;
    int r = set("/proc/sys/net/ipv4/tcp_tw_reuse", "1", &ignored);
    (void)r;
}

/* Units reach the outside through the host's roles only. A host may forward for other reasons of its
 * own, and may have no IPv6 at all. */
static int forbid_forwarding(int nl, struct err *e)
{
    struct err why = {0};
    int r = netlink_no_forward(nl, RUNTIME_BRIDGE, AF_INET6, &why);
    r = netlink_no_forward(nl, RUNTIME_BRIDGE, AF_INET, &why);
    if (r >= 0 || r == ERR_EXISTS)
        return 0;
    *e = why;
    return err_wrap(e, "keep units from the outside");
}

int runtime_bridge_ensure(const struct ip_prefix *bridge, const struct ip_addr *gateway,
    const struct ip_prefix *own, struct err *e)
{
    _cleanup_close_ int nl = netlink_open(e);
    if (nl < 0)
        return nl;
    struct err ignored = {0};
    unsigned index;
    int r = netlink_bridge_add(nl, RUNTIME_BRIDGE, &ignored);
    if (r < 0 && r != ERR_EXISTS) {
        *e = ignored;
        return err_wrap(e, "make the bridge");
    }
    r = netlink_link_index(nl, RUNTIME_BRIDGE, &index, e);
    if (r < 0)
        return r;
    r = netlink_address_add(nl, index, gateway, bridge->bits, &ignored);
    if (r < 0 && r != ERR_EXISTS) {
        *e = ignored;
        return err_wrap(e, "give the bridge its address");
    }
    r = netlink_link_up(nl, index, e);
    if (r < 0)
        return r;
    r = netlink_local_route_add(nl, index, own, gateway, &ignored);
    if (r < 0 && r != ERR_EXISTS) {
        *e = ignored;
        return err_wrap(e, "make the mesh's addresses local");
    }
    take_ports_again();
    return forbid_forwarding(nl, e);
}

static void cable_name(const struct shim_spec *s, char out[16])
{
    snprintf(out, 16, "mcpu%u", s->slot);
}

static void mac_of(const struct ip_addr *a, uint8_t mac[6])
{
    const uint8_t *last4 = a->family == 4 ? a->bytes : a->bytes + 12;
    mac[0] = 0x02; /* locally administered */
    mac[1] = 0x6d;
    memcpy(mac + 2, last4, 4);
}

static int set_up_inside(const struct shim_spec *s, int nl, struct err *e)
{
    unsigned lo, eth;
    int r;
    if ((r = netlink_link_index(nl, "lo", &lo, e)) < 0 || (r = netlink_link_up(nl, lo, e)) < 0
        || (r = netlink_link_index(nl, "eth0", &eth, e)) < 0
        || (r = netlink_address_add(nl, eth, &s->address, s->bits, e)) < 0
        || (r = netlink_link_up(nl, eth, e)) < 0
        || (r = netlink_default_route_add(nl, &s->gateway, e)) < 0)
        return r;
    return 0;
}

/* No unit has CAP_NET_BIND_SERVICE; in its own namespace port 80 is nobody else's. */
static int open_low_ports(struct err *e)
{
    return set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0", e);
}

int shim_network_make(const struct shim_spec *s, int *ret_outer, struct err *e)
{
    char cable[16];
    uint8_t mac[6];
    unsigned bridge;
    cable_name(s, cable);
    mac_of(&s->address, mac);
    _cleanup_close_ int outer = netlink_open(e);
    if (outer < 0)
        return outer;
    shim_network_remove(s, outer); /* of a shim that was killed */
    int r = netlink_link_index(outer, RUNTIME_BRIDGE, &bridge, e);
    if (r < 0)
        return err_wrap(e, "the host's bridge");
    if (unshare(CLONE_NEWNET) < 0)
        return err_errno(e, errno, "new network namespace");
    r = netlink_veth_add(outer, cable, bridge, "eth0", mac, getpid(), e);
    if (r >= 0)
        r = netlink_port_isolate(outer, cable, e);
    if (r < 0)
        return err_wrap(e, "connect to the bridge");
    _cleanup_close_ int inner = netlink_open(e);
    r = inner < 0 ? inner : set_up_inside(s, inner, e);
    if (r >= 0)
        r = open_low_ports(e);
    take_ports_again();
    if (r >= 0)
        *ret_outer = util_steal_fd(&outer);
    return r;
}

void shim_network_remove(const struct shim_spec *s, int outer)
{
    char cable[16];
    struct err ignored;
    cable_name(s, cable);
    if (outer >= 0 && netlink_link_delete(outer, cable, &ignored) < 0)
        return; /* it was not there, or goes with its namespace */
}
