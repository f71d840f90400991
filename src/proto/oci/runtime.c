/* SPDX-License-Identifier: Apache-2.0 */
/* runtime-spec 1.0.2, config.md and config-linux.md. */
#include "proto/oci/oci.h"

#define CPU_PERIOD_US 100000 /* the kernel's default */
/* Scratch space counts against the memory limit; the size only keeps an unlimited unit from eating the host. */
#define TMPFS_SIZE "size=256m"

/* What /proc shows of the machine rather than of the unit, and the switches in it (Docker's list). */
static const char *const masked_paths[] = {"/proc/acpi", "/proc/asound", "/proc/kcore",
    "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

static json_t *words(const char *const *list, size_t n)
{
    json_t *j = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(j, json_string(list[i]));
    return j;
}

static json_t *words_z(const char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return words(list, n);
}

static json_t *mount_of(
    const char *at, const char *type, const char *source, const char *const *options, size_t n)
{
    return json_pack("{s:s,s:s,s:s,s:o}", "destination", at, "type", type, "source", source,
        "options", words(options, n));
}
#define MOUNT(at, type, source, ...)                                                               \
    mount_of(at, type, source, (const char *const[]){__VA_ARGS__},                                 \
        ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

static json_t *mounts(const struct oci_runtime *r)
{
    char owner_uid[32], owner_gid[32];
    snprintf(owner_uid, sizeof owner_uid, "uid=%u", r->uid);
    snprintf(owner_gid, sizeof owner_gid, "gid=%u", r->gid);
    json_t *list = json_array();
    json_array_append_new(list, MOUNT("/proc", "proc", "proc", "nosuid", "noexec", "nodev"));
    json_array_append_new(
        list, MOUNT("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64k"));
    json_array_append_new(list, MOUNT("/dev/pts", "devpts", "devpts", "nosuid", "noexec",
                                    "newinstance", "ptmxmode=0666", "mode=0620"));
    json_array_append_new(list,
        MOUNT("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"));
    json_array_append_new(
        list, MOUNT("/sys", "bind", r->sysfs, "bind", "nosuid", "noexec", "nodev", "ro"));
    json_array_append_new(
        list, MOUNT("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777", TMPFS_SIZE));
    json_array_append_new(list, MOUNT("/run", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=755",
                                    "size=16m", owner_uid, owner_gid));
    if (r->secrets) /* after /run, which it stands in */
        json_array_append_new(list, MOUNT("/run/secrets", "bind", r->secrets, "bind", "nosuid",
                                        "noexec", "nodev", "ro"));
    if (r->platform)
        json_array_append_new(list, MOUNT("/run/mcp", "bind", r->platform, "bind", "nosuid",
                                        "noexec", "nodev", "ro"));
    return list;
}

static json_t *process(const struct oci_runtime *r)
{
    json_t *none = json_array();
    json_t *j = json_pack("{s:b,s:{s:I,s:I},s:o,s:o,s:s,s:b,s:{s:O,s:O,s:O,s:O,s:O}}", "terminal",
        0, "user", "uid", (json_int_t)r->uid, "gid", (json_int_t)r->gid, "args", words_z(r->args),
        "env", words_z(r->env), "cwd", r->cwd, "noNewPrivileges", 1, "capabilities", "bounding",
        none, "effective", none, "inheritable", none, "permitted", none, "ambient", none);
    json_decref(none);
    return j;
}

static json_t *resources(const struct oci_runtime *r)
{
    json_t *j = json_object();
    if (r->memory_bytes) {
        json_t *m = json_pack("{s:I}", "limit", (json_int_t)r->memory_bytes);
        if (r->limit_swap) /* memory and swap together: no swap */
            json_object_set_new(m, "swap", json_integer((json_int_t)r->memory_bytes));
        json_object_set_new(j, "memory", m);
    }
    if (r->cpu_milli)
        json_object_set_new(j, "cpu",
            json_pack("{s:I,s:I}", "quota", (json_int_t)r->cpu_milli * CPU_PERIOD_US / 1000,
                "period", (json_int_t)CPU_PERIOD_US));
    if (r->pids)
        json_object_set_new(j, "pids", json_pack("{s:i}", "limit", (int)r->pids));
    return j;
}

static json_t *linux_part(const struct oci_runtime *r)
{
    json_t *map = json_pack(
        "[{s:i,s:I,s:i}]", "containerID", 0, "hostID", (json_int_t)r->uid_base, "size", 65536);
    json_t *spaces = json_pack("[{s:s},{s:s},{s:s},{s:s},{s:s},{s:s}]", "type", "pid", "type",
        "ipc", "type", "uts", "type", "mount", "type", "user", "type", "cgroup");
    json_t *j = json_pack("{s:O,s:O,s:o,s:s,s:o,s:o,s:o,s:o}", "uidMappings", map, "gidMappings",
        map, "namespaces", spaces, "cgroupsPath", r->cgroup, "resources", resources(r),
        "maskedPaths", words(masked_paths, ARRAY_SIZE(masked_paths)), "readonlyPaths",
        words(readonly_paths, ARRAY_SIZE(readonly_paths)), "seccomp", oci_seccomp_format());
    json_decref(map);
    return j;
}

json_t *oci_runtime_format(const struct oci_runtime *r)
{
    json_t *j = json_pack("{s:s,s:{s:s,s:b},s:s,s:o,s:o,s:o}", "ociVersion", "1.0.2", "root",
        "path", r->rootfs, "readonly", 1, "hostname", r->hostname, "process", process(r), "mounts",
        mounts(r), "linux", linux_part(r));
    ASSERT(j);
    return j;
}
