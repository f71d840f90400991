/* SPDX-License-Identifier: Apache-2.0 */
/* What every role process shares: `mcp role NAME` enters through role_main(), which sets up logs,
 * the libuv loop and the channel to `mcp host` (descriptor 3), receives the boot record and the
 * listening sockets, drops to the role's user, calls the role's init, seals the process (seccomp)
 * and runs the loop until host says stop or the channel closes. A role holds wiring only; what is
 * worth a test lives in service and below.
 *
 * The link to control is a socket pair that `mcp host` makes; when either end restarts, host hands
 * both a new one: linked() comes again and unlinked() before it. Roles work on from their last
 * snapshot meanwhile (fail static). The frame itself answers the calls "ping" and "metrics" of
 * control. A role dies with its host: the kernel kills it. */
#pragma once

#include "base/rpc/rpc.h"
#include "base/sandbox/sandbox.h"

#include <uv.h>

#define ROLE_LISTEN_MAX 240
#define ROLE_NAME_MAX 15
#define ROLE_STATE_ROOT "/var/lib/mcp"
#define ROLE_RUN_ROOT "/run/mcp"

struct role_listen {
    /* "cli", "peer", "metrics" (control); "dns-udp", "dns-tcp"; "edge-https", "edge-http";
     * "resolver-udp", "resolver-tcp"; "mesh", "mesh-proxy"; "kept": of role_keep(). */
    char name[32];
    unsigned thread; /* the data-path thread that it is for; a name opened once has 0 */
    int fd;          /* bound, listening where that applies, non-blocking, CLOEXEC */
};

struct role {
    const struct role_def *def;
    uv_loop_t loop;
    json_t *boot;        /* the boot record (domain/spec/boot.h), without keys */
    const char *host;    /* of boot */
    char state_dir[128]; /* /var/lib/mcp/<role>: the role's own, writable */
    char run_dir[128];   /* /run/mcp/<role> */
    struct role_listen listens[ROLE_LISTEN_MAX];
    size_t n_listens;
    struct rpc_conn *control; /* NULL while unlinked; for control itself always NULL */
    void *ctx;                /* the role's own */
};

struct role_def {
    const char *name;
    enum sandbox_profile profile;
    /* As the role's own user, before seccomp: open files, start threads. All sockets are there. */
    int (*init)(struct role *r, struct err *e);
    /* Control is linked (again): send what it must know. May be NULL, like all of the following. */
    void (*linked)(struct role *r);
    void (*unlinked)(struct role *r);
    /* From control (for control: from role `from`). `fd` or -1 is the callee's. */
    void (*notify)(
        struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd);
    void (*call)(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd);
    /* Control only: a role's link came up or went away; rpc_conn_peer_name() is "dns@hk1", checked
     * by the frame. */
    void (*peer_linked)(struct role *r, struct rpc_conn *peer);
    void (*peer_unlinked)(struct role *r, struct rpc_conn *peer);
    /* Control only, from `mcp host`: "roles" {"roles": [{name, pid, state, since_ms, restarts,
     * reason, pss_bytes}]}, host's own process included; on each change and when asked with
     * role_ask_host(r, "roles"). */
    void (*on_host_message)(struct role *r, const char *method, json_t *params);
    /* Appends the role's Prometheus text. */
    void (*metrics)(struct role *r, struct str *out);
    /* Asked to stop: begin to drain, call role_stopped() when done. NULL: stop at once. Host waits
     * 10 s. */
    void (*stop)(struct role *r);
    /* Close every handle of the loop that init and later opened. */
    void (*done)(struct role *r);
};

int role_main(const struct role_def *def);
void role_stopped(struct role *r);
/* The n-th descriptor of that name, or -1: a name opened once per thread appears several times. */
int role_listen_fd(const struct role *r, const char *name, size_t n);
void role_ask_host(struct role *r, const char *method);
/* Takes params. ERR_UNAVAILABLE: host does not read now. */
MUST_CHECK int role_tell_host(
    struct role *r, const char *method, json_t *params, struct err *e);
#define ROLE_KEEP_MAX 128
/* Host holds copies of these listening sockets, in place of those before, and gives them to the
 * role's next process as "kept": what is queued on them outlives this one. */
void role_keep(struct role *r, const int *fds, size_t n);
