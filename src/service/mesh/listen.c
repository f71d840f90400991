/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets on virtual addresses follow the view. Each address stands for one thing and has one
 * port, so no socket is in another's way. Bound freely: the address may become local later. */
#include "service/mesh/priv.h"

#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define BACKLOG 1024

static uint32_t key_of(const struct ip_addr *a)
{
    uint32_t key;
    memcpy(&key, a->bytes, sizeof key);
    return key;
}

static int open_socket(const struct ip_addr *a, uint16_t port)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int on = 1;
    ip_to_sockaddr(a, port, &sa, &len);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on) < 0
        /* A mesh that takes this one's place opens its own before ours are closed. */
        || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0
        || bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return util_steal_fd(&fd);
}

static struct open_listen *find(struct mesh *m, const struct mesh_listen *l)
{
    for (size_t i = 0; i < m->n_listens; i++)
        if (ip_eq(&m->listens[i].address, &l->address) && m->listens[i].port == mesh_listen_port(l))
            return &m->listens[i];
    return NULL;
}

static void close_unwanted(struct mesh *m)
{
    for (size_t i = 0; i < m->n_listens; i++) {
        struct open_listen *o = &m->listens[i];
        if (o->wanted)
            continue;
        if (o->served)
            splice_unlisten(m->splice, (struct splice_tag){TAG_CALL, key_of(&o->address)});
        else
            close(o->fd);
        *o = m->listens[--m->n_listens];
        i--;
    }
}

static void take(struct mesh *m, int fd, const struct ip_addr *address, uint16_t port)
{
    *GROW(m->listens, m->n_listens, m->cap_listens) =
        (struct open_listen){.address = *address, .port = port, .wanted = true, .fd = fd};
}

static void open_new(struct mesh *m, const struct mesh_listen *l)
{
    char text[IP_TEXT_SIZE];
    uint16_t port = mesh_listen_port(l);
    int fd = open_socket(&l->address, port);
    if (fd < 0) {
        ip_format(&l->address, text);
        snprintf(m->listen_warning, sizeof m->listen_warning,
            "calls of %s %s cannot be taken: listen on %s port %u: %s",
            l->database ? "database" : "module", l->database ? l->database->name : l->module->name,
            text, port, strerror(-fd));
        return;
    }
    take(m, fd, &l->address, port);
}

void listen_adopt(struct mesh *m, const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        struct ip_addr address;
        uint16_t port;
        if (getsockname(fds[i], (struct sockaddr *)&sa, &len) < 0
            || !ip_from_sockaddr((struct sockaddr *)&sa, &address, &port) || address.family != 4)
            continue;
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd >= 0)
            take(m, fd, &address, port);
    }
}

size_t mesh_listens(const struct mesh *m, int *fds, size_t max)
{
    size_t n = MIN(m->n_listens, max);
    for (size_t i = 0; i < n; i++)
        fds[i] = m->listens[i].fd;
    return n;
}

void listen_close_unkept(struct mesh *m)
{
    for (size_t i = 0; i < m->n_listens; i++)
        m->listens[i].wanted = i < MESH_KEEP_MAX;
    close_unwanted(m);
}

void listen_follow(struct mesh *m, const struct mesh_view *v)
{
    m->listen_warning[0] = '\0';
    for (size_t i = 0; i < m->n_listens; i++)
        m->listens[i].wanted = false;
    for (size_t i = 0; i < v->n_listens; i++) {
        struct open_listen *o = find(m, &v->listens[i]);
        if (o)
            o->wanted = true;
    }
    close_unwanted(m);
    for (size_t i = 0; i < v->n_listens; i++)
        if (!find(m, &v->listens[i]))
            open_new(m, &v->listens[i]);
    for (size_t i = 0; i < m->n_listens; i++) {
        struct open_listen *o = &m->listens[i];
        if (!o->served)
            splice_listen(m->splice, o->fd, (struct splice_tag){TAG_CALL, key_of(&o->address)});
        o->served = true;
    }
}
