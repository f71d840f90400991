/* SPDX-License-Identifier: Apache-2.0 */
/* Least privilege for a role process: user and group, empty capability sets, no_new_privs, not dumpable, rlimits,
 * and a seccomp allow list per profile (a forbidden call kills the process, so that a test sees it). */
#pragma once

#include "base/err/err.h"

#include <sys/types.h>

enum sandbox_profile {
    SANDBOX_NONE,    /* host, agent, lab machine: root, still no_new_privs where nothing setuid is run */
    SANDBOX_CONTROL, /* files of its own, sockets out and in, threads; no exec */
    SANDBOX_NETWORK, /* dns, resolver, edge, wan: sockets, epoll, threads, its own state folder; no exec, no ptrace */
};

struct sandbox_user {
    uid_t uid;
    gid_t gid;
};

/* "control", "dns", ...: the system user mcp-<role> if it exists, else a fixed numeric id (61101 up). */
struct sandbox_user sandbox_user_of(const char *role);
/* Irreversible. All threads (TSYNC). */
MUST_CHECK int sandbox_enter(enum sandbox_profile profile, struct sandbox_user user, struct err *e);
