/* SPDX-License-Identifier: Apache-2.0 */
/* How units run. One vtable with two implementations: `oci`, a module's container under runc (or crun where it
 * runs), and `exec`, a plain process of the host in its own group (engines such as etcd). Either way a shim, one per
 * unit (`mcp shim DIR`), is the parent: it outlives agent and host, holds output and exit status, and cleans up.
 *
 * A unit's run folder holds, all written whole (rename):
 *   shim.json    what to run, written here for the shim        config.json  the runtime's, for oci
 *   lock         a POSIX lock that the shim holds while it lives: F_GETLK names it, two can never be
 *   state.json   {"incarnation", "shim", "pid", "started_ms"}, once the process runs
 *   exit.json    {"incarnation", "code", "signal", "oom", "error", "permanent", "started_ms", "ended_ms"}, when all
 *                of it is gone and cleaned up
 * Blocking calls: for worker threads, except where marked. */
#pragma once

#include "base/ip/ip.h"
#include "base/json/json.h"
#include "driver/cgroup/cgroup.h"
#include "driver/image/image.h"

#include <sys/types.h>

#define RUNTIME_BRIDGE "mcp0"
#define RUNTIME_UNITS_DIR "/run/mcp/units"
#define RUNTIME_SECRETS_DIR "/run/mcp/secrets"
#define RUNTIME_FUNCTIONS_DIR "/run/mcp/functions"
#define RUNTIME_LOG_FILES 5
#define RUNTIME_LOG_FILE_BYTES (20u * 1000 * 1000)
#define RUNTIME_LOG_RATE 10000 /* lines a second, and as many at once */

/* Of the host; the same for every unit. */
struct runtime_host {
    const char *images; /* IMAGE_ROOT */
    const char *state;  /* the OCI runtime's own, "/run/mcp/runc" */
    const char *shim;   /* this program, "/proc/self/exe" */
    char runtime[128];  /* found by runtime_host_probe(): "/usr/sbin/runc" */
    struct cgroup_layout cgroups;
    struct ip_prefix bridge;
    struct ip_addr gateway; /* first address of the bridge; resolver and route of every container */
};

struct runtime_log {
    const char *dir;
    uint64_t file_bytes;
    unsigned files;
    unsigned rate, burst; /* lines a second; lines at once */
};

struct runtime_unit {
    const char *name;
    const char *run_dir;
    uint64_t incarnation;
    const char *image;          /* oci: manifest digest */
    const char *const *command; /* NULL: the image's */
    const char *const *env;     /* "NAME=value"; over the image's */
    const char *user, *cwd;     /* exec; NULL: root, "/" */
    const char *cgroup;         /* path below each controller */
    struct cgroup_limits limits;
    uint32_t uid_base;      /* oci: of 65,536 */
    unsigned slot;          /* oci: names the unit's end of the cable on the host */
    struct ip_addr address; /* oci */
    const char *secrets_dir; /* oci: shown read-only at /run/secrets; NULL: none */
    /* oci: a folder with one socket, given to the unit's user and shown at /run/mcp; NULL: none */
    const char *platform_dir;
    const char *input; /* oci: a file that is its standard input; NULL: none */
    struct runtime_log log;
};
#define RUNTIME_PLATFORM_SOCKET "platform.sock"

struct runtime_ops {
    const char *name;
    /* Starts the shim; *ret_pid is its process. The process itself runs later: watch state.json and exit.json.
     * ERR_NOT_FOUND, ERR_INVALID, ERR_LIMIT: trying again at once is useless. */
    int (*start)(
        const struct runtime_host *h, const struct runtime_unit *u, pid_t *ret_pid, struct err *e);
    /* The argument vector that runs `argv` inside the running unit; *ret_argv and its texts are the caller's. Does not
     * block. */
    int (*exec_argv)(const struct runtime_host *h, const char *run_dir, const char *name,
        const char *const *argv, char ***ret_argv, struct err *e);
};

extern const struct runtime_ops runtime_oci;
extern const struct runtime_ops runtime_exec;

/* Finds cgroups and the OCI runtime: crun where it works, else runc. ERR_NOT_FOUND: no runtime; exec works still. */
MUST_CHECK int runtime_host_probe(struct runtime_host *h, struct err *e);
void runtime_argv_free(char **argv);

/* The bridge of this network namespace, up, with the gateway's address; every address of `own` is the host's too (a
 * local route: nobody has to add them one by one). Idempotent. */
MUST_CHECK int runtime_bridge_ensure(const struct ip_prefix *bridge, const struct ip_addr *gateway,
    const struct ip_prefix *own, struct err *e);

/* The shim that holds the unit's lock, or 0. Not blocking. */
pid_t runtime_shim_pid(const char *run_dir);

struct runtime_state {
    uint64_t incarnation;
    pid_t pid; /* of the unit's first process */
    int64_t started_ms;
};
struct runtime_exit {
    uint64_t incarnation;
    int code, signal;
    bool oom;
    bool permanent;
    char error[256]; /* not started: why; "" otherwise */
    int64_t started_ms, ended_ms;
};
/* ERR_NOT_FOUND: not (yet) there. Not blocking. */
MUST_CHECK int runtime_read_state(const char *run_dir, struct runtime_state *ret, struct err *e);
MUST_CHECK int runtime_read_exit(const char *run_dir, struct runtime_exit *ret, struct err *e);
/* A unit's secrets: files in a memory file system at `dir` (below RUNTIME_SECRETS_DIR), which stays
 * when the unit's process or the agent ends. None of these blocks. */
MUST_CHECK int runtime_secrets_open(const char *dir, struct err *e); /* idempotent */
/* Replaces the file as a whole (readers see the old or the new one), owned as the folder is. */
MUST_CHECK int runtime_secrets_put(const char *dir, const char *file, unsigned mode,
    const void *data, size_t len, bool *ret_changed, struct err *e);
bool runtime_secrets_has(const char *dir, const char *file);
void runtime_secrets_keep(const char *dir, const char *const *files, size_t n); /* no others */
MUST_CHECK int runtime_secrets_own(const char *dir, uint32_t uid, uint32_t gid, struct err *e);
void runtime_secrets_close(const char *dir); /* a missing one is fine */

/* After a shim died without leaving its record: kills what it ran and removes its groups. */
MUST_CHECK int runtime_clean(
    const struct runtime_host *h, const char *name, const char *cgroup, struct err *e);
/* TERM: the stop signal; KILL: everything of the unit, at once. To the shim, which passes it on. Not blocking. */
MUST_CHECK int runtime_signal(int shim_pidfd, bool kill_all, struct err *e);
