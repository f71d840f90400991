/* SPDX-License-Identifier: Apache-2.0 */
#include "service/watchdog/priv.h"

#include "base/clock/clock.h"
#include "base/util/util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TELLERS_MAX 4u
#define TURN_MS 1000 /* it runs now and then, so that its pages stay in memory when a disk stalls */

struct order {
    char name[WATCHDOG_NAME_SIZE];
    int pidfd;
    uint64_t kill_ms; /* 0: none */
};

struct serve {
    int listener;
    int tellers[TELLERS_MAX];
    size_t n_tellers;
    struct order orders[WATCHDOG_ORDERS_MAX];
    bool retired;
};

static void drop(struct order *o)
{
    if (o->kill_ms)
        close(o->pidfd);
    *o = (struct order){.pidfd = -1};
}

static struct order *slot_of(struct serve *s, const char *name)
{
    struct order *empty = NULL;
    for (size_t i = 0; i < WATCHDOG_ORDERS_MAX; i++) {
        struct order *o = &s->orders[i];
        if (o->kill_ms && !strncmp(o->name, name, sizeof o->name))
            return o;
        if (!o->kill_ms && !empty)
            empty = o;
    }
    return empty;
}

static void take(struct serve *s, const struct watchdog_message *m, int pidfd)
{
    struct order *o = slot_of(s, m->name);
    if (m->kind == WATCHDOG_RETIRE)
        s->retired = true;
    if (m->kind != WATCHDOG_ORDER || !o || (m->kill_ms && pidfd < 0)) {
        if (pidfd >= 0)
            close(pidfd);
        return;
    }
    drop(o);
    if (m->kill_ms) {
        memcpy(o->name, m->name, sizeof o->name);
        o->pidfd = pidfd;
        o->kill_ms = m->kill_ms;
    } else if (pidfd >= 0) {
        close(pidfd);
    }
}

/* False: it has gone. */
static bool hear(struct serve *s, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct watchdog_message m = {0};
    struct iovec iov = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int pidfd = -1;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
        && c->cmsg_len == CMSG_LEN(sizeof pidfd))
        memcpy(&pidfd, CMSG_DATA(c), sizeof pidfd);
    m.name[sizeof m.name - 1] = '\0';
    if (n == sizeof m && m.magic == WATCHDOG_MAGIC)
        take(s, &m, pidfd);
    else if (pidfd >= 0)
        close(pidfd);
    return n > 0;
}

/* Returns when the next one is due; UINT64_MAX: there is none. */
static uint64_t carry_out(struct serve *s, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < WATCHDOG_ORDERS_MAX; i++) {
        struct order *o = &s->orders[i];
        if (o->kill_ms && now_ms >= o->kill_ms) {
            syscall(SYS_pidfd_send_signal, o->pidfd, SIGKILL, NULL, 0);
            drop(o);
        } else if (o->kill_ms) {
            next_ms = MIN(next_ms, o->kill_ms);
        }
    }
    return next_ms;
}

static void welcome(struct serve *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0 && s->n_tellers < TELLERS_MAX)
        s->tellers[s->n_tellers++] = fd;
    else if (fd >= 0)
        close(fd);
}

static void turn(struct serve *s, int timeout_ms)
{
    struct pollfd p[TELLERS_MAX + 1] = {{.fd = s->listener, .events = POLLIN}};
    size_t n = s->n_tellers;
    for (size_t i = 0; i < n; i++)
        p[i + 1] = (struct pollfd){.fd = s->tellers[i], .events = POLLIN};
    if (poll(p, n + 1, timeout_ms) <= 0)
        return;
    for (size_t i = n; i > 0; i--)
        if (p[i].revents && !hear(s, s->tellers[i - 1])) {
            close(s->tellers[i - 1]);
            s->tellers[i - 1] = s->tellers[--s->n_tellers];
        }
    if (p[0].revents)
        welcome(s);
}

int watchdog_serve(int teller, int listener)
{
    struct serve *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    *s = (struct serve){.listener = listener, .tellers = {teller}, .n_tellers = 1};
    for (;;) {
        uint64_t now_ms = clock_boot_ms(), next_ms = carry_out(s, now_ms);
        if (next_ms == UINT64_MAX && (s->retired || !s->n_tellers))
            break;
        turn(s, (int)MIN(next_ms - now_ms, (uint64_t)TURN_MS));
    }
    for (size_t i = 0; i < s->n_tellers; i++)
        close(s->tellers[i]);
    close(listener);
    free(s);
    return 0;
}
