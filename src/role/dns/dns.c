/* SPDX-License-Identifier: Apache-2.0 */
#include "role/dns/dns.h"

#include "base/log/log.h"
#include "domain/timeline/timeline.h"
#include "service/dns/dns.h"

struct dns_role {
    struct role *role;
    struct dns_service *service;
};

static void note(struct dns_role *d, const char *message, const struct dns_report *r)
{
    struct timeline_draft draft;
    if (!d->role->control)
        return; /* the log has it */
    timeline_draft_set(&draft, "dns", d->role->host, message, r->error.message);
    draft.revision = r->revision;
    rpc_notify(d->role->control, "timeline", timeline_draft_format(&draft));
}

static void on_report(void *ctx, const struct dns_report *r)
{
    struct dns_role *d = ctx;
    unsigned long long revision = r->revision;
    switch (r->kind) {
    case DNS_REPORT_SERVING:
        log_info("dns", "serving a zone",
            "revision=%llu names=%zu geo_nodes=%zu bytes=%zu took_ms=%llu from=%s", revision,
            r->names, r->geo_nodes, r->bytes, (unsigned long long)r->took_ms,
            r->from_disk ? "disk" : "control");
        break;
    case DNS_REPORT_REFUSED:
        log_error("dns", "a zone is refused, the old one serves on", "revision=%llu why=\"%s\"",
            revision, r->error.message);
        note(d, "a zone is refused, the old one serves on", r);
        break;
    case DNS_REPORT_WARNING:
        log_warn("dns", "served, but not as it should be", "revision=%llu why=\"%s\" fix=\"%s\"",
            revision, r->error.message, r->error.fix);
        note(d, "served, but not as it should be", r);
        break;
    }
}

static int init(struct role *r, struct err *e)
{
    struct dns_service_socket udp[ROLE_LISTEN_MAX];
    int tcp[ROLE_LISTEN_MAX];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct dns_role *d = xcalloc(1, sizeof *d);
    struct dns_service_options o = {.loop = &r->loop,
        .udp = udp,
        .tcp = tcp,
        .state_dir = r->state_dir,
        .geo = json_opt_str(r->boot, "geo", NULL),
        .host = r->host,
        .report = on_report,
        .ctx = d};
    for (size_t i = 0; i < r->n_listens; i++) {
        const struct role_listen *l = &r->listens[i];
        if (str_eq(l->name, "dns-udp"))
            udp[o.n_udp++] =
                (struct dns_service_socket){.fd = l->fd, .cpu = (int)(l->thread % MAX(cpus, 1))};
        else if (str_eq(l->name, "dns-tcp"))
            tcp[o.n_tcp++] = l->fd;
    }
    d->role = r;
    r->ctx = d;
    return dns_service_new(&o, &d->service, e);
}

static void on_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct dns_role *d = r->ctx;
    struct err e = {0};
    if (str_eq(method, "zone")) {
        dns_service_zone(d->service, params, fd);
        return;
    }
    if (str_eq(method, "health") && dns_service_health(d->service, params, &e) < 0)
        log_warn("dns", "what steering decided does not fit", "why=\"%s\"", e.message);
    if (fd >= 0)
        close(fd);
}

static void metrics(struct role *r, struct str *out)
{
    dns_service_metrics(((struct dns_role *)r->ctx)->service, out);
}

static void done(struct role *r)
{
    struct dns_role *d = r->ctx;
    if (!d)
        return;
    dns_service_free(d->service);
    free(d);
}

const struct role_def role_dns = {
    .name = "dns",
    .profile = SANDBOX_NETWORK,
    .init = init,
    .notify = on_notify,
    .metrics = metrics,
    .done = done,
};
