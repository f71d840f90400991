/* SPDX-License-Identifier: Apache-2.0 */
#include "role/resolver/resolver.h"

#include "base/log/log.h"
#include "base/metrics/metrics.h"
#include "domain/spec/boot.h"
#include "service/resolver/resolver.h"

static void on_warn(void *ctx, const struct err *e)
{
    log_warn("resolver", "names are served, but not as they should be", "why=\"%s\"", e->message);
}

static int init(struct role *r, struct err *e)
{
    int udp[ROLE_LISTEN_MAX], tcp[ROLE_LISTEN_MAX];
    struct boot *boot;
    struct resolver *resolver;
    int k = boot_parse(r->boot, &boot, e);
    if (k < 0)
        return k;
    struct resolver_options o = {.loop = &r->loop,
        .udp = udp,
        .tcp = tcp,
        .clients = boot->bridge,
        .own = boot->gateway,
        .state_dir = r->state_dir,
        .warn = on_warn};
    boot_free(boot);
    for (size_t i = 0; i < r->n_listens; i++) {
        if (str_eq(r->listens[i].name, "resolver-udp"))
            udp[o.n_udp++] = r->listens[i].fd;
        else if (str_eq(r->listens[i].name, "resolver-tcp"))
            tcp[o.n_tcp++] = r->listens[i].fd;
    }
    k = resolver_new(&o, &resolver, e);
    if (k >= 0)
        r->ctx = resolver;
    return k;
}

static void on_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct err e = {0};
    if (str_eq(method, "names") && resolver_set_names(r->ctx, params, &e) < 0)
        log_warn("resolver", "names refused, the old ones are served", "why=\"%s\"", e.message);
    if (fd >= 0)
        close(fd);
}

static void metrics(struct role *r, struct str *out)
{
    metrics_format(metrics_process(), out);
}

static void done(struct role *r)
{
    resolver_free(r->ctx);
}

const struct role_def role_resolver = {
    .name = "resolver",
    .profile = SANDBOX_NETWORK,
    .init = init,
    .notify = on_notify,
    .metrics = metrics,
    .done = done,
};
