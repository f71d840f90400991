/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/msg.h"

#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define BACKLOG 16

/* Fills the address; *ret_dir keeps the folder open while the address is used. */
static int address(const char *path, struct sockaddr_un *ret, int *ret_dir, struct err *e)
{
    const char *slash = strrchr(path, '/');
    ASSERT(slash);
    _cleanup_free_ char *dir = xasprintf("%.*s", (int)MAX(slash - path, 1), path);
    *ret_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_dir < 0)
        return err_errno(e, errno, "open %s", dir);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", *ret_dir, slash + 1);
    return n < (int)sizeof ret->sun_path
               ? 0
               : err_set(e, ERR_LIMIT, "%s: the name is too long for a socket", path);
}

static int new_socket(int *ret, struct err *e)
{
    *ret = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return *ret < 0 ? err_errno(e, errno, "socket") : 0;
}

int msg_listen(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    _cleanup_close_ int dir = -1;
    _cleanup_close_ int fd = -1;
    int r = address(path, &sa, &dir, e);
    if (r >= 0)
        r = new_socket(&fd, e);
    if (r < 0)
        return r;
    unlink(sa.sun_path); /* of a process that died; the lab's lock keeps the living apart */
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, BACKLOG) < 0)
        return err_errno(e, errno, "listen on %s", path);
    *ret_fd = util_steal_fd(&fd);
    return 0;
}

int msg_connect(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    _cleanup_close_ int dir = -1;
    _cleanup_close_ int fd = -1;
    int r = address(path, &sa, &dir, e);
    if (r >= 0)
        r = new_socket(&fd, e);
    if (r < 0)
        return r;
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        return err_errno(e, errno, "connect to %s", path);
    *ret_fd = util_steal_fd(&fd);
    return 0;
}

int msg_send(int fd, const json_t *j, int pass_fd, struct err *e)
{
    _cleanup_free_ char *text = json_text(j);
    struct iovec iov = {text, strlen(text)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (iov.iov_len > MSG_SIZE_MAX)
        return err_set(e, ERR_LIMIT, "message of %zu bytes", iov.iov_len);
    if (pass_fd >= 0) {
        control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &pass_fd, sizeof pass_fd);
        m.msg_control = &control;
        m.msg_controllen = sizeof control.space;
    }
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? err_errno(e, errno, "send") : 0;
}

static int take_fd(struct msghdr *m)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    int fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
        && c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

int msg_recv(int fd, json_t **ret, int *ret_fd, struct err *e)
{
    _cleanup_free_ char *buf = xmalloc(MSG_SIZE_MAX);
    struct iovec iov = {buf, MSG_SIZE_MAX};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(
            sizeof(int))]; /* room for one: the kernel closes what else was passed */
    } control = {0};
    struct msghdr m = {.msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control.space};
    ssize_t n;
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *ret_fd = -1;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return err_set(e, ERR_UNAVAILABLE, "no answer in time");
    if (n < 0)
        return err_errno(e, errno, "receive");
    if (n == 0)
        return 0;
    _cleanup_close_ int passed = take_fd(&m);
    int r = m.msg_flags & MSG_TRUNC ? err_set(e, ERR_LIMIT, "message too long")
                                    : json_parse(buf, (size_t)n, ret, e);
    if (r < 0)
        return r;
    *ret_fd = util_steal_fd(&passed);
    return 1;
}

int msg_call(const char *path, const json_t *request, int pass_fd, unsigned timeout_ms,
    json_t **ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    _cleanup_close_ int passed = -1;
    _cleanup_json_ json_t *answer = NULL;
    int r = msg_connect(path, &fd, e);
    if (r < 0)
        return r;
    struct timeval tv = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    r = msg_send(fd, request, pass_fd, e);
    if (r >= 0)
        r = msg_recv(fd, &answer, &passed, e);
    if (r < 0)
        return err_wrap(e, "%s", path);
    if (r == 0)
        return err_set(e, ERR_UNAVAILABLE, "%s: closed without an answer", path);
    const json_t *error = json_object_get(answer, "error");
    if (error) {
        json_to_err(error, e);
        return e ? e->code : ERR_FAILED;
    }
    if (ret)
        *ret = util_steal_ptr(&answer);
    return 0;
}

void msg_reply(int fd, int r, const struct err *e)
{
    _cleanup_json_ json_t *j =
        r < 0 ? json_pack("{s:o}", "error", json_from_err(e)) : json_pack("{s:b}", "ok", 1);
    struct err ignored;
    if (msg_send(fd, j, -1, &ignored) < 0)
        return; /* the asker went away */
}
