/* SPDX-License-Identifier: Apache-2.0 */
/* Another binary in this host's place: it re-executes itself, keeping its number, its listening
 * sockets and its roles, then replaces the roles one by one. Roles whose sockets two processes may
 * share are replaced with overlap: the new one answers before the old one is asked to finish.
 * Until control confirms it the new binary is on trial: a role that does not come up, or nobody who
 * confirms, and the host goes back the same way. */
#include "role/host/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "role/frame/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define HANDOVER_ENV "MCP_HANDOVER"
#define HANDOVER_MAX (1u << 20)
#define ROLL_MS 30000u     /* a role has that long to come up with the new binary */
#define CONFIRM_MS 120000u /* control has that long after the last one */
#define SETTLE_MS 1000u    /* linked, a role is told what it must know within that */
#define LEAVE_MS 15000u    /* longer than any role drains */
#define FAILURES_MAX 3u

/* Control last: it tells how the others went. */
static const struct {
    const char *role;
    bool overlaps;
} order[] = {{"dns", true}, {"resolver", true}, {"mesh", true}, {"edge", true}, {"agent", false},
    {"data", false}, {"control", false}};

/* ---- handing over ---- */

static int keep(int fd, bool yes)
{
    return fcntl(fd, F_SETFD, yes ? 0 : FD_CLOEXEC);
}

static void keep_all(const struct host *h, bool yes)
{
    keep(h->lock_fd, yes);
    for (size_t i = 0; i < h->listens.n; i++)
        if (h->listens.v[i].fd >= 0)
            keep(h->listens.v[i].fd, yes);
    for (size_t i = 0; i < h->n_roles; i++) {
        if (h->roles[i].channel >= 0)
            keep(h->roles[i].channel, yes);
        for (size_t k = 0; k < h->roles[i].n_kept; k++)
            keep(h->roles[i].kept[k], yes);
    }
    for (size_t i = 0; i < h->n_leaving; i++)
        if (h->leaving[i].channel >= 0)
            keep(h->leaving[i].channel, yes);
}

static json_t *format_listen(const struct listen *l)
{
    char addr[IP_TEXT_SIZE] = "";
    if (!l->path)
        ip_format(&l->addr, addr);
    return json_pack("{s:s,s:i,s:s,s:i,s:i}", "name", l->name, "thread", (int)l->thread, "addr",
        addr, "port", (int)l->port, "fd", l->fd);
}

static json_t *format_role(const struct host_role *r)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < r->n_kept; i++)
        json_array_append_new(kept, json_integer(r->kept[i]));
    return json_pack("{s:s,s:i,s:i,s:s,s:I,s:I,s:I,s:I,s:s,s:i,s:s,s:o}", "name", r->name, "pid",
        (int)r->proc.pid, "channel", r->channel, "binary", r->binary, "generation",
        (json_int_t)r->generation, "linked", (json_int_t)r->linked, "linked_control",
        (json_int_t)r->linked_control, "since_ms", (json_int_t)r->since_ms, "state",
        sup_state_name(r->sup.state), "starts", (int)r->sup.starts, "reason", r->reason, "kept",
        kept);
}

static json_t *format_handover(const struct host *h)
{
    json_t *listens = json_array(), *roles = json_array(), *leaving = json_array();
    for (size_t i = 0; i < h->listens.n; i++)
        if (h->listens.v[i].fd >= 0)
            json_array_append_new(listens, format_listen(&h->listens.v[i]));
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].proc.pidfd >= 0)
            json_array_append_new(roles, format_role(&h->roles[i]));
    for (size_t i = 0; i < h->n_leaving; i++)
        json_array_append_new(leaving,
            json_pack("{s:s,s:i,s:i}", "name", h->leaving[i].name, "pid",
                (int)h->leaving[i].proc.pid, "channel", h->leaving[i].channel));
    return json_pack("{s:i,s:i,s:o,s:o,s:o,s:I,s:b}", "format", 1, "lock", h->lock_fd, "listens",
        listens, "roles", roles, "leaving", leaving, "generations", (json_int_t)h->generations,
        "ready", h->is_ready);
}

static int write_handover(const struct host *h, struct err *e)
{
    _cleanup_json_ json_t *doc = format_handover(h);
    _cleanup_free_ char *text = json_text(doc);
    size_t len = strlen(text);
    _cleanup_close_ int fd = memfd_create("mcp-handover", 0);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        return err_errno(e, errno, "handover");
    return util_steal_fd(&fd);
}

/* Does not return when it succeeds. */
static int exec_binary(struct host *h, const char *digest, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    char number[16];
    int r = binary_verify(digest, &path, e);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = write_handover(h, e);
    if (fd < 0)
        return fd;
    snprintf(number, sizeof number, "%d", fd);
    setenv(HANDOVER_ENV, number, 1);
    keep_all(h, true);
    log_info("host", "goes on as another binary", "digest=%s", digest);
    execl(path, "mcp", "host", (char *)NULL);
    r = err_errno(e, errno, "run %s", path);
    keep_all(h, false);
    unsetenv(HANDOVER_ENV);
    return r;
}

/* ---- taking over ---- */

static int take_fd(const json_t *j, const char *key)
{
    int fd = (int)json_opt_int(j, key, -1);
    return fd > STDERR_FILENO && keep(fd, false) == 0 ? fd : -1;
}

static bool take_process(const json_t *j, struct spawn_proc *ret)
{
    ret->pid = (pid_t)json_opt_int(j, "pid", 0);
    /* Still our child: its number is nobody else's until it is reaped. */
    ret->pidfd = ret->pid > 1 ? (int)syscall(SYS_pidfd_open, ret->pid, 0) : -1;
    return ret->pidfd >= 0;
}

static void take_kept(struct host_role *r, const json_t *list)
{
    size_t i;
    json_t *fd;
    json_array_foreach (list, i, fd) {
        int n = (int)json_integer_value(fd);
        if (n > STDERR_FILENO && r->n_kept < HOST_KEPT_MAX && keep(n, false) == 0)
            r->kept[r->n_kept++] = n;
    }
}

static void take_role(struct host *h, const json_t *j)
{
    struct host_role *r = host_role_add(h, json_opt_str(j, "name", ""));
    if (!r || r->proc.pidfd >= 0 || !take_process(j, &r->proc))
        return;
    take_kept(r, json_object_get(j, "kept"));
    r->channel = take_fd(j, "channel");
    str_copy(r->binary, sizeof r->binary, json_opt_str(j, "binary", ""));
    str_copy(r->reason, sizeof r->reason, json_opt_str(j, "reason", ""));
    r->generation = (uint64_t)json_opt_int(j, "generation", 0);
    r->linked = (uint64_t)json_opt_int(j, "linked", 0);
    r->linked_control = (uint64_t)json_opt_int(j, "linked_control", 0);
    r->since_ms = json_opt_int(j, "since_ms", 0);
    r->print = host_role_print(h, r->name);
    r->oom_kills = host_oom_kills();
    r->sup.starts = (unsigned)json_opt_int(j, "starts", 1);
    r->sup.state = SUP_STARTING;
    for (enum sup_state s = 0; s < SUP_N_STATES; s++)
        if (str_eq(sup_state_name(s), json_opt_str(j, "state", "")) && s != SUP_DOWN
            && s != SUP_BACKOFF)
            r->sup.state = s;
    r->sup.timer_at_ms = clock_boot_ms() + SUP_STOP_MS;
}

static void take_leaving(struct host *h, const json_t *j)
{
    struct host_leaving *l = &h->leaving[h->n_leaving];
    if (h->n_leaving == ARRAY_SIZE(h->leaving) || !take_process(j, &l->proc))
        return;
    h->n_leaving++;
    str_copy(l->name, sizeof l->name, json_opt_str(j, "name", ""));
    l->channel = take_fd(j, "channel");
    l->asked = true;
    l->kill_at_ms = clock_boot_ms() + LEAVE_MS;
}

static void take_listens(struct host *h, const json_t *list)
{
    size_t i;
    json_t *j;
    json_array_foreach (list, i, j) {
        struct ip_addr addr = {0};
        const char *text = json_opt_str(j, "addr", "");
        int fd = take_fd(j, "fd");
        bool wanted = false;
        if (*text && !ip_parse(text, &addr))
            text = "";
        for (size_t k = 0; k < h->listens.n && fd >= 0 && !wanted; k++) {
            struct listen *l = &h->listens.v[k];
            wanted = l->fd < 0 && str_eq(l->name, json_opt_str(j, "name", ""))
                     && l->thread == json_opt_int(j, "thread", -1)
                     && l->port == json_opt_int(j, "port", -1)
                     && (l->path ? !*text : *text && ip_eq(&l->addr, &addr));
            if (wanted)
                l->fd = fd;
        }
        if (!wanted && fd >= 0)
            close(fd);
    }
}

json_t *host_handover_read(void)
{
    const char *text = getenv(HANDOVER_ENV);
    uint64_t number;
    _cleanup_str_ struct str doc = STR_INIT;
    char path[64];
    json_t *j = NULL;
    struct err e = {0};
    if (!text || !str_to_u64(text, INT32_MAX, &number))
        return NULL;
    unsetenv(HANDOVER_ENV);
    snprintf(path, sizeof path, "/proc/self/fd/%d", (int)number);
    if (file_read(path, HANDOVER_MAX, &doc, &e) < 0
        || json_parse(str_cstr(&doc), doc.len, &j, &e) < 0)
        log_error("host", "the handover cannot be read", "why=\"%s\"", e.message);
    close((int)number);
    return j;
}

int host_handover_lock(const json_t *handover)
{
    return take_fd(handover, "lock");
}

void host_handover_take(struct host *h, const json_t *handover)
{
    size_t i;
    json_t *j;
    take_listens(h, json_object_get(handover, "listens"));
    json_array_foreach (json_object_get(handover, "roles"), i, j)
        take_role(h, j);
    json_array_foreach (json_object_get(handover, "leaving"), i, j)
        take_leaving(h, j);
    h->generations = (uint64_t)json_opt_int(handover, "generations", 0);
    h->is_ready = json_opt_bool(handover, "ready", false);
    h->rolling = true;
    log_info("host", "took over", "roles=%zu digest=%s", h->n_roles, h->own);
}

/* ---- at the start: which binary is in force? ---- */

static void fail_trial(struct binary_state *s, const char *reason)
{
    str_copy(s->failed, sizeof s->failed, s->current);
    str_copy(s->reason, sizeof s->reason, reason);
    s->failed_ms = clock_wall_ms();
    str_copy(s->current, sizeof s->current, s->previous);
    *s->previous = '\0';
    s->trial = false;
    s->tries = 0;
}

static void note_write(const struct binary_state *s)
{
    struct err e = {0};
    if (binary_state_write(s, &e) < 0)
        log_error("host", "cannot write which binary is in force", "why=\"%s\"", e.message);
}

void host_binary_enter(struct host *h, bool handed_over)
{
    struct binary_state s;
    struct err e = {0};
    if (binary_own(h->own, &e) < 0)
        log_warn("host", "cannot read this binary", "why=\"%s\"", e.message);
    binary_state_read(&s);
    if (s.trial && str_eq(s.current, h->own))
        h->confirm_at_ms = clock_boot_ms() + CONFIRM_MS;
    if (handed_over || !*s.current || str_eq(s.current, h->own))
        return;
    if (!str_eq(s.base, h->own)) {
        log_info("host", "the installed binary is newer than the upgrade", "upgrade=%s", s.current);
        s = (struct binary_state){0};
        note_write(&s);
        return;
    }
    if (s.trial && ++s.tries > BINARY_TRIES) {
        fail_trial(&s, "the host ended each time that it was started");
        log_error("host", "the upgrade does not run, going back", "upgrade=%s", s.failed);
    }
    if (s.trial || *s.failed)
        note_write(&s);
    _cleanup_free_ char *path = NULL;
    if (!*s.current || str_eq(s.current, h->own))
        return;
    if (binary_verify(s.current, &path, &e) < 0) {
        log_error("host", "the upgraded binary cannot be used", "why=\"%s\"", e.message);
        return;
    }
    execl(path, "mcp", "host", (char *)NULL);
    log_error("host", "the upgraded binary cannot be run", "path=%s errno=%d", path, errno);
}

/* ---- to another binary and back ---- */

static bool all_up(const struct host *h)
{
    for (size_t i = 0; i < h->n_roles; i++)
        if (h->roles[i].sup.state != SUP_UP && h->roles[i].sup.state != SUP_DOWN)
            return false;
    return !h->n_leaving && !h->rolling;
}

static int begin(struct host *h, const char *digest, struct err *e)
{
    struct binary_state s;
    binary_state_read(&s);
    if (h->stopping || !all_up(h))
        return err_set(e, ERR_UNAVAILABLE, "not all roles are up");
    int r = binary_install(digest, e);
    if (r >= 0)
        r = binary_probe(digest, e);
    if (r >= 0)
        r = binary_keep_own(h->own, e);
    if (r < 0)
        return r;
    if (!*s.current)
        str_copy(s.base, sizeof s.base, h->own);
    str_copy(s.previous, sizeof s.previous, h->own);
    str_copy(s.current, sizeof s.current, digest);
    *s.failed = *s.reason = '\0';
    s.trial = true;
    s.tries = 0;
    r = binary_state_write(&s, e);
    return r < 0 ? r : exec_binary(h, digest, e);
}

static void note_failure(const char *digest, const struct err *e)
{
    struct binary_state s;
    binary_state_read(&s);
    if (str_eq(s.current, digest) && s.trial)
        fail_trial(&s, e->message);
    str_copy(s.failed, sizeof s.failed, digest);
    str_copy(s.reason, sizeof s.reason, e->message);
    s.failed_ms = clock_wall_ms();
    note_write(&s);
}

void host_upgrade(struct host *h, const char *digest)
{
    struct err e = {0};
    if (str_eq(digest, h->own) || !digest_valid(digest))
        return;
    if (begin(h, digest, &e) < 0) {
        log_error("host", "the upgrade is refused", "digest=%s why=\"%s\"", digest, e.message);
        note_failure(digest, &e);
    }
    h->report_due = true;
}

/* A new process that never came up makes room for the old one, which never stopped serving. */
static void swap_back(struct host *h)
{
    for (size_t i = h->n_leaving; i-- > 0;) {
        struct host_leaving *l = &h->leaving[i];
        struct host_role *r = host_role_find(h, l->name);
        if (l->asked || !r)
            continue;
        if (r->proc.pidfd >= 0)
            kill(r->proc.pid, SIGKILL);
        struct host_leaving out = {.proc = r->proc, .channel = r->channel, .asked = true};
        str_copy(out.name, sizeof out.name, r->name);
        out.kill_at_ms = clock_boot_ms();
        r->proc = l->proc;
        r->channel = l->channel;
        r->linked = 0;
        r->sup = (struct sup){.state = SUP_UP, .starts = r->sup.starts};
        str_copy(r->binary, sizeof r->binary, h->before);
        if (out.proc.pidfd >= 0)
            *l = out;
        else
            *l = h->leaving[--h->n_leaving];
    }
}

void host_upgrade_back(struct host *h, const char *reason)
{
    struct binary_state s;
    struct err e = {0};
    binary_state_read(&s);
    if (h->stopping || !*s.previous || !str_eq(s.current, h->own))
        return;
    char to[DIGEST_SIZE];
    str_copy(to, sizeof to, s.previous);
    str_copy(h->before, sizeof h->before, to);
    log_error("host", "back to the binary before", "digest=%s why=\"%s\"", to, reason);
    fail_trial(&s, reason);
    note_write(&s);
    swap_back(h);
    if (exec_binary(h, to, &e) < 0)
        log_error("host", "cannot go back", "why=\"%s\"", e.message);
    h->rolling = false;
    h->report_due = true;
}

void host_upgrade_confirm(struct host *h, const char *digest)
{
    struct binary_state s;
    binary_state_read(&s);
    if (!str_eq(s.current, digest) || !str_eq(h->own, digest) || !s.trial || h->rolling)
        return;
    s.trial = false;
    s.tries = 0;
    note_write(&s);
    h->confirm_at_ms = 0;
    h->report_due = true;
    log_info("host", "the binary is confirmed", "digest=%s", digest);
}

/* ---- roles, one by one ---- */

static struct host_leaving *leaving_of(struct host *h, const char *role)
{
    for (size_t i = 0; i < h->n_leaving; i++)
        if (str_eq(h->leaving[i].name, role))
            return &h->leaving[i];
    return NULL;
}

static void ask_leave(struct host_leaving *l)
{
    struct err e;
    l->asked = true;
    l->kill_at_ms = clock_boot_ms() + LEAVE_MS;
    if (l->channel < 0 || channel_send(l->channel, "stop", NULL, NULL, 0, &e) < 0)
        l->kill_at_ms = clock_boot_ms();
}

/* What waits on a socket that a role opened itself goes to the next role's when that is closed. */
static void migrate_queues(void)
{
    static const char path[] = "/proc/sys/net/ipv4/tcp_migrate_req";
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) != 1)
        log_debug("host", "queues do not migrate", "path=%s", path);
}

static void replace(struct host *h, struct host_role *r, bool overlaps)
{
    h->roll_failures = r->sup.failures;
    h->roll_until_ms = clock_boot_ms() + ROLL_MS;
    str_copy(h->roll_name, sizeof h->roll_name, r->name);
    str_copy(h->before, sizeof h->before, r->binary);
    log_info("host", "role is replaced", "role=%s overlap=%d", r->name, (int)overlaps);
    if (!overlaps || r->sup.state != SUP_UP || h->n_leaving == ARRAY_SIZE(h->leaving)) {
        host_role_event(h, r, SUP_CHANGE);
        return;
    }
    struct host_leaving *l = &h->leaving[h->n_leaving++];
    *l = (struct host_leaving){.proc = r->proc, .channel = r->channel};
    str_copy(l->name, sizeof l->name, r->name);
    r->proc.pidfd = r->channel = -1;
    r->sup = (struct sup){.starts = r->sup.starts};
    h->roll_failures = 0;
    h->roll_leave_ms = 0;
    migrate_queues();
    host_role_event(h, r, SUP_WANT);
}

static bool is_old(const struct host *h, const struct host_role *r)
{
    return r->proc.pidfd >= 0 && r->sup.state == SUP_UP && !str_eq(r->binary, h->own);
}

static bool replace_next(struct host *h)
{
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        struct host_role *r = host_role_find(h, order[i].role);
        if (r && is_old(h, r)) {
            replace(h, r, order[i].overlaps);
            return true;
        }
    }
    for (size_t i = 0; i < h->n_roles; i++) /* a role that this table does not know yet */
        if (is_old(h, &h->roles[i])) {
            replace(h, &h->roles[i], false);
            return true;
        }
    return false;
}

static void end_roll(struct host *h)
{
    struct binary_state s;
    binary_state_read(&s);
    h->rolling = false;
    h->report_due = true;
    *h->roll_name = '\0';
    if (s.trial && str_eq(s.current, h->own))
        h->confirm_at_ms = clock_boot_ms() + CONFIRM_MS;
    log_info("host", "all roles run this binary", "digest=%s", h->own);
}

void host_roll(struct host *h, uint64_t now)
{
    struct host_role *r = *h->roll_name ? host_role_find(h, h->roll_name) : NULL;
    struct host_leaving *l = r ? leaving_of(h, r->name) : NULL;
    char reason[160];
    if (h->confirm_at_ms && now >= h->confirm_at_ms) {
        h->confirm_at_ms = 0;
        host_upgrade_back(h, "nobody confirmed it in time");
        return;
    }
    if (!h->rolling || h->stopping)
        return;
    if (r && (r->sup.failures >= h->roll_failures + FAILURES_MAX || now >= h->roll_until_ms)) {
        snprintf(reason, sizeof reason, "role %s does not come up%s%s", r->name,
            *r->reason ? ": " : "", r->reason);
        *h->roll_name = '\0';
        host_upgrade_back(h, reason);
        return;
    }
    if (r && (r->sup.state != SUP_UP || !str_eq(r->binary, h->own)))
        return;
    if (l && !l->asked && r->linked == r->generation && !h->roll_leave_ms)
        h->roll_leave_ms = now + SETTLE_MS;
    if (l && !l->asked && h->roll_leave_ms && now >= h->roll_leave_ms)
        ask_leave(l);
    if (!l && !replace_next(h))
        end_roll(h);
}

/* ---- those that leave ---- */

void host_leaving_ended(struct host *h, size_t i)
{
    struct host_leaving *l = &h->leaving[i];
    struct spawn_exit x;
    struct err e;
    if (spawn_reap(&l->proc, false, &x, &e) == 0)
        return;
    if (l->proc.pidfd >= 0)
        close(l->proc.pidfd);
    if (l->channel >= 0)
        close(l->channel);
    log_info("host", "replaced role has gone", "role=%s pid=%d", l->name, (int)l->proc.pid);
    *l = h->leaving[--h->n_leaving];
}

void host_leaving_timers(struct host *h, uint64_t now)
{
    for (size_t i = 0; i < h->n_leaving; i++)
        if (h->leaving[i].asked && now >= h->leaving[i].kill_at_ms) {
            kill(h->leaving[i].proc.pid, SIGKILL);
            h->leaving[i].kill_at_ms = now + SUP_KILL_AGAIN_MS;
        }
}

void host_leaving_stop(struct host *h)
{
    for (size_t i = 0; i < h->n_leaving; i++)
        if (!h->leaving[i].asked)
            ask_leave(&h->leaving[i]);
}

json_t *host_binary_report(const struct host *h)
{
    struct binary_state s;
    binary_state_read(&s);
    return json_pack("{s:s,s:s,s:[i,i],s:s,s:b,s:b,s:s,s:s,s:I}", "digest", h->own, "version",
        MCP_VERSION, "protocol", RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX, "previous", s.previous,
        "trial", (int)(s.trial && str_eq(s.current, h->own)), "rolling", (int)h->rolling, "failed",
        s.failed, "reason", s.reason, "failed_ms", (json_int_t)s.failed_ms);
}
