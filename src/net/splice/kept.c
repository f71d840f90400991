/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Framed connections between two flows, newest first: the one that was used last is the
 * likeliest to live. One in which anything comes is of no use any more. */
#include "net/splice/priv.h"

#include <sys/epoll.h>

static void drop(struct kept *k)
{
    struct splice_thread *t = k->t;
    side_close(&k->s, false);
    t->n_kept--;
    stat_add(t, SPLICE_STAT_KEPT, (uint64_t)-1);
    k->next = t->dead_kept; /* an event of this round may still name it */
    t->dead_kept = k;
}

static void on_kept(struct splice_source *source, uint32_t events)
{
    struct kept *k = CONTAINER_OF(source, struct kept, s.source);
    size_t got;
    char byte;
    if (k->s.fd < 0)
        return;
    side_events(&k->s, events);
    if (side_read(&k->s, &byte, 1, &got) == IO_WAIT) /* a ticket, or nothing */
        return;
    for (struct kept **at = &k->t->kept; *at; at = &(*at)->next)
        if (*at == k) {
            *at = k->next;
            drop(k);
            return;
        }
}

static bool move(struct splice_thread *t, struct side *to, struct side *from)
{
    struct splice_source source = to->source;
    *to = *from;
    to->source = source;
    from->fd = -1;
    from->ssl = NULL;
    side_renew(to);
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &to->source};
    return epoll_ctl(t->epoll, EPOLL_CTL_MOD, to->fd, &ev) == 0;
}

void kept_put(struct splice_flow *f)
{
    struct splice_thread *t = f->t;
    if (!f->dial.reuse || t->draining || t->n_kept >= KEPT_MAX || f->b.left || f->b.n_length)
        return;
    struct kept *k = xcalloc(1, sizeof *k); /* once per connection, not per flow: they are few */
    *k = (struct kept){.t = t, .reuse = f->dial.reuse, .s.fd = -1};
    k->s.source.ready = on_kept;
    k->until_ms = t->now_ms + t->server->config.keep_ms;
    t->n_kept++;
    stat_add(t, SPLICE_STAT_KEPT, 1);
    if (!move(t, &k->s, &f->b)) {
        drop(k);
        return;
    }
    k->next = t->kept;
    t->kept = k;
}

bool kept_take(struct splice_flow *f)
{
    struct splice_thread *t = f->t;
    for (struct kept **at = &t->kept; *at && f->dial.reuse; at = &(*at)->next) {
        struct kept *k = *at;
        if (k->reuse != f->dial.reuse)
            continue;
        *at = k->next;
        bool moved = move(t, &f->b, &k->s);
        drop(k);
        return moved;
    }
    return false;
}

void kept_sweep(struct splice_thread *t, bool all)
{
    for (struct kept **at = &t->kept; *at;) {
        struct kept *k = *at;
        if (!all && k->until_ms > t->now_ms) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        drop(k);
    }
    while (t->dead_kept) {
        struct kept *k = t->dead_kept;
        t->dead_kept = k->next;
        free(k);
    }
}

/* All are kept equally long: the last of the list ends first, and a second late is soon enough. */
int kept_wait_ms(const struct splice_thread *t)
{
    return t->kept ? 1000 : -1;
}
