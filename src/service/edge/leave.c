/* SPDX-License-Identifier: Apache-2.0 */
/* Instances that left: they may be stopped once no request is on its way to them. The main thread
 * asks, each serving thread answers from its own count at the start of its next turn; nothing is
 * counted per request for it. */
#include "service/edge/priv.h"

static bool is_in(const json_t *endpoints, const char *address, int64_t port)
{
    const char *module;
    json_t *list, *p;
    size_t i;
    json_object_foreach ((json_t *)(uintptr_t)endpoints, module, list)
        json_array_foreach (list, i, p)
            if (json_opt_int(p, "port", 0) == port
                && str_eq(json_opt_str(p, "address", NULL), address))
                return true;
    return false;
}

static void add(struct edge *edge, const json_t *p)
{
    struct http_target target = {.port = (uint16_t)json_opt_int(p, "port", 0)};
    if (!ip_parse(json_opt_str(p, "address", ""), &target.address))
        return;
    for (size_t i = 0; i < edge->n_left; i++)
        if (edge->left[i].port == target.port && ip_eq(&edge->left[i].address, &target.address))
            return;
    *GROW(edge->left, edge->n_left, edge->cap_left) = target;
}

/* An address that came back is no leaver any more. */
static void forget_returned(struct edge *edge, const json_t *now)
{
    size_t n = 0;
    for (size_t i = 0; i < edge->n_left; i++) {
        char address[IP_TEXT_SIZE];
        ip_format(&edge->left[i].address, address);
        if (!is_in(now, address, edge->left[i].port))
            edge->left[n++] = edge->left[i];
    }
    edge->n_left = n;
}

void edge_left(struct edge *edge, const json_t *before, const json_t *now)
{
    const char *module;
    json_t *list, *p;
    size_t i;
    forget_returned(edge, now);
    json_object_foreach ((json_t *)(uintptr_t)before, module, list)
        json_array_foreach (list, i, p)
            if (!is_in(now, json_opt_str(p, "address", ""), json_opt_int(p, "port", 0)))
                add(edge, p);
    /* What is being asked is about an older snapshot: ask again when it is answered. */
    edge->asked_before = true;
}

void edge_leave_answer(struct edge_thread *t, unsigned question)
{
    struct edge_check *check = t->edge->check; /* stays until we have answered */
    t->answered = question;
    for (size_t i = 0; i < check->n; i++) {
        unsigned busy = http_server_busy(t->edge->server, t->index, &check->v[i].target);
        if (busy)
            atomic_fetch_add_explicit(&check->v[i].busy, busy, memory_order_relaxed);
    }
    atomic_fetch_sub_explicit(&check->waiting, 1, memory_order_release);
}

static void ask(struct edge *edge)
{
    struct edge_check *c = xcalloc(1, sizeof *c + edge->n_left * sizeof *c->v);
    c->n = edge->n_left;
    for (size_t i = 0; i < c->n; i++)
        c->v[i].target = edge->left[i];
    atomic_store(&c->waiting, edge->threads);
    edge->asked_before = false;
    edge->check = c;
    atomic_fetch_add_explicit(&edge->question, 1, memory_order_release);
    http_server_wake(edge->server);
}

static bool answered_busy(const struct edge_check *c, const struct http_target *target)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i].target.port == target->port && ip_eq(&c->v[i].target.address, &target->address))
            return c->v[i].busy > 0;
    return true; /* it left after the question */
}

static void take_answers(struct edge *edge, struct edge_check *c)
{
    size_t n = 0;
    for (size_t i = 0; i < edge->n_left; i++)
        if (edge->asked_before || answered_busy(c, &edge->left[i]))
            edge->left[n++] = edge->left[i];
    edge->n_left = n;
}

bool edge_quiet(struct edge *edge)
{
    struct edge_check *c = edge->check;
    if (c && atomic_load_explicit(&c->waiting, memory_order_acquire))
        return false;
    if (c) {
        take_answers(edge, c);
        edge_leave_done(edge);
    }
    /* Also with nobody leaving: the threads have the newest snapshot once they have answered. */
    bool quiet = c && !edge->n_left && !edge->asked_before;
    if (!quiet)
        ask(edge);
    return quiet;
}

/* The threads have all answered it, or have ended. */
void edge_leave_done(struct edge *edge)
{
    free(edge->check);
    edge->check = NULL;
}
