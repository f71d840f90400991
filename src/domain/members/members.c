/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/members/members.h"

#include "base/str/str.h"

static const struct members_host *host_of(
    const struct members_input *in, const struct members_actual *m)
{
    for (size_t i = 0; i < in->n_hosts; i++)
        if (!strcmp(in->hosts[i].peer_url, m->peer_url))
            return &in->hosts[i];
    return NULL;
}

static const struct members_actual *member_of(
    const struct members_input *in, const struct members_host *h)
{
    for (size_t i = 0; i < in->n_actual; i++)
        if (!strcmp(in->actual[i].peer_url, h->peer_url))
            return &in->actual[i];
    return NULL;
}

static bool is_healthy(const struct members_host *h)
{
    return h && h->heard && h->running && !h->fresh;
}

static size_t voters(const struct members_input *in, size_t *ret_healthy)
{
    size_t n = 0, healthy = 0;
    for (size_t i = 0; i < in->n_actual; i++) {
        if (in->actual[i].learner)
            continue;
        n++;
        healthy += is_healthy(host_of(in, &in->actual[i]));
    }
    *ret_healthy = healthy;
    return n;
}

/* Enough live to agree on a change now, and enough are left after one less. */
static bool may_remove(const struct members_input *in, const struct members_host *h)
{
    size_t healthy, n = voters(in, &healthy);
    size_t left = healthy - is_healthy(h);
    return n > 1 && healthy >= members_quorum(n) && left >= members_quorum(n - 1);
}

static void say(struct members_step *s, enum members_kind kind, const struct members_host *h,
    uint64_t id, const char *fmt, ...) PRINTF_LIKE(5, 6);

static void say(struct members_step *s, enum members_kind kind, const struct members_host *h,
    uint64_t id, const char *fmt, ...)
{
    va_list ap;
    *s = (struct members_step){.kind = kind, .host = h, .id = id};
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
}

/* A learner first: etcd takes only one at a time. */
static bool tend_learner(const struct members_input *in, struct members_step *s)
{
    for (size_t i = 0; i < in->n_actual; i++) {
        const struct members_actual *m = &in->actual[i];
        const struct members_host *h = host_of(in, m);
        if (!m->learner)
            continue;
        if (!h || !h->declared || (h->fresh && m->started))
            say(s, MEMBERS_REMOVE, h, m->id, "%s", h && h->declared
                    ? "its disk is another now: it starts anew"
                    : "it is not declared any more");
        else if (!h->heard)
            say(s, MEMBERS_NOTHING, h, m->id, "waits for %s, which is not heard", h->name);
        else if (!m->started)
            say(s, MEMBERS_START, h, m->id, "it was added");
        else
            say(s, MEMBERS_PROMOTE, h, m->id, "it has caught up");
        return true;
    }
    return false;
}

/* One whose disk is gone counts for the quorum and can never vote again as what it was. */
static bool drop_lost(const struct members_input *in, struct members_step *s)
{
    for (size_t i = 0; i < in->n_actual; i++) {
        const struct members_actual *m = &in->actual[i];
        const struct members_host *h = host_of(in, m);
        if (m->learner || !h || !h->fresh)
            continue;
        if (may_remove(in, h))
            say(s, MEMBERS_REMOVE, h, m->id, "its disk is another now: it starts anew");
        else
            say(s, MEMBERS_NOTHING, h, m->id,
                "waits to replace the member of %s: too few others live", h->name);
        return true;
    }
    return false;
}

static bool add_missing(const struct members_input *in, struct members_step *s)
{
    size_t healthy, n = voters(in, &healthy);
    for (size_t i = 0; i < in->n_hosts; i++) {
        const struct members_host *h = &in->hosts[i];
        if (!h->declared || member_of(in, h))
            continue;
        if (!h->joined || !h->heard) {
            if (!*s->why)
                say(s, MEMBERS_NOTHING, h, 0, "waits for %s, which %s", h->name,
                    h->joined ? "is not heard" : "has not joined");
            continue; /* another may be there */
        }
        if (healthy >= members_quorum(n))
            say(s, MEMBERS_ADD, h, 0, "it is declared");
        else
            say(s, MEMBERS_NOTHING, h, 0, "waits to add %s: too few members live", h->name);
        return true;
    }
    return false;
}

/* Those that are missing come first, so that the number does not fall below what is declared; but
 * one that is away for good must not keep an undeclared one for ever. */
static bool drop_undeclared(const struct members_input *in, struct members_step *s)
{
    for (size_t i = 0; i < in->n_actual; i++) {
        const struct members_actual *m = &in->actual[i];
        const struct members_host *h = host_of(in, m);
        if (m->learner || (h && h->declared))
            continue;
        if (may_remove(in, h))
            say(s, MEMBERS_REMOVE, h, m->id, "it is not declared any more");
        else
            say(s, MEMBERS_NOTHING, h, m->id, "waits to remove %s: too few others live",
                h ? h->name : m->peer_url);
        return true;
    }
    return false;
}

static bool stop_strays(const struct members_input *in, struct members_step *s)
{
    for (size_t i = 0; i < in->n_hosts; i++) {
        const struct members_host *h = &in->hosts[i];
        if (h->has_unit && h->heard && !h->declared && !member_of(in, h)) {
            say(s, MEMBERS_STOP, h, 0, "it is no member any more");
            return true;
        }
    }
    return false;
}

void members_next(const struct members_input *in, struct members_step *ret)
{
    *ret = (struct members_step){.kind = MEMBERS_NOTHING};
    if (!in->n_actual)
        return; /* nothing is known */
    (void)(tend_learner(in, ret) || drop_lost(in, ret) || add_missing(in, ret)
           || drop_undeclared(in, ret) || stop_strays(in, ret));
}
