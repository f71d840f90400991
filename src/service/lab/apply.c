/* SPDX-License-Identifier: Apache-2.0 */
/* The second half of `up`: the declaration becomes the revision that the hosts follow, through any
 * control that answers; then the waiting until what was declared is there, DNS included. */
#include "service/lab/up.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "driver/netns/netns.h"
#include "proto/dns/dns.h"
#include "service/files/upload.h"
#include "service/lab/priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CONNECT_MS 1000u
#define CALL_MS 10000u
#define WRITE_MS 30000u /* a revision: what a state store without a leader may take, and some */
#define RETRY_MS 50
#define STATE_MS 60000u /* until members found each other: 2 s on an idle machine */
#define DNS_MS 30000u
#define DNS_TRY_MS 500

static void tell(const struct up_params *p, enum up_phase phase, const char *text)
{
    if (p->progress)
        p->progress(p->ctx, phase, NULL, text);
}

/* ---- control, through whichever host answers ---- */

static int connect_host(const json_t *host, struct rpc_client **ret, struct err *e)
{
    _cleanup_free_ char *path = lab_host_path(host, "/run/mcp/mcp.sock");
    const char *name = json_opt_str(host, "name", "?");
    if (!lab_host_alive(host))
        return err_set(e, ERR_UNAVAILABLE, "host %s is off", name);
    return rpc_client_connect_within(path, name, CONNECT_MS, ret, e);
}

typedef int (*client_fn)(struct rpc_client *c, void *ctx, struct err *e);

/* Until one host's control does it. An answer that is not about being reachable is final. */
static int with_control(
    const struct lab *l, uint64_t end_ms, client_fn fn, void *ctx, struct err *e)
{
    const json_t *hosts = json_object_get(l->state, "hosts");
    for (;;) {
        size_t i;
        json_t *host;
        struct err why = {0};
        json_array_foreach (hosts, i, host) {
            struct rpc_client *c = NULL;
            int r = connect_host(host, &c, &why);
            if (r >= 0)
                r = fn(c, ctx, &why);
            rpc_client_free(c);
            if (r >= 0)
                return r;
            if (why.code != ERR_UNAVAILABLE && why.code != ERR_TIMEOUT && why.code != ERR_NOT_FOUND
                && why.code != ERR_SYSTEM) {
                *e = why;
                return r;
            }
        }
        if (clock_boot_ms() >= end_ms) {
            *e = why;
            err_fix(e, "logs: `ls %s/log`; `mcp status` shows what is there", l->dir);
            return e->code;
        }
        poll(NULL, 0, RETRY_MS);
    }
}

/* ---- state store ---- */

struct waiting {
    const struct up_params *params;
    char said[256];
};

static int check_state(struct rpc_client *c, void *ctx, struct err *e)
{
    struct waiting *w = ctx;
    _cleanup_json_ json_t *status = NULL;
    int r = rpc_client_call(c, "status", NULL, CALL_MS, NULL, NULL, &status, e);
    if (r < 0)
        return r;
    const json_t *store = json_object_get(status, "state_store");
    if (json_opt_bool(store, "connected", false))
        return 0;
    const char *reason = json_opt_str(store, "reason", "");
    err_set(e, ERR_UNAVAILABLE, "the state store does not answer%s%s", *reason ? ": " : "", reason);
    if (strcmp(w->said, e->message) != 0)
        tell(w->params, UP_STATE, e->message);
    str_copy(w->said, sizeof w->said, e->message);
    return ERR_UNAVAILABLE;
}

static int call_status(struct rpc_client *c, void *ctx, struct err *e)
{
    return rpc_client_call(c, "status", NULL, CALL_MS, NULL, NULL, ctx, e);
}

int up_status(const struct lab *l, json_t **ret, struct err *e)
{
    return with_control(l, clock_boot_ms() + CALL_MS, call_status, ret, e);
}

/* ---- images ---- */

struct bringing {
    const struct up_params *params;
    char said[128];
};

static void on_upload(void *ctx, const char *what, int64_t done, int64_t total)
{
    const struct bringing *b = ctx;
    char text[128];
    snprintf(text, sizeof text, "image of %s: %lld of %lld MiB", what, (long long)(done >> 20),
        (long long)(total >> 20));
    tell(b->params, UP_STATE, text);
}

/* To the first host that answers, from which the others have it. */
static int upload(struct rpc_client *c, void *ctx, struct err *e)
{
    struct bringing *b = ctx;
    const struct up_params *p = b->params;
    struct upload_progress progress = {on_upload, b};
    _cleanup_free_ char *dir = xasprintf("%.*s", (int)(strrchr(p->file, '/') - p->file), p->file);
    return upload_files(c, p->model, dir, p->files, &progress, e);
}

static int on_staging(void *ctx, json_t *part)
{
    const struct bringing *b = ctx;
    tell(b->params, UP_STATE, json_opt_str(part, "text", ""));
    return 0;
}

/* While the members of the state store look for each other, so that nobody waits for it later. */
static int stage(struct rpc_client *c, void *ctx, struct err *e)
{
    struct bringing *b = ctx;
    _cleanup_json_ json_t *answer = NULL;
    json_t *params =
        json_pack("{s:O,s:O}", "platform", b->params->model->tree, "files", b->params->files);
    return rpc_client_call(
        c, "image.stage", params, b->params->timeout_ms, on_staging, b, &answer, e);
}

/* Both at one host: it is the one that has everything. */
static int upload_and_stage(struct rpc_client *c, void *ctx, struct err *e)
{
    int r = upload(c, ctx, e);
    return r < 0 ? r : stage(c, ctx, e);
}

static int bring_images(
    const struct lab *l, const struct up_params *p, uint64_t end_ms, struct err *e)
{
    struct bringing b = {.params = p};
    return with_control(l, end_ms, upload_and_stage, &b, e);
}

/* ---- apply and ready ---- */

struct applying {
    const struct up_params *params;
    const struct lab *lab;
    bool wait;
    uint64_t timeout_ms;
    json_t *answer;
};

/* "3 of 7 units ready", for each host. */
static void tell_units(const struct applying *a)
{
    _cleanup_json_ json_t *status = NULL;
    const struct model *m = a->params->model;
    struct err ignored;
    if (!a->params->progress || up_status(a->lab, &status, &ignored) < 0)
        return;
    for (size_t i = 0; i < m->n_hosts; i++) {
        unsigned ready = 0, all = 0;
        char text[64];
        size_t k;
        json_t *u;
        json_array_foreach (json_object_get(status, "units"), k, u) {
            if (strcmp(json_opt_str(u, "host", ""), m->hosts[i].name) != 0
                || json_opt_bool(u, "standby", false))
                continue;
            all++;
            ready += !strcmp(json_opt_str(u, "state", ""), "ready");
        }
        snprintf(text, sizeof text, "%u of %u units ready", ready, all);
        a->params->progress(a->params->ctx, UP_READY, m->hosts[i].name, text);
    }
}

static int on_part(void *ctx, json_t *part)
{
    struct applying *a = ctx;
    tell(a->params, UP_READY, json_opt_str(part, "text", ""));
    tell_units(a);
    return 0;
}

static int call_apply(struct rpc_client *c, void *ctx, struct err *e)
{
    struct applying *a = ctx;
    json_t *params = json_pack("{s:O,s:O,s:b,s:s,s:s,s:I}", "platform", a->params->model->tree,
        "files", a->params->files, "wait", a->wait, "by", "root", "note", "mcp up", "timeout_ms",
        (json_int_t)a->timeout_ms);
    uint64_t limit_ms = a->wait ? a->timeout_ms + CALL_MS : WRITE_MS;
    return rpc_client_call(
        c, "apply", params, limit_ms, a->wait ? on_part : NULL, a, &a->answer, e);
}

static int apply(const struct lab *l, struct applying *a, uint64_t end_ms, struct err *e)
{
    json_decref(a->answer);
    a->answer = NULL;
    return with_control(l, end_ms, call_apply, a, e);
}

/* ---- DNS, as the buyers ask it ---- */

/* A name that is served: the domain itself if a route has it. NULL: no module has a route. */
static const char *served_name(const struct model *m)
{
    const char *first = NULL;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t n = 0; n < m->modules[i].routes[k].n_names; n++) {
                const char *name = m->modules[i].routes[k].names[n];
                if (!strcmp(name, m->domain))
                    return name;
                first = first ? first : name;
            }
    return first;
}

static int open_question(const struct ip_addr *server, const struct ip_addr *buyer)
{
    struct sockaddr_storage from, to;
    socklen_t len;
    ip_to_sockaddr(buyer, 0, &from, &len);
    _cleanup_close_ int fd = socket(from.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, len) < 0)
        return -1;
    ip_to_sockaddr(server, 53, &to, &len);
    return connect(fd, (struct sockaddr *)&to, len) < 0 ? -1 : util_steal_fd(&fd);
}

/* True when the server has an answer for the buyer: an address if there is a name, else the zone. */
static bool answers(
    const struct ip_addr *server, const struct ip_addr *buyer, const char *name, uint16_t type)
{
    uint8_t message[DNS_UDP_MIN], answer[DNS_UDP_MAX], wire[DNS_NAME_MAX];
    size_t size;
    struct dns_writer w;
    _cleanup_close_ int fd = open_question(server, buyer);
    if (fd < 0 || !dns_name_parse(name, wire, &size))
        return false;
    dns_writer_init(&w, message, sizeof message, 1, 0);
    dns_write_question(&w, wire, size, type, DNS_IN);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (send(fd, message, dns_writer_finish(&w), 0) < 0 || poll(&p, 1, DNS_TRY_MS) <= 0)
        return false;
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    unsigned flags = n >= DNS_HEADER_SIZE ? dns_get16(answer + 2) : 0;
    return (flags & DNS_AA) && (flags & DNS_RCODE) == DNS_NOERROR && dns_get16(answer + 6) > 0;
}

static bool all_answer(const struct model *m)
{
    const char *served = served_name(m), *name = served ? served : m->domain;
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        const struct ip_addr *buyer = &m->lab.clients[i].prefix.addr;
        uint16_t type = !served ? DNS_SOA : buyer->family == 6 ? DNS_AAAA : DNS_A;
        for (size_t k = 0; k < m->routing.n_nameservers; k++) {
            const struct model_addrs *addrs = &m->routing.nameservers[k].region->addresses;
            for (size_t n = 0; n < addrs->n; n++)
                if (addrs->v[n].family == buyer->family
                    && !answers(&addrs->v[n], buyer, name, type))
                    return false;
        }
    }
    return true;
}

/* In a child: a process cannot come back from another network namespace. */
static _Noreturn void ask_as_client(int pidfd, const struct model *m)
{
    struct err ignored;
    uint64_t end_ms = clock_boot_ms() + DNS_MS;
    if (netns_enter(pidfd, false, &ignored) < 0)
        _exit(2);
    while (!all_answer(m)) {
        if (clock_boot_ms() >= end_ms)
            _exit(1);
        poll(NULL, 0, RETRY_MS);
    }
    _exit(0);
}

static int wait_dns(const struct lab *l, const struct up_params *p, struct err *e)
{
    const json_t *client = lab_host(l, "client");
    struct process who = lab_host_process(client);
    _cleanup_close_ int pidfd = process_open(&who);
    if (!p->model->routing.n_nameservers || !p->model->lab.n_clients)
        return 0;
    tell(p, UP_READY, "name servers");
    if (pidfd < 0)
        return err_set(e, ERR_UNAVAILABLE, "the client is off");
    pid_t child = fork();
    if (child == 0)
        ask_as_client(pidfd, p->model);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return err_errno(e, errno, "ask the name servers");
    if (status == 0)
        return 0;
    return err_set(e, ERR_TIMEOUT, "not every name server answers for %s after %u s",
        p->model->domain, DNS_MS / 1000);
}

int up_apply(struct lab *l, const struct up_params *p, int64_t *ret_revision, struct err *e)
{
    uint64_t start_ms = clock_boot_ms();
    struct waiting waiting = {.params = p};
    struct applying a = {.params = p, .lab = l, .timeout_ms = p->timeout_ms};
    tell(p, UP_STATE, "control and the state store");
    uint64_t state_end_ms = start_ms + MIN(p->timeout_ms, STATE_MS);
    int r = bring_images(l, p, start_ms + p->timeout_ms, e);
    if (r >= 0)
        r = with_control(
            l, MAX(state_end_ms, clock_boot_ms() + STATE_MS / 2), check_state, &waiting, e);
    if (r < 0)
        return r;
    tell(p, UP_STATE, NULL);
    tell(p, UP_APPLY, "writing the revision");
    r = apply(l, &a, clock_boot_ms() + WRITE_MS, e);
    if (r >= 0) {
        tell(p, UP_APPLY, NULL);
        tell(p, UP_READY, "units");
        a.wait = true;
        r = apply(l, &a, start_ms + p->timeout_ms, e);
    }
    if (r >= 0)
        *ret_revision = json_opt_int(a.answer, "revision", 0);
    json_decref(a.answer);
    if (r >= 0)
        r = wait_dns(l, p, e);
    if (r >= 0)
        tell(p, UP_READY, NULL);
    return r;
}
