/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/netns/netns.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

struct netns {
    int fd;
    uint32_t seq;
};

struct request {
    struct nlmsghdr head;
    uint8_t body[256]; /* the largest request here is a route with three addresses: 92 bytes */
};

int netns_open(struct netns **ret, struct err *e)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return err_errno(e, errno, "netlink socket");
    struct netns *n = xcalloc(1, sizeof *n);
    n->fd = fd;
    *ret = n;
    return 0;
}

void netns_free(struct netns *n)
{
    if (!n)
        return;
    close(n->fd);
    free(n);
}

static void *request_init(struct request *r, uint16_t type, uint16_t flags, size_t body_size)
{
    memset(r, 0, sizeof *r);
    r->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_size);
    r->head.nlmsg_type = type;
    r->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return NLMSG_DATA(&r->head);
}

static void request_attr(struct request *r, uint16_t type, const void *data, size_t len)
{
    size_t at = NLMSG_ALIGN(r->head.nlmsg_len);
    ASSERT(at + RTA_SPACE(len) <= sizeof *r);
    struct rtattr *a = (struct rtattr *)(void *)((uint8_t *)r + at);
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    r->head.nlmsg_len = (uint32_t)(at + RTA_SPACE(len));
}

/* Waits for the kernel's acknowledgement. Returns 0 or the positive errno it carries, negative on
 * failure. */
static int read_ack(struct netns *n, struct err *e)
{
    for (;;) {
        union {
            struct nlmsghdr head;
            uint8_t bytes[4096];
        } buf;
        ssize_t got = recv(n->fd, &buf, sizeof buf, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(e, errno, "netlink answer");
        if (!NLMSG_OK(&buf.head, (size_t)got) || buf.head.nlmsg_type != NLMSG_ERROR)
            return err_set(
                e, ERR_PROTOCOL, "netlink answered with message type %u", buf.head.nlmsg_type);
        if (buf.head.nlmsg_seq != n->seq)
            continue;
        const struct nlmsgerr *answer = NLMSG_DATA(&buf.head);
        return -answer->error;
    }
}

static int transact(struct netns *n, struct request *r, const char *what, struct err *e)
{
    r->head.nlmsg_seq = ++n->seq;
    if (send(n->fd, r, r->head.nlmsg_len, 0) < 0)
        return err_errno(e, errno, "%s", what);
    int code = read_ack(n, e);
    if (code < 0)
        return err_wrap(e, "%s", what);
    return code == 0 || code == EEXIST ? 0 : err_errno(e, code, "%s", what);
}

static int link_index(const char *ifname, unsigned *ret, struct err *e)
{
    *ret = if_nametoindex(ifname);
    return *ret ? 0 : err_errno(e, errno, "network device %s", ifname);
}

static size_t addr_size(const struct ip_addr *a)
{
    return a->family == 6 ? 16 : 4;
}

static uint8_t address_family(int family)
{
    return family == 6 ? AF_INET6 : AF_INET;
}

int netns_link_up(struct netns *n, const char *ifname, unsigned mtu, struct err *e)
{
    unsigned index;
    int r = link_index(ifname, &index, e);
    if (r < 0)
        return r;
    struct request q;
    struct ifinfomsg *m = request_init(&q, RTM_NEWLINK, 0, sizeof *m);
    m->ifi_family = AF_UNSPEC;
    m->ifi_index = (int)index;
    m->ifi_flags = m->ifi_change = IFF_UP;
    uint32_t mtu32 = mtu;
    if (mtu)
        request_attr(&q, IFLA_MTU, &mtu32, sizeof mtu32);
    _cleanup_free_ char *what = xasprintf("set %s up", ifname);
    return transact(n, &q, what, e);
}

int netns_addr_add(struct netns *n, const char *ifname, const struct ip_addr *a, struct err *e)
{
    unsigned index;
    int r = link_index(ifname, &index, e);
    if (r < 0)
        return r;
    struct request q;
    struct ifaddrmsg *m = request_init(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *m);
    m->ifa_family = address_family(a->family);
    m->ifa_prefixlen = (uint8_t)(addr_size(a) * 8);
    m->ifa_index = index;
    m->ifa_flags = IFA_F_NODAD;
    request_attr(&q, IFA_LOCAL, a->bytes, addr_size(a));
    request_attr(&q, IFA_ADDRESS, a->bytes, addr_size(a));
    char text[IP_TEXT_SIZE];
    ip_format(a, text);
    _cleanup_free_ char *what = xasprintf("add address %s to %s", text, ifname);
    return transact(n, &q, what, e);
}

int netns_route_default(
    struct netns *n, const char *ifname, int family, const struct ip_addr *src, struct err *e)
{
    unsigned index;
    int r = link_index(ifname, &index, e);
    if (r < 0)
        return r;
    struct request q;
    struct rtmsg *m = request_init(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *m);
    m->rtm_family = address_family(family);
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_STATIC;
    m->rtm_scope = family == 6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    m->rtm_type = RTN_UNICAST;
    uint32_t oif = index;
    request_attr(&q, RTA_OIF, &oif, sizeof oif);
    if (src)
        request_attr(&q, RTA_PREFSRC, src->bytes, addr_size(src));
    _cleanup_free_ char *what = xasprintf("add IPv%d default route through %s", family, ifname);
    return transact(n, &q, what, e);
}

int netns_route_local(struct netns *n, const struct ip_prefix *p, struct err *e)
{
    unsigned lo;
    int r = link_index("lo", &lo, e);
    if (r < 0)
        return r;
    struct request q;
    struct rtmsg *m = request_init(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *m);
    m->rtm_family = address_family(p->addr.family);
    m->rtm_dst_len = p->bits;
    m->rtm_table = RT_TABLE_LOCAL;
    m->rtm_protocol = RTPROT_STATIC;
    m->rtm_scope = RT_SCOPE_HOST;
    m->rtm_type = RTN_LOCAL;
    uint32_t oif = lo;
    request_attr(&q, RTA_DST, p->addr.bytes, addr_size(&p->addr));
    request_attr(&q, RTA_OIF, &oif, sizeof oif);
    char text[IP_TEXT_SIZE];
    ip_prefix_format(p, text);
    _cleanup_free_ char *what = xasprintf("add local route %s", text);
    return transact(n, &q, what, e);
}
