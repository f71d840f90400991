/* SPDX-License-Identifier: Apache-2.0 */
#include "service/remote/remote.h"

#include "base/tls/bridge.h"
#include "base/tls/dial.h"


#define HELLO_MS 10000
#define LOGIN_MS 15000

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
    int fd = tls_dial(&p->address, port, e);
    if (fd < 0)
        return fd;
    int r = open_bridge(p, fd, &local, e);
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
