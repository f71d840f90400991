/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/traffic.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"
#include "service/traffic/priv.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define EVENTS_MAX 256
#define SECOND_US 1000000u

/* -- making and unmaking ----------------------------------------------------------------------- */

/* Time in front, so that ledgers of one folder stand in order; then chance. */
static void name_run(char out[LEDGER_RUN_SIZE])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t random[6];
    uint64_t s = (uint64_t)clock_wall_ms() / 1000;
    rnd_bytes(random, sizeof random);
    for (size_t i = 6; i-- > 0; s /= 36)
        out[i] = digits[s % 36];
    for (size_t i = 0; i < sizeof random; i++)
        out[6 + i] = digits[random[i] % 36];
    out[12] = '\0';
}

static int check_config(const struct traffic_config *c, struct err *e)
{
    if (!c->n_nameservers)
        return err_set(e, ERR_INVALID, "there is no name server to ask");
    if (!c->n_buyers)
        return err_set(e, ERR_INVALID, "there is no buyer");
    for (size_t i = 0; i < c->n_buyers; i++)
        if (c->buyers[i].address.family && c->buyers[i].address.family != c->nameservers[0].family)
            return err_set(e, ERR_INVALID, "buyers and name servers are of two address families");
    return 0;
}

static int open_buyers(struct engine *e, struct err *err)
{
    const struct traffic_config *c = e->config;
    e->n_buyers = c->n_buyers;
    e->buyers = xcalloc(c->n_buyers, sizeof *e->buyers);
    for (size_t i = 0; i < c->n_buyers; i++)
        e->buyers[i] = (struct buyer){.engine = e, .who = &c->buyers[i], .index = i, .udp = -1};
    for (size_t i = 0; i < c->n_buyers; i++) {
        struct buyer *b = &e->buyers[i];
        items_init(&b->fresh);
        items_init(&b->again);
        items_init(&b->reads);
        items_init(&b->pages);
        int r = ask_open(b, err);
        if (r < 0)
            return r;
        request_prepare(b);
    }
    e->order_conns_max = MAX(c->connections / (unsigned)c->n_buyers, 1);
    e->read_conns_max = MAX(e->order_conns_max / 4, 2);
    return 0;
}

static void begin_drain(struct engine *e);

static void on_stop(struct source *s, uint32_t events)
{
    struct engine *e = CONTAINER_OF(s, struct engine, stop_source);
    struct signalfd_siginfo unused;
    if (read(e->config->stop_fd, &unused, sizeof unused) <= 0)
        return;
    e->interrupted = true;
    if (e->phase == PHASE_RUN) {
        begin_drain(e);
    } else {
        e->give_up_us = e->now_us;
        if (e->phase == PHASE_COMPARE)
            err_set(&e->compare_error, ERR_CANCELED, "interrupted");
    }
}

static int watch_stop(struct engine *e, struct err *err)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &e->stop_source};
    e->stop_source.ready = on_stop;
    if (e->config->stop_fd >= 0 && epoll_ctl(e->epoll, EPOLL_CTL_ADD, e->config->stop_fd, &ev) < 0)
        return err_errno(err, errno, "watch for signals");
    return 0;
}

static void engine_free(struct engine *e)
{
    conns_stop(e);
    for (size_t i = 0; i < e->n_buyers; i++) {
        struct buyer *b = &e->buyers[i];
        struct item_queue *queues[] = {&b->fresh, &b->again, &b->reads, &b->pages};
        while (b->idle)
            conn_close(b->idle);
        for (size_t k = 0; k < ARRAY_SIZE(queues); k++)
            for (struct item *it; (it = items_take(queues[k]));)
                item_free(e, it);
        SSL_SESSION_free(b->session);
        if (b->udp >= 0)
            close(b->udp);
    }
    for (size_t k = 0; k < RETRY_CLASSES; k++)
        for (struct item *it; (it = items_take(&e->retry[k]));)
            item_free(e, it);
    conns_bury(e);
    while (e->free_items) {
        struct item *i = e->free_items;
        e->free_items = i->next;
        free(i);
    }
    book_done(&e->book);
    SSL_CTX_free(e->tls);
    if (e->epoll >= 0)
        close(e->epoll);
    free(e->buyers);
    free(e->path);
    free(e);
}

static void engine_free_p(struct engine **e)
{
    if (*e)
        engine_free(*e);
}

static int engine_new(const struct traffic_config *c, struct engine **ret, struct err *e)
{
    int r = check_config(c, e);
    if (r < 0)
        return r;
    _cleanup_(engine_free_p) struct engine *n = xcalloc(1, sizeof *n);
    n->config = c;
    for (size_t k = 0; k < RETRY_CLASSES; k++)
        items_init(&n->retry[k]);
    n->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (n->epoll < 0)
        return err_errno(e, errno, "epoll");
    n->start_us = n->now_us = clock_boot_ns() / 1000;
    n->wall_ms = clock_wall_ms();
    n->second_us = n->start_us + SECOND_US;
    r = conns_tls_new(n, e);
    if (r >= 0)
        r = open_buyers(n, e);
    if (r >= 0)
        r = watch_stop(n, e);
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&n);
    return 0;
}

/* -- phases ------------------------------------------------------------------------------------ */

static void begin_drain(struct engine *e)
{
    uint64_t left_ms = e->interrupted ? STOP_MS : e->config->patience_ms + ATTEMPT_MS;
    e->phase = PHASE_DRAIN;
    e->end_us = MIN(e->end_us, e->now_us);
    e->give_up_us = e->now_us + left_ms * 1000;
}

static bool is_drained(const struct engine *e)
{
    if (e->now_us >= e->give_up_us)
        return true;
    for (size_t i = 0; i < e->n_buyers; i++)
        if (e->buyers[i].fresh.n || e->buyers[i].reads.n)
            return false;
    return !e->in_flight && !e->reads_in_flight;
}

/* What is still under way stays unanswered, in the figures of its buyer too. */
static void give_up(struct engine *e)
{
    for (size_t i = 0; i < e->n_buyers; i++) {
        struct buyer *b = &e->buyers[i];
        struct figures *f = &b->f;
        f->not_sent += b->fresh.n;
        e->f.not_sent += b->fresh.n;
        f->reads_not_sent += b->reads.n;
        e->f.reads_not_sent += b->reads.n;
        f->unanswered = f->begun - f->acked - f->refused;
        outage_end(&f->writes, e->now_us);
        outage_end(&f->reads, e->now_us);
        for (struct item *it; (it = items_take(&b->fresh)) || (it = items_take(&b->again))
                              || (it = items_take(&b->reads));)
            item_free(e, it);
    }
    for (size_t k = 0; k < RETRY_CLASSES; k++)
        for (struct item *it; (it = items_take(&e->retry[k]));)
            item_free(e, it);
    conns_stop(e);
    e->f.unanswered = e->f.begun - e->f.acked - e->f.refused;
    e->in_flight = e->reads_in_flight = 0;
    outage_end(&e->f.writes, e->now_us);
    outage_end(&e->f.reads, e->now_us);
}

static void fail(struct engine *e)
{
    e->failed = true;
    e->phase = PHASE_END;
}

/* The ledger as the disk has it, not as we remember it. */
static void begin_compare(struct engine *e)
{
    give_up(e);
    struct ledger *l = e->ledger;
    e->ledger = NULL;
    if (ledger_close(l, e->interrupted ? "stopped" : "done", &e->error) < 0
        || book_read(e->path, &e->book, &e->error) < 0)
        fail(e);
    else
        pages_begin(e);
}

static void step_phase(struct engine *e)
{
    if (e->phase == PHASE_RUN && (e->now_us >= e->end_us || e->scheduled >= LEDGER_ORDERS_MAX))
        begin_drain(e);
    if (e->phase == PHASE_DRAIN && is_drained(e))
        begin_compare(e);
    if (e->phase == PHASE_COMPARE && e->now_us >= e->give_up_us) {
        e->phase = PHASE_END;
        if (!e->compare_error.code)
            err_set(&e->compare_error, ERR_TIMEOUT, "no name server answers");
    }
}

/* -- the loop ---------------------------------------------------------------------------------- */

static int wait_ms(const struct engine *e)
{
    uint64_t next = MIN(dispatch_next_us(e), e->second_us);
    if (e->phase == PHASE_RUN)
        next = MIN(next, e->end_us);
    else
        next = MIN(next, e->give_up_us);
    if (e->oldest)
        next = MIN(next, e->oldest->deadline_us);
    return next > e->now_us ? (int)MIN((next - e->now_us + 999) / 1000, 1000) : 0;
}

static void expire(struct engine *e)
{
    while (e->oldest && e->oldest->deadline_us <= e->now_us)
        conn_expire(e->oldest);
}

/* Intents first, then what they announce. */
static void send_all(struct engine *e)
{
    if (e->ledger && ledger_write(e->ledger, &e->error) < 0) {
        fail(e);
        return;
    }
    while (e->to_send) {
        struct conn *c = e->to_send;
        e->to_send = c->next;
        c->next = NULL;
        conn_run(c);
    }
}

static void tick(struct engine *e)
{
    if (e->now_us < e->second_us)
        return;
    _cleanup_json_ json_t *second = report_second(e);
    if (e->config->progress)
        e->config->progress(e->config->ctx, second);
    while (e->second_us <= e->now_us)
        e->second_us += SECOND_US;
}

static void turn(struct engine *e)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(e->epoll, events, EVENTS_MAX, wait_ms(e));
    e->now_us = clock_boot_ns() / 1000;
    for (int i = 0; i < n; i++) {
        struct source *s = events[i].data.ptr;
        s->ready(s, events[i].events);
    }
    expire(e);
    dispatch_due(e);
    dispatch_all(e);
    send_all(e);
    conns_bury(e);
    tick(e);
    step_phase(e);
}

static void loop(struct engine *e)
{
    while (e->phase != PHASE_END)
        turn(e);
}

int traffic_run(const struct traffic_config *c, json_t **ret, struct err *e)
{
    char started[CLOCK_STAMP_SIZE];
    _cleanup_(engine_free_p) struct engine *n = NULL;
    *ret = NULL;
    int r = engine_new(c, &n, e);
    if (r < 0)
        return r;
    name_run(n->run);
    clock_format_rfc3339(n->wall_ms, started);
    n->path = c->ledger ? xstrdup(c->ledger) : xasprintf("./traffic-%s.ledger", n->run);
    n->end_us = c->duration_ms ? n->start_us + c->duration_ms * 1000 : UINT64_MAX;
    r = ledger_create(n->path, n->run, c->name, started, &n->ledger, e);
    if (r < 0)
        return r;
    loop(n);
    struct err unused; /* the first error is the one that is told */
    if (n->ledger)
        (void)!ledger_close(n->ledger, "failed", &unused);
    if (n->failed && e)
        *e = n->error;
    *ret = report_all(n);
    return n->failed ? n->error.code : 0;
}

int traffic_compare(const struct traffic_config *c, json_t **ret, struct err *e)
{
    _cleanup_(engine_free_p) struct engine *n = NULL;
    int r = engine_new(c, &n, e);
    if (r < 0)
        return r;
    n->path = xstrdup(c->ledger);
    r = book_read(c->ledger, &n->book, e);
    if (r < 0)
        return r;
    str_copy(n->run, sizeof n->run, n->book.run);
    pages_begin(n);
    loop(n);
    *ret = report_comparison(n);
    return 0;
}
