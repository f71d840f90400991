/* SPDX-License-Identifier: Apache-2.0 */
#include "service/resolver/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>

#define NAMES_FILE_MAX (16u * 1024 * 1024)

static const struct metric_def defs[RESOLVER_M_COUNT] = {
    [RESOLVER_M_INTERNAL] = {"mcp_resolver_internal_total", "Questions for names of the platform.",
        METRIC_COUNTER},
    [RESOLVER_M_FORWARDED] = {"mcp_resolver_forwarded_total", "Questions passed to an upstream.",
        METRIC_COUNTER},
    [RESOLVER_M_FAILED] = {"mcp_resolver_failed_total", "Questions answered SERVFAIL.",
        METRIC_COUNTER},
    [RESOLVER_M_STRANGERS] = {"mcp_resolver_strangers_total",
        "Messages from outside of the bridge.", METRIC_COUNTER},
    [RESOLVER_M_MALFORMED] = {"mcp_resolver_malformed_total",
        "Messages that are no good questions.", METRIC_COUNTER},
    [RESOLVER_M_TIMEOUTS] = {"mcp_resolver_timeouts_total", "Tries that no upstream answered.",
        METRIC_COUNTER},
};

struct udp_listener {
    struct resolver *r;
    uv_udp_t handle;
    uint8_t in[RESOLVER_QUERY_MAX];
};

bool resolver_may_ask(const struct resolver *r, const struct ip_addr *a)
{
    return ip_prefix_contains(&r->o.clients, a) && !ip_eq(a, &r->o.own);
}

/* --- questions --- */

static size_t refuse(
    struct resolver *r, const struct dns_query *q, const uint8_t *msg, unsigned rcode, uint8_t *out)
{
    metric_add(r->metrics, rcode == DNS_SERVFAIL ? RESOLVER_M_FAILED : RESOLVER_M_MALFORMED, 1);
    return resolver_bare_answer(q, msg, rcode, false, out);
}

static size_t udp_limit(const struct dns_query *q)
{
    return MIN((size_t)q->udp_size, (size_t)RESOLVER_UDP_ANSWER_MAX);
}

size_t resolver_take(struct resolver *r, const struct asker *a, const uint8_t *msg, size_t len,
    uint8_t *out, size_t cap)
{
    struct dns_query q;
    enum dns_parse parsed = dns_query_parse(msg, len, &q);
    if (parsed == DNS_PARSE_DROP) {
        metric_add(r->metrics, RESOLVER_M_MALFORMED, 1);
        return 0;
    }
    if (parsed == DNS_PARSE_ERROR)
        return refuse(r, &q, msg, q.rcode, out);
    if (q.class != DNS_IN || q.type == DNS_AXFR || q.type == DNS_IXFR)
        return refuse(r, &q, msg, DNS_REFUSED, out);
    if (resolver_names_covers(q.name, q.name_size)) {
        metric_add(r->metrics, RESOLVER_M_INTERNAL, 1);
        return resolver_names_answer(
            r->names, &q, msg, r->rotate++, a->tcp ? cap : udp_limit(&q), out, cap);
    }
    if (!(q.flags & DNS_RD))
        return refuse(
            r, &q, msg, DNS_REFUSED, out); /* nothing is known here that was not asked elsewhere */
    struct asker with_id = *a;
    with_id.id = q.id;
    if (!resolver_flights_start(r->flights, &with_id, msg, len))
        return refuse(r, &q, msg, DNS_SERVFAIL, out);
    metric_add(r->metrics, RESOLVER_M_FORWARDED, 1);
    return 0;
}

static void send_udp(
    uv_udp_t *socket, const struct sockaddr_storage *to, const uint8_t *msg, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)msg, (unsigned)len);
    uv_udp_try_send(
        socket, &buf, 1, (const struct sockaddr *)to); /* a full socket: the client asks again */
}

static void on_flight_done(void *ctx, const struct asker *a, const struct dns_query *q,
    const uint8_t *query, const uint8_t *msg, size_t len, bool cut_off)
{
    struct resolver *r = ctx;
    static uint8_t out[DNS_MESSAGE_MAX]; /* one thread */
    if (!len && cut_off && !a->tcp) {
        len = resolver_bare_answer(
            q, query, DNS_NOERROR, true, out); /* the client may try over TCP itself */
    } else if (!len) {
        len = refuse(r, q, query, DNS_SERVFAIL, out);
    } else if (!a->tcp && len > udp_limit(q)) {
        len = resolver_bare_answer(q, query, DNS_NOERROR, true, out);
    } else {
        memcpy(out, msg, len);
        dns_put16(out, a->id);
    }
    if (a->tcp)
        resolver_client_send(a->socket, out, len);
    else
        send_udp(a->socket, &a->addr, out, len);
}

/* --- UDP --- */

static void alloc_in(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct udp_listener *l = CONTAINER_OF((uv_udp_t *)h, struct udp_listener, handle);
    *buf = uv_buf_init((char *)l->in, sizeof l->in);
}

static void on_datagram(
    uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    struct udp_listener *l = CONTAINER_OF(h, struct udp_listener, handle);
    uint8_t out[RESOLVER_UDP_ANSWER_MAX];
    struct asker a = {.socket = h};
    uint16_t port = 0;
    if (n <= 0 || !from || flags & UV_UDP_PARTIAL)
        return;
    if (!ip_from_sockaddr(from, &a.ip, &port) || !port || !resolver_may_ask(l->r, &a.ip)) {
        metric_add(l->r->metrics, RESOLVER_M_STRANGERS, 1);
        return;
    }
    memcpy(&a.addr, from,
        from->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    size_t len = resolver_take(l->r, &a, (const uint8_t *)buf->base, (size_t)n, out, sizeof out);
    if (len)
        send_udp(h, &a.addr, out, len);
}

static int listen_udp(struct resolver *r, struct err *e)
{
    r->udp = xcalloc(r->o.n_udp + 1, sizeof *r->udp);
    for (size_t i = 0; i < r->o.n_udp; i++) {
        struct udp_listener *l = &r->udp[i];
        int fd = fcntl(r->o.udp[i], F_DUPFD_CLOEXEC, 0); /* libuv closes what it is given */
        l->r = r;
        uv_udp_init(r->o.loop, &l->handle);
        r->n_udp++;
        int k = fd < 0 ? -errno : uv_udp_open(&l->handle, fd);
        if (k == 0)
            k = uv_udp_recv_start(&l->handle, alloc_in, on_datagram);
        if (k < 0)
            return err_set(e, ERR_SYSTEM, "cannot listen over UDP: %s", uv_strerror(k));
    }
    return 0;
}

/* --- the table --- */

static int load_upstreams(
    struct resolver *r, const json_t *names, struct ip_addr *v, size_t *ret_n, struct err *e)
{
    json_t *forward = json_object_get(names, "forward"), *item;
    size_t i;
    *ret_n = 0;
    json_array_foreach (forward, i, item) {
        const char *text = json_string_value(item);
        if (!text || !ip_parse(text, &v[*ret_n]))
            return err_set(e, ERR_INVALID, "forward: '%s' is not an address", text ? text : "");
        /* Never itself, nor what answers through it. */
        if (!ip_eq(&v[*ret_n], &r->o.own) && !ip_prefix_contains(&r->o.clients, &v[*ret_n])
            && ++*ret_n == RESOLVER_UPSTREAMS_MAX)
            break;
    }
    return 0;
}

static int take_names(struct resolver *r, const json_t *names, struct err *e)
{
    struct ip_addr upstreams[RESOLVER_UPSTREAMS_MAX];
    size_t n;
    json_t *table;
    struct names *fresh;
    int k = json_get_obj(names, "names", &table, e);
    if (k >= 0)
        k = load_upstreams(r, names, upstreams, &n, e);
    if (k >= 0)
        k = resolver_names_new(table, &fresh, e);
    if (k < 0)
        return k;
    resolver_names_free(r->names);
    r->names = fresh;
    resolver_flights_set_upstreams(r->flights, upstreams, n);
    return 0;
}

/* --- the file, written by a worker thread, never two at a time --- */

struct save {
    uv_work_t work;
    struct resolver *r;
    char *path, *text;
    int result;
    struct err error;
};

static void resolver_destroy(struct resolver *r)
{
    free(r->unsaved);
    free(r->path);
    free(r->udp);
    free(r->tcp);
    free(r);
}

void resolver_handle_closed(struct resolver *r)
{
    if (--r->users == 0)
        resolver_destroy(r);
}

static void write_file(uv_work_t *w)
{
    struct save *s = CONTAINER_OF(w, struct save, work);
    s->result = file_write_durable(s->path, s->text, strlen(s->text), 0600, &s->error);
}

static void save(struct resolver *r, char *text);

static void on_saved(uv_work_t *w, int status)
{
    struct save *s = CONTAINER_OF(w, struct save, work);
    struct resolver *r = s->r;
    if (s->result < 0 && !r->freed)
        r->o.warn(r->o.ctx, &s->error);
    free(s->path);
    free(s->text);
    free(s);
    r->saving = false;
    if (r->unsaved && !r->freed)
        save(r, util_steal_ptr(&r->unsaved));
    resolver_handle_closed(r);
}

/* Takes text. */
static void save(struct resolver *r, char *text)
{
    if (r->saving) {
        free(r->unsaved);
        r->unsaved = text;
        return;
    }
    struct save *s = xcalloc(1, sizeof *s);
    *s = (struct save){.r = r, .path = xstrdup(r->path), .text = text};
    r->saving = true;
    r->users++;
    uv_queue_work(r->o.loop, &s->work, write_file, on_saved);
}

int resolver_set_names(struct resolver *r, const json_t *names, struct err *e)
{
    int k = take_names(r, names, e);
    if (k >= 0)
        save(r, json_text(names));
    return k;
}

static void load_from_disk(struct resolver *r)
{
    struct err e = {0};
    json_t *j;
    if (!file_exists(r->path))
        return;
    int k = json_read_file(r->path, NAMES_FILE_MAX, &j, &e);
    if (k >= 0) {
        k = take_names(r, j, &e);
        json_decref(j);
    }
    if (k < 0)
        r->o.warn(r->o.ctx, &e);
}

/* --- life --- */

int resolver_new(const struct resolver_options *o, struct resolver **ret, struct err *e)
{
    struct resolver *r = xcalloc(1, sizeof *r);
    r->o = *o;
    r->users = 1;
    r->path = xasprintf("%s/names.json", o->state_dir);
    r->metrics = metrics_set_new(metrics_process(), defs, RESOLVER_M_COUNT, NULL, 0);
    r->flights =
        resolver_flights_new(o->loop, o->upstream_port, o->try_ms, r->metrics, on_flight_done, r);
    load_from_disk(r);
    int k = listen_udp(r, e);
    if (k >= 0)
        k = resolver_clients_listen(r, e);
    if (k < 0) {
        resolver_free(r);
        return k;
    }
    *ret = r;
    return 0;
}

static void on_udp_closed(uv_handle_t *h)
{
    resolver_handle_closed(CONTAINER_OF((uv_udp_t *)h, struct udp_listener, handle)->r);
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    r->freed = true;
    r->users += r->n_udp + r->n_tcp;
    resolver_clients_close(r);
    for (size_t i = 0; i < r->n_udp; i++)
        uv_close((uv_handle_t *)&r->udp[i].handle, on_udp_closed);
    resolver_flights_free(r->flights);
    resolver_names_free(r->names);
    metrics_set_free(r->metrics);
    resolver_handle_closed(r);
}
