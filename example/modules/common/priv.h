/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder only. */
#pragma once

#include "module.h"

#include <signal.h>
#include <stdint.h>

/* router.c: fills *reply with the answer of the first route that takes the request; whether that is
 * a quiet one. */
bool router_answer(
    const struct module *module, const struct http_request *request, struct reply *reply);

/* faults.c: the routes that break this process on purpose; none unless MODULE_FAULTS=1. */
size_t fault_routes(const struct route **ret_routes);

/* conn.c: one client connection. */
struct conn {
    int fd;
    uint64_t deadline_ms, idle_since_ms;
    bool served;  /* at least one request was answered */
    bool closing; /* the answer being written is the last */
    bool refused; /* and the peer may still be sending: hear it out before closing */
    struct promise *promise; /* the answer is to come */
    size_t in_n, out_n, out_sent;
    char in[HTTP_IN_MAX];
    char out[HTTP_OUT_MAX];
};

struct conn *conn_new(int fd, uint64_t now);
void conn_free(struct conn *conn);
short conn_events(const struct conn *conn);
bool conn_idle(const struct conn *conn);
/* Reads, answers and writes what can be done now; false when the connection is over. */
bool conn_step(struct conn *conn, const struct module *module, bool draining, uint64_t now);
/* The deadline passed: says 408 where a request was half told, and closes. */
void conn_expire(struct conn *conn);

bool server_draining(void);

/* server.c: serves until *stop is set, then drains. `listen_fd` may be -1. */
void server_run(const struct module *module, int listen_fd, const volatile sig_atomic_t *stop);

/* listen.c: a dual-stack listener (or IPv4 alone) and the port it got; -1 with errno. */
int listen_open(uint16_t port, uint16_t *ret_port);
