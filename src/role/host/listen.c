/* SPDX-License-Identifier: Apache-2.0 */
#include "role/host/listen.h"

#include "base/str/str.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 4096         /* the kernel cuts it to somaxconn */
#define UDP_BUFFER (1 << 20) /* what arrives while the role restarts waits here */
#define CLI_SOCKET "/run/mcp/mcp.sock"

/* One name on each of the addresses, once per thread. */
struct kind {
    const char *role, *name;
    int type;
    uint16_t port;
    enum { ON_PRIVATE, ON_PUBLIC, ON_BOTH, ON_BRIDGE, ON_UNIX } where;
    bool per_thread;
};

static const struct kind kinds[] = {
    {"control", "cli", SOCK_STREAM, 0, ON_UNIX, false},
    {"control", "peer", SOCK_STREAM, LISTEN_PORT_PEER, ON_PRIVATE, false},
    {"control", "enrol", SOCK_STREAM, LISTEN_PORT_ENROL, ON_PRIVATE, false},
    {"control", "bulk", SOCK_STREAM, LISTEN_PORT_BULK, ON_PRIVATE, false},
    {"control", "metrics", SOCK_STREAM, LISTEN_PORT_METRICS, ON_PRIVATE, false},
    {"control", "remote", SOCK_STREAM, LISTEN_PORT_REMOTE, ON_PRIVATE, false},
    {"dns", "dns-udp", SOCK_DGRAM, 53, ON_BOTH, true},
    {"dns", "dns-tcp", SOCK_STREAM, 53, ON_BOTH, false},
    {"edge", "edge-https", SOCK_STREAM, 443, ON_PUBLIC, true},
    {"edge", "edge-http", SOCK_STREAM, 80, ON_PUBLIC, false},
    {"mesh", "mesh", SOCK_STREAM, LISTEN_PORT_MESH, ON_PRIVATE, false},
    {"mesh", "mesh-proxy", SOCK_STREAM, LISTEN_PORT_PROXY, ON_BRIDGE, false},
    {"resolver", "resolver-udp", SOCK_DGRAM, 53, ON_BRIDGE, false},
    {"resolver", "resolver-tcp", SOCK_STREAM, 53, ON_BRIDGE, false},
};

#define ADDRS_MAX (2 * BOOT_ADDRS_MAX)

static size_t add_addrs(struct ip_addr *v, size_t n, const struct boot_addrs *from)
{
    for (size_t i = 0; i < from->n; i++) {
        bool known = false; /* a host whose private address is its public one is listened on once */
        for (size_t k = 0; k < n; k++)
            known |= ip_eq(&v[k], &from->v[i]);
        if (!known)
            v[n++] = from->v[i];
    }
    return n;
}

static size_t addrs_of(const struct boot *b, const struct kind *k, struct ip_addr *v)
{
    size_t n = 0;
    if (k->where == ON_UNIX)
        v[n++] = (struct ip_addr){0};
    if (k->where == ON_BRIDGE)
        v[n++] = b->gateway;
    if (k->where == ON_PRIVATE || k->where == ON_BOTH)
        n = add_addrs(v, n, &b->addresses);
    if (k->where == ON_PUBLIC || k->where == ON_BOTH)
        n = add_addrs(v, n, &b->public);
    return n;
}

static size_t count_role(const struct listens *l, const char *role)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += str_eq(l->v[i].role, role);
    return n;
}

static void plan_kind(
    const struct boot *b, const struct kind *k, unsigned threads, struct listens *ret)
{
    struct ip_addr addrs[ADDRS_MAX];
    size_t n = addrs_of(b, k, addrs);
    unsigned times = k->per_thread ? MAX(MIN(threads, LISTEN_THREADS_MAX), 1u) : 1;
    /* A role's sockets travel in one message: many addresses on many processors leave fewer
     * threads. Half is room for the role's other kinds. */
    while (times > 1 && times * n > LISTEN_ROLE_MAX / 2)
        times--;
    for (unsigned t = 0; t < times; t++)
        for (size_t i = 0; i < n; i++) {
            ASSERT(ret->n < LISTEN_MAX && count_role(ret, k->role) < LISTEN_ROLE_MAX);
            ret->v[ret->n++] = (struct listen){.role = k->role,
                .name = k->name,
                .thread = t,
                .type = k->type,
                .shared = k->per_thread,
                .addr = addrs[i],
                .port = k->port,
                .path = k->where == ON_UNIX ? CLI_SOCKET : NULL,
                .fd = -1};
        }
}

void listen_plan(const struct boot *boot, unsigned threads, struct listens *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (boot_has_role(boot, kinds[i].role))
            plan_kind(boot, &kinds[i], threads, ret);
}

static bool same(const struct listen *a, const struct listen *b)
{
    return str_eq(a->name, b->name) && a->thread == b->thread && ip_eq(&a->addr, &b->addr)
           && a->port == b->port;
}

void listens_inherit(struct listens *l, struct listens *old)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < old->n && l->v[i].fd < 0; k++)
            if (same(&l->v[i], &old->v[k]))
                l->v[i].fd = util_steal_fd(&old->v[k].fd);
    listens_close(old);
}

/* FNV-1a: to see a change, not to resist anybody. */
static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    for (const uint8_t *p = data; len; p++, len--)
        h = (h ^ *p) * UINT64_C(0x100000001b3);
    return h;
}

uint64_t listens_print(const struct listens *l, const char *role, uint64_t seed)
{
    uint64_t h = seed;
    for (size_t i = 0; i < l->n; i++) {
        const struct listen *s = &l->v[i];
        if (s->fd < 0 || !str_eq(s->role, role))
            continue;
        h = mix(h, s->name, strlen(s->name));
        h = mix(h, &s->thread, sizeof s->thread);
        h = mix(h, &s->addr.family, sizeof s->addr.family);
        h = mix(h, s->addr.bytes, s->addr.family == 4 ? 4 : s->addr.family == 6 ? 16 : 0);
        h = mix(h, &s->port, sizeof s->port);
    }
    return h;
}

static int set_options(const struct listen *l, int fd, struct err *e)
{
    int v6 = l->addr.family == 6, on = 1, buffer = UDP_BUFFER;
    if (l->type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return err_errno(e, errno, "SO_REUSEADDR");
    if (l->shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return err_errno(e, errno, "SO_REUSEPORT");
    if (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
        return err_errno(e, errno, "IPV6_V6ONLY");
    if (setsockopt(
            fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof on)
        < 0)
        return err_errno(e, errno, "IP_FREEBIND");
    /* Beyond rmem_max needs a capability that a container's root may lack: then the default
     * serves. */
    if (l->type == SOCK_DGRAM
        && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    return 0;
}

static int open_inet(const struct listen *l, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    char text[IP_TEXT_SIZE];
    ip_to_sockaddr(&l->addr, l->port, &sa, &len);
    ip_format(&l->addr, text);
    _cleanup_close_ int fd = socket(sa.ss_family, l->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket for %s", l->name);
    int r = set_options(l, fd, e);
    if (r < 0)
        return err_wrap(e, "%s %s port %u", l->name, text, l->port);
    if (bind(fd, (struct sockaddr *)&sa, len) < 0) {
        int bind_errno = errno;
        err_errno(e, bind_errno, "%s: bind %s port %u", l->name, text, l->port);
        if (bind_errno == EADDRINUSE)
            err_fix(e, "`ss -lnp sport = %u` shows which program listens there; stop it", l->port);
        return e->code;
    }
    if (l->type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
        return err_errno(e, errno, "%s: listen %s port %u", l->name, text, l->port);
    return util_steal_fd(&fd);
}

/* Only root may speak to control: the mode is there before anybody can connect. */
static int open_unix(const struct listen *l, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    str_copy(sa.sun_path, sizeof sa.sun_path, l->path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket for %s", l->name);
    if (unlink(l->path) < 0 && errno != ENOENT)
        return err_errno(e, errno, "remove %s", l->path);
    mode_t old = umask(0177);
    int bound = bind(fd, (struct sockaddr *)&sa, sizeof sa), bind_errno = errno;
    umask(old);
    if (bound < 0)
        return err_errno(e, bind_errno, "bind %s", l->path);
    if (listen(fd, BACKLOG) < 0)
        return err_errno(e, errno, "listen on %s", l->path);
    return util_steal_fd(&fd);
}

size_t listens_open(struct listens *l, struct err *e)
{
    size_t missing = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct listen *s = &l->v[i];
        if (s->fd >= 0)
            continue;
        int fd = s->path ? open_unix(s, e) : open_inet(s, e);
        s->fd = MAX(fd, -1);
        missing += fd < 0;
    }
    return missing;
}

void listens_close(struct listens *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].fd >= 0)
            close(l->v[i].fd);
        l->v[i].fd = -1;
    }
    l->n = 0;
}
