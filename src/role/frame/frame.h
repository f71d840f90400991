/* SPDX-License-Identifier: Apache-2.0 */
/* What every role process shares: `mcp role NAME` enters through role_main(), which sets up logs, the libuv loop
 * and the channel to `mcp host` (descriptor 3), receives the listening sockets and the connection to control,
 * calls the role's init, locks itself in (user, capabilities, seccomp) and runs the loop until host says stop or the
 * channel closes. A role holds wiring only; what is worth a test lives in service and below.
 *
 * The link to control is a socket pair that `mcp host` makes; when either end restarts, host hands both a new one:
 * linked() comes again and unlinked() before it. Roles work on from their last snapshot meanwhile (fail static). */
#pragma once

#include "base/rpc/rpc.h"
#include "base/sandbox/sandbox.h"

#include <uv.h>

#define ROLE_LISTEN_MAX 64

struct role_listen {
    char name[32]; /* "dns-udp", "dns-tcp", "edge-https", "edge-http", "resolver-udp", "cli", "peer", "metrics", ... */
    int fd;        /* bound, listening where that applies, non-blocking, CLOEXEC */
};

struct role {
    const struct role_def *def;
    uv_loop_t loop;
    json_t *boot;      /* the boot record (domain/spec/boot.h), without keys */
    const char *host;  /* of boot */
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
    /* Before the sandbox: open files, start threads. All sockets are there. */
    int (*init)(struct role *r, struct err *e);
    /* Control is linked (again): send what it must know. May be NULL. */
    void (*linked)(struct role *r);
    void (*unlinked)(struct role *r);
    /* From control (for control: from role `from`). `fd` or -1 is the callee's. */
    void (*notify)(struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd);
    void (*call)(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd);
    /* Control only: a role's link came up or went away; rpc_conn_peer_name() is "dns@hk1". */
    void (*peer_linked)(struct role *r, struct rpc_conn *peer);
    void (*peer_unlinked)(struct role *r, struct rpc_conn *peer);
    /* Asked to stop: begin to drain, call role_stopped() when done. NULL: stop at once. */
    void (*stop)(struct role *r);
    void (*done)(struct role *r);
};

int role_main(const struct role_def *def);
void role_stopped(struct role *r);
/* The n-th descriptor of that name, or -1: a name opened once per thread appears several times. */
int role_listen_fd(const struct role *r, const char *name, size_t n);
