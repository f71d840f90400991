/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/runtime/netlink.h"

#include "base/str/str.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

/* One request with its attributes; netlink aligns everything to 4 bytes. */
struct request {
    union {
        struct nlmsghdr head;
        char bytes[512];
    };
};

static void begin(struct request *q, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    memset(q, 0, sizeof *q);
    q->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    q->head.nlmsg_type = type;
    q->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    memcpy(NLMSG_DATA(&q->head), body, len);
}

static struct rtattr *add(struct request *q, uint16_t type, const void *data, size_t len)
{
    size_t at = NLMSG_ALIGN(q->head.nlmsg_len);
    ASSERT(at + RTA_SPACE(len) <= sizeof q->bytes);
    struct rtattr *a = (struct rtattr *)(void *)(q->bytes + at);
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len)
        memcpy(RTA_DATA(a), data, len);
    q->head.nlmsg_len = (uint32_t)(at + RTA_SPACE(len));
    return a;
}

static void add_text(struct request *q, uint16_t type, const char *text)
{
    add(q, type, text, strlen(text) + 1);
}

static void end_nest(struct request *q, struct rtattr *a)
{
    a->rta_len = (uint16_t)(q->bytes + q->head.nlmsg_len - (char *)a);
}

int netlink_open(struct err *e)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd >= 0 ? fd : err_errno(e, errno, "netlink socket");
}

/* Sends and takes the acknowledgement; an answer in between is copied to *answer. */
static int transact(
    int nl, struct request *q, void *answer, size_t size, const char *what, struct err *e)
{
    if (send(nl, q, q->head.nlmsg_len, 0) < 0)
        return err_errno(e, errno, "netlink: %s", what);
    for (int i = 0; i < 16; i++) {
        union {
            struct nlmsghdr head;
            char bytes[16384];
        } in;
        ssize_t n = recv(nl, &in, sizeof in, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, "netlink: %s", what);
        unsigned left = (unsigned)n;
        for (struct nlmsghdr *h = &in.head; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type != NLMSG_ERROR) {
                if (answer)
                    memcpy(answer, h, MIN(size, h->nlmsg_len));
                continue;
            }
            int error = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
            if (error == ENODEV)
                return err_set(e, ERR_NOT_FOUND, "%s: no such network link", what);
            return error ? err_errno(e, error, "%s", what) : 0;
        }
    }
    return err_set(e, ERR_PROTOCOL, "netlink: %s: no acknowledgement", what);
}

int netlink_link_index(int nl, const char *name, unsigned *ret, struct err *e)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC};
    struct request q;
    struct {
        struct nlmsghdr head;
        struct ifinfomsg body;
    } answer = {0};
    begin(&q, RTM_GETLINK, 0, &body, sizeof body);
    add_text(&q, IFLA_IFNAME, name);
    int r = transact(nl, &q, &answer, sizeof answer, name, e);
    if (r >= 0)
        *ret = (unsigned)answer.body.ifi_index;
    return r;
}

int netlink_bridge_add(int nl, const char *name, struct err *e)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC};
    struct request q;
    begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add_text(&q, IFLA_IFNAME, name);
    struct rtattr *info = add(&q, IFLA_LINKINFO, NULL, 0);
    add_text(&q, IFLA_INFO_KIND, "bridge");
    end_nest(&q, info);
    return transact(nl, &q, NULL, 0, name, e);
}

int netlink_veth_add(int nl, const char *name, unsigned master, const char *peer,
    const uint8_t mac[6], pid_t pid, struct err *e)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg peer_body = {.ifi_family = AF_UNSPEC};
    struct request q;
    begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add_text(&q, IFLA_IFNAME, name);
    add(&q, IFLA_MASTER, &master, sizeof master);
    struct rtattr *info = add(&q, IFLA_LINKINFO, NULL, 0);
    add_text(&q, IFLA_INFO_KIND, "veth");
    struct rtattr *data = add(&q, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = add(&q, VETH_INFO_PEER, &peer_body, sizeof peer_body);
    uint32_t target = (uint32_t)pid;
    add_text(&q, IFLA_IFNAME, peer);
    add(&q, IFLA_ADDRESS, mac, 6);
    add(&q, IFLA_NET_NS_PID, &target, sizeof target);
    end_nest(&q, other);
    end_nest(&q, data);
    end_nest(&q, info);
    return transact(nl, &q, NULL, 0, name, e);
}

int netlink_link_up(int nl, unsigned index, struct err *e)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC,
        .ifi_index = (int)index,
        .ifi_flags = IFF_UP,
        .ifi_change = IFF_UP};
    struct request q;
    begin(&q, RTM_NEWLINK, 0, &body, sizeof body);
    return transact(nl, &q, NULL, 0, "link up", e);
}

int netlink_link_delete(int nl, const char *name, struct err *e)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC};
    struct request q;
    begin(&q, RTM_DELLINK, 0, &body, sizeof body);
    add_text(&q, IFLA_IFNAME, name);
    return transact(nl, &q, NULL, 0, name, e);
}

static size_t address_len(const struct ip_addr *a)
{
    return a->family == 4 ? 4 : 16;
}

int netlink_address_add(
    int nl, unsigned index, const struct ip_addr *a, unsigned bits, struct err *e)
{
    /* No duplicate address detection: the agent hands addresses out, and a second of waiting is a second of start. */
    struct ifaddrmsg body = {.ifa_family = a->family == 4 ? AF_INET : AF_INET6,
        .ifa_prefixlen = (uint8_t)bits,
        .ifa_index = index,
        .ifa_flags = a->family == 6 ? IFA_F_NODAD : 0};
    struct request q;
    begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add(&q, IFA_LOCAL, a->bytes, address_len(a));
    add(&q, IFA_ADDRESS, a->bytes, address_len(a));
    return transact(nl, &q, NULL, 0, "add address", e);
}

int netlink_default_route_add(int nl, const struct ip_addr *via, struct err *e)
{
    struct rtmsg body = {.rtm_family = via->family == 4 ? AF_INET : AF_INET6,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = RT_SCOPE_UNIVERSE,
        .rtm_type = RTN_UNICAST};
    struct request q;
    begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add(&q, RTA_GATEWAY, via->bytes, address_len(via));
    return transact(nl, &q, NULL, 0, "add default route", e);
}

int netlink_local_route_add(int nl, unsigned index, const struct ip_prefix *p,
    const struct ip_addr *source, struct err *e)
{
    struct rtmsg body = {.rtm_family = p->addr.family == 4 ? AF_INET : AF_INET6,
        .rtm_dst_len = p->bits,
        .rtm_table = RT_TABLE_LOCAL,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = RT_SCOPE_HOST,
        .rtm_type = RTN_LOCAL};
    struct request q;
    begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add(&q, RTA_DST, p->addr.bytes, address_len(&p->addr));
    add(&q, RTA_OIF, &index, sizeof index);
    add(&q, RTA_PREFSRC, source->bytes, address_len(source));
    return transact(nl, &q, NULL, 0, "add local route", e);
}

/* Behind the rule that looks up what is local (0), in front of all that route. */
#define NO_FORWARD_PRIORITY 7401u

int netlink_no_forward(int nl, const char *link, int family, struct err *e)
{
    struct fib_rule_hdr body = {.family = (uint8_t)family, .action = FR_ACT_PROHIBIT};
    struct request q;
    uint32_t priority = NO_FORWARD_PRIORITY;
    begin(&q, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    add_text(&q, FRA_IIFNAME, link);
    add(&q, FRA_PRIORITY, &priority, sizeof priority);
    return transact(nl, &q, NULL, 0, "forbid forwarding", e);
}

int netlink_port_isolate(int nl, const char *name, struct err *e)
{
    unsigned index;
    int r = netlink_link_index(nl, name, &index, e);
    if (r < 0)
        return r;
    struct ifinfomsg body = {.ifi_family = AF_BRIDGE, .ifi_index = (int)index};
    struct request q;
    uint8_t on = 1;
    begin(&q, RTM_SETLINK, 0, &body, sizeof body);
    struct rtattr *info = add(&q, IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);
    add(&q, IFLA_BRPORT_ISOLATED, &on, sizeof on);
    end_nest(&q, info);
    return transact(nl, &q, NULL, 0, "isolate", e);
}
