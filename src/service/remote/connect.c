/* SPDX-License-Identifier: Apache-2.0 */
#include "service/remote/remote.h"

#include "base/tls/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define CONNECT_MS 5000
#define HELLO_MS 10000
#define LOGIN_MS 15000

static int await_connect(int fd, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&p, 1, CONNECT_MS) <= 0)
        return err_set(e, ERR_TIMEOUT, "no answer within %d s", CONNECT_MS / 1000);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error ? err_set(e, ERR_UNAVAILABLE, "%s", strerror(error)) : 0;
}

static int dial(const struct ip_addr *address, uint16_t port, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    ip_to_sockaddr(address, port, &sa, &len);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    int r = 0;
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        r = err_errno(e, errno, "connect");
    if (r >= 0)
        r = await_connect(fd, e);
    return r < 0 ? r : util_steal_fd(&fd);
}

static int open_bridge(const struct remote_peer *p, int fd, int *ret, struct err *e)
{
    SSL_CTX *ctx;
    int r = tls_ctx_stranger_new(p->root_pem, &ctx, e);
    if (r < 0) {
        close(fd);
        return r;
    }
    _cleanup_free_ char *prefix = xasprintf("spiffe://%s/host/", p->platform);
    r = tls_bridge(fd, ctx, prefix, ret, e);
    SSL_CTX_free(ctx);
    return r;
}

static int log_in(
    struct rpc_client *c, const struct remote_peer *p, json_t **ret_answer, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = rpc_client_call(
        c, "login", json_pack("{s:s}", "token", p->token), LOGIN_MS, NULL, NULL, &answer, e);
    if (r >= 0 && ret_answer)
        *ret_answer = json_incref(answer);
    return r;
}

int remote_connect(
    const struct remote_peer *p, struct rpc_client **ret, json_t **ret_answer, struct err *e)
{
    char shown[IP_TEXT_SIZE];
    int local = -1;
    struct rpc_client *c = NULL;
    uint16_t port = p->port ? p->port : REMOTE_PORT;
    ip_format(&p->address, shown);
    int r = dial(&p->address, port, e);
    if (r >= 0)
        r = open_bridge(p, r, &local, e);
    if (r < 0)
        return err_wrap(e, "%s port %u", shown, port);
    r = rpc_client_adopt(local, shown, HELLO_MS, &c, e);
    if (r >= 0)
        r = log_in(c, p, ret_answer, e);
    if (r < 0) {
        rpc_client_free(c);
        return r;
    }
    *ret = c;
    return 0;
}
