/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups of units, version 1, version 2, and both at once ("hybrid"), found out at run time from
 * /proc/self/mountinfo. A group is named by one path below every hierarchy ("/mcp/reindeers.hk1/units/api-1"). The
 * OCI runtime makes a container's groups itself; here they are made for plain processes, and read, killed and
 * removed for both. Blocking, but only for the kernel; any thread. */
#pragma once

#include "base/err/err.h"

#include <sys/types.h>

#define CGROUP_MOUNT_SIZE 128
#define CGROUP_PATH_SIZE 256

enum cgroup_controller {
    CGROUP_MEMORY,
    CGROUP_CPU,
    CGROUP_CPUACCT,
    CGROUP_PIDS,
    CGROUP_FREEZER,
    CGROUP_CONTROLLERS
};

struct cgroup_layout {
    char v1[CGROUP_CONTROLLERS][CGROUP_MOUNT_SIZE]; /* "": not mounted as version 1 */
    char v2[CGROUP_MOUNT_SIZE];                     /* "": no version 2 mount */
    bool pure_v2;                                   /* memory, cpu and pids are version 2's */
    bool hybrid; /* a version 2 mount beside version 1 controllers */
};

struct cgroup_limits {
    uint64_t memory_bytes; /* 0: none, as below */
    unsigned cpu_milli, pids;
};

struct cgroup_usage {
    uint64_t memory_bytes; /* without file cache that can be dropped at once */
    uint64_t cpu_ns;
    uint64_t oom_kills;
};

MUST_CHECK int cgroup_detect(struct cgroup_layout *ret, struct err *e);
/* Same on the text of a mountinfo file, for tests. */
MUST_CHECK int cgroup_detect_text(const char *mountinfo, struct cgroup_layout *ret, struct err *e);
/* The kernel counts swap, so that a memory limit can exclude it. */
bool cgroup_counts_swap(const struct cgroup_layout *l);
/* Makes the group where it is missing and sets its limits. */
MUST_CHECK int cgroup_create(const struct cgroup_layout *l, const char *path,
    const struct cgroup_limits *limits, struct err *e);
MUST_CHECK int cgroup_enter(
    const struct cgroup_layout *l, const char *path, pid_t pid, struct err *e);
/* SIGKILL to everything in it until nothing is left, at most timeout_ms: then ERR_TIMEOUT (a process in the kernel's
 * hands). A missing group is success. */
MUST_CHECK int cgroup_kill_all(
    const struct cgroup_layout *l, const char *path, unsigned timeout_ms, struct err *e);
bool cgroup_empty(const struct cgroup_layout *l, const char *path); /* also when it is missing */
MUST_CHECK int cgroup_delete(const struct cgroup_layout *l, const char *path, struct err *e);
/* ERR_NOT_FOUND: there is no such group. */
MUST_CHECK int cgroup_usage(
    const struct cgroup_layout *l, const char *path, struct cgroup_usage *ret, struct err *e);
