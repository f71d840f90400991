/* SPDX-License-Identifier: Apache-2.0 */
#include "role/host/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>

/* The roles of a host that was killed take a moment to go, and with them their sockets. */
#define OPEN_WAIT_MS 2000u
#define OPEN_STEP_MS 20

static unsigned processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

static uint64_t print_of(const json_t *tree)
{
    _cleanup_free_ char *text = json_text(tree);
    uint64_t h = 14695981039346656037u;
    for (const char *p = text; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    return h;
}

/* As far as a role is started by it: who the peers are and which members the state store has they
 * learn from control; what kind of store it is concerns control alone. */
static uint64_t print_for(const json_t *tree, bool is_control)
{
    static const char *const told_otherwise[] = {"peers", "recovering", "state"};
    _cleanup_json_ json_t *copy = json_copy((json_t *)tree);
    json_t *kind = json_object_get(json_object_get(tree, "state"), "kind");
    for (size_t i = 0; i < ARRAY_SIZE(told_otherwise); i++)
        json_object_del(copy, told_otherwise[i]);
    if (is_control)
        json_object_set(copy, "state", kind);
    return print_of(copy);
}

static int read_boot(struct boot **ret, struct err *e)
{
    _cleanup_json_ json_t *tree = NULL;
    int r = json_read_file(BOOT_PATH, BOOT_BYTES_MAX, &tree, e);
    if (r >= 0)
        r = boot_parse(tree, ret, e);
    if (r < 0)
        err_fix(e,
            "`mcp host init` or `mcp host join` on this machine, or `mcp up` for a lab, writes %s",
            BOOT_PATH);
    return r;
}

static void log_missing(const struct err *e, size_t missing)
{
    log_error("host", "sockets are missing", "count=%zu why=\"%s\"%s%s%s", missing, e->message,
        *e->fix ? " fix=\"" : "", e->fix, *e->fix ? "\"" : "");
}

static void open_sockets(struct host *h, bool wait)
{
    struct err e = {0};
    uint64_t until = clock_boot_ms() + OPEN_WAIT_MS;
    size_t missing = listens_open(&h->listens, &e);
    while (missing && wait && clock_boot_ms() < until) {
        poll(NULL, 0, OPEN_STEP_MS);
        missing = listens_open(&h->listens, &e);
    }
    if (missing)
        log_missing(&e, missing);
    h->open_at_ms = missing ? clock_boot_ms() + HOST_OPEN_RETRY_MS : 0;
}

/* Roles come, go and restart as the boot record and the open sockets say. */
static void apply(struct host *h)
{
    for (size_t i = 0; i < h->n_roles; i++) {
        struct host_role *r = &h->roles[i];
        if (!boot_has_role(h->boot, r->name))
            host_role_event(h, r, SUP_UNWANT);
        else if (r->sup.state != SUP_DOWN && r->print != host_role_print(h, r->name))
            host_role_event(h, r, SUP_CHANGE);
    }
    for (size_t i = 0; i < h->boot->n_roles; i++) {
        struct host_role *r = host_role_add(h, h->boot->roles[i]);
        if (r)
            host_role_event(h, r, SUP_WANT);
    }
}

static int take_boot(struct host *h, struct boot *boot, struct err *e)
{
    int r = host_tree_prepare(boot, e);
    if (r < 0)
        return r;
    struct listens *old = xmalloc(sizeof *old);
    *old = h->listens;
    boot_free(h->boot);
    h->boot = boot;
    h->boot_print = print_for(boot->tree, false);
    h->control_print = print_for(boot->tree, true);
    listen_plan(boot, processors(), &h->listens);
    listens_inherit(&h->listens, old);
    free(old);
    return 0;
}

static void reload(struct host *h)
{
    struct err e = {0};
    struct boot *boot;
    int r = read_boot(&boot, &e);
    if (r >= 0) {
        r = take_boot(h, boot, &e);
        if (r < 0)
            boot_free(boot);
    }
    if (r < 0) {
        log_error("host", "boot record not taken, the old one stays", "why=\"%s\"", e.message);
        return;
    }
    log_info("host", "boot record read", "host=%s", h->boot->host);
    open_sockets(h, false);
    apply(h);
}

static void begin_stop(struct host *h)
{
    if (h->stopping)
        return;
    h->stopping = true;
    log_info("host", "stopping; units live on", "host=%s", h->boot->host);
    host_notify_systemd("STOPPING=1");
    for (size_t i = 0; i < h->n_roles; i++)
        host_role_event(h, &h->roles[i], SUP_UNWANT);
    host_leaving_stop(h);
}

static void take_signal(struct host *h)
{
    struct signalfd_siginfo info;
    while (read(h->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP && !h->stopping)
            reload(h);
        else if (info.ssi_signo != SIGHUP)
            begin_stop(h);
    }
}

static void run_timers(struct host *h, uint64_t now)
{
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].sup.timer_at_ms && h->roles[i].sup.timer_at_ms <= now)
            host_role_event(h, &h->roles[i], SUP_TIMER);
    host_leaving_timers(h, now);
    host_roll(h, now);
    if (now >= h->ping_at_ms) {
        h->ping_at_ms = now + HOST_PING_MS;
        host_roles_ping(h);
    }
    if (h->open_at_ms && now >= h->open_at_ms && !h->stopping) {
        open_sockets(h, false);
        apply(h);
    }
}

static int next_timeout(const struct host *h, uint64_t now)
{
    uint64_t at = h->ping_at_ms;
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].sup.timer_at_ms)
            at = MIN(at, h->roles[i].sup.timer_at_ms);
    if (h->open_at_ms)
        at = MIN(at, h->open_at_ms);
    if (h->links_due)
        at = MIN(at, now + HOST_LINK_RETRY_MS);
    if (h->rolling || h->n_leaving)
        at = MIN(at, now + HOST_ROLL_MS);
    if (h->confirm_at_ms)
        at = MIN(at, h->confirm_at_ms);
    return at > now ? (int)(at - now) : 0;
}

/* True while a role still runs, or is to. */
static bool is_busy(const struct host *h)
{
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].sup.state != SUP_DOWN)
            return true;
    return h->n_leaving > 0;
}

static void check_ready(struct host *h)
{
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].sup.state != SUP_UP && h->roles[i].sup.state != SUP_DOWN)
            return;
    if (h->is_ready || h->stopping)
        return;
    h->is_ready = true;
    log_info("host", "all roles are up", "host=%s roles=%zu", h->boot->host, h->boot->n_roles);
    host_notify_systemd("READY=1");
}

static void turn(struct host *h)
{
    struct pollfd p[1 + 3 * BOOT_ROLES_MAX];
    size_t n_roles = h->n_roles, n_leaving = h->n_leaving;
    uint64_t now = clock_boot_ms();
    p[0] = (struct pollfd){.fd = h->signal_fd, .events = POLLIN};
    for (size_t i = 0; i < n_roles; i++) {
        p[1 + 2 * i] = (struct pollfd){.fd = h->roles[i].channel, .events = POLLIN};
        p[2 + 2 * i] = (struct pollfd){.fd = h->roles[i].proc.pidfd, .events = POLLIN};
    }
    for (size_t i = 0; i < n_leaving; i++)
        p[1 + 2 * n_roles + i] =
            (struct pollfd){.fd = h->leaving[i].proc.pidfd, .events = POLLIN};
    if (poll(p, 1 + 2 * n_roles + n_leaving, next_timeout(h, now)) < 0) {
        if (errno != EINTR)
            ASSERT(!"poll fails on descriptors of our own");
        return;
    }
    for (size_t i = n_leaving; i-- > 0;) /* from the end: the last takes the place of one gone */
        if (p[1 + 2 * n_roles + i].revents)
            host_leaving_ended(h, i);
    for (size_t i = 0; i < n_roles; i++) {
        struct host_role *r = &h->roles[i];
        if (p[1 + 2 * i].revents && r->channel == p[1 + 2 * i].fd)
            host_role_message(h, r);
        if (p[2 + 2 * i].revents && r->proc.pidfd == p[2 + 2 * i].fd)
            host_role_ended(h, r);
    }
    if (p[0].revents)
        take_signal(h);
    run_timers(h, clock_boot_ms());
    host_links_renew(h);
    if (h->report_due)
        host_report(h);
    check_ready(h);
}

static int open_signals(struct host *h, struct err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return err_errno(e, errno, "block signals");
    h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signal_fd < 0 ? err_errno(e, errno, "signalfd") : 0;
}

static int start(struct host *h, const json_t *handover, struct err *e)
{
    struct boot *boot;
    uint64_t seed;
    if (geteuid() != 0)
        return err_set(e, ERR_DENIED, "`mcp host` must be run by root");
    rnd_bytes(&seed, sizeof seed);
    rnd_seed(&h->rnd, seed);
    int r = sandbox_drop(SANDBOX_NONE, (struct sandbox_user){0, 0}, e);
    if (r >= 0)
        r = open_signals(h, e);
    if (r >= 0)
        r = read_boot(&boot, e);
    if (r < 0)
        return r;
    r = file_mkdirs(ROLE_RUN_ROOT, 0755, e);
    if (r >= 0 && handover)
        h->lock_fd = host_handover_lock(handover);
    if (r >= 0 && h->lock_fd < 0)
        r = host_lock(&h->lock_fd, e); /* before anything of the running one is touched */
    if (r >= 0)
        r = take_boot(h, boot, e);
    if (r < 0)
        boot_free(boot);
    return r;
}

int host_main(struct err *e)
{
    static struct host h = {.signal_fd = -1, .lock_fd = -1};
    log_init("host", getenv("MCP_DEBUG") ? LOG_DEBUG : LOG_INFO);
    _cleanup_json_ json_t *handover = host_handover_read();
    host_binary_enter(&h, handover != NULL);
    int r = start(&h, handover, e);
    if (r < 0)
        return r;
    if (handover)
        host_handover_take(&h, handover);
    log_info("host", "started", "host=%s platform=%s sockets=%zu", h.boot->host, h.boot->platform,
        h.listens.n);
    h.ping_at_ms = clock_boot_ms() + HOST_PING_MS;
    open_sockets(&h, true);
    apply(&h);
    while (!h.stopping || is_busy(&h))
        turn(&h);
    listens_close(&h.listens);
    boot_free(h.boot);
    log_info("host", "stopped", "%s", "");
    return 0;
}
