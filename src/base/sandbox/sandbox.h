/* SPDX-License-Identifier: Apache-2.0 */
/* Least privilege for a role process, in steps. sandbox_drop(): user and group, empty
 * capability sets, no_new_privs, not dumpable, rlimits, umask; the role then opens what is its own
 * and starts its threads. sandbox_seal(): a seccomp allow list per profile for all threads (a
 * forbidden call kills the process, so that a test sees it). Both are irreversible. Sanitized
 * builds keep what the sanitizers need (ptrace, dumpable). */
#pragma once

#include "base/err/err.h"

#include <sys/types.h>

enum sandbox_profile {
    /* host, agent, lab machine: stays root; still no_new_privs and no core files */
    SANDBOX_NONE,
    /* files of its own, sockets out and in, threads; no exec */
    SANDBOX_CONTROL,
    /* dns, resolver, edge, wan: sockets, epoll, threads, its own state folder; no exec, no ptrace,
     * no new executable memory */
    SANDBOX_NETWORK,
    /* mesh: as SANDBOX_NETWORK, and it may listen on ports below 1024 (CAP_NET_BIND_SERVICE), where
     * modules are called that listen there */
    SANDBOX_LISTENER,
    /* data: as SANDBOX_CONTROL, and it runs the tools of databases, which inherit the filter; what
     * is not named fails with ENOSYS rather than killing one of them in the middle of its work */
    SANDBOX_TOOLS,
};

struct sandbox_user {
    uid_t uid;
    gid_t gid;
};

/* "control", "dns", ...: the system user mcp-<role> if it exists, else a fixed numeric id (61101
 * up; an unknown role: 61100). root for "agent" and "host"; "data" is the user `mysql` where there is
 * one, so that it may run that server's tools on its files. */
struct sandbox_user sandbox_user_of(const char *role);
MUST_CHECK int sandbox_drop(enum sandbox_profile profile, struct sandbox_user user, struct err *e);
/* Files beyond these paths (folders with all below, or single files; NULL and missing ones are
 * skipped) can not be opened any more. This thread and those it starts: to be called early, after
 * sandbox_drop(). Returns 1, or 0 on a kernel without landlock. */
MUST_CHECK int sandbox_confine(const char *const *readable, size_t n_readable,
    const char *const *writable, size_t n_writable, struct err *e);
MUST_CHECK int sandbox_seal(enum sandbox_profile profile, struct err *e);
/* Drop and seal at once, for a process that needs nothing in between. */
MUST_CHECK int sandbox_enter(enum sandbox_profile profile, struct sandbox_user user, struct err *e);

#define SANDBOX_CALL_SIZE 32
/* The name of a system call by its number, as the kernel's log tells it: "execve", or "call 999". */
void sandbox_call_name(int number, char out[SANDBOX_CALL_SIZE]);
