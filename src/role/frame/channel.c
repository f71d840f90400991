/* SPDX-License-Identifier: Apache-2.0 */
#include "role/frame/channel.h"

#include <errno.h>
#include <sys/socket.h>

int channel_send(
    int fd, const char *method, json_t *params, const int *fds, size_t n_fds, struct err *e)
{
    _cleanup_json_ json_t *msg =
        json_pack("{s:s,s:o}", "method", method, "params", params ? params : json_object());
    ASSERT(msg && n_fds <= CHANNEL_FDS_MAX);
    _cleanup_free_ char *text = json_text(msg);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))] = {0};
    struct iovec iov = {text, strlen(text)};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        hdr.msg_control = control;
        hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&hdr);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EPIPE || errno == ECONNRESET))
        return err_set(e, ERR_UNAVAILABLE, "channel: %s", strerror(errno));
    return n < 0 ? err_errno(e, errno, "channel: send %s", method) : 0;
}

static void take_fds(struct msghdr *hdr, struct channel_msg *ret)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(hdr); h; h = CMSG_NXTHDR(hdr, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        ret->n_fds = MIN((h->cmsg_len - CMSG_LEN(0)) / sizeof(int), CHANNEL_FDS_MAX);
        memcpy(ret->fds, CMSG_DATA(h), ret->n_fds * sizeof(int));
    }
}

static int parse(const char *text, size_t len, struct channel_msg *ret, struct err *e)
{
    int r = json_parse(text, len, &ret->root, e);
    if (r >= 0)
        r = json_get_str(ret->root, "method", &ret->method, e);
    if (r >= 0)
        r = json_get_obj(ret->root, "params", &ret->params, e);
    return r < 0 ? err_set(e, ERR_PROTOCOL, "channel: not a message") : 1;
}

int channel_recv(int fd, size_t max_bytes, struct channel_msg *ret, struct err *e)
{
    *ret = (struct channel_msg){0};
    _cleanup_free_ char *text = xmalloc(max_bytes);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
    struct iovec iov = {text, max_bytes};
    struct msghdr hdr = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && errno != ECONNRESET)
        return err_errno(e, errno, "channel: receive");
    if (n <= 0)
        return err_set(e, ERR_UNAVAILABLE, "channel: the other end has gone");
    take_fds(&hdr, ret);
    int r = hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)
                ? err_set(e, ERR_PROTOCOL, "channel: message over its limit")
                : parse(text, (size_t)n, ret, e);
    if (r < 0)
        channel_msg_done(ret);
    return r;
}

void channel_msg_done(struct channel_msg *m)
{
    for (size_t i = 0; i < m->n_fds; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    m->n_fds = 0;
    json_decref(m->root);
    m->root = NULL;
}
