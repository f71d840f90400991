/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tls/dial.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

static int await_connect(int fd, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&p, 1, TLS_DIAL_MS) <= 0)
        return err_set(e, ERR_TIMEOUT, "no answer within %d s", TLS_DIAL_MS / 1000);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error ? err_set(e, ERR_UNAVAILABLE, "%s", strerror(error)) : 0;
}

int tls_dial(const struct ip_addr *address, uint16_t port, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    char text[IP_TEXT_SIZE];
    ip_to_sockaddr(address, port, &sa, &len);
    ip_format(address, text);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    int r = 0;
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        r = err_errno(e, errno, "connect");
    if (r >= 0)
        r = await_connect(fd, e);
    if (r < 0) {
        err_wrap(e, "%s port %u", text, port);
        err_fix(e, "is that a host of the platform, and does nothing on the way drop TCP %u?", port);
        return r;
    }
    return util_steal_fd(&fd);
}
