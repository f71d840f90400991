/* SPDX-License-Identifier: Apache-2.0 */
/* How far the clocks of the others are off: each that is linked is asked every PEERS_CLOCK_MS, and
 * asked again at once after a jump shows. */
#include "service/peers/priv.h"

#include "base/clock/clock.h"

#define CLOCK_TIMEOUT_MS 4000u

struct exchange {
    struct peers *owner;
    char host[HOST_SIZE];
    int64_t t1;
};

static struct link *find_link(const struct peers *p, const char *host)
{
    for (struct link *l = p->links; l; l = l->next)
        if (!strcmp(l->host, host))
            return l;
    return NULL;
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct exchange *x = ctx;
    struct err e;
    int64_t t2, t3, t4 = clock_wall_us();
    if (more)
        return;
    struct link *l = error || x->owner->closing ? NULL : find_link(x->owner, x->host);
    /* One of an older release does not know the question. */
    if (l && json_get_int(result, "t2", 0, INT64_MAX, &t2, &e) >= 0
        && json_get_int(result, "t3", 0, INT64_MAX, &t3, &e) >= 0)
        offset_add(&l->clock, x->t1, t2, t3, t4, clock_boot_ns() / 1000);
    peers_unref(x->owner);
    free(x);
}

static void ask(struct link *l)
{
    struct exchange *x = xcalloc(1, sizeof *x);
    *x = (struct exchange){.owner = l->owner, .t1 = clock_wall_us()};
    memcpy(x->host, l->host, sizeof x->host);
    l->owner->refs++;
    rpc_call(l->conn, "clock", NULL, CLOCK_TIMEOUT_MS, on_answer, x);
}

static void on_timer(uv_timer_t *t)
{
    struct peers *p = t->data;
    for (struct link *l = p->links; l; l = l->next)
        if (l->state == LINK_UP)
            ask(l);
}

void peers_clock_answer(struct rpc_req *req)
{
    int64_t t2 = clock_wall_us();
    rpc_reply(req, json_pack("{s:I,s:I}", "t2", (json_int_t)t2, "t3", (json_int_t)clock_wall_us()));
}

bool peers_clock(const struct peers *p, const char *host, struct offset_sample *ret)
{
    struct link *l = find_link(p, host);
    return l && offset_get(&l->clock, ret);
}

static void on_closed(uv_handle_t *h)
{
    peers_unref(h->data);
}

void peers_clock_start(struct peers *p)
{
    uv_timer_init(p->loop, &p->clock_timer);
    p->clock_timer.data = p;
    p->refs++;
    uv_timer_start(&p->clock_timer, on_timer, PEERS_CLOCK_MS / 4, PEERS_CLOCK_MS);
}

void peers_clock_stop(struct peers *p)
{
    uv_close((uv_handle_t *)&p->clock_timer, on_closed);
}
