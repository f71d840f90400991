/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's Unix socket: root only, by the socket's mode and again by the peer's
 * credentials. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"

#include <sys/socket.h>

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    rpc_req_keep_fd(req, fd);
    struct control_caller by = {.who = "root", .from = "local", .role = OPERATOR_ADMIN};
    const char *claimed = json_opt_str(params, "by", ""); /* root may say for whom */
    if (*claimed)
        str_copy(by.who, sizeof by.who, claimed);
    control_ask(ctx, &by, req, method, params);
}

static void on_notify(void *ctx, struct rpc_conn *conn, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
}

static void on_closed(void *ctx, struct rpc_conn *conn, const struct err *e)
{
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .closed = on_closed};

static void take(struct control *c, int fd)
{
    struct err e;
    struct rpc_conn *conn;
    uid_t uid;
    char name[80];
    snprintf(name, sizeof name, "control@%s", c->host);
    if (rpc_conn_new_fd(&c->role->loop, fd, name, &handler, c, &conn, &e) < 0) {
        log_warn("cli", "connection refused", "error=%s", e.message);
        return;
    }
    if (rpc_conn_peer_uid(conn, &uid, &e) < 0 || (uid != 0 && uid != getuid()))
        rpc_conn_close(conn);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct control *c = CONTAINER_OF(poll, struct control, cli_poll);
    int listen_fd;
    if (uv_fileno((uv_handle_t *)poll, &listen_fd) < 0)
        return;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        take(c, fd);
}

int control_cli_start(struct control *c, int fd, struct err *e)
{
    int r = uv_poll_init(&c->role->loop, &c->cli_poll, fd);
    if (r < 0)
        return err_set(e, ERR_SYSTEM, "watch the command socket: %s", uv_strerror(r));
    uv_poll_start(&c->cli_poll, UV_READABLE, on_readable);
    return 0;
}

void control_cli_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->cli_poll, NULL);
}
