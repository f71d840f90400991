/* SPDX-License-Identifier: Apache-2.0 */
/* The listening sockets of a host: which there are follows from the boot record alone (listen_plan,
 * pure); they are opened with free binding, so that an address may come to its interface later, and
 * live as long as host does: a role's restart loses nothing that is queued. Data-path sockets exist
 * once per thread (SO_REUSEPORT). */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "domain/spec/boot.h"

#define LISTEN_ROLE_MAX 240 /* sockets of one role */
#define LISTEN_MAX 600
#define LISTEN_THREADS_MAX 64

#define LISTEN_PORT_PEER 7400
#define LISTEN_PORT_MESH 7401
#define LISTEN_PORT_METRICS 7402
#define LISTEN_PORT_PROXY 3128
#define LISTEN_PORT_ENROL 7403 /* service/enrol/door.h */
#define LISTEN_PORT_REMOTE 7405
#define LISTEN_PORT_BULK 7404

struct listen {
    const char *role;
    const char *name;
    unsigned thread;
    int type;            /* SOCK_STREAM or SOCK_DGRAM */
    bool shared;         /* SO_REUSEPORT */
    struct ip_addr addr; /* family 0: the Unix socket at `path` */
    uint16_t port;
    const char *path;
    int fd; /* -1: not open */
};

struct listens {
    struct listen v[LISTEN_MAX];
    size_t n;
};

/* All fd -1. `threads`: data-path threads, as many as processors. */
void listen_plan(const struct boot *boot, unsigned threads, struct listens *ret);
/* Takes over the open sockets of `old` that *l has too and closes its others. */
void listens_inherit(struct listens *l, struct listens *old);
/* Opens what is not open; returns how many are still not (the last reason is in *e). */
size_t listens_open(struct listens *l, struct err *e);
void listens_close(struct listens *l);
/* Of the role's open sockets: changes when one is added, removed or opened. */
uint64_t listens_print(const struct listens *l, const char *role, uint64_t seed);
