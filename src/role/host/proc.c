/* SPDX-License-Identifier: Apache-2.0 */
/* The roles as processes: started, linked, listened to, ended. When, says supervise.c. */
#include "role/host/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "role/frame/channel.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

struct host_role *host_role_find(struct host *h, const char *name)
{
    for (size_t i = 0; i < h->n_roles; i++)
        if (str_eq(h->roles[i].name, name))
            return &h->roles[i];
    return NULL;
}

/* Takes the descriptors. */
static void set_kept(struct host_role *r, int *fds, size_t n)
{
    for (size_t i = 0; i < r->n_kept; i++)
        close(r->kept[i]);
    r->n_kept = MIN(n, (size_t)HOST_KEPT_MAX);
    for (size_t i = 0; i < r->n_kept; i++)
        r->kept[i] = util_steal_fd(&fds[i]);
}

struct host_role *host_role_add(struct host *h, const char *name)
{
    struct host_role *r = host_role_find(h, name);
    if (r)
        return r;
    for (size_t i = 0; i < h->n_roles && !r; i++) /* of a role that an earlier boot record had */
        if (h->roles[i].sup.state == SUP_DOWN && !boot_has_role(h->boot, h->roles[i].name))
            r = &h->roles[i];
    if (!r && h->n_roles == ARRAY_SIZE(h->roles))
        return NULL;
    if (!r)
        r = &h->roles[h->n_roles++];
    set_kept(r, NULL, 0);
    *r = (struct host_role){.proc.pidfd = -1, .channel = -1};
    str_copy(r->name, sizeof r->name, name);
    return r;
}

uint64_t host_role_print(const struct host *h, const char *name)
{
    uint64_t seed = str_eq(name, "control") ? h->control_print : h->boot_print;
    return listens_print(&h->listens, name, seed);
}

static int send_boot(struct host *h, struct host_role *r, struct err *e)
{
    int fds[CHANNEL_FDS_MAX];
    size_t n = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < h->listens.n; i++) {
        const struct listen *l = &h->listens.v[i];
        if (l->fd < 0 || !str_eq(l->role, r->name))
            continue;
        fds[n++] = l->fd;
        json_array_append_new(
            list, json_pack("{s:s,s:i}", "name", l->name, "thread", (int)l->thread));
    }
    for (size_t i = 0; i < r->n_kept && n < CHANNEL_FDS_MAX; i++) {
        fds[n++] = r->kept[i];
        json_array_append_new(list, json_pack("{s:s,s:i}", "name", "kept", "thread", 0));
    }
    json_t *params = json_pack("{s:O,s:o}", "boot", h->boot->tree, "listens", list);
    return channel_send(r->channel, "boot", params, fds, n, e);
}

static int start_process(struct host *h, struct host_role *r, struct err *e)
{
    const char *argv[] = {"mcp", "role", r->name, NULL};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "channel");
    struct spawn_fd fds[] = {{pair[1], CHANNEL_FD}, {STDOUT_FILENO, STDOUT_FILENO}};
    struct spawn_opts opts = {.path = "/proc/self/exe",
        .fds = fds,
        .n_fds = ARRAY_SIZE(fds),
        .dir = "/",
        .keep_oom_score = true};
    int k = spawn_start(argv, &opts, &r->proc, e);
    close(pair[1]);
    if (k < 0) {
        close(pair[0]);
        return k;
    }
    r->channel = pair[0];
    r->generation = ++h->generations;
    str_copy(r->binary, sizeof r->binary, h->own);
    r->print = host_role_print(h, r->name);
    r->unanswered = r->messages = 0;
    r->oom_kills = host_oom_kills();
    if (send_boot(h, r, e) < 0)
        log_error(
            "host", "cannot hand over the boot record", "role=%s why=\"%s\"", r->name, e->message);
    log_info("host", "role started", "role=%s pid=%d", r->name, (int)r->proc.pid);
    return 0; /* whatever happens from here on ends with the process */
}

static void end_process(struct host_role *r, int sig)
{
    struct err e;
    if (r->proc.pidfd >= 0 && spawn_signal(&r->proc, sig, &e) < 0)
        log_error("host", "cannot signal a role", "role=%s why=\"%s\"", r->name, e.message);
}

static void perform(struct host *h, struct host_role *r, enum sup_action action)
{
    struct err e = {0};
    if (action == SUP_SPAWN && start_process(h, r, &e) < 0) {
        str_copy(r->reason, sizeof r->reason, e.message);
        log_error("host", "cannot start a role", "role=%s why=\"%s\"", r->name, e.message);
        host_role_event(h, r, SUP_EXIT);
    }
    if (action == SUP_ASK_STOP
        && (r->channel < 0 || channel_send(r->channel, "stop", NULL, NULL, 0, &e) < 0))
        end_process(r, SIGTERM);
    if (action == SUP_KILL) {
        log_warn("host", "role does not answer or end, killed", "role=%s pid=%d", r->name,
            (int)r->proc.pid);
        end_process(r, SIGKILL);
    }
}

void host_role_event(struct host *h, struct host_role *r, enum sup_event event)
{
    enum sup_state before = r->sup.state;
    enum sup_action action = sup_step(&r->sup, event, clock_boot_ms(), &h->rnd);
    if (r->sup.state == SUP_UP && before == SUP_STARTING)
        log_info("host", "role is up", "role=%s pid=%d", r->name, (int)r->proc.pid);
    if (r->sup.state != before || action != SUP_NOTHING) {
        r->since_ms = clock_wall_ms();
        h->report_due = true;
    }
    perform(h, r, action);
}

static void say_end(struct host_role *r, const struct spawn_exit *x, bool asked)
{
    char how[SPAWN_EXIT_TEXT_SIZE];
    spawn_exit_format(x, how);
    char call[SANDBOX_CALL_SIZE];
    if (!x->exited && x->status == SIGKILL && host_oom_kills() > r->oom_kills)
        snprintf(r->reason, sizeof r->reason, "%s (the machine ran out of memory meanwhile)", how);
    else if (!x->exited && x->status == SIGSYS)
        snprintf(r->reason, sizeof r->reason, "%s: forbidden system call %s", how,
            host_forbidden_call(r->proc.pid, call) ? call : "(dmesg may name it)");
    else
        str_copy(r->reason, sizeof r->reason, how);
    if (asked)
        log_info("host", "role stopped", "role=%s pid=%d reason=\"%s\"", r->name, (int)r->proc.pid,
            r->reason);
    else
        log_warn("host", "role ended", "role=%s pid=%d reason=\"%s\"", r->name, (int)r->proc.pid,
            r->reason);
}

void host_role_ended(struct host *h, struct host_role *r)
{
    struct spawn_exit x;
    struct err e;
    int k = spawn_reap(&r->proc, false, &x, &e);
    if (k == 0)
        return;
    if (k < 0) {
        log_error("host", "lost a role", "role=%s why=\"%s\"", r->name, e.message);
        close(r->proc.pidfd);
        r->proc.pidfd = -1;
    } else {
        say_end(r, &x, r->sup.state == SUP_STOPPING || r->sup.state == SUP_RESTARTING);
    }
    if (r->channel >= 0)
        close(r->channel);
    r->channel = -1;
    host_role_event(h, r, SUP_EXIT);
}

/* What control may ask: it could run any image anyway, and what it names is verified. */
static void take_upgrade(struct host *h, const char *method, const json_t *params)
{
    if (str_eq(method, "upgrade"))
        host_upgrade(h, json_opt_str(params, "digest", ""));
    else if (str_eq(method, "upgrade.confirm"))
        host_upgrade_confirm(h, json_opt_str(params, "digest", ""));
    else if (str_eq(method, "upgrade.back"))
        host_upgrade_back(h, json_opt_str(params, "reason", ""));
}

static void take_message(struct host *h, struct host_role *r, struct channel_msg *m)
{
    const char *method = m->method;
    if (str_eq(method, "ready")) {
        host_role_event(h, r, SUP_READY);
    } else if (str_eq(method, "pong")) {
        r->unanswered = 0;
    } else if (str_eq(method, "relink")) {
        r->linked = 0;
    } else if (str_eq(method, "roles") && str_eq(r->name, "control")) {
        h->report_due = true;
    } else if (str_eq(method, "keep") && str_eq(r->name, "mesh")) {
        set_kept(r, m->fds, m->n_fds);
    } else if (str_eq(r->name, "control")) {
        take_upgrade(h, method, m->params);
    }
}

void host_role_message(struct host *h, struct host_role *r)
{
    struct channel_msg m;
    struct err e;
    int k = channel_recv(r->channel, CHANNEL_TO_HOST_MAX, &m, &e);
    if (k == 0)
        return;
    if (k > 0 && ++r->messages <= HOST_MESSAGES_MAX) {
        take_message(h, r, &m);
        channel_msg_done(&m);
        return;
    }
    if (k > 0) {
        channel_msg_done(&m);
        err_set(&e, ERR_LIMIT, "it floods its channel");
    }
    /* Gone without ending, or broken: of no use, and not to be trusted. */
    log_debug("host", "channel lost", "role=%s why=\"%s\"", r->name, e.message);
    end_process(r, SIGKILL);
    close(r->channel);
    r->channel = -1;
}

static int link_roles(struct host_role *control, struct host_role *r, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "link");
    int k =
        channel_send(control->channel, "link", json_pack("{s:s}", "role", r->name), &pair[0], 1, e);
    if (k >= 0)
        k = channel_send(r->channel, "link", json_pack("{s:s}", "role", "control"), &pair[1], 1, e);
    close(pair[0]);
    close(pair[1]);
    return k;
}

void host_links_renew(struct host *h)
{
    struct host_role *control = host_role_find(h, "control");
    struct err e;
    h->links_due = false;
    if (!control || control->channel < 0 || h->stopping)
        return;
    for (size_t i = 0; i < h->n_roles; i++) {
        struct host_role *r = &h->roles[i];
        if (r == control || r->channel < 0)
            continue;
        if (r->linked == r->generation && r->linked_control == control->generation)
            continue;
        if (link_roles(control, r, &e) < 0) {
            log_debug("host", "link waits", "role=%s why=\"%s\"", r->name, e.message);
            h->links_due = true;
            continue;
        }
        r->linked = r->generation;
        r->linked_control = control->generation;
    }
}

void host_roles_ping(struct host *h)
{
    for (size_t i = 0; i < h->n_roles; i++) {
        struct host_role *r = &h->roles[i];
        struct err e;
        r->messages = 0;
        if (r->sup.state != SUP_UP || r->channel < 0)
            continue;
        /* Pings are counted, not time: a machine that slept has not heard of any hang. */
        if (++r->unanswered > HOST_PINGS_MAX) {
            r->unanswered = 0;
            host_role_event(h, r, SUP_HUNG);
        } else if (channel_send(r->channel, "ping", NULL, NULL, 0, &e) < 0) {
            log_debug("host", "channel is full", "role=%s", r->name);
        }
    }
}
