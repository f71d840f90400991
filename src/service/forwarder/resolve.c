/* SPDX-License-Identifier: Apache-2.0 */
/* A stub resolver for one question: each name server in turn, from the buyer's address, so that the
 * answer is the one that this buyer gets. No cache: what the browser sees is what the platform
 * answers now. */
#include "service/forwarder/priv.h"

#include "base/rnd/rnd.h"
#include "proto/dns/dns.h"

#define TRY_MS 1000
#define TRIES_PER_SERVER 2

struct resolve {
    struct forwarder *forwarder;
    uv_udp_t udp;
    uv_timer_t timer;
    unsigned open_handles;
    bool done;
    unsigned tries;
    struct dns_asked asked;
    char name[SNIFF_NAME_SIZE];
    uint8_t answer[2048];
    resolve_fn fn;
    void *ctx;
};

static void on_handle_closed(uv_handle_t *h)
{
    struct resolve *q = h->data;
    if (--q->open_handles == 0)
        free(q);
}

static void end(struct resolve *q)
{
    q->done = true;
    uv_close((uv_handle_t *)&q->udp, on_handle_closed);
    uv_close((uv_handle_t *)&q->timer, on_handle_closed);
}

void resolve_cancel(struct resolve *q)
{
    if (!q->done)
        end(q);
}

static void finish(struct resolve *q, const struct ip_addr *address, const struct err *e)
{
    end(q);
    q->fn(q->ctx, address, e);
}

static void give_up(struct resolve *q, const char *why)
{
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "%s: %s", q->name, why);
    finish(q, NULL, &e);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct resolve *q = h->data;
    *buf = uv_buf_init((char *)q->answer, sizeof q->answer);
}

static void on_answer(
    uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    struct resolve *q = udp->data;
    struct dns_answer answer;
    char why[64];
    if (n <= 0 || !from || q->done || !dns_answer_read(q->answer, (size_t)n, &q->asked, &answer))
        return;
    if (answer.n) {
        finish(q, &answer.addresses[0], NULL);
        return;
    }
    snprintf(why, sizeof why, "the platform's DNS says %s",
        answer.rcode ? dns_rcode_name(answer.rcode) : "it has no address");
    give_up(q, why);
}

static void ask(struct resolve *q)
{
    struct forwarder *f = q->forwarder;
    uint8_t message[DNS_UDP_MIN];
    struct dns_writer w;
    struct sockaddr_storage to;
    socklen_t len;
    dns_writer_init(&w, message, sizeof message, q->asked.id, 0);
    dns_write_question(&w, q->asked.name, q->asked.name_size, q->asked.type, DNS_IN);
    uv_buf_t buf = uv_buf_init((char *)message, (unsigned)dns_writer_finish(&w));
    ip_to_sockaddr(&f->nameservers[q->tries++ % f->n_nameservers], 53, &to, &len);
    uv_udp_try_send(&q->udp, &buf, 1,
        (struct sockaddr *)&to); /* not sent is as good as lost: the timer asks again */
}

static void on_timer(uv_timer_t *t)
{
    struct resolve *q = t->data;
    if (q->tries >= q->forwarder->n_nameservers * TRIES_PER_SERVER)
        give_up(q, "no name server answers");
    else
        ask(q);
}

static int open_udp(struct resolve *q, struct err *e)
{
    struct sockaddr_storage from;
    socklen_t len;
    ip_to_sockaddr(&q->forwarder->buyer, 0, &from, &len);
    int r = uv_udp_bind(&q->udp, (struct sockaddr *)&from, 0);
    if (r == 0)
        r = uv_udp_recv_start(&q->udp, on_alloc, on_answer);
    return r < 0 ? err_set(e, ERR_SYSTEM, "ask from the buyer's address: %s", uv_strerror(r)) : 0;
}

int resolve_start(struct forwarder *f, const char *name, resolve_fn fn, void *ctx,
    struct resolve **ret, struct err *e)
{
    struct resolve *q = xcalloc(1, sizeof *q);
    if (!f->n_nameservers || !dns_name_parse(name, q->asked.name, &q->asked.name_size)) {
        free(q);
        return err_set(e, ERR_INVALID, "'%s' cannot be asked for", name);
    }
    q->forwarder = f;
    q->fn = fn;
    q->ctx = ctx;
    q->asked.type = f->buyer.family == 6 ? DNS_AAAA : DNS_A;
    str_copy(q->name, sizeof q->name, name);
    rnd_bytes(&q->asked.id, sizeof q->asked.id);
    uv_udp_init(&f->loop, &q->udp);
    uv_timer_init(&f->loop, &q->timer);
    q->udp.data = q->timer.data = q;
    q->open_handles = 2;
    int r = open_udp(q, e);
    if (r < 0) {
        end(q);
        return r;
    }
    ask(q);
    uv_timer_start(&q->timer, on_timer, TRY_MS, TRY_MS);
    *ret = q;
    return 0;
}
