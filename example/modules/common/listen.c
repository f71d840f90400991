/* SPDX-License-Identifier: Apache-2.0 */
#include "priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_one(const struct sockaddr *address, socklen_t size)
{
    int on = 1, off = 0;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address, size) == 0 && listen(fd, 128) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int listen_open(uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = open_one((struct sockaddr *)&any6, sizeof(any6));
    if (fd < 0 && errno != EADDRINUSE) /* no IPv6 here */
        fd = open_one((struct sockaddr *)&any4, sizeof(any4));
    if (fd < 0)
        return -1;
    /* The port stands at the same place in both address families. */
    socklen_t size = sizeof(any6);
    *ret_port = port;
    if (getsockname(fd, (struct sockaddr *)&any6, &size) == 0)
        *ret_port = ntohs(any6.sin6_port);
    return fd;
}
