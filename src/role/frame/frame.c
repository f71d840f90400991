/* SPDX-License-Identifier: Apache-2.0 */
#include "role/frame/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/secret/secret.h"
#include "base/str/str.h"
#include "role/frame/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#define BOOT_WAIT_MS 10000 /* host sends it before it does anything else */
#define LAST_TURNS 1000    /* of the loop, for handles that close */

static void begin_stop(struct frame *f)
{
    if (f->stopping)
        return;
    f->stopping = true;
    if (f->role.def->stop)
        f->role.def->stop(&f->role);
    else
        role_stopped(&f->role);
}

void role_stopped(struct role *r)
{
    CONTAINER_OF(r, struct frame, role)->stopping = true;
    uv_stop(&r->loop);
}

int role_listen_fd(const struct role *r, const char *name, size_t n)
{
    for (size_t i = 0; i < r->n_listens; i++)
        if (str_eq(r->listens[i].name, name) && n-- == 0)
            return r->listens[i].fd;
    return -1;
}

void role_ask_host(struct role *r, const char *method)
{
    struct err e;
    if (channel_send(CHANNEL_FD, method, NULL, NULL, 0, &e) < 0)
        log_debug("frame", "host does not listen", "method=%s why=\"%s\"", method, e.message);
}

int role_tell_host(struct role *r, const char *method, json_t *params, struct err *e)
{
    return channel_send(CHANNEL_FD, method, params, NULL, 0, e);
}

void role_keep(struct role *r, const int *fds, size_t n)
{
    struct err e;
    if (channel_send(CHANNEL_FD, "keep", NULL, fds, MIN(n, (size_t)ROLE_KEEP_MAX), &e) < 0)
        log_debug("frame", "host keeps no sockets", "why=\"%s\"", e.message);
}

static void take_message(struct frame *f, struct channel_msg *m)
{
    const struct role_def *def = f->role.def;
    if (str_eq(m->method, "stop")) {
        begin_stop(f);
    } else if (str_eq(m->method, "ping")) {
        role_ask_host(&f->role, "pong");
    } else if (str_eq(m->method, "link") && m->n_fds == 1) {
        frame_link_add(f, json_opt_str(m->params, "role", "control"), m->fds[0]);
        m->fds[0] = -1;
    } else if (def->on_host_message) {
        def->on_host_message(&f->role, m->method, m->params);
    }
}

static void on_channel(uv_poll_t *p, int status, int events)
{
    struct frame *f = p->data;
    struct channel_msg m;
    struct err e;
    int r = channel_recv(CHANNEL_FD, CHANNEL_TO_ROLE_MAX, &m, &e);
    if (r == 0)
        return;
    if (r < 0) {
        log_warn("frame", "host has gone, so does this role", "why=\"%s\"", e.message);
        role_stopped(&f->role);
        return;
    }
    take_message(f, &m);
    channel_msg_done(&m);
}

static void on_sigterm(uv_signal_t *s, int sig)
{
    begin_stop(s->data);
}

static int wait_boot(struct channel_msg *m, struct err *e)
{
    uint64_t until = clock_boot_ms() + BOOT_WAIT_MS;
    for (;;) {
        int r = channel_recv(CHANNEL_FD, CHANNEL_TO_ROLE_MAX, m, e);
        if (r != 0)
            return r;
        uint64_t now = clock_boot_ms();
        if (now >= until)
            return err_set(e, ERR_TIMEOUT, "host sends no boot record");
        struct pollfd p = {.fd = CHANNEL_FD, .events = POLLIN};
        if (poll(&p, 1, (int)(until - now)) < 0 && errno != EINTR)
            return err_errno(e, errno, "poll");
    }
}

static int take_listens(struct role *r, struct channel_msg *m, struct err *e)
{
    json_t *list, *item;
    size_t i;
    int k = json_get_array(m->params, "listens", &list, e);
    if (k < 0)
        return k;
    if (json_array_size(list) != m->n_fds || m->n_fds > ROLE_LISTEN_MAX)
        return err_set(
            e, ERR_PROTOCOL, "%zu sockets came for %zu names", m->n_fds, json_array_size(list));
    json_array_foreach (list, i, item) {
        struct role_listen *l = &r->listens[r->n_listens++];
        str_copy(l->name, sizeof l->name, json_opt_str(item, "name", ""));
        l->thread = (unsigned)json_opt_int(item, "thread", 0);
        l->fd = m->fds[i];
        m->fds[i] = -1;
    }
    return 0;
}

static int take_boot(struct frame *f, struct err *e)
{
    struct role *r = &f->role;
    struct channel_msg m;
    if (fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC) < 0) {
        err_set(e, ERR_USAGE, "a role is started by `mcp host`, not by hand");
        return ERR_USAGE;
    }
    int k = wait_boot(&m, e);
    if (k < 0)
        return k;
    json_t *boot = NULL;
    k = str_eq(m.method, "boot") ? json_get_obj(m.params, "boot", &boot, e)
                                 : err_set(e, ERR_PROTOCOL, "the first message is %s", m.method);
    if (k >= 0)
        k = take_listens(r, &m, e);
    if (k >= 0) {
        r->boot = json_incref(boot);
        k = json_get_str(r->boot, "host", &r->host, e);
    }
    channel_msg_done(&m);
    if (k < 0)
        return k;
    snprintf(r->state_dir, sizeof r->state_dir, "%s/%s", ROLE_STATE_ROOT, r->def->name);
    snprintf(r->run_dir, sizeof r->run_dir, "%s/%s", ROLE_RUN_ROOT, r->def->name);
    snprintf(f->name, sizeof f->name, "%s@%s", r->def->name, r->host);
    return 0;
}

static int open_loop(struct frame *f, struct err *e)
{
    uv_loop_t *loop = &f->role.loop;
    int u = uv_loop_init(loop);
    if (u >= 0)
        u = uv_poll_init(loop, &f->channel, CHANNEL_FD);
    if (u >= 0)
        u = uv_signal_init(loop, &f->sigterm);
    if (u >= 0)
        u = uv_timer_init(loop, &f->relink);
    if (u < 0)
        return err_set(e, ERR_SYSTEM, "event loop: %s", uv_strerror(u));
    f->channel.data = f->sigterm.data = f->relink.data = f;
    return 0;
}

/* A role that faces the network sees the system's files, the country database and its own. */
static int confine(struct role *r, struct err *e)
{
    const char *readable[] = {"/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev",
        json_opt_str(r->boot, "geo", NULL)};
    const char *writable[] = {r->state_dir, r->run_dir, "/dev/null"};
    if (r->def->profile != SANDBOX_NETWORK && r->def->profile != SANDBOX_LISTENER)
        return 0;
    int k = sandbox_confine(readable, ARRAY_SIZE(readable), writable, ARRAY_SIZE(writable), e);
    if (k == 0)
        log_debug("frame", "this kernel has no landlock", "role=%s", r->def->name);
    return k;
}

static int start(struct frame *f, struct err *e)
{
    struct role *r = &f->role;
    int k = take_boot(f, e);
    if (k >= 0)
        k = sandbox_drop(r->def->profile, sandbox_user_of(r->def->name), e);
    if (k >= 0)
        k = confine(r, e);
    /* After the change of user, which clears it. A role that hangs must not outlive its host with
     * its sockets. */
    if (k >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        k = err_errno(e, errno, "death signal");
    if (k >= 0)
        k = open_loop(f, e);
    if (k >= 0 && r->def->init)
        k = r->def->init(r, e);
    if (k >= 0)
        k = sandbox_seal(r->def->profile, e);
    if (k >= 0)
        k = channel_send(CHANNEL_FD, "ready", NULL, NULL, 0, e);
    return k;
}

static void finish(struct frame *f)
{
    struct role *r = &f->role;
    f->stopping = true;
    frame_links_close(f);
    if (r->def->done)
        r->def->done(r);
    uv_close((uv_handle_t *)&f->channel, NULL);
    uv_close((uv_handle_t *)&f->sigterm, NULL);
    uv_close((uv_handle_t *)&f->relink, NULL);
    for (int i = 0; i < LAST_TURNS && uv_run(&r->loop, UV_RUN_NOWAIT); i++)
        ;
    int u = uv_loop_close(&r->loop);
    if (u < 0)
        log_debug("frame", "handles are left open", "why=%s", uv_strerror(u));
    for (size_t i = 0; i < r->n_listens; i++)
        close(r->listens[i].fd);
    json_decref(r->boot);
}

int role_main(const struct role_def *def)
{
    struct err e = {0};
    struct frame *f = xcalloc(1, sizeof *f);
    char comm[16];
    secret_wipe_freed(); /* before any */
    f->role.def = def;
    f->is_control = str_eq(def->name, "control");
    log_init(def->name, getenv("MCP_DEBUG") ? LOG_DEBUG : LOG_INFO);
    snprintf(comm, sizeof comm, "mcp-%s", def->name);
    prctl(PR_SET_NAME, comm);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* of a terminal: host's to handle */
    if (start(f, &e) < 0) {
        log_error("frame", "cannot start", "why=\"%s\"%s%s%s", e.message, *e.fix ? " fix=\"" : "",
            e.fix, *e.fix ? "\"" : "");
        return err_exit_status(e.code);
    }
    uv_poll_start(&f->channel, UV_READABLE, on_channel);
    uv_signal_start(&f->sigterm, on_sigterm, SIGTERM);
    uv_run(&f->role.loop, UV_RUN_DEFAULT);
    finish(f);
    free(f);
    return 0;
}
