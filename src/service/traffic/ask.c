/* SPDX-License-Identifier: Apache-2.0 */
/* The DNS of one buyer: names.h decides, here it is sent and received, from the buyer's address. */
#include "service/traffic/priv.h"

#include "base/rnd/rnd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define DNS_PORT 53

static void send_question(struct buyer *b)
{
    const struct traffic_config *c = b->engine->config;
    uint8_t msg[DNS_UDP_MIN];
    struct dns_writer w;
    struct sockaddr_storage to;
    socklen_t len;
    rnd_bytes(&b->asked.id, sizeof b->asked.id);
    dns_writer_init(&w, msg, sizeof msg, b->asked.id, 0);
    dns_write_question(&w, b->asked.name, b->asked.name_size, b->asked.type, DNS_IN);
    size_t n = dns_writer_finish(&w);
    ip_to_sockaddr(&c->nameservers[b->names.server], DNS_PORT, &to, &len);
    /* Not sent is as good as lost: the next server is asked in its time. */
    (void)!sendto(b->udp, msg, n, MSG_DONTWAIT, (struct sockaddr *)&to, len);
}

static void act(struct buyer *b, enum names_act what)
{
    if (what == NAMES_ASK)
        send_question(b);
    if (what == NAMES_FAILED) {
        b->engine->f.troubles[TROUBLE_DNS]++;
        b->f.troubles[TROUBLE_DNS]++;
    }
}

void ask_step(struct buyer *b, bool wanted)
{
    act(b, names_step(&b->names, wanted, engine_now_ms(b->engine)));
}

static bool is_from_asked(const struct buyer *b, const struct sockaddr_storage *from)
{
    struct ip_addr address;
    uint16_t port;
    return ip_from_sockaddr((const struct sockaddr *)from, &address, &port) && port == DNS_PORT
           && ip_eq(&address, &b->engine->config->nameservers[b->names.server]);
}

static void tell(const struct buyer *b)
{
    const struct traffic_config *c = b->engine->config;
    if (!c->event || b->names.tries || !b->names.n)
        return;
    json_t *addresses = json_array();
    for (size_t i = 0; i < b->names.n; i++) {
        char text[IP_TEXT_SIZE];
        ip_format(&b->names.addresses[i], text);
        json_array_append_new(addresses, json_string(text));
    }
    _cleanup_json_ json_t *event = json_pack("{s:s,s:I,s:I,s:I,s:s,s:o}", "event", "answer",
        "at_ms", (json_int_t)engine_now_ms(b->engine), "until_ms", (json_int_t)b->names.until_ms,
        "client", (json_int_t)b->index, "country", b->who->country, "addresses", addresses);
    c->event(c->ctx, event);
}

static void on_event(struct source *s, uint32_t events)
{
    struct buyer *b = CONTAINER_OF(s, struct buyer, source);
    uint8_t msg[DNS_UDP_MAX];
    struct sockaddr_storage from;
    struct dns_answer a;
    for (;;) {
        socklen_t from_len = sizeof from;
        ssize_t n =
            recvfrom(b->udp, msg, sizeof msg, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
        if (n < 0)
            return;
        if (!is_from_asked(b, &from) || !dns_answer_read(msg, (size_t)n, &b->asked, &a))
            continue;
        bool asked = b->names.tries != 0;
        act(b, names_answer(&b->names, &a, engine_now_ms(b->engine)));
        if (asked)
            tell(b);
        conn_sweep(b);
    }
}

int ask_open(struct buyer *b, struct err *e)
{
    const struct traffic_config *c = b->engine->config;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &b->source};
    struct sockaddr_storage sa;
    socklen_t len;
    char text[IP_TEXT_SIZE];
    bool v6 = b->who->address.family == 6;
    b->asked.type = v6 ? DNS_AAAA : DNS_A;
    if (!dns_name_parse(c->name, b->asked.name, &b->asked.name_size))
        return err_set(e, ERR_USAGE, "'%s' is no name", c->name);
    names_init(&b->names, c->n_nameservers, b->index);
    b->source.ready = on_event;
    b->udp = socket(c->nameservers[0].family == 6 ? AF_INET6 : AF_INET,
        SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (b->udp < 0)
        return err_errno(e, errno, "socket");
    if (b->who->address.family) {
        ip_to_sockaddr(&b->who->address, 0, &sa, &len);
        ip_format(&b->who->address, text);
        if (bind(b->udp, (struct sockaddr *)&sa, len) < 0)
            return err_errno(e, errno, "ask as a buyer of %s from %s", b->who->country, text);
    }
    if (epoll_ctl(b->engine->epoll, EPOLL_CTL_ADD, b->udp, &ev) < 0)
        return err_errno(e, errno, "epoll");
    return 0;
}
