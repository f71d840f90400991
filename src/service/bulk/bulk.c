/* SPDX-License-Identifier: Apache-2.0 */
#include "service/bulk/priv.h"

#include "base/str/str.h"

#include <signal.h>

#define TLS_OLD_MS 30000u

struct bulk_pull {
    struct bulk_pull *next, **prev;
    struct bulk *owner;
    uint64_t id;
    struct bulk_request_events events;
};

/* ---- letters */

struct letter *letter_new(enum letter_kind kind, uint64_t id)
{
    struct letter *l = xcalloc(1, sizeof *l);
    l->kind = kind;
    l->id = id;
    l->fd = -1;
    return l;
}

void letter_free(struct letter *l)
{
    if (l->fd >= 0)
        close(l->fd);
    free(l->targets);
    free(l->addresses);
    free(l);
}

void letter_send(struct bulk *b, struct post *to, struct letter *l)
{
    pthread_mutex_lock(&b->lock);
    *to->tail = l;
    to->tail = &l->next;
    pthread_mutex_unlock(&b->lock);
    uv_async_send(&to->bell);
}

static struct letter *take_all(struct bulk *b, struct post *from)
{
    pthread_mutex_lock(&b->lock);
    struct letter *all = from->first;
    from->first = NULL;
    from->tail = &from->first;
    pthread_mutex_unlock(&b->lock);
    return all;
}

/* ---- the thread */

int bulk_tls(struct bulk *b, bool server, SSL_CTX **ret, struct err *e)
{
    SSL_CTX **kept = server ? &b->server_ctx : &b->client_ctx;
    uint64_t *made = server ? &b->server_made_ms : &b->client_made_ms;
    uint64_t now = uv_now(&b->loop);
    if (!*kept || now - *made > TLS_OLD_MS) {
        SSL_CTX *fresh = NULL;
        struct tls_files files = {b->ca, b->cert, b->key};
        int r = tls_ctx_mutual_new(&files, server, &fresh, e);
        if (r < 0)
            return r;
        SSL_CTX_free(*kept);
        *kept = fresh;
        *made = now;
    }
    *ret = *kept;
    return 0;
}

static void stop_thread(struct bulk *b)
{
    b->stopping = true;
    serve_stop(b);
    fetch_stop(b);
    uv_close((uv_handle_t *)&b->to_thread.bell, NULL);
}

static void on_letters(uv_async_t *bell)
{
    struct bulk *b = bell->data;
    for (struct letter *l = take_all(b, &b->to_thread), *next; l; l = next) {
        next = l->next;
        l->next = NULL;
        if (l->kind == L_PULL && !b->stopping) {
            fetch_start(b, l);
            continue;
        }
        if (l->kind == L_CANCEL)
            fetch_cancel(b, l->id);
        else if (l->kind == L_OPENED)
            serve_opened(b, l);
        else if (l->kind == L_STOP)
            stop_thread(b);
        letter_free(l);
    }
}

static void *run_thread(void *arg)
{
    struct bulk *b = arg;
    serve_start(b);
    uv_run(&b->loop, UV_RUN_DEFAULT); /* until stop_thread() and all that it closed */
    uv_loop_close(&b->loop);
    SSL_CTX_free(b->server_ctx);
    SSL_CTX_free(b->client_ctx);
    return NULL;
}

/* ---- the owner's side */

static struct bulk_pull *find(struct bulk *b, uint64_t id)
{
    for (struct bulk_pull *p = b->pulls; p; p = p->next)
        if (p->id == id)
            return p;
    return NULL;
}

static void drop(struct bulk_pull *p)
{
    *p->prev = p->next;
    if (p->next)
        p->next->prev = p->prev;
    free(p);
}

static void deliver(struct bulk *b, const struct letter *l)
{
    if (l->kind == L_OPEN) {
        b->handler.open(b->ctx, l->id, l->host, l->request.kind, l->request.digest);
        return;
    }
    struct bulk_pull *p = find(b, l->id);
    if (!p)
        return; /* cancelled meanwhile */
    struct bulk_request_events ev = p->events;
    if (l->kind == L_PROGRESS) {
        if (ev.progress)
            ev.progress(ev.ctx, l->have, l->size, l->host);
        return;
    }
    drop(p);
    ev.done(ev.ctx, l->host, l->why.code ? &l->why : NULL);
}

static void on_answers(uv_async_t *bell)
{
    struct bulk *b = bell->data;
    for (struct letter *l = take_all(b, &b->to_owner), *next; l; l = next) {
        next = l->next;
        if (!b->closing)
            deliver(b, l);
        letter_free(l);
    }
}

static void on_owner_closed(uv_handle_t *h)
{
    struct bulk *b = h->data;
    pthread_mutex_destroy(&b->lock);
    free(b->platform);
    free(b->host);
    free(b->ca);
    free(b->cert);
    free(b->key);
    free(b->listen_fds);
    free(b->listeners);
    free(b);
}

static struct bulk *make(uv_loop_t *loop, const struct bulk_config *c, const struct bulk_handler *h)
{
    struct bulk *b = xcalloc(1, sizeof *b);
    b->owner_loop = loop;
    b->handler = *h;
    b->platform = xstrdup(c->platform);
    b->host = xstrdup(c->host);
    b->ca = xstrdup(c->tls.ca);
    b->cert = xstrdup(c->tls.cert);
    b->key = xstrdup(c->tls.key);
    b->source = c->source;
    b->port = c->port ? c->port : BULK_PORT;
    b->n_listeners = c->n_listen;
    b->listen_fds = xcalloc(c->n_listen + 1, sizeof *b->listen_fds);
    b->listeners = xcalloc(c->n_listen + 1, sizeof *b->listeners);
    for (size_t i = 0; i < c->n_listen; i++)
        b->listen_fds[i] = c->listen_fds[i];
    pthread_mutex_init(&b->lock, NULL);
    b->to_thread.tail = &b->to_thread.first;
    b->to_owner.tail = &b->to_owner.first;
    return b;
}

int bulk_new(uv_loop_t *loop, const struct bulk_config *c, const struct bulk_handler *h, void *ctx,
    struct bulk **ret, struct err *e)
{
    struct bulk *b = make(loop, c, h);
    b->ctx = ctx;
    ASSERT(uv_loop_init(&b->loop) == 0);
    ASSERT(uv_async_init(&b->loop, &b->to_thread.bell, on_letters) == 0);
    ASSERT(uv_async_init(loop, &b->to_owner.bell, on_answers) == 0);
    b->to_thread.bell.data = b->to_owner.bell.data = b;
    /* Signals are the owner's affair. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&b->thread, NULL, run_thread, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        uv_close((uv_handle_t *)&b->to_thread.bell, NULL);
        uv_run(&b->loop, UV_RUN_DEFAULT);
        uv_loop_close(&b->loop);
        uv_close((uv_handle_t *)&b->to_owner.bell, on_owner_closed);
        return err_errno(e, failed, "start the thread of transfers");
    }
    *ret = b;
    return 0;
}

void bulk_free(struct bulk *b)
{
    if (!b)
        return;
    b->closing = true;
    letter_send(b, &b->to_thread, letter_new(L_STOP, 0));
    pthread_join(b->thread, NULL);
    for (struct letter *l = take_all(b, &b->to_thread), *next; l; l = next) {
        next = l->next;
        letter_free(l);
    }
    for (struct letter *l = take_all(b, &b->to_owner), *next; l; l = next) {
        next = l->next;
        letter_free(l);
    }
    while (b->pulls)
        drop(b->pulls);
    uv_close((uv_handle_t *)&b->to_owner.bell, on_owner_closed);
}

void bulk_opened(struct bulk *b, uint64_t ticket, int fd, const struct err *why)
{
    struct letter *l = letter_new(L_OPENED, ticket);
    l->fd = fd;
    if (fd < 0)
        l->why = *why;
    letter_send(b, &b->to_thread, l);
}

static void copy_targets(struct letter *l, const struct bulk_target *targets, size_t n)
{
    size_t all = 0, at = 0;
    n = MIN(n, (size_t)BULK_TARGETS_MAX);
    for (size_t i = 0; i < n; i++)
        all += targets[i].n_addresses;
    l->targets = xcalloc(n + 1, sizeof *l->targets);
    l->addresses = xcalloc(all + 1, sizeof *l->addresses);
    for (size_t i = 0; i < n; i++) {
        l->targets[i] = targets[i];
        l->targets[i].addresses = l->addresses + at;
        for (size_t k = 0; k < targets[i].n_addresses; k++)
            l->addresses[at++] = targets[i].addresses[k];
    }
    l->n_targets = n;
}

struct bulk_pull *bulk_pull(struct bulk *b, const struct bulk_request *request, int fd,
    const struct bulk_target *targets, size_t n, const struct bulk_request_events *events)
{
    struct bulk_pull *p = xcalloc(1, sizeof *p);
    *p = (struct bulk_pull){
        .next = b->pulls, .prev = &b->pulls, .owner = b, .id = ++b->last_id, .events = *events};
    if (p->next)
        p->next->prev = &p->next;
    b->pulls = p;
    struct letter *l = letter_new(L_PULL, p->id);
    l->request = *request;
    l->fd = fd;
    copy_targets(l, targets, n);
    letter_send(b, &b->to_thread, l);
    return p;
}

void bulk_pull_cancel(struct bulk_pull *p)
{
    letter_send(p->owner, &p->owner->to_thread, letter_new(L_CANCEL, p->id));
    drop(p);
}
