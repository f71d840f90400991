/* SPDX-License-Identifier: Apache-2.0 */
#include "service/drill/priv.h"

#include "base/clock/clock.h"
#include "service/lab/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define LINKS_MAX 512
#define LOOK_MS 50
#define SEEN_WITHIN_MS 8000 /* a machine that starts needs the longest */
#define FILL_FILE LAB_STATE_ROOT "/drill.fill"
#define FILL_LEFT_BLOCKS 16
#define FLOOD 200 /* packets: at 20 % none lost has a chance of 1e-19 */

static const char *op_of(const json_t *act)
{
    return json_opt_str(act, "op", "");
}

static const char *text_of(const json_t *act, const char *key)
{
    return json_opt_str(act, key, "");
}

char *act_object(const json_t *act)
{
    if (json_object_get(act, "from"))
        return xasprintf("%s -> %s", text_of(act, "from"), text_of(act, "to"));
    if (json_object_get(act, "what"))
        return xasprintf("%s on %s", text_of(act, "what"), text_of(act, "host"));
    return xasprintf("host %s", text_of(act, "host"));
}

static bool is_link(const json_t *act)
{
    return str_eq(op_of(act), "cut") || str_eq(op_of(act), "loss");
}

/* The hosts of every act of that kind: they fall at one moment. */
static json_t *hosts_of(const struct lab *l, const json_t *acts, const char *op)
{
    json_t *hosts = json_array();
    size_t i;
    json_t *act;
    json_array_foreach (acts, i, act) {
        json_t *host = str_eq(op_of(act), op) ? lab_host(l, text_of(act, "host")) : NULL;
        if (host)
            json_array_append(hosts, host);
    }
    return hosts;
}

/* ---- links */

static int links_inject(struct lab *l, const json_t *acts, struct err *e)
{
    _cleanup_free_ struct lab_link *links = xcalloc(LINKS_MAX, sizeof *links);
    size_t n = 0, i;
    json_t *act;
    json_array_foreach (acts, i, act) {
        if (!is_link(act))
            continue;
        if (n == LINKS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d lines", LINKS_MAX);
        struct lab_link *link = &links[n++];
        link->from = text_of(act, "from");
        link->to = text_of(act, "to");
        link->has_cut = link->cut = str_eq(op_of(act), "cut");
        link->has_loss = !link->has_cut;
        link->loss = json_number_value(json_object_get(act, "loss"));
    }
    return n ? lab_links_set(l, links, n, e) : 0;
}

static int links_undo(struct lab *l, const json_t *acts, struct err *e)
{
    size_t i;
    json_t *act;
    unsigned n;
    int r = 0;
    json_array_foreach (acts, i, act)
        if (r >= 0 && is_link(act))
            r = lab_link_mend(l, text_of(act, "from"), text_of(act, "to"), &n, e);
    return r;
}

/* ---- one process */

static struct process process_of(const json_t *act)
{
    return (struct process){
        (pid_t)json_opt_int(act, "pid", 0), (uint64_t)json_opt_int(act, "start_time", 0)};
}

static int send_signal(const json_t *act, int signal, bool must_live, struct err *e)
{
    struct process p = process_of(act);
    _cleanup_close_ int fd = process_open(&p);
    if (fd < 0)
        return must_live ? err_set(e, ERR_NOT_FOUND, "%s does not run", text_of(act, "what")) : 0;
    if (syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 && errno != ESRCH)
        return err_errno(e, errno, "signal %s", text_of(act, "what"));
    return 0;
}

/* The letter of /proc/PID/stat; 0: there is no such process. */
static char process_letter(const json_t *act)
{
    struct process p = process_of(act);
    char path[64], line[512];
    if (!process_alive(&p))
        return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)p.pid);
    FILE *f = fopen(path, "re");
    char *end = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (f)
        fclose(f);
    return end && end[1] == ' ' ? end[2] : 0;
}

/* The process in the host whose words are "mcp role NAME". 0: there is none. */
static pid_t find_role(const struct lab *l, const char *host, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s/cgroup.procs", l->cgroup, host);
    FILE *f = fopen(path, "re");
    pid_t found = 0;
    for (long pid; f && !found && fscanf(f, "%ld", &pid) == 1;) {
        char file[64], words[256] = "";
        snprintf(file, sizeof file, "/proc/%ld/cmdline", pid);
        FILE *c = fopen(file, "re");
        size_t n = c ? fread(words, 1, sizeof words - 1, c) : 0;
        if (c)
            fclose(c);
        const char *role = n ? words + strlen(words) + 1 : words;
        if (n && str_eq(role, "role") && str_eq(role + strlen("role") + 1, name))
            found = (pid_t)pid;
    }
    if (f)
        fclose(f);
    return found;
}

static int kill_role(const struct lab *l, const json_t *act, struct err *e)
{
    pid_t pid = find_role(l, text_of(act, "host"), text_of(act, "what"));
    if (!pid)
        return err_set(
            e, ERR_NOT_FOUND, "no %s on %s", text_of(act, "what"), text_of(act, "host"));
    return kill(pid, SIGKILL) < 0 ? err_errno(e, errno, "kill %d", (int)pid) : 0;
}

/* ---- one file system */

static char *own_path(const struct lab *l, const json_t *act, const char *path)
{
    const json_t *host = lab_host(l, text_of(act, "host"));
    return host && lab_host_alive(host) ? lab_host_path(host, path) : NULL;
}

static int fill(const struct lab *l, const json_t *act, struct err *e)
{
    _cleanup_free_ char *path = own_path(l, act, FILL_FILE);
    struct statvfs fs;
    if (!path)
        return err_set(e, ERR_UNAVAILABLE, "host %s is off", text_of(act, "host"));
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstatvfs(fd, &fs) < 0)
        return err_errno(e, errno, "open %s", path);
    off_t at = 0;
    /* Blocks without content: the image on this computer does not grow. */
    for (off_t size = (off_t)(fs.f_bavail * fs.f_frsize); size >= (off_t)fs.f_frsize;) {
        if (fallocate(fd, 0, at, size) == 0)
            at += size;
        else if (errno == ENOSPC)
            size /= 2;
        else if (errno != EINTR)
            return err_errno(e, errno, "fill %s", path);
    }
    return 0;
}

static int64_t blocks_left(const struct lab *l, const json_t *act)
{
    _cleanup_free_ char *path = own_path(l, act, LAB_STATE_ROOT);
    struct statvfs fs;
    return path && statvfs(path, &fs) == 0 ? (int64_t)fs.f_bavail : -1;
}

static int unfill(const struct lab *l, const json_t *act, struct err *e)
{
    _cleanup_free_ char *path = own_path(l, act, FILL_FILE);
    if (path && unlink(path) < 0 && errno != ENOENT)
        return err_errno(e, errno, "remove %s", path);
    return 0;
}

/* Wall time of the host's programs (base/clock); they have the file mapped. */
static int set_clock(const struct lab *l, const json_t *act, int64_t offset_ms, struct err *e)
{
    _cleanup_free_ char *path = own_path(l, act, LAB_CLOCK_FILE);
    if (!path)
        return offset_ms ? err_set(e, ERR_UNAVAILABLE, "host %s is off", text_of(act, "host")) : 0;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, &offset_ms, sizeof offset_ms, 0) != sizeof offset_ms)
        return err_errno(e, errno, "write %s", path);
    return 0;
}

/* Of the file system itself: nothing on it can be written, whoever tries waits. */
static int file_system_call(const struct lab *l, const json_t *act, unsigned long request)
{
    _cleanup_free_ char *path = own_path(l, act, LAB_STATE_ROOT);
    _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return -ENOENT;
    return ioctl(fd, request, 0) < 0 ? -errno : 0;
}

static int file_system_freeze(const struct lab *l, const json_t *act, bool freeze, struct err *e)
{
    int r = file_system_call(l, act, freeze ? FIFREEZE : FITHAW);
    bool so_already = r == (freeze ? -EBUSY : -EINVAL) || (!freeze && r == -ENOENT);
    return r == 0 || so_already
               ? 0
               : err_errno(e, -r, "freeze the file system of %s", text_of(act, "host"));
}

/* There is no way to ask but to try. */
static bool file_system_frozen(const struct lab *l, const json_t *act)
{
    int r = file_system_call(l, act, FIFREEZE);
    if (r == 0)
        (void)file_system_call(l, act, FITHAW);
    return r == -EBUSY;
}

/* ---- all */

static int inject_one(struct lab *l, const json_t *act, struct err *e)
{
    const char *op = op_of(act);
    if (str_eq(op, "kill"))
        return send_signal(act, SIGKILL, true, e);
    if (str_eq(op, "stop"))
        return send_signal(act, SIGSTOP, true, e);
    if (str_eq(op, "fill"))
        return fill(l, act, e);
    if (str_eq(op, "fsfreeze"))
        return file_system_freeze(l, act, true, e);
    if (str_eq(op, "role"))
        return kill_role(l, act, e);
    if (str_eq(op, "clock"))
        return set_clock(l, act, json_opt_int(act, "offset_ms", 0), e);
    return 0;
}

static int undo_one(struct lab *l, const json_t *act, struct err *e)
{
    const char *op = op_of(act);
    if (str_eq(op, "stop"))
        return send_signal(act, SIGCONT, false, e);
    if (str_eq(op, "fill"))
        return unfill(l, act, e);
    if (str_eq(op, "fsfreeze"))
        return file_system_freeze(l, act, false, e);
    if (str_eq(op, "clock"))
        return set_clock(l, act, 0, e);
    return 0;
}

int acts_inject(const char *platform, const json_t *acts, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    int r = lab_open(platform, false, &l, e);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *power = hosts_of(l, acts, "power"), *freeze = hosts_of(l, acts, "freeze");
    size_t i;
    json_t *act;
    r = links_inject(l, acts, e);
    if (r >= 0 && json_array_size(power))
        r = lab_power_off(l, power, e);
    if (r >= 0 && json_array_size(freeze))
        r = lab_freeze(l, freeze, true, e);
    json_array_foreach (acts, i, act)
        if (r >= 0)
            r = inject_one(l, act, e);
    return r;
}

/* All of it is tried, whatever fails; the first failure is told. */
int acts_undo(const char *platform, const json_t *acts, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    struct err why;
    int first = lab_open(platform, false, &l, e), r;
    if (first < 0)
        return first;
    _cleanup_json_ json_t *power = hosts_of(l, acts, "power"), *freeze = hosts_of(l, acts, "freeze");
    size_t i;
    json_t *act;
    first = links_undo(l, acts, e);
    r = json_array_size(freeze) ? lab_freeze(l, freeze, false, first < 0 ? &why : e) : 0;
    first = first < 0 ? first : r;
    json_array_foreach (acts, i, act) {
        r = undo_one(l, act, first < 0 ? &why : e);
        first = first < 0 ? first : r;
    }
    r = json_array_size(power) ? lab_power_on(l, power, true, first < 0 ? &why : e) : 0;
    return first < 0 ? first : r;
}

/* ---- reading back */

/* A living host of a region, or the host of that name; the client for "client". */
static json_t *someone(const struct lab *l, const char *name)
{
    _cleanup_json_ json_t *hosts = NULL;
    struct err ignored;
    size_t i;
    json_t *host;
    if (lab_select(l, name, &hosts, &ignored) < 0)
        return NULL;
    json_array_foreach (hosts, i, host)
        if (lab_host_alive(host))
            return host; /* lab.json holds it */
    return NULL;
}

static const json_t *rule_of(const json_t *wan, const json_t *act)
{
    size_t i;
    json_t *rule;
    json_array_foreach (json_object_get(wan, "rules"), i, rule)
        if (str_eq(text_of(rule, "from"), text_of(act, "from"))
            && str_eq(text_of(rule, "to"), text_of(act, "to")))
            return rule;
    return NULL;
}

static int64_t lost_packets(const json_t *wan)
{
    int64_t n = 0;
    size_t i;
    json_t *p;
    json_array_foreach (json_object_get(wan, "endpoints"), i, p)
        n += json_opt_int(json_object_get(p, "dropped"), "loss", 0);
    return n;
}

static bool see_cut(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    _cleanup_json_ json_t *wan = NULL;
    struct err why;
    if (lab_wan_status(l, &wan, &why) < 0) {
        str_addf(read, "the WAN does not answer: %s", why.message);
        return false;
    }
    const json_t *rule = rule_of(wan, act), *from = someone(l, text_of(act, "from")),
                 *to = someone(l, text_of(act, "to"));
    bool cut = json_opt_bool(rule, "cut", false);
    int reached = from && to ? probe_reach(l, from, to) : -1;
    str_addf(read, "the WAN says %s; a packet from %s to %s and back: %s", cut ? "cut" : "whole",
        text_of(act, "from"), text_of(act, "to"),
        reached < 0 ? "not tried" : reached ? "came" : "did not come");
    return cut == done && reached != (done ? 1 : 0);
}

static bool see_loss(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    _cleanup_json_ json_t *before = NULL, *after = NULL;
    struct err why;
    const json_t *from = someone(l, text_of(act, "from")), *to = someone(l, text_of(act, "to"));
    if (!from || !to || lab_wan_status(l, &before, &why) < 0)
        return str_add(read, "the WAN does not answer"), false;
    if (done)
        probe_flood(l, from, to, FLOOD);
    if (lab_wan_status(l, &after, &why) < 0)
        return str_add(read, "the WAN does not answer"), false;
    const json_t *rule = rule_of(after, act);
    int64_t lost = lost_packets(after) - lost_packets(before);
    str_addf(read, "the WAN's rule: loss %g %%; %lld packets of %d were lost just now",
        json_number_value(json_object_get(rule, "loss")) * 100, (long long)lost, done ? FLOOD : 0);
    return done ? rule && lost > 0 : !rule;
}

static bool see_power(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    const json_t *host = lab_host(l, text_of(act, "host"));
    bool alive = host && lab_host_alive(host);
    str_addf(read, "its first process %s", alive ? "runs" : "does not run");
    return alive != done;
}

static bool see_freeze(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    struct err why;
    bool frozen = false;
    if (lab_frozen(l, text_of(act, "host"), &frozen, &why) < 0)
        return str_add(read, why.message), false;
    str_addf(read, "the kernel says %s", frozen ? "frozen" : "running");
    return frozen == done;
}

static bool see_process(const json_t *act, bool done, struct str *read)
{
    char letter = process_letter(act);
    bool kill = str_eq(op_of(act), "kill");
    if (letter)
        str_addf(read, "process %lld: state %c", (long long)json_opt_int(act, "pid", 0), letter);
    else
        str_addf(read, "process %lld is gone", (long long)json_opt_int(act, "pid", 0));
    if (kill)
        return !done || !letter || letter == 'Z';
    return done ? letter == 'T' || !letter : letter != 'T';
}

static bool see_fill(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    int64_t left = blocks_left(l, act);
    str_addf(read, "%lld blocks are free", (long long)left);
    return left >= 0 && (left < FILL_LEFT_BLOCKS) == done;
}

static bool see_file_system(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    bool frozen = file_system_frozen(l, act);
    str_addf(read, "the file system is %s", frozen ? "frozen" : "not frozen");
    return frozen == done;
}

/* What its control's process has mapped is what it reads. */
static bool maps_clock(const struct lab *l, const json_t *act)
{
    char file[64], line[512];
    pid_t pid = find_role(l, text_of(act, "host"), "control");
    snprintf(file, sizeof file, "/proc/%d/maps", (int)pid);
    FILE *f = pid ? fopen(file, "re") : NULL;
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, LAB_CLOCK_FILE) != NULL;
    if (f)
        fclose(f);
    return found;
}

static bool see_clock(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    _cleanup_free_ char *path = own_path(l, act, LAB_CLOCK_FILE);
    _cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int64_t offset_ms = 0;
    bool good = fd >= 0 && pread(fd, &offset_ms, sizeof offset_ms, 0) == sizeof offset_ms;
    bool mapped = maps_clock(l, act);
    str_addf(read, "its clock is %lld ms ahead; its control %s", (long long)offset_ms,
        mapped ? "reads that" : "does not read that");
    return good && mapped && offset_ms == (done ? json_opt_int(act, "offset_ms", 0) : 0);
}

static bool see(const struct lab *l, const json_t *act, bool done, struct str *read)
{
    const char *op = op_of(act);
    if (str_eq(op, "cut"))
        return see_cut(l, act, done, read);
    if (str_eq(op, "loss"))
        return see_loss(l, act, done, read);
    if (str_eq(op, "power"))
        return see_power(l, act, done, read);
    if (str_eq(op, "freeze"))
        return see_freeze(l, act, done, read);
    if (str_eq(op, "kill") || str_eq(op, "stop"))
        return see_process(act, done, read);
    if (str_eq(op, "fill"))
        return see_fill(l, act, done, read);
    if (str_eq(op, "fsfreeze"))
        return see_file_system(l, act, done, read);
    if (str_eq(op, "clock"))
        return see_clock(l, act, done, read);
    str_addf(read, "nobody knows how to read %s back", op);
    return false;
}

bool acts_read_back(const char *platform, const json_t *acts, bool done, json_t *found)
{
    uint64_t until_ms = clock_boot_ms() + SEEN_WITHIN_MS;
    bool all = true;
    size_t i;
    json_t *act;
    json_array_foreach (acts, i, act) {
        _cleanup_str_ struct str read = STR_INIT;
        _cleanup_free_ char *object = act_object(act);
        bool good = false;
        do {
            _cleanup_lab_ struct lab *l = NULL;
            struct err why;
            if (read.len)
                poll(NULL, 0, LOOK_MS);
            str_clear(&read);
            if (lab_read(platform, &l, &why) < 0)
                str_add(&read, why.message);
            else
                good = see(l, act, done, &read);
        } while (!good && clock_boot_ms() < until_ms);
        json_array_append_new(found, json_pack("{s:s,s:s,s:b,s:s}", "op", op_of(act), "on", object,
                                         "good", good, "read", str_cstr(&read)));
        all &= good;
    }
    return all;
}
