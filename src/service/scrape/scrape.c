/* SPDX-License-Identifier: Apache-2.0 */
/* Deliberately not the edge's HTTP server: a scraper needs one method, one path, no body and no
 * keep-alive. */
#include "service/scrape/scrape.h"

#include <sys/socket.h>

#define CLIENTS_MAX 16
#define REQUEST_MAX 4096
#define DEADLINE_MS 5000

struct listener {
    struct scrape *owner;
    uv_poll_t poll;
    int fd;
};

struct scrape {
    uv_loop_t *loop;
    scrape_fn fn;
    void *ctx;
    struct listener *listeners;
    size_t n_listeners;
    size_t n_clients;
    int refs;
    struct ip_prefix strangers;
};

struct scrape_answer {
    struct scrape *owner;
    uv_poll_t poll;
    uv_timer_t deadline;
    int fd;
    int open_handles;
    bool asked;  /* the callback has it */
    bool closed; /* the client is gone: freed when the callback gives it back */
    struct str in, out;
    size_t sent;
};

static void unref(struct scrape *s)
{
    if (--s->refs > 0)
        return;
    free(s->listeners);
    free(s);
}

static void maybe_free(struct scrape_answer *a)
{
    if (a->open_handles || a->asked)
        return;
    struct scrape *s = a->owner;
    str_done(&a->in);
    str_done(&a->out);
    s->n_clients--;
    free(a);
    unref(s);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct scrape_answer *a = h->data;
    a->open_handles--;
    maybe_free(a);
}

static void drop(struct scrape_answer *a)
{
    if (a->closed)
        return;
    a->closed = true;
    uv_poll_stop(&a->poll);
    uv_close((uv_handle_t *)&a->poll, on_handle_closed);
    uv_close((uv_handle_t *)&a->deadline, on_handle_closed);
    close(a->fd);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct scrape_answer *a = CONTAINER_OF(poll, struct scrape_answer, poll);
    ssize_t n =
        send(a->fd, a->out.buf + a->sent, a->out.len - a->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        a->sent += (size_t)n;
    if (n <= 0 || a->sent == a->out.len)
        drop(a);
}

static void answer(
    struct scrape_answer *a, const char *status, const char *type, const char *body, size_t len)
{
    str_addf(&a->out,
        "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
        status, type, len);
    str_add_mem(&a->out, body, len);
    uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
}

static void refuse(struct scrape_answer *a, const char *status)
{
    answer(a, status, "text/plain", "try GET /metrics\n", strlen("try GET /metrics\n"));
}

void scrape_reply(struct scrape_answer *a, const struct str *text)
{
    a->asked = false;
    if (a->closed)
        maybe_free(a);
    else
        answer(a, "200 OK", "text/plain; version=0.0.4; charset=utf-8", str_cstr(text), text->len);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct scrape_answer *a = CONTAINER_OF(poll, struct scrape_answer, poll);
    char buf[1024];
    ssize_t n = recv(a->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n <= 0 || a->in.len + (size_t)n > REQUEST_MAX) {
        drop(a);
        return;
    }
    str_add_mem(&a->in, buf, (size_t)n);
    if (!strstr(a->in.buf, "\r\n\r\n"))
        return;
    uv_poll_stop(poll);
    if (!strncmp(a->in.buf, "GET /metrics ", strlen("GET /metrics "))) {
        a->asked = true;
        a->owner->fn(a->owner->ctx, a);
    } else {
        refuse(a, strncmp(a->in.buf, "GET ", 4) != 0 ? "405 Method Not Allowed" : "404 Not Found");
    }
}

static void on_deadline(uv_timer_t *t)
{
    drop(CONTAINER_OF(t, struct scrape_answer, deadline));
}

static void take(struct scrape *s, int fd)
{
    struct scrape_answer *a = xcalloc(1, sizeof *a);
    *a = (struct scrape_answer){.owner = s, .fd = fd, .open_handles = 2};
    ASSERT(uv_poll_init(s->loop, &a->poll, fd) == 0);
    uv_timer_init(s->loop, &a->deadline);
    a->poll.data = a->deadline.data = a;
    s->n_clients++;
    s->refs++;
    uv_poll_start(&a->poll, UV_READABLE, on_readable);
    uv_timer_start(&a->deadline, on_deadline, DEADLINE_MS, 0);
}

static bool is_stranger(const struct scrape *s, const struct sockaddr *sa)
{
    struct ip_addr a;
    uint16_t port;
    return s->strangers.addr.family
           && (!ip_from_sockaddr(sa, &a, &port) || ip_prefix_contains(&s->strangers, &a));
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *l = CONTAINER_OF(poll, struct listener, poll);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (l->owner->n_clients >= CLIENTS_MAX || is_stranger(l->owner, (struct sockaddr *)&sa))
        close(fd);
    else
        take(l->owner, fd);
}

int scrape_new(uv_loop_t *loop, const int *listen_fds, size_t n, const struct ip_prefix *strangers,
    scrape_fn fn, void *ctx, struct scrape **ret, struct err *e)
{
    struct scrape *s = xcalloc(1, sizeof *s);
    *s = (struct scrape){.loop = loop,
        .fn = fn,
        .ctx = ctx,
        .strangers = strangers ? *strangers : (struct ip_prefix){.bits = 0},
        .refs = 1,
        .listeners = xcalloc(n, sizeof *s->listeners)};
    for (size_t i = 0; i < n; i++) {
        struct listener *l = &s->listeners[i];
        *l = (struct listener){.owner = s, .fd = listen_fds[i]};
        int r = uv_poll_init(loop, &l->poll, l->fd);
        if (r < 0) {
            scrape_free(s);
            return err_set(e, ERR_SYSTEM, "watch the metrics socket: %s", uv_strerror(r));
        }
        uv_poll_start(&l->poll, UV_READABLE, on_connection);
        s->n_listeners++;
        s->refs++;
    }
    *ret = s;
    return 0;
}

static void on_listener_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF(h, struct listener, poll)->owner);
}

void scrape_free(struct scrape *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_listeners; i++)
        uv_close((uv_handle_t *)&s->listeners[i].poll, on_listener_closed);
    s->n_listeners = 0;
    unref(s);
}
