/* SPDX-License-Identifier: Apache-2.0 */
/* Names outside, asked of this host's resolver from an address of the bridge, as units do: IPv4
 * first, then IPv6. One socket a thread; who waits asks again when nothing comes. */
#include "service/mesh/priv.h"

#include "base/rnd/rnd.h"
#include "proto/dns/dns.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ANSWER_MAX 4096
#define ANSWERS_PER_EVENT 64

void resolve_forget(struct worker *w, struct flow *flow)
{
    if (flow->out.ask)
        w->asks[flow->out.ask - 1].f = NULL;
    flow->out.ask = 0;
}

static void keep_address(struct outside *out, const uint8_t *bytes, size_t size)
{
    struct ip_addr a = {.family = size == 4 ? 4 : 6};
    memcpy(a.bytes, bytes, size);
    if (mesh_is_inside(&a))
        out->inside = true;
    else if (out->n_addresses < ASK_ADDRESSES_MAX)
        out->addresses[out->n_addresses++] = a;
}

/* False: not an answer to that question. */
static bool read_answer(
    const struct ask *ask, struct outside *out, const uint8_t *msg, size_t len)
{
    struct dns_walk walk;
    struct dns_rr rr;
    enum dns_section section;
    uint8_t name[DNS_NAME_MAX];
    size_t size;
    if (!dns_walk_init(&walk, msg, len) || !(dns_get16(msg + 2) & DNS_QR)
        || !dns_name_parse(out->name, name, &size) || dns_walk_next(&walk, &rr, &section) != 1
        || section != DNS_QUESTION || rr.type != ask->type
        || !dns_name_eq(rr.name, rr.name_size, name, size))
        return false;
    size_t wanted = ask->type == DNS_A ? 4 : 16;
    while (dns_walk_next(&walk, &rr, &section) == 1)
        if (section == DNS_ANSWER && rr.type == ask->type && rr.rdata_size == wanted)
            keep_address(out, msg + rr.rdata_offset, wanted);
    return true;
}

static struct ask *find_ask(struct worker *w, uint16_t id)
{
    struct ask *a = &w->asks[id % ASKS_MAX];
    return a->f && a->id == id ? a : NULL;
}

static bool send_question(struct worker *w, const struct ask *a, const struct outside *out)
{
    uint8_t name[DNS_NAME_MAX], msg[512];
    size_t size;
    struct dns_writer q;
    if (!dns_name_parse(out->name, name, &size))
        return false;
    dns_writer_init(&q, msg, sizeof msg, a->id, DNS_RD);
    dns_write_question(&q, name, size, a->type, DNS_IN);
    size_t len = dns_writer_finish(&q);
    return len && send(w->resolver, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static void take_answer(struct worker *w, const uint8_t *msg, size_t len)
{
    struct ask *a = len >= 12 ? find_ask(w, dns_get16(msg)) : NULL;
    if (!a)
        return;
    struct splice_flow *f = a->f;
    struct flow *flow = splice_app_of(f);
    if (!read_answer(a, &flow->out, msg, len))
        return;
    if (a->type == DNS_A && !flow->out.n_addresses && !flow->out.inside) {
        a->type = DNS_AAAA;
        send_question(w, a, &flow->out); /* lost: asked again when nothing comes */
        return;
    }
    resolve_forget(w, flow);
    splice_resume(f, proxy_resolved(w, f));
}

static void on_answers(struct splice_source *s, uint32_t events)
{
    struct worker *w = CONTAINER_OF(s, struct worker, answers);
    uint8_t msg[ANSWER_MAX];
    for (unsigned i = 0; i < ANSWERS_PER_EVENT; i++) {
        ssize_t n = recv(w->resolver, msg, sizeof msg, MSG_DONTWAIT);
        if (n < 0)
            return;
        take_answer(w, msg, (size_t)n);
    }
}

static bool open_resolver(struct worker *w, unsigned thread)
{
    const struct mesh_view *v = w->view->v;
    struct sockaddr_storage sa;
    socklen_t len;
    int on = 1;
    uint16_t port = w->m->config.resolver_port ? w->m->config.resolver_port : 53;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on) < 0)
        return false;
    ip_to_sockaddr(&v->own, 0, &sa, &len);
    if (bind(fd, (struct sockaddr *)&sa, len) < 0)
        return false;
    ip_to_sockaddr(&v->gateway, port, &sa, &len);
    w->answers.ready = on_answers;
    if (connect(fd, (struct sockaddr *)&sa, len) < 0
        || splice_watch(w->m->splice, thread, fd, &w->answers) < 0)
        return false;
    w->resolver = util_steal_fd(&fd);
    return true;
}

static struct ask *take_ask(struct worker *w)
{
    for (unsigned i = 0; i < 8; i++) {
        uint16_t id;
        rnd_bytes(&id, sizeof id);
        struct ask *a = &w->asks[id % ASKS_MAX];
        if (a->f)
            continue;
        a->id = id;
        return a;
    }
    return NULL;
}

bool resolve_ask(struct worker *w, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    resolve_forget(w, flow);
    if (w->resolver < 0 && !open_resolver(w, splice_thread_of(f)))
        return false;
    struct ask *a = take_ask(w);
    if (!a)
        return false;
    a->f = f;
    a->type = DNS_A;
    flow->out.ask = (uint16_t)(a - w->asks + 1);
    return send_question(w, a, &flow->out) || errno == ECONNREFUSED; /* of the one before */
}

void resolve_close(struct worker *w)
{
    if (w->resolver >= 0)
        close(w->resolver);
    w->resolver = -1;
}
