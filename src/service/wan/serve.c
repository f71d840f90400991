/* SPDX-License-Identifier: Apache-2.0 */
/* The process around the switch: TUN descriptors in, packets through, requests answered. */
#include "service/wan/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "service/lab/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define BATCH 64 /* packets of one endpoint before the others and the queue get their turn */
#define CONFIG_MAX (1024u * 1024)
#define CONNS_MAX (WAN_ENDPOINTS_MAX + 32)

enum source_kind { SOURCE_LISTEN, SOURCE_TIMER, SOURCE_CONN, SOURCE_TUN };

struct source { /* what epoll points to; the first member of what it is */
    enum source_kind kind;
    int fd;
};

struct conn { /* an asker; one that attached is its endpoint's life line */
    struct source source;
    struct conn *next;
    char *endpoint; /* attached, or NULL */
    struct source tun;
    int index; /* of the endpoint under the present configuration, -1: gone from it */
    bool dead; /* freed after the batch of events */
};

struct server {
    struct wan *wan;
    int epoll;
    struct source listen, timer;
    struct conn *conns;
    size_t n_conns;
    struct conn *by_endpoint[WAN_ENDPOINTS_MAX];
    uint64_t timer_set_ns;
};

static int watch(struct server *s, struct source *src, struct err *e)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = src};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, src->fd, &ev) < 0 ? err_errno(e, errno, "epoll") : 0;
}

/* A device that takes nothing (down, dying) loses the packet, as a wire would. */
static void deliver(void *ctx, unsigned endpoint, const void *packet, size_t len)
{
    struct server *s = ctx;
    struct conn *c = s->by_endpoint[endpoint];
    if (c && write(c->tun.fd, packet, len) < 0 && errno != EAGAIN && errno != EIO)
        log_debug("wan", "cannot deliver", "endpoint=%s errno=%d", c->endpoint, errno);
}

/* Connects endpoints with the connections that attached them, after either changed. */
static void bind_endpoints(struct server *s)
{
    memset(s->by_endpoint, 0, sizeof s->by_endpoint);
    for (struct conn *c = s->conns; c; c = c->next) {
        c->index = c->endpoint ? wan_endpoint(s->wan, c->endpoint) : -1;
        if (c->index < 0)
            continue;
        s->by_endpoint[c->index] = c;
        wan_attach(s->wan, (unsigned)c->index, true);
    }
}

static void detach(struct server *s, struct conn *c)
{
    if (!c->endpoint)
        return;
    if (c->index >= 0) {
        wan_attach(s->wan, (unsigned)c->index, false);
        s->by_endpoint[c->index] = NULL;
    }
    /* Closing alone would not end the watch: the machine holds a copy of the same open file. */
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, c->tun.fd, NULL);
    close(c->tun.fd);
    c->tun.fd = -1;
    free(c->endpoint);
    c->endpoint = NULL;
    c->index = -1;
}

static void conn_end(struct server *s, struct conn *c)
{
    if (c->dead)
        return;
    detach(s, c);
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, c->source.fd, NULL);
    close(c->source.fd);
    c->dead = true;
}

/* Events of the same batch may still point to the dead; this runs after it. */
static void free_dead(struct server *s)
{
    for (struct conn **link = &s->conns; *link;) {
        struct conn *c = *link;
        if (!c->dead) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        s->n_conns--;
        free(c);
    }
}

static int accept_conn(struct server *s, struct err *e)
{
    int fd = accept4(s->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED
                   ? 0
                   : err_errno(e, errno, "accept");
    if (s->n_conns >= CONNS_MAX) {
        close(fd);
        return 0;
    }
    struct conn *c = xcalloc(1, sizeof *c);
    *c = (struct conn){
        .source = {SOURCE_CONN, fd}, .next = s->conns, .tun = {SOURCE_TUN, -1}, .index = -1};
    s->conns = c;
    s->n_conns++;
    return watch(s, &c->source, e);
}

static int read_config(int fd, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (;;) {
        str_reserve(&text, 65536);
        ssize_t n = pread(fd, text.buf + text.len, 65536, (off_t)text.len);
        if (n < 0)
            return err_errno(e, errno, "read the WAN's configuration");
        if (n == 0)
            return json_parse(str_cstr(&text), text.len, ret, e);
        text.len += (size_t)n;
        text.buf[text.len] = '\0';
        if (text.len > CONFIG_MAX)
            return err_set(e, ERR_LIMIT, "the WAN's configuration is over %u bytes", CONFIG_MAX);
    }
}

static int configure(struct server *s, int fd, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    int r = fd < 0 ? err_set(e, ERR_INVALID, "no configuration passed") : read_config(fd, &j, e);
    if (r >= 0)
        r = wan_configure(s->wan, j, e);
    if (r >= 0)
        bind_endpoints(s);
    return r;
}

static int attach(struct server *s, struct conn *c, const char *name, int *tun, struct err *e)
{
    int index = wan_endpoint(s->wan, name);
    if (index < 0)
        return err_set(e, ERR_NOT_FOUND, "no endpoint %s", name);
    if (*tun < 0 || c->endpoint)
        return err_set(e, ERR_INVALID, "attach needs one TUN descriptor a connection");
    int flags = fcntl(*tun, F_GETFL);
    if (flags < 0 || fcntl(*tun, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(e, errno, "TUN descriptor");
    if (s->by_endpoint[index])
        conn_end(
            s, s->by_endpoint[index]); /* of a machine that died and came back before we noticed */
    c->tun.fd = util_steal_fd(tun);
    c->endpoint = xstrdup(name);
    bind_endpoints(s);
    return watch(s, &c->tun, e);
}

static int detach_named(struct server *s, const char *name, struct err *e)
{
    int index = wan_endpoint(s->wan, name);
    if (index < 0)
        return err_set(e, ERR_NOT_FOUND, "no endpoint %s", name);
    if (s->by_endpoint[index])
        conn_end(s, s->by_endpoint[index]);
    return 0;
}

static void reply_status(struct server *s, int fd)
{
    _cleanup_json_ json_t *j = json_pack("{s:o}", "status", wan_status(s->wan));
    struct err e;
    if (msg_send(fd, j, -1, &e) < 0)
        log_debug("wan", "cannot answer", "error=%s", e.message);
}

static void request(struct server *s, struct conn *c, const json_t *j, int *fd)
{
    const char *op = json_opt_str(j, "op", ""), *endpoint = json_opt_str(j, "endpoint", "");
    struct err e = {0};
    int r;
    if (!strcmp(op, "status")) {
        reply_status(s, c->source.fd);
        return;
    }
    if (!strcmp(op, "attach"))
        r = attach(s, c, endpoint, fd, &e);
    else if (!strcmp(op, "detach"))
        r = detach_named(s, endpoint, &e);
    else if (!strcmp(op, "configure"))
        r = configure(s, *fd, &e);
    else
        r = err_set(&e, ERR_INVALID, "unknown request '%s'", op);
    msg_reply(c->source.fd, r, &e);
}

static void on_conn(struct server *s, struct conn *c)
{
    if (c->dead)
        return;
    _cleanup_json_ json_t *j = NULL;
    _cleanup_close_ int fd = -1;
    struct err e = {0};
    int r = msg_recv(c->source.fd, &j, &fd, &e);
    if (r == ERR_UNAVAILABLE)
        return;
    if (r > 0)
        request(s, c, j, &fd);
    else
        conn_end(s, c);
}

static void on_tun(struct server *s, struct conn *c)
{
    uint8_t packet[WAN_MTU + 1];
    uint64_t now_ns = clock_boot_ns();
    for (int i = 0; i < BATCH && !c->dead && c->tun.fd >= 0; i++) {
        ssize_t n = read(c->tun.fd, packet, sizeof packet);
        if (n < 0)
            return; /* EAGAIN; or the device is down or gone, which its machine will tell */
        if (c->index >= 0)
            wan_input(s->wan, (unsigned)c->index, packet, (size_t)n, now_ns);
    }
}

static int arm_timer(struct server *s, uint64_t due_ns, struct err *e)
{
    if (due_ns == s->timer_set_ns)
        return 0;
    struct itimerspec t = {0};
    if (due_ns != WAN_NEVER) {
        t.it_value.tv_sec = (time_t)(due_ns / 1000000000u);
        t.it_value.tv_nsec = (long)(due_ns % 1000000000u);
    }
    s->timer_set_ns = due_ns;
    return timerfd_settime(s->timer.fd, TFD_TIMER_ABSTIME, &t, NULL) < 0
               ? err_errno(e, errno, "timer")
               : 0;
}

static int on_event(struct server *s, struct source *src, struct err *e)
{
    uint64_t expirations;
    switch (src->kind) {
    case SOURCE_LISTEN:
        return accept_conn(s, e);
    case SOURCE_TIMER:
        if (read(src->fd, &expirations, sizeof expirations) > 0)
            s->timer_set_ns = WAN_NEVER;
        return 0;
    case SOURCE_CONN:
        on_conn(s, CONTAINER_OF(src, struct conn, source));
        return 0;
    case SOURCE_TUN:
        on_tun(s, CONTAINER_OF(src, struct conn, tun));
        return 0;
    }
    return 0;
}

static int loop(struct server *s, struct err *e)
{
    for (;;) {
        struct epoll_event events[32];
        int n = epoll_wait(s->epoll, events, ARRAY_SIZE(events), -1);
        if (n < 0 && errno != EINTR)
            return err_errno(e, errno, "epoll");
        int r = 0;
        for (int i = 0; i < n && r >= 0; i++)
            r = on_event(s, events[i].data.ptr, e);
        if (r >= 0)
            r = arm_timer(s, wan_run(s->wan, clock_boot_ns()), e);
        if (r < 0)
            return r;
        free_dead(s);
    }
}

static int open_server(struct server *s, int listen_fd, struct err *e)
{
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->timer =
        (struct source){SOURCE_TIMER, timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
    s->listen = (struct source){SOURCE_LISTEN, listen_fd};
    s->timer_set_ns = WAN_NEVER;
    if (s->epoll < 0 || s->timer.fd < 0)
        return err_errno(e, errno, "epoll");
    int flags = fcntl(listen_fd, F_GETFL);
    if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(e, errno, "listening socket");
    int r = watch(s, &s->timer, e);
    return r < 0 ? r : watch(s, &s->listen, e);
}

int wan_serve(int listen_fd, int config_fd, int (*lock_in)(struct err *e), struct err *e)
{
    struct server s = {0};
    s.wan = wan_new(deliver, &s);
    int r = open_server(&s, listen_fd, e);
    if (r >= 0)
        r = configure(&s, config_fd, e);
    if (r >= 0 && lock_in)
        r = lock_in(e);
    return r < 0 ? r : loop(&s, e);
}
