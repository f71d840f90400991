/* SPDX-License-Identifier: Apache-2.0 */
/* What the network does is asked of the network. A child enters the host's network, tries, and says
 * it by its exit status, so that this process stays where it is. */
#include "service/drill/priv.h"

#include "base/ip/ip.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define NOBODYS_PORT 9 /* discard: a kernel without a listener refuses at once */
#define ANSWER_MS 700  /* longer than any round trip of a lab's world */

enum { REACHED = 0, NOT_REACHED = 1, NOT_TRIED = 2 };

static bool address_of(const json_t *host, struct ip_addr *ret)
{
    const char *text =
        json_string_value(json_array_get(json_object_get(host, "addresses"), 0));
    return text && ip_parse(text, ret);
}

static int try_connect(const struct sockaddr *to, socklen_t len)
{
    _cleanup_close_ int fd =
        socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return NOT_TRIED;
    int error = connect(fd, to, len) == 0 ? 0 : errno;
    struct pollfd p = {fd, POLLOUT, 0};
    socklen_t size = sizeof error;
    if (error == EINPROGRESS) {
        if (poll(&p, 1, ANSWER_MS) == 0)
            return NOT_REACHED;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
            return NOT_TRIED;
    }
    return error == 0 || error == ECONNREFUSED ? REACHED : NOT_REACHED;
}

static int try_flood(const struct sockaddr *to, socklen_t len, unsigned n)
{
    _cleanup_close_ int fd = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (unsigned i = 0; fd >= 0 && i < n; i++)
        (void)!sendto(fd, &i, sizeof i, 0, to, len);
    return fd < 0 ? NOT_TRIED : REACHED;
}

/* flood 0: a connection. */
static int in_child(const struct lab *l, const json_t *from, const json_t *to, unsigned flood)
{
    struct ip_addr address;
    struct sockaddr_storage sa;
    socklen_t len;
    struct err ignored;
    int status = 0;
    if (!address_of(to, &address))
        return NOT_TRIED;
    ip_to_sockaddr(&address, NOBODYS_PORT, &sa, &len);
    pid_t pid = fork();
    if (pid == 0) {
        if (lab_enter_network(l, json_opt_str(from, "name", ""), &ignored) < 0)
            _exit(NOT_TRIED);
        _exit(flood ? try_flood((struct sockaddr *)&sa, len, flood)
                    : try_connect((struct sockaddr *)&sa, len));
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return NOT_TRIED;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : NOT_TRIED;
}

int probe_reach(const struct lab *l, const json_t *from, const json_t *to)
{
    int r = in_child(l, from, to, 0);
    return r == NOT_TRIED ? -1 : r == REACHED;
}

void probe_flood(const struct lab *l, const json_t *from, const json_t *to, unsigned n)
{
    (void)in_child(l, from, to, n);
}
