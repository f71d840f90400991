/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that outlive their maker: named by pid and start time, so that a reused pid is never
 * taken for ours, held by pidfd, ended through their cgroup. A zombie counts as dead: whoever reaps
 * it may come late. */
#pragma once

#include "base/err/err.h"

#include <sys/types.h>

struct process {
    pid_t pid;
    uint64_t start_time; /* field 22 of /proc/PID/stat: clock ticks since boot */
};

/* 0 when there is no such process. */
uint64_t process_start_time(pid_t pid);
/* A pidfd, or -1 when the process has ended (or another one has its pid). */
int process_open(const struct process *p);
bool process_alive(const struct process *p);
/* True when it ended within the time. */
bool process_wait(int pidfd, unsigned timeout_ms);

/* ---- the unified hierarchy, wherever it is mounted ---- */

/* "/sys/fs/cgroup" or "/sys/fs/cgroup/unified". */
MUST_CHECK int cgroup_root(const char **ret, struct err *e);
MUST_CHECK int cgroup_make(const char *path, struct err *e);
/* SIGKILL to everything in and below it, at once. Nothing there is success. */
MUST_CHECK int cgroup_kill(const char *path, struct err *e);
/* Waits until nothing lives in it, then removes it and what is below. Nothing there is success. */
MUST_CHECK int cgroup_remove(const char *path, unsigned timeout_ms, struct err *e);
/* Ends and removes `name` ("/mcp/x.hk1") in every hierarchy of both versions: container runtimes make
 * groups there. Frozen ones are thawed, or they would not die. */
MUST_CHECK int cgroup_remove_everywhere(const char *name, unsigned timeout_ms, struct err *e);
/* Where nothing is in it. */
void cgroup_remove_empty(const char *name);
/* Names below `parent` ("/mcp") in any hierarchy that are those of `platform`'s hosts:
 * "/mcp/<platform>.<host>". A heap array ending with NULL, names may repeat. */
char **cgroup_list_everywhere(const char *parent, const char *platform);
