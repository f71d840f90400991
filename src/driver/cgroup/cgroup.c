/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/cgroup/cgroup.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#define MOUNTINFO_MAX (4u * 1024 * 1024)
#define FILE_MAX (256u * 1024)
#define PIDS_MAX 65536u
#define RMDIR_TRIES 200 /* a dying process keeps its group for some milliseconds */

static const char *const names[CGROUP_CONTROLLERS] = {[CGROUP_MEMORY] = "memory",
    [CGROUP_CPU] = "cpu",
    [CGROUP_CPUACCT] = "cpuacct",
    [CGROUP_PIDS] = "pids",
    [CGROUP_FREEZER] = "freezer"};

static void pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, word, len) && (p[len] == ',' || p[len] == '\0'))
            return true;
    return false;
}

/* "36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/root rw,errors=continue" (proc(5)) */
static void take_line(struct cgroup_layout *l, char *line)
{
    char *save = NULL, *mount = NULL, *word;
    int field = 0;
    for (word = strtok_r(line, " ", &save); word && strcmp(word, "-") != 0;
         word = strtok_r(NULL, " ", &save))
        if (++field == 5)
            mount = word;
    const char *type = strtok_r(NULL, " ", &save);
    const char *source = strtok_r(NULL, " ", &save);
    const char *options = strtok_r(NULL, " ", &save);
    if (!mount || !type || !source || !options || strlen(mount) >= CGROUP_MOUNT_SIZE)
        return;
    if (!strcmp(type, "cgroup2") && !*l->v2)
        str_copy(l->v2, sizeof l->v2, mount);
    for (unsigned c = 0; !strcmp(type, "cgroup") && c < CGROUP_CONTROLLERS; c++)
        if (has_word(options, names[c]) && !*l->v1[c])
            str_copy(l->v1[c], sizeof l->v1[c], mount);
}

int cgroup_detect_text(const char *mountinfo, struct cgroup_layout *ret, struct err *e)
{
    struct cgroup_layout l = {0};
    _cleanup_free_ char *copy = xstrdup(mountinfo);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        take_line(&l, line);
    bool v1 = *l.v1[CGROUP_MEMORY] || *l.v1[CGROUP_CPU] || *l.v1[CGROUP_PIDS];
    if (!v1 && !*l.v2)
        return err_set(e, ERR_NOT_FOUND, "no control groups are mounted (neither version 1 nor 2)");
    l.pure_v2 = !v1;
    l.hybrid = v1 && *l.v2;
    *ret = l;
    return 0;
}

int cgroup_detect(struct cgroup_layout *ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, e);
    return r < 0 ? r : cgroup_detect_text(str_cstr(&text), ret, e);
}

/* --- one group's files --- */

static char *v1_path(
    const struct cgroup_layout *l, enum cgroup_controller c, const char *path, const char *file)
{
    return *l->v1[c] ? xasprintf("%s%s%s%s", l->v1[c], path, *file ? "/" : "", file) : NULL;
}

static char *v2_path(const struct cgroup_layout *l, const char *path, const char *file)
{
    return *l->v2 ? xasprintf("%s%s%s%s", l->v2, path, *file ? "/" : "", file) : NULL;
}

static int write_file(const char *path, const char *text, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    if (write(fd, text, strlen(text)) < 0)
        return err_errno(e, errno, "write \"%s\" to %s", text, path);
    return 0;
}

static bool read_file(const char *path, struct str *out)
{
    struct err ignored;
    str_clear(out);
    return path && file_read(path, FILE_MAX, out, &ignored) >= 0;
}

static uint64_t number_in(const char *text)
{
    return strtoull(text, NULL, 10);
}

/* The number behind "key " at a line's start; 0 when it is not there. */
static uint64_t keyed_number(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p != NULL)
        if (!strncmp(p, key, len) && p[len] == ' ')
            return number_in(p + len + 1);
    return 0;
}

bool cgroup_counts_swap(const struct cgroup_layout *l)
{
    /* Version 1 shows the file in the root group when the kernel accounts swap; version 2 in every other group. */
    if (l->pure_v2)
        return true;
    _cleanup_free_ char *path = v1_path(l, CGROUP_MEMORY, "", "memory.memsw.limit_in_bytes");
    return path && file_exists(path);
}

/* --- making --- */

static int set_v1(const struct cgroup_layout *l, enum cgroup_controller c, const char *path,
    const char *file, uint64_t value, struct err *e)
{
    _cleanup_free_ char *at = v1_path(l, c, path, file);
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return at ? write_file(at, text, e) : 0;
}

static int limit_v1(
    const struct cgroup_layout *l, const char *path, const struct cgroup_limits *lim, struct err *e)
{
    int r = 0;
    if (lim->memory_bytes)
        r = set_v1(l, CGROUP_MEMORY, path, "memory.limit_in_bytes", lim->memory_bytes, e);
    if (r >= 0 && lim->memory_bytes && cgroup_counts_swap(l))
        r = set_v1(l, CGROUP_MEMORY, path, "memory.memsw.limit_in_bytes", lim->memory_bytes, e);
    if (r >= 0 && lim->cpu_milli)
        r = set_v1(l, CGROUP_CPU, path, "cpu.cfs_quota_us", (uint64_t)lim->cpu_milli * 100, e);
    if (r >= 0 && lim->pids)
        r = set_v1(l, CGROUP_PIDS, path, "pids.max", lim->pids, e);
    return r;
}

static int set_v2(const struct cgroup_layout *l, const char *path, const char *file,
    const char *text, struct err *e)
{
    _cleanup_free_ char *at = v2_path(l, path, file);
    return write_file(at, text, e);
}

static int limit_v2(
    const struct cgroup_layout *l, const char *path, const struct cgroup_limits *lim, struct err *e)
{
    char text[64];
    int r = 0;
    if (lim->memory_bytes) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)lim->memory_bytes);
        r = set_v2(l, path, "memory.max", text, e);
        _cleanup_free_ char *swap = v2_path(l, path, "memory.swap.max");
        if (r >= 0 && file_exists(swap))
            r = write_file(swap, "0", e);
    }
    if (r >= 0 && lim->cpu_milli) {
        snprintf(text, sizeof text, "%u 100000", lim->cpu_milli * 100);
        r = set_v2(l, path, "cpu.max", text, e);
    }
    if (r >= 0 && lim->pids) {
        snprintf(text, sizeof text, "%u", lim->pids);
        r = set_v2(l, path, "pids.max", text, e);
    }
    return r;
}

/* Version 2 gives a group only the controllers that every group above hands down. */
static int hand_down(const struct cgroup_layout *l, const char *path, struct err *e)
{
    _cleanup_free_ char *above = xstrdup(path);
    for (char *p = above; p; p = strchr(p + 1, '/')) {
        char kept = *p;
        *p = '\0';
        _cleanup_free_ char *dir = v2_path(l, above, "");
        int r = file_mkdirs(dir, 0755, e);
        if (r >= 0)
            r = set_v2(l, above, "cgroup.subtree_control", "+memory +cpu +pids", e);
        *p = kept;
        if (r < 0)
            return r;
    }
    return 0;
}

int cgroup_create(const struct cgroup_layout *l, const char *path,
    const struct cgroup_limits *limits, struct err *e)
{
    int r = l->pure_v2 ? hand_down(l, path, e) : 0;
    for (unsigned c = 0; r >= 0 && c < CGROUP_CONTROLLERS; c++) {
        _cleanup_free_ char *dir = v1_path(l, c, path, "");
        if (dir)
            r = file_mkdirs(dir, 0755, e);
    }
    _cleanup_free_ char *dir = v2_path(l, path, "");
    if (r >= 0 && dir)
        r = file_mkdirs(dir, 0755, e);
    if (r < 0)
        return err_wrap(e, "cgroup %s", path);
    return l->pure_v2 ? limit_v2(l, path, limits, e) : limit_v1(l, path, limits, e);
}

int cgroup_enter(const struct cgroup_layout *l, const char *path, pid_t pid, struct err *e)
{
    char text[16];
    snprintf(text, sizeof text, "%d", (int)pid);
    int r = 0;
    for (unsigned c = 0; r >= 0 && c < CGROUP_CONTROLLERS; c++) {
        _cleanup_free_ char *procs = v1_path(l, c, path, "cgroup.procs");
        if (procs)
            r = write_file(procs, text, e);
    }
    _cleanup_free_ char *procs = v2_path(l, path, "cgroup.procs");
    if (r >= 0 && procs)
        r = write_file(procs, text, e);
    return r < 0 ? err_wrap(e, "enter cgroup %s", path) : 0;
}

/* --- ending --- */

/* A hierarchy whose cgroup.procs tells who is in the group; the runtime makes the group in all of version 1's. */
static char *procs_path(const struct cgroup_layout *l, const char *path)
{
    static const enum cgroup_controller order[] = {
        CGROUP_FREEZER, CGROUP_PIDS, CGROUP_MEMORY, CGROUP_CPU};
    if (l->pure_v2)
        return v2_path(l, path, "cgroup.procs");
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        if (*l->v1[order[i]])
            return v1_path(l, order[i], path, "cgroup.procs");
    return NULL;
}

bool cgroup_empty(const struct cgroup_layout *l, const char *path)
{
    _cleanup_free_ char *procs = procs_path(l, path);
    _cleanup_str_ struct str text = STR_INIT;
    return !read_file(procs, &text) || text.len == 0;
}

static void freeze(const struct cgroup_layout *l, const char *path, const char *state)
{
    _cleanup_free_ char *file = v1_path(l, CGROUP_FREEZER, path, "freezer.state");
    struct err ignored;
    if (file && write_file(file, state, &ignored) < 0)
        return; /* without it, fork may outrun us for a round */
}

static void kill_round(const struct cgroup_layout *l, const char *path)
{
    _cleanup_free_ char *whole = v2_path(l, path, "cgroup.kill");
    struct err ignored;
    if (whole && write_file(whole, "1", &ignored) >= 0 && l->pure_v2)
        return;
    _cleanup_free_ char *procs = procs_path(l, path);
    _cleanup_str_ struct str text = STR_INIT;
    freeze(l, path, "FROZEN");
    unsigned n = 0;
    if (read_file(procs, &text))
        for (const char *p = text.buf; p && *p && n < PIDS_MAX;
             p = strchr(p, '\n'), p += p != NULL, n++) {
            pid_t pid = (pid_t)strtol(p, NULL, 10);
            if (pid > 1) /* 0: a process of another pid namespace */
                kill(pid, SIGKILL);
        }
    freeze(l, path, "THAWED");
}

int cgroup_kill_all(
    const struct cgroup_layout *l, const char *path, unsigned timeout_ms, struct err *e)
{
    uint64_t deadline = clock_boot_ms() + timeout_ms;
    while (!cgroup_empty(l, path)) {
        kill_round(l, path);
        if (cgroup_empty(l, path))
            break;
        if (clock_boot_ms() >= deadline)
            return err_set(e, ERR_TIMEOUT, "processes of cgroup %s do not die", path);
        pause_ms(1);
    }
    return 0;
}

static int remove_dir(const char *dir, struct err *e)
{
    for (int i = 0; i < RMDIR_TRIES; i++) {
        if (rmdir(dir) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            break;
        pause_ms(5);
    }
    return err_errno(e, errno, "rmdir %s", dir);
}

int cgroup_delete(const struct cgroup_layout *l, const char *path, struct err *e)
{
    /* The runtime makes groups in controllers that we do not read, too: take every mount beside ours. */
    static const char *const others[] = {"cpuset", "devices", "blkio", "systemd", "net_cls",
        "net_prio", "perf_event", "hugetlb", "rdma", "misc", "net_cls,net_prio", "cpu,cpuacct"};
    int r = 0;
    for (unsigned c = 0; c < CGROUP_CONTROLLERS; c++) {
        _cleanup_free_ char *dir = v1_path(l, c, path, "");
        if (dir && remove_dir(dir, e) < 0)
            r = ERR_SYSTEM;
    }
    for (size_t i = 0; !l->pure_v2 && i < ARRAY_SIZE(others); i++) {
        _cleanup_free_ char *dir = xasprintf("/sys/fs/cgroup/%s%s", others[i], path);
        if (file_exists(dir) && remove_dir(dir, e) < 0)
            r = ERR_SYSTEM;
    }
    _cleanup_free_ char *dir = v2_path(l, path, "");
    if (dir && remove_dir(dir, e) < 0)
        r = ERR_SYSTEM;
    return r;
}

/* --- reading --- */

static uint64_t memory_v1(const struct cgroup_layout *l, const char *path, struct str *text)
{
    _cleanup_free_ char *usage = v1_path(l, CGROUP_MEMORY, path, "memory.usage_in_bytes");
    _cleanup_free_ char *stat = v1_path(l, CGROUP_MEMORY, path, "memory.stat");
    uint64_t used = read_file(usage, text) ? number_in(str_cstr(text)) : 0;
    uint64_t cache =
        read_file(stat, text) ? keyed_number(str_cstr(text), "total_inactive_file") : 0;
    return used > cache ? used - cache : 0;
}

static uint64_t memory_v2(const struct cgroup_layout *l, const char *path, struct str *text)
{
    _cleanup_free_ char *usage = v2_path(l, path, "memory.current");
    _cleanup_free_ char *stat = v2_path(l, path, "memory.stat");
    uint64_t used = read_file(usage, text) ? number_in(str_cstr(text)) : 0;
    uint64_t cache = read_file(stat, text) ? keyed_number(str_cstr(text), "inactive_file") : 0;
    return used > cache ? used - cache : 0;
}

int cgroup_usage(
    const struct cgroup_layout *l, const char *path, struct cgroup_usage *ret, struct err *e)
{
    _cleanup_free_ char *procs = procs_path(l, path);
    if (!procs || !file_exists(procs))
        return err_set(e, ERR_NOT_FOUND, "no cgroup %s", path);
    _cleanup_str_ struct str text = STR_INIT;
    struct cgroup_usage u = {0};
    if (l->pure_v2) {
        _cleanup_free_ char *cpu = v2_path(l, path, "cpu.stat");
        _cleanup_free_ char *events = v2_path(l, path, "memory.events");
        u.memory_bytes = memory_v2(l, path, &text);
        u.cpu_ns = read_file(cpu, &text) ? keyed_number(str_cstr(&text), "usage_usec") * 1000 : 0;
        u.oom_kills = read_file(events, &text) ? keyed_number(str_cstr(&text), "oom_kill") : 0;
    } else {
        _cleanup_free_ char *cpu = v1_path(l, CGROUP_CPUACCT, path, "cpuacct.usage");
        _cleanup_free_ char *oom = v1_path(l, CGROUP_MEMORY, path, "memory.oom_control");
        u.memory_bytes = memory_v1(l, path, &text);
        u.cpu_ns = read_file(cpu, &text) ? number_in(str_cstr(&text)) : 0;
        u.oom_kills = read_file(oom, &text) ? keyed_number(str_cstr(&text), "oom_kill") : 0;
    }
    *ret = u;
    return 0;
}
