/* SPDX-License-Identifier: Apache-2.0 */
#include "service/dns/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rcu/rcu.h"

#include <errno.h>
#include <fcntl.h>

#define ZONE_FILE "zone.json"
#define HEALTH_FILE "health.json"

/* --- HOT PATH --- */

static size_t answer(
    void *ctx, const struct ip_addr *from, const uint8_t *msg, size_t len, uint8_t *out, size_t cap)
{
    struct answerer *a = ctx;
    const struct dns_state *state = atomic_load_explicit(&a->service->state, memory_order_acquire);
    return dns_answer(state, &a->ctx, from, msg, len, out, cap, a->tcp);
}

/* --- reports: made by the worker, given out by the loop --- */

static void report(struct dns_service *s, const struct dns_report *r)
{
    struct report_item *item = xcalloc(1, sizeof *item);
    item->report = *r;
    pthread_mutex_lock(&s->lock);
    *s->reports_end = item;
    s->reports_end = &item->next;
    pthread_mutex_unlock(&s->lock);
    uv_async_send(s->async);
}

static void report_error(
    struct dns_service *s, enum dns_report_kind kind, uint64_t revision, const struct err *e)
{
    struct dns_report r = {.kind = kind, .revision = revision, .error = *e};
    report(s, &r);
}

static void on_reports(uv_async_t *async)
{
    struct dns_service *s = async->data;
    pthread_mutex_lock(&s->lock);
    struct report_item *item = s->reports;
    s->reports = NULL;
    s->reports_end = &s->reports;
    pthread_mutex_unlock(&s->lock);
    while (item) {
        struct report_item *next = item->next;
        s->o.report(s->o.ctx, &item->report);
        free(item);
        item = next;
    }
}

/* --- the worker --- */

static char *state_path(const struct dns_service *s, const char *file)
{
    return xasprintf("%s/%s", s->state_dir, file);
}

static void save(struct dns_service *s, const char *file, const json_t *j)
{
    struct err e = {0};
    _cleanup_free_ char *path = state_path(s, file);
    _cleanup_free_ char *text = json_text(j);
    if (file_write_durable(path, text, strlen(text), 0600, &e) < 0) {
        err_wrap(&e, "a restart would not know what is served now");
        report_error(s, DNS_REPORT_WARNING, 0, &e);
    }
}

/* Under `lock`. What was decided for this zone counts from its first answer on. */
static void take_health(struct dns_service *s, struct zone *z)
{
    struct err ignored = {0}; /* of another revision: its own comes */
    if (s->health && zone_apply_health(z, s->health, &ignored) < 0)
        return;
}

/* Makes the new state what threads see, and frees the old one when none can see it any more. */
static void swap(struct dns_service *s, struct built *b)
{
    struct dns_state *old = s->state;
    pthread_mutex_lock(&s->lock);
    dns_metrics_fold(s);
    take_health(s, b->state->zone);
    atomic_store_explicit(&s->state, b->state, memory_order_release);
    pthread_mutex_unlock(&s->lock);
    rcu_writer_wait();
    zone_free(old->zone);
    if (!b->same_geo)
        geo_free(old->geo);
    free(old);
    free(s->origin.overrides);
    s->origin = b->origin;
    *b = (struct built){0};
}

/* The database that came along, or the host's own; -1: none, with the reason. */
static int open_geo(const struct dns_service *s, int given_fd, struct err *ret_warning)
{
    if (given_fd >= 0)
        return given_fd;
    int fd = s->geo ? open(s->geo, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        if (s->geo)
            err_errno(ret_warning, errno,
                "no country database at %s: every country gets the default list", s->geo);
        else
            err_set(ret_warning, ERR_NOT_FOUND,
                "no country database: every country gets the default list");
        err_fix(
            ret_warning, "`make setup` fetches one; or name an mmdb file as routing.geo.database");
    }
    return fd;
}

static void load(struct dns_service *s, json_t *snapshot, int given_fd, bool from_disk)
{
    struct err e = {0}, warning = {0};
    struct built b;
    uint64_t started = clock_boot_ms(), revision = (uint64_t)json_opt_int(snapshot, "revision", 0);
    int geo_fd = open_geo(s, given_fd, &warning);
    int r = dns_build(s, snapshot, geo_fd, &b, &warning, &e);
    if (geo_fd >= 0)
        close(geo_fd);
    if (r < 0) {
        report_error(s, DNS_REPORT_REFUSED, revision, &e);
        return;
    }
    struct dns_report done = {.kind = DNS_REPORT_SERVING,
        .revision = revision,
        .from_disk = from_disk,
        .names = zone_n_names(b.state->zone),
        .geo_nodes = geo_nodes(b.state->geo),
        .bytes = zone_bytes(b.state->zone) + geo_bytes(b.state->geo)};
    swap(s, &b);
    if (!from_disk)
        save(s, ZONE_FILE, snapshot);
    if (warning.code)
        report_error(s, DNS_REPORT_WARNING, revision, &warning);
    done.took_ms = clock_boot_ms() - started;
    report(s, &done);
}

static void *work(void *arg)
{
    struct dns_service *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        json_t *zone = s->next_zone, *health = s->health_unsaved ? json_incref(s->health) : NULL;
        int geo_fd = s->next_geo_fd;
        s->next_zone = NULL;
        s->next_geo_fd = -1;
        s->health_unsaved = false;
        if (!zone && !health) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        if (zone)
            load(s, zone, geo_fd, false);
        if (health)
            save(s, HEALTH_FILE, health);
        pthread_mutex_lock(&s->lock);
        json_decref(zone);
        json_decref(health);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- start --- */

static json_t *read_state(struct dns_service *s, const char *file)
{
    struct err e = {0};
    _cleanup_free_ char *path = state_path(s, file);
    json_t *j = NULL;
    if (file_exists(path) && json_read_file(path, DNS_ZONE_FILE_MAX, &j, &e) < 0)
        report_error(s, DNS_REPORT_WARNING, 0, &e);
    return j;
}

static void load_from_disk(struct dns_service *s)
{
    s->health = read_state(s, HEALTH_FILE);
    json_t *zone = read_state(s, ZONE_FILE);
    if (zone)
        load(s, zone, -1, true);
    json_decref(zone);
}

static int start_threads(struct dns_service *s, struct err *e)
{
    for (size_t i = 0; i < s->n_answerers; i++) {
        s->answerers[i] = xcalloc(1, sizeof **s->answerers);
        s->answerers[i]->service = s;
        s->answerers[i]->tcp = i == s->o.n_udp;
        s->answerers[i]->ctx.metrics =
            metrics_set_new(metrics_process(), dns_metric_defs, DNS_M_COUNT, NULL, 0);
    }
    load_from_disk(s);
    for (size_t i = 0; i < s->o.n_udp; i++) {
        int r = udp_thread_start(s->o.udp[i].fd, s->o.udp[i].cpu, "dns-udp", answer,
            s->answerers[i], &s->answerers[i]->udp, e);
        if (r < 0)
            return r;
    }
    struct tcp_options tcp = {.fds = s->o.tcp,
        .n_fds = s->o.n_tcp,
        .idle_ms = DNS_KEEPALIVE_MS,
        .name = "dns-tcp",
        .answer = answer,
        .ctx = s->answerers[s->o.n_udp]};
    int r = s->o.n_tcp ? tcp_server_start(&tcp, &s->tcp, e) : 0;
    if (r < 0)
        return r;
    r = pthread_create(&s->worker, NULL, work, s);
    if (r != 0)
        return err_errno(e, r, "cannot start a thread");
    pthread_setname_np(s->worker, "dns-build");
    s->started = true;
    return 0;
}

int dns_service_new(const struct dns_service_options *o, struct dns_service **ret, struct err *e)
{
    if (o->n_udp > DNS_SERVICE_SOCKETS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d UDP sockets", DNS_SERVICE_SOCKETS_MAX);
    struct dns_service *s = xcalloc(1, sizeof *s);
    s->o = *o;
    s->state_dir = xstrdup(o->state_dir);
    s->geo = o->geo ? xstrdup(o->geo) : NULL;
    str_copy(s->nsid, sizeof s->nsid, o->host);
    s->next_geo_fd = -1;
    s->reports_end = &s->reports;
    atomic_init(&s->state, xcalloc(1, sizeof(struct dns_state)));
    s->n_answerers = o->n_udp + 1;
    s->answerers = xcalloc(s->n_answerers, sizeof *s->answerers);
    s->async = xcalloc(1, sizeof *s->async);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    dns_metrics_init(s);
    int r = uv_async_init(o->loop, s->async, on_reports);
    ASSERT(r == 0);
    s->async->data = s;
    r = start_threads(s, e);
    if (r < 0) {
        dns_service_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void dns_service_free(struct dns_service *s)
{
    if (!s)
        return;
    tcp_server_stop(s->tcp);
    for (size_t i = 0; i < s->n_answerers; i++)
        udp_thread_stop(s->answerers[i] ? s->answerers[i]->udp : NULL);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->worker, NULL);
    uv_close((uv_handle_t *)s->async, on_closed);
    for (struct report_item *item = s->reports, *next; item; item = next) {
        next = item->next;
        free(item);
    }
    dns_metrics_done(s);
    for (size_t i = 0; i < s->n_answerers; i++) {
        if (s->answerers[i])
            metrics_set_free(s->answerers[i]->ctx.metrics);
        free(s->answerers[i]);
    }
    free(s->answerers);
    zone_free(s->state->zone);
    geo_free(s->state->geo);
    free(s->state);
    free(s->origin.overrides);
    json_decref(s->next_zone);
    json_decref(s->health);
    if (s->next_geo_fd >= 0)
        close(s->next_geo_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s->state_dir);
    free(s->geo);
    free(s);
}

/* --- calls --- */

void dns_service_zone(struct dns_service *s, json_t *snapshot, int geo_fd)
{
    pthread_mutex_lock(&s->lock);
    json_decref(s->next_zone);
    if (s->next_geo_fd >= 0)
        close(s->next_geo_fd);
    s->next_zone =
        json_deep_copy(snapshot); /* reference counts are the loop's: the worker gets its own */
    s->next_geo_fd = geo_fd;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int dns_service_health(struct dns_service *s, json_t *health, struct err *e)
{
    int64_t revision;
    int r = json_get_int(health, "revision", 0, INT64_MAX, &revision, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    /* The lock keeps the zone where it is; of another revision, it waits for its zone. */
    if (s->state->zone && zone_revision(s->state->zone) == (uint64_t)revision)
        r = zone_apply_health(s->state->zone, health, e);
    if (r >= 0) {
        json_decref(s->health);
        s->health = json_deep_copy(health);
        s->health_unsaved = true;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

uint64_t dns_service_revision(struct dns_service *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t revision = s->state->zone ? zone_revision(s->state->zone) : 0;
    pthread_mutex_unlock(&s->lock);
    return revision;
}
