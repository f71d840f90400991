/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: wan_input() and wan_run() allocate nothing, log nothing and read no clock. */
#include "service/wan/priv.h"

#include <string.h>

#define QUEUE_TIME_NS                                                                              \
    (200 * 1000 * 1000ull) /* of a rate-limited link: what a home router buffers, roughly */
#define QUEUE_PACKETS 16u  /* but at least these, however slow the link is */
#define NS_PER_S 1000000000ull

/* "no-route" nobody has that address, "off" its host is down, "spoofed" the sender does not own the
 * source. */
enum drop { DROP_CUT, DROP_LOSS, DROP_QUEUE, DROP_NO_ROUTE, DROP_OFF, DROP_SPOOFED, DROP_KINDS };
static const char *const drop_names[] = {"cut", "loss", "queue", "no-route", "off", "spoofed"};

struct port {
    bool attached;
    uint64_t sent, received;
    uint64_t dropped[DROP_KINDS]; /* of what it sent */
};

struct wan {
    wan_out_fn out;
    void *ctx;
    struct wan_config config;
    struct port *ports; /* by endpoint */
    struct wan_queue *queue;
};

struct wan *wan_new(wan_out_fn out, void *ctx)
{
    struct wan *w = xcalloc(1, sizeof *w);
    w->out = out;
    w->ctx = ctx;
    w->queue = wan_queue_new();
    return w;
}

void wan_free(struct wan *w)
{
    if (!w)
        return;
    wan_config_done(&w->config);
    wan_queue_free(w->queue);
    free(w->ports);
    free(w);
}

static bool same_endpoints(const struct wan_config *a, const struct wan_config *b)
{
    if (a->n_endpoints != b->n_endpoints)
        return false;
    for (size_t i = 0; i < a->n_endpoints; i++)
        if (strcmp(a->endpoints[i].name, b->endpoints[i].name) != 0)
            return false;
    return true;
}

/* Other endpoints, other indexes: what is under way is lost, as it would be when lines are laid
 * anew. */
static void renumber(struct wan *w, const struct wan_config *next)
{
    struct port *ports = xcalloc(next->n_endpoints, sizeof *ports);
    for (size_t i = 0; i < next->n_endpoints; i++) {
        int old = wan_config_endpoint(&w->config, next->endpoints[i].name);
        if (old >= 0)
            ports[i] = w->ports[old];
    }
    free(w->ports);
    w->ports = ports;
    wan_queue_free(w->queue);
    w->queue = wan_queue_new();
}

int wan_configure(struct wan *w, const json_t *config, struct err *e)
{
    struct wan_config next;
    int r = wan_config_parse(config, &next, e);
    if (r < 0)
        return r;
    if (!same_endpoints(&w->config, &next))
        renumber(w, &next);
    wan_config_done(&w->config);
    w->config = next;
    return 0;
}

int wan_endpoint(const struct wan *w, const char *name)
{
    return wan_config_endpoint(&w->config, name);
}

void wan_attach(struct wan *w, unsigned endpoint, bool attached)
{
    ASSERT(endpoint < w->config.n_endpoints);
    w->ports[endpoint].attached = attached;
}

static bool owns(const struct wan *w, unsigned endpoint, const struct ip_addr *a)
{
    size_t n;
    const struct wan_route *r = wan_table_find(&w->config.table, a, &n);
    for (size_t i = 0; i < n; i++)
        if (r[i].endpoint == endpoint)
            return true;
    return false;
}

/* One of the attached owners of `dst`, the same for the same `src`; -1: none is attached. */
static int choose(
    const struct wan *w, const struct wan_route *r, size_t n, const struct ip_addr *src)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < sizeof src->bytes; i++)
        hash = (hash ^ src->bytes[i]) * 16777619u;
    for (size_t i = 0; i < n; i++) {
        unsigned endpoint = r[(hash + i) % n].endpoint;
        if (w->ports[endpoint].attached)
            return (int)endpoint;
    }
    return -1;
}

static bool lost(struct wan_pair *p)
{
    return p->loss > 0 && (double)(rnd_u64(&p->rnd) >> 11) * 0x1p-53 < p->loss;
}

/* When the last bit of the packet is on the line; WAN_NEVER when the line's buffer is full. */
static uint64_t shape(struct wan *w, const struct wan_pair *p, size_t len, uint64_t now_ns)
{
    if (p->shaper < 0)
        return now_ns;
    struct wan_shaper *s = &w->config.shapers[p->shaper];
    uint64_t start = MAX(s->busy_until_ns, now_ns);
    uint64_t time_ns = len * 8 * NS_PER_S / s->rate_bps;
    if (start - now_ns > MAX(QUEUE_TIME_NS, time_ns * QUEUE_PACKETS))
        return WAN_NEVER;
    s->busy_until_ns = start + time_ns;
    return s->busy_until_ns;
}

static enum drop forward(
    struct wan *w, unsigned from, unsigned to, const void *packet, size_t len, uint64_t now_ns)
{
    struct wan_pair *p = &w->config.pairs[from * w->config.n_endpoints + to];
    if (p->cut)
        return DROP_CUT;
    if (lost(p))
        return DROP_LOSS;
    uint64_t sent_ns = shape(w, p, len, now_ns);
    if (sent_ns == WAN_NEVER)
        return DROP_QUEUE;
    uint64_t due_ns = sent_ns + p->delay_ns;
    if (due_ns <= now_ns) {
        w->ports[to].received++;
        w->out(w->ctx, to, packet, len);
        return DROP_KINDS;
    }
    return wan_queue_push(w->queue, due_ns, to, packet, len) ? DROP_KINDS : DROP_QUEUE;
}

static enum drop input(
    struct wan *w, unsigned from, const void *packet, size_t len, uint64_t now_ns)
{
    struct ip_addr src, dst;
    if (len > WAN_MTU || !wan_packet_addrs(packet, len, &src, &dst))
        return DROP_NO_ROUTE;
    if (!owns(w, from, &src))
        return DROP_SPOOFED;
    size_t n;
    const struct wan_route *r = wan_table_find(&w->config.table, &dst, &n);
    if (!n)
        return DROP_NO_ROUTE;
    int to = choose(w, r, n, &src);
    return to < 0 ? DROP_OFF : forward(w, from, (unsigned)to, packet, len, now_ns);
}

void wan_input(struct wan *w, unsigned endpoint, const void *packet, size_t len, uint64_t now_ns)
{
    struct port *port = &w->ports[endpoint];
    if (!port->attached)
        return;
    port->sent++;
    enum drop why = input(w, endpoint, packet, len, now_ns);
    if (why != DROP_KINDS)
        port->dropped[why]++;
}

uint64_t wan_run(struct wan *w, uint64_t now_ns)
{
    while (wan_queue_due(w->queue) <= now_ns) {
        unsigned to;
        size_t len;
        const void *packet = wan_queue_pop(w->queue, &to, &len);
        if (!w->ports[to].attached)
            continue;
        w->ports[to].received++;
        w->out(w->ctx, to, packet, len);
    }
    return wan_queue_due(w->queue);
}

json_t *wan_status(const struct wan *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->config.n_endpoints; i++) {
        const struct port *p = &w->ports[i];
        json_t *dropped = json_object();
        for (size_t k = 0; k < DROP_KINDS; k++)
            if (p->dropped[k])
                json_object_set_new(
                    dropped, drop_names[k], json_integer((json_int_t)p->dropped[k]));
        json_array_append_new(
            list, json_pack("{s:s,s:b,s:I,s:I,s:o}", "name", w->config.endpoints[i].name,
                      "attached", p->attached, "sent", (json_int_t)p->sent, "received",
                      (json_int_t)p->received, "dropped", dropped));
    }
    return json_pack("{s:o,s:I,s:I}", "endpoints", list, "queued",
        (json_int_t)wan_queue_len(w->queue), "queued_max", (json_int_t)wan_queue_peak(w->queue));
}
