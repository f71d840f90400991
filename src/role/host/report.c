/* SPDX-License-Identifier: Apache-2.0 */
/* What host says about its processes: to control, which may not look into them, and to systemd. */
#include "role/host/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "role/frame/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define KMSG_RECORDS_MAX 100000

/* The number behind the first "name:" or "name " at the start of a line. */
static uint64_t number_after(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, len))
            return strtoull(line + len + strspn(line + len, ": \t"), NULL, 10);
    }
    return 0;
}

static uint64_t read_number(const char *path, const char *name)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err e;
    return file_read(path, 64u * 1024, &text, &e) < 0 ? 0 : number_after(str_cstr(&text), name);
}

uint64_t host_oom_kills(void)
{
    return read_number("/proc/vmstat", "oom_kill");
}

/* One record of the kernel's log: "... type=1326 audit(...): ... pid=123 ... syscall=59 ...". */
static bool is_about(const char *record, pid_t pid, int *ret_call)
{
    char want[32];
    snprintf(want, sizeof want, " pid=%d ", (int)pid);
    const char *call = strstr(record, " syscall=");
    if (!strstr(record, "type=1326 ") || !strstr(record, want) || !call)
        return false;
    *ret_call = (int)strtol(call + strlen(" syscall="), NULL, 10);
    return true;
}

bool host_forbidden_call(pid_t pid, char out[SANDBOX_CALL_SIZE])
{
    _cleanup_close_ int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char record[8192]; /* the longest that the kernel gives */
    bool found = false;
    for (int i = 0; fd >= 0 && i < KMSG_RECORDS_MAX; i++) {
        int call;
        ssize_t n = read(fd, record, sizeof record - 1);
        if (n < 0 && errno == EPIPE)
            continue; /* overwritten meanwhile: the next one */
        if (n <= 0)
            break;
        record[n] = '\0';
        if (is_about(record, pid, &call)) {
            sandbox_call_name(call, out);
            found = true; /* the last one counts: numbers of processes come again */
        }
    }
    return found;
}

static uint64_t pss_bytes(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    return 1024 * read_number(path, "Pss");
}

static void add_process(json_t *list, const char *name, pid_t pid, const char *state,
    int64_t since_ms, unsigned restarts, const char *reason)
{
    json_array_append_new(
        list, json_pack("{s:s,s:i,s:s,s:I,s:i,s:s,s:I}", "name", name, "pid", (int)pid, "state",
                  state, "since_ms", (json_int_t)since_ms, "restarts", (int)restarts, "reason",
                  reason, "pss_bytes", (json_int_t)(pid ? pss_bytes(pid) : 0)));
}

void host_report(struct host *h)
{
    static int64_t started_ms;
    struct host_role *control = host_role_find(h, "control");
    h->report_due = false;
    if (!control || control->channel < 0)
        return;
    if (!started_ms)
        started_ms = clock_wall_ms();
    json_t *list = json_array();
    add_process(list, "host", getpid(), "up", started_ms, 0, "");
    for (size_t i = 0; i < h->n_roles; i++) {
        const struct host_role *r = &h->roles[i];
        if (r->sup.state == SUP_DOWN)
            continue;
        add_process(list, r->name, r->proc.pidfd >= 0 ? r->proc.pid : 0,
            sup_state_name(r->sup.state), r->since_ms, r->sup.starts ? r->sup.starts - 1 : 0,
            r->reason);
    }
    struct err e;
    /* A control that does not read asks again when it does. */
    json_t *params = json_pack("{s:o,s:o}", "roles", list, "binary", host_binary_report(h));
    int sent = channel_send(control->channel, "roles", params, NULL, 0, &e);
    (void)sent;
}

/* sd_notify(3) without the library. */
void host_notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (!path || !*path || strlen(path) >= sizeof sa.sun_path)
        return;
    memcpy(sa.sun_path, path, strlen(path));
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa, len);
}
